//! Batch norm with batch statistics, the sum of a residual block and the activation after it, forward in two passes over
//! the map and backward in two. libtorch takes up to five each way.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::element::{Element, Places};
use super::vectorised;
use crate::error::Result;
use crate::libtorch::parallel;

/// Mean and variance (of the batch itself, not the unbiased estimate) of each channel.
pub struct Moments {
    pub mean: Vec<f32>,
    pub var: Vec<f32>,
}

/// Gradients of batch norm's weight and bias.
pub struct Gradients {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// Rows are as wide as is good for vector instructions, so a row holds several pixels if they have few channels.
const LANES: usize = 16;
/// Elements from which on a second thread pays.
const GRAIN: usize = 1 << 14;
/// Rows whose sums are added up in float32.
const BLOCK: usize = 64;

fn row(channels: usize) -> usize {
    let common = (1..=LANES).rev().find(|divisor| LANES % divisor == 0 && channels % divisor == 0);
    channels * (LANES / common.unwrap_or(1))
}

/// A value for each channel, repeated over a row.
fn over_a_row(values: impl ExactSizeIterator<Item = f32> + Clone) -> Vec<f32> {
    let width = row(values.len());
    values.cycle().take(width).collect()
}

/// Runs `work` on ranges of whole rows of a map with so many elements.
fn by_rows(len: usize, width: usize, work: impl Fn(Range<usize>) + Sync) -> Result<()> {
    let elements = |rows: Range<usize>| rows.start * width..(rows.end * width).min(len);
    parallel(len.div_ceil(width), GRAIN / width, |rows| work(elements(rows)))
}

/// Adds up what `work` adds to two sums for each place of a row, and then the places of each channel. The order of the
/// additions depends on the number of threads alone.
fn sums(
    len: usize,
    channels: usize,
    work: impl Fn(Range<usize>, &mut [f64], &mut [f64]) + Sync,
) -> Result<[Vec<f64>; 2]> {
    let width = row(channels);
    let parts = Mutex::new(Vec::new());
    by_rows(len, width, |range| {
        let mut part = [vec![0f64; width], vec![0f64; width]];
        let start = range.start;
        let [first, second] = &mut part;
        work(range, first, second);
        parts.lock().unwrap_or_else(PoisonError::into_inner).push((start, part));
    })?;
    let mut parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
    parts.sort_by_key(|(start, _)| *start);
    let mut total = [vec![0f64; channels], vec![0f64; channels]];
    for (_, part) in parts {
        for (total, part) in total.iter_mut().zip(part) {
            part.iter().enumerate().for_each(|(place, value)| total[place % channels] += value);
        }
    }
    Ok(total)
}

impl Moments {
    /// Of a map (pixels, channels).
    pub fn of<T: Element>(x: &[T], channels: usize) -> Result<Self> {
        if x.is_empty() {
            return Ok(Moments { mean: vec![f32::NAN; channels], var: vec![f32::NAN; channels] });
        }
        let (found, is_near) = Moments::around(&mean_of_some(x, channels), x)?;
        match is_near {
            true => Ok(found),
            false => Ok(Moments::around(&found.mean, x)?.0),
        }
    }

    /// From the deviations from an `origin` of each channel, so that the squares do not lose the variance of channels far from
    /// zero; and whether all origins were so near to the means that they lose one digit of seven at most.
    fn around<T: Element>(origin: &[f32], x: &[T]) -> Result<(Self, bool)> {
        const FAR: f64 = 16.0; // in squares of the deviation
        let channels = origin.len();
        let repeated = over_a_row(origin.iter().copied());
        let [sum, squares] = sums(x.len(), channels, |range, sum, squares| {
            add_deviations(&x[range], &repeated, sum, squares);
        })?;
        let count = (x.len() / channels) as f64;
        if sum.iter().chain(&squares).any(|sum| !sum.is_finite()) {
            return Ok((Moments::of_large(x, channels), true));
        }
        let mut is_near = true;
        let of_channel = |channel: usize| {
            let mean = sum[channel] / count;
            let var = (squares[channel] / count - mean * mean).max(0.0);
            is_near &= mean * mean <= FAR * var;
            ((f64::from(origin[channel]) + mean) as f32, var as f32)
        };
        let (mean, var) = (0..channels).map(of_channel).unzip();
        Ok((Moments { mean, var }, is_near))
    }

    /// The same in two passes, as PyTorch, for what is not finite and what has squares that are not in float32: then the
    /// variance is infinite, or NaN.
    fn of_large<T: Element>(x: &[T], channels: usize) -> Self {
        let count = (x.len() / channels) as f64;
        let summed = |value: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0f64; channels];
            for (place, x) in x.iter().enumerate() {
                sums[place % channels] += value(place % channels, f64::from(x.value()));
            }
            sums
        };
        let mean: Vec<f64> = summed(&|_, x| x).into_iter().map(|sum| sum / count).collect();
        let squares = summed(&|channel, x| (x - mean[channel]) * (x - mean[channel]));
        let var = squares.into_iter().map(|sum| (f64::from(sum as f32) / count) as f32).collect();
        Moments { mean: mean.into_iter().map(|mean| mean as f32).collect(), var }
    }
}

impl Moments {
    /// Moves running statistics of `count` pixels on, as PyTorch does: the variance is the unbiased one.
    pub fn follow(&self, momentum: f64, count: usize, mean: &mut [f32], var: &mut [f32]) {
        let unbiased = count as f64 / (count as f64 - 1.0);
        let toward = |running: &mut f32, newest: f64| {
            *running = ((1.0 - momentum) * f64::from(*running) + momentum * newest) as f32;
        };
        mean.iter_mut().zip(&self.mean).for_each(|(running, mean)| toward(running, f64::from(*mean)));
        var.iter_mut().zip(&self.var).for_each(|(running, var)| toward(running, f64::from(*var) * unbiased));
    }
}

/// The mean of each channel over a few pixels from all over the map, so that no single one decides; of equal values it is
/// their value to the last bit.
fn mean_of_some<T: Element>(x: &[T], channels: usize) -> Vec<f32> {
    let pixels = x.len() / channels;
    let some = pixels.min(16);
    let mut sum = vec![0f64; channels];
    for pixel in (0..some).map(|one| one * pixels / some) {
        let values = &x[pixel * channels..][..channels];
        sum.iter_mut().zip(values).for_each(|(sum, x)| *sum += f64::from(x.value()));
    }
    sum.into_iter().map(|sum| (sum / some as f64) as f32).collect()
}

vectorised! {
    fn add_deviations<T: Element>(x: &[T], origin: &[f32], sum: &mut [f64], squares: &mut [f64]) {
        let (mut near, mut near_squares) = (vec![0f32; origin.len()], vec![0f32; origin.len()]);
        for block in x.chunks(origin.len() * BLOCK) {
            near.fill(0.0);
            near_squares.fill(0.0);
            for row in block.chunks(origin.len()) {
                let sums = near.iter_mut().zip(&mut near_squares);
                for ((sum, squares), (x, origin)) in sums.zip(row.iter().zip(origin)) {
                    let deviation = x.value() - origin;
                    *sum += deviation;
                    *squares += deviation * deviation;
                }
            }
            sum.iter_mut().zip(&near).for_each(|(sum, near)| *sum += f64::from(*near));
            squares.iter_mut().zip(&near_squares).for_each(|(sum, near)| *sum += f64::from(*near));
        }
    }
}

/// `y = f(weight · (x - mean) / √(var + eps) + bias + other)` of maps (pixels, channels), where `f` multiplies what is
/// below zero by `slope`: 1 is the identity, 0 is ReLU.
#[allow(clippy::too_many_arguments)]
pub fn batch_norm<T: Element>(
    x: &[T],
    moments: &Moments,
    eps: f64,
    weight: &[f32],
    bias: &[f32],
    other: Option<&[T]>,
    slope: f32,
    y: &mut [T],
) -> Result<()> {
    let inverse = inverse_deviations(moments, eps);
    let scales = weight.iter().zip(&inverse).map(|(weight, inverse)| weight * inverse);
    let shifts = bias.iter().zip(moments.mean.iter().zip(scales.clone()));
    let shifts = shifts.map(|(bias, (mean, scale))| bias - mean * scale);
    let (scales, shifts) = (over_a_row(scales), over_a_row(shifts));
    let len = x.len();
    let places = Places::new(y);
    by_rows(len, scales.len(), |range| {
        // SAFETY: `y` is borrowed until all ranges, which do not overlap, are done.
        let y = unsafe { places.slice(range.clone()) };
        match other {
            Some(other) => scale_and_add(&x[range.clone()], &other[range], &scales, &shifts, slope, y),
            None => scale(&x[range], &scales, &shifts, slope, y),
        }
    })
}

fn inverse_deviations(moments: &Moments, eps: f64) -> Vec<f32> {
    moments.var.iter().map(|var| (1.0 / (f64::from(*var) + eps).sqrt()) as f32).collect()
}

#[inline(always)]
fn rectified(value: f32, slope: f32) -> f32 {
    // ReLU makes 0 of -infinity, which times 0 is not. A NaN is neither above nor below zero, and stays one.
    let below = if slope == 0.0 { 0.0 } else { value * slope };
    if value <= 0.0 {
        below
    } else {
        value
    }
}

vectorised! {
    fn scale<T: Element>(x: &[T], scales: &[f32], shifts: &[f32], slope: f32, y: &mut [T]) {
        for (x, y) in x.chunks(scales.len()).zip(y.chunks_mut(scales.len())) {
            for ((x, y), (scale, shift)) in x.iter().zip(y).zip(scales.iter().zip(shifts)) {
                *y = T::from_value(rectified(x.value() * scale + shift, slope));
            }
        }
    }
}

vectorised! {
    fn scale_and_add<T: Element>(
        x: &[T],
        other: &[T],
        scales: &[f32],
        shifts: &[f32],
        slope: f32,
        y: &mut [T],
    ) {
        let rows = x.chunks(scales.len()).zip(other.chunks(scales.len()));
        for ((x, other), y) in rows.zip(y.chunks_mut(scales.len())) {
            for (((x, other), y), (scale, shift)) in x.iter().zip(other).zip(y).zip(scales.iter().zip(shifts)) {
                *y = T::from_value(rectified(x.value() * scale + shift + other.value(), slope));
            }
        }
    }
}

/// The gradients of [`batch_norm`] by its input, weight and bias. `g` comes as the gradient by `y` and becomes that by the
/// activation's input, which is also the one by `other`; `y` may be left out if the activation is the identity. The
/// input's gradient is written to `dx`, or over `g` without it.
#[allow(clippy::too_many_arguments)]
pub fn batch_norm_gradient<T: Element>(
    g: &mut [T],
    x: &[T],
    y: Option<&[T]>,
    moments: &Moments,
    eps: f64,
    weight: &[f32],
    slope: f32,
    dx: Option<&mut [T]>,
) -> Result<Gradients> {
    let (len, channels) = (x.len(), weight.len());
    let inverse = inverse_deviations(moments, eps);
    let means = over_a_row(moments.mean.iter().copied());
    let places = Places::new(g);
    let [mut sum, mut products] = sums(len, channels, |range, sum, products| {
        // SAFETY: `g` is borrowed until all ranges, which do not overlap, are done.
        let g = unsafe { places.slice(range.clone()) };
        if let Some(y) = y {
            through_rectifier(g, &y[range.clone()], slope);
        }
        add_products(g, &x[range], &means, sum, products);
    })?;
    if sum.iter().chain(&products).any(|sum| !sum.is_finite()) {
        // SAFETY: as above; nothing runs beside this.
        [sum, products] = products_of_large(unsafe { places.slice(0..len) }, x, &moments.mean);
    }

    // dx = weight / deviation · (g - mean(g) - x̂ · mean(g · x̂)), put as a · g + b · (x - mean(x)) + c.
    let count = (len / channels) as f64;
    let of_channel = |channel: usize| {
        let inverse = f64::from(inverse[channel]);
        let a = f64::from(weight[channel]) * inverse;
        let b = -a * inverse * inverse * products[channel] / count;
        (a, b, -a * sum[channel] / count)
    };
    let factors = (0..channels).map(of_channel);
    let a = over_a_row(factors.clone().map(|(a, ..)| a as f32));
    let b = over_a_row(factors.clone().map(|(_, b, _)| b as f32));
    let c = over_a_row(factors.map(|(.., c)| c as f32));
    let target = dx.map(Places::new);
    by_rows(len, a.len(), |range| {
        // SAFETY: as above.
        let g = unsafe { places.slice(range.clone()) };
        match &target {
            // SAFETY: as above, for `dx`.
            Some(target) => {
                combine(g, &x[range.clone()], &means, [&a, &b, &c], unsafe { target.slice(range) })
            }
            None => combine_in_place(g, &x[range], &means, [&a, &b, &c]),
        }
    })?;
    let weight = products.iter().zip(&inverse).map(|(sum, inverse)| (sum * f64::from(*inverse)) as f32);
    Ok(Gradients { weight: weight.collect(), bias: sum.iter().map(|sum| *sum as f32).collect() })
}

/// Makes `g`, the gradient by an activation's result `y`, that by its input: see [`batch_norm`] for `slope`.
pub fn rectifier_gradient<T: Element>(g: &mut [T], y: &[T], slope: f32) -> Result<()> {
    let len = g.len();
    let places = Places::new(g);
    parallel(len, GRAIN, |range| {
        // SAFETY: `g` is borrowed until all ranges, which do not overlap, are done.
        through_rectifier(unsafe { places.slice(range.clone()) }, &y[range], slope);
    })
}

vectorised! {
    fn through_rectifier<T: Element>(g: &mut [T], y: &[T], slope: f32) {
        for (g, y) in g.iter_mut().zip(y) {
            // As PyTorch: what ReLU cuts off has no gradient, whatever comes back, and a NaN is not cut off.
            let below = if slope == 0.0 { 0.0 } else { g.value() * slope };
            *g = T::from_value(if y.value() <= 0.0 { below } else { g.value() });
        }
    }
}

vectorised! {
    fn add_products<T: Element>(g: &[T], x: &[T], means: &[f32], sum: &mut [f64], products: &mut [f64]) {
        let (mut near, mut near_products) = (vec![0f32; means.len()], vec![0f32; means.len()]);
        let size = means.len() * BLOCK;
        for (g, x) in g.chunks(size).zip(x.chunks(size)) {
            near.fill(0.0);
            near_products.fill(0.0);
            for (g, x) in g.chunks(means.len()).zip(x.chunks(means.len())) {
                let sums = near.iter_mut().zip(&mut near_products);
                for ((sum, product), ((g, x), mean)) in sums.zip(g.iter().zip(x).zip(means)) {
                    *sum += g.value();
                    *product += g.value() * (x.value() - mean);
                }
            }
            sum.iter_mut().zip(&near).for_each(|(sum, near)| *sum += f64::from(*near));
            products.iter_mut().zip(&near_products).for_each(|(sum, near)| *sum += f64::from(*near));
        }
    }
}

/// The same in float64, for numbers whose products float32 does not hold, and those that are not finite.
fn products_of_large<T: Element>(g: &[T], x: &[T], means: &[f32]) -> [Vec<f64>; 2] {
    let [mut sum, mut products] = [vec![0f64; means.len()], vec![0f64; means.len()]];
    for (place, (g, x)) in g.iter().zip(x).enumerate() {
        let channel = place % means.len();
        let (g, x) = (f64::from(g.value()), f64::from(x.value()));
        sum[channel] += g;
        products[channel] += g * (x - f64::from(means[channel]));
    }
    [sum, products]
}

vectorised! {
    fn combine<T: Element>(g: &[T], x: &[T], means: &[f32], factors: [&[f32]; 3], dx: &mut [T]) {
        let [a, b, c] = factors;
        let rows = g.chunks(a.len()).zip(x.chunks(a.len()));
        for ((g, x), dx) in rows.zip(dx.chunks_mut(a.len())) {
            for (((g, x), dx), (((a, b), c), mean)) in g.iter().zip(x).zip(dx).zip(a.iter().zip(b).zip(c).zip(means)) {
                *dx = T::from_value(a * g.value() + b * (x.value() - mean) + c);
            }
        }
    }
}

vectorised! {
    fn combine_in_place<T: Element>(g: &mut [T], x: &[T], means: &[f32], factors: [&[f32]; 3]) {
        let [a, b, c] = factors;
        for (g, x) in g.chunks_mut(a.len()).zip(x.chunks(a.len())) {
            for ((g, x), (((a, b), c), mean)) in g.iter_mut().zip(x).zip(a.iter().zip(b).zip(c).zip(means)) {
                *g = T::from_value(a * g.value() + b * (x.value() - mean) + c);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::super::{elements, elements_mut};
    use super::*;

    /// Numbers in [-1.7, 1.7] without a pattern, the same each time: where chance draws three pixels that are nearly equal,
    /// their variance has no digits to compare.
    fn scattered(size: &[i64], seed: f64) -> Tensor {
        let count = Tensor::arange(size.iter().product::<i64>(), (Kind::Double, Device::Cpu));
        let noise = ((count * 12.9898 + seed).sin() * 43758.5453).frac();
        (noise * 1.7).to_kind(Kind::Float).view(size)
    }

    // Against libtorch's batch norm, addition, leaky ReLU and autograd, in float64.
    #[test]
    fn forward_and_gradients_are_libtorchs() {
        for (channels, pixels, slope) in [(6, 500, 0.0), (64, 40, 0.1), (17, 3, 1.0), (1, 30, 0.0)] {
            let size = [pixels, channels];
            let float = (Kind::Float, Device::Cpu);
            let x = (scattered(&size, 1.0) * 2.0 + 5.0).set_requires_grad(true);
            let other = scattered(&size, 2.0).set_requires_grad(true);
            let weight = scattered(&[channels], 3.0).set_requires_grad(true);
            let bias = scattered(&[channels], 4.0).set_requires_grad(true);
            let [mean, var] = [Tensor::zeros([channels], float), Tensor::ones([channels], float)];
            let double = |tensor: &Tensor| tensor.to_kind(Kind::Double);
            let (running_mean, running_var) = (double(&mean), double(&var));
            let (w, b) = (double(&weight), double(&bias));
            let sum = double(&x).batch_norm(
                Some(&w),
                Some(&b),
                Some(&running_mean),
                Some(&running_var),
                true,
                0.1,
                1e-5,
                false,
            ) + double(&other);
            let expected = sum.where_self(&sum.gt(0.0), &(&sum * slope));
            let dy = scattered(&size, 5.0);
            let loss = (&expected * double(&dy)).sum(Kind::Double);
            let gradients = Tensor::run_backward(&[&loss], &[&x, &weight, &bias, &other], false, false);

            let (y, g, dx) = (x.detach().empty_like(), dy.copy(), dy.empty_like());
            let (x, other, weight) = (x.detach(), other.detach(), weight.detach());
            // SAFETY: all are dense and float32, and what is written to is used nowhere else.
            let found = unsafe {
                let x = elements::<f32>(&x);
                let (weight, bias) = (elements(&weight), elements(&bias));
                let moments = Moments::of(x, channels as usize).unwrap();
                moments.follow(0.1, pixels as usize, elements_mut(&mean), elements_mut(&var));
                let slope = slope as f32;
                batch_norm(x, &moments, 1e-5, weight, bias, Some(elements(&other)), slope, elements_mut(&y))
                    .unwrap();
                let (g, result) = (elements_mut(&g), Some(elements(&y)));
                let dx = Some(elements_mut(&dx));
                batch_norm_gradient(g, x, result, &moments, 1e-5, weight, slope, dx).unwrap()
            };
            let [by_weight, by_bias] = [found.weight, found.bias].map(|values| Tensor::from_slice(&values));
            for (what, found, expected) in [
                ("result", &y, &expected),
                ("running mean", &mean, &running_mean),
                ("running variance", &var, &running_var),
                ("by x", &dx, &gradients[0]),
                ("by weight", &by_weight, &gradients[1]),
                ("by bias", &by_bias, &gradients[2]),
                ("by other", &g, &gradients[3]),
            ] {
                let scale = double(expected).abs().max().double_value(&[]).max(1.0);
                let gap = (double(found) - double(expected)).abs().max().double_value(&[]);
                assert!(gap < 1e-5 * scale, "{what}, {channels} channels: {gap}");
            }
        }
    }

    // Against libtorch's batch norm of the same map: moments, running statistics and result. NaN equals NaN.
    #[test]
    fn what_is_not_finite_or_very_large_ends_as_in_libtorch() {
        let float = (Kind::Float, Device::Cpu);
        for (planted, place) in [
            (f32::NAN, 0),
            (f32::NAN, 7),
            (f32::INFINITY, 0),
            (f32::INFINITY, 11),
            (f32::NEG_INFINITY, 7),
            (3e25, 4),
            (-2e38, 0),
        ] {
            for slope in [0.0f32, 0.1, 1.0] {
                let x = Tensor::randn([8, 2], float);
                let mut values = Vec::<f32>::try_from(x.flatten(0, -1)).unwrap();
                values[place] = planted;
                let x = Tensor::from_slice(&values).view([8, 2]);
                let (weight, bias) =
                    (Tensor::from_slice(&[1.5f32, -0.5]), Tensor::from_slice(&[0.5f32, 0.1]));
                let [mean, var] = [Tensor::zeros([2], float), Tensor::ones([2], float)];
                let (running_mean, running_var) = (mean.copy(), var.copy());
                let plain = x.batch_norm(
                    Some(&weight),
                    Some(&bias),
                    Some(&running_mean),
                    Some(&running_var),
                    true,
                    0.1,
                    1e-5,
                    false,
                );
                let expected = match slope {
                    0.0 => plain.relu(),
                    slope => plain.prelu(&Tensor::from_slice(&[slope])),
                };
                let y = x.empty_like();
                // SAFETY: all are dense and float32, and what is written to is used nowhere else.
                unsafe {
                    let x = elements::<f32>(&x);
                    let moments = Moments::of(x, 2).unwrap();
                    moments.follow(0.1, 8, elements_mut(&mean), elements_mut(&var));
                    let (weight, bias) = (elements(&weight), elements(&bias));
                    batch_norm(x, &moments, 1e-5, weight, bias, None, slope, elements_mut(&y)).unwrap();
                }
                for (what, found, expected) in
                    [("result", &y, &expected), ("mean", &mean, &running_mean), ("var", &var, &running_var)]
                {
                    let same = found.isclose(expected, 1e-4, 1e-5, true).all();
                    assert!(
                        bool::try_from(same).unwrap(),
                        "{what}, {planted} at {place}: {found} {expected}"
                    );
                }
            }
        }
    }

    // torch 2.11: y = torch.tensor([nan, -1., 0., 2.], requires_grad=True).relu(), and g.relu's backward with
    // torch.tensor([inf, nan, inf, -inf]), gives [inf, 0, 0, -inf].
    #[test]
    fn what_relu_cuts_off_has_no_gradient() {
        let mut g = [f32::INFINITY, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        rectifier_gradient(&mut g, &[f32::NAN, 0.0, 0.0, 2.0], 0.0).unwrap();
        assert_eq!(g, [f32::INFINITY, 0.0, 0.0, f32::NEG_INFINITY]);
    }

    // Against the two-pass variance in float64. Values far from the rest, wherever they are, and channels of equal values.
    #[test]
    fn no_single_pixel_costs_the_variance_its_digits() {
        let pixels = 25_088;
        for (usual, odd) in [(0.0f32, 255.0f32), (-0.42, 2.8), (1000.0, -1000.0), (7.3, 7.3)] {
            for places in [0..1, pixels / 2..pixels / 2 + 1, 0..1568, pixels - 1..pixels] {
                let x: Vec<f32> =
                    (0..pixels).map(|pixel| if places.contains(&pixel) { odd } else { usual }).collect();
                let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / pixels as f64;
                let var = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / pixels as f64;
                let found = Moments::of(&x, 1).unwrap();
                let gaps = [f64::from(found.mean[0]) - mean, f64::from(found.var[0]) - var];
                assert!(
                    gaps[0].abs() <= 1e-6 * mean.abs() + 1e-6 * var.sqrt(),
                    "{usual} {odd} {places:?}: {gaps:?}"
                );
                assert!(gaps[1].abs() <= 1e-5 * var, "{usual} {odd} {places:?}: {gaps:?} of {var}");
            }
        }
    }

    #[test]
    fn a_map_without_pixels_has_no_moments() {
        let moments = Moments::of::<f32>(&[], 3).unwrap();
        assert!(moments.mean.len() == 3 && moments.var.iter().all(|var| var.is_nan()));
    }
}

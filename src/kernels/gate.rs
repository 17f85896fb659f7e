//! Maps whose channels are multiplied by a number for each image and channel.

use super::element::{Element, Places};
use super::vectorised;
use crate::error::Result;
use crate::libtorch::parallel;

/// Elements from which on a second thread pays.
const GRAIN: usize = 1 << 14;

/// `y = x · factors` of maps (images, pixels, channels) and factors (images, channels).
pub fn gate<T: Element>(x: &[T], factors: &[T], channels: usize, y: &mut [T]) -> Result<()> {
    let Some(each) = image_len(x, factors, channels) else { return Ok(()) };
    let y = Places::new(y);
    parallel(x.len() / each, GRAIN / each, |images| {
        for image in images {
            let range = image * each..(image + 1) * each;
            // SAFETY: `y` is borrowed until all images, which do not overlap, are done.
            let y = unsafe { y.slice(range.clone()) };
            scale(&x[range], &factors[image * channels..][..channels], y);
        }
    })
}

/// The gradients of [`gate`] by the map, written over `g`, the one by its result, and by the factors, written to `sums`.
pub fn gate_gradient<T: Element>(
    g: &mut [T],
    x: &[T],
    factors: &[T],
    channels: usize,
    sums: &mut [T],
) -> Result<()> {
    let Some(each) = image_len(x, factors, channels) else {
        sums.fill(T::from_value(0.0));
        return Ok(());
    };
    let (images, g, sums) = (x.len() / each, Places::new(g), Places::new(sums));
    parallel(images, GRAIN / each, |images| {
        for image in images {
            let (range, own) = (image * each..(image + 1) * each, image * channels..(image + 1) * channels);
            // SAFETY: both are borrowed until all images, which do not overlap, are done.
            let (g, sums) = unsafe { (g.slice(range.clone()), sums.slice(own.clone())) };
            scale_back(g, &x[range], &factors[own], sums);
        }
    })
}

/// The elements of an image, unless there are none.
fn image_len<T>(x: &[T], factors: &[T], channels: usize) -> Option<usize> {
    let images = factors.len().checked_div(channels)?;
    x.len().checked_div(images).filter(|each| *each > 0)
}

vectorised! {
    fn scale<T: Element>(x: &[T], factors: &[T], y: &mut [T]) {
        for (x, y) in x.chunks(factors.len()).zip(y.chunks_mut(factors.len())) {
            for ((x, y), factor) in x.iter().zip(y).zip(factors) {
                *y = T::from_value(x.value() * factor.value());
            }
        }
    }
}

vectorised! {
    fn scale_back<T: Element>(g: &mut [T], x: &[T], factors: &[T], sums: &mut [T]) {
        let mut near = vec![0f32; factors.len()];
        for (g, x) in g.chunks_mut(factors.len()).zip(x.chunks(factors.len())) {
            for (((g, x), factor), sum) in g.iter_mut().zip(x).zip(factors).zip(&mut near) {
                *sum += g.value() * x.value();
                *g = T::from_value(g.value() * factor.value());
            }
        }
        sums.iter_mut().zip(near).for_each(|(sum, near)| *sum = T::from_value(near));
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::kernels::{elements, elements_mut};

    // Against libtorch's products and sums.
    #[test]
    fn gates_and_their_gradients_are_libtorchs() {
        for (images, pixels, channels) in
            [(3, 5, 7), (64, 49, 32), (1, 1, 1), (2, 900, 3), (0, 4, 4), (4, 0, 4)]
        {
            let numbers = |size: &[i64], step: f64| {
                let count = size.iter().product::<i64>();
                (Tensor::arange(count, (Kind::Float, Device::Cpu)) * step).sin().view(size)
            };
            let (x, g) =
                (numbers(&[images, pixels, channels], 0.7), numbers(&[images, pixels, channels], 1.3));
            let factors = numbers(&[images, channels], 0.4);
            let (y, sums) = (x.empty_like(), factors.empty_like());
            let dx = g.copy();
            // SAFETY: all are dense, on the CPU and of this type.
            unsafe {
                let (x, factors) = (elements::<f32>(&x), elements(&factors));
                gate(x, factors, channels as usize, elements_mut(&y)).unwrap();
                gate_gradient(elements_mut(&dx), x, factors, channels as usize, elements_mut(&sums)).unwrap();
            }
            let wide = factors.unsqueeze(1);
            assert_eq!(y, &x * &wide);
            assert_eq!(dx, &g * &wide);
            let expected = (&g * &x).sum_dim_intlist(1, false, Kind::Float);
            assert!(sums.allclose(&expected, 1e-5, 1e-5, false), "{sums} {expected}");
        }
    }
}

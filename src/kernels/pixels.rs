//! A convolution on the matrix unit, pixel by pixel: a pixel of the result, of many images, is a sum of products of
//! matrices, images by channels in and channels in by channels out, one for each tap that reaches a pixel of the map. Nothing is
//! multiplied with what lies beyond an edge, which is 31 % of a 3×3 kernel on 4×4 and 18 % on 7×7. On such maps
//! oneDNN (3.10) takes up to four times as long, most of all where there are strides.

use super::element::{Bf16, Element, Places};
use super::lines::Lines;
use super::product::Taps;
use super::tiles::{Factors, Multiply, Unit, BLOCK, STEP, TILE};
use super::vectorised;
use crate::error::Result;
use crate::libtorch::parallel;

/// Pixels of a result from which on oneDNN is as quick.
const PIXELS: usize = 50;

/// Pixels of a map, of which a stride of 2 leaves as many: with longer strides most of what is laid out would not be read.
const MAP: usize = 4 * PIXELS;

/// Elements of the map that are worked on together: they stay in the processor's second cache while each 32 channels of the
/// result go by.
const SPAN: usize = 1 << 19;

/// A convolution of maps (images, pixels, channels in) to maps (images, pixels, channels out).
pub struct ByPixel {
    pub inputs: usize,
    pub outputs: usize,
    pub taps: Taps,
}

/// What becomes of the sums before they are rounded.
#[derive(Clone, Copy, Default)]
pub struct Finish<'a> {
    /// Added, (channels out,).
    pub bias: Option<&'a [Bf16]>,
    /// Added, of the size of the result.
    pub other: Option<&'a [Bf16]>,
    /// Negative ones become 0.
    pub relu: bool,
}

impl ByPixel {
    /// The unit for this convolution, if this machine has one and it takes such: products are of 32 images and of 32
    /// channels, and of few images they would be mostly zeros. The last ones are pixels.
    pub fn unit(images: usize, channels: [usize; 2], [map, result]: [usize; 2]) -> Option<Unit> {
        let whole = channels.iter().all(|channels| *channels > 0 && channels % BLOCK == 0);
        if whole && images > TILE && map < MAP && result < PIXELS {
            Unit::find()
        } else {
            None
        }
    }

    fn taps_of<'a>(&self, weight: &'a [Bf16], output: usize, input: usize) -> &'a [Bf16] {
        &weight[(output * self.inputs + input) * self.taps.kernel..][..self.taps.kernel]
    }

    /// What each pixel of the result is the sum of.
    fn forward(&self) -> Vec<Vec<Term>> {
        let terms = |row: &[Option<usize>]| {
            let reached =
                row.iter().enumerate().filter_map(|(pixel, tap)| Some(Term { pixel, tap: (*tap)? }));
            reached.collect()
        };
        self.taps.places.chunks_exact(self.taps.inputs).map(terms).collect()
    }

    /// What the gradient by each pixel of the map is the sum of.
    fn back(&self) -> Vec<Vec<Term>> {
        let mut back: Vec<Vec<Term>> = (0..self.taps.inputs).map(|_| Vec::new()).collect();
        for (pixel, terms) in self.forward().into_iter().enumerate() {
            terms.into_iter().for_each(|term| back[term.pixel].push(Term { pixel, tap: term.tap }));
        }
        back
    }
}

/// The product of a pixel and a tap.
struct Term {
    pixel: usize,
    tap: usize,
}

/// Writes the convolution of the map `x` with a weight of [`Panels::forward`] to `y`.
pub fn convolution(
    unit: Unit,
    x: &[Bf16],
    weight: &Panels,
    conv: &ByPixel,
    finish: Finish,
    y: &mut [Bf16],
) -> Result<()> {
    add_up(|| unit.set_up(), x, conv.taps.inputs, weight, finish, &conv.forward(), y)
}

/// Writes the gradient by the map, of the gradient `dy` by the result, with a weight of [`Panels::back`] to `dx`.
pub fn convolution_by_input(
    unit: Unit,
    dy: &[Bf16],
    weight: &Panels,
    conv: &ByPixel,
    dx: &mut [Bf16],
) -> Result<()> {
    add_up(|| unit.set_up(), dy, conv.taps.outputs(), weight, Finish::default(), &conv.back(), dx)
}

/// Writes what the `terms` of each pixel, which are of so many `pixels` of `from`, add up to.
fn add_up<M: Multiply>(
    set_up: impl Fn() -> M + Sync,
    from: &[Bf16],
    pixels: usize,
    weight: &Panels,
    finish: Finish,
    terms: &[Vec<Term>],
    to: &mut [Bf16],
) -> Result<()> {
    let images = from.len() / (pixels * weight.factors);
    let (channels, groups, results) = (weight.columns, images.div_ceil(BLOCK), terms.len());
    assert!(from.len() == images * pixels * weight.factors && to.len() == images * results * channels);
    assert!(finish.bias.is_none_or(|bias| bias.len() == channels));
    assert!(finish.other.is_none_or(|other| other.len() == to.len()));
    let rows = Rows::new(from, images, pixels, weight.factors)?;
    let to = Places::new(to);
    let together = (SPAN / (pixels * BLOCK * rows.pitch)).clamp(1, groups.max(1));
    let groups: Vec<usize> = (0..groups).collect();
    let parts: Vec<(usize, usize)> = groups
        .chunks(together)
        .flat_map(|groups| {
            (0..channels).step_by(BLOCK).flat_map(|channel| groups.iter().map(move |group| (channel, *group)))
        })
        .collect();
    parallel(parts.len(), 1, |range| {
        let tiles = set_up();
        let mut sums = Lines::<f32>::zeros(BLOCK * BLOCK);
        let mut rounded = Lines::<Bf16>::zeros(BLOCK * BLOCK);
        for &(channel, group) in &parts[range] {
            let bias =
                |column: usize| finish.bias.map_or(0.0, |bias: &[Bf16]| bias[channel + column].value());
            let bias: [f32; BLOCK] = std::array::from_fn(bias);
            let images = group * BLOCK..images.min((group + 1) * BLOCK);
            for (pixel, terms) in terms.iter().enumerate() {
                // Of an image, these channels of this pixel.
                let place = |image| {
                    let start = (image * results + pixel) * channels + channel;
                    start..start + BLOCK
                };
                sums.chunks_exact_mut(BLOCK).for_each(|sums| sums.copy_from_slice(&bias));
                if let Some(other) = finish.other {
                    for (image, sums) in images.clone().zip(sums.chunks_exact_mut(BLOCK)) {
                        add(&other[place(image)], sums);
                    }
                }
                let factors = terms.iter().map(|term| Factors {
                    left: rows.of(group, term.pixel),
                    right: [channel, channel + TILE].map(|column| weight.of(column, term.tap)),
                });
                tiles.add_products(factors, rows.pitch, &mut sums, BLOCK);
                round(&sums, finish.relu, &mut rounded);
                for (image, rounded) in images.clone().zip(rounded.chunks_exact(BLOCK)) {
                    // SAFETY: `to` is borrowed until all parts, which have channels or images of their own, are done.
                    unsafe { to.slice(place(image)) }.copy_from_slice(rounded);
                }
            }
        }
    })
}

#[inline(always)]
fn add(other: &[Bf16], sums: &mut [f32]) {
    sums.iter_mut().zip(other).for_each(|(sum, other)| *sum += other.value());
}

vectorised! {
    fn round<T: Element>(sums: &[f32], relu: bool, to: &mut [T]) {
        let lowest = if relu { 0.0 } else { f32::NEG_INFINITY };
        for (to, sum) in to.iter_mut().zip(sums) {
            *to = T::from_value(if *sum < lowest { lowest } else { *sum }); // what is not a number stays
        }
    }
}

/// A map by groups of 32 images: (groups, pixels, images, channels), zeros for the images that the last group lacks.
struct Rows {
    elements: Lines<Bf16>,
    pixels: usize,
    /// From one image to the next, an odd number of cache lines: they would fall upon one another otherwise.
    pitch: usize,
}

impl Rows {
    fn new(map: &[Bf16], images: usize, pixels: usize, channels: usize) -> Result<Self> {
        let pitch = ((channels / STEP) | 1) * STEP;
        let groups = images.div_ceil(BLOCK);
        let mut elements = Lines::zeros(groups * pixels * BLOCK * pitch);
        let to = Places::new(&mut elements);
        parallel(groups * pixels, 1 + (1 << 14) / (BLOCK * channels), |parts| {
            for (part, group, pixel) in parts.map(|part| (part, part / pixels, part % pixels)) {
                // SAFETY: `to` is borrowed until all parts, which do not overlap, are done.
                let rows = unsafe { to.slice(part * BLOCK * pitch..(part + 1) * BLOCK * pitch) };
                for (image, row) in (group * BLOCK..images).zip(rows.chunks_exact_mut(pitch)) {
                    row[..channels].copy_from_slice(&map[(image * pixels + pixel) * channels..][..channels]);
                }
            }
        })?;
        Ok(Rows { elements, pixels, pitch })
    }

    /// 32 images at a pixel.
    fn of(&self, group: usize, pixel: usize) -> &[Bf16] {
        &self.elements[(group * self.pixels + pixel) * BLOCK * self.pitch..][..BLOCK * self.pitch]
    }
}

/// A weight as what products multiply with: of each 16 columns, and of each tap, the pairs of neighbouring factors.
pub struct Panels {
    elements: Lines<Bf16>,
    factors: usize,
    columns: usize,
    taps: usize,
}

impl Panels {
    /// Of a weight (channels out, channels in, kernel).
    pub fn forward(weight: &[Bf16], conv: &ByPixel) -> Result<Self> {
        Panels::new(conv.inputs, conv.outputs, conv.taps.kernel, |input, output| {
            conv.taps_of(weight, output, input)
        })
    }

    /// The same for the gradient by the map.
    pub fn back(weight: &[Bf16], conv: &ByPixel) -> Result<Self> {
        Panels::new(conv.outputs, conv.inputs, conv.taps.kernel, |output, input| {
            conv.taps_of(weight, output, input)
        })
    }

    /// `taps_of` has the taps of a factor and a column.
    fn new<'a>(
        factors: usize,
        columns: usize,
        taps: usize,
        taps_of: impl Fn(usize, usize) -> &'a [Bf16] + Sync,
    ) -> Result<Self> {
        let panel = factors * TILE;
        let mut elements = Lines::zeros(columns * factors * taps);
        let to = Places::new(&mut elements);
        parallel(columns / TILE, 1 + (1 << 14) / (panel * taps), |parts| {
            for part in parts {
                // SAFETY: `to` is borrowed until all parts, which do not overlap, are done.
                let to = unsafe { to.slice(part * taps * panel..(part + 1) * taps * panel) };
                for (factor, column) in
                    (0..factors).step_by(2).flat_map(|factor| (0..TILE).map(move |column| (factor, column)))
                {
                    let [first, second] =
                        [factor, factor + 1].map(|factor| taps_of(factor, part * TILE + column));
                    let pairs = to[factor * TILE + 2 * column..].chunks_mut(panel);
                    for (to, (first, second)) in pairs.zip(first.iter().zip(second)) {
                        (to[0], to[1]) = (*first, *second);
                    }
                }
            }
        })?;
        Ok(Panels { elements, factors, columns, taps })
    }

    /// 16 columns from `first` on, for a tap.
    fn of(&self, first: usize, tap: usize) -> &[Bf16] {
        let panel = self.factors * TILE;
        &self.elements[(first / TILE * self.taps + tap) * panel..][..panel]
    }
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;
    use crate::kernels::tiles::{numbers, Plain};
    use crate::kernels::{elements, elements_mut};
    use crate::libtorch::{channels_last, convolution_gradients};
    use crate::network::{by_pixel, conv2d, Conv2d};

    fn compare(found: &Tensor, expected: &Tensor, what: &str) {
        let far = (found.to_kind(Kind::Float) - expected).abs() - expected.abs() * 4e-3;
        let worst = far.max().double_value(&[]);
        assert!(worst < 1e-4, "{what}: {worst}");
    }

    // Against libtorch's convolution and its gradient of the same numbers in float32, rounded.
    #[test]
    fn maps_are_libtorchs() {
        for (images, map, inputs, outputs, kernel, stride, padding, dilation) in [
            (64, [4, 4], 32, 64, [3, 3], [1, 1], [1, 1], [1, 1]),
            (17, [7, 7], 64, 32, [3, 3], [1, 1], [1, 1], [1, 1]),
            (33, [7, 5], 32, 32, [3, 3], [2, 2], [1, 1], [1, 1]),
            (40, [8, 7], 32, 64, [1, 1], [2, 2], [0, 0], [1, 1]),
            (21, [6, 9], 96, 32, [5, 3], [1, 3], [0, 2], [1, 1]),
            (32, [5, 6], 32, 32, [3, 2], [1, 1], [2, 1], [2, 1]),
            (30, [1, 1], 32, 32, [3, 3], [1, 1], [1, 1], [1, 1]),
            (1, [2, 3], 32, 32, [1, 3], [5, 7], [0, 1], [1, 1]),
        ] {
            let conv = Conv2d {
                kernel_size: kernel,
                padding,
                stride,
                dilation,
                bias: true,
                ..Conv2d::new(inputs, outputs, 1)
            };
            let [height, width] = conv.output_size(map);
            let x = channels_last(&numbers(&[images, inputs, map[0], map[1]], 0.7)).unwrap();
            let dy = channels_last(&numbers(&[images, outputs, height, width], 1.3)).unwrap();
            let weight = numbers(&[outputs, inputs, kernel[0], kernel[1]], 2.1) * 0.1;
            let bias = numbers(&[outputs], 0.3);
            let float = |x: &Tensor| x.to_kind(Kind::Float);
            let expected = conv2d(&float(&x), &float(&weight), Some(&float(&bias)), &conv).unwrap();
            let with_other = (&expected + float(&dy)).relu();
            let [by_input, ..] =
                convolution_gradients(&float(&dy), &float(&x), &float(&weight), &conv, [true, false, false])
                    .unwrap();
            let by_input = by_input.unwrap();
            let by_pixel = by_pixel(&conv, map);
            let [y, dx] = [&dy, &x].map(|like| like.full_like(f64::NAN));
            // SAFETY: all are dense, channels-last or in one order only, on the CPU and of this type.
            let (x, dy, weight, bias, to, dx_to) = unsafe {
                let [x, dy, weight, bias] = [&x, &dy, &weight, &bias].map(|x| elements::<Bf16>(x));
                (x, dy, weight, bias, elements_mut::<Bf16>(&y), elements_mut::<Bf16>(&dx))
            };
            let [forward, back] = [Panels::forward(weight, &by_pixel), Panels::back(weight, &by_pixel)];
            let (forward, back) = (forward.unwrap(), back.unwrap());
            let [terms, terms_back] = [by_pixel.forward(), by_pixel.back()];
            let plain = Finish { bias: Some(bias), ..Finish::default() };
            let pixels = [by_pixel.taps.inputs, by_pixel.taps.outputs()];
            add_up(|| Plain, x, pixels[0], &forward, plain, &terms, to).unwrap();
            add_up(|| Plain, dy, pixels[1], &back, Finish::default(), &terms_back, dx_to).unwrap();
            compare(&y, &expected, &format!("loops, {conv:?}"));
            compare(&dx, &by_input, &format!("loops back, {conv:?}"));
            let whole = Finish { other: Some(dy), relu: true, ..plain };
            add_up(|| Plain, x, pixels[0], &forward, whole, &terms, to).unwrap();
            compare(&y, &with_other, &format!("loops with a sum, {conv:?}"));
            if let Some(unit) = Unit::find() {
                dx_to.fill(Bf16::from_value(f32::NAN));
                convolution_by_input(unit, dy, &back, &by_pixel, dx_to).unwrap();
                compare(&dx, &by_input, &format!("unit back, {conv:?}"));
                for (finish, expected) in [(plain, &expected), (whole, &with_other)] {
                    to.fill(Bf16::from_value(f32::NAN));
                    convolution(unit, x, &forward, &by_pixel, finish, to).unwrap();
                    compare(&y, expected, &format!("unit, {conv:?}"));
                }
            }
        }
    }
}

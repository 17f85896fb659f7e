//! The gradient of a convolution by its weight, as products on the matrix unit. oneDNN (3.10) takes up to three
//! times as long for it there, and three to four times as long as for the convolution itself.
//!
//! For each tap of the kernel it is a product of two matrices, channels out by pixels and pixels by channels in, where the
//! second is that of the map moved by the tap. So that moving is an offset, both maps get rows and columns of zeros: then pixel
//! (row, column) of an image's result is place `row · (width + margin) + column`, and what is beyond an edge is a zero. With a
//! stride, taps meet the same pixels of the map if their distance is a multiple of it; each such set of pixels is laid out by
//! itself.

use std::iter::once;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::element::{Bf16, Element, Places};
use super::lines::Lines;
use super::tiles::{Factors, Multiply, Unit, BLOCK, STEP, TILE};
use crate::error::Result;
use crate::libtorch::parallel;

/// Places that are worked on at a time: what belongs to them stays in the processor's second cache.
const GROUP: usize = 512;

/// A convolution of maps (images, height, width, channels) whose padding is half of its kernel, which has a middle.
pub struct Centered {
    pub images: usize,
    pub map: [usize; 2],
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
}

/// The first of the pixels that a tap meets, by row and column: the stride leads to the others.
type First = [usize; 2];

impl Centered {
    /// The unit for [`weight_gradient`], if this machine has one and it takes such a convolution.
    pub fn unit(&self) -> Option<Unit> {
        let whole = self.inputs % BLOCK == 0 && self.outputs % BLOCK == 0;
        let middle = self.kernel.iter().all(|side| side % 2 == 1);
        let any = self.images > 0 && self.map.iter().chain(&self.stride).all(|side| *side > 0);
        // Of more sets of pixels each would be mostly zeros.
        let sets: usize =
            self.kernel.iter().zip(&self.stride).map(|(side, stride)| side.min(stride)).product();
        if whole && middle && any && sets <= 16 {
            Unit::find()
        } else {
            None
        }
    }

    /// Height and width of the result.
    fn result(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.map[axis].div_ceil(self.stride[axis]))
    }

    /// Rows and columns of zeros after those of an image's result: as many as a tap reaches beyond them.
    fn margin(&self) -> [usize; 2] {
        [0, 1].map(|axis| (self.kernel[axis] / 2).div_ceil(self.stride[axis]))
    }

    /// Places of a row of an image.
    fn row(&self) -> usize {
        self.result()[1] + self.margin()[1]
    }

    /// Places of an image.
    fn image(&self) -> usize {
        (self.result()[0] + self.margin()[0]) * self.row()
    }

    /// Places before the first, an even number, which are zeros.
    fn lead(&self) -> usize {
        let [rows, columns] = self.margin();
        (rows * self.row() + columns).next_multiple_of(2)
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Which pixels a tap meets, and from the first place of the gradient to the one that it multiplies with.
    fn reach(&self, tap: usize) -> (First, usize) {
        let tap = [tap / self.kernel[1], tap % self.kernel[1]];
        let (mut first, mut steps) = ([0; 2], [0; 2]);
        for axis in 0..2 {
            let [margin, stride] = [self.margin()[axis], self.stride[axis]];
            let from = margin * stride + tap[axis] - self.kernel[axis] / 2; // of the first pixel in the margin before
            (first[axis], steps[axis]) = (from % stride, from / stride);
        }
        let [rows, columns] = self.margin();
        (first, self.lead() + steps[0] * self.row() + steps[1] - rows * self.row() - columns)
    }

    fn weights(&self) -> usize {
        self.outputs * self.inputs * self.taps()
    }

    /// Which pixel is at each of the first places of a group of images: of a map of this size those that `stride` comes to
    /// from `first`.
    fn pixels(&self, places: usize, map: [usize; 2], stride: [usize; 2], first: First) -> Vec<Option<usize>> {
        let [height, width] = map;
        let pixel = |place: usize| {
            let (image, place) = (place / self.image(), place % self.image());
            let [row, column] =
                [place / self.row() * stride[0] + first[0], place % self.row() * stride[1] + first[1]];
            (row < height && column < width).then_some((image * height + row) * width + column)
        };
        (0..places).map(pixel).collect()
    }
}

/// Writes the gradient by the weight (channels out, channels in, rows, columns) of the map `x` and the gradient `dy` by the
/// result to `to`. Where one of them is not finite, this may have NaN for what is infinite.
///
/// The order of the additions depends on the number of threads alone.
pub fn weight_gradient(unit: Unit, x: &[Bf16], dy: &[Bf16], conv: &Centered, to: &mut [f32]) -> Result<()> {
    with(|| unit.set_up(), x, dy, conv, to)
}

fn with<M: Multiply>(
    set_up: impl Fn() -> M + Sync,
    x: &[Bf16],
    dy: &[Bf16],
    conv: &Centered,
    to: &mut [f32],
) -> Result<()> {
    let pixels = |[height, width]: [usize; 2]| conv.images * height * width;
    assert!(x.len() == pixels(conv.map) * conv.inputs && dy.len() == pixels(conv.result()) * conv.outputs);
    assert!(to.len() == conv.weights());
    let parts = Mutex::new(Vec::new());
    parallel(conv.images, GROUP.div_ceil(conv.image()), |images| {
        let start = images.start;
        let mut sums = Lines::zeros(conv.weights());
        add(&set_up(), x, dy, conv, images, &mut sums);
        parts.lock().unwrap_or_else(PoisonError::into_inner).push((start, sums));
    })?;
    let mut parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
    parts.sort_by_key(|(start, _)| *start);
    let (to, filter) = (Places::new(to), conv.inputs * conv.taps());
    parallel(conv.outputs, (1 << 14) / filter, |filters| {
        for output in filters {
            // SAFETY: `to` is borrowed until all filters, which do not overlap, are done.
            let to = unsafe { to.slice(output * filter..(output + 1) * filter) };
            let mut total = vec![0f32; filter];
            for (tap, total) in total.chunks_exact_mut(conv.inputs).enumerate() {
                for (_, sums) in &parts {
                    let sums = &sums[(tap * conv.outputs + output) * conv.inputs..][..conv.inputs];
                    total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
                }
            }
            for (input, to) in to.chunks_exact_mut(conv.taps()).enumerate() {
                let of_input = total[input..].iter().step_by(conv.inputs);
                to.iter_mut().zip(of_input).for_each(|(to, total)| *to = *total);
            }
        }
    })
}

/// Adds the products of some images to `sums` (taps, channels out, channels in).
fn add<'a, M: Multiply>(
    tiles: &M,
    x: &'a [Bf16],
    dy: &'a [Bf16],
    conv: &Centered,
    images: Range<usize>,
    sums: &mut [f32],
) {
    let Centered { inputs, outputs, map, stride, .. } = *conv;
    let group = (GROUP / conv.image()).clamp(1, images.len());
    let places = (group * conv.image()).next_multiple_of(STEP);
    let mut met: Vec<(First, Vec<Option<usize>>, Pairs)> = Vec::new();
    for (first, _) in (0..conv.taps()).map(|tap| conv.reach(tap)) {
        if !met.iter().any(|(of, ..)| *of == first) {
            let length = (conv.reach(conv.taps() - 1).1 + places).next_multiple_of(2);
            met.push((first, conv.pixels(places, map, stride, first), Pairs::new(length, inputs)));
        }
    }
    let (result, mut left) = (conv.result(), Transposed::new(places, outputs));
    let pixels = conv.pixels(places, result, [1, 1], [0, 0]);
    for start in images.clone().step_by(group) {
        let images = start..(start + group).min(images.end);
        let of_group = |map: &'a [Bf16], [height, width]: [usize; 2], channels| {
            let each = height * width * channels;
            &map[images.start * each..images.end * each]
        };
        for (_, pixels, right) in &mut met {
            right.fill(&Rows { map: of_group(x, map, inputs), channels: inputs, pixels }, conv.lead());
        }
        left.fill(&Rows { map: of_group(dy, result, outputs), channels: outputs, pixels: &pixels });
        for output in (0..outputs).step_by(BLOCK) {
            for input in (0..inputs).step_by(BLOCK) {
                for tap in 0..conv.taps() {
                    let (first, place) = conv.reach(tap);
                    let (.., right) = met.iter().find(|(of, ..)| *of == first).expect("every tap's");
                    let factors = Factors {
                        left: &left.elements[output * left.pitch..],
                        right: [input, input + TILE].map(|channel| right.of(channel, place, places)),
                    };
                    let sums = &mut sums[(tap * outputs + output) * inputs + input..];
                    tiles.add_products(once(factors), left.pitch, sums, inputs);
                }
            }
        }
    }
}

/// A map's pixels by the places of a group of images; zeros where there is none.
struct Rows<'a> {
    map: &'a [Bf16],
    channels: usize,
    pixels: &'a [Option<usize>],
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn at(&self, place: usize, zeros: &'a [Bf16]) -> &'a [Bf16] {
        let pixel = self.pixels.get(place).copied().flatten();
        pixel
            .and_then(|pixel| self.map.get(pixel * self.channels..(pixel + 1) * self.channels))
            .unwrap_or(zeros)
    }
}

/// A map (places, channels) as what products multiply with: of each 16 channels the pairs of neighbouring places, those
/// that begin with an even one and those that begin with an odd one.
struct Pairs {
    even: Lines<Bf16>,
    odd: Lines<Bf16>,
    /// Elements of 16 channels.
    part: usize,
}

impl Pairs {
    fn new(places: usize, channels: usize) -> Self {
        let zeros = || Lines::zeros(places * channels);
        Pairs { even: zeros(), odd: zeros(), part: places * TILE }
    }

    /// Takes `rows` as the places from `lead` on, which is even.
    fn fill(&mut self, rows: &Rows, lead: usize) {
        let zeros = vec![Bf16::from_value(0.0); rows.channels];
        let places = rows.pixels.len();
        let pairs = |to: &mut [Bf16], part: usize, place: usize, first: &[Bf16], second: &[Bf16]| {
            for (channels, (first, second)) in
                first.chunks_exact(TILE).zip(second.chunks_exact(TILE)).enumerate()
            {
                let to = &mut to[channels * part + place * TILE..][..2 * TILE];
                interleave(
                    first.try_into().expect("16"),
                    second.try_into().expect("16"),
                    to.try_into().expect("32"),
                );
            }
        };
        let mut last = zeros.as_slice(); // what is at the place before
        for place in (0..places).step_by(2) {
            let [first, second] = [rows.at(place, &zeros), rows.at(place + 1, &zeros)];
            if lead > 0 {
                pairs(&mut self.odd, self.part, lead + place - 2, last, first);
            }
            pairs(&mut self.even, self.part, lead + place, first, second);
            last = second;
        }
        pairs(&mut self.odd, self.part, lead + places - 2, last, &zeros);
    }

    /// 16 channels from `first` on and so many places from `place` on.
    fn of(&self, first: usize, place: usize, places: usize) -> &[Bf16] {
        let elements = if place % 2 == 0 { &self.even } else { &self.odd };
        &elements[first / TILE * self.part + place / 2 * 2 * TILE..][..places * TILE]
    }
}

#[inline(always)]
fn interleave(first: &[Bf16; TILE], second: &[Bf16; TILE], to: &mut [Bf16; 2 * TILE]) {
    for channel in 0..TILE {
        to[2 * channel] = first[channel];
        to[2 * channel + 1] = second[channel];
    }
}

/// A map as (channels, places).
struct Transposed {
    elements: Lines<Bf16>,
    /// From one channel to the next, an odd number of cache lines: they would fall upon one another otherwise.
    pitch: usize,
}

impl Transposed {
    fn new(places: usize, channels: usize) -> Self {
        let pitch = ((places / STEP) | 1) * STEP;
        Transposed { elements: Lines::zeros(pitch * channels), pitch }
    }

    fn fill(&mut self, rows: &Rows) {
        let zeros = vec![Bf16::from_value(0.0); rows.channels];
        for start in (0..rows.pixels.len()).step_by(TILE) {
            let block: [&[Bf16]; TILE] = std::array::from_fn(|place| rows.at(start + place, &zeros));
            for channels in (0..rows.channels).step_by(TILE) {
                for channel in channels..channels + TILE {
                    let to = &mut self.elements[channel * self.pitch + start..][..TILE];
                    to.iter_mut().zip(block).for_each(|(to, row)| *to = row[channel]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::kernels::tiles::{numbers, Plain};
    use crate::kernels::{elements, elements_mut};
    use crate::libtorch::{channels_last, convolution_gradients};
    use crate::network::Conv2d;

    // Against libtorch's gradient of the same numbers in float32.
    #[test]
    fn gradients_are_libtorchs() {
        for (images, map, inputs, outputs, kernel, stride) in [
            (3, [4, 4], 32, 64, [3, 3], [1, 1]),
            (130, [7, 7], 64, 32, [3, 3], [1, 1]),
            (5, [14, 13], 32, 32, [5, 5], [1, 1]),
            (2, [30, 31], 32, 32, [3, 3], [1, 1]),
            (9, [5, 6], 32, 96, [1, 1], [1, 1]),
            (4, [1, 6], 32, 32, [1, 3], [1, 1]),
            (40, [3, 2], 32, 32, [7, 3], [1, 1]),
            (1, [1, 1], 32, 32, [3, 3], [1, 1]),
            (33, [7, 7], 32, 64, [3, 3], [2, 2]),
            (3, [14, 15], 64, 32, [3, 3], [2, 2]),
            (21, [8, 7], 32, 64, [1, 1], [2, 2]),
            (5, [14, 9], 32, 32, [7, 5], [2, 2]),
            (7, [11, 10], 32, 32, [5, 3], [3, 2]),
            (2, [9, 30], 32, 32, [3, 7], [1, 4]),
            (6, [2, 3], 32, 32, [1, 3], [5, 7]),
            (600, [1, 1], 32, 32, [3, 3], [2, 2]),
        ] {
            let conv = Conv2d {
                kernel_size: kernel,
                padding: kernel.map(|side| side / 2),
                stride,
                ..Conv2d::new(inputs, outputs, 1)
            };
            let [height, width] = conv.output_size(map);
            let x = channels_last(&numbers(&[images, inputs, map[0], map[1]], 0.7)).unwrap();
            let dy = channels_last(&numbers(&[images, outputs, height, width], 1.3)).unwrap();
            let [rows, columns] = kernel;
            let weight = Tensor::zeros([outputs, inputs, rows, columns], (Kind::Float, Device::Cpu));
            let [float_dy, float_x] = [&dy, &x].map(|x| x.to_kind(Kind::Float));
            let [_, expected, _] =
                convolution_gradients(&float_dy, &float_x, &weight, &conv, [false, true, false]).unwrap();
            let expected = expected.unwrap().contiguous();
            let centered = Centered {
                images: images as usize,
                map: map.map(|side| side as usize),
                inputs: inputs as usize,
                outputs: outputs as usize,
                kernel: kernel.map(|side| side as usize),
                stride: stride.map(|side| side as usize),
            };
            let found = weight.empty_like();
            let check = |way: &str| {
                let far = (&found - &expected).abs().max().double_value(&[]);
                assert!(
                    far < 1e-5 * (images * height * width) as f64,
                    "{way}: {far} for {conv:?} on {:?}",
                    x.size()
                );
            };
            // SAFETY: all are dense, channels-last or new, on the CPU and of these types.
            let (x, dy, to) =
                unsafe { (elements::<Bf16>(&x), elements::<Bf16>(&dy), elements_mut::<f32>(&found)) };
            with(|| Plain, x, dy, &centered, to).unwrap();
            check("loops");
            if let Some(unit) = centered.unit() {
                to.fill(f32::NAN);
                weight_gradient(unit, x, dy, &centered, to).unwrap();
                check("unit");
            }
        }
    }
}

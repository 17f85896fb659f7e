//! Max pooling, for inference without the places of the maxima and for training with them.

use std::ops::Range;

use super::element::{larger, Element, Places};
use super::vectorised;
use crate::error::Result;
use crate::libtorch::parallel;
use crate::network::Pool2d;

/// Shape of one image.
#[derive(Clone, Copy)]
pub struct Map {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl Map {
    fn elements(&self) -> usize {
        self.height * self.width * self.channels
    }
}

/// Elements from which on a second thread pays.
const GRAIN: usize = 1 << 14;

/// The windows along one axis.
#[derive(Clone, Copy)]
pub struct Windows {
    lines: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    pub count: usize,
}

impl Windows {
    pub fn new(pool: &Pool2d, axis: usize, lines: usize) -> Self {
        let [kernel, stride, padding] =
            [pool.kernel_size, pool.stride, pool.padding].map(|pair| pair[axis] as usize);
        Windows { lines, kernel, stride, padding, count: (lines + 2 * padding - kernel) / stride + 1 }
    }

    /// The lines of a window; those of the padding are left out.
    fn lines(&self, window: usize) -> Range<usize> {
        let start = window * self.stride;
        start.saturating_sub(self.padding)..(start + self.kernel - self.padding).min(self.lines)
    }
}

/// Runs a block for all channels, as many side by side as go into a few registers, and the rest in ever smaller parts.
/// The values that it keeps are local: written to where they are read from, they would become masked stores, which are
/// tens of times slower on some machines.
macro_rules! by_lanes {
    ($channels:expr, |$channel:ident, $lanes:ident| $block:block) => {{
        let mut $channel = 0;
        by_lanes!(@loop 16, $channels, $channel, $lanes, $block);
        by_lanes!(@loop 4, $channels, $channel, $lanes, $block);
        by_lanes!(@loop 1, $channels, $channel, $lanes, $block);
    }};
    (@loop $count:literal, $channels:expr, $channel:ident, $lanes:ident, $block:block) => {{
        const $lanes: usize = $count;
        while $channels - $channel >= $lanes {
            $block
            $channel += $lanes;
        }
    }};
}

/// Two slices of as many elements as there are channels, or none.
type Limits<'a, T> = Option<(&'a [T], &'a [T])>;

vectorised! {
    /// The maxima `y` of the windows of images `x`, clamped to the limits of each channel if there are any. A NaN in a
    /// window is its maximum, as in PyTorch. One thread does it all.
    pub fn max_pool<T: Element>(
        x: &[T],
        map: Map,
        rows: Windows,
        columns: Windows,
        limits: Limits<T>,
        y: &mut [T],
    ) {
        let pooled = rows.count * columns.count * map.channels;
        for (x, y) in x.chunks_exact(map.elements()).zip(y.chunks_exact_mut(pooled)) {
            for (index, y) in y.chunks_exact_mut(map.channels).enumerate() {
                let window = Window::new(map, rows, columns, index);
                by_lanes!(map.channels, |channel, LANES| {
                    let mut best = [f32::NEG_INFINITY; LANES];
                    for at in window.places(channel) {
                        let found: &[T; LANES] = lanes(x, at);
                        (0..LANES).for_each(|lane| best[lane] = larger(best[lane], found[lane].value()));
                    }
                    (0..LANES).for_each(|lane| y[channel + lane] = T::with_value(best[lane]));
                });
                clamp(y, limits);
            }
        }
    }
}

#[inline(always)]
fn lanes<T, const LANES: usize>(x: &[T], at: usize) -> &[T; LANES] {
    x[at..at + LANES].try_into().expect("the slice has as many elements")
}

/// One window over a map: its lines within the map.
struct Window {
    rows: Range<usize>,
    columns: Range<usize>,
    map: Map,
}

impl Window {
    /// Windows are counted row by row.
    #[inline(always)]
    fn new(map: Map, rows: Windows, columns: Windows, index: usize) -> Self {
        let (row, column) = (index / columns.count, index % columns.count);
        Window { rows: rows.lines(row), columns: columns.lines(column), map }
    }

    /// Where a channel of its pixels lies in the image.
    #[inline(always)]
    fn places(&self, channel: usize) -> impl Iterator<Item = usize> + '_ {
        let Map { width, channels, .. } = self.map;
        let line =
            move |row| self.columns.clone().map(move |column| (row * width + column) * channels + channel);
        self.rows.clone().flat_map(line)
    }
}

vectorised! {
    /// The maxima `y` over neighbouring groups of so many channels each, clamped as in [`max_pool`].
    pub fn group_max<T: Element>(x: &[T], channels: usize, groups: usize, limits: Limits<T>, y: &mut [T]) {
        // Loops over so few channels are quick when their number is known to the compiler.
        match (channels, groups) {
            (1, 4) => max_of_four::<T, 1>(x, limits, y),
            (2, 4) => max_of_four::<T, 2>(x, limits, y),
            (3, 4) => max_of_four::<T, 3>(x, limits, y),
            (4, 4) => max_of_four::<T, 4>(x, limits, y),
            (5, 4) => max_of_four::<T, 5>(x, limits, y),
            (6, 4) => max_of_four::<T, 6>(x, limits, y),
            (7, 4) => max_of_four::<T, 7>(x, limits, y),
            (8, 4) => max_of_four::<T, 8>(x, limits, y),
            _ => {
                for (x, y) in x.chunks_exact(channels * groups).zip(y.chunks_exact_mut(channels)) {
                    y.copy_from_slice(&x[..channels]);
                    let others = x[channels..].chunks_exact(channels);
                    others.for_each(|x| y.iter_mut().zip(x).for_each(|(y, x)| *y = T::with_value(larger(y.value(), x.value()))));
                    clamp(y, limits);
                }
            }
        }
    }
}

#[inline(always)]
fn max_of_four<T: Element, const CHANNELS: usize>(x: &[T], limits: Limits<T>, y: &mut [T]) {
    for (x, y) in x.chunks_exact(4 * CHANNELS).zip(y.chunks_exact_mut(CHANNELS)) {
        for channel in 0..CHANNELS {
            let of = |group: usize| x[group * CHANNELS + channel].value();
            y[channel] = T::with_value(larger(larger(of(0), of(1)), larger(of(2), of(3))));
        }
        clamp(y, limits);
    }
}

#[inline(always)]
fn clamp<T: Element>(y: &mut [T], limits: Limits<T>) {
    if let Some((low, high)) = limits {
        for (y, (low, high)) in y.iter_mut().zip(low.iter().zip(high)) {
            *y = y.between(*low, *high);
        }
    }
}

/// The maxima `y` of the windows of images `x`, and where in its window each was found: `taps` counts the places of a
/// window row by row. Of several equals it is the first, as in PyTorch.
pub fn max_pool_taps<T: Element>(
    x: &[T],
    map: Map,
    [rows, columns]: [Windows; 2],
    y: &mut [T],
    taps: &mut [i16],
) -> Result<()> {
    let (size, pooled) = (map.elements(), rows.count * columns.count * map.channels);
    let (y, taps) = (Places::new(y), Places::new(taps));
    parallel(x.len() / size.max(1), GRAIN / size.max(1), |images| {
        let range = images.start * pooled..images.end * pooled;
        // SAFETY: both are borrowed until all ranges, which do not overlap, are done.
        let (y, taps) = unsafe { (y.slice(range.clone()), taps.slice(range)) };
        pool_with_taps(&x[images.start * size..images.end * size], map, rows, columns, y, taps);
    })
}

vectorised! {
    fn pool_with_taps<T: Element>(
        x: &[T],
        map: Map,
        rows: Windows,
        columns: Windows,
        y: &mut [T],
        taps: &mut [i16],
    ) {
        let channels = map.channels;
        let pooled = rows.count * columns.count * channels;
        let results = y.chunks_exact_mut(pooled).zip(taps.chunks_exact_mut(pooled));
        for (x, (y, taps)) in x.chunks_exact(map.elements()).zip(results) {
            let windows = y.chunks_exact_mut(channels).zip(taps.chunks_exact_mut(channels));
            for (index, (y, taps)) in windows.enumerate() {
                let window = Window::new(map, rows, columns, index);
                // The tap of the first line in the map, and of the first in each row of the window.
                let first_row = window.rows.start + rows.padding - index / columns.count * rows.stride;
                let first_column = window.columns.start + columns.padding - index % columns.count * columns.stride;
                let width = window.columns.len();
                by_lanes!(channels, |channel, LANES| {
                    let mut best = [f32::NEG_INFINITY; LANES];
                    let mut best_taps = [(first_row * columns.kernel + first_column) as i32; LANES];
                    for (number, at) in window.places(channel).enumerate() {
                        let (row, column) = (first_row + number / width, first_column + number % width);
                        let tap = (row * columns.kernel + column) as i32;
                        let found: &[T; LANES] = lanes(x, at);
                        for lane in 0..LANES {
                            let value = found[lane].value();
                            let better = (value > best[lane]) | value.is_nan();
                            best[lane] = if better { value } else { best[lane] };
                            best_taps[lane] = if better { tap } else { best_taps[lane] };
                        }
                    }
                    for lane in 0..LANES {
                        y[channel + lane] = T::with_value(best[lane]);
                        taps[channel + lane] = best_taps[lane] as i16;
                    }
                });
            }
        }
    }
}

/// The gradient `dx` of [`max_pool_taps`] by its input, from that by its result.
pub fn max_pool_gradient<T: Element>(
    dy: &[T],
    taps: &[i16],
    map: Map,
    [rows, columns]: [Windows; 2],
    dx: &mut [T],
) -> Result<()> {
    let (size, pooled) = (map.elements(), rows.count * columns.count * map.channels);
    let images = dx.len() / size.max(1);
    let dx = Places::new(dx);
    // How far a tap is from the window's first.
    let offsets: Vec<usize> = (0..rows.kernel * columns.kernel)
        .map(|tap| (tap / columns.kernel * map.width + tap % columns.kernel) * map.channels)
        .collect();
    parallel(images, GRAIN / size.max(1), |images| {
        // SAFETY: `dx` is borrowed until all ranges, which do not overlap, are done.
        let dx = unsafe { dx.slice(images.start * size..images.end * size) };
        let range = images.start * pooled..images.end * pooled;
        spread(&dy[range.clone()], &taps[range], map, rows, columns, &offsets, dx);
    })
}

vectorised! {
    fn spread<T: Element>(
        dy: &[T],
        taps: &[i16],
        map: Map,
        rows: Windows,
        columns: Windows,
        offsets: &[usize],
        dx: &mut [T],
    ) {
        dx.fill(T::from_value(0.0));
        let channels = map.channels;
        let pooled = rows.count * columns.count * channels;
        let gradients = dy.chunks_exact(pooled).zip(taps.chunks_exact(pooled));
        for (dx, (dy, taps)) in dx.chunks_exact_mut(map.elements()).zip(gradients) {
            let windows = dy.chunks_exact(channels).zip(taps.chunks_exact(channels));
            for (window, (dy, taps)) in windows.enumerate() {
                let (row, column) = (window / columns.count, window % columns.count);
                // Where the window's first tap would be, which may lie in the padding, counted from there.
                let first = (row * rows.stride * map.width + column * columns.stride) * channels;
                let padding = (rows.padding * map.width + columns.padding) * channels;
                for (channel, (dy, tap)) in dy.iter().zip(taps).enumerate() {
                    let place = &mut dx[first + offsets[*tap as usize] + channel - padding];
                    *place = T::from_value(place.value() + dy.value());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::super::{elements, elements_mut};
    use super::*;

    // Against libtorch's max_pool2d and its gradient, to the last bit. Small whole numbers make for many ties.
    #[test]
    fn maxima_and_gradients_are_libtorchs() {
        let pools = [
            Pool2d::new(2, 2, 0),
            Pool2d::new(3, 2, 1),
            Pool2d::new(3, 1, 1),
            Pool2d { kernel_size: [5, 2], stride: [1, 2], padding: [2, 0] },
        ];
        for size in [[3, 6, 9, 11], [1, 1, 5, 5], [2, 64, 6, 7]] {
            let x = Tensor::randint(4, size, (Kind::Float, Device::Cpu)).set_requires_grad(true);
            for pool in &pools {
                let expected = x.max_pool2d(pool.kernel_size, pool.stride, pool.padding, [1, 1], false);
                let dy = Tensor::randint(9, expected.size(), (Kind::Float, Device::Cpu));
                let loss = (&expected * &dy).sum(Kind::Float);
                let gradient = Tensor::run_backward(&[&loss], &[&x], false, false).remove(0);

                let pixels = |x: &Tensor| x.detach().permute([0, 2, 3, 1]).contiguous();
                let (x, dy, expected) = (pixels(&x), pixels(&dy), pixels(&expected));
                let map =
                    Map { height: size[2] as usize, width: size[3] as usize, channels: size[1] as usize };
                let windows = [Windows::new(pool, 0, map.height), Windows::new(pool, 1, map.width)];
                let (y, dx) = (expected.empty_like(), x.empty_like());
                let mut taps = vec![0; y.numel()];
                // SAFETY: all are dense and float32, and `y` and `dx` are new.
                unsafe {
                    max_pool_taps::<f32>(elements(&x), map, windows, elements_mut(&y), &mut taps).unwrap();
                    max_pool_gradient::<f32>(elements(&dy), &taps, map, windows, elements_mut(&dx)).unwrap();
                }
                assert!(y.equal(&expected), "{size:?} {pool:?}");
                assert!(dx.equal(&pixels(&gradient)), "{size:?} {pool:?}");
            }
        }
    }
}

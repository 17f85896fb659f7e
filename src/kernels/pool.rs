//! Max pooling, for inference without the places of the maxima and for training with them.

use super::element::{Element, Places};
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
    fn lines(&self, window: usize) -> std::ops::Range<usize> {
        let start = window * self.stride;
        start.saturating_sub(self.padding)..(start + self.kernel - self.padding).min(self.lines)
    }
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
        let channels = map.channels;
        let row = map.width * channels;
        let mut tallest = x[..row.min(x.len())].to_vec(); // the maxima of a window's rows
        let images = x.chunks_exact(map.height * row);
        for (x, y) in images.zip(y.chunks_exact_mut(rows.count * columns.count * channels)) {
            for (window, y) in y.chunks_exact_mut(columns.count * channels).enumerate() {
                let lines = rows.lines(window);
                tallest.copy_from_slice(&x[lines.start * row..][..row]);
                for line in lines.skip(1) {
                    larger(&mut tallest, &x[line * row..][..row]);
                }
                for (window, y) in y.chunks_exact_mut(channels).enumerate() {
                    let lines = columns.lines(window);
                    y.copy_from_slice(&tallest[lines.start * channels..][..channels]);
                    for line in lines.skip(1) {
                        larger(y, &tallest[line * channels..][..channels]);
                    }
                    if let Some((low, high)) = limits {
                        for (y, (low, high)) in y.iter_mut().zip(low.iter().zip(high)) {
                            *y = y.between(*low, *high);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn larger<T: Element>(a: &mut [T], b: &[T]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a = a.or_larger(*b);
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
        let row = map.width * channels;
        // The maxima of a window's rows, and the tap of each at the window's left border.
        let (mut tallest, mut tallest_taps) = (x[..row.min(x.len())].to_vec(), vec![0i16; row]);
        let pooled = rows.count * columns.count * channels;
        let results = y.chunks_exact_mut(pooled).zip(taps.chunks_exact_mut(pooled));
        for (x, (y, taps)) in x.chunks_exact(map.height * row).zip(results) {
            let across = columns.count * channels;
            for (window, (y, taps)) in y.chunks_exact_mut(across).zip(taps.chunks_exact_mut(across)).enumerate() {
                let lines = rows.lines(window);
                let tap = |line: usize| ((line + rows.padding - window * rows.stride) * columns.kernel) as i16;
                tallest.copy_from_slice(&x[lines.start * row..][..row]);
                tallest_taps.fill(tap(lines.start));
                for line in lines.skip(1) {
                    let (tap, line) = (tap(line), &x[line * row..][..row]);
                    for ((best, best_tap), x) in tallest.iter_mut().zip(&mut tallest_taps).zip(line) {
                        let better = (x.value() > best.value()) | x.value().is_nan();
                        *best = if better { *x } else { *best };
                        *best_tap = if better { tap } else { *best_tap };
                    }
                }
                let results = y.chunks_exact_mut(channels).zip(taps.chunks_exact_mut(channels));
                for (window, (y, taps)) in results.enumerate() {
                    let lines = columns.lines(window);
                    let tap = |line: usize| (line + columns.padding - window * columns.stride) as i16;
                    let at = lines.start * channels;
                    y.copy_from_slice(&tallest[at..][..channels]);
                    let offset = tap(lines.start);
                    taps.iter_mut().zip(&tallest_taps[at..]).for_each(|(tap, above)| *tap = above + offset);
                    for line in lines.skip(1) {
                        let (offset, at) = (tap(line), line * channels);
                        let found = tallest[at..].iter().zip(&tallest_taps[at..]);
                        for ((best, best_tap), (x, above)) in y.iter_mut().zip(taps.iter_mut()).zip(found) {
                            let (value, tap) = (x.value(), above + offset);
                            let earlier = (value == best.value()) & (tap < *best_tap);
                            let better = (value > best.value()) | value.is_nan() | earlier;
                            *best = if better { *x } else { *best };
                            *best_tap = if better { tap } else { *best_tap };
                        }
                    }
                }
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

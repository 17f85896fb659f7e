//! Max pooling without the places of the maxima. libtorch's kernel finds those too, which inference has no use for.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::network::{max_pool, Pool2d};

/// The least and the greatest value of each channel: both (channels,), of the images' dtype.
pub struct Bounds {
    pub low: Tensor,
    pub high: Tensor,
}

/// Max pooling of images (N, C, H, W), float32 or bfloat16, and then clamping if there are bounds. On the CPU it uses one
/// thread, and the result is channels-last. A NaN in a window is its maximum, as in PyTorch, and stays one.
pub fn pooled_maximum(x: &Tensor, pool: &Pool2d, bounds: Option<&Bounds>) -> Result<Tensor> {
    let kind = x.f_kind()?;
    if x.device() != Device::Cpu || !matches!(kind, Kind::Float | Kind::BFloat16) {
        let y = max_pool(x, pool)?;
        let Some(Bounds { low, high }) = bounds else { return Ok(y) };
        let [low, high] = [low.f_view([1, -1, 1, 1])?, high.f_view([1, -1, 1, 1])?];
        return Ok(y.f_clamp_tensor(Some(&low), Some(&high))?);
    }
    let pixels = x.f_permute([0, 2, 3, 1])?.f_contiguous()?;
    let size: Vec<usize> = pixels.size().iter().map(|&size| size as usize).collect();
    let map = Map { height: size[1], width: size[2], channels: size[3] };
    let windows = [Windows::new(pool, 0, map.height), Windows::new(pool, 1, map.width)];
    let [height, width] = [&windows[0], &windows[1]].map(|windows| windows.count as i64);
    let y = Tensor::f_empty([size[0] as i64, height, width, size[3] as i64], (kind, Device::Cpu))?;
    // SAFETY: both tensors are on the CPU, contiguous and of this element type; `y` is new, so nothing else sees it.
    unsafe {
        match kind {
            Kind::Float => {
                pool_images::<f32>(elements(&pixels), elements_mut(&y), &map, &windows, slices(bounds))
            }
            _ => pool_images::<Bf16>(elements(&pixels), elements_mut(&y), &map, &windows, slices(bounds)),
        }
    }
    Ok(y.f_permute([0, 3, 1, 2])?)
}

unsafe fn elements<T>(x: &Tensor) -> &[T] {
    std::slice::from_raw_parts(x.data_ptr() as *const T, x.numel())
}

#[allow(clippy::mut_from_ref)] // the tensor's memory is not the reference's
unsafe fn elements_mut<T>(x: &Tensor) -> &mut [T] {
    std::slice::from_raw_parts_mut(x.data_ptr() as *mut T, x.numel())
}

/// The maximum over so many groups of channels: (N, groups · C, H, W) -> (N, C, H, W), on the CPU.
pub fn group_maximum(x: &Tensor, groups: i64, bounds: Option<&Bounds>) -> Result<Tensor> {
    let [images, channels, height, width] = [0, 1, 2, 3].map(|axis| x.size()[axis]);
    // As channels-last memory lies, the groups are neighbours in a row.
    let side_by_side =
        x.f_permute([0, 2, 3, 1])?.f_reshape([images, height, width * groups, channels / groups])?;
    let pool = Pool2d { kernel_size: [1, groups], stride: [1, groups], padding: [0, 0] };
    pooled_maximum(&side_by_side.f_permute([0, 3, 1, 2])?, &pool, bounds)
}

/// Two slices of as many elements as there are channels, or none.
type Limits<'a, T> = Option<(&'a [T], &'a [T])>;

unsafe fn slices<T>(bounds: Option<&Bounds>) -> Limits<'_, T> {
    bounds.map(|Bounds { low, high }| (elements(low), elements(high)))
}

/// Shape of one image.
struct Map {
    height: usize,
    width: usize,
    channels: usize,
}

/// The windows along one axis.
struct Windows {
    lines: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    count: usize,
}

impl Windows {
    fn new(pool: &Pool2d, axis: usize, lines: usize) -> Self {
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

trait Element: Copy {
    fn value(self) -> f32;

    /// The larger of two; the first if it is not a number.
    #[inline(always)]
    fn or_larger(self, other: Self) -> Self {
        let (a, b) = (self.value(), other.value());
        if a > b || a.is_nan() {
            self
        } else {
            other
        }
    }

    #[inline(always)]
    fn between(self, low: Self, high: Self) -> Self {
        let value = self.value();
        if value < low.value() {
            low
        } else if value > high.value() {
            high
        } else {
            self
        }
    }
}

impl Element for f32 {
    #[inline(always)]
    fn value(self) -> f32 {
        self
    }
}

/// The upper half of a float32.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Bf16(u16);

impl Element for Bf16 {
    #[inline(always)]
    fn value(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

/// [`pool_all`], compiled for the vector instructions that this machine has.
fn pool_images<T: Element>(x: &[T], y: &mut [T], map: &Map, windows: &[Windows; 2], limits: Limits<T>) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        unsafe fn wide<T: Element>(
            x: &[T],
            y: &mut [T],
            map: &Map,
            windows: &[Windows; 2],
            limits: Limits<T>,
        ) {
            pool_all(x, y, map, windows, limits);
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has the instructions.
            return unsafe { wide(x, y, map, windows, limits) };
        }
    }
    pool_all(x, y, map, windows, limits);
}

#[inline(always)]
fn pool_all<T: Element>(x: &[T], y: &mut [T], map: &Map, [rows, columns]: &[Windows; 2], limits: Limits<T>) {
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

#[inline(always)]
fn larger<T: Element>(a: &mut [T], b: &[T]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a = a.or_larger(*b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Against libtorch's max_pool2d, which must agree to the last bit.
    #[test]
    fn pooling_is_libtorchs() {
        let pools = [
            Pool2d::new(2, 2, 0),
            Pool2d::new(3, 2, 1),
            Pool2d::new(3, 1, 1),
            Pool2d::new(2, 3, 1),
            Pool2d { kernel_size: [1, 3], stride: [2, 2], padding: [0, 1] },
            Pool2d { kernel_size: [5, 2], stride: [1, 2], padding: [2, 0] },
        ];
        for kind in [Kind::Float, Kind::BFloat16] {
            for size in [[3, 6, 9, 11], [1, 1, 5, 5], [2, 64, 6, 7], [0, 4, 6, 6]] {
                let x = Tensor::randn(size, (Kind::Float, Device::Cpu)).to_kind(kind);
                for pool in &pools {
                    let expected = max_pool(&x, pool).unwrap();
                    assert!(pooled_maximum(&x, pool, None).unwrap().equal(&expected), "{size:?} {pool:?}");
                    let low = Tensor::linspace(-1, 1, size[1], (Kind::Float, Device::Cpu)).to_kind(kind);
                    let bounds = Bounds { high: &low + 0.5, low };
                    let [low, high] = [&bounds.low, &bounds.high].map(|bound| bound.view([1, -1, 1, 1]));
                    let expected = expected.clamp_tensor(Some(low), Some(high));
                    assert!(pooled_maximum(&x, pool, Some(&bounds)).unwrap().equal(&expected));
                }
            }
        }
    }

    #[test]
    fn not_a_number_is_kept() {
        for kind in [Kind::Float, Kind::BFloat16] {
            for place in 0..4 {
                for nan in [f32::NAN, -f32::NAN] {
                    let mut values = [1f32, 2.0, 3.0, 4.0];
                    values[place] = nan;
                    let x = Tensor::from_slice(&values).view([1, 1, 2, 2]).to_kind(kind);
                    assert!(pooled_maximum(&x, &Pool2d::new(2, 2, 0), None)
                        .unwrap()
                        .double_value(&[0])
                        .is_nan());
                }
            }
        }
    }
}

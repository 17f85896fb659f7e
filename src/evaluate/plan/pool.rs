//! Max pooling without the places of the maxima. libtorch's kernel finds those too, which inference has no use for.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::kernels::{self, elements, elements_mut, of_kind, Map, Windows};
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
    let [rows, columns] = [Windows::new(pool, 0, map.height), Windows::new(pool, 1, map.width)];
    let [height, width] = [rows, columns].map(|windows| windows.count as i64);
    let y = Tensor::f_empty([size[0] as i64, height, width, size[3] as i64], (kind, Device::Cpu))?;
    // SAFETY: both tensors are on the CPU, contiguous and of this element type; `y` is new, so nothing else sees it.
    unsafe {
        of_kind!(kind, T => {
            kernels::max_pool::<T>(elements(&pixels), map, rows, columns, slices(bounds), elements_mut(&y))
        });
    }
    Ok(y.f_permute([0, 3, 1, 2])?)
}

/// The maximum over so many groups of channels: (N, groups · C, H, W) -> (N, C, H, W), on the CPU.
pub fn group_maximum(x: &Tensor, groups: i64, bounds: Option<&Bounds>) -> Result<Tensor> {
    let kind = x.f_kind()?;
    let pixels = x.f_permute([0, 2, 3, 1])?.f_contiguous()?;
    let mut size = pixels.size();
    size[3] /= groups;
    let y = Tensor::f_empty(&size, (kind, Device::Cpu))?;
    let (channels, groups) = (size[3] as usize, groups as usize);
    // SAFETY: as in `pooled_maximum`.
    unsafe {
        of_kind!(kind, T => {
            kernels::group_max::<T>(elements(&pixels), channels, groups, slices(bounds), elements_mut(&y))
        });
    }
    Ok(y.f_permute([0, 3, 1, 2])?)
}

unsafe fn slices<T>(bounds: Option<&Bounds>) -> Option<(&[T], &[T])> {
    bounds.map(|Bounds { low, high }| (elements(low), elements(high)))
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

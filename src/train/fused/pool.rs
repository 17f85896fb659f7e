//! Max pooling in training.

use tch::{Device, Kind, Tensor};

use super::pass::Pass;
use super::Saved;
use crate::error::Result;
use crate::kernels::{elements, elements_mut, max_pool_gradient, max_pool_taps, Bf16, Map, Windows};
use crate::libtorch::channels_last;
use crate::network::Pool2d;

/// The window that holds all of a map, unless its places are too many to be counted in 16 bits.
pub fn whole_map(x: &Tensor) -> Option<Pool2d> {
    let size = x.size();
    let kernel_size = [size[2], size[3]];
    let few = size[2] * size[3] <= i64::from(i16::MAX);
    few.then_some(Pool2d { kernel_size, stride: kernel_size, padding: [0, 0] })
}

/// The shape of an image of these, and the windows over it.
fn geometry(pool: &Pool2d, size: &[i64]) -> (Map, [Windows; 2]) {
    let [channels, height, width] = [1, 2, 3].map(|axis| size[axis] as usize);
    let windows = [Windows::new(pool, 0, height), Windows::new(pool, 1, width)];
    (Map { height, width, channels }, windows)
}

impl Pass<'_> {
    pub fn max_pool(&self, pool: &Pool2d, x: Tensor) -> Result<(Tensor, Saved)> {
        let x = channels_last(&x)?;
        let size = x.size();
        let (map, windows) = geometry(pool, &size);
        let pooled = [size[0], windows[0].count as i64, windows[1].count as i64, size[1]];
        let y = Tensor::f_empty(pooled, (self.kind, Device::Cpu))?;
        let taps = Tensor::f_empty(pooled, (Kind::Int16, Device::Cpu))?;
        // SAFETY: all are dense, on the CPU and of these element types; `y` and `taps` are new.
        unsafe {
            let taps = elements_mut(&taps);
            match self.kind {
                Kind::BFloat16 => max_pool_taps::<Bf16>(elements(&x), map, windows, elements_mut(&y), taps)?,
                _ => max_pool_taps::<f32>(elements(&x), map, windows, elements_mut(&y), taps)?,
            }
        }
        Ok((y.f_permute([0, 3, 1, 2])?, Saved::Pool { pool: pool.clone(), size, taps }))
    }

    /// The gradient by the input, of this size.
    pub fn max_pool_back(&self, pool: &Pool2d, size: &[i64], taps: &Tensor, dy: Tensor) -> Result<Tensor> {
        let (map, windows) = geometry(pool, size);
        let pooled = [size[0], size[1], windows[0].count as i64, windows[1].count as i64];
        let dy = channels_last(&dy.f_reshape(pooled)?)?; // a vector, after pooling over all of a map
        let dx = Tensor::f_empty([size[0], size[2], size[3], size[1]], (self.kind, Device::Cpu))?;
        // SAFETY: as in `max_pool`; `dx` is new.
        unsafe {
            let taps = elements(taps);
            match self.kind {
                Kind::BFloat16 => {
                    max_pool_gradient::<Bf16>(elements(&dy), taps, map, windows, elements_mut(&dx))?
                }
                _ => max_pool_gradient::<f32>(elements(&dy), taps, map, windows, elements_mut(&dx))?,
            }
        }
        Ok(dx.f_permute([0, 3, 1, 2])?)
    }
}

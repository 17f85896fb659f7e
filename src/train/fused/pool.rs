//! Max pooling in training.

use tch::{Device, Kind, Tensor};

use super::pass::Pass;
use super::{Back, Gradients};
use crate::error::Result;
use crate::kernels::{elements, elements_mut, max_pool_gradient, max_pool_taps, of_kind, Map, Windows};
use crate::libtorch::channels_last;
use crate::network::Pool2d;

/// The window that holds all of a map, unless its places are too many to be counted in 16 bits.
pub fn whole_map(x: &Tensor) -> Option<Pool2d> {
    let size = x.size();
    let kernel_size = [size[2], size[3]];
    let few = size[2] * size[3] <= i64::from(i16::MAX);
    few.then_some(Pool2d { kernel_size, stride: kernel_size, padding: [0, 0] })
}

impl Pass<'_> {
    pub fn max_pool<'a>(&self, pool: &Pool2d, x: Tensor) -> Result<(Tensor, Back<'a>)> {
        let (kind, x) = (self.kind, channels_last(&x)?);
        let size = x.size();
        let [channels, height, width] = [1, 2, 3].map(|axis| size[axis] as usize);
        let (map, windows) =
            (Map { height, width, channels }, [Windows::new(pool, 0, height), Windows::new(pool, 1, width)]);
        let [rows, columns] = windows.map(|windows| windows.count as i64);
        let y = Tensor::f_empty([size[0], rows, columns, size[1]], (kind, Device::Cpu))?;
        let taps = Tensor::f_empty([size[0], rows, columns, size[1]], (Kind::Int16, Device::Cpu))?;
        // SAFETY: all are dense, on the CPU and of these element types; `y` and `taps` are new.
        unsafe {
            let taps = elements_mut(&taps);
            of_kind!(kind, T => max_pool_taps::<T>(elements(&x), map, windows, elements_mut(&y), taps)?);
        }
        let back = move |dy: Tensor, _: &mut Gradients| {
            let dy = dy.f_reshape([size[0], size[1], rows, columns])?; // a vector, after pooling over all of a map
            let dy = channels_last(&dy)?;
            let dx = Tensor::f_empty([size[0], size[2], size[3], size[1]], (kind, Device::Cpu))?;
            // SAFETY: as above; `dx` is new.
            unsafe {
                let taps = elements(&taps);
                of_kind!(kind, T => max_pool_gradient::<T>(elements(&dy), taps, map, windows, elements_mut(&dx))?);
            }
            Ok(dx.f_permute([0, 3, 1, 2])?)
        };
        Ok((y.f_permute([0, 3, 1, 2])?, Box::new(back)))
    }
}

//! The network layer by layer, with PyTorch's operators: slower than the fused operations, and right for every number.

use tch::{Kind, Tensor};

use super::range::USUAL;
use crate::error::Result;
use crate::kernels::{elements, of_kind, within};
use crate::network::{forward_unfused, Layer, Model};

/// A network and its weights, which are the model's own.
pub struct Unfused {
    layers: Vec<Layer>,
    tensors: Vec<Tensor>,
}

impl Unfused {
    pub fn new(model: &Model) -> Result<Self> {
        let tensors = model.tensors.iter().map(|tensor| Ok(tensor.f_detach()?)).collect::<Result<_>>()?;
        Ok(Unfused { layers: model.network.layers.clone(), tensors })
    }

    /// Float32 logits (N, classes) of normalised images, computed in `kind`.
    pub fn run(&self, x: &Tensor, kind: Kind) -> Result<Tensor> {
        // In the order of the indices: channels-last, libtorch normalises by another formula, which makes an infinity of
        // what is NaN here.
        let mut images = Tensor::f_empty(x.size(), (x.f_kind()?, x.device()))?;
        images.f_copy_(x)?;
        forward_unfused(&self.layers, &self.tensors, &images, kind)
    }
}

/// Whether no number of a map is above [`USUAL`], or not a number.
pub fn is_usual(x: &Tensor) -> Result<bool> {
    let x = match x.dim() {
        4 => x.f_permute([0, 2, 3, 1])?.f_contiguous()?,
        _ => x.f_contiguous()?,
    };
    // SAFETY: it is dense, on the CPU and of this element type.
    Ok(unsafe { of_kind!(x.f_kind()?, T => within::<T>(elements(&x), USUAL)) })
}

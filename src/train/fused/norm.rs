//! Batch norm, with the activation after it and, at the end of a residual block, the sum before that.

use tch::{Kind, Tensor};

use super::pass::Pass;
use super::{Gradients, Norm};
use crate::error::Result;
use crate::kernels::{batch_norm, batch_norm_gradient, elements, elements_mut, of_kind, Moments};
use crate::libtorch::channels_last;

/// In memory, the channels of each pixel side by side; vectors are that already.
pub fn dense(x: &Tensor) -> Result<Tensor> {
    match x.dim() {
        4 => channels_last(x),
        _ => Ok(x.f_contiguous()?),
    }
}

/// A batch norm that was computed, and what its gradient needs.
pub struct Normed<'a> {
    norm: &'a Norm,
    kind: Kind,
    weight: Tensor,
    x: Tensor,
    /// The result, if there is an activation.
    y: Option<Tensor>,
    moments: Moments,
}

impl Pass<'_> {
    /// `activation(batch_norm(x) + other)`; moves the running statistics on.
    pub fn norm<'a>(
        &self,
        norm: &'a Norm,
        x: Tensor,
        other: Option<&Tensor>,
    ) -> Result<(Tensor, Normed<'a>)> {
        let (x, other) = (dense(&x)?, other.map(dense).transpose()?);
        let y = x.f_empty_like()?;
        let (channels, eps, slope) = (norm.norm.num_features as usize, norm.norm.eps, norm.slope as f32);
        let [weight, bias, mean, var, batches] =
            std::array::from_fn(|place| &self.tensors[norm.first + place]);
        // SAFETY: all are dense, on the CPU and of these element types; `y` is new, and what is written to is nobody
        // else's at the moment.
        let moments = unsafe {
            let (weight, bias) = (elements(weight), elements(bias));
            let moments = of_kind!(self.kind, T => {
                let moments = Moments::of::<T>(elements(&x), channels)?;
                let other = other.as_ref().map(|other| elements(other));
                batch_norm::<T>(elements(&x), &moments, eps, weight, bias, other, slope, elements_mut(&y))?;
                moments
            });
            moments.follow(norm.norm.momentum, x.numel() / channels, elements_mut(mean), elements_mut(var));
            moments
        };
        let _ = batches.shallow_clone().f_add_scalar_(1)?;
        let kept = (norm.slope != 1.0).then(|| y.shallow_clone());
        Ok((y, Normed { norm, kind: self.kind, weight: weight.shallow_clone(), x, y: kept, moments }))
    }
}

impl Normed<'_> {
    /// The gradient by `x`, written over `dy`.
    pub fn back(self, dy: Tensor, gradients: &mut Gradients) -> Result<Tensor> {
        let g = dense(&dy)?;
        self.write_back(&g, None, gradients)?;
        Ok(g)
    }

    /// The gradients by `x` and by `other`; the latter is written over `dy`.
    pub fn back_to_both(self, dy: Tensor, gradients: &mut Gradients) -> Result<(Tensor, Tensor)> {
        let g = dense(&dy)?;
        let dx = g.f_empty_like()?;
        self.write_back(&g, Some(&dx), gradients)?;
        Ok((dx, g))
    }

    /// Writes the gradient by the sum over `g`, and that by `x` to `dx`, or over `g` too.
    fn write_back(self, g: &Tensor, dx: Option<&Tensor>, gradients: &mut Gradients) -> Result<()> {
        let Normed { norm, kind, weight, x, y, moments } = self;
        let (eps, slope) = (norm.norm.eps, norm.slope as f32);
        // SAFETY: all are dense, on the CPU and of these element types; `g` belongs to this pass and `dx` is new.
        let found = unsafe {
            let weight = elements(&weight);
            of_kind!(kind, T => {
                let (y, dx) = (y.as_ref().map(|y| elements(y)), dx.map(|dx| elements_mut(dx)));
                batch_norm_gradient::<T>(elements_mut(g), elements(&x), y, &moments, eps, weight, slope, dx)?
            })
        };
        gradients[norm.first] = Some(Tensor::f_from_slice(&found.weight)?);
        gradients[norm.first + 1] = Some(Tensor::f_from_slice(&found.bias)?);
        Ok(())
    }
}

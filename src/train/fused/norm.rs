//! Batch norm, with the activation after it and, at the end of a residual block, the sum before that.

use tch::{Kind, Tensor};

use super::pass::Pass;
use super::{Gradients, Norm, Saved};
use crate::error::{Error, Result};
use crate::kernels::{batch_norm, batch_norm_gradient, elements, elements_mut, Bf16, Element, Moments};
use crate::libtorch::channels_last;

/// In memory, the channels of each pixel side by side; vectors are that already.
fn dense(x: &Tensor) -> Result<Tensor> {
    match x.dim() {
        4 => channels_last(x),
        _ => Ok(x.f_contiguous()?),
    }
}

impl Pass<'_> {
    /// `activation(batch_norm(x) + other)`; moves the running statistics on.
    pub fn norm(&self, norm: &Norm, x: Tensor, other: Option<&Tensor>) -> Result<(Tensor, Saved)> {
        let (x, other) = (dense(&x)?, other.map(dense).transpose()?);
        let y = x.f_empty_like()?;
        let moments = match self.kind {
            Kind::BFloat16 => self.normalise::<Bf16>(norm, &x, other.as_ref(), &y)?,
            _ => self.normalise::<f32>(norm, &x, other.as_ref(), &y)?,
        };
        let _ = self.tensors[norm.first + 4].shallow_clone().f_add_scalar_(1)?; // num_batches_tracked
        let kept = (norm.slope != 1.0).then(|| y.shallow_clone());
        Ok((y, Saved::Norm { x, y: kept, moments }))
    }

    fn normalise<T: Element>(
        &self,
        norm: &Norm,
        x: &Tensor,
        other: Option<&Tensor>,
        y: &Tensor,
    ) -> Result<Moments> {
        let channels = norm.norm.num_features as usize;
        // SAFETY: all are dense, on the CPU and of these element types; `y` is new, and what is written to is nobody
        // else's at the moment.
        unsafe {
            let [weight, bias] = [0, 1].map(|place| elements::<f32>(&self.tensors[norm.first + place]));
            let moments = Moments::of::<T>(elements(x), channels)?;
            let (other, slope) = (other.map(|other| elements(other)), norm.slope as f32);
            let y = elements_mut(y);
            batch_norm::<T>(elements(x), &moments, norm.norm.eps, weight, bias, other, slope, y)?;
            let [mean, var] = [2, 3].map(|place| elements_mut::<f32>(&self.tensors[norm.first + place]));
            moments.follow(norm.norm.momentum, x.numel() / channels, mean, var);
            Ok(moments)
        }
    }

    /// The gradients by the input and, if there was one and it is asked for, by `other`. `dy` is written over.
    pub fn norm_back(
        &self,
        norm: &Norm,
        saved: Saved,
        dy: Tensor,
        by_other: bool,
        gradients: &mut Gradients,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let Saved::Norm { x, y, moments } = saved else {
            return Err(Error::argument("batch norm met what another operation has kept"));
        };
        let g = dense(&dy)?;
        let dx = by_other.then(|| g.f_empty_like()).transpose()?;
        let (by_weight, by_bias) = match self.kind {
            Kind::BFloat16 => self.normalise_back::<Bf16>(norm, &x, y.as_ref(), &moments, &g, dx.as_ref())?,
            _ => self.normalise_back::<f32>(norm, &x, y.as_ref(), &moments, &g, dx.as_ref())?,
        };
        gradients[norm.first] = Some(by_weight);
        gradients[norm.first + 1] = Some(by_bias);
        Ok(match dx {
            Some(dx) => (dx, Some(g)),
            None => (g, None),
        })
    }

    fn normalise_back<T: Element>(
        &self,
        norm: &Norm,
        x: &Tensor,
        y: Option<&Tensor>,
        moments: &Moments,
        g: &Tensor,
        dx: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        // SAFETY: as in `normalise`; `g` belongs to this pass and `dx` is new.
        let gradients = unsafe {
            let weight = elements::<f32>(&self.tensors[norm.first]);
            let (y, dx) = (y.map(|y| elements(y)), dx.map(|dx| elements_mut(dx)));
            let slope = norm.slope as f32;
            batch_norm_gradient::<T>(
                elements_mut(g),
                elements(x),
                y,
                moments,
                norm.norm.eps,
                weight,
                slope,
                dx,
            )?
        };
        Ok((Tensor::f_from_slice(&gradients.weight)?, Tensor::f_from_slice(&gradients.bias)?))
    }
}

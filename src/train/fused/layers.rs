//! Linear layer, activation, residual block, and whatever autograd does.

use tch::{Kind, Tensor};

use super::pass::Pass;
use super::{Gradients, Join, Op, Saved, Tapes, Weights};
use crate::error::Result;
use crate::kernels::{bend_gradient, elements, elements_mut, Bf16};
use crate::libtorch::{copied, laid_out_like};
use crate::network::{forward, Activation, Layer, Precision};

/// What a convolution or a linear layer keeps: see [`Saved::Linear`].
pub type Kept = (Tensor, Tensor, Option<Tensor>);

/// The activation's result, and the same to keep for the gradient if there is an activation.
pub fn bent(slope: f64, y: Tensor) -> Result<(Tensor, Option<Tensor>)> {
    let y = match slope {
        1.0 => return Ok((y, None)),
        0.0 => Activation::Relu.forward(&y)?,
        negative_slope => Activation::LeakyRelu { negative_slope }.forward(&y)?,
    };
    Ok((y.shallow_clone(), Some(y)))
}

impl Pass<'_> {
    /// A tensor of the model in the number format of the pass.
    pub fn cast(&self, place: usize) -> Result<Tensor> {
        Ok(self.tensors[place].f_to_kind(self.kind)?)
    }

    pub fn linear(&self, weights: Weights, x: Tensor) -> Result<(Tensor, Saved)> {
        let weight = self.cast(weights.first)?;
        let bias = weights.bias.then(|| self.cast(weights.first + 1)).transpose()?;
        let (y, kept) = bent(weights.slope, x.f_linear(&weight, bias.as_ref())?)?;
        Ok((y, Saved::Linear { x, weight, y: kept }))
    }

    pub fn linear_back(
        &self,
        weights: Weights,
        (x, weight, y): Kept,
        dy: Tensor,
        by_input: bool,
        gradients: &mut Gradients,
    ) -> Result<Option<Tensor>> {
        let dy = self.unbent(weights.slope, y.as_ref(), dy)?;
        gradients[weights.first] = Some(dy.f_tr()?.f_mm(&x)?);
        if weights.bias {
            gradients[weights.first + 1] = Some(dy.f_sum_dim_intlist(0i64, false, Kind::Float)?);
        }
        by_input.then(|| Ok(dy.f_mm(&weight)?)).transpose()
    }

    pub fn bend(&self, slope: f64, x: Tensor) -> Result<(Tensor, Saved)> {
        let (y, kept) = bent(slope, x)?;
        Ok((y, Saved::Bend(kept)))
    }

    /// The gradient by an activation's input, written over that by its result `y`; as it is without an activation.
    pub fn unbent(&self, slope: f64, y: Option<&Tensor>, dy: Tensor) -> Result<Tensor> {
        let Some(y) = y else { return Ok(dy) };
        let dy = laid_out_like(&dy, y)?;
        // SAFETY: both lie alike in memory, are on the CPU and of these element types; `dy` belongs to this pass.
        unsafe {
            match self.kind {
                Kind::BFloat16 => bend_gradient::<Bf16>(elements_mut(&dy), elements(y), slope as f32)?,
                _ => bend_gradient::<f32>(elements_mut(&dy), elements(y), slope as f32)?,
            }
        }
        Ok(dy)
    }

    pub fn residual(&self, body: &[Op], shortcut: &[Op], join: &Join, x: Tensor) -> Result<(Tensor, Saved)> {
        let (y, body) = self.forward(body, x.shallow_clone())?;
        let (other, shortcut) = self.forward(shortcut, x)?;
        let (y, join) = match join {
            Join::Norm(norm) => {
                let (y, saved) = self.norm(norm, y, Some(&other))?;
                (y, vec![saved])
            }
            Join::Sum(after) => self.forward(after, y.f_add(&other)?)?,
        };
        Ok((y, Saved::Residual(Box::new(Tapes { body, shortcut, join }))))
    }

    pub fn residual_back(
        &self,
        (body, shortcut, join): (&[Op], &[Op], &Join),
        mut tapes: Tapes,
        dy: Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let (dy, other) = match (join, tapes.join.pop()) {
            (Join::Norm(norm), Some(saved)) => self.norm_back(norm, saved, dy, true, gradients)?,
            (Join::Sum(after), last) => {
                tapes.join.extend(last);
                let dy = self.backward(after, tapes.join, dy, true, gradients)?;
                let dy = dy.ok_or_else(super::nothing)?;
                let other = copied(&dy, &dy)?;
                (dy, Some(other))
            }
            (Join::Norm(_), None) => return Err(super::nothing()),
        };
        let dx = self.backward(body, tapes.body, dy, true, gradients)?.ok_or_else(super::nothing)?;
        let other = other.ok_or_else(super::nothing)?;
        let other = self.backward(shortcut, tapes.shortcut, other, true, gradients)?;
        let other = other.ok_or_else(super::nothing)?;
        Ok(dx.shallow_clone().f_add_(&other)?)
    }

    /// Runs a layer without tensors under autograd, beginning and ending with it.
    pub fn by_autograd(&self, layer: &Layer, x: Tensor) -> Result<(Tensor, Saved)> {
        tch::with_grad(|| {
            let x = x.f_detach()?.f_set_requires_grad(true)?;
            let precision = match self.kind {
                Kind::BFloat16 => Precision::BFloat16,
                _ => Precision::Float32,
            };
            let y = forward(std::slice::from_ref(layer), &[], &x, precision)?;
            Ok((y.f_detach()?.f_to_kind(self.kind)?, Saved::Graph { x, y }))
        })
    }

    pub fn by_autograd_back(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        tch::with_grad(|| {
            let product = y.f_mul(&dy.f_to_kind(y.f_kind()?)?)?.f_sum(Kind::Float)?;
            let found = Tensor::f_run_backward(&[&product], &[x], false, false)?;
            found.into_iter().next().ok_or_else(super::nothing)
        })
    }
}

//! Linear layer, activation, residual block, gate, and whatever autograd does.

use tch::{Kind, Tensor};

use super::norm::dense;
use super::pass::Pass;
use super::{Back, Gradients, Join, Op, Weights};
use crate::error::Result;
use crate::kernels::{elements, elements_mut, gate, gate_gradient, of_kind, rectifier_gradient};
use crate::libtorch::{copied, laid_out_like};
use crate::network::{forward, Activation, Layer, Precision};

impl Pass<'_> {
    /// A tensor of the model in the number format of the pass.
    pub fn cast(&self, place: usize) -> Result<Tensor> {
        Ok(self.tensors[place].f_to_kind(self.kind)?)
    }

    /// Weight, and bias if there is one, in that format.
    pub fn weights(&self, Weights { first, bias, .. }: Weights) -> Result<(Tensor, Option<Tensor>)> {
        Ok((self.cast(first)?, bias.then(|| self.cast(first + 1)).transpose()?))
    }

    pub fn linear<'a>(&self, weights: Weights, x: Tensor, by_input: bool) -> Result<(Tensor, Back<'a>)> {
        let (weight, bias) = self.weights(weights)?;
        let (y, unrectified) = self.rectified(weights.slope, x.f_linear(&weight, bias.as_ref())?)?;
        let back = move |dy, gradients: &mut Gradients| {
            let dy = unrectified(dy)?;
            gradients[weights.first] = Some(dy.f_tr()?.f_mm(&x)?);
            if weights.bias {
                gradients[weights.first + 1] = Some(dy.f_sum_dim_intlist(0i64, false, Kind::Float)?);
            }
            match by_input {
                true => Ok(dy.f_mm(&weight)?),
                false => Ok(Tensor::new()),
            }
        };
        Ok((y, Box::new(back)))
    }

    /// ReLU or leaky ReLU, and the way back, which writes over the gradient; both do nothing where the slope is 1.
    pub fn rectified(
        &self,
        slope: f64,
        y: Tensor,
    ) -> Result<(Tensor, impl FnOnce(Tensor) -> Result<Tensor> + 'static)> {
        let kind = self.kind;
        let y = match slope {
            1.0 => y,
            0.0 => Activation::Relu.forward(&y)?,
            negative_slope => Activation::LeakyRelu { negative_slope }.forward(&y)?,
        };
        let kept = (slope != 1.0).then(|| y.shallow_clone());
        let back = move |dy: Tensor| {
            let Some(y) = kept else { return Ok(dy) };
            let dy = laid_out_like(&dy, &y)?;
            // SAFETY: both lie alike in memory, are on the CPU and of these element types; `dy` belongs to this pass.
            unsafe {
                of_kind!(kind, T => rectifier_gradient::<T>(elements_mut(&dy), elements(&y), slope as f32)?);
            }
            Ok(dy)
        };
        Ok((y, back))
    }

    pub fn residual<'a>(
        &self,
        body: &'a [Op],
        shortcut: &'a [Op],
        join: &'a Join,
        x: Tensor,
    ) -> Result<(Tensor, Back<'a>)> {
        let (y, through_body) = self.forward(body, x.shallow_clone(), true)?;
        let (other, through_shortcut) = self.forward(shortcut, x, true)?;
        let both_ways = |dy, other, gradients: &mut Gradients| {
            let dx = through_body(dy, gradients)?;
            Ok(dx.shallow_clone().f_add_(&through_shortcut(other, gradients)?)?)
        };
        match join {
            Join::Norm(norm) => {
                let (y, normed) = self.norm(norm, y, Some(&other))?;
                let back = |dy, gradients: &mut Gradients| {
                    let (dy, other) = normed.back_to_both(dy, gradients)?;
                    both_ways(dy, other, gradients)
                };
                Ok((y, Box::new(back)))
            }
            Join::Sum(after) => {
                let (y, through_after) = self.forward(after, y.f_add(&other)?, true)?;
                let back = |dy, gradients: &mut Gradients| {
                    let dy = through_after(dy, gradients)?;
                    let other = copied(&dy, &dy)?;
                    both_ways(dy, other, gradients)
                };
                Ok((y, Box::new(back)))
            }
        }
    }

    pub fn gate<'a>(&self, body: &'a [Op], x: Tensor) -> Result<(Tensor, Back<'a>)> {
        let (kind, x) = (self.kind, dense(&x)?);
        let (numbers, through_body) = self.forward(body, x.shallow_clone(), true)?;
        let size = numbers.size();
        let channels = size[1] as usize;
        let factors = numbers.f_contiguous()?; // (N, C), whatever comes after that
        let y = x.f_empty_like()?;
        // SAFETY: all are dense, on the CPU and of these element types; `y` is new.
        unsafe {
            of_kind!(kind, T => gate::<T>(elements(&x), elements(&factors), channels, elements_mut(&y))?);
        }
        let back = move |dy: Tensor, gradients: &mut Gradients| {
            let (dx, by_factors) = (dense(&dy)?, factors.f_empty_like()?);
            // SAFETY: as above; `dx` belongs to this pass and `by_factors` is new.
            unsafe {
                let (factors, sums) = (&factors, &by_factors);
                of_kind!(kind, T => {
                    gate_gradient::<T>(elements_mut(&dx), elements(&x), elements(factors), channels, elements_mut(sums))?
                });
            }
            Ok(dx.shallow_clone().f_add_(&through_body(by_factors, gradients)?)?)
        };
        Ok((y, Box::new(back)))
    }

    /// Runs a layer without tensors under autograd, beginning and ending with it.
    pub fn by_autograd<'a>(&self, layer: &Layer, x: Tensor) -> Result<(Tensor, Back<'a>)> {
        let precision = match self.kind {
            Kind::BFloat16 => Precision::BFloat16,
            _ => Precision::Float32,
        };
        let (x, y) = tch::with_grad(|| -> Result<_> {
            let x = x.f_detach()?.f_set_requires_grad(true)?;
            let y = forward(std::slice::from_ref(layer), &[], &x, precision)?;
            Ok((x, y))
        })?;
        let result = y.f_detach()?.f_to_kind(self.kind)?;
        let back = move |dy: Tensor, _: &mut Gradients| {
            tch::with_grad(|| {
                let product = y.f_mul(&dy.f_to_kind(y.f_kind()?)?)?.f_sum(Kind::Float)?;
                let found = Tensor::f_run_backward(&[&product], &[&x], false, false)?;
                Ok(found.into_iter().next().unwrap_or_default())
            })
        };
        Ok((result, Box::new(back)))
    }
}

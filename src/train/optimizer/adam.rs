//! Adam and AdamW.

use tch::{Device, Kind, Tensor};

use super::{in_float32, Optimizer};
use crate::error::Result;
use crate::libtorch::{call, fused_adam, Adam, Argument, Number};

impl Optimizer {
    pub(super) fn adam(&self, parameters: &[Tensor], gradients: &[Tensor], method: Adam) -> Result<()> {
        match (&self.taken, self.momentum.get()) {
            (Some(taken), Number::Host(momentum)) => {
                let _ = taken.shallow_clone().f_add_scalar_(1.0)?;
                let means = [self.first.as_slice(), &self.second];
                let method = Adam { betas: (momentum, method.betas.1), ..method };
                fused_adam(parameters, gradients, means, taken, self.lr.get(), method)
            }
            _ => self.adam_by_separate_kernels(parameters, gradients, method),
        }
    }

    /// On a CPU these are the kernels that torch.optim.Adam runs there by default, in its order. Its fused kernel rounds
    /// differently, and a last bit matters: the first steps are of size lr whatever the gradient's size, so one more or
    /// less turns a sign somewhere, and after ten steps the losses of a residual network part in the third digit.
    fn adam_by_separate_kernels(
        &self,
        parameters: &[Tensor],
        gradients: &[Tensor],
        method: Adam,
    ) -> Result<()> {
        let gradients = self.decayed(parameters, gradients, method)?;
        for (mean, gradient) in self.first.iter().zip(&gradients) {
            self.rest.approach(mean, gradient)?;
        }
        for square in &self.second {
            let _ = square.shallow_clone().f_mul_scalar_(method.betas.1)?;
        }
        self.add_squares(&gradients, 1.0 - method.betas.1)?;
        let eps = in_float32(method.eps);
        let denominators = self
            .second
            .iter()
            .map(|square| Ok(self.correction.divide(square.f_sqrt()?)?.f_add_scalar_(eps)?));
        self.go(parameters, &denominators.collect::<Result<Vec<_>>>()?)
    }

    /// The gradients; weight decay adds the weights to them, or shrinks these.
    fn decayed(&self, parameters: &[Tensor], gradients: &[Tensor], method: Adam) -> Result<Vec<Tensor>> {
        if method.decoupled {
            parameters.iter().try_for_each(|parameter| self.kept.multiply(parameter))?;
        }
        let decay = in_float32(method.weight_decay);
        let pairs = gradients.iter().zip(parameters);
        let decayed = pairs.map(|(gradient, parameter)| match method.decoupled || decay == 0.0 {
            true => Ok(gradient.shallow_clone()),
            false => Ok(gradient.f_add(&parameter.f_mul_scalar(decay)?)?),
        });
        decayed.collect()
    }

    /// Adds `share` of the squared gradients to their mean.
    fn add_squares(&self, gradients: &[Tensor], share: f64) -> Result<()> {
        if let Number::Host(_) = self.step_size.get() {
            let (squares, gradients) = (Argument::Tensors(&refs(&self.second)), refs(gradients));
            let [one, other] = [&gradients, &gradients].map(|all| Argument::Tensors(all));
            let share = same(share, gradients.len())?;
            return call(
                c"aten::_foreach_addcmul_",
                c"Tensor",
                &[squares, one, other, Argument::Tensor(&share)],
            );
        }
        for (square, gradient) in self.second.iter().zip(gradients) {
            let _ = square.shallow_clone().f_add_(&gradient.f_mul(gradient)?.f_mul_scalar_(share)?)?;
        }
        Ok(())
    }

    /// Changes the parameters along the means.
    fn go(&self, parameters: &[Tensor], denominators: &[Tensor]) -> Result<()> {
        match self.step_size.get() {
            Number::Host(step_size) => call(
                c"aten::_foreach_addcdiv_",
                c"Tensor",
                &[
                    Argument::Tensors(&refs(parameters)),
                    Argument::Tensors(&refs(&self.first)),
                    Argument::Tensors(&refs(denominators)),
                    Argument::Tensor(&same(-step_size, parameters.len())?),
                ],
            ),
            Number::Device(step_size) => {
                let means = self.first.iter().zip(denominators);
                for (parameter, (mean, denominator)) in parameters.iter().zip(means) {
                    let change = mean.f_div(denominator)?.f_mul_(step_size)?;
                    let _ = parameter.shallow_clone().f_sub_(&change)?;
                }
                Ok(())
            }
        }
    }
}

fn same(value: f64, count: usize) -> Result<Tensor> {
    Ok(Tensor::f_full([count as i64], value, (Kind::Double, Device::Cpu))?)
}

fn refs(tensors: &[Tensor]) -> Vec<&Tensor> {
    tensors.iter().collect()
}

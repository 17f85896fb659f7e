//! Stochastic gradient descent.

use tch::Tensor;

use super::Optimizer;
use crate::error::Result;
use crate::libtorch::{fused_sgd, Number, Sgd};

impl Optimizer {
    pub(super) fn sgd(
        &self,
        parameters: &[Tensor],
        gradients: &[Tensor],
        nesterov: bool,
        weight_decay: f64,
    ) -> Result<()> {
        let (lr, buffers) = (self.lr.get(), self.first.as_slice());
        // With buffers of zeros every other step is what a first step would be.
        let sgd = |momentum, nesterov| Sgd { momentum, weight_decay, nesterov, first_step: false };
        let momentum = match self.momentum.get() {
            Number::Host(momentum) => {
                let method = Sgd { first_step: self.first_step.get(), ..sgd(momentum, nesterov) };
                return fused_sgd(parameters, gradients, buffers, lr, method);
            }
            Number::Device(momentum) => momentum,
        };
        // The kernel takes momentum as a constant. So the buffer times that of the moment, then the rest of the formula
        // with a momentum of 1 or none.
        for buffer in buffers {
            let _ = buffer.shallow_clone().f_mul_(momentum)?;
        }
        if !nesterov {
            return fused_sgd(parameters, gradients, buffers, lr, sgd(1.0, false));
        }
        // The buffer takes the gradient up; then the weights go along the gradient, and along the buffer.
        fused_sgd(parameters, gradients, buffers, Number::Host(0.0), sgd(1.0, false))?;
        fused_sgd(parameters, gradients, &[], lr, sgd(0.0, false))?;
        let along = Sgd { weight_decay: 0.0, ..sgd(0.0, false) };
        fused_sgd(parameters, buffers, &[], self.step_size.get(), along)
    }
}

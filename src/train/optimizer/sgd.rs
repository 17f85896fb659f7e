//! Stochastic gradient descent.

use std::cell::Cell;

use tch::Tensor;

use super::ground::{decayed, go, named, Ground};
use super::{in_float32, Moment, Rule, Steps};
use crate::error::{Error, Result};
use crate::libtorch::{add_scaled, fused_sgd, plus_scaled, Number, Sgd};
use crate::train::dial::Dial;

pub struct SgdRule {
    nesterov: bool,
    weight_decay: f64,
    steps: Steps,
    /// None without momentum.
    buffers: Vec<Tensor>,
    /// Whether the next step of a host is the first.
    first_step: Cell<bool>,
    lr: Dial,
    /// On the device only if it changes on the way: libtorch's fused kernel takes it as a constant.
    momentum: Dial,
    /// lr · momentum
    step_size: Dial,
}

impl SgdRule {
    pub fn new(ground: &Ground, momentum: f64, nesterov: bool, weight_decay: f64) -> Result<Self> {
        let moving = ground.moving();
        Ok(SgdRule {
            nesterov,
            weight_decay,
            steps: ground.steps,
            buffers: ground.zeros(momentum != 0.0 || moving)?,
            first_step: Cell::new(false),
            lr: ground.dial()?,
            momentum: ground.dial_there(moving)?,
            step_size: ground.dial_there(moving)?,
        })
    }

    /// As PyTorch steps on a CPU unless it is told otherwise. Its fused kernel rounds differently, at the end of a tensor
    /// whose size is no multiple of 8.
    fn by_separate_kernels(&self, parameters: &[Tensor], gradients: &[Tensor]) -> Result<()> {
        let gradients = decayed(parameters, gradients, self.weight_decay)?;
        let Number::Host(momentum) = self.momentum.get() else {
            return Err(Error::argument("the momentum of a host's steps lies on a device"));
        };
        for buffer in &self.buffers {
            let _ = buffer.shallow_clone().f_mul_scalar_(in_float32(momentum))?;
        }
        for (index, (parameter, gradient)) in parameters.iter().zip(gradients).enumerate() {
            let direction = match self.buffers.get(index) {
                None => gradient,
                Some(buffer) => {
                    add_scaled(buffer, &gradient, 1.0)?;
                    match self.nesterov {
                        true => plus_scaled(&gradient, buffer, in_float32(momentum))?,
                        false => buffer.shallow_clone(),
                    }
                }
            };
            go(parameter, &direction, &self.lr)?;
        }
        Ok(())
    }
}

impl Rule for SgdRule {
    fn state(&self) -> Vec<(String, Tensor)> {
        named("first", &self.buffers)
    }

    fn set(&self, Moment { taken, lr, momentum }: Moment) -> Result<()> {
        self.first_step.set(taken == 0 && self.steps == Steps::Fused);
        self.lr.set(in_float32(lr))?;
        self.momentum.set(momentum)?;
        self.step_size.set(lr * momentum)
    }

    fn may_take_tiny_for_zero(&self) -> bool {
        true // a weight and what it is changed by are far larger
    }

    fn step(&self, parameters: &[Tensor], gradients: &[Tensor]) -> Result<()> {
        if self.steps == Steps::Exact {
            return self.by_separate_kernels(parameters, gradients);
        }
        let (lr, buffers, weight_decay) = (self.lr.get(), self.buffers.as_slice(), self.weight_decay);
        // With buffers of zeros every other step is what a first step would be.
        let sgd = |momentum, nesterov| Sgd { momentum, weight_decay, nesterov, first_step: false };
        let momentum = match self.momentum.get() {
            Number::Host(momentum) => {
                let method = Sgd { first_step: self.first_step.get(), ..sgd(momentum, self.nesterov) };
                return fused_sgd(parameters, gradients, buffers, lr, method);
            }
            Number::Device(momentum) => momentum,
        };
        // The kernel takes momentum as a constant. So the buffer times that of the moment, then the rest of the formula
        // with a momentum of 1 or none.
        for buffer in buffers {
            let _ = buffer.shallow_clone().f_mul_(momentum)?;
        }
        if !self.nesterov {
            return fused_sgd(parameters, gradients, buffers, lr, sgd(1.0, false));
        }
        // The buffer takes the gradient up; then the weights go along the gradient, and along the buffer.
        fused_sgd(parameters, gradients, buffers, Number::Host(0.0), sgd(1.0, false))?;
        fused_sgd(parameters, gradients, &[], lr, sgd(0.0, false))?;
        let along = Sgd { weight_decay: 0.0, ..sgd(0.0, false) };
        fused_sgd(parameters, buffers, &[], self.step_size.get(), along)
    }
}

//! Adam and AdamW.

use tch::{Kind, Tensor};

use super::ground::{decayed, named, outweighs_tiny, Ground};
use super::{in_float32, Moment, Rule, Steps};
use crate::error::Result;
use crate::libtorch::{add_products, add_quotients, fused_adam, Adam, Number};
use crate::train::dial::Dial;

pub struct AdamRule {
    method: Adam,
    /// Means of the gradients, and of their squares.
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    /// Steps taken, for the fused kernel: a float32 scalar beside the parameters, which serves them all.
    taken: Option<Tensor>,
    lr: Dial,
    /// The first beta. On the device only if it changes on the way: libtorch's fused kernels take it as a constant, so then
    /// separate kernels do the work, which need the numbers below.
    momentum: Dial,
    /// 1 - momentum
    rest: Dial,
    /// lr / (1 - beta₁ᵗ)
    step_size: Dial,
    /// √(1 - beta₂ᵗ)
    correction: Dial,
    /// What decoupled weight decay leaves of the weights: 1 - lr · weight_decay.
    kept: Dial,
}

impl AdamRule {
    pub fn new(ground: &Ground, method: Adam) -> Result<Self> {
        let moving = ground.moving();
        let counted = matches!(ground.steps, Steps::Fused | Steps::OnDevice);
        let counter = counted.then(|| Tensor::f_zeros([0i64; 0], (Kind::Float, ground.device())));
        Ok(AdamRule {
            method,
            first: ground.zeros(true)?,
            second: ground.zeros(true)?,
            taken: counter.transpose()?,
            lr: ground.dial()?,
            momentum: ground.dial_there(moving)?,
            rest: ground.dial_there(moving)?,
            step_size: ground.dial_there(moving)?,
            correction: ground.dial_there(moving)?,
            kept: ground.dial_there(moving)?,
        })
    }

    /// On a CPU these are the kernels that torch.optim.Adam runs there by default, in its order. Its fused kernel rounds
    /// differently, and a last bit matters: the first steps are of size lr whatever the gradient's size, so one more or
    /// less turns a sign somewhere, and after ten steps the losses of a residual network part in the third digit.
    fn by_separate_kernels(&self, parameters: &[Tensor], gradients: &[Tensor]) -> Result<()> {
        let Adam { betas, eps, weight_decay, decoupled } = self.method;
        if decoupled {
            parameters.iter().try_for_each(|parameter| self.kept.multiply(parameter))?;
        }
        let gradients = decayed(parameters, gradients, if decoupled { 0.0 } else { weight_decay })?;
        for (mean, gradient) in self.first.iter().zip(&gradients) {
            self.rest.approach(mean, gradient)?;
        }
        for square in &self.second {
            let _ = square.shallow_clone().f_mul_scalar_(betas.1)?;
        }
        add_products(&self.second, &gradients, &gradients, 1.0 - betas.1)?;
        let eps = in_float32(eps);
        let denominators = self
            .second
            .iter()
            .map(|square| Ok(self.correction.divide(square.f_sqrt()?)?.f_add_scalar_(eps)?));
        let denominators = denominators.collect::<Result<Vec<_>>>()?;
        match self.step_size.get() {
            Number::Host(step_size) => add_quotients(parameters, &self.first, &denominators, -step_size),
            Number::Device(step_size) => {
                let means = self.first.iter().zip(&denominators);
                for (parameter, (mean, denominator)) in parameters.iter().zip(means) {
                    let change = mean.f_div(denominator)?.f_mul_(step_size)?;
                    let _ = parameter.shallow_clone().f_sub_(&change)?;
                }
                Ok(())
            }
        }
    }
}

impl Rule for AdamRule {
    fn state(&self) -> Vec<(String, Tensor)> {
        let taken = self.taken.iter().map(|taken| ("taken".to_string(), taken.shallow_clone()));
        let means = [named("first", &self.first), named("second", &self.second)];
        means.into_iter().flatten().chain(taken).collect()
    }

    fn set(&self, Moment { taken, lr, momentum }: Moment) -> Result<()> {
        let Adam { betas, weight_decay, .. } = self.method;
        let steps = taken as f64 + 1.0;
        self.lr.set(lr)?;
        self.momentum.set(momentum)?;
        self.rest.set(1.0 - momentum)?;
        self.step_size.set(in_float32(lr / (1.0 - momentum.powf(steps))))?;
        self.correction.set((1.0 - betas.1.powf(steps)).sqrt())?;
        self.kept.set(in_float32(1.0 - lr * weight_decay))
    }

    fn may_take_tiny_for_zero(&self) -> bool {
        outweighs_tiny(self.method.eps, self.method.betas.1)
    }

    fn step(&self, parameters: &[Tensor], gradients: &[Tensor]) -> Result<()> {
        match (&self.taken, self.momentum.get()) {
            (Some(taken), Number::Host(momentum)) => {
                let _ = taken.shallow_clone().f_add_scalar_(1.0)?;
                let means = [self.first.as_slice(), &self.second];
                let method = Adam { betas: (momentum, self.method.betas.1), ..self.method };
                fused_adam(parameters, gradients, means, taken, self.lr.get(), method)
            }
            _ => self.by_separate_kernels(parameters, gradients),
        }
    }
}

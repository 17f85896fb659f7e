//! Lion (Chen et al. 2023, arXiv 2302.06675, algorithm 2).

use tch::Tensor;

use super::ground::{go, named, Ground};
use super::{in_float32, Moment, Rule};
use crate::error::Result;
use crate::libtorch::{add_scaled, Number};
use crate::train::dial::Dial;

pub struct LionRule {
    beta: f64,
    /// Means of the gradients.
    first: Vec<Tensor>,
    lr: Dial,
    /// The first beta, and the rest to 1.
    momentum: Dial,
    rest: Dial,
    /// What weight decay leaves of the weights: 1 - lr · weight_decay.
    kept: Dial,
    weight_decay: f64,
}

impl LionRule {
    /// `beta` is the second one.
    pub fn new(ground: &Ground, beta: f64, weight_decay: f64) -> Result<Self> {
        Ok(LionRule {
            beta,
            first: ground.zeros(true)?,
            lr: ground.dial()?,
            momentum: ground.dial()?,
            rest: ground.dial()?,
            kept: ground.dial()?,
            weight_decay,
        })
    }
}

impl Rule for LionRule {
    fn state(&self) -> Vec<(String, Tensor)> {
        named("first", &self.first)
    }

    fn set(&self, Moment { taken: _, lr, momentum }: Moment) -> Result<()> {
        self.lr.set(in_float32(lr))?;
        self.momentum.set(momentum)?;
        self.rest.set(1.0 - momentum)?;
        self.kept.set(in_float32(1.0 - lr * self.weight_decay))
    }

    fn may_take_tiny_for_zero(&self) -> bool {
        false // a step goes by the sign of the mean, however small that is
    }

    fn step(&self, parameters: &[Tensor], gradients: &[Tensor]) -> Result<()> {
        let rest = 1.0 - self.beta;
        for (parameter, (mean, gradient)) in parameters.iter().zip(self.first.iter().zip(gradients)) {
            self.kept.multiply(parameter)?;
            let mut direction = self.momentum.times(mean)?.f_add_(&self.rest.times(gradient)?)?;
            go(parameter, &direction.f_sign_()?, &self.lr)?;
            let mut mean = mean.shallow_clone().f_mul_scalar_(self.beta)?;
            match self.lr.get() {
                Number::Host(_) => add_scaled(&mean, gradient, rest)?,
                Number::Device(_) => drop(mean.f_add_(&gradient.f_mul_scalar(rest)?)?),
            }
        }
        Ok(())
    }
}

//! NAdam.

use tch::{Device, Kind, Tensor};

use super::ground::{decayed, go, named, outweighs_tiny, Ground};
use super::{in_float32, Moment, Rule};
use crate::error::Result;
use crate::libtorch::{add_products, add_quotients, copied, Number};
use crate::train::dial::Dial;

pub struct NAdamRule {
    beta: f64,
    eps: f64,
    momentum_decay: f64,
    weight_decay: f64,
    /// Means of the gradients, and of their squares.
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    /// The product of the momenta of all steps until now: a float32 scalar on the host, as torch.optim has it.
    product: Tensor,
    /// 1 - beta₁
    rest: Dial,
    /// 1 - beta₂ᵗ
    correction: Dial,
    /// How far the weights go along the gradient, and along its mean.
    gradient_size: Dial,
    mean_size: Dial,
}

impl NAdamRule {
    /// `beta` is the second one.
    pub fn new(ground: &Ground, beta: f64, eps: f64, momentum_decay: f64, weight_decay: f64) -> Result<Self> {
        Ok(NAdamRule {
            beta,
            eps,
            momentum_decay,
            weight_decay,
            first: ground.zeros(true)?,
            second: ground.zeros(true)?,
            product: Tensor::f_ones([0i64; 0], (Kind::Float, Device::Cpu))?,
            rest: ground.dial()?,
            correction: ground.dial()?,
            gradient_size: ground.dial()?,
            mean_size: ground.dial()?,
        })
    }
}

impl Rule for NAdamRule {
    fn state(&self) -> Vec<(String, Tensor)> {
        let product = [("product".to_string(), self.product.shallow_clone())];
        let means = [named("first", &self.first), named("second", &self.second)];
        means.into_iter().flatten().chain(product).collect()
    }

    fn set(&self, Moment { taken, lr, momentum }: Moment) -> Result<()> {
        let steps = taken as f64 + 1.0;
        let momentum_at = |steps: f64| momentum * (1.0 - 0.5 * 0.96f64.powf(steps * self.momentum_decay));
        let (now, next) = (momentum_at(steps), momentum_at(steps + 1.0));
        let _ = self.product.shallow_clone().f_mul_scalar_(now)?;
        let product = self.product.f_double_value(&[])?;
        self.rest.set(1.0 - momentum)?;
        self.correction.set(1.0 - self.beta.powf(steps))?;
        self.gradient_size.set(in_float32(lr * (1.0 - now) / (1.0 - product)))?;
        self.mean_size.set(in_float32(lr * next / (1.0 - product * next)))
    }

    fn may_take_tiny_for_zero(&self) -> bool {
        outweighs_tiny(self.eps, self.beta)
    }

    fn step(&self, parameters: &[Tensor], gradients: &[Tensor]) -> Result<()> {
        let gradients = decayed(parameters, gradients, self.weight_decay)?;
        for (mean, gradient) in self.first.iter().zip(&gradients) {
            self.rest.approach(mean, gradient)?;
        }
        for square in &self.second {
            let _ = square.shallow_clone().f_mul_scalar_(self.beta)?;
        }
        add_products(&self.second, &gradients, &gradients, 1.0 - self.beta)?;
        let eps = in_float32(self.eps);
        let denominators = self.second.iter().map(|square| {
            let variance = self.correction.divide(copied(square, square)?)?;
            Ok(variance.f_sqrt()?.f_add_scalar_(eps)?)
        });
        let denominators = denominators.collect::<Result<Vec<_>>>()?;
        for (directions, size) in [(&gradients, &self.gradient_size), (&self.first, &self.mean_size)] {
            match size.get() {
                Number::Host(size) => add_quotients(parameters, directions, &denominators, -size)?,
                Number::Device(_) => {
                    let pairs = directions.iter().zip(&denominators);
                    for (parameter, (direction, denominator)) in parameters.iter().zip(pairs) {
                        go(parameter, &direction.f_div(denominator)?, size)?;
                    }
                }
            }
        }
        Ok(())
    }
}

//! RMSprop.

use tch::Tensor;

use super::ground::{decayed, go, named, outweighs_tiny, Ground};
use super::{in_float32, Moment, Rule};
use crate::error::Result;
use crate::libtorch::{add_products, add_quotients, copied, Number};
use crate::train::dial::Dial;

pub struct RmsPropRule {
    alpha: f64,
    eps: f64,
    weight_decay: f64,
    /// Means of the squared gradients.
    squares: Vec<Tensor>,
    /// Means of the gradients; none unless it is centered.
    means: Vec<Tensor>,
    /// None without momentum.
    buffers: Vec<Tensor>,
    lr: Dial,
    momentum: Dial,
}

impl RmsPropRule {
    pub fn new(
        ground: &Ground,
        alpha: f64,
        eps: f64,
        momentum: f64,
        centered: bool,
        weight_decay: f64,
    ) -> Result<Self> {
        Ok(RmsPropRule {
            alpha,
            eps,
            weight_decay,
            squares: ground.zeros(true)?,
            means: ground.zeros(centered)?,
            buffers: ground.zeros(momentum != 0.0)?,
            lr: ground.dial()?,
            momentum: ground.dial()?,
        })
    }

    /// The roots of the mean squares, less the squared means if it is centered, plus eps.
    fn denominators(&self) -> Result<Vec<Tensor>> {
        let copies = self.squares.iter().map(|square| copied(square, square));
        let variances = copies.collect::<Result<Vec<_>>>()?;
        if !self.means.is_empty() {
            add_products(&variances, &self.means, &self.means, -1.0)?;
        }
        let eps = in_float32(self.eps);
        variances.into_iter().map(|mut variance| Ok(variance.f_sqrt_()?.f_add_scalar_(eps)?)).collect()
    }
}

impl Rule for RmsPropRule {
    fn state(&self) -> Vec<(String, Tensor)> {
        let all = [("second", &self.squares), ("mean", &self.means), ("first", &self.buffers)];
        all.into_iter().flat_map(|(name, tensors)| named(name, tensors)).collect()
    }

    fn set(&self, Moment { taken: _, lr, momentum }: Moment) -> Result<()> {
        self.lr.set(in_float32(lr))?;
        self.momentum.set(in_float32(momentum))
    }

    fn may_take_tiny_for_zero(&self) -> bool {
        // Centered, the root is of a difference, which may become negative if one of the two is taken for zero.
        self.means.is_empty() && outweighs_tiny(self.eps, self.alpha)
    }

    fn step(&self, parameters: &[Tensor], gradients: &[Tensor]) -> Result<()> {
        let gradients = decayed(parameters, gradients, self.weight_decay)?;
        for square in &self.squares {
            let _ = square.shallow_clone().f_mul_scalar_(self.alpha)?;
        }
        add_products(&self.squares, &gradients, &gradients, 1.0 - self.alpha)?;
        for (mean, gradient) in self.means.iter().zip(&gradients) {
            let _ = mean.shallow_clone().f_lerp_(gradient, 1.0 - self.alpha)?;
        }
        let denominators = self.denominators()?;
        if !self.buffers.is_empty() {
            self.buffers.iter().try_for_each(|buffer| self.momentum.multiply(buffer))?;
            add_quotients(&self.buffers, &gradients, &denominators, 1.0)?;
            let mut pairs = parameters.iter().zip(&self.buffers);
            return pairs.try_for_each(|(parameter, buffer)| go(parameter, buffer, &self.lr));
        }
        match self.lr.get() {
            Number::Host(lr) => add_quotients(parameters, &gradients, &denominators, -lr),
            Number::Device(_) => {
                let directions = gradients.iter().zip(&denominators);
                let mut pairs = parameters.iter().zip(directions);
                pairs.try_for_each(|(parameter, (gradient, denominator))| {
                    go(parameter, &gradient.f_div(denominator)?, &self.lr)
                })
            }
        }
    }
}

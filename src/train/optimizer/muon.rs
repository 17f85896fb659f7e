//! Muon (Jordan et al. 2024): momentum made orthogonal, for the hidden weights, kernels as matrices; AdamW for the rest.

use tch::{Kind, Tensor};

use super::adam::AdamRule;
use super::ground::{named, Ground};
use super::orthogonal::orthogonal;
use super::{in_float32, Moment, Rule};
use crate::error::{Error, Result};
use crate::libtorch::{add_scaled, Adam, Number};
use crate::train::dial::Dial;
use crate::train::method::AdjustLr;

pub struct MuonRule {
    nesterov: bool,
    weight_decay: f64,
    /// The places of the hidden weights among the parameters, and their factors on the learning rate.
    hidden: Vec<(usize, f64)>,
    /// Means of their gradients.
    first: Vec<Tensor>,
    lr: Dial,
    /// Of that mean, and the rest to 1.
    momentum: Dial,
    rest: Dial,
    /// What weight decay leaves of the weights: 1 - lr · weight_decay.
    kept: Dial,
    /// The places of the others, their rule, and its learning rate as a share.
    others: Vec<usize>,
    adamw: AdamRule,
    ratio: f64,
    beta: f64,
}

/// Numbers of the products, as in torch.optim.Muon.
const KIND: Kind = Kind::BFloat16;

impl MuonRule {
    pub fn new(
        ground: &Ground,
        nesterov: bool,
        adjust_lr: AdjustLr,
        weight_decay: f64,
        adamw: Adam,
        ratio: f64,
    ) -> Result<Self> {
        let places = 0..ground.parameters.len();
        let is_matrix = |place: &usize| ground.parameters[*place].dim() >= 2;
        let output = places.clone().rev().find(is_matrix);
        let is_hidden = |place: &usize| is_matrix(place) && Some(*place) != output;
        let (hidden, others): (Vec<usize>, Vec<usize>) = places.partition(is_hidden);
        if hidden.is_empty() {
            return Err(Error::argument(
                "optimizer \"muon\" is for hidden weights, and this network has none before its output layer, which AdamW \
                 takes care of: choose optimizer \"adamw\"",
            ));
        }
        let at = |places: &[usize]| {
            let chosen: Vec<&Tensor> = places.iter().map(|place| ground.parameters[*place]).collect();
            Ground::new(ground.steps, &chosen)
        };
        let factor = |place: usize| {
            let size = ground.parameters[place].size();
            (place, adjust_lr.factor(size[0], size[1..].iter().product()))
        };
        Ok(MuonRule {
            nesterov,
            weight_decay,
            first: at(&hidden).zeros(true)?,
            hidden: hidden.into_iter().map(factor).collect(),
            lr: ground.dial()?,
            momentum: ground.dial()?,
            rest: ground.dial()?,
            kept: ground.dial()?,
            adamw: AdamRule::new(&at(&others).still(), adamw)?,
            others,
            ratio,
            beta: adamw.betas.0,
        })
    }

    /// Changes a hidden weight by its learning rate's `factor`.
    fn turn(&self, parameter: &Tensor, mean: &Tensor, gradient: &Tensor, factor: f64) -> Result<()> {
        self.rest.approach(mean, gradient)?;
        let direction = match self.nesterov {
            true => self.momentum.between(gradient, mean)?,
            false => mean.shallow_clone(),
        };
        let size = parameter.size();
        let direction = orthogonal(&direction.f_reshape([size[0], -1])?, KIND)?;
        let direction = direction.f_to_kind(parameter.f_kind()?)?.f_reshape(&size)?;
        if self.weight_decay != 0.0 {
            self.kept.multiply(parameter)?;
        }
        match self.lr.get() {
            Number::Host(lr) => add_scaled(parameter, &direction, -in_float32(lr * factor)),
            Number::Device(lr) => {
                let change = direction.f_mul_scalar(factor)?.f_mul_(lr)?;
                let _ = parameter.shallow_clone().f_sub_(&change)?;
                Ok(())
            }
        }
    }
}

impl Rule for MuonRule {
    fn state(&self) -> Vec<(String, Tensor)> {
        let others = self.adamw.state().into_iter().map(|(name, tensor)| (format!("others.{name}"), tensor));
        named("first", &self.first).into_iter().chain(others).collect()
    }

    fn set(&self, Moment { taken, lr, momentum }: Moment) -> Result<()> {
        self.lr.set(in_float32(lr))?;
        self.momentum.set(momentum)?;
        self.rest.set(1.0 - momentum)?;
        self.kept.set(in_float32(1.0 - lr * self.weight_decay))?;
        self.adamw.set(Moment { taken, lr: lr * self.ratio, momentum: self.beta })
    }

    fn may_take_tiny_for_zero(&self) -> bool {
        self.adamw.may_take_tiny_for_zero() // and what it divides the means by is 1e-7 at least
    }

    fn step(&self, parameters: &[Tensor], gradients: &[Tensor]) -> Result<()> {
        for (mean, (place, factor)) in self.first.iter().zip(&self.hidden) {
            self.turn(&parameters[*place], mean, &gradients[*place], *factor)?;
        }
        let at = |all: &[Tensor]| -> Vec<Tensor> {
            self.others.iter().map(|place| all[*place].shallow_clone()).collect()
        };
        self.adamw.step(&at(parameters), &at(gradients))
    }
}

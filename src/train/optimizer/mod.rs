//! Optimizers, with the formulas and defaults of torch.optim, and on a CPU with its rounding too. On a GPU their step is the
//! same work each time, so that it can be recorded: what changes from step to step are numbers on the device.
//!
//! One more is one more variant of [`Method`], whose readers the compiler names, and one more file here with its [`Rule`].

mod adam;
mod ground;
mod lion;
mod muon;
mod nadam;
mod orthogonal;
mod rmsprop;
mod sgd;

use tch::{Device, Tensor};

use self::adam::AdamRule;
use self::ground::Ground;
use self::lion::LionRule;
use self::muon::MuonRule;
use self::nadam::NAdamRule;
use self::rmsprop::RmsPropRule;
use self::sgd::SgdRule;
use super::Method;
use crate::error::Result;
use crate::libtorch::{laid_out_like, Adam, TinyIsZero};

pub struct Optimizer {
    rule: Box<dyn Rule>,
    /// Where no schedule moves it.
    momentum: f64,
    /// Whether steps take numbers below 1.2e-38 for zero; on a device they cost no time.
    tiny_is_zero: bool,
}

/// Who takes the steps, and by which kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// The host, by the kernels of plain PyTorch.
    Exact,
    /// The host, by libtorch's fused kernels also for Adam: one pass, which rounds differently.
    Fused,
    /// The device, by libtorch's fused kernels where there are some.
    OnDevice,
    /// The same with a momentum that changes on the way.
    OnDeviceMoving,
}

/// What is to be known of the next step.
#[derive(Clone, Copy)]
struct Moment {
    /// Steps taken before.
    taken: usize,
    lr: f64,
    /// Or the first beta.
    momentum: f64,
}

/// How one method steps, with what it keeps from step to step.
trait Rule {
    /// The tensors that a step changes, besides the parameters, by names. All that the steps to come follow from is here.
    fn state(&self) -> Vec<(String, Tensor)>;

    /// Prepares the next step; once for each.
    fn set(&self, moment: Moment) -> Result<()>;

    /// Whether the same weights come out if a step takes numbers below 1.2e-38 for zero. Where a gradient stays zero, as
    /// behind a unit that no image reaches any more, its means fall below that after a thousand steps and remain there,
    /// and a step would take many times as long from then on.
    fn may_take_tiny_for_zero(&self) -> bool;

    /// Changes `parameters` in place by one step along `gradients`.
    fn step(&self, parameters: &[Tensor], gradients: &[Tensor]) -> Result<()>;
}

impl Optimizer {
    pub fn new(method: Method, steps: Steps, parameters: &[&Tensor]) -> Result<Self> {
        method.check()?;
        let ground = Ground::new(steps, parameters);
        let adam = |betas, eps, weight_decay, decoupled| {
            AdamRule::new(&ground, Adam { betas, eps, weight_decay, decoupled })
        };
        let rule: Box<dyn Rule> = match method {
            Method::Sgd { momentum, nesterov, weight_decay } => {
                Box::new(SgdRule::new(&ground, momentum, nesterov, weight_decay)?)
            }
            Method::Adam { betas, eps, weight_decay } => Box::new(adam(betas, eps, weight_decay, false)?),
            Method::AdamW { betas, eps, weight_decay } => Box::new(adam(betas, eps, weight_decay, true)?),
            Method::RmsProp { alpha, eps, momentum, centered, weight_decay } => {
                Box::new(RmsPropRule::new(&ground, alpha, eps, momentum, centered, weight_decay)?)
            }
            Method::NAdam { betas, eps, momentum_decay, weight_decay } => {
                Box::new(NAdamRule::new(&ground, betas.1, eps, momentum_decay, weight_decay)?)
            }
            Method::Lion { betas, weight_decay } => Box::new(LionRule::new(&ground, betas.1, weight_decay)?),
            Method::Muon { momentum: _, nesterov, adjust_lr, adamw_lr_ratio, betas, eps, weight_decay } => {
                let others = Adam { betas, eps, weight_decay, decoupled: true };
                let ratio = adamw_lr_ratio.unwrap_or(adjust_lr.adamw_lr_ratio());
                Box::new(MuonRule::new(&ground, nesterov, adjust_lr, weight_decay, others, ratio)?)
            }
        };
        let tiny_is_zero =
            !ground.on_device() && ground.device() == Device::Cpu && rule.may_take_tiny_for_zero();
        Ok(Optimizer { rule, momentum: method.momentum(), tiny_is_zero })
    }

    /// The tensors that a step changes, besides the parameters, by names.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        self.rule.state()
    }

    /// Learning rate of the next step, before which `taken` were taken, and its momentum (the first beta of Adam and others)
    /// if that changes. Once for each step.
    pub fn set(&self, taken: usize, lr: f64, momentum: Option<f64>) -> Result<()> {
        self.rule.set(Moment { taken, lr, momentum: momentum.unwrap_or(self.momentum) })
    }

    /// Changes `parameters` in place by one step along `gradients`.
    pub fn step(&self, parameters: &[&Tensor], gradients: &[Tensor]) -> Result<()> {
        let parameters = parameters.iter().map(|p| p.f_detach()).collect::<Result<Vec<_>, _>>()?;
        let stored = gradients.iter().zip(&parameters);
        let stored = stored.map(|(gradient, parameter)| as_stored(gradient, parameter));
        let stored = stored.collect::<Result<Vec<_>>>()?;
        let _tiny = self.tiny_is_zero.then(TinyIsZero::begin).transpose()?;
        self.rule.step(&parameters, &stored)
    }
}

/// The gradient in its parameter's memory layout: the fused kernels of a GPU insist on it, and those of a CPU take the
/// numbers in the order in which they lie.
fn as_stored(gradient: &Tensor, parameter: &Tensor) -> Result<Tensor> {
    match gradient.defined() {
        true => laid_out_like(gradient, parameter),
        false => Ok(gradient.shallow_clone()), // refused by the kernels
    }
}

/// A number for an operator on float32, which refuses one that is too large for it: infinity, which it takes, and which
/// ends the run as any other number that is not finite.
fn in_float32(number: f64) -> f64 {
    match number.abs() > f64::from(f32::MAX) {
        true => f64::INFINITY.copysign(number),
        false => number,
    }
}

#[cfg(test)]
mod tests;

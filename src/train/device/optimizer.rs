//! The optimizers for a GPU: their step is the same work each time, so that it can be recorded. What changes from step to
//! step are numbers on the device, which the host sets without waiting.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::libtorch::{fused_adam, fused_sgd, laid_out_like, Adam, Rate, Sgd};
use crate::train::Method;

pub struct DeviceOptimizer {
    method: Method,
    /// Whether the momentum (Adam's first beta) changes on the way. libtorch's fused kernels take it as a constant, so
    /// then separate kernels do the work.
    moving: bool,
    /// Momentum, or the mean of the gradients.
    first: Vec<Tensor>,
    /// Mean of the squared gradients; Adam only.
    second: Vec<Tensor>,
    /// Steps taken, and the learning rate.
    taken: Tensor,
    lr: Tensor,
    moved: Moved,
}

/// What the separate kernels need. All are float32 scalars on the device.
struct Moved {
    momentum: Tensor,
    /// 1 - momentum
    rest: Tensor,
    /// lr · momentum for SGD; lr / (1 - beta₁ᵗ) for Adam.
    step_size: Tensor,
    /// √(1 - beta₂ᵗ)
    correction: Tensor,
    /// What decoupled weight decay leaves of the weights: 1 - lr · weight_decay.
    kept: Tensor,
    zero: Tensor,
}

impl DeviceOptimizer {
    pub fn new(method: Method, moving: bool, parameters: &[&Tensor]) -> Result<Self> {
        method.check()?;
        let device = parameters.first().map_or(Device::Cpu, |parameter| parameter.device());
        let number = || Tensor::f_zeros([0i64; 0], (Kind::Float, device));
        // In the parameters' own memory layout, which the fused kernels insist on.
        let zeros = |wanted: bool| -> Result<Vec<Tensor>> {
            let like = parameters.iter().filter(|_| wanted).map(|p| Ok(p.f_detach()?.f_zeros_like()?));
            like.collect()
        };
        let (momentum, adam) = match method {
            Method::Sgd { momentum, .. } => (momentum != 0.0 || moving, false),
            _ => (true, true),
        };
        Ok(DeviceOptimizer {
            method,
            moving,
            first: zeros(momentum)?,
            second: zeros(adam)?,
            taken: number()?,
            lr: number()?,
            moved: Moved {
                momentum: number()?,
                rest: number()?,
                step_size: number()?,
                correction: number()?,
                kept: number()?,
                zero: number()?,
            },
        })
    }

    /// The tensors that a step changes, besides the parameters.
    pub fn state(&self) -> Vec<&Tensor> {
        self.first.iter().chain(&self.second).chain([&self.taken]).collect()
    }

    /// Learning rate of the next step, before which `taken` were taken, and its momentum if that changes.
    pub fn set(&self, taken: usize, lr: f64, momentum: Option<f64>) -> Result<()> {
        fill(&self.lr, lr)?;
        if !self.moving {
            return Ok(());
        }
        let moved = &self.moved;
        let steps = taken as f64 + 1.0;
        let (momentum, step_size) = match self.method {
            Method::Sgd { momentum: usual, .. } => {
                let momentum = momentum.unwrap_or(usual);
                (momentum, lr * momentum)
            }
            Method::Adam { betas, weight_decay, .. } | Method::AdamW { betas, weight_decay, .. } => {
                let beta = momentum.unwrap_or(betas.0);
                fill(&moved.correction, (1.0 - betas.1.powf(steps)).sqrt())?;
                fill(&moved.kept, 1.0 - lr * weight_decay)?;
                (beta, lr / (1.0 - beta.powf(steps)))
            }
        };
        fill(&moved.momentum, momentum)?;
        fill(&moved.rest, 1.0 - momentum)?;
        fill(&moved.step_size, step_size)
    }

    /// Changes `parameters` in place by one step along `gradients`.
    pub fn step(&self, parameters: &[&Tensor], gradients: &[Tensor]) -> Result<()> {
        let parameters = parameters.iter().map(|p| p.f_detach()).collect::<Result<Vec<_>, _>>()?;
        let gradients = gradients.iter().zip(&parameters).map(|(gradient, p)| as_stored(gradient, p));
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        let _ = self.taken.shallow_clone().f_add_scalar_(1.0)?;
        match self.method {
            Method::Sgd { momentum, nesterov, weight_decay } => match self.moving {
                false => {
                    let (lr, first) = (&self.lr, self.first.as_slice());
                    self.sgd(&parameters, &gradients, first, [momentum, weight_decay], lr, nesterov)
                }
                true => self.moving_sgd(&parameters, &gradients, nesterov, weight_decay),
            },
            Method::Adam { betas, eps, weight_decay } => match self.moving {
                false => {
                    self.adam(&parameters, &gradients, Adam { betas, eps, weight_decay, decoupled: false })
                }
                true => {
                    let decayed = gradients
                        .iter()
                        .zip(&parameters)
                        .map(|(g, p)| Ok(g.f_add(&p.f_mul_scalar(weight_decay)?)?));
                    let decayed = decayed.collect::<Result<Vec<_>>>()?;
                    self.moving_adam(&parameters, &decayed, betas.1, eps)
                }
            },
            Method::AdamW { betas, eps, weight_decay } => match self.moving {
                false => {
                    self.adam(&parameters, &gradients, Adam { betas, eps, weight_decay, decoupled: true })
                }
                true => {
                    for parameter in &parameters {
                        let _ = parameter.shallow_clone().f_mul_(&self.moved.kept)?;
                    }
                    self.moving_adam(&parameters, &gradients, betas.1, eps)
                }
            },
        }
    }

    fn sgd(
        &self,
        parameters: &[Tensor],
        gradients: &[Tensor],
        buffers: &[Tensor],
        [momentum, weight_decay]: [f64; 2],
        lr: &Tensor,
        nesterov: bool,
    ) -> Result<()> {
        // Without dampening, a buffer of zeros gives what a first step would.
        let method = Sgd { momentum, weight_decay, nesterov, first_step: false };
        fused_sgd(parameters, gradients, buffers, Rate::Device(lr), method)
    }

    /// The buffer times the momentum of the moment, then the rest of the formula with a momentum of 1 or none.
    fn moving_sgd(
        &self,
        parameters: &[Tensor],
        gradients: &[Tensor],
        nesterov: bool,
        weight_decay: f64,
    ) -> Result<()> {
        let Moved { momentum, step_size, zero, .. } = &self.moved;
        for buffer in &self.first {
            let _ = buffer.shallow_clone().f_mul_(momentum)?;
        }
        if !nesterov {
            return self.sgd(parameters, gradients, &self.first, [1.0, weight_decay], &self.lr, false);
        }
        // The buffer takes the gradient up; then the weights go along the gradient, and along the buffer.
        self.sgd(parameters, gradients, &self.first, [1.0, weight_decay], zero, false)?;
        self.sgd(parameters, gradients, &[], [0.0, weight_decay], &self.lr, false)?;
        self.sgd(parameters, &self.first, &[], [0.0, 0.0], step_size, false)
    }

    fn adam(&self, parameters: &[Tensor], gradients: &[Tensor], method: Adam) -> Result<()> {
        let state = [self.first.as_slice(), &self.second];
        fused_adam(parameters, gradients, state, &self.taken, Rate::Device(&self.lr), method)
    }

    fn moving_adam(&self, parameters: &[Tensor], gradients: &[Tensor], beta: f64, eps: f64) -> Result<()> {
        let Moved { rest, step_size, correction, .. } = &self.moved;
        let states = self.first.iter().zip(&self.second);
        for ((parameter, gradient), (mean, square)) in parameters.iter().zip(gradients).zip(states) {
            let _ = mean.shallow_clone().f_lerp_tensor_(gradient, rest)?;
            let mut square = square.shallow_clone().f_mul_scalar_(beta)?;
            let _ = square.f_add_(&gradient.f_mul(gradient)?.f_mul_scalar_(1.0 - beta)?)?;
            let denominator = square.f_sqrt()?.f_div_(correction)?.f_add_scalar_(eps)?;
            let _ = parameter.shallow_clone().f_sub_(&mean.f_div(&denominator)?.f_mul_(step_size)?)?;
        }
        Ok(())
    }
}

/// Sets a number on the device; the value travels with the kernel, so nothing waits. One that float32 does not hold is
/// infinite there, and the run diverges.
pub fn fill(number: &Tensor, value: f64) -> Result<()> {
    let _ = number.shallow_clone().f_fill_(f64::from(value as f32))?;
    Ok(())
}

/// The gradient in its parameter's memory layout, which the fused kernels insist on.
fn as_stored(gradient: &Tensor, parameter: &Tensor) -> Result<Tensor> {
    match gradient.defined() {
        true => laid_out_like(gradient, parameter),
        false => Ok(gradient.shallow_clone()), // refused by the kernels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Optimizer;

    const GRADIENTS: [[f32; 4]; 3] = [[0.5, -1.0, 0.0, 2.0], [0.25, 2.0, 0.1, -1.0], [-1.0, 0.3, 0.2, 0.5]];

    fn parameter() -> Tensor {
        Tensor::from_slice(&[1f32, -2.0, 0.5, 3.0]).view([2, 2])
    }

    /// The weights after three steps of each optimizer, with learning rates and momenta that change or not.
    fn both(method: Method, moving: bool) -> [Vec<f32>; 2] {
        let (here, there) = (parameter(), parameter());
        let mut plain = Optimizer::new(method, 0.0, &[&here], false).unwrap();
        let device = DeviceOptimizer::new(method, moving, &[&there]).unwrap();
        for (taken, gradient) in GRADIENTS.iter().enumerate() {
            let gradient = Tensor::from_slice(gradient).view([2, 2]);
            let lr = 0.1 / (1.0 + taken as f64);
            let momentum = moving.then_some(0.8 + 0.05 * taken as f64);
            plain.set(lr, momentum);
            plain.step(&[&here], &[gradient.copy()]).unwrap();
            device.set(taken, lr, momentum).unwrap();
            device.step(&[&there], &[gradient]).unwrap();
        }
        [here, there].map(|weights| Vec::try_from(weights.flatten(0, -1)).unwrap())
    }

    // Against the other optimizers, which are tested against torch.optim.
    #[test]
    fn steps_are_those_of_the_other_optimizers() {
        let betas = (0.9, 0.999);
        let sgd = |momentum, nesterov| Method::Sgd { momentum, nesterov, weight_decay: 0.01 };
        let methods = [
            sgd(0.0, false),
            sgd(0.9, false),
            sgd(0.9, true),
            Method::Adam { betas, eps: 1e-8, weight_decay: 0.0 },
            Method::Adam { betas, eps: 1e-8, weight_decay: 0.01 },
            Method::AdamW { betas, eps: 1e-8, weight_decay: 0.1 },
        ];
        for method in methods {
            for moving in [false, true] {
                if moving && matches!(method, Method::Sgd { momentum: 0.0, .. }) {
                    continue; // refused by the schedule's own check
                }
                let [plain, device] = both(method, moving);
                for (a, b) in plain.iter().zip(&device) {
                    assert!((a - b).abs() < 2e-6, "{method:?} {moving}: {plain:?} {device:?}");
                }
            }
        }
    }

    #[test]
    fn a_gradient_that_is_stored_otherwise_is_the_same_gradient() {
        let method = Method::Adam { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 };
        let weights = [false, true].map(|transposed| {
            let weights = parameter();
            let optimizer = DeviceOptimizer::new(method, false, &[&weights]).unwrap();
            let gradient = Tensor::from_slice(&GRADIENTS[0]).view([2, 2]);
            let gradient = if transposed { gradient.tr().contiguous().tr() } else { gradient };
            optimizer.set(0, 0.1, None).unwrap();
            optimizer.step(&[&weights], &[gradient]).unwrap();
            weights
        });
        assert_eq!(weights[0], weights[1]);
    }

    // float32 ends at 3.4e38.
    #[test]
    fn a_rate_beyond_float32_is_infinite() {
        let number = Tensor::zeros([0i64; 0], (Kind::Float, Device::Cpu));
        for (value, held) in [(1e38, 1e38), (1e39, f64::INFINITY), (-1e300, f64::NEG_INFINITY)] {
            fill(&number, value).unwrap();
            assert_eq!(number.double_value(&[]) as f32, held as f32);
        }
    }

    #[test]
    fn a_missing_gradient_is_an_error() {
        let weights = parameter();
        let method = Method::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        let optimizer = DeviceOptimizer::new(method, false, &[&weights]).unwrap();
        assert!(optimizer.step(&[&weights], &[Tensor::new()]).is_err());
    }
}

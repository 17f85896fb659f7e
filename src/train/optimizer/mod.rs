//! Optimizers, with the formulas and defaults of torch.optim, and on a CPU with its rounding too. On a GPU their step is the
//! same work each time, so that it can be recorded: what changes from step to step are numbers on the device.

mod adam;
mod sgd;

use std::cell::Cell;

use tch::{Device, Kind, Tensor};

use super::dial::Dial;
use super::Method;
use crate::error::Result;
use crate::libtorch::{laid_out_like, Adam};

pub struct Optimizer {
    method: Method,
    on_device: bool,
    /// Momentum, or the mean of the gradients.
    first: Vec<Tensor>,
    /// Mean of the squared gradients.
    second: Vec<Tensor>,
    /// Steps taken, for Adam's fused kernel: a float32 scalar beside the parameters, which serves them all.
    taken: Option<Tensor>,
    /// Whether the next step of a host is the first.
    first_step: Cell<bool>,
    lr: Dial,
    /// Or Adam's first beta. On the device only if it changes on the way: libtorch's fused kernels take it as a constant, so
    /// then separate kernels do the work, which need the numbers below.
    momentum: Dial,
    /// 1 - momentum
    rest: Dial,
    /// lr · momentum for SGD; lr / (1 - beta₁ᵗ) for Adam.
    step_size: Dial,
    /// √(1 - beta₂ᵗ)
    correction: Dial,
    /// What decoupled weight decay leaves of the weights: 1 - lr · weight_decay.
    kept: Dial,
}

/// Who takes the steps, and by which kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// The host, by the kernels of plain PyTorch.
    Exact,
    /// The host, by libtorch's fused kernels also for Adam: one pass, which rounds differently.
    Fused,
    /// The device, by libtorch's fused kernels.
    OnDevice,
    /// The same with a momentum that changes on the way.
    OnDeviceMoving,
}

impl Optimizer {
    pub fn new(method: Method, steps: Steps, parameters: &[&Tensor]) -> Result<Self> {
        method.check()?;
        let device = parameters.first().map_or(Device::Cpu, |parameter| parameter.device());
        let moving = steps == Steps::OnDeviceMoving;
        let on_device = moving || steps == Steps::OnDevice;
        let dial = |on_device: bool| match on_device {
            true => Dial::on_device(device),
            false => Ok(Dial::on_host()),
        };
        // In the parameters' own memory layout, which the fused kernels insist on.
        let zeros = |wanted: bool| -> Result<Vec<Tensor>> {
            let like = parameters.iter().filter(|_| wanted).map(|p| Ok(p.f_detach()?.f_zeros_like()?));
            like.collect()
        };
        let [first, second] = method.means();
        let counted = second && matches!(steps, Steps::Fused | Steps::OnDevice);
        let counter = counted.then(|| Tensor::f_zeros([0i64; 0], (Kind::Float, device)));
        Ok(Optimizer {
            method,
            on_device,
            first: zeros(first || moving)?,
            second: zeros(second)?,
            taken: counter.transpose()?,
            first_step: Cell::new(false),
            lr: dial(on_device)?,
            momentum: dial(moving)?,
            rest: dial(moving)?,
            step_size: dial(moving)?,
            correction: dial(moving)?,
            kept: dial(moving)?,
        })
    }

    /// The tensors that a step changes, besides the parameters, by names.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let named = |name: &'static str, means: &'_ [Tensor]| -> Vec<(String, Tensor)> {
            let all = means.iter().enumerate();
            all.map(|(index, mean)| (format!("{name}.{index}"), mean.shallow_clone())).collect()
        };
        let taken = self.taken.iter().map(|taken| ("taken".to_string(), taken.shallow_clone()));
        [named("first", &self.first), named("second", &self.second)]
            .into_iter()
            .flatten()
            .chain(taken)
            .collect()
    }

    /// Learning rate of the next step, before which `taken` were taken, and its momentum (Adam's first beta) if that
    /// changes.
    pub fn set(&self, taken: usize, lr: f64, momentum: Option<f64>) -> Result<()> {
        let momentum = momentum.unwrap_or(self.method.momentum());
        self.first_step.set(taken == 0 && !self.on_device);
        self.lr.set(lr)?;
        self.momentum.set(momentum)?;
        match self.method {
            Method::Sgd { .. } => self.step_size.set(lr * momentum),
            Method::Adam { betas, weight_decay, .. } | Method::AdamW { betas, weight_decay, .. } => {
                let steps = taken as f64 + 1.0;
                self.rest.set(1.0 - momentum)?;
                self.step_size.set(in_float32(lr / (1.0 - momentum.powf(steps))))?;
                self.correction.set((1.0 - betas.1.powf(steps)).sqrt())?;
                self.kept.set(in_float32(1.0 - lr * weight_decay))
            }
        }
    }

    /// Changes `parameters` in place by one step along `gradients`.
    pub fn step(&self, parameters: &[&Tensor], gradients: &[Tensor]) -> Result<()> {
        let parameters = parameters.iter().map(|p| p.f_detach()).collect::<Result<Vec<_>, _>>()?;
        let stored = gradients.iter().zip(&parameters).map(|(gradient, parameter)| match self.on_device {
            true => as_stored(gradient, parameter),
            false => Ok(gradient.shallow_clone()),
        });
        let gradients = stored.collect::<Result<Vec<_>>>()?;
        match self.method {
            Method::Sgd { nesterov, weight_decay, .. } => {
                self.sgd(&parameters, &gradients, nesterov, weight_decay)
            }
            Method::Adam { betas, eps, weight_decay } => {
                self.adam(&parameters, &gradients, Adam { betas, eps, weight_decay, decoupled: false })
            }
            Method::AdamW { betas, eps, weight_decay } => {
                self.adam(&parameters, &gradients, Adam { betas, eps, weight_decay, decoupled: true })
            }
        }
    }
}

/// The gradient in its parameter's memory layout, which the fused kernels insist on.
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
mod tests {
    use super::*;

    const ALL: [Steps; 4] = [Steps::Exact, Steps::Fused, Steps::OnDevice, Steps::OnDeviceMoving];

    fn after_three_steps(method: Method, lr: f64, steps: Steps) -> Vec<f64> {
        let parameter = Tensor::from_slice(&[1f64, -2.0, 0.5]);
        let optimizer = Optimizer::new(method, steps, &[&parameter]).unwrap();
        for (taken, gradient) in [[0.5f64, -1.0, 0.0], [0.25, 2.0, 0.1], [-1.0, 0.3, 0.2]].iter().enumerate()
        {
            optimizer.set(taken, lr, None).unwrap();
            optimizer.step(&[&parameter], &[Tensor::from_slice(gradient)]).unwrap();
        }
        Vec::try_from(parameter).unwrap()
    }

    const SGD: [f64; 3] = [1.025, -2.13, 0.47];
    const NESTEROV: [f64; 3] = [0.942869708191, -2.239336916382, 0.4309185505705];
    const ADAM: [f64; 3] = [0.8258477699317025, -1.970721764005325, 0.23827514975038278];
    const ADAMW: [f64; 3] = [0.824713859842936, -1.9673274248507604, 0.3413049848851313];

    // torch 2.11, float64:
    // p = torch.nn.Parameter(torch.tensor([1., -2., .5], dtype=torch.float64)); opt = torch.optim.X([p], ...)
    // for g in [[.5, -1., 0.], [.25, 2., .1], [-1., .3, .2]]: p.grad = torch.tensor(g, dtype=p.dtype); opt.step()
    #[test]
    fn steps_are_pytorchs() {
        let betas = (0.9, 0.999);
        let cases = [
            (Method::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 }, 0.1, SGD),
            (Method::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.01 }, 0.1, NESTEROV),
            (Method::Adam { betas, eps: 1e-8, weight_decay: 0.01 }, 0.1, ADAM),
            (Method::AdamW { betas, eps: 1e-8, weight_decay: 0.01 }, 0.1, ADAMW),
        ];
        for (method, lr, expected) in cases {
            let values = after_three_steps(method, lr, Steps::Exact);
            for (value, expected) in values.iter().zip(expected) {
                assert!((value - expected).abs() < 1e-9, "{method:?}: {values:?}");
            }
        }
    }

    // Against the unfused kernels above.
    #[test]
    fn the_fused_kernels_agree() {
        let (betas, eps, decay) = ((0.9, 0.999), 1e-8, 0.01);
        let method = Method::AdamW { betas, eps, weight_decay: decay };
        for (value, expected) in after_three_steps(method, 0.1, Steps::Fused).iter().zip(ADAMW) {
            assert!((value - expected).abs() < 1e-6, "{value} instead of {expected}");
        }
    }

    // What float32 does not hold is infinite, and makes weights that are not finite instead of an error.
    #[test]
    fn numbers_beyond_float32_make_weights_that_are_not_finite() {
        for lr in [1e38, 1e300, f64::MAX] {
            for (eps, weight_decay) in [(1e-8, 0.0), (1e-8, 1e300), (1e300, 0.1), (0.0, 1.0)] {
                let betas = (0.9, 0.999);
                for method in [
                    Method::Sgd { momentum: 1e300, nesterov: true, weight_decay },
                    Method::Adam { betas, eps, weight_decay },
                    Method::AdamW { betas, eps, weight_decay },
                ] {
                    for steps in ALL {
                        let parameter = Tensor::from_slice(&[1f32, -2.0, 0.5]);
                        let optimizer = Optimizer::new(method, steps, &[&parameter]).unwrap();
                        for taken in 0..2 {
                            let gradient = Tensor::from_slice(&[0.5f32, -1.0, 0.25]);
                            optimizer.set(taken, lr, None).unwrap();
                            optimizer.step(&[&parameter], &[gradient]).unwrap();
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_missing_gradient_is_an_error() {
        let parameter = parameter();
        let method = Method::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        for steps in [Steps::Exact, Steps::OnDevice] {
            let optimizer = Optimizer::new(method, steps, &[&parameter]).unwrap();
            assert!(optimizer.step(&[&parameter], &[Tensor::new()]).is_err());
        }
    }

    const GRADIENTS: [[f32; 4]; 3] = [[0.5, -1.0, 0.0, 2.0], [0.25, 2.0, 0.1, -1.0], [-1.0, 0.3, 0.2, 0.5]];

    fn parameter() -> Tensor {
        Tensor::from_slice(&[1f32, -2.0, 0.5, 3.0]).view([2, 2])
    }

    /// The weights after three steps taken by each, with learning rates and momenta that change or not.
    fn both(method: Method, moving: bool) -> [Vec<f32>; 2] {
        let device = if moving { Steps::OnDeviceMoving } else { Steps::OnDevice };
        [Steps::Exact, device].map(|steps| {
            let weights = parameter();
            let optimizer = Optimizer::new(method, steps, &[&weights]).unwrap();
            for (taken, gradient) in GRADIENTS.iter().enumerate() {
                let momentum = moving.then_some(0.8 + 0.05 * taken as f64);
                optimizer.set(taken, 0.1 / (1.0 + taken as f64), momentum).unwrap();
                optimizer.step(&[&weights], &[Tensor::from_slice(gradient).view([2, 2])]).unwrap();
            }
            Vec::try_from(weights.flatten(0, -1)).unwrap()
        })
    }

    // Against the host's steps, which are tested against torch.optim.
    #[test]
    fn a_devices_steps_are_the_hosts() {
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
                let [host, device] = both(method, moving);
                for (a, b) in host.iter().zip(&device) {
                    assert!((a - b).abs() < 2e-6, "{method:?} {moving}: {host:?} {device:?}");
                }
            }
        }
    }

    #[test]
    fn a_gradient_that_is_stored_otherwise_is_the_same_gradient() {
        let method = Method::Adam { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 };
        let weights = [false, true].map(|transposed| {
            let weights = parameter();
            let optimizer = Optimizer::new(method, Steps::OnDevice, &[&weights]).unwrap();
            let gradient = Tensor::from_slice(&GRADIENTS[0]).view([2, 2]);
            let gradient = if transposed { gradient.tr().contiguous().tr() } else { gradient };
            optimizer.set(0, 0.1, None).unwrap();
            optimizer.step(&[&weights], &[gradient]).unwrap();
            weights
        });
        assert_eq!(weights[0], weights[1]);
    }
}

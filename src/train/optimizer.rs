//! Optimizers, with the formulas and defaults of torch.optim, and on a CPU with its rounding too.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::libtorch::{call, fused_adam, fused_sgd, Adam, Argument, Rate, Sgd};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Method {
    Sgd {
        momentum: f64,
        nesterov: bool,
        weight_decay: f64,
    },
    /// Weight decay is added to the gradient.
    Adam {
        betas: (f64, f64),
        eps: f64,
        weight_decay: f64,
    },
    /// Weight decay shrinks the weights themselves (Loshchilov & Hutter 2017).
    AdamW {
        betas: (f64, f64),
        eps: f64,
        weight_decay: f64,
    },
}

impl Default for Method {
    fn default() -> Self {
        Method::ALL[1]
    }
}

impl Method {
    /// Each of them, with torch.optim's defaults.
    pub const ALL: [Method; 3] = [
        Method::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 },
        Method::Adam { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 },
        Method::AdamW { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.01 },
    ];

    pub fn check(&self) -> Result<()> {
        let not_negative = |name: &str, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => {
                Err(Error::Argument(format!("{name} is {value}: it must be a finite number, 0 or above")))
            }
        };
        match *self {
            Method::Sgd { momentum, nesterov, weight_decay } => {
                not_negative("momentum", momentum)?;
                not_negative("weight_decay", weight_decay)?;
                if nesterov && momentum == 0.0 {
                    return Err(Error::argument("nesterov needs a momentum above 0"));
                }
            }
            Method::Adam { betas, eps, weight_decay } | Method::AdamW { betas, eps, weight_decay } => {
                not_negative("eps", eps)?;
                not_negative("weight_decay", weight_decay)?;
                if ![betas.0, betas.1].iter().all(|beta| (0.0..1.0).contains(beta)) {
                    return Err(Error::Argument(format!("betas are {betas:?}: both must lie in [0, 1)")));
                }
            }
        }
        Ok(())
    }
}

pub struct Optimizer {
    method: Method,
    lr: f64,
    /// Momentum, or the mean of the gradients.
    first: Vec<Tensor>,
    /// Mean of the squared gradients; Adam only.
    second: Vec<Tensor>,
    /// Steps taken.
    taken: u64,
    /// The same for Adam's fused kernel: a float32 scalar on the device that serves all parameters.
    taken_on_device: Option<Tensor>,
}

impl Optimizer {
    /// `fused` takes libtorch's fused kernel for Adam on a CPU too: one pass, which rounds differently.
    pub fn new(method: Method, lr: f64, parameters: &[&Tensor], fused: bool) -> Result<Self> {
        method.check()?;
        let zeros = |wanted: bool| -> Result<Vec<Tensor>> {
            let like = parameters.iter().filter(|_| wanted).map(|p| Ok(p.f_detach()?.f_zeros_like()?));
            like.collect()
        };
        let (momentum, adam) = match method {
            Method::Sgd { momentum, .. } => (momentum != 0.0, false),
            _ => (true, true),
        };
        let counted = parameters.first().filter(|p| adam && (fused || p.device() != Device::Cpu));
        let counter = |p: &&Tensor| Tensor::f_zeros([0i64; 0], (Kind::Float, p.device()));
        Ok(Optimizer {
            method,
            lr,
            first: zeros(momentum)?,
            second: zeros(adam)?,
            taken: 0,
            taken_on_device: counted.map(counter).transpose()?,
        })
    }

    /// Learning rate of the next steps, and momentum (Adam's first beta) if that is to change.
    pub fn set(&mut self, lr: f64, momentum: Option<f64>) {
        self.lr = lr;
        let Some(wanted) = momentum else { return };
        match &mut self.method {
            Method::Sgd { momentum, .. } => *momentum = wanted,
            Method::Adam { betas, .. } | Method::AdamW { betas, .. } => betas.0 = wanted,
        }
    }

    /// Changes `parameters` in place by one step along `gradients`.
    pub fn step(&mut self, parameters: &[&Tensor], gradients: &[Tensor]) -> Result<()> {
        self.taken += 1;
        let parameters = parameters.iter().map(|p| p.f_detach()).collect::<Result<Vec<_>, _>>()?;
        match self.method {
            Method::Sgd { momentum, nesterov, weight_decay } => {
                let method = Sgd { momentum, weight_decay, nesterov, first_step: self.taken == 1 };
                fused_sgd(&parameters, gradients, &self.first, Rate::Host(self.lr), method)
            }
            Method::Adam { betas, eps, weight_decay } if self.taken_on_device.is_some() => {
                self.fused_adam(&parameters, gradients, Adam { betas, eps, weight_decay, decoupled: false })
            }
            Method::AdamW { betas, eps, weight_decay } if self.taken_on_device.is_some() => {
                self.fused_adam(&parameters, gradients, Adam { betas, eps, weight_decay, decoupled: true })
            }
            Method::Adam { betas, eps, weight_decay } if weight_decay != 0.0 => {
                let decayed = gradients
                    .iter()
                    .zip(&parameters)
                    .map(|(g, p)| Ok(g.f_add(&p.f_mul_scalar(in_float32(weight_decay))?)?));
                self.adam(&parameters, &decayed.collect::<Result<Vec<_>>>()?, betas, eps)
            }
            Method::Adam { betas, eps, .. } => self.adam(&parameters, gradients, betas, eps),
            Method::AdamW { betas, eps, weight_decay } => {
                for parameter in &parameters {
                    let kept = in_float32(1.0 - self.lr * weight_decay);
                    let _ = parameter.shallow_clone().f_mul_scalar_(kept)?;
                }
                self.adam(&parameters, gradients, betas, eps)
            }
        }
    }

    /// The kernels that torch.optim.Adam runs by default on a CPU, in its order. Its fused kernel rounds differently,
    /// and a last bit matters: the first steps are of size lr whatever the gradient's size, so one more or less turns
    /// a sign somewhere, and after ten steps the losses of a residual network part in the third digit.
    fn adam(
        &mut self,
        parameters: &[Tensor],
        gradients: &[Tensor],
        betas: (f64, f64),
        eps: f64,
    ) -> Result<()> {
        use Argument::{Tensor as One, Tensors};
        let steps = self.taken as f64;
        let step_size = in_float32(self.lr / (1.0 - betas.0.powf(steps)));
        let correction = (1.0 - betas.1.powf(steps)).sqrt();
        let same = |value: f64| Tensor::f_full([parameters.len() as i64], value, (Kind::Double, Device::Cpu));

        for (mean, gradient) in self.first.iter_mut().zip(gradients) {
            let _ = mean.f_lerp_(gradient, 1.0 - betas.0)?;
        }
        for square in &mut self.second {
            let _ = square.f_mul_scalar_(betas.1)?;
        }
        let (gradients, first, second) = (refs(gradients), refs(&self.first), refs(&self.second));
        call(
            c"aten::_foreach_addcmul_",
            c"Tensor",
            &[Tensors(&second), Tensors(&gradients), Tensors(&gradients), One(&same(1.0 - betas.1)?)],
        )?;
        let denominators = second
            .iter()
            .map(|square| Ok(square.f_sqrt()?.f_div_scalar_(correction)?.f_add_scalar_(in_float32(eps))?))
            .collect::<Result<Vec<_>>>()?;
        call(
            c"aten::_foreach_addcdiv_",
            c"Tensor",
            &[
                Tensors(&refs(parameters)),
                Tensors(&first),
                Tensors(&refs(&denominators)),
                One(&same(-step_size)?),
            ],
        )
    }

    fn fused_adam(&mut self, parameters: &[Tensor], gradients: &[Tensor], method: Adam) -> Result<()> {
        let Some(taken) = &mut self.taken_on_device else { return Ok(()) };
        let _ = taken.f_add_scalar_(1.0)?;
        let state = [self.first.as_slice(), &self.second];
        fused_adam(parameters, gradients, state, taken, Rate::Host(self.lr), method)
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

fn refs(tensors: &[Tensor]) -> Vec<&Tensor> {
    tensors.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_three_steps(method: Method, lr: f64) -> Vec<f64> {
        let parameter = Tensor::from_slice(&[1f64, -2.0, 0.5]);
        let mut optimizer = Optimizer::new(method, lr, &[&parameter], false).unwrap();
        for gradient in [[0.5f64, -1.0, 0.0], [0.25, 2.0, 0.1], [-1.0, 0.3, 0.2]] {
            optimizer.step(&[&parameter], &[Tensor::from_slice(&gradient)]).unwrap();
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
            let values = after_three_steps(method, lr);
            for (value, expected) in values.iter().zip(expected) {
                assert!((value - expected).abs() < 1e-9, "{method:?}: {values:?}");
            }
        }
    }

    // Against the unfused kernels above.
    #[test]
    fn the_fused_kernels_agree() {
        let (betas, eps, decay) = ((0.9, 0.999), 1e-8, 0.01);
        let parameter = Tensor::from_slice(&[1f64, -2.0, 0.5]);
        let method = Method::AdamW { betas, eps, weight_decay: decay };
        let mut optimizer = Optimizer::new(method, 0.1, &[&parameter], true).unwrap();
        for gradient in [[0.5f64, -1.0, 0.0], [0.25, 2.0, 0.1], [-1.0, 0.3, 0.2]] {
            optimizer.step(&[&parameter], &[Tensor::from_slice(&gradient)]).unwrap();
        }
        for (value, expected) in Vec::<f64>::try_from(parameter).unwrap().iter().zip(ADAMW) {
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
                    for fused in [false, true] {
                        let parameter = Tensor::from_slice(&[1f32, -2.0, 0.5]);
                        let mut optimizer = Optimizer::new(method, lr, &[&parameter], fused).unwrap();
                        for _ in 0..2 {
                            let gradient = Tensor::from_slice(&[0.5f32, -1.0, 0.25]);
                            optimizer.step(&[&parameter], &[gradient]).unwrap();
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_missing_gradient_is_an_error() {
        let parameter = Tensor::from_slice(&[1f32]);
        let method = Method::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        let mut optimizer = Optimizer::new(method, 0.1, &[&parameter], false).unwrap();
        assert!(optimizer.step(&[&parameter], &[Tensor::new()]).is_err());
    }

    #[test]
    fn wrong_values_are_refused() {
        let betas = (0.9, 0.999);
        for method in [
            Method::Sgd { momentum: 0.0, nesterov: true, weight_decay: 0.0 },
            Method::Sgd { momentum: f64::NAN, nesterov: false, weight_decay: 0.0 },
            Method::Adam { betas: (1.0, 0.999), eps: 1e-8, weight_decay: 0.0 },
            Method::AdamW { betas, eps: 1e-8, weight_decay: -1.0 },
        ] {
            assert!(method.check().is_err(), "{method:?}");
        }
    }
}

//! Optimizers, each one fused libtorch kernel over all parameters. Formulas and defaults are those of torch.optim.

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::libtorch::{call, Argument};

#[derive(Clone, Copy, Debug, PartialEq)]
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

impl Method {
    pub const NAMES: [&'static str; 3] = ["sgd", "adam", "adamw"];

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
    pub lr: f64,
    /// Momentum, or the mean of the gradients.
    first: Vec<Tensor>,
    /// Mean of the squared gradients; Adam only.
    second: Vec<Tensor>,
    /// Steps taken, a float32 scalar on the device that serves all parameters; Adam only.
    taken: Option<Tensor>,
    is_first_step: bool,
}

impl Optimizer {
    pub fn new(method: Method, lr: f64, parameters: &[&Tensor]) -> Result<Self> {
        method.check()?;
        let zeros = |wanted: bool| -> Result<Vec<Tensor>> {
            let like = parameters.iter().filter(|_| wanted).map(|p| Ok(p.f_detach()?.f_zeros_like()?));
            like.collect()
        };
        let (momentum, adam) = match method {
            Method::Sgd { momentum, .. } => (momentum != 0.0, false),
            _ => (true, true),
        };
        let counter = |p: &&Tensor| Tensor::f_zeros([0i64; 0], (Kind::Float, p.device()));
        Ok(Optimizer {
            method,
            lr,
            first: zeros(momentum)?,
            second: zeros(adam)?,
            taken: parameters.first().filter(|_| adam).map(counter).transpose()?,
            is_first_step: true,
        })
    }

    /// Changes `parameters` in place by one step along `gradients`.
    pub fn step(&mut self, parameters: &[&Tensor], gradients: &[Tensor]) -> Result<()> {
        let detached = parameters.iter().map(|p| p.f_detach()).collect::<Result<Vec<_>, _>>()?;
        let (parameters, gradients) = (refs(&detached), refs(gradients));
        let (first, second) = (refs(&self.first), refs(&self.second));
        use Argument::{Absent, Bool, Float, Tensors};
        let adam = |operator, betas: (f64, f64), eps, weight_decay| {
            let taken = self
                .taken
                .as_ref()
                .map(Tensor::shallow_clone)
                .map(|mut t| t.f_add_scalar_(1.0))
                .transpose()?;
            let taken = vec![taken.as_ref(); parameters.len()].into_iter().flatten().collect::<Vec<_>>();
            call(
                operator,
                &[
                    Tensors(&parameters),
                    Tensors(&gradients),
                    Tensors(&first),
                    Tensors(&second),
                    Tensors(&[]), // max_exp_avg_sqs: only for amsgrad
                    Tensors(&taken),
                    Float(self.lr),
                    Float(betas.0),
                    Float(betas.1),
                    Float(weight_decay),
                    Float(eps),
                    Bool(false), // amsgrad
                    Bool(false), // maximize
                    Absent,      // grad_scale
                    Absent,      // found_inf
                ],
            )
        };
        match self.method {
            Method::Adam { betas, eps, weight_decay } => {
                adam(c"aten::_fused_adam_", betas, eps, weight_decay)?
            }
            Method::AdamW { betas, eps, weight_decay } => {
                adam(c"aten::_fused_adamw_", betas, eps, weight_decay)?
            }
            Method::Sgd { momentum, nesterov, weight_decay } => call(
                c"aten::_fused_sgd_",
                &[
                    Tensors(&parameters),
                    Tensors(&gradients),
                    Tensors(&first),
                    Float(weight_decay),
                    Float(momentum),
                    Float(self.lr),
                    Float(0.0), // dampening
                    Bool(nesterov),
                    Bool(false), // maximize
                    Bool(self.is_first_step),
                    Absent, // grad_scale
                    Absent, // found_inf
                ],
            )?,
        }
        self.is_first_step = false;
        Ok(())
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
        let mut optimizer = Optimizer::new(method, lr, &[&parameter]).unwrap();
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

//! Which optimizers there are, and what is to be known of each.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

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

    /// Whether a mean of the gradients is kept (or a momentum), and one of their squares.
    pub fn means(&self) -> [bool; 2] {
        match *self {
            Method::Sgd { momentum, .. } => [momentum != 0.0, false],
            Method::Adam { .. } | Method::AdamW { .. } => [true, true],
        }
    }

    /// Momentum, or what Adam calls its first beta.
    pub fn momentum(&self) -> f64 {
        match *self {
            Method::Sgd { momentum, .. } => momentum,
            Method::Adam { betas, .. } | Method::AdamW { betas, .. } => betas.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

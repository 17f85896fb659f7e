//! Which optimizers there are, and what is to be known of each.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Its options are those of torch.optim by name and meaning, or of the paper where there is none.
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
    /// Tieleman & Hinton 2012; `centered` by Graves 2013. Weight decay is added to the gradient.
    RmsProp {
        alpha: f64,
        eps: f64,
        momentum: f64,
        centered: bool,
        weight_decay: f64,
    },
    /// Adam with Nesterov's momentum (Dozat 2016). Weight decay is added to the gradient.
    NAdam {
        betas: (f64, f64),
        eps: f64,
        momentum_decay: f64,
        weight_decay: f64,
    },
    /// The sign of a mean of the gradients (Chen et al. 2023). Weight decay shrinks the weights themselves.
    Lion {
        betas: (f64, f64),
        weight_decay: f64,
    },
    /// Momentum made orthogonal, for the hidden weight matrices and kernels; the rest by AdamW, whose `betas` and `eps` these are
    /// (Jordan et al. 2024). Weight decay shrinks all weights themselves.
    Muon {
        momentum: f64,
        nesterov: bool,
        adjust_lr: AdjustLr,
        /// AdamW's learning rate as a share of Muon's; None for what [`AdjustLr::adamw_lr_ratio`] says.
        adamw_lr_ratio: Option<f64>,
        betas: (f64, f64),
        eps: f64,
        weight_decay: f64,
    },
}

/// How Muon's learning rate depends on a matrix's shape, by torch.optim's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdjustLr {
    /// By Jordan: times √max(1, rows / columns).
    Original,
    /// By Liu et al. 2025, so that changes are as large as AdamW's: times 0.2 · √max(rows, columns).
    MatchRmsAdamw,
}

impl AdjustLr {
    pub fn factor(self, rows: i64, columns: i64) -> f64 {
        let [rows, columns] = [rows, columns].map(|size| size as f64);
        match self {
            AdjustLr::Original => (rows / columns).max(1.0).sqrt(),
            AdjustLr::MatchRmsAdamw => 0.2 * rows.max(columns).sqrt(),
        }
    }

    /// AdamW's learning rate as a share of Muon's, where nothing is said: of Jordan's own rates, 0.0003 and 0.02; and the same
    /// where Muon's is made to match.
    pub fn adamw_lr_ratio(self) -> f64 {
        match self {
            AdjustLr::Original => 0.015,
            AdjustLr::MatchRmsAdamw => 1.0,
        }
    }
}

impl Default for Method {
    fn default() -> Self {
        Method::ALL[1]
    }
}

const BETAS: (f64, f64) = (0.9, 0.999);

impl Method {
    /// Each of them, with torch.optim's defaults, or its authors'.
    pub const ALL: [Method; 7] = [
        Method::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 },
        Method::Adam { betas: BETAS, eps: 1e-8, weight_decay: 0.0 },
        Method::AdamW { betas: BETAS, eps: 1e-8, weight_decay: 0.01 },
        Method::RmsProp { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: false, weight_decay: 0.0 },
        Method::NAdam { betas: BETAS, eps: 1e-8, momentum_decay: 0.004, weight_decay: 0.0 },
        Method::Lion { betas: (0.9, 0.99), weight_decay: 0.0 },
        Method::Muon {
            momentum: 0.95,
            nesterov: true,
            adjust_lr: AdjustLr::Original,
            adamw_lr_ratio: None,
            betas: (0.9, 0.95),
            eps: 1e-10,
            weight_decay: 0.1,
        },
    ];

    pub fn check(&self) -> Result<()> {
        match *self {
            Method::Sgd { momentum, nesterov, weight_decay } => {
                not_negative("momentum", momentum)?;
                not_negative("weight_decay", weight_decay)?;
                nesterov_needs(nesterov, momentum)
            }
            Method::Adam { betas, eps, weight_decay } | Method::AdamW { betas, eps, weight_decay } => {
                not_negative("eps", eps)?;
                not_negative("weight_decay", weight_decay)?;
                check_betas(betas)
            }
            Method::RmsProp { alpha, eps, momentum, centered: _, weight_decay } => {
                not_negative("eps", eps)?;
                not_negative("momentum", momentum)?;
                not_negative("weight_decay", weight_decay)?;
                match (0.0..1.0).contains(&alpha) {
                    true => Ok(()),
                    false => Err(Error::Argument(format!("alpha is {alpha}: it must lie in [0, 1)"))),
                }
            }
            Method::NAdam { betas, eps, momentum_decay, weight_decay } => {
                not_negative("eps", eps)?;
                not_negative("momentum_decay", momentum_decay)?;
                not_negative("weight_decay", weight_decay)?;
                check_betas(betas)
            }
            Method::Lion { betas, weight_decay } => {
                not_negative("weight_decay", weight_decay)?;
                check_betas(betas)
            }
            Method::Muon { momentum, nesterov, adjust_lr: _, adamw_lr_ratio, betas, eps, weight_decay } => {
                if !(0.0..1.0).contains(&momentum) {
                    return Err(Error::Argument(format!(
                        "momentum is {momentum}: that of muon, a mean of the gradients, must lie in [0, 1)"
                    )));
                }
                not_negative("eps", eps)?;
                not_negative("weight_decay", weight_decay)?;
                not_negative("adamw_lr_ratio", adamw_lr_ratio.unwrap_or_default())?;
                check_betas(betas)?;
                nesterov_needs(nesterov, momentum)
            }
        }
    }

    /// How often the weights are kept in memory, besides themselves, as means of gradients and the like; at least.
    pub fn copies(&self) -> usize {
        match *self {
            Method::Sgd { momentum, .. } => usize::from(momentum != 0.0),
            Method::Adam { .. } | Method::AdamW { .. } | Method::NAdam { .. } => 2,
            Method::RmsProp { momentum, centered, .. } => {
                1 + usize::from(centered) + usize::from(momentum != 0.0)
            }
            Method::Lion { .. } | Method::Muon { .. } => 1,
        }
    }

    /// Momentum, or the first beta.
    pub fn momentum(&self) -> f64 {
        match *self {
            Method::Sgd { momentum, .. }
            | Method::RmsProp { momentum, .. }
            | Method::Muon { momentum, .. } => momentum,
            Method::Adam { betas, .. }
            | Method::AdamW { betas, .. }
            | Method::NAdam { betas, .. }
            | Method::Lion { betas, .. } => betas.0,
        }
    }

    /// Whether there is a mean of gradients, or a momentum, for a schedule to move.
    pub fn has_momentum(&self) -> bool {
        match *self {
            Method::Sgd { momentum, .. }
            | Method::RmsProp { momentum, .. }
            | Method::Muon { momentum, .. } => momentum != 0.0,
            Method::Adam { .. } | Method::AdamW { .. } | Method::NAdam { .. } | Method::Lion { .. } => true,
        }
    }
}

fn not_negative(name: &str, value: f64) -> Result<()> {
    match value.is_finite() && value >= 0.0 {
        true => Ok(()),
        false => Err(Error::Argument(format!("{name} is {value}: it must be a finite number, 0 or above"))),
    }
}

fn check_betas(betas: (f64, f64)) -> Result<()> {
    match [betas.0, betas.1].iter().all(|beta| (0.0..1.0).contains(beta)) {
        true => Ok(()),
        false => Err(Error::Argument(format!("betas are {betas:?}: both must lie in [0, 1)"))),
    }
}

fn nesterov_needs(nesterov: bool, momentum: f64) -> Result<()> {
    match nesterov && momentum == 0.0 {
        true => Err(Error::argument("nesterov needs a momentum above 0")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_are_refused() {
        let rms = |alpha, momentum| Method::RmsProp {
            alpha,
            eps: 1e-8,
            momentum,
            centered: true,
            weight_decay: 0.0,
        };
        let muon = |momentum, adamw_lr_ratio| Method::Muon {
            momentum,
            nesterov: true,
            adjust_lr: AdjustLr::Original,
            adamw_lr_ratio,
            betas: BETAS,
            eps: 1e-8,
            weight_decay: 0.0,
        };
        for method in [
            Method::Sgd { momentum: 0.0, nesterov: true, weight_decay: 0.0 },
            Method::Sgd { momentum: f64::NAN, nesterov: false, weight_decay: 0.0 },
            Method::Adam { betas: (1.0, 0.999), eps: 1e-8, weight_decay: 0.0 },
            Method::AdamW { betas: BETAS, eps: 1e-8, weight_decay: -1.0 },
            rms(1.0, 0.0),
            rms(f64::NAN, 0.0),
            rms(0.9, -0.5),
            Method::NAdam { betas: BETAS, eps: 1e-8, momentum_decay: -1.0, weight_decay: 0.0 },
            Method::Lion { betas: (0.9, 1.5), weight_decay: 0.0 },
            muon(1.0, None),
            muon(0.0, None),
            muon(0.9, Some(f64::NAN)),
        ] {
            assert!(method.check().is_err(), "{method:?}");
        }
        assert!(Method::ALL.iter().all(|method| method.check().is_ok()));
    }

    // torch 2.11: torch.optim._muon._adjust_lr(1.0, name, (rows, columns))
    #[test]
    fn rates_follow_the_shape() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(AdjustLr::Original.factor(128, 32), 2.0);
        close(AdjustLr::Original.factor(32, 128), 1.0);
        close(AdjustLr::MatchRmsAdamw.factor(32, 400), 4.0);
        close(AdjustLr::MatchRmsAdamw.factor(400, 32), 4.0);
    }
}

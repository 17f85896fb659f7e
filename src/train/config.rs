//! What a run is asked to do.

use super::optimizer::Method;
use crate::error::{Error, Result};
use crate::network::Precision;

/// When the test set is measured. Before the first step and after the last it always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluateEvery {
    /// After every n-th optimizer step.
    Steps(usize),
    /// At the end of each epoch.
    Epoch,
}

#[derive(Clone, Debug)]
pub struct TrainConfig {
    pub epochs: usize,
    pub batch_size: usize,
    pub method: Method,
    pub lr: f64,
    pub evaluate_every: EvaluateEvery,
    /// Test images to measure; all of them when not given.
    pub evaluate_on: Option<Vec<i64>>,
    pub record_predictions: bool,
    /// Of the batch order and of dropout.
    pub seed: u64,
    pub shuffle: bool,
    pub precision: Precision,
}

impl TrainConfig {
    pub fn check(&self) -> Result<()> {
        if self.epochs == 0 {
            return Err(Error::argument("epochs is 0: train for at least one"));
        }
        if self.evaluate_every == EvaluateEvery::Steps(0) {
            return Err(Error::argument("evaluate_every is 0: give a number of steps above 0, or \"epoch\""));
        }
        if !(self.lr.is_finite() && self.lr >= 0.0) {
            return Err(Error::Argument(format!(
                "lr is {}: it must be a finite number, 0 or above",
                self.lr
            )));
        }
        self.method.check()
    }

    /// Whether the test set is due once `taken` steps out of `total` have been taken.
    pub fn evaluation_is_due(&self, taken: usize, total: usize, steps_per_epoch: usize) -> bool {
        let every = match self.evaluate_every {
            EvaluateEvery::Steps(steps) => steps,
            EvaluateEvery::Epoch => steps_per_epoch,
        };
        taken == 0 || taken == total || taken % every == 0
    }
}

//! What the measurements decide: which weights are returned, when to stop early, when a plateau is reached.

use serde::{Deserialize, Serialize};
use tch::Device;

use super::history::Curves;
use super::History;
use crate::error::{Error, Result};
use crate::evaluate::Figures;
use crate::libtorch::copy_all;
use crate::names::names;
use crate::network::Model;

/// The curve that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    ValidationLoss,
    ValidationAccuracy,
    TestLoss,
    TestAccuracy,
}

impl Monitor {
    pub fn name(self) -> &'static str {
        names::<Monitor>()[self as usize]
    }

    pub fn smaller_is_better(self) -> bool {
        matches!(self, Monitor::ValidationLoss | Monitor::TestLoss)
    }

    fn is_of_validation(self) -> bool {
        matches!(self, Monitor::ValidationLoss | Monitor::ValidationAccuracy)
    }

    /// The images that it is of.
    fn part(self, history: &History) -> Option<&Curves> {
        match self.is_of_validation() {
            true => history.validation.as_ref(),
            false => Some(&history.test),
        }
    }

    /// As the history keeps it.
    fn value(self, found: &Figures) -> f64 {
        let value = match self {
            Monitor::ValidationLoss | Monitor::TestLoss => found.loss,
            Monitor::ValidationAccuracy | Monitor::TestAccuracy => found.accuracy,
        };
        f64::from(value as f32)
    }

    /// Whether its newest value is exact, and no estimate.
    pub fn is_exact(self, history: &History) -> bool {
        self.part(history).is_some_and(Curves::is_complete)
    }

    /// The newest value.
    fn read(self, history: &History) -> Option<f32> {
        let part = self.part(history)?;
        match self {
            Monitor::ValidationLoss | Monitor::TestLoss => part.loss.last(),
            Monitor::ValidationAccuracy | Monitor::TestAccuracy => part.accuracy.last(),
        }
        .copied()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchConfig {
    pub monitor: Monitor,
    /// Return the weights of the best measurement instead of the last.
    pub keep_best: bool,
    /// End after so many measurements in a row without a better one.
    pub patience: Option<usize>,
    /// A smaller improvement is none.
    pub min_delta: f64,
}

impl WatchConfig {
    /// Decides nothing.
    pub const NONE: WatchConfig =
        WatchConfig { monitor: Monitor::TestLoss, keep_best: false, patience: None, min_delta: 0.0 };

    /// What an improvement has to exceed: values are rounded to float32, and `min_delta` of them is not to be more for that.
    fn least_improvement(&self, best: f64, value: f64) -> f64 {
        let rounded = f64::from(f32::EPSILON) * best.abs().max(value.abs());
        if self.min_delta > 0.0 {
            self.min_delta + rounded
        } else {
            0.0
        }
    }

    pub fn check(&self, has_validation: bool) -> Result<()> {
        if self.monitor.is_of_validation() && !has_validation {
            return Err(Error::Argument(format!(
                "monitor is {:?}, and there is no validation set: give validation=0.1, for example",
                self.monitor.name()
            )));
        }
        if self.patience == Some(0) {
            return Err(Error::argument("patience is 0: give at least one measurement"));
        }
        if !(self.min_delta.is_finite() && self.min_delta >= 0.0) {
            return Err(Error::Argument(format!(
                "min_delta is {}: it must be a finite number, 0 or above",
                self.min_delta
            )));
        }
        Ok(())
    }
}

/// Follows the monitored curve from measurement to measurement.
pub struct Watch {
    config: WatchConfig,
    pub standing: Standing,
    /// Steps before the best measurement, and the weights then.
    pub kept: Option<(usize, Model)>,
    /// Where weights can be kept. On a CPU it is there from the beginning: copies that come and go while the network trains
    /// would keep the heap (`heap`) from shrinking.
    place: Option<Model>,
}

/// Where the curve stands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    best: Option<f64>,
    /// Measurements since the best.
    stale: usize,
}

impl Watch {
    /// Of weights like those of `model`.
    pub fn new(config: &WatchConfig, model: &Model) -> Result<Self> {
        let device = model.device();
        let place = (config.keep_best && device == Device::Cpu).then(|| model.to_device(device));
        let (config, standing) = (config.clone(), Standing::default());
        Ok(Watch { config, standing, kept: None, place: place.transpose()? })
    }

    /// Keeps the weights of `model`, which `taken` steps have made, and gives what it keeps.
    pub fn keep(&mut self, taken: usize, model: &Model) -> Result<&Model> {
        let earlier = self.kept.take().map(|(_, model)| model).filter(|model| model.device() == Device::Cpu);
        let place = match earlier.or_else(|| self.place.take()) {
            Some(place) => {
                tch::no_grad(|| copy_all(&place.tensors, &model.tensors))?;
                place
            }
            None => model.to_device(model.device())?,
        };
        Ok(&self.kept.insert((taken, place)).1)
    }

    /// Whether the newest values matter, or may be read later.
    pub fn is_needed(&self) -> bool {
        self.config.keep_best || self.config.patience.is_some()
    }

    pub fn is_out_of_patience(&self) -> bool {
        self.config.patience.is_some_and(|patience| self.standing.stale >= patience)
    }

    /// Whether weights of which this was found, of the test and of the validation images, are to be kept; None where it is an
    /// estimate, which decides nothing.
    pub fn would_keep(&self, found: [Option<&Figures>; 2]) -> bool {
        let WatchConfig { monitor, keep_best, .. } = self.config;
        let part = found[usize::from(monitor.is_of_validation())];
        keep_best && part.is_some_and(|part| self.is_better(monitor.value(part)))
    }

    fn is_better(&self, value: f64) -> bool {
        let smaller = self.config.monitor.smaller_is_better();
        let improvement = |best: f64| if smaller { best - value } else { value - best };
        let better = |best: f64| improvement(best) > self.config.least_improvement(best, value);
        self.standing.best.is_none_or(better)
    }

    /// Looks at the newest measurement, made of `model` after `taken` steps, and gives its value.
    pub fn look(&mut self, history: &History, model: &Model, taken: usize) -> Result<f64> {
        let value = f64::from(self.config.monitor.read(history).unwrap_or(f32::NAN));
        if self.is_better(value) {
            self.standing = Standing { best: Some(value), stale: 0 };
            if self.config.keep_best {
                self.keep(taken, model)?;
            }
        } else {
            self.standing.stale += 1;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Hundredths in float32 are 0.00999999 or 0.01000005 apart.
    #[test]
    fn an_improvement_by_min_delta_is_none_wherever_it_begins() {
        let watch = WatchConfig { min_delta: 0.01, ..WatchConfig::NONE };
        let apart = |less: i32, more: i32| {
            let [less, more] = [less, more].map(|hundredths| f64::from(hundredths as f32 / 100.0));
            more - less > watch.least_improvement(less, more)
        };
        assert!((0..100).all(|less| !apart(less, less + 1) && apart(less, less + 2)));
        assert!(WatchConfig::NONE.least_improvement(0.5, 0.5 + 1e-12) < 1e-12);
    }
}

//! Measuring by estimate: the accuracy and the loss of a set of images from the logits of a few, with standard errors.
//!
//! Between two steps little changes, what changes is predictable, and what is left is sampled where it matters. Of each image
//! the logits are remembered as they were when it was last looked at, and carried on by prediction since. One measurement
//! (`measurement`) looks at a pilot sample, predicts from it what the step did to all images (`predict`), samples the others
//! with probabilities that grow with what is uncertain about them (`spread`, `calibration`, `sample`), and corrects the
//! predictions by the sample (`sums`): what comes out is unbiased given the pilot, whatever the predictions are worth.
//! Complete passes set everything right again.

mod calibration;
mod measurement;
mod predict;
mod sample;
mod source;
mod spread;
mod sums;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use rand::seq::SliceRandom;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use self::calibration::Calibration;
use self::predict::{finite, log_probabilities, Decisions, Features};
use self::spread::Spread;
use super::Figures;
use crate::error::{Error, Result};

pub use source::Source;

/// Below so many images every measurement is complete.
const FEWEST: usize = 1000;
/// Changes of the accuracy that say how much it jumps of late.
const JUMPS: usize = 8;
/// The standard error may be so large a part of them.
const OF_JUMP: f64 = 0.25;

/// What is asked of measurements.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// The standard error that the accuracy may have.
    pub tolerance: f64,
    /// Steps between complete passes; None has them cost as many images as the measurements between them.
    pub complete_every: Option<usize>,
    /// Of the samples, which are a function of it and the step.
    pub seed: u64,
}

/// Measures one fixed set of images again and again.
pub struct Estimator {
    demand: Demand,
    /// (N,)
    labels: Vec<i32>,
    /// (classes,) images of each class.
    totals: Vec<i64>,
    /// The order in which images lie for systematic samples, until the next complete pass.
    order: Vec<u32>,
    features: Features,
    memory: Option<Memory>,
    learned: Learned,
}

/// Random numbers of a measurement.
fn random(seed: u64, step: usize) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(step as u64);
    random
}

/// An order of images, after a complete pass at a step.
fn order(images: usize, seed: u64, completed: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..images as u32).collect();
    order.shuffle(&mut random(seed, completed));
    order
}

/// What is known of each image.
struct Memory {
    /// (classes, N) float32 log-probabilities as they were seen, or predicted since.
    logs: Tensor,
    /// By how much that of the label is above the greatest other one.
    margins: Vec<f32>,
    /// Steps taken when each was last looked at.
    seen: Vec<i64>,
}

/// What the measurements have taught.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Learned {
    calibration: Calibration,
    spread: Spread,
    losses: sums::LossScale,
    /// The newest accuracies.
    recent: VecDeque<f64>,
    /// Steps taken before the last complete pass, and images looked at since.
    completed: usize,
    looked: usize,
}

impl Learned {
    fn remember(&mut self, accuracy: f64) {
        self.recent.push_back(accuracy);
        if self.recent.len() > JUMPS + 1 {
            self.recent.pop_front();
        }
    }

    /// The mean change of the newest accuracies.
    fn jump(&self) -> f64 {
        let changes = self.recent.iter().zip(self.recent.iter().skip(1)).map(|(a, b)| (a - b).abs());
        changes.sum::<f64>() / (self.recent.len().max(2) - 1) as f64
    }
}

impl Estimator {
    /// Of images with these labels (N,) int64; None if there are too few of them for estimates.
    pub fn new(labels: &Tensor, classes: i64, demand: Demand) -> Result<Option<Self>> {
        let labels = Vec::<i64>::try_from(labels)?;
        if labels.len() < FEWEST {
            return Ok(None);
        }
        let mut totals = vec![0; classes as usize];
        for class in &labels {
            let total = totals.get_mut(*class as usize);
            *total.ok_or_else(|| Error::Data(format!("label {class} is none of {classes} classes")))? += 1;
        }
        let order = order(labels.len(), demand.seed, 0);
        Ok(Some(Estimator {
            demand,
            labels: labels.into_iter().map(|label| label as i32).collect(),
            totals,
            order,
            features: Features::new(classes),
            memory: None,
            learned: Learned::default(),
        }))
    }

    pub fn images(&self) -> usize {
        self.labels.len()
    }

    /// Whether all images are to be looked at.
    pub fn complete_pass_is_due(&self, step: usize) -> bool {
        match self.demand.complete_every {
            Some(every) => step / every > self.learned.completed / every,
            None => self.learned.looked >= self.images(),
        }
    }

    /// The standard error that is aimed at: while the accuracy still jumps by more than the tolerance, a part of that.
    pub fn target(&self) -> f64 {
        self.demand.tolerance.max(OF_JUMP * self.learned.jump())
    }

    /// The figures after `step` steps, from the logits that `source` gives of a few images. None if a complete pass is due, or
    /// if as much would have to be looked at: give what it finds to [`Estimator::saw_all`].
    pub fn estimate(&mut self, step: usize, source: &mut dyn Source) -> Result<Option<Figures>> {
        if self.complete_pass_is_due(step) {
            return Ok(None);
        }
        let Some(found) = tch::no_grad(|| measurement::measure(self, step, source))? else { return Ok(None) };
        (self.memory, self.learned) = (Some(found.memory), found.learned);
        self.learned.looked += found.figures.images as usize;
        self.learned.remember(found.figures.accuracy);
        Ok(Some(found.figures))
    }

    /// Takes up a complete pass: float32 logits (N, classes) of all images after `step` steps, and the share that is right.
    pub fn saw_all(&mut self, step: usize, logits: &Tensor, accuracy: f64) -> Result<()> {
        tch::no_grad(|| {
            let logs = log_probabilities(logits)?;
            let sound = finite(&logs)?;
            let margins = Decisions::of(&logs, &self.labels)?.margins;
            if sound {
                measurement::compare(self, step, logits)?;
            }
            let seen = vec![step as i64; self.images()];
            self.memory = sound.then_some(Memory { logs, margins, seen });
            self.learned.remember(accuracy);
            (self.learned.completed, self.learned.looked) = (step, 0);
            self.order = order(self.images(), self.demand.seed, step);
            Ok(())
        })
    }

    /// What the measurements to come depend on, beside the tensors.
    pub fn learned(&self) -> Learned {
        self.learned.clone()
    }

    /// What they depend on, beside what was learned; none before anything was measured.
    pub fn tensors(&self) -> Result<Vec<(&'static str, Tensor)>> {
        Ok(match &self.memory {
            Some(Memory { logs, seen, .. }) => {
                vec![(LOGS, logs.shallow_clone()), (SEEN, Tensor::f_from_slice(seen)?)]
            }
            None => vec![],
        })
    }

    /// Takes up what `learned` and `tensors` of an estimator of the same images gave; `get` finds the latter by their names,
    /// and puts the values into the tensor that it is given.
    pub fn restore(
        &mut self,
        learned: Learned,
        get: impl Fn(&'static str, Tensor) -> Result<Option<Tensor>>,
    ) -> Result<()> {
        let images = self.images() as i64;
        let logs =
            get(LOGS, Tensor::f_empty([self.totals.len() as i64, images], (Kind::Float, Device::Cpu))?)?;
        let seen = get(SEEN, Tensor::f_empty([images], (Kind::Int64, Device::Cpu))?)?;
        self.memory = match (logs, seen) {
            (Some(logs), Some(seen)) => {
                let margins = Decisions::of(&logs, &self.labels)?.margins;
                Some(Memory { logs, margins, seen: Vec::try_from(&seen)? })
            }
            _ => None,
        };
        self.order = order(self.images(), self.demand.seed, learned.completed);
        self.learned = learned;
        self.learned.calibration.tabulate();
        Ok(())
    }
}

/// Names in a run's state.
const LOGS: &str = "log_probabilities";
const SEEN: &str = "last_seen";

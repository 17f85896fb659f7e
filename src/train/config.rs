//! What a run is asked to do.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::factor::check_factor;
use super::method::Method;
use super::record::Record;
use super::schedule::Schedule;
use super::watch::WatchConfig;
use crate::data::Augment;
use crate::error::{Error, Result};
use crate::network::Precision;

/// A distance between things that happen again and again; in JSON a number, or `"epoch"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Every {
    /// After every n-th optimizer step.
    Steps(usize),
    /// At the end of each epoch.
    Epoch(EpochEnd),
}

/// The word `"epoch"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpochEnd {
    Epoch,
}

impl Every {
    pub const EPOCH: Every = Every::Epoch(EpochEnd::Epoch);

    /// `name` is what the user calls it.
    pub fn check(self, name: &str) -> Result<()> {
        match self {
            Every::Steps(0) => {
                Err(Error::Argument(format!("{name} is 0: give a number of steps above 0, or \"epoch\"")))
            }
            _ => Ok(()),
        }
    }

    pub fn in_steps(self, steps_per_epoch: usize) -> usize {
        match self {
            Every::Steps(steps) => steps,
            Every::Epoch(_) => steps_per_epoch,
        }
    }

    pub fn is_due(self, taken: usize, steps_per_epoch: usize) -> bool {
        taken % self.in_steps(steps_per_epoch) == 0
    }
}

/// How long to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    Epochs(usize),
    /// Optimizer steps; the last epoch may be begun and not ended.
    Steps(usize),
}

/// The most steps of a run: beyond, float64 does not tell them apart. No run gets there, but one that is meant to be ended
/// by hand may say so.
pub const MOST_STEPS: usize = 1 << 53;

impl Length {
    /// Refuses what is too long.
    pub fn check(self, steps_per_epoch: usize) -> Result<()> {
        match (self, self.in_steps(steps_per_epoch)) {
            (_, 0..=MOST_STEPS) => Ok(()),
            (Length::Steps(steps), _) => {
                Err(Error::Argument(format!("steps is {steps}: a run takes at most {MOST_STEPS} steps")))
            }
            (Length::Epochs(epochs), _) => Err(Error::Argument(format!(
                "epochs is {epochs}, of {steps_per_epoch} steps each: a run takes at most {MOST_STEPS} steps"
            ))),
        }
    }

    pub fn in_steps(self, steps_per_epoch: usize) -> usize {
        match self {
            Length::Epochs(epochs) => epochs.saturating_mul(steps_per_epoch), // `check` refuses what comes near
            Length::Steps(steps) => steps,
        }
    }
}

/// Where the weights are kept on the way, and how often.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoints {
    /// An existing folder; the files in it are named by [`checkpoint_name`]. Not every path is text.
    #[serde(skip)]
    pub folder: PathBuf,
    pub every: Every,
}

/// `step_000938.safetensors`
pub fn checkpoint_name(taken: usize) -> String {
    format!("step_{taken:06}.safetensors")
}

/// Which code takes a training step on a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernels {
    /// The operators of plain PyTorch in its order, so that its losses come out to the last bits.
    Exact,
    /// Operations of ours, with fewer passes over memory (`train::fused`): equal within rounding.
    Fused,
}

/// The default of [`TrainConfig::measure_training`].
const PASSES: usize = 20;
/// States that a run keeps for replays, the one before its first step aside, unless it is told how many.
const STATES: usize = 20;

/// Every option of a run, by the names that Python hands over. The defaults are those of `everybatch.train`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    pub length: Length,
    pub batch_size: usize,
    pub method: Method,
    /// The learning rate; the schedule says what becomes of it.
    pub lr: f64,
    pub schedule: Schedule,
    /// Share of the probability that the target gives to all classes alike, in [0, 1).
    pub label_smoothing: f64,
    /// What it is multiplied by at each step.
    pub label_smoothing_schedule: Option<Schedule>,
    /// (classes,) how much images of each class count in the training loss, which is the mean by these weights.
    pub class_weight: Option<Vec<f64>>,
    /// The Euclidean norm that the gradient of all parameters together may have; a longer one is made that long.
    pub clip_grad_norm: Option<f64>,
    /// Decay of the averaged weights, which are then the ones that are measured, kept and returned.
    pub ema: Option<f64>,
    /// Changes to the training images.
    pub augment: Option<Augment>,
    /// What they are multiplied by at each step.
    pub augment_schedule: Option<Schedule>,
    /// Training images that are measured instead of trained on.
    pub validation: Vec<i64>,
    /// When the test set (and the validation set) is measured. Before the first step and after the last it always is.
    pub evaluate_every: Every,
    /// Test images to measure; all of them when not given.
    pub evaluate_on: Option<Vec<i64>>,
    /// The standard error of the test accuracy (and of the validation accuracy) that a measurement may have: it looks at as
    /// few images as that takes. None has it look at all. On a GPU it always does.
    pub tolerance: Option<f64>,
    /// How far complete passes lie apart where measurements have a tolerance. None puts them where they cost about as much as
    /// the measurements between them.
    pub complete_every: Option<Every>,
    /// What is recorded beside what every run records.
    pub record: Vec<Record>,
    /// How often in the whole run the images that are trained on are measured, with [`Record::Examples`].
    pub measure_training: usize,
    /// How far the states lie apart that are kept for replays. None keeps about [`STATES`] in a run.
    pub weights_every: Option<Every>,
    /// What the measurements decide.
    pub watch: WatchConfig,
    pub checkpoints: Option<Checkpoints>,
    /// Of the batch order, of dropout and of augmentation.
    pub seed: u64,
    pub shuffle: bool,
    pub precision: Precision,
    /// Nothing may depend on measured times.
    pub deterministic: bool,
    pub kernels: Kernels,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            length: Length::Epochs(1),
            batch_size: 64,
            method: Method::default(),
            lr: 1e-3,
            schedule: Schedule::default(),
            label_smoothing: 0.0,
            label_smoothing_schedule: None,
            class_weight: None,
            clip_grad_norm: None,
            ema: None,
            augment: None,
            augment_schedule: None,
            validation: vec![],
            evaluate_every: Every::Steps(1),
            evaluate_on: None,
            tolerance: None,
            complete_every: None,
            record: vec![],
            measure_training: PASSES,
            weights_every: None,
            watch: WatchConfig::NONE,
            checkpoints: None,
            seed: 0,
            shuffle: true,
            precision: Precision::Float32,
            deterministic: false,
            kernels: Kernels::Exact,
        }
    }
}

impl TrainConfig {
    pub fn check(&self) -> Result<()> {
        match self.length {
            Length::Epochs(0) => return Err(Error::argument("epochs is 0: train for at least one")),
            Length::Steps(0) => return Err(Error::argument("steps is 0: train for at least one")),
            _ => {}
        }
        self.evaluate_every.check("evaluate_every")?;
        self.check_tolerance()?;
        if self.measure_training != PASSES && !self.record.contains(&Record::Examples) {
            return Err(Error::Argument(format!(
                "measure_training is {}, and the training images are measured for record=(\"examples\",) alone: give \
                 that, or leave measure_training out",
                self.measure_training
            )));
        }
        if let Some(every) = self.weights_every {
            every.check("weights_every")?;
            if !self.record.contains(&Record::Weights) {
                return Err(Error::argument(
                    "weights_every is given, and no weights are recorded: give record=(\"weights\",), or leave it out",
                ));
            }
        }
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.every.check("checkpoint_every")?;
        }
        if !(self.lr.is_finite() && self.lr >= 0.0) {
            return Err(Error::Argument(format!(
                "lr is {}: it must be a finite number, 0 or above",
                self.lr
            )));
        }
        for (name, value) in
            [("label_smoothing", self.label_smoothing), ("ema", self.ema.unwrap_or_default())]
        {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::Argument(format!("{name} is {value}: it must lie in [0, 1)")));
            }
        }
        if let Some(weights) = &self.class_weight {
            check_class_weight(weights)?;
        }
        if let Some(most) = self.clip_grad_norm {
            if !(most.is_finite() && most > 0.0) {
                return Err(Error::Argument(format!(
                    "clip_grad_norm is {most}: it is the norm that the gradient may have, a finite number above 0, for \
                     example 1.0; leave it out for none"
                )));
            }
        }
        self.method.check()?;
        self.schedule.check(self.lr, &self.method)?;
        if let Some(augment) = &self.augment {
            augment.check()?;
        }
        self.check_factors()?;
        self.watch.check(!self.validation.is_empty())
    }

    fn check_factors(&self) -> Result<()> {
        if let Some(schedule) = &self.augment_schedule {
            check_factor("augment_schedule", schedule)?;
            match &self.augment {
                Some(augment) if augment.changes_anything() => {}
                given => {
                    let what =
                        if given.is_some() { "and augment changes nothing" } else { "without augment" };
                    return Err(Error::Argument(format!(
                        "augment_schedule is given {what}: say what it is to move, for example augment=Augment(shift=2), \
                         or leave it out"
                    )));
                }
            }
        }
        if let Some(schedule) = &self.label_smoothing_schedule {
            check_factor("label_smoothing_schedule", schedule)?;
            if self.label_smoothing == 0.0 {
                return Err(Error::argument(
                    "label_smoothing_schedule is given, and label_smoothing is 0: say what it is to move, for example \
                     label_smoothing=0.1, or leave it out",
                ));
            }
        }
        Ok(())
    }

    /// What of the steps is laid out over the length of the run, by its argument and in words.
    pub fn laid_out(&self) -> Option<(&'static str, &'static str)> {
        let schedules = [
            ("schedule", "the learning rate", Some(&self.schedule)),
            ("augment_schedule", "the strength of augmentation", self.augment_schedule.as_ref()),
            ("label_smoothing_schedule", "label smoothing", self.label_smoothing_schedule.as_ref()),
        ];
        let mut laid_out =
            schedules.into_iter().filter(|(.., schedule)| schedule.is_some_and(Schedule::is_laid_out));
        laid_out.next().map(|(name, what, _)| (name, what))
    }

    fn check_tolerance(&self) -> Result<()> {
        let Some(tolerance) = self.tolerance else {
            return match self.complete_every {
                Some(_) => Err(Error::argument(
                    "complete_every is given without tolerance, and then every measurement is complete: give \
                     tolerance=0.0005, for example, or leave complete_every out",
                )),
                None => Ok(()),
            };
        };
        if !(tolerance > 0.0 && tolerance < 1.0) {
            return Err(Error::Argument(format!(
                "tolerance is {tolerance}: it is the standard error that the test accuracy may have, above 0 and below 1, \
                 for example 0.0005 for 5 images of 10,000; leave it out to measure all images"
            )));
        }
        if let Some(every) = self.complete_every {
            every.check("complete_every")?;
        }
        for of_all in [Record::Predictions, Record::Losses] {
            if self.record.contains(&of_all) {
                return Err(Error::Argument(format!(
                    "record has {:?}, which are those of all test images, and with a tolerance most of them are not \
                     looked at: leave one of the two out",
                    of_all.name()
                )));
            }
        }
        Ok(())
    }

    /// How often the weights are kept in memory beside those that train: the optimizer's means, averages, the best.
    pub fn copies(&self) -> usize {
        self.method.copies() + usize::from(self.ema.is_some()) + usize::from(self.watch.keep_best)
    }

    /// Whether the test set is due once `taken` steps out of `total` have been taken.
    pub fn evaluation_is_due(&self, taken: usize, total: usize, steps_per_epoch: usize) -> bool {
        taken == 0 || taken == total || self.evaluate_every.is_due(taken, steps_per_epoch)
    }

    /// Whether the images that are trained on are due once `taken` steps out of `total` have been taken: at the steps
    /// round(total · k / passes), where halves go to even numbers, for every k from 1 on.
    pub fn pass_is_due(&self, taken: usize, total: usize) -> bool {
        let [taken, total, passes] = [taken, total, self.measure_training].map(|number| number as u128);
        if taken == 0 || total == 0 || passes == 0 {
            return false;
        }
        let step = |k: u128| {
            let (whole, rest) = (total * k / passes, total * k % passes);
            let up = 2 * rest > passes || (2 * rest == passes && whole % 2 == 1);
            whole + u128::from(up)
        };
        let first = ((2 * taken - 1) * passes).div_ceil(2 * total); // the first k that may be rounded to here
        (first..=first + 1).any(|k| (1..=passes).contains(&k) && step(k) == taken)
    }

    /// Whether a state is to be kept once `taken` steps out of `total` have been taken.
    pub fn state_is_due(&self, taken: usize, total: usize, steps_per_epoch: usize) -> bool {
        let every = self.weights_every.unwrap_or(Every::Steps(total.div_ceil(STATES).max(1)));
        self.record.contains(&Record::Weights) && every.is_due(taken, steps_per_epoch)
    }

    /// Measurements of a whole run.
    pub fn evaluations(&self, total: usize, steps_per_epoch: usize) -> usize {
        let every = self.evaluate_every.in_steps(steps_per_epoch);
        1 + total / every + usize::from(total % every != 0)
    }

    /// Whether the fastest way of measuring is looked for, given how many measurements are expected if that is known.
    pub fn calibrates(&self, evaluations: Option<usize>) -> bool {
        const WORTH_IT: usize = 20;
        !self.deterministic && evaluations.is_none_or(|count| count >= WORTH_IT)
    }
}

/// As float32 has them.
fn check_class_weight(weights: &[f64]) -> Result<()> {
    let wrong = weights.iter().enumerate().find(|(_, weight)| {
        let weight = **weight as f32;
        !(weight.is_finite() && weight >= 0.0)
    });
    if let Some((class, weight)) = wrong {
        return Err(Error::Argument(format!(
            "class_weight has {weight} for class {class}: a weight is a finite number, 0 or above"
        )));
    }
    match weights.iter().any(|weight| *weight as f32 > 0.0) {
        true => Ok(()),
        false => Err(Error::argument(
            "class_weight is 0 for all classes, and then there is nothing to train on: give at least one a weight above 0",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_classes_count_something() {
        let check = |weights: &[f64]| {
            TrainConfig { class_weight: Some(weights.to_vec()), ..TrainConfig::default() }.check()
        };
        assert!(check(&[0.0, 2.5]).is_ok());
        for wrong in [&[][..], &[0.0, 0.0], &[1e-60], &[1.0, -0.5], &[f64::NAN, 1.0], &[1e60, 1.0]] {
            assert!(check(wrong).unwrap_err().to_string().contains("class_weight"), "{wrong:?}");
        }
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let config = TrainConfig { clip_grad_norm: Some(wrong), ..TrainConfig::default() };
            assert!(config.check().unwrap_err().to_string().contains("clip_grad_norm is"), "{wrong}");
        }
    }

    #[test]
    fn a_distance_is_a_number_or_a_word() {
        assert_eq!(serde_json::from_str::<Every>("12").unwrap(), Every::Steps(12));
        assert_eq!(serde_json::from_str::<Every>("\"epoch\"").unwrap(), Every::EPOCH);
        assert_eq!(serde_json::to_string(&Every::EPOCH).unwrap(), "\"epoch\"");
        assert!(serde_json::from_str::<Every>("\"week\"").is_err());
    }

    #[test]
    fn measurements_are_counted_without_counting() {
        let config = crate::train::training_loop::tests::config();
        for every in [Every::Steps(1), Every::Steps(4), Every::Steps(100), Every::EPOCH] {
            let config = TrainConfig { evaluate_every: every, ..config.clone() };
            for total in 1..20 {
                let due = (0..=total).filter(|taken| config.evaluation_is_due(*taken, total, 3)).count();
                assert_eq!(config.evaluations(total, 3), due, "{every:?} {total}");
            }
        }
        assert_eq!(config.evaluations(MOST_STEPS, 3), MOST_STEPS + 1);
    }

    // Python: sorted({round(total * k / passes) for k in range(1, passes + 1)} - {0})
    #[test]
    fn passes_lie_evenly_over_the_steps() {
        let due = |total: usize, passes: usize| -> Vec<usize> {
            let config = TrainConfig { measure_training: passes, ..TrainConfig::default() };
            (0..=total).filter(|taken| config.pass_is_due(*taken, total)).collect()
        };
        assert_eq!(due(10, 4), [2, 5, 8, 10]);
        assert_eq!(due(938, 3), [313, 625, 938]);
        assert_eq!(due(5, 5), [1, 2, 3, 4, 5]);
        assert_eq!(due(5, 20), [1, 2, 3, 4, 5]);
        assert_eq!(due(7, 1), [7]);
        assert_eq!(due(3, 2), [2, 3]);
        assert_eq!(due(7, 0), [0; 0]);
        for (total, passes) in [(1, 1), (13, 8), (100, 7), (64, 63), (31, 200), (50, 20)] {
            let rounded = |k: usize| (total as f64 * k as f64 / passes as f64).round_ties_even() as usize;
            let mut expected: Vec<usize> = (1..=passes).map(rounded).filter(|step| *step > 0).collect();
            expected.dedup();
            assert_eq!(due(total, passes), expected, "{total} {passes}");
        }
    }

    #[test]
    fn a_run_that_is_too_long_is_refused() {
        assert!(Length::Steps(MOST_STEPS).check(3).is_ok());
        assert!(Length::Steps(1 << 62).check(3).is_err());
        assert!(Length::Epochs(1 << 62)
            .check(1 << 10)
            .unwrap_err()
            .to_string()
            .contains("4611686018427387904"));
    }
}

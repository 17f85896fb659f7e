//! A run whose steps somebody else takes. It is told of them, and measures and records as a session does.

use std::time::Instant;

use tch::{Device, Tensor};

use super::axes::Adds;
use super::estimates::{Estimators, Found};
use super::history::{Column, History};
use super::prepare::{complement, part};
use super::session::RunState;
use super::step::Taken;
use super::{Record, Recorder, Sets, TrainConfig};
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::evaluate::{Choice, Evaluator, Forward, Metrics, Outside, Passing, Subject, Summary};
use crate::network::{Model, Normalization, Precision};

/// What gives the logits of the moment.
pub enum Measuring<'a> {
    /// A plan of these weights, which may change between measurements.
    Plan(&'a Model),
    Call(&'a Forward<'a>),
}

/// What a meter is told of a step.
pub struct Told {
    pub loss: f64,
    pub accuracy: Option<f64>,
    pub lr: Option<f64>,
    pub batch: Option<Batch>,
}

/// The images of a step, and what the weights before it made of them.
pub struct Batch {
    /// (n,) int64, training images of the data set.
    pub indices: Tensor,
    /// (n, classes) float32
    pub logits: Tensor,
}

/// How a meter measures, beside what a run is asked to do.
pub struct Means {
    /// Where the module computes.
    pub device: Device,
    pub normalization: Normalization,
    /// Images that a call is given at a time.
    pub chunk: i64,
    /// If they are known.
    pub steps_per_epoch: Option<usize>,
    pub total: Option<usize>,
}

pub struct Meter {
    config: TrainConfig,
    means: Means,
    classes: i64,
    /// The test images, and the validation images if there are any.
    sets: Vec<Set>,
    /// (N,) int64 labels of all training images, and which of them are trained on.
    labels: Tensor,
    trained: Vec<bool>,
    /// Of those, if they are to be measured now and then.
    training: Option<Passing>,
    estimators: Estimators,
    recorder: Recorder,
    taken: usize,
    /// Whether steps tell of their images: the first one decides.
    tells_batches: Option<bool>,
    /// The end of what was done last.
    last: Instant,
}

// SAFETY: what is not `Send` in it is an `Rc` in the recorder, all owners of which are in this meter and move with it.
unsafe impl Send for Meter {}

/// A set of images, and the ways in which it is measured.
struct Set {
    /// Images on the device that computes, labels on the CPU.
    split: Split,
    outside: Outside,
    /// Once there was a plan.
    evaluator: Option<Evaluator>,
}

impl Set {
    fn new(split: Split, classes: i64, means: &Means) -> Result<Self> {
        let split = Split { images: split.images.f_to_device(means.device)?, labels: split.labels };
        let images = split.images.shallow_clone();
        let outside = Outside::new(images, &means.normalization, classes, means.chunk)?;
        Ok(Set { split, outside, evaluator: None })
    }

    /// With what gives its logits. The first plan has the way to measure chosen, by trying if it is to be `calibrated`.
    fn with<'a>(
        &'a mut self,
        by: &'a Measuring,
        normalization: &Normalization,
        classes: i64,
        precision: Precision,
        calibrated: bool,
    ) -> Result<Box<dyn Subject + 'a>> {
        let model = match by {
            Measuring::Call(forward) => return Ok(Box::new(self.outside.with(*forward))),
            Measuring::Plan(model) => *model,
        };
        if self.evaluator.is_none() {
            model.network.check_images("the images of the data set have shape", self.split.image_shape())?;
            let gives = model.network.num_classes()?;
            if gives != classes {
                return Err(Error::Argument(format!(
                    "the module gives {gives} logits, and the data set has {classes} classes"
                )));
            }
            let mut evaluator = Evaluator::new(&self.split, normalization, classes, precision)?;
            if calibrated {
                evaluator.calibrate(model)?;
            }
            self.evaluator = Some(evaluator);
        }
        match &self.evaluator {
            Some(evaluator) => Ok(Box::new(evaluator.with(model))),
            None => Err(Error::argument("there is no plan to measure with")), // cannot be: it was made above
        }
    }
}

impl Meter {
    /// Of `config` it takes what is about measuring and recording.
    pub fn new(data: &Dataset, config: TrainConfig, means: Means) -> Result<Self> {
        config.check()?;
        let train = &data.train;
        let kept = complement(train.len(), &config.validation)?;
        let test = match &config.evaluate_on {
            Some(indices) => part(&data.test, indices, "evaluate_on names test")?,
            None => data.test.to_device(Device::Cpu)?, // the same tensors
        };
        let mut sets = vec![Set::new(test, data.classes, &means)?];
        if !config.validation.is_empty() {
            let held_out = part(train, &config.validation, "validation names training")?;
            sets.push(Set::new(held_out, data.classes, &means)?);
        }
        let labels: Vec<_> = sets.iter().map(|set| &set.split.labels).collect();
        let per_epoch = means.steps_per_epoch.unwrap_or(1);
        let estimators = Estimators::new(&labels, data.classes, &config, per_epoch, false)?;
        let recorder = Recorder::new(
            &Sets {
                test: labels[0],
                validation: labels.get(1).copied(),
                train: train.len(),
                trained: &kept,
                classes: data.classes,
            },
            &config.record,
            None,
        )?;
        let mut trained = vec![false; train.len() as usize];
        kept.iter().for_each(|index| trained[*index as usize] = true);
        let passes = config.record.contains(&Record::Examples) && config.measure_training > 0;
        let training = match passes && means.total.is_some() {
            true => {
                let indices = Tensor::f_from_slice(&kept)?.f_to_device(means.device)?;
                let (split, normalization) = (train.to_device(means.device)?, means.normalization.clone());
                Some(Passing::new(split, indices, normalization, data.classes, config.precision))
            }
            false => None,
        };
        Ok(Meter {
            labels: train.labels.shallow_clone(),
            config,
            means,
            classes: data.classes,
            sets,
            trained,
            training,
            estimators,
            recorder,
            taken: 0,
            tells_batches: None,
            last: Instant::now(),
        })
    }

    /// Steps taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Of the images that are measured.
    pub fn normalization(&self) -> &Normalization {
        &self.means.normalization
    }

    pub fn history(&self) -> &History {
        &self.recorder.history
    }

    /// Every list of the history, as [`History::columns`] tells them.
    pub fn columns(&mut self) -> Result<Vec<(&'static str, Column<'_>, Adds)>> {
        self.recorder.flush()?;
        Ok(self.recorder.history.columns())
    }

    /// What is of the run as a whole until now, by the names of the arrays.
    pub fn arrays(&mut self) -> Result<Vec<(String, Tensor)>> {
        let mut state = RunState::new(&())?;
        self.recorder.put_into(&mut state)?;
        Ok(state.arrays())
    }

    /// How the test images were measured by a plan, if they were.
    pub fn choice(&self) -> Option<Choice> {
        self.sets[0].evaluator.as_ref().map(Evaluator::choice)
    }

    /// Whether steps told of their images.
    pub fn tells_batches(&self) -> bool {
        self.tells_batches == Some(true)
    }

    /// A step was taken.
    pub fn step(&mut self, told: Told) -> Result<()> {
        let since = self.last.elapsed();
        let tells = told.batch.is_some();
        if self.config.record.contains(&Record::Examples) {
            self.check_telling(tells)?;
        }
        let batch = told.batch.map(|batch| self.checked(batch)).transpose()?;
        self.tells_batches = Some(tells);
        let sheet = self.recorder.sheet.clone();
        sheet.go_on_after(self.taken)?; // whether weights are sound is for measurements to tell
        match batch {
            Some(Batch { indices, logits }) => {
                let labels = self.labels.f_index_select(0, &indices)?;
                let loss = Tensor::from(told.loss);
                let step = Taken { loss, logits, labels, batch: indices, gradients: vec![] };
                sheet.write_step(&sheet.step_row(&step)?, &step)?;
            }
            None => {
                sheet.write_row(&Tensor::f_from_slice(&[told.loss, told.accuracy.unwrap_or(f64::NAN)])?)?;
            }
        }
        self.recorder.step_was_written()?;
        self.recorder.record_step_time(since, told.lr.unwrap_or(f64::NAN));
        self.taken += 1;
        self.last = Instant::now();
        Ok(())
    }

    fn check_telling(&self, tells: bool) -> Result<()> {
        let (now, then) = match (tells, self.tells_batches) {
            (true, Some(false)) => ("tells of its images, and those before it did not", "none"),
            (false, Some(true)) => ("tells nothing of its images, and those before it did", "all"),
            _ => return Ok(()),
        };
        Err(Error::Argument(format!(
            "step {} {now}: give indices and logits at {then} of the steps, or what is added up of each image is of some \
             of them alone",
            self.taken
        )))
    }

    /// A batch of which everything can be added up.
    fn checked(&self, batch: Batch) -> Result<Batch> {
        let Batch { indices, logits } = batch;
        let list = Vec::<i64>::try_from(&indices)?;
        if logits.size() != [list.len() as i64, self.classes] || list.is_empty() {
            return Err(Error::Shape(format!(
                "logits have the shape {:?}: {} indices of images with {} classes have logits of shape ({}, {})",
                logits.size(),
                list.len(),
                self.classes,
                list.len(),
                self.classes
            )));
        }
        let mut seen = vec![false; self.trained.len()];
        for index in list {
            let there = usize::try_from(index).ok().filter(|index| *index < seen.len());
            let Some(index) = there else {
                return Err(Error::Argument(format!(
                    "indices names training image {index}, and there are {}",
                    self.trained.len()
                )));
            };
            if !self.trained[index] {
                return Err(Error::Argument(format!(
                    "indices names training image {index}, which is held out for validation: train on trained_indices"
                )));
            }
            if std::mem::replace(&mut seen[index], true) {
                return Err(Error::Argument(format!(
                    "indices names training image {index} twice in one step: leave indices and logits out where images \
                     are drawn with replacement"
                )));
            }
        }
        Ok(Batch { indices, logits })
    }

    /// Whether there is anything to measure; for the `last` time perhaps, which is to be complete.
    pub fn is_due(&self, last: bool) -> bool {
        self.measurement_is_due(last) || self.pass_is_due()
    }

    fn pass_is_due(&self) -> bool {
        let Some(total) = self.means.total.filter(|_| self.training.is_some()) else { return false };
        let passed = self.history().passes.as_ref().and_then(|passes| passes.step.last());
        passed != Some(&(self.taken as i64)) && self.config.pass_is_due(self.taken, total)
    }

    fn measurement_is_due(&self, last: bool) -> bool {
        let measured = self.history().eval_step.last() == Some(&(self.taken as i64));
        match (measured, last) {
            (true, _) => last && self.newest_is_an_estimate(),
            (false, true) => true,
            (false, false) => {
                let per_epoch = self.means.steps_per_epoch.unwrap_or(usize::MAX);
                self.config.evaluation_is_due(self.taken, self.means.total.unwrap_or(usize::MAX), per_epoch)
            }
        }
    }

    /// Whether the newest measurement was not of all images.
    pub fn newest_is_an_estimate(&self) -> bool {
        self.estimators.left_some(&self.recorder.history)
    }

    /// Measures what is due with the weights of now; completely if it is for the `last` time.
    pub fn measure(&mut self, by: &Measuring, last: bool) -> Result<()> {
        if self.measurement_is_due(last) {
            self.measure_sets(by, last)?;
        }
        if self.pass_is_due() {
            self.pass(by)?;
        }
        self.last = Instant::now();
        Ok(())
    }

    fn measure_sets(&mut self, by: &Measuring, last: bool) -> Result<()> {
        let start = Instant::now();
        let complete = last || self.taken == 0 || Some(self.taken) == self.means.total;
        let calibrated = self.calibrates();
        let Meter { sets, means, config, classes, estimators, recorder, taken, .. } = self;
        let subjects = sets
            .iter_mut()
            .map(|set| set.with(by, &means.normalization, *classes, config.precision, calibrated));
        let mut subjects = subjects.collect::<Result<Vec<_>>>()?;
        if estimators.are_needed() {
            let Found { figures, test } = estimators.measure(subjects.into_iter(), *taken, complete)?;
            begin_again(recorder, *taken, figures.iter().all(|figures| figures.loss.is_finite()))?;
            recorder.forget_estimate(*taken);
            recorder.estimated(*taken, &figures, test)?;
        } else {
            let parts = subjects.iter_mut().zip(estimators.labels());
            let parts = parts.map(|(subject, labels)| Metrics::new(&subject.all()?, labels, *classes));
            let parts = parts.collect::<Result<Vec<_>>>()?;
            let losses = parts.iter().map(|part| Ok(part.loss.f_double_value(&[])?.is_finite()));
            let sound = losses.collect::<Result<Vec<_>>>()?.into_iter().all(|finite| finite);
            begin_again(recorder, *taken, sound)?;
            recorder.sheet.take_up()?;
            recorder.sheet.write_evaluation(&parts)?;
            recorder.evaluation_was_written(*taken)?;
        }
        recorder.record_evaluation_time(start.elapsed());
        Ok(())
    }

    /// Measures the images that are trained on.
    fn pass(&mut self, by: &Measuring) -> Result<()> {
        let calibrated = self.calibrates();
        let Meter { sets, means, config, classes, .. } = self;
        drop(sets[0].with(by, &means.normalization, *classes, config.precision, calibrated)?); // which chooses a way
        let Some(training) = &self.training else { return Ok(()) };
        let start = Instant::now();
        let found = match (by, self.choice()) {
            (Measuring::Plan(model), Some(choice)) => training.measure(model, &choice)?,
            (Measuring::Plan(_), None) => return Err(Error::argument("no test image was measured before")),
            (Measuring::Call(forward), _) => training.measure_by(|block| {
                let Means { normalization, chunk, .. } = &self.means;
                let images = block.images.shallow_clone();
                let logits =
                    Outside::new(images, normalization, self.classes, *chunk)?.with(*forward).all()?;
                Ok(logits.f_to_device(block.labels.device())?)
            })?,
        };
        self.recorder.passed(self.taken, &found, start)
    }

    /// What the weights of now make of all test images, beside the history.
    pub fn evaluate(&mut self, by: &Measuring) -> Result<Summary> {
        let calibrated = self.calibrates();
        let Meter { sets, means, config, classes, .. } = self;
        let set = &mut sets[0];
        let labels = set.split.labels.shallow_clone();
        let mut subject = set.with(by, &means.normalization, *classes, config.precision, calibrated)?;
        Summary::new(&Metrics::new(&subject.all()?, &labels, *classes)?, &labels)
    }

    /// Logits (n, classes) of chosen test images.
    pub fn look(&mut self, by: &Measuring, images: &[i64]) -> Result<Tensor> {
        let calibrated = self.calibrates();
        let Meter { sets, means, config, classes, .. } = self;
        let mut subject = sets[0].with(by, &means.normalization, *classes, config.precision, calibrated)?;
        let logits = subject.few()?.logits(images)?;
        Ok(logits)
    }

    /// Of what comes after something that took time which is no step's.
    pub fn restart_clock(&mut self) {
        self.last = Instant::now();
    }

    fn calibrates(&self) -> bool {
        let Means { steps_per_epoch, total, .. } = &self.means;
        let expected =
            total.map(|total| self.config.evaluations(total, steps_per_epoch.unwrap_or(usize::MAX)));
        self.config.calibrates(expected)
    }
}

/// Weights that a measurement finds sound are so, whatever losses a step or a measurement had before: no step ended the run.
fn begin_again(recorder: &mut Recorder, taken: usize, sound: bool) -> Result<()> {
    recorder.sheet.go_on_after(taken)?;
    if sound {
        recorder.history.diverged_at = None;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::network::builders;
    use crate::train::training_loop::tests::split;
    use crate::train::Every;

    fn dataset() -> Dataset {
        let normalization = Normalization::new(vec![0.5], vec![0.3]).unwrap();
        Dataset { train: split(50, 0), test: split(30, 90), classes: 10, normalization }
    }

    fn meter(config: TrainConfig) -> Meter {
        let data = dataset();
        let normalization = data.normalization.clone();
        let means =
            Means { device: Device::Cpu, normalization, chunk: 7, steps_per_epoch: Some(3), total: None };
        Meter::new(&data, config, means).unwrap()
    }

    fn told(loss: f64) -> Told {
        Told { loss, accuracy: None, lr: None, batch: None }
    }

    /// Logits (n, 10): the first pixels.
    fn pixels(images: &Tensor) -> Result<Tensor> {
        Ok(images.f_flatten(1, -1)?.f_narrow(1, 300, 10)?)
    }

    #[test]
    fn plans_and_calls_are_measured_alike_and_when_they_are_due() {
        let config = TrainConfig {
            evaluate_every: Every::Steps(2),
            record: vec![Record::Predictions],
            validation: vec![3, 4, 9],
            ..TrainConfig::default()
        };
        let mut meter = meter(config);
        let network = builders::lenet5(&builders::Lenet5::default()).unwrap();
        let model = Model::initialize(network, 1).unwrap();
        let data = dataset();
        let test = Evaluator::new(&data.test, &data.normalization, 10, Precision::Float32).unwrap();
        let mut expected = Vec::new();
        for step in 0..5 {
            let by_plan = Measuring::Plan(&model);
            let by_call = Measuring::Call(&pixels);
            let plan = step % 4 == 0;
            if meter.is_due(false) {
                meter.measure(if plan { &by_plan } else { &by_call }, false).unwrap();
                let metrics = match plan {
                    true => test.measure(&model).unwrap(),
                    false => {
                        let images = data.normalization.apply(&data.test.images).unwrap();
                        Metrics::new(&pixels(&images).unwrap(), &data.test.labels, 10).unwrap()
                    }
                };
                expected.push((metrics.loss.double_value(&[]) / 30.0) as f32);
            }
            assert!(!meter.is_due(false));
            meter.step(told(1.0)).unwrap();
        }
        assert!(meter.is_due(true) && !meter.is_due(false));
        let history = meter.history();
        assert_eq!((history.eval_step.as_slice(), history.train_loss.len()), ([0, 2, 4].as_slice(), 5));
        assert_eq!(history.test.loss, expected);
        assert_eq!(history.validation.as_ref().unwrap().images(), 3);
        let confusion = meter.arrays().unwrap().remove(0);
        assert_eq!((confusion.0.as_str(), confusion.1.sum(Kind::Int64).int64_value(&[])), ("confusion", 30));
    }

    #[test]
    fn a_sound_measurement_takes_back_that_the_run_diverged() {
        let mut meter = meter(TrainConfig { record: vec![Record::Examples], ..TrainConfig::default() });
        let broken = |images: &Tensor| Ok(pixels(images)?.f_full_like(f64::NAN)?);
        meter.measure(&Measuring::Call(&pixels), false).unwrap();
        meter.step(told(f64::NAN)).unwrap();
        assert_eq!(meter.history().diverged_at, Some(0));
        meter.measure(&Measuring::Call(&pixels), false).unwrap();
        assert_eq!(meter.history().diverged_at, None);
        meter.step(told(1.0)).unwrap();
        meter.measure(&Measuring::Call(&broken), false).unwrap();
        assert_eq!(meter.history().diverged_at, Some(2));
        let arrays = meter.arrays().unwrap();
        let votes = &arrays.iter().find(|(name, _)| name == "test_votes").unwrap().1;
        assert_eq!(votes.sum(Kind::Int64).int64_value(&[]), 60); // of two sound measurements
    }

    #[test]
    fn what_a_call_raises_changes_nothing() {
        let mut meter = meter(TrainConfig { tolerance: Some(0.1), ..TrainConfig::default() });
        let fails = |_: &Tensor| Err(Error::argument("as the test wants"));
        assert!(meter.measure(&Measuring::Call(&fails), false).is_err());
        assert!(meter.is_due(false) && meter.history().eval_step.is_empty());
        meter.measure(&Measuring::Call(&pixels), false).unwrap();
        assert_eq!(meter.history().test.images_measured, [30]);
    }
}

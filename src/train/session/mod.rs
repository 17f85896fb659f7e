//! A run on its way: all that changes while it goes on, which can be put down as a [`RunState`] and taken up again. Everything
//! else that a run depends on (the order of the batches, dropout, augmentation) is a function of its seed and the step.

mod state;

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tch::{Device, Tensor};

pub use state::RunState;

use super::config::checkpoint_name;
use super::observer::{End, Observer};
use super::prepare::{check_fit, complement, part};
use super::schedule::{LearningRate, Plateau};
use super::watch::Standing;
use super::weights::{measured, Weights};
use super::work::{Parts, Work};
use super::{DeviceReport, Recorder, TrainConfig};
use crate::data::{BatchOrder, Dataset, Split};
use crate::error::{Error, Result};
use crate::evaluate::{Choice, DeviceChoice, Evaluator};
use crate::libtorch::{upload, Gpu, OneLane};
use crate::network::{Model, Needs};

/// Measurements that a run must make for calibration to pay.
const WORTH_CALIBRATING: usize = 20;

pub struct Session {
    pub config: TrainConfig,
    /// What the run is of: a state belongs to no other.
    of: Map<String, Value>,
    /// The training images that are not for validation.
    kept: Vec<i64>,
    order: BatchOrder,
    pub steps_per_epoch: usize,
    /// Steps of the whole run.
    pub total: usize,
    /// Of the test images, and of the validation images if there are any.
    evaluators: Vec<Evaluator>,
    /// Steps taken.
    pub taken: usize,
    pub weights: Weights,
    rate: LearningRate,
    /// Holds the optimizer.
    work: Work,
    pub recorder: Recorder,
}

/// What of a state is no tensor.
#[derive(Serialize, Deserialize)]
struct Plain {
    of: Map<String, Value>,
    taken: usize,
    plateau: Plateau,
    watch: Standing,
    /// The step of the best weights.
    best_step: Option<usize>,
    diverged_at: Option<usize>,
    /// How images are measured: what was found to be fastest is not the same each time, and its last digits are not.
    evaluation: Vec<Choice>,
    on_device: Vec<DeviceChoice>,
}

impl Session {
    /// A run that begins, or goes on `from` a state. `gpu` says what the device can do besides, and has the work done on
    /// the device's own.
    pub fn new(
        model: &Model,
        data: &Dataset,
        config: &TrainConfig,
        device: Device,
        gpu: Option<Arc<dyn Gpu>>,
        from: Option<&RunState>,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        config.check()?;
        let kept = complement(data.train.len(), &config.validation)?;
        let order = BatchOrder::new(kept.len(), config.batch_size, config.seed, config.shuffle)?;
        let steps_per_epoch = order.steps_per_epoch();
        config.length.check(steps_per_epoch)?;
        let total = config.length.in_steps(steps_per_epoch);
        config.schedule.check_length(total)?;
        check_fit(&model.network, data, &order)?;
        if device == Device::Cpu {
            let needs = Needs::of(&model.network, model.network.input_shape)?;
            needs.check_training(
                &model.network,
                config.copies(),
                config.batch_size,
                config.precision.bytes(),
            )?;
        }
        let gpu = gpu.or_else(|| (device != Device::Cpu).then(|| Arc::new(OneLane) as Arc<dyn Gpu>));
        let mut model = model.to_device(device)?;
        if model.normalization.is_none() {
            model.set_normalization(Some(data.normalization.clone()))?;
        }
        let of = identity(&model, data, config, gpu.is_some())?;
        let earlier = from.map(|state| state.plain::<Plain>()).transpose()?;
        if let Some(earlier) = &earlier {
            check_same(&earlier.of, &of)?;
        }

        let data = data.to_device(device)?;
        let normalization = model.normalization();
        let evaluator = |split: &Split| Evaluator::new(split, &normalization, data.classes, config.precision);
        let mut evaluators = vec![match &config.evaluate_on {
            Some(indices) => evaluator(&part(&data.test, indices, "evaluate_on names test")?)?,
            None => evaluator(&data.test)?,
        }];
        let train = &data.train;
        if !config.validation.is_empty() {
            evaluators.push(evaluator(&part(train, &config.validation, "validation names training")?)?);
        }
        let calibrate =
            !config.deterministic && config.evaluations(total, steps_per_epoch) >= WORTH_CALIBRATING;
        match &earlier {
            Some(earlier) => {
                let choices = evaluators.iter_mut().zip(&earlier.evaluation);
                choices.into_iter().try_for_each(|(part, choice)| part.choose(choice))?;
            }
            None if calibrate => evaluators.iter_mut().try_for_each(|part| part.calibrate(&model))?,
            None => {}
        }
        if device != Device::Cpu && config.precision.uses_matrix_units() {
            model = model.channels_last()?;
        }
        let recorder = Recorder::new(
            &evaluators[0],
            evaluators.get(1),
            data.classes,
            config.record_predictions,
            gpu.as_ref(),
        )?;
        let weights = Weights::new(model, config, gpu.is_some())?;
        let rate = LearningRate::new(&config.schedule, config.lr, total, steps_per_epoch);
        let choices = earlier.as_ref().map_or(&[][..], |earlier| &earlier.on_device);
        let parts = Parts {
            train,
            evaluators: &evaluators,
            weights: &weights,
            config,
            rate: &rate,
            total,
            calibrate,
            choices,
        };
        let work = Work::new(gpu.as_ref(), &parts, &recorder, observer)?;
        let config = config.clone();
        let mut session = Session {
            config,
            of,
            kept,
            order,
            steps_per_epoch,
            total,
            evaluators,
            taken: 0,
            weights,
            rate,
            work,
            recorder,
        };
        if let (Some(state), Some(earlier)) = (from, earlier) {
            session.restore(state, earlier)?;
        }
        Ok(session)
    }

    /// All that the run needs to go on, as it is now; waits for the device.
    pub fn state(&mut self) -> Result<RunState> {
        let history = self.recorder.state()?;
        let Weights { model, average, watch } = &self.weights;
        let mut state = RunState::new(&Plain {
            of: self.of.clone(),
            taken: self.taken,
            plateau: self.rate.plateau.clone(),
            watch: watch.standing.clone(),
            best_step: watch.kept.as_ref().map(|(step, _)| *step),
            diverged_at: self.recorder.history.diverged_at,
            evaluation: self.evaluators.iter().map(Evaluator::choice).collect(),
            on_device: self.report().map(|report| report.evaluation.clone()).unwrap_or_default(),
        })?;
        state.put("weights", model.state_dict()?)?;
        if let Some(average) = average {
            state.put("average", average.model.state_dict()?)?;
        }
        if let Some((_, best)) = &watch.kept {
            state.put("best", best.state_dict()?)?;
        }
        state.put("optimizer", self.work.stepper.body.optimizer.state())?;
        state.put("history", history)?;
        Ok(state)
    }

    /// Goes back, or on, to what `state` gave. The tensors stay where they are.
    fn restore(&mut self, state: &RunState, plain: Plain) -> Result<()> {
        let Weights { model, average, watch } = &mut self.weights;
        state.copy_into("weights", model.state_dict()?)?;
        if let Some(average) = average {
            state.copy_into("average", average.model.state_dict()?)?;
        }
        watch.standing = plain.watch;
        watch.kept = match plain.best_step {
            Some(step) => {
                let best = model.to_device(model.device())?;
                state.copy_into("best", best.state_dict()?)?;
                Some((step, best))
            }
            None => None,
        };
        state.copy_into("optimizer", self.work.stepper.body.optimizer.state())?;
        self.recorder.restore(state, "history", plain.diverged_at)?;
        self.rate.plateau = plain.plateau;
        self.taken = plain.taken;
        Ok(())
    }

    /// The batches of the epoch that were not trained on yet: the places (N,) of their examples, on the device.
    pub fn batches(&self) -> Result<Vec<Tensor>> {
        let (epoch, before) = (self.taken / self.steps_per_epoch, self.taken % self.steps_per_epoch);
        let places = self.order.epoch(epoch).into_iter().skip(before * self.config.batch_size);
        let indices: Vec<i64> = places.map(|place| self.kept[place as usize]).collect();
        let indices = upload(&Tensor::f_from_slice(&indices)?, self.weights.model.device())?;
        Ok(indices.f_split(self.config.batch_size as i64, 0)?)
    }

    /// Takes the next step, on the examples at `batch`.
    pub fn step(&mut self, batch: &Tensor) -> Result<()> {
        let start = Instant::now();
        let lr = self.rate.at(self.taken);
        self.work.stepper.step(batch, self.taken, lr, self.rate.momentum_at(self.taken))?;
        self.recorder.step_was_written()?;
        self.recorder.record_step_time(start.elapsed(), lr);
        self.taken += 1;
        Ok(())
    }

    /// Whether the weights of the moment are to be measured.
    pub fn measurement_is_due(&self) -> bool {
        self.config.evaluation_is_due(self.taken, self.total, self.steps_per_epoch)
    }

    /// Measures the weights of the moment, for the `last` time perhaps, and lets the measurement have its consequences.
    pub fn measure(&mut self, last: bool) -> Result<()> {
        let start = Instant::now();
        self.work.measure(&self.weights, &self.evaluators)?;
        self.recorder.evaluation_was_written(self.taken)?;
        if last {
            self.recorder.flush()?; // so that the seconds of a whole run add up on a GPU too
        }
        self.recorder.record_evaluation_time(start.elapsed());
        match self.taken {
            0 => Ok(()), // nothing was trained yet
            _ => self.decide(),
        }
    }

    fn decide(&mut self) -> Result<()> {
        let Weights { model, average, watch } = &mut self.weights;
        if !self.config.schedule.listens() && !watch.is_needed() {
            return Ok(());
        }
        self.recorder.flush()?; // the values are needed now
        if self.recorder.history.diverged_at.is_some() {
            return Ok(());
        }
        let value = watch.look(&self.recorder.history, measured(model, average), self.taken)?;
        self.rate.measured(self.taken, value, self.config.watch.monitor.smaller_is_better());
        Ok(())
    }

    /// Keeps the weights in a file, if it is time to.
    pub fn keep(&self) -> Result<()> {
        match &self.config.checkpoints {
            Some(to) if to.every.is_due(self.taken, self.steps_per_epoch) => {
                self.weights.measured().save(&to.folder.join(checkpoint_name(self.taken)))
            }
            _ => Ok(()),
        }
    }

    /// How the run has ended by itself, if it has.
    pub fn end(&self) -> Option<End> {
        match self.diverged() {
            None if self.taken >= self.total => Some(End::Finished),
            None => self.weights.watch.is_out_of_patience().then_some(End::RanOutOfPatience),
            diverged => diverged,
        }
    }

    pub fn diverged(&self) -> Option<End> {
        self.recorder.history.diverged_at.map(End::Diverged)
    }

    /// Training images of an epoch.
    pub fn examples(&self) -> usize {
        self.kept.len()
    }

    /// How the test images are measured.
    pub fn evaluation(&self) -> Choice {
        self.evaluators[0].choice()
    }

    pub fn report(&self) -> Option<&DeviceReport> {
        self.work.report()
    }
}

/// What a run is of, as JSON: its config, network, data and who computes.
fn identity(
    model: &Model,
    data: &Dataset,
    config: &TrainConfig,
    on_device: bool,
) -> Result<Map<String, Value>> {
    let wrong = |e: serde_json::Error| Error::Argument(format!("the config cannot be told in JSON: {e}"));
    let mut of = match serde_json::to_value(config).map_err(wrong)? {
        Value::Object(of) => of,
        other => Map::from_iter([("config".to_string(), other)]),
    };
    of.remove("checkpoints"); // which decide nothing
    let Dataset { train, test, classes, .. } = data;
    let images = |split: &Split| serde_json::json!([split.len(), split.image_shape()]);
    for (name, value) in [
        ("network", serde_json::to_value(&model.network).map_err(wrong)?),
        ("normalization", serde_json::to_value(model.normalization()).map_err(wrong)?),
        ("training images", images(train)),
        ("test images", images(test)),
        ("number of classes", (*classes).into()),
        ("device", if on_device { "a GPU" } else { "a CPU" }.into()),
    ] {
        of.insert(name.to_string(), value);
    }
    Ok(of)
}

/// Refuses the state of another run, and says what is different.
fn check_same(earlier: &Map<String, Value>, now: &Map<String, Value>) -> Result<()> {
    let Some((name, here)) = now.iter().find(|(name, here)| earlier.get(*name) != Some(here)) else {
        return Ok(());
    };
    let there = earlier.get(name).map_or_else(|| "unknown".to_string(), Value::to_string);
    let here = here.to_string();
    let message = match there.len().max(here.len()) {
        0..=100 => format!("its {name} was {there}, and is {here} here"),
        _ => format!("its {name} was another one"),
    };
    Err(Error::Argument(format!("a run goes on from the state of the same run alone: {message}")))
}

#[cfg(test)]
mod tests;

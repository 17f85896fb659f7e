//! A run on its way: all that changes while it goes on, which can be put down as a [`RunState`] and taken up again. Everything
//! else that a run depends on (the order of the batches, dropout, augmentation) is a function of its seed and the step.

mod begin;
mod identity;
mod replayed;
mod state;

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tch::Tensor;

pub use state::RunState;

use super::config::checkpoint_name;
use super::estimates::Estimators;
use super::observer::End;
use super::schedule::{LearningRate, Plateau};
use super::watch::Standing;
use super::weights::{measured, Weights};
use super::work::Work;
use super::{Counts, DeviceReport, Recorder, TrainConfig};
use crate::data::BatchOrder;
use crate::error::Result;
use crate::evaluate::{Choice, DeviceChoice, Evaluator, Learned, Passing, Subject};
use crate::libtorch::upload;

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
    /// Of the same images, where measurements have a tolerance.
    estimators: Estimators,
    /// Of the images that are trained on, if these are to be measured now and then.
    training: Option<Passing>,
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
    /// Rows of the history.
    recorded: Counts,
    /// How images are measured: what was found to be fastest is not the same each time, and its last digits are not.
    evaluation: Vec<Choice>,
    on_device: Vec<DeviceChoice>,
    /// What the estimators have learned.
    learned: Vec<Option<Learned>>,
}

impl Session {
    /// All that the run needs to go on but its history, as it is now; waits for the device. Whoever has it go on adds the
    /// lists of the history ([`History::columns`]) as part "history": kept with each state, they would grow without end.
    pub fn state(&mut self) -> Result<RunState> {
        self.recorder.flush()?;
        let Weights { model, average, watch } = &self.weights;
        let mut state = RunState::new(&Plain {
            of: self.of.clone(),
            taken: self.taken,
            plateau: self.rate.plateau.clone(),
            watch: watch.standing.clone(),
            best_step: watch.kept.as_ref().map(|(step, _)| *step),
            diverged_at: self.recorder.history.diverged_at,
            recorded: self.recorder.history.counts(),
            evaluation: self.evaluators.iter().map(Evaluator::choice).collect(),
            on_device: self.report().map(|report| report.evaluation.clone()).unwrap_or_default(),
            learned: self.estimators.learned(),
        })?;
        self.estimators.put_into(&mut state)?;
        state.put("weights", model.state_dict()?)?;
        if let Some(average) = average {
            state.put("average", average.model.state_dict()?)?;
        }
        if let Some((_, best)) = &watch.kept {
            state.put("best", best.state_dict()?)?;
        }
        state.put("optimizer", self.work.stepper.body.optimizer.state())?;
        self.recorder.put_into(&mut state)?;
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
        match plain.best_step {
            Some(step) => state.copy_into("best", watch.keep(step, model)?.state_dict()?)?,
            None => watch.kept = None,
        }
        state.copy_into("optimizer", self.work.stepper.body.optimizer.state())?;
        self.recorder.restore(state, &plain.recorded, plain.taken, plain.diverged_at)?;
        self.estimators.restore(state, plain.learned)?;
        self.rate.plateau = plain.plateau;
        self.taken = plain.taken;
        Ok(())
    }

    /// The batches of the epoch that were not trained on yet: the places (N,) of their examples, on the device.
    pub fn batches(&self) -> Result<Vec<Tensor>> {
        let (epoch, before) = (self.taken / self.steps_per_epoch, self.taken % self.steps_per_epoch);
        self.batches_of(epoch, before)
    }

    /// Those of any epoch, but the ones `before`.
    fn batches_of(&self, epoch: usize, before: usize) -> Result<Vec<Tensor>> {
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
        if last && self.newest_is_an_estimate() {
            self.recorder.forget_estimate(self.taken);
        }
        match self.estimators.are_needed() {
            true => self.estimate(last || self.taken == 0)?,
            false => {
                self.work.measure(&self.weights, &self.evaluators)?;
                self.recorder.evaluation_was_written(self.taken)?;
            }
        }
        if last {
            self.recorder.flush()?; // so that the seconds of a whole run add up on a GPU too
        }
        self.recorder.record_evaluation_time(start.elapsed());
        match self.taken {
            0 => Ok(()), // nothing was trained yet
            _ => self.decide(),
        }
    }

    /// Measures the images that are trained on, if it is time to; waits for the device.
    pub fn pass(&mut self) -> Result<()> {
        let Some(training) = &self.training else { return Ok(()) };
        if !self.config.pass_is_due(self.taken, self.total) {
            return Ok(());
        }
        self.recorder.flush()?; // a device runs ahead: has it diverged?
        if self.diverged().is_some() {
            return Ok(());
        }
        let start = Instant::now();
        let found = training.measure(self.weights.measured(), &self.evaluators[0].choice())?;
        self.recorder.passed(self.taken, &found, start)
    }

    fn decide(&mut self) -> Result<()> {
        let Weights { model, average, watch } = &mut self.weights;
        if !self.config.schedule.listens() && !watch.is_needed() {
            return Ok(());
        }
        self.recorder.flush()?; // the values are needed now
        let Recorder { history, .. } = &self.recorder;
        // The best of values that chance moves to and fro is not the best of what they are estimates of.
        if history.diverged_at.is_some() || !self.config.watch.monitor.is_exact(history) {
            return Ok(());
        }
        let value = watch.look(&self.recorder.history, measured(model, average), self.taken)?;
        self.rate.measured(self.taken, value, self.config.watch.monitor.smaller_is_better());
        Ok(())
    }

    /// Whether the newest measurement was not of all images.
    pub fn newest_is_an_estimate(&self) -> bool {
        self.estimators.left_some(&self.recorder.history)
    }

    /// Measures by estimate, but for what is to be, or has to be, complete.
    fn estimate(&mut self, complete: bool) -> Result<()> {
        let model = self.weights.measured();
        let subjects = self.evaluators.iter().map(|part| Box::new(part.with(model)) as Box<dyn Subject>);
        let mut found = self.estimators.measure(subjects, self.taken, complete)?;
        // What is told of weights that are kept is no estimate, and nobody's luck.
        if found.test.is_none() && self.weights.watch.would_keep(self.estimators.exact(&found)) {
            let test = Box::new(self.evaluators[0].with(model));
            self.estimators.complete_test(test, self.taken, &mut found)?;
        }
        self.recorder.estimated(self.taken, &found.figures, found.test)
    }

    /// Keeps a state to replay steps from, and the weights in a file, if it is time to.
    pub fn keep(&mut self) -> Result<()> {
        self.keep_state()?;
        match &self.config.checkpoints {
            Some(to) if to.every.is_due(self.taken, self.steps_per_epoch) => {
                self.weights.measured().save(&to.folder.join(checkpoint_name(self.taken)))
            }
            _ => Ok(()),
        }
    }

    /// Keeps a state to replay steps from, if it is time to.
    pub fn keep_state(&mut self) -> Result<()> {
        if !self.config.state_is_due(self.taken, self.total, self.steps_per_epoch) {
            return Ok(());
        }
        let (state, estimators) = (self.waypoint()?, self.listens() && self.estimators.are_needed());
        match &mut self.recorder.history.states {
            Some(states) => states.push(self.taken, &state, estimators),
            None => Ok(()),
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

#[cfg(test)]
pub mod tests;

//! What Python sees while a run goes on: signals, progress and callbacks. And other runs, which get their turn.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use tch::Device;

use super::journal::Journal;
use super::model::PyModel;
use super::python::{LOGGER, STOP_TRAINING};
use super::run::{computing, lock};
use crate::error::{Error, Result};
use crate::libtorch::as_called;
use crate::network::Model;
use crate::train::{Next, Observer, Step, Turn, Verdict};

/// How often at most the Python lock is taken to look for Ctrl-C and to move the progress bar.
const PAUSE: Duration = Duration::from_millis(10);

/// What Python wants to be called.
#[derive(Default)]
pub struct Called {
    /// Before anything else, with the steps taken.
    pub starts: Vec<PyObject>,
    /// With a [`PyStep`] after every so many steps.
    pub steps: Vec<(PyObject, usize)>,
    /// With one after every measurement.
    pub evaluations: Vec<PyObject>,
}

pub struct PyObserver {
    /// Called now and then with (steps taken, train_loss, test_loss, test_accuracy).
    pub progress: Option<PyObject>,
    called: Called,
    /// Written before the callbacks look, and the run's state kept after them.
    journal: Option<Journal>,
    /// Passed on after each step but the last.
    turn: Option<Arc<Turn>>,
    /// The exception that ended the run.
    pub raised: Option<PyErr>,
    /// What `StopTraining` said.
    pub reason: String,
    last_look: Instant,
    /// Raised when something was to be logged, and not yet taken notice of.
    failed_notice: Option<PyErr>,
}

impl PyObserver {
    pub fn new(
        progress: Option<PyObject>,
        called: Called,
        journal: Option<PyObject>,
        turn: Option<Arc<Turn>>,
    ) -> Self {
        PyObserver {
            progress,
            called,
            journal: journal.map(Journal::new),
            turn,
            raised: None,
            reason: String::new(),
            last_look: Instant::now(),
            failed_notice: None,
        }
    }

    /// Lets Python code run, if it is to see this step. What it sets in torch is its own affair.
    fn look(&mut self, step: &mut Step) -> Result<PyResult<()>> {
        if let Some(error) = self.failed_notice.take() {
            return Ok(Err(error));
        }
        let due = self.last_look.elapsed() >= PAUSE || step.taken == step.total;
        let of_step = self.called.steps.iter().filter(|(_, every)| step.taken % every == 0);
        let of_evaluation = self.called.evaluations.iter().filter(|_| step.measured);
        let called: Vec<_> = of_evaluation.chain(of_step.map(|(callback, _)| callback)).collect();
        if let Some(journal) = &mut self.journal {
            let may_take_long = !called.is_empty() || self.turn.is_some();
            if let Err(error) = journal.write(step, may_take_long)? {
                return Ok(Err(error));
            }
        }
        if !due && called.is_empty() {
            return Ok(Ok(()));
        }
        let seen = (!called.is_empty()).then(|| PyStep::new(step)).transpose()?;
        let python = |py: Python| {
            if due {
                self.last_look = Instant::now();
                py.check_signals()?;
                if let Some(progress) = &self.progress {
                    let history = step.history();
                    let latest =
                        (history.train_loss.last(), history.test.loss.last(), history.test.accuracy.last());
                    progress.call1(py, (step.taken, latest.0, latest.1, latest.2))?;
                }
            }
            seen.map_or(Ok(()), |seen| seen.show(py, &called))
        };
        as_called(|| Python::with_gil(python))
    }

    /// What an exception asks for.
    fn heed(&mut self, error: PyErr) -> Next {
        Python::with_gil(|py| {
            let stop = STOP_TRAINING.get(py);
            if error.is_instance_of::<PyKeyboardInterrupt>(py) {
                return Next::Interrupt;
            }
            if stop.is_ok_and(|class| error.matches(py, class).unwrap_or(false)) {
                self.reason = error.value(py).to_string();
                return Next::Stop;
            }
            self.raised = Some(error);
            Next::Interrupt
        })
    }

    /// Keeps the state of the run if it is time to, or if the run ends after this step.
    fn keep(&mut self, step: &mut Step, next: Next) -> Result<Next> {
        let Some(journal) = &mut self.journal else { return Ok(next) };
        let kept = journal.keep(step, next != Next::Continue || step.ends)?;
        Ok(kept.map_or_else(|error| self.heed(error), |()| next))
    }

    fn pass_turn(&self, step: &Step) -> Next {
        match &self.turn {
            Some(turn) if !step.ends && turn.pass_on() == Verdict::Stop => Next::Interrupt,
            _ => Next::Continue,
        }
    }
}

impl Observer for PyObserver {
    fn begin(&mut self, step: &mut Step) -> Result<Next> {
        let starts = &self.called.starts;
        let python =
            |py: Python| starts.iter().try_for_each(|start| start.call1(py, (step.taken,)).map(drop));
        match as_called(|| Python::with_gil(python))? {
            Ok(()) => Ok(Next::Continue),
            Err(error) => Ok(self.heed(error)),
        }
    }

    fn after_evaluation(&mut self, step: &mut Step) -> Result<Next> {
        if self.called.evaluations.is_empty() {
            return Ok(Next::Continue);
        }
        if let Some(journal) = &mut self.journal {
            if let Err(error) = journal.write(step, true)? {
                return Ok(self.heed(error));
            }
        }
        let seen = PyStep::new(step)?;
        let called: Vec<_> = self.called.evaluations.iter().collect();
        match as_called(|| Python::with_gil(|py| seen.show(py, &called)))? {
            Ok(()) => Ok(Next::Continue),
            Err(error) => Ok(self.heed(error)),
        }
    }

    fn after_step(&mut self, step: &mut Step) -> Result<Next> {
        let next = match self.look(step)? {
            Ok(()) => Next::Continue,
            Err(error) => self.heed(error),
        };
        match self.keep(step, next)? {
            Next::Continue => match self.pass_turn(step) {
                Next::Continue => Ok(Next::Continue),
                next => self.keep(step, next),
            },
            next => Ok(next),
        }
    }

    /// Looks for Ctrl-C.
    fn glance(&mut self) -> Result<Next> {
        let seen = match self.failed_notice.take() {
            Some(error) => Err(error),
            None => as_called(|| Python::with_gil(|py| py.check_signals()))?,
        };
        match seen {
            Ok(()) => Ok(Next::Continue),
            Err(error) => Ok(self.heed(error)),
        }
    }

    /// A line of the log.
    fn notice(&mut self, should: bool, text: &str) {
        let log = |py: Python| -> PyResult<()> {
            LOGGER.get(py)?.call_method1(if should { "warning" } else { "info" }, (text,)).map(drop)
        };
        // A handler that fails, or Ctrl-C, ends the run at the next look.
        if let Err(error) = as_called(|| Python::with_gil(log)).unwrap_or_else(|error| Err(error.into())) {
            self.failed_notice = Some(error);
        }
    }
}

/// What a callback of `train` is given after an optimizer step, or a measurement.
#[pyclass(name = "Step", module = "everybatch", frozen)]
pub struct PyStep {
    /// Optimizer steps taken so far.
    #[pyo3(get)]
    step: usize,
    /// Optimizer steps of the whole run.
    #[pyo3(get)]
    total_steps: usize,
    /// The epoch that the step belongs to, from 0.
    #[pyo3(get)]
    epoch: usize,
    /// Optimizer steps of an epoch.
    #[pyo3(get)]
    steps_per_epoch: usize,
    /// Training images of an epoch.
    #[pyo3(get)]
    examples: usize,
    /// Images of a batch; the last one of an epoch may have fewer.
    #[pyo3(get)]
    batch_size: usize,
    /// Learning rate of the step; NaN before the first.
    #[pyo3(get)]
    lr: f64,
    /// Loss of the step's batch, which training makes smaller; NaN before the first step.
    #[pyo3(get)]
    train_loss: f32,
    /// Share of the step's batch predicted right, in [0, 1]; NaN before the first step.
    #[pyo3(get)]
    train_accuracy: f32,
    /// Mean cross-entropy of the test images when they were measured last, after `eval_step` steps.
    #[pyo3(get)]
    test_loss: f32,
    /// Share of the test images predicted right when they were measured last, in [0, 1].
    #[pyo3(get)]
    test_accuracy: f32,
    /// Standard error of `test_loss`; 0 if all images were measured.
    #[pyo3(get)]
    test_loss_error: f32,
    /// Standard error of `test_accuracy`; 0 if all images were measured.
    #[pyo3(get)]
    test_accuracy_error: f32,
    /// Test images that were looked at for them.
    #[pyo3(get)]
    images_measured: i64,
    /// Optimizer steps taken before the test images were measured last.
    #[pyo3(get)]
    eval_step: i64,
    /// Mean cross-entropy of the validation images at that time; None without any.
    #[pyo3(get)]
    validation_loss: Option<f32>,
    /// Share of the validation images predicted right at that time, in [0, 1]; None without any.
    #[pyo3(get)]
    validation_accuracy: Option<f32>,
    /// The run's own weights, which move on after the callback and are then here no more.
    weights: Mutex<Option<Model>>,
}

impl PyStep {
    fn new(step: &mut Step) -> Result<Self> {
        let weights = Mutex::new(Some(step.model().shared()));
        let Step { taken, total, epoch, steps_per_epoch, examples, batch_size, .. } = *step;
        let history = step.complete_history()?;
        let last = |values: &[f32]| values.last().copied().unwrap_or(f32::NAN);
        let validation = history.validation.as_ref();
        Ok(PyStep {
            step: taken,
            total_steps: total,
            epoch,
            steps_per_epoch,
            examples,
            batch_size,
            lr: history.lr.last().copied().unwrap_or(f64::NAN),
            train_loss: last(&history.train_loss),
            train_accuracy: last(&history.train_accuracy),
            test_loss: last(&history.test.loss),
            test_accuracy: last(&history.test.accuracy),
            test_loss_error: last(&history.test.loss_error),
            test_accuracy_error: last(&history.test.accuracy_error),
            images_measured: history.test.images_measured.last().copied().unwrap_or_default(),
            eval_step: history.eval_step.last().copied().unwrap_or_default(),
            validation_loss: validation.map(|part| last(&part.loss)),
            validation_accuracy: validation.map(|part| last(&part.accuracy)),
            weights,
        })
    }

    /// Calls each with it, until one raises.
    fn show(self, py: Python, called: &[&PyObject]) -> PyResult<()> {
        let seen = Bound::new(py, self)?;
        let done = called.iter().try_for_each(|callback| callback.call1(py, (&seen,)).map(drop));
        let seen = seen.get();
        py.allow_threads(|| seen.end());
        done
    }

    /// The callbacks have seen it.
    fn end(&self) {
        *lock(&self.weights) = None;
    }
}

#[pymethods]
impl PyStep {
    #[doc = python_doc!("Step.model")]
    fn model(&self, py: Python) -> PyResult<PyModel> {
        let copied = computing(py, || {
            match &*lock(&self.weights) {
            Some(weights) => weights.to_device(Device::Cpu),
            None => Err(Error::Argument(format!(
                "model() was asked of step {} after its callback had ended, and the run has gone on: call it within \
                 the callback, and keep what it gives",
                self.step
            ))),
        }
        });
        Ok(PyModel::new(copied?))
    }

    fn __repr__(&self) -> String {
        format!("<Step {} of {}: train loss {:.4}>", self.step, self.total_steps, self.train_loss)
    }
}

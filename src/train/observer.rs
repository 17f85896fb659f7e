//! What looks on while a run goes, and how runs end.

use serde::{Deserialize, Serialize};

use super::session::{RunState, Session};
use super::{Adds, Column, History};
use crate::error::{Error, Result};
use crate::names::names;
use crate::network::Model;

/// What an observer sees after each optimizer step.
pub struct Step<'a> {
    /// Steps taken so far, and in all.
    pub taken: usize,
    pub total: usize,
    /// The epoch that the step belongs to, from 0.
    pub epoch: usize,
    pub steps_per_epoch: usize,
    /// Training images of an epoch, and of a batch.
    pub examples: usize,
    pub batch_size: usize,
    /// Whether the weights of now were measured.
    pub measured: bool,
    /// Whether the run ends here, whatever the observer wants.
    pub ends: bool,
    session: &'a mut Session,
}

impl<'a> Step<'a> {
    /// The one that was taken last.
    pub(super) fn of(session: &'a mut Session) -> Self {
        Step {
            taken: session.taken,
            total: session.total,
            epoch: session.taken.saturating_sub(1) / session.steps_per_epoch,
            steps_per_epoch: session.steps_per_epoch,
            examples: session.examples(),
            batch_size: session.config.batch_size,
            measured: session.recorder.newest_measured() == Some(session.taken as i64),
            ends: session.end().is_some(),
            session,
        }
    }

    /// The weights that are measured: those after the step, or their average.
    pub fn model(&self) -> &Model {
        self.session.weights.measured()
    }

    /// Steps that had been taken before the weights were what the run would give if it ended here.
    pub fn model_step(&self) -> usize {
        self.session.weights.watch.kept.as_ref().map_or(self.taken, |(step, _)| *step)
    }

    /// What has been read back: on a CPU everything, on a GPU all but the last block.
    pub fn history(&self) -> &History {
        &self.session.recorder.history
    }

    /// Everything measured so far; waits for the device.
    pub fn complete_history(&mut self) -> Result<&History> {
        self.session.recorder.flush()?;
        Ok(&self.session.recorder.history)
    }

    /// Every list of what has been read back, by its name, that of its array, and how it grows.
    pub fn columns(&mut self) -> Vec<(&'static str, Column<'_>, Adds)> {
        self.session.recorder.history.columns()
    }

    /// All that the run needs beside [`Step::columns`] to go on from here as if nothing had been between; waits for the
    /// device.
    pub fn state(&mut self) -> Result<RunState> {
        self.session.state()
    }

    /// What the steps from here on follow from.
    #[cfg(test)]
    pub fn waypoint(&self) -> Result<RunState> {
        self.session.waypoint()
    }
}

/// What an observer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Continue,
    /// End now.
    Interrupt,
    /// Measure the test set once more, then end.
    Stop,
}

pub trait Observer {
    /// Before anything is measured or trained on, also where a run goes on: anything but [`Next::Continue`] ends it, but for the
    /// first measurement, which every run has.
    fn begin(&mut self, _step: &mut Step) -> Result<Next> {
        Ok(Next::Continue)
    }

    /// After a measurement that [`Observer::after_step`] does not tell of: before the first step, or once more at the end.
    fn after_evaluation(&mut self, _step: &mut Step) -> Result<Next> {
        Ok(Next::Continue)
    }

    /// After a step, and the measurement of its weights if there was one ([`Step::measured`]).
    fn after_step(&mut self, step: &mut Step) -> Result<Next>;

    /// Asked where a run may take long and no step is taken, as before the first: anything but [`Next::Continue`] ends it.
    fn glance(&mut self) -> Result<Next> {
        Ok(Next::Continue)
    }

    /// Something about the run that its user may want to know, or `should`.
    fn notice(&mut self, _should: bool, _text: &str) {}
}

/// How a run ended.
#[derive(Debug)]
pub enum End {
    Finished,
    Interrupted,
    /// By the observer.
    Stopped,
    /// The monitored curve did not improve for as many measurements as patience allows.
    RanOutOfPatience,
    /// The loss of the weights after so many steps was NaN or infinite. On a GPU, whose history is read in blocks, the
    /// model may have gone on for the rest of the block.
    Diverged(usize),
    /// libtorch failed on the way, by lack of memory for example, or a checkpoint could not be written.
    Failed(Error),
}

/// The same in one word, as a run's status has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Finished,
    Interrupted,
    Stopped,
    Diverged,
    Failed,
}

impl State {
    pub fn name(self) -> &'static str {
        names::<State>()[self as usize]
    }
}

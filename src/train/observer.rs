//! What looks on while a run goes, and how runs end.

use serde::{Deserialize, Serialize};

use super::{History, Recorder};
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
    /// The weights that are measured: those after the step, or their average.
    pub model: &'a Model,
    pub(super) recorder: &'a mut Recorder,
}

impl Step<'_> {
    /// What has been read back: on a CPU everything, on a GPU all but the last block.
    pub fn history(&self) -> &History {
        &self.recorder.history
    }

    /// Everything measured so far; waits for the device.
    pub fn complete_history(&mut self) -> Result<&History> {
        self.recorder.flush()?;
        Ok(&self.recorder.history)
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
    fn after_step(&mut self, step: &mut Step) -> Result<Next>;

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

//! Steps of a run once more: unchanged, to the last bit, or otherwise; and what that makes of the test images.

mod change;
mod effects;

use std::sync::Arc;

use tch::{Device, Tensor};

pub use change::Change;
pub use effects::{Effect, Effects};

use super::observer::{Next, Observer};
use super::session::{RunState, Session};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::Seen;
use crate::libtorch::Gpu;

/// A run on its way again. Each step that is taken as the run took it must have the training loss that the run recorded.
pub struct Replay<'a> {
    session: Session,
    /// (steps of the run,) training losses.
    recorded: &'a [f32],
    /// Steps before the first one here, and how many since then were compared with what was recorded.
    began: usize,
    compared: usize,
    /// The batches of an epoch.
    epoch: Option<(usize, Vec<Tensor>)>,
    observer: &'a mut dyn Observer,
}

impl<'a> Replay<'a> {
    /// From a state that a run kept for it; `gpu` as of a run.
    pub fn new(
        state: RunState,
        data: &Dataset,
        device: Device,
        gpu: Option<Arc<dyn Gpu>>,
        recorded: &'a [f32],
        observer: &'a mut dyn Observer,
    ) -> Result<Self> {
        let session = Session::again(state, data, device, gpu, observer)?;
        let began = session.taken;
        Ok(Replay { session, recorded, began, compared: 0, epoch: None, observer })
    }

    /// The places (N,) of the examples of the next step.
    fn batch(&mut self) -> Result<Tensor> {
        let per_epoch = self.session.steps_per_epoch;
        let (epoch, place) = (self.session.taken / per_epoch, self.session.taken % per_epoch);
        let batches = match self.epoch.take() {
            Some((of, batches)) if of == epoch => batches,
            _ => self.session.all_batches(epoch)?,
        };
        let batch = batches[place].shallow_clone();
        self.epoch = Some((epoch, batches));
        Ok(batch)
    }

    /// Takes the next step as the run did, or otherwise, and measures where that decides about later ones.
    fn step(&mut self, change: &Change) -> Result<()> {
        if self.observer.glance()? != Next::Continue {
            return Err(Error::argument("the replay was interrupted"));
        }
        let batch = self.batch()?;
        match *change == Change::default() {
            true => self.session.step(&batch)?,
            false => self.session.step_otherwise(&batch, change)?,
        }
        if self.session.listens() && self.session.measurement_is_due() {
            self.session.measure(self.session.taken == self.session.total)?;
        }
        Ok(())
    }

    /// Goes on as the run did until `step` steps are taken.
    fn go_to(&mut self, step: usize) -> Result<()> {
        while self.session.taken < step {
            self.step(&Change::default())?;
            self.compare()?;
        }
        self.session.recorder.flush()?;
        self.compare()
    }

    /// Compares the training losses that were read back since with those that were recorded.
    fn compare(&mut self) -> Result<()> {
        let here = &self.session.recorder.history.train_loss;
        let recorded = &self.recorded[self.began.min(self.recorded.len())..];
        for (place, (now, then)) in here.iter().zip(recorded).enumerate().skip(self.compared) {
            if now.to_bits() != then.to_bits() && !(now.is_nan() && then.is_nan()) {
                return Err(Error::Argument(format!(
                    "the run is not the same here: the batch of step {} had a training loss of {then:e}, and has {now:e} now. A \
                     replay is exact with the images, the version of torch, the kind of processor and the number of threads \
                     that the run had, and on a GPU with deterministic=True: replay it where it was trained, or train it anew",
                    self.began + place
                )));
            }
            self.compared = place + 1;
        }
        Ok(())
    }

    /// Back to a waypoint, after steps that are not to be compared.
    fn go_back(&mut self, waypoint: &RunState) -> Result<()> {
        self.session.recorder.flush()?;
        self.session.go_back(waypoint)?;
        (self.began, self.compared) = (self.session.taken, 0);
        Ok(())
    }

    /// Takes step number `step` (from 0) in each of these ways, from the state that the run had then, and then `later` steps as
    /// the run took them.
    pub fn otherwise(&mut self, step: usize, changes: &[Change], later: usize) -> Result<Otherwise> {
        self.go_to(step)?;
        let start = self.session.waypoint()?;
        let mut found = Otherwise { before: self.session.see()?, ways: Vec::new() };
        for change in changes {
            self.step(change)?;
            let mut seen = vec![self.session.see()?];
            match *change == Change::default() {
                true => self.go_to(step + 1 + later)?,
                false => (0..later).try_for_each(|_| self.step(&Change::default()))?,
            }
            if later > 0 {
                seen.push(self.session.see()?);
            }
            found.ways.push(seen);
            self.go_back(&start)?;
        }
        Ok(found)
    }
}

/// What the test images are like around a step that is taken in several ways.
pub struct Otherwise {
    /// Before it.
    pub before: Seen,
    /// For each of the ways, right after the step, and after the later ones if there are any.
    pub ways: Vec<Vec<Seen>>,
}

#[cfg(test)]
mod tests;

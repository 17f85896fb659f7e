//! Steps of a run once more: unchanged, to the last bit, or otherwise; and what that makes of the test images.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::observer::{Next, Observer};
use super::session::{RunState, Session};
use super::Change;
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
        state: &RunState,
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
    /// the run took them. Gives for each what the test images are like after the step, and after those.
    pub fn otherwise(&mut self, step: usize, changes: &[Change], later: usize) -> Result<Vec<[Seen; 2]>> {
        self.go_to(step)?;
        let before = self.session.waypoint()?;
        let mut found = Vec::new();
        for change in changes {
            self.step(change)?;
            let after = self.session.see()?;
            match *change == Change::default() {
                true => self.go_to(step + 1 + later)?,
                false => (0..later).try_for_each(|_| self.step(&Change::default()))?,
            }
            found.push([after, self.session.see()?]);
            self.go_back(&before)?;
        }
        Ok(found)
    }
}

/// What the gradient of one step did: the measured difference between the step and a null step.
#[derive(Clone, Debug)]
pub struct Effect {
    /// Change of the mean cross-entropy of the test images, and its standard error over them.
    pub loss: f64,
    pub loss_error: f64,
    /// Images that only the step, and that only the null step, predicted right.
    pub gained: i64,
    pub lost: i64,
    /// (classes,) change of the mean cross-entropy of each class; NaN for a class with no image.
    pub class_loss: Vec<f64>,
    /// Mean cross-entropies before the step, and after it.
    pub before: f64,
    pub after: f64,
}

/// The effects of steps, one after the other.
pub struct Effects<'a> {
    replay: Replay<'a>,
    labels: Vec<i64>,
    classes: usize,
    /// Steps taken when the images were last measured, and their mean cross-entropy then.
    last: Option<(usize, f64)>,
}

impl<'a> Effects<'a> {
    pub fn new(replay: Replay<'a>, classes: usize) -> Result<Self> {
        let labels = Vec::try_from(replay.session.test_labels())?;
        Ok(Effects { replay, labels, classes, last: None })
    }

    /// That of step number `step` (from 0), which must lie after those that were asked for before.
    pub fn of(&mut self, step: usize) -> Result<Effect> {
        let replay = &mut self.replay;
        replay.go_to(step)?;
        let waypoint = replay.session.waypoint()?;
        let before = match self.last {
            Some((then, loss)) if then == step => loss,
            _ => replay.session.see()?.loss,
        };
        let batch = replay.batch()?;
        replay.session.step_otherwise(&batch, &Change { null: true, ..Change::default() })?;
        let null = replay.session.see()?;
        replay.go_back(&waypoint)?;
        replay.go_to(step + 1)?;
        let real = replay.session.see()?;
        self.last = Some((step + 1, real.loss));
        self.between(&null, &real, before)
    }

    fn between(&self, null: &Seen, real: &Seen, before: f64) -> Result<Effect> {
        let doubles =
            |losses: &Tensor| -> Result<Vec<f64>> { Ok(Vec::try_from(losses.f_to_kind(Kind::Double)?)?) };
        let classes = |seen: &Seen| -> Result<Vec<i64>> {
            Ok(Vec::try_from(seen.predictions.f_to_kind(Kind::Int64)?)?)
        };
        let changes: Vec<f64> =
            doubles(&real.losses)?.iter().zip(doubles(&null.losses)?).map(|(a, b)| a - b).collect();
        let count = changes.len() as f64;
        let mean = changes.iter().sum::<f64>() / count;
        let squares = changes.iter().map(|change| (change - mean).powi(2)).sum::<f64>();
        let mut sums = vec![(0.0, 0.0); self.classes];
        for (change, label) in changes.iter().zip(&self.labels) {
            let (sum, images) = &mut sums[*label as usize];
            *sum += change;
            *images += 1.0;
        }
        let (mut gained, mut lost) = (0, 0);
        for ((with, without), label) in classes(real)?.iter().zip(&classes(null)?).zip(&self.labels) {
            gained += i64::from(with == label && without != label);
            lost += i64::from(with != label && without == label);
        }
        Ok(Effect {
            loss: mean,
            loss_error: (squares / (count - 1.0).max(1.0) / count).sqrt(),
            gained,
            lost,
            class_loss: sums.into_iter().map(|(sum, images)| sum / images).collect(),
            before,
            after: real.loss,
        })
    }
}

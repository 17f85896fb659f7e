//! What the gradient of a step did: the step against a null step, in which it is zero, from the same weights and the same state of
//! the optimizer. Plain changes from step to step hold what momentum carried along from earlier batches, too.

use tch::{Kind, Tensor};

use super::{Change, Replay};
use crate::error::Result;
use crate::evaluate::Seen;

/// What the gradient of one step did: the measured difference between the step and a null step.
#[derive(Clone, Debug)]
pub struct Effect {
    /// Change of the mean cross-entropy of the test images, and its standard error over them: NaN where there is one image.
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
            loss_error: (squares / (count - 1.0) / count).sqrt(),
            gained,
            lost,
            class_loss: sums.into_iter().map(|(sum, images)| sum / images).collect(),
            before,
            after: real.loss,
        })
    }
}

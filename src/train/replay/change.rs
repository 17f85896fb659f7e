//! A step that is taken otherwise than the run took it.

use serde::Deserialize;
use tch::Tensor;

use crate::error::{Error, Result};
use crate::libtorch::upload;
use crate::network::{with_masks_of, Rows};
use crate::train::step::Stepper;

/// What is different; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// Places in the batch of images that are left out, as if they had not been there: batch norm does not see them. The
    /// others count as much as before, 1/N each with N of the whole batch (or with weights of classes, their weight by that
    /// of the whole batch), so that the parts of all images add up to the gradient, and without all of them it would be
    /// zero. Augmentation and dropout do with the others what they did. A gradient that is clipped is clipped without them.
    pub without: Vec<usize>,
    /// Another learning rate.
    pub lr: Option<f64>,
    /// The gradient is zero: a null step. The batch goes forward, so that batch norm's running statistics take it up, and the
    /// optimizer takes its step, with its momentum and weight decay. What differs from the real step is the gradient's.
    pub null: bool,
}

impl Change {
    /// Places that stay, of a batch of so many; None if all do.
    fn kept(&self, count: i64) -> Result<Option<Vec<i64>>> {
        if let Some(wrong) = self.without.iter().find(|place| **place as i64 >= count) {
            return Err(Error::Argument(format!(
                "place {wrong} is to be left out of a batch of {count} images, whose places are 0 to {}",
                count - 1
            )));
        }
        let kept: Vec<_> = (0..count).filter(|place| !self.without.contains(&(*place as usize))).collect();
        match kept.len() as i64 {
            0 => Err(Error::argument(
                "all images of the batch are to be left out, and a step needs some: take a null step, whose gradient is zero",
            )),
            left if left == count => Ok(None),
            _ => Ok(Some(kept)),
        }
    }
}

impl Stepper {
    /// As [`Stepper::step`], in another way and off the record.
    pub fn step_otherwise(
        &self,
        batch: &Tensor,
        taken: usize,
        lr: f64,
        momentum: Option<f64>,
        change: &Change,
    ) -> Result<()> {
        let body = &self.body;
        body.set(taken, change.lr.unwrap_or(lr), momentum)?;
        let count = batch.size()[0];
        let drawn = body.draw(count, taken)?;
        let Some(kept) = change.kept(count)? else {
            return self.drawing(taken, &mut || {
                self.go_otherwise(&body.look(batch, drawn.as_ref(), None)?.gradients, change)
            });
        };
        if self.gpu.is_some() && self.drops() {
            return Err(Error::argument(
                "images cannot be left out of a step with dropout on a GPU, which draws the masks of a batch in one: the others \
                 would get other masks. Train on a CPU, or without dropout",
            ));
        }
        let places = upload(&Tensor::f_from_slice(&kept)?, body.device())?;
        let share = body.share(batch, &places)?;
        let (batch, drawn) =
            (batch.f_index_select(0, &places)?, drawn.map(|drawn| drawn.select(&places)).transpose()?);
        self.drawing(taken, &mut || {
            let rows = Rows { kept: kept.clone(), of: count };
            let seen = with_masks_of(rows, || body.look(&batch, drawn.as_ref(), Some(share)))?;
            self.go_otherwise(&seen.gradients, change)
        })
    }

    fn go_otherwise(&self, gradients: &[Tensor], change: &Change) -> Result<()> {
        if !change.null {
            return self.body.go(gradients);
        }
        let zeros = gradients.iter().map(|gradient| gradient.f_zeros_like());
        self.body.go(&zeros.collect::<Result<Vec<_>, _>>()?)
    }
}

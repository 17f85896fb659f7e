//! A step that was recorded once and is replayed.

use std::rc::Rc;
use std::sync::Arc;

use tch::{Kind, Tensor};

use crate::data::Drawn;
use crate::error::Result;
use crate::libtorch::{copied, Gpu, Graph, Lane};
use crate::train::step::Stepper;
use crate::train::LearningRate;

/// Steps before the recording: libraries set themselves up in the first ones, which cannot be recorded.
const REHEARSALS: usize = 3;

/// A recorded step, and where it finds the batch.
pub struct Recorded {
    graph: Box<dyn Graph>,
    place: Rc<Place>,
}

struct Place {
    batch: Tensor,
    drawn: Option<Drawn>,
}

impl Recorded {
    /// Whether it can be replayed on the examples at `batch`.
    pub fn fits(&self, batch: &Tensor) -> bool {
        self.place.batch.size() == batch.size()
    }

    /// Puts the batch and the numbers that change its images where they are looked for.
    pub fn put(&self, batch: &Tensor, drawn: Option<&Drawn>) -> Result<()> {
        self.place.batch.shallow_clone().f_copy_(batch)?;
        match (&self.place.drawn, drawn) {
            (Some(there), Some(drawn)) => there.replace_by(drawn),
            _ => Ok(()),
        }
    }

    pub fn replay(&self) -> Result<()> {
        self.graph.replay()
    }
}

/// Records a step on a whole batch of `count` examples. Afterwards all is as if it had not been rehearsed.
pub fn record(stepper: &Stepper, gpu: &Arc<dyn Gpu>, count: usize, rate: &LearningRate) -> Result<Recorded> {
    let state = stepper.body.state();
    let saved = state.iter().map(|tensor| copied(&tensor.f_detach()?, tensor));
    let saved = saved.collect::<Result<Vec<_>>>()?;
    let mut recorded = None;
    let done = stepper.drawing(0, &mut || {
        recorded = Some(rehearse_and_capture(stepper, gpu, count as i64, rate)?);
        Ok(())
    });
    for (tensor, saved) in state.iter().zip(&saved) {
        tensor.f_detach()?.f_copy_(saved)?;
    }
    done?;
    recorded.ok_or_else(|| crate::error::Error::argument("the step was not recorded"))
}

fn rehearse_and_capture(
    stepper: &Stepper,
    gpu: &Arc<dyn Gpu>,
    count: i64,
    rate: &LearningRate,
) -> Result<Recorded> {
    let body = stepper.body.clone();
    let batch = Tensor::f_arange(count, (Kind::Int64, body.device()))?;
    let place = Rc::new(Place { batch, drawn: body.place_for_drawn(count)? });
    for _ in 0..REHEARSALS {
        body.set(0, rate.at(0), rate.momentum_at(0))?;
        body.run(&place.batch, place.drawn.as_ref())?;
    }
    let there = place.clone();
    let work = Box::new(move || body.run(&there.batch, there.drawn.as_ref()));
    Ok(Recorded { graph: gpu.capture(Lane::Train, work)?, place })
}

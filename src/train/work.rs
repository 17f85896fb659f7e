//! The two ways to do a run's work: by calls from the host, one after the other, or by the device on its own.

use tch::Tensor;

use super::device::DeviceWork;
use super::step::Stepper;
use super::training_loop::Weights;
use super::Recorder;
use crate::error::Result;
use crate::evaluate::Evaluator;

pub enum Work<'a> {
    /// On a CPU.
    Host { stepper: Box<Stepper<'a>>, evaluators: &'a [Evaluator] },
    /// On a GPU.
    Device(DeviceWork),
}

impl Work<'_> {
    /// Takes step number `taken` (from 0) on the examples at `batch`, brings the average up to date, and records it.
    pub fn step(
        &mut self,
        weights: &mut Weights,
        batch: &Tensor,
        taken: usize,
        lr: f64,
        momentum: Option<f64>,
        recorder: &mut Recorder,
    ) -> Result<()> {
        match self {
            Work::Host { stepper, .. } => {
                let batch = stepper.step(&weights.model, batch, taken, lr, momentum)?;
                if let Some(average) = &mut weights.average {
                    average.update(&weights.model)?;
                }
                recorder.record_step(&batch)
            }
            Work::Device(work) => work.step(batch, taken, lr, momentum, &mut weights.average, recorder),
        }
    }

    /// Measures the test images, and the validation images if there are any, after `taken` steps.
    pub fn measure(&self, weights: &Weights, recorder: &mut Recorder, taken: usize) -> Result<()> {
        match self {
            Work::Host { evaluators, .. } => {
                let parts = evaluators.iter().map(|part| part.measure(weights.measured()));
                recorder.record_evaluation(taken, &parts.collect::<Result<Vec<_>>>()?)
            }
            Work::Device(work) => work.measure(recorder, taken),
        }
    }
}

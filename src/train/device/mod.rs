//! Training on a GPU: steps and measurements that do not need the host, recorded once and then replayed. Without a GPU
//! all of this runs on a CPU too, which is how it is tested.

mod cursor;
mod measuring;
mod optimizer;
mod step;

use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;
use tch::Tensor;

pub use cursor::Cursor;
use measuring::DeviceMeasuring;
use step::DeviceStepper;

use super::average::Average;
use super::{LearningRate, Observer, Recorder, TrainConfig};
use crate::data::Split;
use crate::error::Result;
use crate::evaluate::{DeviceChoice, Evaluator};
use crate::libtorch::Gpu;
use crate::network::Model;

/// Steps that a run must have for recording to pay.
const WORTH_RECORDING: usize = 20;

/// How the device computed.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceReport {
    /// Whether steps and measurements were recorded as graphs and replayed.
    pub graphs: bool,
    /// Why not.
    pub reason: Option<String>,
    /// How the test images were measured, and the validation images if there are any.
    pub evaluation: Vec<DeviceChoice>,
}

/// A run's work on the device.
pub struct DeviceWork {
    stepper: DeviceStepper,
    measuring: DeviceMeasuring,
    pub report: DeviceReport,
}

/// What a run is made of.
pub struct Parts<'a> {
    pub train: &'a Split,
    pub evaluators: &'a [Evaluator],
    pub model: &'a Model,
    pub average: Option<&'a Average>,
    pub config: &'a TrainConfig,
    pub rate: &'a LearningRate,
    /// Steps of the whole run, and whether its measurements pay for calibration.
    pub total: usize,
    pub calibrate: bool,
}

impl DeviceWork {
    pub fn new(
        gpu: &Arc<dyn Gpu>,
        parts: &Parts,
        recorder: &mut Recorder,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let sheet = Rc::new(recorder.sheet(gpu));
        let mut stepper = DeviceStepper::new(gpu, parts, &sheet)?;
        let mut measuring = DeviceMeasuring::new(gpu, parts, &sheet)?;
        let mut report =
            DeviceReport { graphs: false, reason: gpu.no_graphs(), evaluation: measuring.choices() };
        let total = parts.total;
        if report.reason.is_none() && total < WORTH_RECORDING {
            report.reason = Some(format!("recording does not pay for {total} steps"));
        }
        if let Some(reason) = &report.reason {
            observer.notice(false, &format!("CUDA graphs are not used: {reason}"));
        } else {
            match stepper.record(parts).and_then(|()| measuring.record()) {
                Ok(()) => {
                    report.graphs = true;
                    observer.notice(false, "CUDA graphs: steps and measurements are recorded and replayed");
                }
                Err(error) => {
                    stepper.forget();
                    measuring.forget();
                    observer.notice(true, &format!("CUDA graphs are not used, recording failed: {error}"));
                    report.reason = Some(format!("recording failed: {error}"));
                }
            }
            sheet.clear()?;
        }
        Ok(DeviceWork { stepper, measuring, report })
    }

    /// Step number `taken` (from 0) on the examples at `batch`, its share in the average, and its row of history.
    pub fn step(
        &self,
        batch: &Tensor,
        taken: usize,
        lr: f64,
        momentum: Option<f64>,
        average: &mut Option<Average>,
        recorder: &mut Recorder,
    ) -> Result<()> {
        let share = average.as_mut().map(Average::next_share);
        self.stepper.step(batch, taken, lr, momentum, share)?;
        recorder.step_was_written()
    }

    /// A measurement of the weights after `taken` steps, and its row of history.
    pub fn measure(&self, recorder: &mut Recorder, taken: usize) -> Result<()> {
        self.measuring.measure()?;
        recorder.evaluation_was_written(taken)
    }
}

#[cfg(test)]
mod tests;

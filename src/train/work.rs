//! A run's work: steps and measurements, by calls from the host, one after the other, or by the device on its own.

use std::rc::Rc;
use std::sync::Arc;

use super::device::{record, DeviceMeasuring, DeviceReport};
use super::recorder::Sheet;
use super::step::Stepper;
use super::weights::Weights;
use super::{LearningRate, Observer, Recorder, TrainConfig};
use crate::data::Split;
use crate::error::Result;
use crate::evaluate::{DeviceChoice, Evaluator};
use crate::libtorch::Gpu;

/// Steps that a run must have for recording to pay.
const WORTH_RECORDING: usize = 20;

pub struct Work {
    pub stepper: Stepper,
    sheet: Rc<Sheet>,
    /// The measuring of a device, and how it does.
    on_device: Option<(DeviceMeasuring, DeviceReport)>,
}

/// What a run is made of.
pub struct Parts<'a> {
    pub train: &'a Split,
    pub evaluators: &'a [Evaluator],
    pub weights: &'a Weights,
    pub config: &'a TrainConfig,
    pub rate: &'a LearningRate,
    /// Steps of the whole run, and whether its measurements pay for calibration.
    pub total: usize,
    pub calibrate: bool,
    /// How a device measures, if that was chosen before.
    pub choices: &'a [DeviceChoice],
}

impl Work {
    /// The device's own work if there is a `gpu`.
    pub fn new(
        gpu: Option<&Arc<dyn Gpu>>,
        parts: &Parts,
        recorder: &Recorder,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let sheet = recorder.sheet.clone();
        let mut stepper = Stepper::new(gpu, parts, &sheet)?;
        let Some(gpu) = gpu else { return Ok(Work { stepper, sheet, on_device: None }) };
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
            let recorded = record(&stepper, gpu, parts.config.batch_size, parts.rate);
            match recorded.and_then(|recorded| measuring.record().map(|()| recorded)) {
                Ok(recorded) => {
                    stepper.recorded = Some(recorded);
                    report.graphs = true;
                    observer.notice(false, "CUDA graphs: steps and measurements are recorded and replayed");
                }
                Err(error) => {
                    measuring.forget();
                    observer.notice(true, &format!("CUDA graphs are not used, recording failed: {error}"));
                    report.reason = Some(format!("recording failed: {error}"));
                }
            }
            sheet.forget()?;
        }
        Ok(Work { stepper, sheet, on_device: Some((measuring, report)) })
    }

    pub fn report(&self) -> Option<&DeviceReport> {
        self.on_device.as_ref().map(|(_, report)| report)
    }

    /// Measures all test images, and all validation images if there are any, into a row of history.
    pub fn measure(&self, weights: &Weights, evaluators: &[Evaluator]) -> Result<()> {
        match &self.on_device {
            Some((measuring, _)) => measuring.measure(),
            None => {
                self.sheet.take_up()?;
                let parts = evaluators.iter().map(|part| part.measure(weights.measured()));
                self.sheet.write_evaluation(&parts.collect::<Result<Vec<_>>>()?)
            }
        }
    }
}

//! Measurements in a lane of their own: they take the weights up, and then the next step may change these.

use std::rc::Rc;
use std::sync::Arc;

use super::Parts;
use crate::error::Result;
use crate::evaluate::{DeviceChoice, Metrics, Resident};
use crate::libtorch::{Gpu, Graph, Lane};
use crate::network::Model;
use crate::train::recorder::Sheet;

/// The two parts of a measurement.
struct Body {
    /// The weights that are measured: those that are trained, or their average.
    model: Model,
    parts: Vec<Resident>,
    sheet: Rc<Sheet>,
}

impl Body {
    fn fold(&self) -> Result<()> {
        self.parts.iter().try_for_each(|part| part.fold(&self.model))
    }

    fn measure(&self) -> Result<()> {
        let metrics = self.parts.iter().map(Resident::measure).collect::<Result<Vec<Metrics>>>()?;
        self.sheet.write_evaluation(&metrics)
    }
}

pub struct DeviceMeasuring {
    gpu: Arc<dyn Gpu>,
    body: Rc<Body>,
    /// Folding, and measuring.
    recorded: Option<[Box<dyn Graph>; 2]>,
}

impl DeviceMeasuring {
    pub fn new(gpu: &Arc<dyn Gpu>, parts: &Parts, sheet: &Rc<Sheet>) -> Result<Self> {
        let model = parts.average.map_or(parts.model, |average| &average.model);
        let resident = |part| match parts.calibrate {
            true => Resident::calibrated(part, model, parts.config.precision),
            false => Resident::new(part, model, parts.config.precision),
        };
        let parts = parts.evaluators.iter().map(resident).collect::<Result<_>>()?;
        let body = Body { model: model.shared(), parts, sheet: sheet.clone() };
        Ok(DeviceMeasuring { gpu: gpu.clone(), body: Rc::new(body), recorded: None })
    }

    pub fn choices(&self) -> Vec<DeviceChoice> {
        self.body.parts.iter().map(|part| part.choice.clone()).collect()
    }

    /// Records both parts. The history must be cleared afterwards.
    pub fn record(&mut self) -> Result<()> {
        for _ in 0..2 {
            self.eager()?;
        }
        self.gpu.wait(Lane::Train, Lane::Measure)?;
        let (fold, measure) = (self.body.clone(), self.body.clone());
        let fold = self.gpu.capture(Lane::Measure, Box::new(move || fold.fold()))?;
        let measure = self.gpu.capture(Lane::Measure, Box::new(move || measure.measure()))?;
        self.recorded = Some([fold, measure]);
        Ok(())
    }

    pub fn forget(&mut self) {
        self.recorded = None;
    }

    /// Measures the weights as they are now, and writes the row of history.
    pub fn measure(&self) -> Result<()> {
        let Some([fold, measure]) = &self.recorded else { return self.eager() };
        self.gpu.wait(Lane::Measure, Lane::Train)?; // for the step
        fold.replay()?;
        self.gpu.wait(Lane::Train, Lane::Measure)?; // until the weights are taken up, and no longer
        measure.replay()
    }

    fn eager(&self) -> Result<()> {
        self.gpu.wait(Lane::Measure, Lane::Train)?;
        self.gpu.on(Lane::Measure, &|| self.body.fold())?;
        self.gpu.wait(Lane::Train, Lane::Measure)?;
        self.gpu.on(Lane::Measure, &|| self.body.measure())
    }
}

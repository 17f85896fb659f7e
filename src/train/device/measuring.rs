//! Measurements in a lane of their own: they copy the weights, and then the next step may change these.

use std::rc::Rc;
use std::sync::Arc;

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::evaluate::{DeviceChoice, Metrics, Resident};
use crate::libtorch::{copy_all, Gpu, Graph, Lane};
use crate::network::Model;
use crate::train::recorder::Sheet;
use crate::train::work::Parts;

/// The two parts of a measurement.
struct Body {
    /// The weights that are measured: those that are trained, or their average.
    model: Model,
    /// What they were when they were last taken up.
    snapshot: Model,
    parts: Vec<Resident>,
    sheet: Rc<Sheet>,
}

impl Body {
    fn take_up(&self) -> Result<()> {
        // Counters decide nothing in a measurement.
        let floats = |model: &Model| -> Result<Vec<Tensor>> {
            let kinds = model.tensors.iter().map(|tensor| Ok((tensor.f_kind()?, tensor.f_detach()?)));
            let kinds = kinds.collect::<Result<Vec<_>>>()?;
            Ok(kinds.into_iter().filter(|(kind, _)| *kind == Kind::Float).map(|(_, tensor)| tensor).collect())
        };
        copy_all(&floats(&self.snapshot)?, &floats(&self.model)?)?;
        self.sheet.take_up()
    }

    fn measure(&self) -> Result<()> {
        self.parts.iter().try_for_each(|part| part.fold(&self.snapshot))?;
        let metrics = self.parts.iter().map(Resident::measure).collect::<Result<Vec<Metrics>>>()?;
        self.sheet.write_evaluation(&metrics)
    }
}

pub struct DeviceMeasuring {
    gpu: Arc<dyn Gpu>,
    body: Rc<Body>,
    /// Taking the weights up, and measuring them.
    recorded: Option<[Box<dyn Graph>; 2]>,
}

impl DeviceMeasuring {
    pub fn new(gpu: &Arc<dyn Gpu>, parts: &Parts, sheet: &Rc<Sheet>) -> Result<Self> {
        let (model, precision) = (parts.weights.measured(), parts.config.precision);
        let resident = |(index, part)| match (parts.choices.get(index), parts.calibrate) {
            (Some(choice), _) => Resident::following(part, model, precision, choice),
            (None, true) => Resident::calibrated(part, model, precision),
            (None, false) => Resident::new(part, model, precision),
        };
        let parts = parts.evaluators.iter().enumerate().map(resident).collect::<Result<_>>()?;
        let snapshot = model.duplicate()?;
        let body = Body { model: model.shared(), snapshot, parts, sheet: sheet.clone() };
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
        let (take_up, measure) = (self.body.clone(), self.body.clone());
        let take_up = self.gpu.capture(Lane::Measure, Box::new(move || take_up.take_up()))?;
        let measure = self.gpu.capture(Lane::Measure, Box::new(move || measure.measure()))?;
        self.recorded = Some([take_up, measure]);
        Ok(())
    }

    pub fn forget(&mut self) {
        self.recorded = None;
    }

    /// Measures the weights as they are now, and writes the row of history.
    pub fn measure(&self) -> Result<()> {
        let Some([take_up, measure]) = &self.recorded else { return self.eager() };
        self.gpu.wait(Lane::Measure, Lane::Train)?; // for the step
        take_up.replay()?;
        self.gpu.wait(Lane::Train, Lane::Measure)?; // until the weights are taken up, and no longer
        measure.replay()
    }

    fn eager(&self) -> Result<()> {
        self.gpu.wait(Lane::Measure, Lane::Train)?;
        self.gpu.on(Lane::Measure, &|| self.body.take_up())?;
        self.gpu.wait(Lane::Train, Lane::Measure)?;
        self.gpu.on(Lane::Measure, &|| self.body.measure())
    }
}

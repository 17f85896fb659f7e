//! The weights of a run in all their forms.

use std::rc::Rc;

use super::average::Average;
use super::dial::Dial;
use super::watch::Watch;
use super::TrainConfig;
use crate::error::{Error, Result};
use crate::network::Model;

pub struct Weights {
    /// Those that the optimizer changes.
    pub model: Model,
    pub average: Option<Rc<Average>>,
    /// Keeps the best.
    pub watch: Watch,
}

impl Weights {
    /// Of a run that begins with those of `model`; `on_device` if it is the device that takes the steps.
    pub fn new(model: Model, config: &TrainConfig, on_device: bool) -> Result<Self> {
        let average = config.ema.map(|decay| {
            let share = if on_device { Dial::on_device(model.device())? } else { Dial::on_host() };
            Ok::<_, Error>(Rc::new(Average::new(&model, decay, share)?))
        });
        Ok(Weights { average: average.transpose()?, watch: Watch::new(&config.watch, &model)?, model })
    }

    /// Those that are measured, kept and returned.
    pub fn measured(&self) -> &Model {
        measured(&self.model, &self.average)
    }
}

/// See [`Weights::measured`].
pub fn measured<'a>(model: &'a Model, average: &'a Option<Rc<Average>>) -> &'a Model {
    average.as_ref().map_or(model, |average| &average.model)
}

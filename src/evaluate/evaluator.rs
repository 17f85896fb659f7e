//! Measures a fixed set of images again and again, with whatever weights there are.

use tch::{Device, Tensor};

use super::inference::Inference;
use super::{Choice, Metrics, Source, Subject, Today};
use crate::data::Split;
use crate::error::Result;
use crate::libtorch::Alone;
use crate::network::{Model, Normalization, Precision};

pub struct Evaluator {
    pub(super) inference: Inference,
    /// (N,) int64
    pub labels: Tensor,
    pub(super) classes: i64,
}

impl Evaluator {
    pub fn new(
        split: &Split,
        normalization: &Normalization,
        classes: i64,
        precision: Precision,
    ) -> Result<Self> {
        let inference = Inference::new(&split.images, normalization, precision)?;
        Ok(Evaluator { inference, labels: split.labels.shallow_clone(), classes })
    }

    /// Finds the fastest way to measure `model` on this machine.
    pub fn calibrate(&mut self, model: &Model) -> Result<()> {
        self.inference.calibrate(model)
    }

    /// Takes the way that was chosen before.
    pub fn choose(&mut self, choice: &Choice) -> Result<()> {
        self.inference.choose(choice)
    }

    /// The way that is taken, and why.
    pub fn choice(&self) -> Choice {
        self.inference.choice()
    }

    /// Compiles today's weights and gives the logits (N, classes) that they make of every image.
    pub fn logits(&self, model: &Model) -> Result<Tensor> {
        self.inference.logits(model)
    }

    /// Measures every image in the same way.
    pub fn measure(&self, model: &Model) -> Result<Metrics> {
        Metrics::new(&self.logits(model)?, &self.labels, self.classes)
    }
}

/// What a measurement finds of each image.
pub struct Seen {
    /// (N,) float32 cross-entropies.
    pub losses: Tensor,
    /// (N,) predicted classes, of `class_kind`.
    pub predictions: Tensor,
    /// The mean of the cross-entropies, as a measurement of a run has it.
    pub loss: f64,
}

impl Evaluator {
    /// Compiles today's weights and looks at every image with them.
    pub fn see(&self, model: &Model) -> Result<Seen> {
        let Metrics { loss, predictions, single, .. } = self.measure(model)?;
        let loss = loss.f_double_value(&[])? / self.labels.size()[0] as f64;
        Ok(Seen { losses: single.losses, predictions, loss })
    }
}

impl Evaluator {
    /// Its images, with weights.
    pub fn with<'a>(&'a self, model: &'a Model) -> Weighed<'a> {
        Weighed { images: self, model }
    }
}

/// See [`Evaluator::with`].
pub struct Weighed<'a> {
    images: &'a Evaluator,
    model: &'a Model,
}

impl Subject for Weighed<'_> {
    fn all(&mut self) -> Result<Tensor> {
        Ok(self.images.logits(self.model)?.f_to_device(Device::Cpu)?)
    }

    fn few(&mut self) -> Result<Box<dyn Source + '_>> {
        let alone = self.images.inference.alone(); // all along: threads are dear to call and to send away
        Ok(Box::new(Few { today: self.images.today(self.model, EXPECTED)?, _alone: alone }))
    }
}

struct Few<'a> {
    today: Today<'a>,
    _alone: Option<Alone>,
}

impl Source for Few<'_> {
    fn grain(&self) -> usize {
        self.today.grain()
    }

    fn logits(&mut self, images: &[i64]) -> Result<Tensor> {
        Ok(self.today.logits(images)?.f_to_device(Device::Cpu)?)
    }
}

/// Images that an estimate looks at, more or less: weights are compiled for so many.
const EXPECTED: i64 = 500;

/// Float32 logits (N, classes) of uint8 images (N, C, H, W). Images are normalised block by block, which bounds the
/// memory that many of them take.
pub fn logits(model: &Model, images: &Tensor, precision: Precision) -> Result<Tensor> {
    const BLOCK: i64 = 10_000;
    let normalization = model.normalization();
    let count = images.size()[0];
    let blocks = (0..count.max(1)).step_by(BLOCK as usize).map(|start| {
        let block = images.f_narrow(0, start, BLOCK.min(count - start))?;
        Inference::new(&block, &normalization, precision)?.logits(model)
    });
    Ok(Tensor::f_cat(&blocks.collect::<Result<Vec<_>>>()?, 0)?)
}

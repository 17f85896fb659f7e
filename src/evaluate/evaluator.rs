//! Measures a fixed set of images again and again, with whatever weights there are.

use tch::{Device, Kind, Tensor};

use super::plan::channels_last;
use super::{Metrics, Plan};
use crate::data::Split;
use crate::error::Result;
use crate::network::{Model, Normalization, Precision};

/// Images that one pass of the plan takes: small enough for the CPU's caches, large enough to fill a GPU.
fn chunk_size(device: Device) -> i64 {
    match device {
        Device::Cpu => 250,
        _ => 2500,
    }
}

/// The images, normalised and in the plan's layout once and for all.
pub struct Evaluator {
    chunks: Vec<Tensor>,
    /// (N,) int64
    pub labels: Tensor,
    classes: i64,
    precision: Precision,
}

impl Evaluator {
    pub fn new(
        split: &Split,
        normalization: &Normalization,
        classes: i64,
        precision: Precision,
    ) -> Result<Self> {
        let chunks = chunks(&split.images, normalization, precision).collect::<Result<_>>()?;
        Ok(Evaluator { chunks, labels: split.labels.shallow_clone(), classes, precision })
    }

    /// Compiles today's weights and measures every image with them.
    pub fn measure(&self, model: &Model) -> Result<Metrics> {
        let mut metrics = Metrics::new(self.classes, model.device())?;
        let Some(first) = self.chunks.first() else { return Ok(metrics) };
        let plan = Plan::compile(model, self.precision, shape4(first))?;
        tch::no_grad(|| {
            let mut start = 0;
            for images in &self.chunks {
                let length = images.size()[0];
                metrics.add(&plan.run(images)?, &self.labels.f_narrow(0, start, length)?)?;
                start += length;
            }
            Ok(metrics)
        })
    }
}

/// Float32 logits (N, classes) of uint8 images (N, C, H, W), chunk by chunk as the evaluator does it.
pub fn logits(model: &Model, images: &Tensor, precision: Precision) -> Result<Tensor> {
    let normalization = model.normalization();
    let mut chunks = chunks(images, &normalization, precision);
    let Some(first) = chunks.next().transpose()? else {
        return Ok(Tensor::f_zeros([0, model.network.num_classes()?], (Kind::Float, images.device()))?);
    };
    let plan = Plan::compile(model, precision, shape4(&first))?;
    let logits = std::iter::once(Ok(first)).chain(chunks).map(|chunk| plan.run(&chunk?));
    Ok(Tensor::f_cat(&logits.collect::<Result<Vec<_>>>()?, 0)?)
}

/// Normalised images in the plan's layout and number format, of uint8 images (N, C, H, W).
fn chunks<'a>(
    images: &'a Tensor,
    normalization: &'a Normalization,
    precision: Precision,
) -> impl Iterator<Item = Result<Tensor>> + 'a {
    let count = images.size()[0];
    let size = chunk_size(images.device());
    (0..count).step_by(size as usize).map(move |start| {
        let pixels = images.f_narrow(0, start, size.min(count - start))?;
        channels_last(&normalization.apply(&pixels)?.f_to_kind(precision.kind())?)
    })
}

fn shape4(images: &Tensor) -> [i64; 4] {
    let size = images.size();
    [size[0], size[1], size[2], size[3]]
}

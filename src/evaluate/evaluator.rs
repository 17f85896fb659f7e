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
    chunks: Vec<(Tensor, Tensor)>,
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
        let size = chunk_size(split.images.device());
        let chunks = (0..split.len()).step_by(size as usize).map(|start| {
            let length = size.min(split.len() - start);
            let images = normalization.apply(&split.images.f_narrow(0, start, length)?)?;
            let images = channels_last(&images.f_to_kind(precision.kind())?)?;
            Ok((images, split.labels.f_narrow(0, start, length)?))
        });
        Ok(Evaluator { chunks: chunks.collect::<Result<_>>()?, classes, precision })
    }

    /// Compiles today's weights and measures every image with them.
    pub fn measure(&self, model: &Model) -> Result<Metrics> {
        let mut metrics = Metrics::new(self.classes, model.device())?;
        let Some(plan) = self.plan(model)? else { return Ok(metrics) };
        tch::no_grad(|| {
            for (images, labels) in &self.chunks {
                metrics.add(&plan.run(images)?, labels)?;
            }
            Ok(metrics)
        })
    }

    fn plan(&self, model: &Model) -> Result<Option<Plan>> {
        let first = self.chunks.first();
        first.map(|(images, _)| Plan::compile(model, self.precision, shape4(images))).transpose()
    }
}

/// Float32 logits (N, classes) of uint8 images (N, C, H, W), chunk by chunk as the evaluator does it.
pub fn logits(model: &Model, images: &Tensor, precision: Precision) -> Result<Tensor> {
    let count = images.size()[0];
    let size = chunk_size(images.device());
    if count == 0 {
        return Ok(Tensor::f_zeros([0, model.network.num_classes()?], (Kind::Float, images.device()))?);
    }
    let normalization = model.normalization();
    let mut shape = shape4(images);
    shape[0] = size.min(count);
    let plan = Plan::compile(model, precision, shape)?;
    let chunks = (0..count).step_by(size as usize).map(|start| {
        let chunk = normalization.apply(&images.f_narrow(0, start, size.min(count - start))?)?;
        plan.run(&channels_last(&chunk)?)
    });
    Ok(Tensor::f_cat(&chunks.collect::<Result<Vec<_>>>()?, 0)?)
}

fn shape4(images: &Tensor) -> [i64; 4] {
    let size = images.size();
    [size[0], size[1], size[2], size[3]]
}

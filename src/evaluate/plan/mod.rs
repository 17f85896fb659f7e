//! The reader that infers: compiles the layer tree and today's weights into a list of fused operations.
//!
//! `compile` folds what comes before, `fold` what comes after, `prepare` packs the weights for the shapes that are met,
//! and `op` runs. `refresh` and `ways` are for plans that stay where they are, on a GPU. On a CPU each operation is one call of oneDNN where there is one, through libtorch's C interface.

mod columns;
mod compile;
mod dense;
mod fold;
mod op;
mod phases;
mod pool;
mod prepare;
mod refresh;
mod ways;

use serde::Serialize;
use tch::{Device, Kind, Tensor};

use op::{run, Op, Value};
use prepare::{prepare, Purpose};
pub use ways::Way;

use crate::error::Result;
use crate::libtorch::{channels_first, channels_last};
use crate::network::{Model, Precision};

/// A network compiled for inference with its weights of the moment; good until they change, for it may share them.
pub struct Plan {
    ops: Vec<Op>,
    kind: Kind,
    purpose: Purpose,
    /// (C, H, W) of the images.
    shape: [i64; 3],
}

/// How images, maps and convolutions' weights lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    ChannelsLast,
    ChannelsFirst,
}

impl Layout {
    /// The same images or weights (N, C, H, W) in this layout.
    pub fn of(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Layout::ChannelsLast => channels_last(x),
            Layout::ChannelsFirst => channels_first(x),
        }
    }
}

// SAFETY: a plan only reads its tensors, and libtorch counts their owners atomically.
unsafe impl Sync for Plan {}

impl Plan {
    /// Folds the weights of `model`. `chunk` is the shape (N, C, H, W) of the inputs that will be given, or of the
    /// largest; `images` is the number of them all, which tells what work on the weights is worth while.
    pub fn compile(model: &Model, precision: Precision, chunk: [i64; 4], images: i64) -> Result<Plan> {
        let packs = model.device() == Device::Cpu;
        let purpose =
            Purpose { kind: precision.kind(), chunk: chunk[0], images, layout: Layout::ChannelsLast, packs };
        Plan::compile_for(model, purpose, [chunk[1], chunk[2], chunk[3]])
    }

    fn compile_for(model: &Model, purpose: Purpose, shape: [i64; 3]) -> Result<Plan> {
        tch::no_grad(|| {
            let mut ops = compile::operations(model)?;
            let _ = prepare(&mut ops, example(model.device(), purpose, shape)?, purpose)?;
            Ok(Plan { ops, kind: purpose.kind, purpose, shape })
        })
    }

    /// Float32 logits (N, classes) of normalised images (N, C, H, W), best given as [`channels_last`].
    pub fn run(&self, x: &Tensor) -> Result<Tensor> {
        tch::no_grad(|| {
            let x = Value { tensor: x.f_to_kind(self.kind)?, free: false };
            Ok(run(&self.ops, x)?.tensor.f_to_kind(Kind::Float)?)
        })
    }
}

/// One image.
fn example(device: Device, purpose: Purpose, [channels, height, width]: [i64; 3]) -> Result<Tensor> {
    purpose.layout.of(&Tensor::f_zeros([1, channels, height, width], (purpose.kind, device))?)
}

#[cfg(test)]
mod tests;

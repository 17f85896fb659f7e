//! The reader that infers: compiles the layer tree and today's weights into a list of fused operations.
//!
//! `compile` folds what comes before, `fold` what comes after, `prepare` packs the weights for the shapes that are met,
//! and `op` runs. On a CPU each operation is one call of oneDNN where there is one, through libtorch's C interface.

mod compile;
mod dense;
mod fold;
mod op;
mod phases;
mod pool;
mod prepare;

use tch::{Kind, Tensor};

use op::{run, Op, Value};
use prepare::{prepare, Purpose};

use crate::error::Result;
use crate::libtorch::channels_last;
use crate::network::{Model, Precision};

/// A network compiled for inference with its weights of the moment; good until they change, for it may share them.
pub struct Plan {
    ops: Vec<Op>,
    kind: Kind,
}

// SAFETY: a plan only reads its tensors, and libtorch counts their owners atomically.
unsafe impl Sync for Plan {}

impl Plan {
    /// Folds the weights of `model`. `chunk` is the shape (N, C, H, W) of the inputs that will be given, or of the
    /// largest; `images` is the number of them all, which tells what work on the weights is worth while.
    pub fn compile(model: &Model, precision: Precision, chunk: [i64; 4], images: i64) -> Result<Plan> {
        let kind = precision.kind();
        tch::no_grad(|| {
            let mut ops = compile::operations(model)?;
            let example = Tensor::f_zeros([1, chunk[1], chunk[2], chunk[3]], (kind, model.device()))?;
            let _ = prepare(&mut ops, channels_last(&example)?, Purpose { kind, chunk: chunk[0], images })?;
            Ok(Plan { ops, kind })
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

#[cfg(test)]
mod tests;

//! The reader that infers: compiles the layer tree and today's weights into a list of fused operations.
//!
//! `compile` folds what comes before, `fold` what comes after, `lower` packs the weights for the shapes that are met,
//! and `op` runs. `refresh` and `ways` are for plans that stay where they are, on a GPU. On a CPU each operation is one
//! call of oneDNN where there is one, through libtorch's C interface.
//!
//! All of that holds for finite numbers. `range` tells from the weights whether there will be others, and then the network
//! runs layer by layer (`unfused`), so that NaN and infinity come out as in PyTorch.

mod columns;
mod compile;
mod dense;
mod fold;
mod lower;
mod op;
mod phases;
mod pixels;
mod pool;
mod products;
mod range;
mod refresh;
mod unfused;
mod ways;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use lower::{lower, Target};
pub use op::Way;
use op::{run, Op, Value};
use unfused::Unfused;

use crate::error::{Error, Result};
use crate::libtorch::{channels_first, channels_last};
use crate::network::{Model, Precision};

/// A network compiled for inference with its weights of the moment; good until they change, for it may share them.
pub struct Plan {
    /// In one part, or in several between which numbers are looked at (see `range`); none if not all are finite.
    parts: Vec<Vec<Op>>,
    /// What runs where an operation might meet a number that is not finite.
    unfused: Option<Unfused>,
    kind: Kind,
    target: Target,
    /// (C, H, W) of the images.
    shape: [i64; 3],
}

/// How images, maps and convolutions' weights lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// largest; `images` is the number of them all, which tells what work on the weights is worth while, and `largest`
    /// the largest absolute value in them.
    pub fn compile(
        model: &Model,
        precision: Precision,
        chunk: [i64; 4],
        images: i64,
        largest: f64,
    ) -> Result<Plan> {
        let packs = model.device() == Device::Cpu;
        let (kind, layout) = (precision.kind(), Layout::ChannelsLast);
        let target = Target { kind, chunk: chunk[0], images, layout, packs, stays: false };
        let looks = range::looks(model, largest)?;
        let needed = looks.as_ref().is_none_or(|looks| !looks.is_empty());
        let unfused = needed.then(|| Unfused::new(model)).transpose()?;
        Plan::compile_for(model, target, [chunk[1], chunk[2], chunk[3]], looks.as_deref(), unfused)
    }

    fn compile_for(
        model: &Model,
        target: Target,
        shape: [i64; 3],
        looks: Option<&[usize]>,
        unfused: Option<Unfused>,
    ) -> Result<Plan> {
        tch::no_grad(|| {
            let mut parts = match looks {
                Some(looks) => compile::operations(model, looks)?,
                None => Vec::new(),
            };
            let _ = parts.iter_mut().try_fold(one_image(shape), |size, part| lower(part, size, target))?;
            Ok(Plan { parts, unfused, kind: target.kind, target, shape })
        })
    }

    /// Float32 logits (N, classes) of normalised images (N, C, H, W), best given as [`channels_last`].
    pub fn run(&self, x: &Tensor) -> Result<Tensor> {
        tch::no_grad(|| match (self.run_parts(x)?, &self.unfused) {
            (Some(logits), _) => Ok(logits.f_to_kind(Kind::Float)?),
            (None, Some(unfused)) => unfused.run(x, self.kind),
            (None, None) => Err(Error::argument("a plan has nothing to run: this is a bug in everybatch")),
        })
    }

    /// None if a look between two parts finds a number that is too large.
    fn run_parts(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let Some((first, others)) = self.parts.split_first() else { return Ok(None) };
        let mut x = run(first, Value { tensor: x.f_to_kind(self.kind)?, free: false })?;
        for part in others {
            if !unfused::is_usual(&x.tensor)? {
                return Ok(None);
            }
            x = run(part, x)?;
        }
        Ok(Some(x.tensor))
    }
}

/// The shape of one.
fn one_image([channels, height, width]: [i64; 3]) -> Vec<i64> {
    vec![1, channels, height, width]
}

#[cfg(test)]
mod tests;

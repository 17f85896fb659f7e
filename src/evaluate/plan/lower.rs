//! From folded operations to those of a device, a number format and the size of a chunk.

use tch::{Kind, Tensor};

use super::dense::{as_product, is_less_work};
use super::op::{Constant, Op};
use super::phases::split_phases;
use super::pixels::Pixels;
use super::pool::Bounds;
use super::Layout;
use crate::error::Result;
use crate::libtorch::{copied, is_misread, pack_convolution, pack_linear};
use crate::network::{conv2d, unit_by_pixel};

/// What the operations are made for.
#[derive(Clone, Copy)]
pub struct Target {
    pub kind: Kind,
    /// Images of a chunk, the most that a plan is given at once.
    pub chunk: i64,
    /// Images of all chunks.
    pub images: i64,
    pub layout: Layout,
    /// Whether the weights are brought into forms of their own, which only oneDNN reads.
    pub packs: bool,
    /// Whether the plan stays while the model's weights change, and so needs memory of its own.
    pub stays: bool,
}

impl Target {
    /// A weight in the number format, and in memory of its own if that is needed.
    fn form(&self, weight: &Tensor) -> Result<Tensor> {
        self.own(weight.f_to_kind(self.kind)?)
    }

    fn packs_products(&self) -> bool {
        self.packs && self.images > CHUNKS * self.chunk
    }

    fn own(&self, weight: Tensor) -> Result<Tensor> {
        match self.stays {
            true => copied(&weight, &weight),
            false => Ok(weight),
        }
    }
}

/// Chunks from which on packing the weight of a matrix product pays. For fewer, oneDNN and MKL bring it into their order on
/// the way each time (the reference ResNet: 3 ms to pack its three products, 0.1 ms saved with each chunk of 100 images).
const CHUNKS: i64 = 25;

/// Casts and packs the weights. `size` is the shape of one image, with which the plan begins; that of what comes out is
/// given back.
pub fn lower(ops: &mut Vec<Op>, mut size: Vec<i64>, target: Target) -> Result<Vec<i64>> {
    let mut at = 0;
    while at < ops.len() {
        flatten_in_memory_order(ops, at, &size, target)?;
        if target.packs {
            split_phases(&mut ops[at..])?;
        }
        let op = &mut ops[at];
        lower_one(op, &size, target)?;
        size = op.output_size(size);
        at += 1;
    }
    Ok(size)
}

fn lower_one(op: &mut Op, size: &[i64], target: Target) -> Result<()> {
    let Target { kind, chunk, layout, packs, .. } = target;
    match op {
        Op::Conv { conv, weight, bias, constant, activation, .. } => {
            if let Constant::Shift { shift, weight } = constant {
                let shift = shift.f_view([1, -1, 1, 1])?.f_expand([1, size[1], size[2], size[3]], false)?;
                let map = conv2d(&shift, weight, None, conv)?;
                let maps = map.f_to_kind(kind)?.f_repeat([chunk, 1, 1, 1])?;
                *constant = Constant::Map(layout.of(&maps)?);
            }
            *bias = target.form(bias)?;
            let map = [size[2], size[3]];
            let plain = packs && matches!(constant, Constant::None);
            if let (true, Some(unit)) = (plain, unit_by_pixel(conv, kind, [chunk, size[2], size[3]])) {
                *op = Op::Pixels(Pixels::new(unit, conv, weight, bias.shallow_clone(), *activation, map)?);
                return Ok(());
            }
            if plain && is_less_work(conv, map) {
                let (weight, map) = as_product(conv, &weight.f_to_kind(kind)?, map)?;
                let bias = bias.f_repeat([map[0] * map[1]])?;
                let weight = if target.packs_products() { pack_linear(&weight)? } else { weight };
                *op = Op::Dense { weight, bias, activation: *activation, map: Some(map) };
                return Ok(());
            }
            let cast = weight.f_to_kind(kind)?;
            *weight = match packs && !is_misread(conv, map) {
                true => pack_convolution(&cast, conv, &[chunk, size[1], size[2], size[3]])?,
                false => target.own(layout.of(&cast)?)?,
            };
        }
        Op::Linear { weight, bias, .. } | Op::Dense { weight, bias, .. } => {
            *weight = target.form(weight)?;
            *bias = target.form(bias)?;
            if target.packs_products() {
                *weight = pack_linear(weight)?;
            }
        }
        Op::Affine { scale, shift } => {
            *scale = scale.as_ref().map(|scale| per_channel(scale, size.len(), target)).transpose()?;
            *shift = per_channel(shift, size.len(), target)?;
        }
        Op::MaxPool { bounds, .. } | Op::GroupMax { bounds, .. } => {
            if let Some(Bounds { low, high }) = bounds {
                *low = target.form(low)?;
                *high = target.form(high)?;
            }
        }
        Op::Residual { body, shortcut, scale, .. } => {
            let output = lower(body, size.to_vec(), target)?;
            let _ = lower(shortcut, size.to_vec(), target)?;
            *scale = scale.as_ref().map(|scale| per_channel(scale, output.len(), target)).transpose()?;
        }
        Op::Gate { body } => {
            let _ = lower(body, size.to_vec(), target)?;
        }
        Op::Columns(_)
        | Op::Product(_)
        | Op::Pixels(_)
        | Op::Activation(_)
        | Op::AvgPool(_)
        | Op::AdaptiveAvgPool(_)
        | Op::GlobalAvgPool
        | Op::GlobalMaxPool
        | Op::Flatten => {}
    }
    Ok(())
}

/// A vector of the channels in the shape that broadcasts over so many dimensions.
fn per_channel(values: &Tensor, dimensions: usize, target: Target) -> Result<Tensor> {
    let mut size = vec![1; dimensions];
    size[1] = -1;
    target.form(&values.f_view(size.as_slice())?)
}

/// A linear layer after a flattened map can take the pixels as they lie in memory, if its weight is brought into that
/// order once. That is less to copy than all the maps if it has fewer outputs than there are images.
fn flatten_in_memory_order(ops: &mut Vec<Op>, at: usize, size: &[i64], target: Target) -> Result<()> {
    let [Op::Flatten, Op::Linear { weight, bias, activation }, ..] = &ops[at..] else { return Ok(()) };
    let [outputs, inputs] = [weight.size()[0], weight.size()[1]];
    if size.len() != 4 || !target.packs || outputs >= target.images {
        return Ok(());
    }
    let weight = weight.f_view([outputs, size[1], size[2], size[3]])?.f_permute([0, 2, 3, 1])?;
    let weight = weight.f_reshape([outputs, inputs])?;
    let (bias, activation) = (bias.shallow_clone(), *activation);
    ops.splice(at..at + 2, [Op::Dense { weight, bias, activation, map: None }]);
    Ok(())
}

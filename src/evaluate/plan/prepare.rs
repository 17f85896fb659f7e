//! Makes folded operations ready for a device, a number format and the size of a chunk.

use tch::{Kind, Tensor};

use super::dense::{as_product, is_less_work};
use super::op::{Constant, Op, Value};
use super::phases::split_phases;
use super::pool::Bounds;
use super::Layout;
use crate::error::Result;
use crate::libtorch::{pack_convolution, pack_linear};

/// What the operations are made ready for.
#[derive(Clone, Copy)]
pub struct Purpose {
    pub kind: Kind,
    /// Images of a chunk, the most that a plan is given at once.
    pub chunk: i64,
    /// Images of all chunks.
    pub images: i64,
    pub layout: Layout,
    /// Whether the weights are brought into forms of their own, which only oneDNN reads.
    pub packs: bool,
}

/// Casts and packs the weights. `x` is one example on its way through the plan: it shows each operation the shape that
/// it will get.
pub fn prepare(ops: &mut Vec<Op>, mut x: Tensor, purpose: Purpose) -> Result<Tensor> {
    let mut at = 0;
    while at < ops.len() {
        flatten_in_memory_order(ops, at, &x, purpose)?;
        if purpose.packs {
            split_phases(&mut ops[at..])?;
        }
        let op = &mut ops[at];
        ready(op, &x, purpose)?;
        x = op.run(Value { tensor: x, free: false })?.tensor;
        at += 1;
    }
    Ok(x)
}

fn ready(op: &mut Op, x: &Tensor, purpose: Purpose) -> Result<()> {
    let Purpose { kind, chunk, images, layout, packs } = purpose;
    match op {
        Op::Conv { conv, weight, bias, constant, activation, .. } => {
            let size = x.size();
            if let Constant::Shift { shift, weight } = constant {
                let shift = shift.f_view([1, -1, 1, 1])?.f_expand([1, size[1], size[2], size[3]], false)?;
                let (padding, dilation) = (conv.padding, conv.dilation);
                let map =
                    shift.f_conv2d(weight, None::<&Tensor>, conv.stride, padding, dilation, conv.groups)?;
                let maps = map.f_to_kind(kind)?.f_repeat([chunk, 1, 1, 1])?;
                *constant = Constant::Map(layout.of(&maps)?);
            }
            *bias = bias.f_to_kind(kind)?;
            if packs && matches!(constant, Constant::None) && is_less_work(conv, [size[2], size[3]]) {
                let (weight, map) = as_product(conv, weight, [size[2], size[3]])?;
                let bias = bias.f_repeat([map[0] * map[1]])?;
                let weight = pack_linear(&weight.f_to_kind(kind)?)?;
                *op = Op::Dense { weight, bias, activation: *activation, map: Some(map) };
                return Ok(());
            }
            *weight = weight.f_to_kind(kind)?;
            *weight = match packs {
                true => pack_convolution(weight, conv, &[chunk, size[1], size[2], size[3]])?,
                false => layout.of(weight)?,
            };
        }
        Op::Linear { weight, bias, .. } | Op::Dense { weight, bias, .. } => {
            *weight = weight.f_to_kind(kind)?;
            *bias = bias.f_to_kind(kind)?;
            if packs && images > chunk {
                *weight = pack_linear(weight)?;
            }
        }
        Op::Affine { scale, shift } => {
            *scale = scale.as_ref().map(|scale| per_channel(scale, x, kind)).transpose()?;
            *shift = per_channel(shift, x, kind)?;
        }
        Op::MaxPool { bounds: Some(Bounds { low, high }), .. }
        | Op::GroupMax { bounds: Some(Bounds { low, high }), .. } => {
            *low = low.f_to_kind(kind)?;
            *high = high.f_to_kind(kind)?;
        }
        Op::Residual { body, shortcut, scale, .. } => {
            let y = prepare(body, x.shallow_clone(), purpose)?;
            let _ = prepare(shortcut, x.shallow_clone(), purpose)?;
            *scale = scale.as_ref().map(|scale| per_channel(scale, &y, kind)).transpose()?;
        }
        _ => {}
    }
    Ok(())
}

/// A vector of the channels in the shape that broadcasts over `x`.
fn per_channel(values: &Tensor, x: &Tensor, kind: Kind) -> Result<Tensor> {
    let mut size = vec![1; x.dim()];
    size[1] = -1;
    Ok(values.f_view(size.as_slice())?.f_to_kind(kind)?)
}

/// A linear layer after a flattened map can take the pixels as they lie in memory, if its weight is brought into that
/// order once. That is less to copy than all the maps if it has fewer outputs than there are images.
fn flatten_in_memory_order(ops: &mut Vec<Op>, at: usize, x: &Tensor, purpose: Purpose) -> Result<()> {
    let [Op::Flatten, Op::Linear { weight, bias, activation }, ..] = &ops[at..] else { return Ok(()) };
    let [outputs, inputs] = [weight.size()[0], weight.size()[1]];
    if x.dim() != 4 || !purpose.packs || outputs >= purpose.images {
        return Ok(());
    }
    let size = x.size();
    let weight = weight.f_view([outputs, size[1], size[2], size[3]])?.f_permute([0, 2, 3, 1])?;
    let weight = weight.f_reshape([outputs, inputs])?;
    let (bias, activation) = (bias.shallow_clone(), *activation);
    ops.splice(at..at + 2, [Op::Dense { weight, bias, activation, map: None }]);
    Ok(())
}

//! The operations of a plan, and how each runs.

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::columns::Columns;
use super::pixels::Pixels;
use super::pool::{group_maximum, pooled_maximum, Bounds};
use super::products::Product;
use crate::error::Result;
use crate::kernels::Windows;
use crate::libtorch::{
    channels_last, convolution, convolution_onto, convolution_relu, is_misread, linear, map_of,
};
use crate::network::{
    adaptive_avg_pool, avg_pool, conv2d, global_avg_pool, over_pixels, Activation, AdaptivePool2d, Conv2d,
    Pool2d,
};

pub enum Op {
    Conv {
        conv: Conv2d,
        weight: Tensor,
        bias: Tensor,
        /// Added before the activation: what a padded convolution makes of a shift of its input (see `fold`).
        constant: Constant,
        activation: Option<Activation>,
        /// On a GPU.
        way: Way,
    },
    /// The first convolution, of images that are laid out for it.
    Columns(Columns),
    /// A convolution on a small map, in a plan that stays where it is.
    Product(Product),
    /// A convolution on a small map, by the matrix unit of the CPU.
    Pixels(Pixels),
    /// A convolution on a small map, or a linear layer on the channels-last pixels of a map, as one matrix product.
    Dense {
        weight: Tensor,
        bias: Tensor,
        activation: Option<Activation>,
        /// Height, width and channels of the output, unless it is a vector.
        map: Option<[i64; 3]>,
    },
    Linear {
        weight: Tensor,
        bias: Tensor,
        activation: Option<Activation>,
    },
    /// `scale · x + shift` for each channel of images or vectors: a batch norm that could not be folded.
    Affine {
        scale: Option<Tensor>,
        shift: Tensor,
    },
    Activation(Activation),
    MaxPool {
        pool: Pool2d,
        bounds: Option<Bounds>,
    },
    /// The maximum over so many groups of channels (see `phases`).
    GroupMax {
        groups: i64,
        bounds: Option<Bounds>,
    },
    AvgPool(Pool2d),
    AdaptiveAvgPool(AdaptivePool2d),
    GlobalAvgPool,
    GlobalMaxPool,
    Flatten,
    Residual {
        body: Vec<Op>,
        shortcut: Vec<Op>,
        /// Of the body's result, for each channel.
        scale: Option<Tensor>,
        activation: Option<Activation>,
    },
    Gate {
        body: Vec<Op>,
    },
}

/// How a convolution runs on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Convolution, then sum, then activation.
    Separate,
    /// All in one, if the activation is ReLU.
    Fused,
}

/// See [`Op::Conv`].
pub enum Constant {
    None,
    /// The input's shift (in_channels,) and the weight that it meets; not yet made into a map.
    Shift {
        shift: Tensor,
        weight: Tensor,
    },
    /// Its effect on a whole chunk (N, C, H, W).
    Map(Tensor),
}

/// A tensor on its way through a plan.
pub struct Value {
    pub tensor: Tensor,
    /// Whether nothing else needs the memory, so that it may be written to.
    pub free: bool,
}

pub fn run(ops: &[Op], x: Value) -> Result<Value> {
    ops.iter().try_fold(x, |x, op| op.run(x))
}

/// The operations and all within them, in the order in which they run; a block comes before what is within it.
pub fn all_ops(ops: &[Op]) -> Vec<&Op> {
    ops.iter().flat_map(|op| [op].into_iter().chain(op.inner().into_iter().flat_map(all_ops))).collect()
}

/// Shows them to `change`, in the same order.
pub fn change_all(ops: &mut [Op], change: &mut impl FnMut(&mut Op)) {
    for op in ops {
        change(op);
        op.inner_mut().into_iter().for_each(|ops| change_all(ops, change));
    }
}

impl Op {
    /// The operations within.
    pub fn inner(&self) -> [&[Op]; 2] {
        match self {
            Op::Residual { body, shortcut, .. } => [body, shortcut],
            Op::Gate { body } => [body, &[]],
            Op::Conv { .. }
            | Op::Columns(_)
            | Op::Product(_)
            | Op::Pixels(_)
            | Op::Dense { .. }
            | Op::Linear { .. }
            | Op::Affine { .. }
            | Op::Activation(_)
            | Op::MaxPool { .. }
            | Op::GroupMax { .. }
            | Op::AvgPool(_)
            | Op::AdaptiveAvgPool(_)
            | Op::GlobalAvgPool
            | Op::GlobalMaxPool
            | Op::Flatten => [&[], &[]],
        }
    }

    /// The same, to change them.
    pub fn inner_mut(&mut self) -> [&mut [Op]; 2] {
        match self {
            Op::Residual { body, shortcut, .. } => [body, shortcut],
            Op::Gate { body } => [body, &mut []],
            _ => [&mut [], &mut []], // see `inner`
        }
    }

    /// What is made of the weights, without what is within.
    pub fn tensors(&self) -> Vec<&Tensor> {
        match self {
            Op::Conv { weight, bias, constant: Constant::Map(map), .. } => vec![weight, bias, map],
            Op::Conv { weight, bias, .. }
            | Op::Linear { weight, bias, .. }
            | Op::Dense { weight, bias, .. } => {
                vec![weight, bias]
            }
            Op::Columns(columns) => vec![&columns.weight_in, &columns.bias_in],
            Op::Product(product) => vec![&product.weight_in, &product.bias_in],
            Op::Pixels(_) => unreachable!("a plan whose weights are written in place packs none"),
            Op::Affine { scale, shift } => scale.iter().chain([shift]).collect(),
            Op::MaxPool { bounds, .. } | Op::GroupMax { bounds, .. } => {
                bounds.iter().flat_map(|Bounds { low, high }| [low, high]).collect()
            }
            Op::Residual { scale, .. } => scale.iter().collect(),
            Op::Activation(_)
            | Op::AvgPool(_)
            | Op::AdaptiveAvgPool(_)
            | Op::GlobalAvgPool
            | Op::GlobalMaxPool
            | Op::Flatten
            | Op::Gate { .. } => vec![],
        }
    }

    /// Whether a residual sum and the activation after it can be part of this operation.
    pub fn takes_sum(&self) -> bool {
        matches!(
            self,
            Op::Conv { activation: None, constant: Constant::None, .. }
                | Op::Dense { activation: None, .. }
                | Op::Product(Product { activation: None, .. })
                | Op::Pixels(Pixels { activation: None, .. })
        )
    }

    /// The shape of what comes out for an input of this shape.
    pub fn output_size(&self, size: Vec<i64>) -> Vec<i64> {
        match self {
            Op::Conv { conv, .. } | Op::Columns(Columns { conv, .. }) => {
                let [height, width] = conv.output_size([size[2], size[3]]);
                vec![size[0], conv.out_channels, height, width]
            }
            Op::Product(Product { map: [height, width, channels], .. })
            | Op::Pixels(Pixels { map: [height, width, channels], .. })
            | Op::Dense { map: Some([height, width, channels]), .. } => {
                vec![size[0], *channels, *height, *width]
            }
            Op::Dense { weight, map: None, .. } | Op::Linear { weight, .. } => {
                vec![size[0], weight.size()[0]]
            }
            Op::MaxPool { pool, .. } | Op::AvgPool(pool) => {
                let [height, width] =
                    [0, 1].map(|axis| Windows::new(pool, axis, size[axis + 2] as usize).count as i64);
                vec![size[0], size[1], height, width]
            }
            Op::GroupMax { groups, .. } => vec![size[0], size[1] / groups, size[2], size[3]],
            Op::AdaptiveAvgPool(pool) => vec![size[0], size[1], pool.output_size[0], pool.output_size[1]],
            Op::GlobalAvgPool | Op::GlobalMaxPool => vec![size[0], size[1]],
            Op::Flatten => vec![size[0], size[1..].iter().product()],
            Op::Residual { body, .. } => body.iter().fold(size, |size, op| op.output_size(size)),
            Op::Affine { .. } | Op::Activation(_) | Op::Gate { .. } => size,
        }
    }

    pub fn run(&self, x: Value) -> Result<Value> {
        let Value { tensor: x, free } = x;
        let start = x.data_ptr();
        let y = match self {
            Op::Conv { conv, weight, bias, constant, activation, way } => {
                let constant = match constant {
                    Constant::Map(map) => Some(map.f_narrow(0, 0, x.size()[0])?),
                    _ => None,
                };
                let sum = constant.map_or(Sum::None, Sum::Kept);
                convolve(&x, conv, weight, bias, sum, *activation, *way)?
            }
            Op::Columns(columns) => columns.run(&x)?,
            Op::Product(product) => product.run(&x, None, product.activation)?,
            Op::Pixels(pixels) => pixels.run(&x, None, pixels.activation)?,
            Op::Dense { weight, bias, activation, map } => dense(&x, weight, bias, None, *activation, *map)?,
            Op::Linear { weight, bias, activation } => match x.device() {
                Device::Cpu => product(&x, weight, bias, None, *activation)?,
                _ => apply(*activation, x.f_linear(weight, Some(bias))?)?,
            },
            Op::Affine { scale: Some(scale), shift } => shift.f_addcmul(&x, scale)?,
            Op::Affine { scale: None, shift } if free => x.shallow_clone().f_add_(shift)?,
            Op::Affine { scale: None, shift } => x.f_add(shift)?,
            Op::Activation(Activation::Relu) if free => x.shallow_clone().f_relu_()?,
            Op::Activation(function) => function.forward(&x)?,
            Op::MaxPool { pool, bounds } => pooled_maximum(&x, pool, bounds.as_ref())?,
            Op::GroupMax { groups, bounds } => group_maximum(&x, *groups, bounds.as_ref())?,
            Op::AvgPool(pool) => avg_pool(&x, pool)?,
            Op::AdaptiveAvgPool(pool) => adaptive_avg_pool(&x, pool)?,
            Op::GlobalAvgPool => global_avg_pool(&x)?,
            Op::GlobalMaxPool => x.f_amax([2i64, 3].as_slice(), false)?,
            Op::Flatten => x.f_flatten(1, -1)?,
            Op::Residual { body, shortcut, scale, activation } => {
                residual(Value { tensor: x, free }, body, shortcut, scale.as_ref(), *activation)?
            }
            Op::Gate { body } => {
                let factors = factors(body, &x)?;
                match free && factors.data_ptr() != start {
                    true => x.shallow_clone().f_mul_(&factors)?,
                    false => x.f_mul(&factors)?,
                }
            }
        };
        let new = y.data_ptr() != start;
        Ok(Value { tensor: y, free: free || new })
    }
}

fn residual(
    x: Value,
    body: &[Op],
    shortcut: &[Op],
    scale: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let (last, before) = match body.split_last() {
        Some((op, before)) if scale.is_none() && (op.takes_sum() || matches!(op, Op::Gate { .. })) => {
            (Some(op), before)
        }
        _ => (None, body),
    };
    let y = run(before, Value { tensor: x.tensor.shallow_clone(), free: false })?;
    // The shortcut is the last to need `x`, unless what comes before the sum is `x` itself.
    let free = x.free && y.tensor.data_ptr() != x.tensor.data_ptr();
    let other = run(shortcut, Value { free, ..x })?;
    match (last, scale) {
        (Some(Op::Conv { conv, weight, bias, way, .. }), _) => {
            let sum = if other.free { Sum::Onto(other.tensor) } else { Sum::Kept(other.tensor) };
            convolve(&y.tensor, conv, weight, bias, sum, activation, *way)
        }
        (Some(Op::Product(product)), _) => product.run(&y.tensor, Some(&other.tensor), activation),
        (Some(Op::Pixels(pixels)), _) => pixels.run(&y.tensor, Some(&other.tensor), activation),
        (Some(Op::Dense { weight, bias, map, .. }), _) => {
            dense(&y.tensor, weight, bias, Some(&other.tensor), activation, *map)
        }
        (Some(Op::Gate { body }), _) => {
            add_products(other, &y.tensor, &factors(body, &y.tensor)?, activation)
        }
        (_, Some(scale)) => add_products(other, &y.tensor, scale, activation),
        _ if other.free => apply(activation, other.tensor.shallow_clone().f_add_(&y.tensor)?),
        _ => apply(activation, y.tensor.f_add(&other.tensor)?),
    }
}

/// `activation(sum + x · factors)`.
fn add_products(sum: Value, x: &Tensor, factors: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
    let sum = match sum.free {
        true => sum.tensor.shallow_clone().f_addcmul_(x, factors)?,
        false => sum.tensor.f_addcmul(x, factors)?,
    };
    apply(activation, sum)
}

/// What a gate multiplies its input by, in the shape that is broadcast over pixels.
fn factors(body: &[Op], x: &Tensor) -> Result<Tensor> {
    let factors = run(body, Value { tensor: x.shallow_clone(), free: false })?;
    over_pixels(&factors.tensor, x)
}

/// What is added to a convolution before its activation.
pub enum Sum {
    None,
    Kept(Tensor),
    /// The result may take this tensor's place.
    Onto(Tensor),
}

/// `activation(conv(x) + sum)`, in one call where there is one.
pub fn convolve(
    x: &Tensor,
    conv: &Conv2d,
    weight: &Tensor,
    bias: &Tensor,
    sum: Sum,
    activation: Option<Activation>,
    way: Way,
) -> Result<Tensor> {
    if way == Way::Fused && activation == Some(Activation::Relu) {
        let sum = match &sum {
            Sum::None => None,
            Sum::Kept(other) | Sum::Onto(other) => Some(other),
        };
        return convolution_relu(x, weight, bias, conv, sum);
    }
    let on_host = x.device() == Device::Cpu;
    if !on_host || is_misread(conv, map_of(x)) {
        let y = conv2d(x, weight, Some(bias), conv)?;
        let y = match sum {
            Sum::None => y,
            Sum::Kept(other) | Sum::Onto(other) => y.f_add(&other)?,
        };
        return apply(activation, if on_host { channels_last(&y)? } else { y });
    }
    match sum {
        Sum::None => convolution(x, weight, bias, conv, activation),
        Sum::Kept(other) => {
            let other = channels_last(&other)?;
            let mut copy = other.f_empty_like()?;
            copy.f_copy_(&other)?;
            convolve(x, conv, weight, bias, Sum::Onto(copy), activation, way)
        }
        Sum::Onto(other) => {
            let relu = activation == Some(Activation::Relu);
            apply(activation.filter(|_| !relu), convolution_onto(x, weight, bias, conv, other, relu)?)
        }
    }
}

/// `activation(pixels(x) · weightᵀ + bias + other)`, where the pixels are taken in channels-last order, and so are
/// those of the result if it is a map.
fn dense(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    other: Option<&Tensor>,
    activation: Option<Activation>,
    map: Option<[i64; 3]>,
) -> Result<Tensor> {
    let pixels = |x: &Tensor| match x.dim() {
        4 => x.f_permute([0, 2, 3, 1])?.f_reshape([x.size()[0], -1]),
        _ => Ok(x.shallow_clone()), // a vector, as what is added may be
    };
    let other = other.map(pixels).transpose()?;
    let y = product(&pixels(x)?, weight, bias, other.as_ref(), activation)?;
    match map {
        Some([height, width, channels]) => {
            Ok(y.f_view([-1, height, width, channels])?.f_permute([0, 3, 1, 2])?)
        }
        None => Ok(y),
    }
}

/// `activation(x · weightᵀ + bias + other)` of matrices on the CPU.
fn product(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    other: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let relu = other.is_none() && activation == Some(Activation::Relu);
    apply(activation.filter(|_| !relu), linear(x, weight, bias, other, relu)?)
}

/// The activation of a tensor that nothing else needs.
pub fn apply(activation: Option<Activation>, x: Tensor) -> Result<Tensor> {
    match activation {
        Some(Activation::Relu) => Ok(x.shallow_clone().f_relu_()?),
        Some(function) => function.forward(&x),
        None => Ok(x),
    }
}

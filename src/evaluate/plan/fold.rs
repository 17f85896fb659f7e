//! Moves what is left of batch norm, `scale · x + shift` per channel, onwards until another operation takes it up.

use tch::{Kind, Tensor};

use super::op::{Constant, Op};
use super::pool::Bounds;
use crate::error::Result;
use crate::network::{Activation, Conv2d};

/// Applies the rules until none fits. Each takes an `Affine` away or moves it towards the end, so this ends.
pub fn fold_forward(ops: &mut Vec<Op>) -> Result<()> {
    let mut at = 0;
    while at < ops.len() {
        match rule(ops, at)? {
            true => at = at.saturating_sub(2),
            false => at += 1,
        }
    }
    Ok(())
}

/// Rewrites the operations from `at` on, if a rule fits.
fn rule(ops: &mut Vec<Op>, at: usize) -> Result<bool> {
    match &mut ops[at..] {
        // scale · relu(u) = clamp(scale · u), with 0 as the lower bound where the scale is positive and as the upper
        // one where it is negative. The maximum of clamped values is the clamped maximum: fewer values to clamp.
        [Op::Conv { weight, bias, activation, constant: Constant::None, .. }, Op::Affine { scale, shift: _ }, Op::MaxPool { bounds: bounds @ None, .. }, ..]
            if *activation == Some(Activation::Relu) && scale.is_some() =>
        {
            if let Some(scale) = scale.take() {
                *weight = weight.f_mul(&scale.f_view([-1, 1, 1, 1])?)?;
                *bias = bias.f_mul(&scale)?;
                *activation = None;
                let (zero, negative) = (scale.f_zeros_like()?, scale.f_lt(0.0)?);
                *bounds = Some(Bounds {
                    low: zero.f_masked_fill(&negative, f64::NEG_INFINITY)?,
                    high: zero.f_masked_fill(&negative.f_logical_not()?, f64::INFINITY)?,
                });
            }
            ops.swap(at + 1, at + 2);
        }
        // ReLU after the maximum is the maximum after ReLU, which the convolution does on the way.
        [Op::Conv { activation: activation @ None, .. }, Op::MaxPool { bounds: None, .. }, Op::Activation(Activation::Relu), ..] =>
        {
            *activation = Some(Activation::Relu);
            ops.remove(at + 2);
        }
        [Op::Affine { scale, shift }, Op::Conv { conv, weight, bias, constant: constant @ Constant::None, .. }, ..] =>
        {
            match conv.padding {
                [0, 0] => *bias = bias.f_add(&of_constant(conv, weight, shift)?.f_flatten(0, -1)?)?,
                // The border's zeros are not shifted, so the effect depends on the place.
                _ => {
                    *constant =
                        Constant::Shift { shift: shift.shallow_clone(), weight: weight.shallow_clone() }
                }
            }
            if let Some(scale) = scale {
                let [groups, inputs] = [conv.groups, conv.in_channels / conv.groups];
                let size = weight.size();
                let grouped = weight.f_view([groups, -1, inputs, size[2], size[3]])?;
                *weight =
                    grouped.f_mul(&scale.f_view([groups, 1, inputs, 1, 1])?)?.f_view(size.as_slice())?;
            }
            ops.remove(at);
        }
        [Op::Affine { scale, shift }, Op::Linear { weight, bias, .. }, ..]
        | [Op::Affine { scale, shift }, Op::Flatten, Op::Linear { weight, bias, .. }, ..] => {
            fold_into_linear(scale.as_ref(), shift, weight, bias)?;
            ops.remove(at);
        }
        // The mean of shifted values is the shifted mean, unless zeros of a padding are among them.
        [Op::Affine { .. }, Op::GlobalAvgPool | Op::AdaptiveAvgPool(_), ..] => ops.swap(at, at + 1),
        [Op::Affine { .. }, Op::AvgPool(pool), ..] if pool.padding == [0, 0] => ops.swap(at, at + 1),
        // The maximum of shifted values is the shifted maximum.
        [Op::Affine { scale: None, .. }, Op::MaxPool { bounds: None, .. } | Op::GlobalMaxPool, ..] => {
            ops.swap(at, at + 1)
        }
        // body · scale is one call with the sum, and the shift goes on.
        [Op::Residual { body, scale: scale @ None, activation: None, .. }, ..]
            if matches!(body.last(), Some(Op::Affine { .. })) =>
        {
            let Some(Op::Affine { scale: last, shift }) = body.pop() else { return Ok(false) };
            *scale = last;
            ops.insert(at + 1, Op::Affine { scale: None, shift });
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// What a convolution without its bias makes of an input that is `shift` (in_channels,) everywhere, where it does not
/// reach over the border: (1, out_channels, 1, 1).
fn of_constant(conv: &Conv2d, weight: &Tensor, shift: &Tensor) -> Result<Tensor> {
    let sums = weight.f_sum_dim_intlist([2i64, 3].as_slice(), true, None::<Kind>)?;
    Ok(shift.f_view([1, -1, 1, 1])?.f_conv2d(&sums, None::<&Tensor>, 1, 0, 1, conv.groups)?)
}

/// `weight · (scale · x + shift) + bias`; each of the channels stands for as many inputs as a flattened map has pixels.
fn fold_into_linear(
    scale: Option<&Tensor>,
    shift: &Tensor,
    weight: &mut Tensor,
    bias: &mut Tensor,
) -> Result<()> {
    let [outputs, inputs] = [weight.size()[0], weight.size()[1]];
    let pixels = weight.f_view([outputs, shift.numel() as i64, -1])?;
    let sums = pixels.f_sum_dim_intlist([2i64].as_slice(), false, None::<Kind>)?;
    *bias = bias.f_add(&sums.f_mv(shift)?)?;
    if let Some(scale) = scale {
        *weight = pixels.f_mul(&scale.f_view([1, -1, 1])?)?.f_view([outputs, inputs])?;
    }
    Ok(())
}

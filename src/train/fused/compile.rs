//! From the layer tree to operations: activations join the layer before them where there is an operation for both.

use super::{Join, Norm, Op, Weights};
use crate::network::{own_tensors, Activation, Gate, Layer, Residual};

pub fn operations(layers: &[Layer]) -> Vec<Op> {
    compile(layers, &mut 0)
}

/// `first` counts the model's tensors, in the order of `tensor_specs`.
fn compile(layers: &[Layer], first: &mut usize) -> Vec<Op> {
    let mut ops = Vec::new();
    layers.iter().for_each(|layer| add(layer, first, &mut ops));
    ops
}

fn add(layer: &Layer, next: &mut usize, ops: &mut Vec<Op>) {
    let first = *next;
    *next += own_tensors(layer, "").len();
    let op = match layer {
        Layer::Conv2d(conv) => {
            Op::Conv { conv: conv.clone(), weights: Weights { first, bias: conv.bias, slope: 1.0 } }
        }
        Layer::Linear(linear) => Op::Linear(Weights { first, bias: linear.bias, slope: 1.0 }),
        Layer::BatchNorm1d(norm) | Layer::BatchNorm2d(norm) => {
            Op::Norm(Norm { norm: norm.clone(), first, slope: 1.0 })
        }
        Layer::Activation(function) => match (slope_of(*function), ops.last_mut()) {
            (
                Some(slope_after),
                Some(
                    Op::Conv { weights: Weights { slope, .. }, .. }
                    | Op::Linear(Weights { slope, .. })
                    | Op::Norm(Norm { slope, .. }),
                ),
            ) if *slope == 1.0 => {
                *slope = slope_after;
                return;
            }
            (Some(slope), _) => Op::Rectifier { slope },
            (None, _) => Op::Other(layer.clone()),
        },
        Layer::MaxPool2d(pool) if pool.kernel_size.iter().product::<i64>() <= i64::from(i16::MAX) => {
            Op::MaxPool(pool.clone())
        }
        Layer::GlobalMaxPool => Op::GlobalMaxPool,
        Layer::GlobalAvgPool => Op::GlobalAvgPool,
        Layer::Flatten => Op::Flatten,
        Layer::Residual(block) => compile_residual(block, next),
        Layer::Gate(Gate { body }) => Op::Gate { body: compile(body, next) },
        Layer::Dropout(_) | Layer::Dropout2d(_) | Layer::StochasticDepth(_) => Op::Drop(layer.clone()),
        Layer::MaxPool2d(_) | Layer::AvgPool2d(_) | Layer::AdaptiveAvgPool2d(_) => Op::Other(layer.clone()),
    };
    ops.push(op);
}

fn compile_residual(Residual { body, shortcut, activation }: &Residual, first: &mut usize) -> Op {
    let mut body = compile(body, first);
    let shortcut = compile(shortcut, first);
    let slope = activation.map_or(Some(1.0), slope_of);
    let join = match (body.pop(), slope) {
        (Some(Op::Norm(norm)), Some(slope)) if norm.slope == 1.0 => Join::Norm(Norm { slope, ..norm }),
        (last, _) => {
            body.extend(last);
            let mut after = Vec::new();
            if let Some(function) = activation {
                add(&Layer::Activation(*function), first, &mut after);
            }
            Join::Sum(after)
        }
    };
    Op::Residual { body, shortcut, join }
}

/// What an activation multiplies values below zero by, if that is all that it does. A value above zero must stay there,
/// for the gradient is chosen by the result's sign.
fn slope_of(function: Activation) -> Option<f64> {
    match function {
        Activation::Relu => Some(0.0),
        Activation::LeakyRelu { negative_slope } if (0.0..1.0).contains(&negative_slope) => {
            Some(negative_slope)
        }
        Activation::LeakyRelu { .. }
        | Activation::Softplus
        | Activation::Gelu
        | Activation::Silu
        | Activation::Tanh
        | Activation::Sigmoid
        | Activation::Relu6
        | Activation::Elu
        | Activation::Selu
        | Activation::Mish
        | Activation::Hardswish
        | Activation::Hardsigmoid => None,
    }
}

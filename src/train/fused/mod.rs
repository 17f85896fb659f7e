//! Training on a CPU without autograd: the layer tree as operations that each know their own gradient, with batch norm,
//! residual sum and activation in one (`kernels`), maps channels-last, and libtorch's convolutions between them. Layers
//! that have no operation of their own go through autograd, one at a time.
//!
//! Each operation gives its result and its way back, a closure that holds what the gradient needs.
//!
//! Equal to `network::forward` and autograd within rounding.

mod compile;
mod convolution;
mod layers;
mod norm;
mod pass;
mod pool;

use tch::{Kind, Tensor};

use pass::Pass;

use crate::error::Result;
use crate::libtorch::laid_out_like;
use crate::network::{BatchNorm, Conv2d, Layer, Network, Pool2d, Precision};

/// One operation. Tensors are named by their place among the model's: the first is the weight.
enum Op {
    Conv {
        conv: Conv2d,
        weights: Weights,
    },
    Linear(Weights),
    Norm(Norm),
    /// An activation on its own, of the kind that others include.
    Rectifier {
        slope: f64,
    },
    MaxPool(Pool2d),
    GlobalMaxPool,
    GlobalAvgPool,
    Flatten,
    Residual {
        body: Vec<Op>,
        shortcut: Vec<Op>,
        join: Join,
    },
    Gate {
        body: Vec<Op>,
    },
    /// Dropout of values, channels or images.
    Drop(Layer),
    /// A layer that autograd does. None that has tensors is among them.
    Other(Layer),
}

/// Weight and perhaps bias of a layer, and the activation after it.
#[derive(Clone, Copy)]
struct Weights {
    first: usize,
    bias: bool,
    /// What the activation multiplies values below zero by: 1 is none, 0 is ReLU.
    slope: f64,
}

/// Batch norm and the activation after it.
struct Norm {
    norm: BatchNorm,
    first: usize,
    slope: f64,
}

/// How a residual block ends.
enum Join {
    /// The body's last layer is batch norm, which adds the shortcut in the same pass.
    Norm(Norm),
    /// The operations after the sum.
    Sum(Vec<Op>),
}

/// The way back through operations: leaves the gradients of their weights and makes of the gradient by their result, which
/// it may write over, that by their input; an undefined tensor if that is something to compute and nobody asked for it.
type Back<'a> = Box<dyn FnOnce(Tensor, &mut Gradients) -> Result<Tensor> + 'a>;

/// Gradients of the model's tensors, one place for each; filled from the last layer to the first.
type Gradients = Vec<Option<Tensor>>;

/// A network in the form in which it trains.
pub struct Fused {
    ops: Vec<Op>,
    kind: Kind,
}

/// What a forward pass leaves behind for the backward pass.
pub struct Tape<'a> {
    back: Back<'a>,
    kind: Kind,
    tensors: Vec<Tensor>,
}

impl Fused {
    pub fn new(network: &Network, precision: Precision) -> Self {
        Fused { ops: compile::operations(&network.layers), kind: precision.kind() }
    }

    /// Float32 logits (N, classes) of float32 images `x` (N, C, H, W), in training mode: running statistics among
    /// `tensors` are updated.
    pub fn forward(&self, tensors: &[Tensor], x: &Tensor) -> Result<(Tensor, Tape<'_>)> {
        tch::no_grad(|| {
            let tensors: Vec<Tensor> = tensors.iter().map(|t| t.f_detach()).collect::<Result<_, _>>()?;
            let pass = Pass { tensors: &tensors, kind: self.kind };
            let (y, back) = pass.forward(&self.ops, x.f_to_kind(self.kind)?, false)?;
            Ok((y.f_to_kind(Kind::Float)?, Tape { back, kind: self.kind, tensors }))
        })
    }
}

impl Tape<'_> {
    /// The gradients of the tensors, in their order and None for those that have none, from that of the logits.
    pub fn backward(self, dy: Tensor) -> Result<Vec<Option<Tensor>>> {
        tch::no_grad(|| {
            let Tape { back, kind, tensors } = self;
            let mut gradients: Gradients = tensors.iter().map(|_| None).collect();
            let _ = back(dy.f_to_kind(kind)?, &mut gradients)?;
            for (gradient, tensor) in gradients.iter_mut().zip(&tensors) {
                if let Some(gradient) = gradient {
                    *gradient = laid_out_like(gradient, tensor)?;
                }
            }
            Ok(gradients)
        })
    }
}

#[cfg(test)]
mod tests;

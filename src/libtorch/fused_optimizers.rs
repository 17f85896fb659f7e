//! libtorch's fused optimizers: one call changes all parameters in place.

use tch::Tensor;

use super::dispatcher::{call, Argument};
use crate::error::Result;

/// A number on the host, or on the device as a float32 scalar, where a CUDA graph finds that of the moment.
#[derive(Clone, Copy)]
pub enum Number<'a> {
    Host(f64),
    Device(&'a Tensor),
}

/// Stochastic gradient descent, as torch.optim.SGD defines it.
#[derive(Clone, Copy)]
pub struct Sgd {
    pub momentum: f64,
    pub weight_decay: f64,
    pub nesterov: bool,
    /// Whether the buffers hold nothing yet.
    pub first_step: bool,
}

/// Adam, as torch.optim.Adam defines it, or AdamW.
#[derive(Clone, Copy)]
pub struct Adam {
    pub betas: (f64, f64),
    pub eps: f64,
    pub weight_decay: f64,
    /// Whether the decay shrinks the weights themselves.
    pub decoupled: bool,
}

impl Number<'_> {
    /// Of a fused optimizer that is given this as its learning rate.
    fn overload(&self) -> &'static std::ffi::CStr {
        match self {
            Number::Host(_) => c"",
            Number::Device(_) => c"tensor_lr",
        }
    }

    fn argument(&self) -> Argument<'_> {
        match self {
            Number::Host(value) => Argument::Float(*value),
            Number::Device(tensor) => Argument::Tensor(tensor),
        }
    }
}

/// `buffers` are empty without momentum.
pub fn fused_sgd(
    parameters: &[Tensor],
    gradients: &[Tensor],
    buffers: &[Tensor],
    rate: Number,
    method: Sgd,
) -> Result<()> {
    use Argument::{Absent, Bool, Float, Tensors};
    call(
        c"aten::_fused_sgd_",
        rate.overload(),
        &[
            Tensors(&refs(parameters)),
            Tensors(&refs(gradients)),
            Tensors(&refs(buffers)),
            Float(method.weight_decay),
            Float(method.momentum),
            rate.argument(),
            Float(0.0), // dampening
            Bool(method.nesterov),
            Bool(false), // maximize
            Bool(method.first_step),
            Absent, // grad_scale
            Absent, // found_inf
        ],
    )
}

/// `first` and `second` are the means of the gradients and of their squares; `taken` is a float32 scalar on the device,
/// the steps taken with this one.
pub fn fused_adam(
    parameters: &[Tensor],
    gradients: &[Tensor],
    [first, second]: [&[Tensor]; 2],
    taken: &Tensor,
    rate: Number,
    method: Adam,
) -> Result<()> {
    use Argument::{Absent, Bool, Float, Tensors};
    let taken: Vec<&Tensor> = parameters.iter().map(|_| taken).collect();
    call(
        if method.decoupled { c"aten::_fused_adamw_" } else { c"aten::_fused_adam_" },
        rate.overload(),
        &[
            Tensors(&refs(parameters)),
            Tensors(&refs(gradients)),
            Tensors(&refs(first)),
            Tensors(&refs(second)),
            Tensors(&[]), // max_exp_avg_sqs: only for amsgrad
            Tensors(&taken),
            rate.argument(),
            Float(method.betas.0),
            Float(method.betas.1),
            Float(method.weight_decay),
            Float(method.eps),
            Bool(false), // amsgrad
            Bool(false), // maximize
            Absent,      // grad_scale
            Absent,      // found_inf
        ],
    )
}

fn refs(tensors: &[Tensor]) -> Vec<&Tensor> {
    tensors.iter().collect()
}

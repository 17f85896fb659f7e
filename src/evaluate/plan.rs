//! The reader that infers: compiles the layer tree and today's weights into a flat list of fused operations. Dropout
//! vanishes, batch norm is folded into the convolution before it, the activation runs in the same call, and so does
//! the sum at the end of a residual block.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::libtorch::{convolution, pack_convolution, Epilogue};
use crate::network::{
    avg_pool, global_avg_pool, max_pool, Activation, BatchNorm2d, Conv2d, Layer, Model, Pool2d, Precision,
    Residual,
};

/// A network frozen for inference. It holds copies of the weights: training on does not change it.
pub struct Plan {
    ops: Vec<Op>,
    kind: Kind,
}

enum Op {
    Conv {
        conv: Conv2d,
        weight: Tensor,
        bias: Tensor,
        activation: Option<Activation>,
    },
    Linear {
        weight: Tensor,
        bias: Option<Tensor>,
        activation: Option<Activation>,
    },
    /// A batch norm with no convolution before it.
    Affine {
        scale: Tensor,
        shift: Tensor,
    },
    Activation(Activation),
    MaxPool(Pool2d),
    AvgPool(Pool2d),
    GlobalAvgPool,
    GlobalMaxPool,
    Flatten,
    Residual {
        body: Vec<Op>,
        shortcut: Vec<Op>,
        activation: Option<Activation>,
    },
}

impl Plan {
    /// Folds the weights of `model`. `chunk` is the shape (N, C, H, W) of the inputs that will mostly be given: the
    /// weights are packed for it.
    pub fn compile(model: &Model, precision: Precision, chunk: [i64; 4]) -> Result<Plan> {
        tch::no_grad(|| {
            let mut compiler = Compiler { tensors: model.tensors.iter() };
            let mut plan = Plan { ops: compiler.layers(&model.network.layers)?, kind: precision.kind() };
            plan.kind = precision.kind();
            let float = (plan.kind, model.device());
            let mut example = channels_last(&Tensor::f_zeros([1, chunk[1], chunk[2], chunk[3]], float)?)?;
            prepare(&mut plan.ops, &mut example, plan.kind, chunk[0])?;
            Ok(plan)
        })
    }

    /// Float32 logits (N, classes) of normalised images (N, C, H, W), best given as [`channels_last`].
    pub fn run(&self, x: &Tensor) -> Result<Tensor> {
        tch::no_grad(|| Ok(run(&self.ops, &x.f_to_kind(self.kind)?)?.f_to_kind(Kind::Float)?))
    }
}

/// The same images, stored with the channels innermost, which the convolutions prefer.
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
}

struct Compiler<'a> {
    tensors: std::slice::Iter<'a, Tensor>,
}

impl Compiler<'_> {
    fn next(&mut self) -> Result<Tensor> {
        let tensor = self.tensors.next();
        Ok(tensor
            .ok_or_else(|| Error::argument("the model has fewer tensors than its layers need"))?
            .f_detach()?)
    }

    fn layers(&mut self, layers: &[Layer]) -> Result<Vec<Op>> {
        let mut ops = Vec::new();
        for layer in layers {
            self.layer(layer, &mut ops)?;
        }
        Ok(ops)
    }

    fn layer(&mut self, layer: &Layer, ops: &mut Vec<Op>) -> Result<()> {
        match layer {
            Layer::Conv2d(conv) => {
                let weight = self.next()?;
                let bias = match conv.bias {
                    true => self.next()?,
                    false => Tensor::f_zeros([conv.out_channels], (Kind::Float, weight.device()))?,
                };
                ops.push(Op::Conv { conv: conv.clone(), weight, bias, activation: None });
            }
            Layer::Linear(linear) => {
                let weight = self.next()?;
                let bias = linear.bias.then(|| self.next()).transpose()?;
                ops.push(Op::Linear { weight, bias, activation: None });
            }
            Layer::BatchNorm2d(norm) => {
                let (scale, shift) = self.batch_norm(norm)?;
                match ops.last_mut() {
                    Some(Op::Conv { weight, bias, activation: None, .. }) => {
                        *weight = weight.f_mul(&scale.f_view([-1, 1, 1, 1])?)?;
                        *bias = bias.f_mul(&scale)?.f_add(&shift)?;
                    }
                    _ => ops.push(Op::Affine { scale, shift }),
                }
            }
            Layer::Activation(function) => match ops.last_mut() {
                Some(
                    Op::Conv { activation: free @ None, .. } | Op::Linear { activation: free @ None, .. },
                ) => {
                    *free = Some(*function);
                }
                _ => ops.push(Op::Activation(*function)),
            },
            Layer::MaxPool2d(pool) => ops.push(Op::MaxPool(pool.clone())),
            Layer::AvgPool2d(pool) => ops.push(Op::AvgPool(pool.clone())),
            Layer::GlobalAvgPool => ops.push(Op::GlobalAvgPool),
            Layer::GlobalMaxPool => ops.push(Op::GlobalMaxPool),
            Layer::Flatten => ops.push(Op::Flatten),
            Layer::Dropout(_) | Layer::Dropout2d(_) => {}
            Layer::Residual(Residual { body, shortcut, activation }) => {
                let (body, shortcut) = (self.layers(body)?, self.layers(shortcut)?);
                ops.push(Op::Residual { body, shortcut, activation: *activation });
            }
        }
        Ok(())
    }

    /// Batch norm with running statistics is `scale · x + shift` per channel.
    fn batch_norm(&mut self, norm: &BatchNorm2d) -> Result<(Tensor, Tensor)> {
        let [weight, bias, mean, var] = [self.next()?, self.next()?, self.next()?, self.next()?];
        let _ = self.next()?; // num_batches_tracked
        let scale = weight.f_div(&var.f_add_scalar(norm.eps)?.f_sqrt()?)?;
        let shift = bias.f_sub(&mean.f_mul(&scale)?)?;
        Ok((scale, shift))
    }
}

/// Casts the folded weights and packs those of the convolutions. `x` is one example on its way through the plan: it
/// shows each layer the shape that it will get.
fn prepare(ops: &mut [Op], x: &mut Tensor, kind: Kind, batch: i64) -> Result<()> {
    for op in ops.iter_mut() {
        let input = x.shallow_clone();
        match op {
            Op::Conv { conv, weight, bias, .. } => {
                *weight = weight.f_to_kind(kind)?;
                *bias = bias.f_to_kind(kind)?;
                let mut size = input.size();
                size[0] = batch;
                *weight = match input.device() {
                    Device::Cpu => pack_convolution(weight, conv, &size)?,
                    _ => channels_last(weight)?,
                };
            }
            Op::Linear { weight, bias, .. } => {
                *weight = weight.f_to_kind(kind)?;
                *bias = bias.as_ref().map(|bias| bias.f_to_kind(kind)).transpose()?;
            }
            Op::Affine { scale, shift } => {
                *scale = scale.f_view([1, -1, 1, 1])?.f_to_kind(kind)?;
                *shift = shift.f_view([1, -1, 1, 1])?.f_to_kind(kind)?;
            }
            Op::Residual { body, shortcut, .. } => {
                prepare(body, &mut input.shallow_clone(), kind, batch)?;
                prepare(shortcut, &mut input.shallow_clone(), kind, batch)?;
            }
            _ => {}
        }
        *x = op.run(&input)?;
    }
    Ok(())
}

fn run(ops: &[Op], x: &Tensor) -> Result<Tensor> {
    ops.iter().try_fold(x.shallow_clone(), |x, op| op.run(&x))
}

impl Op {
    fn run(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Op::Conv { conv, weight, bias, activation } => {
                convolve(x, conv, weight, bias, None, *activation)?
            }
            Op::Linear { weight, bias, activation } => {
                apply(*activation, x.f_linear(weight, bias.as_ref())?)?
            }
            Op::Affine { scale, shift } => x.f_mul(scale)?.f_add(shift)?,
            Op::Activation(function) => function.forward(x)?,
            Op::MaxPool(pool) => max_pool(x, pool)?,
            Op::AvgPool(pool) => avg_pool(x, pool)?,
            Op::GlobalAvgPool => global_avg_pool(x)?,
            Op::GlobalMaxPool => x.f_amax([2i64, 3].as_slice(), false)?,
            Op::Flatten => x.f_flatten(1, -1)?,
            Op::Residual { body, shortcut, activation } => residual(x, body, shortcut, *activation)?,
        })
    }
}

fn residual(x: &Tensor, body: &[Op], shortcut: &[Op], activation: Option<Activation>) -> Result<Tensor> {
    let shortcut = run(shortcut, x)?;
    match body.split_last() {
        Some((Op::Conv { conv, weight, bias, activation: None }, before)) => {
            convolve(&run(before, x)?, conv, weight, bias, Some(&shortcut), activation)
        }
        _ => apply(activation, run(body, x)?.f_add(&shortcut)?),
    }
}

/// `activation(conv(x) + other)`, in one call where there is one.
fn convolve(
    x: &Tensor,
    conv: &Conv2d,
    weight: &Tensor,
    bias: &Tensor,
    other: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    if x.device() != Device::Cpu {
        let y = x.f_conv2d(weight, Some(bias), conv.stride, conv.padding, conv.dilation, conv.groups)?;
        return apply(activation, other.map_or_else(|| Ok(y.shallow_clone()), |other| y.f_add(other))?);
    }
    let (epilogue, remaining) = match (other, activation) {
        (None, Some(Activation::Relu)) => (Epilogue::Relu, None),
        (Some(other), Some(Activation::Relu)) => (Epilogue::AddRelu(other), None),
        (None, activation) => (Epilogue::None, activation),
        (Some(other), activation) => (Epilogue::Add(other), activation),
    };
    apply(remaining, convolution(x, weight, bias, conv, epilogue)?)
}

fn apply(activation: Option<Activation>, x: Tensor) -> Result<Tensor> {
    match activation {
        Some(function) => function.forward(&x),
        None => Ok(x),
    }
}

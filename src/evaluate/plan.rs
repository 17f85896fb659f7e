//! The reader that infers: compiles the layer tree and today's weights into a flat list of fused operations. Dropout
//! vanishes, batch norm is folded into the convolution or linear layer before it, the activation runs in the same call,
//! and so does the sum at the end of a residual block.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::libtorch::{convolution, pack_convolution, Epilogue};
use crate::network::{
    avg_pool, global_avg_pool, max_pool, Activation, BatchNorm, Conv2d, Layer, Model, Pool2d, Precision,
    Residual,
};

/// A network compiled for inference with its weights of the moment; good until they change, for linear layers share them.
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
    /// A batch norm with no convolution or linear layer right before it, of images or vectors.
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
            Layer::BatchNorm1d(norm) | Layer::BatchNorm2d(norm) => {
                let (scale, shift) = self.batch_norm(norm)?;
                match ops.last_mut() {
                    Some(Op::Conv { weight, bias, activation: None, .. }) => {
                        *weight = weight.f_mul(&scale.f_view([-1, 1, 1, 1])?)?;
                        *bias = bias.f_mul(&scale)?.f_add(&shift)?;
                    }
                    // New tensors, so that the model's own weights, which the plan otherwise shares, stay as they are.
                    Some(Op::Linear { weight, bias, activation: None }) => {
                        *weight = weight.f_mul(&scale.f_view([-1, 1])?)?;
                        *bias = Some(match bias {
                            Some(bias) => bias.f_mul(&scale)?.f_add(&shift)?,
                            None => shift,
                        });
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
    fn batch_norm(&mut self, norm: &BatchNorm) -> Result<(Tensor, Tensor)> {
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
                let mut per_channel = vec![1; input.dim()];
                per_channel[1] = -1;
                *scale = scale.f_view(per_channel.as_slice())?.f_to_kind(kind)?;
                *shift = shift.f_view(per_channel.as_slice())?.f_to_kind(kind)?;
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
            Op::Affine { scale, shift } => shift.f_addcmul(x, scale)?,
            Op::Activation(function) => function.forward(x)?,
            Op::MaxPool(pool) => pooled_maximum(x, pool)?,
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

/// Max pooling. libtorch's kernel also finds where each maximum was, which inference has no use for: small windows that
/// do not overlap are faster as maxima of shifted views (2×2 on 6×28×28: 0.33 instead of 3.1 ms for 250 images).
fn pooled_maximum(x: &Tensor, pool: &Pool2d) -> Result<Tensor> {
    let small = pool.kernel_size.iter().all(|size| *size <= 2);
    if x.device() != Device::Cpu || !small || pool.stride != pool.kernel_size || pool.padding != [0, 0] {
        return max_pool(x, pool);
    }
    let mut x = x.shallow_clone();
    for (axis, size) in [(2, pool.kernel_size[0]), (3, pool.kernel_size[1])] {
        if size == 2 {
            let end = x.size()[axis as usize] / 2 * 2; // a last odd line has no partner
            x = x.f_slice(axis, 0, end, 2)?.f_maximum(&x.f_slice(axis, 1, end, 2)?)?;
        }
    }
    Ok(x)
}

fn apply(activation: Option<Activation>, x: Tensor) -> Result<Tensor> {
    match activation {
        Some(function) => function.forward(&x),
        None => Ok(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{builders, forward, Dropout, Linear, Network};

    /// The network in evaluation mode, layer by layer and with no fusing.
    fn unfused(layers: &[Layer], tensors: &mut std::slice::Iter<Tensor>, x: &Tensor) -> Tensor {
        layers.iter().fold(x.shallow_clone(), |x, layer| match layer {
            Layer::BatchNorm1d(norm) | Layer::BatchNorm2d(norm) => {
                let [weight, bias, mean, var] = std::array::from_fn(|_| tensors.next().unwrap());
                let _ = tensors.next();
                let (w, b, m, v) = (Some(weight), Some(bias), Some(mean), Some(var));
                x.batch_norm(w, b, m, v, false, norm.momentum, norm.eps, false)
            }
            Layer::Residual(block) => {
                let sum = unfused(&block.body, tensors, &x) + unfused(&block.shortcut, tensors, &x);
                block.activation.map_or(sum.shallow_clone(), |activation| activation.forward(&sum).unwrap())
            }
            Layer::Dropout(_) | Layer::Dropout2d(_) => x,
            simple => {
                let own = crate::network::tensor_specs(std::slice::from_ref(simple)).len();
                let own: Vec<Tensor> = tensors.by_ref().take(own).map(Tensor::shallow_clone).collect();
                forward(std::slice::from_ref(simple), &own, &x, Precision::Float32).unwrap()
            }
        })
    }

    fn trained(network: Network) -> Model {
        let model = Model::initialize(network, 5).unwrap();
        tch::no_grad(|| {
            for (spec, tensor) in model.specs.iter().zip(&model.tensors) {
                // Statistics and scales as they may be after training, none of them 0 or 1.
                if spec.name.ends_with("running_var")
                    || (spec.name.ends_with("weight") && spec.shape.len() == 1)
                {
                    let _ = tensor.shallow_clone().uniform_(0.5, 2.0);
                } else if spec.shape.len() == 1 {
                    let _ = tensor.shallow_clone().uniform_(-0.5, 0.5);
                }
            }
        });
        model
    }

    fn assert_equal_to_unfused(network: Network) {
        let [channels, height, width] = network.input_shape;
        let model = trained(network);
        let x = Tensor::randn([7, channels, height, width], (Kind::Float, Device::Cpu));
        let expected = tch::no_grad(|| unfused(&model.network.layers, &mut model.tensors.iter(), &x));
        let plan = Plan::compile(&model, Precision::Float32, [7, channels, height, width]).unwrap();
        let logits = plan.run(&channels_last(&x).unwrap()).unwrap();
        let gap =
            (&logits - &expected).abs().max().double_value(&[]) / expected.abs().max().double_value(&[]);
        assert!(gap < 1e-5, "{}: {gap}", model.network.name);
    }

    #[test]
    fn the_plan_equals_the_unfused_network() {
        assert_equal_to_unfused(builders::lenet5(&builders::Lenet5::default()).unwrap());
        assert_equal_to_unfused(builders::resnet(&builders::Resnet::default()).unwrap());
        let mixed = builders::Resnet {
            activation: vec![
                Activation::Softplus,
                Activation::LeakyRelu { negative_slope: 0.2 },
                Activation::Gelu,
            ],
            shortcut: builders::Shortcut::ProjectionBatchNorm,
            last_pool: builders::Pool::Avg,
            dropout: 0.3,
            ..builders::Resnet::default()
        };
        assert_equal_to_unfused(builders::resnet(&mixed).unwrap());
    }

    #[test]
    fn so_do_the_networks_of_the_studies() {
        let (widths, hidden) = (|| vec![8], || vec![8]);
        let activation = || vec![Activation::Gelu, Activation::Relu];
        for batch_norm in [false, true] {
            let networks = [
                builders::alexnet(&builders::Alexnet {
                    widths: widths(),
                    hidden: hidden(),
                    activation: activation(),
                    batch_norm,
                    ..Default::default()
                }),
                builders::vgg(&builders::Vgg {
                    widths: widths(),
                    hidden: hidden(),
                    activation: activation(),
                    batch_norm,
                    ..Default::default()
                }),
                builders::convnet(&builders::Convnet {
                    widths: widths(),
                    hidden: hidden(),
                    activation: activation(),
                    batch_norm,
                    ..Default::default()
                }),
                builders::kernel_net(&builders::KernelNet {
                    widths: widths(),
                    hidden: 8,
                    activation: activation(),
                    batch_norm,
                    ..Default::default()
                }),
                builders::resnet(&builders::Resnet {
                    stages: vec![8, 16],
                    activation: activation(),
                    batch_norm,
                    block_norm: true,
                    block_dropout: 0.5,
                    ..Default::default()
                }),
            ];
            let wide = [false, true].map(|pre_activation| {
                builders::wide_resnet(&builders::WideResnet {
                    width: 1,
                    stem_channels: 8,
                    pre_activation,
                    activation: activation(),
                    batch_norm,
                    dropout: 0.5,
                    ..Default::default()
                })
            });
            for network in networks.into_iter().chain(wide) {
                assert_equal_to_unfused(network.unwrap());
            }
        }
    }

    #[test]
    fn batch_norm_of_vectors_is_folded_without_touching_the_model() {
        let layers = vec![
            Layer::Flatten,
            Layer::BatchNorm1d(BatchNorm::new(12)),
            Layer::Linear(Linear::new(12, 8)),
            Layer::BatchNorm1d(BatchNorm::new(8)),
            Layer::BatchNorm1d(BatchNorm::new(8)),
            Layer::Activation(Activation::Tanh),
            Layer::BatchNorm1d(BatchNorm::new(8)),
            Layer::Linear(Linear { bias: false, ..Linear::new(8, 5) }),
            Layer::BatchNorm1d(BatchNorm::new(5)),
        ];
        let network = Network::new("vectors", [1, 3, 4], layers).unwrap();
        assert_equal_to_unfused(network.clone());
        let model = trained(network);
        let before: Vec<Tensor> = model.tensors.iter().map(Tensor::copy).collect();
        let plan = Plan::compile(&model, Precision::Float32, [7, 1, 3, 4]).unwrap();
        // Of the four batch norms after the first, three lie right after a linear layer.
        assert_eq!(plan.ops.iter().filter(|op| matches!(op, Op::Affine { .. })).count(), 2);
        assert!(model.tensors.iter().zip(&before).all(|(now, then)| now == then));
    }

    #[test]
    fn layers_without_a_fused_form_run_too() {
        let block = Residual {
            body: vec![Layer::Activation(Activation::Silu), Layer::BatchNorm2d(BatchNorm::new(6))],
            shortcut: vec![],
            activation: None,
        };
        let layers = vec![
            Layer::BatchNorm2d(BatchNorm::new(3)),
            Layer::Conv2d(Conv2d { groups: 3, dilation: [2, 1], ..Conv2d::new(3, 6, 3).bias(true) }),
            Layer::Activation(Activation::Tanh),
            Layer::BatchNorm2d(BatchNorm::new(6)),
            Layer::Residual(block),
            Layer::MaxPool2d(Pool2d { kernel_size: [2, 1], stride: [2, 1], padding: [0, 0] }),
            Layer::AvgPool2d(Pool2d::new(3, 2, 1)),
            Layer::Dropout2d(Dropout { p: 0.5 }),
            Layer::MaxPool2d(Pool2d::new(2, 2, 0)),
            Layer::Flatten,
            Layer::Linear(Linear { bias: false, ..Linear::new(6 * 2 * 4, 5) }),
        ];
        assert_equal_to_unfused(Network::new("mixed", [3, 21, 19], layers).unwrap());
    }
}

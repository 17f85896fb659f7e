//! From the layer tree and today's weights to operations: dropout vanishes, batch norm is folded into the convolution or
//! linear layer before it, and the activation runs in the same call.

use tch::{Device, Kind, Tensor};

use super::fold::fold_forward;
use super::op::{Constant, Op, Way};
use crate::error::Result;
use crate::network::{all_layers, BatchNorm, Gate, Init, Layer, Model, Residual, Tensors};

/// The operations in parts, each of which ends after one of the layers at `ends`, or with the last.
pub fn operations(model: &Model, ends: &[usize]) -> Result<Vec<Vec<Op>>> {
    let mut compiler = Compiler { tensors: Tensors::new(&model.tensors), norms: Norms::of(model)? };
    let layers = &model.network.layers;
    let mut starts = vec![0];
    starts.extend(ends.iter().map(|end| end + 1).filter(|start| *start < layers.len()));
    let stops = starts.iter().skip(1).copied().chain([layers.len()]);
    starts.iter().zip(stops).map(|(start, stop)| compiler.layers(&layers[*start..stop])).collect()
}

struct Compiler<'a> {
    tensors: Tensors<'a>,
    /// Those of the batch norms that are still to come, if they are known already.
    norms: Option<Norms>,
}

impl Compiler<'_> {
    /// The next tensor, without gaps: one that is shared with somebody may have any strides, which oneDNN does not heed.
    fn next(&mut self) -> Result<Tensor> {
        let tensor = self.tensors.take()?.f_detach()?;
        let channels_last = tensor.dim() == 4 && tensor.f_permute([0, 2, 3, 1])?.is_contiguous();
        match channels_last {
            true => Ok(tensor),
            false => Ok(tensor.f_contiguous()?),
        }
    }

    fn layers(&mut self, layers: &[Layer]) -> Result<Vec<Op>> {
        let mut ops = Vec::new();
        for (at, layer) in layers.iter().enumerate() {
            let normed = layers.get(at + 1).is_some_and(|next| next.batch_norm().is_some());
            self.layer(layer, normed, &mut ops)?;
        }
        fold_forward(&mut ops)?;
        Ok(ops)
    }

    /// A bias, zeros if there is none; nothing if the batch norm that comes next brings its shift.
    fn bias(&mut self, has_one: bool, outputs: i64, normed: bool, device: Device) -> Result<Tensor> {
        match (has_one, normed) {
            (true, _) => self.next(),
            (false, true) => Ok(Tensor::new()),
            (false, false) => Ok(Tensor::f_zeros([outputs], (Kind::Float, device))?),
        }
    }

    /// `normed` says that a batch norm follows.
    fn layer(&mut self, layer: &Layer, normed: bool, ops: &mut Vec<Op>) -> Result<()> {
        match layer {
            Layer::Conv2d(conv) => {
                let weight = self.next()?;
                let bias = self.bias(conv.bias, conv.out_channels, normed, weight.device())?;
                let (conv, way) = (conv.clone(), Way::Separate);
                ops.push(Op::Conv { conv, weight, bias, constant: Constant::None, activation: None, way });
            }
            Layer::Linear(linear) => {
                let weight = self.next()?;
                let bias = self.bias(linear.bias, linear.out_features, normed, weight.device())?;
                ops.push(Op::Linear { weight, bias, activation: None });
            }
            Layer::BatchNorm1d(norm) | Layer::BatchNorm2d(norm) => {
                let (scale, shift) = self.batch_norm(norm)?;
                match ops.last_mut() {
                    // New tensors, so that the model's own weights, which the plan otherwise shares, stay as they are.
                    Some(
                        Op::Conv { weight, bias, activation: None, .. }
                        | Op::Linear { weight, bias, activation: None },
                    ) => {
                        let mut per_output = vec![1; weight.dim()];
                        per_output[0] = -1;
                        *weight = weight.f_mul(&scale.f_view(per_output.as_slice())?)?;
                        *bias = match bias.defined() {
                            true => shift.f_addcmul(bias, &scale)?,
                            false => shift,
                        };
                    }
                    Some(Op::Affine { scale: before, shift: base }) => {
                        *base = shift.f_addcmul(base, &scale)?;
                        *before = Some(match before {
                            Some(before) => before.f_mul(&scale)?,
                            None => scale,
                        });
                    }
                    _ => ops.push(Op::Affine { scale: Some(scale), shift }),
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
            Layer::MaxPool2d(pool) => ops.push(Op::MaxPool { pool: pool.clone(), bounds: None }),
            Layer::AvgPool2d(pool) => ops.push(Op::AvgPool(pool.clone())),
            Layer::AdaptiveAvgPool2d(pool) => ops.push(Op::AdaptiveAvgPool(pool.clone())),
            Layer::GlobalAvgPool => ops.push(Op::GlobalAvgPool),
            Layer::GlobalMaxPool => ops.push(Op::GlobalMaxPool),
            Layer::Flatten => ops.push(Op::Flatten),
            Layer::Dropout(_) | Layer::Dropout2d(_) | Layer::StochasticDepth(_) => {}
            Layer::Residual(Residual { body, shortcut, activation }) => {
                let (body, shortcut) = (self.layers(body)?, self.layers(shortcut)?);
                ops.push(Op::Residual { body, shortcut, scale: None, activation: *activation });
            }
            Layer::Gate(Gate { body }) => ops.push(Op::Gate { body: self.layers(body)? }),
        }
        Ok(())
    }

    /// Batch norm with running statistics is `scale · x + shift` per channel.
    fn batch_norm(&mut self, norm: &BatchNorm) -> Result<(Tensor, Tensor)> {
        let [weight, bias, mean, var] = [self.next()?, self.next()?, self.next()?, self.next()?];
        let _ = self.next()?; // num_batches_tracked
        if let Some(norms) = &mut self.norms {
            return norms.next(weight.size()[0]);
        }
        let scale = weight.f_div(&var.f_add_scalar(norm.eps)?.f_sqrt()?)?;
        let shift = bias.f_sub(&mean.f_mul(&scale)?)?;
        Ok((scale, shift))
    }
}

/// Scales and shifts of all batch norms of a network at once, one behind the other: on a GPU what counts is the number of
/// operations.
struct Norms {
    scale: Tensor,
    shift: Tensor,
    /// Channels of those that were asked for.
    used: i64,
}

impl Norms {
    /// None on a CPU, without batch norms, or where they differ in what they add to the variance.
    fn of(model: &Model) -> Result<Option<Self>> {
        let norms = batch_norms(&model.network.layers);
        let Some(eps) = norms.first().map(|norm| norm.eps) else { return Ok(None) };
        if model.device() == Device::Cpu || norms.iter().any(|norm| norm.eps != eps) {
            return Ok(None);
        }
        Norms::joined(model, eps).map(Some)
    }

    fn joined(model: &Model, eps: f64) -> Result<Self> {
        // A batch norm's tensors end with its counter.
        let counters = model.specs.iter().enumerate().filter(|(_, spec)| spec.init == Init::Counter);
        let starts: Vec<usize> = counters.map(|(at, _)| at - 4).collect();
        let joined = |which: usize| {
            let all = starts.iter().map(|at| model.tensors[at + which].f_detach());
            Tensor::f_cat(&all.collect::<Result<Vec<_>, _>>()?, 0)
        };
        let [weight, bias, mean, var] = [joined(0)?, joined(1)?, joined(2)?, joined(3)?];
        let scale = weight.f_div(&var.f_add_scalar(eps)?.f_sqrt()?)?;
        let shift = bias.f_sub(&mean.f_mul(&scale)?)?;
        Ok(Norms { scale, shift, used: 0 })
    }

    fn next(&mut self, channels: i64) -> Result<(Tensor, Tensor)> {
        let part = |all: &Tensor| all.f_narrow(0, self.used, channels);
        let pair = (part(&self.scale)?, part(&self.shift)?);
        self.used += channels;
        Ok(pair)
    }
}

fn batch_norms(layers: &[Layer]) -> Vec<&BatchNorm> {
    all_layers(layers).filter_map(Layer::batch_norm).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::builders;

    #[test]
    fn joined_norms_are_those_of_each_layer() {
        let wide = builders::WideResnet { width: 1, stem_channels: 4, ..Default::default() };
        let model = Model::initialize(builders::wide_resnet(&wide).unwrap(), 0).unwrap();
        for tensor in &model.tensors {
            if tensor.kind() == Kind::Float {
                let _ = tch::no_grad(|| tensor.shallow_clone().uniform_(0.1, 2.0));
            }
        }
        let norms = batch_norms(&model.network.layers);
        let mut joined = Norms::joined(&model, norms[0].eps).unwrap();
        let counters = model.specs.iter().enumerate().filter(|(_, spec)| spec.init == Init::Counter);
        let mut seen = 0;
        for (at, _) in counters {
            let mut alone = Compiler { tensors: Tensors::new(&model.tensors[at - 4..]), norms: None };
            let (scale, shift) = alone.batch_norm(norms[0]).unwrap();
            assert_eq!((scale, shift), joined.next(model.tensors[at - 4].size()[0]).unwrap());
            seen += 1;
        }
        assert_eq!(seen, norms.len());
    }
}

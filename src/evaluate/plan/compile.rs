//! From the layer tree and today's weights to operations: dropout vanishes, batch norm is folded into the convolution or
//! linear layer before it, and the activation runs in the same call.

use tch::{Kind, Tensor};

use super::fold::fold_forward;
use super::op::{Constant, Op};
use super::ways::Way;
use crate::error::{Error, Result};
use crate::network::{BatchNorm, Layer, Model, Residual};

/// The operations in parts, each of which ends after one of the layers at `ends`, or with the last.
pub fn operations(model: &Model, ends: &[usize]) -> Result<Vec<Vec<Op>>> {
    let mut compiler = Compiler { tensors: model.tensors.iter() };
    let layers = &model.network.layers;
    let mut starts = vec![0];
    starts.extend(ends.iter().map(|end| end + 1).filter(|start| *start < layers.len()));
    let stops = starts.iter().skip(1).copied().chain([layers.len()]);
    starts.iter().zip(stops).map(|(start, stop)| compiler.layers(&layers[*start..stop])).collect()
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
        fold_forward(&mut ops)?;
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
                let (conv, way) = (conv.clone(), Way::Separate);
                ops.push(Op::Conv { conv, weight, bias, constant: Constant::None, activation: None, way });
            }
            Layer::Linear(linear) => {
                let weight = self.next()?;
                let bias = match linear.bias {
                    true => self.next()?,
                    false => Tensor::f_zeros([linear.out_features], (Kind::Float, weight.device()))?,
                };
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
                        *bias = shift.f_addcmul(bias, &scale)?;
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
            Layer::GlobalAvgPool => ops.push(Op::GlobalAvgPool),
            Layer::GlobalMaxPool => ops.push(Op::GlobalMaxPool),
            Layer::Flatten => ops.push(Op::Flatten),
            Layer::Dropout(_) | Layer::Dropout2d(_) => {}
            Layer::Residual(Residual { body, shortcut, activation }) => {
                let (body, shortcut) = (self.layers(body)?, self.layers(shortcut)?);
                ops.push(Op::Residual { body, shortcut, scale: None, activation: *activation });
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

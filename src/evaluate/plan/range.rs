//! How large the numbers can become on the way through a network, so that a plan is known to meet finite ones alone.
//!
//! Folded and fused operations are equal to the network within rounding where everything is finite, and nowhere else:
//! oneDNN's ReLU makes 0 of NaN, a product of zero and infinity is NaN. The bounds are those of the network as it is
//! written, so that it does not overflow either.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::kernels::{absolute_sums, elements};
use crate::network::{Activation, BatchNorm, Gate, Layer, Model, Residual, Tensors};

/// Numbers up to here are safe: float32 and bfloat16 end at 3.4e38, and sums on the way round.
const MOST: f64 = 1e37;

/// Bounds multiply from layer to layer while the numbers of a sound network stay small. Where a residual block may give
/// more than this, what it does give is looked at.
const MUCH: f64 = 1e18;

/// What such a look accepts, and the bounds go on from.
pub const USUAL: f32 = 1e6;

/// The layers after which a plan must look whether no number is above [`USUAL`], mostly none, if the network then meets
/// finite numbers alone on images (normalised) up to `largest`. None if that is not known.
pub fn looks(model: &Model, largest: f64) -> Result<Option<Vec<usize>>> {
    if model.device() != Device::Cpu {
        return Ok(Some(Vec::new())); // operators of libtorch, which keep what is not finite
    }
    let mut walk = Walk { tensors: Tensors::new(&model.tensors) };
    let mut bounds = vec![largest; model.network.input_shape[0] as usize];
    let mut looks = Vec::new();
    for (index, layer) in model.network.layers.iter().enumerate() {
        match walk.layer(layer, bounds)? {
            Some(found) => bounds = found,
            None => return Ok(None),
        }
        if matches!(layer, Layer::Residual(_)) && greatest(&bounds) > MUCH {
            looks.push(index);
            bounds = vec![f64::from(USUAL)];
        }
    }
    Ok(Some(looks))
}

/// One bound for each channel, or one for all.
type Bounds = Vec<f64>;

fn greatest(bounds: &[f64]) -> f64 {
    bounds.iter().copied().fold(0.0, f64::max)
}

fn at(bounds: &[f64], channel: usize) -> f64 {
    bounds.get(channel).or(bounds.first()).copied().unwrap_or(f64::NAN)
}

fn absolute(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(Vec::try_from(tensor.f_detach()?.f_abs()?.f_to_kind(Kind::Double)?)?)
}

struct Walk<'a> {
    tensors: Tensors<'a>,
}

impl Walk<'_> {
    /// What the layers make of numbers up to `bounds`. None if any number may be too large on the way.
    fn layers(&mut self, layers: &[Layer], bounds: Bounds) -> Result<Option<Bounds>> {
        let mut bounds = bounds;
        for layer in layers {
            match self.layer(layer, bounds)? {
                Some(found) => bounds = found,
                None => return Ok(None),
            }
        }
        Ok(Some(bounds))
    }

    fn layer(&mut self, layer: &Layer, bounds: Bounds) -> Result<Option<Bounds>> {
        let bounds = match layer {
            Layer::Conv2d(conv) => self.weights(&bounds, conv.bias)?,
            Layer::Linear(linear) => self.weights(&bounds, linear.bias)?,
            Layer::BatchNorm1d(norm) | Layer::BatchNorm2d(norm) => self.batch_norm(norm, &bounds)?,
            Layer::Activation(function) => activated(*function, bounds),
            Layer::Flatten => vec![greatest(&bounds)],
            Layer::Residual(Residual { body, shortcut, activation }) => {
                let Some(other) = self.layers(body, bounds.clone())? else { return Ok(None) };
                let Some(bounds) = self.layers(shortcut, bounds)? else { return Ok(None) };
                let channels = bounds.len().max(other.len());
                let sum = (0..channels).map(|channel| at(&bounds, channel) + at(&other, channel)).collect();
                match activation {
                    Some(function) => activated(*function, sum),
                    None => sum,
                }
            }
            Layer::Gate(Gate { body }) => {
                let Some(factors) = self.layers(body, bounds.clone())? else { return Ok(None) };
                let channels = bounds.len().max(factors.len());
                (0..channels).map(|channel| at(&bounds, channel) * at(&factors, channel)).collect()
            }
            Layer::MaxPool2d(_)
            | Layer::AvgPool2d(_)
            | Layer::AdaptiveAvgPool2d(_)
            | Layer::GlobalAvgPool
            | Layer::GlobalMaxPool => bounds,
            Layer::Dropout(_) | Layer::Dropout2d(_) | Layer::StochasticDepth(_) => bounds,
        };
        Ok(bounds.iter().all(|bound| *bound <= MOST).then_some(bounds)) // a NaN is not
    }

    /// Of a convolution or a linear layer: no result is above the sum of its absolute weights, times the input.
    fn weights(&mut self, bounds: &[f64], bias: bool) -> Result<Bounds> {
        let weight = self.tensors.take()?.f_detach()?.f_contiguous()?;
        let width = weight.numel() / weight.size()[0].max(1) as usize;
        // SAFETY: it is on the CPU, dense and float32.
        let sums = absolute_sums::<f32>(unsafe { elements(&weight) }, width);
        // Not below 1, for batch norm may be folded into the weights themselves.
        let input = greatest(bounds).max(1.0);
        let bias = if bias { absolute(self.tensors.take()?)? } else { Vec::new() };
        let bias = bias.into_iter().chain(std::iter::repeat(0.0));
        Ok(sums.into_iter().zip(bias).map(|(sum, bias)| f64::from(sum) * input + bias).collect())
    }

    fn batch_norm(&mut self, norm: &BatchNorm, bounds: &[f64]) -> Result<Bounds> {
        let [weight, bias, mean] = [
            absolute(self.tensors.take()?)?,
            absolute(self.tensors.take()?)?,
            absolute(self.tensors.take()?)?,
        ];
        let var = Vec::<f64>::try_from(self.tensors.take()?.f_to_kind(Kind::Double)?)?;
        let _ = self.tensors.take()?; // num_batches_tracked
        let of_channel = |channel: usize| {
            let scale = weight[channel] / (var[channel] + norm.eps).sqrt();
            scale * (at(bounds, channel).max(1.0) + mean[channel]) + bias[channel]
        };
        Ok((0..var.len())
            .map(|channel| if var[channel].is_finite() { of_channel(channel) } else { f64::NAN })
            .collect())
    }
}

fn activated(function: Activation, mut bounds: Bounds) -> Bounds {
    bounds.iter_mut().for_each(|bound| match function {
        Activation::LeakyRelu { negative_slope } => *bound *= negative_slope.abs().max(1.0),
        Activation::Softplus => *bound += 1.0,
        // Not `min`, which would lose a NaN.
        Activation::Tanh | Activation::Sigmoid => *bound = if *bound > 1.0 { 1.0 } else { *bound },
        Activation::Hardsigmoid => *bound = if *bound >= 0.0 { 1.0 } else { *bound },
        Activation::Relu6 => *bound = if *bound > 6.0 { 6.0 } else { *bound },
        Activation::Selu => *bound *= 1.76, // its slope below zero
        Activation::Relu
        | Activation::Gelu
        | Activation::Silu
        | Activation::Elu
        | Activation::Mish
        | Activation::Hardswish => {}
    });
    bounds
}

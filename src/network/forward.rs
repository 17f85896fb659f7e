//! The reader that trains: a differentiable forward pass in training mode (batch statistics, dropout on). The same layer
//! by layer in evaluation mode, for weights with which nothing may be folded.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::tensors::Tensors;
use super::{masks, AdaptivePool2d, Conv2d, Gate, Layer, Pool2d, Residual};
use crate::error::Result;
use crate::libtorch::{is_misread, leaves_gradients_unwritten, map_of};

/// Number format of the heavy layers. Weights, normalisation statistics and the loss stay float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    Float32,
    /// Float32 whose convolutions and matrix products an NVIDIA GPU computes with 10 bits of each factor (TF32). Which of
    /// both it computes is a setting of torch's for the whole process; `python/everybatch/_gpu.py` makes it.
    Tf32,
    /// Convolutions and matrix products in bfloat16, as PyTorch's autocast does it.
    BFloat16,
}

impl Precision {
    pub fn kind(self) -> Kind {
        match self {
            Precision::Float32 | Precision::Tf32 => Kind::Float,
            Precision::BFloat16 => Kind::BFloat16,
        }
    }

    /// Of one number.
    pub fn bytes(self) -> usize {
        match self {
            Precision::Float32 | Precision::Tf32 => 4,
            Precision::BFloat16 => 2,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Precision::Float32 => "float32",
            Precision::Tf32 => "tf32",
            Precision::BFloat16 => "bfloat16",
        }
    }

    /// Whether a GPU computes with its matrix units, which want channels-last maps.
    pub fn uses_matrix_units(self) -> bool {
        self != Precision::Float32
    }

    /// By how much, relative to the largest value, the results of two kernels for the same convolution may differ.
    pub fn tolerance(self) -> f64 {
        match self {
            Precision::Float32 => 1e-4,
            Precision::Tf32 => 5e-3,
            Precision::BFloat16 => 2e-2,
        }
    }
}

/// Float32 logits (N, classes) of float32 images `x` (N, C, H, W). `tensors` are the network's, in the order of
/// `tensor_specs`; batch norm's running statistics among them are updated.
pub fn forward(layers: &[Layer], tensors: &[Tensor], x: &Tensor, precision: Precision) -> Result<Tensor> {
    let mut pass = Pass { tensors: Tensors::new(tensors), kind: precision.kind(), training: true };
    Ok(pass.layers(layers, x)?.f_to_kind(Kind::Float)?)
}

/// The same in evaluation mode: running statistics are used and left alone, and nothing is dropped. Heavy layers compute
/// in `kind`. Every operator is PyTorch's own, so what is not finite comes out as it does there.
pub fn forward_unfused(layers: &[Layer], tensors: &[Tensor], x: &Tensor, kind: Kind) -> Result<Tensor> {
    let mut pass = Pass { tensors: Tensors::new(tensors), kind, training: false };
    Ok(pass.layers(layers, x)?.f_to_kind(Kind::Float)?)
}

/// The same in float64, of tensors and images that are: a yardstick for tests.
#[cfg(test)]
pub fn forward_in_double(layers: &[Layer], tensors: &[Tensor], x: &Tensor) -> Result<Tensor> {
    Pass { tensors: Tensors::new(tensors), kind: Kind::Double, training: true }.layers(layers, x)
}

struct Pass<'a> {
    tensors: Tensors<'a>,
    kind: Kind,
    training: bool,
}

impl Pass<'_> {
    /// The next tensor in the number format of the pass.
    fn cast(&mut self) -> Result<Tensor> {
        Ok(self.tensors.take()?.f_to_kind(self.kind)?)
    }

    fn layers(&mut self, layers: &[Layer], x: &Tensor) -> Result<Tensor> {
        layers.iter().try_fold(x.shallow_clone(), |x, layer| self.layer(layer, &x))
    }

    fn layer(&mut self, layer: &Layer, x: &Tensor) -> Result<Tensor> {
        Ok(match layer {
            Layer::Conv2d(c) => {
                let weight = self.cast()?;
                let bias = c.bias.then(|| self.cast()).transpose()?;
                conv2d(&x.f_to_kind(self.kind)?, &weight, bias.as_ref(), c)?
            }
            Layer::Linear(l) => {
                let weight = self.cast()?;
                let bias = l.bias.then(|| self.cast()).transpose()?;
                x.f_to_kind(self.kind)?.f_linear(&weight, bias.as_ref())?
            }
            Layer::BatchNorm1d(b) | Layer::BatchNorm2d(b) => {
                let [weight, bias, mean, var] =
                    [self.tensors.take()?, self.tensors.take()?, self.tensors.take()?, self.tensors.take()?];
                let tracked = self.tensors.take()?;
                if self.training {
                    let _ = tracked.shallow_clone().f_add_scalar_(1)?;
                }
                x.f_batch_norm(
                    Some(weight),
                    Some(bias),
                    Some(mean),
                    Some(var),
                    self.training,
                    b.momentum,
                    b.eps,
                    true,
                )?
            }
            Layer::Activation(activation) => activation.forward(x)?,
            Layer::MaxPool2d(pool) => max_pool(x, pool)?,
            Layer::AvgPool2d(pool) => avg_pool(x, pool)?,
            Layer::AdaptiveAvgPool2d(pool) => adaptive_avg_pool(x, pool)?,
            Layer::GlobalAvgPool => global_avg_pool(x)?,
            // Not amax: on a tie its gradient goes to every maximum, PyTorch's pooling picks one.
            Layer::GlobalMaxPool => {
                let window = &x.size()[2..];
                x.f_max_pool2d(window, window, [0, 0], [1, 1], false)?.f_flatten(1, -1)?
            }
            Layer::Flatten => x.f_flatten(1, -1)?,
            Layer::Dropout(d) if self.training => masks::dropout(x, d.p)?,
            Layer::Dropout2d(d) if self.training => masks::feature_dropout(x, d.p)?,
            Layer::StochasticDepth(d) if self.training => masks::stochastic_depth(x, d.p)?,
            Layer::Dropout(_) | Layer::Dropout2d(_) | Layer::StochasticDepth(_) => x.shallow_clone(),
            Layer::Residual(Residual { body, shortcut, activation }) => {
                let sum = self.layers(body, x)?.f_add(&self.layers(shortcut, x)?)?;
                match activation {
                    Some(activation) => activation.forward(&sum)?,
                    None => sum,
                }
            }
            Layer::Gate(Gate { body }) => x.f_mul(&over_pixels(&self.layers(body, x)?, x)?)?,
        })
    }
}

/// One number for each channel of `x`, (N, C) or (N, C, 1, 1), in the shape that is broadcast over its pixels.
pub fn over_pixels(factors: &Tensor, x: &Tensor) -> Result<Tensor> {
    let mut size = vec![1; x.dim()];
    size[..2].copy_from_slice(&x.size()[..2]);
    Ok(factors.f_reshape(&size)?)
}

pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, conv: &Conv2d) -> Result<Tensor> {
    let Conv2d { stride, padding, dilation, groups, .. } = conv;
    let (on_host, kind) = (x.device() == Device::Cpu, x.f_kind()?);
    if on_host && kind == Kind::BFloat16 && leaves_gradients_unwritten(conv, map_of(x)) {
        let float = |x: &Tensor| x.f_to_kind(Kind::Float);
        let y = conv2d(&float(x)?, &float(weight)?, bias.map(float).transpose()?.as_ref(), conv)?;
        return Ok(y.f_to_kind(kind)?);
    }
    if on_host && is_misread(conv, map_of(x)) {
        let turned = |x: &Tensor| x.f_transpose(2, 3);
        let y = conv2d(&turned(x)?, &turned(weight)?, bias, &conv.transposed())?;
        return Ok(turned(&y)?.f_contiguous()?);
    }
    Ok(x.f_conv2d(weight, bias, stride, padding, dilation, *groups)?)
}

pub fn max_pool(x: &Tensor, pool: &Pool2d) -> Result<Tensor> {
    Ok(x.f_max_pool2d(pool.kernel_size, pool.stride, pool.padding, [1, 1], false)?)
}

pub fn avg_pool(x: &Tensor, pool: &Pool2d) -> Result<Tensor> {
    Ok(x.f_avg_pool2d(pool.kernel_size, pool.stride, pool.padding, false, true, None)?)
}

pub fn adaptive_avg_pool(x: &Tensor, pool: &AdaptivePool2d) -> Result<Tensor> {
    if x.device() == Device::Cpu {
        return Ok(x.f_adaptive_avg_pool2d(pool.output_size)?);
    }
    // On a GPU the gradient of that is none that repeats to the last bit.
    repeatable_adaptive_avg_pool(x, pool)
}

fn repeatable_adaptive_avg_pool(x: &Tensor, pool: &AdaptivePool2d) -> Result<Tensor> {
    let [height, width] = pool.output_size;
    let [rows, columns] = map_of(x);
    if rows % height == 0 && columns % width == 0 {
        let window = [rows / height, columns / width];
        return Ok(x.f_avg_pool2d(window, window, [0, 0], false, true, None)?);
    }
    window_means(&window_means(x, 2, height)?, 3, width)
}

/// Means along `dim` of the windows that adaptive pooling divides it into: of several sizes, or overlapping, where it has to.
fn window_means(x: &Tensor, dim: i64, windows: i64) -> Result<Tensor> {
    let length = x.size()[dim as usize];
    let mean = |window: i64| {
        let (begin, end) = (window * length / windows, ((window + 1) * length + windows - 1) / windows);
        x.f_narrow(dim, begin, end - begin)?.f_mean_dim(dim, false, None::<Kind>)
    };
    let means = (0..windows).map(mean).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Tensor::f_stack(&means, dim)?)
}

pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_mean_dim([2i64, 3].as_slice(), false, None::<Kind>)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Against libtorch's adaptive pooling, and its gradient.
    #[test]
    fn repeatable_adaptive_pooling_is_adaptive_pooling() {
        for output_size in [[4, 8], [1, 1], [5, 4], [24, 8], [7, 7], [5, 3], [12, 11], [13, 17]] {
            let pool = AdaptivePool2d { output_size };
            let x = Tensor::randn([2, 3, 12, 8], (Kind::Float, Device::Cpu));
            let back = Tensor::randn([2, 3, output_size[0], output_size[1]], (Kind::Float, Device::Cpu));
            let [(y, gradient), (expected_y, expected_gradient)] =
                [repeatable_adaptive_avg_pool, adaptive_avg_pool].map(|pooled| {
                    let x = x.copy().set_requires_grad(true);
                    let y = pooled(&x, &pool).unwrap();
                    (&y * &back).sum(None).backward();
                    (y, x.grad())
                });
            for (found, expected) in [(y, expected_y), (gradient, expected_gradient)] {
                assert_eq!(found.size(), expected.size());
                assert!((found - expected).abs().max().double_value(&[]) < 1e-5);
            }
        }
    }
}

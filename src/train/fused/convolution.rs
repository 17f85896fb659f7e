//! Convolution in training, each in the order of memory that suits it.

use tch::Tensor;

use super::layers::{activation, Kept};
use super::pass::Pass;
use super::{Gradients, Saved, Weights};
use crate::error::Result;
use crate::libtorch::{channels_last, convolution, convolution_gradients, pack_convolution};
use crate::network::Conv2d;

/// How a convolution is computed. Measured with oneDNN on AVX-512, forward and backward together, batches of 60: 7.0 ms
/// channels-last and 4.1 in the order of the indices for 256 -> 256 channels on maps of 2x2, where the weights are most of
/// the memory; 2.7 and 3.0 for 64 -> 64 on 7x7. The rule looks at sizes alone, so that a run repeats bit for bit.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// The kernel covers all of the map: one matrix product.
    Product,
    /// Maps (N, C, H, W) as they are indexed.
    Indexed,
    ChannelsLast,
}

impl Way {
    fn of(conv: &Conv2d, x: &Tensor) -> Self {
        let size = x.size();
        let whole = conv.kernel_size == [size[2], size[3]];
        if whole && conv.padding == [0, 0] && conv.dilation == [1, 1] && conv.groups == 1 {
            return Way::Product;
        }
        let [rows, columns] = [0, 1].map(|axis| {
            let reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1;
            (size[axis + 2] + 2 * conv.padding[axis] - reach) / conv.stride[axis] + 1
        });
        let taps: i64 = conv.kernel_size.iter().product();
        let weights = conv.out_channels * conv.in_channels / conv.groups * taps;
        match weights > x.numel() as i64 + size[0] * conv.out_channels * rows * columns {
            true => Way::Indexed,
            false => Way::ChannelsLast,
        }
    }
}

impl Pass<'_> {
    pub fn convolution(&self, conv: &Conv2d, weights: Weights, x: Tensor) -> Result<(Tensor, Saved)> {
        let weight = self.cast(weights.first)?;
        let bias = weights.bias.then(|| self.cast(weights.first + 1)).transpose()?;
        let way = Way::of(conv, &x);
        let x = match way {
            Way::ChannelsLast => channels_last(&x)?,
            _ => x.f_contiguous()?,
        };
        let function = activation(weights.slope);
        let y = match (way, &bias) {
            (Way::Product, bias) => {
                let y = flat(&x)?.f_linear(&flat(&weight)?, bias.as_ref())?;
                y.f_view([x.size()[0], conv.out_channels, 1, 1])?
            }
            // With one channel libtorch's own call takes five times as long as the same with the weight packed before.
            (Way::ChannelsLast, bias) if conv.in_channels == 1 => {
                let none = Tensor::f_zeros([conv.out_channels], (self.kind, x.device()))?;
                let packed = pack_convolution(&weight, conv, &x.size())?;
                convolution(&x, &packed, bias.as_ref().unwrap_or(&none), conv, None)?
            }
            (_, bias) => {
                let (padding, dilation) = (conv.padding, conv.dilation);
                x.f_conv2d(&weight, bias.as_ref(), conv.stride, padding, dilation, conv.groups)?
            }
        };
        let y = function.map_or(Ok(y.shallow_clone()), |function| function.forward(&y))?;
        let kept = (weights.slope != 1.0).then(|| y.shallow_clone());
        Ok((y, Saved::Linear { x, weight, y: kept }))
    }

    pub fn convolution_back(
        &self,
        conv: &Conv2d,
        weights: Weights,
        (x, weight, y): Kept,
        dy: Tensor,
        by_input: bool,
        gradients: &mut Gradients,
    ) -> Result<Option<Tensor>> {
        let dy = y.map_or(Ok(dy.shallow_clone()), |y| self.bend_back(weights.slope, &y, dy))?;
        let way = Way::of(conv, &x);
        if way == Way::Product {
            let dy = dy.f_reshape([dy.size()[0], -1])?;
            let kept = (flat(&x)?, flat(&weight)?, None);
            let dx = self.linear_back(Weights { slope: 1.0, ..weights }, kept, dy, by_input, gradients)?;
            gradients[weights.first] =
                gradients[weights.first].take().map(|g| g.f_view_as(&weight)).transpose()?;
            return dx.map(|dx| Ok(dx.f_view_as(&x)?)).transpose();
        }
        // One channel lies the same either way, and libtorch is quicker with the order of the indices.
        let dy = match way {
            Way::ChannelsLast if conv.in_channels > 1 => channels_last(&dy)?,
            _ => dy.f_contiguous()?,
        };
        let (dx, by_weight, by_bias) = convolution_gradients(&dy, &x, &weight, conv, by_input)?;
        gradients[weights.first] = Some(by_weight);
        if weights.bias {
            gradients[weights.first + 1] = by_bias;
        }
        Ok(dx)
    }
}

/// Each image, or each output's weights, as a vector.
fn flat(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_view([x.size()[0], -1])?)
}

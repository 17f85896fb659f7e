//! The first convolution of a plan that stays where it is as a matrix product. Images that are measured again and again
//! can be laid out for it once: for each pixel of the result a row of all the pixels that it is made of (im2col). cuDNN
//! has only slow kernels for convolutions of one or three channels, and they would take most of a measurement.

use tch::Tensor;

use super::op::{apply, Constant, Op};
use super::Plan;
use crate::error::Result;
use crate::network::{Activation, Conv2d};

/// The most channels for which it is tried.
const CHANNELS: i64 = 4;
/// The most bytes that the rows may take.
const ROOM: i64 = 4 << 30;
/// Values of a row, and outputs, are filled up with zeros to a multiple of this: 16 bytes of the smallest number format.
/// Without, the product of bfloat16 is five times slower (1.25 ms for LeNet-5's six outputs instead of 0.23 on an H100).
const ALIGNMENT: i64 = 8;
/// Images that are laid out at a time.
const BLOCK: i64 = 1000;

/// See [`Op::Columns`].
pub struct Columns {
    pub conv: Conv2d,
    /// (outputs, values of a row), each with those that fill them up.
    weight: Tensor,
    bias: Tensor,
    /// Views of both, without.
    pub weight_in: Tensor,
    pub bias_in: Tensor,
    activation: Option<Activation>,
    /// Height and width of the result.
    map: [i64; 2],
}

impl Plan {
    /// Makes the first operation such a product, if it is a convolution of few channels, and says whether it is.
    /// `images` is the number of those that [`Plan::columns`] will be asked for.
    pub fn begin_with_columns(&mut self, images: i64) -> Result<bool> {
        let [_, height, width] = self.shape;
        let Some(Op::Conv { conv, weight, bias, constant: Constant::None, activation, .. }) =
            self.parts.first().and_then(|part| part.first())
        else {
            return Ok(false);
        };
        let size = |pixels: i64, axis: usize| {
            let reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1);
            (pixels + 2 * conv.padding[axis] - reach - 1) / conv.stride[axis] + 1
        };
        let map = [size(height, 0), size(width, 1)];
        let values = conv.in_channels * conv.kernel_size[0] * conv.kernel_size[1];
        let [row, outputs] = [values, conv.out_channels].map(|n| (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
        let room = [images, map[0], map[1], row, 4].iter().try_fold(1i64, |a, b| a.checked_mul(*b));
        if conv.groups != 1 || conv.in_channels > CHANNELS || room.is_none_or(|room| room > ROOM) {
            return Ok(false);
        }
        let (conv, bias, mut activation) = (conv.clone(), bias.shallow_clone(), *activation);
        let zeros = |size: &[i64]| Tensor::f_zeros(size, (self.kind, weight.device()));
        let (wide, long) = (zeros(&[outputs, row])?, zeros(&[outputs])?);
        let weight_in = wide.f_narrow(0, 0, conv.out_channels)?.f_narrow(1, 0, values)?;
        let bias_in = long.f_narrow(0, 0, conv.out_channels)?;
        weight_in.shallow_clone().f_copy_(&weight.f_contiguous()?.f_view([conv.out_channels, values])?)?;
        bias_in.shallow_clone().f_copy_(&bias)?;
        // ReLU after the maximum is the maximum after ReLU, and there are fewer values then.
        let ops = &mut self.parts[0];
        if let (Some(Activation::Relu), Some(Op::MaxPool { bounds: None, .. })) = (activation, ops.get(1)) {
            activation = None;
            ops.insert(2, Op::Activation(Activation::Relu));
        }
        ops[0] = Op::Columns(Columns { conv, weight: wide, bias: long, weight_in, bias_in, activation, map });
        Ok(true)
    }

    /// The rows (N, pixels, values) that the plan begins with, of normalised images (N, C, H, W); the images themselves if
    /// it begins with none.
    pub fn columns(&self, images: &Tensor) -> Result<Tensor> {
        let Some(Op::Columns(Columns { conv, weight, weight_in, .. })) =
            self.parts.first().and_then(|part| part.first())
        else {
            return Ok(images.shallow_clone());
        };
        let Conv2d { kernel_size, dilation, padding, stride, .. } = conv;
        let count = images.size()[0];
        let more = weight.size()[1] - weight_in.size()[1];
        let blocks = (0..count).step_by(BLOCK as usize).map(|start| -> Result<Tensor> {
            let block = images.f_narrow(0, start, BLOCK.min(count - start))?.f_to_kind(self.kind)?;
            let columns = block.f_contiguous()?.f_im2col(kernel_size, dilation, padding, stride)?;
            Ok(columns.f_transpose(1, 2)?.f_constant_pad_nd([0, more])?.f_contiguous()?)
        });
        Ok(Tensor::f_cat(&blocks.collect::<Result<Vec<_>>>()?, 0)?)
    }
}

impl Columns {
    /// The maps (N, C, H, W) of rows (N, pixels, values), channels-last.
    pub fn run(&self, rows: &Tensor) -> Result<Tensor> {
        let [height, width] = self.map;
        let [outputs, values] = [self.weight.size()[0], self.weight.size()[1]];
        let y = self.bias.f_addmm(&rows.f_view([-1, values])?, &self.weight.f_tr()?)?;
        let y = y.f_view([-1, height, width, outputs])?.f_permute([0, 3, 1, 2])?;
        let y = y.f_narrow(1, 0, self.conv.out_channels)?;
        apply(self.activation, y)
    }
}

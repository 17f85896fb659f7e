//! Convolutions on small maps by the processor's matrix unit, pixel by pixel (see `kernels::pixels`).

use tch::{Kind, Tensor};

use super::op::apply;
use crate::error::Result;
use crate::kernels::{convolution, elements, elements_mut, ByPixel, Finish, Panels, Unit};
use crate::libtorch::{channels_last, empty_maps};
use crate::network::{by_pixel, Activation, Conv2d};

/// See [`Op::Pixels`](super::op::Op::Pixels).
pub struct Pixels {
    unit: Unit,
    sizes: ByPixel,
    weight: Panels,
    /// (outputs,)
    bias: Tensor,
    pub activation: Option<Activation>,
    /// Height, width and channels of the result.
    pub map: [i64; 3],
}

impl Pixels {
    /// Of a weight, and of a bias that is dense and in bfloat16 already, for maps (height, width).
    pub fn new(
        unit: Unit,
        conv: &Conv2d,
        weight: &Tensor,
        bias: Tensor,
        activation: Option<Activation>,
        map: [i64; 2],
    ) -> Result<Self> {
        let sizes = by_pixel(conv, map);
        let weight = weight.f_to_kind(Kind::BFloat16)?.f_contiguous()?;
        // SAFETY: it is dense, on the CPU and of this element type.
        let weight = unsafe { Panels::forward(elements(&weight), &sizes)? };
        let [height, width] = conv.output_size(map);
        Ok(Pixels { unit, sizes, weight, bias, activation, map: [height, width, conv.out_channels] })
    }

    /// `activation(conv(x) + other)` of maps (N, C, H, W), channels-last.
    pub fn run(&self, x: &Tensor, other: Option<&Tensor>, activation: Option<Activation>) -> Result<Tensor> {
        let x = channels_last(x)?;
        let other = other.map(channels_last).transpose()?;
        let [height, width, channels] = self.map;
        let y = empty_maps(x.size()[0], channels, [height, width], &x)?;
        let relu = activation == Some(Activation::Relu);
        // SAFETY: the maps are dense, channels-last, on the CPU and of this element type, as is the bias, and `y` is new.
        unsafe {
            let other = other.as_ref().map(|other| elements(other));
            let finish = Finish { bias: Some(elements(&self.bias)), other, relu };
            convolution(self.unit, elements(&x), &self.weight, &self.sizes, finish, elements_mut(&y))?;
        }
        apply(activation.filter(|_| !relu), y)
    }
}

//! Convolutions on small maps as matrix products in a plan that stays where it is (see `dense` for what is multiplied, and
//! why). cuDNN's kernels for such maps in float32 take five to thirty times as long: 2.4 to 17 ms for 10,000 maps of 2×2
//! and 256 channels, instead of 0.5, on an H100.

use tch::Tensor;

use super::dense::{is_less_work, multiplied_out, taps};
use super::op::{apply, Constant, Op, Value};
use super::Plan;
use crate::error::Result;
use crate::libtorch::map_of;
use crate::network::{Activation, Conv2d};

/// See [`Op::Product`].
pub struct Product {
    /// As the network has it: (outputs, inputs, rows, columns) and (outputs,).
    pub weight_in: Tensor,
    pub bias_in: Tensor,
    pub activation: Option<Activation>,
    /// What is made of these: (pixels · outputs, pixels · inputs) and (pixels · outputs,).
    weight: Tensor,
    bias: Tensor,
    /// Which tap of the kernel each pair of pixels meets.
    taps: Tensor,
    /// Height, width and channels of the result.
    pub map: [i64; 3],
}

impl Plan {
    /// Makes products of the convolutions that are less work so, and says whether there are any. `x` is one image on its
    /// way through the plan: it shows each operation the shape that it will get.
    pub fn multiply_small_maps(&mut self, x: Tensor) -> Result<bool> {
        tch::no_grad(|| {
            let mut found = false;
            let _ = self.parts.iter_mut().try_fold(x, |x, part| multiply(part, x, &mut found))?;
            Ok(found)
        })
    }
}

fn multiply(ops: &mut [Op], mut x: Tensor, found: &mut bool) -> Result<Tensor> {
    for op in ops {
        for inner in op.inner_mut() {
            let _ = multiply(inner, x.shallow_clone(), found)?;
        }
        if let Op::Conv { conv, weight, bias, constant: Constant::None, activation, .. } = op {
            let map = map_of(&x);
            if is_less_work(conv, map) {
                *op = Op::Product(Product::new(conv, weight, bias, *activation, map)?);
                *found = true;
            }
        }
        x = op.run(Value { tensor: x, free: false })?.tensor;
    }
    Ok(x)
}

impl Product {
    fn new(
        conv: &Conv2d,
        weight: &Tensor,
        bias: &Tensor,
        activation: Option<Activation>,
        map: [i64; 2],
    ) -> Result<Self> {
        let [height, width] = conv.output_size(map);
        let [from, to] = [map[0] * map[1] * conv.in_channels, height * width * conv.out_channels];
        let product = Product {
            weight_in: weight.f_contiguous()?,
            bias_in: bias.shallow_clone(),
            activation,
            weight: weight.f_new_empty([to, from], (weight.f_kind()?, weight.device()))?,
            bias: bias.f_new_empty([to], (bias.f_kind()?, bias.device()))?,
            taps: taps(conv, map, weight.device())?,
            map: [height, width, conv.out_channels],
        };
        product.take_up()?;
        Ok(product)
    }

    /// Makes the product of other weights, after [`Product::weight_in`] and [`Product::bias_in`] have changed.
    pub fn take_up(&self) -> Result<()> {
        let [height, width, _] = self.map;
        let [outputs, inputs] = [self.weight_in.size()[0], self.weight_in.size()[1]];
        let pixels = [height * width, self.weight.size()[1] / inputs];
        let weight = multiplied_out(&self.weight_in, pixels, &self.taps)?;
        self.weight.f_view([pixels[0], outputs, pixels[1], inputs])?.f_copy_(&weight)?;
        self.bias.f_view([pixels[0], outputs])?.f_copy_(&self.bias_in)?;
        Ok(())
    }

    /// `activation(conv(x) + other)` of maps (N, C, H, W), channels-last.
    pub fn run(&self, x: &Tensor, other: Option<&Tensor>, activation: Option<Activation>) -> Result<Tensor> {
        let pixels = |x: &Tensor| x.f_permute([0, 2, 3, 1])?.f_reshape([x.size()[0], -1]);
        let mut y = self.bias.f_addmm(&pixels(x)?, &self.weight.f_tr()?)?;
        if let Some(other) = other {
            let _ = y.f_add_(&pixels(other)?)?;
        }
        let [height, width, channels] = self.map;
        let y = y.f_view([-1, height, width, channels])?.f_permute([0, 3, 1, 2])?;
        apply(activation, y)
    }
}

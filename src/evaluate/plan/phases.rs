//! A narrow convolution before 2×2 pooling, as one of four times the channels.

use tch::Tensor;

use super::op::{Constant, Op};
use crate::error::Result;
use crate::network::Pool2d;

/// Output channels up to which the wider convolution is the faster one. oneDNN computes 16 channels at once, so six
/// waste most of its work (measured on AVX-512, 1 → 6 channels of 28×28 with 5×5 kernels, 250 images: 2.7 ms, and 1.1
/// as 24 channels).
const NARROW: i64 = 8;

/// The four convolution results that one pooled value is the maximum of come from one kernel at four places. Instead,
/// four kernels at one place, of stride 2 and one line more, make four groups of channels, whose maximum is taken.
pub fn split_phases(ops: &mut [Op]) -> Result<()> {
    let [Op::Conv { conv, weight, bias, constant: Constant::None, .. }, next @ Op::MaxPool { .. }, ..] = ops
    else {
        return Ok(());
    };
    let Op::MaxPool { pool, bounds } = next else { return Ok(()) };
    let plain = conv.stride == [1, 1] && conv.dilation == [1, 1] && conv.groups == 1;
    if !plain || conv.out_channels > NARROW || *pool != Pool2d::new(2, 2, 0) {
        return Ok(());
    }
    let phases = [[0, 0], [0, 1], [1, 0], [1, 1]];
    let shifted = phases.map(|[row, column]| weight.f_constant_pad_nd([column, 1 - column, row, 1 - row]));
    let shifted = shifted.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
    *weight = Tensor::f_cat(&shifted, 0)?;
    *bias = bias.f_repeat([phases.len() as i64])?;
    conv.kernel_size = conv.kernel_size.map(|size| size + 1);
    conv.stride = [2, 2];
    conv.out_channels *= phases.len() as i64;
    *next = Op::GroupMax { groups: phases.len() as i64, bounds: bounds.take() };
    Ok(())
}

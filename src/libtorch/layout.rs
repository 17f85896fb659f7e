//! The order of a tensor's elements in memory.

use tch::Tensor;

use crate::error::Result;

/// The same images, stored with the channels innermost, which the convolutions prefer.
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    let pixels = x.f_permute([0, 2, 3, 1])?.f_contiguous()?;
    let size = pixels.size();
    // With a single channel both orders are the same and the strides may say either; what follows goes by the strides.
    let strides = [size[1] * size[2] * size[3], size[2] * size[3], size[3], 1];
    Ok(pixels.f_as_strided(&size, strides, None)?.f_permute([0, 3, 1, 2])?)
}

/// The same values in the number format and the order of `other`; `x` itself if it has them.
pub fn laid_out_like(x: &Tensor, other: &Tensor) -> Result<Tensor> {
    let x = x.f_to_kind(other.f_kind()?)?;
    match x.stride() == other.stride() {
        true => Ok(x),
        false => copied(&x, other),
    }
}

/// A copy, in the order of `other`.
pub fn copied(x: &Tensor, other: &Tensor) -> Result<Tensor> {
    let mut copy = other.f_detach()?.f_empty_like()?;
    copy.f_copy_(x)?;
    Ok(copy)
}

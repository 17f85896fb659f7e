//! The order of a tensor's elements in memory.

use tch::Tensor;

use crate::error::Result;

/// The same images, stored with the channels innermost, which the convolutions prefer.
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
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

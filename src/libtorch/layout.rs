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

/// Height and width of maps (N, C, H, W).
pub fn map_of(x: &Tensor) -> [i64; 2] {
    let size = x.size();
    [size[2], size[3]]
}

/// Maps to be written to, channels-last, of the kind of `like`.
pub fn empty_maps(images: i64, channels: i64, [height, width]: [i64; 2], like: &Tensor) -> Result<Tensor> {
    let pixels = Tensor::f_empty([images, height, width, channels], (like.f_kind()?, like.device()))?;
    Ok(pixels.f_permute([0, 3, 1, 2])?)
}

/// The same images or weights (N, C, H, W), stored row by row and channel by channel.
pub fn channels_first(x: &Tensor) -> Result<Tensor> {
    let x = x.f_contiguous()?;
    let size = x.size();
    // With a single channel or pixel, strides that say channels-last count as contiguous too.
    let strides = [size[1] * size[2] * size[3], size[2] * size[3], size[3], 1];
    Ok(x.f_as_strided(&size, strides, None)?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    // c10's is_channels_last_strides_2d says what convolutions take these strides for: for an image of one channel
    // [784, 784, 28, 1] is row by row, and [784, 1, 28, 1] is channels-last.
    #[test]
    fn strides_tell_the_order_of_a_single_channel_too() {
        for size in [[3, 1, 28, 28], [4, 6, 1, 1], [2, 3, 4, 5]] {
            let x = Tensor::arange(size.iter().product::<i64>(), (Kind::Float, Device::Cpu)).view(size);
            let [_, c, h, w] = size;
            let last = channels_last(&x).unwrap();
            assert_eq!(last.stride(), [c * h * w, 1, w * c, c]);
            for given in [&x, &last] {
                let first = channels_first(given).unwrap();
                assert_eq!(first.stride(), [c * h * w, h * w, w, 1]);
                assert_eq!(first, x);
            }
        }
    }
}

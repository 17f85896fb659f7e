//! What the estimator asks for logits.

use tch::Tensor;

use crate::error::Result;

/// Something that knows the logits of each of a fixed set of images, with the weights of the moment.
pub trait Source {
    /// What a number of images is best a multiple of.
    fn grain(&self) -> usize;

    /// Float32 logits (n, classes) of these images, in this order.
    fn logits(&mut self, images: &[i64]) -> Result<Tensor>;
}

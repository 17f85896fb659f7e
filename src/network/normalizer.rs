//! Normalisation of pixels, with its numbers already where the images are.

use tch::{Device, Kind, Tensor};

use super::Normalization;
use crate::error::Result;

/// A [`Normalization`] at work on a device.
pub struct Normalizer {
    /// (1, C, 1, 1) float32 each.
    mean: Tensor,
    std: Tensor,
}

impl Normalizer {
    pub fn new(normalization: &Normalization, device: Device) -> Result<Self> {
        let per_channel = |values: &[f64]| -> Result<Tensor> {
            let values = Tensor::f_from_slice(values)?.f_to_kind(Kind::Float)?;
            Ok(values.f_to_device(device)?.f_view([1, -1, 1, 1])?)
        };
        Ok(Normalizer { mean: per_channel(&normalization.mean)?, std: per_channel(&normalization.std)? })
    }

    /// Float32 `(x/255 - mean) / std` of uint8 images (N, C, H, W), or of float32 ones that nothing else needs, rounded
    /// as torchvision's ToTensor and Normalize round: what follows must start from the very same numbers to end at the
    /// same losses.
    pub fn apply(&self, images: &Tensor) -> Result<Tensor> {
        let pixels = images.f_to_kind(Kind::Float)?.f_div_scalar_(255.0)?;
        Ok(pixels.f_sub(&self.mean)?.f_div_(&self.std)?)
    }
}

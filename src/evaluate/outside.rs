//! Images that something else than a plan makes logits of, such as a module in Python. They lie as bytes, and a chunk of them
//! at a time is normalised.

use tch::{Device, Kind, Tensor};

use super::{Source, Subject};
use crate::error::{Error, Result};
use crate::network::{Normalization, Normalizer, Shape};

/// Makes logits (n, classes) of normalised images (n, C, H, W) float32, by the weights of the moment.
pub type Forward<'a> = dyn Fn(&Tensor) -> Result<Tensor> + 'a;

pub struct Outside {
    /// (N, C, H, W) uint8, on the device that is to compute.
    images: Tensor,
    normalizer: Normalizer,
    classes: i64,
    /// Images that are given at a time.
    chunk: i64,
}

impl Outside {
    pub fn new(images: Tensor, normalization: &Normalization, classes: i64, chunk: i64) -> Result<Self> {
        let normalizer = Normalizer::new(normalization, images.device())?;
        Ok(Outside { images, normalizer, classes, chunk: chunk.max(1) })
    }

    /// With what makes their logits.
    pub fn with<'a>(&'a self, forward: &'a Forward) -> Called<'a> {
        Called { images: self, forward }
    }

    /// Logits of uint8 images (n, C, H, W).
    fn logits(&self, images: &Tensor, forward: &Forward) -> Result<Tensor> {
        let count = images.size()[0];
        let mut found = Vec::new();
        for start in (0..count).step_by(self.chunk as usize) {
            let chunk = images.f_narrow(0, start, self.chunk.min(count - start))?;
            let logits = forward(&self.normalizer.apply(&chunk)?.f_contiguous()?)?;
            found.push(self.checked(logits, chunk.size()[0])?);
        }
        match found.is_empty() {
            true => Ok(Tensor::f_zeros([0, self.classes], (Kind::Float, Device::Cpu))?),
            false => Ok(Tensor::f_cat(&found, 0)?),
        }
    }

    fn checked(&self, logits: Tensor, images: i64) -> Result<Tensor> {
        if logits.size() != [images, self.classes] {
            return Err(Error::Shape(format!(
                "the module gave a tensor of shape {} for {images} images, and logits of the {} classes of the data set \
                 have the shape ({images}, {})",
                Shape(logits.size()),
                self.classes,
                self.classes
            )));
        }
        // A module may give the same memory again for the next chunk.
        let mut kept = Tensor::f_empty([images, self.classes], (Kind::Float, Device::Cpu))?;
        kept.f_copy_(&logits.f_detach()?)?;
        Ok(kept)
    }
}

/// See [`Outside::with`].
pub struct Called<'a> {
    images: &'a Outside,
    forward: &'a Forward<'a>,
}

impl Subject for Called<'_> {
    fn all(&mut self) -> Result<Tensor> {
        self.images.logits(&self.images.images, self.forward)
    }

    fn few(&mut self) -> Result<Box<dyn Source + '_>> {
        Ok(Box::new(Called { images: self.images, forward: self.forward }))
    }
}

/// A call is dear, however few images it is of.
const GRAIN: usize = 32;

impl Source for Called<'_> {
    fn grain(&self) -> usize {
        GRAIN
    }

    fn logits(&mut self, images: &[i64]) -> Result<Tensor> {
        let all = &self.images.images;
        let indices = Tensor::f_from_slice(images)?.f_to_device(all.device())?;
        self.images.logits(&all.f_index_select(0, &indices)?, self.forward)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn outside(chunk: i64) -> Outside {
        let images = Tensor::arange(7 * 4, (Kind::Uint8, Device::Cpu)).view([7, 1, 2, 2]);
        let normalization = Normalization::new(vec![0.25], vec![0.5]).unwrap();
        Outside::new(images, &normalization, 4, chunk).unwrap()
    }

    // (x / 255 - 0.25) / 0.5, and each image's four pixels are its logits.
    #[test]
    fn images_are_normalised_and_go_through_in_their_order() {
        let expected: Vec<f32> = (0..28).map(|x| ((x as f32) / 255.0 - 0.25) / 0.5).collect();
        for chunk in [1, 3, 7, 100] {
            let (outside, sizes) = (outside(chunk), RefCell::new(Vec::new()));
            let forward = |images: &Tensor| {
                sizes.borrow_mut().push(images.size()[0]);
                Ok(images.flatten(1, -1).to_kind(Kind::Double))
            };
            let mut subject = outside.with(&forward);
            let all = subject.all().unwrap();
            assert_eq!((all.size(), all.kind()), (vec![7, 4], Kind::Float));
            let flat = Vec::<f32>::try_from(all.flatten(0, -1)).unwrap();
            assert!(flat.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
            assert!(sizes.borrow().iter().all(|size| *size <= chunk));
            let few = subject.few().unwrap().logits(&[5, 0, 5]).unwrap();
            assert_eq!(few, all.index_select(0, &Tensor::from_slice(&[5i64, 0, 5])));
            assert_eq!(subject.few().unwrap().logits(&[]).unwrap().size(), [0, 4]);
        }
    }

    #[test]
    fn a_module_may_give_the_same_memory_again() {
        let buffer = Tensor::zeros([3, 4], (Kind::Float, Device::Cpu));
        let forward = |images: &Tensor| {
            let mut place = buffer.narrow(0, 0, images.size()[0]);
            place.copy_(&images.flatten(1, -1));
            Ok(place)
        };
        let outside = outside(3);
        let plain = |images: &Tensor| Ok(images.flatten(1, -1));
        assert_eq!(outside.with(&forward).all().unwrap(), outside.with(&plain).all().unwrap());
    }

    #[test]
    fn other_shapes_than_those_of_logits_are_refused() {
        let outside = outside(3);
        let forward = |images: &Tensor| Ok(images.flatten(1, -1).narrow(1, 0, 3));
        let error = outside.with(&forward).all().unwrap_err().to_string();
        assert!(error.contains("(3, 3)") && error.contains("(3, 4)"), "{error}");
    }
}

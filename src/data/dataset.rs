//! The data set as training sees it: uint8 images and labels on the device that computes.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::network::Normalization;

/// Images with their labels.
#[derive(Debug)]
pub struct Split {
    /// (N, C, H, W) uint8
    pub images: Tensor,
    /// (N,) int64
    pub labels: Tensor,
}

impl Split {
    /// Copies images stored as (N, H, W, C) and checks them against `labels`, which lie in 0..classes.
    pub fn new(pixels: &[u8], shape: [usize; 4], labels: &[i64], classes: i64) -> Result<Self> {
        Split::of(images(pixels, shape)?, labels, classes)
    }

    /// Images (N, C, H, W) uint8, shared, and a copy of `labels`.
    pub fn of(images: Tensor, labels: &[i64], classes: i64) -> Result<Self> {
        let count = images.size().first().map_or(0, |count| *count as usize);
        if count == 0 || labels.is_empty() {
            return Err(Error::Data("there are no images".to_string()));
        }
        if labels.len() != count {
            return Err(Error::Data(format!("there are {count} images and {} labels", labels.len())));
        }
        if let Some((index, label)) =
            labels.iter().enumerate().find(|(_, label)| !(0..classes).contains(*label))
        {
            let last = classes - 1;
            return Err(Error::Data(format!(
                "label {label} of image {index} is not among the classes 0 to {last}"
            )));
        }
        Ok(Split { images, labels: Tensor::f_from_slice(labels)? })
    }

    pub fn len(&self) -> i64 {
        self.labels.size()[0]
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// (C, H, W)
    pub fn image_shape(&self) -> [i64; 3] {
        let size = self.images.size();
        [size[1], size[2], size[3]]
    }

    /// The examples at `indices`, int64 (n,) on the same device.
    pub fn select(&self, indices: &Tensor) -> Result<Split> {
        Ok(Split {
            images: self.images.f_index_select(0, indices)?,
            labels: self.labels.f_index_select(0, indices)?,
        })
    }

    /// The same examples on `device`; where they already are there, the same tensors.
    pub fn to_device(&self, device: Device) -> Result<Split> {
        Ok(Split { images: self.images.f_to_device(device)?, labels: self.labels.f_to_device(device)? })
    }
}

/// Images stored as (N, H, W, C) as a tensor (N, C, H, W).
pub fn images(pixels: &[u8], shape: [usize; 4]) -> Result<Tensor> {
    let size = shape.map(|size| size as i64);
    Ok(Tensor::f_from_data_size(pixels, &size, Kind::Uint8)?.f_permute([0, 3, 1, 2])?.f_contiguous()?)
}

/// The same without a copy. With more than one channel the tensor is then stored with the channels innermost, which a
/// batch that is selected from it is not: nothing after that can tell.
///
/// # Safety
///
/// `pixels` must stay where they are for as long as there is a tensor over them, and nothing writes into it.
pub unsafe fn images_over(pixels: &[u8], shape: [usize; 4]) -> Result<Tensor> {
    if pixels.len() != shape.iter().product::<usize>() {
        return Err(Error::Data(format!("{} bytes are no images of shape {shape:?}", pixels.len())));
    }
    let [count, height, width, channels] = shape.map(|size| size as i64);
    let size = [count, channels, height, width];
    // With a single channel both orders are the same; these strides are those of a tensor that is stored as it says.
    let strides = match channels {
        1 => [height * width, height * width, width, 1],
        _ => [height * width * channels, 1, width * channels, channels],
    };
    Ok(Tensor::f_from_blob(pixels.as_ptr(), &size, &strides, Kind::Uint8, Device::Cpu)?)
}

#[derive(Debug)]
pub struct Dataset {
    pub train: Split,
    pub test: Split,
    pub classes: i64,
    pub normalization: Normalization,
}

impl Dataset {
    /// The same data on `device`; where they already are there, the same tensors.
    pub fn to_device(&self, device: Device) -> Result<Dataset> {
        Ok(Dataset {
            train: self.train.to_device(device)?,
            test: self.test.to_device(device)?,
            classes: self.classes,
            normalization: self.normalization.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_moves_to_the_front() {
        let pixels = [1, 2, 3, 4, 5, 6];
        let split = Split::new(&pixels, [1, 1, 2, 3], &[0], 2).unwrap();
        assert_eq!(split.image_shape(), [3, 1, 2]);
        assert_eq!(Vec::<u8>::try_from(split.images.flatten(0, -1)).unwrap(), [1, 4, 2, 5, 3, 6]);
    }

    #[test]
    fn shared_images_are_the_copied_ones() {
        let pixels: Vec<u8> = (0..2 * 4 * 5 * 3).collect();
        for shape in [[2, 4, 5, 3], [6, 4, 5, 1]] {
            // SAFETY: `pixels` lives longer, and nothing writes.
            let shared = unsafe { images_over(&pixels, shape) }.unwrap();
            assert_eq!(shared.data_ptr().cast_const().cast(), pixels.as_ptr());
            let (shared, copied) = (
                Split::of(shared, &vec![0; shape[0]], 2).unwrap(),
                Split::new(&pixels, shape, &vec![0; shape[0]], 2).unwrap(),
            );
            assert_eq!(shared.images, copied.images);
            let batch = Tensor::from_slice(&[1i64, 0]);
            let batches = [shared, copied].map(|split| split.select(&batch).unwrap().images);
            assert_eq!(batches[0], batches[1]);
            assert_eq!(batches[0].stride(), batches[1].stride());
        }
        // SAFETY: as above; it is refused.
        assert!(unsafe { images_over(&pixels, [2, 4, 5, 1]) }.is_err());
    }

    #[test]
    fn wrong_labels_are_named() {
        let error = Split::new(&[0; 2], [2, 1, 1, 1], &[0, 7], 3).unwrap_err().to_string();
        assert!(error.contains("label 7 of image 1"), "{error}");
        assert!(Split::new(&[0; 2], [2, 1, 1, 1], &[0], 3).is_err());
        assert!(Split::new(&[], [0, 1, 1, 1], &[], 3).is_err());
    }
}

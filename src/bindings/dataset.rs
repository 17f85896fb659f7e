//! A Python `Dataset` where a run computes, for any number of runs.

use std::sync::Mutex;

use numpy::PyArrayMethods;
use pyo3::prelude::*;
use tch::Device;

use super::images::{image_array, labels, Array};
use super::run::{computing, lock};
use crate::data::{images_over, Dataset, Split};
use crate::error::{Error, Result};
use crate::libtorch::{device as find_device, device_name};
use crate::network::{Normalization, MOST_CLASSES};

/// A data set on a device.
#[pyclass(name = "Data", module = "everybatch", frozen)]
pub struct PyData {
    /// On a CPU, its images are the memory of `_arrays`. It is the first field, so that it goes first.
    inner: Mutex<Dataset>,
    pub device: Device,
    _arrays: Vec<Array>,
}

impl PyData {
    /// Lends the data to `work`, which keeps no tensor of theirs.
    pub fn lend<T>(&self, work: impl FnOnce(&Dataset) -> Result<T>) -> Result<T> {
        let data = lock(&self.inner).to_device(self.device)?; // the same tensors: runs side by side do not wait here
        work(&data)
    }
}

#[pymethods]
impl PyData {
    #[new]
    fn new(py: Python, dataset: &Bound<PyAny>, device: &str) -> PyResult<Self> {
        let device = find_device(device)?;
        let classes: i64 = dataset.getattr("num_classes")?.extract()?;
        let (mean, std) = (dataset.getattr("mean")?.extract()?, dataset.getattr("std")?.extract()?);
        if !(2..=MOST_CLASSES).contains(&classes) {
            return Err(Error::Data(format!(
                "the data set has {classes} classes: 2 to {MOST_CLASSES} are possible"
            ))
            .into());
        }
        let mut arrays = Vec::new();
        let mut split = |part: &str| -> PyResult<Split> {
            let (pixels, truth) = (format!("{part}_images"), format!("{part}_labels"));
            let labels = labels(&dataset.getattr(truth.as_str())?, &truth)?;
            let (array, shape) = image_array(&dataset.getattr(pixels.as_str())?, &pixels)?;
            let borrowed = array.try_readonly()?;
            let pixels = borrowed.as_slice()?;
            let split = computing(py, || {
                // SAFETY: the array lives as long as the tensors, and a data set's images are read-only.
                let images = unsafe { images_over(pixels, shape)? };
                match device {
                    Device::Cpu => Split::of(images, &labels, classes),
                    // There they are stored as their shape says.
                    _ => Split::of(images.f_contiguous()?, &labels, classes)?.to_device(device),
                }
            })?;
            if device == Device::Cpu {
                arrays.push(array.unbind());
            }
            Ok(split)
        };
        let (train, test) = (split("train")?, split("test")?);
        let normalization = Normalization::new(mean, std)?;
        let inner = Mutex::new(Dataset { train, test, classes, normalization });
        Ok(PyData { inner, device, _arrays: arrays })
    }

    #[getter]
    fn device(&self) -> String {
        device_name(self.device)
    }
}

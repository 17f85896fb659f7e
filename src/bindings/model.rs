use std::path::PathBuf;
use std::sync::Mutex;

use ndarray::Array1;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3_tch::PyTensor;
use tch::{Device, Kind, Tensor};

use super::arguments::type_name;
use super::images::{images, labels, Images};
use super::network::PyNetwork;
use super::run::{computing, lock};
use crate::data::{self, Split};
use crate::error::Result;
use crate::evaluate::{logits, Evaluator, Summary};
use crate::libtorch::{matrix, precision as find_precision};
use crate::network::{Model, Precision};

/// A network with its weights.
#[pyclass(name = "Model", module = "everybatch", frozen)]
pub struct PyModel {
    inner: Mutex<Model>,
}

impl PyModel {
    pub fn new(model: Model) -> Self {
        PyModel { inner: Mutex::new(model) }
    }

    /// A copy with weights of its own, to work on while the model stays usable.
    pub fn copied(&self) -> Result<Model> {
        lock(&self.inner).to_device(Device::Cpu)
    }

    fn logits_of(&self, py: Python, given: &Bound<PyAny>) -> PyResult<Tensor> {
        let Images { pixels, shape } = images(given, "images")?;
        computing(py, || self.measured(&pixels, shape))
    }

    fn measured(&self, pixels: &[u8], shape: [usize; 4]) -> Result<Tensor> {
        let images = data::images(pixels, shape)?;
        let model = lock(&self.inner);
        let [_, height, width, channels] = shape.map(|size| size as i64);
        model.network.for_input([channels, height, width])?; // an error that names the layer, if one does not fit
        logits(&model, &images, Precision::Float32)
    }
}

#[pymethods]
impl PyModel {
    #[getter]
    fn network(&self) -> PyNetwork {
        PyNetwork(lock(&self.inner).network.clone())
    }

    /// Per-channel mean of pixels in [0, 1] that images are normalised with; None before training.
    #[getter]
    fn mean(&self) -> Option<Vec<f64>> {
        lock(&self.inner).normalization.as_ref().map(|norm| norm.mean.clone())
    }

    /// Per-channel standard deviation of pixels in [0, 1] that images are normalised with; None before training.
    #[getter]
    fn std(&self) -> Option<Vec<f64>> {
        lock(&self.inner).normalization.as_ref().map(|norm| norm.std.clone())
    }

    /// The most likely class (N,) int64 of each image.
    fn predict<'py>(&self, py: Python<'py>, images: &Bound<PyAny>) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let logits = self.logits_of(py, images)?;
        let classes = computing(py, move || Ok(Vec::<i64>::try_from(logits.f_argmax(1, false)?)?))?;
        Ok(Array1::from(classes).into_pyarray(py))
    }

    /// Probabilities (N, classes) float32.
    fn predict_proba<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let logits = self.logits_of(py, images)?;
        let rows = computing(py, move || matrix(&logits.f_softmax(1, Kind::Float)?))?;
        Ok(rows.into_pyarray(py))
    }

    /// Logits (N, classes) float32.
    fn logits<'py>(&self, py: Python<'py>, images: &Bound<PyAny>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let logits = self.logits_of(py, images)?;
        Ok(computing(py, move || matrix(&logits))?.into_pyarray(py))
    }

    /// Loss, accuracy, accuracy of each class and confusion on a data set's test images, or on images with labels.
    #[pyo3(signature = (data, labels=None, *, precision="float32"))]
    fn evaluate(
        &self,
        py: Python,
        data: &Bound<PyAny>,
        labels: Option<Bound<PyAny>>,
        precision: &str,
    ) -> PyResult<PyEvaluation> {
        let precision = find_precision(precision, Device::Cpu)?;
        let (given, truth) = match labels {
            Some(labels) => (data.clone(), labels),
            None if data.hasattr("test_images")? => {
                (data.getattr("test_images")?, data.getattr("test_labels")?)
            }
            None => {
                let kind = type_name(data);
                let text =
                    format!("evaluate needs a Dataset, or images and labels; it was given a {kind} alone");
                return Err(pyo3::exceptions::PyTypeError::new_err(text));
            }
        };
        let Images { pixels, shape } = images(&given, "images")?;
        let truth = self::labels(&truth, "labels")?;
        let summary = computing(py, || {
            let model = lock(&self.inner);
            let classes = model.network.num_classes()?;
            let split = Split::new(&pixels, shape, &truth, classes)?;
            model.network.for_input(split.image_shape())?;
            let evaluator = Evaluator::new(&split, &model.normalization(), classes, precision)?;
            Summary::new(&evaluator.measure(&model)?, &split.labels)
        })?;
        Ok(PyEvaluation {
            loss: summary.loss,
            accuracy: summary.accuracy,
            class_accuracy: summary.class_accuracy.into_pyarray(py).unbind(),
            confusion: summary.confusion.into_pyarray(py).unbind(),
        })
    }

    /// Names and torch tensors that share memory with the model, as PyTorch would name them.
    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = lock(&self.inner).state_dict()?;
        let dict = PyDict::new(py);
        for (name, tensor) in state {
            dict.set_item(name, PyTensor(tensor))?;
        }
        Ok(dict)
    }

    /// Copies values in. Names and shapes must be the model's.
    fn load_state_dict(&self, py: Python, state_dict: &Bound<PyAny>) -> PyResult<()> {
        let mut state = Vec::new();
        let items = state_dict.call_method0("items").map_err(|_| {
            let kind = type_name(state_dict);
            pyo3::exceptions::PyTypeError::new_err(format!(
                "state_dict must map names to tensors, and is a {kind}"
            ))
        })?;
        for item in items.try_iter()? {
            let (name, value): (Bound<PyAny>, Bound<PyAny>) = item?.extract()?;
            let name: String = name.extract().map_err(|_| {
                pyo3::exceptions::PyTypeError::new_err(format!(
                    "state dict: names must be text, and {name} is not"
                ))
            })?;
            let tensor: PyTensor = value.extract().map_err(|_| {
                let kind = type_name(&value);
                pyo3::exceptions::PyTypeError::new_err(format!(
                    "state dict: {name} is a {kind}, not a torch.Tensor"
                ))
            })?;
            state.push((name, tensor.0));
        }
        computing(py, move || lock(&self.inner).load_state_dict(&state))
    }

    /// Writes network, weights and normalisation to one safetensors file.
    fn save(&self, py: Python, path: PathBuf) -> PyResult<()> {
        computing(py, || lock(&self.inner).save(&path))
    }

    /// Reads what `save` wrote.
    #[staticmethod]
    fn load(py: Python, path: PathBuf) -> PyResult<PyModel> {
        Ok(PyModel::new(computing(py, || Model::load(&path))?))
    }

    /// A model with weights of its own.
    fn copy(&self, py: Python) -> PyResult<PyModel> {
        Ok(PyModel::new(computing(py, || self.copied())?))
    }

    fn __repr__(&self) -> String {
        let network = &lock(&self.inner).network;
        format!("<Model {:?}: {} parameters>", network.name, network.num_parameters())
    }
}

/// What `Model.evaluate` measured.
#[pyclass(name = "Evaluation", module = "everybatch", frozen, get_all)]
pub struct PyEvaluation {
    /// Mean cross-entropy.
    loss: f64,
    /// Share predicted right, in [0, 1].
    accuracy: f64,
    /// (classes,) float32; NaN for a class with no image.
    class_accuracy: Py<PyArray1<f32>>,
    /// (classes, classes) int64; rows are true classes.
    confusion: Py<PyArray2<i64>>,
}

#[pymethods]
impl PyEvaluation {
    fn __repr__(&self) -> String {
        format!("<Evaluation: loss {:.4}, accuracy {:.2} %>", self.loss, 100.0 * self.accuracy)
    }
}

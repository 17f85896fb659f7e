use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use ndarray::Array1;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use pyo3_tch::PyTensor;
use tch::{Device, Kind, Tensor};

use super::arguments::type_name;
use super::from_python::from_name;
use super::images::{images, labels, Images};
use super::network::PyNetwork;
use super::python::{ours, CHECK_TENSOR, GROUND, IMAGES_AND_LABELS, MODEL_IMAGES, NUMBERS_OF_LABELS};
use super::run::{computing, lock, raised};
use crate::data::{self, Split};
use crate::error::{Error, Result};
use crate::evaluate::{logits, Evaluator, Summary};
use crate::libtorch::{check_precision, matrix};
use crate::network::{Model, Precision};

#[doc = python_doc!("Model")]
#[pyclass(name = "Model", module = "everybatch", frozen)]
pub struct PyModel {
    inner: Mutex<Model>,
    /// Asked before each look into weights that belong to someone else: None, or why they are no longer that one's.
    owner: Option<PyObject>,
}

impl PyModel {
    pub fn new(model: Model) -> Self {
        PyModel { inner: Mutex::new(model), owner: None }
    }

    /// A copy with weights of its own, to work on while the model stays usable.
    pub fn copied(&self) -> Result<Model> {
        self.whole()?.to_device(Device::Cpu)
    }

    /// The weights themselves, as they are at any later time; copies of those alone that lie in another order in memory.
    pub fn shared(&self) -> Result<Model> {
        self.whole()?.contiguous()
    }

    /// Looks at the model, or changes it, and lets other threads of Python go on while one that computes with it holds it.
    fn with<T: Send>(&self, py: Python, look: impl FnOnce(&mut Model) -> T + Send) -> T {
        py.allow_threads(|| look(&mut lock(&self.inner)))
    }

    /// The model, to look into its weights. They are looked after first: the tensors of `state_dict` share their memory.
    fn whole(&self) -> Result<MutexGuard<'_, Model>> {
        if let Some(owner) = &self.owner {
            // Before the lock, which nobody may hold who waits for Python's.
            let asked = Python::with_gil(|py| owner.call0(py)?.extract::<Option<String>>(py));
            if let Some(gone) = asked.map_err(raised)? {
                return Err(Error::Argument(gone));
            }
        }
        let model = lock(&self.inner);
        model.check_memory()?;
        Ok(model)
    }

    /// Images in any form that `everybatch._model_images` knows.
    fn images_of(
        &self,
        py: Python,
        given: &Bound<PyAny>,
        background: Option<&Bound<PyAny>>,
    ) -> PyResult<Images> {
        let read = MODEL_IMAGES.get(py)?;
        images(&read.call1((given, self.network(py), background, self.background(py)))?, "images")
    }

    fn logits_of(
        &self,
        py: Python,
        given: &Bound<PyAny>,
        background: Option<&Bound<PyAny>>,
    ) -> PyResult<Tensor> {
        let Images { pixels, shape } = self.images_of(py, given, background)?;
        computing(py, || {
            let images = data::images(&pixels, shape)?;
            logits(&*self.whole()?, &images, Precision::Float32)
        })
    }
}

#[pymethods]
impl PyModel {
    /// Python's collector has to see the owner, a module, which may hold this in turn.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)
    }

    #[getter]
    fn network(&self, py: Python) -> PyNetwork {
        PyNetwork(self.with(py, |model| model.network.clone()))
    }

    /// Per-channel mean of pixels in [0, 1] that images are normalised with; None before training.
    #[getter]
    fn mean(&self, py: Python) -> Option<Vec<f64>> {
        self.with(py, |model| model.normalization.as_ref().map(|norm| norm.mean.clone()))
    }

    /// Per-channel standard deviation of pixels in [0, 1] that images are normalised with; None before training.
    #[getter]
    fn std(&self, py: Python) -> Option<Vec<f64>> {
        self.with(py, |model| model.normalization.as_ref().map(|norm| norm.std.clone()))
    }

    #[doc = python_doc!("Model.classes")]
    #[getter]
    fn classes<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let names = self.with(py, |model| model.classes().map(<[String]>::to_vec));
        names.map(|names| PyTuple::new(py, names)).transpose()
    }

    #[setter]
    fn set_classes(&self, py: Python, classes: Option<&Bound<PyAny>>) -> PyResult<()> {
        let Some(given) = classes else { return Ok(self.with(py, |model| model.set_classes(None))?) };
        let kind = type_name(given);
        // Anything else that can be gone through has no order, or letters for names.
        if !["list", "tuple"].contains(&kind.as_str()) {
            let text = format!("classes must be a list or tuple of names, not {kind}");
            return Err(pyo3::exceptions::PyTypeError::new_err(text));
        }
        let mut names = Vec::new();
        for name in given.try_iter()? {
            let name = name?;
            if !name.is_instance_of::<pyo3::types::PyString>() {
                let text = format!("classes must be names, and {} is not text", name.repr()?);
                return Err(pyo3::exceptions::PyTypeError::new_err(text));
            }
            let text = name.extract::<String>();
            names.push(text.map_err(|_| {
                let shown = name.repr().map(|shown| shown.to_string()).unwrap_or_default();
                ours("ArgumentError", format!("the name of a class is {shown}, which no file can hold"))
            })?);
        }
        Ok(self.with(py, |model| model.set_classes(Some(names)))?)
    }

    #[doc = python_doc!("Model.background")]
    #[getter]
    fn background(&self, py: Python) -> Option<(u8, u8, u8)> {
        self.with(py, |model| model.background).map(Into::into)
    }

    #[setter]
    fn set_background(&self, py: Python, background: Option<&Bound<PyAny>>) -> PyResult<()> {
        let levels = match background {
            None => None,
            Some(given) => Some(GROUND.get(py)?.call1((given,))?.extract::<(u8, u8, u8)>()?.into()),
        };
        self.with(py, |model| model.background = levels);
        Ok(())
    }

    /// (channels, height, width) of one image, that of `network`: images of another shape are refused.
    #[getter]
    fn input_shape(&self, py: Python) -> (i64, i64, i64) {
        self.with(py, |model| model.network.input_shape).into()
    }

    #[doc = python_doc!("Model.predict")]
    #[pyo3(signature = (images, *, background=None))]
    fn predict<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<PyAny>,
        background: Option<&Bound<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let logits = self.logits_of(py, images, background)?;
        let classes = computing(py, move || Ok(Vec::<i64>::try_from(logits.f_argmax(1, false)?)?))?;
        Ok(Array1::from(classes).into_pyarray(py))
    }

    /// Probabilities (N, classes) float32.
    #[pyo3(signature = (images, *, background=None))]
    fn predict_proba<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<PyAny>,
        background: Option<&Bound<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let logits = self.logits_of(py, images, background)?;
        let rows = computing(py, move || matrix(&logits.f_softmax(1, Kind::Float)?))?;
        Ok(rows.into_pyarray(py))
    }

    /// Logits (N, classes) float32.
    #[pyo3(signature = (images, *, background=None))]
    fn logits<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<PyAny>,
        background: Option<&Bound<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let logits = self.logits_of(py, images, background)?;
        Ok(computing(py, move || matrix(&logits))?.into_pyarray(py))
    }

    #[doc = python_doc!("Model.evaluate")]
    #[pyo3(signature = (data, labels=None, *, precision="float32", match_classes=None, background=None))]
    fn evaluate(
        slf: &Bound<Self>,
        data: &Bound<PyAny>,
        labels: Option<Bound<PyAny>>,
        precision: &str,
        match_classes: Option<&Bound<PyAny>>,
        background: Option<&Bound<PyAny>>,
    ) -> PyResult<PyEvaluation> {
        let (py, own) = (slf.py(), slf.get());
        let precision: Precision = from_name(precision, "precision")?;
        check_precision(precision, Device::Cpu)?;
        let (given, truth, names) = if labels.is_some() || !data.hasattr("test_images")? {
            let Some(labels) = labels else {
                let kind = type_name(data);
                let text =
                    format!("evaluate needs a Dataset, or images and labels; it was given a {kind} alone");
                return Err(pyo3::exceptions::PyTypeError::new_err(text));
            };
            let truth = NUMBERS_OF_LABELS.get(py)?.call1((own.classes(py)?, labels, match_classes))?;
            (own.images_of(py, data, background)?, truth, own.classes(py)?.map(Bound::into_any))
        } else {
            let found = IMAGES_AND_LABELS.get(py)?.call1((slf, data, match_classes))?;
            let (given, truth, names): (Bound<PyAny>, Bound<PyAny>, Bound<PyAny>) = found.extract()?;
            (images(&given, "test_images")?, truth, Some(names))
        };
        let Images { pixels, shape } = given;
        let truth = self::labels(&truth, "labels")?;
        let summary = computing(py, || {
            let model = own.whole()?;
            let classes = model.network.num_classes()?;
            let split = Split::new(&pixels, shape, &truth, classes)?;
            let evaluator = Evaluator::new(&split, &model.normalization(), classes, precision)?;
            Summary::new(&evaluator.measure(&model)?, &split.labels)
        })?;
        Ok(PyEvaluation::new(py, summary, names.map(Bound::unbind)))
    }

    /// Names and torch tensors that share memory with the model, as PyTorch would name them.
    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = computing(py, || self.whole()?.state_dict())?;
        let dict = PyDict::new(py);
        for (name, tensor) in state {
            dict.set_item(name, PyTensor(tensor))?;
        }
        Ok(dict)
    }

    #[doc = python_doc!("Model.load_state_dict")]
    fn load_state_dict(&self, py: Python, state_dict: &Bound<PyAny>) -> PyResult<()> {
        let state = named_tensors(py, state_dict)?;
        computing(py, move || self.whole()?.load_state_dict(&state))
    }

    #[doc = python_doc!("Model.save")]
    fn save(&self, py: Python, path: PathBuf) -> PyResult<()> {
        computing(py, || self.whole()?.save(&path))
    }

    #[doc = python_doc!("Model.load")]
    #[staticmethod]
    fn load(py: Python, path: PathBuf) -> PyResult<PyModel> {
        Ok(PyModel::new(computing(py, || Model::load(&path))?))
    }

    /// A model with weights of its own.
    fn copy(&self, py: Python) -> PyResult<PyModel> {
        Ok(PyModel::new(computing(py, || self.copied())?))
    }

    /// Pickled as the bytes of its file.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let bytes = computing(py, || self.whole()?.to_bytes())?;
        Ok((py.get_type::<PyModel>().getattr("_from_bytes")?, (PyBytes::new(py, &bytes),)))
    }

    #[staticmethod]
    fn _from_bytes(py: Python, content: PyBackedBytes) -> PyResult<PyModel> {
        Ok(PyModel::new(computing(py, || Model::from_bytes(&content))?))
    }

    fn __repr__(&self, py: Python) -> String {
        let (name, parameters) =
            self.with(py, |model| (model.network.name.clone(), model.network.num_parameters()));
        format!("<Model {name:?}: {parameters} parameters>")
    }
}

/// A model of these tensors themselves, which whoever gave them goes on to share.
#[pyfunction]
#[pyo3(signature = (network, state_dict, mean=None, std=None, owner=None))]
pub fn model_of(
    py: Python,
    network: &PyNetwork,
    state_dict: &Bound<PyAny>,
    mean: Option<Vec<f64>>,
    std: Option<Vec<f64>>,
    owner: Option<PyObject>,
) -> PyResult<PyModel> {
    let state = named_tensors(py, state_dict)?;
    let normalization = network.normalization(mean, std)?;
    let network = network.0.clone();
    let model = computing(py, move || {
        let mut model = Model::of(network, state)?;
        model.set_normalization(normalization)?;
        Ok(model)
    })?;
    Ok(PyModel { owner, ..PyModel::new(model) })
}

/// A dict of names and tensors, of which the core can read each.
fn named_tensors(py: Python, state_dict: &Bound<PyAny>) -> PyResult<Vec<(String, Tensor)>> {
    let mut state = Vec::new();
    let items = state_dict.call_method0("items").map_err(|_| {
        let kind = type_name(state_dict);
        pyo3::exceptions::PyTypeError::new_err(format!(
            "state_dict must map names to tensors, and is a {kind}"
        ))
    })?;
    let check = CHECK_TENSOR.get(py)?;
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
        check.call1((&name, &value))?;
        state.push((name, tensor.0));
    }
    Ok(state)
}

/// What `Model.evaluate` measured.
#[pyclass(name = "Evaluation", module = "everybatch", frozen, get_all)]
pub struct PyEvaluation {
    /// Mean cross-entropy.
    loss: f64,
    /// Share predicted right, in [0, 1].
    accuracy: f64,
    /// (classes,) share of each class predicted right; NaN for a class with no image.
    class_accuracy: Py<PyArray1<f32>>,
    /// (classes, classes) counts; rows are true classes, columns predicted.
    confusion: Py<PyArray2<i64>>,
    /// Names of the classes in that order, which is the model's; None where nobody knows them.
    classes: Option<PyObject>,
}

impl PyEvaluation {
    pub fn new(py: Python, summary: Summary, classes: Option<PyObject>) -> Self {
        PyEvaluation {
            loss: summary.loss,
            accuracy: summary.accuracy,
            class_accuracy: summary.class_accuracy.into_pyarray(py).unbind(),
            confusion: summary.confusion.into_pyarray(py).unbind(),
            classes,
        }
    }
}

#[pymethods]
impl PyEvaluation {
    fn __repr__(&self) -> String {
        format!("<Evaluation: loss {:.4}, accuracy {:.2} %>", self.loss, 100.0 * self.accuracy)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let fields = ["loss", "accuracy", "class_accuracy", "confusion", "classes"];
        let fields = fields.iter().map(|name| slf.getattr(*name)).collect::<PyResult<Vec<_>>>()?;
        Ok((slf.get_type().getattr("_of")?, PyTuple::new(slf.py(), fields)?))
    }

    #[staticmethod]
    fn _of(
        loss: f64,
        accuracy: f64,
        class_accuracy: Py<PyArray1<f32>>,
        confusion: Py<PyArray2<i64>>,
        classes: Option<PyObject>,
    ) -> Self {
        PyEvaluation { loss, accuracy, class_accuracy, confusion, classes }
    }
}

//! The estimator with a source of the caller's own.

use std::sync::{Mutex, MutexGuard, TryLockError};

use numpy::{IntoPyArray, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tch::Tensor;

use super::run::computing;
use crate::error::{Error, Result};
use crate::evaluate::{Demand, Estimator, Figures, Metrics, Source};
use crate::libtorch::as_called;

/// Measures one fixed set of images by estimate.
#[pyclass(name = "Estimator", module = "everybatch", frozen)]
pub struct PyEstimator {
    measuring: Mutex<Measuring>,
    classes: i64,
}

struct Measuring {
    /// None where there are too few images for estimates.
    estimator: Option<Estimator>,
    /// (images,) int64
    labels: Tensor,
}

impl PyEstimator {
    /// Does not wait: whoever has it may be waiting for Python.
    fn take(&self) -> Result<MutexGuard<'_, Measuring>> {
        match self.measuring.try_lock() {
            Ok(taken) => Ok(taken),
            Err(TryLockError::Poisoned(left)) => Ok(left.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Error::argument("the estimator is measuring already")),
        }
    }
}

/// A Python function that gives logits.
struct Called<'a> {
    function: &'a Py<PyAny>,
    classes: i64,
    /// What it raised.
    raised: Option<PyErr>,
}

impl Source for Called<'_> {
    fn grain(&self) -> usize {
        1
    }

    fn logits(&mut self, images: &[i64]) -> Result<Tensor> {
        let call = |py: Python| -> PyResult<Tensor> {
            let given = self.function.call1(py, (images.to_vec().into_pyarray(py),))?;
            logits(given.bind(py), images.len(), self.classes)
        };
        as_called(|| Python::with_gil(call))?.map_err(|error| {
            self.raised = Some(error);
            Error::argument("the source raised an exception")
        })
    }
}

/// Float32 logits (n, classes) as a tensor.
fn logits(given: &Bound<PyAny>, count: usize, classes: i64) -> PyResult<Tensor> {
    let array: PyReadonlyArray2<f32> = given.extract().map_err(|_| {
        PyTypeError::new_err(format!("logits must be a float32 array ({count}, {classes}) of NumPy"))
    })?;
    if array.shape() != [count, classes as usize] {
        let shape = array.shape();
        return Err(Error::Shape(format!(
            "logits have the shape ({}, {}): {count} images of {classes} classes have ({count}, {classes})",
            shape[0], shape[1]
        ))
        .into());
    }
    let values = array.as_array().iter().copied().collect::<Vec<f32>>();
    Ok(Tensor::f_from_slice(&values)
        .and_then(|flat| flat.f_view([count as i64, classes]))
        .map_err(Error::from)?)
}

#[pymethods]
impl PyEstimator {
    #[new]
    #[pyo3(signature = (labels, classes, tolerance, complete_every=None, seed=0))]
    fn new(
        labels: PyReadonlyArray1<i64>,
        classes: i64,
        tolerance: f64,
        complete_every: Option<usize>,
        seed: u64,
    ) -> PyResult<Self> {
        let labels = Tensor::f_from_slice(&labels.as_array().to_vec()).map_err(Error::from)?;
        if complete_every == Some(0) {
            return Err(Error::argument("complete_every is 0: give at least one step").into());
        }
        let demand = Demand { tolerance, complete_every, seed };
        let estimator = Estimator::new(&labels, classes, demand)?;
        Ok(PyEstimator { measuring: Mutex::new(Measuring { estimator, labels }), classes })
    }

    /// Figures after `step` steps by name, from what `look` gives for the indices of images; None if a complete pass is due.
    fn estimate<'py>(
        &self,
        py: Python<'py>,
        step: usize,
        look: Py<PyAny>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let mut source = Called { function: &look, classes: self.classes, raised: None };
        let mut taken = self.take()?;
        let Some(estimator) = taken.estimator.as_mut() else { return Ok(None) };
        let found = computing(py, || estimator.estimate(step, &mut source));
        match (source.raised, found) {
            (Some(error), _) => Err(error),
            (None, found) => found?.map(|figures| by_name(py, figures)).transpose(),
        }
    }

    /// Takes up the logits (images, classes) of all images after `step` steps, and gives their figures by name.
    fn saw_all<'py>(
        &self,
        py: Python<'py>,
        step: usize,
        given: &Bound<PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let mut taken = self.take()?;
        let measuring = &mut *taken;
        let (given, classes) = (logits(given, measuring.labels.numel(), self.classes)?, self.classes);
        let figures = computing(py, move || {
            let Measuring { estimator, labels } = measuring;
            let figures = Metrics::new(&given, labels, classes)?.figures(labels)?;
            if let Some(estimator) = estimator {
                estimator.saw_all(step, &given, figures.accuracy)?;
            }
            Ok(figures)
        })?;
        by_name(py, figures)
    }

    /// The standard error that the next estimate aims at; None where every measurement is complete.
    fn target(&self) -> PyResult<Option<f64>> {
        Ok(self.take()?.estimator.as_ref().map(Estimator::target))
    }
}

fn by_name(py: Python<'_>, figures: Figures) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("loss", figures.loss)?;
    dict.set_item("accuracy", figures.accuracy)?;
    dict.set_item("class_accuracy", figures.class_accuracy.into_pyarray(py))?;
    dict.set_item("loss_error", figures.loss_error)?;
    dict.set_item("accuracy_error", figures.accuracy_error)?;
    dict.set_item("class_accuracy_error", figures.class_accuracy_error.into_pyarray(py))?;
    dict.set_item("images", figures.images)?;
    Ok(dict)
}

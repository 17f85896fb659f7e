//! A run whose steps Python takes: `everybatch.Meter` tells of them here, and has its module measured.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3_tch::PyTensor;
use tch::Tensor;

use super::dataset::PyData;
use super::from_python::from_python;
use super::journal::{added, Journal};
use super::model::{PyEvaluation, PyModel};
use super::python::plain;
use super::run::computing;
use crate::error::{Error, Result};
use crate::libtorch::{as_called, device as find_device};
use crate::network::Normalization;
use crate::train::{Batch, Means, Measuring, Meter, Told, TrainConfig};

/// Measures a module's weights, and records.
#[pyclass(name = "Meter", module = "everybatch", frozen)]
pub struct PyMeter {
    inner: Mutex<Inner>,
    /// Whose memory the images are.
    _data: Py<PyData>,
}

struct Inner {
    meter: Meter,
    journal: Option<Journal>,
}

impl PyMeter {
    /// Does not wait: whoever has it may be waiting for Python.
    fn take(&self) -> Result<MutexGuard<'_, Inner>> {
        match self.inner.try_lock() {
            Ok(taken) => Ok(taken),
            Err(TryLockError::Poisoned(left)) => Ok(left.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Error::argument(
                "the meter is at work: it was called from another thread, or by the module that it measures",
            )),
        }
    }

    /// Has `work` measure by a model of the core's, or by a function that gives logits (n, classes) of images.
    fn measuring<T: Send>(
        &self,
        py: Python,
        by: &Bound<PyAny>,
        work: impl FnOnce(&mut Meter, &Measuring) -> Result<T> + Send,
    ) -> PyResult<T> {
        let mut taken = self.take()?;
        let meter = &mut taken.meter;
        if let Ok(model) = by.downcast::<PyModel>() {
            let model = model.get();
            return computing(py, || work(meter, &Measuring::Plan(&model.shared()?)));
        }
        let (function, raised) = (by.clone().unbind(), Mutex::new(None));
        let done = computing(py, || {
            work(meter, &Measuring::Call(&|images: &Tensor| call(&function, images, &raised)))
        });
        match raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => done,
        }
    }
}

/// Logits from Python, with torch as the program has it.
fn call(function: &PyObject, images: &Tensor, raised: &Mutex<Option<PyErr>>) -> Result<Tensor> {
    let call = |py: Python| -> PyResult<Tensor> {
        let PyTensor(logits) = function.call1(py, (PyTensor(images.shallow_clone()),))?.extract(py)?;
        Ok(logits)
    };
    as_called(|| Python::with_gil(call))?.map_err(|error| {
        *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        Error::argument("the module raised an exception")
    })
}

#[pymethods]
impl PyMeter {
    #[new]
    #[pyo3(signature = (data, settings, device, mean, std, chunk, steps_per_epoch, total))]
    #[allow(clippy::too_many_arguments)] // each is one thing of the run
    fn new(
        py: Python,
        data: Py<PyData>,
        settings: &Bound<PyAny>,
        device: &str,
        mean: Vec<f64>,
        std: Vec<f64>,
        chunk: i64,
        steps_per_epoch: Option<usize>,
        total: Option<usize>,
    ) -> PyResult<Self> {
        let config: TrainConfig = from_python(settings, "")?;
        let (device, normalization) = (find_device(device)?, Normalization::new(mean, std)?);
        let means = Means { device, normalization, chunk, steps_per_epoch, total };
        let of = data.get();
        let meter = computing(py, || of.lend(|data| Meter::new(data, config, means)))?;
        Ok(PyMeter { inner: Mutex::new(Inner { meter, journal: None }), _data: data })
    }

    /// A step was taken, on the training images at indices (n,) of which the weights before made logits (n, classes), if
    /// that is told.
    #[pyo3(signature = (loss, accuracy=None, lr=None, batch=None))]
    fn step(
        &self,
        py: Python,
        loss: f64,
        accuracy: Option<f64>,
        lr: Option<f64>,
        batch: Option<(PyTensor, PyTensor)>,
    ) -> PyResult<()> {
        let mut taken = self.take()?;
        let meter = &mut taken.meter;
        computing(py, || {
            let batch = batch.map(|(PyTensor(indices), PyTensor(logits))| {
                Ok::<_, Error>(Batch { indices, logits: logits.f_detach()? })
            });
            meter.step(Told { loss, accuracy, lr, batch: batch.transpose()? })
        })
    }

    /// Whether the weights of now are to be measured; for the `last` time perhaps, which is to be complete.
    fn is_due(&self, last: bool) -> PyResult<bool> {
        Ok(self.take()?.meter.is_due(last))
    }

    /// Measures the weights of now, by a `Model` or by a function that gives logits.
    fn measure(&self, py: Python, by: &Bound<PyAny>, last: bool) -> PyResult<()> {
        self.measuring(py, by, |meter, by| meter.measure(by, last))
    }

    /// What they make of the test images, beside the history.
    fn evaluate(&self, py: Python, by: &Bound<PyAny>, classes: PyObject) -> PyResult<PyEvaluation> {
        let summary = self.measuring(py, by, |meter, by| meter.evaluate(by))?;
        Ok(PyEvaluation::new(py, summary, Some(classes)))
    }

    /// A copy of a model that normalises pixels as they are given to the module.
    fn copied(&self, py: Python, model: &PyModel) -> PyResult<PyModel> {
        let normalization = self.take()?.meter.normalization().clone();
        let copied = computing(py, || {
            let mut copied = model.copied()?;
            copied.set_normalization(Some(normalization))?;
            Ok(copied)
        })?;
        Ok(PyModel::new(copied))
    }

    /// Logits (n, classes) float32 of chosen test images.
    fn look(&self, py: Python, by: &Bound<PyAny>, images: Vec<i64>) -> PyResult<PyTensor> {
        self.measuring(py, by, |meter, by| meter.look(by, &images)).map(PyTensor)
    }

    /// The time until now was no step's.
    fn restart_clock(&self) -> PyResult<()> {
        self.take()?.meter.restart_clock();
        Ok(())
    }

    /// From now on rows go to this journal.
    fn write_to(&self, journal: PyObject) -> PyResult<()> {
        self.take()?.journal = Some(Journal::new(journal));
        Ok(())
    }

    /// Has the journal write what it lacks, if there is one: `now`, or if it is time to.
    fn write(&self, py: Python, now: bool) -> PyResult<()> {
        let mut taken = self.take()?;
        let Inner { meter, journal } = &mut *taken;
        match journal {
            Some(journal) if now || journal.is_due() => {
                computing(py, || journal.tell(&mut meter.columns()?, false))?
            }
            _ => Ok(()),
        }
    }

    /// Everything until now, by name.
    fn arrays<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let mut taken = self.take()?;
        let meter = &mut taken.meter;
        let dict = added(py, &mut meter.columns()?, &BTreeMap::new())?;
        let whole = computing(py, || meter.arrays())?;
        for (name, tensor) in whole {
            dict.set_item(name, PyTensor(tensor).into_pyobject(py)?.call_method0("numpy")?)?;
        }
        Ok(dict)
    }

    /// Steps taken.
    #[getter]
    fn steps(&self) -> PyResult<usize> {
        Ok(self.take()?.meter.taken())
    }

    /// Steps before a loss was not finite, if no measurement has found the weights sound since.
    #[getter]
    fn diverged_at(&self) -> PyResult<Option<usize>> {
        Ok(self.take()?.meter.history().diverged_at)
    }

    /// Whether steps told of their images.
    #[getter]
    fn tells_batches(&self) -> PyResult<bool> {
        Ok(self.take()?.meter.tells_batches())
    }

    /// Mean cross-entropy and share of right predictions of the test images when they were measured last.
    #[getter]
    fn newest(&self) -> PyResult<(f32, f32)> {
        let taken = self.take()?;
        let test = &taken.meter.history().test;
        let last = |values: &[f32]| values.last().copied().unwrap_or(f32::NAN);
        Ok((last(&test.loss), last(&test.accuracy)))
    }

    /// How a plan measured the test images; None if there was none.
    #[getter]
    fn evaluation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plain(py, &self.take()?.meter.choice())
    }
}

//! `train`: arguments in, the run in parts out; the Python front makes a `Run` of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use numpy::{Element, IntoPyArray, PyArray1, PyArray4};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use pyo3_tch::PyTensor;
use tch::Device;

use super::cuda::TorchGpu;
use super::dataset::PyData;
use super::from_python::{from_python, only};
use super::images::{images, Images};
use super::journal::read_state;
use super::model::PyModel;
use super::observer::{Called, PyObserver};
use super::python::plain;
use super::run::{computing, detached};
use super::turns::PyTurn;
use crate::data::{self, Augment, Augmenter};
use crate::error::Error;
use crate::libtorch::{
    check_precision, device as find_device, device_name, precisions as core_precisions, rows, Gpu,
};
use crate::train::{
    self as core, Adds, Column, End, History, LearningRate, Method, Predictions, Schedule, State,
    TrainConfig, WatchConfig,
};

/// The device that a name stands for ("auto", "cpu", "cuda", "cuda:1"), in PyTorch's words.
#[pyfunction]
pub fn resolve_device(name: &str) -> PyResult<String> {
    Ok(device_name(find_device(name)?))
}

#[doc = python_doc!("precisions")]
#[pyfunction]
#[pyo3(signature = (device="auto"))]
pub fn precisions<'py>(py: Python<'py>, device: &str) -> PyResult<Bound<'py, PyTuple>> {
    let all = core_precisions(find_device(device)?);
    Ok(plain(py, &all)?.downcast_into::<PyList>()?.to_tuple())
}

/// The settings of `train`, as far as the device can do what they ask.
fn config(settings: &Bound<PyAny>, device: Device) -> PyResult<TrainConfig> {
    let config: TrainConfig = from_python(settings, "")?;
    check_precision(config.precision, device)?;
    Ok(config)
}

/// Refuses settings, of a run on that device with so many steps in an epoch, that cannot work.
#[pyfunction]
pub fn check_settings(settings: &Bound<PyAny>, device: &str, steps_per_epoch: usize) -> PyResult<()> {
    let config = config(settings, find_device(device)?)?;
    config.check()?;
    config.length.check(steps_per_epoch)?;
    Ok(config.schedule.check_length(config.length.in_steps(steps_per_epoch))?)
}

/// What `train` gives.
#[pyclass(name = "Outcome", module = "everybatch", frozen, get_all)]
pub struct PyOutcome {
    /// By name.
    arrays: Py<PyDict>,
    /// With the weights that the settings select.
    model: Py<PyModel>,
    /// Steps before it had these weights.
    model_step: usize,
    /// How the test images were measured.
    evaluation: PyObject,
    /// How a GPU computed; None on a CPU.
    on_device: PyObject,
    /// How the run ended, and in words, if there is more to say.
    state: &'static str,
    message: String,
    /// Steps before the loss was not finite.
    diverged_at: Option<usize>,
    /// The exception that ended the run.
    raised: Option<PyObject>,
}

#[pymethods]
impl PyOutcome {
    /// Python's collector has to see the exception: its traceback leads back to whoever holds this.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.arrays)?;
        visit.call(&self.model)?;
        visit.call(&self.evaluation)?;
        visit.call(&self.on_device)?;
        visit.call(&self.raised)
    }
}

/// Trains a copy of `model`, with checkpoints in `folder` if the settings want them; after each step but the last `turn` is passed on.
/// `callbacks` are called with a `Step` after every so many steps, `evaluations` after every measurement, and `starts` with the
/// steps taken, before anything else. It goes on from `state` and the `history` that belongs to it, by the names of the arrays, if they are given: what a
/// `journal` kept.
#[pyfunction]
#[pyo3(signature = (model, data, settings, folder, progress, callbacks, turn=None, journal=None, state=None, history=None, starts=vec![], evaluations=vec![]))]
#[allow(clippy::too_many_arguments)] // each is one thing of the run
pub fn train(
    py: Python<'_>,
    model: &PyModel,
    data: &PyData,
    settings: &Bound<PyAny>,
    folder: Option<PathBuf>,
    progress: Option<PyObject>,
    callbacks: Vec<(PyObject, usize)>,
    turn: Option<&PyTurn>,
    journal: Option<PyObject>,
    state: Option<PyObject>,
    history: Option<BTreeMap<String, PyTensor>>,
    starts: Vec<PyObject>,
    evaluations: Vec<PyObject>,
) -> PyResult<PyOutcome> {
    let device = data.device;
    let mut config = config(settings, device)?;
    if let (Some(checkpoints), Some(folder)) = (&mut config.checkpoints, folder) {
        checkpoints.folder = folder;
    }
    let called = Called { starts, steps: callbacks, evaluations };
    let mut observer = PyObserver::new(progress, called, journal, turn.map(|turn| turn.0.clone()));
    let gpu = TorchGpu::new(py, device)?.map(|gpu| Arc::new(gpu) as Arc<dyn Gpu>);
    let outcome = computing(py, || {
        let model = model.copied()?;
        let mut from = state.as_ref().map(read_state).transpose()?;
        if let (Some(from), Some(history)) = (&mut from, history) {
            from.put("history", history.into_iter().map(|(name, PyTensor(list))| (name, list)))?;
        }
        data.lend(|data| core::train_with(&model, data, &config, device, gpu, from, &mut observer))
    })?;

    let mut raised = observer.raised;
    let mut diverged_at = None;
    let (state, mut message) = match outcome.end {
        End::Finished => (State::Finished, String::new()),
        End::Interrupted if raised.is_some() => (State::Failed, String::new()),
        End::Interrupted => (State::Interrupted, String::new()),
        End::Stopped => (State::Stopped, observer.reason),
        End::RanOutOfPatience => {
            let WatchConfig { monitor, patience, .. } = config.watch;
            let measurements = patience.unwrap_or_default();
            let complete = if config.tolerance.is_some() { " complete" } else { "" };
            let message =
                format!("{} did not improve in {measurements}{complete} measurements", monitor.name());
            (State::Stopped, message)
        }
        End::Diverged(step) => {
            diverged_at = Some(step);
            (State::Diverged, String::new())
        }
        End::Failed(error) => {
            let message = error.to_string();
            raised.get_or_insert_with(|| error.into());
            (State::Failed, message)
        }
    };
    if let Some(error) = &raised {
        message = error.value(py).to_string();
    }
    let evaluation = match outcome.on_device.as_ref().and_then(|report| report.evaluation.first()) {
        Some(choice) => plain(py, choice),
        None => plain(py, &outcome.evaluation),
    };
    Ok(PyOutcome {
        arrays: arrays(py, outcome.history)?.unbind(),
        model: Py::new(py, PyModel::new(outcome.model))?,
        model_step: outcome.model_step,
        evaluation: evaluation?.unbind(),
        on_device: plain(py, &outcome.on_device)?.unbind(),
        state: state.name(),
        message,
        diverged_at,
        raised: raised.map(|error| error.into_value(py).into_any()),
    })
}

/// The learning rate (steps,) float64 of each step of a run, as far as it does not depend on measurements.
#[pyfunction]
pub fn learning_rates<'py>(
    py: Python<'py>,
    schedule: &Bound<'py, PyAny>,
    lr: f64,
    steps: usize,
    steps_per_epoch: usize,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let schedule: Schedule = only(schedule, "a schedule")?;
    schedule.check(lr, &Method::default())?;
    let rate = LearningRate::new(&schedule, lr, steps, steps_per_epoch.max(1));
    let rates = detached(py, || Ok((0..steps).map(|step| rate.at(step)).collect::<Vec<_>>()))?;
    Ok(rates.into_pyarray(py))
}

/// Refuses an augmentation whose numbers cannot work.
#[pyfunction]
pub fn check_augment(augment: &Bound<PyAny>) -> PyResult<()> {
    augmentation(augment).map(drop)
}

fn augmentation(given: &Bound<PyAny>) -> PyResult<Augment> {
    let augment: Augment = only(given, "an augmentation")?;
    augment.check()?;
    Ok(augment)
}

/// Images (N, H, W, C) uint8 as a training step would see them, if `strength` in [0, 1] is its factor.
#[pyfunction]
pub fn augment<'py>(
    py: Python<'py>,
    given: &Bound<'py, PyAny>,
    augment: &Bound<'py, PyAny>,
    seed: u64,
    step: usize,
    strength: f64,
) -> PyResult<Bound<'py, PyArray4<u8>>> {
    let augment = augmentation(augment)?;
    if !(0.0..=1.0).contains(&strength) {
        return Err(Error::Argument(format!("strength is {strength}: it must lie in [0, 1]")).into());
    }
    let Images { pixels, shape } = images(given, "images")?;
    let changed = computing(py, || {
        let size = [shape[1] as i64, shape[2] as i64];
        let augmenter = Augmenter::new(&augment, size, seed, Device::Cpu)?;
        let changed = augmenter.apply(&data::images(&pixels, shape)?, step, strength)?;
        let bytes = changed.f_round()?.f_clamp(0.0, 255.0)?.f_to_kind(tch::Kind::Uint8)?;
        Ok(Vec::<u8>::try_from(bytes.f_permute([0, 2, 3, 1])?.f_flatten(0, -1)?)?)
    })?;
    let changed = ndarray::Array4::from_shape_vec(shape, changed)
        .map_err(|error| Error::Shape(format!("the changed images: {error}")))?;
    Ok(changed.into_pyarray(py))
}

/// Every list of the history by its name, and what it has of the run as a whole.
fn arrays(py: Python<'_>, mut history: History) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("confusion", std::mem::take(&mut history.confusion).into_pyarray(py))?;
    for (name, tensor) in std::mem::take(&mut history.examples) {
        dict.set_item(name, PyTensor(tensor).into_pyobject(py)?.call_method0("numpy")?)?;
    }
    for (name, column, adds) in history.columns() {
        let array = match column {
            Column::Float(list) => shaped(py, list, adds)?,
            Column::Double(list) => shaped(py, list, adds)?,
            Column::Int(list) => shaped(py, list, adds)?,
            Column::Half(list) => shaped(py, list, adds)?,
            Column::Bytes(list) => shaped(py, list, adds)?,
            Column::Classes(Predictions::Bytes(list)) => shaped(py, list, adds)?,
            Column::Classes(Predictions::Words(list)) => shaped(py, list, adds)?,
        };
        dict.set_item(name, array)?;
    }
    Ok(dict)
}

/// A list as an array, whose first axis is that of the list's rows.
fn shaped<'py, T: Element>(py: Python<'py>, list: &mut Vec<T>, adds: Adds) -> PyResult<Bound<'py, PyAny>> {
    Ok(match adds.row {
        None => std::mem::take(list).into_pyarray(py).into_any(),
        Some(values) => rows(std::mem::take(list), values)?.into_pyarray(py).into_any(),
    })
}

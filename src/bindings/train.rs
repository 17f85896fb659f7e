//! `train`: arguments in, the run in parts out; the Python front makes a `Run` of them.

use std::path::PathBuf;
use std::sync::Arc;

use numpy::{IntoPyArray, PyArray1, PyArray4};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::cuda::TorchGpu;
use super::dataset::PyData;
use super::images::{images, Images};
use super::model::PyModel;
use super::observer::PyObserver;
use super::run::{computing, detached};
use super::turns::PyTurn;
use crate::data::{self, Augment, Augmenter};
use crate::error::{unknown, Error, Result};
use crate::libtorch::{device as find_device, device_name, precision as find_precision, rows, Gpu};
use crate::train::{
    self as core, Checkpoints, Curves, End, Every, History, Kernels, LearningRate, Length, Method, Monitor,
    Predictions, Record, Schedule, TrainConfig, WatchConfig,
};

/// The device that a name stands for ("auto", "cpu", "cuda", "cuda:1"), in PyTorch's words.
#[pyfunction]
pub fn resolve_device(name: &str) -> PyResult<String> {
    Ok(device_name(find_device(name)?))
}

/// A Python dict of settings: [`TrainConfig`] in Python's types.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Settings {
    epochs: usize,
    steps: Option<usize>,
    batch_size: usize,
    optimizer: String,
    lr: f64,
    /// JSON
    schedule: String,
    weight_decay: f64,
    momentum: f64,
    nesterov: bool,
    betas: (f64, f64),
    eps: f64,
    label_smoothing: f64,
    ema: Option<f64>,
    /// JSON
    augment: Option<String>,
    validation: Vec<i64>,
    /// A number of steps, or None for the end of each epoch.
    evaluate_every: Option<usize>,
    evaluate_on: Option<Vec<i64>>,
    record: Vec<String>,
    monitor: String,
    keep_best: bool,
    patience: Option<usize>,
    min_delta: f64,
    checkpoints: Option<PathBuf>,
    checkpoint_every: Option<usize>,
    seed: u64,
    shuffle: bool,
    device: String,
    precision: String,
    deterministic: bool,
    kernels: String,
}

fn every(steps: Option<usize>) -> Every {
    steps.map_or(Every::EPOCH, Every::Steps)
}

impl Settings {
    fn method(&self) -> Result<Method> {
        let Settings { momentum, nesterov, weight_decay, betas, eps, .. } = *self;
        Ok(match self.optimizer.as_str() {
            "sgd" => Method::Sgd { momentum, nesterov, weight_decay },
            "adam" => Method::Adam { betas, eps, weight_decay },
            "adamw" => Method::AdamW { betas, eps, weight_decay },
            other => return Err(unknown("optimizer", other, &Method::NAMES)),
        })
    }

    fn config(self) -> Result<TrainConfig> {
        Ok(TrainConfig {
            length: self.steps.map_or(Length::Epochs(self.epochs), Length::Steps),
            batch_size: self.batch_size,
            method: self.method()?,
            lr: self.lr,
            schedule: Schedule::from_json(&self.schedule)?,
            label_smoothing: self.label_smoothing,
            ema: self.ema,
            augment: self.augment.as_deref().map(Augment::from_json).transpose()?,
            validation: self.validation,
            evaluate_every: every(self.evaluate_every),
            evaluate_on: self.evaluate_on,
            record: self.record.iter().map(|name| Record::from_name(name)).collect::<Result<_>>()?,
            watch: WatchConfig {
                monitor: Monitor::from_name(&self.monitor)?,
                keep_best: self.keep_best,
                patience: self.patience,
                min_delta: self.min_delta,
            },
            checkpoints: self
                .checkpoints
                .map(|folder| Checkpoints { folder, every: every(self.checkpoint_every) }),
            seed: self.seed,
            shuffle: self.shuffle,
            precision: find_precision(&self.precision, find_device(&self.device)?)?,
            deterministic: self.deterministic,
            kernels: Kernels::from_name(&self.kernels)?,
        })
    }
}

/// Refuses settings, of a run of `total_steps`, that cannot work.
#[pyfunction]
pub fn check_settings(settings: Settings, total_steps: usize) -> PyResult<()> {
    let config = settings.config()?;
    config.check()?;
    Ok(config.schedule.check_length(total_steps)?)
}

/// What `train` gives: see its docstring.
type Ended<'py> =
    (Bound<'py, PyDict>, PyModel, usize, [String; 2], &'static str, String, Option<usize>, Option<PyErr>);

/// Trains a copy of `model`; after each step but the last `turn` is passed on. Gives (arrays by name, the trained model,
/// the step of its weights, how the test images were measured and how a GPU computed (both JSON), how the run ended, its
/// message, the step at which it diverged, the exception that ended it).
#[pyfunction]
#[pyo3(signature = (model, data, settings, progress, callbacks, turn=None))]
pub fn train<'py>(
    py: Python<'py>,
    model: &PyModel,
    data: &PyData,
    settings: Settings,
    progress: Option<PyObject>,
    callbacks: Vec<(PyObject, usize)>,
    turn: Option<&PyTurn>,
) -> PyResult<Ended<'py>> {
    let device = find_device(&settings.device)?;
    let config = settings.config()?;
    let mut observer = PyObserver::new(progress, callbacks, turn.map(|turn| turn.0.clone()));
    let gpu = TorchGpu::new(py, device)?.map(|gpu| Arc::new(gpu) as Arc<dyn Gpu>);
    let outcome = computing(py, || {
        let model = model.copied()?;
        data.lend(|data| core::train_with(&model, data, &config, device, gpu, None, &mut observer))
    })?;

    let arrays = arrays(py, outcome.history)?;
    let (mut state, mut message, mut diverged_at) = ("finished", String::new(), None);
    let mut raised = observer.raised;
    match outcome.end {
        End::Finished => {}
        End::Interrupted if raised.is_some() => state = "failed",
        End::Interrupted => state = "interrupted",
        End::Stopped => (state, message) = ("stopped", observer.reason),
        End::RanOutOfPatience => {
            let (monitor, patience) =
                (config.watch.monitor.name(), config.watch.patience.unwrap_or_default());
            (state, message) = ("stopped", format!("{monitor} did not improve in {patience} measurements"));
        }
        End::Diverged(step) => (state, diverged_at) = ("diverged", Some(step)),
        End::Failed(error) => {
            (state, message) = ("failed", error.to_string());
            raised.get_or_insert_with(|| error.into());
        }
    }
    if let Some(error) = &raised {
        message = error.value(py).to_string();
    }
    let evaluation = match outcome.on_device.as_ref().and_then(|report| report.evaluation.first()) {
        Some(choice) => json(choice),
        None => json(&outcome.evaluation),
    };
    let on_device = json(&outcome.on_device);
    let model = PyModel::new(outcome.model);
    Ok((arrays, model, outcome.model_step, [evaluation, on_device], state, message, diverged_at, raised))
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The learning rate (steps,) float64 of each step of a run, as far as it does not depend on measurements.
#[pyfunction]
pub fn learning_rates<'py>(
    py: Python<'py>,
    schedule: &str,
    lr: f64,
    steps: usize,
    steps_per_epoch: usize,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let schedule = Schedule::from_json(schedule)?;
    schedule.check(lr, &Method::Adam { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 })?;
    let rate = LearningRate::new(&schedule, lr, steps, steps_per_epoch.max(1));
    let rates = detached(py, || Ok((0..steps).map(|step| rate.at(step)).collect::<Vec<_>>()))?;
    Ok(rates.into_pyarray(py))
}

/// Refuses an augmentation (JSON) whose numbers cannot work.
#[pyfunction]
pub fn check_augment(augment: &str) -> PyResult<()> {
    Augment::from_json(augment)?;
    Ok(())
}

/// Images (N, H, W, C) uint8 as a training step would see them.
#[pyfunction]
pub fn augment<'py>(
    py: Python<'py>,
    given: &Bound<'py, PyAny>,
    augment: &str,
    seed: u64,
    step: usize,
) -> PyResult<Bound<'py, PyArray4<u8>>> {
    let augment = Augment::from_json(augment)?;
    let Images { pixels, shape } = images(given, "images")?;
    let changed = computing(py, || {
        let size = [shape[1] as i64, shape[2] as i64];
        let augmenter = Augmenter::new(&augment, size, seed, tch::Device::Cpu)?;
        let changed = augmenter.apply(&data::images(&pixels, shape)?, step)?;
        let bytes = changed.f_round()?.f_clamp(0.0, 255.0)?.f_to_kind(tch::Kind::Uint8)?;
        Ok(Vec::<u8>::try_from(bytes.f_permute([0, 2, 3, 1])?.f_flatten(0, -1)?)?)
    })?;
    let changed = ndarray::Array4::from_shape_vec(shape, changed)
        .map_err(|error| Error::Shape(format!("the changed images: {error}")))?;
    Ok(changed.into_pyarray(py))
}

fn arrays(py: Python<'_>, history: History) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    let images = history.test.images();
    match history.predictions {
        predictions if predictions.is_empty() => {}
        Predictions::Bytes(flat) => dict.set_item("predictions", rows(&flat, images).into_pyarray(py))?,
        Predictions::Words(flat) => dict.set_item("predictions", rows(&flat, images).into_pyarray(py))?,
    }
    let curves = |part: Curves, prefix: &str, class_accuracy: &str| -> PyResult<()> {
        dict.set_item(class_accuracy, part.class_accuracy().into_pyarray(py))?;
        dict.set_item(format!("{prefix}_loss"), part.loss.into_pyarray(py))?;
        dict.set_item(format!("{prefix}_accuracy"), part.accuracy.into_pyarray(py))
    };
    curves(history.test, "test", "class_accuracy")?;
    if let Some(validation) = history.validation {
        curves(validation, "validation", "validation_class_accuracy")?;
    }
    dict.set_item("train_loss", history.train_loss.into_pyarray(py))?;
    dict.set_item("train_accuracy", history.train_accuracy.into_pyarray(py))?;
    if let Some(norms) = history.grad_norm {
        dict.set_item("grad_norm", norms.into_pyarray(py))?;
    }
    dict.set_item("train_seconds", history.train_seconds.into_pyarray(py))?;
    dict.set_item("lr", history.lr.into_pyarray(py))?;
    dict.set_item("eval_step", history.eval_step.into_pyarray(py))?;
    dict.set_item("eval_seconds", history.eval_seconds.into_pyarray(py))?;
    dict.set_item("confusion", history.confusion.into_pyarray(py))?;
    Ok(dict)
}

//! `train`: arguments in, the run in parts out; the Python front makes a `Run` of them.

use numpy::IntoPyArray;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::images::{images, labels, Images};
use super::model::PyModel;
use super::observer::PyObserver;
use super::run::computing;
use crate::data::{Dataset, Split};
use crate::error::{unknown, Error, Result};
use crate::libtorch::{device as find_device, device_name, precision as find_precision};
use crate::network::Normalization;
use crate::train::{self as core, End, EvaluateEvery, History, Method, TrainConfig};

/// The device that a name stands for ("auto", "cpu", "cuda", "cuda:1"), in PyTorch's words.
#[pyfunction]
pub fn resolve_device(name: &str) -> PyResult<String> {
    Ok(device_name(find_device(name)?))
}

/// Trains a copy of `model`. Gives (arrays by name, the trained model, how it ended, its message, the step at which it
/// diverged, the exception that ended it).
#[pyfunction]
#[pyo3(signature = (model, dataset, *, epochs, batch_size, optimizer, lr, weight_decay, momentum, nesterov, betas, eps,
    evaluate_every, evaluate_on, record_predictions, seed, shuffle, device, precision, progress, callbacks))]
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
pub fn train<'py>(
    py: Python<'py>,
    model: &PyModel,
    dataset: &Bound<'py, PyAny>,
    epochs: usize,
    batch_size: usize,
    optimizer: &str,
    lr: f64,
    weight_decay: f64,
    momentum: f64,
    nesterov: bool,
    betas: (f64, f64),
    eps: f64,
    evaluate_every: Option<usize>,
    evaluate_on: Option<Vec<i64>>,
    record_predictions: bool,
    seed: u64,
    shuffle: bool,
    device: &str,
    precision: &str,
    progress: Option<PyObject>,
    callbacks: Vec<PyObject>,
) -> PyResult<(Bound<'py, PyDict>, PyModel, &'static str, String, Option<usize>, Option<PyErr>)> {
    let device = find_device(device)?;
    let config = TrainConfig {
        epochs,
        batch_size,
        method: match optimizer {
            "sgd" => Method::Sgd { momentum, nesterov, weight_decay },
            "adam" => Method::Adam { betas, eps, weight_decay },
            "adamw" => Method::AdamW { betas, eps, weight_decay },
            other => return Err(unknown("optimizer", other, &Method::NAMES).into()),
        },
        lr,
        evaluate_every: evaluate_every.map_or(EvaluateEvery::Epoch, EvaluateEvery::Steps),
        evaluate_on,
        record_predictions,
        seed,
        shuffle,
        precision: find_precision(precision, device)?,
    };
    let given = Given::extract(dataset)?;
    let mut observer = PyObserver::new(progress, callbacks);
    let outcome = computing(py, || {
        let model = model.copied()?;
        core::train(&model, &given.into_dataset()?, &config, device, &mut observer)
    })?;

    let arrays = arrays(py, outcome.history)?;
    let (mut state, mut message, mut diverged_at) = ("finished", String::new(), None);
    let mut raised = observer.raised;
    match outcome.end {
        End::Finished => {}
        End::Interrupted if raised.is_some() => state = "failed",
        End::Interrupted => state = "interrupted",
        End::Stopped => state = "stopped",
        End::Diverged(step) => (state, diverged_at) = ("diverged", Some(step)),
        End::Failed(error) => {
            (state, message) = ("failed", error.to_string());
            raised.get_or_insert_with(|| error.into());
        }
    }
    if let Some(error) = &raised {
        message = error.value(py).to_string();
    }
    Ok((arrays, PyModel::new(outcome.model), state, message, diverged_at, raised))
}

/// A Python `Dataset`'s contents, copied out of it.
struct Given {
    train: (Images, Vec<i64>),
    test: (Images, Vec<i64>),
    classes: i64,
    mean: Vec<f64>,
    std: Vec<f64>,
}

impl Given {
    fn extract(dataset: &Bound<PyAny>) -> PyResult<Self> {
        let part = |part: &str| -> PyResult<(Images, Vec<i64>)> {
            let (pixels, truth) = (format!("{part}_images"), format!("{part}_labels"));
            Ok((
                images(&dataset.getattr(pixels.as_str())?, &pixels)?,
                labels(&dataset.getattr(truth.as_str())?, &truth)?,
            ))
        };
        Ok(Given {
            train: part("train")?,
            test: part("test")?,
            classes: dataset.getattr("num_classes")?.extract()?,
            mean: dataset.getattr("mean")?.extract()?,
            std: dataset.getattr("std")?.extract()?,
        })
    }

    fn into_dataset(self) -> Result<Dataset> {
        let classes = self.classes;
        if !(2..=256).contains(&classes) {
            return Err(Error::Data(format!("the data set has {classes} classes: 2 to 256 are possible")));
        }
        let split =
            |(images, labels): (Images, Vec<i64>)| Split::new(&images.pixels, images.shape, &labels, classes);
        Ok(Dataset {
            train: split(self.train)?,
            test: split(self.test)?,
            classes,
            normalization: Normalization::new(self.mean, self.std)?,
        })
    }
}

fn arrays(py: Python<'_>, history: History) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("class_accuracy", history.class_accuracy().into_pyarray(py))?;
    if let Some(predictions) = history.predictions() {
        dict.set_item("predictions", predictions.into_pyarray(py))?;
    }
    dict.set_item("train_loss", history.train_loss.into_pyarray(py))?;
    dict.set_item("train_accuracy", history.train_accuracy.into_pyarray(py))?;
    dict.set_item("train_seconds", history.train_seconds.into_pyarray(py))?;
    dict.set_item("eval_step", history.eval_step.into_pyarray(py))?;
    dict.set_item("test_loss", history.test_loss.into_pyarray(py))?;
    dict.set_item("test_accuracy", history.test_accuracy.into_pyarray(py))?;
    dict.set_item("eval_seconds", history.eval_seconds.into_pyarray(py))?;
    dict.set_item("confusion", history.confusion.into_pyarray(py))?;
    Ok(dict)
}

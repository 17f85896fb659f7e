//! Steps of a run once more: `replay` and `effects`.

use std::sync::Arc;

use ndarray::Array2;
use numpy::{IntoPyArray, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::cuda::TorchGpu;
use super::dataset::PyData;
use super::from_python::from_python;
use super::python::LOGGER;
use super::run::computing;
use crate::error::{Error, Result};
use crate::evaluate::Seen;
use crate::libtorch::{as_called, rows, Gpu};
use crate::train::{Change, Effect, Effects, Next, Observer, Replay, RunState, Step};

/// Looks for Ctrl-C, and tells how far the replay is.
struct Looking {
    /// What was raised.
    raised: Option<PyErr>,
}

impl Observer for Looking {
    fn after_step(&mut self, _: &mut Step) -> Result<Next> {
        Ok(Next::Continue)
    }

    fn glance(&mut self) -> Result<Next> {
        Ok(match as_called(|| Python::with_gil(|py| py.check_signals()))? {
            Ok(()) => Next::Continue,
            Err(error) => {
                self.raised = Some(error);
                Next::Interrupt
            }
        })
    }

    fn notice(&mut self, should: bool, text: &str) {
        let log = |py: Python| -> PyResult<()> {
            LOGGER.get(py)?.call_method1(if should { "warning" } else { "info" }, (text,)).map(drop)
        };
        if let Err(error) = as_called(|| Python::with_gil(log)).unwrap_or_else(|error| Err(error.into())) {
            self.raised.get_or_insert(error);
        }
    }
}

/// Has `work` replay the run that `state` is of.
fn replaying<T: Send>(
    py: Python,
    state: &[u8],
    data: &PyData,
    recorded: PyReadonlyArray1<f32>,
    work: impl FnOnce(Replay) -> Result<T> + Send,
) -> PyResult<T> {
    let device = data.device;
    let gpu = TorchGpu::new(py, device)?.map(|gpu| Arc::new(gpu) as Arc<dyn Gpu>);
    let recorded = recorded.as_array().to_vec();
    let mut looking = Looking { raised: None };
    let done = computing(py, || {
        let state = RunState::from_safetensors(state)?;
        data.lend(|data| work(Replay::new(state, data, device, gpu, &recorded, &mut looking)?))
    });
    match looking.raised {
        Some(error) => Err(error),
        None => done,
    }
}

/// Step number `step` (from 0) of a run taken in several ways (dicts of the core's `Change`), and then `later` steps as the run
/// took them: `losses` (rows, images) float32, `predictions` (rows, images) int64 and the mean `loss` (rows,) float64 of the
/// test images. The first row is before the step; then follow for each way one right after it, and one after the later steps if
/// there are any. The run that kept `state` `recorded` these training losses.
#[pyfunction]
pub fn replay<'py>(
    py: Python<'py>,
    state: &[u8],
    data: &PyData,
    recorded: PyReadonlyArray1<f32>,
    step: usize,
    changes: Vec<Bound<'py, PyAny>>,
    later: usize,
) -> PyResult<Bound<'py, PyDict>> {
    let changes = changes.iter().map(|change| from_python::<Change>(change, ""));
    let changes = changes.collect::<PyResult<Vec<_>>>()?;
    let found = replaying(py, state, data, recorded, |mut replay| {
        let found = replay.otherwise(step, &changes, later)?;
        let all = std::iter::once(&found.before).chain(found.ways.iter().flatten());
        all.map(numbers).collect::<Result<Vec<_>>>()
    })?;
    let images = found.first().map_or(0, |(losses, ..)| losses.len());
    let (mut losses, mut predictions, mut means) = (Vec::new(), Vec::new(), Vec::new());
    for (loss, classes, mean) in found {
        losses.extend(loss);
        predictions.extend(classes);
        means.push(mean);
    }
    let dict = PyDict::new(py);
    dict.set_item("losses", rows(losses, images)?.into_pyarray(py))?;
    dict.set_item("predictions", rows(predictions, images)?.into_pyarray(py))?;
    dict.set_item("loss", means.into_pyarray(py))?;
    Ok(dict)
}

fn numbers(seen: &Seen) -> Result<(Vec<f32>, Vec<i64>, f64)> {
    let classes = seen.predictions.f_to_kind(tch::Kind::Int64)?;
    Ok((Vec::try_from(&seen.losses)?, Vec::try_from(&classes)?, seen.loss))
}

/// The effects of steps (n,), ascending, from 0, each against a null step, by name: (n,) float64 and int64, `class_loss` (n,
/// classes). `seen` is called with the number of each step that is done.
#[pyfunction]
#[pyo3(signature = (state, data, recorded, steps, classes, seen=None))]
pub fn effects<'py>(
    py: Python<'py>,
    state: &[u8],
    data: &PyData,
    recorded: PyReadonlyArray1<f32>,
    steps: Vec<usize>,
    classes: usize,
    seen: Option<PyObject>,
) -> PyResult<Bound<'py, PyDict>> {
    let mut raised = None;
    let found = replaying(py, state, data, recorded, |replay| {
        let mut effects = Effects::new(replay, classes)?;
        let one = |step: usize| {
            let effect = effects.of(step)?;
            if let Some(seen) = &seen {
                if let Err(error) = as_called(|| Python::with_gil(|py| seen.call1(py, (step,)).map(drop)))? {
                    raised = Some(error);
                    return Err(Error::argument("whoever looks on raised an exception"));
                }
            }
            Ok(effect)
        };
        steps.into_iter().map(one).collect::<Result<Vec<Effect>>>()
    });
    if let Some(error) = raised {
        return Err(error);
    }
    by_name(py, found?, classes)
}

fn by_name(py: Python<'_>, effects: Vec<Effect>, classes: usize) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    let number = |get: fn(&Effect) -> f64| effects.iter().map(get).collect::<Vec<_>>().into_pyarray(py);
    let count = |get: fn(&Effect) -> i64| effects.iter().map(get).collect::<Vec<_>>().into_pyarray(py);
    dict.set_item("loss", number(|effect| effect.loss))?;
    dict.set_item("loss_error", number(|effect| effect.loss_error))?;
    dict.set_item("before", number(|effect| effect.before))?;
    dict.set_item("after", number(|effect| effect.after))?;
    dict.set_item("gained", count(|effect| effect.gained))?;
    dict.set_item("lost", count(|effect| effect.lost))?;
    let by_class: Vec<f64> = effects.iter().flat_map(|effect| effect.class_loss.clone()).collect();
    let by_class: Array2<f64> = rows(by_class, classes)?;
    dict.set_item("class_loss", by_class.into_pyarray(py))?;
    Ok(dict)
}

//! The journal of a run, which Python writes as the run goes on: all rows of its history, and now and then its state.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use numpy::{Element, PyArray1, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use pyo3_tch::PyTensor;

use super::model::PyModel;
use super::run::{computing, lock, raised};
use crate::error::{Error, Result};
use crate::libtorch::as_called;
use crate::network::Packed;
use crate::train::{Adds, Column, Predictions, RunState, Step};

/// A list of the history, as [`crate::train::History::columns`] tells it.
pub type Listed<'a> = (&'static str, Column<'a>, Adds);

/// Bytes that are copied at a time to be written.
const PIECE: usize = 1 << 20;

/// How often at most rows are written, unless something may take long.
const PAUSE: Duration = Duration::from_millis(200);

pub struct Journal {
    /// Has `rows`, the numbers of rows that it holds by their axis; `write`, which takes those that it lacks and whether the run ends
    /// with them, and tells whether it wants the state; and `keep`, which takes that.
    writer: PyObject,
    last: Instant,
    wants_state: bool,
}

impl Journal {
    pub fn new(writer: PyObject) -> Self {
        Journal { writer, last: Instant::now(), wants_state: false }
    }

    /// Writes what was recorded since, if it is time to or `now`; waits for the device.
    pub fn write(&mut self, step: &mut Step, now: bool) -> Result<PyResult<()>> {
        if !now && !self.is_due() {
            return Ok(Ok(()));
        }
        self.write_now(step, false)
    }

    /// Whether it is time to write.
    pub fn is_due(&self) -> bool {
        self.last.elapsed() >= PAUSE
    }

    fn write_now(&mut self, step: &mut Step, ends: bool) -> Result<PyResult<()>> {
        step.complete_history()?;
        self.tell(&mut step.columns(), ends)
    }

    /// Writes what these lists have beyond the rows that are held.
    pub fn tell(&mut self, columns: &mut [Listed], ends: bool) -> Result<PyResult<()>> {
        let written = as_called(|| {
            Python::with_gil(|py| -> PyResult<bool> {
                let writer = self.writer.bind(py);
                let held: BTreeMap<String, usize> = writer.getattr("rows")?.extract()?;
                writer.call_method1("write", (added(py, columns, &held)?, ends))?.extract()
            })
        })?;
        self.last = Instant::now();
        Ok(written.map(|wants_state| self.wants_state = wants_state))
    }

    /// Keeps the state of the run, if the writer wants it: now and then, or because the run `ends`; waits for the device.
    pub fn keep(&mut self, step: &mut Step, ends: bool) -> Result<PyResult<()>> {
        if !ends && !self.wants_state {
            return Ok(Ok(()));
        }
        if let Err(error) = self.write_now(step, ends)? {
            return Ok(Err(error));
        }
        if !self.wants_state {
            return Ok(Ok(())); // the rows that belong to it could not be written, for example
        }
        self.wants_state = false;
        let state = StateFile(Mutex::new(Some(step.state()?.packed()?)));
        as_called(|| {
            Python::with_gil(|py| {
                let state = Bound::new(py, state)?;
                let kept = self.writer.call_method1(py, "keep", (&state, step.taken, step.model_step()));
                *lock(&state.get().0) = None; // its memory is the run's, which goes on
                kept.map(drop)
            })
        })
    }
}

/// The state of a run as a file, which takes no memory of its own; as long as the writer has not returned.
#[pyclass(frozen, module = "everybatch._core")]
struct StateFile(Mutex<Option<Packed>>);

#[pymethods]
impl StateFile {
    /// Calls `take` with the bytes of one piece after the other.
    fn write(&self, py: Python, take: &Bound<PyAny>) -> PyResult<()> {
        let packed = lock(&self.0);
        let gone = || Error::argument("this state is the run's own, which has gone on");
        packed.as_ref().ok_or_else(gone)?.pieces(|whole| {
            whole.chunks(PIECE).try_for_each(|piece| take.call1((PyBytes::new(py, piece),)).map(drop))
        })
    }
}

/// The state in a payload of `everybatch.folder`, which is closed after that.
pub fn read_state(payload: &PyObject) -> Result<RunState> {
    let state = RunState::read(length(payload)?, |range| piece(payload, range));
    asked(|py| payload.call_method0(py, "close"))?;
    state
}

/// Bytes of a payload.
fn length(payload: &PyObject) -> Result<usize> {
    asked(|py| payload.getattr(py, "length")?.extract(py))
}

fn piece(payload: &PyObject, range: Range<usize>) -> Result<PyBackedBytes> {
    asked(|py| payload.call_method1(py, "read", (range.start, range.len()))?.extract(py))
}

/// What Python gives in the middle of the work.
fn asked<T>(question: impl FnOnce(Python) -> PyResult<T>) -> Result<T> {
    as_called(|| Python::with_gil(question))?.map_err(raised)
}

/// Of a kept state: the model that the run would have given if it had ended there, which began with `beginning`; and by
/// their names the arrays that it would have given of the run as a whole, such as the confusions at the last measurement of
/// all images, if there was one.
#[pyfunction]
pub fn look_at_state(
    py: Python,
    state: PyObject,
    beginning: &PyModel,
) -> PyResult<(PyModel, BTreeMap<String, PyTensor>)> {
    let (model, arrays) = computing(py, || {
        let state = RunState::read_outcome(length(&state)?, |range| piece(&state, range))?;
        Ok((state.model(&beginning.copied()?)?, state.arrays()))
    })?;
    Ok((PyModel::new(model), arrays.into_iter().map(|(name, array)| (name, PyTensor(array))).collect()))
}

/// By name what the lists of the history have beyond the rows that are held.
pub fn added<'py>(
    py: Python<'py>,
    columns: &mut [Listed],
    held: &BTreeMap<String, usize>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, column, adds) in columns {
        let held = held.get(adds.axis.name()).copied().unwrap_or_default();
        let array = match column {
            Column::Float(list) => rows(py, list, *adds, held)?,
            Column::Double(list) => rows(py, list, *adds, held)?,
            Column::Int(list) => rows(py, list, *adds, held)?,
            Column::Half(list) => rows(py, list, *adds, held)?,
            Column::Bytes(list) => rows(py, list, *adds, held)?,
            Column::Classes(Predictions::Bytes(list)) => rows(py, list, *adds, held)?,
            Column::Classes(Predictions::Words(list)) => rows(py, list, *adds, held)?,
        };
        dict.set_item(*name, array)?;
    }
    Ok(dict)
}

/// The rows of a list after those that are held.
fn rows<'py, T: Element>(
    py: Python<'py>,
    list: &[T],
    adds: Adds,
    held: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let from = held * adds.row.unwrap_or(1);
    let list = PyArray1::from_slice(py, &list[from.min(list.len())..]);
    match adds.row {
        Some(values) => Ok(list.reshape([list.len()? / values.max(1), values])?.into_any()),
        None => Ok(list.into_any()),
    }
}

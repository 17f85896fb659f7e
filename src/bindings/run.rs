//! The one way from Python into the core.

use std::any::Any;
use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use super::{python::ours, signal_stack};

use crate::error::{Error, Result};
use crate::libtorch::plain;

thread_local! {
    /// What Python raised when it was asked something in the middle of the work, such as Ctrl-C.
    static RAISED: Cell<Option<PyErr>> = const { Cell::new(None) };
}

/// Puts an exception aside, and gives the error that ends the work; then the exception takes its place.
pub fn raised(error: PyErr) -> Error {
    let ended = Error::Argument(error.to_string());
    RAISED.set(Some(error));
    ended
}

/// Runs `work` without the Python lock. Errors become exceptions, and so does a panic.
pub fn detached<T: Send>(py: Python, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    drop(RAISED.take()); // of work whose error was of no interest
    match py.allow_threads(|| catch_unwind(AssertUnwindSafe(work))) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Err(RAISED.take().unwrap_or_else(|| error.into())),
        Err(panic) => Err(ours("InternalError", message(panic.as_ref()))),
    }
}

/// The same for work that computes with tensors: what is set in torch is put aside meanwhile.
pub fn computing<T: Send>(py: Python, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    detached(py, || {
        signal_stack::give();
        plain(work)
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("this is a bug in everybatch, please report it: {}", text.unwrap_or("a panic without a message"))
}

/// Locks a value that outlives panics: each of our values is whole at any time.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

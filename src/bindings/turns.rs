use std::sync::Arc;

use pyo3::prelude::*;

use super::run::detached;
use crate::error::Result;
use crate::train::{Turn, Turns, Verdict};

/// A circle of threads of which one at a time goes on.
#[pyclass(name = "Turns", module = "everybatch", frozen)]
pub struct PyTurns(Turns);

#[pymethods]
impl PyTurns {
    #[new]
    fn new() -> Self {
        PyTurns(Turns::default())
    }

    /// A new place at the end of the circle.
    fn join(&self) -> PyTurn {
        PyTurn(Arc::new(self.0.join()))
    }

    /// Lets everyone hear of the end at their next turn.
    fn stop(&self) {
        self.0.stop();
    }
}

/// A place in the circle.
#[pyclass(name = "Turn", module = "everybatch", frozen)]
pub struct PyTurn(pub Arc<Turn>);

#[pymethods]
impl PyTurn {
    /// Blocks until it is this one's turn; gives whether to go on.
    fn wait(&self, py: Python) -> PyResult<bool> {
        detached(py, || goes_on(self.0.wait()))
    }

    /// Gives the turn on and blocks until it comes back; gives whether to go on.
    fn pass_on(&self, py: Python) -> PyResult<bool> {
        detached(py, || goes_on(self.0.pass_on()))
    }

    /// Leaves the circle.
    fn leave(&self) {
        self.0.leave();
    }
}

fn goes_on(verdict: Verdict) -> Result<bool> {
    Ok(verdict == Verdict::GoOn)
}

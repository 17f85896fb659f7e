//! The core of everybatch: it trains small image classifiers and measures the whole test set after every batch.
//!
//! Everything but `bindings` knows nothing of Python.

pub mod data;
pub mod error;
pub mod evaluate;
mod heap;
mod kernels;
pub mod libtorch;
mod names;
pub mod network;
pub mod train;

#[cfg(feature = "python")]
mod bindings;

/// `everybatch._core`
#[cfg(feature = "python")]
#[pyo3::pymodule]
fn _core(module: &pyo3::Bound<pyo3::types::PyModule>) -> pyo3::PyResult<()> {
    bindings::register(module)
}

use std::path::PathBuf;

use numpy::{IntoPyArray, PyArray1, PyArray3, PyArrayDyn};
use pyo3::prelude::*;

use super::run::detached;
use crate::data::{glyphs as digits, idx, BatchOrder};

/// The array that an IDX file holds (unsigned bytes; gzip or plain), with as many dimensions as it says.
#[pyfunction]
pub fn read_idx<'py>(py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyArrayDyn<u8>>> {
    Ok(detached(py, || idx::read(&path))?.into_pyarray(py))
}

/// `count` built-in digits: images (count, 28, 28) uint8 and labels (count,) int64.
#[pyfunction]
#[allow(clippy::type_complexity)]
pub fn glyphs<'py>(
    py: Python<'py>,
    count: usize,
    seed: u64,
    stream: u64,
) -> PyResult<(Bound<'py, PyArray3<u8>>, Bound<'py, PyArray1<i64>>)> {
    let drawn = detached(py, || digits::generate(count, seed, stream))?;
    Ok((drawn.images.into_pyarray(py), drawn.labels.into_pyarray(py)))
}

/// The training examples (n,) int64 of optimizer step `step`, counted from 0.
#[pyfunction]
pub fn batch_indices(
    py: Python<'_>,
    examples: usize,
    batch_size: usize,
    seed: u64,
    shuffle: bool,
    step: usize,
) -> PyResult<Bound<'_, PyArray1<i64>>> {
    let batch = detached(py, || Ok(BatchOrder::new(examples, batch_size, seed, shuffle)?.batch(step)))?;
    Ok(batch.into_pyarray(py))
}

//! Images and labels from whatever Python gives: NumPy arrays, torch tensors, lists. `everybatch._convert` brings them
//! into one form; here they are copied out of it.

use numpy::{PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn};
use pyo3::prelude::*;

use super::errors::ours;

/// uint8 images as bytes in the order (N, H, W, C), with that shape.
pub struct Images {
    pub pixels: Vec<u8>,
    pub shape: [usize; 4],
}

pub fn images(given: &Bound<PyAny>, what: &str) -> PyResult<Images> {
    let converted = convert(given, "images", what)?;
    let array: PyReadonlyArrayDyn<u8> = converted.downcast::<PyArrayDyn<u8>>()?.try_readonly()?;
    let shape = match array.as_array().shape() {
        [count, height, width] => [*count, *height, *width, 1],
        [count, height, width, channels] => [*count, *height, *width, *channels],
        other => return Err(ours("ShapeError", format!("{what} have shape {other:?}"))),
    };
    Ok(Images { pixels: array.as_slice()?.to_vec(), shape })
}

pub fn labels(given: &Bound<PyAny>, what: &str) -> PyResult<Vec<i64>> {
    let converted = convert(given, "labels", what)?;
    let array: PyReadonlyArrayDyn<i64> = converted.downcast::<PyArrayDyn<i64>>()?.try_readonly()?;
    Ok(array.as_slice()?.to_vec())
}

fn convert<'py>(given: &Bound<'py, PyAny>, function: &str, what: &str) -> PyResult<Bound<'py, PyAny>> {
    given.py().import("everybatch._convert")?.getattr(function)?.call1((given, what))
}

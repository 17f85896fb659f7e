//! Images and labels from whatever Python gives: NumPy arrays, torch tensors, lists. `everybatch._convert` brings them
//! into one form.

use numpy::{PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::python::{ours, Imported, TO_IMAGES, TO_LABELS};

/// Pixels in Python's memory.
pub type Array = Py<PyArrayDyn<u8>>;

/// uint8 images as bytes in the order (N, H, W, C), with that shape.
pub struct Images {
    pub pixels: Vec<u8>,
    pub shape: [usize; 4],
}

/// A copy of the images.
pub fn images(given: &Bound<PyAny>, what: &str) -> PyResult<Images> {
    let (array, shape) = image_array(given, what)?;
    let array = array.try_readonly()?;
    Ok(Images { pixels: array.as_slice()?.to_vec(), shape })
}

/// The images as an array whose elements lie in the order (N, H, W, C), with that shape: the given array, if it is one.
pub fn image_array<'py>(
    given: &Bound<'py, PyAny>,
    what: &str,
) -> PyResult<(Bound<'py, PyArrayDyn<u8>>, [usize; 4])> {
    let array = convert(TO_IMAGES, given, what)?.downcast_into::<PyArrayDyn<u8>>()?;
    let shape = match array.shape() {
        [count, height, width] => [*count, *height, *width, 1],
        [count, height, width, channels] => [*count, *height, *width, *channels],
        other => return Err(ours("ShapeError", format!("{what} have shape {other:?}"))),
    };
    Ok((array, shape))
}

pub fn labels(given: &Bound<PyAny>, what: &str) -> PyResult<Vec<i64>> {
    let converted = convert(TO_LABELS, given, what)?;
    let array: PyReadonlyArrayDyn<i64> = converted.downcast::<PyArrayDyn<i64>>()?.try_readonly()?;
    Ok(array.as_slice()?.to_vec())
}

fn convert<'py>(by: Imported, given: &Bound<'py, PyAny>, what: &str) -> PyResult<Bound<'py, PyAny>> {
    by.get(given.py())?.call1((given, what))
}

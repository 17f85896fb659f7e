//! Numbers from Python, with messages that a user understands.

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;

use super::python::ours;

/// A whole number; one that is too large is a wrong argument, not an overflow.
#[derive(Clone, Copy)]
pub struct Whole(pub i64);

impl<'py> FromPyObject<'py> for Whole {
    fn extract_bound(given: &Bound<'py, PyAny>) -> PyResult<Self> {
        match given.extract::<i64>() {
            Ok(number) => Ok(Whole(number)),
            Err(error) if error.is_instance_of::<PyOverflowError>(given.py()) => {
                Err(ours("ArgumentError", format!("{} is too large a number", given.str()?)))
            }
            Err(_) => Err(PyTypeError::new_err(format!("must be a whole number, not {}", given.repr()?))),
        }
    }
}

/// `3` or `(3, 5)`: height and width.
#[derive(Clone, Copy)]
pub struct Pair(pub [i64; 2]);

impl<'py> FromPyObject<'py> for Pair {
    fn extract_bound(given: &Bound<'py, PyAny>) -> PyResult<Self> {
        let numbers = one_or_many(given, "a whole number or a pair of them")?;
        match numbers.as_slice() {
            [both] => Ok(Pair([*both; 2])),
            [height, width] => Ok(Pair([*height, *width])),
            more => {
                Err(ours("ArgumentError", format!("{more:?} has {} numbers: give one or two", more.len())))
            }
        }
    }
}

/// No list of more numbers is one of an argument's; a range may have more than there is memory for.
const FEW: usize = 1000;

fn one_or_many(given: &Bound<PyAny>, what: &str) -> PyResult<Vec<i64>> {
    let numbers = match given.extract::<i64>() {
        Ok(number) => Ok(vec![number]),
        // Not of a whole number, the text of whose fault might be written while Ctrl-C comes, which would be lost.
        Err(error)
            if error.is_instance_of::<PyTypeError>(given.py()) && given.len().is_ok_and(|len| len <= FEW) =>
        {
            let many = given.extract::<Vec<Whole>>();
            many.map(|many| many.into_iter().map(|number| number.0).collect())
        }
        Err(_) => given.extract::<Whole>().map(|number| vec![number.0]),
    };
    match numbers {
        Err(error) if error.is_instance_of::<PyTypeError>(given.py()) => {
            Err(PyTypeError::new_err(format!("must be {what}, not {}", given.repr()?)))
        }
        other => other,
    }
}

/// (channels, height, width)
pub struct ImageShape(pub [i64; 3]);

impl<'py> FromPyObject<'py> for ImageShape {
    fn extract_bound(given: &Bound<'py, PyAny>) -> PyResult<Self> {
        match one_or_many(given, "(channels, height, width)")?.as_slice() {
            [channels, height, width] => Ok(ImageShape([*channels, *height, *width])),
            _ => Err(ours("ArgumentError", format!("{} is not (channels, height, width)", given.repr()?))),
        }
    }
}

/// A seed: 0 or above.
pub struct Seed(pub u64);

impl<'py> FromPyObject<'py> for Seed {
    fn extract_bound(given: &Bound<'py, PyAny>) -> PyResult<Self> {
        let Whole(number) = given.extract()?;
        let seed = u64::try_from(number);
        seed.map(Seed).map_err(|_| ours("ArgumentError", format!("seed is {number}: it must be 0 or above")))
    }
}

/// What a value of the wrong type is called in a message: `list`, `Dataset`.
pub fn type_name(given: &Bound<PyAny>) -> String {
    // Not by its Display, which looks for Ctrl-C and loses it.
    given.get_type().name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

//! The one place where the core's errors become Python exceptions.

use pyo3::exceptions::{PyFileExistsError, PyOSError};
use pyo3::prelude::*;

use super::python::ours;
use crate::error::Error;

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        let text = error.to_string();
        match &error {
            Error::Argument(_) => ours("ArgumentError", text),
            Error::Layer { .. } | Error::Shape(_) => ours("ShapeError", text),
            Error::Data(_) => ours("DataError", text),
            Error::Exists(_) => PyFileExistsError::new_err(text),
            Error::Format { .. } => ours("FileFormatError", text),
            Error::Device(_) => ours("DeviceError", text),
            Error::Torch(_) | Error::Shim { .. } => ours("InternalError", text),
            // With a number, a text and a path Python itself picks FileNotFoundError, PermissionError and their kin.
            Error::File { path, source } => match source.raw_os_error() {
                Some(number) => {
                    let text = source.to_string();
                    let text = text.split(" (os error").next().unwrap_or(&text).to_string();
                    PyOSError::new_err((number, text, path.clone().into_os_string()))
                }
                None => PyOSError::new_err(text),
            },
        }
    }
}

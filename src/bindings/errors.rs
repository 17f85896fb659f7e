//! The one place where the core's errors become Python exceptions.

use std::io::ErrorKind;

use pyo3::exceptions::{PyFileNotFoundError, PyIsADirectoryError, PyOSError, PyPermissionError};
use pyo3::prelude::*;

use crate::error::Error;

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        let text = error.to_string();
        match &error {
            Error::Argument(_) => ours("ArgumentError", text),
            Error::Layer { .. } | Error::Shape(_) => ours("ShapeError", text),
            Error::Data(_) => ours("DataError", text),
            Error::Format { .. } => ours("FileFormatError", text),
            Error::Device(_) => ours("DeviceError", text),
            Error::Torch(_) | Error::Shim { .. } => ours("InternalError", text),
            Error::File { source, .. } => match source.kind() {
                ErrorKind::NotFound => PyFileNotFoundError::new_err(text),
                ErrorKind::PermissionDenied => PyPermissionError::new_err(text),
                ErrorKind::IsADirectory => PyIsADirectoryError::new_err(text),
                _ => PyOSError::new_err(text),
            },
        }
    }
}

/// An exception of `everybatch.errors`.
pub fn ours(class: &str, text: String) -> PyErr {
    Python::with_gil(|py| {
        let made = py.import("everybatch.errors").and_then(|errors| errors.getattr(class)?.call1((text,)));
        made.map_or_else(|error| error, PyErr::from_value)
    })
}

//! What the bindings use of the Python package, and of Python's own: all such imports.

use pyo3::prelude::*;
use serde::Serialize;

/// An attribute of a module.
pub struct Imported {
    module: &'static str,
    name: &'static str,
}

const fn from(module: &'static str, name: &'static str) -> Imported {
    Imported { module, name }
}

pub const STOP_TRAINING: Imported = from("everybatch.errors", "StopTraining");
pub const LOGGER: Imported = from("everybatch._log", "logger");
pub const STREAM_BESIDE: Imported = from("everybatch._gpu", "stream_beside");
pub const TO_IMAGES: Imported = from("everybatch._convert", "images");
pub const TO_LABELS: Imported = from("everybatch._convert", "labels");
pub const MODEL_IMAGES: Imported = from("everybatch._model_images", "images_for");
pub const GROUND: Imported = from("everybatch._pictures", "ground");
pub const CHECK_TENSOR: Imported = from("everybatch._state_dict", "check_tensor");
pub const NUMBERS_OF_LABELS: Imported = from("everybatch._classes", "numbers_of_labels");
pub const IMAGES_AND_LABELS: Imported = from("everybatch._classes", "images_and_labels");
const FROM_JSON: Imported = from("json", "loads");

impl Imported {
    pub fn get<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import(self.module)?.getattr(self.name)
    }
}

/// An exception of `everybatch.errors`.
pub fn ours(class: &'static str, text: String) -> PyErr {
    Python::with_gil(|py| {
        let made = from("everybatch.errors", class).get(py).and_then(|class| class.call1((text,)));
        made.map_or_else(|error| error, PyErr::from_value)
    })
}

/// A value as JSON has it: dicts, lists, numbers and text.
pub fn plain<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    let text = serde_json::to_string(value).map_err(|error| ours("InternalError", error.to_string()))?;
    FROM_JSON.get(py)?.call1((text,))
}

//! What is wrong with an option from Python, and where it lies in what was given.

use std::fmt::Display;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use serde::de::{Error, Expected, Unexpected};

use super::python::ours;
use crate::error::unknown;

/// What is wrong with a value.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem:?}")]
pub struct Wrong {
    /// Where it lies in what was given: `widths[1]`.
    place: String,
    pub problem: Problem,
}

#[derive(Debug)]
pub enum Problem {
    Type { must: String, given: String },
    Name { given: String, known: &'static [&'static str] },
    Raised(PyErr),
    Other(String),
}

impl Wrong {
    pub fn new(problem: Problem) -> Self {
        Wrong { place: String::new(), problem }
    }

    pub fn of_type(must: &str, given: &Bound<PyAny>) -> Self {
        Wrong::new(Problem::Type { must: must.to_string(), given: shown(given) })
    }

    /// The same, seen from outside of what is called `name` there.
    pub fn within(mut self, name: &str) -> Self {
        let dot =
            if name.is_empty() || self.place.is_empty() || self.place.starts_with('[') { "" } else { "." };
        self.place = format!("{name}{dot}{}", self.place);
        self
    }

    /// The same, where the value itself is at hand.
    pub fn with(mut self, value: &Bound<PyAny>) -> Self {
        if let Problem::Type { given, .. } = &mut self.problem {
            *given = shown(value);
        }
        self
    }
}

impl From<Wrong> for PyErr {
    fn from(Wrong { place, problem }: Wrong) -> PyErr {
        match problem {
            Problem::Type { must, given } => {
                let place = if place.is_empty() { "it" } else { &place };
                PyTypeError::new_err(format!("{place} must be {must}, not {given}"))
            }
            Problem::Name { given, known } => {
                // Of watch.monitor or activation[3], what the user knows.
                let option = place.rsplit('.').next().unwrap_or_default();
                let option = option.split('[').next().unwrap_or_default();
                unknown(if option.is_empty() { "name" } else { option }, &given, known).into()
            }
            Problem::Raised(error) => error,
            Problem::Other(text) if place.is_empty() => ours("ArgumentError", text),
            Problem::Other(text) => ours("ArgumentError", format!("{place}: {text}")),
        }
    }
}

impl From<PyErr> for Wrong {
    fn from(error: PyErr) -> Self {
        Wrong::new(Problem::Raised(error))
    }
}

impl Error for Wrong {
    fn custom<T: Display>(text: T) -> Self {
        Wrong::new(Problem::Other(text.to_string()))
    }

    fn invalid_type(found: Unexpected, must: &dyn Expected) -> Self {
        let must = match must.to_string().as_str() {
            "f64" => "a number".to_string(),
            "i64" | "u64" | "usize" => "a whole number".to_string(),
            other => other.to_string(),
        };
        Wrong::new(Problem::Type { must, given: found.to_string() })
    }

    fn invalid_value(found: Unexpected, must: &dyn Expected) -> Self {
        Self::custom(format!("{found} must be {must}"))
    }

    fn invalid_length(length: usize, must: &dyn Expected) -> Self {
        Self::custom(format!("{length} entries must be {must}"))
    }

    fn unknown_variant(given: &str, known: &'static [&'static str]) -> Self {
        Wrong::new(Problem::Name { given: given.to_string(), known })
    }

    fn unknown_field(given: &str, known: &'static [&'static str]) -> Self {
        match known {
            [] => Self::custom(format!("unknown option {given:?}: there are none")),
            _ => Self::custom(unknown("option", given, known)),
        }
    }

    fn missing_field(name: &'static str) -> Self {
        Self::custom(format!("{name} is missing"))
    }
}

pub fn shown(given: &Bound<PyAny>) -> String {
    let shown = given.repr().map(|text| text.to_string_lossy().into_owned());
    shown.unwrap_or_else(|_| "something that cannot be shown".to_string())
}

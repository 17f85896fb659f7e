//! What Python may choose from, and what the core takes where nothing is chosen.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use serde_json::{json, Map, Value};

use super::python::plain;
use crate::names::names;
use crate::network::builders::{self, Pool, Shortcut};
use crate::network::{Activation, Precision};
use crate::train::{AdjustLr, Kernels, Method, Monitor, Record, State, TrainConfig};

/// By option, the names that it may have.
fn choices(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let choices = PyDict::new(py);
    for (option, known) in [
        ("optimizer", names::<Method>()),
        ("adjust_lr", names::<AdjustLr>()),
        ("precision", names::<Precision>()),
        ("kernels", names::<Kernels>()),
        ("monitor", names::<Monitor>()),
        ("record", names::<Record>()),
        ("activation", &Activation::NAMES),
        ("pool", names::<Pool>()),
        ("shortcut", names::<Shortcut>()),
        ("state", names::<State>()),
    ] {
        choices.set_item(option, PyTuple::new(py, known)?)?;
    }
    Ok(choices)
}

/// What the core takes where nothing else is said: the settings of a run, the options of each optimizer and network.
fn defaults(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let optimizers = Method::ALL.iter().map(|method| serde_json::to_value(method).unwrap_or_default());
    let optimizers: Map<String, Value> =
        optimizers.filter_map(|one| one.as_object().cloned()).flatten().collect();
    let networks: Map<String, Value> = builders::NAMES
        .iter()
        .filter_map(|name| Some((name.to_string(), builders::defaults(name)?)))
        .collect();
    let ratios: Map<String, Value> = names::<AdjustLr>()
        .iter()
        .zip([AdjustLr::Original, AdjustLr::MatchRmsAdamw])
        .map(|(name, by)| (name.to_string(), by.adamw_lr_ratio().into()))
        .collect();
    let all = json!({
        "train": TrainConfig::default(),
        "optimizers": optimizers,
        "adamw_lr_ratio": ratios,
        "networks": networks,
    });
    plain(py, &all)
}

pub fn register(module: &Bound<PyModule>) -> PyResult<()> {
    module.add("CHOICES", choices(module.py())?)?;
    module.add("DEFAULTS", defaults(module.py())?)
}

//! The Python module: arguments in, errors translated, NumPy out. No logic.

#![allow(clippy::doc_lazy_continuation, reason = "docstrings of Python are no Markdown")]

/// The docstring in `_core.pyi`, of "Model.save" or the like, from which build.rs takes it.
macro_rules! python_doc {
    ($name:literal) => {
        include_str!(concat!(env!("OUT_DIR"), "/docstrings/", $name))
    };
}

mod arguments;
mod choices;
mod cuda;
mod data;
mod dataset;
mod errors;
mod estimator;
mod every_python;
mod from_python;
mod images;
mod journal;
mod layers;
mod meter;
mod model;
mod network;
mod observer;
mod python;
mod replay;
mod run;
mod signal_stack;
mod train;
mod turns;
mod wrong;

use pyo3::prelude::*;

pub fn register(module: &Bound<PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<layers::PyLayer>()?;
    module.add_class::<network::PyNetwork>()?;
    module.add_class::<model::PyModel>()?;
    module.add_class::<model::PyEvaluation>()?;
    module.add_class::<observer::PyStep>()?;
    module.add_class::<train::PyOutcome>()?;
    module.add_class::<dataset::PyData>()?;
    module.add_class::<estimator::PyEstimator>()?;
    module.add_class::<meter::PyMeter>()?;
    module.add_class::<turns::PyTurns>()?;
    module.add_class::<turns::PyTurn>()?;
    layers::register(module)?;
    choices::register(module)?;
    for function in [
        wrap_pyfunction!(data::read_idx, module)?,
        wrap_pyfunction!(data::glyphs, module)?,
        wrap_pyfunction!(data::batch_indices, module)?,
        wrap_pyfunction!(network::build, module)?,
        wrap_pyfunction!(model::model_of, module)?,
        wrap_pyfunction!(journal::look_at_state, module)?,
        wrap_pyfunction!(replay::replay, module)?,
        wrap_pyfunction!(replay::effects, module)?,
        wrap_pyfunction!(train::train, module)?,
        wrap_pyfunction!(train::check_settings, module)?,
        wrap_pyfunction!(train::resolve_device, module)?,
        wrap_pyfunction!(train::precisions, module)?,
        wrap_pyfunction!(train::learning_rates, module)?,
        wrap_pyfunction!(train::check_augment, module)?,
        wrap_pyfunction!(train::augment, module)?,
    ] {
        module.add_function(function)?;
    }
    Ok(())
}

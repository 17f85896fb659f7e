//! Network builders. Every option is keyword-only; the defaults are those of `everybatch.networks`.

mod plain;
mod residual;

use pyo3::prelude::*;

use crate::network::Activation;

/// One name for all, or one for each.
#[derive(FromPyObject)]
pub enum Names {
    #[pyo3(transparent)]
    One(String),
    #[pyo3(transparent)]
    Many(Vec<String>),
}

fn activations(names: Names) -> PyResult<Vec<Activation>> {
    let names = match names {
        Names::One(name) => vec![name],
        Names::Many(names) => names,
    };
    Ok(names.iter().map(|name| Activation::from_name(name)).collect::<crate::error::Result<_>>()?)
}

pub fn register(module: &Bound<PyModule>) -> PyResult<()> {
    for function in [
        wrap_pyfunction!(residual::resnet, module)?,
        wrap_pyfunction!(residual::basic_resnet, module)?,
        wrap_pyfunction!(residual::wide_resnet, module)?,
        wrap_pyfunction!(plain::lenet5, module)?,
        wrap_pyfunction!(plain::alexnet, module)?,
        wrap_pyfunction!(plain::vgg, module)?,
        wrap_pyfunction!(plain::convnet, module)?,
        wrap_pyfunction!(plain::kernel_net, module)?,
    ] {
        module.add_function(function)?;
    }
    Ok(())
}

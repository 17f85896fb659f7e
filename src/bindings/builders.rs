//! Network builders. Every option is keyword-only; the defaults are the core's.

use pyo3::prelude::*;

use super::arguments::{Numbers, Pair, Whole};
use super::network::PyNetwork;
use crate::network::builders::{self, Lenet5, Pool, Resnet, Shortcut};
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

#[pyfunction]
#[pyo3(signature = (*, stages, blocks, stem_channels, stem_kernel_size, stem_stride, stem_pool, kernel_size, activation,
    shortcut, dropout, last_pool, in_channels, num_classes, input_size))]
#[allow(clippy::too_many_arguments)]
pub fn resnet(
    stages: Numbers,
    blocks: Numbers,
    stem_channels: Option<Whole>,
    stem_kernel_size: Whole,
    stem_stride: Whole,
    stem_pool: bool,
    kernel_size: Whole,
    activation: Names,
    shortcut: &str,
    dropout: f64,
    last_pool: &str,
    in_channels: Whole,
    num_classes: Whole,
    input_size: Pair,
) -> PyResult<PyNetwork> {
    Ok(PyNetwork(builders::resnet(&Resnet {
        stages: stages.0,
        blocks: blocks.0,
        stem_channels: stem_channels.map(|channels| channels.0),
        stem_kernel_size: stem_kernel_size.0,
        stem_stride: stem_stride.0,
        stem_pool,
        kernel_size: kernel_size.0,
        activation: activations(activation)?,
        shortcut: Shortcut::from_name(shortcut)?,
        dropout,
        last_pool: Pool::from_name(last_pool)?,
        in_channels: in_channels.0,
        num_classes: num_classes.0,
        input_size: input_size.0,
    })?))
}

#[pyfunction]
#[pyo3(signature = (*, activation, batch_norm, pool, dropout, in_channels, num_classes, input_size))]
#[allow(clippy::too_many_arguments)]
pub fn lenet5(
    activation: Names,
    batch_norm: bool,
    pool: &str,
    dropout: f64,
    in_channels: Whole,
    num_classes: Whole,
    input_size: Pair,
) -> PyResult<PyNetwork> {
    Ok(PyNetwork(builders::lenet5(&Lenet5 {
        activation: activations(activation)?,
        batch_norm,
        pool: Pool::from_name(pool)?,
        dropout,
        in_channels: in_channels.0,
        num_classes: num_classes.0,
        input_size: input_size.0,
    })?))
}

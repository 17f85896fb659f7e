//! Network builders. Every option is keyword-only; the defaults are the core's.

use pyo3::prelude::*;

use super::network::PyNetwork;
use crate::network::builders::{self, Lenet5, Pool, Resnet, Shortcut};
use crate::network::Activation;

/// One for all, or one for each.
#[derive(FromPyObject)]
pub enum OneOrMany<T> {
    #[pyo3(transparent)]
    One(T),
    #[pyo3(transparent)]
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn list(self) -> Vec<T> {
        match self {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        }
    }
}

fn activations(names: OneOrMany<String>) -> PyResult<Vec<Activation>> {
    Ok(names.list().iter().map(|name| Activation::from_name(name)).collect::<crate::error::Result<_>>()?)
}

/// (height, width), or one number for both.
fn size(given: OneOrMany<i64>) -> PyResult<[i64; 2]> {
    match given.list().as_slice() {
        [side] => Ok([*side; 2]),
        [height, width] => Ok([*height, *width]),
        other => Err(crate::error::Error::Argument(format!(
            "input_size has {} numbers: give (height, width), or one for both",
            other.len()
        ))
        .into()),
    }
}

#[pyfunction]
#[pyo3(signature = (*, stages, blocks, stem_channels, stem_kernel_size, stem_stride, stem_pool, kernel_size, activation,
    shortcut, dropout, last_pool, in_channels, num_classes, input_size))]
#[allow(clippy::too_many_arguments)]
pub fn resnet(
    stages: Vec<i64>,
    blocks: OneOrMany<i64>,
    stem_channels: Option<i64>,
    stem_kernel_size: i64,
    stem_stride: i64,
    stem_pool: bool,
    kernel_size: i64,
    activation: OneOrMany<String>,
    shortcut: &str,
    dropout: f64,
    last_pool: &str,
    in_channels: i64,
    num_classes: i64,
    input_size: OneOrMany<i64>,
) -> PyResult<PyNetwork> {
    Ok(PyNetwork(builders::resnet(&Resnet {
        stages,
        blocks: blocks.list(),
        stem_channels,
        stem_kernel_size,
        stem_stride,
        stem_pool,
        kernel_size,
        activation: activations(activation)?,
        shortcut: Shortcut::from_name(shortcut)?,
        dropout,
        last_pool: Pool::from_name(last_pool)?,
        in_channels,
        num_classes,
        input_size: size(input_size)?,
    })?))
}

#[pyfunction]
#[pyo3(signature = (*, activation, batch_norm, pool, dropout, in_channels, num_classes, input_size))]
#[allow(clippy::too_many_arguments)]
pub fn lenet5(
    activation: OneOrMany<String>,
    batch_norm: bool,
    pool: &str,
    dropout: f64,
    in_channels: i64,
    num_classes: i64,
    input_size: OneOrMany<i64>,
) -> PyResult<PyNetwork> {
    Ok(PyNetwork(builders::lenet5(&Lenet5 {
        activation: activations(activation)?,
        batch_norm,
        pool: Pool::from_name(pool)?,
        dropout,
        in_channels,
        num_classes,
        input_size: size(input_size)?,
    })?))
}

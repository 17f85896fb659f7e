//! Networks without residual blocks, and the one with a single one.

use pyo3::prelude::*;

use super::super::arguments::{Numbers, Pair, Whole};
use super::super::network::PyNetwork;
use super::{activations, Names};
use crate::network::builders::{self, Alexnet, Convnet, KernelNet, Lenet5, Pool, Vgg};

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

#[pyfunction]
#[pyo3(signature = (*, widths, stem_kernel_size, stem_stride, kernel_size, hidden, activation, batch_norm,
    dropout, in_channels, num_classes, input_size))]
#[allow(clippy::too_many_arguments)]
pub fn alexnet(
    widths: Numbers,
    stem_kernel_size: Whole,
    stem_stride: Whole,
    kernel_size: Whole,
    hidden: Numbers,
    activation: Names,
    batch_norm: bool,
    dropout: f64,
    in_channels: Whole,
    num_classes: Whole,
    input_size: Pair,
) -> PyResult<PyNetwork> {
    Ok(PyNetwork(builders::alexnet(&Alexnet {
        widths: widths.0,
        stem_kernel_size: stem_kernel_size.0,
        stem_stride: stem_stride.0,
        kernel_size: kernel_size.0,
        hidden: hidden.0,
        activation: activations(activation)?,
        batch_norm,
        dropout,
        in_channels: in_channels.0,
        num_classes: num_classes.0,
        input_size: input_size.0,
    })?))
}

#[pyfunction]
#[pyo3(signature = (*, name, convolutions, widths, pools, kernel_size, hidden, activation, batch_norm,
    dropout, in_channels, num_classes, input_size))]
#[allow(clippy::too_many_arguments)]
pub fn vgg(
    name: &str,
    convolutions: [usize; 5],
    widths: Numbers,
    pools: Whole,
    kernel_size: Whole,
    hidden: Numbers,
    activation: Names,
    batch_norm: bool,
    dropout: f64,
    in_channels: Whole,
    num_classes: Whole,
    input_size: Pair,
) -> PyResult<PyNetwork> {
    Ok(PyNetwork(builders::vgg(&Vgg {
        name: name.to_string(),
        convolutions,
        widths: widths.0,
        pools: pools.0,
        kernel_size: kernel_size.0,
        hidden: hidden.0,
        activation: activations(activation)?,
        batch_norm,
        dropout,
        in_channels: in_channels.0,
        num_classes: num_classes.0,
        input_size: input_size.0,
    })?))
}

#[pyfunction]
#[pyo3(signature = (*, widths, kernel_size, hidden, activation, batch_norm, dropout, in_channels, num_classes,
    input_size))]
#[allow(clippy::too_many_arguments)]
pub fn convnet(
    widths: Numbers,
    kernel_size: Whole,
    hidden: Numbers,
    activation: Names,
    batch_norm: bool,
    dropout: f64,
    in_channels: Whole,
    num_classes: Whole,
    input_size: Pair,
) -> PyResult<PyNetwork> {
    Ok(PyNetwork(builders::convnet(&Convnet {
        widths: widths.0,
        kernel_size: kernel_size.0,
        hidden: hidden.0,
        activation: activations(activation)?,
        batch_norm,
        dropout,
        in_channels: in_channels.0,
        num_classes: num_classes.0,
        input_size: input_size.0,
    })?))
}

#[pyfunction]
#[pyo3(signature = (*, kernel_size, widths, hidden, activation, batch_norm, dropout, in_channels, num_classes,
    input_size))]
#[allow(clippy::too_many_arguments)]
pub fn kernel_net(
    kernel_size: Whole,
    widths: Numbers,
    hidden: Whole,
    activation: Names,
    batch_norm: bool,
    dropout: f64,
    in_channels: Whole,
    num_classes: Whole,
    input_size: Pair,
) -> PyResult<PyNetwork> {
    Ok(PyNetwork(builders::kernel_net(&KernelNet {
        kernel_size: kernel_size.0,
        widths: widths.0,
        hidden: hidden.0,
        activation: activations(activation)?,
        batch_norm,
        dropout,
        in_channels: in_channels.0,
        num_classes: num_classes.0,
        input_size: input_size.0,
    })?))
}

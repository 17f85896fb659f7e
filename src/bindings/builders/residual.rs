//! Residual networks.

use pyo3::prelude::*;

use super::super::arguments::{Numbers, Pair, Whole};
use super::super::network::PyNetwork;
use super::{activations, Names};
use crate::network::builders::{self, each_of, Pool, Resnet, Shortcut, WideResnet};

#[pyfunction]
#[pyo3(signature = (*, stages, blocks, stem_channels, stem_kernel_size, stem_stride, stem_pool, kernel_size,
    activation, batch_norm, block_norm, shortcut, block_dropout, dropout, last_pool, in_channels, num_classes,
    input_size))]
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
    batch_norm: bool,
    block_norm: bool,
    shortcut: &str,
    block_dropout: f64,
    dropout: f64,
    last_pool: &str,
    in_channels: Whole,
    num_classes: Whole,
    input_size: Pair,
) -> PyResult<PyNetwork> {
    Ok(PyNetwork(builders::resnet(&Resnet {
        stages: stages.0,
        blocks: blocks.0,
        stem_channels: stem_channels.map(|number| number.0),
        stem_kernel_size: stem_kernel_size.0,
        stem_stride: stem_stride.0,
        stem_pool,
        kernel_size: kernel_size.0,
        activation: activations(activation)?,
        batch_norm,
        block_norm,
        shortcut: Shortcut::from_name(shortcut)?,
        block_dropout,
        dropout,
        last_pool: Pool::from_name(last_pool)?,
        in_channels: in_channels.0,
        num_classes: num_classes.0,
        input_size: input_size.0,
        ..Resnet::default()
    })?))
}

/// ResNet-18 and its kin: batch norm in the projections, and the mean over the last maps.
#[pyfunction]
#[pyo3(signature = (*, name, widths, blocks, stem_kernel_size, stem_stride, stem_pool, kernel_size,
    activation, batch_norm, block_norm, dropout, in_channels, num_classes, input_size))]
#[allow(clippy::too_many_arguments)]
pub fn basic_resnet(
    name: &str,
    widths: Numbers,
    blocks: Numbers,
    stem_kernel_size: Whole,
    stem_stride: Whole,
    stem_pool: bool,
    kernel_size: Whole,
    activation: Names,
    batch_norm: bool,
    block_norm: bool,
    dropout: f64,
    in_channels: Whole,
    num_classes: Whole,
    input_size: Pair,
) -> PyResult<PyNetwork> {
    Ok(PyNetwork(builders::resnet(&Resnet {
        name: name.to_string(),
        stages: each_of("widths", &widths.0, blocks.0.len())?,
        blocks: blocks.0,
        stem_kernel_size: stem_kernel_size.0,
        stem_stride: stem_stride.0,
        stem_pool,
        kernel_size: kernel_size.0,
        activation: activations(activation)?,
        batch_norm,
        block_norm,
        dropout,
        in_channels: in_channels.0,
        num_classes: num_classes.0,
        input_size: input_size.0,
        shortcut: Shortcut::ProjectionBatchNorm,
        last_pool: Pool::Avg,
        ..Resnet::default()
    })?))
}

#[pyfunction]
#[pyo3(signature = (*, depth, width, stem_channels, kernel_size, pre_activation, activation, batch_norm,
    dropout, in_channels, num_classes, input_size))]
#[allow(clippy::too_many_arguments)]
pub fn wide_resnet(
    depth: Whole,
    width: Whole,
    stem_channels: Whole,
    kernel_size: Whole,
    pre_activation: bool,
    activation: Names,
    batch_norm: bool,
    dropout: f64,
    in_channels: Whole,
    num_classes: Whole,
    input_size: Pair,
) -> PyResult<PyNetwork> {
    Ok(PyNetwork(builders::wide_resnet(&WideResnet {
        depth: depth.0,
        width: width.0,
        stem_channels: stem_channels.0,
        kernel_size: kernel_size.0,
        pre_activation,
        activation: activations(activation)?,
        batch_norm,
        dropout,
        in_channels: in_channels.0,
        num_classes: num_classes.0,
        input_size: input_size.0,
    })?))
}

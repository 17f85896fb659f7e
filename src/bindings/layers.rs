//! Layers: `Conv2d(...)` and its kin are functions that return a [`PyLayer`].

use pyo3::prelude::*;

use super::arguments::{type_name, Pair, Whole};
use super::python::ours;
use crate::network::{
    check, check_extent, Activation, AdaptivePool2d, BatchNorm, Conv2d, Dropout, Gate, Layer, Linear, Pool2d,
    Residual,
};

/// One layer of a network: plain data, made by `Conv2d(...)`, `Linear(...)` and the other layer functions.
#[pyclass(name = "Layer", module = "everybatch", frozen, eq)]
#[derive(Clone, PartialEq)]
pub struct PyLayer(pub Layer);

#[pymethods]
impl PyLayer {
    /// The layer's kind, such as "Conv2d".
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    /// The layer as a JSON object.
    fn to_json(&self) -> PyResult<String> {
        serde_json::to_string(&self.0).map_err(|error| ours("ArgumentError", error.to_string()))
    }

    #[doc = python_doc!("Layer.from_json")]
    #[staticmethod]
    fn from_json(text: &str) -> PyResult<Self> {
        let layer = serde_json::from_str(text)
            .map_err(|error| ours("ArgumentError", format!("this JSON is not a layer: {error}")))?;
        checked(layer)
    }

    fn __repr__(&self) -> String {
        self.0.to_string()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        Ok((py.get_type::<PyLayer>().getattr("from_json")?, (self.to_json()?,)))
    }
}

fn checked(layer: Layer) -> PyResult<PyLayer> {
    check_extent([&layer])?;
    check(&layer)?;
    Ok(PyLayer(layer))
}

/// 2-d convolution, with PyTorch's arguments and initial weights. (C_in, H, W) -> (C_out, H', W').
#[pyfunction]
#[pyo3(name = "Conv2d", signature = (in_channels, out_channels, kernel_size, stride=Pair([1; 2]),
    padding=Pair([0; 2]), dilation=Pair([1; 2]), groups=Whole(1), bias=true),
    text_signature = "(in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True)")]
#[allow(clippy::too_many_arguments)]
fn conv2d(
    in_channels: Whole,
    out_channels: Whole,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: Whole,
    bias: bool,
) -> PyResult<PyLayer> {
    checked(Layer::Conv2d(Conv2d {
        in_channels: in_channels.0,
        out_channels: out_channels.0,
        kernel_size: kernel_size.0,
        stride: stride.0,
        padding: padding.0,
        dilation: dilation.0,
        groups: groups.0,
        bias,
    }))
}

/// Batch normalisation of vectors, with PyTorch's running statistics. (C,) -> (C,).
#[pyfunction]
#[pyo3(name = "BatchNorm1d", signature = (num_features, eps=1e-5, momentum=0.1))]
fn batch_norm1d(num_features: Whole, eps: f64, momentum: f64) -> PyResult<PyLayer> {
    checked(Layer::BatchNorm1d(BatchNorm { num_features: num_features.0, eps, momentum }))
}

/// Batch normalisation of images, with PyTorch's running statistics. (C, H, W) -> (C, H, W).
#[pyfunction]
#[pyo3(name = "BatchNorm2d", signature = (num_features, eps=1e-5, momentum=0.1))]
fn batch_norm2d(num_features: Whole, eps: f64, momentum: f64) -> PyResult<PyLayer> {
    checked(Layer::BatchNorm2d(BatchNorm { num_features: num_features.0, eps, momentum }))
}

#[doc = python_doc!("Activation")]
#[pyfunction]
#[pyo3(name = "Activation", signature = (function, *, negative_slope=None))]
fn activation(function: &str, negative_slope: Option<f64>) -> PyResult<PyLayer> {
    let activation = match (Activation::from_name(function)?, negative_slope) {
        (activation, None) => activation,
        (Activation::LeakyRelu { .. }, Some(slope)) if slope.is_finite() => {
            Activation::LeakyRelu { negative_slope: slope }
        }
        (_, Some(slope)) => {
            let text =
                format!("negative_slope={slope} belongs to \"leaky_relu\" and must be a finite number");
            return Err(ours("ArgumentError", text));
        }
    };
    checked(Layer::Activation(activation))
}

fn pool(kernel_size: Pair, stride: Option<Pair>, padding: Pair) -> Pool2d {
    Pool2d { kernel_size: kernel_size.0, stride: stride.unwrap_or(kernel_size).0, padding: padding.0 }
}

/// Max pooling; stride is the kernel size unless given. (C, H, W) -> (C, H', W').
#[pyfunction]
#[pyo3(name = "MaxPool2d", signature = (kernel_size, stride=None, padding=Pair([0; 2])),
    text_signature = "(kernel_size, stride=None, padding=0)")]
fn max_pool2d(kernel_size: Pair, stride: Option<Pair>, padding: Pair) -> PyResult<PyLayer> {
    checked(Layer::MaxPool2d(pool(kernel_size, stride, padding)))
}

/// Average pooling that counts the padding; stride is the kernel size unless given. (C, H, W) -> (C, H', W').
#[pyfunction]
#[pyo3(name = "AvgPool2d", signature = (kernel_size, stride=None, padding=Pair([0; 2])),
    text_signature = "(kernel_size, stride=None, padding=0)")]
fn avg_pool2d(kernel_size: Pair, stride: Option<Pair>, padding: Pair) -> PyResult<PyLayer> {
    checked(Layer::AvgPool2d(pool(kernel_size, stride, padding)))
}

#[doc = python_doc!("AdaptiveAvgPool2d")]
#[pyfunction]
#[pyo3(name = "AdaptiveAvgPool2d", signature = (output_size))]
fn adaptive_avg_pool2d(output_size: Pair) -> PyResult<PyLayer> {
    checked(Layer::AdaptiveAvgPool2d(AdaptivePool2d { output_size: output_size.0 }))
}

/// Mean over height and width. (C, H, W) -> (C,).
#[pyfunction]
#[pyo3(name = "GlobalAvgPool")]
fn global_avg_pool() -> PyLayer {
    PyLayer(Layer::GlobalAvgPool)
}

/// Maximum over height and width. (C, H, W) -> (C,).
#[pyfunction]
#[pyo3(name = "GlobalMaxPool")]
fn global_max_pool() -> PyLayer {
    PyLayer(Layer::GlobalMaxPool)
}

/// (C, H, W) -> (C * H * W,).
#[pyfunction]
#[pyo3(name = "Flatten")]
fn flatten() -> PyLayer {
    PyLayer(Layer::Flatten)
}

/// A fully connected layer, with PyTorch's initial weights. (in_features,) -> (out_features,).
#[pyfunction]
#[pyo3(name = "Linear", signature = (in_features, out_features, bias=true))]
fn linear(in_features: Whole, out_features: Whole, bias: bool) -> PyResult<PyLayer> {
    checked(Layer::Linear(Linear { in_features: in_features.0, out_features: out_features.0, bias }))
}

/// Sets each element to zero with probability p in training. Any shape.
#[pyfunction]
#[pyo3(name = "Dropout", signature = (p=0.5))]
fn dropout(p: f64) -> PyResult<PyLayer> {
    checked(Layer::Dropout(Dropout { p }))
}

/// Sets each channel to zero with probability p in training. (C, H, W) -> (C, H, W).
#[pyfunction]
#[pyo3(name = "Dropout2d", signature = (p=0.5))]
fn dropout2d(p: f64) -> PyResult<PyLayer> {
    checked(Layer::Dropout2d(Dropout { p }))
}

/// Sets each image to zero with probability p in training (Huang et al. 2016): ends a Residual's body. Any shape.
#[pyfunction]
#[pyo3(name = "StochasticDepth", signature = (p))]
fn stochastic_depth(p: f64) -> PyResult<PyLayer> {
    checked(Layer::StochasticDepth(Dropout { p }))
}

/// activation(body(x) + shortcut(x)). An empty shortcut is the identity; activation is a name, a layer or None.
#[pyfunction]
#[pyo3(name = "Residual", signature = (body, shortcut=vec![], activation=None),
    text_signature = "(body, shortcut=(), activation=None)")]
fn residual(
    body: Vec<PyRef<PyLayer>>,
    shortcut: Vec<PyRef<PyLayer>>,
    activation: Option<Bound<PyAny>>,
) -> PyResult<PyLayer> {
    let wanted = "activation must be a name, a layer or None";
    let activation = activation.map(|given| activation_of(&given, wanted)).transpose()?;
    check_extent(body.iter().chain(&shortcut).map(|layer| &layer.0))?; // before they are copied
    let inner = |layers: Vec<PyRef<PyLayer>>| layers.iter().map(|layer| layer.0.clone()).collect::<Vec<_>>();
    checked(Layer::Residual(Residual { body: inner(body), shortcut: inner(shortcut), activation }))
}

/// Multiplies its input by body(input), one number for each channel, (C,) or (C, 1, 1). (C, H, W) -> (C, H, W).
#[pyfunction]
#[pyo3(name = "Gate", signature = (body))]
fn gate(body: Vec<PyRef<PyLayer>>) -> PyResult<PyLayer> {
    check_extent(body.iter().map(|layer| &layer.0))?; // before they are copied
    checked(Layer::Gate(Gate { body: body.iter().map(|layer| layer.0.clone()).collect() }))
}

#[doc = python_doc!("SqueezeExcitation")]
#[pyfunction]
#[pyo3(name = "SqueezeExcitation", signature = (channels, reduction=Whole(16), activation=Function(Activation::Relu),
    scale_activation=Function(Activation::Sigmoid)),
    text_signature = "(channels, reduction=16, activation='relu', scale_activation='sigmoid')")]
fn squeeze_excitation(
    channels: Whole,
    reduction: Whole,
    activation: Function,
    scale_activation: Function,
) -> PyResult<PyLayer> {
    let gate = Gate::squeeze_excitation(channels.0, reduction.0, activation.0, scale_activation.0)?;
    checked(Layer::Gate(gate))
}

/// An activation by its name, or as a layer.
struct Function(Activation);

impl<'py> FromPyObject<'py> for Function {
    fn extract_bound(given: &Bound<'py, PyAny>) -> PyResult<Self> {
        activation_of(given, "must be a name or a layer").map(Function)
    }
}

fn activation_of(given: &Bound<PyAny>, wanted: &str) -> PyResult<Activation> {
    if let Ok(layer) = given.downcast::<PyLayer>() {
        return match &layer.get().0 {
            Layer::Activation(activation) => Ok(*activation),
            other => Err(ours("ArgumentError", format!("{other} is not an activation"))),
        };
    }
    let name = given.extract::<String>().map_err(|_| {
        let kind = type_name(given);
        pyo3::exceptions::PyTypeError::new_err(format!("{wanted}, not a {kind}"))
    })?;
    Ok(Activation::from_name(&name)?)
}

pub fn register(module: &Bound<PyModule>) -> PyResult<()> {
    for function in [
        wrap_pyfunction!(conv2d, module)?,
        wrap_pyfunction!(batch_norm1d, module)?,
        wrap_pyfunction!(batch_norm2d, module)?,
        wrap_pyfunction!(activation, module)?,
        wrap_pyfunction!(max_pool2d, module)?,
        wrap_pyfunction!(avg_pool2d, module)?,
        wrap_pyfunction!(adaptive_avg_pool2d, module)?,
        wrap_pyfunction!(global_avg_pool, module)?,
        wrap_pyfunction!(global_max_pool, module)?,
        wrap_pyfunction!(flatten, module)?,
        wrap_pyfunction!(linear, module)?,
        wrap_pyfunction!(dropout, module)?,
        wrap_pyfunction!(dropout2d, module)?,
        wrap_pyfunction!(stochastic_depth, module)?,
        wrap_pyfunction!(residual, module)?,
        wrap_pyfunction!(gate, module)?,
        wrap_pyfunction!(squeeze_excitation, module)?,
    ] {
        module.add_function(function)?;
    }
    Ok(())
}

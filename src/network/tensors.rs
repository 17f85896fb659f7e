//! Which tensors a layer owns: names (PyTorch's), shapes and initial values.

use std::slice::Iter;

use tch::Tensor;

use super::Layer;
use crate::error::{Error, Result};

/// Initial values, PyTorch's defaults for each layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Uniform in ±1/√fan_in. For weights this is PyTorch's `kaiming_uniform_(a=√5)`, for biases its own rule.
    Uniform {
        fan_in: i64,
    },
    Ones,
    Zeros,
    /// An int64 zero: batch norm's `num_batches_tracked`.
    Counter,
}

/// One tensor of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// As in a `state_dict`, such as `4.body.0.weight`.
    pub name: String,
    pub shape: Vec<i64>,
    pub init: Init,
    /// Parameters are trained; buffers (batch norm's statistics) are not.
    pub trainable: bool,
}

impl TensorSpec {
    pub fn numel(&self) -> i64 {
        self.shape.iter().product()
    }
}

/// A model's tensors, which a walk over its layers takes one after the other.
pub struct Tensors<'a>(Iter<'a, Tensor>);

impl<'a> Tensors<'a> {
    /// In the order of [`tensor_specs`].
    pub fn new(tensors: &'a [Tensor]) -> Self {
        Tensors(tensors.iter())
    }

    pub fn take(&mut self) -> Result<&'a Tensor> {
        self.0.next().ok_or_else(|| Error::argument("the model has fewer tensors than its layers need"))
    }
}

/// The tensors of `layers` in the order in which a forward pass meets them, residual bodies before shortcuts.
pub fn tensor_specs(layers: &[Layer]) -> Vec<TensorSpec> {
    let mut specs = Vec::new();
    collect(layers, "", &mut specs);
    specs
}

fn collect(layers: &[Layer], prefix: &str, specs: &mut Vec<TensorSpec>) {
    for (index, layer) in layers.iter().enumerate() {
        let path = format!("{prefix}{index}.");
        specs.extend(own_tensors(layer, &path));
        for (name, layers) in layer.inner() {
            collect(layers, &format!("{path}{name}."), specs);
        }
    }
}

/// The tensors of the layer itself, without those of layers within it.
pub fn own_tensors(layer: &Layer, path: &str) -> Vec<TensorSpec> {
    let tensor = |name: &str, shape: Vec<i64>, init, trainable| TensorSpec {
        name: format!("{path}{name}"),
        shape,
        init,
        trainable,
    };
    match layer {
        Layer::Conv2d(c) => {
            let [height, width] = c.kernel_size;
            let per_group = c.in_channels / c.groups;
            let init = Init::Uniform { fan_in: per_group * height * width };
            let mut own = vec![tensor("weight", vec![c.out_channels, per_group, height, width], init, true)];
            if c.bias {
                own.push(tensor("bias", vec![c.out_channels], init, true));
            }
            own
        }
        Layer::Linear(l) => {
            let init = Init::Uniform { fan_in: l.in_features };
            let mut own = vec![tensor("weight", vec![l.out_features, l.in_features], init, true)];
            if l.bias {
                own.push(tensor("bias", vec![l.out_features], init, true));
            }
            own
        }
        Layer::BatchNorm1d(b) | Layer::BatchNorm2d(b) => vec![
            tensor("weight", vec![b.num_features], Init::Ones, true),
            tensor("bias", vec![b.num_features], Init::Zeros, true),
            tensor("running_mean", vec![b.num_features], Init::Zeros, false),
            tensor("running_var", vec![b.num_features], Init::Ones, false),
            tensor("num_batches_tracked", vec![], Init::Counter, false),
        ],
        Layer::Activation(_)
        | Layer::MaxPool2d(_)
        | Layer::AvgPool2d(_)
        | Layer::AdaptiveAvgPool2d(_)
        | Layer::GlobalAvgPool
        | Layer::GlobalMaxPool
        | Layer::Flatten
        | Layer::Dropout(_)
        | Layer::Dropout2d(_)
        | Layer::StochasticDepth(_)
        | Layer::Residual(_)
        | Layer::Gate(_) => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BatchNorm, Conv2d, Residual};
    use super::*;

    #[test]
    fn names_are_those_of_nested_sequentials() {
        let layers = [Layer::Residual(Residual {
            body: vec![Layer::Flatten, Layer::BatchNorm2d(BatchNorm::new(4))],
            shortcut: vec![Layer::Conv2d(Conv2d::new(4, 4, 1).bias(true))],
            activation: None,
        })];
        let names: Vec<_> = tensor_specs(&layers).into_iter().map(|spec| spec.name).collect();
        assert_eq!(
            names,
            [
                "0.body.1.weight",
                "0.body.1.bias",
                "0.body.1.running_mean",
                "0.body.1.running_var",
                "0.body.1.num_batches_tracked",
                "0.shortcut.0.weight",
                "0.shortcut.0.bias",
            ]
        );
    }
}

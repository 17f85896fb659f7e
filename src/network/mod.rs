//! A network is a tree of layers, plain data. Everything else reads it: `describe` and `summary` here, training
//! (`forward`) here, inference in `evaluate::plan`.

mod activation;
pub mod builders;
mod by_pixel;
mod describe;
mod forward;
mod init;
mod layer;
mod masks;
mod memory;
mod model;
mod normalizer;
#[cfg(test)]
mod random;
mod summary;
mod tensor_file;
mod tensors;
mod weights_file;

use serde::{Deserialize, Serialize};

pub use activation::Activation;
pub use by_pixel::{by_pixel, is_affordable_product, is_mostly_edge, taps, unit_by_pixel};
pub use describe::{check, describe, Row, Shape};
#[cfg(test)]
pub use forward::forward_in_double;
pub use forward::{
    adaptive_avg_pool, avg_pool, conv2d, forward, forward_unfused, global_avg_pool, max_pool, over_pixels,
    Precision,
};
pub use layer::{
    all_layers, AdaptivePool2d, BatchNorm, Conv2d, Dropout, Gate, Layer, Linear, Pool2d, Residual,
};
pub use masks::{drawing, mixed, next_mask, with_masks_of, Rows};
pub use memory::Needs;
pub use model::{Model, Normalization};
pub use normalizer::Normalizer;
#[cfg(test)]
pub use random::random_network;
pub use tensor_file::{Packed, Unpacking};
pub use tensors::{own_tensors, tensor_specs, Init, TensorSpec, Tensors};

use crate::error::{Error, Result};

/// A confusion matrix of so many takes 800 MB.
pub const MOST_CLASSES: i64 = 10_000;

/// Residual blocks and gates may lie in one another this deep; the readers recurse.
const DEEPEST: usize = 32;

/// Layers of a network, those in blocks included: a block of two blocks of two blocks is soon very many.
const MOST_LAYERS: usize = 100_000;

/// The most numbers that a layer takes or gives for one image: 64 MiB of float32, five times what VGG has at 224 × 224. Then
/// no count overflows, and no layer takes minutes for a batch.
const MOST_NUMBERS: i128 = 1 << 24;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    pub name: String,
    /// (channels, height, width) of the images it is meant for.
    pub input_shape: [i64; 3],
    pub layers: Vec<Layer>,
}

impl Network {
    /// Checks every layer's values and follows `input_shape` through to a vector of at least two logits.
    pub fn new(name: impl Into<String>, input_shape: [i64; 3], layers: Vec<Layer>) -> Result<Self> {
        let network = Network { name: name.into(), input_shape, layers };
        network.output()?;
        network.num_classes()?;
        Ok(network)
    }

    /// The shape that the last layer gives, which need not be logits yet. Checks everything on the way there.
    fn output(&self) -> Result<Shape> {
        let Network { layers, input_shape, .. } = self;
        if layers.is_empty() {
            return Err(Error::argument("a network needs at least one layer"));
        }
        if input_shape.iter().any(|size| !(1..=1 << 14).contains(size)) {
            return Err(Error::Argument(format!(
                "input_shape is {}: give (channels, height, width), each between 1 and 16384",
                Shape(input_shape.to_vec())
            )));
        }
        if input_shape.iter().map(|size| i128::from(*size)).product::<i128>() > MOST_NUMBERS {
            return Err(Error::Argument(format!(
                "input_shape is {}: an image has at most {MOST_NUMBERS} numbers",
                Shape(input_shape.to_vec())
            )));
        }
        check_extent(layers)?;
        layers.iter().try_for_each(check)?;
        if let Some(at) = layers.iter().position(drops_all) {
            return Err(Error::Argument(format!(
                "layer {at} ({}) drops whole images, and here nothing of them would be left: make it the last layer \
                 of a Residual's body, whose shortcut then passes the image on",
                match &layers[at] {
                    Layer::StochasticDepth(_) => "StochasticDepth",
                    _ => "Gate, with StochasticDepth in its body",
                }
            )));
        }
        let rows = self.rows()?;
        let last = rows.into_iter().rev().find(|row| row.depth == 0);
        Ok(last.map_or(Shape(vec![]), |row| row.output))
    }

    pub fn from_json(text: &str) -> Result<Self> {
        let read: Network = serde_json::from_str(text)
            .map_err(|e| Error::Argument(format!("this JSON is not a network: {e}")))?;
        Network::new(read.name, read.input_shape, read.layers)
    }

    pub fn to_json(&self) -> String {
        // Strings, finite numbers and lists: serialising them cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Refuses images of another shape (channels, height, width) than the network is meant for. Layers that would take
    /// them too are no reason to guess: the weights have seen one shape. `given` begins the sentence.
    pub fn check_images(&self, given: &str, shape: [i64; 3]) -> Result<()> {
        if shape == self.input_shape {
            return Ok(());
        }
        let [channels, height, width] = shape;
        let [wanted_channels, wanted_height, wanted_width] = self.input_shape;
        let hint = if channels != wanted_channels {
            match (channels, wanted_channels) {
                (3 | 4, 1) => "turn them grey",
                (1, 3) => "turn them to RGB",
                (4, 3) => "turn them to RGB, without transparency",
                _ => "bring them to that number of channels",
            }
        } else if (height, width) == (wanted_width, wanted_height) {
            "height and width look exchanged: transpose them"
        } else {
            "resize them"
        };
        Err(Error::Shape(format!(
            "{given} {} (channels, height, width), and network {:?} takes {}: {hint}, or build a network for images of \
             that shape (input_size and in_channels of a builder, input_shape of eb.Network)",
            Shape(shape.to_vec()),
            self.name,
            Shape(self.input_shape.to_vec()),
        )))
    }

    pub fn rows(&self) -> Result<Vec<Row>> {
        describe(self, &Shape(self.input_shape.to_vec()))
    }

    /// Number of logits; an error when the last layer does not give a vector.
    pub fn num_classes(&self) -> Result<i64> {
        let rows = self.rows()?;
        let last = rows.iter().rev().find(|row| row.depth == 0);
        match last.map(|row| (row, row.output.0.as_slice())) {
            Some((_, [classes])) if (2..=MOST_CLASSES).contains(classes) => Ok(*classes),
            Some((_, [classes])) if *classes > MOST_CLASSES => Err(Error::Argument(format!(
                "network {:?} gives {classes} logits: at most {MOST_CLASSES} classes are possible",
                self.name
            ))),
            Some((row, _)) => Err(Error::Shape(format!(
                "network {:?} ends in layer {} ({}) with an output of shape {}: it must end in a vector of at least \
                 two logits, one per class. End it with Flatten or global pooling and Linear(..., classes).",
                self.name, row.path, row.layer, row.output
            ))),
            None => Err(Error::argument("a network needs at least one layer")),
        }
    }

    /// Trained values; batch norm's statistics are not among them.
    pub fn num_parameters(&self) -> i64 {
        tensor_specs(&self.layers).iter().filter(|spec| spec.trainable).map(TensorSpec::numel).sum()
    }

    /// Whether training draws random numbers: whether there is a dropout layer that drops.
    pub fn drops(&self) -> bool {
        all_layers(&self.layers).any(Layer::draws)
    }

    pub fn summary(&self) -> Result<String> {
        Ok(summary::table(self, &self.rows()?))
    }
}

/// Whether nothing is left of an image that the layer drops, for it passes by no block's shortcut.
fn drops_all(layer: &Layer) -> bool {
    match layer {
        Layer::StochasticDepth(_) => true,
        Layer::Gate(gate) => gate.body.iter().any(drops_all),
        _ => false,
    }
}

/// Refuses blocks that lie in one another too deep, and layers that are too many.
pub fn check_extent<'a>(layers: impl IntoIterator<Item = &'a Layer>) -> Result<()> {
    // An explicit stack: this runs before the depth is known to be harmless.
    let mut count = 0;
    for layer in layers {
        let mut open = vec![(layer, 0)];
        while let Some((layer, depth)) = open.pop() {
            count += 1;
            if count > MOST_LAYERS {
                return Err(Error::Argument(format!("there are more than {MOST_LAYERS} layers")));
            }
            let inner = layer.inner();
            if depth == DEEPEST && !inner.is_empty() {
                return Err(Error::Argument(format!(
                    "residual blocks or gates lie in one another more than {DEEPEST} deep"
                )));
            }
            let inner = inner.into_iter().flat_map(|(_, layers)| layers);
            open.extend(inner.map(|layer| (layer, depth + 1)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_must_end_in_logits() {
        let layers = vec![Layer::Conv2d(Conv2d::new(1, 8, 3))];
        let error = Network::new("net", [1, 28, 28], layers).unwrap_err().to_string();
        assert!(error.contains("(8, 26, 26)"), "{error}");
    }

    #[test]
    fn images_of_another_shape_are_refused_though_the_layers_would_take_them() {
        let layers =
            vec![Layer::Conv2d(Conv2d::new(1, 4, 3)), Layer::GlobalAvgPool, Layer::Linear(Linear::new(4, 2))];
        let network = Network::new("net", [1, 28, 40], layers).unwrap();
        assert!(network.check_images("they have shape", [1, 28, 40]).is_ok());
        for (shape, hint) in [
            ([1, 40, 28], "transpose"),
            ([3, 28, 40], "turn them grey"),
            ([2, 28, 40], "number of channels"),
            ([1, 8, 8], "resize"),
        ] {
            let error = network.check_images("they have shape", shape).unwrap_err().to_string();
            assert!(error.contains("takes (1, 28, 40)") && error.contains(hint), "{error}");
        }
    }

    #[test]
    fn dropout_is_found_where_it_drops() {
        let within = |p: f64| {
            let body = vec![Layer::Dropout2d(Dropout { p })];
            let block = Layer::Residual(Residual { body, shortcut: vec![], activation: None });
            let layers = vec![block, Layer::Flatten, Layer::Linear(Linear::new(4, 2))];
            Network::new("net", [1, 2, 2], layers).unwrap()
        };
        assert!(within(0.1).drops());
        assert!(!within(0.0).drops());
    }

    #[test]
    fn images_are_not_dropped_outside_of_a_block() {
        let drop = || Layer::StochasticDepth(Dropout { p: 0.5 });
        let network = |layers| Network::new("net", [1, 2, 2], layers);
        let linear = || Layer::Linear(Linear::new(4, 2));
        let error = network(vec![Layer::Flatten, drop(), linear()]).unwrap_err().to_string();
        assert!(error.contains("layer 1 (StochasticDepth) drops whole images"), "{error}");
        let gate = Layer::Gate(Gate { body: vec![Layer::Linear(Linear::new(4, 4)), drop()] });
        let error = network(vec![Layer::Flatten, gate, linear()]).unwrap_err().to_string();
        assert!(
            error.contains("layer 1 (Gate, with StochasticDepth in its body) drops whole images"),
            "{error}"
        );
        let block = Layer::Residual(Residual {
            body: vec![linear(), drop()],
            shortcut: vec![linear()],
            activation: None,
        });
        assert!(network(vec![Layer::Flatten, block]).unwrap().drops());
    }

    #[test]
    fn json_is_checked_like_layers_given_in_code() {
        let good = builders::lenet5(&builders::Lenet5::default()).unwrap();
        assert_eq!(Network::from_json(&good.to_json()).unwrap(), good);
        let bad = good.to_json().replace("\"out_features\":10", "\"out_features\":0");
        assert!(Network::from_json(&bad).unwrap_err().to_string().contains("out_features is 0"));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut layer = Layer::Flatten;
        for _ in 0..DEEPEST + 1 {
            layer = Layer::Residual(Residual { body: vec![layer], shortcut: vec![], activation: None });
        }
        assert!(Network::new("deep", [1, 1, 2], vec![layer]).is_err());
    }

    #[test]
    fn too_many_layers_are_refused() {
        let layers = vec![Layer::Activation(Activation::Relu); MOST_LAYERS + 1];
        assert!(check_extent(&layers[1..]).is_ok());
        assert!(check_extent(&layers).unwrap_err().to_string().contains("100000"));
    }
}

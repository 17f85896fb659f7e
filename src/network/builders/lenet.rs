use serde::{Deserialize, Serialize};

use super::options::{activations, size};
use super::{dropout, Activations, Pool};
use crate::error::Result;
use crate::network::{Activation, BatchNorm, Conv2d, Layer, Linear, Network};

/// LeNet-5 (LeCun et al. 1998) for 28×28 images: convolutions of 6, 16 and 120 channels with 5×5 kernels, the first
/// padded by 2 so that C5 sees 5×5 maps, then 84 and the logits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lenet5 {
    #[serde(with = "activations")]
    pub activation: Vec<Activation>,
    /// After each convolution: 61,990 parameters with it, 61,706 without.
    pub batch_norm: bool,
    pub pool: Pool,
    /// Before the last layer.
    pub dropout: f64,
    pub in_channels: i64,
    pub num_classes: i64,
    /// (height, width)
    #[serde(with = "size")]
    pub input_size: [i64; 2],
}

impl Default for Lenet5 {
    fn default() -> Self {
        Lenet5 {
            activation: vec![Activation::Relu],
            batch_norm: true,
            pool: Pool::Max,
            dropout: 0.0,
            in_channels: 1,
            num_classes: 10,
            input_size: [28, 28],
        }
    }
}

pub fn lenet5(options: &Lenet5) -> Result<Network> {
    let mut activations = Activations::new(&options.activation)?;
    let mut layers = Vec::new();
    let convolutions = [(options.in_channels, 6, 2), (6, 16, 0), (16, 120, 0)];
    for (index, (inputs, outputs, padding)) in convolutions.into_iter().enumerate() {
        layers.push(Layer::Conv2d(Conv2d::new(inputs, outputs, 5).padding(padding).bias(true)));
        if options.batch_norm {
            layers.push(Layer::BatchNorm2d(BatchNorm::new(outputs)));
        }
        layers.push(activations.layer());
        if index < 2 {
            layers.push(options.pool.layer(2, 2, 0));
        }
    }
    layers.push(Layer::Flatten);
    layers.push(Layer::Linear(Linear::new(120, 84)));
    layers.push(activations.layer());
    layers.extend(dropout(options.dropout));
    layers.push(Layer::Linear(Linear::new(84, options.num_classes)));
    let [height, width] = options.input_size;
    Network::new("lenet5", [options.in_channels, height, width], layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    // 61,990: study D. 61,706: LeCun et al. 1998 with full connections in C3 and biases everywhere.
    #[test]
    fn parameters_are_those_published() {
        assert_eq!(lenet5(&Lenet5::default()).unwrap().num_parameters(), 61_990);
        let plain = Lenet5 { batch_norm: false, ..Lenet5::default() };
        assert_eq!(lenet5(&plain).unwrap().num_parameters(), 61_706);
    }

    #[test]
    fn larger_images_are_refused_by_name() {
        let error = lenet5(&Lenet5 { input_size: [32, 32], ..Lenet5::default() }).unwrap_err().to_string();
        assert!(error.contains("(Linear)") && error.contains("lenet5"), "{error}");
    }
}

use serde::{Deserialize, Serialize};

use super::options::{activations, numbers, size};
use super::stack::Stack;
use super::{each_of, odd};
use crate::error::Result;
use crate::network::{Activation, Network};

/// The network of study E: three convolutions with batch norm, two max poolings, and three dense layers. 26,585,098
/// parameters.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Convnet {
    /// Channels of the three convolutions; one number serves for all.
    #[serde(with = "numbers")]
    pub widths: Vec<i64>,
    /// Odd, so that the padding keeps the size.
    pub kernel_size: i64,
    /// Units of the two hidden dense layers; one number serves for both.
    #[serde(with = "numbers")]
    pub hidden: Vec<i64>,
    /// By position in forward order. The list repeats.
    #[serde(with = "activations")]
    pub activation: Vec<Activation>,
    /// After each convolution.
    pub batch_norm: bool,
    /// After each hidden dense layer.
    pub dropout: f64,
    pub in_channels: i64,
    pub num_classes: i64,
    /// (height, width)
    #[serde(with = "size")]
    pub input_size: [i64; 2],
}

impl Default for Convnet {
    fn default() -> Self {
        Convnet {
            widths: vec![32, 128, 512],
            kernel_size: 3,
            hidden: vec![1024, 256],
            activation: vec![Activation::Relu],
            batch_norm: true,
            dropout: 0.0,
            in_channels: 1,
            num_classes: 10,
            input_size: [28, 28],
        }
    }
}

pub fn convnet(options: &Convnet) -> Result<Network> {
    let widths = each_of("widths", &options.widths, 3)?;
    let hidden = each_of("hidden", &options.hidden, 2)?;
    odd("kernel_size", options.kernel_size)?;
    let mut stack = Stack::new("convnet", options.in_channels, options.input_size, &options.activation)?;
    for (index, width) in widths.into_iter().enumerate() {
        stack.conv(width, options.kernel_size, 1, true).norm(options.batch_norm).activate();
        if index < 2 {
            stack.max_pool();
        }
    }
    stack.flatten()?;
    for units in hidden {
        stack.linear(units).activate().dropout(options.dropout);
    }
    stack.linear(options.num_classes);
    stack.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    // 26,585,098: study E.
    #[test]
    fn parameters_are_those_published() {
        assert_eq!(convnet(&Convnet::default()).unwrap().num_parameters(), 26_585_098);
        let plain = Convnet { batch_norm: false, ..Convnet::default() };
        assert_eq!(convnet(&plain).unwrap().num_parameters(), 26_585_098 - 2 * (32 + 128 + 512));
    }

    #[test]
    fn wrong_options_are_refused() {
        for options in [
            Convnet { widths: vec![8; 4], ..Convnet::default() },
            Convnet { widths: vec![1 << 40], ..Convnet::default() },
            Convnet { kernel_size: 4, ..Convnet::default() },
            Convnet { num_classes: 1, ..Convnet::default() },
            Convnet { input_size: [3, 28], ..Convnet::default() },
        ] {
            assert!(convnet(&options).is_err(), "{options:?}");
        }
    }
}

use serde::{Deserialize, Serialize};

use super::options::{activations, numbers, size};
use super::stack::{norm, Stack};
use super::{each_of, odd};
use crate::error::Result;
use crate::network::{Activation, Conv2d, Layer, Network, Residual};

/// The network of study C, which asks for the best kernel of its one residual block. Convolutions outside the block
/// are 3×3 without padding, activations come before batch norm there. With the running statistics of batch norm it has
/// 1,219,530 parameters, and 1,252,298 with 5×5 kernels in the block.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KernelNet {
    /// Of the residual block's two convolutions; odd, so that the padding keeps the size.
    pub kernel_size: i64,
    /// Channels of the first convolution and the block, and of the last convolution; one number serves for both.
    #[serde(with = "numbers")]
    pub widths: Vec<i64>,
    /// Units of the hidden dense layer.
    pub hidden: i64,
    /// By position in forward order. The list repeats.
    #[serde(with = "activations")]
    pub activation: Vec<Activation>,
    pub batch_norm: bool,
    /// Before the last layer.
    pub dropout: f64,
    pub in_channels: i64,
    pub num_classes: i64,
    /// (height, width)
    #[serde(with = "size")]
    pub input_size: [i64; 2],
}

impl Default for KernelNet {
    fn default() -> Self {
        KernelNet {
            kernel_size: 3,
            widths: vec![32, 64],
            hidden: 128,
            activation: vec![Activation::Relu],
            batch_norm: true,
            dropout: 0.0,
            in_channels: 1,
            num_classes: 10,
            input_size: [28, 28],
        }
    }
}

pub fn kernel_net(options: &KernelNet) -> Result<Network> {
    let widths = each_of("widths", &options.widths, 2)?;
    odd("kernel_size", options.kernel_size)?;
    let mut stack = Stack::new("kernel_net", options.in_channels, options.input_size, &options.activation)?;
    stack.valid_conv(widths[0], 3).activate().norm(options.batch_norm);
    let block = block(options, &mut stack);
    stack.push(block);
    stack.valid_conv(widths[1], 3).activate().norm(options.batch_norm).max_pool().flatten()?;
    stack.linear(options.hidden).activate().vector_norm(options.batch_norm);
    stack.dropout(options.dropout).linear(options.num_classes);
    stack.finish()
}

fn block(options: &KernelNet, stack: &mut Stack) -> Layer {
    let width = stack.width;
    let conv = || {
        let size = options.kernel_size;
        Layer::Conv2d(Conv2d::new(width, width, size).padding(size / 2).bias(true))
    };
    let mut body = vec![conv()];
    body.extend(norm(width, options.batch_norm));
    body.extend([stack.activations.layer(), conv()]);
    body.extend(norm(width, options.batch_norm));
    Layer::Residual(Residual { body, shortcut: vec![], activation: Some(stack.activations.next()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    // 1,219,530 and 1,252,298: study C, counted as Keras does, with the running statistics.
    #[test]
    fn parameters_are_those_published() {
        for (kernel_size, published) in [(3, 1_219_530), (5, 1_252_298)] {
            let network = kernel_net(&KernelNet { kernel_size, ..KernelNet::default() }).unwrap();
            let statistics: i64 = network.rows().unwrap().iter().map(|row| row.statistics).sum();
            assert_eq!(network.num_parameters() + statistics, published);
        }
    }

    #[test]
    fn wrong_options_are_refused() {
        for options in [
            KernelNet { kernel_size: 6, ..KernelNet::default() },
            KernelNet { widths: vec![8; 3], ..KernelNet::default() },
            KernelNet { hidden: 0, ..KernelNet::default() },
            KernelNet { input_size: [5, 5], ..KernelNet::default() },
        ] {
            assert!(kernel_net(&options).is_err(), "{options:?}");
        }
    }
}

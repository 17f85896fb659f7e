use serde::{Deserialize, Serialize};

use super::options::{activations, numbers, size};
use super::stack::Stack;
use super::{each_of, odd};
use crate::error::Result;
use crate::network::{Activation, Network};

/// AlexNet (Krizhevsky et al. 2012) for small images: five convolutions, which 3×3 kernels and 2×2 pooling take from
/// 28×28 to 3×3, and three dense layers. 28,513,994 parameters.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alexnet {
    /// Channels of the five convolutions; one number serves for all.
    #[serde(with = "numbers")]
    pub widths: Vec<i64>,
    /// Of the first convolution: 11 and 4 in the original, for 224×224.
    pub stem_kernel_size: i64,
    pub stem_stride: i64,
    /// Of the other convolutions; odd, so that the padding keeps the size.
    pub kernel_size: i64,
    /// Units of the two hidden dense layers; one number serves for both.
    #[serde(with = "numbers")]
    pub hidden: Vec<i64>,
    /// By position in forward order. The list repeats.
    #[serde(with = "activations")]
    pub activation: Vec<Activation>,
    /// After each convolution.
    pub batch_norm: bool,
    /// Before each hidden dense layer.
    pub dropout: f64,
    pub in_channels: i64,
    pub num_classes: i64,
    /// (height, width)
    #[serde(with = "size")]
    pub input_size: [i64; 2],
}

impl Default for Alexnet {
    fn default() -> Self {
        Alexnet {
            widths: vec![64, 192, 384, 256, 256],
            stem_kernel_size: 3,
            stem_stride: 1,
            kernel_size: 3,
            hidden: vec![4096],
            activation: vec![Activation::Relu],
            batch_norm: false,
            dropout: 0.5,
            in_channels: 1,
            num_classes: 10,
            input_size: [28, 28],
        }
    }
}

pub fn alexnet(options: &Alexnet) -> Result<Network> {
    let widths = each_of("widths", &options.widths, 5)?;
    let hidden = each_of("hidden", &options.hidden, 2)?;
    odd("stem_kernel_size", options.stem_kernel_size)?;
    odd("kernel_size", options.kernel_size)?;
    let mut stack = Stack::new("alexnet", options.in_channels, options.input_size, &options.activation)?;
    for (index, &width) in widths.iter().enumerate() {
        let (kernel_size, stride) = match index {
            0 => (options.stem_kernel_size, options.stem_stride),
            _ => (options.kernel_size, 1),
        };
        stack.conv(width, kernel_size, stride, true).norm(options.batch_norm).activate();
        if [0, 1, 4].contains(&index) {
            stack.max_pool();
        }
    }
    stack.flatten()?;
    for units in hidden {
        stack.dropout(options.dropout).linear(units).activate();
    }
    stack.linear(options.num_classes);
    stack.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    // By hand, with widths w, k×k kernels, biases, and 28×28 → 14 → 7 → 3:
    // k²·(1·64 + 64·192 + 192·384 + 384·256 + 256·256) + 1152 + 2304·4096 + 4096 + 4096·4096 + 4096 + 40970, k = 3.
    #[test]
    fn parameters_are_those_published() {
        assert_eq!(alexnet(&Alexnet::default()).unwrap().num_parameters(), 28_513_994);
        // Two for each of the 1,152 channels.
        let normed = Alexnet { batch_norm: true, ..Alexnet::default() };
        assert_eq!(alexnet(&normed).unwrap().num_parameters(), 28_513_994 + 2 * 1152);
    }

    #[test]
    fn the_originals_first_convolution_does_not_fit_28x28() {
        let original = Alexnet { stem_kernel_size: 11, stem_stride: 4, ..Alexnet::default() };
        let error = alexnet(&original).unwrap_err().to_string();
        // 28 → 7 by the convolution, → 3 → 1 by two poolings, and the third needs two pixels.
        for part in ["12 (MaxPool2d)", "alexnet", "(256, 1, 1)", "at least 2 pixels"] {
            assert!(error.contains(part), "{part} is missing: {error}");
        }
        assert!(alexnet(&Alexnet { input_size: [29, 29], ..original }).is_ok());
    }

    #[test]
    fn wrong_options_are_refused() {
        for options in [
            Alexnet { widths: vec![8, 8], ..Alexnet::default() },
            Alexnet { hidden: vec![], ..Alexnet::default() },
            Alexnet { kernel_size: 2, ..Alexnet::default() },
            Alexnet { stem_stride: 0, ..Alexnet::default() },
            Alexnet { dropout: 1.0, ..Alexnet::default() },
            Alexnet { input_size: [0, 28], ..Alexnet::default() },
        ] {
            assert!(alexnet(&options).is_err(), "{options:?}");
        }
    }
}

use serde::{Deserialize, Serialize};

use super::options::{activations, numbers, size};
use super::stack::Stack;
use super::{each_of, odd};
use crate::error::{Error, Result};
use crate::network::{Activation, Network};

/// A network of Simonyan & Zisserman 2014: five stages of 3×3 convolutions and three dense layers. The default is
/// VGG-11 with pooling after the first two stages only, so that 28×28 images end as 7×7 maps: 128,806,154 parameters.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vgg {
    #[serde(skip)]
    pub name: String,
    /// Convolutions of each stage.
    #[serde(skip)]
    pub convolutions: [usize; 5],
    /// Channels of each stage; one number serves for all.
    #[serde(with = "numbers")]
    pub widths: Vec<i64>,
    /// A 2×2 max pooling ends each of so many first stages: 5 in the original, for 224×224.
    pub pools: i64,
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

impl Vgg {
    pub const ELEVEN: [usize; 5] = [1, 1, 2, 2, 2];
    pub const THIRTEEN: [usize; 5] = [2, 2, 2, 2, 2];
}

impl Default for Vgg {
    fn default() -> Self {
        Vgg {
            name: "vgg11".to_string(),
            convolutions: Vgg::ELEVEN,
            widths: vec![64, 128, 256, 512, 512],
            pools: 2,
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

pub fn vgg(options: &Vgg) -> Result<Network> {
    let widths = each_of("widths", &options.widths, 5)?;
    let hidden = each_of("hidden", &options.hidden, 2)?;
    odd("kernel_size", options.kernel_size)?;
    if !(0..=5).contains(&options.pools) {
        return Err(Error::Argument(format!("pools is {}: 0 to 5 of the stages end in one", options.pools)));
    }
    let mut stack = Stack::new(&options.name, options.in_channels, options.input_size, &options.activation)?;
    for (stage, (width, convolutions)) in (0..).zip(widths.into_iter().zip(options.convolutions)) {
        for _ in 0..convolutions {
            stack.conv(width, options.kernel_size, 1, true).norm(options.batch_norm).activate();
        }
        if stage < options.pools {
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

    // 128,806,154: study D. 132,863,336 and 133,047,848: torchvision's vgg11 and vgg13 for 1,000 classes, each of
    // which has 4,097 parameters in the last layer.
    #[test]
    fn parameters_are_those_published() {
        assert_eq!(vgg(&Vgg::default()).unwrap().num_parameters(), 128_806_154);
        for (convolutions, thousand_classes) in [(Vgg::ELEVEN, 132_863_336), (Vgg::THIRTEEN, 133_047_848)] {
            let original =
                Vgg { convolutions, pools: 5, in_channels: 3, input_size: [224, 224], ..Vgg::default() };
            assert_eq!(vgg(&original).unwrap().num_parameters(), thousand_classes - 990 * 4097);
        }
    }

    #[test]
    fn too_much_pooling_names_the_layer() {
        let error = vgg(&Vgg { pools: 5, ..Vgg::default() }).unwrap_err().to_string();
        // 28 → 14 → 7 → 3 → 1, and the fifth pooling needs two pixels.
        for part in ["20 (MaxPool2d)", "vgg11", "(512, 1, 1)", "at least 2 pixels"] {
            assert!(error.contains(part), "{part} is missing: {error}");
        }
    }

    #[test]
    fn wrong_options_are_refused() {
        for options in [
            Vgg { widths: vec![8; 4], ..Vgg::default() },
            Vgg { pools: 6, ..Vgg::default() },
            Vgg { pools: -1, ..Vgg::default() },
            Vgg { kernel_size: 0, ..Vgg::default() },
            Vgg { hidden: vec![8; 3], ..Vgg::default() },
            Vgg { activation: vec![], ..Vgg::default() },
        ] {
            assert!(vgg(&options).is_err(), "{options:?}");
        }
    }
}

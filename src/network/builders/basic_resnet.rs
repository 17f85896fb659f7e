use serde::{Deserialize, Serialize};

use super::options::{activations, numbers, size};
use super::{each_of, resnet, Pool, Resnet, Shortcut};
use crate::error::Result;
use crate::network::{Activation, Network};

/// ResNet-18 and its kin (He et al. 2015): batch norm in the projections, and the mean over the last maps. The default is
/// that for small images. For its three networks the defaults are not the same, so that no option may be left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicResnet {
    /// Channels of each stage; one number serves for all.
    #[serde(with = "numbers")]
    pub widths: Vec<i64>,
    pub stem_kernel_size: i64,
    pub stem_stride: i64,
    /// A 3×3 max pooling of stride 2 after the first convolution.
    pub stem_pool: bool,
    /// Of the convolutions in the blocks; odd, so that the padding keeps the size.
    pub kernel_size: i64,
    /// By position in forward order, as in [`Resnet`].
    #[serde(with = "activations")]
    pub activation: Vec<Activation>,
    pub batch_norm: bool,
    /// One more batch norm after every block.
    pub block_norm: bool,
    /// As in [`Resnet`].
    pub squeeze_excitation: Option<i64>,
    /// Of the last block, as in [`Resnet`].
    pub stochastic_depth: f64,
    /// Before the last layer.
    pub dropout: f64,
    pub in_channels: i64,
    pub num_classes: i64,
    /// (height, width)
    #[serde(with = "size")]
    pub input_size: [i64; 2],
}

impl Default for BasicResnet {
    fn default() -> Self {
        BasicResnet {
            widths: vec![64, 128, 256, 512],
            stem_kernel_size: 3,
            stem_stride: 1,
            stem_pool: false,
            kernel_size: 3,
            activation: vec![Activation::Relu],
            batch_norm: true,
            block_norm: false,
            squeeze_excitation: None,
            stochastic_depth: 0.0,
            dropout: 0.0,
            in_channels: 1,
            num_classes: 10,
            input_size: [28, 28],
        }
    }
}

impl BasicResnet {
    /// The deep residual network of study B.
    pub fn deep() -> Self {
        BasicResnet {
            stem_pool: true,
            activation: vec![Activation::LeakyRelu { negative_slope: 0.01 }],
            dropout: 0.3,
            ..BasicResnet::default()
        }
    }

    /// `blocks` of each stage.
    pub fn build(self, name: &str, blocks: [i64; 4]) -> Result<Network> {
        resnet(&Resnet {
            name: name.to_string(),
            stages: each_of("widths", &self.widths, blocks.len())?,
            blocks: blocks.to_vec(),
            stem_kernel_size: self.stem_kernel_size,
            stem_stride: self.stem_stride,
            stem_pool: self.stem_pool,
            kernel_size: self.kernel_size,
            activation: self.activation,
            batch_norm: self.batch_norm,
            block_norm: self.block_norm,
            shortcut: Shortcut::ProjectionBatchNorm,
            squeeze_excitation: self.squeeze_excitation,
            stochastic_depth: self.stochastic_depth,
            dropout: self.dropout,
            last_pool: Pool::Avg,
            in_channels: self.in_channels,
            num_classes: self.num_classes,
            input_size: self.input_size,
            ..Resnet::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // 11,172,810: study D. 21,280,970: study B.
    #[test]
    fn parameters_are_those_published() {
        let count = |options: BasicResnet, blocks| options.build("it", blocks).unwrap().num_parameters();
        assert_eq!(count(BasicResnet::default(), [2, 2, 2, 2]), 11_172_810);
        assert_eq!(count(BasicResnet::deep(), [3, 4, 6, 3]), 21_280_970);
    }
}

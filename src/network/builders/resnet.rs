use serde::{Deserialize, Serialize};

use super::options::{activations, numbers, size};
use super::stack::{norm, Stack};
use super::{dropout, odd, squeeze_excitation, stochastic_depth, Pool};
use crate::error::{Error, Result};
use crate::network::{Activation, Conv2d, Layer, Network, Residual};

/// What a residual block's shortcut is where the shape changes. Elsewhere it is the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortcut {
    /// A 1×1 convolution.
    Projection,
    /// A 1×1 convolution and batch norm, as in He et al. 2015.
    #[serde(rename = "projection_bn")]
    ProjectionBatchNorm,
}

/// A residual network of basic blocks (two convolutions with batch norm each). The default is the reference network:
/// 2,778,314 parameters.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resnet {
    #[serde(skip)]
    pub name: String,
    /// Channels of each stage. A stage that is wider than the one before it starts with stride 2.
    #[serde(with = "numbers")]
    pub stages: Vec<i64>,
    /// Blocks of each stage; one number serves for all.
    #[serde(with = "numbers")]
    pub blocks: Vec<i64>,
    /// Channels of the first convolution; the first stage's when not given.
    pub stem_channels: Option<i64>,
    pub stem_kernel_size: i64,
    pub stem_stride: i64,
    /// A 3×3 max pooling of stride 2 after the first convolution.
    pub stem_pool: bool,
    /// Of the convolutions in the blocks; odd, so that the padding keeps the size.
    pub kernel_size: i64,
    /// By position in forward order: the stem's, then each block's inner and outer one. The list repeats.
    #[serde(with = "activations")]
    pub activation: Vec<Activation>,
    /// After each convolution; without it, convolutions have a bias.
    pub batch_norm: bool,
    /// One more batch norm after every block.
    pub block_norm: bool,
    pub shortcut: Shortcut,
    /// The reduction of a squeeze-and-excitation layer at the end of each block's body.
    pub squeeze_excitation: Option<i64>,
    /// Between the two convolutions of each block.
    pub block_dropout: f64,
    /// Of the last block; the others drop their images with less, in equal steps from nothing.
    pub stochastic_depth: f64,
    /// Before the last layer.
    pub dropout: f64,
    pub last_pool: Pool,
    pub in_channels: i64,
    pub num_classes: i64,
    /// (height, width)
    #[serde(with = "size")]
    pub input_size: [i64; 2],
}

impl Default for Resnet {
    fn default() -> Self {
        Resnet {
            name: "resnet".to_string(),
            stages: vec![64, 128, 256],
            blocks: vec![2],
            stem_channels: None,
            stem_kernel_size: 7,
            stem_stride: 2,
            stem_pool: true,
            kernel_size: 3,
            activation: vec![Activation::Relu],
            batch_norm: true,
            block_norm: false,
            shortcut: Shortcut::Projection,
            squeeze_excitation: None,
            block_dropout: 0.0,
            stochastic_depth: 0.0,
            dropout: 0.0,
            last_pool: Pool::Max,
            in_channels: 1,
            num_classes: 10,
            input_size: [28, 28],
        }
    }
}

pub fn resnet(options: &Resnet) -> Result<Network> {
    let blocks = check(options)?;
    let stages = &options.stages;
    let stem_channels = options.stem_channels.unwrap_or(stages[0]);
    let mut stack = Stack::new(&options.name, options.in_channels, options.input_size, &options.activation)?;
    stack.conv(stem_channels, options.stem_kernel_size, options.stem_stride, !options.batch_norm);
    stack.norm(options.batch_norm).activate();
    if options.stem_pool {
        stack.push(Pool::Max.layer(3, 2, 1));
    }
    let (mut before, all) = (0, blocks.iter().sum());
    for (stage, (&width, &count)) in stages.iter().zip(&blocks).enumerate() {
        for index in 0..count {
            let downsamples = index == 0 && stage > 0 && width > stages[stage - 1];
            let stride = if downsamples { 2 } else { 1 };
            block(
                options,
                &mut stack,
                width,
                stride,
                stochastic_depth(options.stochastic_depth, before, all),
            )?;
            before += 1;
            stack.norm(options.block_norm);
        }
    }
    stack.push(options.last_pool.global()).dropout(options.dropout).linear(options.num_classes);
    stack.finish()
}

/// Checks what the layers cannot check for themselves; gives the number of blocks of each stage.
fn check(options: &Resnet) -> Result<Vec<i64>> {
    let Resnet { stages, blocks, .. } = options;
    if stages.is_empty() {
        return Err(Error::argument("stages is empty: give the channels of at least one stage"));
    }
    let per_stage = match blocks.as_slice() {
        [all] => vec![*all; stages.len()],
        each if each.len() == stages.len() => each.to_vec(),
        each => {
            let (blocks, stages) = (each.len(), stages.len());
            return Err(Error::Argument(format!(
                "blocks has {blocks} entries and stages has {stages}: give one number, or one for each stage"
            )));
        }
    };
    if let Some(count) = per_stage.iter().find(|count| !(1..=1000).contains(*count)) {
        return Err(Error::Argument(format!("blocks holds {count}: a stage has 1 to 1000 blocks")));
    }
    odd("kernel_size", options.kernel_size)?;
    odd("stem_kernel_size", options.stem_kernel_size)?;
    Ok(per_stage)
}

fn block(options: &Resnet, stack: &mut Stack, width: i64, stride: i64, drops: Option<Layer>) -> Result<()> {
    let inputs = stack.width;
    let conv = |inputs, stride| {
        let conv = Conv2d::new(inputs, width, options.kernel_size).stride(stride);
        Layer::Conv2d(conv.padding(options.kernel_size / 2).bias(!options.batch_norm))
    };
    let mut body = vec![conv(inputs, stride)];
    body.extend(norm(width, options.batch_norm));
    body.push(stack.activations.layer());
    body.extend(dropout(options.block_dropout));
    body.push(conv(width, 1));
    body.extend(norm(width, options.batch_norm));
    body.extend(squeeze_excitation(width, options.squeeze_excitation)?);
    body.extend(drops);
    let mut shortcut: Vec<Layer> =
        projection(inputs, width, stride, options.batch_norm).into_iter().collect();
    if !shortcut.is_empty() && options.shortcut == Shortcut::ProjectionBatchNorm {
        shortcut.extend(norm(width, options.batch_norm));
    }
    let activation = Some(stack.activations.next());
    stack.width = width;
    stack.push(Layer::Residual(Residual { body, shortcut, activation }));
    Ok(())
}

/// The 1×1 convolution of a shortcut, where a block changes the shape; a bias makes up for missing batch norm.
pub(super) fn projection(inputs: i64, outputs: i64, stride: i64, batch_norm: bool) -> Option<Layer> {
    let conv = Conv2d::new(inputs, outputs, 1).stride(stride).bias(!batch_norm);
    (stride != 1 || inputs != outputs).then_some(Layer::Conv2d(conv))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    fn parameters(options: Resnet) -> i64 {
        resnet(&options).unwrap().num_parameters()
    }

    // 2,778,314: study A. 11,172,810: study D's ResNet-18 with a 3×3 first convolution. 21,280,970: study B.
    #[test]
    fn parameters_are_those_published() {
        assert_eq!(parameters(Resnet::default()), 2_778_314);
        let resnet18 = Resnet {
            stages: vec![64, 128, 256, 512],
            stem_kernel_size: 3,
            stem_stride: 1,
            stem_pool: false,
            shortcut: Shortcut::ProjectionBatchNorm,
            last_pool: Pool::Avg,
            ..Resnet::default()
        };
        assert_eq!(parameters(resnet18.clone()), 11_172_810);
        let deep = Resnet { blocks: vec![3, 4, 6, 3], stem_pool: true, ..resnet18 };
        assert_eq!(parameters(deep.clone()), 21_280_970);
        // Two for each channel of each block: 3·64 + 4·128 + 6·256 + 3·512.
        assert_eq!(parameters(Resnet { block_norm: true, ..deep }), 21_280_970 + 2 * 3776);
    }

    // Hu et al. 2018, section 4: 2 / r times the squares of the widths, and here C / r + C biases.
    #[test]
    fn squeeze_and_excitation_adds_what_is_published() {
        let with = parameters(Resnet { squeeze_excitation: Some(16), ..Resnet::default() });
        let of_block = |width: i64| 2 * width * width / 16 + width / 16 + width;
        let more: i64 = [64, 128, 256].into_iter().map(|width| 2 * of_block(width)).sum();
        assert_eq!(with, 2_778_314 + more);
    }

    fn outputs(network: &Network) -> Vec<String> {
        let rows = network.rows().unwrap();
        rows.iter().filter(|row| row.depth == 0).map(|row| row.output.to_string()).collect()
    }

    #[test]
    fn the_reference_ends_on_2x2_maps() {
        let shapes = outputs(&resnet(&Resnet::default()).unwrap());
        assert_eq!(shapes[3..5], ["(64, 7, 7)", "(64, 7, 7)"]);
        assert_eq!(shapes[shapes.len() - 3..], ["(256, 2, 2)", "(256,)", "(10,)"]);
    }

    #[test]
    fn a_stage_of_the_same_width_keeps_its_size() {
        let shapes = outputs(&resnet(&Resnet { stages: vec![64, 64, 128], ..Resnet::default() }).unwrap());
        assert_eq!(shapes[7], "(64, 7, 7)");
        assert_eq!(shapes[8], "(128, 4, 4)");
    }

    #[test]
    fn a_mix_of_activations_goes_by_position() {
        let mix = vec![Activation::Softplus, Activation::Relu];
        let network = resnet(&Resnet { activation: mix, ..Resnet::default() }).unwrap();
        assert_eq!(network.layers[2], Layer::Activation(Activation::Softplus));
        let Layer::Residual(first) = &network.layers[4] else { panic!("no block") };
        assert_eq!(first.body[2], Layer::Activation(Activation::Relu));
        assert_eq!(first.activation, Some(Activation::Softplus));
    }

    // Huang et al. 2016, section 4: p_l = l / L · p_L.
    #[test]
    fn deeper_blocks_are_dropped_more_often() {
        let network = resnet(&Resnet { stochastic_depth: 0.6, blocks: vec![1, 2, 1], ..Resnet::default() });
        let network = network.unwrap();
        let last = network.layers.iter().filter_map(|layer| match layer {
            Layer::Residual(block) => block.body.last(),
            _ => None,
        });
        let p: Vec<f64> = last
            .filter_map(|layer| match layer {
                Layer::StochasticDepth(drop) => Some(drop.p),
                _ => None,
            })
            .collect();
        assert_eq!(p.len(), 4);
        assert!(
            p.iter().zip([0.15, 0.3, 0.45, 0.6]).all(|(p, expected)| (p - expected).abs() < 1e-12),
            "{p:?}"
        );
        let none = resnet(&Resnet { blocks: vec![1, 2, 1], ..Resnet::default() }).unwrap();
        assert!(network.drops() && !none.drops());
        assert_eq!(network.num_parameters(), none.num_parameters());
    }

    #[test]
    fn without_batch_norm_convolutions_have_biases() {
        let with = parameters(Resnet::default());
        let without = parameters(Resnet { batch_norm: false, ..Resnet::default() });
        // One bias instead of a scale and a shift for each channel but those of the two projections, which had neither.
        let channels = 64 + 4 * (64 + 128 + 256);
        assert_eq!(without, with - channels + 128 + 256);
    }

    #[test]
    fn wrong_options_are_refused() {
        for options in [
            Resnet { stages: vec![], ..Resnet::default() },
            Resnet { blocks: vec![2, 2], ..Resnet::default() },
            Resnet { blocks: vec![0], ..Resnet::default() },
            Resnet { kernel_size: 4, ..Resnet::default() },
            Resnet { activation: vec![], ..Resnet::default() },
            Resnet { squeeze_excitation: Some(0), ..Resnet::default() },
            Resnet { squeeze_excitation: Some(65), ..Resnet::default() },
            Resnet { dropout: 1.5, ..Resnet::default() },
            Resnet { block_dropout: f64::NAN, ..Resnet::default() },
            Resnet { stochastic_depth: 1.0, ..Resnet::default() },
            Resnet { stochastic_depth: -0.1, ..Resnet::default() },
            Resnet { stochastic_depth: f64::NAN, ..Resnet::default() },
        ] {
            assert!(resnet(&options).is_err(), "{options:?}");
        }
    }
}

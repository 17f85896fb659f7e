use serde::{Deserialize, Serialize};

use super::options::{activations, size};
use super::resnet::projection;
use super::stack::{norm, Stack};
use super::{dropout, odd, resnet, squeeze_excitation, stochastic_depth, Pool, Resnet, Shortcut};
use crate::error::{Error, Result};
use crate::network::{Activation, Conv2d, Layer, Network, Residual};

/// A wide residual network (Zagoruyko & Komodakis 2016): a narrow first convolution and three stages of 16, 32 and 64
/// channels, times `width`. WRN-16-4 has 2,748,602 parameters for grey images in both forms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WideResnet {
    /// Convolutions on the longest path: 6n + 4 for n blocks in each stage.
    pub depth: i64,
    pub width: i64,
    /// Channels of the first convolution, of which the stages have 1, 2 and 4 times `width` as many.
    pub stem_channels: i64,
    /// Odd, so that the padding keeps the size.
    pub kernel_size: i64,
    /// Batch norm and activation before each convolution, as in the paper, instead of after it.
    pub pre_activation: bool,
    /// By position in forward order. The list repeats.
    #[serde(with = "activations")]
    pub activation: Vec<Activation>,
    pub batch_norm: bool,
    /// As in [`Resnet`].
    pub squeeze_excitation: Option<i64>,
    /// Between the two convolutions of each block.
    pub dropout: f64,
    /// Of the last block, as in [`Resnet`].
    pub stochastic_depth: f64,
    pub in_channels: i64,
    pub num_classes: i64,
    /// (height, width)
    #[serde(with = "size")]
    pub input_size: [i64; 2],
}

impl Default for WideResnet {
    fn default() -> Self {
        WideResnet {
            depth: 16,
            width: 4,
            stem_channels: 16,
            kernel_size: 3,
            pre_activation: false,
            activation: vec![Activation::Relu],
            batch_norm: true,
            squeeze_excitation: None,
            dropout: 0.0,
            stochastic_depth: 0.0,
            in_channels: 1,
            num_classes: 10,
            input_size: [28, 28],
        }
    }
}

pub fn wide_resnet(options: &WideResnet) -> Result<Network> {
    let (stages, blocks) = (stages(options)?, blocks(options)?);
    if options.pre_activation {
        return pre_activation(options, stages, blocks);
    }
    resnet(&Resnet {
        name: "wide_resnet".to_string(),
        stages: stages.to_vec(),
        blocks: vec![blocks],
        stem_channels: Some(options.stem_channels),
        stem_kernel_size: options.kernel_size,
        stem_stride: 1,
        stem_pool: false,
        kernel_size: options.kernel_size,
        activation: options.activation.clone(),
        batch_norm: options.batch_norm,
        shortcut: Shortcut::Projection,
        squeeze_excitation: options.squeeze_excitation,
        block_dropout: options.dropout,
        stochastic_depth: options.stochastic_depth,
        last_pool: Pool::Avg,
        in_channels: options.in_channels,
        num_classes: options.num_classes,
        input_size: options.input_size,
        ..Resnet::default()
    })
}

fn stages(options: &WideResnet) -> Result<[i64; 3]> {
    let WideResnet { width, stem_channels, .. } = *options;
    for (name, value) in [("width", width), ("stem_channels", stem_channels)] {
        if !(1..=1 << 16).contains(&value) {
            return Err(Error::Argument(format!("{name} is {value}: it must lie between 1 and 65536")));
        }
    }
    Ok([1, 2, 4].map(|factor| factor * width * stem_channels))
}

/// Blocks of each stage: a block has two convolutions, and a first one, two projections and the last layer make four.
fn blocks(options: &WideResnet) -> Result<i64> {
    let depth = options.depth;
    match (10..=6004).contains(&depth) && depth % 6 == 4 {
        true => Ok((depth - 4) / 6),
        false => Err(Error::Argument(format!(
            "depth is {depth}: it must be 6n + 4 for n blocks in each of three stages, such as 10, 16, 22 or 28"
        ))),
    }
}

fn pre_activation(options: &WideResnet, stages: [i64; 3], blocks: i64) -> Result<Network> {
    odd("kernel_size", options.kernel_size)?;
    let mut stack = Stack::new("wide_resnet", options.in_channels, options.input_size, &options.activation)?;
    stack.conv(options.stem_channels, options.kernel_size, 1, !options.batch_norm);
    for (stage, width) in stages.into_iter().enumerate() {
        for index in 0..blocks {
            let stride = if index == 0 && stage > 0 { 2 } else { 1 };
            let drops = stochastic_depth(options.stochastic_depth, stage as i64 * blocks + index, 3 * blocks);
            block(options, &mut stack, width, stride, drops)?;
        }
    }
    stack.norm(options.batch_norm).activate();
    stack.push(Pool::Avg.global()).linear(options.num_classes);
    stack.finish()
}

/// Where the shape changes, the projection also sees the first batch norm and activation, which then lie before the
/// block; elsewhere the identity passes them by.
fn block(
    options: &WideResnet,
    stack: &mut Stack,
    width: i64,
    stride: i64,
    drops: Option<Layer>,
) -> Result<()> {
    let inputs = stack.width;
    let shortcut = projection(inputs, width, stride, options.batch_norm);
    let mut body = Vec::new();
    if shortcut.is_some() {
        stack.norm(options.batch_norm).activate();
    } else {
        body.extend(norm(inputs, options.batch_norm));
        body.push(stack.activations.layer());
    }
    let conv = |inputs, stride| {
        let conv = Conv2d::new(inputs, width, options.kernel_size).stride(stride);
        Layer::Conv2d(conv.padding(options.kernel_size / 2).bias(!options.batch_norm))
    };
    body.push(conv(inputs, stride));
    body.extend(norm(width, options.batch_norm));
    body.push(stack.activations.layer());
    body.extend(dropout(options.dropout));
    body.push(conv(width, 1));
    body.extend(squeeze_excitation(width, options.squeeze_excitation)?);
    body.extend(drops);
    stack.width = width;
    stack.push(Layer::Residual(Residual {
        body,
        shortcut: shortcut.into_iter().collect(),
        activation: None,
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // 2,748,602: study D.
    #[test]
    fn parameters_are_those_published() {
        for pre_activation in [false, true] {
            let network = wide_resnet(&WideResnet { pre_activation, ..WideResnet::default() }).unwrap();
            assert_eq!(network.num_parameters(), 2_748_602);
        }
    }

    #[test]
    fn the_maps_end_at_a_quarter_of_the_size() {
        for pre_activation in [false, true] {
            let network = wide_resnet(&WideResnet { pre_activation, ..WideResnet::default() }).unwrap();
            let rows = network.rows().unwrap();
            assert!(rows.iter().any(|row| row.output.to_string() == "(256, 7, 7)"));
        }
    }

    #[test]
    fn the_last_block_is_dropped_as_often_as_asked_for() {
        for pre_activation in [false, true] {
            let options = WideResnet { pre_activation, stochastic_depth: 0.5, ..WideResnet::default() };
            let network = wide_resnet(&options).unwrap();
            let drops = crate::network::all_layers(&network.layers).filter_map(|layer| match layer {
                Layer::StochasticDepth(drop) => Some(drop.p),
                _ => None,
            });
            let drops: Vec<f64> = drops.collect();
            assert_eq!((drops.len(), drops[2], drops[5]), (6, 0.25, 0.5));
        }
    }

    #[test]
    fn wrong_options_are_refused() {
        for pre_activation in [false, true] {
            let base = WideResnet { pre_activation, ..WideResnet::default() };
            for options in [
                WideResnet { depth: 18, ..base.clone() },
                WideResnet { depth: 4, ..base.clone() },
                WideResnet { depth: 6 * 1001 + 4, ..base.clone() },
                WideResnet { width: 0, ..base.clone() },
                WideResnet { width: i64::MAX, ..base.clone() },
                WideResnet { kernel_size: 2, ..base.clone() },
                WideResnet { dropout: -0.1, ..base.clone() },
                WideResnet { stochastic_depth: 1.5, ..base.clone() },
                WideResnet { activation: vec![], ..base.clone() },
                WideResnet { squeeze_excitation: Some(17 * 4), ..base.clone() },
            ] {
                assert!(wide_resnet(&options).is_err(), "{options:?}");
            }
        }
    }
}

use super::{dropout, Activations, Pool};
use crate::error::{unknown, Error, Result};
use crate::network::{Activation, BatchNorm2d, Conv2d, Layer, Linear, Network, Residual};

/// What a residual block's shortcut is where the shape changes. Elsewhere it is the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    /// A 1×1 convolution.
    Projection,
    /// A 1×1 convolution and batch norm, as in He et al. 2015.
    ProjectionBatchNorm,
}

impl Shortcut {
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "projection" => Ok(Shortcut::Projection),
            "projection_bn" => Ok(Shortcut::ProjectionBatchNorm),
            _ => Err(unknown("shortcut", name, &["projection", "projection_bn"])),
        }
    }
}

/// A residual network of basic blocks (two convolutions with batch norm each). The default is the reference network:
/// 2,778,314 parameters.
#[derive(Clone, Debug)]
pub struct Resnet {
    /// Channels of each stage. A stage that is wider than the one before it starts with stride 2.
    pub stages: Vec<i64>,
    /// Blocks of each stage; one number serves for all.
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
    pub activation: Vec<Activation>,
    pub shortcut: Shortcut,
    /// Before the last layer.
    pub dropout: f64,
    pub last_pool: Pool,
    pub in_channels: i64,
    pub num_classes: i64,
    /// (height, width)
    pub input_size: [i64; 2],
}

impl Default for Resnet {
    fn default() -> Self {
        Resnet {
            stages: vec![64, 128, 256],
            blocks: vec![2],
            stem_channels: None,
            stem_kernel_size: 7,
            stem_stride: 2,
            stem_pool: true,
            kernel_size: 3,
            activation: vec![Activation::Relu],
            shortcut: Shortcut::Projection,
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
    let mut activations = Activations::new(&options.activation)?;
    let mut channels = options.stem_channels.unwrap_or(options.stages[0]);
    let mut layers = vec![
        conv(options.in_channels, channels, options.stem_kernel_size, options.stem_stride),
        norm(channels),
        activations.layer(),
    ];
    if options.stem_pool {
        layers.push(Pool::Max.layer(3, 2, 1));
    }
    for (stage, (&width, &count)) in options.stages.iter().zip(&blocks).enumerate() {
        for index in 0..count {
            let downsamples = index == 0 && stage > 0 && width > options.stages[stage - 1];
            let stride = if downsamples { 2 } else { 1 };
            layers.push(block(options, channels, width, stride, &mut activations));
            channels = width;
        }
    }
    layers.push(options.last_pool.global());
    layers.extend(dropout(options.dropout));
    layers.push(Layer::Linear(Linear::new(channels, options.num_classes)));
    let [height, width] = options.input_size;
    Network::new("resnet", [options.in_channels, height, width], layers)
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
    for (name, kernel) in
        [("kernel_size", options.kernel_size), ("stem_kernel_size", options.stem_kernel_size)]
    {
        if kernel < 1 || kernel % 2 == 0 {
            return Err(Error::Argument(format!(
                "{name} is {kernel}: it must be odd, so that padding keeps the size"
            )));
        }
    }
    Ok(per_stage)
}

fn block(options: &Resnet, inputs: i64, outputs: i64, stride: i64, activations: &mut Activations) -> Layer {
    let body = vec![
        conv(inputs, outputs, options.kernel_size, stride),
        norm(outputs),
        activations.layer(),
        conv(outputs, outputs, options.kernel_size, 1),
        norm(outputs),
    ];
    let mut shortcut = Vec::new();
    if stride != 1 || inputs != outputs {
        shortcut.push(conv(inputs, outputs, 1, stride));
        if options.shortcut == Shortcut::ProjectionBatchNorm {
            shortcut.push(norm(outputs));
        }
    }
    Layer::Residual(Residual { body, shortcut, activation: Some(activations.next()) })
}

fn conv(inputs: i64, outputs: i64, kernel_size: i64, stride: i64) -> Layer {
    Layer::Conv2d(Conv2d::new(inputs, outputs, kernel_size).stride(stride).padding(kernel_size / 2))
}

fn norm(channels: i64) -> Layer {
    Layer::BatchNorm2d(BatchNorm2d::new(channels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    fn parameters(options: Resnet) -> i64 {
        resnet(&options).unwrap().num_parameters()
    }

    // 2,778,314: study A. 11,172,810: study D's ResNet-18 with a 3×3 first convolution.
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
        assert_eq!(parameters(resnet18), 11_172_810);
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

    #[test]
    fn wrong_options_are_refused() {
        for options in [
            Resnet { stages: vec![], ..Resnet::default() },
            Resnet { blocks: vec![2, 2], ..Resnet::default() },
            Resnet { blocks: vec![0], ..Resnet::default() },
            Resnet { kernel_size: 4, ..Resnet::default() },
            Resnet { activation: vec![], ..Resnet::default() },
            Resnet { dropout: 1.5, ..Resnet::default() },
        ] {
            assert!(resnet(&options).is_err(), "{options:?}");
        }
    }
}

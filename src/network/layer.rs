//! The layers a network is made of: plain data that serialises to JSON and back. What they do is the readers'
//! business (`describe`, `forward`, `evaluate::plan`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Activation;
use crate::error::{Error, Result};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Layer {
    Conv2d(Conv2d),
    /// Of vectors (C,), over the batch.
    BatchNorm1d(BatchNorm),
    /// Of images, over the batch and all pixels.
    BatchNorm2d(BatchNorm),
    Activation(Activation),
    MaxPool2d(Pool2d),
    AvgPool2d(Pool2d),
    AdaptiveAvgPool2d(AdaptivePool2d),
    /// Mean over height and width: (C, H, W) -> (C,).
    GlobalAvgPool,
    /// Maximum over height and width: (C, H, W) -> (C,).
    GlobalMaxPool,
    /// (C, H, W) -> (C·H·W,).
    Flatten,
    Linear(Linear),
    Dropout(Dropout),
    /// Drops whole channels.
    Dropout2d(Dropout),
    /// Drops whole images, or what a block's branch makes of them.
    StochasticDepth(Dropout),
    Residual(Residual),
    Gate(Gate),
}

/// 2-d convolution; `groups` splits the channels, zeros pad the border.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    pub in_channels: i64,
    pub out_channels: i64,
    pub kernel_size: [i64; 2],
    pub stride: [i64; 2],
    pub padding: [i64; 2],
    pub dilation: [i64; 2],
    pub groups: i64,
    pub bias: bool,
}

impl Conv2d {
    /// Stride 1, no padding, no bias.
    pub fn new(in_channels: i64, out_channels: i64, kernel_size: i64) -> Self {
        Conv2d {
            in_channels,
            out_channels,
            kernel_size: [kernel_size; 2],
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
            bias: false,
        }
    }

    pub fn stride(self, stride: i64) -> Self {
        Conv2d { stride: [stride; 2], ..self }
    }

    pub fn padding(self, padding: i64) -> Self {
        Conv2d { padding: [padding; 2], ..self }
    }

    pub fn bias(self, bias: bool) -> Self {
        Conv2d { bias, ..self }
    }
}

impl Conv2d {
    /// Size of the output map that an input map of this size gives.
    pub fn output_size(&self, map: [i64; 2]) -> [i64; 2] {
        [0, 1].map(|axis| {
            let reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1;
            (map[axis] + 2 * self.padding[axis] - reach) / self.stride[axis] + 1
        })
    }

    /// The same for maps and kernels whose rows are columns, and columns rows.
    pub fn transposed(&self) -> Self {
        let turned = |[height, width]: [i64; 2]| [width, height];
        Conv2d {
            kernel_size: turned(self.kernel_size),
            stride: turned(self.stride),
            padding: turned(self.padding),
            dilation: turned(self.dilation),
            ..self.clone()
        }
    }

    /// Whether some tap of the kernel meets some pixel, along the rows of a map of this size and along its columns.
    pub fn meets(&self, map: [i64; 2]) -> [bool; 2] {
        let outputs = self.output_size(map);
        [0, 1].map(|axis| {
            (0..outputs[axis]).any(|output| {
                let before = self.padding[axis] - output * self.stride[axis];
                let tap = (before.max(0) + self.dilation[axis] - 1) / self.dilation[axis];
                tap < self.kernel_size[axis] && tap * self.dilation[axis] - before < map[axis]
            })
        })
    }

    /// Which tap of the kernel each pixel of the output has on each pixel of an input map of this size, row by row; none
    /// where the kernel does not reach.
    pub fn taps(&self, map: [i64; 2]) -> Vec<Option<i64>> {
        // The kernel's line that an output line has on an input line.
        let line = |axis: usize, to: i64, from: i64| {
            let offset = from + self.padding[axis] - to * self.stride[axis];
            let line = offset / self.dilation[axis];
            let reached = offset >= 0 && offset % self.dilation[axis] == 0 && line < self.kernel_size[axis];
            reached.then_some(line)
        };
        let pixels =
            |map: [i64; 2]| (0..map[0]).flat_map(move |row| (0..map[1]).map(move |column| [row, column]));
        let tap = |to: [i64; 2], from: [i64; 2]| {
            Some(line(0, to[0], from[0])? * self.kernel_size[1] + line(1, to[1], from[1])?)
        };
        pixels(self.output_size(map))
            .flat_map(|to| pixels(map).map(move |from| (to, from)))
            .map(|(to, from)| tap(to, from))
            .collect()
    }
}

/// Batch normalisation of each channel, with PyTorch's running statistics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNorm {
    pub num_features: i64,
    pub eps: f64,
    /// Weight of the newest batch in the running statistics.
    pub momentum: f64,
}

impl BatchNorm {
    pub fn new(num_features: i64) -> Self {
        BatchNorm { num_features, eps: 1e-5, momentum: 0.1 }
    }
}

/// Max or average pooling. An average counts the zeros of the padding, as PyTorch does by default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool2d {
    pub kernel_size: [i64; 2],
    pub stride: [i64; 2],
    pub padding: [i64; 2],
}

impl Pool2d {
    pub fn new(kernel_size: i64, stride: i64, padding: i64) -> Self {
        Pool2d { kernel_size: [kernel_size; 2], stride: [stride; 2], padding: [padding; 2] }
    }
}

/// Average pooling to a map of this size, with PyTorch's windows: they overlap where the sizes do not divide each other, and
/// repeat pixels where the map is larger than the image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptivePool2d {
    pub output_size: [i64; 2],
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    pub in_features: i64,
    pub out_features: i64,
    pub bias: bool,
}

impl Linear {
    pub fn new(in_features: i64, out_features: i64) -> Self {
        Linear { in_features, out_features, bias: true }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropout {
    /// Probability of an element (or channel, or image) becoming zero in training.
    pub p: f64,
}

/// `activation(body(x) + shortcut(x))`; an empty shortcut is the identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residual {
    pub body: Vec<Layer>,
    #[serde(default)]
    pub shortcut: Vec<Layer>,
    #[serde(default)]
    pub activation: Option<Activation>,
}

/// `x · body(x)`, where the body gives one number for each channel of `x`: (C,) or (C, 1, 1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    pub body: Vec<Layer>,
}

impl Gate {
    /// Squeeze and excitation (Hu et al. 2018): the body is the mean of each channel, and two linear layers with
    /// `channels / reduction` numbers between them.
    pub fn squeeze_excitation(
        channels: i64,
        reduction: i64,
        activation: Activation,
        scale_activation: Activation,
    ) -> Result<Self> {
        if channels < 1 {
            return Err(Error::Argument(format!(
                "squeeze and excitation of {channels} channels: give at least one"
            )));
        }
        if !(1..=channels).contains(&reduction) {
            return Err(Error::Argument(format!(
                "squeeze and excitation of {channels} channels cannot reduce them {reduction} times: give a reduction \
                 from 1 to {channels}"
            )));
        }
        let squeezed = channels / reduction;
        let body = vec![
            Layer::GlobalAvgPool,
            Layer::Linear(Linear::new(channels, squeezed)),
            Layer::Activation(activation),
            Layer::Linear(Linear::new(squeezed, channels)),
            Layer::Activation(scale_activation),
        ];
        Ok(Gate { body })
    }
}

impl Layer {
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Conv2d(_) => "Conv2d",
            Layer::BatchNorm1d(_) => "BatchNorm1d",
            Layer::BatchNorm2d(_) => "BatchNorm2d",
            Layer::Activation(_) => "Activation",
            Layer::MaxPool2d(_) => "MaxPool2d",
            Layer::AvgPool2d(_) => "AvgPool2d",
            Layer::AdaptiveAvgPool2d(_) => "AdaptiveAvgPool2d",
            Layer::GlobalAvgPool => "GlobalAvgPool",
            Layer::GlobalMaxPool => "GlobalMaxPool",
            Layer::Flatten => "Flatten",
            Layer::Linear(_) => "Linear",
            Layer::Dropout(_) => "Dropout",
            Layer::Dropout2d(_) => "Dropout2d",
            Layer::StochasticDepth(_) => "StochasticDepth",
            Layer::Residual(_) => "Residual",
            Layer::Gate(_) => "Gate",
        }
    }

    fn special(&self) -> Special<'_> {
        match self {
            Layer::BatchNorm1d(norm) | Layer::BatchNorm2d(norm) => Special::BatchNorm(norm),
            Layer::Dropout(dropout) | Layer::Dropout2d(dropout) | Layer::StochasticDepth(dropout) => {
                Special::Dropout(dropout)
            }
            Layer::Residual(block) => {
                Special::Block(vec![("body", &block.body), ("shortcut", &block.shortcut)])
            }
            Layer::Gate(gate) => Special::Block(vec![("body", &gate.body)]),
            Layer::Conv2d(_)
            | Layer::Activation(_)
            | Layer::MaxPool2d(_)
            | Layer::AvgPool2d(_)
            | Layer::AdaptiveAvgPool2d(_)
            | Layer::GlobalAvgPool
            | Layer::GlobalMaxPool
            | Layer::Flatten
            | Layer::Linear(_) => Special::Nothing,
        }
    }

    /// The layers within, in the order in which a forward pass meets them, with the names that their tensors' names in a
    /// `state_dict` begin with.
    pub fn inner(&self) -> Vec<(&'static str, &[Layer])> {
        match self.special() {
            Special::Block(inner) => inner,
            Special::BatchNorm(_) | Special::Dropout(_) | Special::Nothing => vec![],
        }
    }

    /// Batch norm, of vectors or of images.
    pub fn batch_norm(&self) -> Option<&BatchNorm> {
        match self.special() {
            Special::BatchNorm(norm) => Some(norm),
            Special::Dropout(_) | Special::Block(_) | Special::Nothing => None,
        }
    }

    /// Whether training draws random numbers for the layer itself.
    pub fn draws(&self) -> bool {
        match self.special() {
            Special::Dropout(dropout) => dropout.p > 0.0,
            Special::BatchNorm(_) | Special::Block(_) | Special::Nothing => false,
        }
    }
}

/// What tells a kind of layer from most others, for readers that need no more.
enum Special<'a> {
    /// Its statistics are those of a batch.
    BatchNorm(&'a BatchNorm),
    /// Training draws random numbers.
    Dropout(&'a Dropout),
    /// There are layers within.
    Block(Vec<(&'static str, &'a [Layer])>),
    Nothing,
}

/// The layers and all within them, in the order in which a forward pass meets them.
pub fn all_layers(layers: &[Layer]) -> impl Iterator<Item = &Layer> {
    let mut open: Vec<&Layer> = layers.iter().rev().collect();
    std::iter::from_fn(move || {
        let layer = open.pop()?;
        let inner = layer.inner().into_iter().flat_map(|(_, layers)| layers);
        open.extend(inner.collect::<Vec<_>>().into_iter().rev());
        Some(layer)
    })
}

/// `3` for a square, `(3, 5)` otherwise.
struct Pair([i64; 2]);

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [height, width] = self.0;
        if height == width {
            write!(f, "{height}")
        } else {
            write!(f, "({height}, {width})")
        }
    }
}

fn joined(layers: &[Layer]) -> String {
    layers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// As one would write it in Python, with the defaults left out.
impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Layer::Conv2d(c) => {
                write!(f, "Conv2d({}, {}, {}", c.in_channels, c.out_channels, Pair(c.kernel_size))?;
                for (name, pair, default) in
                    [("stride", c.stride, 1), ("padding", c.padding, 0), ("dilation", c.dilation, 1)]
                {
                    if pair != [default; 2] {
                        write!(f, ", {name}={}", Pair(pair))?;
                    }
                }
                if c.groups != 1 {
                    write!(f, ", groups={}", c.groups)?;
                }
                write!(f, "{})", if c.bias { "" } else { ", bias=False" })
            }
            Layer::BatchNorm1d(b) | Layer::BatchNorm2d(b) => {
                write!(f, "{}({}", self.kind(), b.num_features)?;
                if b.eps != 1e-5 {
                    write!(f, ", eps={}", b.eps)?;
                }
                if b.momentum != 0.1 {
                    write!(f, ", momentum={}", b.momentum)?;
                }
                write!(f, ")")
            }
            Layer::Activation(Activation::LeakyRelu { negative_slope }) => {
                write!(f, "Activation('leaky_relu', negative_slope={negative_slope})")
            }
            Layer::Activation(a) => write!(f, "Activation('{}')", a.name()),
            Layer::MaxPool2d(p) | Layer::AvgPool2d(p) => {
                write!(f, "{}({}", self.kind(), Pair(p.kernel_size))?;
                if p.stride != p.kernel_size {
                    write!(f, ", stride={}", Pair(p.stride))?;
                }
                if p.padding != [0; 2] {
                    write!(f, ", padding={}", Pair(p.padding))?;
                }
                write!(f, ")")
            }
            Layer::AdaptiveAvgPool2d(p) => write!(f, "{}({})", self.kind(), Pair(p.output_size)),
            Layer::GlobalAvgPool | Layer::GlobalMaxPool | Layer::Flatten => write!(f, "{}()", self.kind()),
            Layer::Linear(l) => {
                let bias = if l.bias { "" } else { ", bias=False" };
                write!(f, "Linear({}, {}{bias})", l.in_features, l.out_features)
            }
            Layer::Dropout(d) | Layer::Dropout2d(d) | Layer::StochasticDepth(d) => {
                write!(f, "{}({})", self.kind(), d.p)
            }
            Layer::Residual(r) => {
                write!(f, "Residual([{}]", joined(&r.body))?;
                if !r.shortcut.is_empty() {
                    write!(f, ", shortcut=[{}]", joined(&r.shortcut))?;
                }
                match r.activation {
                    Some(a @ Activation::LeakyRelu { .. }) => {
                        write!(f, ", activation={})", Layer::Activation(a))
                    }
                    Some(a) => write!(f, ", activation='{}')", a.name()),
                    None => write!(f, ")"),
                }
            }
            Layer::Gate(gate) => write!(f, "Gate([{}])", joined(&gate.body)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{tensor_specs, TensorSpec};
    use super::*;

    #[test]
    fn json_goes_out_and_in() {
        let layers = vec![
            Layer::Conv2d(Conv2d::new(1, 8, 3).padding(1)),
            Layer::Activation(Activation::LeakyRelu { negative_slope: 0.2 }),
            Layer::Residual(Residual {
                body: vec![Layer::BatchNorm2d(BatchNorm::new(8))],
                shortcut: vec![],
                activation: Some(Activation::Relu),
            }),
            Layer::Gate(Gate { body: vec![Layer::GlobalAvgPool, Layer::Activation(Activation::Sigmoid)] }),
            Layer::MaxPool2d(Pool2d::new(2, 2, 0)),
            Layer::GlobalAvgPool,
            Layer::BatchNorm1d(BatchNorm::new(8)),
            Layer::Dropout(Dropout { p: 0.5 }),
            Layer::StochasticDepth(Dropout { p: 0.25 }),
            Layer::Linear(Linear::new(8, 10)),
        ];
        let text = serde_json::to_string(&layers).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Layer>>(&text).unwrap(), layers, "{text}");
        assert!(
            text.contains(r#"{"type":"Activation","function":"leaky_relu","negative_slope":0.2}"#),
            "{text}"
        );
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let text = r#"{"type": "Dropout", "p": 0.5, "rate": 0.5}"#;
        assert!(serde_json::from_str::<Layer>(text).is_err());
    }

    #[test]
    fn it_prints_as_python() {
        let conv = Layer::Conv2d(Conv2d { kernel_size: [3, 5], ..Conv2d::new(1, 8, 3).stride(2) });
        assert_eq!(conv.to_string(), "Conv2d(1, 8, (3, 5), stride=2, bias=False)");
        assert_eq!(Layer::MaxPool2d(Pool2d::new(3, 2, 1)).to_string(), "MaxPool2d(3, stride=2, padding=1)");
        let norm = BatchNorm { momentum: 0.5, ..BatchNorm::new(8) };
        assert_eq!(Layer::BatchNorm1d(norm).to_string(), "BatchNorm1d(8, momentum=0.5)");
    }

    // Hu et al. 2018, section 3: 2 C² / r weights, and with biases C / r + C more.
    #[test]
    fn squeeze_and_excitation_has_as_many_weights_as_published() {
        let gate = |reduction| Gate::squeeze_excitation(64, reduction, Activation::Relu, Activation::Sigmoid);
        let layer = Layer::Gate(gate(16).unwrap());
        assert_eq!(
            tensor_specs(&[layer]).iter().map(TensorSpec::numel).sum::<i64>(),
            2 * 64 * 64 / 16 + 4 + 64
        );
        for wrong in [0, -16, 65] {
            let error = gate(wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("{wrong} times")) && error.contains("1 to 64"), "{error}");
        }
    }
}

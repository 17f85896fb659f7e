use super::{dropout, Activations, Pool};
use crate::error::Result;
use crate::network::{Activation, BatchNorm, Conv2d, Layer, Linear, Network};

/// A network in the making: each call puts a layer on top, which takes the channels that the one below gives.
pub(super) struct Stack<'a> {
    network: Network,
    /// Channels, or after [`Stack::flatten`] features, of the top layer.
    pub width: i64,
    pub activations: Activations<'a>,
}

impl<'a> Stack<'a> {
    pub fn new(name: &str, channels: i64, size: [i64; 2], activation: &'a [Activation]) -> Result<Self> {
        let input_shape = [channels, size[0], size[1]];
        let network = Network { name: name.to_string(), input_shape, layers: Vec::new() };
        Ok(Stack { network, width: channels, activations: Activations::new(activation)? })
    }

    pub fn push(&mut self, layer: Layer) -> &mut Self {
        self.network.layers.push(layer);
        self
    }

    /// Padded by half its kernel, so that an odd kernel keeps the size at stride 1.
    pub fn conv(&mut self, channels: i64, kernel_size: i64, stride: i64, bias: bool) -> &mut Self {
        self.push_conv(channels, kernel_size, stride, kernel_size / 2, bias)
    }

    /// Without padding; with a bias.
    pub fn valid_conv(&mut self, channels: i64, kernel_size: i64) -> &mut Self {
        self.push_conv(channels, kernel_size, 1, 0, true)
    }

    fn push_conv(
        &mut self,
        channels: i64,
        kernel_size: i64,
        stride: i64,
        padding: i64,
        bias: bool,
    ) -> &mut Self {
        let conv = Conv2d::new(self.width, channels, kernel_size).stride(stride).padding(padding).bias(bias);
        self.width = channels;
        self.push(Layer::Conv2d(conv))
    }

    /// Batch norm of the maps, if wanted.
    pub fn norm(&mut self, wanted: bool) -> &mut Self {
        self.network.layers.extend(norm(self.width, wanted));
        self
    }

    /// Batch norm of a vector, if wanted.
    pub fn vector_norm(&mut self, wanted: bool) -> &mut Self {
        self.network.layers.extend(wanted.then(|| Layer::BatchNorm1d(BatchNorm::new(self.width))));
        self
    }

    pub fn activate(&mut self) -> &mut Self {
        let layer = self.activations.layer();
        self.push(layer)
    }

    /// 2×2 max pooling that halves the maps.
    pub fn max_pool(&mut self) -> &mut Self {
        self.push(Pool::Max.layer(2, 2, 0))
    }

    /// Makes a vector of the maps. An error names the layer below that does not fit the images.
    pub fn flatten(&mut self) -> Result<&mut Self> {
        self.push(Layer::Flatten);
        self.width = self.network.output()?.0.iter().product();
        Ok(self)
    }

    pub fn linear(&mut self, features: i64) -> &mut Self {
        let linear = Linear::new(self.width, features);
        self.width = features;
        self.push(Layer::Linear(linear))
    }

    pub fn dropout(&mut self, p: f64) -> &mut Self {
        self.network.layers.extend(dropout(p));
        self
    }

    pub fn finish(self) -> Result<Network> {
        let Network { name, input_shape, layers } = self.network;
        Network::new(name, input_shape, layers)
    }
}

/// A batch norm layer for images, if wanted.
pub(super) fn norm(channels: i64, wanted: bool) -> Option<Layer> {
    wanted.then(|| Layer::BatchNorm2d(BatchNorm::new(channels)))
}

//! Networks drawn at random, for tests of readers against one another.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Activation, AdaptivePool2d, BatchNorm, Conv2d, Gate, Layer, Linear, Network, Pool2d, Residual};

/// A small network of any layers but dropout, for five classes.
pub fn random_network(seed: u64) -> Network {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let map = [random.random_range(1..=4), random.random_range(4..=12), random.random_range(4..=12)];
    Draw { random, map }.network()
}

/// Layers drawn at random for maps of this shape, or vectors once they are flattened.
struct Draw {
    random: ChaCha8Rng,
    map: [i64; 3],
}

impl Draw {
    fn activation(&mut self) -> Activation {
        let name = Activation::NAMES.choose(&mut self.random).unwrap();
        Activation::from_name(name).unwrap()
    }

    /// A convolution to as many channels as are wanted, that keeps height and width if it must.
    fn conv(&mut self, out_channels: i64, keep: bool) -> Layer {
        let [channels, height, width] = self.map;
        let random = &mut self.random;
        let kernel = *[1, 3, 5].choose(random).unwrap();
        let dilation = if kernel > 1 { random.random_range(1..=2) } else { 1 };
        let reach = dilation * (kernel - 1) + 1;
        let padding =
            if keep || reach > height.min(width) { reach / 2 } else { random.random_range(0..=reach / 2) };
        let stride = if keep { 1 } else { random.random_range(1..=2) };
        let divides = |groups: &i64| channels % groups == 0 && out_channels % groups == 0;
        let groups: Vec<i64> = (1..=channels).filter(divides).collect();
        let conv = Conv2d {
            groups: *groups.choose(random).unwrap(),
            dilation: [dilation; 2],
            ..Conv2d::new(channels, out_channels, kernel)
        };
        let conv = conv.padding(padding).stride(stride).bias(random.random());
        self.map = [out_channels, height, width].map(|size| (size + 2 * padding - reach) / stride + 1);
        self.map[0] = out_channels;
        Layer::Conv2d(conv)
    }

    /// What keeps the shape.
    fn plain(&mut self, depth: usize) -> Layer {
        let channels = self.map[0];
        match self.random.random_range(0..if depth > 0 { 7 } else { 6 }) {
            0 => self.conv(channels, true),
            1 | 2 => Layer::BatchNorm2d(BatchNorm::new(channels)),
            3 => Layer::Activation(self.activation()),
            4 => Layer::MaxPool2d(Pool2d::new(3, 1, 1)),
            5 => self.gate(),
            _ => {
                let start = self.map;
                let mut body: Vec<Layer> =
                    (0..self.random.random_range(1..4)).map(|_| self.plain(depth - 1)).collect();
                let mut shortcut = Vec::new();
                if self.map != start || self.random.random() {
                    let wider = *[4, 6, 8].choose(&mut self.random).unwrap();
                    body.push(self.conv(wider, true));
                    self.map = start;
                    shortcut.push(self.conv(wider, true));
                }
                for branch in [&mut body, &mut shortcut] {
                    if self.random.random() {
                        branch.push(Layer::BatchNorm2d(BatchNorm::new(self.map[0])));
                    }
                }
                let activation = self.random.random::<bool>().then(|| self.activation());
                Layer::Residual(Residual { body, shortcut, activation })
            }
        }
    }

    /// By a vector, or by a map of one pixel.
    fn gate(&mut self) -> Layer {
        let map = self.map;
        let hidden = self.random.random_range(1..=4);
        let mut body = Vec::new();
        if self.random.random() {
            body.push(self.plain(0));
        }
        let [first, second] = [self.activation(), self.activation()].map(Layer::Activation);
        if self.random.random() {
            body.push([Layer::GlobalAvgPool, Layer::GlobalMaxPool].choose(&mut self.random).unwrap().clone());
            let linear = Layer::Linear(Linear::new(map[0], hidden));
            body.extend([linear, first, Layer::Linear(Linear::new(hidden, map[0])), second]);
        } else {
            body.push(Layer::AdaptiveAvgPool2d(AdaptivePool2d { output_size: [1, 1] }));
            self.map = [map[0], 1, 1];
            body.extend([self.conv(hidden, true), first, self.conv(map[0], true), second]);
        }
        self.map = map;
        Layer::Gate(Gate { body })
    }

    fn network(mut self) -> Network {
        let input_shape = self.map;
        let mut layers = Vec::new();
        for _ in 0..self.random.random_range(1..8) {
            let layer = match self.random.random_range(0..4) {
                0 => {
                    let channels = *[4, 6, 8].choose(&mut self.random).unwrap();
                    self.conv(channels, false)
                }
                1 if self.map[1] > 3 && self.map[2] > 3 => {
                    let pool = [Pool2d::new(2, 2, 0), Pool2d::new(3, 2, 1)]
                        .choose(&mut self.random)
                        .unwrap()
                        .clone();
                    for size in &mut self.map[1..] {
                        *size = (*size + 2 * pool.padding[0] - pool.kernel_size[0]) / 2 + 1;
                    }
                    match self.random.random() {
                        true => Layer::MaxPool2d(pool),
                        false => Layer::AvgPool2d(pool),
                    }
                }
                _ => self.plain(2),
            };
            layers.push(layer);
        }
        if self.random.random_range(0..4) == 0 {
            let output_size = [self.random.random_range(1..=5), self.random.random_range(1..=5)];
            layers.push(Layer::AdaptiveAvgPool2d(AdaptivePool2d { output_size }));
            self.map = [self.map[0], output_size[0], output_size[1]];
        }
        let [channels, height, width] = self.map;
        let (layer, mut features) = match self.random.random_range(0..4) {
            0 => (Layer::GlobalAvgPool, channels),
            1 => (Layer::GlobalMaxPool, channels),
            _ => (Layer::Flatten, channels * height * width),
        };
        layers.push(layer);
        for _ in 0..self.random.random_range(0..4) {
            layers.push(match self.random.random_range(0..4) {
                0 => {
                    let linear = Linear { bias: self.random.random(), ..Linear::new(features, 6) };
                    features = 6;
                    Layer::Linear(linear)
                }
                1 => Layer::BatchNorm1d(BatchNorm::new(features)),
                2 => {
                    let body = vec![
                        Layer::Linear(Linear::new(features, features)),
                        Layer::Activation(self.activation()),
                    ];
                    Layer::Gate(Gate { body })
                }
                _ => Layer::Activation(self.activation()),
            });
        }
        layers.push(Layer::Linear(Linear::new(features, 5)));
        Network::new("random", input_shape, layers).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::all_layers;
    use super::*;

    // The kinds are those that serde lists where it knows none of the name.
    #[test]
    fn every_kind_of_layer_but_dropout_is_drawn() {
        let unknown = serde_json::from_str::<Layer>(r#"{"type": "?"}"#).unwrap_err().to_string();
        let (_, listed) = unknown.split_once("expected one of").unwrap();
        let kinds: BTreeSet<&str> = listed.split('`').skip(1).step_by(2).collect();
        let networks: Vec<Network> = (0..100).map(random_network).collect();
        let drawn = networks.iter().flat_map(|network| all_layers(&network.layers)).map(Layer::kind);
        let drawn: BTreeSet<&str> = drawn.chain(["Dropout", "Dropout2d", "StochasticDepth"]).collect();
        assert_eq!(drawn, kinds);
    }
}

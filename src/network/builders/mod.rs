//! Builders: functions that return layer trees. A new architecture is a new builder and nothing else.

mod alexnet;
mod basic_resnet;
mod convnet;
mod kernel_net;
mod lenet;
mod options;
mod resnet;
mod stack;
mod vgg;
mod wide_resnet;

pub use alexnet::{alexnet, Alexnet};
pub use basic_resnet::BasicResnet;
pub use convnet::{convnet, Convnet};
pub use kernel_net::{kernel_net, KernelNet};
pub use lenet::{lenet5, Lenet5};
pub use resnet::{resnet, Resnet, Shortcut};
pub use vgg::{vgg, Vgg};
pub use wide_resnet::{wide_resnet, WideResnet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Activation, Dropout, Gate, Layer, Network, Pool2d};
use crate::error::{Error, Result};

/// The builders that users have. For each its options, of which some networks fix others than the struct tells, and the
/// defaults.
macro_rules! builders {
    ($($name:literal => $build:expr, $defaults:expr;)*) => {
        pub const NAMES: &[&str] = &[$($name),*];

        /// The network of that name, or `None`: there is no such network. The outer error is about the form of the
        /// options, the inner one about their values.
        pub fn build<'de, D: Deserializer<'de>>(
            name: &str,
            options: D,
        ) -> Option<std::result::Result<Result<Network>, D::Error>> {
            match name {
                $($name => Some(Deserialize::deserialize(options).map($build)),)*
                _ => None,
            }
        }

        /// Its options with their defaults, as JSON.
        pub fn defaults(name: &str) -> Option<Value> {
            match name {
                $($name => serde_json::to_value($defaults).ok(),)*
                _ => None,
            }
        }
    };
}

builders! {
    "alexnet" => |options| alexnet(&options), Alexnet::default();
    "convnet" => |options| convnet(&options), Convnet::default();
    "deep_resnet" => |options: BasicResnet| options.build("deep_resnet", [3, 4, 6, 3]), BasicResnet::deep();
    "kernel_net" => |options| kernel_net(&options), KernelNet::default();
    "lenet5" => |options| lenet5(&options), Lenet5::default();
    "resnet" => |options| resnet(&options), Resnet::default();
    "resnet18" => |options: BasicResnet| options.build("resnet18", [2, 2, 2, 2]), BasicResnet::default();
    "resnet34" => |options: BasicResnet| options.build("resnet34", [3, 4, 6, 3]), BasicResnet::default();
    "vgg11" => |options| vgg(&options), Vgg::default();
    "vgg13" => |options| vgg(&Vgg { name: "vgg13".to_string(), convolutions: Vgg::THIRTEEN, ..options }), Vgg::default();
    "wide_resnet" => |options| wide_resnet(&options), WideResnet::default();
}

/// The kind of a pooling layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    Max,
    Avg,
}

impl Pool {
    fn layer(self, kernel_size: i64, stride: i64, padding: i64) -> Layer {
        let pool = Pool2d::new(kernel_size, stride, padding);
        match self {
            Pool::Max => Layer::MaxPool2d(pool),
            Pool::Avg => Layer::AvgPool2d(pool),
        }
    }

    fn global(self) -> Layer {
        match self {
            Pool::Max => Layer::GlobalMaxPool,
            Pool::Avg => Layer::GlobalAvgPool,
        }
    }
}

/// Hands out the activations of a network position by position, repeating the list when it ends.
struct Activations<'a> {
    mix: &'a [Activation],
    position: usize,
}

impl<'a> Activations<'a> {
    fn new(mix: &'a [Activation]) -> Result<Self> {
        match mix.is_empty() {
            true => Err(Error::argument("activation is an empty list: give at least one name")),
            false => Ok(Activations { mix, position: 0 }),
        }
    }

    fn next(&mut self) -> Activation {
        self.position += 1;
        self.mix[(self.position - 1) % self.mix.len()]
    }

    fn layer(&mut self) -> Layer {
        Layer::Activation(self.next())
    }
}

/// A dropout layer, or nothing for a probability of 0.
fn dropout(p: f64) -> Option<Layer> {
    (p != 0.0).then_some(Layer::Dropout(Dropout { p }))
}

/// Squeeze and excitation as in the paper, or nothing without a reduction.
fn squeeze_excitation(channels: i64, reduction: Option<i64>) -> Result<Option<Layer>> {
    let gate = |reduction| {
        Gate::squeeze_excitation(channels, reduction, Activation::Relu, Activation::Sigmoid).map(Layer::Gate)
    };
    reduction.map(gate).transpose()
}

/// Stochastic depth for the end of the body of block number `index` (from 0) of `count`, if there is any: its probability rises in
/// equal steps, from none before the first block to `p` in the last one (Huang et al. 2016).
fn stochastic_depth(p: f64, index: i64, count: i64) -> Option<Layer> {
    let p = p * ((index + 1) as f64 / count as f64);
    (p != 0.0).then_some(Layer::StochasticDepth(Dropout { p }))
}

/// The options that a user gives once for all, or once for each of `count` places.
pub fn each_of(name: &str, given: &[i64], count: usize) -> Result<Vec<i64>> {
    match given {
        [all] => Ok(vec![*all; count]),
        each if each.len() == count => Ok(each.to_vec()),
        each => Err(Error::Argument(format!(
            "{name} has {} entries, and the network has a place for {count}: give {count}, or one number for all",
            each.len()
        ))),
    }
}

fn odd(name: &str, kernel_size: i64) -> Result<()> {
    match kernel_size < 1 || kernel_size % 2 == 0 {
        true => Err(Error::Argument(format!(
            "{name} is {kernel_size}: it must be odd, so that padding keeps the size"
        ))),
        false => Ok(()),
    }
}

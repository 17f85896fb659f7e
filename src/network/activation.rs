//! Activation functions, with PyTorch's names and defaults.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::{unknown, Result};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "function", rename_all = "snake_case", deny_unknown_fields)]
pub enum Activation {
    Relu,
    LeakyRelu {
        #[serde(default = "default_slope")]
        negative_slope: f64,
    },
    Softplus,
    /// The exact form with the error function, not the tanh approximation.
    Gelu,
    Silu,
    Tanh,
    Sigmoid,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// With alpha 1.
    Elu,
    Selu,
    Mish,
    Hardswish,
    Hardsigmoid,
}

fn default_slope() -> f64 {
    0.01
}

impl Activation {
    pub const NAMES: [&'static str; 13] = [
        "relu",
        "leaky_relu",
        "softplus",
        "gelu",
        "silu",
        "tanh",
        "sigmoid",
        "relu6",
        "elu",
        "selu",
        "mish",
        "hardswish",
        "hardsigmoid",
    ];

    /// Looks a function up by its name in lower case, with its default parameters.
    pub fn from_name(name: &str) -> Result<Self> {
        Ok(match name {
            "relu" => Activation::Relu,
            "leaky_relu" => Activation::LeakyRelu { negative_slope: default_slope() },
            "softplus" => Activation::Softplus,
            "gelu" => Activation::Gelu,
            "silu" => Activation::Silu,
            "tanh" => Activation::Tanh,
            "sigmoid" => Activation::Sigmoid,
            "relu6" => Activation::Relu6,
            "elu" => Activation::Elu,
            "selu" => Activation::Selu,
            "mish" => Activation::Mish,
            "hardswish" => Activation::Hardswish,
            "hardsigmoid" => Activation::Hardsigmoid,
            _ => return Err(unknown("activation", name, &Self::NAMES)),
        })
    }

    pub fn name(&self) -> &'static str {
        match self {
            Activation::Relu => "relu",
            Activation::LeakyRelu { .. } => "leaky_relu",
            Activation::Softplus => "softplus",
            Activation::Gelu => "gelu",
            Activation::Silu => "silu",
            Activation::Tanh => "tanh",
            Activation::Sigmoid => "sigmoid",
            Activation::Relu6 => "relu6",
            Activation::Elu => "elu",
            Activation::Selu => "selu",
            Activation::Mish => "mish",
            Activation::Hardswish => "hardswish",
            Activation::Hardsigmoid => "hardsigmoid",
        }
    }

    /// `f(x)`, element by element, in any shape and floating dtype; differentiable.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match *self {
            Activation::Relu => x.f_relu()?,
            Activation::LeakyRelu { negative_slope } if negative_slope == default_slope() => {
                x.f_leaky_relu()?
            }
            // tch passes no slope on, but a one-element prelu is the same function.
            Activation::LeakyRelu { negative_slope } => {
                x.f_prelu(&Tensor::f_full([1], negative_slope, (x.f_kind()?, x.device()))?)?
            }
            Activation::Softplus => x.f_softplus()?,
            Activation::Gelu => x.f_gelu("none")?,
            Activation::Silu => x.f_silu()?,
            Activation::Tanh => x.f_tanh()?,
            Activation::Sigmoid => x.f_sigmoid()?,
            Activation::Relu6 => x.f_relu6()?,
            Activation::Elu => x.f_elu()?,
            Activation::Selu => x.f_selu()?,
            Activation::Mish => x.f_mish()?,
            Activation::Hardswish => x.f_hardswish()?,
            Activation::Hardsigmoid => x.f_hardsigmoid()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // torch 2.11: x = torch.tensor([-1.5, 0.0, 2.0], dtype=torch.float64)
    // F.relu(x), F.leaky_relu(x), F.softplus(x), F.gelu(x), F.silu(x), torch.tanh(x), torch.sigmoid(x), F.relu6(x), F.elu(x),
    // F.selu(x), F.mish(x), F.hardswish(x), F.hardsigmoid(x)
    #[test]
    fn values_are_pytorchs() {
        let x = Tensor::from_slice(&[-1.5f64, 0.0, 2.0]);
        let expected: [(&str, [f64; 3]); Activation::NAMES.len()] = [
            ("relu", [0.0, 0.0, 2.0]),
            ("leaky_relu", [-0.015, 0.0, 2.0]),
            ("softplus", [0.2014132779827524, std::f64::consts::LN_2, 2.1269280110429727]),
            ("gelu", [-0.10021080190328704, 0.0, 1.9544997361036416]),
            ("silu", [-0.2736382857095345, 0.0, 1.7615941559557646]),
            ("tanh", [-0.9051482536448664, 0.0, 0.9640275800758169]),
            ("sigmoid", [0.18242552380635635, 0.5, 0.8807970779778823]),
            ("relu6", [0.0, 0.0, 2.0]),
            ("elu", [-0.7768698398515702, 0.0, 2.0]),
            ("selu", [-1.3658143533672527, 0.0, 2.101401974710961]),
            ("mish", [-0.29809974216680674, 0.0, 1.9439589595339946]),
            ("hardswish", [-0.375, 0.0, 1.6666666666666667]),
            ("hardsigmoid", [0.25, 0.5, 0.8333333333333334]),
        ];
        for (name, values) in expected {
            let y = Vec::<f64>::try_from(Activation::from_name(name).unwrap().forward(&x).unwrap()).unwrap();
            for (y, value) in y.iter().zip(values) {
                assert!((y - value).abs() < 1e-12, "{name}: {y} instead of {value}");
            }
        }
    }

    #[test]
    fn relu6_ends_at_6() {
        let y = Activation::Relu6.forward(&Tensor::from_slice(&[5.0f32, 7.0])).unwrap();
        assert_eq!(Vec::<f32>::try_from(y).unwrap(), [5.0, 6.0]);
    }

    #[test]
    fn the_slope_of_leaky_relu_is_used() {
        let y = Activation::LeakyRelu { negative_slope: 0.2 }.forward(&Tensor::from_slice(&[-1.0f32, 3.0]));
        assert_eq!(Vec::<f32>::try_from(y.unwrap()).unwrap(), [-0.2, 3.0]);
    }

    #[test]
    fn an_unknown_name_gets_a_suggestion() {
        let error = Activation::from_name("rellu").unwrap_err().to_string();
        assert!(error.contains("Did you mean \"relu\""), "{error}");
    }
}

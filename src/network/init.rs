//! Initial weights: PyTorch's distributions, from a generator of our own so that torch's global one stays untouched.

use rand::distr::{Distribution, Uniform};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use super::tensors::{Init, TensorSpec};
use crate::error::{Error, Result};

/// The initial value of tensor number `index` of a network. Each tensor has its own stream of random numbers.
pub fn initial_tensor(spec: &TensorSpec, seed: u64, index: u64) -> Result<Tensor> {
    let float = (Kind::Float, Device::Cpu);
    Ok(match spec.init {
        Init::Ones => Tensor::f_ones(&spec.shape, float)?,
        Init::Zeros => Tensor::f_zeros(&spec.shape, float)?,
        Init::Counter => Tensor::f_zeros(&spec.shape, (Kind::Int64, Device::Cpu))?,
        Init::Uniform { fan_in } => {
            let bound = 1.0 / (fan_in as f32).sqrt();
            let uniform = Uniform::new_inclusive(-bound, bound).map_err(|e| {
                Error::Argument(format!("{}: no initial range for fan-in {fan_in}: {e}", spec.name))
            })?;
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            generator.set_stream(index);
            let count = spec.numel() as usize;
            let mut values: Vec<f32> = Vec::new();
            values
                .try_reserve_exact(count)
                .map_err(|e| Error::Argument(format!("{}: no memory for {count} weights: {e}", spec.name)))?;
            values.extend(uniform.sample_iter(&mut generator).take(count));
            Tensor::f_from_slice(&values)?.f_view(spec.shape.as_slice())?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(seed: u64, index: u64) -> Vec<f32> {
        let init = Init::Uniform { fan_in: 25 };
        let spec = TensorSpec { name: "0.weight".to_string(), shape: vec![20_000], init, trainable: true };
        Vec::try_from(initial_tensor(&spec, seed, index).unwrap()).unwrap()
    }

    // A uniform distribution over ±0.2 has deviation 0.2/√3.
    #[test]
    fn uniform_in_its_bounds() {
        let values = weights(0, 0);
        let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!(values.iter().all(|v| v.abs() <= 0.2));
        assert!((variance.sqrt() - 0.2 / 3f32.sqrt()).abs() < 0.002, "{variance}");
    }

    #[test]
    fn seeds_and_tensors_differ() {
        assert_eq!(weights(1, 0), weights(1, 0));
        assert_ne!(weights(1, 0), weights(2, 0));
        assert_ne!(weights(1, 0), weights(1, 1));
    }
}

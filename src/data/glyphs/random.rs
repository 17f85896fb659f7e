//! The random numbers of one image, made of integers and exact divisions only.

use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a generator is for, so that the order of the labels and the images share no numbers.
#[derive(Clone, Copy)]
pub enum Purpose {
    Label,
    Image,
}

pub struct Random(ChaCha8Rng);

impl Random {
    /// A generator that depends on these four values and nothing else.
    pub fn new(seed: u64, stream: u64, purpose: Purpose, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&stream.to_le_bytes());
        key[16] = purpose as u8;
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(index);
        Self(generator)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// A whole number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.0.next_u32()) * n as u64) >> 32) as usize
    }

    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// Bell-shaped with mean 0 and standard deviation 1, never beyond 3.5: the sum of four random bytes. A
    /// true normal would need a logarithm and a cosine, which differ between maths libraries in the last bit.
    pub fn bell(&mut self) -> f32 {
        let sum: u32 = self.0.next_u32().to_le_bytes().iter().map(|&byte| u32::from(byte)).sum();
        (sum as f32 - 510.0) / 147.8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_counts() {
        let first = |seed, stream, purpose, index| Random::new(seed, stream, purpose, index).unit();
        let base = first(1, 2, Purpose::Image, 3);
        assert_eq!(base, first(1, 2, Purpose::Image, 3));
        for other in [
            first(0, 2, Purpose::Image, 3),
            first(1, 0, Purpose::Image, 3),
            first(1, 2, Purpose::Label, 3),
            first(1, 2, Purpose::Image, 4),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn ranges_and_moments() {
        let mut random = Random::new(0, 0, Purpose::Image, 0);
        let bells: Vec<f32> = (0..100_000).map(|_| random.bell()).collect();
        let mean = bells.iter().sum::<f32>() / 1e5;
        let variance = bells.iter().map(|b| b * b).sum::<f32>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert!(bells.iter().all(|b| b.abs() < 3.5));
        for _ in 0..1000 {
            assert!((0.0..1.0).contains(&random.unit()));
            assert!((-2.0..3.0).contains(&random.between(-2.0, 3.0)));
            assert!(random.below(7) < 7);
        }
    }
}

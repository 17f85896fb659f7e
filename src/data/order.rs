//! The order in which training sees its examples: a function of the seed alone, so it can be asked for afterwards.

use rand::seq::SliceRandom;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOrder {
    examples: usize,
    batch_size: usize,
    seed: u64,
    shuffle: bool,
}

impl BatchOrder {
    pub fn new(examples: usize, batch_size: usize, seed: u64, shuffle: bool) -> Result<Self> {
        if examples == 0 {
            return Err(Error::Data("there are no training images".to_string()));
        }
        if !(1..=examples).contains(&batch_size) {
            return Err(Error::Argument(format!(
                "batch_size is {batch_size}: it must lie between 1 and the {examples} training images"
            )));
        }
        Ok(BatchOrder { examples, batch_size, seed, shuffle })
    }

    /// The last, shorter batch of an epoch counts.
    pub fn steps_per_epoch(&self) -> usize {
        self.examples.div_ceil(self.batch_size)
    }

    /// Number of examples in the smallest batch of a run of so many steps: the last one of an epoch, if the run comes so far.
    pub fn smallest_batch(&self, steps: usize) -> usize {
        match steps >= self.steps_per_epoch() {
            true => self.examples - (self.steps_per_epoch() - 1) * self.batch_size,
            false => self.batch_size,
        }
    }

    /// Every example once: shuffled anew for each epoch, or in their own order.
    pub fn epoch(&self, epoch: usize) -> Vec<i64> {
        let mut order: Vec<i64> = (0..self.examples as i64).collect();
        if self.shuffle {
            let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
            generator.set_stream(epoch as u64);
            order.shuffle(&mut generator);
        }
        order
    }

    /// The examples of optimizer step `step`, counted from 0 through all epochs.
    pub fn batch(&self, step: usize) -> Vec<i64> {
        let (epoch, batch) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        self.epoch(epoch).chunks(self.batch_size).nth(batch).map(<[i64]>::to_vec).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_holds_every_example_once() {
        let order = BatchOrder::new(10, 4, 7, true).unwrap();
        let mut seen: Vec<i64> = (3..6).flat_map(|step| order.batch(step)).collect();
        assert_eq!(seen, order.epoch(1));
        assert_ne!(seen, order.epoch(0));
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn the_last_batch_is_short() {
        let order = BatchOrder::new(10, 4, 0, false).unwrap();
        assert_eq!(order.steps_per_epoch(), 3);
        assert_eq!(order.batch(2), [8, 9]);
        assert_eq!(order.batch(3), [0, 1, 2, 3]);
        assert_eq!(
            (order.smallest_batch(order.steps_per_epoch()), order.smallest_batch(1)),
            (2, order.batch_size)
        );
    }

    #[test]
    fn the_seed_decides() {
        let order = |seed| BatchOrder::new(100, 10, seed, true).unwrap().epoch(0);
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn a_batch_larger_than_the_set_is_refused() {
        assert!(BatchOrder::new(10, 11, 0, true).is_err());
        assert!(BatchOrder::new(10, 0, 0, true).is_err());
    }
}

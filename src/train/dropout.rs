//! Where dropout's masks come from: of a run's seed and the number of the step alone, whatever else in the process draws
//! random numbers. On a CPU `network::drawing` makes masks of the seed; a GPU has a generator of the run's own.

use crate::network::mixed;

/// A seed for the random numbers of step number `step` (from 0) of a run with `seed`. Neighbouring seeds and steps have
/// nothing in common in any bits: libtorch's generator on a CPU takes the low 32.
pub fn step_seed(seed: u64, step: usize) -> u64 {
    mixed(mixed(seed).wrapping_add(step as u64))
}

#[cfg(test)]
pub mod tests {
    use std::collections::HashSet;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    /// For tests that seed torch's generator: one at a time.
    pub fn generator() -> MutexGuard<'static, ()> {
        static GENERATOR: Mutex<()> = Mutex::new(());
        GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn seeds_and_steps_that_are_neighbours_differ_in_half_of_the_bits() {
        let mut seen = HashSet::new();
        let mut differing = 0;
        for seed in 0..32 {
            for step in 0..32 {
                let (here, next, above) =
                    (step_seed(seed, step), step_seed(seed, step + 1), step_seed(seed + 1, step));
                differing +=
                    (here as u32 ^ next as u32).count_ones() + (here as u32 ^ above as u32).count_ones();
                seen.insert(here as u32);
            }
        }
        assert_eq!(seen.len(), 32 * 32);
        let share = f64::from(differing) / (32.0 * 32.0 * 2.0 * 32.0);
        assert!((share - 0.5).abs() < 0.01, "{share}");
    }
}

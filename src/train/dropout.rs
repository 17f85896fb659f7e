//! Where dropout's masks come from: of a run's seed and the number of the step alone, whatever else in the process draws
//! from torch's generator.

/// A seed for the random numbers of step number `step` (from 0) of a run with `seed`. Neighbouring seeds and steps have
/// nothing in common in any bits: libtorch's generator on a CPU takes the low 32.
pub fn step_seed(seed: u64, step: usize) -> u64 {
    mixed(mixed(seed).wrapping_add(step as u64))
}

/// One step of splitmix64 (Steele, Lea and Flood 2014), which takes each number to another one.
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
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

    // The first numbers of Vigna's splitmix64.c with x = 0, as its users quote them.
    #[test]
    fn numbers_are_those_of_splitmix64() {
        assert_eq!(mixed(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mixed(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
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

//! How far predicted margins are off: a variance that grows with the number of steps since an image was looked at.

use serde::{Deserialize, Serialize};

/// What a measurement leaves of what was seen before.
const MEMORY: f64 = 0.85;
const LEAST: f64 = 1e-6;
/// A square that is more times as large as was expected counts as so large.
const LARGEST: f64 = 12.0;

/// `constant + growth · age`, by weighted least squares on squares of what predictions were off by.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spread {
    constant: f64,
    growth: f64,
    /// Sums of weights times age², age, 1, square · age and square.
    sums: [f64; 5],
}

/// A prediction and what became of it.
pub struct Miss {
    pub age: f64,
    /// Of the predicted margin from 0.
    pub distance: f64,
    /// The variance that was expected.
    pub expected: f64,
    /// The square of what the margin was off by.
    pub square: f64,
}

impl Default for Spread {
    fn default() -> Self {
        Spread { constant: 0.02, growth: 0.02, sums: [0.0; 5] }
    }
}

impl Spread {
    /// The variance of a margin that was seen `age` steps ago.
    pub fn at(&self, age: f64) -> f64 {
        self.constant + self.growth * age
    }

    /// Those near the decision count most.
    pub fn see(&mut self, misses: impl Iterator<Item = Miss>) {
        self.sums.iter_mut().for_each(|sum| *sum *= MEMORY);
        for Miss { age, distance, expected, square } in misses {
            let weight = (-distance / 2.0).exp() / (expected * expected);
            let square = square.min(LARGEST * expected);
            let terms = [age * age, age, 1.0, square * age, square];
            self.sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += weight * term);
        }
        let [aa, a, one, sa, s] = self.sums;
        if one <= 0.0 {
            return;
        }
        let determinant = aa * one - a * a;
        let (growth, constant) = match determinant > 1e-6 * aa * one {
            true => ((sa * one - s * a) / determinant, (aa * s - a * sa) / determinant),
            false => (s / (a + one), s / (a + one)), // all of one age
        };
        (self.growth, self.constant) = match (growth < LEAST, constant < LEAST) {
            (false, false) => (growth, constant),
            (true, _) => (LEAST, (s / one).max(LEAST)),
            (false, true) => ((sa / aa).max(LEAST), LEAST),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(misses: &[(f64, f64)]) -> Spread {
        let mut spread = Spread::default();
        for _ in 0..50 {
            let all = misses.iter().map(|(age, square)| Miss {
                age: *age,
                distance: 1.0,
                expected: spread.at(*age),
                square: *square,
            });
            let all: Vec<_> = all.collect();
            spread.see(all.into_iter());
        }
        spread
    }

    #[test]
    fn variances_that_grow_with_age_are_found() {
        let spread = seen(&[(1.0, 0.15), (5.0, 0.55), (20.0, 2.05)]); // 0.05 + 0.1 age
        assert!((spread.at(10.0) - 1.05).abs() < 1e-6, "{spread:?}");
        assert!((spread.at(0.0) - 0.05).abs() < 1e-6, "{spread:?}");
    }

    #[test]
    fn neither_part_is_negative() {
        let spread = seen(&[(1.0, 3.0), (5.0, 2.0), (20.0, 1.0)]);
        assert!(spread.at(0.0) > 0.0 && spread.at(100.0) < 3.1, "{spread:?}");
        // Then growth alone is fitted, by weights of 1 / age²: the mean of square / age, (0.001 / 1 + 4 / 20) / 2 = 0.1005.
        let spread = seen(&[(1.0, 0.001), (20.0, 4.0)]);
        assert!(spread.at(0.0) > 0.0 && (spread.at(20.0) - 2.01).abs() < 0.01, "{spread:?}");
        let spread = seen(&[(1.0, 0.5), (1.0, 0.7)]);
        assert!((spread.at(1.0) - 0.6).abs() < 0.01, "{spread:?}");
    }
}

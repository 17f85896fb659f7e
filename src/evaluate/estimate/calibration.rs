//! How often a prediction is wrong about whether an image is classified rightly, by how far away the decision is: learned
//! from the images that were looked at.

use serde::{Deserialize, Serialize};

/// Distances are in standard deviations of the predicted margin; what lies beyond the last bin is in it.
const EDGES: [f64; 22] = [
    0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, 9.0,
    10.0, 14.0,
];
const BINS: usize = EDGES.len();
/// Beyond it nothing is told apart.
const FARTHEST: f64 = 20.0;
/// Where the last bin begins to be its middle.
const LAST: f64 = 18.0;
/// Of the table that is looked things up in.
const RESOLUTION: f64 = 0.05;
/// What a measurement leaves of what was counted before.
const MEMORY: f64 = 0.98;
/// No image is certain.
const LEAST: f64 = 1e-6;
/// The logarithm of the least rate that is told from none where curves are compared.
const LEAST_LOG: f64 = -16.0;
/// The most images that the prior of a bin counts as.
const STRONGEST: f64 = 2000.0;

/// Rates of wrong predictions: counts by distance, over a curve that is fitted to them and stands in where there are few.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Calibration {
    wrong: [f64; BINS],
    seen: [f64; BINS],
    /// Sums of the distances that were seen.
    distances: [f64; BINS],
    /// Rates at multiples of the resolution.
    #[serde(skip)]
    table: Vec<f64>,
}

impl Default for Calibration {
    fn default() -> Self {
        let mut calibration =
            Calibration { wrong: [0.0; BINS], seen: [0.0; BINS], distances: [0.0; BINS], table: Vec::new() };
        calibration.tabulate();
        calibration
    }
}

impl Calibration {
    /// The probability, in (0, 0.5], that an image is right though predicted wrong, or the other way round.
    pub fn rate(&self, distance: f64) -> f64 {
        let place = distance.min(FARTHEST) / RESOLUTION;
        let below = (place as usize).min(self.table.len() - 2);
        let share = place - below as f64;
        self.table[below] * (1.0 - share) + self.table[below + 1] * share
    }

    /// Takes up what was seen: distances, and whether the prediction was wrong.
    pub fn see(&mut self, seen: impl Iterator<Item = (f64, bool)>) {
        for bins in [&mut self.wrong, &mut self.seen, &mut self.distances] {
            bins.iter_mut().for_each(|count| *count *= MEMORY);
        }
        for (distance, wrong) in seen {
            let bin = EDGES.partition_point(|edge| *edge <= distance).saturating_sub(1);
            self.wrong[bin] += f64::from(u8::from(wrong));
            self.seen[bin] += 1.0;
            self.distances[bin] += distance.min(FARTHEST);
        }
        self.tabulate();
    }

    /// Mean distances of the bins, by the way that they were selected.
    fn middles(&self) -> [f64; BINS] {
        std::array::from_fn(|bin| {
            let middle = EDGES.get(bin + 1).map_or(LAST, |next| (EDGES[bin] + next) / 2.0);
            (self.distances[bin] + 0.5 * middle) / (self.seen[bin] + 0.5)
        })
    }

    /// `tabulate` is to be called after this was read.
    pub fn tabulate(&mut self) {
        let middles = self.middles();
        let curve = self.fitted(&middles);
        let mut rates = [0.0; BINS];
        let mut least: f64 = 0.5;
        for (bin, middle) in middles.iter().enumerate() {
            let prior = curve.at(*middle).max(LEAST);
            let weight = (1.0 / prior).min(STRONGEST);
            let rate = (self.wrong[bin] + weight * prior) / (self.seen[bin] + weight);
            least = least.min(rate.max(LEAST)); // farther away it is not likelier
            rates[bin] = least.ln();
        }
        let mut bin = 0;
        self.table = (0..=(FARTHEST / RESOLUTION) as usize + 1)
            .map(|place| {
                let distance = place as f64 * RESOLUTION;
                while bin + 2 < BINS && middles[bin + 1] < distance {
                    bin += 1;
                }
                let share = ((distance - middles[bin]) / (middles[bin + 1] - middles[bin])).clamp(0.0, 1.0);
                (rates[bin] * (1.0 - share) + rates[bin + 1] * share).exp()
            })
            .collect();
    }

    /// The curve under which the counts are most likely.
    fn fitted(&self, middles: &[f64; BINS]) -> Curve {
        let curves =
            SLOPES.iter().flat_map(|slope| BENDS.iter().map(|bend| Curve { slope: *slope, bend: *bend }));
        let scored = curves.map(|curve| {
            let bins = middles.iter().zip(self.wrong.iter().zip(&self.seen));
            let likelihood: f64 = bins
                .filter(|(_, (_, seen))| **seen > 0.0)
                .map(|(middle, (wrong, seen))| {
                    let log = curve.log(*middle).max(LEAST_LOG);
                    wrong * log + (seen - wrong) * (-log.exp()).ln_1p()
                })
                .sum();
            (likelihood - curve.slope.ln().powi(2) / 1.28 - 0.5 * curve.bend, curve)
        });
        scored.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(Curve { slope: 1.0, bend: 0.05 }, |(_, curve)| curve)
    }
}

/// What [`Curve`]s there are: slopes one fifth apart.
const SLOPES: [f64; 16] =
    [0.2, 0.24, 0.3, 0.36, 0.44, 0.54, 0.66, 0.81, 0.99, 1.21, 1.48, 1.8, 2.2, 2.7, 3.3, 4.0];
const BENDS: [f64; 6] = [0.0, 0.05, 0.1, 0.2, 0.35, 0.6];

/// `0.5 exp(-slope d - bend d²)`
#[derive(Clone, Copy)]
struct Curve {
    slope: f64,
    bend: f64,
}

impl Curve {
    fn at(self, distance: f64) -> f64 {
        self.log(distance).exp()
    }

    fn log(self, distance: f64) -> f64 {
        -std::f64::consts::LN_2 - distance * (self.slope + self.bend * distance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    // Where predictions err as a normal distribution says, the rates come out as its tails (scipy.stats.norm.sf).
    #[test]
    fn rates_are_learned() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut calibration = Calibration::default();
        for _ in 0..100 {
            let normal = |random: &mut ChaCha8Rng| (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
            let seen: Vec<_> = (0..1000)
                .map(|_| {
                    let distance = 6.0 * random.random::<f64>();
                    (distance, normal(&mut random) > distance)
                })
                .collect();
            calibration.see(seen.into_iter());
        }
        for (distance, tail) in [(0.25, 0.4013), (0.5, 0.3085), (1.0, 0.1587), (1.5, 0.0668), (2.0, 0.0228)] {
            let rate = calibration.rate(distance);
            assert!((rate / tail - 1.0).abs() < 0.15, "{distance}: {rate}, and not {tail}");
        }
        assert!(calibration.rate(6.0) < 1e-4 && calibration.rate(1e9) >= LEAST / 2.0);
    }

    #[test]
    fn the_table_follows_from_what_is_kept() {
        let mut calibration = Calibration::default();
        calibration.see([(0.1, true), (1.0, false), (30.0, false)].into_iter());
        let text = serde_json::to_string(&calibration).unwrap();
        let mut read: Calibration = serde_json::from_str(&text).unwrap();
        read.tabulate();
        assert_eq!(read.table, calibration.table);
    }
}

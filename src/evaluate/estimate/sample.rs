//! Samples without replacement, in which each image has a probability of its own.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// An image that may be sampled.
#[derive(Clone, Copy)]
pub struct Candidate {
    /// The probability of being sampled is proportional to it, up to 1. 0 for one that cannot be sampled.
    pub weight: f32,
    /// The variance of what is not known about it.
    pub variance: f32,
}

/// Candidates by their weights, in bins that each span an eighth of a power of two: what a sample would be worth, without a
/// pass over all candidates for every size that is thought of.
pub struct Design {
    bins: Vec<Bin>,
}

#[derive(Clone, Copy, Default)]
struct Bin {
    count: f64,
    weight: f64,
    variance: f64,
    /// Sum of variance over weight.
    ratio: f64,
}

/// Of an exponent and three bits of a mantissa.
const BITS: u32 = 20;

impl Design {
    pub fn new(candidates: &[Candidate]) -> Self {
        let mut bins = vec![Bin::default(); 1 << (32 - BITS)];
        for Candidate { weight, variance } in candidates.iter().filter(|one| one.weight > 0.0) {
            let bin = &mut bins[(weight.to_bits() >> BITS) as usize];
            let (weight, variance) = (f64::from(*weight), f64::from(*variance));
            bin.count += 1.0;
            bin.weight += weight;
            bin.variance += variance;
            bin.ratio += variance / weight;
        }
        bins.retain(|bin| bin.count > 0.0);
        Design { bins }
    }

    /// Images in a sample with probabilities `factor` times the weights.
    fn size(&self, factor: f64) -> f64 {
        self.bins.iter().map(|bin| (factor * bin.weight).min(bin.count)).sum()
    }

    /// The variance of an estimate from it: `Σ (1 / probability - 1) variance`.
    fn variance(&self, factor: f64) -> f64 {
        let sampled = self.bins.iter().filter(|bin| factor * bin.weight < bin.count);
        sampled.map(|bin| bin.ratio / factor - bin.variance).sum::<f64>().max(0.0)
    }

    /// The smallest sample whose estimate has a variance of `most`.
    pub fn images_for(&self, most: f64) -> usize {
        let factor = bisect(|factor| self.variance(factor) <= most);
        self.size(factor).ceil() as usize
    }
}

/// The smallest factor of which `enough` is true.
fn bisect(enough: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (-60.0, 60.0);
    for _ in 0..40 {
        let middle: f64 = (low + high) / 2.0;
        match enough(middle.exp2()) {
            true => high = middle,
            false => low = middle,
        }
    }
    f64::exp2(high)
}

/// Probabilities of being sampled, proportional to the weights, at most 1, that sum to `size`.
pub fn probabilities(candidates: &[Candidate], size: usize) -> Vec<f64> {
    let weights = || candidates.iter().map(|one| f64::from(one.weight));
    if size >= weights().filter(|weight| *weight > 0.0).count() {
        return weights().map(|weight| f64::from(u8::from(weight > 0.0))).collect();
    }
    // Newton's steps on a function that bends one way: they come from one side, and end.
    let mut factor = size as f64 / weights().sum::<f64>();
    for _ in 0..50 {
        let (mut sum, mut slope) = (0.0, 0.0);
        for weight in weights() {
            match factor * weight < 1.0 {
                true => slope += weight,
                false => sum += 1.0,
            }
        }
        sum += factor * slope;
        let missing = size as f64 - sum;
        if missing <= 1e-9 * size as f64 || slope <= 0.0 {
            break;
        }
        factor += missing / slope;
    }
    weights().map(|weight| (factor * weight).min(1.0)).collect()
}

/// A systematic sample: of a line on which candidates lie in the order given, each as long as its probability, those that
/// hold one of the points at equal distances of 1.
pub fn draw(probabilities: &[f64], order: &[u32], random: &mut ChaCha8Rng) -> Vec<usize> {
    let start: f64 = random.random();
    let first = random.random_range(0..order.len().max(1));
    let (mut reached, mut next) = (0.0, start);
    let mut drawn = Vec::new();
    for place in order[first..].iter().chain(&order[..first]) {
        let probability = probabilities[*place as usize];
        reached += probability;
        if probability >= 1.0 || reached > next {
            drawn.push(*place as usize);
            next += 1.0;
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn candidates(count: usize) -> Vec<Candidate> {
        let one = |at: usize| Candidate {
            weight: 0.001 * (1 + at * at % 97) as f32,
            variance: 0.01 * (at % 7) as f32,
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn probabilities_are_proportional_up_to_one_and_sum_to_the_size() {
        let mut all = candidates(500);
        all[3].weight = 0.0;
        for size in [1, 40, 300, 498, 499, 600] {
            let found = probabilities(&all, size);
            assert!((found.iter().sum::<f64>() - size.min(499) as f64).abs() < 1e-6, "{size}");
            assert_eq!(found[3], 0.0);
            let ratios = found.iter().zip(&all).filter(|(p, _)| **p > 0.0 && **p < 1.0);
            let ratios: Vec<_> = ratios.map(|(p, one)| p / f64::from(one.weight)).collect();
            assert!(ratios.iter().all(|ratio| (ratio / ratios[0] - 1.0).abs() < 1e-6), "{size}");
        }
    }

    #[test]
    fn a_design_needs_as_many_images_as_its_variance_says() {
        let all = candidates(2000);
        let variance = |size| {
            let found = probabilities(&all, size);
            found.iter().zip(&all).map(|(p, one)| (1.0 / p - 1.0) * f64::from(one.variance)).sum::<f64>()
        };
        for size in [50, 200, 800, 1500] {
            let needed = Design::new(&all).images_for(variance(size)) as f64;
            assert!((needed / size as f64 - 1.0).abs() < 0.05, "{size}: {needed}");
        }
        assert_eq!(Design::new(&all).images_for(f64::INFINITY), 1);
    }

    // The probabilities are what they are called: each image is drawn that often. Four standard deviations of a binomial.
    #[test]
    fn each_image_is_drawn_with_its_probability() {
        let all = candidates(60);
        let probabilities = probabilities(&all, 20);
        let order: Vec<u32> = (0..60).map(|at| at * 7 % 60).collect();
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let rounds = 4000;
        let mut drawn = [0; 60];
        for _ in 0..rounds {
            let sample = draw(&probabilities, &order, &mut random);
            assert!((19..=21).contains(&sample.len()), "{}", sample.len());
            sample.into_iter().for_each(|at| drawn[at] += 1);
        }
        for (count, p) in drawn.iter().zip(&probabilities) {
            let deviation = (p * (1.0 - p) * f64::from(rounds)).sqrt();
            let missed = f64::from(*count) - p * f64::from(rounds);
            assert!(missed.abs() <= 4.0 * deviation + 1e-9, "{count} of {rounds} at {p}");
        }
    }
}

//! From predictions of all images and the truth of some to totals of all, with their variances.

use serde::{Deserialize, Serialize};

use super::super::Figures;

/// What is predicted of an image that was not looked at.
#[derive(Clone, Copy, Default)]
pub struct Expected {
    /// The probability that it is classified rightly, and the variance that follows.
    pub right: f64,
    pub variance: f64,
    pub loss: f64,
    /// The variance of the loss, but for the scale of all.
    pub loss_variance: f64,
}

/// What was found when it was looked at.
#[derive(Clone, Copy, Default)]
pub struct Truth {
    pub right: bool,
    pub loss: f32,
}

/// By how much variances of losses are larger than expected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LossScale(f64);

impl Default for LossScale {
    fn default() -> Self {
        LossScale(1.0)
    }
}

/// So many expected wrong predictions weigh the sample's variance against what was expected of it.
const EXPECTED_WRONG: f64 = 12.0;
/// The variance of an image of which the prediction seems sure.
const SURE: f64 = 0.02;
/// So many standard deviations above what was expected are no chance.
const SURPRISE: f64 = 4.0;
/// How fast the scale of the losses moves, and how far in one step.
const PACE: f64 = 0.2;
const PACES: f64 = 2.0;

/// An image that alone moves the total of its class by more than so many of its standard deviations was not expected: its own
/// square is added to the variance.
const UNLIKELY: f64 = 3.0;

/// A total and its variance.
#[derive(Clone, Copy, Default)]
pub struct Total {
    pub value: f64,
    pub variance: f64,
    /// What the variance was expected to be, whichever images the sample is of.
    pub expected: f64,
}

impl Total {
    /// The mean of two estimates by the inverse of their expected variances. Those of what was found go with the values: an
    /// estimate that one image has made too small would count for less, and the mean would lie too high.
    fn with(self, other: Total) -> Total {
        if self.expected <= 0.0 || other.expected <= 0.0 {
            return if other.expected <= 0.0 { other } else { self };
        }
        let share = self.expected / (self.expected + other.expected);
        Total {
            value: self.value + share * (other.value - self.value),
            variance: (1.0 - share).powi(2) * self.variance + share.powi(2) * other.variance,
            expected: share * other.expected,
        }
    }
}

/// Totals over all images.
pub struct Totals {
    pub right: Total,
    pub loss: Total,
    /// (classes,) right ones of each class.
    pub class_right: Vec<Total>,
}

/// One round: every image was looked at in an earlier one, is in the sample of this one, or only has what is expected.
pub struct Round<'a> {
    pub labels: &'a [i32],
    pub classes: usize,
    /// Whether each was looked at before this round, and what was found.
    pub known: &'a [bool],
    pub truths: &'a [Truth],
    pub expected: &'a [Expected],
    /// Of being sampled; 0 for those that were known.
    pub probabilities: &'a [f64],
    pub sample: &'a [usize],
}

impl Round<'_> {
    /// Whether more predictions were wrong than chance explains, among all in the sample or among those that seemed sure: then
    /// something happened that nothing before it tells of, and variances that were expected are worth nothing.
    pub fn is_surprising(&self) -> bool {
        [f64::INFINITY, SURE].iter().any(|most| {
            let sample = self.sample.iter().map(|image| (&self.expected[*image], self.truths[*image]));
            let group = sample.filter(|(expected, _)| expected.variance <= *most);
            let (wrong, variance) = group.fold((0.0, 0.0), |(wrong, variance), (expected, truth)| {
                let off = f64::from(u8::from(truth.right)) - expected.right;
                (wrong + off * off, variance + expected.variance)
            });
            wrong > variance + SURPRISE * (variance + 0.5).sqrt()
        })
    }

    /// Sums of what is known and expected, and of what the sample was off by over its probabilities (the difference estimator;
    /// Särndal, Swensson and Wretman 1992, section 6.3): unbiased, for the expectations do not depend on the sample.
    pub fn totals(&self, losses: &mut LossScale) -> Totals {
        let mut totals = Totals {
            right: Total::default(),
            loss: Total::default(),
            class_right: vec![Total::default(); self.classes],
        };
        for (image, class) in self.labels.iter().enumerate() {
            let right = &mut totals.class_right[*class as usize];
            if self.known[image] {
                let Truth { right: is_right, loss } = self.truths[image];
                right.value += f64::from(u8::from(is_right));
                totals.loss.value += f64::from(loss);
                continue;
            }
            let expected = &self.expected[image];
            let missing = 1.0 / self.probabilities[image] - 1.0;
            right.value += expected.right;
            right.variance += missing * expected.variance;
            totals.loss.value += expected.loss;
            totals.loss.variance += missing * expected.loss_variance;
        }
        // Squares of what the sample was off by, and what they were expected to be, of the images that chance has chosen.
        let (mut wrong, mut wrong_expected, mut off, mut off_expected) = (0.0, 0.0, 0.0, 0.0);
        for image in self.sample {
            let (expected, truth, p) =
                (&self.expected[*image], self.truths[*image], self.probabilities[*image]);
            let right = f64::from(u8::from(truth.right)) - expected.right;
            let loss = f64::from(truth.loss) - expected.loss;
            totals.class_right[self.labels[*image] as usize].value += right / p;
            totals.loss.value += loss / p;
            if p < 1.0 {
                wrong += right * right;
                wrong_expected += expected.variance;
                let weight = (1.0 - p) / (p * p);
                off += weight * loss * loss;
                off_expected += weight * expected.loss_variance;
            }
        }
        let scale = (wrong + EXPECTED_WRONG) / (wrong_expected + EXPECTED_WRONG);
        for class in &mut totals.class_right {
            class.expected = class.variance * scale;
            class.variance = class.expected;
        }
        for (class, square) in self.unlikely(&totals.class_right) {
            totals.class_right[class].variance += square;
        }
        for class in &totals.class_right {
            totals.right.value += class.value;
            totals.right.variance += class.variance;
            totals.right.expected += class.expected;
        }
        totals.loss.variance *= losses.update(off, off_expected, totals.loss.variance);
        totals.loss.expected = totals.loss.variance;
        totals
    }

    /// Of the images of which nothing like this was expected, their classes and what each adds to the variance: one that
    /// seemed sure, and was sampled by chance for hundreds, moves a total by hundreds if it is wrong.
    fn unlikely(&self, classes: &[Total]) -> Vec<(usize, f64)> {
        let squares = self.sample.iter().filter_map(|image| {
            let (class, p) = (self.labels[*image] as usize, self.probabilities[*image]);
            let off = f64::from(u8::from(self.truths[*image].right)) - self.expected[*image].right;
            let square = (1.0 - p) * (off / p).powi(2);
            (square > UNLIKELY.powi(2) * classes[class].expected).then_some((class, square))
        });
        squares.collect()
    }
}

impl LossScale {
    /// The scale for a sample with these weighted squares, where `prior` is what was expected of them; it moves a little.
    fn update(&mut self, off: f64, expected: f64, prior: f64) -> f64 {
        if expected <= 0.0 || prior <= 0.0 {
            return self.0;
        }
        let scale = (off + prior * self.0) / (expected + prior);
        self.0 *= (off / expected / self.0).clamp(1.0 / PACES, PACES).powf(PACE);
        scale
    }
}

impl Totals {
    /// The mean of two estimates of the same.
    pub fn with(self, other: Totals) -> Totals {
        let classes = self.class_right.into_iter().zip(other.class_right);
        Totals {
            right: self.right.with(other.right),
            loss: self.loss.with(other.loss),
            class_right: classes.map(|(here, there)| here.with(there)).collect(),
        }
    }

    /// As means, in their bounds.
    pub fn figures(&self, totals: &[i64], looked: usize) -> Figures {
        let images = totals.iter().sum::<i64>() as f64;
        let share = |total: &Total, of: f64| (total.value / of).clamp(0.0, 1.0);
        let error = |total: &Total, of: f64| if of > 0.0 { total.variance.sqrt() / of } else { 0.0 };
        let classes = || self.class_right.iter().zip(totals.iter().map(|total| *total as f64));
        Figures {
            loss: (self.loss.value / images).max(0.0),
            accuracy: share(&self.right, images),
            class_accuracy: classes().map(|(right, of)| share(right, of)).collect(),
            loss_error: error(&self.loss, images),
            accuracy_error: error(&self.right, images),
            class_accuracy_error: classes().map(|(right, of)| error(right, of)).collect(),
            images: looked as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many images that seem right with these probabilities, of which so many of the first are not; all are sampled.
    fn surprising(groups: &[(usize, f64, usize)]) -> bool {
        let images = groups.iter().flat_map(|(count, right, wrong)| {
            (0..*count).map(move |at| {
                let variance = right * (1.0 - right);
                (
                    Expected { right: *right, variance, ..Expected::default() },
                    Truth { right: at >= *wrong, loss: 0.0 },
                )
            })
        });
        let (expected, truths): (Vec<_>, Vec<_>) = images.unzip();
        let round = Round {
            labels: &vec![0; truths.len()],
            classes: 1,
            known: &vec![false; truths.len()],
            truths: &truths,
            expected: &expected,
            probabilities: &vec![0.5; truths.len()],
            sample: &(0..truths.len()).collect::<Vec<_>>(),
        };
        round.is_surprising()
    }

    // By hand: two classes of 100 images that seem right with 0.999, one in 50 is sampled. One of the first class is wrong, and
    // stands for 50: (1 - 1/50) · (0.999 · 50)^2.
    #[test]
    fn one_image_that_stands_for_many_tells_of_its_own_weight() {
        let variance = 0.999 * 0.001;
        let expected = vec![Expected { right: 0.999, variance, ..Expected::default() }; 200];
        let labels: Vec<i32> = (0..200).map(|image| image / 100).collect();
        let sample = [10, 60, 110, 160];
        let found = |wrong: usize| {
            let mut truths = vec![Truth { right: true, loss: 0.0 }; 200];
            truths[wrong].right = false;
            let round = Round {
                labels: &labels,
                classes: 2,
                known: &[false; 200],
                truths: &truths,
                expected: &expected,
                probabilities: &[1.0 / 50.0; 200],
                sample: &sample,
            };
            assert!(!round.is_surprising());
            round.totals(&mut LossScale::default()).class_right
        };
        let [first, second] = found(10).try_into().ok().unwrap();
        assert!((first.value - (99.9 + 50.0 * 0.001 - 50.0 * 0.999)).abs() < 1e-9, "{}", first.value);
        assert!((first.variance - first.expected - 0.98 * (0.999 * 50.0f64).powi(2)).abs() < 1e-6);
        assert_eq!(second.variance, second.expected);
        let together = first.with(second);
        assert!(
            (together.value - (first.value + second.value) / 2.0).abs() < 1e-9,
            "as if both were expected"
        );
        assert!((together.variance - (first.variance + second.variance) / 4.0).abs() < 1e-6);
        assert!(found(11).iter().all(|class| class.variance == class.expected), "it is not in the sample");
    }

    // More wrong than 36 of 100 where 0.2 are expected, or than 3 of 200 where 0.001 are, has a binomial probability below 1e-4.
    #[test]
    fn chance_is_no_surprise_and_much_more_is() {
        assert!(!surprising(&[(100, 0.8, 20), (200, 0.999, 0)]));
        assert!(!surprising(&[(100, 0.8, 30), (200, 0.999, 2)]));
        assert!(surprising(&[(100, 0.8, 60), (200, 0.999, 0)]), "many were wrong of those in doubt");
        assert!(surprising(&[(100, 0.8, 20), (200, 0.999, 6)]), "some were of those that seemed sure");
    }
}

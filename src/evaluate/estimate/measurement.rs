//! One measurement: a pilot, a prediction, and samples until the standard error is small enough.

use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use super::predict::{finite, log_probabilities, Change, Decisions};
use super::sample::{draw, probabilities, Candidate, Design};
use super::spread::Miss;
use super::sums::{Expected, Round, Totals, Truth};
use super::{random, Estimator, Learned, Memory, Source};
use crate::error::{Error, Result};
use crate::evaluate::Figures;

/// Images of a pilot sample.
const PILOT: usize = 96;
/// Images of a sample, at least.
const SMALLEST: usize = 32;
/// Where more than this part of the images would have to be looked at, all of them are.
const MOST: f64 = 0.6;
/// Samples are designed for so much of the error that is aimed at, for some turn out worse than their design.
const MARGIN: f64 = 0.94;
/// In samples, what the losses weigh beside the accuracy.
const OF_LOSSES: f64 = 0.3;
/// No image weighs less than one with this variance.
const LEAST_VARIANCE: f64 = 2e-6;
/// So many pilot images weigh the day's scale of errors against that of the past; none counts as more than so many.
const EARLIER: f64 = 20.0;
const LARGEST: f64 = 16.0;

/// What a measurement finds, and what it leaves behind.
pub struct Found {
    pub figures: Figures,
    pub memory: Memory,
    pub learned: Learned,
}

/// What has been looked at in this measurement.
struct Looked {
    /// Columns of log-probabilities (classes, n), and which images they are of.
    logs: Vec<Tensor>,
    images: Vec<i64>,
    known: Vec<bool>,
    truths: Vec<Truth>,
    /// True margins of those that are known.
    margins: Vec<f32>,
}

impl Looked {
    fn nothing(images: usize) -> Self {
        Looked {
            logs: Vec::new(),
            images: Vec::new(),
            known: vec![false; images],
            truths: vec![Truth::default(); images],
            margins: vec![0.0; images],
        }
    }

    /// Takes up logits (n, classes) of images; false if not all are finite.
    fn take(&mut self, images: &[i64], logits: &Tensor, labels: &[i32]) -> Result<bool> {
        if logits.size().first() != Some(&(images.len() as i64)) {
            return Err(Error::Shape(format!(
                "{} rows of logits were given for {} images",
                logits.size().first().unwrap_or(&0),
                images.len()
            )));
        }
        let logs = log_probabilities(logits)?;
        if !finite(&logs)? {
            return Ok(false);
        }
        let labels: Vec<_> = images.iter().map(|image| labels[*image as usize]).collect();
        let right = rightly(logits, &labels)?;
        let Decisions { margins, losses } = Decisions::of(&logs, &labels)?;
        for (place, image) in images.iter().enumerate() {
            let image = *image as usize;
            self.truths[image] = Truth { right: right[place], loss: losses[place] };
            self.margins[image] = margins[place];
        }
        self.images.extend(images);
        self.logs.push(logs);
        Ok(true)
    }

    /// From now on they count as known.
    fn settle(&mut self) {
        self.images.iter().for_each(|image| self.known[*image as usize] = true);
    }
}

/// A prediction of all images from those that were looked at.
struct Prediction {
    logs: Tensor,
    decisions: Decisions,
    change: Change,
}

/// The estimator's view of one measurement.
struct Measurement<'a> {
    estimator: &'a Estimator,
    memory: &'a Memory,
    /// (features, N)
    features: Tensor,
    /// The variance of each margin, but for the day's scale.
    variances: Vec<f64>,
    random: ChaCha8Rng,
    looked: Looked,
}

impl<'a> Measurement<'a> {
    fn new(estimator: &'a Estimator, memory: &'a Memory, step: usize) -> Result<Self> {
        let spread = &estimator.learned.spread;
        Ok(Measurement {
            estimator,
            memory,
            features: estimator.features.of(&memory.logs)?,
            variances: memory.seen.iter().map(|seen| spread.at(age(step, *seen))).collect(),
            random: random(estimator.demand.seed, step),
            looked: Looked::nothing(estimator.images()),
        })
    }

    fn draw(&mut self, candidates: &[Candidate], size: usize) -> (Vec<f64>, Vec<usize>) {
        let probabilities = probabilities(candidates, size);
        let drawn = draw(&probabilities, &self.estimator.order, &mut self.random);
        (probabilities, drawn)
    }

    /// Images from which the day's change is learned: those near the decision, and some of all.
    fn pilot(&mut self, size: usize) -> Vec<usize> {
        let margins = self.memory.margins.iter().zip(&self.variances);
        let weights = margins.map(|(margin, variance)| {
            let squared = f64::from(margin * margin) / (4.0 * variance);
            Candidate { weight: (1.0 / (1.0 + squared * squared) + 0.02) as f32, variance: 0.0 }
        });
        let weights: Vec<_> = weights.collect();
        self.draw(&weights, size).1
    }

    /// Looks at images; false if not all of their logits are finite.
    fn look(&mut self, images: &[usize], source: &mut dyn Source) -> Result<bool> {
        let images: Vec<_> = images.iter().map(|image| *image as i64).collect();
        let logits = source.logits(&images)?;
        self.looked.take(&images, &logits, &self.estimator.labels)
    }

    fn predict(&self) -> Result<Prediction> {
        let logs = Tensor::f_cat(&self.looked.logs, 1)?;
        let images = Tensor::f_from_slice(&self.looked.images)?;
        let (known, features) =
            (self.memory.logs.f_index_select(1, &images)?, self.features.f_index_select(1, &images)?);
        let weights: Vec<_> =
            self.looked.images.iter().map(|image| 1.0 / self.variances[*image as usize]).collect();
        let change = Change::fit(&features, &logs.f_sub(&known)?, &weights)?;
        let logs = change.apply(&self.memory.logs, &self.features)?;
        let decisions = Decisions::of(&logs, &self.estimator.labels)?;
        Ok(Prediction { logs, decisions, change })
    }

    /// How much larger the squares of what the prediction is off by are today than they were: from the images that it was
    /// fitted to, as if each had been left out.
    fn scale(&self, prediction: &Prediction) -> Result<f64> {
        let leverages = prediction.change.leverages()?;
        let images = self.looked.images.iter().zip(&leverages);
        let squares = images.map(|(image, leverage)| {
            let image = *image as usize;
            let off = f64::from(self.looked.margins[image] - prediction.decisions.margins[image]);
            let off = off / (1.0 - leverage).max(0.3);
            (off * off / self.variances[image]).min(LARGEST)
        });
        Ok((squares.sum::<f64>() + EARLIER) / (self.looked.images.len() as f64 + EARLIER))
    }

    /// How far each predicted margin lies from 0, in standard deviations.
    fn distance(&self, prediction: &Prediction, scale: f64, image: usize) -> f64 {
        f64::from(prediction.decisions.margins[image].abs()) / (self.variances[image] * scale).sqrt()
    }

    /// What is expected of the images that are not known.
    fn expected(&self, prediction: &Prediction, scale: f64) -> Result<Vec<Expected>> {
        let calibration = &self.estimator.learned.calibration;
        let shares = Tensor::f_from_slice(&prediction.decisions.losses)?.f_neg()?.f_exp()?;
        let shares = Vec::<f32>::try_from(&shares)?; // all at once: one at a time, exp is slow
        let one = |image: usize| {
            if self.looked.known[image] {
                return Expected::default();
            }
            let wrong = calibration.rate(self.distance(prediction, scale, image));
            let loss = f64::from(prediction.decisions.losses[image]);
            let moves = 1.0 - f64::from(shares[image]); // by how much the loss moves with the margin
            Expected {
                right: if prediction.decisions.margins[image] > 0.0 { 1.0 - wrong } else { wrong },
                variance: wrong * (1.0 - wrong),
                loss,
                loss_variance: (moves * moves + wrong) * self.variances[image] * scale + 1e-12,
            }
        };
        Ok((0..self.estimator.images()).map(one).collect())
    }

    /// What is known after the measurement.
    fn remembered(&self, prediction: Prediction, step: usize) -> Result<Memory> {
        let Prediction { logs, decisions: Decisions { mut margins, .. }, .. } = prediction;
        let (columns, places) =
            (Tensor::f_cat(&self.looked.logs, 1)?, Tensor::f_from_slice(&self.looked.images)?);
        let mut seen = self.memory.seen.clone();
        for image in &self.looked.images {
            margins[*image as usize] = self.looked.margins[*image as usize];
            seen[*image as usize] = step as i64;
        }
        Ok(Memory { logs: logs.f_index_copy(1, &places, &columns)?, margins, seen })
    }

    /// Those that a sample may be of.
    fn candidates(&self, expected: &[Expected]) -> Vec<Candidate> {
        let (variance, losses) = expected.iter().fold((0.0, 0.0), |(variance, losses), one| {
            (variance + one.variance, losses + one.loss_variance)
        });
        let of_losses = if losses > 0.0 { OF_LOSSES * f64::max(variance, 0.1) / losses } else { 0.0 };
        let one = |(one, known): (&Expected, &bool)| match known {
            true => Candidate { weight: 0.0, variance: 0.0 },
            false => Candidate {
                weight: (one.variance + of_losses * one.loss_variance + LEAST_VARIANCE).sqrt() as f32,
                variance: one.variance as f32,
            },
        };
        expected.iter().zip(&self.looked.known).map(one).collect()
    }
}

/// Whether the first of the greatest logits (n, classes) is the label's (n,): what a complete pass counts.
fn rightly(logits: &Tensor, labels: &[i32]) -> Result<Vec<bool>> {
    let predicted = Vec::<i64>::try_from(&logits.f_argmax(1, false)?)?;
    Ok(predicted.iter().zip(labels).map(|(predicted, label)| *predicted == i64::from(*label)).collect())
}

fn age(step: usize, seen: i64) -> f64 {
    (step as i64 - seen).max(1) as f64
}

/// So many, or a few more, in whole grains.
fn whole(size: usize, grain: usize) -> usize {
    size.div_ceil(grain.max(1)) * grain.max(1)
}

/// See [`Estimator::estimate`].
pub fn measure(estimator: &Estimator, step: usize, source: &mut dyn Source) -> Result<Option<Found>> {
    let Some(memory) = &estimator.memory else { return Ok(None) };
    let mut this = Measurement::new(estimator, memory, step)?;
    let mut learned = estimator.learned.clone();
    let images = estimator.images() as f64;
    let target = (estimator.target() * images).powi(2);

    let pilot = this.pilot(whole(PILOT, source.grain()));
    if !this.look(&pilot, source)? {
        return Ok(None);
    }
    this.looked.settle();
    let mut prediction = this.predict()?;
    let mut found: Option<Totals> = None;
    loop {
        let scale = this.scale(&prediction)?;
        let expected = this.expected(&prediction, scale)?;
        let candidates = this.candidates(&expected);
        let precision = found.as_ref().map_or(0.0, |found| 1.0 / found.right.variance);
        let missing = 1.0 / (MARGIN * MARGIN * target) - precision;
        let size = Design::new(&candidates).images_for(1.0 / missing).max(SMALLEST);
        let size = whole(size, source.grain());
        if (this.looked.images.len() + size) as f64 > MOST * images {
            return Ok(None);
        }
        let (probabilities, sample) = this.draw(&candidates, size);
        if !this.look(&sample, source)? {
            return Ok(None);
        }
        let Looked { known, truths, margins, .. } = &this.looked;
        let round = Round {
            labels: &estimator.labels,
            classes: estimator.totals.len(),
            known,
            truths,
            expected: &expected,
            probabilities: &probabilities,
            sample: &sample,
        };
        if round.is_surprising() {
            return Ok(None);
        }
        let totals = round.totals(&mut learned.losses);
        let predicted = &prediction.decisions.margins;
        learned.calibration.see(sample.iter().map(|image| {
            (this.distance(&prediction, scale, *image), truths[*image].right != (predicted[*image] > 0.0))
        }));
        learned.spread.see(sample.iter().map(|image| Miss {
            age: age(step, memory.seen[*image]),
            distance: f64::from(predicted[*image].abs()),
            expected: this.variances[*image] * scale,
            square: f64::from(margins[*image] - predicted[*image]).powi(2),
        }));
        let totals = match found {
            Some(earlier) => earlier.with(totals),
            None => totals,
        };
        this.looked.settle();
        prediction = this.predict()?;
        if totals.right.variance <= target {
            let figures = totals.figures(&estimator.totals, this.looked.images.len());
            return Ok(Some(Found { figures, memory: this.remembered(prediction, step)?, learned }));
        }
        found = Some(totals);
    }
}

/// Learns from a complete pass how often predictions are wrong.
pub fn compare(estimator: &mut Estimator, step: usize, logits: &Tensor) -> Result<()> {
    let Some(memory) = &estimator.memory else { return Ok(()) };
    let mut this = Measurement::new(estimator, memory, step)?;
    let all = vec![Candidate { weight: 1.0, variance: 0.0 }; estimator.images()];
    let pilot = this.draw(&all, PILOT).1;
    let pilot: Vec<_> = pilot.iter().map(|image| *image as i64).collect();
    let few = logits.f_index_select(0, &Tensor::f_from_slice(&pilot)?)?;
    this.looked.take(&pilot, &few, &estimator.labels)?;
    this.looked.settle();
    let prediction = this.predict()?;
    let scale = this.scale(&prediction)?;
    let right = rightly(logits, &estimator.labels)?;
    let others = (0..estimator.images()).filter(|image| !this.looked.known[*image]);
    let seen = others.map(|image| {
        let predicted = prediction.decisions.margins[image] > 0.0;
        (this.distance(&prediction, scale, image), right[image] != predicted)
    });
    let seen: Vec<_> = seen.collect();
    estimator.learned.calibration.see(seen.into_iter());
    Ok(())
}

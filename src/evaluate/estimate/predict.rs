//! What a step did to the logits of all images, from those of a few: most of it is common to all of them (a class pushed down,
//! all confidences up), and is a linear function of what the network said before.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use crate::error::Result;

/// A log-probability below it says no more than that.
const LEAST: f64 = -15.0;
/// Of the ridge regression, for each image and a weight of 1.
const RIDGE: f64 = 0.03;
/// With more classes the network's answers are projected to so many numbers.
const MOST_CLASSES: i64 = 24;

/// Log-probabilities (classes, n) of logits (n, classes).
pub fn log_probabilities(logits: &Tensor) -> Result<Tensor> {
    Ok(logits.f_to_kind(Kind::Float)?.f_log_softmax(1, Kind::Float)?.f_transpose(0, 1)?.f_contiguous()?)
}

/// Whether all of them are numbers: log-probabilities are not where logits are not, or differ by more than a float32 holds.
pub fn finite(logs: &Tensor) -> Result<bool> {
    Ok(logs.f_isfinite()?.f_all()?.f_int64_value(&[])? != 0)
}

/// What changes are predicted from: (features, N), of log-probabilities (classes, N).
pub struct Features {
    /// (numbers, classes), if there are many classes.
    projection: Option<Tensor>,
}

impl Features {
    pub fn new(classes: i64) -> Self {
        let projection = (classes > MOST_CLASSES).then(|| {
            let mut random = ChaCha8Rng::seed_from_u64(0);
            let scale = 1.0 / (classes as f32).sqrt();
            let signs: Vec<f32> = (0..MOST_CLASSES * classes)
                .map(|_| if random.random::<bool>() { scale } else { -scale })
                .collect();
            Tensor::from_slice(&signs).view([MOST_CLASSES, classes])
        });
        Features { projection }
    }

    pub fn of(&self, known: &Tensor) -> Result<Tensor> {
        let (classes, images) = known.size2()?;
        let numbers = if self.projection.is_some() { MOST_CLASSES } else { classes };
        let all = Tensor::f_ones([2 * numbers + 1, images], (Kind::Float, known.device()))?;
        let (mut logs, mut shares) = (all.f_narrow(0, 0, numbers)?, all.f_narrow(0, numbers, numbers)?);
        match &self.projection {
            Some(projection) => {
                logs.f_copy_(&projection.f_matmul(&known.f_clamp_min(LEAST)?)?)?;
                shares.f_copy_(&projection.f_matmul(&known.f_exp()?)?)?;
            }
            None => {
                logs.f_copy_(known)?;
                shares.f_copy_(known)?;
                let _ = (logs.f_clamp_min_(LEAST)?, shares.f_exp_()?);
            }
        }
        Ok(all)
    }
}

/// Changes as a linear function of features.
pub struct Change {
    /// (features, classes)
    coefficients: Tensor,
    /// Of the regression: the features (features, n) that it was fitted to, the same with weights, and what their products
    /// with each other are the inverse of (features, features).
    features: Tensor,
    weighted: Tensor,
    inverse: Tensor,
}

impl Change {
    /// Ridge regression of `changes` (classes, n) on `features` (features, n), with weights (n,) whose mean becomes 1.
    pub fn fit(features: &Tensor, changes: &Tensor, weights: &[f64]) -> Result<Self> {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let weights = Tensor::f_from_slice(weights)?.f_div_scalar(mean)?;
        let x = features.f_to_kind(Kind::Double)?;
        let weighted = x.f_mul(&weights)?;
        let ridge = Tensor::f_eye(x.size()[0], (Kind::Double, x.device()))?;
        let gram = weighted.f_matmul(&x.f_transpose(0, 1)?)?;
        let gram = gram.f_add(&ridge.f_mul_scalar(RIDGE * weights.size()[0] as f64)?)?;
        let goal = weighted.f_matmul(&changes.f_to_kind(Kind::Double)?.f_transpose(0, 1)?)?;
        let inverse = Tensor::f_linalg_inv(&gram)?; // the ridge keeps it well conditioned
        let coefficients = inverse.f_matmul(&goal)?.f_to_kind(Kind::Float)?;
        Ok(Change { coefficients, features: x, weighted, inverse })
    }

    /// (n,) how much each image that it was fitted to pulled its own value along, in [0, 1).
    pub fn leverages(&self) -> Result<Vec<f64>> {
        let pulls = self.inverse.f_matmul(&self.weighted)?.f_mul(&self.features)?;
        Ok(Vec::try_from(&pulls.f_sum_dim_intlist([0i64].as_slice(), false, Kind::Double)?)?)
    }

    /// Log-probabilities (classes, N) of what was `known`, with these features, after the change.
    pub fn apply(&self, known: &Tensor, features: &Tensor) -> Result<Tensor> {
        let changed = known.f_addmm(&self.coefficients.f_transpose(0, 1)?, features)?;
        Ok(changed.f_log_softmax(0, Kind::Float)?)
    }
}

/// Of log-probabilities and labels (N,): how far each label's is above the greatest other one, which makes the image
/// classified rightly if it is above 0, and how large its loss is.
pub struct Decisions {
    pub margins: Vec<f32>,
    pub losses: Vec<f32>,
}

impl Decisions {
    pub fn of(logs: &Tensor, labels: &[i32]) -> Result<Self> {
        let images = labels.len();
        let mut logs = Vec::<f32>::try_from(&logs.f_reshape([-1])?)?;
        let own = labels.iter().enumerate().map(|(image, label)| {
            std::mem::replace(&mut logs[*label as usize * images + image], f32::NEG_INFINITY)
        });
        let own: Vec<_> = own.collect();
        let mut others = vec![f32::NEG_INFINITY; images];
        for row in logs.chunks_exact(images.max(1)) {
            let pairs = others.iter_mut().zip(row);
            pairs.for_each(|(most, log)| *most = if log > most { *log } else { *most });
        }
        let margins = own.iter().zip(&others).map(|(own, others)| own - others).collect();
        Ok(Decisions { margins, losses: own.into_iter().map(|own| -own).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(size: [i64; 2], seed: u64) -> Tensor {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let values: Vec<f32> = (0..size[0] * size[1]).map(|_| 4.0 * random.random::<f32>()).collect();
        Tensor::from_slice(&values).view(size)
    }

    #[test]
    fn a_linear_change_is_found() {
        let known = log_probabilities(&random([400, 5], 1)).unwrap();
        let features = Features::new(5).of(&known).unwrap();
        assert_eq!(features.size(), [11, 400]);
        let after: Tensor = known.shallow_clone()
            + 0.5 * (&known.clamp_min(-15.0))
            + Tensor::from_slice(&[0.3f32, -0.2, 0.0, 0.1, 0.4]).view([5, 1]);
        let after = after.log_softmax(0, Kind::Float);
        let few = |x: &Tensor| x.narrow(1, 0, 100);
        let change = Change::fit(&few(&features), &(few(&after) - few(&known)), &[1.0; 100]).unwrap();
        assert!(change.leverages().unwrap().iter().all(|share| (0.0..1.0).contains(share)));
        let error = (change.apply(&known, &features).unwrap() - &after).abs().max().double_value(&[]);
        let change = (after - &known).abs().max().double_value(&[]);
        assert!(error < 0.1 * change, "{error} of {change}");
    }

    // numpy.linalg.solve(X * w @ X.T + 0.03 * 2 * I, X * w @ D.T) for X = [[1, 2], [1, 1]], D = [[1, 3]], w = [0.5, 1.5]
    #[test]
    fn the_regression_is_a_ridge_regression() {
        let features = Tensor::from_slice(&[1f32, 2.0, 1.0, 1.0]).view([2, 2]);
        let changes = Tensor::from_slice(&[1f32, 3.0]).view([1, 2]);
        let change = Change::fit(&features, &changes, &[1.0, 3.0]).unwrap();
        let found = Vec::<f32>::try_from(&change.coefficients.view([-1])).unwrap();
        let (g, r) = ([[6.56f64, 3.5], [3.5, 2.06]], [9.5f64, 5.0]);
        let determinant = g[0][0] * g[1][1] - g[0][1] * g[1][0];
        let expected = [
            (r[0] * g[1][1] - g[0][1] * r[1]) / determinant,
            (g[0][0] * r[1] - g[1][0] * r[0]) / determinant,
        ];
        for (here, there) in found.iter().zip(expected) {
            assert!((f64::from(*here) - there).abs() < 1e-5, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn many_classes_are_projected() {
        let known = log_probabilities(&random([30, 300], 2)).unwrap();
        assert_eq!(Features::new(300).of(&known).unwrap().size(), [49, 30]);
    }

    #[test]
    fn decisions_are_margins_and_losses() {
        let logits = Tensor::from_slice(&[2.0f32, 1.0, 0.0, 0.0, 3.0, 3.5]).view([2, 3]);
        let labels = Tensor::from_slice(&[0i64, 1]);
        let found = Decisions::of(&log_probabilities(&logits).unwrap(), &[0, 1]).unwrap();
        assert!((found.margins[0] - 1.0).abs() < 1e-5 && (found.margins[1] + 0.5).abs() < 1e-5);
        let losses = logits.cross_entropy_loss(&labels, None::<&Tensor>, tch::Reduction::None, -100, 0.0);
        for (here, there) in found.losses.iter().zip(Vec::<f32>::try_from(&losses).unwrap()) {
            assert!((here - there).abs() < 1e-5);
        }
    }
}

//! Everything that a run measured, on the host.

use ndarray::{Array1, Array2};

/// Rows of `steps` are optimizer steps, rows of `evaluations` passes over the test images.
#[derive(Clone, Debug)]
pub struct History {
    /// (steps,) mean cross-entropy of the batch that the step was taken on, before the step.
    pub train_loss: Vec<f32>,
    /// (steps,) share of that batch predicted right, in [0, 1].
    pub train_accuracy: Vec<f32>,
    /// (steps,) seconds of gathering the batch, forward, backward and the optimizer.
    pub train_seconds: Vec<f64>,
    /// (evaluations,) optimizer steps taken before the pass.
    pub eval_step: Vec<i64>,
    /// (evaluations,) mean cross-entropy.
    pub test_loss: Vec<f32>,
    /// (evaluations,) share predicted right, in [0, 1].
    pub test_accuracy: Vec<f32>,
    /// (evaluations,) seconds.
    pub eval_seconds: Vec<f64>,
    /// (evaluations · classes,) share of each class predicted right; NaN for a class with no test image.
    class_accuracy: Vec<f32>,
    /// (evaluations · images,) predicted classes; empty unless asked for.
    predictions: Vec<u8>,
    /// (classes, classes) of the last pass; rows are true classes.
    pub confusion: Array2<i64>,
    /// (classes,) measured test images of each class.
    pub class_totals: Array1<i64>,
    /// Steps taken before the first loss that is not finite was computed. A test loss counts at its own step.
    pub diverged_at: Option<usize>,
}

impl History {
    pub fn new(class_totals: Array1<i64>) -> Self {
        let classes = class_totals.len();
        History {
            train_loss: Vec::new(),
            train_accuracy: Vec::new(),
            train_seconds: Vec::new(),
            eval_step: Vec::new(),
            test_loss: Vec::new(),
            test_accuracy: Vec::new(),
            eval_seconds: Vec::new(),
            class_accuracy: Vec::new(),
            predictions: Vec::new(),
            confusion: Array2::zeros((classes, classes)),
            class_totals,
            diverged_at: None,
        }
    }

    /// Adds one optimizer step.
    pub fn push_step(&mut self, loss: f32, accuracy: f32) {
        self.watch(loss, self.train_loss.len());
        self.train_loss.push(loss);
        self.train_accuracy.push(accuracy);
    }

    fn watch(&mut self, loss: f32, step: usize) {
        if !loss.is_finite() {
            self.diverged_at = Some(self.diverged_at.map_or(step, |earlier| earlier.min(step)));
        }
    }

    /// Adds one pass over the test images from its sums.
    pub fn push_evaluation(&mut self, step: i64, loss_sum: f64, class_correct: &[i64]) {
        let total = self.class_totals.sum() as f64;
        self.eval_step.push(step);
        let loss = (loss_sum / total) as f32;
        self.watch(loss, step as usize);
        self.test_loss.push(loss);
        self.test_accuracy.push((class_correct.iter().sum::<i64>() as f64 / total) as f32);
        let shares = class_correct.iter().zip(&self.class_totals);
        self.class_accuracy.extend(shares.map(|(correct, total)| (*correct as f64 / *total as f64) as f32));
    }

    pub fn push_predictions(&mut self, predictions: &[u8]) {
        self.predictions.extend_from_slice(predictions);
    }

    /// (evaluations, classes)
    pub fn class_accuracy(&self) -> Array2<f32> {
        rows(&self.class_accuracy, self.class_totals.len())
    }

    /// (evaluations, images), or None when predictions were not recorded.
    pub fn predictions(&self) -> Option<Array2<u8>> {
        (!self.predictions.is_empty()).then(|| rows(&self.predictions, self.class_totals.sum() as usize))
    }

    /// Forgets what was recorded after the loss stopped being finite at `step`: a device runs ahead of the host.
    pub fn truncate(&mut self, step: usize) {
        // A step whose own batch diverged stays in sight, with its NaN or infinity.
        let seen = self.train_loss.get(step).is_some_and(|loss| !loss.is_finite());
        let steps = step + usize::from(seen);
        self.train_loss.truncate(steps);
        self.train_accuracy.truncate(steps);
        self.train_seconds.truncate(steps);
        let evaluations = self.eval_step.iter().filter(|taken| **taken as usize <= step).count();
        let images = self.class_totals.sum() as usize;
        self.eval_step.truncate(evaluations);
        self.test_loss.truncate(evaluations);
        self.test_accuracy.truncate(evaluations);
        self.eval_seconds.truncate(evaluations);
        self.class_accuracy.truncate(evaluations * self.class_totals.len());
        self.predictions.truncate(evaluations * images);
    }
}

fn rows<T: Clone>(flat: &[T], columns: usize) -> Array2<T> {
    let rows = flat.len().checked_div(columns).unwrap_or_default();
    Array2::from_shape_fn((rows, columns), |(row, column)| flat[row * columns + column].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(train: &[f32], test: &[(i64, f64)]) -> History {
        let mut history = History::new(Array1::from(vec![3, 1]));
        for loss in train {
            history.push_step(*loss, 0.5);
            history.train_seconds.push(0.1);
        }
        for (step, loss) in test {
            history.push_evaluation(*step, *loss, &[2, 1]);
            history.eval_seconds.push(0.1);
            history.push_predictions(&[0, 0, 1, 1]);
        }
        history
    }

    #[test]
    fn sums_become_means() {
        let history = history(&[], &[(0, 6.0)]);
        assert_eq!((history.test_loss[0], history.test_accuracy[0]), (1.5, 0.75));
        assert_eq!(history.class_accuracy(), ndarray::array![[2.0 / 3.0, 1.0]]);
        assert_eq!(history.predictions().unwrap(), ndarray::array![[0, 0, 1, 1]]);
    }

    #[test]
    fn a_batch_that_diverges_is_kept_and_nothing_after_it() {
        let mut history = history(&[1.0, f32::NAN, f32::NAN], &[(0, 4.0), (1, 4.0), (2, f64::NAN)]);
        assert_eq!(history.diverged_at, Some(1));
        history.truncate(1);
        assert_eq!((history.train_loss.len(), history.eval_step.as_slice()), (2, [0, 1].as_slice()));
        assert_eq!(history.predictions().unwrap().nrows(), 2);
    }

    #[test]
    fn a_test_loss_that_diverges_first_ends_there() {
        let mut history = history(&[1.0, 2.0, f32::NAN], &[(0, 4.0), (1, f64::INFINITY), (2, f64::NAN)]);
        assert_eq!(history.diverged_at, Some(1));
        history.truncate(1);
        assert_eq!((history.train_loss.len(), history.eval_step.as_slice()), (1, [0, 1].as_slice()));
    }
}

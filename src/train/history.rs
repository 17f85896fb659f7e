//! Everything that a run measured, on the host.

use half::f16;
use ndarray::{Array1, Array2};
use tch::Tensor;

use super::axes::{Adds, Axis, Counts};
use super::predictions::Predictions;
use super::session::RunState;
use super::states::States;
use crate::error::{Error, Result};
use crate::evaluate::{Figures, Pass};

/// A list of the history.
pub enum Column<'a> {
    Float(&'a mut Vec<f32>),
    Double(&'a mut Vec<f64>),
    Int(&'a mut Vec<i64>),
    Half(&'a mut Vec<f16>),
    Classes(&'a mut Predictions),
    Bytes(&'a mut Vec<u8>),
}

impl Column<'_> {
    fn truncate(self, length: usize) {
        match self {
            Column::Float(list) => list.truncate(length),
            Column::Double(list) => list.truncate(length),
            Column::Int(list) => list.truncate(length),
            Column::Half(list) => list.truncate(length),
            Column::Classes(list) => list.truncate(length),
            Column::Bytes(list) => list.truncate(length),
        }
    }

    pub fn tensor(&self) -> Result<Tensor> {
        Ok(match self {
            Column::Float(list) => Tensor::f_from_slice(list)?,
            Column::Double(list) => Tensor::f_from_slice(list)?,
            Column::Int(list) => Tensor::f_from_slice(list)?,
            Column::Half(list) => Tensor::f_from_slice(list)?,
            Column::Classes(list) => list.tensor()?,
            Column::Bytes(list) => Tensor::f_from_slice(list)?,
        })
    }

    fn read(self, tensor: &Tensor) -> Result<()> {
        match self {
            Column::Float(here) => *here = Vec::try_from(tensor)?,
            Column::Double(here) => *here = Vec::try_from(tensor)?,
            Column::Int(here) => *here = Vec::try_from(tensor)?,
            Column::Half(here) => *here = Vec::try_from(tensor)?,
            Column::Classes(here) => *here = Predictions::read(tensor)?,
            Column::Bytes(here) => *here = Vec::try_from(tensor)?,
        }
        Ok(())
    }
}

/// One set of images, measured again and again. Rows are measurements.
#[derive(Clone, Debug)]
pub struct Curves {
    /// (evaluations,) mean cross-entropy.
    pub loss: Vec<f32>,
    /// (evaluations,) share predicted right, in [0, 1].
    pub accuracy: Vec<f32>,
    /// (evaluations · classes,) share of each class predicted right; NaN for a class with no image.
    class_accuracy: Vec<f32>,
    /// Standard errors of these three, in the same shapes; 0 where all images were measured.
    pub loss_error: Vec<f32>,
    pub accuracy_error: Vec<f32>,
    class_accuracy_error: Vec<f32>,
    /// (evaluations,) images that were looked at.
    pub images_measured: Vec<i64>,
    /// (classes,) images of each class.
    pub class_totals: Array1<i64>,
}

impl Curves {
    pub fn new(class_totals: Array1<i64>) -> Self {
        Curves {
            loss: Vec::new(),
            accuracy: Vec::new(),
            class_accuracy: Vec::new(),
            loss_error: Vec::new(),
            accuracy_error: Vec::new(),
            class_accuracy_error: Vec::new(),
            images_measured: Vec::new(),
            class_totals,
        }
    }

    pub fn images(&self) -> usize {
        self.class_totals.sum() as usize
    }

    /// Whether the newest measurement was of all images.
    pub fn is_complete(&self) -> bool {
        self.images_measured.last().is_some_and(|images| *images == self.images() as i64)
    }

    /// (evaluations, classes)
    #[cfg(test)]
    pub fn class_accuracy(&self) -> Array2<f32> {
        crate::libtorch::rows(self.class_accuracy.clone(), self.class_totals.len()).unwrap()
    }

    fn push(&mut self, figures: &Figures) {
        self.loss.push(figures.loss as f32);
        self.accuracy.push(figures.accuracy as f32);
        self.class_accuracy.extend(figures.class_accuracy.iter().map(|share| *share as f32));
        self.loss_error.push(figures.loss_error as f32);
        self.accuracy_error.push(figures.accuracy_error as f32);
        self.class_accuracy_error.extend(figures.class_accuracy_error.iter().map(|error| *error as f32));
        self.images_measured.push(figures.images);
    }

    fn columns(&mut self, names: &[&'static str; 7]) -> [(&'static str, Column<'_>, Adds); 7] {
        let one = Adds::one(Axis::Evaluations);
        let of_classes = Adds::many(Axis::Evaluations, self.class_totals.len());
        let [loss, accuracy, class_accuracy, loss_error, accuracy_error, class_accuracy_error, images] =
            *names;
        [
            (loss, Column::Float(&mut self.loss), one),
            (accuracy, Column::Float(&mut self.accuracy), one),
            (class_accuracy, Column::Float(&mut self.class_accuracy), of_classes),
            (loss_error, Column::Float(&mut self.loss_error), one),
            (accuracy_error, Column::Float(&mut self.accuracy_error), one),
            (class_accuracy_error, Column::Float(&mut self.class_accuracy_error), of_classes),
            (images, Column::Int(&mut self.images_measured), one),
        ]
    }
}

/// The names of the arrays of [`Curves`].
const TEST: [&str; 7] = [
    "test_loss",
    "test_accuracy",
    "class_accuracy",
    "test_loss_error",
    "test_accuracy_error",
    "class_accuracy_error",
    "images_measured",
];
const VALIDATION: [&str; 7] = [
    "validation_loss",
    "validation_accuracy",
    "validation_class_accuracy",
    "validation_loss_error",
    "validation_accuracy_error",
    "validation_class_accuracy_error",
    "validation_images_measured",
];

/// The training images, measured now and then as the test images are. Rows are passes over those that are trained on.
#[derive(Clone, Debug)]
pub struct Passes {
    /// (passes,) optimizer steps taken before the pass.
    pub step: Vec<i64>,
    /// (passes,)
    seconds: Vec<f64>,
    /// (passes · images,) each: predicted classes; the logit of the label minus the largest of the others; cross-entropies.
    predictions: Predictions,
    margins: Vec<f16>,
    losses: Vec<f16>,
    images: usize,
}

impl Passes {
    /// None yet, over so many images.
    pub fn new(images: usize, classes: usize) -> Self {
        Passes {
            step: Vec::new(),
            seconds: Vec::new(),
            predictions: Predictions::of(classes),
            margins: Vec::new(),
            losses: Vec::new(),
            images,
        }
    }

    /// Adds what a pass found; waits for the device.
    pub fn push(&mut self, step: usize, found: &Pass) -> Result<()> {
        self.predictions.extend(Predictions::read(&found.predictions)?);
        self.margins.extend(Vec::<f16>::try_from(&found.margins)?);
        self.losses.extend(Vec::<f16>::try_from(&found.losses)?);
        self.step.push(step as i64);
        Ok(())
    }

    pub fn push_seconds(&mut self, seconds: f64) {
        self.seconds.push(seconds);
    }

    /// All but the seconds, bit by bit.
    #[cfg(test)]
    pub fn bits(&self) -> (&[i64], &Predictions, [Vec<u16>; 2]) {
        let bits = |list: &[f16]| list.iter().map(|value| value.to_bits()).collect();
        (&self.step, &self.predictions, [bits(&self.margins), bits(&self.losses)])
    }

    fn columns(&mut self) -> [(&'static str, Column<'_>, Adds); 5] {
        let one = Adds::one(Axis::Passes);
        let of_images = Adds::many(Axis::Passes, self.images);
        [
            ("training_eval_step", Column::Int(&mut self.step), one),
            ("training_eval_seconds", Column::Double(&mut self.seconds), one),
            ("training_predictions", Column::Classes(&mut self.predictions), of_images),
            ("training_margins", Column::Half(&mut self.margins), of_images),
            ("training_losses", Column::Half(&mut self.losses), of_images),
        ]
    }
}

/// Rows of `steps` are optimizer steps, rows of `evaluations` passes over the measured images.
#[derive(Debug)]
pub struct History {
    /// (steps,) loss of the batch that the step was taken on, before the step.
    pub train_loss: Vec<f32>,
    /// (steps,) share of that batch predicted right, in [0, 1].
    pub train_accuracy: Vec<f32>,
    /// (steps,) each: what else of steps is recorded, by the names of the arrays.
    pub requested: Vec<(&'static str, Vec<f32>)>,
    /// (steps,) seconds of gathering the batch, forward, backward and the optimizer.
    pub train_seconds: Vec<f64>,
    /// (steps,) learning rate of the step.
    pub lr: Vec<f64>,
    /// (evaluations,) optimizer steps taken before the pass.
    pub eval_step: Vec<i64>,
    /// (evaluations,) seconds.
    pub eval_seconds: Vec<f64>,
    pub test: Curves,
    pub validation: Option<Curves>,
    /// (evaluations · images,) each, of the test images, if asked for: predicted classes, and cross-entropies.
    pub predictions: Option<Predictions>,
    pub losses: Option<Vec<f16>>,
    /// If asked for.
    pub passes: Option<Passes>,
    /// States to replay steps from, if asked for.
    pub states: Option<States>,
    /// (classes, classes) of the test images at the last pass; rows are true classes.
    pub confusion: Array2<i64>,
    /// If asked for, by the names of the arrays, what became of each image: see [`super::Examples::tensors`]. At the end.
    pub examples: Vec<(&'static str, Tensor)>,
    /// Steps taken before the first loss that is not finite was computed. A test loss counts at its own step.
    pub diverged_at: Option<usize>,
}

impl History {
    pub fn new(test: Curves, validation: Option<Curves>) -> Self {
        let classes = test.class_totals.len();
        History {
            train_loss: Vec::new(),
            train_accuracy: Vec::new(),
            requested: Vec::new(),
            train_seconds: Vec::new(),
            lr: Vec::new(),
            eval_step: Vec::new(),
            eval_seconds: Vec::new(),
            test,
            validation,
            predictions: None,
            losses: None,
            passes: None,
            states: None,
            confusion: Array2::zeros((classes, classes)),
            examples: Vec::new(),
            diverged_at: None,
        }
    }

    /// Every list by its name, that of its array, and how it grows.
    pub fn columns(&mut self) -> Vec<(&'static str, Column<'_>, Adds)> {
        let images = self.test.images();
        let [step, evaluation] = [Axis::Steps, Axis::Evaluations].map(Adds::one);
        let mut all = vec![
            ("train_loss", Column::Float(&mut self.train_loss), step),
            ("train_accuracy", Column::Float(&mut self.train_accuracy), step),
            ("train_seconds", Column::Double(&mut self.train_seconds), step),
            ("lr", Column::Double(&mut self.lr), step),
            ("eval_step", Column::Int(&mut self.eval_step), evaluation),
            ("eval_seconds", Column::Double(&mut self.eval_seconds), evaluation),
        ];
        let of_images = Adds::many(Axis::Evaluations, images);
        let predictions = self.predictions.iter_mut();
        all.extend(predictions.map(|list| ("predictions", Column::Classes(list), of_images)));
        all.extend(self.losses.iter_mut().map(|list| ("losses", Column::Half(list), of_images)));
        all.extend(self.requested.iter_mut().map(|(name, list)| (*name, Column::Float(list), step)));
        all.extend(self.test.columns(&TEST));
        all.extend(self.validation.iter_mut().flat_map(|part| part.columns(&VALIDATION)));
        all.extend(self.passes.iter_mut().flat_map(Passes::columns));
        all.extend(self.states.iter_mut().flat_map(States::columns));
        all
    }

    /// How many rows there are.
    pub fn counts(&self) -> Counts {
        Counts::from([
            (Axis::Steps, self.train_loss.len()),
            (Axis::Evaluations, self.eval_step.len()),
            (Axis::Passes, self.passes.as_ref().map_or(0, |passes| passes.step.len())),
            (Axis::States, self.states.as_ref().map_or(0, |states| states.steps.len())),
        ])
    }

    /// Puts the lists of `part` of a state, of so many rows, in the place of those here. Lists of nothing need not be there.
    pub fn restore(&mut self, state: &RunState, part: &str, recorded: &Counts) -> Result<()> {
        if let Some(states) = self.states.as_mut().filter(|_| state.has(part, "states")) {
            states.expect(recorded.of(Axis::States), state.get(part, "states")?.numel())?;
        }
        for (name, column, adds) in self.columns() {
            let (rows, expected) = (recorded.of(adds.axis), adds.numbers(recorded));
            if expected == 0 && !state.has(part, name) {
                column.truncate(0);
                continue;
            }
            let list = state.get(part, name)?.f_flatten(0, -1)?;
            if list.numel() != expected {
                return Err(Error::Argument(format!(
                    "the state was taken with {rows} {}, to which belong {expected} numbers of {name}: {} are given",
                    adds.axis.name(),
                    list.numel(),
                )));
            }
            column.read(&list)?;
        }
        Ok(())
    }

    /// What a step adds to, in the order of the columns that it writes.
    pub fn of_steps(&mut self) -> Vec<&mut Vec<f32>> {
        let always = [&mut self.train_loss, &mut self.train_accuracy].into_iter();
        always.chain(self.requested.iter_mut().map(|(_, list)| list)).collect()
    }

    /// Adds one optimizer step: a value for each list of [`History::of_steps`].
    pub fn push_step(&mut self, values: impl IntoIterator<Item = f32>) {
        self.of_steps().into_iter().zip(values).for_each(|(list, value)| list.push(value));
        if let Some(loss) = self.train_loss.last() {
            self.watch(*loss, self.train_loss.len() - 1);
        }
    }

    fn watch(&mut self, loss: f32, step: usize) {
        if !loss.is_finite() {
            self.diverged_at = Some(self.diverged_at.map_or(step, |earlier| earlier.min(step)));
        }
    }

    /// Adds one measurement; test first, then validation.
    pub fn push_evaluation(&mut self, step: i64, parts: &[Figures]) {
        self.eval_step.push(step);
        let curves = std::iter::once(&mut self.test).chain(&mut self.validation);
        curves.zip(parts).for_each(|(curves, figures)| curves.push(figures));
        let validation = self.validation.as_ref().and_then(|part| part.loss.last());
        for loss in [self.test.loss.last().copied(), validation.copied()].into_iter().flatten() {
            self.watch(loss, step as usize);
        }
    }

    /// Forgets the newest measurement.
    pub fn forget_evaluation(&mut self) {
        let evaluations = self.eval_step.len().saturating_sub(1);
        self.keep(&self.counts().with(Axis::Evaluations, evaluations));
    }

    /// Forgets what was recorded after the loss stopped being finite at `step`: a device runs ahead of the host.
    pub fn truncate(&mut self, step: usize) {
        // A step whose own batch diverged stays in sight, with its NaN or infinity.
        let seen = self.train_loss.get(step).is_some_and(|loss| !loss.is_finite());
        let until = |steps: &[i64]| steps.iter().filter(|taken| **taken as usize <= step).count();
        self.keep(&Counts::from([
            (Axis::Steps, step + usize::from(seen)),
            (Axis::Evaluations, until(&self.eval_step)),
            (Axis::Passes, self.passes.as_ref().map_or(0, |passes| until(&passes.step))),
            (Axis::States, self.states.as_ref().map_or(0, |states| until(&states.steps))),
        ]));
    }

    /// Forgets all but the first rows.
    fn keep(&mut self, counts: &Counts) {
        for (_, column, adds) in self.columns() {
            column.truncate(adds.numbers(counts));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(train: &[f32], test: &[(i64, f64)]) -> History {
        let mut history = History::new(Curves::new(Array1::from(vec![3, 1])), None);
        history.predictions = Some(Predictions::of(2));
        history.passes = Some(Passes::new(0, 2));
        for loss in train {
            history.push_step([*loss, 0.5]);
            history.train_seconds.push(0.1);
            history.lr.push(0.1);
        }
        for (step, loss) in test {
            history.push_evaluation(*step, &[Figures::complete(*loss, &[2, 1], &[3, 1])]);
            history.eval_seconds.push(0.1);
            history.predictions.as_mut().unwrap().extend(Predictions::Bytes(vec![0, 0, 1, 1]));
            history.passes.as_mut().unwrap().step.push(*step);
        }
        history
    }

    #[test]
    fn sums_become_means() {
        let history = history(&[], &[(0, 6.0)]);
        assert_eq!((history.test.loss[0], history.test.accuracy[0]), (1.5, 0.75));
        assert_eq!(history.test.class_accuracy(), ndarray::array![[2.0 / 3.0, 1.0]]);
        assert_eq!(history.predictions, Some(Predictions::Bytes(vec![0, 0, 1, 1])));
    }

    #[test]
    fn validation_has_curves_of_its_own() {
        let part = |totals| Curves::new(Array1::from(totals));
        let mut history = History::new(part(vec![3, 1]), Some(part(vec![1, 1])));
        let figures = [Figures::complete(4.0, &[3, 1], &[3, 1]), Figures::complete(1.0, &[1, 0], &[1, 1])];
        history.push_evaluation(0, &figures);
        let validation = history.validation.unwrap();
        assert_eq!((history.test.accuracy[0], validation.accuracy[0], validation.loss[0]), (1.0, 0.5, 0.5));
    }

    #[test]
    fn a_batch_that_diverges_is_kept_and_nothing_after_it() {
        let mut history = history(&[1.0, f32::NAN, f32::NAN], &[(0, 4.0), (1, 4.0), (2, f64::NAN)]);
        assert_eq!(history.diverged_at, Some(1));
        history.truncate(1);
        assert_eq!((history.train_loss.len(), history.eval_step.as_slice()), (2, [0, 1].as_slice()));
        assert_eq!(history.predictions, Some(Predictions::Bytes([0, 0, 1, 1].repeat(2))));
        assert_eq!(history.passes.unwrap().step, [0, 1]);
    }

    #[test]
    fn a_test_loss_that_diverges_first_ends_there() {
        let mut history = history(&[1.0, 2.0, f32::NAN], &[(0, 4.0), (1, f64::INFINITY), (2, f64::NAN)]);
        assert_eq!(history.diverged_at, Some(1));
        history.truncate(1);
        assert_eq!((history.train_loss.len(), history.eval_step.as_slice()), (1, [0, 1].as_slice()));
    }
}

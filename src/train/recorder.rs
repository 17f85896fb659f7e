//! The only writer of history. It writes into preallocated blocks on the device and reads them back when they are
//! full, so that no step waits for the host.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use half::f16;
use tch::{Device, Kind, Tensor};

use super::axes::Counts;
use super::cursor::Cursor;
use super::examples::{Examples, Images};
use super::history::{Curves, History, Passes};
use super::predictions::Predictions;
use super::record::{OfStep, Record};
use super::session::RunState;
use super::states::States;
use super::step::Taken;
use crate::error::{Error, Result};
use crate::evaluate::{class_kind, class_totals, confusion, halves, Figures, Metrics, Pass};
use crate::libtorch::{matrix, Gpu, Lane};

/// Rows that a block holds. The CPU has nothing to wait for, so there each row is read at once.
fn block_size(device: Device) -> i64 {
    match device {
        Device::Cpu => 1,
        _ => 64,
    }
}

/// Its name in a run's state.
const LAST_PREDICTIONS: &str = "last_predictions";

/// The sets of images of a run.
#[derive(Clone, Copy)]
pub struct Sets<'a> {
    /// (N,) int64 labels of the measured images.
    pub test: &'a Tensor,
    pub validation: Option<&'a Tensor>,
    /// Training images of the data set, and those of them that are trained on.
    pub train: i64,
    pub trained: &'a [i64],
    pub classes: i64,
}

pub struct Recorder {
    pub history: History,
    /// Where rows are written to; one that was is told by [`Recorder::step_was_written`] or
    /// [`Recorder::evaluation_was_written`].
    pub sheet: Rc<Sheet>,
    /// Labels of the measured test images.
    labels: Tensor,
    rows: i64,
    train_used: i64,
    eval_steps: Vec<i64>,
    /// Those of the last pass whose step did not diverge, or is where it did.
    last_predictions: Option<Tensor>,
    /// Steps before the newest complete pass over the test images that an estimate was not.
    seen_at: Option<usize>,
    /// The device whose lane that measures must be waited for.
    gpu: Option<Arc<dyn Gpu>>,
}

/// The recorder's blocks. Steps and measurements each write one row after the other, with one call for each row.
pub struct Sheet {
    /// (rows, columns) float64, see [`Sheet::step_row`].
    train: Tensor,
    /// What is recorded of steps on request.
    requested: Vec<OfStep>,
    /// (rows, 1 + classes) float64 each, see [`evaluation_row`]; of the test images, and of the validation images if there
    /// are any.
    parts: Vec<Tensor>,
    /// (rows, test images), of [`class_kind`]
    predictions: Tensor,
    /// (rows, test images) float16, if asked for.
    losses: Option<Tensor>,
    /// If asked for.
    examples: Option<Examples>,
    /// Of steps, and of measurements.
    cursors: [Cursor; 2],
}

impl Sheet {
    /// (columns,) float64 of a step: those of [`History::of_steps`].
    pub fn step_row(&self, step: &Taken) -> Result<Tensor> {
        let right = step.logits.f_argmax(1, false)?.f_eq_tensor(&step.labels)?;
        let mut row = vec![step.loss.f_to_kind(Kind::Double)?];
        row.push(right.f_to_kind(Kind::Double)?.f_mean(Kind::Double)?);
        for number in &self.requested {
            row.push(number(step)?.f_to_kind(Kind::Double)?);
        }
        Ok(Tensor::f_stack(&row, 0)?)
    }

    pub fn write_step(&self, row: &Tensor, step: &Taken) -> Result<()> {
        self.write_row(row)?;
        self.examples.iter().try_for_each(|examples| examples.see_step(step))
    }

    /// Writes a step of whose batch nothing else is known.
    pub fn write_row(&self, row: &Tensor) -> Result<()> {
        self.cursors[0].write(&self.train, row)?;
        self.cursors[0].advance()
    }

    /// Steps and measurements from here on are sound, whatever losses there were before.
    pub fn go_on_after(&self, taken: usize) -> Result<()> {
        self.examples.iter().try_for_each(|examples| examples.go_on_after(taken))
    }

    /// The weights of now are the ones that are measured next.
    pub fn take_up(&self) -> Result<()> {
        self.examples.iter().try_for_each(Examples::take_up)
    }

    /// All test images, and then all validation images if there are any, were measured.
    pub fn write_evaluation(&self, parts: &[Metrics]) -> Result<()> {
        for (block, metrics) in self.parts.iter().zip(parts) {
            self.cursors[1].write(block, &evaluation_row(metrics)?)?;
        }
        self.cursors[1].write(&self.predictions, &parts[0].predictions)?;
        if let Some(losses) = &self.losses {
            self.cursors[1].write(losses, &halves(&parts[0].single.losses)?)?;
        }
        self.cursors[1].advance()?;
        match &self.examples {
            Some(examples) => examples.see_measurement(&parts.iter().collect::<Vec<_>>()),
            None => Ok(()),
        }
    }

    /// Begins anew, after a rehearsal.
    pub fn forget(&self) -> Result<()> {
        self.clear()?;
        self.examples.iter().try_for_each(Examples::clear)
    }

    /// The rows that were written have been read.
    fn clear(&self) -> Result<()> {
        self.cursors.iter().try_for_each(Cursor::reset)
    }
}

/// (1 + classes,) float64 of a measurement: sum of the losses, then right predictions of each class (exact below 2^53).
fn evaluation_row(metrics: &Metrics) -> Result<Tensor> {
    Ok(Tensor::f_cat(&[metrics.loss.f_view([1])?, metrics.class_correct.f_to_kind(Kind::Double)?], 0)?)
}

impl Recorder {
    /// The rows of work in the lanes of `gpu` are written by the device, if there is one.
    pub fn new(sets: &Sets, record: &[Record], gpu: Option<&Arc<dyn Gpu>>) -> Result<Self> {
        Recorder::with_rows(sets, record, gpu, block_size(sets.test.device()))
    }

    fn with_rows(sets: &Sets, record: &[Record], gpu: Option<&Arc<dyn Gpu>>, rows: i64) -> Result<Self> {
        let Sets { test, validation, train, trained, classes } = *sets;
        let labels = test.shallow_clone();
        let device = labels.device();
        let curves = |labels: &Tensor| Ok::<_, Error>(Curves::new(class_totals(labels, classes)?.into()));
        let mut history = History::new(curves(&labels)?, validation.map(curves).transpose()?);
        let of_steps = record.iter().filter_map(|one| Some((one.name(), one.of_step()?)));
        let (names, requested): (Vec<_>, _) = of_steps.unzip();
        history.states = record.contains(&Record::Weights).then(States::default);
        history.requested = names.into_iter().map(|name| (name, Vec::new())).collect();
        let asked = |one| record.contains(&one);
        history.predictions = asked(Record::Predictions).then(|| Predictions::of(classes as usize));
        history.losses = asked(Record::Losses).then(Vec::new);
        history.passes = asked(Record::Examples).then(|| Passes::new(trained.len(), classes as usize));
        let images = labels.size()[0];
        let examples = || Examples::new(&Images { train, kept: trained, test: images, classes }, device);
        let block = |columns: i64, kind| Tensor::f_zeros([rows, columns], (kind, device));
        let parts = (0..1 + validation.iter().len()).map(|_| block(1 + classes, Kind::Double));
        let cursor = || match gpu {
            Some(_) => Cursor::on_device(rows, device),
            None => Ok(Cursor::on_host()),
        };
        let sheet = Sheet {
            train: block(history.of_steps().len() as i64, Kind::Double)?,
            requested,
            parts: parts.collect::<Result<_, _>>()?,
            predictions: block(images, class_kind(classes))?,
            losses: asked(Record::Losses).then(|| block(images, Kind::Half)).transpose()?,
            examples: asked(Record::Examples).then(examples).transpose()?,
            cursors: [cursor()?, cursor()?],
        };
        Ok(Recorder {
            history,
            sheet: Rc::new(sheet),
            rows,
            train_used: 0,
            eval_steps: Vec::new(),
            last_predictions: None,
            seen_at: None,
            gpu: gpu.cloned(),
            labels,
        })
    }

    /// Whether anything was measured yet.
    pub fn has_measured(&self) -> bool {
        !self.eval_steps.is_empty() || !self.history.eval_step.is_empty()
    }

    /// Steps before the newest measurement.
    pub fn newest_measured(&self) -> Option<i64> {
        self.eval_steps.last().or(self.history.eval_step.last()).copied()
    }

    pub fn step_was_written(&mut self) -> Result<()> {
        self.train_used += 1;
        match self.train_used == self.rows {
            true => self.flush(),
            false => Ok(()),
        }
    }

    pub fn evaluation_was_written(&mut self, step: usize) -> Result<()> {
        self.eval_steps.push(step as i64);
        match self.eval_steps.len() as i64 == self.rows {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Makes room for a complete pass, if the weights after these steps were measured by estimate.
    pub fn forget_estimate(&mut self, step: usize) {
        if self.history.eval_step.last() == Some(&(step as i64)) {
            self.history.forget_evaluation();
        }
    }

    /// A measurement some of whose parts are estimates; with the metrics of the test images if that of these is not.
    pub fn estimated(&mut self, step: usize, found: &[Figures], test: Option<Metrics>) -> Result<()> {
        self.flush()?; // what was written before comes first
        self.history.push_evaluation(step as i64, found);
        let Some(test) = test else { return Ok(()) };
        // Weights that are measured once more, for the sake of the validation images, count once.
        if let (Some(examples), true) = (&self.sheet.examples, self.seen_at != Some(step)) {
            examples.take_up()?;
            examples.see_measurement(&[&test])?;
            self.seen_at = Some(step);
        }
        if self.history.diverged_at.is_none_or(|diverged| step <= diverged) {
            self.last_predictions = Some(test.predictions);
        }
        Ok(())
    }

    /// A pass over the training images after so many steps, which took so long; waits for the device.
    pub fn passed(&mut self, step: usize, found: &Pass, began: Instant) -> Result<()> {
        let Some(passes) = &mut self.history.passes else { return Ok(()) };
        passes.push(step, found)?;
        passes.push_seconds(began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Host time. On a GPU, where the host runs ahead, only sums over many steps mean something.
    pub fn record_step_time(&mut self, time: Duration, lr: f64) {
        self.history.train_seconds.push(time.as_secs_f64());
        self.history.lr.push(lr);
    }

    pub fn record_evaluation_time(&mut self, time: Duration) {
        self.history.eval_seconds.push(time.as_secs_f64());
    }

    /// Reads what the blocks hold; waits for the device.
    pub fn flush(&mut self) -> Result<()> {
        if let Some(gpu) = &self.gpu {
            gpu.wait(Lane::Train, Lane::Measure)?;
        }
        let Sheet { train, parts, predictions, losses, .. } = &*self.sheet;
        self.sheet.clear()?;
        for row in matrix::<f64>(&train.f_narrow(0, 0, self.train_used)?)?.rows() {
            self.history.push_step(row.iter().map(|value| *value as f32));
        }
        self.train_used = 0;
        let evaluations = self.eval_steps.len();
        if evaluations == 0 {
            return Ok(());
        }
        let used = |block: &Tensor| block.f_narrow(0, 0, evaluations as i64);
        let parts = parts.iter().map(|block| matrix::<f64>(&used(block)?));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let totals = std::iter::once(&self.history.test).chain(&self.history.validation);
        let totals: Vec<_> = totals.map(|curves| curves.class_totals.to_vec()).collect();
        for (index, step) in self.eval_steps.iter().enumerate() {
            let figures = parts.iter().zip(&totals).map(|(part, totals)| {
                let row = part.row(index);
                let right: Vec<_> = row.iter().skip(1).map(|count| *count as i64).collect();
                Figures::complete(row[0], &right, totals)
            });
            self.history.push_evaluation(*step, &figures.collect::<Vec<_>>());
        }
        if let Some(kept) = &mut self.history.predictions {
            kept.extend(Predictions::read(&used(predictions)?.f_flatten(0, -1)?)?);
        }
        if let (Some(kept), Some(losses)) = (&mut self.history.losses, losses) {
            kept.extend(Vec::<f16>::try_from(used(losses)?.f_flatten(0, -1)?)?);
        }
        let diverged_at = self.history.diverged_at.map_or(i64::MAX, |step| step as i64);
        let sound = self.eval_steps.iter().filter(|step| **step <= diverged_at).count();
        if sound > 0 {
            self.last_predictions = {
                let last = predictions.f_get(sound as i64 - 1)?;
                Some(last.f_to_device_(last.device(), last.f_kind()?, false, true)?)
            };
        }
        self.eval_steps.clear();
        Ok(())
    }

    /// Puts into a run's state what the run needs beside its history to go on, and the confusions of the last pass for
    /// whoever looks at it meanwhile; waits for the device.
    pub fn put_into(&mut self, state: &mut RunState) -> Result<()> {
        self.flush()?;
        if let Some(last) = &self.last_predictions {
            let last = [(LAST_PREDICTIONS, last.shallow_clone()), ("confusion", self.confusion(last)?)];
            state.put("recorder", last)?;
        }
        self.sheet.examples.iter().try_for_each(|examples| examples.put_into(state))
    }

    fn confusion(&self, predictions: &Tensor) -> Result<Tensor> {
        confusion(&self.labels, predictions, self.history.test.class_totals.len() as i64)
    }

    /// Takes up what another recorder's `put_into` put there after so many steps, and the history, as part "history", which
    /// had so many rows.
    pub fn restore(
        &mut self,
        state: &RunState,
        recorded: &Counts,
        taken: usize,
        diverged_at: Option<usize>,
    ) -> Result<()> {
        self.history.restore(state, "history", recorded)?;
        self.history.diverged_at = diverged_at;
        if self.has_measured() {
            let last = self.sheet.predictions.f_get(0)?.f_empty_like()?;
            state.copy_into("recorder", [(LAST_PREDICTIONS, last.shallow_clone())])?;
            self.last_predictions = Some(last);
        }
        self.sheet.examples.iter().try_for_each(|examples| examples.restore(state, taken))
    }

    /// Reads the rest, and counts the confusions of the last pass.
    pub fn finish(&mut self) -> Result<()> {
        self.flush()?;
        if let Some(predictions) = &self.last_predictions {
            self.history.confusion = matrix(&self.confusion(predictions)?)?;
        }
        if let Some(examples) = &self.sheet.examples {
            self.history.examples = examples.on_host()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libtorch::OneLane;

    fn evaluated(logits: &[f32], labels: &[i64]) -> Metrics {
        Metrics::new(&Tensor::from_slice(logits).view([-1, 2]), &Tensor::from_slice(labels), 2).unwrap()
    }

    #[test]
    fn blocks_larger_than_one_row_lose_nothing() {
        let (test, validation) = (Tensor::from_slice(&[0i64, 1, 1]), Tensor::from_slice(&[1i64, 0]));
        let lane: Arc<dyn Gpu> = Arc::new(OneLane);
        for (rows, gpu) in [1, 2, 5].into_iter().flat_map(|rows| [(rows, None), (rows, Some(&lane))]) {
            let sets =
                Sets { test: &test, validation: Some(&validation), train: 3, trained: &[0, 2], classes: 2 };
            let record = [Record::Predictions, Record::Losses, Record::Examples, Record::GradNorm];
            let mut recorder = Recorder::with_rows(&sets, &record, gpu, rows).unwrap();
            for step in 0..4 {
                let parts = [
                    evaluated(&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], &[0, 1, 1]),
                    evaluated(&[0.0, 1.0, 0.0, 1.0], &[1, 0]),
                ];
                recorder.sheet.take_up().unwrap();
                recorder.sheet.write_evaluation(&parts).unwrap();
                recorder.evaluation_was_written(step).unwrap();
                let logits = Tensor::from_slice(&[0f32, 1.0, 0.0, 1.0]).view([2, 2]);
                let labels = Tensor::from_slice(&[1i64, 0]);
                let loss = Tensor::from(step as f32);
                let gradients = vec![Tensor::from(0.5 * step as f32)];
                let batch = Tensor::from_slice(&[0i64, 2]);
                let taken = Taken { loss, logits, labels, batch, gradients };
                let row = recorder.sheet.step_row(&taken).unwrap();
                recorder.sheet.write_step(&row, &taken).unwrap();
                recorder.step_was_written().unwrap();
            }
            recorder.finish().unwrap();
            let history = &recorder.history;
            assert_eq!(history.train_loss, [0.0, 1.0, 2.0, 3.0]);
            assert_eq!(history.train_accuracy, [0.5; 4]);
            assert_eq!(history.requested, [("grad_norm", vec![0.0, 0.5, 1.0, 1.5])]);
            assert_eq!(history.eval_step, [0, 1, 2, 3]);
            assert_eq!(history.test.class_accuracy().row(3).to_vec(), [1.0, 0.5]);
            assert_eq!(history.validation.as_ref().unwrap().accuracy, [0.5; 4]);
            assert_eq!(history.predictions, Some(Predictions::Bytes([0, 0, 1].repeat(4))));
            // ln(1 + exp(-x)) of the margins 1, -1 and 1.
            let losses: Vec<_> = history.losses.as_ref().unwrap().iter().map(|loss| loss.to_f32()).collect();
            let expected = [0.31326f32, 1.31326, 0.31326].repeat(4);
            assert!(losses.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-3), "{losses:?}");
            let events = |part: usize| Vec::<i32>::try_from(history.examples[part].1.flatten(0, -1)).unwrap();
            assert_eq!(history.examples[2].0, "step_events");
            assert_eq!(events(2), [0, 0, 0, 0, 1, 4, 0, -1, -1, 0]);
            assert_eq!(events(5), [0, 0, 0, 0, 1, 4, 0, -1, -1, 0, 0, 0, 0, 0, 1]);
            assert_eq!(history.confusion, ndarray::array![[1, 0], [1, 1]]);
        }
    }
}

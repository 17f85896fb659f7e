//! The only writer of history. It writes into preallocated blocks on the device and reads them back when they are
//! full, so that no step waits for the host.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use super::axes::Counts;
use super::cursor::Cursor;
use super::history::{Curves, History};
use super::predictions::Predictions;
use super::record::{OfStep, Record};
use super::session::RunState;
use super::states::States;
use super::step::Taken;
use crate::error::{Error, Result};
use crate::evaluate::{class_kind, class_totals, confusion, Evaluator, Figures, Metrics};
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

pub struct Recorder {
    pub history: History,
    /// Where rows are written to; one that was is told by [`Recorder::step_was_written`] or
    /// [`Recorder::evaluation_was_written`].
    pub sheet: Rc<Sheet>,
    /// Labels of the measured test images.
    labels: Tensor,
    keep_predictions: bool,
    rows: i64,
    train_used: i64,
    eval_steps: Vec<i64>,
    /// Those of the last pass whose step did not diverge, or is where it did.
    last_predictions: Option<Tensor>,
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

    pub fn write_step(&self, row: &Tensor) -> Result<()> {
        self.cursors[0].write(&self.train, row)?;
        self.cursors[0].advance()
    }

    /// All test images, and then all validation images if there are any, were measured.
    pub fn write_evaluation(&self, parts: &[Metrics]) -> Result<()> {
        for (block, metrics) in self.parts.iter().zip(parts) {
            self.cursors[1].write(block, &evaluation_row(metrics)?)?;
        }
        self.cursors[1].write(&self.predictions, &parts[0].predictions)?;
        self.cursors[1].advance()
    }

    /// Begins anew, after a rehearsal.
    pub fn clear(&self) -> Result<()> {
        self.cursors.iter().try_for_each(Cursor::reset)
    }
}

/// (1 + classes,) float64 of a measurement: sum of the losses, then right predictions of each class (exact below 2^53).
fn evaluation_row(metrics: &Metrics) -> Result<Tensor> {
    Ok(Tensor::f_cat(&[metrics.loss.f_view([1])?, metrics.class_correct.f_to_kind(Kind::Double)?], 0)?)
}

impl Recorder {
    /// The rows of work in the lanes of `gpu` are written by the device, if there is one.
    pub fn new(
        test: &Evaluator,
        validation: Option<&Evaluator>,
        classes: i64,
        record: &[Record],
        gpu: Option<&Arc<dyn Gpu>>,
    ) -> Result<Self> {
        let rows = block_size(test.labels.device());
        Recorder::with_rows(test, validation, classes, record, gpu, rows)
    }

    fn with_rows(
        test: &Evaluator,
        validation: Option<&Evaluator>,
        classes: i64,
        record: &[Record],
        gpu: Option<&Arc<dyn Gpu>>,
        rows: i64,
    ) -> Result<Self> {
        let labels = test.labels.shallow_clone();
        let device = labels.device();
        let curves = |labels: &Tensor| Ok::<_, Error>(Curves::new(class_totals(labels, classes)?.into()));
        let mut history =
            History::new(curves(&labels)?, validation.map(|part| curves(&part.labels)).transpose()?);
        let of_steps = record.iter().filter_map(|one| Some((one.name(), one.of_step()?)));
        let (names, requested): (Vec<_>, _) = of_steps.unzip();
        history.states = record.contains(&Record::Weights).then(States::default);
        history.requested = names.into_iter().map(|name| (name, Vec::new())).collect();
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
            predictions: block(labels.size()[0], class_kind(classes))?,
            cursors: [cursor()?, cursor()?],
        };
        Ok(Recorder {
            history,
            sheet: Rc::new(sheet),
            keep_predictions: record.contains(&Record::Predictions),
            rows,
            train_used: 0,
            eval_steps: Vec::new(),
            last_predictions: None,
            gpu: gpu.cloned(),
            labels,
        })
    }

    /// Whether anything was measured yet.
    pub fn has_measured(&self) -> bool {
        !self.eval_steps.is_empty() || !self.history.eval_step.is_empty()
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

    /// A measurement some of whose parts are estimates; with the `predictions` (test images,) if that of the test images is not.
    pub fn estimated(&mut self, step: usize, found: &[Figures], predictions: Option<Tensor>) -> Result<()> {
        self.flush()?; // what was written before comes first
        self.history.push_evaluation(step as i64, found);
        if self.history.diverged_at.is_none_or(|diverged| step <= diverged) {
            self.last_predictions = predictions.or(self.last_predictions.take());
        }
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
        let Sheet { train, parts, predictions, .. } = &*self.sheet;
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
        if self.keep_predictions {
            let kept = used(predictions)?.f_flatten(0, -1)?;
            self.history.push_predictions(Predictions::read(&kept)?);
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

    /// What a run that goes on needs beside the history, and the confusions of the last pass for whoever looks at it
    /// meanwhile; waits for the device.
    pub fn state(&mut self) -> Result<Vec<(&'static str, Tensor)>> {
        self.flush()?;
        let Some(last) = &self.last_predictions else { return Ok(Vec::new()) };
        Ok(vec![(LAST_PREDICTIONS, last.shallow_clone()), ("confusion", self.confusion(last)?)])
    }

    fn confusion(&self, predictions: &Tensor) -> Result<Tensor> {
        confusion(&self.labels, predictions, self.history.test.class_totals.len() as i64)
    }

    /// Takes up what another recorder's `state` gave, as part "recorder" of a run's state, and the history, as part
    /// "history", which had so many rows.
    pub fn restore(&mut self, state: &RunState, recorded: &Counts, diverged_at: Option<usize>) -> Result<()> {
        self.history.restore(state, "history", recorded, self.keep_predictions)?;
        self.history.diverged_at = diverged_at;
        if self.has_measured() {
            let last = self.sheet.predictions.f_get(0)?.f_empty_like()?;
            state.copy_into("recorder", [(LAST_PREDICTIONS, last.shallow_clone())])?;
            self.last_predictions = Some(last);
        }
        Ok(())
    }

    /// Reads the rest, and counts the confusions of the last pass.
    pub fn finish(&mut self) -> Result<()> {
        self.flush()?;
        if let Some(predictions) = &self.last_predictions {
            self.history.confusion = matrix(&self.confusion(predictions)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Split;
    use crate::libtorch::OneLane;
    use crate::network::{Normalization, Precision};

    fn evaluator(labels: &[i64]) -> Evaluator {
        let split = Split::new(&vec![0; labels.len()], [labels.len(), 1, 1, 1], labels, 2).unwrap();
        Evaluator::new(&split, &Normalization::identity(1), 2, Precision::Float32).unwrap()
    }

    fn evaluated(logits: &[f32], labels: &[i64]) -> Metrics {
        Metrics::new(&Tensor::from_slice(logits).view([-1, 2]), &Tensor::from_slice(labels), 2).unwrap()
    }

    #[test]
    fn blocks_larger_than_one_row_lose_nothing() {
        let (test, validation) = (evaluator(&[0, 1, 1]), evaluator(&[1, 0]));
        let lane: Arc<dyn Gpu> = Arc::new(OneLane);
        for (rows, gpu) in [1, 2, 5].into_iter().flat_map(|rows| [(rows, None), (rows, Some(&lane))]) {
            let mut recorder = Recorder::with_rows(
                &test,
                Some(&validation),
                2,
                &[Record::Predictions, Record::GradNorm],
                gpu,
                rows,
            )
            .unwrap();
            for step in 0..4 {
                let parts = [
                    evaluated(&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], &[0, 1, 1]),
                    evaluated(&[0.0, 1.0, 0.0, 1.0], &[1, 0]),
                ];
                recorder.sheet.write_evaluation(&parts).unwrap();
                recorder.evaluation_was_written(step).unwrap();
                let logits = Tensor::from_slice(&[0f32, 1.0, 0.0, 1.0]).view([2, 2]);
                let labels = Tensor::from_slice(&[1i64, 0]);
                let loss = Tensor::from(step as f32);
                let gradients = vec![Tensor::from(0.5 * step as f32)];
                let row = recorder.sheet.step_row(&Taken { loss, logits, labels, gradients });
                recorder.sheet.write_step(&row.unwrap()).unwrap();
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
            assert_eq!(history.predictions, Predictions::Bytes([0, 0, 1].repeat(4)));
            assert_eq!(history.confusion, ndarray::array![[1, 0], [1, 1]]);
        }
    }
}

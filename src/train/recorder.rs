//! The only writer of history. It writes into preallocated blocks on the device and reads them back when they are
//! full, so that no step waits for the host.

use std::time::Duration;

use ndarray::{Array1, Array2};
use tch::{Device, Kind, Tensor};

use super::History;
use crate::error::Result;
use crate::evaluate::{confusion, to_array, Metrics};

/// Rows that a block holds. The CPU has nothing to wait for, so there each row is read at once.
fn block_size(device: Device) -> i64 {
    match device {
        Device::Cpu => 1,
        _ => 64,
    }
}

pub struct Recorder {
    pub history: History,
    /// Labels of the measured test images.
    labels: Tensor,
    keep_predictions: bool,
    rows: i64,
    /// (rows, 2) float64: loss and accuracy of a batch.
    train: Tensor,
    train_used: i64,
    /// (rows, 1 + classes) float64: sum of the losses, then right predictions of each class (exact below 2^53).
    test: Tensor,
    /// (rows, images) uint8
    predictions: Tensor,
    test_steps: Vec<i64>,
    /// Those of the last pass whose step did not diverge, or is where it did.
    last_predictions: Option<Tensor>,
}

impl Recorder {
    pub fn new(labels: &Tensor, classes: i64, keep_predictions: bool) -> Result<Self> {
        let device = labels.device();
        let rows = block_size(device);
        let totals = Tensor::f_zeros([classes], (Kind::Int64, device))?;
        let totals = totals.f_index_add(0, labels, &labels.f_ones_like()?)?;
        Ok(Recorder {
            history: History::new(Array1::from(Vec::<i64>::try_from(totals)?)),
            labels: labels.shallow_clone(),
            keep_predictions,
            rows,
            train: Tensor::f_zeros([rows, 2], (Kind::Double, device))?,
            train_used: 0,
            test: Tensor::f_zeros([rows, 1 + classes], (Kind::Double, device))?,
            predictions: Tensor::f_zeros([rows, labels.size()[0]], (Kind::Uint8, device))?,
            test_steps: Vec::new(),
            last_predictions: None,
        })
    }

    /// A step was taken on a batch with this loss, logits (N, classes) and labels (N,).
    pub fn record_step(&mut self, loss: &Tensor, logits: &Tensor, labels: &Tensor) -> Result<()> {
        let right = logits.f_detach()?.f_argmax(1, false)?.f_eq_tensor(labels)?;
        let row =
            [loss.f_detach()?.f_to_kind(Kind::Double)?, right.f_to_kind(Kind::Double)?.f_mean(Kind::Double)?];
        self.train.f_get(self.train_used)?.f_copy_(&Tensor::f_stack(&row, 0)?)?;
        self.train_used += 1;
        if self.train_used == self.rows {
            self.flush()?;
        }
        Ok(())
    }

    /// All test images were measured after `step` optimizer steps.
    pub fn record_evaluation(&mut self, step: usize, metrics: &Metrics) -> Result<()> {
        let slot = self.test_steps.len() as i64;
        let loss = metrics.loss.f_view([1])?;
        let row = Tensor::f_cat(&[loss, metrics.class_correct.f_to_kind(Kind::Double)?], 0)?;
        self.test.f_get(slot)?.f_copy_(&row)?;
        self.predictions.f_get(slot)?.f_copy_(&Tensor::f_cat(&metrics.predictions, 0)?)?;
        self.test_steps.push(step as i64);
        if slot + 1 == self.rows {
            self.flush()?;
        }
        Ok(())
    }

    /// Host time. On a GPU, where the host runs ahead, only sums over many steps mean something.
    pub fn record_step_time(&mut self, time: Duration) {
        self.history.train_seconds.push(time.as_secs_f64());
    }

    pub fn record_evaluation_time(&mut self, time: Duration) {
        self.history.eval_seconds.push(time.as_secs_f64());
    }

    /// Reads what the blocks hold; waits for the device.
    pub fn flush(&mut self) -> Result<()> {
        for row in read_rows(&self.train, self.train_used)?.rows() {
            self.history.push_step(row[0] as f32, row[1] as f32);
        }
        self.train_used = 0;
        let evaluations = self.test_steps.len() as i64;
        for (row, step) in read_rows(&self.test, evaluations)?.rows().into_iter().zip(&self.test_steps) {
            let correct: Vec<i64> = row.iter().skip(1).map(|count| *count as i64).collect();
            self.history.push_evaluation(*step, row[0], &correct);
        }
        if self.keep_predictions && evaluations > 0 {
            let kept = self.predictions.f_narrow(0, 0, evaluations)?.f_flatten(0, -1)?;
            self.history.push_predictions(&Vec::<u8>::try_from(kept)?);
        }
        let diverged_at = self.history.diverged_at.map_or(i64::MAX, |step| step as i64);
        let sound = self.test_steps.iter().filter(|step| **step <= diverged_at).count();
        if sound > 0 {
            let last = self.predictions.f_get(sound as i64 - 1)?;
            self.last_predictions = Some(last.f_to_device_(last.device(), Kind::Uint8, false, true)?);
        }
        self.test_steps.clear();
        Ok(())
    }

    /// Reads the rest, and counts the confusions of the last pass.
    pub fn finish(&mut self) -> Result<()> {
        self.flush()?;
        if let Some(predictions) = &self.last_predictions {
            let classes = self.history.class_totals.len() as i64;
            self.history.confusion = to_array(&confusion(&self.labels, predictions, classes)?)?;
        }
        Ok(())
    }
}

fn read_rows(block: &Tensor, used: i64) -> Result<Array2<f64>> {
    let size = [used as usize, block.size()[1] as usize];
    let flat = Vec::<f64>::try_from(block.f_narrow(0, 0, used)?.f_flatten(0, -1)?)?;
    Ok(Array2::from_shape_fn(size, |(row, column)| flat[row * size[1] + column]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluated(logits: &[f32], labels: &Tensor) -> Metrics {
        let mut metrics = Metrics::new(2, Device::Cpu).unwrap();
        metrics.add(&Tensor::from_slice(logits).view([-1, 2]), labels).unwrap();
        metrics
    }

    #[test]
    fn blocks_larger_than_one_row_lose_nothing() {
        let labels = Tensor::from_slice(&[0i64, 1, 1]);
        for rows in [1, 2, 5] {
            let mut recorder = Recorder::new(&labels, 2, true).unwrap();
            recorder.rows = rows;
            recorder.train = Tensor::zeros([rows, 2], (Kind::Double, Device::Cpu));
            recorder.test = Tensor::zeros([rows, 3], (Kind::Double, Device::Cpu));
            recorder.predictions = Tensor::zeros([rows, 3], (Kind::Uint8, Device::Cpu));
            for step in 0..4 {
                let metrics = evaluated(&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], &labels);
                recorder.record_evaluation(step, &metrics).unwrap();
                let logits = Tensor::from_slice(&[0f32, 1.0, 0.0, 1.0]).view([2, 2]);
                let batch = Tensor::from_slice(&[1i64, 0]);
                recorder.record_step(&Tensor::from(step as f32), &logits, &batch).unwrap();
            }
            recorder.finish().unwrap();
            let history = &recorder.history;
            assert_eq!(history.train_loss, [0.0, 1.0, 2.0, 3.0]);
            assert_eq!(history.train_accuracy, [0.5; 4]);
            assert_eq!(history.eval_step, [0, 1, 2, 3]);
            assert_eq!(history.class_accuracy().row(3).to_vec(), [1.0, 0.5]);
            assert_eq!(history.predictions().unwrap().row(2).to_vec(), [0, 0, 1]);
            assert_eq!(history.confusion, ndarray::array![[1, 0], [1, 1]]);
        }
    }
}

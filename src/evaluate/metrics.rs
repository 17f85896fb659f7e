//! Metrics reduce logits to numbers, on the device and without waiting for it.

use ndarray::{Array1, Array2, Axis};
use tch::{Kind, Tensor};

use super::{Figures, Single};
use crate::error::{Error, Result};
use crate::libtorch::matrix;

/// How classes are kept on the device: a byte each as long as all fit into it. 16 bits have a sign there, for torch does
/// little with those that have none.
pub fn class_kind(classes: i64) -> Kind {
    match classes {
        ..=256 => Kind::Uint8,
        _ => Kind::Int16,
    }
}

/// Sums over a set of examples.
pub struct Metrics {
    /// Sum of the cross-entropies, float64 scalar.
    pub loss: Tensor,
    /// (classes,) int64: examples of each class that were predicted right.
    pub class_correct: Tensor,
    /// (N,) predicted classes, of [`class_kind`].
    pub predictions: Tensor,
    /// What they are sums of.
    pub single: Single,
}

impl Metrics {
    /// Of float32 logits (N, classes) and int64 labels (N,).
    pub fn new(logits: &Tensor, labels: &Tensor, classes: i64) -> Result<Self> {
        Metrics::counted(logits, labels, classes, |right| {
            let none = Tensor::f_zeros([classes], (Kind::Int64, labels.device()))?;
            Ok(none.f_index_add(0, labels, &right.f_to_kind(Kind::Int64)?)?)
        })
    }

    /// The same, with the labels also as `members` (N, classes), true where the class is the label. Adding up columns
    /// asks the device for no index, so this can be recorded, and the order of the sums is fixed. With many classes it
    /// takes many times longer.
    pub fn tallied(logits: &Tensor, labels: &Tensor, members: &Tensor) -> Result<Self> {
        Metrics::counted(logits, labels, members.size()[1], |right| {
            let right = right.f_unsqueeze(1)?.f_logical_and(members)?;
            Ok(right.f_sum_dim_intlist([0i64].as_slice(), false, Kind::Int64)?)
        })
    }

    /// `count` makes (classes,) counts of what is right (N,).
    fn counted(
        logits: &Tensor,
        labels: &Tensor,
        classes: i64,
        count: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        let single = Single::new(logits, labels)?;
        Ok(Metrics {
            loss: single.losses.f_sum(Kind::Double)?,
            class_correct: count(&single.right)?,
            predictions: single.predicted.f_to_kind(class_kind(classes))?,
            single,
        })
    }
}

impl Metrics {
    /// As means; `labels` (N,) are those of the measured examples. Waits for the device.
    pub fn figures(&self, labels: &Tensor) -> Result<Figures> {
        let totals = class_totals(labels, self.class_correct.size()[0])?;
        let list = |counts: &Tensor| Ok::<_, Error>(Vec::<i64>::try_from(counts)?);
        Ok(Figures::complete(self.loss.f_double_value(&[])?, &list(&self.class_correct)?, &totals))
    }
}

/// (classes,) examples of each class among labels (N,). Waits for the device.
pub fn class_totals(labels: &Tensor, classes: i64) -> Result<Vec<i64>> {
    let none = Tensor::f_zeros([classes], (Kind::Int64, labels.device()))?;
    Ok(Vec::try_from(none.f_index_add(0, labels, &labels.f_ones_like()?)?)?)
}

/// (classes, classes) int64 counts; rows are true classes, columns predicted. Both inputs are (N,).
pub fn confusion(labels: &Tensor, predictions: &Tensor, classes: i64) -> Result<Tensor> {
    let cell = labels.f_mul_scalar(classes)?.f_add(&predictions.f_to_kind(Kind::Int64)?)?;
    let counts = Tensor::f_zeros([classes * classes], (Kind::Int64, labels.device()))?;
    Ok(counts.f_index_add(0, &cell, &cell.f_ones_like()?)?.f_view([classes, classes])?)
}

/// The figures of one set of images.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share predicted right, in [0, 1].
    pub accuracy: f64,
    /// (classes,); NaN for a class with no image.
    pub class_accuracy: Array1<f32>,
    /// (classes, classes); rows are true classes.
    pub confusion: Array2<i64>,
}

impl Summary {
    /// Reads the sums; `labels` (N,) are those of the measured examples.
    pub fn new(metrics: &Metrics, labels: &Tensor) -> Result<Self> {
        let classes = metrics.class_correct.size()[0];
        let counts = matrix(&confusion(labels, &metrics.predictions, classes)?)?;
        let totals = counts.sum_axis(Axis(1));
        let right = counts.diag();
        let total = counts.sum() as f64;
        Ok(Summary {
            loss: metrics.loss.f_double_value(&[])? / total,
            accuracy: right.sum() as f64 / total,
            class_accuracy: right.iter().zip(&totals).map(|(r, n)| (*r as f64 / *n as f64) as f32).collect(),
            confusion: counts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // For two classes the cross-entropy is ln(1 + exp(-(logit of the label - other logit))).
    #[test]
    fn sums_follow_the_formula() {
        let logits = Tensor::from_slice(&[2.0f32, 0.0, 1.0, 0.5, 0.0, 3.0]).view([3, 2]);
        let labels = Tensor::from_slice(&[0i64, 0, 1]);
        let metrics = Metrics::new(&logits, &labels, 2).unwrap();
        let expected = [2.0f64, 0.5, 3.0].iter().map(|gap| (1.0 + (-gap).exp()).ln()).sum::<f64>();
        assert!((metrics.loss.double_value(&[]) - expected).abs() < 1e-6);
        assert_eq!(Vec::<i64>::try_from(&metrics.class_correct).unwrap(), [2, 1]);
    }

    #[test]
    fn confusion_has_true_classes_in_rows() {
        let counts =
            confusion(&Tensor::from_slice(&[0i64, 0, 1, 2]), &Tensor::from_slice(&[0u8, 2, 1, 2]), 3);
        let counts = Vec::<i64>::try_from(counts.unwrap().flatten(0, -1)).unwrap();
        assert_eq!(counts, [1, 0, 1, 0, 1, 0, 0, 0, 1]);
    }

    #[test]
    fn classes_beyond_a_byte_are_not_cut_off() {
        for classes in [256, 257, 1000] {
            let logits = Tensor::eye(classes, (Kind::Float, tch::Device::Cpu));
            let labels = Tensor::arange(classes, (Kind::Int64, tch::Device::Cpu));
            let members = logits.to_kind(Kind::Bool);
            for metrics in
                [Metrics::new(&logits, &labels, classes), Metrics::tallied(&logits, &labels, &members)]
            {
                let metrics = metrics.unwrap();
                assert_eq!(metrics.predictions.kind(), class_kind(classes));
                let counts = confusion(&labels, &metrics.predictions, classes).unwrap();
                assert_eq!(counts, Tensor::eye(classes, (Kind::Int64, tch::Device::Cpu)));
            }
        }
    }
}

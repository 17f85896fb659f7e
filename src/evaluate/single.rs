//! Numbers of single images, from their logits: on the device, and without waiting for it.

use tch::{Kind, Reduction, Tensor};

use crate::error::Result;

/// What logits say of each of N images.
pub struct Single {
    /// (N, classes) float32
    logits: Tensor,
    /// (N,) int64
    labels: Tensor,
    /// (N,) float32 cross-entropies.
    pub losses: Tensor,
    /// (N,) int64 predicted classes, and bool: whether they are the labels.
    pub predicted: Tensor,
    pub right: Tensor,
}

impl Single {
    /// Of float32 logits (N, classes) and int64 labels (N,).
    pub fn new(logits: &Tensor, labels: &Tensor) -> Result<Self> {
        let predicted = logits.f_argmax(1, false)?;
        Ok(Single {
            losses: logits.f_cross_entropy_loss(labels, None::<&Tensor>, Reduction::None, -100, 0.0)?,
            right: predicted.f_eq_tensor(labels)?,
            predicted,
            logits: logits.shallow_clone(),
            labels: labels.shallow_clone(),
        })
    }

    /// (N,) float32: the logit of the label minus the largest of the others.
    pub fn margins(&self) -> Result<Tensor> {
        let label = self.labels.f_unsqueeze(1)?;
        let others = self.logits.f_scatter_value(1, &label, f64::NEG_INFINITY)?;
        let largest = others.f_amax([1i64].as_slice(), false)?;
        Ok(self.logits.f_gather(1, &label, false)?.f_squeeze_dim(1)?.f_sub(&largest)?)
    }

    /// (N,) float32: the probability of the label.
    pub fn probabilities(&self) -> Result<Tensor> {
        Ok(self.losses.f_neg()?.f_exp_()?)
    }
}

/// The largest number of float16.
const LARGEST: f64 = 65504.0;

/// As float16. What is finite and too large for it becomes its largest number; what is not finite stays what it is.
pub fn halves(numbers: &Tensor) -> Result<Tensor> {
    let finite = numbers.f_isfinite()?;
    Ok(numbers.f_clamp(-LARGEST, LARGEST)?.f_where_self(&finite, numbers)?.f_to_kind(Kind::Half)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.to_kind(Kind::Float)).unwrap()
    }

    // Cross-entropy is ln(sum of exp) - logit of the label, the probability its exp(-x).
    #[test]
    fn numbers_follow_their_formulas() {
        let logits = [[2.0f32, 0.0, -1.0], [1.0, 4.0, 1.0], [0.0, 0.5, 3.0]];
        let labels = [0i64, 2, 2];
        let flat = Tensor::from_slice(&logits.concat()).view([3, 3]);
        let single = Single::new(&flat, &Tensor::from_slice(&labels)).unwrap();
        assert_eq!(list(&single.margins().unwrap()), [2.0, -3.0, 2.5]);
        assert_eq!(list(&single.predicted), [0.0, 1.0, 2.0]);
        assert_eq!(list(&single.right), [1.0, 0.0, 1.0]);
        for (row, (label, (loss, probability))) in logits
            .iter()
            .zip(labels.iter().zip(list(&single.losses).iter().zip(list(&single.probabilities().unwrap()))))
        {
            let sum: f32 = row.iter().map(|logit| logit.exp()).sum();
            assert!((loss - (sum.ln() - row[*label as usize])).abs() < 1e-6);
            assert!((probability - row[*label as usize].exp() / sum).abs() < 1e-6);
        }
    }

    #[test]
    fn what_is_finite_stays_finite_in_float16() {
        let numbers = [1.5f32, 7e4, -1e9, 65519.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let kept = halves(&Tensor::from_slice(&numbers)).unwrap();
        assert_eq!(kept.kind(), Kind::Half);
        let kept = list(&kept);
        assert_eq!(kept[..6], [1.5, 65504.0, -65504.0, 65504.0, f32::INFINITY, f32::NEG_INFINITY]);
        assert!(kept[6].is_nan());
    }
}

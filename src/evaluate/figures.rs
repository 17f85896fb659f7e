//! What one measurement says of a set of images.

/// Means over a set of images, and how well they are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share predicted right, in [0, 1].
    pub accuracy: f64,
    /// (classes,) share of each class predicted right; NaN for a class with no image.
    pub class_accuracy: Vec<f64>,
    /// Standard errors of these; 0 where all images were looked at.
    pub loss_error: f64,
    pub accuracy_error: f64,
    pub class_accuracy_error: Vec<f64>,
    /// Images that were looked at.
    pub images: i64,
}

impl Figures {
    /// Of a pass over all images: from the sum of their losses, and of each class the number that were predicted right, and
    /// of all.
    pub fn complete(loss_sum: f64, class_correct: &[i64], class_totals: &[i64]) -> Self {
        let images: i64 = class_totals.iter().sum();
        let shares = class_correct.iter().zip(class_totals);
        Figures {
            loss: loss_sum / images as f64,
            accuracy: class_correct.iter().sum::<i64>() as f64 / images as f64,
            class_accuracy: shares.map(|(right, total)| *right as f64 / *total as f64).collect(),
            loss_error: 0.0,
            accuracy_error: 0.0,
            class_accuracy_error: vec![0.0; class_totals.len()],
            images,
        }
    }
}

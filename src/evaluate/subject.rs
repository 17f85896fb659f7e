//! What is measured: something that gives the logits of a fixed set of images, with the weights of the moment.

use tch::{Kind, Tensor};

use super::{Estimator, Figures, Metrics, Source};
use crate::error::Result;

/// All logits are float32, and on the CPU.
pub trait Subject {
    /// The logits (N, classes) of all images.
    fn all(&mut self) -> Result<Tensor>;

    /// What gives those of chosen images. Good until the weights change.
    fn few(&mut self) -> Result<Box<dyn Source + '_>>;
}

/// What a measurement gives.
pub enum Measured {
    /// Of all images.
    Complete(Metrics),
    Estimated(Figures),
}

/// Measures the images with these `labels` (N,) after so many steps: as many as an `estimator` needs if there is one; all if
/// it is to be `complete`.
pub fn measure(
    subject: &mut dyn Subject,
    labels: &Tensor,
    classes: i64,
    mut estimator: Option<&mut Estimator>,
    step: usize,
    complete: bool,
) -> Result<Measured> {
    if let Some(estimator) = estimator.as_mut().filter(|one| !complete && !one.complete_pass_is_due(step)) {
        if let Some(figures) = estimator.estimate(step, &mut *subject.few()?)? {
            return Ok(Measured::Estimated(figures));
        }
    }
    let logits = subject.all()?;
    let metrics = Metrics::new(&logits, labels, classes)?;
    if let Some(estimator) = estimator {
        let right = metrics.class_correct.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        estimator.saw_all(step, &logits, right as f64 / labels.size()[0] as f64)?;
    }
    Ok(Measured::Complete(metrics))
}

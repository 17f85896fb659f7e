//! What a run records on request, by the words of `record=`. A number of every step has its place here, and one in Python's
//! table of measures; all between them (blocks, history, states, arrays) goes by these names.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::norm::norm;
use super::step::Taken;
use crate::error::Result;
use crate::names::names;

/// A scalar of a step, on its device.
pub type OfStep = fn(&Taken) -> Result<Tensor>;

/// By the names of the arrays, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The predicted class of every measured test image.
    Predictions,
    /// The cross-entropy of every measured test image.
    Losses,
    /// What became of each image over the run ([`super::Examples`]), and passes over the training images.
    Examples,
    /// The Euclidean norm of the gradient of all parameters together, at every step, before it is clipped.
    GradNorm,
    /// States to replay steps from.
    Weights,
}

impl Record {
    pub fn name(self) -> &'static str {
        names::<Record>()[self as usize]
    }

    /// How a number of every step follows from the step; None for what is recorded of measurements.
    pub fn of_step(self) -> Option<OfStep> {
        match self {
            Record::Predictions | Record::Losses | Record::Examples | Record::Weights => None,
            Record::GradNorm => Some(|step| norm(&step.gradients)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_arrays() {
        let all = [Record::Predictions, Record::Losses, Record::Examples, Record::GradNorm, Record::Weights];
        assert_eq!(all.map(Record::name), ["predictions", "losses", "examples", "grad_norm", "weights"]);
    }
}

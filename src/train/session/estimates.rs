//! A session's estimators, where measurements have a tolerance: one for each set of images that is large enough.

use super::RunState;
use crate::error::Result;
use crate::evaluate::{Demand, Estimator, Evaluator, Figures, Learned, Measured, Metrics};
use crate::network::{mixed, Model};
use crate::train::TrainConfig;

/// In the order of the evaluators.
pub struct Estimators(Vec<Option<Estimator>>);

/// What a measurement finds.
pub struct Found {
    /// In the order of the evaluators.
    pub figures: Vec<Figures>,
    /// Those of the test images, if all were looked at.
    pub test: Option<Metrics>,
}

impl Estimators {
    /// None of them without a tolerance, nor `on_device`, which measures everything beside the next step.
    pub fn new(
        evaluators: &[Evaluator],
        classes: i64,
        config: &TrainConfig,
        steps_per_epoch: usize,
        on_device: bool,
    ) -> Result<Self> {
        let Some(tolerance) = config.tolerance.filter(|_| !on_device) else { return Ok(Estimators(vec![])) };
        let complete_every = config.complete_every.map(|every| every.in_steps(steps_per_epoch));
        let estimators = evaluators.iter().enumerate().map(|(part, evaluator)| {
            let seed = mixed(config.seed ^ (part as u64 + 1));
            Estimator::new(&evaluator.labels, classes, Demand { tolerance, complete_every, seed })
        });
        Ok(Estimators(estimators.collect::<Result<_>>()?))
    }

    pub fn are_needed(&self) -> bool {
        self.0.iter().any(Option::is_some)
    }

    /// Measures the weights after so many steps: all images of a set if they are to be `complete`, if their estimator wants
    /// to see them, or if it has none.
    pub fn measure(
        &mut self,
        model: &Model,
        evaluators: &[Evaluator],
        step: usize,
        complete: bool,
    ) -> Result<Found> {
        let mut found = Found { figures: Vec::new(), test: None };
        for (part, (evaluator, estimator)) in evaluators.iter().zip(&mut self.0).enumerate() {
            let measured = match estimator {
                Some(estimator) => evaluator.estimate(model, estimator, step, complete)?,
                None => Measured::Complete(evaluator.measure(model)?),
            };
            found.figures.push(match measured {
                Measured::Estimated(figures) => figures,
                Measured::Complete(metrics) => {
                    let figures = metrics.figures(&evaluator.labels)?;
                    if part == 0 {
                        found.test = Some(metrics);
                    }
                    figures
                }
            });
        }
        Ok(found)
    }

    pub fn learned(&self) -> Vec<Option<Learned>> {
        self.0.iter().map(|estimator| estimator.as_ref().map(Estimator::learned)).collect()
    }

    /// Puts what is known of each image into a run's state.
    pub fn put_into(&self, state: &mut RunState) -> Result<()> {
        for (part, estimator) in self.0.iter().enumerate() {
            if let Some(estimator) = estimator {
                state.put(&name(part), estimator.tensors()?)?;
            }
        }
        Ok(())
    }

    /// Takes up what `learned` gave, and what `put_into` put there.
    pub fn restore(&mut self, state: &RunState, learned: Vec<Option<Learned>>) -> Result<()> {
        for (part, (estimator, learned)) in self.0.iter_mut().zip(learned).enumerate() {
            if let (Some(estimator), Some(learned)) = (estimator, learned) {
                let part = name(part);
                estimator.restore(learned, |name, tensor| {
                    if !state.has(&part, name) {
                        return Ok(None);
                    }
                    state.copy_into(&part, [(name, tensor.shallow_clone())])?;
                    Ok(Some(tensor))
                })?;
            }
        }
        Ok(())
    }
}

fn name(part: usize) -> String {
    format!("estimator_{part}")
}

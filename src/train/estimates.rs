//! The estimators of a run, where measurements have a tolerance: one for each set of images that is large enough.

use tch::Tensor;

use super::history::Curves;
use super::session::RunState;
use super::{History, TrainConfig};
use crate::error::Result;
use crate::evaluate::{measure, Demand, Estimator, Figures, Learned, Measured, Metrics, Subject};
use crate::network::mixed;

/// Of the test images, and of the validation images if there are any.
pub struct Estimators {
    sets: Vec<Set>,
    classes: i64,
}

struct Set {
    /// (N,) int64
    labels: Tensor,
    estimator: Option<Estimator>,
}

/// What a measurement finds.
pub struct Found {
    /// In the order of the sets.
    pub figures: Vec<Figures>,
    /// Those of the test images, if all were looked at.
    pub test: Option<Metrics>,
}

impl Estimators {
    /// Of sets of images with these labels. None of them without a tolerance, nor `on_device`, which measures everything beside
    /// the next step.
    pub fn new(
        labels: &[&Tensor],
        classes: i64,
        config: &TrainConfig,
        steps_per_epoch: usize,
        on_device: bool,
    ) -> Result<Self> {
        let complete_every = config.complete_every.map(|every| every.in_steps(steps_per_epoch));
        let sets = labels.iter().enumerate().map(|(part, labels)| {
            let seed = mixed(config.seed ^ (part as u64 + 1));
            let demand = config.tolerance.filter(|_| !on_device);
            let demand = demand.map(|tolerance| Demand { tolerance, complete_every, seed });
            let estimator = demand.map(|demand| Estimator::new(labels, classes, demand)).transpose()?;
            Ok(Set { labels: labels.shallow_clone(), estimator: estimator.flatten() })
        });
        Ok(Estimators { sets: sets.collect::<Result<_>>()?, classes })
    }

    pub fn are_needed(&self) -> bool {
        self.sets.iter().any(|set| set.estimator.is_some())
    }

    /// Whether they left images out of the newest measurement.
    pub fn left_some(&self, History { test, validation, .. }: &History) -> bool {
        self.are_needed() && !std::iter::once(test).chain(validation).all(Curves::is_complete)
    }

    /// (N,) each.
    pub fn labels(&self) -> impl Iterator<Item = &Tensor> {
        self.sets.iter().map(|set| &set.labels)
    }

    /// Measures the weights after so many steps: all images of a set if they are to be `complete`, if their estimator wants
    /// to see them, or if it has none. `subjects` are the sets, in their order.
    pub fn measure<'a>(
        &mut self,
        subjects: impl Iterator<Item = Box<dyn Subject + 'a>>,
        step: usize,
        complete: bool,
    ) -> Result<Found> {
        let mut found = Found { figures: Vec::new(), test: None };
        for (part, (set, mut subject)) in self.sets.iter_mut().zip(subjects).enumerate() {
            let Set { labels, estimator } = set;
            let measured = measure(&mut *subject, labels, self.classes, estimator.as_mut(), step, complete)?;
            found.figures.push(match measured {
                Measured::Estimated(figures) => figures,
                Measured::Complete(metrics) => {
                    let figures = metrics.figures(labels)?;
                    if part == 0 {
                        found.test = Some(metrics);
                    }
                    figures
                }
            });
        }
        Ok(found)
    }

    /// What was found by looking at all images of the test set, and of the validation set.
    pub fn exact<'a>(&self, found: &'a Found) -> [Option<&'a Figures>; 2] {
        let all = |part: usize, figures: &Figures| figures.images == self.sets[part].labels.size()[0];
        [0, 1].map(|part| found.figures.get(part).filter(|figures| all(part, figures)))
    }

    /// Looks at all test images after an estimate of the same weights.
    pub fn complete_test(
        &mut self,
        mut test: Box<dyn Subject + '_>,
        step: usize,
        found: &mut Found,
    ) -> Result<()> {
        let Some(Set { labels, estimator }) = self.sets.first_mut() else { return Ok(()) };
        if let Measured::Complete(metrics) =
            measure(&mut *test, labels, self.classes, estimator.as_mut(), step, true)?
        {
            found.figures[0] = metrics.figures(labels)?;
            found.test = Some(metrics);
        }
        Ok(())
    }

    pub fn learned(&self) -> Vec<Option<Learned>> {
        match self.are_needed() {
            true => self.sets.iter().map(|set| set.estimator.as_ref().map(Estimator::learned)).collect(),
            false => vec![],
        }
    }

    /// Puts what is known of each image into a run's state.
    pub fn put_into(&self, state: &mut RunState) -> Result<()> {
        for (part, set) in self.sets.iter().enumerate() {
            if let Some(estimator) = &set.estimator {
                state.put(&name(part), estimator.tensors()?)?;
            }
        }
        Ok(())
    }

    /// Takes up what `learned` gave, and what `put_into` put there.
    pub fn restore(&mut self, state: &RunState, learned: Vec<Option<Learned>>) -> Result<()> {
        for (part, (set, learned)) in self.sets.iter_mut().zip(learned).enumerate() {
            if let (Some(estimator), Some(learned)) = (&mut set.estimator, learned) {
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

//! A session that takes steps of a run again: from a state that holds no more than the steps after it follow from.

use std::sync::Arc;

use tch::{Device, Tensor};

use super::identity::{told_by, with_config};
use super::{Plain, RunState, Session};
use crate::data::Dataset;
use crate::error::Result;
use crate::evaluate::{Evaluator, Seen};
use crate::libtorch::Gpu;
use crate::network::Model;
use crate::train::watch::{Standing, WatchConfig};
use crate::train::{Change, Counts, Observer, TrainConfig};

impl Session {
    /// What the steps from here on follow from, for [`Session::again`]: weights, their average, the optimizer's means, and what
    /// measurements know where they decide about the learning rate. Nothing that was recorded. Waits for the device.
    pub fn waypoint(&self) -> Result<RunState> {
        let watch = WatchConfig { keep_best: false, patience: None, ..self.config.watch.clone() };
        let config = TrainConfig {
            record: vec![],
            measure_training: TrainConfig::default().measure_training,
            weights_every: None,
            watch,
            ..self.config.clone()
        };
        let listens = self.listens();
        let mut state = RunState::new(&Plain {
            of: with_config(&self.of, &config)?,
            taken: self.taken,
            plateau: self.rate.plateau.clone(),
            watch: Standing::default(),
            best_step: None,
            diverged_at: None,
            recorded: Counts::default(),
            evaluation: self.evaluators.iter().map(Evaluator::choice).collect(),
            on_device: self.report().map(|report| report.evaluation.clone()).unwrap_or_default(),
            learned: if listens { self.estimators.learned() } else { vec![] },
        })?;
        if listens {
            self.estimators.put_into(&mut state)?;
        }
        state.put("weights", self.weights.model.state_dict()?)?;
        if let Some(average) = &self.weights.average {
            state.put("average", average.model.state_dict()?)?;
        }
        state.put("optimizer", self.work.stepper.body.optimizer.state())?;
        state.copied()
    }

    /// A session of the run that a waypoint is of, at that point. Nothing is recorded, watched or kept in files.
    pub fn again(
        waypoint: RunState,
        data: &Dataset,
        device: Device,
        gpu: Option<Arc<dyn Gpu>>,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let (config, network, normalization) = told_by(&waypoint.plain::<Plain>()?.of)?;
        let mut model = Model::initialize(network, 0)?; // the weights follow
        model.set_normalization(Some(normalization))?;
        Session::new(&model, data, &config, device, gpu, Some(waypoint), observer)
    }

    /// Goes back to a waypoint of its own.
    pub fn go_back(&mut self, waypoint: &RunState) -> Result<()> {
        self.restore(waypoint, waypoint.plain()?)
    }

    /// Whether measurements decide about the steps.
    pub fn listens(&self) -> bool {
        self.config.schedule.listens()
    }

    /// All batches of an epoch, see [`Session::batches`].
    pub fn all_batches(&self, epoch: usize) -> Result<Vec<Tensor>> {
        self.batches_of(epoch, 0)
    }

    /// Takes the next step in another way.
    pub fn step_otherwise(&mut self, batch: &Tensor, change: &Change) -> Result<()> {
        let (lr, momentum) = (self.rate.at(self.taken), self.rate.momentum_at(self.taken));
        self.work.stepper.step_otherwise(batch, self.taken, lr, momentum, change)?;
        self.taken += 1;
        Ok(())
    }

    /// Looks at every measured test image with the weights of the moment, and lets that have no consequences.
    pub fn see(&self) -> Result<Seen> {
        self.evaluators[0].see(self.weights.measured())
    }

    /// (N,) int64 labels of the measured test images.
    pub fn test_labels(&self) -> &Tensor {
        &self.evaluators[0].labels
    }
}

//! One optimizer step: a batch of examples by their indices, forward, loss, backward, and new weights.

use tch::{Reduction, Tensor};

use super::{Optimizer, TrainConfig};
use crate::data::{Augmenter, Split};
use crate::error::Result;
use crate::network::{Model, Normalization, Precision};

/// What a step was taken on and what the weights before it made of that.
pub struct Taken {
    /// Scalar: mean cross-entropy of the batch.
    pub loss: Tensor,
    /// (N, classes) float32
    pub logits: Tensor,
    /// (N,) int64
    pub labels: Tensor,
}

/// Takes steps on batches of `train`.
pub struct Stepper<'a> {
    train: &'a Split,
    augmenter: Option<Augmenter>,
    normalization: Normalization,
    label_smoothing: f64,
    precision: Precision,
    optimizer: Optimizer,
}

impl<'a> Stepper<'a> {
    pub fn new(train: &'a Split, model: &Model, config: &TrainConfig) -> Result<Self> {
        let [_, height, width] = train.image_shape();
        let augmenter = config
            .augment
            .as_ref()
            .map(|augment| Augmenter::new(augment, [height, width], config.seed, train.images.device()));
        Ok(Stepper {
            train,
            augmenter: augmenter.transpose()?,
            normalization: model.normalization(),
            label_smoothing: config.label_smoothing,
            precision: config.precision,
            optimizer: Optimizer::new(config.method, config.lr, &model.parameters())?,
        })
    }

    /// Changes the weights of `model` by step number `taken` (from 0), on the examples at `batch` (N,), with the learning
    /// rate and, if it is to change, the momentum.
    pub fn step(
        &mut self,
        model: &Model,
        batch: &Tensor,
        taken: usize,
        lr: f64,
        momentum: Option<f64>,
    ) -> Result<Taken> {
        let Split { mut images, labels } = self.train.select(batch)?;
        if let Some(augmenter) = &self.augmenter {
            images = augmenter.apply(&images, taken)?;
        }
        let logits = model.forward_train(&self.normalization.apply(&images)?, self.precision)?;
        let loss = logits.f_cross_entropy_loss(
            &labels,
            None::<&Tensor>,
            Reduction::Mean,
            -100,
            self.label_smoothing,
        )?;
        let parameters = model.parameters();
        let gradients = Tensor::f_run_backward(&[&loss], &parameters, false, false)?;
        self.optimizer.set(lr, momentum);
        self.optimizer.step(&parameters, &gradients)?;
        Ok(Taken { loss: loss.f_detach()?, logits: logits.f_detach()?, labels })
    }
}

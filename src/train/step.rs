//! One optimizer step: a batch of examples by their indices, forward, loss, backward, and new weights.

use tch::{Device, Reduction, Tensor};

use super::dropout::step_seed;
use super::fused::Fused;
use super::{Kernels, Optimizer, TrainConfig};
use crate::data::{Augmenter, Split};
use crate::error::Result;
use crate::network::{drawing, Model, Normalization, Precision};

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
    /// Of dropout, if there is any.
    seed: Option<u64>,
    normalization: Normalization,
    label_smoothing: f64,
    precision: Precision,
    /// The network without autograd, if it is to do without.
    fused: Option<Fused>,
    optimizer: Optimizer,
}

impl<'a> Stepper<'a> {
    pub fn new(train: &'a Split, model: &Model, config: &TrainConfig) -> Result<Self> {
        let [_, height, width] = train.image_shape();
        let augmenter = config
            .augment
            .as_ref()
            .map(|augment| Augmenter::new(augment, [height, width], config.seed, train.images.device()));
        // A GPU has no kernels of ours.
        let fused = config.kernels == Kernels::Fused && model.device() == Device::Cpu;
        Ok(Stepper {
            train,
            augmenter: augmenter.transpose()?,
            seed: model.network.drops().then_some(config.seed),
            normalization: model.normalization(),
            label_smoothing: config.label_smoothing,
            precision: config.precision,
            optimizer: Optimizer::new(config.method, config.lr, &model.parameters(), fused)?,
            fused: fused.then(|| Fused::new(&model.network, config.precision)),
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
        let pixels = self.normalization.apply(&images)?;
        let pass = || match &self.fused {
            Some(fused) => self.without_autograd(fused, model, &pixels, &labels),
            None => self.by_autograd(model, &pixels, &labels),
        };
        let (loss, logits, gradients) = match self.seed {
            Some(seed) => drawing(step_seed(seed, taken), pass)?,
            None => pass()?,
        };
        self.optimizer.set(lr, momentum);
        self.optimizer.step(&model.parameters(), &gradients)?;
        Ok(Taken { loss: loss.f_detach()?, logits: logits.f_detach()?, labels })
    }

    fn loss(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let smoothing = self.label_smoothing;
        Ok(logits.f_cross_entropy_loss(labels, None::<&Tensor>, Reduction::Mean, -100, smoothing)?)
    }

    /// Loss, logits and the gradients of the parameters.
    fn by_autograd(
        &self,
        model: &Model,
        pixels: &Tensor,
        labels: &Tensor,
    ) -> Result<(Tensor, Tensor, Vec<Tensor>)> {
        let logits = model.forward_train(pixels, self.precision)?;
        let loss = self.loss(&logits, labels)?;
        let gradients = Tensor::f_run_backward(&[&loss], &model.parameters(), false, false)?;
        Ok((loss, logits, gradients))
    }

    /// The same.
    fn without_autograd(
        &self,
        fused: &Fused,
        model: &Model,
        pixels: &Tensor,
        labels: &Tensor,
    ) -> Result<(Tensor, Tensor, Vec<Tensor>)> {
        let (logits, tape) = fused.forward(&model.tensors, pixels)?;
        let logits = logits.f_set_requires_grad(true)?;
        let loss = self.loss(&logits, labels)?;
        let by_logits = Tensor::f_run_backward(&[&loss], &[&logits], false, false)?;
        let by_logits = by_logits.into_iter().next().unwrap_or_default();
        let gradients = tape.backward(by_logits)?.into_iter().flatten().collect();
        Ok((loss, logits, gradients))
    }
}

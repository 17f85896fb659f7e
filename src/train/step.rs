//! One optimizer step: from the indices of a batch, by way of forward, loss and backward, to new weights, their average and
//! the row of history. On a GPU all of it is work that can be recorded (`device/recording.rs`).

use std::rc::Rc;
use std::sync::Arc;

use tch::{Device, Tensor};

use super::average::Average;
use super::device::Recorded;
use super::dropout::step_seed;
use super::factor::Factor;
use super::fused::Fused;
use super::loss::Loss;
use super::norm::clipped;
use super::optimizer::Steps;
use super::recorder::Sheet;
use super::work::Parts;
use super::{Kernels, Optimizer};
use crate::data::{Augmenter, Drawn, Split};
use crate::error::Result;
use crate::libtorch::Gpu;
use crate::network::{drawing, Model, Normalizer, Precision};

/// What a step was taken on and what the weights before it made of that.
pub struct Taken {
    /// Scalar: mean cross-entropy of the batch, by the weights of its classes: what is made smaller.
    pub loss: Tensor,
    /// (N, classes) float32
    pub logits: Tensor,
    /// (N,) int64
    pub labels: Tensor,
    /// (N,) int64: which training images these are.
    pub batch: Tensor,
    /// Of the parameters, in their order.
    pub gradients: Vec<Tensor>,
}

/// What a step computes with. Every tensor stays where it is.
pub struct Body {
    train: Split,
    augmenter: Option<Augmenter>,
    /// Of what is done to images.
    strength: Factor,
    normalizer: Normalizer,
    loss: Loss,
    clip_grad_norm: Option<f64>,
    precision: Precision,
    /// The network without autograd, if it is to do without.
    fused: Option<Fused>,
    model: Model,
    average: Option<Rc<Average>>,
    pub optimizer: Optimizer,
    sheet: Rc<Sheet>,
}

impl Body {
    /// `drawn` are the random numbers for the changes of the images at `batch` (N,).
    pub fn run(&self, batch: &Tensor, drawn: Option<&Drawn>) -> Result<()> {
        let taken = self.look(batch, drawn, None)?;
        let row = self.sheet.step_row(&taken)?;
        self.go(&taken.gradients)?;
        self.sheet.write_step(&row, &taken)
    }

    /// Forward and backward; the loss is `share` of the batch's mean if that is given. Batch norm's statistics take the batch
    /// up.
    pub fn look(&self, batch: &Tensor, drawn: Option<&Drawn>, share: Option<f64>) -> Result<Taken> {
        let Split { mut images, labels } = self.train.select(batch)?;
        if let (Some(augmenter), Some(drawn)) = (&self.augmenter, drawn) {
            images = augmenter.change(&images, drawn)?;
        }
        let pixels = self.normalizer.apply(&images)?;
        let (loss, logits, gradients) = match &self.fused {
            Some(fused) => self.without_autograd(fused, &pixels, &labels, share)?,
            None => self.by_autograd(&pixels, &labels, share)?,
        };
        let batch = batch.shallow_clone();
        Ok(Taken { loss: loss.f_detach()?, logits: logits.f_detach()?, labels, batch, gradients })
    }

    /// Changes weights and average by one step along these gradients, which are clipped before.
    pub fn go(&self, gradients: &[Tensor]) -> Result<()> {
        let parameters = self.model.parameters();
        match self.clip_grad_norm {
            Some(most) => self.optimizer.step(&parameters, &clipped(gradients, most)?)?,
            None => self.optimizer.step(&parameters, gradients)?,
        }
        self.average.iter().try_for_each(|average| average.update(&self.model))
    }

    fn loss(&self, logits: &Tensor, labels: &Tensor, share: Option<f64>) -> Result<Tensor> {
        let mean = self.loss.of(logits, labels)?;
        Ok(share.map_or(Ok(mean.shallow_clone()), |share| mean.f_mul_scalar(share))?)
    }

    /// How much the examples at these `places` of a batch count in its loss, as a share of all of it.
    pub fn share(&self, batch: &Tensor, places: &Tensor) -> Result<f64> {
        self.loss.share(&self.train.labels.f_index_select(0, batch)?, places)
    }

    /// Loss, logits and the gradients of the parameters.
    fn by_autograd(
        &self,
        pixels: &Tensor,
        labels: &Tensor,
        share: Option<f64>,
    ) -> Result<(Tensor, Tensor, Vec<Tensor>)> {
        let logits = self.model.forward_train(pixels, self.precision)?;
        let loss = self.loss(&logits, labels, share)?;
        let gradients = Tensor::f_run_backward(&[&loss], &self.model.parameters(), false, false)?;
        Ok((loss, logits, gradients))
    }

    /// The same.
    fn without_autograd(
        &self,
        fused: &Fused,
        pixels: &Tensor,
        labels: &Tensor,
        share: Option<f64>,
    ) -> Result<(Tensor, Tensor, Vec<Tensor>)> {
        let (logits, tape) = fused.forward(&self.model.tensors, pixels)?;
        let logits = logits.f_set_requires_grad(true)?;
        let loss = self.loss(&logits, labels, share)?;
        let by_logits = Tensor::f_run_backward(&[&loss], &[&logits], false, false)?;
        let by_logits = by_logits.into_iter().next().unwrap_or_default();
        let gradients = tape.backward(by_logits)?.into_iter().flatten().collect();
        Ok((loss, logits, gradients))
    }

    /// Everything that a step changes, but the history.
    pub fn state(&self) -> Vec<Tensor> {
        let average = self.average.iter().flat_map(|average| &average.model.tensors);
        let weights = self.model.tensors.iter().chain(average).map(Tensor::shallow_clone);
        weights.chain(self.optimizer.state().into_iter().map(|(_, tensor)| tensor)).collect()
    }

    /// Random numbers for so many images, where the images are.
    pub fn draw(&self, count: i64, step: usize) -> Result<Option<Drawn>> {
        let strength = self.strength.at(step);
        self.augmenter
            .as_ref()
            .map(|all| all.draw(count, step, strength)?.on_device(self.device()))
            .transpose()
    }

    /// A place for such numbers, of any step.
    pub fn place_for_drawn(&self, count: i64) -> Result<Option<Drawn>> {
        let Some(augmenter) = &self.augmenter else { return Ok(None) };
        let drawn = augmenter.draw(count, 0, 1.0)?.on_device(self.device())?;
        Ok(Some(if self.strength.moves() { drawn.of_any_strength()? } else { drawn }))
    }

    pub fn device(&self) -> Device {
        self.train.images.device()
    }

    /// Sets the numbers that change from step to step.
    pub fn set(&self, taken: usize, lr: f64, momentum: Option<f64>) -> Result<()> {
        self.average.iter().try_for_each(|average| average.set(taken))?;
        self.loss.set(taken)?;
        self.optimizer.set(taken, lr, momentum)
    }
}

/// Takes steps.
pub struct Stepper {
    pub body: Rc<Body>,
    /// None for the host's own steps.
    pub gpu: Option<Arc<dyn Gpu>>,
    /// Of dropout, if there is any.
    seed: Option<u64>,
    /// A step on a whole batch.
    pub recorded: Option<Recorded>,
}

impl Stepper {
    pub fn new(gpu: Option<&Arc<dyn Gpu>>, parts: &Parts, sheet: &Rc<Sheet>) -> Result<Self> {
        let Parts { train, config, weights, rate, .. } = parts;
        let model = &weights.model;
        let device = train.images.device();
        let [_, height, width] = train.image_shape();
        let augmenter = config.augment.as_ref();
        let augmenter = augmenter.map(|all| Augmenter::new(all, [height, width], config.seed, device));
        // A GPU has no kernels of ours.
        let fused = config.kernels == Kernels::Fused && gpu.is_none();
        let steps = match gpu {
            Some(_) if rate.moves_momentum() => Steps::OnDeviceMoving,
            Some(_) => Steps::OnDevice,
            None if fused => Steps::Fused,
            None => Steps::Exact,
        };
        let smoothing = Factor::new(config.label_smoothing_schedule.as_ref(), rate);
        let body = Body {
            train: train.to_device(device)?,
            augmenter: augmenter.transpose()?,
            strength: Factor::new(config.augment_schedule.as_ref(), rate),
            normalizer: Normalizer::new(&model.normalization(), device)?,
            loss: Loss::new(config, smoothing, device, gpu.is_some())?,
            clip_grad_norm: config.clip_grad_norm,
            precision: config.precision,
            fused: fused.then(|| Fused::new(&model.network, config.precision)),
            optimizer: Optimizer::new(config.method, steps, &model.parameters())?,
            model: model.shared(),
            average: weights.average.clone(),
            sheet: sheet.clone(),
        };
        let seed = model.network.drops().then_some(config.seed);
        Ok(Stepper { body: Rc::new(body), gpu: gpu.cloned(), seed, recorded: None })
    }

    /// Whether there is dropout.
    pub fn drops(&self) -> bool {
        self.seed.is_some()
    }

    /// Runs `work`, whose random numbers are those of step number `taken`.
    pub fn drawing(&self, taken: usize, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        match (self.seed.map(|seed| step_seed(seed, taken)), &self.gpu) {
            (None, _) => work(),
            (Some(seed), Some(gpu)) => gpu.drawing(seed, work),
            (Some(seed), None) => drawing(seed, work),
        }
    }

    /// Changes the weights by step number `taken` (from 0), on the examples at `batch` (N,), with the learning rate and,
    /// if it is to change, the momentum.
    pub fn step(&self, batch: &Tensor, taken: usize, lr: f64, momentum: Option<f64>) -> Result<()> {
        self.body.set(taken, lr, momentum)?;
        let drawn = self.body.draw(batch.size()[0], taken)?;
        match &self.recorded {
            Some(recorded) if recorded.fits(batch) => {
                recorded.put(batch, drawn.as_ref())?;
                self.drawing(taken, &mut || recorded.replay())
            }
            // also the short last batch
            _ => self.drawing(taken, &mut || self.body.run(batch, drawn.as_ref())),
        }
    }
}

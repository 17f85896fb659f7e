//! One optimizer step as work that can be recorded: from the indices of the batch to the row of history.

use std::rc::Rc;
use std::sync::Arc;

use tch::{Kind, Reduction, Tensor};

use super::optimizer::{fill, DeviceOptimizer};
use super::Parts;
use crate::data::{Augmenter, Drawn, Split};
use crate::error::Result;
use crate::libtorch::{copied, Gpu, Graph, Lane};
use crate::network::{Model, Normalizer, Precision};
use crate::train::average::average_by;
use crate::train::dropout::step_seed;
use crate::train::recorder::Sheet;
use crate::train::step::Taken;

/// Steps before the recording: libraries set themselves up in the first ones, which cannot be recorded.
const REHEARSALS: usize = 3;

/// What a step computes with. Every tensor stays where it is.
struct Body {
    train: Split,
    augmenter: Option<Augmenter>,
    normalizer: Normalizer,
    label_smoothing: f64,
    precision: Precision,
    model: Model,
    /// The averaged weights, and the share of the newest.
    average: Option<(Model, Tensor)>,
    optimizer: DeviceOptimizer,
    sheet: Rc<Sheet>,
}

impl Body {
    fn run(&self, batch: &Tensor, drawn: Option<&Drawn>) -> Result<()> {
        let Split { mut images, labels } = self.train.select(batch)?;
        if let (Some(augmenter), Some(drawn)) = (&self.augmenter, drawn) {
            images = augmenter.change(&images, drawn)?;
        }
        let logits = self.model.forward_train(&self.normalizer.apply(&images)?, self.precision)?;
        let none = None::<&Tensor>;
        let loss = logits.f_cross_entropy_loss(&labels, none, Reduction::Mean, -100, self.label_smoothing)?;
        let parameters = self.model.parameters();
        let gradients = Tensor::f_run_backward(&[&loss], &parameters, false, false)?;
        self.optimizer.step(&parameters, &gradients)?;
        if let Some((average, share)) = &self.average {
            average_by(average, &self.model, share)?;
        }
        self.sheet.write_step(&Taken { loss: loss.f_detach()?, logits: logits.f_detach()?, labels })
    }

    /// Everything that a step changes, but the history.
    fn state(&self) -> Vec<&Tensor> {
        let average = self.average.iter().flat_map(|(average, _)| &average.tensors);
        self.model.tensors.iter().chain(average).chain(self.optimizer.state()).collect()
    }
}

pub struct DeviceStepper {
    body: Rc<Body>,
    gpu: Arc<dyn Gpu>,
    /// Of dropout, if there is any.
    seed: Option<u64>,
    recorded: Option<Recorded>,
}

/// A recorded step, and where it finds the batch.
struct Recorded {
    graph: Box<dyn Graph>,
    place: Rc<Place>,
}

struct Place {
    batch: Tensor,
    drawn: Option<Drawn>,
}

impl DeviceStepper {
    pub fn new(gpu: &Arc<dyn Gpu>, parts: &Parts, sheet: &Rc<Sheet>) -> Result<Self> {
        let Parts { train, model, config, rate, total, .. } = *parts;
        let [_, height, width] = train.image_shape();
        let device = train.images.device();
        let augmenter =
            config.augment.as_ref().map(|a| Augmenter::new(a, [height, width], config.seed, device));
        let average = parts.average.map(|average| -> Result<(Model, Tensor)> {
            Ok((average.model.shared(), Tensor::f_zeros([0i64; 0], (Kind::Float, device))?))
        });
        let moving = [0, total.saturating_sub(1)].iter().any(|step| rate.momentum_at(*step).is_some());
        let body = Body {
            train: train.to_device(device)?,
            augmenter: augmenter.transpose()?,
            normalizer: Normalizer::new(&model.normalization(), device)?,
            label_smoothing: config.label_smoothing,
            precision: config.precision,
            average: average.transpose()?,
            optimizer: DeviceOptimizer::new(config.method, moving, &model.parameters())?,
            model: model.shared(),
            sheet: sheet.clone(),
        };
        let seed = model.network.drops().then_some(config.seed);
        Ok(DeviceStepper { body: Rc::new(body), gpu: gpu.clone(), seed, recorded: None })
    }

    /// Records a step on a whole batch. Afterwards all is as if it had not been rehearsed.
    pub fn record(&mut self, parts: &Parts) -> Result<()> {
        let saved = self.body.state().into_iter().map(|t| copied(&t.f_detach()?, t));
        let saved = saved.collect::<Result<Vec<_>>>()?;
        let mut recorded = None;
        let done = self.drawing(0, &mut || {
            recorded = Some(self.rehearse_and_capture(parts)?);
            Ok(())
        });
        for (tensor, saved) in self.body.state().into_iter().zip(&saved) {
            tensor.f_detach()?.f_copy_(saved)?;
        }
        self.recorded = recorded;
        done
    }

    /// Runs `work`, whose random numbers are those of step number `taken`.
    fn drawing(&self, taken: usize, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        match self.seed {
            Some(seed) => self.gpu.drawing(step_seed(seed, taken), work),
            None => work(),
        }
    }

    fn rehearse_and_capture(&self, parts: &Parts) -> Result<Recorded> {
        let device = parts.train.images.device();
        let count = parts.config.batch_size as i64;
        let place =
            Place { batch: Tensor::f_arange(count, (Kind::Int64, device))?, drawn: self.drawn(count, 0)? };
        for _ in 0..REHEARSALS {
            self.prepare(0, parts.rate.at(0), parts.rate.momentum_at(0), Some(1.0))?;
            self.body.run(&place.batch, place.drawn.as_ref())?;
        }
        let place = Rc::new(place);
        let (body, there) = (self.body.clone(), place.clone());
        let work = Box::new(move || body.run(&there.batch, there.drawn.as_ref()));
        Ok(Recorded { graph: self.gpu.capture(Lane::Train, work)?, place })
    }

    pub fn forget(&mut self) {
        self.recorded = None;
    }

    /// Random numbers for the images of a batch, on the device.
    fn drawn(&self, count: i64, step: usize) -> Result<Option<Drawn>> {
        let device = self.body.train.images.device();
        let drawn = self.body.augmenter.as_ref().map(|a| a.draw(count, step)?.on_device(device));
        drawn.transpose()
    }

    /// Sets the numbers that change from step to step.
    fn prepare(&self, taken: usize, lr: f64, momentum: Option<f64>, share: Option<f64>) -> Result<()> {
        self.body.optimizer.set(taken, lr, momentum)?;
        match (&self.body.average, share) {
            (Some((_, number)), Some(share)) => fill(number, share),
            _ => Ok(()),
        }
    }

    /// Changes the weights by step number `taken` (from 0), on the examples at `batch` (N,), with the learning rate and,
    /// if it is to change, the momentum. `share` is that of the new weights in their average.
    pub fn step(
        &self,
        batch: &Tensor,
        taken: usize,
        lr: f64,
        momentum: Option<f64>,
        share: Option<f64>,
    ) -> Result<()> {
        self.prepare(taken, lr, momentum, share)?;
        let drawn = self.drawn(batch.size()[0], taken)?;
        match &self.recorded {
            Some(Recorded { graph, place }) if place.batch.size() == batch.size() => {
                place.batch.shallow_clone().f_copy_(batch)?;
                if let (Some(there), Some(drawn)) = (&place.drawn, &drawn) {
                    there.replace_by(drawn)?;
                }
                self.drawing(taken, &mut || graph.replay())
            }
            // also the short last batch
            _ => self.drawing(taken, &mut || self.body.run(batch, drawn.as_ref())),
        }
    }
}

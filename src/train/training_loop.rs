//! The training loop, from top to bottom in one function.

use std::time::Instant;

use tch::{Device, Reduction, Tensor};

use super::{History, Optimizer, Recorder, TrainConfig};
use crate::data::{BatchOrder, Dataset, Split};
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::network::{Model, Network};

/// What an observer sees after each optimizer step.
pub struct Step<'a> {
    /// Steps taken so far, and in all.
    pub taken: usize,
    pub total: usize,
    /// The epoch that the step belongs to, from 0.
    pub epoch: usize,
    /// The weights after the step.
    pub model: &'a Model,
    recorder: &'a mut Recorder,
}

impl Step<'_> {
    /// What has been read back: on a CPU everything, on a GPU all but the last block.
    pub fn history(&self) -> &History {
        &self.recorder.history
    }

    /// Everything measured so far; waits for the device.
    pub fn complete_history(&mut self) -> Result<&History> {
        self.recorder.flush()?;
        Ok(&self.recorder.history)
    }
}

/// What an observer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Continue,
    /// End now.
    Interrupt,
    /// Measure the test set once more, then end.
    Stop,
}

pub trait Observer {
    fn after_step(&mut self, step: &mut Step) -> Result<Next>;
}

/// How a run ended.
#[derive(Debug)]
pub enum End {
    Finished,
    Interrupted,
    Stopped,
    /// The loss of the weights after so many steps was NaN or infinite. On a GPU, whose history is read in blocks, the
    /// model may have gone on for the rest of the block.
    Diverged(usize),
    /// libtorch failed on the way, by lack of memory for example.
    Failed(Error),
}

pub struct Outcome {
    pub history: History,
    pub model: Model,
    pub end: End,
}

/// Trains a copy of `model` on `device`. An error means that nothing was begun; what goes wrong later is told in
/// [`Outcome::end`] beside everything recorded until then.
pub fn train(
    model: &Model,
    data: &Dataset,
    config: &TrainConfig,
    device: Device,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    config.check()?;
    let order = BatchOrder::new(data.train.len() as usize, config.batch_size, config.seed, config.shuffle)?;
    let network = model.network.for_input(data.train.image_shape())?;
    check_fit(&network, data, &order)?;
    let mut model = model.to_device(device)?;
    model.network = network;
    if model.normalization.is_none() {
        model.set_normalization(Some(data.normalization.clone()))?;
    }
    let data = data.to_device(device)?;
    let test = measured_images(&data.test, config.evaluate_on.as_deref())?;
    let evaluator = Evaluator::new(&test, &model.normalization(), data.classes, config.precision)?;
    let mut recorder = Recorder::new(&test.labels, data.classes, config.record_predictions)?;
    tch::manual_seed(config.seed as i64); // dropout's masks

    let mut end = match run(&model, &data.train, &order, config, &evaluator, &mut recorder, observer) {
        Ok(end) => end,
        Err(error) => End::Failed(error),
    };
    if let Err(error) = recorder.finish() {
        end = End::Failed(error);
    }
    if let Some(step) = recorder.history.diverged_at {
        recorder.history.truncate(step);
        end = End::Diverged(step);
    }
    Ok(Outcome { history: recorder.history, model: model.to_device(Device::Cpu)?, end })
}

fn run(
    model: &Model,
    train: &Split,
    order: &BatchOrder,
    config: &TrainConfig,
    evaluator: &Evaluator,
    recorder: &mut Recorder,
    observer: &mut dyn Observer,
) -> Result<End> {
    let parameters = model.parameters();
    let mut optimizer = Optimizer::new(config.method, config.lr, &parameters)?;
    let normalization = model.normalization();
    let per_epoch = order.steps_per_epoch();
    let total = per_epoch * config.epochs;
    let mut taken = 0;
    evaluate(model, evaluator, recorder, taken)?;
    if let Some(step) = recorder.history.diverged_at {
        return Ok(End::Diverged(step));
    }

    for epoch in 0..config.epochs {
        let indices = Tensor::f_from_slice(&order.epoch(epoch))?.f_to_device(model.device())?;
        for batch in indices.f_split(config.batch_size as i64, 0)? {
            let start = Instant::now();
            let Split { images, labels } = train.select(&batch)?;
            let logits = model.forward_train(&normalization.apply(&images)?, config.precision)?;
            let loss = logits.f_cross_entropy_loss(&labels, None::<&Tensor>, Reduction::Mean, -100, 0.0)?;
            let gradients = Tensor::f_run_backward(&[&loss], &parameters, false, false)?;
            optimizer.step(&parameters, &gradients)?;
            recorder.record_step(&loss, &logits, &labels)?;
            recorder.record_step_time(start.elapsed());
            taken += 1;

            if let Some(step) = recorder.history.diverged_at {
                return Ok(End::Diverged(step));
            }
            let measured = config.evaluation_is_due(taken, total, per_epoch);
            if measured {
                evaluate(model, evaluator, recorder, taken)?;
                if let Some(step) = recorder.history.diverged_at {
                    return Ok(End::Diverged(step));
                }
            }
            match observer.after_step(&mut Step { taken, total, epoch, model, recorder })? {
                Next::Continue => {}
                Next::Interrupt => return Ok(End::Interrupted),
                Next::Stop if taken == total => return Ok(End::Finished),
                Next::Stop => {
                    if !measured {
                        evaluate(model, evaluator, recorder, taken)?;
                    }
                    return Ok(End::Stopped);
                }
            }
        }
    }
    Ok(End::Finished)
}

fn evaluate(model: &Model, evaluator: &Evaluator, recorder: &mut Recorder, taken: usize) -> Result<()> {
    let start = Instant::now();
    recorder.record_evaluation(taken, &evaluator.measure(model)?)?;
    recorder.record_evaluation_time(start.elapsed());
    Ok(())
}

fn measured_images(test: &Split, indices: Option<&[i64]>) -> Result<Split> {
    let Some(indices) = indices else { return test.to_device(test.images.device()) };
    if indices.is_empty() {
        return Err(Error::argument("evaluate_on names no test image"));
    }
    if let Some(wrong) = indices.iter().find(|index| !(0..test.len()).contains(*index)) {
        return Err(Error::Argument(format!(
            "evaluate_on names test image {wrong}, and there are {}",
            test.len()
        )));
    }
    test.select(&Tensor::f_from_slice(indices)?.f_to_device(test.images.device())?)
}

/// Whether network, data and batches belong together, asked before anything is computed.
fn check_fit(network: &Network, data: &Dataset, order: &BatchOrder) -> Result<()> {
    let (train, test) = (data.train.image_shape(), data.test.image_shape());
    if train != test {
        return Err(Error::Data(format!("training images have shape {train:?} and test images {test:?}")));
    }
    let (gives, has) = (network.num_classes()?, data.classes);
    if gives != has {
        return Err(Error::Argument(format!(
            "network {:?} gives {gives} logits, and the data set has {has} classes: build the network with \
             num_classes={has}, or name all {gives} classes of the data set",
            network.name
        )));
    }
    let rows = network.rows()?;
    // A row of layer "BatchNorm1d(8)" with output (8,), or "BatchNorm2d(8)" with output (8, 1, 1).
    let single = rows
        .iter()
        .find(|row| row.layer.starts_with("BatchNorm") && row.output.0[1..].iter().all(|size| *size == 1));
    match single {
        Some(row) if order.last_batch_size() == 1 => Err(Error::Argument(format!(
            "the last batch of an epoch holds one image, and layer {} ({}) of network {:?} sees one number of it in \
             each channel: there is no variance to normalise by. Choose another batch_size.",
            row.path,
            row.layer.split('(').next().unwrap_or_default(),
            network.name
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{builders, Normalization, Precision};
    use crate::train::{EvaluateEvery, Method};

    struct Until(usize, Next);

    impl Observer for Until {
        fn after_step(&mut self, step: &mut Step) -> Result<Next> {
            Ok(if step.taken == self.0 { self.1 } else { Next::Continue })
        }
    }

    const NEVER: Until = Until(usize::MAX, Next::Stop);

    fn split(count: usize, seed: u8) -> Split {
        let pixels: Vec<u8> = (0..count * 784).map(|i| (i * 31 + i / 784 * 17) as u8 ^ seed).collect();
        let labels: Vec<i64> = (0..count as i64).map(|i| i % 10).collect();
        Split::new(&pixels, [count, 28, 28, 1], &labels, 10).unwrap()
    }

    fn dataset() -> Dataset {
        let normalization = Normalization::new(vec![0.5], vec![0.3]).unwrap();
        Dataset { train: split(50, 0), test: split(30, 90), classes: 10, normalization }
    }

    fn config() -> TrainConfig {
        TrainConfig {
            epochs: 2,
            batch_size: 20,
            method: Method::Adam { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 },
            lr: 1e-3,
            evaluate_every: EvaluateEvery::Steps(1),
            evaluate_on: None,
            record_predictions: false,
            seed: 1,
            shuffle: true,
            precision: Precision::Float32,
        }
    }

    fn lenet() -> Model {
        Model::initialize(builders::lenet5(&builders::Lenet5::default()).unwrap(), 0).unwrap()
    }

    fn run(config: &TrainConfig, observer: &mut dyn Observer) -> Outcome {
        train(&lenet(), &dataset(), config, Device::Cpu, observer).unwrap()
    }

    #[test]
    fn every_step_and_every_evaluation_is_recorded() {
        let outcome = run(&config(), &mut { NEVER });
        let history = outcome.history;
        assert!(matches!(outcome.end, End::Finished));
        assert_eq!(history.train_loss.len(), 6);
        assert_eq!(history.eval_step, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!((history.train_seconds.len(), history.eval_seconds.len()), (6, 7));
        assert_eq!(history.confusion.sum(), 30);
    }

    #[test]
    fn first_and_last_are_measured_whatever_is_asked() {
        let steps =
            |every| run(&TrainConfig { evaluate_every: every, ..config() }, &mut { NEVER }).history.eval_step;
        assert_eq!(steps(EvaluateEvery::Steps(4)), [0, 4, 6]);
        assert_eq!(steps(EvaluateEvery::Epoch), [0, 3, 6]);
    }

    #[test]
    fn one_seed_gives_one_run() {
        let loss = |seed| run(&TrainConfig { seed, ..config() }, &mut { NEVER }).history.test_loss;
        assert_eq!(loss(1), loss(1));
        assert_ne!(loss(1), loss(2));
    }

    #[test]
    fn an_interrupt_ends_at_once_and_a_stop_measures_first() {
        let every = TrainConfig { evaluate_every: EvaluateEvery::Epoch, ..config() };
        let outcome = run(&every, &mut Until(2, Next::Interrupt));
        assert!(matches!(outcome.end, End::Interrupted));
        assert_eq!((outcome.history.train_loss.len(), outcome.history.eval_step), (2, vec![0]));
        let outcome = run(&every, &mut Until(2, Next::Stop));
        assert!(matches!(outcome.end, End::Stopped));
        assert_eq!(outcome.history.eval_step, [0, 2]);
    }

    #[test]
    fn a_loss_that_is_not_finite_ends_the_run_where_it_happened() {
        let method = Method::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        let outcome = run(&TrainConfig { method, lr: 1e30, ..config() }, &mut { NEVER });
        let End::Diverged(step) = outcome.end else { panic!("{:?}", outcome.end) };
        let history = outcome.history;
        assert!(history.train_loss.len() <= step + 1 && history.eval_step.iter().all(|s| *s <= step as i64));
        assert!(history.train_loss[..step].iter().all(|loss| loss.is_finite()), "{history:?}");
        let earlier = history.eval_step.iter().zip(&history.test_loss).filter(|(s, _)| **s < step as i64);
        assert!(earlier.into_iter().all(|(_, loss)| loss.is_finite()), "{history:?}");
    }

    #[test]
    fn the_given_model_is_left_alone() {
        let model = lenet();
        let before = model.tensors[0].copy();
        train(&model, &dataset(), &config(), Device::Cpu, &mut { NEVER }).unwrap();
        assert_eq!(model.tensors[0], before);
    }

    #[test]
    fn one_image_at_one_pixel_has_no_variance() {
        let batches_of_seven = TrainConfig { batch_size: 7, ..config() };
        let error =
            train(&lenet(), &dataset(), &batches_of_seven, Device::Cpu, &mut { NEVER }).err().unwrap();
        assert!(error.to_string().contains("9 (BatchNorm2d)"), "{error}");
        let small = builders::KernelNet { widths: vec![2], hidden: 4, ..builders::KernelNet::default() };
        let model = Model::initialize(builders::kernel_net(&small).unwrap(), 0).unwrap();
        let error = train(&model, &dataset(), &batches_of_seven, Device::Cpu, &mut { NEVER }).err().unwrap();
        assert!(error.to_string().contains("11 (BatchNorm1d)"), "{error}");
    }
}

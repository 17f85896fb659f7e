//! How a session begins: what is checked, brought to the device and chosen before the first step.

use std::sync::Arc;

use tch::{Device, Tensor};

use super::identity::{check_same, identity};
use super::{Plain, RunState, Session};
use crate::data::{BatchOrder, Dataset, Split};
use crate::error::Result;
use crate::evaluate::{Evaluator, Passing};
use crate::libtorch::{Gpu, OneLane};
use crate::network::{Model, Needs, Normalization};
use crate::train::estimates::Estimators;
use crate::train::prepare::{check_class_weight, check_fit, complement, part};
use crate::train::weights::Weights;
use crate::train::work::{Parts, Work};
use crate::train::{LearningRate, Observer, Record, Recorder, Sets, TrainConfig};

impl Session {
    /// A run that begins, or goes on `from` a state. `gpu` says what the device can do besides, and has the work done on
    /// the device's own.
    pub fn new(
        model: &Model,
        data: &Dataset,
        config: &TrainConfig,
        device: Device,
        gpu: Option<Arc<dyn Gpu>>,
        from: Option<RunState>,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let Course { kept, order, steps_per_epoch, total } = Course::checked(model, data, config, device)?;
        let gpu = gpu.or_else(|| (device != Device::Cpu).then(|| Arc::new(OneLane) as Arc<dyn Gpu>));
        let mut model = model.to_device(device)?;
        if model.normalization.is_none() {
            model.set_normalization(Some(data.normalization.clone()))?;
        }
        let of = identity(&model, data, config, gpu.is_some())?;
        let earlier = from.as_ref().map(|state| state.plain::<Plain>()).transpose()?;
        if let Some(earlier) = &earlier {
            check_same(&earlier.of, &of, config, earlier.taken, total)?;
        }

        let data = data.to_device(device)?;
        let normalization = model.normalization();
        let mut evaluators = evaluators(&data, config, &normalization)?;
        let calibrate = config.calibrates(Some(config.evaluations(total, steps_per_epoch)));
        match &earlier {
            Some(earlier) => {
                let choices = evaluators.iter_mut().zip(&earlier.evaluation);
                choices.into_iter().try_for_each(|(part, choice)| part.choose(choice))?;
            }
            None if calibrate => evaluators.iter_mut().try_for_each(|part| part.calibrate(&model))?,
            None => {}
        }
        if device != Device::Cpu && config.precision.uses_matrix_units() {
            model = model.channels_last()?;
        }
        let labels: Vec<_> = evaluators.iter().map(|part| &part.labels).collect();
        let estimators = Estimators::new(&labels, data.classes, config, steps_per_epoch, gpu.is_some())?;
        let sets = Sets {
            test: labels[0],
            validation: labels.get(1).copied(),
            train: data.train.len(),
            trained: &kept,
            classes: data.classes,
        };
        let recorder = Recorder::new(&sets, &config.record, gpu.as_ref())?;
        let training = training_pass(&data, &kept, config, &normalization)?;
        let weights = Weights::new(model, config, gpu.is_some())?;
        let rate = LearningRate::new(&config.schedule, config.lr, total, steps_per_epoch);
        let choices = earlier.as_ref().map_or(&[][..], |earlier| &earlier.on_device);
        let parts = Parts {
            train: &data.train,
            evaluators: &evaluators,
            weights: &weights,
            config,
            rate: &rate,
            total,
            calibrate,
            choices,
        };
        let work = Work::new(gpu.as_ref(), &parts, &recorder, observer)?;
        let config = config.clone();
        let mut session = Session {
            config,
            of,
            kept,
            order,
            steps_per_epoch,
            total,
            evaluators,
            estimators,
            training,
            taken: 0,
            weights,
            rate,
            work,
            recorder,
        };
        if let (Some(state), Some(earlier)) = (from, earlier) {
            session.restore(&state, earlier)?;
        }
        Ok(session)
    }
}

/// The order of the batches, and the number of steps.
struct Course {
    kept: Vec<i64>,
    order: BatchOrder,
    steps_per_epoch: usize,
    total: usize,
}

impl Course {
    /// Fails if a run of this configuration, data and device cannot be.
    fn checked(model: &Model, data: &Dataset, config: &TrainConfig, device: Device) -> Result<Self> {
        config.check()?;
        let kept = complement(data.train.len(), &config.validation)?;
        let order = BatchOrder::new(kept.len(), config.batch_size, config.seed, config.shuffle)?;
        let steps_per_epoch = order.steps_per_epoch();
        config.length.check(steps_per_epoch)?;
        let total = config.length.in_steps(steps_per_epoch);
        config.schedule.check_length(total)?;
        check_fit(&model.network, data, &order, total)?;
        check_class_weight(config.class_weight.as_ref(), data.classes)?;
        if device == Device::Cpu {
            let needs = Needs::of(&model.network, model.network.input_shape)?;
            let (copies, bytes) = (config.copies(), config.precision.bytes());
            needs.check_training(&model.network, copies, config.batch_size, bytes)?;
        }
        Ok(Course { kept, order, steps_per_epoch, total })
    }
}

/// Of the test images, and of the validation images if there are any.
fn evaluators(data: &Dataset, config: &TrainConfig, normalization: &Normalization) -> Result<Vec<Evaluator>> {
    let evaluator = |split: &Split| Evaluator::new(split, normalization, data.classes, config.precision);
    let mut evaluators = vec![match &config.evaluate_on {
        Some(indices) => evaluator(&part(&data.test, indices, "evaluate_on names test")?)?,
        None => evaluator(&data.test)?,
    }];
    if !config.validation.is_empty() {
        evaluators.push(evaluator(&part(&data.train, &config.validation, "validation names training")?)?);
    }
    Ok(evaluators)
}

/// Of the images that are trained on, if they are to be measured now and then.
fn training_pass(
    data: &Dataset,
    kept: &[i64],
    config: &TrainConfig,
    normalization: &Normalization,
) -> Result<Option<Passing>> {
    if !config.record.contains(&Record::Examples) || config.measure_training == 0 {
        return Ok(None);
    }
    let device = data.train.images.device();
    let split = data.train.to_device(device)?; // the same tensors
    let indices = Tensor::f_from_slice(kept)?.f_to_device(device)?;
    Ok(Some(Passing::new(split, indices, normalization.clone(), data.classes, config.precision)))
}

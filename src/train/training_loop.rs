//! The training loop, from top to bottom in one function.

use std::sync::Arc;

use tch::Device;

use super::observer::{End, Next, Observer, Step};
use super::session::{RunState, Session};
use super::{DeviceReport, History, TrainConfig};
use crate::data::Dataset;
use crate::error::Result;
use crate::evaluate::Choice;
use crate::heap::Kept;
use crate::libtorch::Gpu;
use crate::network::{Model, Needs};

pub struct Outcome {
    pub history: History,
    /// The weights after the last step, their average, or those of the best measurement: as the config says.
    pub model: Model,
    /// Steps that were taken before `model` had these weights.
    pub model_step: usize,
    pub end: End,
    /// How the test images were measured.
    pub evaluation: Choice,
    /// On a GPU.
    pub on_device: Option<DeviceReport>,
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
    train_with(model, data, config, device, None, None, observer)
}

/// The same; `gpu` says what the device can do besides, and has the work done on the device's own. The run goes on `from`
/// the state of an earlier one, of the same model, data and config: the result is that of a run that was never interrupted.
pub fn train_with(
    model: &Model,
    data: &Dataset,
    config: &TrainConfig,
    device: Device,
    gpu: Option<Arc<dyn Gpu>>,
    from: Option<RunState>,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let mut session = Session::new(model, data, config, device, gpu, from, observer)?;
    let heap = Kept::for_blocks(largest_block(&session)); // not before: weights are to lie outside of it
    let mut end = run(&mut session, observer).unwrap_or_else(End::Failed);
    drop(heap);
    let (evaluation, on_device) = (session.evaluation(), session.report().cloned());
    let Session { mut recorder, weights, .. } = session;
    if let Err(error) = recorder.finish() {
        end = End::Failed(error);
    }
    if let Some(step) = recorder.history.diverged_at {
        recorder.history.truncate(step);
        end = End::Diverged(step);
    }
    let history = recorder.history;
    let (model_step, model) = match &weights.watch.kept {
        Some((step, best)) => (*step, best),
        None => (history.train_loss.len(), weights.measured()),
    };
    let model = match model.device() {
        Device::Cpu => model.shared(), // with nobody any more
        _ => model.to_device(Device::Cpu)?,
    };
    Ok(Outcome { model, model_step, history, end, evaluation, on_device })
}

/// Bytes of the largest block of memory that each step takes from the host.
fn largest_block(session: &Session) -> f64 {
    let (config, model) = (&session.config, &session.weights.model);
    match (model.device(), Needs::of(&model.network, model.network.input_shape)) {
        (Device::Cpu, Ok(needs)) => needs.largest_block(config.batch_size, config.precision.bytes()),
        _ => 0.0,
    }
}

/// Goes on until the run ends.
fn run(session: &mut Session, observer: &mut dyn Observer) -> Result<End> {
    let mut next = observer.begin(&mut Step::of(session))?;
    if !session.recorder.has_measured() {
        session.measure(false)?;
        session.keep_state()?;
        if next != Next::Interrupt && session.diverged().is_none() {
            next = match (next, observer.after_evaluation(&mut Step::of(session))?) {
                (Next::Continue, seen) | (_, seen @ Next::Interrupt) => seen,
                (stop, _) => stop,
            };
        }
        if next == Next::Continue {
            next = observer.glance()?;
        }
    }
    match next {
        Next::Interrupt => return Ok(End::Interrupted),
        Next::Stop => return Ok(End::Stopped),
        Next::Continue => {}
    }
    if let Some(end) = session.end() {
        return ended(session, observer, end); // at once, or when the state that it goes on from was taken
    }
    loop {
        for batch in session.batches()? {
            session.step(&batch)?;
            if let Some(end) = session.diverged() {
                return Ok(end);
            }
            if session.measurement_is_due() {
                session.measure(session.taken == session.total)?;
                if let Some(end) = session.diverged() {
                    return Ok(end);
                }
            }
            session.pass()?;
            session.keep()?;
            let mut seen = Step::of(session);
            let (measured, next) = (seen.measured, observer.after_step(&mut seen)?);
            match next {
                Next::Interrupt => return Ok(End::Interrupted),
                Next::Stop if session.taken < session.total => {
                    let lacks = !measured || session.newest_is_an_estimate();
                    return if lacks {
                        measured_last(session, observer, End::Stopped)
                    } else {
                        Ok(End::Stopped)
                    };
                }
                Next::Stop | Next::Continue => {}
            }
            if let Some(end) = session.end() {
                return ended(session, observer, end);
            }
        }
    }
}

/// Ends a run by itself: validation images that are all measured may have run out of patience where test images are not.
fn ended(session: &mut Session, observer: &mut dyn Observer, end: End) -> Result<End> {
    match matches!(end, End::RanOutOfPatience) && session.newest_is_an_estimate() {
        true => measured_last(session, observer, end),
        false => Ok(end),
    }
}

/// Measures once more what a run that comes to this end gives.
fn measured_last(session: &mut Session, observer: &mut dyn Observer, end: End) -> Result<End> {
    session.measure(true)?;
    if let Some(end) = session.diverged() {
        return Ok(end);
    }
    match observer.after_evaluation(&mut Step::of(session))? {
        Next::Interrupt => Ok(End::Interrupted),
        Next::Stop | Next::Continue => Ok(end),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::{Augment, Split};
    use crate::error::Error;
    use crate::evaluate::Evaluator;
    use crate::network::Precision;
    use crate::network::{builders, Normalization};
    use crate::train::{Checkpoints, Every, Length, Method, Monitor, Schedule, WatchConfig};

    struct Until(usize, Next);

    impl Observer for Until {
        fn after_step(&mut self, step: &mut Step) -> Result<Next> {
            Ok(if step.taken == self.0 { self.1 } else { Next::Continue })
        }
    }

    const NEVER: Until = Until(usize::MAX, Next::Stop);

    pub fn split(count: usize, seed: u8) -> Split {
        let pixels: Vec<u8> = (0..count * 784).map(|i| (i * 31 + i / 784 * 17) as u8 ^ seed).collect();
        let labels: Vec<i64> = (0..count as i64).map(|i| i % 10).collect();
        Split::new(&pixels, [count, 28, 28, 1], &labels, 10).unwrap()
    }

    fn dataset() -> Dataset {
        let normalization = Normalization::new(vec![0.5], vec![0.3]).unwrap();
        Dataset { train: split(50, 0), test: split(30, 90), classes: 10, normalization }
    }

    /// Six steps, each measured, with nothing beside them.
    pub fn config() -> TrainConfig {
        TrainConfig { length: Length::Epochs(2), batch_size: 20, seed: 1, ..TrainConfig::default() }
    }

    pub fn one_cycle() -> Schedule {
        Schedule::OneCycle {
            pct_start: 0.3,
            div_factor: 25.0,
            final_div_factor: 1e4,
            cycle_momentum: true,
            base_momentum: 0.85,
            max_momentum: 0.95,
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
        assert_eq!(steps(Every::Steps(4)), [0, 4, 6]);
        assert_eq!(steps(Every::EPOCH), [0, 3, 6]);
    }

    #[test]
    fn one_seed_gives_one_run() {
        let loss = |seed| run(&TrainConfig { seed, ..config() }, &mut { NEVER }).history.test.loss;
        assert_eq!(loss(1), loss(1));
        assert_ne!(loss(1), loss(2));
    }

    #[test]
    fn an_interrupt_ends_at_once_and_a_stop_measures_first() {
        let every = TrainConfig { evaluate_every: Every::EPOCH, ..config() };
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
        let earlier = history.eval_step.iter().zip(&history.test.loss).filter(|(s, _)| **s < step as i64);
        assert!(earlier.into_iter().all(|(_, loss)| loss.is_finite()), "{history:?}");
    }

    /// Notes what it is told of, and answers once.
    #[derive(Default)]
    struct Listener {
        told: Vec<String>,
        answers: Option<(&'static str, Next)>,
    }

    impl Listener {
        fn hear(&mut self, what: &str, step: &Step) -> Next {
            let measured = if step.measured { "" } else { ", not measured" };
            let told = format!("{what} {}{measured}", step.taken);
            let next = self.answers.filter(|(at, _)| *at == told).map_or(Next::Continue, |(_, next)| next);
            self.told.push(told);
            next
        }
    }

    impl Observer for Listener {
        fn begin(&mut self, step: &mut Step) -> Result<Next> {
            Ok(self.hear("begin", step))
        }

        fn after_evaluation(&mut self, step: &mut Step) -> Result<Next> {
            Ok(self.hear("evaluation", step))
        }

        fn after_step(&mut self, step: &mut Step) -> Result<Next> {
            Ok(self.hear("step", step))
        }
    }

    #[test]
    fn observers_are_told_of_everything_once() {
        let config = TrainConfig { evaluate_every: Every::Steps(2), length: Length::Steps(4), ..config() };
        let hear = |answers| {
            let mut listener = Listener { answers, ..Listener::default() };
            let outcome = run(&config, &mut listener);
            (listener.told, outcome)
        };
        let begins = ["begin 0, not measured", "evaluation 0"];
        let steps = ["step 1, not measured", "step 2", "step 3, not measured", "step 4"];
        let (told, outcome) = hear(None);
        assert_eq!(told, [&begins[..], &steps].concat());
        assert!(matches!(outcome.end, End::Finished));
        // A stop where nothing was measured brings a measurement.
        let (told, outcome) = hear(Some((steps[0], Next::Stop)));
        assert_eq!(told, [&begins[..], &steps[..1], &["evaluation 1"]].concat());
        assert!(matches!(outcome.end, End::Stopped));
        // Whoever ends a run before its first step gets the measurement that every run has.
        for (at, next, heard) in
            [(begins[0], Next::Stop, 2), (begins[0], Next::Interrupt, 1), (begins[1], Next::Stop, 2)]
        {
            let (told, outcome) = hear(Some((at, next)));
            assert_eq!(told, begins[..heard]);
            assert_eq!((outcome.history.eval_step, outcome.history.train_loss.len()), (vec![0], 0));
            let expected = if next == Next::Stop { End::Stopped } else { End::Interrupted };
            assert_eq!(std::mem::discriminant(&outcome.end), std::mem::discriminant(&expected));
        }
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

    #[test]
    fn a_run_may_end_within_an_epoch() {
        let outcome = run(&TrainConfig { length: Length::Steps(4), ..config() }, &mut { NEVER });
        assert_eq!((outcome.history.train_loss.len(), outcome.model_step), (4, 4));
        assert!(matches!(outcome.end, End::Finished));
    }

    #[test]
    fn validation_images_are_measured_and_not_trained_on() {
        let validation: Vec<i64> = (0..10).map(|i| i * 4).collect();
        let outcome = run(&TrainConfig { validation, ..config() }, &mut { NEVER });
        let history = outcome.history;
        assert_eq!(history.train_loss.len(), 4); // two batches of 20 in each epoch
        assert_eq!(history.validation.as_ref().unwrap().images(), 10);
        assert_eq!(history.validation.unwrap().loss.len(), history.eval_step.len());
    }

    /// At this rate the losses jump, so that the best measurement is not the last.
    fn jumping() -> TrainConfig {
        TrainConfig { lr: 0.3, length: Length::Epochs(4), ..config() }
    }

    #[test]
    fn the_best_weights_are_those_of_the_best_measurement() {
        let watch = WatchConfig { keep_best: true, ..WatchConfig::NONE };
        let outcome = run(&TrainConfig { watch, ..jumping() }, &mut { NEVER });
        let losses = &outcome.history.test.loss[1..];
        let best = (0..losses.len()).min_by(|a, b| losses[*a].total_cmp(&losses[*b])).unwrap();
        assert_eq!(outcome.model_step, best + 1);
        let up_to_best = TrainConfig { length: Length::Steps(best + 1), ..jumping() };
        assert_eq!(run(&up_to_best, &mut { NEVER }).model.tensors, outcome.model.tensors);
    }

    #[test]
    fn patience_ends_a_run() {
        let watch =
            WatchConfig { patience: Some(2), min_delta: 100.0, monitor: Monitor::TestLoss, keep_best: false };
        let outcome = run(&TrainConfig { watch, ..config() }, &mut { NEVER });
        assert!(matches!(outcome.end, End::RanOutOfPatience));
        assert_eq!(outcome.history.train_loss.len(), 3); // the first measurement is the best, then two that are not
    }

    /// Enough test images for estimates.
    fn run_estimated(config: &TrainConfig, observer: &mut dyn Observer) -> Outcome {
        let data = Dataset { test: split(1200, 90), ..dataset() };
        train(&lenet(), &data, config, Device::Cpu, observer).unwrap()
    }

    #[test]
    fn measurements_with_a_tolerance_begin_and_end_with_complete_passes() {
        let estimated = TrainConfig { tolerance: Some(0.1), ..config() };
        let (whole, outcome) =
            (run_estimated(&config(), &mut { NEVER }), run_estimated(&estimated, &mut { NEVER }));
        let (exact, history) = (whole.history.test, outcome.history.test);
        assert_eq!(whole.model.tensors, outcome.model.tensors); // measuring does not touch the weights
        for at in [0, 6] {
            assert_eq!((history.images_measured[at], history.accuracy_error[at]), (1200, 0.0));
            assert_eq!((history.loss[at], history.accuracy[at]), (exact.loss[at], exact.accuracy[at]));
        }
        let estimates = (1..6).filter(|at| history.images_measured[*at] < 1200);
        assert!(estimates.clone().count() > 0, "{history:?}");
        for at in estimates {
            assert!(history.accuracy_error[at] > 0.0, "{history:?}");
            assert!((history.accuracy[at] - exact.accuracy[at]).abs() < 0.1, "{history:?} {exact:?}");
        }
        assert_eq!(outcome.history.confusion, whole.history.confusion);
    }

    #[test]
    fn estimates_decide_nothing() {
        let watch = WatchConfig { keep_best: true, patience: Some(1), min_delta: 100.0, ..WatchConfig::NONE };
        let every = Some(Every::Steps(2));
        let config = TrainConfig { tolerance: Some(0.1), complete_every: every, watch, ..config() };
        let outcome = run_estimated(&config, &mut { NEVER });
        // Measurements after 2 and 4 steps are the first two that are complete and of a trained model.
        assert!(matches!(outcome.end, End::RanOutOfPatience));
        assert_eq!((outcome.history.train_loss.len(), outcome.model_step), (4, 2));
    }

    #[test]
    fn a_stop_after_an_estimate_measures_all_in_its_place() {
        let config = TrainConfig { tolerance: Some(0.1), ..config() };
        let outcome = run_estimated(&config, &mut Until(3, Next::Stop));
        assert_eq!(outcome.history.eval_step, [0, 1, 2, 3]);
        assert_eq!(outcome.history.eval_seconds.len(), 4);
        assert_eq!(outcome.history.test.images_measured[3], 1200);
        let outcome = run_estimated(&config, &mut Until(3, Next::Interrupt));
        assert!(outcome.history.test.images_measured[3] < 1200);
        assert_eq!(outcome.history.confusion.sum(), 1200); // of the last complete pass
    }

    #[test]
    fn few_images_are_all_measured() {
        let estimated = run(&TrainConfig { tolerance: Some(0.1), ..config() }, &mut { NEVER });
        assert_eq!(estimated.history.test.images_measured, [30; 7]);
    }

    #[test]
    fn averaged_weights_are_measured_and_returned() {
        let plain = run(&config(), &mut { NEVER });
        let none = run(&TrainConfig { ema: Some(0.0), ..config() }, &mut { NEVER });
        assert_eq!(none.model.tensors, plain.model.tensors); // a decay of 0 keeps nothing of the past
        let slow = run(&TrainConfig { ema: Some(0.9), ..config() }, &mut { NEVER });
        assert_eq!(slow.history.train_loss, plain.history.train_loss);
        assert_ne!(slow.history.test.loss[6], plain.history.test.loss[6]);
    }

    #[test]
    fn checkpoints_are_what_was_measured() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Some(Checkpoints { folder: folder.path().to_path_buf(), every: Every::Steps(4) });
        let outcome = run(&TrainConfig { checkpoints, ema: Some(0.5), ..config() }, &mut { NEVER });
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["step_000004.safetensors"]);
        let kept = Model::load(&folder.path().join(&names[0])).unwrap();
        let data = dataset();
        let test = Evaluator::new(&data.test, &kept.normalization(), 10, Precision::Float32).unwrap();
        let metrics = test.measure(&kept).unwrap();
        let loss = (metrics.loss.double_value(&[]) / 30.0) as f32;
        assert_eq!(loss, outcome.history.test.loss[4]);
    }

    #[test]
    fn a_checkpoint_that_cannot_be_written_loses_nothing() {
        let checkpoints = Some(Checkpoints { folder: "/nonexistent/folder".into(), every: Every::Steps(4) });
        let outcome = run(&TrainConfig { checkpoints, ..config() }, &mut { NEVER });
        assert!(matches!(outcome.end, End::Failed(Error::File { .. })), "{:?}", outcome.end);
        assert_eq!(outcome.history.test.loss.len(), 5);
    }

    #[test]
    fn augmentation_is_seeded_and_leaves_the_test_set_alone() {
        let text = r#"{"shift": 2, "rotate": 5, "scale": 0, "shear": 0, "elastic": 0, "elastic_sigma": 4, "erase": 0,
            "erase_area": [0.02, 0.2]}"#;
        let augmented = TrainConfig { augment: Some(Augment::from_json(text).unwrap()), ..config() };
        let (first, second, plain) = (
            run(&augmented, &mut { NEVER }),
            run(&augmented, &mut { NEVER }),
            run(&config(), &mut { NEVER }),
        );
        assert_eq!(first.history.train_loss, second.history.train_loss);
        assert_ne!(first.history.train_loss[0], plain.history.train_loss[0]);
        assert_eq!(first.history.test.loss[0], plain.history.test.loss[0]);
    }

    #[test]
    fn the_schedule_is_followed_and_recorded() {
        let schedule = Schedule::Step { every: Every::EPOCH, gamma: 0.5 };
        let outcome = run(&TrainConfig { schedule, ..config() }, &mut { NEVER });
        assert_eq!(outcome.history.lr, [1e-3, 1e-3, 1e-3, 5e-4, 5e-4, 5e-4]);
    }
}

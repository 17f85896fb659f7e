//! Runs that are cut at every step, against those that are not.

use std::sync::Arc;

use tch::{Device, Tensor};

use super::RunState;
use crate::data::{Augment, Dataset};
use crate::error::Result;
use crate::libtorch::{compute_alone, rehearsal::Rehearsal, Gpu};
use crate::network::{
    Activation, BatchNorm, Conv2d, Dropout, Gate, Layer, Linear, Model, Network, Normalization, Pool2d,
    Precision,
};
use crate::train::training_loop::tests as host;
use crate::train::{
    train_with, End, Every, Kernels, Length, Method, Monitor, Next, Observer, Outcome, Record, Schedule,
    Step, TrainConfig, WatchConfig,
};

/// Keeps the state after every step.
#[derive(Default)]
struct Keeper {
    states: Vec<RunState>,
}

impl Observer for Keeper {
    fn after_step(&mut self, step: &mut Step) -> Result<Next> {
        let mut state = step.state()?;
        assert!(!state.tensors.keys().any(|name| name.starts_with("history")), "it would grow");
        let columns = step.columns().into_iter();
        let lists: Result<Vec<_>> = columns.map(|(name, column, _)| Ok((name, column.tensor()?))).collect();
        state.put("history", lists?)?;
        self.states.push(state.copied()?);
        Ok(Next::Continue)
    }
}

/// Keeps nothing, and so lets the device go on by itself.
struct Nobody;

impl Observer for Nobody {
    fn after_step(&mut self, _: &mut Step) -> Result<Next> {
        Ok(Next::Continue)
    }
}

pub struct Case {
    pub name: &'static str,
    pub config: TrainConfig,
    pub dropout: f64,
    /// On the device, recorded.
    pub recorded: bool,
    /// Test images.
    pub images: usize,
}

/// 3 batches of 8 and one of 4 in each epoch.
pub fn dataset(images: usize) -> Dataset {
    let normalization = Normalization::new(vec![0.5], vec![0.3]).unwrap();
    Dataset { train: host::split(28, 0), test: host::split(images, 90), classes: 10, normalization }
}

/// So small that all runs of these tests together take seconds.
pub fn model(dropout: f64) -> Model {
    let gate = vec![
        Layer::GlobalAvgPool,
        Layer::Linear(Linear::new(4, 3)),
        Layer::Dropout(Dropout { p: dropout }),
        Layer::Linear(Linear::new(3, 4)),
        Layer::Activation(Activation::Sigmoid),
    ];
    let layers = vec![
        Layer::Conv2d(Conv2d::new(1, 4, 5).stride(4)),
        Layer::BatchNorm2d(BatchNorm::new(4)),
        Layer::Gate(Gate { body: gate }),
        Layer::Activation(Activation::Relu),
        Layer::Dropout2d(Dropout { p: dropout }),
        Layer::MaxPool2d(Pool2d::new(2, 2, 0)),
        Layer::Flatten,
        Layer::Dropout(Dropout { p: dropout }),
        Layer::Linear(Linear::new(36, 10)),
    ];
    Model::initialize(Network::new("small", [1, 28, 28], layers).unwrap(), 0).unwrap()
}

impl Case {
    pub fn run(&self, from: Option<&RunState>, observer: &mut dyn Observer) -> Result<Outcome> {
        let gpu = self.recorded.then(|| Arc::new(Rehearsal::default()) as Arc<dyn Gpu>);
        train_with(
            &model(self.dropout),
            &dataset(self.images),
            &self.config,
            Device::Cpu,
            gpu,
            from.map(RunState::copied).transpose()?,
            observer,
        )
    }
}

/// Six steps.
pub fn config() -> TrainConfig {
    TrainConfig {
        batch_size: 8,
        length: Length::Steps(6),
        record: vec![
            Record::Predictions,
            Record::Losses,
            Record::Examples,
            Record::GradNorm,
            Record::Weights,
        ],
        measure_training: 4,
        weights_every: Some(Every::Steps(2)),
        ..host::config()
    }
}

pub fn cases() -> Vec<Case> {
    let betas = (0.9, 0.999);
    let sgd = |momentum, nesterov| Method::Sgd { momentum, nesterov, weight_decay: 0.01 };
    let adam = Method::Adam { betas, eps: 1e-8, weight_decay: 0.01 };
    let adamw = Method::AdamW { betas, eps: 1e-8, weight_decay: 0.01 };
    let augment = r#"{"shift": 2, "rotate": 5, "scale": 0.1, "shear": 2, "elastic": 0.5, "elastic_sigma": 4, "erase": 0.5,
        "erase_area": [0.02, 0.2]}"#;
    let augment = Some(Augment::from_json(augment).unwrap());
    let one_cycle = host::one_cycle();
    let plateau = Schedule::Plateau { factor: 0.5, patience: 0, threshold: 0.5, cooldown: 1, min_lr: 1e-6 };
    let warm = Schedule::Warmup { steps: 2, start_factor: 0.1, then: Box::new(plateau.clone()) };
    let best = WatchConfig { keep_best: true, ..WatchConfig::NONE };
    let patient = WatchConfig { patience: Some(3), min_delta: 100.0, ..best.clone() };
    let validation: Vec<i64> = (0..8).map(|i| i * 3).collect();
    let monitored = WatchConfig { monitor: Monitor::ValidationLoss, ..best.clone() };
    let host = |name, config| Case { name, config, dropout: 0.0, recorded: false, images: 12 };
    let estimated = |name, config| Case { images: 1200, ..host(name, config) };
    let fused = |config| TrainConfig { kernels: Kernels::Fused, ..config };
    let jumping = || TrainConfig { lr: 0.1, ..config() };
    let [rmsprop, nadam, lion, muon] = [3, 4, 5, 6].map(|at: usize| Method::ALL[at]);
    let centered =
        Method::RmsProp { alpha: 0.9, eps: 1e-8, momentum: 0.5, centered: true, weight_decay: 0.01 };
    let weighted = |config| {
        let class_weight = Some((0..10).map(|class| 0.5 + f64::from(class)).collect());
        TrainConfig { class_weight, clip_grad_norm: Some(0.5), label_smoothing: 0.1, ..config }
    };
    // To nothing within the run, and not at once.
    let falling = |config| {
        let linear = |begin, end| Some(Schedule::Linear { final_lr: 0.0, begin, end });
        TrainConfig {
            augment: augment.clone(),
            augment_schedule: linear(0.2, 0.7),
            label_smoothing: 0.2,
            label_smoothing_schedule: linear(0.0, 0.9),
            ..config
        }
    };
    let cases = vec![
        host("sgd", TrainConfig { method: sgd(0.0, false), ..config() }),
        host("momentum", TrainConfig { method: sgd(0.9, true), ..config() }),
        host("adam", TrainConfig { method: adam, ..config() }),
        host("adamw", TrainConfig { method: adamw, ..config() }),
        host("rmsprop", TrainConfig { method: rmsprop, ..config() }),
        host("centered rmsprop", TrainConfig { method: centered, ..config() }),
        host("nadam", TrainConfig { method: nadam, schedule: one_cycle.clone(), ..config() }),
        host("lion", TrainConfig { method: lion, ema: Some(0.9), ..config() }),
        host("muon", TrainConfig { method: muon, ..config() }),
        host("fused nadam", fused(TrainConfig { method: nadam, ..config() })),
        host("fused muon", fused(TrainConfig { method: muon, precision: Precision::BFloat16, ..config() })),
        host("weighted", weighted(TrainConfig { method: sgd(0.9, false), ..config() })),
        Case { dropout: 0.5, ..host("fused weighted", fused(weighted(config()))) },
        host("fused momentum", fused(TrainConfig { method: sgd(0.9, false), ..config() })),
        host("fused adam", fused(TrainConfig { method: adam, ..config() })),
        host("fused adamw", fused(TrainConfig { method: adamw, ..config() })),
        host("average", TrainConfig { ema: Some(0.9), watch: best.clone(), ..config() }),
        host("one cycle", TrainConfig { schedule: one_cycle.clone(), method: sgd(0.9, true), ..config() }),
        host("one cycle adam", TrainConfig { schedule: one_cycle.clone(), ..config() }),
        host("plateau", TrainConfig { schedule: plateau, ..jumping() }),
        host("warm plateau", TrainConfig { schedule: warm, ..jumping() }),
        host("patience", TrainConfig { watch: patient.clone(), ..jumping() }),
        host("best", TrainConfig { watch: best.clone(), ..jumping() }),
        host("augmented", TrainConfig { augment: augment.clone(), ..config() }),
        host("falling", falling(config())),
        host("fused falling", falling(fused(weighted(config())))),
        Case { dropout: 0.5, ..host("dropout", config()) },
        Case { dropout: 0.5, ..host("fused dropout", fused(config())) },
        host("bfloat16", TrainConfig { precision: Precision::BFloat16, ..config() }),
        host("fused bfloat16", fused(TrainConfig { precision: Precision::BFloat16, ..config() })),
        host("validation", TrainConfig { validation: validation.clone(), watch: monitored, ..jumping() }),
        host("sparse", TrainConfig { evaluate_every: Every::Steps(4), ..config() }),
        estimated(
            "tolerance",
            TrainConfig {
                tolerance: Some(0.02),
                record: vec![Record::Examples, Record::Weights],
                ..config()
            },
        ),
        estimated(
            "tolerance with everything",
            TrainConfig {
                tolerance: Some(0.05),
                complete_every: Some(Every::Steps(2)),
                record: vec![Record::Examples, Record::Weights],
                validation: validation.clone(),
                watch: patient.clone(),
                ema: Some(0.5),
                ..jumping()
            },
        ),
        host("every epoch", TrainConfig { evaluate_every: Every::EPOCH, ema: Some(0.5), ..config() }),
    ];
    // Long enough to be recorded.
    let on_device = |name, config: TrainConfig| {
        let config = TrainConfig { length: Length::Steps(21), ..config };
        Case { name, config, dropout: 0.0, recorded: true, images: 12 }
    };
    let everything = TrainConfig {
        schedule: one_cycle.clone(),
        method: adamw,
        ema: Some(0.9),
        validation,
        augment: augment.clone(),
        ..config()
    };
    let recorded = vec![
        on_device("recorded momentum", TrainConfig { method: sgd(0.9, true), ..config() }),
        on_device("recorded nadam", weighted(TrainConfig { method: nadam, ..config() })),
        on_device(
            "recorded muon",
            TrainConfig { method: muon, schedule: one_cycle.clone(), ema: Some(0.9), ..config() },
        ),
        on_device("recorded adam", TrainConfig { watch: best, ..config() }),
        on_device("recorded with everything", everything),
        on_device("recorded falling", falling(config())),
    ];
    cases.into_iter().chain(recorded).collect()
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

/// All but the seconds is the same, to the last bit.
pub fn assert_same(a: &RunState, b: &RunState, what: &str) {
    assert_eq!(a.json, b.json, "{what}");
    assert!(a.tensors.keys().eq(b.tensors.keys()), "{what}");
    for (name, tensor) in &a.tensors {
        let other = &b.tensors[name];
        assert_eq!(tensor.size(), other.size(), "{what}: {name}");
        assert!(name.ends_with("_seconds") || bytes(tensor) == bytes(other), "{what}: {name}");
    }
}

#[test]
fn a_run_that_is_cut_at_any_step_goes_on_to_the_last_bit() {
    compute_alone(); // threads would mostly wait for each other: the tensors are tiny
    for case in cases() {
        let whole = case.run(None, &mut Nobody).unwrap();
        let mut uncut = Keeper::default();
        case.run(None, &mut uncut).unwrap();
        assert_eq!(uncut.states.len(), whole.history.train_loss.len(), "{}", case.name);
        let estimates =
            whole.history.test.images_measured.iter().filter(|images| **images < case.images as i64);
        assert_eq!(estimates.count() > 0, case.config.tolerance.is_some(), "{}", case.name);
        assert!(whole.on_device.as_ref().is_none_or(|report| report.graphs), "{}", case.name);
        for (index, state) in uncut.states.iter().enumerate() {
            let what = format!("{} after {} steps", case.name, index + 1);
            let state = state.copied().unwrap();
            let mut cut = Keeper::default();
            let outcome = case.run(Some(&state), &mut cut).unwrap();
            assert_eq!(cut.states.len(), uncut.states.len() - index - 1, "{what}");
            for (there, here) in cut.states.iter().zip(&uncut.states[index + 1..]) {
                assert_same(there, here, &what);
            }
            let (there, here) = (&outcome.history, &whole.history);
            assert_eq!(there.train_loss, here.train_loss, "{what}");
            assert_eq!(there.requested, here.requested, "{what}");
            assert_eq!((&there.eval_step, &there.lr), (&here.eval_step, &here.lr), "{what}");
            assert_eq!((&there.test.loss, &there.confusion), (&here.test.loss, &here.confusion), "{what}");
            assert_eq!((&there.predictions, &there.losses), (&here.predictions, &here.losses), "{what}");
            assert_eq!(there.examples, here.examples, "{what}");
            assert!(there.states.is_some() && there.states == here.states, "{what}");
            assert_eq!(here.examples.len(), 6, "{what}");
            let (there, here) = (there.passes.as_ref().unwrap(), here.passes.as_ref().unwrap());
            assert_eq!(there.bits(), here.bits(), "{what}");
            assert!(!here.step.is_empty(), "{what}");
            let (there, here) = (&outcome.history, &whole.history);
            assert_eq!(there.test.accuracy_error, here.test.accuracy_error, "{what}");
            assert_eq!(there.eval_seconds.len(), here.eval_seconds.len(), "{what}");
            assert_eq!(
                (&outcome.model.tensors, outcome.model_step),
                (&whole.model.tensors, whole.model_step)
            );
            assert_eq!(std::mem::discriminant(&outcome.end), std::mem::discriminant(&whole.end), "{what}");
        }
    }
}

// It measures beside the next step, so that there is nothing to save.
#[test]
fn a_device_measures_all_images_whatever_the_tolerance() {
    let config = TrainConfig {
        tolerance: Some(0.1),
        record: vec![Record::Examples, Record::Weights],
        length: Length::Steps(21),
        ..config()
    };
    let case = Case { name: "", config, dropout: 0.0, recorded: true, images: 1200 };
    let outcome = case.run(None, &mut Nobody).unwrap();
    assert!(outcome.on_device.is_some_and(|report| report.graphs));
    assert_eq!(outcome.history.test.images_measured, [1200; 22]);
}

fn a_state() -> (Case, RunState) {
    let case = Case { name: "", config: config(), dropout: 0.0, recorded: false, images: 12 };
    let mut keeper = Keeper::default();
    case.run(None, &mut keeper).unwrap();
    (case, keeper.states.remove(2))
}

#[test]
fn the_state_of_another_run_is_refused() {
    let (case, state) = a_state();
    let refused = |case: &Case, state: &RunState| match case.run(Some(state), &mut Nobody) {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.to_string(),
    };
    let other = |config| Case { config, name: "", ..case };
    let message = refused(&other(TrainConfig { batch_size: 7, ..config() }), &state);
    assert!(message.contains("its batch_size was 8, and is 7 here"), "{message}");
    let message = refused(&other(TrainConfig { validation: vec![0], ..config() }), &state);
    assert!(message.contains("its validation was [], and is [0] here"), "{message}");
    let message = refused(&Case { dropout: 0.1, ..other(config()) }, &state);
    assert!(message.contains("its network was another one"), "{message}");
    let message = refused(&Case { recorded: true, ..other(config()) }, &state);
    assert!(message.contains("its device was \"a CPU\", and is \"a GPU\" here"), "{message}");
    let mut data = dataset(12);
    data.test = host::split(13, 90);
    let from = Some(state.copied().unwrap());
    let more = train_with(&model(0.0), &data, &config(), Device::Cpu, None, from, &mut Nobody);
    assert!(more.err().unwrap().to_string().contains("its test images was"));

    let (_, mut state) = a_state();
    let shape = Tensor::zeros([3], (tch::Kind::Float, Device::Cpu));
    let first = state.tensors.insert("optimizer.first.0".to_string(), shape).unwrap();
    let message = refused(&case, &state);
    assert!(message.contains("optimizer.first.0 of shape (3,)"), "{message}");
    state.tensors.remove("optimizer.first.0");
    assert!(refused(&case, &state).contains("lacks optimizer.first.0"));
    state.tensors.insert("optimizer.first.0".to_string(), first);
    case.run(Some(&state), &mut Nobody).unwrap();
    state.json = serde_json::json!({"taken": 3});
    assert!(refused(&case, &state).contains("not the state of a run"));
    let whole = state.packed().unwrap().to_bytes().unwrap();
    assert_eq!(RunState::from_safetensors(&whole).unwrap().json, state.json);
    let endless = [&u64::MAX.to_le_bytes(), &whole[8..]].concat();
    let longer = [&whole[..], &[0]].concat();
    for bytes in [&b""[..], b"my thesis", &whole[..whole.len() - 1], &longer, &endless] {
        let error = RunState::from_safetensors(bytes).unwrap_err().to_string();
        assert!(error.contains("not the state of a run"), "{error}");
    }
}

#[test]
fn what_a_run_would_have_given_is_made_of_a_part_of_its_state() {
    let watch = WatchConfig { keep_best: true, ..WatchConfig::NONE };
    let case = Case {
        name: "",
        config: TrainConfig { watch, ..config() },
        dropout: 0.0,
        recorded: false,
        images: 12,
    };
    let mut keeper = Keeper::default();
    case.run(None, &mut keeper).unwrap();
    let state = keeper.states.pop().unwrap();
    let whole = state.packed().unwrap().to_bytes().unwrap();
    let part = RunState::read_outcome(whole.len(), |range| Ok(&whole[range])).unwrap();
    let beginning = model(0.0);
    assert_eq!(part.model(&beginning).unwrap().tensors, state.model(&beginning).unwrap().tensors);
    assert_eq!(part.arrays(), state.arrays());
    assert!(!part.tensors.keys().any(|name| name.starts_with("weights.") || name.starts_with("optimizer.")));
}

#[test]
fn images_are_measured_as_before() {
    let (case, mut state) = a_state();
    state.json["evaluation"][0]["chunk"] = 5.into();
    assert_eq!(case.run(Some(&state), &mut Nobody).unwrap().evaluation.strategy.chunk, 5);
}

/// Looks away before the first step.
struct Leaving;

impl Observer for Leaving {
    fn after_step(&mut self, _: &mut Step) -> Result<Next> {
        panic!("a step was taken")
    }

    fn glance(&mut self) -> Result<Next> {
        Ok(Next::Interrupt)
    }
}

#[test]
fn a_run_may_be_interrupted_before_its_first_step() {
    let case = Case { name: "", config: config(), dropout: 0.0, recorded: false, images: 12 };
    let outcome = case.run(None, &mut Leaving).unwrap();
    assert!(matches!(outcome.end, End::Interrupted));
    assert_eq!((outcome.history.train_loss.len(), outcome.history.eval_step), (0, vec![0]));
}

#[test]
fn a_state_without_its_whole_history_is_refused() {
    let refused = |change: &dyn Fn(&mut RunState)| {
        let (case, mut state) = a_state();
        change(&mut state);
        case.run(Some(&state), &mut Nobody).err().unwrap().to_string()
    };
    let message = refused(&|state| drop(state.tensors.remove("history.predictions")));
    assert!(message.contains("lacks history.predictions"), "{message}");
    let message = refused(&|state| {
        let short = state.tensors["history.train_loss"].narrow(0, 0, 2);
        state.tensors.insert("history.train_loss".to_string(), short);
    });
    assert!(message.contains("3 numbers of train_loss: 2 are given"), "{message}");
}

#[test]
fn a_run_is_made_longer_where_its_rate_does_not_depend_on_that() {
    let longer = |config: TrainConfig, steps| {
        let (case, mut state) = a_state();
        let schedule = serde_json::to_value(&config.schedule).unwrap();
        state.json["of"]["schedule"] = schedule;
        let config = TrainConfig { length: Length::Steps(steps), ..config };
        Case { config, ..case }.run(Some(&state), &mut Nobody)
    };
    let outcome = longer(config(), 9).unwrap();
    let whole = Case { config: TrainConfig { length: Length::Steps(9), ..config() }, ..a_state().0 };
    let whole = whole.run(None, &mut Nobody).unwrap();
    assert_eq!(outcome.model.tensors, whole.model.tensors);
    assert_eq!(outcome.history.test.loss, whole.history.test.loss);
    let message = longer(config(), 2).err().unwrap().to_string();
    assert!(message.contains("taken 3 steps already, and is to take 2"), "{message}");
    let cosine = TrainConfig { schedule: Schedule::Cosine { min_lr: 0.0 }, ..config() };
    let message = longer(cosine, 9).err().unwrap().to_string();
    assert!(message.contains("the learning rate of this run is laid out over all of its steps"), "{message}");
    let falling = Some(Schedule::Cosine { min_lr: 0.0 });
    let falling = TrainConfig { label_smoothing: 0.1, label_smoothing_schedule: falling, ..config() };
    let message = longer(falling, 9).err().unwrap().to_string();
    assert!(message.contains("label smoothing of this run is laid out over all of its steps"), "{message}");
}

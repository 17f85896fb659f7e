//! Recorded runs against runs without recording, and those against the host's, all on the CPU.

use std::sync::Arc;

use tch::Device;

use crate::data::{Augment, Dataset};
use crate::error::Result;
use crate::libtorch::rehearsal::Rehearsal;
use crate::libtorch::Gpu;
use crate::network::Model;
use crate::network::{builders, Normalization};
use crate::train::dropout::{step_seed, tests::generator};
use crate::train::training_loop::tests as host;
use crate::train::Observer;
use crate::train::{
    train_with, Checkpoints, End, Every, History, Length, Method, Monitor, Next, Outcome, Record, Schedule,
    Step, TrainConfig, WatchConfig,
};

#[derive(Default)]
struct Watcher {
    until: Option<(usize, Next)>,
    notices: Vec<(bool, String)>,
    /// Mean of the first weights as seen after each step, and the newest test loss.
    seen: Vec<(f64, f32)>,
}

impl Observer for Watcher {
    fn after_step(&mut self, step: &mut Step) -> Result<Next> {
        let Some((at, next)) = self.until else { return Ok(Next::Continue) };
        let weights = step.model().tensors[0].f_mean(tch::Kind::Double)?.f_double_value(&[])?;
        let loss = step.complete_history()?.test.loss.last().copied().unwrap_or_default();
        self.seen.push((weights, loss));
        Ok(if step.taken == at { next } else { Next::Continue })
    }

    fn notice(&mut self, should: bool, text: &str) {
        self.notices.push((should, text.to_string()));
    }
}

/// 7 whole batches of 8 and one of 4 in each epoch.
fn dataset() -> Dataset {
    let normalization = Normalization::new(vec![0.5], vec![0.3]).unwrap();
    Dataset { train: host::split(60, 0), test: host::split(30, 90), classes: 10, normalization }
}

/// 72 steps, each measured: more than a block of history on a GPU holds.
fn config() -> TrainConfig {
    TrainConfig {
        length: Length::Epochs(9),
        batch_size: 8,
        method: Method::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.01 },
        lr: 0.01,
        record: vec![Record::Predictions, Record::Losses, Record::Examples, Record::GradNorm],
        measure_training: 5,
        ..host::config()
    }
}

/// Without dropout: its masks come from a generator that tests beside this one use too. Below they are asked for.
fn model() -> Model {
    let small = builders::Lenet5 { batch_norm: true, dropout: 0.0, ..Default::default() };
    Model::initialize(builders::lenet5(&small).unwrap(), 0).unwrap()
}

fn run(config: &TrainConfig, gpu: Option<Rehearsal>, watcher: &mut Watcher) -> Outcome {
    let gpu = gpu.map(|gpu| Arc::new(gpu) as Arc<dyn Gpu>);
    train_with(&model(), &dataset(), config, Device::Cpu, gpu, None, watcher).unwrap()
}

fn recorded(config: &TrainConfig) -> Outcome {
    let outcome = run(config, Some(Rehearsal::default()), &mut Watcher::default());
    assert!(outcome.on_device.as_ref().unwrap().graphs, "{:?}", outcome.on_device);
    outcome
}

/// On the device, without recording.
fn eager(config: &TrainConfig) -> Outcome {
    let unwilling = Rehearsal::failing_at(Some(0));
    let outcome = run(config, Some(unwilling), &mut Watcher::default());
    assert!(!outcome.on_device.as_ref().unwrap().graphs);
    outcome
}

fn assert_same(a: &Outcome, b: &Outcome) {
    let (one, other) = (&a.history, &b.history);
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>(); // NaN too
    assert_eq!(bits(&one.train_loss), bits(&other.train_loss));
    assert_eq!(one.train_accuracy, other.train_accuracy);
    let requested = |history: &History| -> Vec<_> {
        history.requested.iter().map(|(name, values)| (*name, bits(values))).collect()
    };
    assert_eq!(requested(one), requested(other));
    assert_eq!(one.lr, other.lr);
    assert_eq!(one.eval_step, other.eval_step);
    assert_eq!(bits(&one.test.loss), bits(&other.test.loss));
    assert_eq!(one.test.accuracy, other.test.accuracy);
    assert_eq!(one.test.class_accuracy(), other.test.class_accuracy());
    assert_eq!(one.predictions, other.predictions);
    let halves = |history: &History| -> Vec<_> {
        history.losses.iter().flatten().map(|value| value.to_bits()).collect()
    };
    assert_eq!(halves(one), halves(other));
    assert_eq!(one.examples.len(), 6);
    assert_eq!(one.passes.as_ref().unwrap().bits(), other.passes.as_ref().unwrap().bits());
    assert_eq!(one.examples, other.examples);
    assert_eq!(one.confusion, other.confusion);
    let losses = |history: &crate::train::History| history.validation.as_ref().map(|v| v.loss.clone());
    assert_eq!(losses(one), losses(other));
    if one.diverged_at.is_none() {
        assert_eq!(a.model.tensors, b.model.tensors);
    }
    assert_eq!(a.model_step, b.model_step);
    assert_eq!(std::mem::discriminant(&a.end), std::mem::discriminant(&b.end));
}

fn variants() -> Vec<(&'static str, TrainConfig)> {
    let betas = (0.9, 0.999);
    let augment = r#"{"shift": 2, "rotate": 5, "scale": 0.1, "shear": 2, "elastic": 0.5, "elastic_sigma": 4, "erase": 0.5,
        "erase_area": [0.02, 0.2]}"#;
    let best =
        WatchConfig { keep_best: true, monitor: Monitor::TestLoss, patience: Some(40), min_delta: 0.0 };
    let [rmsprop, nadam, lion, muon] = [3, 4, 5, 6].map(|at: usize| Method::ALL[at]);
    let class_weight: Option<Vec<f64>> = Some((0..10).map(|class| 0.5 + f64::from(class)).collect());
    let falling = |class_weight| TrainConfig {
        augment: Some(Augment::from_json(augment).unwrap()),
        augment_schedule: Some(Schedule::Linear { final_lr: 0.0, begin: 0.1, end: 0.6 }),
        label_smoothing: 0.3,
        label_smoothing_schedule: Some(Schedule::Linear { final_lr: 0.0, begin: 0.0, end: 0.8 }),
        class_weight,
        ..config()
    };
    vec![
        ("sgd", config()),
        ("rmsprop", TrainConfig { method: rmsprop, lr: 1e-4, ..config() }),
        ("nadam", TrainConfig { method: nadam, lr: 1e-3, ..config() }),
        (
            "one cycle with nadam",
            TrainConfig { method: nadam, lr: 1e-3, schedule: host::one_cycle(), ..config() },
        ),
        ("lion", TrainConfig { method: lion, lr: 1e-4, ..config() }),
        ("muon", TrainConfig { method: muon, lr: 1e-3, schedule: host::one_cycle(), ..config() }),
        ("clipped", TrainConfig { clip_grad_norm: Some(0.5), ..config() }),
        ("weighted", TrainConfig { class_weight: class_weight.clone(), label_smoothing: 0.1, ..config() }),
        ("adam", TrainConfig { method: Method::Adam { betas, eps: 1e-8, weight_decay: 0.01 }, ..config() }),
        ("one cycle", TrainConfig { schedule: host::one_cycle(), ..config() }),
        (
            "one cycle with adamw",
            TrainConfig {
                schedule: host::one_cycle(),
                method: Method::AdamW { betas, eps: 1e-8, weight_decay: 0.01 },
                ..config()
            },
        ),
        ("sparse", TrainConfig { evaluate_every: Every::Steps(7), ..config() }),
        ("every epoch", TrainConfig { evaluate_every: Every::EPOCH, ..config() }),
        ("average", TrainConfig { ema: Some(0.9), label_smoothing: 0.1, ..config() }),
        ("validation", TrainConfig { validation: (0..10).map(|i| i * 4).collect(), ..config() }),
        ("watched", TrainConfig { watch: best, ..config() }),
        ("augmented", TrainConfig { augment: Some(Augment::from_json(augment).unwrap()), ..config() }),
        ("falling", falling(None)),
        ("falling and weighted", falling(class_weight.clone())),
        (
            "cut short",
            TrainConfig { length: Length::Steps(37), evaluate_on: Some((0..12).collect()), ..config() },
        ),
        ("divergent", TrainConfig { lr: 1e30, ..config() }),
    ]
}

#[test]
fn recorded_runs_are_the_runs_without_recording() {
    for (name, config) in variants() {
        let (there, here) = (recorded(&config), eager(&config));
        println!("{name}: {} steps", there.history.train_loss.len());
        assert_same(&there, &here);
    }
}

// The host's stepper and evaluators are tested against PyTorch. The plans differ in how weights are packed, and the kernels
// of the optimizers in how they round; so these are compared before that has grown, over the first 21 steps.
#[test]
fn they_are_the_hosts_runs() {
    for (name, config) in variants() {
        let (there, here) = (eager(&config), run(&config, None, &mut Watcher::default()));
        let (there, here) = (there.history, here.history);
        assert_eq!(there.eval_step, here.eval_step, "{name}");
        if name != "divergent" {
            assert_eq!(there.lr, here.lr, "{name}");
        }
        let looks = |history: &History| -> Vec<_> {
            let votes = history.examples.iter().filter(|(name, _)| name.ends_with("votes"));
            votes
                .map(|(_, votes)| votes.sum_dim_intlist([1i64].as_slice(), false, tch::Kind::Int64))
                .collect()
        };
        assert!(name == "divergent" || looks(&there) == looks(&here), "{name}");
        let measured = here.eval_step.iter().filter(|step| **step <= 21).count();
        let first = |values: &[f32], count: usize| values[..values.len().min(count)].to_vec();
        let pairs =
            [(&there.train_loss, &here.train_loss, 21), (&there.test.loss, &here.test.loss, measured)];
        for (a, b) in pairs.map(|(a, b, count)| (first(a, count), first(b, count))) {
            let same = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-3 * b.abs() || (a.is_nan() && b.is_nan());
            assert!(name == "divergent" || a.iter().zip(&b).all(same), "{name}: {a:?} {b:?}");
        }
    }
}

#[test]
fn whole_batches_and_measurements_are_replayed() {
    let gpu = Arc::new(Rehearsal::default());
    let mut watcher = Watcher::default();
    train_with(&model(), &dataset(), &config(), Device::Cpu, Some(gpu.clone()), None, &mut watcher).unwrap();
    let log = gpu.log();
    assert_eq!(log.captured, 3);
    assert_eq!(log.replayed, [9 * 7, 2 * 73]); // and 9 short batches without
    assert_eq!(watcher.notices.len(), 1);
    assert!(!watcher.notices[0].0, "{:?}", watcher.notices);
}

// With the masks of each step seeded before it, recorded or not, equal masks are libtorch's affair.
#[test]
fn dropouts_random_numbers_are_those_of_the_step_recorded_or_not() {
    let dropping = builders::Lenet5 { dropout: 0.5, ..Default::default() };
    let dropping = Model::initialize(builders::lenet5(&dropping).unwrap(), 0).unwrap();
    let _alone = generator();
    let seeds = |model: &Model, fails_at: Option<usize>| {
        let gpu = Arc::new(Rehearsal::failing_at(fails_at));
        let observer = &mut Watcher::default();
        train_with(model, &dataset(), &config(), Device::Cpu, Some(gpu.clone()), None, observer).unwrap();
        let seeds = gpu.log().seeds.clone();
        seeds
    };
    let steps = (0..72).map(|step| step_seed(config().seed, step));
    let expected: Vec<u64> = std::iter::once(step_seed(config().seed, 0)).chain(steps).collect(); // rehearsals first
    assert_eq!(seeds(&dropping, None), expected);
    assert_eq!(seeds(&dropping, Some(0)), expected);
    assert!(seeds(&model(), None).is_empty());
}

#[test]
fn a_recording_that_fails_is_told_and_nothing_is_lost() {
    let expected = eager(&config());
    for fails_at in 0..3 {
        let mut watcher = Watcher::default();
        let gpu = Rehearsal::failing_at(Some(fails_at));
        let outcome = run(&config(), Some(gpu), &mut watcher);
        let report = outcome.on_device.as_ref().unwrap();
        assert!(!report.graphs && report.reason.as_ref().unwrap().contains("cannot be recorded"));
        assert!(matches!(watcher.notices.as_slice(), [(true, text)] if text.contains("cannot be recorded")));
        assert_same(&outcome, &expected);
    }
}

#[test]
fn short_runs_are_not_recorded() {
    let mut watcher = Watcher::default();
    let short = TrainConfig { length: Length::Steps(19), ..config() };
    let report = run(&short, Some(Rehearsal::default()), &mut watcher).on_device.unwrap();
    assert!(report.reason.unwrap().contains("19 steps") && !report.graphs);
}

#[test]
fn observers_see_every_step_and_may_end_the_run() {
    for next in [Next::Stop, Next::Interrupt] {
        let sparse = TrainConfig { evaluate_every: Every::Steps(3), ..config() };
        let outcomes = [None, Some(0)].map(|fails_at| {
            let mut watcher = Watcher { until: Some((70, next)), ..Default::default() };
            let outcome = run(&sparse, Some(Rehearsal::failing_at(fails_at)), &mut watcher);
            (outcome, watcher.seen)
        });
        let [(there, saw), (here, expected)] = &outcomes;
        assert_same(there, here);
        assert_eq!(saw, expected);
        assert_eq!(there.history.train_loss.len(), 70);
        let expected = if next == Next::Stop { 70 } else { 69 };
        assert_eq!(there.history.eval_step.last(), Some(&expected));
        assert!(matches!(there.end, End::Stopped | End::Interrupted));
    }
}

#[test]
fn checkpoints_hold_the_weights_of_their_step() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let with = |folder: &tempfile::TempDir| {
        let checkpoints = Checkpoints { folder: folder.path().to_path_buf(), every: Every::Steps(25) };
        TrainConfig { checkpoints: Some(checkpoints), ema: Some(0.5), ..config() }
    };
    assert_same(&recorded(&with(&folders[0])), &eager(&with(&folders[1])));
    for step in [25, 50] {
        let name = format!("step_{step:06}.safetensors");
        let [a, b] = [0, 1].map(|at: usize| Model::load(&folders[at].path().join(&name)).unwrap());
        assert_eq!(a.tensors, b.tensors);
    }
}

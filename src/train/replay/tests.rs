//! Steps that are taken again, against those of the run itself.

use std::sync::Arc;

use tch::{Device, Tensor};

use super::{Change, Effects, Replay};
use crate::data::Augment;
use crate::error::Result;
use crate::libtorch::{compute_alone, rehearsal::Rehearsal, Gpu};
use crate::network::{Activation, Conv2d, Dropout, Layer, Linear, Model, Network, Pool2d, Residual};
use crate::train::session::tests::{assert_same, cases, config, dataset, Case};
use crate::train::{train_with, History, Kernels, Method, Next, Observer, RunState, Step, TrainConfig};

/// Keeps a waypoint after every step; as an observer of a replay it does nothing.
#[derive(Default)]
struct Keeper(Vec<RunState>);

impl Observer for Keeper {
    fn after_step(&mut self, step: &mut Step) -> Result<Next> {
        self.0.push(step.waypoint()?);
        Ok(Next::Continue)
    }
}

fn without(places: &[usize]) -> Change {
    Change { without: places.to_vec(), ..Change::default() }
}

fn null() -> Change {
    Change { null: true, ..Change::default() }
}

impl Case {
    fn kept(&self) -> (Vec<RunState>, History) {
        let mut keeper = Keeper::default();
        let outcome = self.run(None, &mut keeper).unwrap();
        (keeper.0, outcome.history)
    }

    fn replay<'a>(
        &self,
        from: &RunState,
        recorded: &'a [f32],
        observer: &'a mut Keeper,
    ) -> Result<Replay<'a>> {
        let gpu = self.recorded.then(|| Arc::new(Rehearsal::default()) as Arc<dyn Gpu>);
        Replay::new(from.copied()?, &dataset(self.images), Device::Cpu, gpu, recorded, observer)
    }
}

#[test]
fn a_replay_is_the_run_to_the_last_bit_whatever_was_tried_between() {
    compute_alone(); // threads would mostly wait for each other: the tensors are tiny
    for case in cases() {
        let (kept, history) = case.kept();
        let (from, step) = (kept.len() - 4, kept.len() - 2); // steps taken before are from + 1 and step
        let mut nobody = Keeper::default();
        let mut replay = case.replay(&kept[from], &history.train_loss, &mut nobody).unwrap();
        let other_rate = Change { lr: Some(0.5), ..Change::default() };
        let changes = [null(), without(&[0, 2]), other_rate, Change::default()];
        let found = replay.otherwise(step, &changes, 1).unwrap().ways;
        for (seen, taken) in found[3].iter().zip([step + 1, step + 2]) {
            let measured = history.eval_step.iter().position(|at| *at == taken as i64);
            let complete = measured.filter(|at| history.test.images_measured[*at] == case.images as i64);
            // A device measures by another plan, whose last digits are others.
            if let Some(at) = complete.filter(|_| !case.recorded) {
                assert_eq!(seen.loss as f32, history.test.loss[at], "{}", case.name);
            }
        }
        let differs = |a: usize, b: usize| found[a][0].losses != found[b][0].losses;
        assert!((0..3).all(|one| differs(one, 3)) && differs(0, 1), "{}", case.name);
        replay.go_to(step + 2).unwrap();
        assert_same(&replay.session.waypoint().unwrap(), &kept[step + 1], case.name);
    }
}

/// Plain descent on a network without batch norm, with dropout and augmentation.
fn plain(kernels: Kernels) -> (TrainConfig, Model) {
    let method = Method::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let augment = r#"{"shift": 2, "rotate": 5, "scale": 0.1, "shear": 2, "elastic": 0.5, "elastic_sigma": 4, "erase": 0.5,
        "erase_area": [0.02, 0.2]}"#;
    let augment = Some(Augment::from_json(augment).unwrap());
    let layers = vec![
        Layer::Conv2d(Conv2d::new(1, 4, 5).stride(4)),
        Layer::Activation(Activation::Relu),
        Layer::Dropout2d(Dropout { p: 0.3 }),
        Layer::MaxPool2d(Pool2d::new(2, 2, 0)),
        Layer::Flatten,
        Layer::Dropout(Dropout { p: 0.3 }),
        Layer::Residual(Residual {
            body: vec![Layer::Linear(Linear::new(36, 36)), Layer::StochasticDepth(Dropout { p: 0.4 })],
            shortcut: vec![],
            activation: None,
        }),
        Layer::Linear(Linear::new(36, 10)),
    ];
    let model = Model::initialize(Network::new("plain", [1, 28, 28], layers).unwrap(), 0).unwrap();
    let TrainConfig { length, batch_size, seed, .. } = config();
    let config =
        TrainConfig { method, kernels, augment, lr: 0.1, length, batch_size, seed, ..TrainConfig::default() };
    (config, model)
}

/// All weights in one vector.
fn weights(state: &RunState) -> Tensor {
    let parts = state.tensors.iter().filter(|(name, _)| name.starts_with("weights."));
    let parts = parts.map(|(_, tensor)| tensor.flatten(0, -1).to_kind(tch::Kind::Double));
    Tensor::cat(&parts.collect::<Vec<_>>(), 0)
}

// The step goes along the mean gradient of N images; each is left out once, so that the steps without them go along N - 1
// such gradients together. That holds only if the others keep weight, augmentation and masks.
#[test]
fn steps_without_each_image_add_up() {
    let weights_of_classes: Vec<f64> = (0..10).map(|class| 0.5 + f64::from(class)).collect();
    for (kernels, class_weight) in [
        (Kernels::Exact, None),
        (Kernels::Fused, None),
        (Kernels::Exact, Some(weights_of_classes.clone())),
        (Kernels::Fused, Some(weights_of_classes)),
    ] {
        let (config, model) = plain(kernels);
        let label_smoothing = if class_weight.is_some() { 0.2 } else { 0.0 };
        let config = TrainConfig { class_weight, label_smoothing, ..config };
        let mut keeper = Keeper::default();
        let data = dataset(12);
        let outcome = train_with(&model, &data, &config, Device::Cpu, None, None, &mut keeper).unwrap();
        let mut nobody = Keeper::default();
        let losses = &outcome.history.train_loss;
        let first = keeper.0[0].copied().unwrap();
        let mut replay = Replay::new(first, &data, Device::Cpu, None, losses, &mut nobody).unwrap();
        let start = weights(&keeper.0[0]);
        let mut moved = start.zeros_like();
        for place in 0..8 {
            replay.step(&without(&[place])).unwrap();
            moved += weights(&replay.session.waypoint().unwrap()) - &start;
            replay.go_back(&keeper.0[0]).unwrap();
        }
        let whole = (weights(&keeper.0[1]) - &start) * 7.0;
        let gap = (&moved - &whole).abs().max().double_value(&[]);
        assert!(whole.abs().max().double_value(&[]) > 0.01 && gap < 1e-5, "{kernels:?}: {gap}");
        // and a null step goes nowhere
        let found = replay.otherwise(1, &[null()], 0).unwrap();
        assert_eq!((found.ways[0].len(), &found.ways[0][0].losses), (1, &found.before.losses));
        replay.step(&null()).unwrap();
        assert_eq!(weights(&replay.session.waypoint().unwrap()), start);
    }
}

#[test]
fn a_null_step_is_momentum_alone_and_batch_norm_sees_the_batch() {
    let method = Method::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    let config = TrainConfig { method, lr: 0.1, ..config() };
    let case = Case { name: "", config, dropout: 0.0, recorded: false, images: 12 };
    let (kept, history) = case.kept();
    let mut nobody = Keeper::default();
    let mut replay = case.replay(&kept[2], &history.train_loss, &mut nobody).unwrap();
    replay.step(&null()).unwrap();
    let after = replay.session.waypoint().unwrap();
    // torch.optim.SGD: buffer = momentum · buffer + gradient; weights -= lr · buffer
    let names = [
        "weights.0.weight",
        "weights.1.weight",
        "weights.1.bias",
        "weights.2.body.1.weight",
        "weights.2.body.1.bias",
        "weights.2.body.3.weight",
        "weights.2.body.3.bias",
        "weights.8.weight",
    ];
    for (index, name) in names.iter().enumerate() {
        let buffer = &kept[2].tensors[&format!("optimizer.first.{index}")];
        let expected = &kept[2].tensors[*name] - buffer * (0.9 * 0.1);
        assert!(expected.allclose(&after.tensors[*name], 1e-6, 1e-7, false), "{name}");
    }
    let mean = "weights.1.running_mean";
    assert_eq!(after.tensors[mean], kept[3].tensors[mean]); // as in the real step
    assert_ne!(after.tensors[mean], kept[2].tensors[mean]);
}

#[test]
fn effects_are_steps_against_null_steps() {
    let case = Case { name: "", config: config(), dropout: 0.0, recorded: false, images: 12 };
    let (kept, history) = case.kept();
    let (mut one, mut other) = (Keeper::default(), Keeper::default());
    let replay = case.replay(&kept[0], &history.train_loss, &mut one).unwrap();
    let mut effects = Effects::new(replay, 10).unwrap();
    for step in [2, 3, 5] {
        let effect = effects.of(step).unwrap();
        let mut replay = case.replay(&kept[0], &history.train_loss, &mut other).unwrap();
        let found = replay.otherwise(step, &[null(), Change::default()], 0).unwrap().ways;
        let [without, with] = [&found[0][0], &found[1][0]];
        let changes = (&with.losses - &without.losses).to_kind(tch::Kind::Double);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(effect.loss, changes.mean(tch::Kind::Double).double_value(&[])));
        assert!(close(effect.loss_error, changes.std(true).double_value(&[]) / 12f64.sqrt()));
        // Labels of the test images are 0 to 9, 0, 1.
        assert!(close(
            effect.class_loss[1],
            (changes.double_value(&[1]) + changes.double_value(&[11])) / 2.0
        ));
        assert!(close(effect.class_loss[5], changes.double_value(&[5])));
        let labels = dataset(12).test.labels;
        let right = |seen: &crate::evaluate::Seen| {
            seen.predictions.eq_tensor(&labels).sum(tch::Kind::Int64).int64_value(&[])
        };
        assert_eq!(effect.gained - effect.lost, right(with) - right(without));
        let at = |taken: usize| history.test.loss[taken];
        assert_eq!((effect.before as f32, effect.after as f32), (at(step), at(step + 1)));
    }
}

#[test]
fn what_cannot_be_replayed_is_refused() {
    let case = Case { name: "", config: config(), dropout: 0.5, recorded: false, images: 12 };
    let (kept, history) = case.kept();
    let message = |result: Result<()>| result.unwrap_err().to_string();
    let taken = |change: Change| -> Result<()> {
        let mut nobody = Keeper::default();
        let mut replay = case.replay(&kept[0], &history.train_loss, &mut nobody)?;
        replay.otherwise(1, &[change], 0).map(drop)
    };
    assert!(message(taken(without(&[8]))).contains("place 8 is to be left out of a batch of 8 images"));
    assert!(message(taken(without(&[0, 1, 2, 3, 4, 5, 6, 7]))).contains("null step"));

    let mut other = history.train_loss.clone();
    other[3] += 1e-6;
    let mut nobody = Keeper::default();
    let mut replay = case.replay(&kept[0], &other, &mut nobody).unwrap();
    let error = message(replay.go_to(5));
    assert!(error.contains("the batch of step 3 had a training loss of"), "{error}");

    let device = Case { recorded: true, ..case };
    let (kept, history) = device.kept();
    let mut nobody = Keeper::default();
    let mut replay = device.replay(&kept[0], &history.train_loss, &mut nobody).unwrap();
    assert!(message(replay.otherwise(1, &[without(&[1])], 0).map(drop)).contains("dropout on a GPU"));

    let mut nobody = Keeper::default();
    let mut state = kept[0].copied().unwrap();
    state.json["of"]["network"] = 3.into();
    let refused = device.replay(&state, &[], &mut nobody).err().unwrap().to_string();
    assert!(refused.contains("does not say what run it is of"), "{refused}");
}

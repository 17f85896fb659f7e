//! The fused pass against autograd.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Reduction};

use super::*;
use crate::network::{
    builders, drawing, forward, forward_in_double, random_network, Activation, BatchNorm, Conv2d, Gate,
    Layer, Linear, Model, Residual,
};

/// Logits, then the gradients of the parameters, then the running statistics.
type Results = Vec<Tensor>;

fn loss(logits: &Tensor, labels: &Tensor) -> Tensor {
    logits.cross_entropy_loss(labels, None::<&Tensor>, Reduction::Mean, -100, 0.0)
}

fn by_autograd(model: &Model, x: &Tensor, labels: &Tensor, kind: Kind) -> Results {
    let tensors: Vec<Tensor> = (model.specs.iter().zip(&model.tensors))
        .map(|(spec, tensor)| {
            let float = tensor.kind() == Kind::Float;
            let tensor = if float { tensor.detach().to_kind(kind).copy() } else { tensor.copy() };
            tensor.set_requires_grad(spec.trainable)
        })
        .collect();
    let layers = &model.network.layers;
    let logits = match kind {
        Kind::Double => forward_in_double(layers, &tensors, &x.to_kind(kind)).unwrap(),
        _ => forward(layers, &tensors, x, Precision::Float32).unwrap(),
    };
    let pairs = || model.specs.iter().zip(&tensors);
    let parameters: Vec<&Tensor> = pairs().filter(|(spec, _)| spec.trainable).map(|(_, t)| t).collect();
    let gradients = Tensor::run_backward(&[&loss(&logits, labels)], &parameters, false, false);
    let statistics = pairs().filter(|(spec, _)| !spec.trainable).map(|(_, t)| t.shallow_clone());
    std::iter::once(logits.detach()).chain(gradients).chain(statistics).collect()
}

fn by_ours(model: &Model, x: &Tensor, labels: &Tensor, precision: Precision) -> Results {
    let model = model.to_device(Device::Cpu).unwrap();
    let fused = Fused::new(&model.network, precision);
    let (logits, tape) = fused.forward(&model.tensors, x).unwrap();
    let logits = logits.set_requires_grad(true);
    let dy = Tensor::run_backward(&[&loss(&logits, labels)], &[&logits], false, false).remove(0);
    let gradients = tape.backward(dy).unwrap();
    let gradients = gradients.into_iter().zip(&model.specs).filter_map(|(gradient, spec)| {
        assert_eq!(gradient.is_some(), spec.trainable, "{}", spec.name);
        gradient
    });
    let statistics = model.specs.iter().zip(&model.tensors).filter(|(spec, _)| !spec.trainable);
    std::iter::once(logits.detach())
        .chain(gradients)
        .chain(statistics.map(|(_, tensor)| tensor.shallow_clone()))
        .collect()
}

fn batch(network: &Network, images: i64) -> (Tensor, Tensor) {
    let size = network.input_shape;
    let labels = Tensor::arange(images, (Kind::Int64, Device::Cpu));
    let labels = labels.remainder(network.num_classes().unwrap());
    // Not libtorch's generator, which other tests draw from meanwhile.
    let mut random = ChaCha8Rng::seed_from_u64(images as u64);
    let count = images * size.iter().product::<i64>();
    let pixels: Vec<f32> = (0..count).map(|_| random.random_range(-1.7..1.7)).collect();
    (Tensor::from_slice(&pixels).view([images, size[0], size[1], size[2]]), labels)
}

fn rms(x: &Tensor) -> f64 {
    x.square().mean(Kind::Double).sqrt().double_value(&[])
}

/// Float64 by autograd is the truth, and ours may be away from it by some times as much as float32 by autograd is. No
/// fixed bound would do: some gradients are zero but for rounding, and where a value lies on the border of a ReLU or is
/// one of two maxima, rounding decides which way a gradient takes.
fn assert_as_good_as_autograd(network: &Network, images: i64) {
    let model = Model::initialize(network.clone(), 3).unwrap();
    let (x, labels) = batch(network, images);
    let truth = by_autograd(&model, &x, &labels, Kind::Double);
    let autograd = by_autograd(&model, &x, &labels, Kind::Float);
    let ours = by_ours(&model, &x, &labels, Precision::Float32);
    assert_eq!((truth.len(), autograd.len()), (ours.len(), ours.len()));
    let largest = truth.iter().map(|tensor| rms(&tensor.to_kind(Kind::Double))).fold(0.0, f64::max);
    for (index, ((ours, autograd), truth)) in ours.iter().zip(&autograd).zip(&truth).enumerate() {
        assert_eq!(ours.size(), truth.size());
        let [ours, autograd, truth] = [ours, autograd, truth].map(|tensor| tensor.to_kind(Kind::Double));
        let (error, usual) = (rms(&(ours - &truth)), rms(&(autograd - &truth)));
        let most = 100.0 * usual + 1e-4 * rms(&truth) + 1e-5 * largest;
        assert!(error <= most, "result {index}: {error}, autograd {usual}; {}", network.to_json());
    }
}

/// The layers without dropout and with a ReLU that bends little: of the many values in a large network some always lie on
/// its border, where rounding decides between gradients that differ by 1 - slope.
fn smoothed(layers: Vec<Layer>) -> Vec<Layer> {
    let leaky = |function| match function {
        Activation::Relu => Activation::LeakyRelu { negative_slope: 0.99 },
        other => other,
    };
    let smooth = |layer| match layer {
        Layer::Activation(function) => Layer::Activation(leaky(function)),
        Layer::Residual(Residual { body, shortcut, activation }) => Layer::Residual(Residual {
            body: smoothed(body),
            shortcut: smoothed(shortcut),
            activation: activation.map(leaky),
        }),
        Layer::Gate(Gate { body }) => Layer::Gate(Gate { body: smoothed(body) }),
        other => other,
    };
    layers.into_iter().filter(|layer| !matches!(layer, Layer::Dropout(_))).map(smooth).collect()
}

#[test]
fn networks_of_the_studies_have_autograds_gradients() {
    use builders::*;
    for (network, images) in [
        (lenet5(&Lenet5::default()), 64),
        (resnet(&Resnet::default()), 60),
        (resnet(&Resnet { stages: vec![16, 32], squeeze_excitation: Some(4), ..Resnet::default() }), 60),
        (kernel_net(&KernelNet::default()), 16),
        (wide_resnet(&WideResnet { pre_activation: true, ..WideResnet::default() }), 4),
        (convnet(&Convnet::default()), 4),
    ] {
        let network = network.unwrap();
        let layers = smoothed(network.layers);
        assert_as_good_as_autograd(&Network { layers, ..network }, images);
    }
}

#[test]
fn random_networks_have_autograds_gradients() {
    for seed in 0..150 {
        assert_as_good_as_autograd(&random_network(seed), 32);
    }
}

#[test]
fn maps_too_large_for_our_pooling_are_left_to_autograd() {
    let conv = Layer::Conv2d(crate::network::Conv2d::new(1, 3, 3));
    let last = Layer::Linear(crate::network::Linear::new(3, 5));
    let layers = vec![conv, Layer::GlobalMaxPool, last];
    assert_as_good_as_autograd(&Network::new("large", [1, 190, 190], layers).unwrap(), 4);
}

// Against float64: bfloat16 keeps eight bits, so directions are what can be compared.
#[test]
fn bfloat16_gradients_point_the_same_way() {
    let small = builders::Resnet {
        stages: vec![16],
        blocks: vec![1],
        squeeze_excitation: Some(4),
        ..builders::Resnet::default()
    };
    for network in [builders::lenet5(&builders::Lenet5::default()), builders::resnet(&small)] {
        bfloat16_points_the_same_way(&network.unwrap());
    }
    bfloat16_points_the_same_way(&of_32_channels());
    bfloat16_points_the_same_way(&strided());
}

/// Convolutions that a processor's matrix unit takes, with and without a bias.
fn of_32_channels() -> Network {
    let relu = || Layer::Activation(Activation::Relu);
    let layers = vec![
        Layer::Conv2d(Conv2d::new(1, 32, 3).padding(1).stride(2).bias(true)),
        relu(),
        Layer::Conv2d(Conv2d::new(32, 64, 3).padding(1).bias(true)),
        relu(),
        Layer::Conv2d(Conv2d::new(64, 32, 5).padding(2)),
        Layer::BatchNorm2d(BatchNorm::new(32)),
        relu(),
        Layer::Flatten,
        Layer::Linear(Linear::new(14 * 14 * 32, 10)),
    ];
    Network::new("convolutions of 32 channels", [1, 28, 28], layers).unwrap()
}

/// As those, with strides, and at last with weights larger than the maps of 64 images.
fn strided() -> Network {
    let mut layers = vec![Layer::Conv2d(Conv2d::new(1, 32, 3).padding(1).stride(2))];
    for (inputs, outputs, kernel, stride) in
        [(32, 64, 3, 2), (64, 64, 1, 1), (64, 256, 5, 2), (256, 256, 3, 1)]
    {
        let conv = Conv2d::new(inputs, outputs, kernel).padding(kernel / 2).stride(stride);
        layers.extend([
            Layer::BatchNorm2d(BatchNorm::new(inputs)),
            Layer::Activation(Activation::Relu),
            Layer::Conv2d(conv),
        ]);
    }
    layers.extend([Layer::GlobalAvgPool, Layer::Linear(Linear::new(256, 10))]);
    Network::new("convolutions with strides", [1, 28, 28], layers).unwrap()
}

// Against libtorch's own gradients, with images that are not finite.
#[test]
fn bfloat16_gradients_of_what_is_not_finite_are_no_numbers() {
    let model = Model::initialize(of_32_channels(), 3).unwrap();
    let (x, labels) = batch(&model.network, 8);
    let _ = x.get(3).get(0).get(5).get(6).fill_(f64::INFINITY);
    let autograd = by_autograd(&model, &x, &labels, Kind::Float);
    let ours = by_ours(&model, &x, &labels, Precision::BFloat16);
    for (ours, autograd) in ours.iter().zip(&autograd).skip(1) {
        let finite = [ours, autograd].map(|x| x.isfinite().all().int64_value(&[]));
        assert_eq!(finite[0], finite[1]);
    }
}

fn bfloat16_points_the_same_way(network: &Network) {
    let model = Model::initialize(network.clone(), 3).unwrap();
    let (x, labels) = batch(network, 64);
    let truth = by_autograd(&model, &x, &labels, Kind::Double);
    let ours = by_ours(&model, &x, &labels, Precision::BFloat16);
    for ((spec, ours), truth) in model.specs.iter().filter(|s| s.trainable).zip(&ours[1..]).zip(&truth[1..]) {
        if rms(truth) < 1e-8 {
            continue; // a bias before batch norm
        }
        let [ours, truth] = [ours, truth].map(|tensor| tensor.to_kind(Kind::Double).flatten(0, -1));
        let cosine = ours.dot(&truth) / (ours.norm() * truth.norm());
        assert!(cosine.double_value(&[]) > 0.95, "{}: {cosine}", spec.name);
        assert_eq!(ours.size(), truth.size());
    }
}

#[test]
fn dropout_is_repeatable_and_drops() {
    let layers = vec![
        Layer::Flatten,
        Layer::Dropout(crate::network::Dropout { p: 0.5 }),
        Layer::Linear(crate::network::Linear::new(784, 10)),
    ];
    let network = Network::new("dropout", [1, 28, 28], layers).unwrap();
    let model = Model::initialize(network.clone(), 3).unwrap();
    let (x, labels) = batch(&network, 8);
    let run = |seed| drawing(seed, || by_ours(&model, &x, &labels, Precision::Float32));
    assert!(run(1)[1].equal(&run(1)[1]) && !run(1)[1].equal(&run(2)[1]));
    let dropped = run(1)[1].abs().sum_dim_intlist(0i64, false, Kind::Float).eq(0.0).sum(Kind::Int64);
    // A pixel that is dropped from all eight images has no gradient: 784 / 2⁸ of them, about three.
    assert!((1..12).contains(&dropped.int64_value(&[])), "{dropped}");
}

// Against autograd with the same masks, which follow the seed of the pass.
#[test]
fn what_is_dropped_has_autograds_gradients() {
    use crate::network::{BatchNorm, Conv2d, Dropout, Linear};
    let some = |p| Dropout { p };
    let conv = |channels| Layer::Conv2d(Conv2d { padding: [1, 1], ..Conv2d::new(channels, 4, 3) });
    let norm = || Layer::BatchNorm2d(BatchNorm::new(4));
    let residual = Residual {
        body: vec![conv(4), norm(), Layer::StochasticDepth(some(0.5))],
        shortcut: vec![],
        activation: Some(Activation::LeakyRelu { negative_slope: 0.99 }),
    };
    let layers = vec![
        conv(1),
        norm(),
        Layer::Dropout2d(some(0.3)),
        Layer::Residual(residual),
        Layer::Flatten,
        Layer::Dropout(some(0.5)),
        Layer::Linear(Linear::new(4 * 28 * 28, 10)),
    ];
    let model = Model::initialize(Network::new("dropping", [1, 28, 28], layers).unwrap(), 3).unwrap();
    let (x, labels) = batch(&model.network, 32);
    for seed in 0..5 {
        let ours = drawing(seed, || by_ours(&model, &x, &labels, Precision::Float32));
        let truth = drawing(seed, || by_autograd(&model, &x, &labels, Kind::Float));
        for (ours, truth) in ours.iter().zip(&truth) {
            let error = rms(&(ours - truth));
            assert!(error <= 1e-4 * rms(truth) + 1e-7, "{seed}: {error} of {}", rms(truth));
        }
    }
}

/// Whether all is equal within rounding, NaN and infinities included.
fn alike(ours: &Tensor, autograd: &Tensor) -> bool {
    bool::try_from(ours.isclose(autograd, 1e-2, 1e-2, true).all()).unwrap()
}

#[test]
fn what_is_not_finite_trains_as_by_autograd() {
    let is_finite = |tensor: &Tensor| bool::try_from(tensor.isfinite().all()).unwrap();
    for seed in 0..100 {
        let network = random_network(seed);
        let model = Model::initialize(network.clone(), seed).unwrap();
        let parameters = model.parameters();
        let value = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][seed as usize % 3];
        let planted = parameters[seed as usize % parameters.len()].detach();
        // The middle of a kernel always meets the map. A tap that meets zeros of the padding alone makes NaN or nothing in
        // libtorch itself, depending on the order of memory; so does its gradient.
        let middle = planted.size().get(2..).map_or(0, |kernel| kernel.iter().product::<i64>() / 2);
        let _ = tch::no_grad(|| planted.flatten(0, -1).get(middle).fill_(value));
        let (x, labels) = batch(&network, 8);
        let ours = by_ours(&model, &x, &labels, Precision::Float32);
        let autograd = by_autograd(&model, &x, &labels, Kind::Float);
        for (index, (ours, autograd)) in ours.iter().zip(&autograd).enumerate() {
            let same = match is_finite(autograd) || index == 0 || index > parameters.len() {
                true => alike(ours, autograd),
                false => !is_finite(ours),
            };
            assert!(same, "{value}, {seed}, result {index}: {ours} {autograd} {}", network.to_json());
        }
    }
}

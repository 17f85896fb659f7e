//! Plans against the network in evaluation mode, layer by layer and with nothing fused.

use tch::Device;

use super::op::all_ops;
use super::*;
use crate::network::{
    builders, forward, random_network, Activation, AdaptivePool2d, BatchNorm, Conv2d, Dropout, Gate, Layer,
    Linear, Network, Pool2d, Residual,
};

fn unfused(layers: &[Layer], tensors: &mut std::slice::Iter<Tensor>, x: &Tensor) -> Tensor {
    layers.iter().fold(x.shallow_clone(), |x, layer| match layer {
        Layer::BatchNorm1d(norm) | Layer::BatchNorm2d(norm) => {
            let [weight, bias, mean, var] = std::array::from_fn(|_| tensors.next().unwrap());
            let _ = tensors.next();
            let (w, b, m, v) = (Some(weight), Some(bias), Some(mean), Some(var));
            x.batch_norm(w, b, m, v, false, norm.momentum, norm.eps, false)
        }
        Layer::Residual(block) => {
            let sum = unfused(&block.body, tensors, &x) + unfused(&block.shortcut, tensors, &x);
            block.activation.map_or(sum.shallow_clone(), |activation| activation.forward(&sum).unwrap())
        }
        Layer::Gate(gate) => {
            let factors = unfused(&gate.body, tensors, &x);
            if x.dim() == 4 {
                &x * factors.view([x.size()[0], x.size()[1], 1, 1])
            } else {
                x * factors
            }
        }
        Layer::Dropout(_) | Layer::Dropout2d(_) | Layer::StochasticDepth(_) => x,
        simple => {
            let own = crate::network::tensor_specs(std::slice::from_ref(simple)).len();
            let own: Vec<Tensor> = tensors.by_ref().take(own).map(Tensor::shallow_clone).collect();
            forward(std::slice::from_ref(simple), &own, &x, Precision::Float32).unwrap()
        }
    })
}

fn trained(network: Network) -> Model {
    let model = Model::initialize(network, 5).unwrap();
    tch::no_grad(|| {
        for (spec, tensor) in model.specs.iter().zip(&model.tensors) {
            // Statistics and scales as they may be after training, none of them 0 or 1.
            if spec.name.ends_with("running_var") {
                let _ = tensor.shallow_clone().uniform_(0.5, 2.0);
            } else if spec.name.ends_with("weight") && spec.shape.len() == 1 {
                let _ = tensor.shallow_clone().uniform_(-1.0, 2.0);
            } else if spec.shape.len() == 1 {
                let _ = tensor.shallow_clone().uniform_(-0.5, 0.5);
            }
        }
    });
    model
}

fn assert_equal_to_unfused(network: Network) {
    let [channels, height, width] = network.input_shape;
    let model = trained(network);
    let x = Tensor::randn([7, channels, height, width], (Kind::Float, Device::Cpu));
    let expected = tch::no_grad(|| unfused(&model.network.layers, &mut model.tensors.iter(), &x));
    let scale = expected.abs().max().double_value(&[]);
    // So few images that work on the weights does not pay, and so many that it does.
    for images in [7, 1000] {
        let plan = Plan::compile(&model, Precision::Float32, [7, channels, height, width], images, 10.0);
        let plan = plan.unwrap_or_else(|error| panic!("{error}: {}", model.network.to_json()));
        assert!(!plan.parts.is_empty());
        let logits = plan.run(&channels_last(&x).unwrap()).unwrap();
        let size = |size, part: &Vec<Op>| part.iter().fold(size, |size, op| op.output_size(size));
        assert_eq!(plan.parts.iter().fold(x.size(), size), logits.size());
        let gap = (&logits - &expected).abs().max().double_value(&[]) / scale;
        assert!(gap < 1e-5, "{}: {gap}", model.network.to_json());
    }
}

#[test]
fn the_plan_equals_the_unfused_network() {
    assert_equal_to_unfused(builders::lenet5(&builders::Lenet5::default()).unwrap());
    assert_equal_to_unfused(builders::resnet(&builders::Resnet::default()).unwrap());
    let mixed = builders::Resnet {
        activation: vec![
            Activation::Softplus,
            Activation::LeakyRelu { negative_slope: 0.2 },
            Activation::Gelu,
        ],
        shortcut: builders::Shortcut::ProjectionBatchNorm,
        last_pool: builders::Pool::Avg,
        dropout: 0.3,
        ..builders::Resnet::default()
    };
    assert_equal_to_unfused(builders::resnet(&mixed).unwrap());
}

#[test]
fn so_do_the_networks_of_the_studies() {
    let (widths, hidden) = (|| vec![8], || vec![8]);
    let activation = || vec![Activation::Gelu, Activation::Relu];
    for batch_norm in [false, true] {
        let networks = [
            builders::alexnet(&builders::Alexnet {
                widths: widths(),
                hidden: hidden(),
                activation: activation(),
                batch_norm,
                ..Default::default()
            }),
            builders::vgg(&builders::Vgg {
                widths: widths(),
                hidden: hidden(),
                activation: activation(),
                batch_norm,
                ..Default::default()
            }),
            builders::convnet(&builders::Convnet {
                widths: widths(),
                hidden: hidden(),
                activation: activation(),
                batch_norm,
                ..Default::default()
            }),
            builders::kernel_net(&builders::KernelNet {
                widths: widths(),
                hidden: 8,
                activation: activation(),
                batch_norm,
                ..Default::default()
            }),
            builders::resnet(&builders::Resnet {
                stages: vec![8, 16],
                activation: activation(),
                batch_norm,
                block_norm: true,
                block_dropout: 0.5,
                ..Default::default()
            }),
        ];
        let wide = [false, true].map(|pre_activation| {
            builders::wide_resnet(&builders::WideResnet {
                width: 1,
                stem_channels: 8,
                pre_activation,
                activation: activation(),
                batch_norm,
                dropout: 0.5,
                ..Default::default()
            })
        });
        for network in networks.into_iter().chain(wide) {
            assert_equal_to_unfused(network.unwrap());
        }
    }
}

#[test]
fn batch_norm_of_vectors_is_folded_without_touching_the_model() {
    let layers = vec![
        Layer::Flatten,
        Layer::BatchNorm1d(BatchNorm::new(12)),
        Layer::Linear(Linear::new(12, 8)),
        Layer::BatchNorm1d(BatchNorm::new(8)),
        Layer::BatchNorm1d(BatchNorm::new(8)),
        Layer::Activation(Activation::Tanh),
        Layer::BatchNorm1d(BatchNorm::new(8)),
        Layer::Linear(Linear { bias: false, ..Linear::new(8, 5) }),
        Layer::BatchNorm1d(BatchNorm::new(5)),
    ];
    let network = Network::new("vectors", [1, 3, 4], layers).unwrap();
    assert_equal_to_unfused(network.clone());
    let model = trained(network);
    let before: Vec<Tensor> = model.tensors.iter().map(Tensor::copy).collect();
    let plan = Plan::compile(&model, Precision::Float32, [7, 1, 3, 4], 7, 10.0).unwrap();
    assert!(!plan.parts[0].iter().any(|op| matches!(op, Op::Affine { .. })));
    assert!(model.tensors.iter().zip(&before).all(|(now, then)| now == then));
}

#[test]
fn layers_without_a_fused_form_run_too() {
    let block = Residual {
        body: vec![Layer::Activation(Activation::Silu), Layer::BatchNorm2d(BatchNorm::new(6))],
        shortcut: vec![],
        activation: None,
    };
    let layers = vec![
        Layer::BatchNorm2d(BatchNorm::new(3)),
        Layer::Conv2d(Conv2d { groups: 3, dilation: [2, 1], ..Conv2d::new(3, 6, 3).bias(true) }),
        Layer::Activation(Activation::Tanh),
        Layer::BatchNorm2d(BatchNorm::new(6)),
        Layer::Residual(block),
        Layer::MaxPool2d(Pool2d { kernel_size: [2, 1], stride: [2, 1], padding: [0, 0] }),
        Layer::AvgPool2d(Pool2d::new(3, 2, 1)),
        Layer::Dropout2d(Dropout { p: 0.5 }),
        Layer::MaxPool2d(Pool2d::new(2, 2, 0)),
        Layer::BatchNorm2d(BatchNorm::new(6)),
        Layer::AdaptiveAvgPool2d(AdaptivePool2d { output_size: [3, 5] }),
        Layer::Activation(Activation::Hardswish),
        Layer::AdaptiveAvgPool2d(AdaptivePool2d { output_size: [2, 4] }),
        Layer::Flatten,
        Layer::Linear(Linear { bias: false, ..Linear::new(6 * 2 * 4, 5) }),
    ];
    assert_equal_to_unfused(Network::new("mixed", [3, 21, 19], layers).unwrap());
}

#[test]
fn a_shortcut_that_could_write_to_its_input_leaves_the_bodys_alone() {
    // The body's only layer reads the same tensor as the shortcut, which nothing else needs.
    for body in [Layer::Conv2d(Conv2d::new(6, 6, 3).padding(1)), Layer::BatchNorm2d(BatchNorm::new(6))] {
        for shortcut in [vec![], vec![Layer::Activation(Activation::Relu)]] {
            let layers = vec![
                Layer::Conv2d(Conv2d::new(1, 6, 3)),
                Layer::Residual(Residual { body: vec![body.clone()], shortcut, activation: None }),
                Layer::Flatten,
                Layer::Linear(Linear::new(6 * 7 * 7, 5)),
            ];
            assert_equal_to_unfused(Network::new("shared", [1, 9, 9], layers).unwrap());
        }
    }
}

#[test]
fn gates_leave_alone_what_they_share() {
    // What the gate multiplies is what its body reads, and what the block adds to it; within a block its product and the
    // sum are one operation, and elsewhere it writes over what nobody else needs.
    let gate = || {
        let gate = Gate::squeeze_excitation(6, 2, Activation::Relu, Activation::Sigmoid);
        Layer::Gate(gate.unwrap())
    };
    let flat = || Layer::Gate(Gate { body: vec![Layer::Dropout(Dropout { p: 0.5 })] }); // x · x
    let conv = || Layer::Conv2d(Conv2d::new(6, 6, 3).padding(1));
    let block = |body: Vec<Layer>, shortcut: Vec<Layer>, activation| {
        Layer::Residual(Residual { body, shortcut, activation })
    };
    let relu = || Layer::Activation(Activation::Relu);
    for middle in [
        vec![gate()],
        vec![gate(), gate(), relu()],
        vec![block(vec![gate()], vec![], None)],
        vec![block(vec![gate()], vec![relu()], Some(Activation::Relu))],
        vec![block(vec![conv(), gate()], vec![relu()], Some(Activation::Gelu))],
        vec![block(vec![relu(), gate()], vec![gate()], None), block(vec![conv()], vec![gate()], None)],
        vec![block(vec![gate(), Layer::BatchNorm2d(BatchNorm::new(6))], vec![], Some(Activation::Relu))],
        vec![Layer::Flatten, flat(), block(vec![flat()], vec![], None)],
    ] {
        let mut layers = vec![Layer::Conv2d(Conv2d::new(1, 6, 3))];
        layers.extend(middle);
        layers.extend([Layer::Flatten, Layer::Linear(Linear::new(6 * 7 * 7, 5))]);
        assert_equal_to_unfused(Network::new("gates", [1, 9, 9], layers).unwrap());
    }
}

#[test]
fn plans_of_random_networks_equal_the_unfused_ones() {
    for seed in 0..300 {
        assert_equal_to_unfused(random_network(seed));
    }
}

// What a processor's matrix unit takes where there is one, against the unfused network in float32.
#[test]
fn small_maps_in_bfloat16_are_those_of_the_unfused_network() {
    let conv = |inputs, outputs, kernel: i64, stride| {
        Layer::Conv2d(Conv2d::new(inputs, outputs, kernel).padding(kernel / 2).stride(stride).bias(true))
    };
    let norm = |channels| Layer::BatchNorm2d(BatchNorm::new(channels));
    let block =
        |body, shortcut| Layer::Residual(Residual { body, shortcut, activation: Some(Activation::Relu) });
    let gelu = || Layer::Activation(Activation::Gelu);
    let layers = vec![
        conv(32, 64, 3, 1),
        norm(64),
        gelu(),
        block(vec![conv(64, 96, 3, 2), norm(96), gelu(), conv(96, 96, 3, 1)], vec![conv(64, 96, 1, 2)]),
        block(vec![conv(96, 96, 3, 1), norm(96)], vec![]),
        conv(96, 64, 3, 2),
        Layer::GlobalAvgPool,
        Layer::Linear(Linear::new(64, 10)),
    ];
    let model = trained(Network::new("small maps", [32, 7, 7], layers).unwrap());
    let x = Tensor::randn([40, 32, 7, 7], (Kind::Float, Device::Cpu));
    let expected = tch::no_grad(|| unfused(&model.network.layers, &mut model.tensors.iter(), &x));
    for images in [17, 33, 40] {
        let plan = Plan::compile(&model, Precision::BFloat16, [images, 32, 7, 7], 1000, 10.0).unwrap();
        let ops: Vec<&Op> = plan.parts.iter().flat_map(|part| all_ops(part)).collect();
        let pixels = ops.iter().filter(|op| matches!(op, Op::Pixels(_))).count();
        assert_eq!(pixels, if crate::kernels::Unit::find().is_some() { 6 } else { 0 });
        let logits = plan.run(&channels_last(&x.narrow(0, 0, images)).unwrap()).unwrap();
        let expected = expected.narrow(0, 0, images);
        let gap = ((&logits - &expected).norm() / expected.norm()).double_value(&[]);
        assert!(gap < 0.02, "{images}: {gap}");
    }
}

#[test]
fn a_common_stack_leaves_no_operation_over() {
    // Convolution, ReLU, batch norm, pooling; convolution, pooling, ReLU; and batch norm before a padded convolution.
    let layers = vec![
        Layer::Conv2d(Conv2d::new(1, 12, 3).bias(true)),
        Layer::Activation(Activation::Relu),
        Layer::BatchNorm2d(BatchNorm::new(12)),
        Layer::MaxPool2d(Pool2d::new(2, 2, 0)),
        Layer::Conv2d(Conv2d::new(12, 16, 3)),
        Layer::MaxPool2d(Pool2d::new(2, 2, 0)),
        Layer::Activation(Activation::Relu),
        Layer::BatchNorm2d(BatchNorm::new(16)),
        Layer::Conv2d(Conv2d::new(16, 16, 3).padding(1)),
        Layer::Activation(Activation::Relu),
        Layer::BatchNorm2d(BatchNorm::new(16)),
        Layer::GlobalAvgPool,
        Layer::Dropout(Dropout { p: 0.5 }),
        Layer::Linear(Linear::new(16, 10)),
    ];
    let network = Network::new("stack", [1, 28, 28], layers).unwrap();
    let plan = Plan::compile(&trained(network.clone()), Precision::Float32, [7, 1, 28, 28], 1000, 10.0);
    let kinds: Vec<&str> = plan.unwrap().parts[0]
        .iter()
        .map(|op| match op {
            Op::Conv { .. } => "conv",
            Op::MaxPool { .. } => "pool",
            Op::GlobalAvgPool => "mean",
            Op::Linear { .. } => "linear",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["conv", "pool", "conv", "pool", "conv", "mean", "linear"]);
    assert_equal_to_unfused(network);
}

// Against the unfused network, which is libtorch's operators: NaN and infinities at the same places.
#[test]
fn what_is_not_finite_comes_out_as_from_the_unfused_network() {
    for seed in 0..150 {
        let model = trained(random_network(seed));
        let [channels, height, width] = model.network.input_shape;
        let x = Tensor::randn([7, channels, height, width], (Kind::Float, Device::Cpu));
        let floats: Vec<&Tensor> =
            model.tensors.iter().filter(|tensor| tensor.kind() == Kind::Float).collect();
        let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, -3e38];
        let (tensor, value) = (floats[seed as usize % floats.len()], values[seed as usize % values.len()]);
        let _ = tch::no_grad(|| tensor.detach().flatten(0, -1).get(0).fill_(value));
        let expected = tch::no_grad(|| unfused(&model.network.layers, &mut model.tensors.iter(), &x));
        let shape = [7, channels, height, width];
        let plan = Plan::compile(&model, Precision::Float32, shape, 1000, 10.0).unwrap();
        let logits = plan.run(&channels_last(&x).unwrap()).unwrap();
        let same = bool::try_from(logits.isclose(&expected, 1e-3, 1e-3, true).all()).unwrap();
        assert!(same, "{value} in {}: {logits} {expected}", model.network.to_json());
    }
}

#[test]
fn deep_networks_are_looked_at_and_stay_fused() {
    let block = || {
        let conv = || Layer::Conv2d(Conv2d::new(4, 4, 3).padding(1));
        let relu = Layer::Activation(Activation::Relu);
        Layer::Residual(Residual { body: vec![conv(), relu, conv()], shortcut: vec![], activation: None })
    };
    let mut layers = vec![Layer::Conv2d(Conv2d::new(1, 4, 3))];
    layers.extend((0..40).map(|_| block()));
    layers.extend([Layer::GlobalAvgPool, Layer::Linear(Linear::new(4, 5))]);
    let model = Model::initialize(Network::new("deep", [1, 6, 6], layers).unwrap(), 3).unwrap();
    let x = Tensor::randn([7, 1, 6, 6], (Kind::Float, Device::Cpu));
    let plan = Plan::compile(&model, Precision::Float32, [7, 1, 6, 6], 1000, 10.0).unwrap();
    assert!(plan.parts.len() > 1);
    let expected = tch::no_grad(|| unfused(&model.network.layers, &mut model.tensors.iter(), &x));
    let logits = plan.run_parts(&x).unwrap().unwrap();
    assert!(logits.allclose(&expected, 1e-4, 1e-5, false));
    // Weights ten times as large make numbers that are not usual, and infinities in the end.
    tch::no_grad(|| {
        model.tensors.iter().for_each(|tensor| drop(tensor.detach().f_mul_scalar_(10.0).unwrap()))
    });
    let expected = tch::no_grad(|| unfused(&model.network.layers, &mut model.tensors.iter(), &x));
    let plan = Plan::compile(&model, Precision::Float32, [7, 1, 6, 6], 1000, 10.0).unwrap();
    assert!(bool::try_from(plan.run(&x).unwrap().isclose(&expected, 1e-3, 1e-3, true).all()).unwrap());
}

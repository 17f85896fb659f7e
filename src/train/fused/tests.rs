//! The fused pass against autograd.

use tch::{Device, Kind, Reduction};

use super::*;
use crate::network::{builders, forward, Model};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Logits, gradients and running statistics of one pass by autograd and of one by operations of ours.
fn both(network: &Network, images: i64, precision: Precision) -> [(Tensor, Vec<Tensor>, Vec<Tensor>); 2] {
    let size = network.input_shape;
    let x = Tensor::randn([images, size[0], size[1], size[2]], FLOAT);
    let labels = Tensor::arange(images, (Kind::Int64, Device::Cpu)).remainder(network.num_classes().unwrap());
    let model = || Model::initialize(network.clone(), 3).unwrap();

    let plain = model();
    let logits = forward(&network.layers, &plain.tensors, &x, precision).unwrap();
    let loss = logits.cross_entropy_loss(&labels, None::<&Tensor>, Reduction::Mean, -100, 0.0);
    let gradients = Tensor::run_backward(&[&loss], &plain.parameters(), false, false);
    let expected = (logits.detach(), gradients, plain.tensors);

    let ours = model();
    let fused = Fused::new(network, precision);
    let (logits, tape) = fused.forward(&ours.tensors, &x).unwrap();
    let logits = logits.set_requires_grad(true);
    let loss = logits.cross_entropy_loss(&labels, None::<&Tensor>, Reduction::Mean, -100, 0.0);
    let dy = Tensor::run_backward(&[&loss], &[&logits], false, false).remove(0);
    let gradients = fused.backward(&ours.tensors, tape, dy).unwrap();
    let gradients = ours.specs.iter().zip(gradients).filter(|(spec, _)| spec.trainable);
    let gradients = gradients.map(|(_, gradient)| gradient.unwrap()).collect();
    [expected, (logits.detach(), gradients, ours.tensors)]
}

/// Gap relative to the largest value.
fn gap(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    let scale = b.abs().max().double_value(&[]).max(1e-3);
    (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[]) / scale
}

fn assert_equal(network: &Network, images: i64) {
    let [(logits, gradients, tensors), (our_logits, our_gradients, our_tensors)] =
        both(network, images, Precision::Float32);
    assert!(gap(&our_logits, &logits) < 1e-4, "logits of {}", network.name);
    for (index, (ours, expected)) in our_gradients.iter().zip(&gradients).enumerate() {
        let gap = gap(ours, expected);
        assert!(gap < 2e-3, "gradient {index} of {}: {gap}", network.name);
    }
    for (ours, expected) in our_tensors.iter().zip(&tensors) {
        assert!(gap(ours, expected) < 1e-4, "running statistics of {}", network.name);
    }
}

#[test]
fn networks_of_the_studies_have_autograds_gradients() {
    use builders::*;
    assert_equal(&lenet5(&Lenet5::default()).unwrap(), 16);
    assert_equal(&resnet(&Resnet::default()).unwrap(), 16);
}

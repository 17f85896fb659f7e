//! Steps against torch.optim's, the papers' formulas, and each other's.

use tch::{Device, Kind, Tensor};

use super::*;
use crate::train::method::AdjustLr;

const ALL: [Steps; 4] = [Steps::Exact, Steps::Fused, Steps::OnDevice, Steps::OnDeviceMoving];

fn after_three_steps(method: Method, lr: f64, steps: Steps) -> Vec<f64> {
    let parameter = Tensor::from_slice(&[1f64, -2.0, 0.5]);
    let optimizer = Optimizer::new(method, steps, &[&parameter]).unwrap();
    for (taken, gradient) in [[0.5f64, -1.0, 0.0], [0.25, 2.0, 0.1], [-1.0, 0.3, 0.2]].iter().enumerate() {
        optimizer.set(taken, lr, None).unwrap();
        optimizer.step(&[&parameter], &[Tensor::from_slice(gradient)]).unwrap();
    }
    Vec::try_from(parameter).unwrap()
}

const SGD: [f64; 3] = [1.025, -2.13, 0.47];
const NESTEROV: [f64; 3] = [0.942869708191, -2.239336916382, 0.4309185505705];
const ADAM: [f64; 3] = [0.8258477699317025, -1.970721764005325, 0.23827514975038278];
const ADAMW: [f64; 3] = [0.824713859842936, -1.9673274248507604, 0.3413049848851313];
const RMSPROP: [f64; 3] = [0.8157803732005321, -2.0099432651228653, -0.41643915667788756];
const CENTERED: [f64; 3] = [0.4572485193781087, -1.8962016376528805, -0.3139208569588508];
const NADAM: [f64; 3] = [0.9345977594536214, -2.001937780583776, 0.18576312574054202];
const NADAM_DECAYING: [f64; 3] = [0.9330586718249761, -2.0096472898566735, 0.2710104816911979];
const LION: [f64; 3] = [0.873289, -2.041588, 0.2861495];

fn rms_prop(alpha: f64, momentum: f64, centered: bool, weight_decay: f64) -> Method {
    Method::RmsProp { alpha, eps: 1e-8, momentum, centered, weight_decay }
}

fn nadam(betas: (f64, f64), momentum_decay: f64, weight_decay: f64) -> Method {
    Method::NAdam { betas, eps: 1e-8, momentum_decay, weight_decay }
}

fn muon(nesterov: bool, adjust_lr: AdjustLr, weight_decay: f64) -> Method {
    let (momentum, betas, eps) = (0.9, (0.9, 0.95), 1e-8);
    Method::Muon { momentum, nesterov, adjust_lr, adamw_lr_ratio: Some(0.5), betas, eps, weight_decay }
}

// torch 2.11, float64:
// p = torch.nn.Parameter(torch.tensor([1., -2., .5], dtype=torch.float64)); opt = torch.optim.X([p], ...)
// for g in [[.5, -1., 0.], [.25, 2., .1], [-1., .3, .2]]: p.grad = torch.tensor(g, dtype=p.dtype); opt.step()
#[test]
fn steps_are_pytorchs() {
    let betas = (0.9, 0.999);
    let cases = [
        (Method::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 }, 0.1, SGD),
        (Method::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.01 }, 0.1, NESTEROV),
        (Method::Adam { betas, eps: 1e-8, weight_decay: 0.01 }, 0.1, ADAM),
        (Method::AdamW { betas, eps: 1e-8, weight_decay: 0.01 }, 0.1, ADAMW),
        (rms_prop(0.9, 0.0, false, 0.01), 0.1, RMSPROP),
        (rms_prop(0.9, 0.5, true, 0.0), 0.1, CENTERED),
        (nadam(betas, 0.004, 0.01), 0.1, NADAM),
        (nadam((0.8, 0.99), 0.1, 0.0), 0.1, NADAM_DECAYING),
        // The paper's formulas in NumPy: c = b1*m + (1-b1)*g; p -= lr*(sign(c) + wd*p); m = b2*m + (1-b2)*g
        (Method::Lion { betas: (0.9, 0.99), weight_decay: 0.1 }, 0.1, LION),
    ];
    for (method, lr, expected) in cases {
        let values = after_three_steps(method, lr, Steps::Exact);
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-9, "{method:?}: {values:?}");
        }
    }
}

// Against the unfused kernels above.
#[test]
fn the_fused_kernels_agree() {
    let (betas, eps, decay) = ((0.9, 0.999), 1e-8, 0.01);
    let method = Method::AdamW { betas, eps, weight_decay: decay };
    for (value, expected) in after_three_steps(method, 0.1, Steps::Fused).iter().zip(ADAMW) {
        assert!((value - expected).abs() < 1e-6, "{value} instead of {expected}");
    }
}

// What float32 does not hold is infinite, and makes weights that are not finite instead of an error.
#[test]
fn numbers_beyond_float32_make_weights_that_are_not_finite() {
    for lr in [1e38, 1e300, f64::MAX] {
        for (eps, weight_decay) in [(1e-8, 0.0), (1e-8, 1e300), (1e300, 0.1), (0.0, 1.0)] {
            let betas = (0.9, 0.999);
            for method in [
                Method::Sgd { momentum: 1e300, nesterov: true, weight_decay },
                Method::Adam { betas, eps, weight_decay },
                Method::AdamW { betas, eps, weight_decay },
            ] {
                for steps in ALL {
                    let parameter = Tensor::from_slice(&[1f32, -2.0, 0.5]);
                    let optimizer = Optimizer::new(method, steps, &[&parameter]).unwrap();
                    for taken in 0..2 {
                        let gradient = Tensor::from_slice(&[0.5f32, -1.0, 0.25]);
                        optimizer.set(taken, lr, None).unwrap();
                        optimizer.step(&[&parameter], &[gradient]).unwrap();
                    }
                }
            }
        }
    }
}

#[test]
fn a_missing_gradient_is_an_error() {
    let parameter = parameter();
    let method = Method::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    for steps in [Steps::Exact, Steps::OnDevice] {
        let optimizer = Optimizer::new(method, steps, &[&parameter]).unwrap();
        assert!(optimizer.step(&[&parameter], &[Tensor::new()]).is_err());
    }
}

const GRADIENTS: [[f32; 4]; 3] = [[0.5, -1.0, 0.0, 2.0], [0.25, 2.0, 0.1, -1.0], [-1.0, 0.3, 0.2, 0.5]];

fn parameter() -> Tensor {
    Tensor::from_slice(&[1f32, -2.0, 0.5, 3.0]).view([2, 2])
}

/// The weights after three steps taken by each, with learning rates and momenta that change or not.
fn both(method: Method, moving: bool) -> [Vec<f32>; 2] {
    let device = if moving { Steps::OnDeviceMoving } else { Steps::OnDevice };
    [Steps::Exact, device].map(|steps| {
        let weights = parameter();
        let optimizer = Optimizer::new(method, steps, &[&weights]).unwrap();
        for (taken, gradient) in GRADIENTS.iter().enumerate() {
            let momentum = moving.then_some(0.8 + 0.05 * taken as f64);
            optimizer.set(taken, 0.1 / (1.0 + taken as f64), momentum).unwrap();
            optimizer.step(&[&weights], &[Tensor::from_slice(gradient).view([2, 2])]).unwrap();
        }
        Vec::try_from(weights.flatten(0, -1)).unwrap()
    })
}

// Against the host's steps, which are tested against torch.optim.
#[test]
fn a_devices_steps_are_the_hosts() {
    let betas = (0.9, 0.999);
    let sgd = |momentum, nesterov| Method::Sgd { momentum, nesterov, weight_decay: 0.01 };
    let methods = [
        sgd(0.0, false),
        sgd(0.9, false),
        sgd(0.9, true),
        Method::Adam { betas, eps: 1e-8, weight_decay: 0.0 },
        Method::Adam { betas, eps: 1e-8, weight_decay: 0.01 },
        Method::AdamW { betas, eps: 1e-8, weight_decay: 0.1 },
        rms_prop(0.9, 0.0, false, 0.01),
        rms_prop(0.9, 0.9, true, 0.0),
        nadam(betas, 0.004, 0.01),
        Method::Lion { betas, weight_decay: 0.1 },
    ];
    for method in methods {
        for moving in [false, true] {
            if moving && !method.has_momentum() {
                continue; // refused by the schedule's own check
            }
            let [host, device] = both(method, moving);
            for (a, b) in host.iter().zip(&device) {
                assert!((a - b).abs() < 2e-6, "{method:?} {moving}: {host:?} {device:?}");
            }
        }
    }
}

#[test]
fn a_gradient_that_is_stored_otherwise_is_the_same_gradient() {
    let method = Method::Adam { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 };
    let weights = [false, true].map(|transposed| {
        let weights = parameter();
        let optimizer = Optimizer::new(method, Steps::OnDevice, &[&weights]).unwrap();
        let gradient = Tensor::from_slice(&GRADIENTS[0]).view([2, 2]);
        let gradient = if transposed { gradient.tr().contiguous().tr() } else { gradient };
        optimizer.set(0, 0.1, None).unwrap();
        optimizer.step(&[&weights], &[gradient]).unwrap();
        weights
    });
    assert_eq!(weights[0], weights[1]);
}

/// A kernel, its bias, a hidden weight that is taller than wide, and the output layer's.
fn network() -> Vec<Tensor> {
    let sizes = [&[4i64, 2, 3, 3][..], &[4], &[6, 4], &[3, 6]];
    let all = sizes.iter().enumerate();
    let numbers = |(at, size): (usize, &&[i64])| {
        let count: i64 = size.iter().product();
        let places = Tensor::arange(count, (Kind::Float, Device::Cpu));
        (places * (1.3 + at as f64)).sin().view(*size)
    };
    all.map(numbers).collect()
}

/// The network after three steps along gradients that are functions of the weights, and the optimizer's state.
fn trained(method: Method, steps: Steps, moving: bool) -> (Vec<Tensor>, Vec<(String, Tensor)>) {
    let weights = network();
    let parameters: Vec<&Tensor> = weights.iter().collect();
    let optimizer = Optimizer::new(method, steps, &parameters).unwrap();
    for taken in 0..3 {
        let gradients: Vec<Tensor> =
            network().iter().map(|weight| (weight * (2.0 + taken as f64)).cos()).collect();
        let momentum = moving.then_some(0.8 + 0.05 * taken as f64);
        optimizer.set(taken, 0.02, momentum).unwrap();
        optimizer.step(&parameters, &gradients).unwrap();
    }
    let state = optimizer.state();
    (weights, state)
}

// The output layer's weight and the bias as AdamW steps them, which is tested against torch.optim.
#[test]
fn muon_leaves_the_output_layer_and_what_is_no_matrix_to_adamw() {
    for (adjust_lr, decay) in [(AdjustLr::Original, 0.0), (AdjustLr::MatchRmsAdamw, 0.1)] {
        let (weights, state) = trained(muon(true, adjust_lr, decay), Steps::Exact, false);
        let adamw = Method::AdamW { betas: (0.9, 0.95), eps: 1e-8, weight_decay: decay };
        let others = network();
        let parameters: Vec<&Tensor> = others.iter().collect();
        let optimizer = Optimizer::new(adamw, Steps::Exact, &parameters).unwrap();
        for taken in 0..3 {
            let gradients: Vec<Tensor> =
                network().iter().map(|weight| (weight * (2.0 + taken as f64)).cos()).collect();
            optimizer.set(taken, 0.01, None).unwrap();
            optimizer.step(&parameters, &gradients).unwrap();
        }
        assert_eq!([&weights[1], &weights[3]], [&others[1], &others[3]]);
        assert_ne!(weights[0], others[0]);
        let names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
        let adamws = ["others.first.0", "others.first.1", "others.second.0", "others.second.1"];
        assert_eq!(names, [&["first.0", "first.1"][..], &adamws].concat());
    }
}

#[test]
fn a_devices_muon_is_the_hosts() {
    for adjust_lr in [AdjustLr::Original, AdjustLr::MatchRmsAdamw] {
        for (moving, device) in [(false, Steps::OnDevice), (true, Steps::OnDeviceMoving)] {
            let method = muon(true, adjust_lr, 0.1);
            let (host, _) = trained(method, Steps::Exact, moving);
            for steps in [device, Steps::Fused] {
                let (other, _) = trained(method, steps, moving);
                for (a, b) in host.iter().zip(&other) {
                    assert!((a - b).abs().max().double_value(&[]) < 1e-4, "{steps:?}");
                }
            }
        }
    }
}

#[test]
fn muon_is_refused_where_there_is_nothing_hidden() {
    let (weight, bias) = (Tensor::from_slice(&[1f32, 2.0]).view([1, 2]), Tensor::from_slice(&[1f32]));
    let refused = Optimizer::new(Method::ALL[6], Steps::Exact, &[&weight, &bias]).err().unwrap();
    assert!(refused.to_string().contains("hidden weights"), "{refused}");
}

// A run that goes on has another optimizer, which is given the state.
#[test]
fn a_state_is_all_that_is_needed_to_go_on() {
    let methods = [
        rms_prop(0.9, 0.5, true, 0.01),
        nadam((0.8, 0.99), 0.1, 0.01),
        Method::Lion { betas: (0.9, 0.99), weight_decay: 0.1 },
        muon(true, AdjustLr::Original, 0.1),
    ];
    for method in Method::ALL.into_iter().chain(methods) {
        for steps in ALL {
            if steps == Steps::OnDeviceMoving && !method.has_momentum() {
                continue;
            }
            let weights = network();
            let parameters: Vec<&Tensor> = weights.iter().collect();
            let step = |optimizer: &Optimizer, taken: usize| {
                let gradients: Vec<Tensor> = weights.iter().map(|weight| (weight * 2.0).cos()).collect();
                optimizer.set(taken, 0.02, method.has_momentum().then_some(0.8)).unwrap();
                optimizer.step(&parameters, &gradients).unwrap();
            };
            let first = Optimizer::new(method, steps, &parameters).unwrap();
            (0..3).for_each(|taken| step(&first, taken));
            let then: Vec<Tensor> = weights.iter().map(Tensor::copy).collect();
            let state: Vec<_> =
                first.state().iter().map(|(name, each)| (name.clone(), each.copy())).collect();
            (3..5).for_each(|taken| step(&first, taken));
            let expected: Vec<Tensor> = weights.iter().map(Tensor::copy).collect();
            let other = Optimizer::new(method, steps, &parameters).unwrap();
            for ((name, mut there), (known, value)) in other.state().into_iter().zip(&state) {
                assert_eq!(&name, known);
                there.copy_(value);
            }
            weights.iter().zip(&then).for_each(|(weight, value)| weight.shallow_clone().copy_(value));
            (3..5).for_each(|taken| step(&other, taken));
            assert_eq!(weights, expected, "{method:?} {steps:?}");
        }
    }
}

/// Weights and means after `taken` steps, of which only the first has a gradient, taken as runs take them or as the rule does by itself.
fn after_a_last_gradient(
    method: Method,
    steps: Steps,
    taken: usize,
    as_in_runs: bool,
) -> (Vec<f32>, Vec<f32>) {
    let numbers: Vec<f32> = (1..=40).map(|place| place as f32 / 8.0).collect();
    let parameter = Tensor::from_slice(&numbers).view([8, 5]);
    let output = Tensor::from_slice(&numbers).view([5, 8]); // muon leaves it to AdamW
    let parameters = [&parameter, &output];
    let optimizer = Optimizer::new(method, steps, &parameters).unwrap();
    for step in 0..taken {
        let gradients = parameters.map(|parameter| match step {
            0 => parameter.cos(),
            _ => parameter.zeros_like(),
        });
        optimizer.set(step, 0.01, None).unwrap();
        match as_in_runs {
            true => optimizer.step(&parameters, &gradients).unwrap(),
            false => optimizer.rule.step(&parameters.map(Tensor::detach), &gradients).unwrap(),
        }
    }
    let all = |tensors: &[Tensor]| Vec::try_from(Tensor::cat(tensors, 0)).unwrap();
    let state = optimizer.state();
    let means = state.iter().filter(|(_, tensor)| tensor.numel() == 40);
    let means: Vec<Tensor> = means.map(|(_, tensor)| tensor.flatten(0, -1)).collect();
    (all(&parameters.map(|parameter| parameter.flatten(0, -1))), all(&means))
}

// At 5.6e-45, four times the least number that float32 holds, 0.9 of a mean is rounded to the mean itself: there it stays.
#[test]
fn means_that_have_faded_are_zero_and_no_weight_notices() {
    const STEPS: usize = 900;
    let betas = (0.9, 0.999);
    let tiny = |numbers: &[f32]| numbers.iter().filter(|number| number.is_subnormal()).count();
    for method in [
        Method::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.0 },
        Method::Adam { betas, eps: 1e-8, weight_decay: 0.0 },
        Method::AdamW { betas, eps: 1e-8, weight_decay: 0.01 },
        rms_prop(0.9, 0.9, false, 0.0),
        nadam(betas, 0.004, 0.0),
        muon(true, AdjustLr::Original, 0.01),
    ] {
        for steps in [Steps::Exact, Steps::Fused] {
            let (weights, means) = after_a_last_gradient(method, steps, STEPS, true);
            let (as_before, faded) = after_a_last_gradient(method, steps, STEPS, false);
            assert!(tiny(&faded) >= 40, "{method:?}: {faded:?}");
            assert_eq!(tiny(&means), 0, "{method:?}: {means:?}");
            assert_eq!(weights, as_before, "{method:?} {steps:?}");
        }
    }
}

// By 1 / (0 + eps), or by the sign of a mean, a weight goes as far as by one that is a number.
#[test]
fn means_remain_where_a_weight_would_notice() {
    let betas = (0.9, 0.999);
    for method in [
        Method::Adam { betas, eps: 0.0, weight_decay: 0.0 },
        Method::Adam { betas, eps: 1e-12, weight_decay: 0.0 },
        Method::RmsProp { alpha: 0.9, eps: 1e-15, momentum: 0.0, centered: false, weight_decay: 0.0 },
        rms_prop(0.99, 0.0, true, 0.0),
        Method::Lion { betas, weight_decay: 0.0 },
    ] {
        let (weights, means) = after_a_last_gradient(method, Steps::Exact, 900, true);
        assert_eq!((weights, means), after_a_last_gradient(method, Steps::Exact, 900, false), "{method:?}");
    }
}

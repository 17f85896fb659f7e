//! The loss that training makes smaller: cross-entropy with smoothed labels, as the mean by the weights of the classes. Its
//! formulas and reductions are those of torch.nn.CrossEntropyLoss.

use tch::{Device, Kind, Reduction, Tensor};

use super::dial::Dial;
use super::factor::Factor;
use super::TrainConfig;
use crate::error::{Error, Result};
use crate::libtorch::Number;

pub struct Loss {
    /// What was asked for, and what it is multiplied by.
    label_smoothing: f64,
    factor: Factor,
    /// Of this step. On a device only where it moves.
    smoothing: Dial,
    /// (classes,) float32
    weights: Option<Tensor>,
    /// Whether it may be recorded: PyTorch's own, of weights and smoothed labels together, makes the host wait.
    on_device: bool,
}

impl Loss {
    pub fn new(config: &TrainConfig, factor: Factor, device: Device, on_device: bool) -> Result<Self> {
        let weights = config.class_weight.as_ref().map(|weights| {
            Ok::<_, Error>(Tensor::f_from_slice(weights)?.f_to_kind(Kind::Float)?.f_to_device(device)?)
        });
        let label_smoothing = config.label_smoothing;
        let smoothing = match on_device && factor.moves() {
            true => Dial::on_device(device)?,
            false => Dial::on_host(),
        };
        smoothing.set(label_smoothing)?;
        Ok(Loss { label_smoothing, factor, smoothing, weights: weights.transpose()?, on_device })
    }

    /// Makes it the loss of the step before which `taken` others were taken.
    pub fn set(&self, taken: usize) -> Result<()> {
        match self.factor.moves() {
            true => self.smoothing.set(self.label_smoothing * self.factor.at(taken)),
            false => Ok(()),
        }
    }

    /// Scalar: of `logits` (N, classes) for `labels` (N,) int64.
    pub fn of(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        match (self.smoothing.get(), &self.weights) {
            (Number::Host(smoothing), Some(weights)) if self.on_device && smoothing > 0.0 => {
                let (of_labels, of_all) = parts(logits, labels, Some(weights))?;
                let of_all = of_all.f_mul_scalar(-smoothing / logits.size()[1] as f64)?;
                Ok(of_labels.f_mul_scalar(1.0 - smoothing)?.f_add(&of_all)?)
            }
            (Number::Host(smoothing), weights) => cross_entropy(logits, labels, weights.as_ref(), smoothing),
            (Number::Device(_), weights) => {
                let (of_labels, of_all) = parts(logits, labels, weights.as_ref())?;
                self.smoothing.between(&of_labels, &of_all.f_mul_scalar(-1.0 / logits.size()[1] as f64)?)
            }
        }
    }

    /// How much the examples at these `places` count in the loss of those with `labels` (N,), as a share of all of it.
    pub fn share(&self, labels: &Tensor, places: &Tensor) -> Result<f64> {
        let Some(weights) = &self.weights else {
            return Ok(places.size()[0] as f64 / labels.size()[0] as f64);
        };
        let weights = weights.f_index_select(0, labels)?;
        let sum = |weights: &Tensor| Ok::<_, Error>(weights.f_sum(Kind::Double)?.f_double_value(&[])?);
        match sum(&weights.f_index_select(0, places)?)? {
            0.0 => Err(Error::argument(
                "class_weight is 0 for all images that would be left of the batch, and so would be the gradient: take a \
                 null step, whose gradient is zero",
            )),
            kept => Ok(kept / sum(&weights)?),
        }
    }
}

/// What a smoothed loss is made of: the weighted mean of -log p of the label, and the sum of log p of all classes by their
/// weights. Both are over the weights of the labels.
fn parts(logits: &Tensor, labels: &Tensor, weights: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
    let of_labels = cross_entropy(logits, labels, weights, 0.0)?;
    let of_all = logits.f_log_softmax(1, Kind::Float)?;
    let of_all = match weights {
        Some(weights) => {
            let weighted = of_all.f_mul(weights)?.f_sum(Kind::Float)?;
            weighted.f_div(&weights.f_index_select(0, labels)?.f_sum(Kind::Float)?)?
        }
        None => of_all.f_sum(Kind::Float)?.f_div_scalar(labels.size()[0])?,
    };
    Ok((of_labels, of_all))
}

fn cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    weights: Option<&Tensor>,
    smoothing: f64,
) -> Result<Tensor> {
    Ok(logits.f_cross_entropy_loss(labels, weights, Reduction::Mean, -100, smoothing)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{LearningRate, Schedule};

    fn loss(smoothing: f64, weights: Option<&[f64]>, on_device: bool) -> Loss {
        let class_weight = weights.map(<[f64]>::to_vec);
        let config = TrainConfig { label_smoothing: smoothing, class_weight, ..TrainConfig::default() };
        Loss::new(&config, unmoved(), Device::Cpu, on_device).unwrap()
    }

    fn rate() -> LearningRate {
        LearningRate::new(&Schedule::Constant {}, 0.1, 4, 2)
    }

    fn unmoved() -> Factor {
        Factor::new(None, &rate())
    }

    fn logits() -> Tensor {
        Tensor::from_slice(&[1f32, 2.0, -1.0, 0.5, 0.0, 3.0]).view([2, 3]).set_requires_grad(true)
    }

    // torch 2.11: loss = torch.nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2., 0.]), label_smoothing=s)(
    //     torch.tensor([[1., 2., -1.], [.5, 0., 3.]]), torch.tensor([0, 1]))
    // and by hand: (0.5 * 1.3490 + 2.0 * 3.1239) / 2.5 for s = 0.
    const CASES: [(f64, f64); 2] = [(0.0, PLAIN), (0.3, SMOOTHED)];
    const PLAIN: f64 = 2.7689008712768555;
    const SMOOTHED: f64 = 2.2955191135406494;

    #[test]
    fn weights_and_smoothing_are_pytorchs() {
        let (labels, weights) = (Tensor::from_slice(&[0i64, 1]), [0.5, 2.0, 0.0]);
        for (smoothing, expected) in CASES {
            let gradients = [false, true].map(|on_device| {
                let logits = logits();
                let found = loss(smoothing, Some(&weights), on_device).of(&logits, &labels).unwrap();
                assert!((found.double_value(&[]) - expected).abs() < 1e-6, "{smoothing}: {found:?}");
                found.backward();
                logits.grad()
            });
            assert!(gradients[0].allclose(&gradients[1], 1e-5, 1e-7, false));
        }
    }

    // At factor 1, 0.5 and 0 of smoothing 0.6 it is that of 0.6, 0.3 and 0, which `cross_entropy` has of torch.
    #[test]
    fn smoothing_moves_on_the_host_and_on_a_device() {
        let labels = Tensor::from_slice(&[0i64, 1]);
        let linear = Schedule::Linear { final_lr: 0.0, begin: 0.0, end: 1.0 };
        for weights in [None, Some(&[0.5, 2.0, 0.0][..])] {
            let class_weight = weights.map(<[f64]>::to_vec);
            let config = TrainConfig { label_smoothing: 0.6, class_weight, ..TrainConfig::default() };
            for on_device in [false, true] {
                let factor = Factor::new(Some(&linear), &rate());
                let moving = Loss::new(&config, factor, Device::Cpu, on_device).unwrap();
                for (taken, smoothing) in [(0, 0.6), (2, 0.3), (4, 0.0), (1, 0.45)] {
                    moving.set(taken).unwrap();
                    let [here, there] = [&moving, &loss(smoothing, weights, false)].map(|loss| {
                        let logits = logits();
                        let found = loss.of(&logits, &labels).unwrap();
                        found.backward();
                        (found.double_value(&[]), logits.grad())
                    });
                    assert!((here.0 - there.0).abs() < 1e-6, "{taken} {on_device}: {} {}", here.0, there.0);
                    assert!(here.1.allclose(&there.1, 1e-5, 1e-7, false), "{taken} {on_device}");
                }
            }
        }
    }

    // By hand.
    #[test]
    fn images_count_by_their_weights() {
        let (labels, places) = (Tensor::from_slice(&[0i64, 1, 1, 2]), Tensor::from_slice(&[0i64, 3]));
        assert_eq!(loss(0.0, None, false).share(&labels, &places).unwrap(), 0.5);
        assert_eq!(loss(0.0, Some(&[0.5, 2.0, 0.0]), false).share(&labels, &places).unwrap(), 0.5 / 4.5);
        let error = loss(0.0, Some(&[0.0, 2.0, 0.0]), false).share(&labels, &places).unwrap_err();
        assert!(error.to_string().contains("null step"), "{error}");
    }
}

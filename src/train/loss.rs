//! The loss that training makes smaller: cross-entropy with smoothed labels, as the mean by the weights of the classes. Its
//! formulas and reductions are those of torch.nn.CrossEntropyLoss.

use tch::{Device, Kind, Reduction, Tensor};

use super::TrainConfig;
use crate::error::{Error, Result};

pub struct Loss {
    smoothing: f64,
    /// (classes,) float32
    weights: Option<Tensor>,
    /// Whether it may be recorded: PyTorch's own, of weights and smoothed labels together, makes the host wait.
    on_device: bool,
}

impl Loss {
    pub fn new(config: &TrainConfig, device: Device, on_device: bool) -> Result<Self> {
        let weights = config.class_weight.as_ref().map(|weights| {
            Ok::<_, Error>(Tensor::f_from_slice(weights)?.f_to_kind(Kind::Float)?.f_to_device(device)?)
        });
        Ok(Loss { smoothing: config.label_smoothing, weights: weights.transpose()?, on_device })
    }

    /// Scalar: of `logits` (N, classes) for `labels` (N,) int64.
    pub fn of(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        match &self.weights {
            Some(weights) if self.on_device && self.smoothing > 0.0 => self.of_parts(logits, labels, weights),
            weights => cross_entropy(logits, labels, weights.as_ref(), self.smoothing),
        }
    }

    /// The same by parts: the weighted mean of -log p of the label, and that of all classes. Both are over the weights of the
    /// labels.
    fn of_parts(&self, logits: &Tensor, labels: &Tensor, weights: &Tensor) -> Result<Tensor> {
        let of_labels = cross_entropy(logits, labels, Some(weights), 0.0)?;
        let weighted = logits.f_log_softmax(1, Kind::Float)?.f_mul(weights)?.f_sum(Kind::Float)?;
        let of_all = weighted.f_div(&weights.f_index_select(0, labels)?.f_sum(Kind::Float)?)?;
        let of_all = of_all.f_mul_scalar(-self.smoothing / logits.size()[1] as f64)?;
        Ok(of_labels.f_mul_scalar(1.0 - self.smoothing)?.f_add(&of_all)?)
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

    fn loss(smoothing: f64, weights: Option<&[f64]>, on_device: bool) -> Loss {
        let class_weight = weights.map(<[f64]>::to_vec);
        let config = TrainConfig { label_smoothing: smoothing, class_weight, ..TrainConfig::default() };
        Loss::new(&config, Device::Cpu, on_device).unwrap()
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

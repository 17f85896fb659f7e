//! Measures images that are looked at now and then, such as all those that are trained on: they lie on the device as bytes,
//! and only a block of them at a time is normalised.

use tch::Tensor;

use super::{class_kind, halves, Choice, Evaluator, Single};
use crate::data::Split;
use crate::error::Result;
use crate::network::{Model, Normalization, Precision};

pub struct Passing {
    split: Split,
    /// (N,) int64: the images of `split` that are measured.
    indices: Tensor,
    normalization: Normalization,
    classes: i64,
    precision: Precision,
    /// Images of a block.
    block: i64,
}

/// What one pass finds, in the order of the images.
pub struct Pass {
    /// (N,) predicted classes, of [`class_kind`].
    pub predictions: Tensor,
    /// (N,) float16: the logit of the label minus the largest of the others, and the cross-entropy.
    pub margins: Tensor,
    pub losses: Tensor,
}

/// Numbers of normalised images that are in memory at a time: 64 MiB of them in float32.
const NUMBERS: i64 = 1 << 24;

impl Passing {
    pub fn new(
        split: Split,
        indices: Tensor,
        normalization: Normalization,
        classes: i64,
        precision: Precision,
    ) -> Self {
        let block = (NUMBERS / split.image_shape().iter().product::<i64>().max(1)).max(1);
        Passing { split, indices, normalization, classes, precision, block }
    }

    /// Measures every image, each block in the way of `choice`.
    pub fn measure(&self, model: &Model, choice: &Choice) -> Result<Pass> {
        self.measure_by(|images| {
            let mut block = Evaluator::new(images, &self.normalization, self.classes, self.precision)?;
            block.choose(choice)?;
            block.logits(model)
        })
    }

    /// The same with logits (n, classes) of a block of images that `logits` gives, on their device.
    pub fn measure_by(&self, mut logits: impl FnMut(&Split) -> Result<Tensor>) -> Result<Pass> {
        let (mut predictions, mut margins, mut losses) = (Vec::new(), Vec::new(), Vec::new());
        for indices in self.indices.f_split(self.block, 0)? {
            let images = self.split.select(&indices)?;
            let found = Single::new(&logits(&images)?, &images.labels)?;
            predictions.push(found.predicted.f_to_kind(class_kind(self.classes))?);
            margins.push(halves(&found.margins()?)?);
            losses.push(halves(&found.losses)?);
        }
        let joined = |blocks: &[Tensor]| Tensor::f_cat(blocks, 0);
        Ok(Pass { predictions: joined(&predictions)?, margins: joined(&margins)?, losses: joined(&losses)? })
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::network::builders;

    // Against all images at once.
    #[test]
    fn blocks_of_any_size_give_the_same() {
        let count = 23;
        let pixels: Vec<u8> = (0..count * 784).map(|i| (i * 31 + i / 784 * 17) as u8).collect();
        let labels: Vec<i64> = (0..count as i64).map(|i| i % 10).collect();
        let split = || Split::new(&pixels, [count, 28, 28, 1], &labels, 10).unwrap();
        let normalization = Normalization::identity(1);
        let model = Model::initialize(builders::lenet5(&builders::Lenet5::default()).unwrap(), 1).unwrap();
        let indices = Tensor::from_slice(&[0i64, 3, 4, 9, 10, 11, 20, 22]);
        let part = split().select(&indices).unwrap();
        let whole = Evaluator::new(&part, &normalization, 10, Precision::Float32).unwrap();
        let expected = whole.measure(&model).unwrap();
        for block in [1, 3, 8, 100] {
            let normalization = normalization.clone();
            let mut passing =
                Passing::new(split(), indices.shallow_clone(), normalization, 10, Precision::Float32);
            assert_eq!(passing.block, NUMBERS / 784);
            passing.block = block;
            let pass = passing.measure(&model, &whole.choice()).unwrap();
            assert_eq!(pass.predictions, expected.predictions);
            for (there, here) in [
                (&pass.losses, &expected.single.losses),
                (&pass.margins, &expected.single.margins().unwrap()),
            ] {
                assert_eq!(there.kind(), Kind::Half);
                let gap = (there.to_kind(Kind::Float) - here).abs().max().double_value(&[]);
                assert!(gap < 0.01, "{gap}");
            }
        }
    }
}

//! Logits of chosen images with the weights of the moment, which are compiled once for all that is asked.

use std::sync::Arc;

use tch::{Kind, Tensor};

use super::estimate::Source;
use super::inference::Inference;
use super::{Evaluator, Plan};
use crate::error::{Error, Result};
use crate::network::Model;

/// Good until the weights change.
pub struct Today<'a> {
    inference: &'a Inference,
    model: &'a Model,
    plan: Arc<Plan>,
    /// Images that one pass of the plan takes, where there are enough for all workers, and otherwise.
    chunks: [usize; 2],
}

/// Images of a chunk: with fewer, each takes longer (LeNet-5 8.5 µs with 100, 9.2 with 50, 10.3 with 25; the reference
/// ResNet 170, 176, 190), and with more, few images would leave workers idle.
const CHUNK: i64 = 100;

impl Evaluator {
    /// Compiles today's weights to give the logits of `expected` images, or about so many.
    pub fn today<'a>(&'a self, model: &'a Model, expected: i64) -> Result<Today<'a>> {
        let inference = &self.inference;
        let chunk = inference.chunk(model, inference.strategy().chunk.min(CHUNK))?;
        let plan = Arc::new(inference.plan(model, chunk, expected)?);
        let chunk = chunk as usize;
        Ok(Today { inference, model, plan, chunks: [chunk, chunk.div_ceil(2)] })
    }
}

impl Today<'_> {
    /// The images in chunks of the two sizes, for each new one of which oneDNN would have to generate code. The last is
    /// filled up with an image that was asked for already.
    fn split(&self, images: &[i64]) -> Vec<Vec<i64>> {
        let [large, small] = self.chunks;
        let round = large * self.inference.strategy().workers;
        let (many, few) = images.split_at(images.len() / round * round);
        let mut chunks: Vec<Vec<i64>> =
            many.chunks(large).chain(few.chunks(small)).map(<[i64]>::to_vec).collect();
        if let (Some(chunk), false) = (chunks.last_mut(), few.is_empty()) {
            chunk.resize(small, chunk[0]);
        }
        chunks
    }
}

impl Source for Today<'_> {
    /// Small chunks for all workers.
    fn grain(&self) -> usize {
        self.chunks[1] * self.inference.strategy().workers
    }

    fn logits(&mut self, images: &[i64]) -> Result<Tensor> {
        let all = self.inference.images().size()[0];
        if let Some(wrong) = images.iter().find(|image| !(0..all).contains(*image)) {
            return Err(Error::Argument(format!("there is no image {wrong} to look at: there are {all}")));
        }
        let device = self.model.device();
        if images.is_empty() {
            return Ok(Tensor::f_zeros([0, self.model.network.num_classes()?], (Kind::Float, device))?);
        }
        let chunks = self.split(images).into_iter().map(|chunk| {
            let chunk = Tensor::f_from_slice(&chunk)?.f_to_device(device)?;
            self.inference.chosen(&chunk)
        });
        let logits = self.inference.run(&self.plan, chunks)?;
        Ok(Tensor::f_cat(&logits, 0)?.f_narrow(0, 0, images.len() as i64)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Split;
    use crate::evaluate::resident::tests::networks;
    use crate::network::{Normalization, Precision};

    fn evaluator(images: usize, precision: Precision) -> Evaluator {
        let pixels: Vec<u8> = (0..images * 784).map(|i| (i * 31 + i / 784 * 17) as u8).collect();
        let split = Split::new(&pixels, [images, 28, 28, 1], &vec![0; images], 10).unwrap();
        Evaluator::new(&split, &Normalization::identity(1), 10, precision).unwrap()
    }

    fn gap(one: &Tensor, other: &Tensor) -> f64 {
        (one - other).abs().max().double_value(&[]) / other.abs().max().double_value(&[])
    }

    // Against a complete pass.
    #[test]
    fn chosen_images_have_the_logits_of_a_complete_pass() {
        for network in networks() {
            let model = Model::initialize(network, 1).unwrap();
            for (precision, rounding) in [(Precision::Float32, 1e-5), (Precision::BFloat16, 0.03)] {
                let test = evaluator(150, precision);
                let [mut today, mut again] = [(); 2].map(|()| test.today(&model, 60).unwrap());
                let all = test.inference.logits(&model).unwrap();
                assert_eq!(all, test.inference.logits(&model).unwrap());
                for count in [0, 1, 130, 460] {
                    let chosen: Vec<i64> = (0..count).map(|i| (i * 37 + 11) % 150).collect();
                    let logits = today.logits(&chosen).unwrap();
                    assert_eq!((logits.size(), logits.kind()), (vec![count, 10], Kind::Float));
                    let expected = all.index_select(0, &Tensor::from_slice(&chosen));
                    assert!(count == 0 || gap(&logits, &expected) < rounding, "{}", model.network.name);
                    assert_eq!(again.logits(&chosen).unwrap(), logits);
                }
            }
        }
    }

    #[test]
    fn chunks_have_two_sizes() {
        let model = Model::initialize(networks().remove(0), 1).unwrap();
        let test = evaluator(500, Precision::Float32);
        let today = test.today(&model, 300).unwrap();
        let ([large, small], workers) = (today.chunks, test.inference.strategy().workers);
        assert_eq!(today.grain(), small * workers);
        for count in [1, small, small + 1, 2 * workers * large + 1, 3 * workers * large] {
            let images: Vec<i64> = (0..count as i64).collect();
            let chunks = today.split(&images);
            assert!(chunks.iter().all(|chunk| [large, small].contains(&chunk.len())));
            let all = chunks.concat();
            assert_eq!(
                (&all[..count], all.len() - count),
                (&images[..], count.next_multiple_of(small) - count)
            );
        }
    }

    #[test]
    fn one_image_is_enough() {
        let model = Model::initialize(networks().remove(0), 1).unwrap();
        let test = evaluator(1, Precision::Float32);
        let mut today = test.today(&model, 1).unwrap();
        let (all, twice) = (test.inference.logits(&model).unwrap(), today.logits(&[0, 0]).unwrap());
        assert!(gap(&twice, &Tensor::cat(&[&all, &all], 0)) < 1e-5);
    }

    #[test]
    fn weights_that_are_not_finite_give_what_a_complete_pass_gives() {
        let model = Model::initialize(networks().remove(1), 1).unwrap();
        tch::no_grad(|| drop(model.tensors[0].flatten(0, -1).get(3).fill_(f64::NAN)));
        let test = evaluator(70, Precision::Float32);
        let mut today = test.today(&model, 60).unwrap();
        let (all, some) = (test.inference.logits(&model).unwrap(), today.logits(&[3, 69, 0]).unwrap());
        assert!(f64::try_from(all.isnan().any()).unwrap() > 0.0);
        let expected = all.index_select(0, &Tensor::from_slice(&[3i64, 69, 0]));
        assert!(bool::try_from(some.isclose(&expected, 1e-5, 1e-6, true).all()).unwrap());
    }

    #[test]
    fn an_image_that_is_not_there_is_an_error() {
        let model = Model::initialize(networks().remove(0), 1).unwrap();
        let test = evaluator(40, Precision::Float32);
        let mut today = test.today(&model, 10).unwrap();
        for wrong in [-1, 40] {
            let error = today.logits(&[3, wrong]).unwrap_err().to_string();
            assert!(error.contains(&format!("no image {wrong}")) && error.contains("40"), "{error}");
        }
    }
}

//! Measures a fixed set of images with a plan that stays where it is, so that the measuring can be recorded and replayed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::plan::{Layout, Way};
use super::{Evaluator, Metrics, Plan};
use crate::error::{Error, Result};
use crate::libtorch::await_tensor;
use crate::network::{Model, Precision};

/// How the images are measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceChoice {
    /// Images that one pass of the plan takes.
    pub chunk: i64,
    pub layout: Layout,
    /// Whether the first convolution is a product of rows that were laid out once.
    pub columns: bool,
    /// Whether convolutions on small maps are products of whole maps.
    pub products: bool,
    /// Of each convolution.
    pub convolutions: Vec<Way>,
    /// Images per second of each arrangement that was measured, without recording.
    pub measured: Vec<Arrangement>,
}

/// Images of a chunk that are tried: small ones stay in the GPU's cache on their way through the network, large ones need
/// fewer launches.
const CHUNKS: [i64; 4] = [250, 1000, 2500, 10_000];

/// See [`DeviceChoice`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub struct Arrangement {
    pub chunk: i64,
    pub layout: Layout,
    pub columns: bool,
    pub products: bool,
    pub images_per_second: f64,
}

pub struct Resident {
    /// What the plan begins with: images (N, C, H, W), normalised, in its layout and number format, or their rows.
    images: Tensor,
    /// (N,) int64
    labels: Tensor,
    /// (N, classes) bool, see [`Metrics::tallied`].
    members: Tensor,
    plan: Plan,
    pub choice: DeviceChoice,
}

/// What calibration found before in this process, so that equal runs get equal plans.
static FOUND: Mutex<BTreeMap<String, DeviceChoice>> = Mutex::new(BTreeMap::new());

impl Resident {
    /// For the images of `part` and models of the network of `model`.
    pub fn new(part: &Evaluator, model: &Model, precision: Precision) -> Result<Self> {
        let count = part.labels.size()[0];
        Resident::arranged(part, model, precision, count.clamp(1, 2500), Layout::ChannelsLast, [false, false])
    }

    fn arranged(
        part: &Evaluator,
        model: &Model,
        precision: Precision,
        chunk: i64,
        layout: Layout,
        [columns, products]: [bool; 2],
    ) -> Result<Self> {
        let labels = part.labels.shallow_clone();
        let images = layout.of(part.inference.images())?;
        let size = images.size();
        let classes = Tensor::f_arange(part.classes, (Kind::Int64, labels.device()))?;
        let mut plan = Plan::resident(model, precision, [chunk, size[1], size[2], size[3]], layout)?;
        let products = products && plan.multiply_small_maps(images.f_narrow(0, 0, size[0].min(1))?)?;
        let columns = columns && plan.begin_with_columns(size[0])?;
        let convolutions = plan.ways();
        Ok(Resident {
            images: plan.columns(&images)?,
            members: labels.f_unsqueeze(1)?.f_eq_tensor(&classes)?,
            labels,
            plan,
            choice: DeviceChoice { chunk, layout, columns, products, convolutions, measured: Vec::new() },
        })
    }

    /// The same, in the arrangement that is fastest on this device.
    pub fn calibrated(part: &Evaluator, model: &Model, precision: Precision) -> Result<Self> {
        let images = part.labels.size()[0];
        let device = model.device();
        let key = format!("{} {} {device:?} {images}", model.network.to_json(), precision.name());
        let known = FOUND.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let choice = match known {
            Some(choice) => choice,
            None => {
                let choice = Resident::choose(part, model, precision)?;
                let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
                found.entry(key).or_insert(choice).clone()
            }
        };
        Resident::following(part, model, precision, &choice)
    }

    /// The same, in an arrangement that was chosen before.
    pub fn following(
        part: &Evaluator,
        model: &Model,
        precision: Precision,
        choice: &DeviceChoice,
    ) -> Result<Self> {
        let DeviceChoice { chunk, layout, columns, products, .. } = *choice;
        let mut resident =
            Resident::arranged(part, model, precision, chunk.max(1), layout, [columns, products])?;
        resident.plan.set_ways(&choice.convolutions);
        resident.choice = choice.clone();
        Ok(resident)
    }

    fn choose(part: &Evaluator, model: &Model, precision: Precision) -> Result<DeviceChoice> {
        let images = part.labels.size()[0];
        let layouts: &[Layout] = match precision.uses_matrix_units() {
            false => &[Layout::ChannelsLast, Layout::ChannelsFirst],
            true => &[Layout::ChannelsLast],
        };
        let mut chunks = CHUNKS.map(|chunk| images.min(chunk)).to_vec();
        chunks.dedup();
        let (mut measured, mut failure) = (Vec::new(), None);
        let mut attempt = |chunk, layout, forms| -> Option<(f64, Self)> {
            let tried = Resident::arranged(part, model, precision, chunk, layout, forms)
                .and_then(|resident| Ok((resident.seconds()?, resident)));
            match tried {
                Ok((seconds, resident)) => {
                    let DeviceChoice { columns, products, .. } = resident.choice;
                    let images_per_second = images as f64 / seconds;
                    measured.push(Arrangement { chunk, layout, columns, products, images_per_second });
                    Some((seconds, resident))
                }
                Err(error) => {
                    failure = Some(error); // no memory for it, perhaps
                    None
                }
            }
        };
        let mut best: Option<(f64, Self)> = None;
        for layout in layouts {
            let mut forms =
                |forms| chunks.iter().filter_map(|chunk| attempt(*chunk, *layout, forms)).reduce(faster);
            // Rows and products take memory that there may not be.
            let Some(mut found) = forms([true, true]).or_else(|| forms([false, false])) else { continue };
            let DeviceChoice { chunk, columns, products, .. } = found.1.choice;
            if columns {
                found = attempt(chunk, *layout, [false, products]).into_iter().fold(found, faster);
            }
            if products {
                let columns = found.1.choice.columns;
                found = attempt(chunk, *layout, [columns, false]).into_iter().fold(found, faster);
            }
            // Layouts are compared with the kernels that are best for each.
            let (_, mut resident) = found;
            let chunk = resident.images.f_narrow(0, 0, resident.choice.chunk)?;
            resident.plan.choose_ways(&chunk, precision.tolerance())?;
            let found = (resident.seconds()?, resident);
            best = Some(match best {
                Some(best) => faster(best, found),
                None => found,
            });
        }
        let Some((_, resident)) = best else {
            return Err(failure.unwrap_or_else(|| Error::argument("there was nothing to measure")));
        };
        Ok(DeviceChoice { convolutions: resident.plan.ways(), measured, ..resident.choice })
    }

    /// Of one measurement, the best of three.
    fn seconds(&self) -> Result<f64> {
        await_tensor(&self.measure()?.loss)?;
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let start = Instant::now();
            await_tensor(&self.measure()?.loss)?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        Ok(best)
    }

    /// Takes up the weights of the moment.
    pub fn fold(&self, model: &Model) -> Result<()> {
        self.plan.refresh(model)
    }

    /// Measures every image with the weights that were taken up last.
    pub fn measure(&self) -> Result<Metrics> {
        let (count, chunk) = (self.images.size()[0], self.choice.chunk);
        let logits = (0..count)
            .step_by(chunk as usize)
            .map(|start| self.plan.run(&self.images.f_narrow(0, start, chunk.min(count - start))?));
        let logits = Tensor::f_cat(&logits.collect::<Result<Vec<_>>>()?, 0)?;
        Metrics::tallied(&logits, &self.labels, &self.members)
    }
}

fn faster(one: (f64, Resident), other: (f64, Resident)) -> (f64, Resident) {
    if other.0 < one.0 {
        other
    } else {
        one
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::data::Split;
    use crate::network::{builders, Network, Normalization};

    fn part(images: usize, precision: Precision) -> Evaluator {
        let pixels: Vec<u8> = (0..images * 784).map(|i| (i * 31 + i / 784 * 17) as u8).collect();
        let labels: Vec<i64> = (0..images as i64).map(|i| i % 10).collect();
        let split = Split::new(&pixels, [images, 28, 28, 1], &labels, 10).unwrap();
        Evaluator::new(&split, &Normalization::identity(1), 10, precision).unwrap()
    }

    fn numbers(metrics: &Metrics) -> (f64, Vec<i64>, Vec<u8>) {
        let vector = |t: &Tensor| Vec::try_from(t.to_kind(Kind::Int64)).unwrap();
        (
            metrics.loss.double_value(&[]),
            vector(&metrics.class_correct),
            Vec::try_from(&metrics.predictions).unwrap(),
        )
    }

    pub fn networks() -> Vec<Network> {
        let resnet = builders::Resnet { stages: vec![4, 6, 8], ..Default::default() };
        let wide = builders::WideResnet {
            width: 1,
            stem_channels: 4,
            pre_activation: true, // batch norm before padded convolutions: constants that are maps
            ..Default::default()
        };
        vec![
            builders::lenet5(&builders::Lenet5::default()).unwrap(),
            builders::resnet(&resnet).unwrap(),
            builders::wide_resnet(&wide).unwrap(),
        ]
    }

    #[test]
    fn weights_taken_up_later_measure_as_those_compiled_afresh() {
        let networks = networks().into_iter().flat_map(|network| [(network.clone(), false), (network, true)]);
        for (network, columns) in networks {
            let [first, second] = [1, 2].map(|seed| Model::initialize(network.clone(), seed).unwrap());
            let test = part(25, Precision::Float32);
            let resident = Resident::arranged(
                &test,
                &first,
                Precision::Float32,
                10,
                Layout::ChannelsLast,
                [columns, columns],
            )
            .unwrap();
            assert_eq!(resident.choice.columns, columns, "{}", network.name);
            for model in [&second, &first] {
                resident.fold(model).unwrap();
                let there = numbers(&resident.measure().unwrap());
                let here = numbers(&test.measure(model).unwrap());
                assert!((there.0 - here.0).abs() < 1e-4 * here.0, "{there:?} {here:?}");
                assert_eq!((&there.1, &there.2), (&here.1, &here.2));
                let afresh = Resident::arranged(
                    &test,
                    model,
                    Precision::Float32,
                    10,
                    Layout::ChannelsLast,
                    [columns, columns],
                )
                .unwrap();
                assert_eq!(numbers(&afresh.measure().unwrap()), there, "{}", network.name);
            }
        }
    }

    #[test]
    fn the_model_may_change_once_its_weights_are_taken_up() {
        let network = builders::lenet5(&builders::Lenet5::default()).unwrap();
        let [model, other] = [1, 2].map(|seed| Model::initialize(network.clone(), seed).unwrap());
        let test = part(12, Precision::Float32);
        let resident = Resident::new(&test, &other, Precision::Float32).unwrap();
        resident.fold(&model).unwrap();
        let before = numbers(&resident.measure().unwrap());
        tch::no_grad(|| model.tensors.iter().for_each(|t| drop(t.shallow_clone().fill_(0.5))));
        assert_eq!(numbers(&resident.measure().unwrap()), before);
    }

    #[test]
    fn calibration_changes_nothing_but_the_arrangement_and_is_remembered() {
        let network = networks().remove(1);
        let model = Model::initialize(network, 3).unwrap();
        let test = part(30, Precision::Float32);
        let plain = Resident::new(&test, &model, Precision::Float32).unwrap();
        let found = Resident::calibrated(&test, &model, Precision::Float32).unwrap();
        let (a, b) = (numbers(&plain.measure().unwrap()), numbers(&found.measure().unwrap()));
        assert!((a.0 - b.0).abs() < 1e-4 * a.0 && a.1 == b.1);
        assert_eq!(found.choice.measured.len(), 6); // two layouts, and the faster without columns or products
                                                    // cuDNN computes nothing on a CPU, and a way that fails is not taken.
        assert!(found.choice.convolutions.iter().all(|way| *way == Way::Separate));
        assert!(!found.choice.convolutions.is_empty());
        let again = Resident::calibrated(&test, &model, Precision::Float32).unwrap();
        assert_eq!(again.choice.measured, found.choice.measured);
    }
}

//! Runs a set of images through a plan, chunk by chunk, in the way that is fastest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::workers::Workers;
use super::Plan;
use crate::error::Result;
use crate::libtorch::{channels_last, Alone};
use crate::network::{Model, Needs, Normalization, Precision};

/// How chunks of images meet a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strategy {
    /// Images that one pass of the plan takes.
    pub chunk: i64,
    /// Threads that each run chunks of their own on one core. 1 is the calling thread, which uses all cores for each
    /// operation.
    pub workers: usize,
}

/// A strategy and what it cost.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    #[serde(flatten)]
    pub strategy: Strategy,
    pub images_per_second: f64,
}

/// The strategy that is followed, and those that it was chosen from, if that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Choice {
    #[serde(flatten)]
    pub strategy: Strategy,
    pub measured: Vec<Measured>,
}

impl Strategy {
    /// What is mostly fastest: on a CPU, a worker for each core, and chunks that every worker gets some of.
    fn usual(device: Device, images: i64) -> Self {
        let threads = i64::from(tch::get_num_threads());
        let one = Strategy { chunk: images.clamp(1, 250), workers: 1 };
        match device {
            Device::Cpu if threads > 1 && images >= 32 * threads => {
                Strategy { chunk: ((images + threads - 1) / threads).min(250), workers: threads as usize }
            }
            Device::Cpu => one,
            _ => Strategy { chunk: images.clamp(1, 2500), ..one },
        }
    }

    /// What may be faster.
    fn candidates(usual: Self) -> Vec<Self> {
        let small = Strategy { chunk: usual.chunk.min(50), ..usual };
        let together = Strategy { workers: 1, ..usual };
        let mut candidates = vec![usual];
        for candidate in [small, together] {
            if !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
        candidates
    }
}

/// Images, normalised once and for all, and how they are measured.
pub struct Inference {
    /// (N, C, H, W), channels-last, in the plan's number format.
    images: Tensor,
    /// The largest absolute value in them.
    largest: f64,
    precision: Precision,
    strategy: Strategy,
    workers: Option<Workers>,
    /// What calibration found, if there was any.
    measured: Vec<Measured>,
}

/// The largest absolute value, NaN if there is one that is no number. Not asked of a GPU, which would have to be waited for.
fn largest(images: &Tensor) -> Result<f64> {
    if images.numel() == 0 || images.device() != Device::Cpu {
        return Ok(0.0);
    }
    let (least, greatest) = images.f_aminmax(None, false)?;
    let [least, greatest] = [least.f_double_value(&[])?, greatest.f_double_value(&[])?];
    Ok(if least.is_nan() { least } else { greatest.max(-least) })
}

/// What calibration found before in this process, so that equal runs get equal plans.
static FOUND: Mutex<BTreeMap<String, Vec<Measured>>> = Mutex::new(BTreeMap::new());

/// Images that calibration measures.
const SAMPLE: i64 = 1000;

impl Inference {
    /// `pixels` are uint8 (N, C, H, W).
    pub fn new(pixels: &Tensor, normalization: &Normalization, precision: Precision) -> Result<Self> {
        let images = channels_last(&normalization.apply(pixels)?.f_to_kind(precision.kind())?)?;
        let strategy = Strategy::usual(images.device(), images.size()[0]);
        let largest = largest(&images)?;
        let mut inference =
            Inference { images, largest, precision, strategy, workers: None, measured: Vec::new() };
        inference.follow(strategy)?;
        Ok(inference)
    }

    /// (N, C, H, W), normalised, channels-last.
    pub fn images(&self) -> &Tensor {
        &self.images
    }

    pub fn choice(&self) -> Choice {
        Choice { strategy: self.strategy, measured: self.measured.clone() }
    }

    fn follow(&mut self, strategy: Strategy) -> Result<()> {
        if strategy.workers != self.strategy.workers || self.workers.is_none() {
            self.workers = (strategy.workers > 1).then(|| Workers::new(strategy.workers)).transpose()?;
        }
        self.strategy = strategy;
        Ok(())
    }

    /// Takes the way that was chosen before.
    pub fn choose(&mut self, choice: &Choice) -> Result<()> {
        self.measured.clone_from(&choice.measured);
        self.follow(choice.strategy)
    }

    /// Float32 logits (N, classes) with today's weights.
    pub fn logits(&self, model: &Model) -> Result<Tensor> {
        self.logits_of(model, self.images.size()[0])
    }

    /// Those of the first `count` images.
    fn logits_of(&self, model: &Model, count: i64) -> Result<Tensor> {
        let chunk = self.chunk(model, self.strategy.chunk)?;
        let plan = Arc::new(self.plan(model, chunk.min(count), count)?);
        let chunks = (0..count)
            .step_by(chunk.max(1) as usize)
            .map(|start| Ok(self.images.f_narrow(0, start, chunk.min(count - start))?));
        let logits = self.run(&plan, chunks)?;
        match logits.is_empty() {
            true => Ok(Tensor::f_zeros([0, model.network.num_classes()?], (Kind::Float, model.device()))?),
            false => Ok(Tensor::f_cat(&logits, 0)?),
        }
    }

    /// The images, at most `chunk`, that one pass of a plan may take.
    pub fn chunk(&self, model: &Model, chunk: i64) -> Result<i64> {
        if self.images.device() != Device::Cpu {
            return Ok(chunk);
        }
        let size = self.images.size();
        let needs = Needs::of(&model.network, [size[1], size[2], size[3]])?;
        needs.chunk(&model.network, chunk, self.strategy.workers, self.precision.bytes())
    }

    /// Today's weights, compiled for so many images in chunks of this size.
    pub fn plan(&self, model: &Model, chunk: i64, images: i64) -> Result<Plan> {
        let size = self.images.size();
        Plan::compile(model, self.precision, [chunk, size[1], size[2], size[3]], images, self.largest)
    }

    /// The plan's results for all chunks, in their order.
    pub fn run(&self, plan: &Arc<Plan>, chunks: impl Iterator<Item = Result<Tensor>>) -> Result<Vec<Tensor>> {
        match &self.workers {
            Some(workers) => workers.run(plan, chunks),
            None => chunks.map(|images| plan.run(&images?)).collect(),
        }
    }

    /// The images at `indices`, in this order and channels-last.
    pub fn chosen(&self, indices: &Tensor) -> Result<Tensor> {
        // As rows, each of which is copied in one go.
        let size = self.images.size();
        let rows = self.images.f_permute([0, 2, 3, 1])?.f_view([size[0], -1])?.f_index_select(0, indices)?;
        channels_last(&rows.f_view([-1, size[2], size[3], size[1]])?.f_permute([0, 3, 1, 2])?)
    }

    /// Has the calling thread, as the workers, compute alone for a while: what it does for some images is soon done.
    pub fn alone(&self) -> Option<Alone> {
        self.workers.as_ref().map(|_| Alone::begin())
    }

    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// Measures which strategy is fastest for this network, and follows it. Worth while before many measurements.
    pub fn calibrate(&mut self, model: &Model) -> Result<()> {
        let images = self.images.size()[0];
        if self.images.device() != Device::Cpu || images < SAMPLE / 2 {
            return Ok(());
        }
        let sample = images.min(SAMPLE);
        let threads = tch::get_num_threads();
        let key = format!("{} {} {threads} {images}", model.network.to_json(), self.precision.name());
        let known = FOUND.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        self.measured = match known {
            Some(measured) => measured,
            None => {
                let measured = self.measure_candidates(model, sample)?;
                let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
                found.entry(key).or_insert(measured).clone()
            }
        };
        let fastest = self.measured.iter().max_by(|a, b| a.images_per_second.total_cmp(&b.images_per_second));
        match fastest.map(|fastest| fastest.strategy) {
            Some(strategy) => self.follow(strategy),
            None => Ok(()),
        }
    }

    fn measure_candidates(&mut self, model: &Model, sample: i64) -> Result<Vec<Measured>> {
        let mut measured = Vec::new();
        for strategy in Strategy::candidates(self.strategy) {
            self.follow(strategy)?;
            let mut best = f64::INFINITY;
            for _ in 0..3 {
                let start = Instant::now();
                let _ = self.logits_of(model, sample)?;
                best = best.min(start.elapsed().as_secs_f64());
            }
            measured.push(Measured { strategy, images_per_second: sample as f64 / best });
        }
        Ok(measured)
    }
}

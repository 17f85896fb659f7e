//! What recording costs: writing a step's and a measurement's rows, class accuracies and predictions with them, set
//! against the step and the pass over 10,000 test images that they record.
//!
//!     cargo bench --no-default-features
//!
//! LeNet-5, batches of 64, noise for images, medians.

use std::time::Instant;

use everybatch::data::{Dataset, Split};
use everybatch::error::Result;
use everybatch::evaluate::Evaluator;
use everybatch::network::{builders, Model, Normalization, Precision};
use everybatch::train::{
    train, Kernels, Length, Next, Observer, Record, Recorder, Sets, Step, Taken, TrainConfig,
};
use tch::{Device, Kind, Tensor};

const CLASSES: i64 = 10;
const BATCH: i64 = 64;
const TIMES: usize = 300;

struct Alone;

impl Observer for Alone {
    fn after_step(&mut self, _: &mut Step) -> Result<Next> {
        Ok(Next::Continue)
    }
}

fn noise(count: i64) -> Result<Split> {
    let pixels = Vec::<u8>::try_from(Tensor::f_randint(256, [count * 784], (Kind::Uint8, Device::Cpu))?)?;
    let labels: Vec<i64> = (0..count).map(|index| index % CLASSES).collect();
    Split::new(&pixels, [count as usize, 28, 28, 1], &labels, CLASSES)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Median seconds of a call.
fn timed(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut seconds = Vec::new();
    for _ in 0..TIMES {
        let start = Instant::now();
        call()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(median(seconds))
}

fn main() -> Result<()> {
    let model = Model::initialize(builders::lenet5(&builders::Lenet5::default())?, 0)?;
    let normalization = Normalization::new(vec![0.5], vec![0.3])?;
    let data = Dataset { train: noise(6_000)?, test: noise(10_000)?, classes: CLASSES, normalization };
    let config = TrainConfig {
        length: Length::Steps(40),
        batch_size: BATCH as usize,
        record: vec![Record::Predictions],
        kernels: Kernels::Fused,
        ..TrainConfig::default()
    };
    let outcome = train(&model, &data, &config, Device::Cpu, &mut Alone)?;
    let step = median(outcome.history.train_seconds[5..].to_vec());
    let pass = median(outcome.history.eval_seconds[5..].to_vec());

    let test = Evaluator::new(&data.test, &data.normalization, CLASSES, Precision::Float32)?;
    let metrics = test.measure(&model)?;
    let sets = Sets { test: &test.labels, validation: None, train: BATCH, trained: &[], classes: CLASSES };
    let mut recorder = Recorder::new(&sets, &[Record::Predictions], None)?;
    let taken = Taken {
        loss: Tensor::from(2.3f32),
        logits: Tensor::f_randn([BATCH, CLASSES], (Kind::Float, Device::Cpu))?,
        labels: data.train.labels.f_narrow(0, 0, BATCH)?,
        batch: Tensor::f_arange(BATCH, (Kind::Int64, Device::Cpu))?,
        gradients: vec![],
    };
    let row = timed(|| {
        recorder.sheet.write_step(&recorder.sheet.step_row(&taken)?, &taken)?;
        recorder.step_was_written()
    })?;
    let mut number = 0;
    let measured = timed(|| {
        number += 1;
        recorder.sheet.write_evaluation(std::slice::from_ref(&metrics))?;
        recorder.evaluation_was_written(number)
    })?;
    let correct = Tensor::f_zeros_like(&data.test.labels)?;
    let classes = timed(|| {
        let none = Tensor::f_zeros([CLASSES], (Kind::Int64, Device::Cpu))?;
        let _ = none.f_index_add(0, &data.test.labels, &correct)?;
        Ok(())
    })?;

    println!("a step: {:.2} ms; a pass over 10,000 images: {:.2} ms", 1e3 * step, 1e3 * pass);
    for (what, seconds) in [
        ("a step's row", row),
        ("a pass's row, with predictions", measured),
        ("class counts of a pass", classes),
        ("together", row + measured + classes),
    ] {
        println!(
            "{what}: {:.1} µs, {:.3} % of step and pass",
            1e6 * seconds,
            100.0 * seconds / (step + pass)
        );
    }
    println!("a step's row is {:.2} % of a training step alone", 100.0 * row / step);
    Ok(())
}

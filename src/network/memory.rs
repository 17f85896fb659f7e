//! What a network takes in memory, by arithmetic and before anything is allocated, against what there is.

use super::{describe, Network, Shape};
use crate::error::{Error, Result};

/// Where the machine does not say how much memory it has, which only Linux does in a way that is read here.
const ELSEWHERE: u64 = 64 << 30;

/// Of one network for images of one shape, in numbers, not bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Needs {
    /// Parameters, and batch norm's statistics.
    pub weights: f64,
    /// What all layers give for one image.
    pub results: f64,
    /// The most that one layer takes and gives for one image.
    pub largest: f64,
    /// The most that one layer gives for one image.
    pub largest_result: f64,
    /// The most parameters of one layer.
    pub largest_layer: f64,
}

impl Needs {
    /// For images of `shape` (C, H, W).
    pub fn of(network: &Network, shape: [i64; 3]) -> Result<Self> {
        let mut needs =
            Needs { weights: 0.0, results: 0.0, largest: 0.0, largest_result: 0.0, largest_layer: 0.0 };
        let mut input = numbers(&shape);
        for row in describe(network, &Shape(shape.to_vec()))? {
            let output = numbers(&row.output.0);
            needs.weights += (row.parameters + row.statistics) as f64;
            needs.results += output;
            needs.largest = needs.largest.max(input + output);
            needs.largest_result = needs.largest_result.max(output);
            needs.largest_layer = needs.largest_layer.max(row.parameters as f64);
            input = output;
        }
        Ok(needs)
    }

    /// Refuses weights that do not fit into memory.
    pub fn check_weights(&self, network: &Network) -> Result<()> {
        let bytes = 4.0 * self.weights;
        match bytes > machine() {
            true => Err(too_much(network, &format!("its {} weights take {}", self.weights, gib(bytes)))),
            false => Ok(()),
        }
    }

    /// Refuses training that cannot fit into memory: with weights and gradients, `copies` more of the weights (the
    /// optimizer's means, averages), half of what the layers give for a batch (the other half may not have to be kept)
    /// and the gradients of one layer, in numbers of so many bytes.
    pub fn check_training(&self, network: &Network, copies: usize, batch: usize, bytes: usize) -> Result<()> {
        let weights = 4.0 * self.weights * (2 + copies) as f64;
        let results = (self.results / 2.0 + self.largest) * batch as f64 * bytes as f64;
        match weights + results > machine() {
            true => Err(too_much(
                network,
                &format!(
                    "training it in batches of {batch} takes at least {} for the weights and {} for what the layers \
                     give",
                    gib(weights),
                    gib(results)
                ),
            )),
            false => Ok(()),
        }
    }

    /// Bytes of the largest block of memory that training takes anew in each step: a layer's gradients, or what it gives for
    /// a batch in numbers of so many bytes.
    pub fn largest_block(&self, batch: usize, bytes: usize) -> f64 {
        (4.0 * self.largest_layer).max(self.largest_result * batch as f64 * bytes as f64)
    }

    /// The images, at most `chunk`, that each of so many workers may take at once: an eighth of the memory for them all.
    pub fn chunk(&self, network: &Network, chunk: i64, workers: usize, bytes: usize) -> Result<i64> {
        let of_image = self.largest * bytes as f64;
        if of_image > machine() {
            return Err(too_much(network, &format!("one layer takes {} for a single image", gib(of_image))));
        }
        let most = machine() / 8.0 / workers as f64 / of_image;
        Ok(chunk.min(most as i64).max(1))
    }
}

fn numbers(shape: &[i64]) -> f64 {
    shape.iter().map(|size| *size as f64).product()
}

fn gib(bytes: f64) -> String {
    format!("{:.1} GiB", bytes / f64::from(1 << 30))
}

fn too_much(network: &Network, what: &str) -> Error {
    let there_is = gib(machine());
    Error::Argument(format!(
        "network {:?} does not fit into memory: {what}, and there are {there_is}. Use fewer or smaller layers, more \
         stride or pooling, or smaller batches or images.",
        network.name
    ))
}

/// Bytes of memory that this process may use.
fn machine() -> f64 {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
    });
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit =
        limits.iter().filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()).min();
    total.into_iter().chain(limit).min().unwrap_or(ELSEWHERE) as f64
}

#[cfg(test)]
mod tests {
    use super::super::{Conv2d, Layer, Linear};
    use super::*;

    fn network(channels: i64, padding: i64) -> Network {
        let layers = vec![
            Layer::Conv2d(Conv2d::new(1, channels, 3).padding(padding)),
            Layer::GlobalAvgPool,
            Layer::Linear(Linear { bias: false, ..Linear::new(channels, 2) }),
        ];
        Network::new("net", [1, 8, 8], layers).unwrap()
    }

    // By hand: 4 · 9 + 2 · 4 weights; maps of 4 · 8 · 8, then 4, then 2 numbers.
    #[test]
    fn numbers_are_counted() {
        let needs = Needs::of(&network(4, 1), [1, 8, 8]).unwrap();
        let largest = Needs { largest: 320.0, largest_result: 256.0, largest_layer: 36.0, ..needs };
        assert_eq!(needs, Needs { weights: 44.0, results: 262.0, ..largest });
        assert_eq!((needs.largest_block(2, 2), needs.largest_block(0, 2)), (1024.0, 144.0));
        assert_eq!(needs.chunk(&network(4, 1), 250, 2, 4).unwrap(), 250);
    }

    #[test]
    fn what_cannot_fit_is_refused_with_the_number() {
        let wide = network(1 << 18, 1);
        let needs = Needs::of(&wide, [1, 8, 8]).unwrap();
        // Half of the 2^18 · 65 + 2 numbers that the layers give, and the 2^18 · 65 that pooling takes and gives, of four
        // bytes, for 2^20 images.
        let error = needs.check_training(&wide, 2, 1 << 20, 4).unwrap_err().to_string();
        assert!(error.contains("99840.0 GiB") && error.contains("batches of 1048576"), "{error}");
        assert!(needs.check_weights(&wide).is_ok());
        let chunk = needs.chunk(&wide, i64::MAX, 1, 4).unwrap();
        assert!((1..1 << 26).contains(&chunk), "{chunk}");
    }
}

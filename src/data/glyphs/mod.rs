//! The built-in data set: the ten digits, drawn as strokes with a random hand, for where MNIST cannot be had.
//!
//! Image `i` of a stream depends on the seed, the stream and `i` alone, so a larger set begins with the
//! smaller one and the number of threads does not matter. See `strokes` for the shapes, `distort` for the
//! hand, `raster` for the pixels.

mod distort;
mod random;
mod raster;
mod strokes;

use std::thread;

use ndarray::{Array1, Array3};

use crate::error::{Error, Result};
use random::{Purpose, Random};
use raster::{PIXELS, SIDE};

pub const CLASSES: usize = 10;
/// The most images made at once: 7.8 GB.
const MAX_COUNT: usize = 10_000_000;
/// Fewer images than this are not worth a thread.
const PER_THREAD: usize = 200;

/// Digits and what they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Glyphs {
    /// (count, 28, 28), white on black.
    pub images: Array3<u8>,
    /// (count,), 0 to 9. Every ten images from a multiple of ten on hold each digit once, in random order.
    pub labels: Array1<i64>,
}

/// Draws `count` digits. Different streams, such as 0 for training and 1 for testing, share no images.
///
/// # Errors
/// `Error::Argument` if `count` is zero, above ten million or too much for the memory; `Error::Data` if the
/// system does not let us start threads.
pub fn generate(count: usize, seed: u64, stream: u64) -> Result<Glyphs> {
    let available = thread::available_parallelism().map_or(1, |n| n.get());
    generate_on(available.min(count / PER_THREAD), count, seed, stream)
}

/// `generate` on this many threads, at least one.
fn generate_on(threads: usize, count: usize, seed: u64, stream: u64) -> Result<Glyphs> {
    if count == 0 || count > MAX_COUNT {
        return Err(Error::Argument(format!(
            "cannot draw {count} glyphs: the number must be between 1 and {MAX_COUNT}"
        )));
    }
    let mut images = zeros(count * PIXELS)?;
    let mut labels = zeros(count)?;
    let share = count.div_ceil(threads.max(1));
    thread::scope(|scope| {
        let parts = images.chunks_mut(share * PIXELS).zip(labels.chunks_mut(share)).enumerate();
        for (part, (images, labels)) in parts {
            let work = move || fill(images, labels, (part * share) as u64, seed, stream);
            thread::Builder::new()
                .name(format!("glyphs-{part}"))
                .spawn_scoped(scope, work)
                .map_err(|e| Error::Data(format!("cannot start a thread to draw glyphs: {e}")))?;
        }
        Ok::<(), Error>(())
    })?;
    let shaped = |e: ndarray::ShapeError| Error::Data(format!("cannot arrange the glyphs: {e}"));
    Ok(Glyphs {
        images: Array3::from_shape_vec((count, SIDE, SIDE), images).map_err(shaped)?,
        labels: Array1::from_vec(labels),
    })
}

/// Draws the images from number `first` on.
fn fill(images: &mut [u8], labels: &mut [i64], first: u64, seed: u64, stream: u64) {
    for (index, (image, label)) in (first..).zip(images.chunks_exact_mut(PIXELS).zip(labels)) {
        let digit = digit(index, seed, stream);
        let mut random = Random::new(seed, stream, Purpose::Image, index);
        let hands = strokes::shapes(digit);
        let strokes = distort::draw(hands[random.below(hands.len())], &mut random);
        raster::paint(&strokes, &mut random, image);
        *label = digit as i64;
    }
}

/// The class of image `index`: its place in a random order of the ten digits, a new one for every ten images.
fn digit(index: u64, seed: u64, stream: u64) -> usize {
    let (block, place) = (index / CLASSES as u64, (index % CLASSES as u64) as usize);
    let mut random = Random::new(seed, stream, Purpose::Label, block);
    let mut order: [usize; CLASSES] = std::array::from_fn(|digit| digit);
    for last in (1..CLASSES).rev() {
        order.swap(last, random.below(last + 1));
    }
    order[place]
}

/// `Vec` of zeros, or an error where `vec!` would abort the process.
fn zeros<T: Clone + Default>(length: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(length)
        .map_err(|e| Error::Argument(format!("no memory for that many glyphs ({e}): ask for fewer")))?;
    values.resize(length, T::default());
    Ok(values)
}

#[cfg(test)]
mod tests {
    use ndarray::s;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_and_another_does_not() {
        let glyphs = generate(300, 7, 0).unwrap();
        assert_eq!(glyphs, generate(300, 7, 0).unwrap());
        for (seed, stream) in [(8, 0), (7, 1), (0, 7)] {
            let other = generate(300, seed, stream).unwrap();
            assert_ne!(glyphs.labels, other.labels);
            let same = glyphs.images.outer_iter().zip(other.images.outer_iter()).filter(|(a, b)| a == b);
            assert_eq!(same.count(), 0);
        }
    }

    /// Saved results depend on the images: a change here is a new data set and belongs in the changelog. The
    /// arithmetic is exact everywhere (see `distort`), so the sum may be pinned.
    #[test]
    fn the_images_of_a_seed_stay_the_same() {
        let glyphs = generate(20, 0, 0).unwrap();
        let bytes = glyphs.images.iter().copied().chain(glyphs.labels.iter().map(|&label| label as u8));
        let fnv = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        assert_eq!(fnv, 0xa2dd_8a63_6a32_3823, "{fnv:#018x}");
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let alone = generate_on(1, 457, 1, 0).unwrap();
        for threads in [0, 2, 3, 8, 457, 1000] {
            assert_eq!(alone, generate_on(threads, 457, 1, 0).unwrap());
        }
    }

    #[test]
    fn a_larger_set_begins_with_the_smaller_one() {
        let large = generate(1234, 5, 1).unwrap();
        for count in [1, 17, 700] {
            let small = generate(count, 5, 1).unwrap();
            assert_eq!(small.images, large.images.slice(s![..count, .., ..]));
            assert_eq!(small.labels, large.labels.slice(s![..count]));
        }
    }

    #[test]
    fn classes_are_balanced_and_out_of_order() {
        let labels = generate(1000, 0, 0).unwrap().labels;
        for digit in 0..10 {
            assert_eq!(labels.iter().filter(|&&label| label == digit).count(), 100);
        }
        let in_order = labels.windows(2).into_iter().filter(|pair| pair[1] == pair[0] + 1).count();
        assert!((40..160).contains(&in_order), "{in_order}");
    }

    #[test]
    fn images_look_like_digits_on_paper() {
        let glyphs = generate(2000, 0, 0).unwrap();
        let mean =
            glyphs.images.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / 255.0 / (2000 * PIXELS) as f64;
        assert!((0.09..0.18).contains(&mean), "mean {mean}");
        for image in glyphs.images.outer_iter() {
            let bright = image.iter().filter(|&&pixel| pixel > 100).count();
            assert!((15..350).contains(&bright), "{bright} bright pixels");
            assert!(image.iter().filter(|&&pixel| pixel < 60).count() > PIXELS / 2);
        }
        let distinct = glyphs.images.outer_iter().map(|i| i.iter().copied().collect::<Vec<_>>());
        assert_eq!(distinct.collect::<std::collections::HashSet<_>>().len(), 2000);
    }

    #[test]
    fn the_extremes_of_the_arguments() {
        for count in [0, MAX_COUNT + 1, usize::MAX] {
            let error = generate(count, 0, 0).unwrap_err();
            assert!(matches!(error, Error::Argument(_)));
            assert!(error.to_string().contains(&count.to_string()));
        }
        assert_eq!(generate(1, u64::MAX, u64::MAX).unwrap().images.dim(), (1, 28, 28));
    }
}

//! Dropout on a CPU: its masks are a function of a seed, the number of the layer in the pass and the place in the map alone,
//! whatever else draws from torch's generator, in whichever thread and with however many.

use std::cell::{Cell, RefCell};

use tch::{Device, Kind, Tensor};

use super::layer::{Dropout, Layer};
use crate::error::Result;
use crate::kernels::{elements, elements_mut};
use crate::libtorch::parallel;

thread_local! {
    /// The seed of the pass, and how many masks were drawn in it.
    static PASS: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
    static ROWS: RefCell<Option<Rows>> = const { RefCell::new(None) };
}

/// The images of a batch that a pass is of, where it is not of all of them.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Places in the batch.
    pub kept: Vec<i64>,
    /// Images of the batch.
    pub of: i64,
}

/// Elements, in pairs, from which on a second thread pays.
const GRAIN: usize = 1 << 13;

/// What splitmix64 adds to its state for each number.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Runs `work`, a pass of a network in this thread, whose dropout on a CPU is drawn from `seed`. Otherwise torch's generator
/// draws it.
pub fn drawing<T>(seed: u64, work: impl FnOnce() -> T) -> T {
    struct Within(Option<(u64, u64)>);
    impl Drop for Within {
        fn drop(&mut self) {
            PASS.set(self.0);
        }
    }

    let _within = Within(PASS.replace(Some((seed, 0))));
    work()
}

/// Runs `work`, passes of these images of a batch, each of which gets the masks that it has in the whole batch.
pub fn with_masks_of<T>(rows: Rows, work: impl FnOnce() -> T) -> T {
    struct Within(Option<Rows>);
    impl Drop for Within {
        fn drop(&mut self) {
            ROWS.set(self.0.take());
        }
    }

    let _within = Within(ROWS.replace(Some(rows)));
    work()
}

/// What a mask drops as one.
#[derive(Clone, Copy)]
enum Dropped {
    Values,
    Channels,
    Images,
}

/// `x` with a share `p` of its values zero and the others larger in turn, as `torch.dropout` has it.
pub fn dropout(x: &Tensor, p: f64) -> Result<Tensor> {
    match drawn(x, p, Dropped::Values)? {
        Some(mask) => Ok(x.f_mul(&mask)?),
        None => Ok(x.f_dropout(p, true)?),
    }
}

/// The same for whole channels of `x` (N, C, ...), as `torch.feature_dropout` has it.
pub fn feature_dropout(x: &Tensor, p: f64) -> Result<Tensor> {
    match drawn(x, p, Dropped::Channels)? {
        Some(mask) => Ok(x.f_mul(&mask)?),
        None => Ok(x.f_feature_dropout(p, true)?),
    }
}

/// The same for whole images of `x` (N, ...), as `torchvision.ops.stochastic_depth` has it by rows.
pub fn stochastic_depth(x: &Tensor, p: f64) -> Result<Tensor> {
    match drawn(x, p, Dropped::Images)? {
        Some(mask) => Ok(x.f_mul(&mask)?),
        // As channels of one image.
        None => Ok(x.f_unsqueeze(0)?.f_feature_dropout(p, true)?.f_squeeze_dim(0)?),
    }
}

/// What a layer that drops multiplies `x` by in this pass. None where torch is to draw, or there is nothing to be drawn.
pub fn next_mask(layer: &Layer, x: &Tensor) -> Result<Option<Tensor>> {
    match layer {
        Layer::Dropout(Dropout { p }) => drawn(x, *p, Dropped::Values),
        Layer::Dropout2d(Dropout { p }) => drawn(x, *p, Dropped::Channels),
        Layer::StochasticDepth(Dropout { p }) => drawn(x, *p, Dropped::Images),
        _ => Ok(None),
    }
}

/// The next mask, in the number format of `x` and of a size that broadcasts to its own.
fn drawn(x: &Tensor, p: f64, dropped: Dropped) -> Result<Option<Tensor>> {
    let Some(seed) = next_seed(x, p) else { return Ok(None) };
    let axes = match dropped {
        Dropped::Values => return Ok(Some(mask(&x.f_detach()?.f_empty_like()?, seed, p)?)),
        Dropped::Channels => 2,
        Dropped::Images => 1,
    };
    let mut size = vec![1; x.dim()];
    size[..axes].copy_from_slice(&x.size()[..axes]);
    let places = Tensor::f_empty(size.as_slice(), (x.f_kind()?, Device::Cpu))?;
    Ok(Some(mask(&places, seed, p)?))
}

/// None where torch is to draw, or there is nothing to be drawn.
fn next_seed(x: &Tensor, p: f64) -> Option<u64> {
    let (seed, drawn) = PASS.get().filter(|_| x.device() == Device::Cpu && p > 0.0 && p < 1.0)?;
    PASS.set(Some((seed, drawn + 1)));
    Some(mixed(seed.wrapping_add(mixed(drawn))))
}

/// A tensor of the size, memory layout and number format of `like`: 0 with probability `p`, otherwise 1 / (1 - p).
fn mask(like: &Tensor, seed: u64, p: f64) -> Result<Tensor> {
    let kind = like.f_kind()?;
    let mask = like.f_to_kind(Kind::Float)?;
    let keep = 1.0 - p;
    // SAFETY: both are new, dense, on the CPU and of this element type.
    let values = |mask: &Tensor| fill(unsafe { elements_mut(mask) }, seed, keep, 1.0 / keep as f32);
    ROWS.with_borrow(|rows| match rows {
        None => values(&mask),
        Some(Rows { kept, of }) => {
            // The images lie one after the other in memory, whatever lies within them.
            let each = mask.numel() / kept.len().max(1);
            let whole = Tensor::f_empty([*of, each as i64], (Kind::Float, Device::Cpu))?;
            values(&whole)?;
            let chosen = whole.f_index_select(0, &Tensor::f_from_slice(kept)?)?;
            unsafe { elements_mut::<f32>(&mask) }.copy_from_slice(unsafe { elements(&chosen) });
            Ok(())
        }
    })?;
    Ok(mask.f_to_kind(kind)?)
}

/// Two neighbours share a number of splitmix64, which begins at `seed`.
fn fill(mask: &mut [f32], seed: u64, keep: f64, kept: f32) -> Result<()> {
    let below = (keep * 2f64.powi(32)).round() as u64;
    let value = |bits: u64| if bits < below { kept } else { 0.0 };
    let places = crate::kernels::Places::new(mask);
    let len = mask.len();
    parallel(len.div_ceil(2), GRAIN, |pairs| {
        // SAFETY: the slice outlives the loop, whose ranges do not overlap.
        let part = unsafe { places.slice(pairs.start * 2..(pairs.end * 2).min(len)) };
        for (pair, part) in pairs.zip(part.chunks_mut(2)) {
            let bits = mixed(seed.wrapping_add((pair as u64).wrapping_mul(GAMMA)));
            part[0] = value(bits >> 32);
            if let Some(second) = part.get_mut(1) {
                *second = value(bits & 0xffff_ffff);
            }
        }
    })
}

/// One step of splitmix64 (Steele, Lea and Flood 2014), which takes each number to another one.
pub fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(GAMMA);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ones(size: &[i64]) -> Tensor {
        Tensor::ones(size, (Kind::Float, Device::Cpu))
    }

    fn values(x: &Tensor) -> Vec<f32> {
        Vec::try_from(x.contiguous().flatten(0, -1)).unwrap()
    }

    // The first numbers of Vigna's splitmix64.c with x = 0, as its users quote them.
    #[test]
    fn numbers_are_those_of_splitmix64() {
        let numbers = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
        for (index, number) in numbers.into_iter().enumerate() {
            assert_eq!(mixed((index as u64).wrapping_mul(GAMMA)), number);
        }
        let mut mask = [0f32; 5];
        fill(&mut mask, 0, 0.5, 2.0).unwrap();
        assert_eq!(mask, [0.0, 2.0, 2.0, 0.0, 2.0]); // 0xe2…, 0x7b…, 0x6e…, 0xa1…, 0x06…
    }

    // Of n values a share p ± √(p (1 - p) / n) is dropped, whatever its neighbour is.
    #[test]
    fn as_many_are_dropped_as_was_asked_for() {
        for p in [0.05, 0.5, 0.9] {
            let dropped = values(&drawing(7, || dropout(&ones(&[1000, 1001]), p)).unwrap());
            let kept = 1.0 / (1.0 - p) as f32;
            assert!(dropped.iter().all(|value| *value == 0.0 || *value == kept));
            let share = |zeros: usize, all: usize| zeros as f64 / all as f64;
            let bound = 5.0 * (p * (1.0 - p) / 1e6f64).sqrt();
            let zeros = dropped.iter().filter(|value| **value == 0.0).count();
            assert!((share(zeros, dropped.len()) - p).abs() < bound);
            let both = dropped.windows(2).filter(|pair| pair[0] == 0.0 && pair[1] == 0.0).count();
            assert!((share(both, dropped.len()) - p * p).abs() < 3.0 * bound);
        }
    }

    #[test]
    fn masks_follow_seed_and_layer_alone() {
        let x = ones(&[40, 30, 20]);
        let two = |seed| drawing(seed, || [dropout(&x, 0.5).unwrap(), dropout(&x, 0.5).unwrap()]);
        let [[first, second], [again, _], [other, _]] = [two(1), two(1), two(2)];
        assert_eq!(first, again);
        assert_ne!(first, second);
        assert_ne!(first, other);
        let elsewhere = std::thread::spawn(move || drawing(1, || values(&dropout(&x, 0.5).unwrap())));
        assert_eq!(values(&first), elsewhere.join().unwrap());
    }

    #[test]
    fn whole_channels_are_dropped_in_any_layout_and_format() {
        let x = ones(&[64, 32, 3, 5]).to_kind(Kind::BFloat16);
        for x in [x.shallow_clone(), x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])] {
            let dropped = drawing(3, || feature_dropout(&x, 0.25)).unwrap();
            assert_eq!((dropped.kind(), dropped.size()), (Kind::BFloat16, x.size()));
            let of_channels = dropped.amax([2, 3], false);
            assert_eq!(of_channels, dropped.amin([2, 3], false));
            let zeros = of_channels.eq(0.0).sum(Kind::Int64).int64_value(&[]);
            assert!((430..600).contains(&zeros), "{zeros}"); // 512 ± 20 of 2048
        }
    }

    #[test]
    fn whole_images_are_dropped_in_any_shape_and_format() {
        for size in [&[2048, 3, 2, 5][..], &[2048, 7]] {
            for x in [ones(size), ones(size).to_kind(Kind::BFloat16)] {
                let _alone = crate::train::generator(); // the one that torch draws from is everyone's
                for dropped in [drawing(3, || stochastic_depth(&x, 0.25)), stochastic_depth(&x, 0.25)] {
                    let dropped = dropped.unwrap();
                    assert_eq!((dropped.kind(), dropped.size()), (x.kind(), x.size()));
                    let flat = dropped.flatten(1, -1);
                    let of_images = flat.amax([1], false);
                    assert_eq!(of_images, flat.amin([1], false));
                    let zeros = of_images.eq(0.0).sum(Kind::Int64).int64_value(&[]);
                    assert!((430..600).contains(&zeros), "{zeros}"); // 512 ± 20 of 2048
                    let kept = of_images.max().double_value(&[]);
                    assert!((kept - 4.0 / 3.0).abs() < 1e-2, "{kept}"); // bfloat16 has 8 bits
                }
            }
        }
    }

    #[test]
    fn an_image_keeps_its_mask_when_others_are_left_out() {
        let (x, kept) = (ones(&[5, 4, 3, 7]), vec![0, 3, 4]);
        for x in [x.shallow_clone(), x.to_kind(Kind::BFloat16), crate::libtorch::channels_last(&x).unwrap()] {
            let some = x.index_select(0, &Tensor::from_slice(&kept));
            let some = if x.is_contiguous() { some } else { crate::libtorch::channels_last(&some).unwrap() };
            for drop in [dropout, feature_dropout, stochastic_depth] {
                let whole = drawing(9, || drop(&x, 0.5)).unwrap();
                let rows = Rows { kept: kept.clone(), of: 5 };
                let part = with_masks_of(rows, || drawing(9, || drop(&some, 0.5))).unwrap();
                assert_eq!(part, whole.index_select(0, &Tensor::from_slice(&kept)));
            }
        }
    }

    // Against autograd's own dropout: a gradient passes where a value does.
    #[test]
    fn nothing_is_drawn_from_torch_and_gradients_pass() {
        let x = ones(&[50]).set_requires_grad(true);
        let y = drawing(5, || dropout(&x, 0.5)).unwrap();
        let gradients = Tensor::run_backward(&[&y.sum(Kind::Float)], &[&x], false, false);
        assert_eq!(gradients[0], y.detach());
        assert_eq!(drawing(5, || dropout(&x, 0.0)).unwrap(), x);
        assert_eq!(drawing(5, || dropout(&x, 1.0)).unwrap(), x.zeros_like());
    }
}

//! Numbers below the smallest one that float32 holds with all its digits, 1.2e-38: a processor takes a hundred times as long
//! for them as for others.

use super::parallel::parallel;
use crate::error::Result;

extern "C" {
    /// Of `modes.cpp`.
    fn everybatch_take_tiny_for_zero(on: bool);
}

/// While it lives, the thread that made it and those that help it take such numbers for zero.
pub struct TinyIsZero {
    threads: usize,
}

impl TinyIsZero {
    pub fn begin() -> Result<Self> {
        let tiny = TinyIsZero { threads: tch::get_num_threads() as usize };
        tiny.set(true)?;
        Ok(tiny)
    }

    fn set(&self, on: bool) -> Result<()> {
        // SAFETY: sets a mode of the thread's processor.
        parallel(self.threads, 1, |_| unsafe { everybatch_take_tiny_for_zero(on) })
    }
}

impl Drop for TinyIsZero {
    fn drop(&mut self) {
        let _ = self.set(false); // the loop was possible a moment ago
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    const MANY: i64 = 1 << 20; // which libtorch splits among its threads

    /// Whether half of the smallest normal number is zero, in whole tensors.
    fn is_zero() -> [bool; 2] {
        let halves = Tensor::full([MANY], f64::from(f32::MIN_POSITIVE), (Kind::Float, Device::Cpu)) * 0.5;
        [
            halves.count_nonzero(None::<i64>).int64_value(&[]) == 0,
            std::hint::black_box(f32::MIN_POSITIVE) / 2.0 == 0.0,
        ]
    }

    #[test]
    fn it_holds_for_all_threads_while_it_lives() {
        assert_eq!(is_zero(), [false; 2]);
        let tiny = TinyIsZero::begin().unwrap();
        assert_eq!(is_zero(), [true; 2]);
        drop(tiny);
        for _ in 0..10 {
            assert_eq!(is_zero(), [false; 2]);
        }
    }
}

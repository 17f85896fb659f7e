//! libtorch's own threads, for loops of ours. A second set of threads would wait for the cores that the first one, which
//! spins for a while after each operation, still holds.

use std::ffi::c_void;
use std::ops::Range;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};

use super::status;
use crate::error::{Error, Result};

extern "C" {
    fn torch_parallel_for(
        begin: i64,
        end: i64,
        grain_size: i64,
        work: extern "C" fn(i64, i64, *mut c_void),
        context: *mut c_void,
    ) -> i32;
}

struct Context<'a> {
    work: &'a (dyn Fn(Range<usize>) + Sync),
    panicked: AtomicBool,
}

extern "C" fn run(begin: i64, end: i64, context: *mut c_void) {
    // SAFETY: `parallel` passes its own context, which outlives the loop.
    let context = unsafe { &*context.cast::<Context>() };
    let range = begin as usize..end as usize;
    if catch_unwind(AssertUnwindSafe(|| (context.work)(range))).is_err() {
        context.panicked.store(true, Ordering::Relaxed);
    }
}

/// Splits 0..count into ranges of at least `grain` and runs `work` on them side by side.
pub fn parallel(count: usize, grain: usize, work: impl Fn(Range<usize>) + Sync) -> Result<()> {
    let mut context = Context { work: &work, panicked: AtomicBool::new(false) };
    // SAFETY: the context lives until the call returns, which is when all ranges are done, and `run` only shares it.
    let code = unsafe {
        torch_parallel_for(0, count as i64, grain.max(1) as i64, run, (&raw mut context).cast::<c_void>())
    };
    status("torch_parallel_for", code)?;
    match context.panicked.into_inner() {
        true => Err(Error::argument("a loop that threads share panicked: this is a bug in everybatch")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn every_number_is_met_once() {
        let met: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        parallel(1000, 7, |range| {
            for index in range {
                met[index].fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
        assert!(met.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        parallel(0, 1, |_| panic!("there is nothing to do")).unwrap();
    }

    #[test]
    fn a_panic_becomes_an_error() {
        assert!(parallel(10, 1, |range| assert!(!range.contains(&7))).is_err());
    }
}

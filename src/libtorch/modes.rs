//! What a program has set in torch, put aside while the core computes: grad mode, autocast, modes and hooks written in
//! Python, torch.func's levels, oneDNN, shortened factors, anomaly detection, numbers rounded to zero, threads.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::threads::{set_own_threads, threads};
use crate::error::{Error, Result};

extern "C" {
    fn everybatch_modes_put_aside() -> *mut c_void;
    fn everybatch_modes_bring_back(modes: *mut c_void);
}

thread_local! {
    /// What belongs to the program that called the core, while the core computes.
    static ASIDE: Cell<Option<Aside>> = const { Cell::new(None) };
}

/// Brings it back when it is dropped, in the thread that it was made in.
struct Aside {
    modes: NonNull<c_void>,
    callers_threads: i32,
    /// That the core computes with.
    threads: i32,
}

impl Aside {
    /// The core computes with the caller's number of threads unless told otherwise.
    fn new(given: Option<i32>) -> Result<Self> {
        let callers_threads = threads();
        let threads = given.unwrap_or(callers_threads);
        if threads != callers_threads {
            set_own_threads(threads);
        }
        // SAFETY: changes settings of libtorch's, and gives them or null.
        let modes = NonNull::new(unsafe { everybatch_modes_put_aside() });
        let modes =
            modes.ok_or_else(|| Error::argument("torch's settings cannot be put aside: no memory"))?;
        Ok(Aside { modes, callers_threads, threads })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // SAFETY: made by the call above, and brought back once, in the same thread, for a pointer cannot be sent.
        unsafe { everybatch_modes_bring_back(self.modes.as_ptr()) };
        if self.threads != self.callers_threads {
            set_own_threads(self.callers_threads);
        }
    }
}

/// Whether this process was forked from one in which the core had computed. The threads that helped there are not here,
/// and OpenMP would wait for them for ever; PyTorch has its data loaders' workers compute alone for the same reason.
fn forked() -> bool {
    static FIRST: AtomicU32 = AtomicU32::new(0);
    let here = std::process::id();
    let first = FIRST.compare_exchange(0, here, Ordering::Relaxed, Ordering::Relaxed);
    first.is_err_and(|first| first != here)
}

/// Runs `work` with torch as a thread finds it that has just begun, and a run where nothing was set.
pub fn plain<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    struct Within(Option<Aside>);
    impl Drop for Within {
        fn drop(&mut self) {
            ASIDE.set(self.0.take());
        }
    }

    let aside = Aside::new(forked().then_some(1))?;
    let _within = Within(ASIDE.replace(Some(aside)));
    work()
}

/// Within [`plain`], runs `work` with torch as the caller of that has it. What `work` changes holds for the caller from
/// then on, and not for what `plain` runs.
pub fn as_called<T>(work: impl FnOnce() -> T) -> Result<T> {
    let Some(aside) = ASIDE.take() else { return Ok(work()) };
    let threads = aside.threads;
    drop(aside);
    let result = work();
    ASIDE.set(Some(Aside::new(Some(threads))?));
    Ok(result)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    fn tracks() -> bool {
        let x = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        (&x * 2.0).requires_grad()
    }

    #[test]
    fn grad_mode_is_the_cores_within_and_the_callers_around_it() {
        let _off = tch::no_grad_guard();
        let seen = plain(|| {
            let before = tracks();
            let called = as_called(|| {
                let seen = tracks();
                tch::autocast(true, tracks); // changes something and restores it
                seen
            })?;
            let nested = as_called(|| plain(|| Ok(tracks())))??;
            Ok([before, called, nested, tracks()])
        });
        assert_eq!(seen.unwrap(), [true, false, true, true]);
        assert!(!tracks());
        assert!(!as_called(tracks).unwrap()); // outside there is nothing to bring back
    }

    #[test]
    fn a_panic_brings_the_callers_back() {
        let _off = tch::no_grad_guard();
        let panicked = std::panic::catch_unwind(|| plain(|| -> Result<()> { panic!("as the test wants") }));
        assert!(panicked.is_err() && !tracks());
    }

    #[test]
    fn numbers_of_threads_are_kept_apart() {
        let before = threads();
        let within = plain(|| {
            as_called(|| set_own_threads(before + 1))?;
            Ok(threads())
        });
        assert_eq!((within.unwrap(), threads()), (before, before + 1));
        set_own_threads(before);
    }
}

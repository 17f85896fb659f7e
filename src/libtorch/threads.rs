//! How many threads libtorch computes with. It keeps a number for each thread that calls it, and one that a thread takes
//! over at its first call; to set the first is to set the second.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{scope, Builder};

extern "C" {
    /// Of `modes.cpp`.
    fn everybatch_compute_with(number: i32) -> bool;
}

/// Held while the number that new threads take over may be another one than the program's.
fn setting() -> MutexGuard<'static, ()> {
    static SETTING: Mutex<()> = Mutex::new(());
    SETTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The calling thread's number.
pub fn threads() -> i32 {
    let _nobody_sets = setting();
    tch::get_num_threads()
}

/// Sets the calling thread's number, and leaves what new threads take over as it was.
pub fn set_own_threads(number: i32) {
    let _alone = setting();
    let _ = tch::get_num_threads(); // or the next call would take another one over
    let taken_over = in_a_new_thread(tch::get_num_threads);
    tch::set_num_threads(number);
    if let Some(number) = taken_over {
        in_a_new_thread(|| tch::set_num_threads(number));
    }
}

/// Has the calling thread compute alone from now on.
pub fn compute_alone() {
    compute_with(1);
}

fn compute_with(number: i32) {
    // SAFETY: sets numbers of the calling thread.
    if !unsafe { everybatch_compute_with(number) } {
        set_own_threads(number);
    }
}

/// While it lives, the thread that made it computes alone. Short operations are done before other threads have begun.
pub struct Alone {
    before: i32,
}

impl Alone {
    pub fn begin() -> Self {
        let alone = Alone { before: tch::get_num_threads() };
        compute_alone();
        alone
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        compute_with(self.before);
    }
}

/// None if there is no thread to be had.
fn in_a_new_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    scope(|scope| {
        let thread = Builder::new().name("everybatch".to_string()).spawn_scoped(scope, work).ok()?;
        thread.join().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_its_own_number_leaves_the_others_alone() {
        let new = || in_a_new_thread(threads).unwrap();
        let (own, of_new_ones) = (threads(), new());
        let within = in_a_new_thread(|| {
            set_own_threads(own + 3);
            let more = threads();
            let alone = Alone::begin();
            let one = threads();
            drop(alone);
            let again = threads();
            compute_alone();
            (more, one, again, threads())
        });
        assert_eq!((within, threads(), new()), (Some((own + 3, 1, own + 3, 1)), own, of_new_ones));
    }
}

//! The C library's heap while a network trains.
//!
//! glibc gives a block of 32 MiB or more back to the system as soon as it is freed, and the next one, of the same size a moment
//! later, comes one zeroed page after the other: a third of a step of a network whose dense layer has a gradient of 100 MiB.

/// While one lives, the process keeps the memory that it frees; after the last of them it gives it back. Of blocks that
/// threads other than the main one take, glibc keeps none. Other C libraries go on as ever.
pub struct Kept {
    /// The process that it was made in: one that was forked from it has it, too, and settings of its own.
    process: u32,
}

/// The smallest block that is given back at once, in bytes.
const GIVEN_BACK: f64 = (32 << 20) as f64;

impl Kept {
    /// For work that takes blocks of up to `largest` bytes again and again. None if it takes none that glibc would give
    /// back, or if whoever started the process said how its heap is to be kept.
    pub fn for_blocks(largest: f64) -> Option<Self> {
        (largest >= GIVEN_BACK && !set_from_outside()).then(|| {
            let process = std::process::id();
            glibc::hold(process);
            Kept { process }
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            glibc::release();
        }
    }
}

fn set_from_outside() -> bool {
    std::env::vars_os().any(|(name, value)| match name.to_str() {
        Some("GLIBC_TUNABLES") => value.to_string_lossy().contains("glibc.malloc."),
        Some(name) => name.starts_with("MALLOC_") && name.ends_with('_'),
        None => false,
    })
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use libc::{c_int, malloc_trim, mallopt, M_MMAP_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD};

    /// While blocks are kept: none is mapped on its own, and the end of the heap is never cut off.
    const HOLDING: [(c_int, c_int); 2] = [(M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)];

    /// What glibc begins with, and the thresholds that it comes to by itself where such blocks are freed.
    const AS_EVER: [(c_int, c_int); 3] =
        [(M_MMAP_MAX, 65_536), (M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, 64 << 20)];

    /// How many there are, and in which process.
    fn holders() -> MutexGuard<'static, (usize, u32)> {
        static HOLDERS: Mutex<(usize, u32)> = Mutex::new((0, 0));
        HOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(options: &[(c_int, c_int)]) {
        for &(option, value) in options {
            // SAFETY: changes numbers under glibc's own lock.
            unsafe { mallopt(option, value) };
        }
    }

    pub fn hold(process: u32) {
        let mut holders = holders();
        if holders.0 == 0 || holders.1 != process {
            set(&HOLDING);
            *holders = (0, process);
        }
        holders.0 += 1;
    }

    pub fn release() {
        let mut holders = holders();
        holders.0 -= 1;
        if holders.0 == 0 {
            set(&AS_EVER);
            // SAFETY: gives back pages that hold no block.
            unsafe { malloc_trim(0) };
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod glibc {
    pub fn hold(_: u32) {}
    pub fn release() {}
}

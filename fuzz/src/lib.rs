//! What the targets have in common: how much a reader may allocate, and a file for those that read one.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

extern "C" {
    fn allocations_begin();
    fn allocations_most() -> i64;
}

const ROOM: i64 = 64 << 20;
/// Deflate packs 1,032 bytes into one, and no more.
const UNPACKED: i64 = 1032;

/// Lets a reader read `data`. It may fail; it may not panic, nor allocate more than four times the bytes and 64 MiB.
pub fn fed<T>(data: &[u8], read: impl FnOnce() -> T) {
    // The first call sets up what stays (libtorch's tables, a runtime): that is not the input's.
    static WARM: OnceLock<()> = OnceLock::new();
    let warm = WARM.set(()).is_err();
    let bytes = data.len() as i64 * if data.starts_with(&[0x1f, 0x8b]) { UNPACKED } else { 1 };
    unsafe { allocations_begin() };
    drop(read());
    let most = unsafe { allocations_most() };
    assert!(!warm || most <= 4 * bytes + ROOM, "{most} bytes were allocated for one of {}", data.len());
}

/// A file with `data` in it, in memory where the system has such a folder; the same one each time.
pub fn file(data: &[u8]) -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let path = folder.join(format!("everybatch-fuzz-{}", std::process::id()));
    File::create(&path).and_then(|mut file| file.write_all(data)).expect("a file can be written");
    path
}

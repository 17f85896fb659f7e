#![no_main]
//! Arrays in the layout of MNIST's files, plain or packed by gzip.

use everybatch_fuzz::{fed, file};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let path = file(data);
    fed(data, || everybatch::data::idx::read(&path));
});

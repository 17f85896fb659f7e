#![no_main]
//! What `Model.save` writes.

use everybatch_fuzz::{fed, file};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let path = file(data);
    fed(data, || everybatch::network::Model::load(&path));
});

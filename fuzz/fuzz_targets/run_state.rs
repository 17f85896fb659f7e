#![no_main]
//! The state that a run's folder keeps; one that is read is written and read again.

use everybatch::train::RunState;
use everybatch_fuzz::fed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fed(data, || {
        if let Ok(state) = RunState::from_safetensors(data) {
            let bytes = state.to_safetensors().expect("what was read can be written");
            RunState::from_safetensors(&bytes).expect("what was written can be read");
            state.arrays();
        }
    });
});

#![no_main]
//! What `Network.to_json` gives; one that is read is also summed up, and gives itself again.

use everybatch::network::Network;
use everybatch_fuzz::fed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    fed(data, || {
        if let Ok(network) = Network::from_json(text) {
            let _ = network.summary();
            let again = network.to_json();
            assert_eq!(Network::from_json(&again).expect("its own JSON is read").to_json(), again);
        }
    });
});

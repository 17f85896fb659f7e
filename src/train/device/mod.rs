//! Training on a GPU: steps and measurements that do not need the host, recorded once and then replayed. Without a GPU
//! all of this runs on a CPU too, which is how it is tested.

mod measuring;
mod recording;

use serde::Serialize;

pub use measuring::DeviceMeasuring;
pub use recording::{record, Recorded};

use crate::evaluate::DeviceChoice;

/// How the device computed.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceReport {
    /// Whether steps and measurements were recorded as graphs and replayed.
    pub graphs: bool,
    /// Why not.
    pub reason: Option<String>,
    /// How the test images were measured, and the validation images if there are any.
    pub evaluation: Vec<DeviceChoice>,
}

#[cfg(test)]
mod tests;

//! Measuring: a fused plan turns images into logits, metrics reduce the logits.

mod evaluator;
mod metrics;
mod plan;

pub use evaluator::{logits, Evaluator};
pub use metrics::{confusion, Metrics, Summary};
pub use plan::Plan;

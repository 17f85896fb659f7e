//! Measuring: a fused plan turns images into logits, metrics reduce the logits.

mod estimate;
mod evaluator;
mod figures;
mod inference;
mod metrics;
mod outside;
mod passing;
mod plan;
mod resident;
mod single;
mod subject;
mod today;
mod workers;

pub use estimate::{Demand, Estimator, Learned, Source};
pub use evaluator::{logits, Evaluator, Seen};
pub use figures::Figures;
pub use inference::Choice;
pub use metrics::{class_kind, class_totals, confusion, Metrics, Summary};
pub use outside::{Forward, Outside};
pub use passing::{Pass, Passing};
pub use plan::Plan;
pub use resident::{DeviceChoice, Resident};
pub use single::{halves, Single};
pub use subject::{measure, Measured, Subject};
pub use today::Today;

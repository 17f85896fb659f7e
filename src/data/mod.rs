//! Images and labels: reading them, drawing the built-in ones, and the order in which training sees them.

mod dataset;
mod order;

pub use dataset::{Dataset, Split};
pub use order::BatchOrder;

//! Images and labels: reading them, drawing the built-in ones, and the order in which training sees them.

mod dataset;
pub mod glyphs;
pub mod idx;
mod order;

pub use dataset::{images, Dataset, Split};
pub use order::BatchOrder;

//! Images and labels: reading them, drawing the built-in ones, the order in which training sees them, and how it changes them.

mod augment;
mod dataset;
pub mod glyphs;
pub mod idx;
mod order;

pub use augment::{Augment, Augmenter, Drawn};
pub use dataset::{images, images_over, Dataset, Split};
pub use order::BatchOrder;

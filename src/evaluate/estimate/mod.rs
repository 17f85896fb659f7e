//! Measuring by looking at some of the images.

mod source;

pub use source::Source;

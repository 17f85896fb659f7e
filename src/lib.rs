//! The core of everybatch: it trains small image classifiers and measures the whole test set after every batch.
//!
//! Everything but `bindings` knows nothing of Python.

pub mod data;
pub mod error;
pub mod evaluate;
pub mod libtorch;
pub mod network;
pub mod train;

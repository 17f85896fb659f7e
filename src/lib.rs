//! The core of everybatch: it trains small image classifiers and measures the whole test set after every batch.
//!
//! Everything but `bindings` knows nothing of Python.

pub mod error;
pub mod libtorch;
pub mod network;

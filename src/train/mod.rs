//! Training: one loop (`training_loop`), and the things that it uses.

mod config;
mod history;
mod optimizer;
mod recorder;
mod training_loop;

pub use config::{EvaluateEvery, TrainConfig};
pub use history::History;
pub use optimizer::{Method, Optimizer};
pub use recorder::Recorder;
pub use training_loop::{train, End, Next, Observer, Outcome, Step};

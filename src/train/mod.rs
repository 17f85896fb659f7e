//! Training: one loop (`training_loop`), and the things that it uses.

mod average;
mod config;
mod history;
mod optimizer;
mod recorder;
mod schedule;
mod training_loop;
mod watch;

pub use config::{checkpoint_name, Checkpoints, Every, Length, TrainConfig};
pub use history::{Curves, History};
pub use optimizer::{Method, Optimizer};
pub use recorder::Recorder;
pub use schedule::{LearningRate, Schedule};
pub use training_loop::{complement, train, End, Next, Observer, Outcome, Step};
pub use watch::{Monitor, WatchConfig};

//! Training: one loop (`training_loop`), and the things that it uses.

mod average;
mod config;
mod cursor;
mod device;
mod dial;
mod dropout;
mod fused;
mod history;
mod method;
mod observer;
mod optimizer;
mod predictions;
mod prepare;
mod recorder;
mod schedule;
mod session;
mod step;
mod training_loop;
mod turns;
mod watch;
mod weights;
mod work;

pub use config::{checkpoint_name, Checkpoints, Every, Kernels, Length, Record, TrainConfig};
pub use device::DeviceReport;
pub use history::{Curves, History};
pub use method::Method;
pub use observer::{End, Next, Observer, Step};
pub use optimizer::Optimizer;
pub use predictions::Predictions;
pub use recorder::Recorder;
pub use schedule::{LearningRate, Schedule};
pub use session::RunState;
pub use step::Taken;
pub use training_loop::{train, train_with, Outcome};
pub use turns::{Turn, Turns, Verdict};
pub use watch::{Monitor, WatchConfig};

//! What a GPU can do besides computing at once: keep two queues of work, and replay recorded work. How that is done is
//! PyTorch's affair in Python (`bindings/cuda.rs`); here is what the core needs of it.

use crate::error::{Error, Result};

/// A queue of work (a CUDA stream). What is queued in one lane runs in that order, and beside the other lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The current one of the thread that trains.
    Train,
    Measure,
}

/// Work that can be recorded. It may be run more than once, and while it is recorded nothing of it is computed: it must
/// not wait for the device, read from it or copy to it, and its tensors must stay where they are.
pub type Work = Box<dyn Fn() -> Result<()>>;

pub trait Gpu: Send + Sync {
    /// Why recording is not to be tried, if so.
    fn no_graphs(&self) -> Option<String>;

    /// Records `work` as a graph that is replayed in `lane`, which must be idle. The graph keeps `work`, and so the
    /// tensors in it, alive. After an error the lane can be used as before.
    fn capture(&self, lane: Lane, work: Work) -> Result<Box<dyn Graph>>;

    /// Runs `work` so that what it computes is queued in `lane`.
    fn on(&self, lane: Lane, work: &dyn Fn() -> Result<()>) -> Result<()>;

    /// Lets what is queued in `waiter` from now on wait for what is queued in `awaited` until now. The host goes on.
    fn wait(&self, waiter: Lane, awaited: Lane) -> Result<()>;

    /// Runs `work`, in which random numbers are drawn that depend on `seed` alone. Work that draws some is recorded and
    /// replayed within this.
    fn drawing(&self, seed: u64, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        tch::manual_seed(seed as i64);
        work()
    }
}

/// Recorded work.
pub trait Graph {
    /// Queues the work in its lane.
    fn replay(&self) -> Result<()>;
}

/// A device with a single queue and no graphs.
pub struct OneLane;

impl Gpu for OneLane {
    fn no_graphs(&self) -> Option<String> {
        Some("they need PyTorch's Python side".to_string())
    }

    fn capture(&self, _: Lane, _: Work) -> Result<Box<dyn Graph>> {
        Err(Error::Device("there are no graphs without PyTorch's Python side".to_string()))
    }

    fn on(&self, _: Lane, work: &dyn Fn() -> Result<()>) -> Result<()> {
        work()
    }

    fn wait(&self, _: Lane, _: Lane) -> Result<()> {
        Ok(())
    }
}

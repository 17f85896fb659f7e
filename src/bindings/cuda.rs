//! The core's [`Gpu`] by means of torch.cuda: streams, events and graphs.
//!
//! Only the C parts of torch.cuda are called while a run goes: where Python code runs, Ctrl-C raises, and an exception in
//! the midst of a step would leave it half taken.

use std::panic::{catch_unwind, AssertUnwindSafe};

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tch::{Device, Kind, Tensor};

use super::python::STREAM_BESIDE;
use crate::error::{Error, Result};
use crate::libtorch::{Gpu, Graph, Lane, Work};

/// Set to 0, it switches graphs off.
const SWITCH: &str = "EVERYBATCH_CUDA_GRAPHS";

pub struct TorchGpu {
    lanes: [TorchLane; 2],
    /// `torch._C._cuda_setStream`
    set_stream: PyObject,
    /// `torch._C._CudaEventBase.record` and `.wait`
    record: PyObject,
    wait: PyObject,
    /// `torch.cuda.CUDAGraph`, and the methods of its base class.
    graph: PyObject,
    begin: PyObject,
    end: PyObject,
    replay: PyObject,
    synchronize: PyObject,
    /// Place of the device among all, and torch's functions for the memory of graphs.
    index: usize,
    new_pool: PyObject,
    end_pool: PyObject,
    release_pool: PyObject,
    empty_cache: PyObject,
    /// torch's generator for the device, and one of the run's own. The numbers that a graph draws come from what its
    /// generator was when it was recorded, by way of one place on the device: were that shared, what is replayed in
    /// another lane or by another run could change it before it is read.
    generators: [PyObject; 2],
}

struct TorchLane {
    stream: PyObject,
    /// What `_cuda_setStream` wants to know of it.
    place: Py<PyDict>,
    /// Recorded when the other lane is to wait for this one.
    event: PyObject,
}

impl TorchGpu {
    /// The current stream, which has to be a side stream for graphs, is the lane that trains.
    pub fn new(py: Python, device: Device) -> PyResult<Option<Self>> {
        let Device::Cuda(index) = device else { return Ok(None) };
        let cuda = py.import("torch.cuda")?;
        let lane = |stream: Bound<PyAny>| -> PyResult<TorchLane> {
            let place = PyDict::new(py);
            for name in ["stream_id", "device_index", "device_type"] {
                place.set_item(name, stream.getattr(name)?)?;
            }
            let event = cuda.getattr("Event")?.call0()?.unbind();
            Ok(TorchLane { stream: stream.unbind(), place: place.unbind(), event })
        };
        let train = lane(cuda.call_method1("current_stream", (index,))?)?;
        let measure = lane(STREAM_BESIDE.get(py)?.call1((&train.stream,))?)?;
        let c = py.import("torch")?.getattr("_C")?;
        let generator = cuda.getattr("default_generators")?.get_item(index)?;
        let own = generator.call_method0("clone_state")?;
        let (event, base) = (c.getattr("_CudaEventBase")?, c.getattr("_CUDAGraph")?);
        Ok(Some(TorchGpu {
            lanes: [train, measure],
            set_stream: c.getattr("_cuda_setStream")?.unbind(),
            record: event.getattr("record")?.unbind(),
            wait: event.getattr("wait")?.unbind(),
            graph: cuda.getattr("CUDAGraph")?.unbind(),
            begin: base.getattr("capture_begin")?.unbind(),
            end: base.getattr("capture_end")?.unbind(),
            replay: base.getattr("replay")?.unbind(),
            synchronize: c.getattr("_cuda_synchronize")?.unbind(),
            index,
            new_pool: c.getattr("_graph_pool_handle")?.unbind(),
            end_pool: c.getattr("_cuda_endAllocateToPool")?.unbind(),
            release_pool: c.getattr("_cuda_releasePool")?.unbind(),
            empty_cache: c.getattr("_cuda_emptyCache")?.unbind(),
            generators: [generator.unbind(), own.unbind()],
        }))
    }

    fn enter(&self, py: Python, lane: Lane) -> PyResult<()> {
        let place = self.lanes[lane as usize].place.bind(py);
        self.set_stream.call(py, (), Some(place)).map(drop)
    }

    /// Records `work` in the current stream. After an error torch's allocator and generator are as before.
    fn recorded(&self, work: &Work) -> Result<PyObject> {
        let pool = python(|py| self.new_pool.call0(py))?;
        let graph = python(|py| {
            self.synchronize.call0(py)?;
            let graph = self.graph.call0(py)?;
            // The backward pass runs in a thread of libtorch's, and other threads may use the GPU as they like.
            self.begin.call1(py, (&graph, &pool, "thread_local"))?;
            Ok(graph)
        })?;
        // tch panics where an operator with a number among its arguments fails.
        let done = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|_| Err(Error::Device("an operation cannot be recorded".to_string())));
        // In any case, or the stream would record for ever.
        let ended = python(|py| self.end.call1(py, (&graph,)).map(drop));
        // The second error only says that there was a first one.
        done.and(ended).map(|()| graph).inspect_err(|_| self.clear_up(&pool))
    }

    /// What torch leaves undone where a recording fails: memory goes on coming from the graph's pool, and the generator
    /// takes itself for one that is being recorded, so that nothing can be drawn from it. A recording that works brings
    /// it back. Each step is tried, whatever becomes of the others.
    fn clear_up(&self, pool: &PyObject) {
        let _ = python(|py| self.end_pool.call1(py, (self.index, pool)).map(drop));
        let _ = python(|py| self.release_pool.call1(py, (self.index, pool)).map(drop));
        let _ = Tensor::f_zeros([1], (Kind::Float, Device::Cuda(self.index))).map(|number| {
            python(|py| {
                let graph = self.graph.call0(py)?;
                self.begin.call1(py, (&graph, py.None(), "thread_local"))?;
                let _ = number.shallow_clone().f_fill_(0.0);
                self.end.call1(py, (&graph,))?;
                graph.call_method0(py, "reset").map(drop)
            })
        });
    }

    /// Runs `work` with the lane's stream as the current one.
    fn within<T>(&self, lane: Lane, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if lane == Lane::Train {
            return work();
        }
        python(|py| self.enter(py, lane))?;
        let result = work();
        python(|py| self.enter(py, Lane::Train))?;
        result
    }
}

/// Calls Python. An exception of torch's is an error of the device's.
fn python<T>(work: impl FnOnce(Python) -> PyResult<T>) -> Result<T> {
    Python::with_gil(|py| {
        work(py).map_err(|error| {
            if error.is_instance_of::<PyKeyboardInterrupt>(py) {
                // SAFETY: sets a flag; the run looks for it after each step, in a place where it can end.
                unsafe { pyo3::ffi::PyErr_SetInterrupt() };
                return Error::Device("it was interrupted".to_string());
            }
            let text = error.value(py).to_string();
            Error::Device(
                text.split("\nException raised from").next().unwrap_or(&text).trim_end().to_string(),
            )
        })
    })
}

impl Gpu for TorchGpu {
    fn no_graphs(&self) -> Option<String> {
        let off = std::env::var(SWITCH).is_ok_and(|value| value == "0");
        off.then(|| format!("they are switched off by {SWITCH}=0"))
    }

    fn capture(&self, lane: Lane, work: Work) -> Result<Box<dyn Graph>> {
        self.within(lane, || {
            if lane == Lane::Train {
                // Graphs have memory of their own, and what earlier runs left in torch's cache is lost to them.
                python(|py| self.empty_cache.call0(py).map(drop))?;
            }
            let graph = self.recorded(&work)?;
            Ok(Box::new(Python::with_gil(|py| TorchGraph {
                graph,
                replay: self.replay.clone_ref(py),
                set_stream: self.set_stream.clone_ref(py),
                places: [lane, Lane::Train].map(|lane| self.lanes[lane as usize].place.clone_ref(py)),
                _work: work,
            })) as Box<dyn Graph>)
        })
    }

    fn on(&self, lane: Lane, work: &dyn Fn() -> Result<()>) -> Result<()> {
        self.within(lane, work)
    }

    fn wait(&self, waiter: Lane, awaited: Lane) -> Result<()> {
        let [waiter, awaited] = [waiter, awaited].map(|lane| &self.lanes[lane as usize]);
        python(|py| {
            self.record.call1(py, (&awaited.event, &awaited.stream))?;
            self.wait.call1(py, (&awaited.event, &waiter.stream)).map(drop)
        })
    }

    fn drawing(&self, seed: u64, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let [torchs, own] = &self.generators;
        let before = python(|py| {
            own.call_method1(py, "manual_seed", (seed,))?;
            let before = torchs.call_method0(py, "graphsafe_get_state")?;
            torchs.call_method1(py, "graphsafe_set_state", (own,))?;
            Ok(before)
        })?;
        let done = work();
        let restored = python(|py| torchs.call_method1(py, "graphsafe_set_state", (&before,)).map(drop));
        done.and(restored)
    }
}

struct TorchGraph {
    graph: PyObject,
    /// See [`TorchGpu`].
    replay: PyObject,
    set_stream: PyObject,
    /// The lane of the graph, and that which is the current one otherwise.
    places: [Py<PyDict>; 2],
    /// Its tensors are those that the graph reads and writes.
    _work: Work,
}

impl Graph for TorchGraph {
    fn replay(&self) -> Result<()> {
        python(|py| {
            self.set_stream.call(py, (), Some(self.places[0].bind(py)))?;
            let replayed = self.replay.call1(py, (&self.graph,));
            self.set_stream.call(py, (), Some(self.places[1].bind(py)))?;
            replayed.map(drop)
        })
    }
}

impl Drop for TorchGraph {
    fn drop(&mut self) {
        // Before its tensors go, and not only when Python next counts its references.
        let _ = python(|py| self.graph.call_method0(py, "reset"));
    }
}

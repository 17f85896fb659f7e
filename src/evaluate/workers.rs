//! Threads that run chunks of images through a plan side by side, each on one core: no operation has to wait until all
//! cores have done their share of it.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use tch::Tensor;

use super::Plan;
use crate::error::{Error, Result};
use crate::libtorch::compute_alone;

struct Task {
    plan: Arc<Plan>,
    /// Place of the chunk among all.
    index: usize,
    images: Tensor,
}

pub struct Workers {
    tasks: Option<Sender<Task>>,
    results: Receiver<(usize, Result<Tensor>)>,
    threads: Vec<JoinHandle<()>>,
    /// The process that they are threads of; one that was forked from it has none of them.
    process: u32,
}

impl Workers {
    pub fn new(count: usize) -> Result<Self> {
        let (tasks, queue) = channel::<Task>();
        let (report, results) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::new();
        for _ in 0..count {
            let (queue, report) = (queue.clone(), report.clone());
            let work = move || {
                compute_alone();
                work(&queue, &report);
            };
            let thread = Builder::new().name("everybatch".to_string()).spawn(work);
            threads.push(
                thread.map_err(|error| Error::argument(format!("no thread to measure with: {error}")))?,
            );
        }
        Ok(Workers { tasks: Some(tasks), results, threads, process: std::process::id() })
    }

    fn are_elsewhere(&self) -> bool {
        self.process != std::process::id()
    }

    /// The plan's results for all chunks, in their order.
    pub fn run(&self, plan: &Arc<Plan>, chunks: impl Iterator<Item = Result<Tensor>>) -> Result<Vec<Tensor>> {
        if self.are_elsewhere() {
            return chunks.map(|images| plan.run(&images?)).collect();
        }
        let gone = || Error::argument("a thread that measures has ended");
        let mut count = 0;
        let mut failure = None;
        for chunk in chunks {
            let task = chunk.map(|images| Task { plan: plan.clone(), index: count, images });
            match (task, &self.tasks) {
                (Ok(task), Some(tasks)) => tasks.send(task).map_err(|_| gone())?,
                (Err(error), _) => {
                    failure = Some(error);
                    break;
                }
                (_, None) => return Err(gone()),
            }
            count += 1;
        }
        let mut outputs: Vec<Option<Tensor>> = (0..count).map(|_| None).collect();
        for _ in 0..count {
            match self.results.recv().map_err(|_| gone())? {
                (index, Ok(output)) => outputs[index] = Some(output),
                (_, Err(error)) => failure = failure.or(Some(error)), // the others still report
            }
        }
        match failure {
            Some(error) => Err(error),
            None => outputs.into_iter().map(|output| output.ok_or_else(gone)).collect(),
        }
    }
}

fn work(queue: &Mutex<Receiver<Task>>, report: &Sender<(usize, Result<Tensor>)>) {
    loop {
        let task = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Task { plan, index, images }) = task else { return };
        let output = catch_unwind(AssertUnwindSafe(|| plan.run(&images)))
            .unwrap_or_else(|_| Err(Error::argument("a thread panicked while it measured")));
        drop((plan, images)); // before the caller may go on
        if report.send((index, output)).is_err() {
            return;
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.tasks = None; // the threads end when no task can come
        let is_ours = !self.are_elsewhere();
        for thread in self.threads.drain(..).filter(|_| is_ours) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::network::{builders, Model, Precision};

    fn plan(chunk: i64) -> Arc<Plan> {
        let network = builders::lenet5(&builders::Lenet5::default()).unwrap();
        let model = Model::initialize(network, 3).unwrap();
        Arc::new(Plan::compile(&model, Precision::Float32, [chunk, 1, 28, 28], 100, 10.0).unwrap())
    }

    #[test]
    fn results_come_in_the_order_of_the_chunks() {
        let x = Tensor::randn([90, 1, 28, 28], (Kind::Float, Device::Cpu));
        let plan = plan(7);
        let threads = tch::get_num_threads();
        let workers = Workers::new(3).unwrap();
        for chunk in [7, 20, 90] {
            let outputs = workers.run(&plan, x.split(chunk, 0).into_iter().map(Ok)).unwrap();
            let gap = (Tensor::cat(&outputs, 0) - plan.run(&x).unwrap()).abs().max();
            assert!(gap.double_value(&[]) < 1e-6);
        }
        drop(workers);
        assert_eq!(tch::get_num_threads(), threads);
    }

    // Its threads would never answer, and never end.
    #[test]
    fn a_forked_process_runs_the_chunks_itself() {
        let x = Tensor::randn([10, 1, 28, 28], (Kind::Float, Device::Cpu));
        let (plan, mut workers) = (plan(5), Workers::new(2).unwrap());
        let chunks = || x.split(5, 0).into_iter().map(Ok);
        let expected = workers.run(&plan, chunks()).unwrap();
        workers.process += 1;
        workers.threads.clear();
        workers.tasks = None;
        let found = workers.run(&plan, chunks()).unwrap();
        assert!((Tensor::cat(&found, 0) - Tensor::cat(&expected, 0)).abs().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn an_error_is_given_back_and_the_workers_go_on() {
        let (plan, workers) = (plan(5), Workers::new(2).unwrap());
        let float = (Kind::Float, Device::Cpu);
        let wrong = || Ok(Tensor::zeros([5, 3, 28, 28], float));
        let right = || Ok(Tensor::zeros([5, 1, 28, 28], float));
        assert!(workers.run(&plan, [right(), wrong(), right()].into_iter()).is_err());
        assert!(workers.run(&plan, [right(), Err(Error::argument("no chunk"))].into_iter()).is_err());
        assert_eq!(workers.run(&plan, [right(), right(), right()].into_iter()).unwrap().len(), 3);
        assert!(workers.run(&plan, std::iter::empty()).unwrap().is_empty());
    }
}

//! A stand-in for a GPU, for tests: graphs are closures, and the lane that measures lags behind as far as it may.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::lanes::{Gpu, Graph, Lane, Work};
use crate::error::{Error, Result};

thread_local! {
    /// Replayed in [`Lane::Measure`] and not yet run.
    static QUEUED: RefCell<VecDeque<Rc<Work>>> = const { RefCell::new(VecDeque::new()) };
}

/// What is replayed in [`Lane::Measure`] runs only when the other lane waits for it, which is the latest that a GPU could
/// run it. Work that reads what the other lane has changed since, for want of a wait, gets the wrong numbers.
#[derive(Default)]
pub struct Rehearsal {
    /// Fails to record the n-th graph, from 0.
    fails_at: Option<usize>,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
pub struct Log {
    pub captured: usize,
    pub replayed: [usize; 2],
    /// What random numbers were to come from.
    pub seeds: Vec<u64>,
    /// Whether [`Lane::Train`] has changed something that [`Lane::Measure`] has not waited for.
    ahead: bool,
}

impl Rehearsal {
    pub fn failing_at(fails_at: Option<usize>) -> Self {
        Rehearsal { fails_at, log: Arc::default() }
    }

    pub fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }
}

fn catch_up() -> Result<()> {
    while let Some(work) = QUEUED.with(|queued| queued.borrow_mut().pop_front()) {
        work()?;
    }
    Ok(())
}

struct Rehearsed {
    lane: Lane,
    work: Rc<Work>,
    log: Arc<Mutex<Log>>,
}

impl Graph for Rehearsed {
    fn replay(&self) -> Result<()> {
        let mut log = self.log.lock().unwrap();
        log.replayed[self.lane as usize] += 1;
        match self.lane {
            Lane::Train => {
                log.ahead = true;
                drop(log);
                (self.work)()
            }
            Lane::Measure if log.ahead => Err(Error::argument("measured before the step was taken")),
            Lane::Measure => {
                QUEUED.with(|queued| queued.borrow_mut().push_back(self.work.clone()));
                Ok(())
            }
        }
    }
}

impl Gpu for Rehearsal {
    fn no_graphs(&self) -> Option<String> {
        None
    }

    fn capture(&self, lane: Lane, work: Work) -> Result<Box<dyn Graph>> {
        let mut log = self.log();
        if self.fails_at == Some(log.captured) {
            return Err(Error::Device("this one cannot be recorded".to_string()));
        }
        log.captured += 1;
        Ok(Box::new(Rehearsed { lane, work: Rc::new(work), log: self.log.clone() }))
    }

    fn on(&self, _: Lane, work: &dyn Fn() -> Result<()>) -> Result<()> {
        catch_up()?;
        work()
    }

    fn wait(&self, waiter: Lane, _: Lane) -> Result<()> {
        match waiter {
            Lane::Train => catch_up(),
            Lane::Measure => {
                self.log().ahead = false;
                Ok(())
            }
        }
    }

    fn drawing(&self, seed: u64, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.log().seeds.push(seed);
        tch::manual_seed(seed as i64);
        work()
    }
}

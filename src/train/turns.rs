//! Turns: many runs in one process, each in a thread of its own, of which one at a time goes on, always in the same order.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A circle of participants.
#[derive(Clone, Default)]
pub struct Turns {
    circle: Arc<Mutex<Circle>>,
}

#[derive(Default)]
struct Circle {
    /// The first one has the turn, and the others follow in this order.
    members: VecDeque<Arc<Condvar>>,
    stopped: bool,
}

/// What a participant is to do with its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    GoOn,
    /// Come to an end.
    Stop,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, Circle> {
        self.circle.lock().unwrap_or_else(PoisonError::into_inner) // it is whole at any time
    }

    /// A new participant, at the end of the circle. The first one has the turn at once.
    pub fn join(&self) -> Turn {
        let me = Arc::new(Condvar::new());
        self.lock().members.push_back(me.clone());
        Turn { turns: self.clone(), me }
    }

    /// Lets every participant hear [`Verdict::Stop`] whenever it gets its turn from now on.
    pub fn stop(&self) {
        self.lock().stopped = true;
    }
}

/// A place in the circle, which is left when this is dropped.
pub struct Turn {
    turns: Turns,
    /// Woken when the turn comes.
    me: Arc<Condvar>,
}

impl Turn {
    /// Blocks until it is this participant's turn. One that has left the circle never waits.
    pub fn wait(&self) -> Verdict {
        self.until_first(self.turns.lock())
    }

    /// Gives the turn to the next participant, if it is this one's, and blocks until it comes back.
    pub fn pass_on(&self) -> Verdict {
        let mut circle = self.turns.lock();
        if self.is_first(&circle) {
            circle.members.rotate_left(1);
            wake_first(&circle);
        }
        self.until_first(circle)
    }

    /// Leaves the circle; the turn, if it was this participant's, is the next one's.
    pub fn leave(&self) {
        let mut circle = self.turns.lock();
        let first = self.is_first(&circle);
        circle.members.retain(|member| !Arc::ptr_eq(member, &self.me));
        if first {
            wake_first(&circle);
        }
        self.me.notify_all(); // should it be waiting in another thread
    }

    fn is_first(&self, circle: &Circle) -> bool {
        circle.members.front().is_some_and(|first| Arc::ptr_eq(first, &self.me))
    }

    fn until_first(&self, mut circle: MutexGuard<Circle>) -> Verdict {
        let within = |circle: &Circle| circle.members.iter().any(|member| Arc::ptr_eq(member, &self.me));
        while !self.is_first(&circle) && within(&circle) {
            circle = self.me.wait(circle).unwrap_or_else(PoisonError::into_inner);
        }
        match circle.stopped {
            true => Verdict::Stop,
            false => Verdict::GoOn,
        }
    }
}

fn wake_first(circle: &Circle) {
    if let Some(first) = circle.members.front() {
        first.notify_all();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{scope, spawn};

    use super::*;

    #[test]
    fn turns_go_round_in_the_order_of_joining() {
        let (turns, log) = (Turns::default(), Mutex::new(Vec::new()));
        let members: Vec<Turn> = (0..3).map(|_| turns.join()).collect();
        scope(|scope| {
            for (name, turn) in members.into_iter().enumerate().rev() {
                let log = &log;
                scope.spawn(move || {
                    turn.wait();
                    for _ in 0..=name {
                        log.lock().unwrap().push(name); // the last of them stays longest
                        turn.pass_on();
                    }
                });
            }
        });
        assert_eq!(log.into_inner().unwrap(), [0, 1, 2, 1, 2, 2]);
    }

    #[test]
    fn one_alone_goes_on_at_once() {
        let turn = Turns::default().join();
        assert_eq!([turn.wait(), turn.pass_on(), turn.pass_on()], [Verdict::GoOn; 3]);
    }

    #[test]
    fn who_has_left_does_not_wait_and_holds_nobody_up() {
        let turns = Turns::default();
        let (first, second) = (turns.join(), turns.join());
        first.leave();
        first.leave();
        second.wait();
        first.wait();
        first.pass_on();
        second.pass_on();
    }

    #[test]
    fn a_thread_that_dies_passes_its_turn_on() {
        let turns = Turns::default();
        let (dying, other) = (turns.join(), turns.join());
        let thread = spawn(move || {
            dying.wait();
            panic!("as the test wants");
        });
        other.wait();
        assert!(thread.join().is_err());
        assert_eq!(other.pass_on(), Verdict::GoOn);
    }

    #[test]
    fn all_hear_that_it_is_over_when_their_turn_comes() {
        let turns = Turns::default();
        let members: Vec<Turn> = (0..4).map(|_| turns.join()).collect();
        let threads = members.into_iter().map(|turn| {
            spawn(move || {
                turn.wait();
                while turn.pass_on() == Verdict::GoOn {}
            })
        });
        let threads: Vec<_> = threads.collect();
        turns.stop();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(turns.join().wait(), Verdict::Stop); // also one who comes later
    }
}

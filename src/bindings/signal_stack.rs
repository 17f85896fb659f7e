//! A stack of its own for the handlers of signals in a thread that computes.
//!
//! oneDNN's generated products (`gemm:jit`, which linear layers of some sizes come to; libtorch 2.11) move the stack pointer
//! into a block of the heap. A handler of Ctrl-C or of a timer would write below it, over whatever lies there. Python's
//! handlers ask for a stack of their own where there is one.

#[cfg(unix)]
pub use unix::give;

/// Of other systems handlers run in threads of their own.
#[cfg(not(unix))]
pub fn give() {}

#[cfg(unix)]
mod unix {
    use std::cell::RefCell;
    use std::ptr::{null, null_mut};

    /// For the registers of any processor, and what a handler does.
    const BYTES: usize = 1 << 17;

    thread_local! {
        static STACK: RefCell<Option<Stack>> = const { RefCell::new(None) };
    }

    /// The thread's, until it ends.
    struct Stack(Box<[u8]>);

    impl Drop for Stack {
        fn drop(&mut self) {
            if now().ss_sp == self.0.as_mut_ptr().cast() {
                let none = libc::stack_t { ss_sp: null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
                // SAFETY: `none` lives during the call, which only reads it.
                unsafe { libc::sigaltstack(&none, null_mut()) };
            }
        }
    }

    fn now() -> libc::stack_t {
        let mut now = libc::stack_t { ss_sp: null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: the call writes what the thread has into `now`, and changes nothing.
        unsafe { libc::sigaltstack(null(), &mut now) };
        now
    }

    /// Gives this thread such a stack, if it has none.
    pub fn give() {
        if now().ss_flags & libc::SS_DISABLE == 0 {
            return;
        }
        // A thread that ends has none to give any more, and takes no signals of ours.
        let _ = STACK.try_with(|stack| {
            let mut stack = stack.borrow_mut();
            let place = &mut stack.get_or_insert_with(|| Stack(vec![0; BYTES].into_boxed_slice())).0;
            let given = libc::stack_t { ss_sp: place.as_mut_ptr().cast(), ss_flags: 0, ss_size: BYTES };
            // SAFETY: the memory is this thread's alone and stays where it is until `Stack` has given it up.
            unsafe { libc::sigaltstack(&given, null_mut()) };
        });
    }
}

//! What makes one extension fit every CPython from 3.11 on, where the C++ that it is linked with asks for more.
//!
//! torch-sys includes torch's headers, which include pybind11, which asks for `_PyThreadState_UncheckedGet`, to find out
//! whether a thread holds the interpreter's lock. CPython 3.13 does not have it any more. This one has the same answer to
//! that question, from functions that every CPython has. Where there is the original, the loader takes that.

use std::ffi::c_int;

use pyo3::ffi::PyThreadState;

extern "C" {
    fn PyGILState_Check() -> c_int;
    fn PyGILState_GetThisThreadState() -> *mut PyThreadState;
}

/// The state of this thread if it holds the interpreter's lock, else null.
#[no_mangle]
extern "C" fn _PyThreadState_UncheckedGet() -> *mut PyThreadState {
    // Both may be called with the lock or without.
    unsafe {
        match PyGILState_Check() {
            0 => std::ptr::null_mut(),
            _ => PyGILState_GetThisThreadState(),
        }
    }
}

//! Calls any registered operator by name. tch generates no binding for the fused optimizers, for example.

use std::ffi::{c_char, c_void, CStr};
use std::ptr::null_mut;

use tch::Tensor;

use super::status;
use crate::error::{Error, Result};

/// Version of libtorch whose operator schemas the calls are written for: 2.11.0, as its headers encode it.
const SCHEMA_VERSION: u64 = (2 << 56) | (11 << 48);

/// One operator argument.
pub enum Argument<'a> {
    Tensor(&'a Tensor),
    Tensors(&'a [&'a Tensor]),
    Float(f64),
    Bool(bool),
    /// An optional argument that is not given.
    Absent,
}

extern "C" {
    fn torch_call_dispatcher(
        name: *const c_char,
        overload: *const c_char,
        stack: *mut u64,
        schema_version: u64,
    ) -> i32;
    fn torch_new_list_reserve_size(size: usize, list: *mut *mut c_void) -> i32;
    fn torch_list_push_back(list: *mut c_void, element: u64) -> i32;
    fn aoti_torch_new_tensor_handle(original: *const c_void, handle: *mut *mut c_void) -> i32;
}

/// Runs an operator that returns nothing, such as `aten::_fused_adam_` (whose overload is the empty name). `arguments`
/// are all of its schema's, in order.
pub fn call(operator: &'static CStr, overload: &'static CStr, arguments: &[Argument]) -> Result<()> {
    dispatch(operator, overload, arguments).map(|_| ())
}

/// Runs an operator that returns one tensor.
pub fn call_for_tensor(
    operator: &'static CStr,
    overload: &'static CStr,
    arguments: &[Argument],
) -> Result<Tensor> {
    let returned = dispatch(operator, overload, arguments)?;
    // SAFETY: the operator returns one tensor, so the first place of the stack holds a new at::Tensor*, which is what a
    // tch tensor owns.
    Ok(unsafe { Tensor::from_ptr(returned as usize as *mut _) })
}

/// Gives what the operator left in the stack's first place.
fn dispatch(operator: &'static CStr, overload: &'static CStr, arguments: &[Argument]) -> Result<u64> {
    let mut stack = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Tensor(tensor) => Ok(handle(tensor)? as u64),
            Argument::Tensors(tensors) => tensor_list(tensors),
            Argument::Float(value) => Ok(value.to_bits()),
            Argument::Bool(value) => Ok(u64::from(*value)),
            Argument::Absent => Ok(0),
        })
        .collect::<Result<Vec<u64>>>()?;
    // SAFETY: the stack holds as many values as the schema has arguments, each in the form that the header gives for
    // its type, or the call returns an error. It takes ownership of the lists and of the handles in them.
    let code = unsafe {
        torch_call_dispatcher(operator.as_ptr(), overload.as_ptr(), stack.as_mut_ptr(), SCHEMA_VERSION)
    };
    status(operator.to_str().unwrap_or("operator"), code)?;
    Ok(stack[0])
}

/// A second owner of a tensor, in the C interface's form.
fn handle(tensor: &Tensor) -> Result<*mut c_void> {
    if !tensor.defined() {
        return Err(Error::argument("an operator was given an undefined tensor"));
    }
    let mut handle = null_mut();
    // SAFETY: a tch tensor is the at::Tensor* that the C interface calls a handle.
    let code = unsafe { aoti_torch_new_tensor_handle(tensor.as_ptr().cast(), &mut handle) };
    status("aoti_torch_new_tensor_handle", code)?;
    Ok(handle)
}

fn tensor_list(tensors: &[&Tensor]) -> Result<u64> {
    let mut list = null_mut();
    // SAFETY: writes a new list to `list`.
    status("torch_new_list_reserve_size", unsafe { torch_new_list_reserve_size(tensors.len(), &mut list) })?;
    for tensor in tensors {
        let handle = handle(tensor)?;
        // SAFETY: `list` and `handle` were made above; the list takes the handle over.
        status("torch_list_push_back", unsafe { torch_list_push_back(list, handle as u64) })?;
    }
    Ok(list as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_changes_its_tensors() {
        let (a, b) = (Tensor::from_slice(&[1f32, 2.0]), Tensor::from_slice(&[3f32]));
        call(c"aten::_foreach_zero_", c"", &[Argument::Tensors(&[&a, &b])]).unwrap();
        assert_eq!(Vec::<f32>::try_from(&a).unwrap(), [0.0, 0.0]);
        assert_eq!(Vec::<f32>::try_from(&b).unwrap(), [0.0]);
    }

    #[test]
    fn an_unknown_operator_is_an_error() {
        assert!(matches!(call(c"aten::no_such_operator", c"", &[]), Err(Error::Shim { .. })));
    }
}

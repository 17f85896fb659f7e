//! The memory behind a tensor, which outlives it and may have another size.

use std::ffi::c_void;

use tch::Tensor;

use super::status;
use crate::error::Result;

extern "C" {
    fn aoti_torch_get_storage_size(tensor: *const c_void, size: *mut i64) -> i32;
}

/// Bytes of the storage that a tensor is a view of.
pub fn storage_bytes(tensor: &Tensor) -> Result<i64> {
    let mut size = 0;
    // SAFETY: a live tensor, which the call borrows, and a place for the number.
    status("get_storage_size", unsafe { aoti_torch_get_storage_size(tensor.as_ptr().cast(), &mut size) })?;
    Ok(size)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn a_view_has_the_storage_of_the_whole() {
        let tensor = Tensor::zeros([3, 4], (Kind::Float, Device::Cpu));
        assert_eq!(storage_bytes(&tensor).unwrap(), 48);
        assert_eq!(storage_bytes(&tensor.narrow(0, 1, 1)).unwrap(), 48);
    }
}

//! From the host to the device without waiting.

use tch::{Device, Tensor};

use super::dispatcher::{call_for_tensor, Argument};
use crate::error::Result;

/// A tensor of the host on `device`. To a GPU it goes by way of pinned memory, from which the device fetches it while the
/// host goes on; libtorch keeps that memory until then. Where none is to be had, the host waits.
pub fn upload(tensor: &Tensor, device: Device) -> Result<Tensor> {
    if device == Device::Cpu {
        return Ok(tensor.shallow_clone());
    }
    match call_for_tensor(c"aten::pin_memory", c"", &[Argument::Tensor(tensor), Argument::Absent]) {
        Ok(pinned) => Ok(pinned.f_to_device_(device, tensor.f_kind()?, true, true)?),
        Err(_) => Ok(tensor.f_to_device(device)?),
    }
}

/// Waits until the device has computed `tensor`.
pub fn await_tensor(tensor: &Tensor) -> Result<()> {
    let _ = tensor.f_flatten(0, -1)?.f_narrow(0, 0, 1)?.f_to_device(Device::Cpu)?;
    Ok(())
}

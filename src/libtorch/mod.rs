//! Safe wrappers over the parts of libtorch that tch lacks, through libtorch's C interface: plain functions that the
//! torch library exports (headers `torch/csrc/stable/c/shim.h` and `torch/csrc/inductor/aoti_torch/c/`); and one file of C++
//! of our own, for what has no such function.

mod arrays;
mod cudnn;
mod device;
mod dispatcher;
mod fused_optimizers;
mod gradients;
mod lanes;
mod layout;
mod many;
mod mkldnn;
mod modes;
mod parallel;
#[cfg(test)]
pub mod rehearsal;
mod scaled;
mod storage;
mod threads;
mod tiny;
mod upload;

pub use arrays::{matrix, rows};
pub use cudnn::convolution_relu;
pub use device::{check_precision, device, device_name, precisions};
pub use fused_optimizers::{fused_adam, fused_sgd, Adam, Number, Sgd};
pub use gradients::convolution_gradients;
pub use lanes::{Gpu, Graph, Lane, OneLane, Work};
pub use layout::{channels_first, channels_last, copied, empty_maps, laid_out_like, map_of};
pub use many::{add_products, add_quotients, copy_all};
pub use mkldnn::{
    convolution, convolution_onto, is_misread, leaves_gradients_unwritten, linear, pack_convolution,
    pack_linear,
};
pub use modes::{as_called, plain};
pub use parallel::parallel;
pub use scaled::{add_scaled, plus_scaled, product_onto};
pub use storage::storage_bytes;
pub use threads::{compute_alone, Alone};
pub use tiny::TinyIsZero;
pub use upload::{await_tensor, upload};

use crate::error::{Error, Result};

/// Turns a status code of the C interface into a result.
fn status(call: &'static str, code: i32) -> Result<()> {
    match code {
        0 => Ok(()),
        code => Err(Error::Shim { call, code }),
    }
}

//! cuDNN's convolutions with bias, sum and ReLU in one kernel (CUDA only). They are not always faster and some shapes
//! have none, so whoever uses them measures first (see `evaluate/plan/ways.rs`).

use std::ffi::{c_char, c_int, c_void, CStr};
use std::ptr::null_mut;

use tch::{TchError, Tensor};
use torch_sys::c_generated::atg_cudnn_convolution_add_relu;
use torch_sys::{ats_float, ats_free, get_and_reset_last_err};

use crate::error::Result;
use crate::network::Conv2d;

extern "C" {
    fn free(pointer: *mut c_void);
}

/// `relu(conv2d(x, weight, bias) + sum)`, without autograd. All tensors are of one dtype, best channels-last.
pub fn convolution_relu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    conv: &Conv2d,
    sum: Option<&Tensor>,
) -> Result<Tensor> {
    let Conv2d { stride, padding, dilation, groups, .. } = conv;
    match sum {
        Some(sum) => convolution_add_relu(x, weight, bias, conv, sum),
        None => Ok(x.f_cudnn_convolution_relu(weight, Some(bias), stride, padding, dilation, *groups)?),
    }
}

/// tch's own function panics where the operator fails, for it frees its scalar before it looks.
fn convolution_add_relu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    conv: &Conv2d,
    sum: &Tensor,
) -> Result<Tensor> {
    let mut output = [null_mut()];
    // SAFETY: the pointers are those of live tensors and arrays of two numbers; the call borrows them and writes one new
    // tensor, or leaves a message that is ours to free.
    unsafe {
        let one = ats_float(1.0);
        atg_cudnn_convolution_add_relu(
            output.as_mut_ptr(),
            x.as_ptr().cast_mut(),
            weight.as_ptr().cast_mut(),
            sum.as_ptr().cast_mut(),
            one,
            bias.as_ptr().cast_mut(),
            conv.stride.as_ptr(),
            2 as c_int,
            conv.padding.as_ptr(),
            2 as c_int,
            conv.dilation.as_ptr(),
            2 as c_int,
            conv.groups,
        );
        let message: *mut c_char = get_and_reset_last_err();
        ats_free(one);
        if !message.is_null() {
            let text = CStr::from_ptr(message).to_string_lossy().into_owned();
            free(message.cast());
            return Err(TchError::Torch(text).into());
        }
        Ok(Tensor::from_ptr(output[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_cudnn_is_an_error() {
        let float = (tch::Kind::Float, tch::Device::Cpu);
        let (x, weight) = (Tensor::zeros([1, 3, 5, 5], float), Tensor::zeros([4, 3, 3, 3], float));
        let (bias, conv) = (Tensor::zeros([4], float), Conv2d::new(3, 4, 3));
        assert!(convolution_relu(&x, &weight, &bias, &conv, None).is_err());
        assert!(
            convolution_relu(&x, &weight, &bias, &conv, Some(&Tensor::zeros([1, 4, 3, 3], float))).is_err()
        );
    }
}

//! oneDNN's convolution with bias, residual sum and ReLU in one call (CPU only).

use std::ffi::{c_char, c_void, CStr};
use std::ptr::{null, null_mut};

use tch::Tensor;

use super::status;
use crate::error::Result;
use crate::network::Conv2d;

/// What is done to a convolution's output before it is written.
#[derive(Clone, Copy)]
pub enum Epilogue<'a> {
    None,
    Relu,
    /// `convolution + other`
    Add(&'a Tensor),
    /// `relu(convolution + other)`
    AddRelu(&'a Tensor),
}

extern "C" {
    fn aoti_torch_cpu_mkldnn__convolution_pointwise(
        x: *const c_void,
        weight: *const c_void,
        bias: *const *const c_void,
        padding: *const i64,
        padding_len: i64,
        stride: *const i64,
        stride_len: i64,
        dilation: *const i64,
        dilation_len: i64,
        groups: i64,
        unary: *const c_char,
        scalars: *const *const f64,
        scalars_len: i64,
        algorithm: *const *const c_char,
        output: *mut *mut c_void,
    ) -> i32;
    fn aoti_torch_cpu_mkldnn__convolution_pointwise_binary(
        x: *const c_void,
        other: *const c_void,
        weight: *const c_void,
        bias: *const *const c_void,
        padding: *const i64,
        padding_len: i64,
        stride: *const i64,
        stride_len: i64,
        dilation: *const i64,
        dilation_len: i64,
        groups: i64,
        binary: *const c_char,
        alpha: *const f64,
        unary: *const *const c_char,
        scalars: *const *const f64,
        scalars_len: i64,
        algorithm: *const *const c_char,
        output: *mut *mut c_void,
    ) -> i32;
}

/// `epilogue(conv2d(x, weight, bias))`, without autograd. All tensors are on the CPU and of one dtype, float32 or
/// bfloat16; `weight` may be packed by [`pack_convolution`]. The output is channels-last when `x` is.
pub fn convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    conv: &Conv2d,
    epilogue: Epilogue,
) -> Result<Tensor> {
    let (x, weight, bias): (*const c_void, *const c_void, *const c_void) =
        (x.as_ptr().cast(), weight.as_ptr().cast(), bias.as_ptr().cast());
    let mut output = null_mut();
    let relu: *const c_char = c"relu".as_ptr();
    match epilogue {
        Epilogue::None | Epilogue::Relu => {
            let unary: &CStr = if matches!(epilogue, Epilogue::Relu) { c"relu" } else { c"none" };
            // SAFETY: the pointers are those of live tensors and arrays of the lengths given beside them; the call
            // borrows all of them and writes one new tensor to `output`.
            let code = unsafe {
                aoti_torch_cpu_mkldnn__convolution_pointwise(
                    x,
                    weight,
                    &bias,
                    conv.padding.as_ptr(),
                    2,
                    conv.stride.as_ptr(),
                    2,
                    conv.dilation.as_ptr(),
                    2,
                    conv.groups,
                    unary.as_ptr(),
                    null(),
                    0,
                    null(),
                    &mut output,
                )
            };
            status("mkldnn::_convolution_pointwise", code)?;
        }
        Epilogue::Add(other) | Epilogue::AddRelu(other) => {
            let unary = if matches!(epilogue, Epilogue::AddRelu(_)) { &raw const relu } else { null() };
            // SAFETY: as above.
            let code = unsafe {
                aoti_torch_cpu_mkldnn__convolution_pointwise_binary(
                    x,
                    other.as_ptr().cast(),
                    weight,
                    &bias,
                    conv.padding.as_ptr(),
                    2,
                    conv.stride.as_ptr(),
                    2,
                    conv.dilation.as_ptr(),
                    2,
                    conv.groups,
                    c"add".as_ptr(),
                    null(),
                    unary,
                    null(),
                    0,
                    null(),
                    &mut output,
                )
            };
            status("mkldnn::_convolution_pointwise.binary", code)?;
        }
    }
    // SAFETY: `output` is a new at::Tensor*, which is what a tch tensor owns.
    Ok(unsafe { Tensor::from_ptr(output.cast()) })
}

/// Brings a weight into the blocked layout that oneDNN wants for inputs of shape `input` (N, C, H, W).
pub fn pack_convolution(weight: &Tensor, conv: &Conv2d, input: &[i64]) -> Result<Tensor> {
    let opaque = weight.f_to_mkldnn(None)?;
    Ok(opaque.f_mkldnn_reorder_conv2d_weight(conv.padding, conv.stride, conv.dilation, conv.groups, input)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn close(a: &Tensor, b: &Tensor) {
        assert_eq!(a.size(), b.size());
        let gap = (a - b).abs().max().double_value(&[]);
        assert!(gap < 1e-5, "{gap}");
    }

    // Against libtorch's unfused operators.
    #[test]
    fn each_epilogue_equals_separate_operators() {
        let float = (Kind::Float, Device::Cpu);
        let conv = Conv2d::new(4, 8, 3).stride(2).padding(1).bias(true);
        let (x, other) = (Tensor::randn([5, 4, 9, 9], float), Tensor::randn([5, 8, 5, 5], float));
        let (weight, bias) = (Tensor::randn([8, 4, 3, 3], float), Tensor::randn([8], float));
        let plain = x.conv2d(&weight, Some(&bias), [2, 2], [1, 1], [1, 1], 1);
        for weight in [weight.shallow_clone(), pack_convolution(&weight, &conv, &x.size()).unwrap()] {
            let run = |epilogue| convolution(&x, &weight, &bias, &conv, epilogue).unwrap();
            close(&run(Epilogue::None), &plain);
            close(&run(Epilogue::Relu), &plain.relu());
            close(&run(Epilogue::Add(&other)), &(&plain + &other));
            close(&run(Epilogue::AddRelu(&other)), &(&plain + &other).relu());
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_an_error() {
        let float = (Kind::Float, Device::Cpu);
        let (x, weight) = (Tensor::zeros([1, 3, 5, 5], float), Tensor::zeros([8, 4, 3, 3], float));
        let conv = Conv2d::new(4, 8, 3);
        assert!(convolution(&x, &weight, &Tensor::zeros([8], float), &conv, Epilogue::None).is_err());
    }
}

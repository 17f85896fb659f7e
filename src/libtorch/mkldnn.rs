//! oneDNN's convolutions and matrix products with bias, residual sum and activation in one call (CPU only).

use std::ffi::{c_char, c_void, CStr};
use std::ptr::{null, null_mut};

use tch::Tensor;

use super::dispatcher::{call_for_tensor, Argument};
use super::status;
use crate::error::Result;
use crate::network::{Activation, Conv2d};

/// Whether oneDNN computes a convolution of channels-last maps of this size wrongly, and reads beside them: where groups have
/// one channel each, and strides leave one column of several rows. Found by comparing 26,700 random shapes (libtorch 2.11,
/// float32 and bfloat16); PyTorch's own call is as wrong with such maps. Transposed, they are right.
pub fn is_misread(conv: &Conv2d, map: [i64; 2]) -> bool {
    let [rows, columns] = conv.output_size(map);
    conv.in_channels == conv.groups && rows > 1 && columns == 1 && conv.stride[1] > 1
}

/// Whether oneDNN leaves parts of the gradient by a bfloat16 weight as the memory was: where the stride is longer than the map
/// (libtorch 2.11, in either order of memory; PyTorch's own call does so too). In float32 it does not.
pub fn leaves_gradients_unwritten(conv: &Conv2d, map: [i64; 2]) -> bool {
    conv.stride.iter().zip(map).any(|(stride, size)| *stride > size)
}

/// The name of an activation, its parameter and its algorithm, as libtorch's fused operators call them.
fn unary(activation: Activation) -> Option<(&'static CStr, Option<f64>, &'static CStr)> {
    Some(match activation {
        Activation::Relu => (c"relu", None, c""),
        Activation::LeakyRelu { negative_slope } => (c"leaky_relu", Some(negative_slope), c""),
        Activation::Gelu => (c"gelu", None, c"none"),
        Activation::Silu => (c"swish", None, c""),
        Activation::Tanh => (c"tanh", None, c""),
        Activation::Sigmoid => (c"sigmoid", None, c""),
        Activation::Hardswish => (c"hardswish", None, c""),
        Activation::Softplus
        | Activation::Relu6
        | Activation::Elu
        | Activation::Selu
        | Activation::Mish
        | Activation::Hardsigmoid => return None,
    })
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
    fn aoti_torch_cpu_mkldnn__convolution_pointwise_binary_(
        other: *const c_void,
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
        binary: *const c_char,
        alpha: *const f64,
        unary: *const *const c_char,
        scalars: *const *const f64,
        scalars_len: i64,
        algorithm: *const *const c_char,
        output: *mut *mut c_void,
    ) -> i32;
    fn aoti_torch_cpu__linear_pointwise(
        x: *const c_void,
        weight: *const c_void,
        bias: *const *const c_void,
        unary: *const c_char,
        scalars: *const *const f64,
        scalars_len: i64,
        algorithm: *const *const c_char,
        output: *mut *mut c_void,
    ) -> i32;
    fn aoti_torch_cpu__linear_pointwise_binary(
        x: *const c_void,
        other: *const c_void,
        weight: *const c_void,
        bias: *const *const c_void,
        binary: *const c_char,
        output: *mut *mut c_void,
    ) -> i32;
}

/// `activation(conv2d(x, weight, bias))`, without autograd, in one call if oneDNN has the activation. All tensors are on
/// the CPU and of one dtype, float32 or bfloat16; `weight` may be packed by [`pack_convolution`]. The output is
/// channels-last when `x` is. Not for what [`is_misread`].
pub fn convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    conv: &Conv2d,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let (x, weight, bias): (*const c_void, *const c_void, *const c_void) =
        (x.as_ptr().cast(), weight.as_ptr().cast(), bias.as_ptr().cast());
    let fused = activation.and_then(unary);
    let (name, scalar, algorithm) = fused.unwrap_or((c"none", None, c""));
    let scalar: *const f64 = scalar.as_ref().map_or(null(), |scalar| scalar);
    let algorithm = algorithm.as_ptr();
    let mut output = null_mut();
    // SAFETY: the pointers are those of live tensors and arrays of the lengths given beside them; the call borrows all
    // of them and writes one new tensor to `output`.
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
            name.as_ptr(),
            &scalar,
            i64::from(!scalar.is_null()),
            &algorithm,
            &mut output,
        )
    };
    status("mkldnn::_convolution_pointwise", code)?;
    // SAFETY: `output` is a new at::Tensor*, which is what a tch tensor owns.
    let y = unsafe { Tensor::from_ptr(output.cast()) };
    match activation {
        Some(function) if fused.is_none() => function.forward(&y),
        _ => Ok(y),
    }
}

/// `conv2d(x, weight, bias) + other`, then ReLU if `relu`, written over `other`, which is given back. Otherwise as
/// [`convolution`].
pub fn convolution_onto(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    conv: &Conv2d,
    other: Tensor,
    relu: bool,
) -> Result<Tensor> {
    let bias: *const c_void = bias.as_ptr().cast();
    let unary: *const c_char = c"relu".as_ptr();
    let mut output = null_mut();
    // SAFETY: as in `convolution`. `output` becomes a second owner of `other`.
    let code = unsafe {
        aoti_torch_cpu_mkldnn__convolution_pointwise_binary_(
            other.as_ptr().cast(),
            x.as_ptr().cast(),
            weight.as_ptr().cast(),
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
            if relu { &raw const unary } else { null() },
            null(),
            0,
            null(),
            &mut output,
        )
    };
    status("mkldnn::_convolution_pointwise_.binary", code)?;
    // SAFETY: as in `convolution`.
    Ok(unsafe { Tensor::from_ptr(output.cast()) })
}

/// `x · weightᵀ + bias`, then `+ other` or, without one, ReLU if `relu`. `x` is (N, in), `other` (N, out), on the CPU
/// and of one dtype, float32 or bfloat16; `weight` (out, in) may be packed by [`pack_linear`].
pub fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    other: Option<&Tensor>,
    relu: bool,
) -> Result<Tensor> {
    let (x, weight, bias): (*const c_void, *const c_void, *const c_void) =
        (x.as_ptr().cast(), weight.as_ptr().cast(), bias.as_ptr().cast());
    let mut output = null_mut();
    match other {
        Some(other) => {
            // SAFETY: as in `convolution`.
            let code = unsafe {
                aoti_torch_cpu__linear_pointwise_binary(
                    x,
                    other.as_ptr().cast(),
                    weight,
                    &bias,
                    c"add".as_ptr(),
                    &mut output,
                )
            };
            status("mkldnn::_linear_pointwise.binary", code)?;
        }
        None => {
            let unary: &CStr = if relu { c"relu" } else { c"none" };
            let algorithm = c"".as_ptr();
            // SAFETY: as in `convolution`.
            let code = unsafe {
                aoti_torch_cpu__linear_pointwise(
                    x,
                    weight,
                    &bias,
                    unary.as_ptr(),
                    null(),
                    0,
                    &algorithm,
                    &mut output,
                )
            };
            status("mkldnn::_linear_pointwise", code)?;
        }
    }
    // SAFETY: as in `convolution`.
    Ok(unsafe { Tensor::from_ptr(output.cast()) })
}

/// Brings the weight (out, in) of a linear layer into the blocked layout that oneDNN wants.
pub fn pack_linear(weight: &Tensor) -> Result<Tensor> {
    call_for_tensor(
        c"mkldnn::_reorder_linear_weight",
        c"",
        &[Argument::Tensor(weight), Argument::Absent], // the batch size
    )
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
    fn each_activation_equals_a_separate_one() {
        let float = (Kind::Float, Device::Cpu);
        let conv = Conv2d::new(4, 8, 3).stride(2).padding(1).bias(true);
        let x = Tensor::randn([5, 4, 9, 9], float);
        let (weight, bias) = (Tensor::randn([8, 4, 3, 3], float), Tensor::randn([8], float));
        let plain = x.conv2d(&weight, Some(&bias), [2, 2], [1, 1], [1, 1], 1);
        for weight in [weight.shallow_clone(), pack_convolution(&weight, &conv, &x.size()).unwrap()] {
            let run = |activation| convolution(&x, &weight, &bias, &conv, activation).unwrap();
            close(&run(None), &plain);
            for name in Activation::NAMES {
                let function = Activation::from_name(name).unwrap();
                close(&run(Some(function)), &function.forward(&plain).unwrap());
            }
            let steep = Activation::LeakyRelu { negative_slope: 0.3 };
            close(&run(Some(steep)), &steep.forward(&plain).unwrap());
        }
    }

    #[test]
    fn a_convolution_is_written_over_its_summand() {
        let float = (Kind::Float, Device::Cpu);
        let conv = Conv2d::new(4, 8, 3).stride(2).padding(1).bias(true);
        let last = |x: Tensor| x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        let (x, other) = (last(Tensor::randn([5, 4, 9, 9], float)), last(Tensor::randn([5, 8, 5, 5], float)));
        let (weight, bias) = (Tensor::randn([8, 4, 3, 3], float), Tensor::randn([8], float));
        let sum = x.conv2d(&weight, Some(&bias), [2, 2], [1, 1], [1, 1], 1) + &other;
        let weight = pack_convolution(&weight, &conv, &x.size()).unwrap();
        for (relu, expected) in [(false, &sum), (true, &sum.relu())] {
            let place = last(other.copy());
            let start = place.data_ptr();
            let y = convolution_onto(&x, &weight, &bias, &conv, place, relu).unwrap();
            close(&y, expected);
            assert_eq!(y.data_ptr(), start);
        }
    }

    #[test]
    fn products_equal_separate_operators() {
        let float = (Kind::Float, Device::Cpu);
        let (x, other) = (Tensor::randn([5, 12], float), Tensor::randn([5, 7], float));
        let (weight, bias) = (Tensor::randn([7, 12], float), Tensor::randn([7], float));
        let plain = x.linear(&weight, Some(&bias));
        for weight in [weight.shallow_clone(), pack_linear(&weight).unwrap()] {
            let run = |other, relu| linear(&x, &weight, &bias, other, relu).unwrap();
            close(&run(None, false), &plain);
            close(&run(None, true), &plain.relu());
            close(&run(Some(&other), false), &(&plain + &other));
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_an_error() {
        let float = (Kind::Float, Device::Cpu);
        let (x, weight) = (Tensor::zeros([1, 3, 5, 5], float), Tensor::zeros([8, 4, 3, 3], float));
        let conv = Conv2d::new(4, 8, 3);
        assert!(convolution(&x, &weight, &Tensor::zeros([8], float), &conv, None).is_err());
    }
}

//! Gradients of operators, which tch has only through autograd.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use tch::{Kind, Tensor};

use super::{is_misread, leaves_gradients_unwritten, map_of, status};
use crate::error::Result;
use crate::network::Conv2d;

extern "C" {
    fn aoti_torch_cpu_convolution_backward(
        grad_output: *const c_void,
        input: *const c_void,
        weight: *const c_void,
        bias_sizes: *const *const i64,
        bias_sizes_len: i64,
        stride: *const i64,
        stride_len: i64,
        padding: *const i64,
        padding_len: i64,
        dilation: *const i64,
        dilation_len: i64,
        transposed: i32,
        output_padding: *const i64,
        output_padding_len: i64,
        groups: i64,
        output_mask: *const i32,
        output_mask_len: i64,
        input_gradient: *mut *mut c_void,
        weight_gradient: *mut *mut c_void,
        bias_gradient: *mut *mut c_void,
    ) -> i32;
}

/// The gradients of `conv2d(x, weight, bias)` on the CPU from that by its result: those by `x`, by `weight` and by the bias
/// that are `wanted`.
pub fn convolution_gradients(
    dy: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    conv: &Conv2d,
    wanted: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    let kind = x.f_kind()?;
    if kind == Kind::BFloat16 && leaves_gradients_unwritten(conv, map_of(x)) {
        let [dy, x, weight] = [dy, x, weight].map(|x| x.f_to_kind(Kind::Float));
        let gradients = convolution_gradients(&dy?, &x?, &weight?, conv, wanted)?;
        let [by_x, by_weight, by_bias] =
            gradients.map(|gradient| gradient.map(|one| one.f_to_kind(kind)).transpose());
        return Ok([by_x?, by_weight?, by_bias?]);
    }
    if is_misread(conv, map_of(x)) {
        let turned = |x: &Tensor| x.f_transpose(2, 3);
        let (dy, x, weight) = (turned(dy)?, turned(x)?, turned(weight)?);
        let [by_x, by_weight, by_bias] = convolution_gradients(&dy, &x, &weight, &conv.transposed(), wanted)?;
        let back = |gradient: Option<Tensor>| gradient.map(|one| turned(&one)?.f_contiguous()).transpose();
        return Ok([back(by_x)?, back(by_weight)?, by_bias]);
    }
    let sizes: *const i64 = &conv.out_channels;
    let mask = wanted.map(i32::from);
    let no_padding = [0i64; 2];
    let mut results = [null_mut::<c_void>(); 3];
    let [input, weight_gradient, bias] = &mut results;
    // SAFETY: the pointers are those of live tensors and arrays of the lengths given beside them; the call borrows all
    // of them and writes three new tensors, undefined where the mask is 0.
    let code = unsafe {
        aoti_torch_cpu_convolution_backward(
            dy.as_ptr().cast(),
            x.as_ptr().cast(),
            weight.as_ptr().cast(),
            if conv.bias { &sizes } else { null() },
            i64::from(conv.bias),
            conv.stride.as_ptr(),
            2,
            conv.padding.as_ptr(),
            2,
            conv.dilation.as_ptr(),
            2,
            0,
            no_padding.as_ptr(),
            2,
            conv.groups,
            mask.as_ptr(),
            3,
            input,
            weight_gradient,
            bias,
        )
    };
    status("convolution_backward", code)?;
    let mut gradients = results.map(|pointer| {
        // SAFETY: each that is not null is a new at::Tensor*, which is what a tch tensor owns.
        (!pointer.is_null()).then(|| unsafe { Tensor::from_ptr(pointer.cast()) }).filter(Tensor::defined)
    });
    // oneDNN has the last two together, or neither.
    gradients.iter_mut().zip(wanted).filter(|(_, wanted)| !wanted).for_each(|(gradient, _)| *gradient = None);
    Ok(gradients)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Reduction};

    use super::*;

    // Against autograd.
    #[test]
    fn gradients_are_autograds() {
        let float = (Kind::Float, Device::Cpu);
        for (conv, wanted) in [
            (Conv2d::new(4, 6, 3).padding(1).bias(true), [true, true, true]),
            (Conv2d { groups: 2, dilation: [1, 2], ..Conv2d::new(4, 6, 3).stride(2) }, [true, true, false]),
            (Conv2d::new(4, 6, 1), [false, true, false]),
            (Conv2d::new(4, 6, 3).bias(true), [true, false, true]),
            (Conv2d::new(4, 6, 3).bias(true), [true, false, false]),
        ] {
            let x = Tensor::randn([3, 4, 9, 8], float).set_requires_grad(true);
            let [rows, columns] = conv.kernel_size;
            let size = [6, 4 / conv.groups, rows, columns];
            let weight = Tensor::randn(size, float).set_requires_grad(true);
            let bias = Tensor::randn([6], float).set_requires_grad(true);
            let given = conv.bias.then_some(&bias);
            let y = x.conv2d(&weight, given, conv.stride, conv.padding, conv.dilation, conv.groups);
            let dy = Tensor::randn(y.size(), float);
            let loss = (&y * &dy).sum(Kind::Float);
            let inputs: Vec<&Tensor> = [&x, &weight].into_iter().chain(given).collect();
            let expected = Tensor::run_backward(&[&loss], &inputs, false, false);
            let found = convolution_gradients(&dy, &x.detach(), &weight.detach(), &conv, wanted).unwrap();
            assert_eq!(found.each_ref().map(Option::is_some), wanted);
            for (found, expected) in found.iter().zip(&expected) {
                if let Some(found) = found {
                    assert!(found.mse_loss(expected, Reduction::Mean).double_value(&[]) < 1e-10);
                }
            }
        }
    }
}

//! Sums with a factor, of which tch has the operators without their factors. On a CPU; with PyTorch's rounding.

use std::ffi::c_void;
use std::ptr::null_mut;

use tch::Tensor;

use super::status;
use crate::error::Result;

extern "C" {
    fn aoti_torch_cpu_add_Tensor(
        x: *const c_void,
        y: *const c_void,
        alpha: f64,
        result: *mut *mut c_void,
    ) -> i32;
    fn aoti_torch_cpu_addmm_out(
        out: *const c_void,
        x: *const c_void,
        a: *const c_void,
        b: *const c_void,
        beta: f64,
        alpha: f64,
    ) -> i32;
}

/// `x` + `factor` · `y`: `x.add(y, alpha=factor)`, in one rounding where the processor can.
pub fn plus_scaled(x: &Tensor, y: &Tensor, factor: f64) -> Result<Tensor> {
    let mut result = null_mut();
    // SAFETY: both point to live tensors, which the call borrows; it writes a new one.
    let code =
        unsafe { aoti_torch_cpu_add_Tensor(x.as_ptr().cast(), y.as_ptr().cast(), factor, &mut result) };
    status("add", code)?;
    // SAFETY: a new at::Tensor*, which is what a tch tensor owns.
    Ok(unsafe { Tensor::from_ptr(result.cast()) })
}

/// Adds `factor` · `y` to `x`, in place: `x.add_(y, alpha=factor)`, with the same rounding.
pub fn add_scaled(x: &Tensor, y: &Tensor, factor: f64) -> Result<()> {
    Ok(x.shallow_clone().f_copy_(&plus_scaled(x, y, factor)?)?)
}

/// `beta` · `x` + `alpha` · `a` @ `b`, of matrices: `addmm(x, a, b, beta=beta, alpha=alpha)`.
pub fn product_onto(x: &Tensor, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Result<Tensor> {
    let out = Tensor::f_empty([a.size()[0], b.size()[1]], (x.f_kind()?, x.device()))?;
    // SAFETY: all point to live tensors, which the call borrows; it writes into the first.
    let code = unsafe {
        aoti_torch_cpu_addmm_out(
            out.as_ptr().cast(),
            x.as_ptr().cast(),
            a.as_ptr().cast(),
            b.as_ptr().cast(),
            beta,
            alpha,
        )
    };
    status("addmm", code)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    // By hand.
    #[test]
    fn factors_are_heeded() {
        let x = Tensor::from_slice(&[1f32, 2.0]);
        add_scaled(&x, &Tensor::from_slice(&[10f32, -1.0]), -0.5).unwrap();
        assert_eq!(Vec::<f32>::try_from(&x).unwrap(), [-4.0, 2.5]);
        assert!(add_scaled(&x, &Tensor::from_slice(&[1f32, 2.0, 3.0]), 1.0).is_err());

        let a = Tensor::from_slice(&[1f64, 2.0]).view([1, 2]);
        let b = Tensor::from_slice(&[3f64, 4.0]).view([2, 1]);
        let x = Tensor::from_slice(&[7f64]).view([1, 1]);
        let sum = product_onto(&x, &a, &b, 2.0, -1.0).unwrap();
        assert_eq!(sum.double_value(&[0, 0]), 2.0 * 7.0 - (3.0 + 8.0));
        assert!(product_onto(&x, &a, &a, 1.0, 1.0).is_err());
    }
}

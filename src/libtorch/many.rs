//! One operation on many tensors in few kernels, where a kernel for each would take longer to launch than to run.

use tch::{Device, Kind, Tensor};

use super::dispatcher::{call, Argument, Argument::Bool, Argument::Tensors};
use crate::error::Result;

/// Copies each of `from` into its counterpart, which has its shape, without waiting for the device.
pub fn copy_all(to: &[Tensor], from: &[Tensor]) -> Result<()> {
    call(c"aten::_foreach_copy_", c"", &[Tensors(&refs(to)), Tensors(&refs(from)), Bool(true)])
}

/// Adds `factor` times the product of `one` and `other` to each.
pub fn add_products(to: &[Tensor], one: &[Tensor], other: &[Tensor], factor: f64) -> Result<()> {
    with_factor(c"aten::_foreach_addcmul_", [to, one, other], factor)
}

/// Adds `factor` times the quotient of `one` and `other` to each.
pub fn add_quotients(to: &[Tensor], one: &[Tensor], other: &[Tensor], factor: f64) -> Result<()> {
    with_factor(c"aten::_foreach_addcdiv_", [to, one, other], factor)
}

fn with_factor(operator: &'static std::ffi::CStr, lists: [&[Tensor]; 3], factor: f64) -> Result<()> {
    if lists[0].is_empty() {
        return Ok(());
    }
    let factors = Tensor::f_full([lists[0].len() as i64], factor, (Kind::Double, Device::Cpu))?;
    let [to, one, other] = lists.map(refs);
    let lists = [Tensors(&to), Tensors(&one), Tensors(&other), Argument::Tensor(&factors)];
    call(operator, c"Tensor", &lists)
}

fn refs(tensors: &[Tensor]) -> Vec<&Tensor> {
    tensors.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tensor_is_copied() {
        let from = [Tensor::from_slice(&[1f32, 2.0]), Tensor::from_slice(&[3f32])];
        let to = from.each_ref().map(Tensor::zeros_like);
        copy_all(&to, &from).unwrap();
        assert_eq!(to, from);
        assert!(copy_all(&to, &from[..1]).is_err());
    }

    // By hand.
    #[test]
    fn products_and_quotients_are_added() {
        let lists = || [Tensor::from_slice(&[1f32, 2.0]), Tensor::from_slice(&[8f32])];
        let to = lists();
        add_products(&to, &lists(), &lists(), 0.5).unwrap();
        assert_eq!(to, [Tensor::from_slice(&[1.5f32, 4.0]), Tensor::from_slice(&[40f32])]);
        let to = lists();
        add_quotients(&to, &lists(), &lists(), -3.0).unwrap();
        assert_eq!(to, [Tensor::from_slice(&[-2f32, -1.0]), Tensor::from_slice(&[5f32])]);
        add_products(&[], &[], &[], 1.0).unwrap();
    }
}

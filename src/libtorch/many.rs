//! One operation on many tensors in few kernels, where a kernel for each would take longer to launch than to run.

use tch::Tensor;

use super::dispatcher::{call, Argument::Bool, Argument::Tensors};
use crate::error::Result;

/// Copies each of `from` into its counterpart, which has its shape, without waiting for the device.
pub fn copy_all(to: &[Tensor], from: &[Tensor]) -> Result<()> {
    let refs = |tensors| Iterator::collect::<Vec<&Tensor>>(<[Tensor]>::iter(tensors));
    call(c"aten::_foreach_copy_", c"", &[Tensors(&refs(to)), Tensors(&refs(from)), Bool(true)])
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
}

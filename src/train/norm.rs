//! The length of a gradient, and gradients that are made shorter.

use tch::Tensor;

use crate::error::Result;

/// What PyTorch adds to a norm that it divides by.
const EPS: f64 = 1e-6;

/// The Euclidean norm of all tensors together.
pub fn norm(tensors: &[Tensor]) -> Result<Tensor> {
    let each = tensors.iter().map(Tensor::f_norm).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Tensor::f_stack(&each, 0)?.f_norm()?)
}

/// The tensors times min(1, most / (norm + 1e-6)), as `torch.nn.utils.clip_grad_norm_` has it. Nothing waits for the device.
pub fn clipped(tensors: &[Tensor], most: f64) -> Result<Vec<Tensor>> {
    let factor = norm(tensors)?.f_add_scalar(EPS)?.f_reciprocal()?.f_mul_scalar(most)?.f_clamp_max(1.0)?;
    tensors.iter().map(|tensor| Ok(tensor.f_mul(&factor)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // 3² + 4² + 12² = 13²
    fn tensors() -> [Tensor; 2] {
        [Tensor::from_slice(&[3f32, 4.0]), Tensor::from_slice(&[12f32]).view([1, 1])]
    }

    #[test]
    fn a_norm_is_that_of_all_numbers() {
        assert_eq!(norm(&tensors()).unwrap().double_value(&[]), 13.0);
    }

    #[test]
    fn long_gradients_become_as_long_as_they_may_be() {
        let short = clipped(&tensors(), 13.1).unwrap();
        assert_eq!(short, tensors());
        let shorter = clipped(&tensors(), 6.5).unwrap();
        assert!((norm(&shorter).unwrap().double_value(&[]) - 6.5).abs() < 1e-5);
        assert!((shorter[0].double_value(&[1]) - 2.0).abs() < 1e-5);
        let nothing = [Tensor::from_slice(&[0f32, 0.0])];
        assert_eq!(clipped(&nothing, 1.0).unwrap(), nothing);
        let infinite = clipped(&[Tensor::from_slice(&[f32::INFINITY, 1.0])], 1.0).unwrap();
        assert!(infinite[0].double_value(&[0]).is_nan()); // as in PyTorch, and the run ends
    }
}

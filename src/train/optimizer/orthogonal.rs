//! Matrices made orthogonal, nearly: by Newton's and Schulz' iteration with Jordan's coefficients.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::libtorch::product_onto;

/// Of x ↦ a·x + b·x³ + c·x⁵, which takes singular values in (0, 1] to about 1, and small ones there fast.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];
const ITERATIONS: usize = 5;
/// The least norm that is divided by.
const LEAST: f64 = 1e-7;

/// `matrix` (rows, columns) with all its singular values brought to between 0.7 and 1.2 or so, computed in numbers of this
/// kind. torch.optim.Muon does it in bfloat16, by the same operations in the same order.
pub fn orthogonal(matrix: &Tensor, kind: Kind) -> Result<Tensor> {
    let [a, b, c] = COEFFICIENTS;
    let size = matrix.size();
    let is_tall = size[0] > size[1];
    let upright = |x: &Tensor| if is_tall { x.f_tr() } else { Ok(x.shallow_clone()) };
    let x = upright(&matrix.f_to_kind(kind)?)?;
    let mut x = x.f_div(&x.f_norm()?.f_clamp_min(LEAST)?)?;
    for _ in 0..ITERATIONS {
        let gram = x.f_mm(&x.f_tr()?)?;
        let change = onto(&gram, &gram, &gram, b, c)?;
        x = onto(&x, &change, &x, a, 1.0)?;
    }
    Ok(upright(&x)?)
}

/// `beta` · `x` + `alpha` · `a` @ `b`.
fn onto(x: &Tensor, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Result<Tensor> {
    match x.device() {
        Device::Cpu => product_onto(x, a, b, beta, alpha),
        _ => {
            let [x, a, b] = [x.f_unsqueeze(0)?, a.f_unsqueeze(0)?, b.f_unsqueeze(0)?];
            Ok(x.f_baddbmm(&a, &b, beta, alpha)?.f_squeeze_dim(0)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // NumPy, float64: x = g / norm(g); five times A = x @ x.T; x = 3.4445*x + (-4.7750*A + 2.0315*A@A) @ x
    const GIVEN: [f64; 12] = [1.0, -2.0, 0.5, 3.0, 0.25, 1.5, -1.0, 0.75, 2.0, 0.0, -0.5, 1.0];
    const EXPECTED: [f64; 12] = [
        0.167692378250257,
        -0.550142850834608,
        0.1480477687178,
        0.880409457885813,
        -0.032810604263769,
        0.581418373848746,
        -0.376960773633008,
        0.371031960594992,
        0.795070745139485,
        0.010093797238127,
        -0.167343077245196,
        0.150186239328933,
    ];

    #[test]
    fn the_iteration_is_jordans() {
        let given = Tensor::from_slice(&GIVEN).view([3, 4]);
        let expected = Tensor::from_slice(&EXPECTED).view([3, 4]);
        // bfloat16 has 8 bits; five iterations add up.
        for (kind, most) in [(Kind::Double, 1e-12), (Kind::Float, 1e-5), (Kind::BFloat16, 0.05)] {
            for (given, expected) in [(given.shallow_clone(), &expected), (given.tr(), &expected.tr())] {
                let found = orthogonal(&given, kind).unwrap();
                assert_eq!((found.size(), found.kind()), (expected.size(), kind));
                let gap = (found.to_kind(Kind::Double) - expected).abs().max().double_value(&[]);
                assert!(gap < most, "{kind:?}: {gap}");
            }
        }
    }

    #[test]
    fn nothing_stays_nothing() {
        let nothing = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        assert_eq!(orthogonal(&nothing, Kind::BFloat16).unwrap().to_kind(Kind::Float), nothing);
    }
}

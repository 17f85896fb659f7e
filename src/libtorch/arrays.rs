//! Tensors as arrays on the host.

use ndarray::Array2;
use tch::{kind::Element, Tensor};

use crate::error::{Error, Result};

/// A matrix of the tensor's own element type.
pub fn matrix<T: Element + Copy>(tensor: &Tensor) -> Result<Array2<T>>
where
    Vec<T>: TryFrom<Tensor, Error = tch::TchError>,
{
    let columns = tensor.size2()?.1 as usize;
    rows(Vec::<T>::try_from(tensor.f_flatten(0, -1)?)?, columns)
}

/// A flat list as rows of so many columns; nothing is copied.
pub fn rows<T>(flat: Vec<T>, columns: usize) -> Result<Array2<T>> {
    let rows = flat.len().checked_div(columns).unwrap_or_default();
    Array2::from_shape_vec((rows, columns), flat)
        .map_err(|error| Error::Shape(format!("rows of {columns} columns: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_rows() {
        let tensor = Tensor::from_slice(&[1i64, 2, 3, 4, 5, 6]).view([3, 2]).tr();
        assert_eq!(matrix::<i64>(&tensor).unwrap(), ndarray::array![[1, 3, 5], [2, 4, 6]]);
        assert_eq!(
            matrix::<f32>(&Tensor::zeros([0, 4], (tch::Kind::Float, tch::Device::Cpu))).unwrap().dim(),
            (0, 4)
        );
        assert!(matrix::<f32>(&Tensor::from_slice(&[1f32])).is_err());
    }
}

//! Rows of history that the device writes by itself: it keeps count of them too, so that writing can be recorded.

use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// The place of the next row in blocks of so many rows.
pub struct Cursor {
    /// (rows, 1) int64: 0, 1, 2, ...
    numbers: Tensor,
    /// (1,) int64
    next: Tensor,
}

impl Cursor {
    pub fn new(rows: i64, device: Device) -> Result<Self> {
        let kind = (Kind::Int64, device);
        Ok(Cursor {
            numbers: Tensor::f_arange(rows, kind)?.f_view([-1, 1])?,
            next: Tensor::f_zeros([1], kind)?,
        })
    }

    pub fn shared(&self) -> Self {
        Cursor { numbers: self.numbers.shallow_clone(), next: self.next.shallow_clone() }
    }

    /// Writes `row` (columns,) into `block` (rows, columns). A choice element by element, for an index on the device
    /// would be checked on the host, and deterministic indexing would sort.
    pub fn write(&self, block: &Tensor, row: &Tensor) -> Result<()> {
        let here = self.numbers.f_eq_tensor(&self.next)?;
        let row = row.f_to_kind(block.f_kind()?)?.f_view([1, -1])?;
        Ok(block.shallow_clone().f_copy_(&row.f_where_self(&here, block)?)?)
    }

    pub fn advance(&self) -> Result<()> {
        let _ = self.next.shallow_clone().f_add_scalar_(1)?;
        Ok(())
    }

    /// To the first row.
    pub fn reset(&self) -> Result<()> {
        let _ = self.next.shallow_clone().f_zero_()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_one_after_the_other() {
        let cursor = Cursor::new(3, Device::Cpu).unwrap();
        let block = Tensor::zeros([3, 2], (Kind::Double, Device::Cpu));
        for value in [1f32, f32::NAN, 3.0] {
            cursor.write(&block, &Tensor::from_slice(&[value, 2.0 * value])).unwrap();
            cursor.advance().unwrap();
        }
        cursor.write(&block, &Tensor::from_slice(&[9f32, 9.0])).unwrap(); // beyond the last: nothing
        let values = Vec::<f64>::try_from(block.flatten(0, -1)).unwrap();
        assert_eq!([&values[..2], &values[4..]].concat(), [1.0, 2.0, 3.0, 6.0]);
        assert!(values[2].is_nan() && values[3].is_nan());
        cursor.reset().unwrap();
        cursor.write(&block, &Tensor::from_slice(&[7f32, 8.0])).unwrap();
        assert_eq!(block.double_value(&[0, 1]), 8.0);
    }
}

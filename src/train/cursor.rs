//! Where the next row of history goes. Work that a device has recorded writes its rows by itself: then the device keeps
//! count of them too.

use std::cell::Cell;

use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// The place of the next row in blocks of so many rows.
pub enum Cursor {
    Host(Cell<i64>),
    Device {
        /// (rows, 1) int64: 0, 1, 2, ...
        numbers: Tensor,
        /// (1,) int64
        next: Tensor,
    },
}

impl Cursor {
    pub fn on_host() -> Self {
        Cursor::Host(Cell::new(0))
    }

    pub fn on_device(rows: i64, device: Device) -> Result<Self> {
        let kind = (Kind::Int64, device);
        Ok(Cursor::Device {
            numbers: Tensor::f_arange(rows, kind)?.f_view([-1, 1])?,
            next: Tensor::f_zeros([1], kind)?,
        })
    }

    /// Writes `row` (columns,) into `block` (rows, columns). On a device that is a choice element by element, for an index
    /// there would be checked on the host, and deterministic indexing would sort.
    pub fn write(&self, block: &Tensor, row: &Tensor) -> Result<()> {
        match self {
            Cursor::Host(next) => block.f_get(next.get())?.f_copy_(row)?,
            Cursor::Device { numbers, next } => {
                let here = numbers.f_eq_tensor(next)?;
                let row = row.f_to_kind(block.f_kind()?)?.f_view([1, -1])?;
                block.shallow_clone().f_copy_(&row.f_where_self(&here, block)?)?;
            }
        }
        Ok(())
    }

    pub fn advance(&self) -> Result<()> {
        match self {
            Cursor::Host(next) => next.set(next.get() + 1),
            Cursor::Device { next, .. } => drop(next.shallow_clone().f_add_scalar_(1)?),
        }
        Ok(())
    }

    /// To the first row.
    pub fn reset(&self) -> Result<()> {
        match self {
            Cursor::Host(next) => next.set(0),
            Cursor::Device { next, .. } => drop(next.shallow_clone().f_zero_()?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_one_after_the_other() {
        let cursor = Cursor::on_device(3, Device::Cpu).unwrap();
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

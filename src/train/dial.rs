//! Numbers that change from step to step. Work that the host does finds them on the host; work that a device has recorded
//! finds them on the device, where the host sets them without waiting.

use std::cell::Cell;

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::libtorch::Number;

pub enum Dial {
    Host(Cell<f64>),
    /// A float32 scalar.
    Device(Tensor),
}

impl Dial {
    pub fn on_host() -> Self {
        Dial::Host(Cell::new(0.0))
    }

    pub fn on_device(device: Device) -> Result<Self> {
        Ok(Dial::Device(Tensor::f_zeros([0i64; 0], (Kind::Float, device))?))
    }

    /// On a device the value travels with the kernel, so nothing waits. One that float32 does not hold is infinite there,
    /// and the run diverges.
    pub fn set(&self, value: f64) -> Result<()> {
        match self {
            Dial::Host(number) => number.set(value),
            Dial::Device(number) => drop(number.shallow_clone().f_fill_(f64::from(value as f32))?),
        }
        Ok(())
    }

    pub fn get(&self) -> Number<'_> {
        match self {
            Dial::Host(number) => Number::Host(number.get()),
            Dial::Device(number) => Number::Device(number),
        }
    }

    /// Multiplies `x` by it, in place.
    pub fn multiply(&self, x: &Tensor) -> Result<()> {
        let mut x = x.shallow_clone();
        match self {
            Dial::Host(number) => drop(x.f_mul_scalar_(number.get())?),
            Dial::Device(number) => drop(x.f_mul_(number)?),
        }
        Ok(())
    }

    /// `x` times it.
    pub fn times(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Dial::Host(number) => x.f_mul_scalar(number.get())?,
            Dial::Device(number) => x.f_mul(number)?,
        })
    }

    /// What lies by this share of the way from `x` to `end`.
    pub fn between(&self, x: &Tensor, end: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Dial::Host(number) => x.f_lerp(end, number.get())?,
            Dial::Device(number) => x.f_lerp_tensor(end, number)?,
        })
    }

    /// `x` divided by it, in place.
    pub fn divide(&self, mut x: Tensor) -> Result<Tensor> {
        Ok(match self {
            Dial::Host(number) => x.f_div_scalar_(number.get())?,
            Dial::Device(number) => x.f_div_(number)?,
        })
    }

    /// Moves `x` by this share of the way to `end`, in place.
    pub fn approach(&self, x: &Tensor, end: &Tensor) -> Result<()> {
        let mut x = x.shallow_clone();
        match self {
            Dial::Host(number) => drop(x.f_lerp_(end, number.get())?),
            Dial::Device(number) => drop(x.f_lerp_tensor_(end, number)?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // By hand.
    #[test]
    fn a_device_computes_as_the_host_does() {
        let (x, end) = (Tensor::from_slice(&[1f32, 8.0]), Tensor::from_slice(&[5f32, 0.0]));
        for dial in [Dial::on_host(), Dial::on_device(Device::Cpu).unwrap()] {
            dial.set(0.25).unwrap();
            let floats = |tensor: Tensor| Vec::<f32>::try_from(tensor).unwrap();
            assert_eq!(floats(dial.times(&x).unwrap()), [0.25, 2.0]);
            assert_eq!(floats(dial.between(&x, &end).unwrap()), [2.0, 6.0]);
        }
    }

    // float32 ends at 3.4e38.
    #[test]
    fn a_number_beyond_float32_is_infinite_on_a_device() {
        let dial = Dial::on_device(Device::Cpu).unwrap();
        for (value, held) in [(1e38, 1e38), (1e39, f64::INFINITY), (-1e300, f64::NEG_INFINITY)] {
            dial.set(value).unwrap();
            let Number::Device(number) = dial.get() else { panic!() };
            assert_eq!(number.double_value(&[]) as f32, held as f32);
        }
    }
}

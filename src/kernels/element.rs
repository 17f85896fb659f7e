//! The numbers that maps are made of.

use tch::Tensor;

/// A number format, computed with as float32.
pub trait Element: Copy + Send + Sync + 'static {
    fn value(self) -> f32;
    fn from_value(value: f32) -> Self;

    /// The element that had this value.
    fn with_value(value: f32) -> Self;

    #[inline(always)]
    fn between(self, low: Self, high: Self) -> Self {
        let value = self.value();
        if value < low.value() {
            low
        } else if value > high.value() {
            high
        } else {
            self
        }
    }
}

impl Element for f32 {
    #[inline(always)]
    fn value(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_value(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn with_value(value: f32) -> Self {
        value
    }
}

/// The larger of two; the first if it is not a number.
#[inline(always)]
pub fn larger(a: f32, b: f32) -> f32 {
    if (a > b) | a.is_nan() {
        a
    } else {
        b
    }
}

/// The upper half of a float32.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Bf16(u16);

impl Element for Bf16 {
    #[inline(always)]
    fn value(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    /// Rounds to the nearest, and to the even one of two as near.
    #[inline(always)]
    fn from_value(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
        Bf16(if value.is_nan() { 0x7fc0 } else { rounded })
    }

    #[inline(always)]
    fn with_value(value: f32) -> Self {
        Bf16((value.to_bits() >> 16) as u16)
    }
}

/// Memory that several threads write to, each to places of its own.
#[derive(Clone, Copy)]
pub struct Places<T> {
    start: *mut T,
    len: usize,
}

// SAFETY: it is an address; `slice` says what its user has to see to.
unsafe impl<T: Send> Send for Places<T> {}
unsafe impl<T: Send> Sync for Places<T> {}

impl<T> Places<T> {
    pub fn new(slice: &mut [T]) -> Self {
        Places { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// # Safety
    /// The slice behind it is alive, and no two slices that are in use at a time share a place.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, range: std::ops::Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        std::slice::from_raw_parts_mut(self.start.add(range.start), range.len())
    }
}

/// The elements of a tensor in the order of memory.
///
/// # Safety
/// The tensor is on the CPU, dense, and of this element type, and nothing writes to it meanwhile.
pub unsafe fn elements<T>(x: &Tensor) -> &[T] {
    std::slice::from_raw_parts(x.data_ptr() as *const T, x.numel())
}

/// The same to write to.
///
/// # Safety
/// As [`elements`], and nothing else reads it meanwhile.
#[allow(clippy::mut_from_ref)] // the tensor's memory is not the reference's
pub unsafe fn elements_mut<T>(x: &Tensor) -> &mut [T] {
    std::slice::from_raw_parts_mut(x.data_ptr() as *mut T, x.numel())
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    // Against libtorch's conversion.
    #[test]
    fn rounding_is_libtorchs() {
        let values =
            [0.0f32, -0.0, 1.0, 1.003_906_3, 1.011_718_8, 3.4e38, f32::INFINITY, -2.7e-40, 0.1, f32::NAN];
        let expected = Tensor::from_slice(&values).to_kind(Kind::BFloat16).to_kind(Kind::Float);
        for (value, expected) in values.iter().zip(Vec::<f32>::try_from(expected).unwrap()) {
            let rounded = Bf16::from_value(*value).value();
            assert!(rounded == expected || rounded.is_nan() && expected.is_nan(), "{value}: {rounded}");
        }
    }
}

//! Memory that begins with a cache line.

use std::ops::{Deref, DerefMut};

use super::element::Element;

/// Elements that begin with a cache line, so that no row of a tile lies in two.
pub struct Lines<T> {
    elements: Vec<T>,
    start: usize,
}

impl<T: Element> Lines<T> {
    pub fn zeros(len: usize) -> Self {
        const LINE: usize = 64;
        let elements = vec![T::from_value(0.0); len + LINE / size_of::<T>() - 1];
        let start = elements.as_ptr().align_offset(LINE);
        Lines { elements, start }
    }
}

impl<T> Deref for Lines<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.elements[self.start..]
    }
}

impl<T> DerefMut for Lines<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.elements[self.start..]
    }
}

//! The names that a type of the core has in JSON and in Python: serde knows them already.

use serde::de::value::Error;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{forward_to_deserialize_any, Deserialize};

/// Names of the variants of a serde enum, in the order of its declaration; of one without a tag, for others it is empty.
pub fn names<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut found: &'static [&'static str] = &[];
    let _ = T::deserialize(Listener(&mut found));
    found
}

/// Hears which variants are asked for, and has none of them.
struct Listener<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Listener<'_> {
    type Error = Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = variants;
        Err(Error::custom("there is no value"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("there is no value"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Kernels, Method};

    #[test]
    fn names_are_those_of_json() {
        assert_eq!(names::<Kernels>(), ["exact", "fused"]);
        assert_eq!(names::<Method>(), ["sgd", "adam", "adamw", "rmsprop", "nadam", "lion", "muon"]);
        assert_eq!(serde_json::from_str::<Kernels>("\"fused\"").unwrap(), Kernels::Fused);
    }
}

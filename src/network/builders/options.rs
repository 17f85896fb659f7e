//! Options as users write them: one number for all places or a list of them, one name or several, a size as one number.
//! For serde's `with`.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserializer, Serialize, Serializer};

/// Takes one whole number, or several. The text says which are wanted.
struct Whole(&'static str);

impl<'de> Visitor<'de> for Whole {
    type Value = Vec<i64>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.0)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(vec![number])
    }

    // As JSON has it.
    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        let whole = i64::try_from(number);
        whole.map(|number| vec![number]).map_err(|_| E::custom(format!("{number} is too large a number")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = entries.next_element()? {
            numbers.push(number);
        }
        Ok(numbers)
    }
}

/// One number stands for itself, as if it were given alone.
fn shortest<T: Serialize, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    match values {
        [one] => one.serialize(serializer),
        several => several.serialize(serializer),
    }
}

/// `3` or `[3, 5]`, as many as the builder has places for.
pub mod numbers {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(given: D) -> Result<Vec<i64>, D::Error> {
        given.deserialize_any(Whole("a whole number or a list of them"))
    }

    pub fn serialize<S: Serializer>(numbers: &[i64], serializer: S) -> Result<S::Ok, S::Error> {
        shortest(numbers, serializer)
    }
}

/// `28` or `[28, 32]`: height and width.
pub mod size {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(given: D) -> Result<[i64; 2], D::Error> {
        match given.deserialize_any(Whole("a whole number or a pair of them"))?.as_slice() {
            [both] => Ok([*both; 2]),
            [height, width] => Ok([*height, *width]),
            more => Err(D::Error::custom(format!("{more:?} has {} numbers: give one or two", more.len()))),
        }
    }

    pub fn serialize<S: Serializer>(size: &[i64; 2], serializer: S) -> Result<S::Ok, S::Error> {
        match size[0] == size[1] {
            true => size[0].serialize(serializer),
            false => size.serialize(serializer),
        }
    }
}

/// `"relu"` or `["relu", "tanh"]`.
pub mod activations {
    use super::*;
    use crate::network::Activation;

    struct Names;

    fn named<E: Error>(name: &str) -> Result<Activation, E> {
        Activation::from_name(name).map_err(|_| E::unknown_variant(name, &Activation::NAMES))
    }

    impl<'de> Visitor<'de> for Names {
        type Value = Vec<Activation>;

        fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
            formatter.write_str("a name or a list of them")
        }

        fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
            Ok(vec![named(name)?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(name) = entries.next_element::<String>()? {
                found.push(named(&name)?);
            }
            Ok(found)
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(given: D) -> Result<Vec<Activation>, D::Error> {
        given.deserialize_any(Names)
    }

    pub fn serialize<S: Serializer>(given: &[Activation], serializer: S) -> Result<S::Ok, S::Error> {
        shortest(&given.iter().map(Activation::name).collect::<Vec<_>>(), serializer)
    }
}

//! Options from Python, into the core's structs by way of serde, with messages that a user understands.

use numpy::{PyArray1, PyArrayMethods};
use pyo3::exceptions::{PyException, PyOverflowError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyIterator, PyString};
use serde::de::value::{MapAccessDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::python::ours;
use super::wrong::{shown, Problem, Wrong};

/// How deep options may lie in one another. A dict can hold itself.
const DEEPEST: usize = 32;

/// A dict, or any other value, as a `T`; `name` is what the user calls it, or empty.
pub fn from_python<T: DeserializeOwned>(given: &Bound<PyAny>, name: &str) -> PyResult<T> {
    T::deserialize(Value::new(given)).map_err(|wrong| wrong.within(name).into())
}

/// The same for what can only be `what`: "a schedule".
pub fn only<T: DeserializeOwned>(given: &Bound<PyAny>, what: &str) -> PyResult<T> {
    T::deserialize(Value::new(given)).map_err(|wrong| match PyErr::from(wrong) {
        error if error.is_instance_of::<PyException>(given.py()) => {
            let text = error.value(given.py()).to_string();
            ours("ArgumentError", format!("this is not {what}: {text}"))
        }
        interrupt => interrupt,
    })
}

/// A choice by its name; `option` is what it is a value of.
pub fn from_name<T: DeserializeOwned>(name: &str, option: &str) -> PyResult<T> {
    T::deserialize(name.into_deserializer()).map_err(|wrong: Wrong| wrong.within(option).into())
}

/// The value that is to become a number, a text, a struct...
pub struct Value<'py> {
    given: Bound<'py, PyAny>,
    depth: usize,
}

impl<'py> Value<'py> {
    pub fn new(given: &Bound<'py, PyAny>) -> Self {
        Value { given: given.clone(), depth: 0 }
    }

    fn inner_depth(&self) -> Result<usize, Wrong> {
        match self.depth < DEEPEST {
            true => Ok(self.depth + 1),
            false => Err(Wrong::custom("it is nested too deeply")),
        }
    }

    /// Refuses True and False, which Python counts among the numbers.
    fn counted(&self, what: &str) -> Result<(), Wrong> {
        match self.given.is_instance_of::<PyBool>() {
            true => Err(Wrong::of_type(what, &self.given)),
            false => Ok(()),
        }
    }

    fn whole(&self) -> Result<i64, Wrong> {
        self.counted("a whole number")?;
        self.given.extract().map_err(|error| match error.is_instance_of::<PyOverflowError>(self.given.py()) {
            true => Wrong::custom(format!("{} is too large a number", shown(&self.given))),
            false => Wrong::of_type("a whole number", &self.given),
        })
    }

    fn number(&self) -> Result<f64, Wrong> {
        self.counted("a number")?;
        self.given.extract().map_err(|error| match error.is_instance_of::<PyOverflowError>(self.given.py()) {
            true => Wrong::custom("it is too large a number"),
            false => Wrong::of_type("a number", &self.given),
        })
    }

    fn text(&self) -> Result<String, Wrong> {
        let text = self.given.downcast::<PyString>().map_err(|_| Wrong::of_type("a name", &self.given))?;
        let text = text.to_cow().map_err(|_| Wrong::custom(format!("{} is no text", shown(&self.given))))?;
        Ok(text.into_owned())
    }

    fn items(&self) -> Result<Items<'py>, Wrong> {
        let dict = self.given.downcast::<PyDict>().map_err(|_| Wrong::of_type("a dict", &self.given))?;
        let items: Vec<_> = dict.iter().collect();
        Ok(Items { items: items.into_iter(), value: None, depth: self.inner_depth()? })
    }

    fn is_sequence(&self) -> bool {
        // SAFETY: it only looks at the object's type.
        unsafe { pyo3::ffi::PySequence_Check(self.given.as_ptr()) == 1 }
    }
}

macro_rules! numbers {
    ($($method:ident => $visit:ident $read:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            visitor.$visit(self.$read()?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let given = &self.given;
        if given.is_none() {
            return visitor.visit_unit().map_err(|wrong: Wrong| wrong.with(given));
        }
        if let Ok(flag) = given.downcast::<PyBool>() {
            return visitor.visit_bool(flag.is_true()).map_err(|wrong: Wrong| wrong.with(given));
        }
        if given.is_instance_of::<PyString>() {
            return visitor.visit_string(self.text()?).map_err(|wrong: Wrong| wrong.with(given));
        }
        if given.is_instance_of::<PyDict>() {
            return visitor.visit_map(self.items()?);
        }
        if given.is_instance_of::<PyFloat>() {
            return visitor.visit_f64(self.number()?).map_err(|wrong: Wrong| wrong.with(given));
        }
        match self.whole() {
            Ok(number) => return visitor.visit_i64(number).map_err(|wrong: Wrong| wrong.with(given)),
            Err(wrong) if matches!(wrong.problem, Problem::Other(_)) => return Err(wrong),
            Err(_) if self.is_sequence() => return self.deserialize_seq(visitor),
            Err(_) => {}
        }
        match self.number() {
            Ok(number) => visitor.visit_f64(number).map_err(|wrong: Wrong| wrong.with(given)),
            Err(_) => Err(Wrong::invalid_type(Unexpected::Other(""), &visitor).with(given)),
        }
    }

    numbers! {
        deserialize_i8 => visit_i64 whole
        deserialize_i16 => visit_i64 whole
        deserialize_i32 => visit_i64 whole
        deserialize_i64 => visit_i64 whole
        deserialize_u8 => visit_i64 whole
        deserialize_u16 => visit_i64 whole
        deserialize_u32 => visit_i64 whole
        deserialize_u64 => visit_i64 whole
        deserialize_f32 => visit_f64 number
        deserialize_f64 => visit_f64 number
        deserialize_str => visit_string text
        deserialize_string => visit_string text
        deserialize_identifier => visit_string text
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let flag = self.given.extract().map_err(|_| Wrong::of_type("True or False", &self.given))?;
        visitor.visit_bool(flag)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.given.is_none() {
            true => visitor.visit_none(),
            false => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        // Tens of thousands of indices come as an array.
        if let Ok(array) = self.given.downcast::<PyArray1<i64>>() {
            let numbers = array.readonly().as_array().to_vec();
            return visitor.visit_seq(SeqDeserializer::new(numbers.into_iter()));
        }
        if self.given.is_instance_of::<PyString>() || !self.is_sequence() {
            return Err(Wrong::invalid_type(Unexpected::Seq, &visitor).with(&self.given));
        }
        visitor.visit_seq(Entries { entries: self.given.try_iter()?, index: 0, depth: self.inner_depth()? })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_map(self.items()?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.deserialize_map(visitor)
    }

    /// A name, or a dict with the name of the variant and what belongs to it.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.given.is_instance_of::<PyDict>() {
            true => visitor.visit_enum(MapAccessDeserializer::new(self.items()?)),
            false => visitor.visit_enum(self.text()?.into_deserializer()),
        }
    }

    forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit unit_struct ignored_any }
}

struct Entries<'py> {
    entries: Bound<'py, PyIterator>,
    index: usize,
    depth: usize,
}

impl<'de> SeqAccess<'de> for Entries<'_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let Some(given) = self.entries.next().transpose()? else { return Ok(None) };
        let place = format!("[{}]", self.index);
        self.index += 1;
        let made = seed.deserialize(Value { given, depth: self.depth });
        made.map(Some).map_err(|wrong| wrong.within(&place))
    }
}

struct Items<'py> {
    items: std::vec::IntoIter<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    /// What comes next, with its name.
    value: Option<(String, Value<'py>)>,
    depth: usize,
}

impl<'de> MapAccess<'de> for Items<'_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let Some((key, given)) = self.items.next() else { return Ok(None) };
        let name = Value { given: key, depth: self.depth }.text()?;
        let key: StrDeserializer<Wrong> = name.as_str().into_deserializer();
        let key = seed.deserialize(key)?;
        self.value = Some((name, Value { given, depth: self.depth }));
        Ok(Some(key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Wrong> {
        let (name, value) = self.value.take().ok_or_else(|| Wrong::custom("a value without a name"))?;
        seed.deserialize(value).map_err(|wrong| wrong.within(&name))
    }
}

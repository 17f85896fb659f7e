//! What a run needs to go on, as data: named tensors and JSON.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use serde::{de::DeserializeOwned, Deserialize, Serialize};
use serde_json::Value;
use tch::{Device, Tensor};

use crate::error::{Error, Result};
use crate::libtorch::copied;
use crate::network::{Model, Normalization, Packed, Shape, Unpacking};

/// Where the JSON lies in the metadata of a safetensors file.
const JSON: &str = "everybatch.state";

/// All that a run needs to go on as if it had not been interrupted, to the last bit: what `train_with` is given.
#[derive(Debug)]
pub struct RunState {
    /// On the CPU: `weights.*`, `average.*`, `best.*`, `optimizer.*`, `recorder.*`, `examples.*`, what estimators know, `history.*`.
    pub tensors: BTreeMap<String, Tensor>,
    /// Everything else.
    pub json: Value,
}

impl RunState {
    pub fn new(plain: &impl Serialize) -> Result<Self> {
        let json = serde_json::to_value(plain);
        let json = json.map_err(|e| Error::Argument(format!("the state cannot be told in JSON: {e}")))?;
        Ok(RunState { tensors: BTreeMap::new(), json })
    }

    /// What is no tensor.
    pub fn plain<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.json)
            .map_err(|e| Error::Argument(format!("this is not the state of a run: {e}")))
    }

    /// Takes tensors, named `part.name`. Those that are on the CPU are not copied, and change as the run goes on.
    pub fn put(
        &mut self,
        part: &str,
        tensors: impl IntoIterator<Item = (impl AsRef<str>, Tensor)>,
    ) -> Result<()> {
        for (name, tensor) in tensors {
            let here = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
            self.tensors.insert(format!("{part}.{}", name.as_ref()), here);
        }
        Ok(())
    }

    pub fn has(&self, part: &str, name: &str) -> bool {
        self.tensors.contains_key(&format!("{part}.{name}"))
    }

    pub fn get(&self, part: &str, name: &str) -> Result<&Tensor> {
        let missing = || Error::Argument(format!("the state of the run lacks {part}.{name}"));
        self.tensors.get(&format!("{part}.{name}")).ok_or_else(missing)
    }

    /// Copies values into the tensors of a part, which stay where they are.
    pub fn copy_into(
        &self,
        part: &str,
        tensors: impl IntoIterator<Item = (impl AsRef<str>, Tensor)>,
    ) -> Result<()> {
        for (name, tensor) in tensors {
            let (name, mut tensor) = (name.as_ref(), tensor.f_detach()?);
            let value = self.get(part, name)?;
            if (value.size(), value.f_kind()?) != (tensor.size(), tensor.f_kind()?) {
                return Err(Error::Shape(format!(
                    "the state of the run holds {part}.{name} of shape {} and type {:?}, and it should have {} and {:?}",
                    Shape(value.size()),
                    value.f_kind()?,
                    Shape(tensor.size()),
                    tensor.f_kind()?,
                )));
            }
            tensor.f_copy_(value)?;
        }
        Ok(())
    }

    /// What the run would have given if it had ended here, on the CPU; it began with `beginning`.
    pub fn model(&self, beginning: &Model) -> Result<Model> {
        let mut model = beginning.to_device(Device::Cpu)?;
        if model.normalization.is_none() {
            let normalization = self.json.pointer("/of/normalization").unwrap_or(&Value::Null);
            let read = Normalization::deserialize(normalization);
            model.set_normalization(Some(
                read.map_err(|e| Error::Argument(format!("the state's normalization: {e}")))?,
            ))?;
        }
        self.copy_into(counting(self.tensors.keys()), model.state_dict()?)?;
        Ok(model)
    }

    /// What the run would have given of itself as a whole if it had ended here, by the names of the arrays: `confusion`
    /// (none before the first measurement of all images), and what became of each image, if that is recorded.
    pub fn arrays(&self) -> Vec<(String, Tensor)> {
        let of_run = |name: &String| match name.split_once('.') {
            Some(("recorder", "confusion")) => Some("confusion".to_string()),
            Some(("examples", name)) => Some(name.to_string()),
            _ => None,
        };
        self.tensors
            .iter()
            .filter_map(|(name, tensor)| Some((of_run(name)?, tensor.shallow_clone())))
            .collect()
    }

    /// As a safetensors file.
    pub fn packed(&self) -> Result<Packed> {
        self.packed_with("")
    }

    /// The same of `length` bytes, filled up with spaces after the JSON, which say nothing.
    pub fn packed_to(&self, length: usize) -> Result<Packed> {
        let now = self.packed()?.length()?;
        let filled = self.packed_with(&" ".repeat(length.saturating_sub(now)))?;
        match filled.length()? {
            exact if exact == length => Ok(filled),
            other => Err(Error::Argument(format!(
                "the state of the run takes {other} bytes, and does not fit into {length}"
            ))),
        }
    }

    fn packed_with(&self, after_json: &str) -> Result<Packed> {
        let tensors = self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
        let json = format!("{}{after_json}", self.json);
        Packed::new(tensors, HashMap::from([(JSON.to_string(), json)]))
    }

    /// Another one that shares nothing with this one, and stays as it is while the run goes on.
    pub fn copied(&self) -> Result<Self> {
        let tensors = self.tensors.iter().map(|(name, tensor)| Ok((name.clone(), copied(tensor, tensor)?)));
        Ok(RunState { tensors: tensors.collect::<Result<_>>()?, json: self.json.clone() })
    }

    /// Reads what [`RunState::packed`] gave.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes.len(), |range| Ok(&bytes[range]))
    }

    /// The same from anywhere: `piece` gives bytes of that file, which has `length` of them, and is asked for those of one
    /// tensor at a time.
    pub fn read<B: AsRef<[u8]>>(length: usize, piece: impl FnMut(Range<usize>) -> Result<B>) -> Result<Self> {
        Self::read_parts(length, piece, |_, _| true)
    }

    /// No more of it than [`RunState::model`] and [`RunState::arrays`] are made of.
    pub fn read_outcome<B: AsRef<[u8]>>(
        length: usize,
        piece: impl FnMut(Range<usize>) -> Result<B>,
    ) -> Result<Self> {
        Self::read_parts(length, piece, |part, counts| [counts, "recorder", "examples"].contains(&part))
    }

    /// Those parts that are `wanted`, which is asked for each of them, and told which one has the weights that count.
    fn read_parts<B: AsRef<[u8]>>(
        length: usize,
        piece: impl FnMut(Range<usize>) -> Result<B>,
        wanted: impl Fn(&str, &str) -> bool,
    ) -> Result<Self> {
        let wrong =
            |e: &dyn std::fmt::Display| Error::Argument(format!("this is not the state of a run: {e}"));
        let mut file = Unpacking::new(length, piece).map_err(|e| wrong(&e))?;
        let json = file.entry(JSON).ok_or_else(|| wrong(&format!("{JSON:?} is not in its metadata")))?;
        let json = serde_json::from_str(json).map_err(|e| wrong(&e))?;
        let mut names = file.names();
        let counts = counting(names.iter());
        names.retain(|name| wanted(name.split('.').next().unwrap_or_default(), counts));
        let tensors = names.into_iter().map(|name| {
            let tensor = file.tensor(&name).map_err(|e| wrong(&e))?;
            Ok((name, tensor))
        });
        Ok(RunState { tensors: tensors.collect::<Result<_>>()?, json })
    }
}

/// The part that has the weights which count.
fn counting<'a>(names: impl Iterator<Item = &'a String> + Clone) -> &'static str {
    let has = |part: &str| names.clone().any(|name| name.split('.').next() == Some(part));
    ["best", "average"].into_iter().find(|part| has(part)).unwrap_or("weights")
}

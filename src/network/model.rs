//! A network with its weights, and the normalisation of the pixels that it was trained with.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::init::initial_tensor;
use super::{forward, tensor_specs, Init, Needs, Network, Normalizer, Precision, Shape, TensorSpec};
use crate::error::{Error, Result};
use crate::libtorch::{channels_last, copied, storage_bytes};

/// Per-channel mean and standard deviation of pixels in [0, 1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

impl Normalization {
    pub fn new(mean: Vec<f64>, std: Vec<f64>) -> Result<Self> {
        if mean.is_empty() || mean.len() != std.len() {
            let (means, stds) = (mean.len(), std.len());
            return Err(Error::Argument(format!(
                "normalisation needs one mean and one std per channel, got {means} means and {stds} stds"
            )));
        }
        if mean.iter().any(|m| !m.is_finite()) || std.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
            return Err(Error::Argument(format!(
                "mean is {mean:?} and std is {std:?}: both must be finite, and std above 0"
            )));
        }
        // Pixels are normalised in float32.
        let largest = |(m, s): (&f64, &f64)| m.abs().max((1.0 - m).abs()) / f64::from(*s as f32);
        if let Some(pair) = mean.iter().zip(&std).find(|pair| largest(*pair) > f64::from(f32::MAX)) {
            return Err(Error::Argument(format!(
                "mean is {:e} and std is {:e}: a pixel (x - mean) / std is then more than float32 holds",
                pair.0, pair.1
            )));
        }
        Ok(Normalization { mean, std })
    }

    /// Pixels in [0, 1] as they are.
    pub fn identity(channels: i64) -> Self {
        Normalization { mean: vec![0.0; channels as usize], std: vec![1.0; channels as usize] }
    }

    /// Normalised float32 images of uint8 ones (N, C, H, W), see [`Normalizer`].
    pub fn apply(&self, images: &Tensor) -> Result<Tensor> {
        Normalizer::new(self, images.device())?.apply(images)
    }
}

#[derive(Debug)]
pub struct Model {
    pub network: Network,
    /// One entry per tensor, in the order of `tensor_specs`.
    pub specs: Vec<TensorSpec>,
    pub tensors: Vec<Tensor>,
    /// Unknown until the model is trained or told.
    pub normalization: Option<Normalization>,
    /// What each logit stands for. Unknown until the model is trained or told.
    classes: Option<Vec<String>>,
    /// Red, green and blue of what see-through pictures are laid on. Unknown until the model is trained or told.
    pub background: Option<[u8; 3]>,
}

impl Model {
    /// Fresh weights from `seed`, on the CPU.
    pub fn initialize(network: Network, seed: u64) -> Result<Self> {
        Needs::of(&network, network.input_shape)?.check_weights(&network)?;
        let specs = tensor_specs(&network.layers);
        let tensors = specs
            .iter()
            .enumerate()
            .map(|(index, spec)| initial_tensor(spec, seed, index as u64))
            .collect::<Result<Vec<_>>>()?;
        let mut model =
            Model { network, specs, tensors, normalization: None, classes: None, background: None };
        model.require_grad()?;
        Ok(model)
    }

    /// The tensors themselves, which stay in the hands of whoever gave them: what is written to them changes the model. Names
    /// and shapes must be the network's; on the CPU, float32 but for counters.
    pub fn of(network: Network, state: Vec<(String, Tensor)>) -> Result<Self> {
        let specs = tensor_specs(&network.layers);
        check_names(&network, &specs, &state)?;
        let mut given: HashMap<String, Tensor> = state.into_iter().collect();
        let tensors = specs.iter().filter_map(|spec| given.remove(&spec.name)).collect();
        let model = Model { network, specs, tensors, normalization: None, classes: None, background: None };
        model.check_memory()?;
        Ok(model)
    }

    /// A copy with weights of its own, on `device`.
    pub fn to_device(&self, device: Device) -> Result<Self> {
        let copy = |t: &Tensor| -> Result<Tensor> {
            Ok(t.f_detach()?.f_to_device_(device, t.f_kind()?, false, true)?.f_contiguous()?)
        };
        let mut model = self.with_tensors(self.tensors.iter().map(copy).collect::<Result<_>>()?);
        model.require_grad()?;
        Ok(model)
    }

    /// A copy whose convolutions' weights are stored with the channels innermost, which makes these run channels-last.
    pub fn channels_last(&self) -> Result<Self> {
        let copy = |t: &Tensor| match t.dim() {
            4 => channels_last(&t.f_detach()?),
            _ => Ok(t.f_detach()?),
        };
        let mut model = self.to_device(self.device())?;
        model.tensors = model.tensors.iter().map(copy).collect::<Result<_>>()?;
        model.require_grad()?;
        Ok(model)
    }

    /// A copy with weights of its own, stored as they are here.
    pub fn duplicate(&self) -> Result<Self> {
        let copy = |t: &Tensor| copied(&t.f_detach()?, t);
        Ok(self.with_tensors(self.tensors.iter().map(copy).collect::<Result<_>>()?))
    }

    /// The same tensors under a second owner.
    pub fn shared(&self) -> Self {
        self.with_tensors(self.tensors.iter().map(Tensor::shallow_clone).collect())
    }

    /// The same, with copies of those tensors that are not stored in the order of their shape.
    pub fn contiguous(&self) -> Result<Self> {
        let tensors = self.tensors.iter().map(|t| Ok(t.f_detach()?.f_contiguous()?));
        Ok(self.with_tensors(tensors.collect::<Result<_>>()?))
    }

    fn with_tensors(&self, tensors: Vec<Tensor>) -> Self {
        Model {
            network: self.network.clone(),
            specs: self.specs.clone(),
            tensors,
            normalization: self.normalization.clone(),
            classes: self.classes.clone(),
            background: self.background,
        }
    }

    fn require_grad(&mut self) -> Result<()> {
        for (spec, tensor) in self.specs.iter().zip(&mut self.tensors) {
            if spec.trainable {
                *tensor = tensor.f_set_requires_grad(true)?;
            }
        }
        Ok(())
    }

    pub fn device(&self) -> Device {
        self.tensors.first().map_or(Device::Cpu, Tensor::device)
    }

    /// The tensors that an optimizer changes.
    pub fn parameters(&self) -> Vec<&Tensor> {
        let pairs = self.specs.iter().zip(&self.tensors);
        pairs.filter(|(spec, _)| spec.trainable).map(|(_, tensor)| tensor).collect()
    }

    /// The pixels' normalisation, or none at all when nobody set it.
    pub fn normalization(&self) -> Normalization {
        self.normalization.clone().unwrap_or_else(|| Normalization::identity(self.network.input_shape[0]))
    }

    /// Sets the pixels' normalisation, one mean and std for each channel.
    pub fn set_normalization(&mut self, normalization: Option<Normalization>) -> Result<()> {
        let channels = self.network.input_shape[0] as usize;
        match &normalization {
            Some(given) if given.mean.len() != channels => Err(Error::Argument(format!(
                "mean and std have {} entries, and network {:?} takes images of {channels} channels",
                given.mean.len(),
                self.network.name
            ))),
            _ => {
                self.normalization = normalization;
                Ok(())
            }
        }
    }

    pub fn classes(&self) -> Option<&[String]> {
        self.classes.as_deref()
    }

    /// Names the classes: one name for each logit, all different.
    pub fn set_classes(&mut self, classes: Option<Vec<String>>) -> Result<()> {
        if let Some(names) = &classes {
            let logits = self.network.num_classes()?;
            if names.len() as i64 != logits {
                return Err(Error::Argument(format!(
                    "there are {} names of classes, and network {:?} gives {logits} logits",
                    names.len(),
                    self.network.name
                )));
            }
            let mut seen = HashSet::new();
            if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
                return Err(Error::Argument(format!(
                    "two classes are called {twice:?}: every class needs a name of its own"
                )));
            }
        }
        self.classes = classes;
        Ok(())
    }

    /// Refuses weights that are no longer what they were, or whose memory was taken from under them, which whoever shares
    /// them makes possible: to compute with them would be to read what is not there.
    pub fn check_memory(&self) -> Result<()> {
        let device = self.device();
        for (spec, tensor) in self.specs.iter().zip(&self.tensors) {
            let kind = if spec.init == Init::Counter { Kind::Int64 } else { Kind::Float };
            if tensor.f_kind()? != kind || tensor.size() != spec.shape || tensor.device() != device {
                return Err(Error::Argument(format!(
                    "the weights {} of network {:?} are {:?} of shape {} on {:?}, and must be {kind:?} of shape {} on \
                     {device:?}: the module that they are shared with was changed. Bring it back, or make a new model of it.",
                    spec.name,
                    self.network.name,
                    tensor.f_kind()?,
                    Shape(tensor.size()),
                    tensor.device(),
                    Shape(spec.shape.clone()),
                )));
            }
            let needed = spec.numel() * if tensor.f_kind()? == Kind::Int64 { 8 } else { 4 };
            let there = storage_bytes(tensor)?;
            if there < needed {
                return Err(Error::Argument(format!(
                    "the weights {} of network {:?} need {needed} bytes, and their storage has {there}: it was resized \
                     through a tensor of state_dict(), which shares memory with the model. Give it its size back, or \
                     load the model anew.",
                    spec.name, self.network.name
                )));
            }
        }
        Ok(())
    }

    /// Logits in training mode, see [`forward`].
    pub fn forward_train(&self, images: &Tensor, precision: Precision) -> Result<Tensor> {
        forward(&self.network.layers, &self.tensors, images, precision)
    }

    /// Names and tensors, sharing memory with the model.
    pub fn state_dict(&self) -> Result<Vec<(String, Tensor)>> {
        let pairs = self.specs.iter().zip(&self.tensors);
        pairs.map(|(spec, tensor)| Ok((spec.name.clone(), tensor.f_detach()?))).collect()
    }

    /// Copies values in. Names and shapes must be the model's, all of them and no others; nothing is changed otherwise.
    pub fn load_state_dict(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        check_names(&self.network, &self.specs, state)?;
        // Everything is brought into the model's form before anything is changed.
        let values = self.specs.iter().zip(&self.tensors).map(|(spec, tensor)| {
            let given = state.iter().find(|(name, _)| *name == spec.name).map(|(_, value)| value);
            let value = given.unwrap_or(tensor).f_detach()?;
            if matches!(value.f_kind()?, Kind::ComplexHalf | Kind::ComplexFloat | Kind::ComplexDouble) {
                return Err(Error::Argument(format!("state dict: {} holds complex numbers", spec.name)));
            }
            Ok(value.f_to_device_(tensor.device(), tensor.f_kind()?, false, true)?)
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        tch::no_grad(|| {
            for (tensor, value) in self.tensors.iter_mut().zip(&values) {
                tensor.f_copy_(value)?;
            }
            Ok(())
        })
    }
}

/// Refuses names that are missing or none of the network's, and shapes that are not.
fn check_names(network: &Network, specs: &[TensorSpec], state: &[(String, Tensor)]) -> Result<()> {
    let listed = |names: Vec<&str>| match names.len() {
        0..=5 => names.join(", "),
        more => format!("{}, and {} more", names[..5].join(", "), more - 5),
    };
    let has = |name: &str| state.iter().any(|(given, _)| given == name);
    let missing: Vec<_> = specs.iter().map(|s| s.name.as_str()).filter(|name| !has(name)).collect();
    let known = |name: &str| specs.iter().any(|spec| spec.name == name);
    let unexpected: Vec<_> =
        state.iter().map(|(name, _)| name.as_str()).filter(|name| !known(name)).collect();
    if !missing.is_empty() || !unexpected.is_empty() {
        let mut message = format!("the state dict does not belong to network {:?}.", network.name);
        if !missing.is_empty() {
            message.push_str(&format!(" Missing: {}.", listed(missing)));
        }
        if !unexpected.is_empty() {
            message.push_str(&format!(" Unexpected: {}.", listed(unexpected)));
        }
        return Err(Error::Argument(message));
    }
    for (name, tensor) in state {
        if let Some(spec) = specs.iter().find(|spec| spec.name == *name && spec.shape != tensor.size()) {
            return Err(Error::Shape(format!(
                "state dict: {name} has shape {}, and network {:?} needs {}",
                Shape(tensor.size()),
                network.name,
                Shape(spec.shape.clone())
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::builders;
    use super::*;

    fn lenet() -> Model {
        let network = builders::lenet5(&builders::Lenet5::default()).unwrap();
        Model::initialize(network, 0).unwrap()
    }

    // NumPy: (np.array([0, 128, 255]) / 255 - 0.1307) / 0.3081
    #[test]
    fn pixels_are_normalised() {
        let images = Tensor::from_slice(&[0u8, 128, 255]).view([1, 1, 1, 3]);
        let norm = Normalization::new(vec![0.1307], vec![0.3081]).unwrap();
        let x = Vec::<f32>::try_from(norm.apply(&images).unwrap().flatten(0, -1)).unwrap();
        for (x, expected) in x.iter().zip([-0.4242129, 1.2050009, 2.8214867]) {
            assert!((x - expected).abs() < 1e-5, "{x} instead of {expected}");
        }
    }

    // float32 ends at 3.4e38.
    #[test]
    fn pixels_beyond_float32_are_refused() {
        for (mean, std, fits) in
            [(0.0, 1e-38, true), (0.0, 1e-40, false), (0.5, 1e-38, true), (-3e38, 0.1, false)]
        {
            assert_eq!(Normalization::new(vec![mean], vec![std]).is_ok(), fits, "{mean} {std}");
        }
        assert!(Normalization::new(vec![0.0], vec![1e-300]).is_err());
    }

    #[test]
    fn a_copy_has_weights_of_its_own() {
        let model = lenet();
        let copy = model.to_device(Device::Cpu).unwrap();
        let _ = tch::no_grad(|| copy.tensors[0].shallow_clone().f_zero_().unwrap());
        assert!(model.tensors[0].abs().max().double_value(&[]) > 0.0);
        assert!(copy.tensors[0].requires_grad());
    }

    #[test]
    fn every_class_has_a_name_of_its_own() {
        let mut model = lenet();
        let names: Vec<String> = (0..10).map(|i| format!("class {i}")).collect();
        model.set_classes(Some(names.clone())).unwrap();
        assert_eq!(model.to_device(Device::Cpu).unwrap().classes(), Some(names.as_slice()));
        assert!(model.set_classes(Some(names[..9].to_vec())).is_err());
        let twice = names.iter().map(|name| name.replace('9', "8")).collect();
        assert!(model.set_classes(Some(twice)).unwrap_err().to_string().contains("\"class 8\""));
        assert_eq!(model.classes(), Some(names.as_slice()));
    }

    #[test]
    fn tensors_that_are_shared_are_looked_after() {
        let lenet = lenet();
        let mut state = lenet.state_dict().unwrap();
        let weight = state[0].1.shallow_clone();
        let whole = weight.copy();
        let model = Model::of(
            lenet.network.clone(),
            state.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect(),
        );
        let model = model.unwrap();
        let _ = weight.shallow_clone().f_zero_().unwrap();
        assert_eq!(model.tensors[0].abs().max().double_value(&[]), 0.0);
        let mut of_model = model.tensors[0].shallow_clone();
        of_model.set_data(&weight.to_kind(Kind::Half));
        let error = model.check_memory().unwrap_err().to_string();
        assert!(error.contains("0.weight") && error.contains("must be Float"), "{error}");
        of_model.set_data(&whole);
        assert!(model.check_memory().is_ok());
        state[0].1 = whole.to_kind(Kind::Double);
        assert!(Model::of(lenet.network.clone(), state).unwrap_err().to_string().contains("are Double"));
    }

    #[test]
    fn a_state_dict_that_does_not_fit_changes_nothing() {
        let (mut model, other) = (lenet(), lenet());
        let before = model.tensors[0].copy();
        let mut state = other.state_dict().unwrap();
        state.iter_mut().for_each(|(_, t)| *t = t.ones_like());
        state[3].0 = "0.wieght".to_string();
        let error = model.load_state_dict(&state).unwrap_err().to_string();
        assert!(error.contains("Unexpected: 0.wieght"), "{error}");
        state[3] = (model.specs[3].name.clone(), Tensor::zeros([7], (Kind::Float, Device::Cpu)));
        assert!(model.load_state_dict(&state).unwrap_err().to_string().contains("(7,)"));
        assert_eq!(model.tensors[0], before);
    }
}

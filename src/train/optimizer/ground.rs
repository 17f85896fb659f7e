//! Where steps are taken, and what every rule does there.

use tch::{Device, Tensor};

use super::{in_float32, Steps};
use crate::error::Result;
use crate::libtorch::{add_scaled, plus_scaled, Number};
use crate::train::dial::Dial;

/// Parameters, and who steps.
pub struct Ground<'a> {
    pub steps: Steps,
    pub parameters: Vec<&'a Tensor>,
    device: Device,
}

impl<'a> Ground<'a> {
    pub fn new(steps: Steps, parameters: &[&'a Tensor]) -> Self {
        let device = parameters.first().map_or(Device::Cpu, |parameter| parameter.device());
        Ground { steps, parameters: parameters.to_vec(), device }
    }

    /// The same parameters, without a momentum that changes on the way.
    pub fn still(self) -> Self {
        let steps = if self.moving() { Steps::OnDevice } else { self.steps };
        Ground { steps, ..self }
    }

    pub fn device(&self) -> Device {
        self.device
    }

    pub fn on_device(&self) -> bool {
        matches!(self.steps, Steps::OnDevice | Steps::OnDeviceMoving)
    }

    /// Whether the device takes steps whose momentum changes on the way.
    pub fn moving(&self) -> bool {
        self.steps == Steps::OnDeviceMoving
    }

    /// A number that the step finds where it is taken.
    pub fn dial(&self) -> Result<Dial> {
        self.dial_there(self.on_device())
    }

    /// The same, on the device only if `there`.
    pub fn dial_there(&self, there: bool) -> Result<Dial> {
        match there {
            true => Dial::on_device(self.device),
            false => Ok(Dial::on_host()),
        }
    }

    /// Zeros for each parameter, if they are `wanted`: in its own memory layout, which the fused kernels insist on.
    pub fn zeros(&self, wanted: bool) -> Result<Vec<Tensor>> {
        let like = self.parameters.iter().filter(|_| wanted).map(|p| Ok(p.f_detach()?.f_zeros_like()?));
        like.collect()
    }
}

/// Whether a root of means of squares, kept by this beta, plus `eps` is the same where what is below float32's smallest
/// normal number counts as zero. The means lose that number in each step at most, and 1 / (1 - beta) of them in all.
pub fn outweighs_tiny(eps: f64, beta: f64) -> bool {
    const LAST_BIT: f64 = 1.0 / (1 << 25) as f64; // of float32, rounded away
    (f64::from(f32::MIN_POSITIVE) / (1.0 - beta)).sqrt() <= LAST_BIT * eps
}

/// The tensors of a list by name and place.
pub fn named(name: &str, tensors: &[Tensor]) -> Vec<(String, Tensor)> {
    let all = tensors.iter().enumerate();
    all.map(|(index, tensor)| (format!("{name}.{index}"), tensor.shallow_clone())).collect()
}

/// The gradients with `decay` times the weights added.
pub fn decayed(parameters: &[Tensor], gradients: &[Tensor], decay: f64) -> Result<Vec<Tensor>> {
    let decay = in_float32(decay);
    let pairs = gradients.iter().zip(parameters);
    let decayed = pairs.map(|(gradient, parameter)| match decay == 0.0 {
        true => Ok(gradient.shallow_clone()),
        false if parameter.device() == Device::Cpu => plus_scaled(gradient, parameter, decay),
        false => Ok(gradient.f_add(&parameter.f_mul_scalar(decay)?)?),
    });
    decayed.collect()
}

/// Takes `size` times the direction from the parameter.
pub fn go(parameter: &Tensor, direction: &Tensor, size: &Dial) -> Result<()> {
    match size.get() {
        Number::Host(size) => add_scaled(parameter, direction, -size),
        Number::Device(size) => {
            let _ = parameter.shallow_clone().f_sub_(&direction.f_mul(size)?)?;
            Ok(())
        }
    }
}

//! Averaged weights: an exponential moving average of the weights after each step, which swings less than they do.

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::network::Model;

/// As torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn(decay) and use_buffers=True: the first step's weights
/// are copied, from then on `average = decay · average + (1 - decay) · weights`; batch norm's statistics too.
pub struct Average {
    decay: f64,
    updates: usize,
    pub model: Model,
}

impl Average {
    pub fn new(model: &Model, decay: f64) -> Result<Self> {
        Ok(Average { decay, updates: 0, model: model.to_device(model.device())? })
    }

    /// Share of the newest weights in the next update, which is counted as made.
    pub fn next_share(&mut self) -> f64 {
        let share = if self.updates == 0 { 1.0 } else { 1.0 - self.decay };
        self.updates += 1;
        share
    }

    pub fn update(&mut self, model: &Model) -> Result<()> {
        let share = self.next_share();
        tch::no_grad(|| {
            for (average, now) in self.model.tensors.iter_mut().zip(&model.tensors) {
                match now.f_kind()? {
                    Kind::Float if share < 1.0 => {
                        let _ = average.f_lerp_(now, share)?;
                    }
                    _ => average.f_copy_(now)?,
                }
            }
            Ok(())
        })
    }
}

/// An update of `average` with a share that lies on the device, so that it can be recorded.
pub fn average_by(average: &Model, now: &Model, share: &Tensor) -> Result<()> {
    tch::no_grad(|| {
        for (average, now) in average.tensors.iter().zip(&now.tensors) {
            let mut average = average.shallow_clone();
            match now.f_kind()? {
                Kind::Float => {
                    let _ = average.f_lerp_tensor_(now, share)?;
                }
                _ => average.f_copy_(now)?,
            }
        }
        Ok(())
    })
}

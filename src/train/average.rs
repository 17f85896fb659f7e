//! Averaged weights: an exponential moving average of the weights after each step, which swings less than they do.

use tch::Kind;

use super::dial::Dial;
use crate::error::Result;
use crate::libtorch::Number;
use crate::network::Model;

/// As torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn(decay) and use_buffers=True: the first step's weights
/// are copied, from then on `average = decay · average + (1 - decay) · weights`; batch norm's statistics too, but its counters
/// of batches are those of now, where PyTorch averages them.
pub struct Average {
    decay: f64,
    /// Of the newest weights in the next update.
    share: Dial,
    pub model: Model,
}

impl Average {
    /// Of the weights of `model` in the order in which they lie here; `share` says where its number is found.
    pub fn new(model: &Model, decay: f64, share: Dial) -> Result<Self> {
        Ok(Average { decay, share, model: model.to_device(model.device())? })
    }

    /// Of the update after step number `taken` (from 0).
    pub fn set(&self, taken: usize) -> Result<()> {
        self.share.set(if taken == 0 { 1.0 } else { 1.0 - self.decay })
    }

    /// Takes the weights of `now` up.
    pub fn update(&self, now: &Model) -> Result<()> {
        let copies = matches!(self.share.get(), Number::Host(share) if share >= 1.0);
        tch::no_grad(|| {
            for (average, now) in self.model.tensors.iter().zip(&now.tensors) {
                match now.f_kind()? {
                    Kind::Float if !copies => self.share.approach(average, now)?,
                    _ => average.shallow_clone().f_copy_(now)?,
                }
            }
            Ok(())
        })
    }
}

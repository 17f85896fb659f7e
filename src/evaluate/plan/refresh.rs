//! A plan that stays where it is and takes up other weights of the same network: what runs it can be recorded.

use super::lower::{lower, Target};
use super::op::{all_ops, Constant, Op};
use super::{compile, one_image, Layout, Plan};
use crate::error::Result;
use crate::libtorch::copy_all;
use crate::network::{Model, Precision};

impl Plan {
    /// A plan with weights in memory of its own, not packed, for [`Plan::refresh`]. Otherwise as [`Plan::compile`].
    pub fn resident(model: &Model, precision: Precision, chunk: [i64; 4], layout: Layout) -> Result<Plan> {
        let [images, channels, height, width] = chunk;
        let target =
            Target { kind: precision.kind(), chunk: images, images, layout, packs: false, stays: true };
        Plan::compile_for(model, target, [channels, height, width], Some(&[]), None)
    }

    /// Folds the weights of `model` into the tensors of a [`Plan::resident`]. Nothing waits for the device.
    pub fn refresh(&self, model: &Model) -> Result<()> {
        tch::no_grad(|| {
            let fresh = compile::operations(model, &[])?;
            let (mut all, mut values) = (Vec::new(), Vec::new());
            for (kept, mut fresh) in self.parts.iter().zip(fresh) {
                // Only the map of a constant depends on the shapes on the way.
                if all_ops(&fresh).into_iter().any(has_constant) {
                    let _ = lower(&mut fresh, one_image(self.shape), Target { stays: false, ..self.target })?;
                }
                let tensors = |part| all_ops(part).into_iter().flat_map(Op::tensors);
                for (kept, new) in tensors(kept).zip(tensors(&fresh)) {
                    values.push(new.f_reshape(kept.size())?);
                    all.push(kept.shallow_clone());
                }
            }
            copy_all(&all, &values)?;
            for op in self.parts.iter().flat_map(|part| all_ops(part)) {
                if let Op::Product(product) = op {
                    product.take_up()?;
                }
            }
            Ok(())
        })
    }
}

fn has_constant(op: &Op) -> bool {
    matches!(op, Op::Conv { constant: Constant::Shift { .. }, .. })
}

//! A plan that stays where it is and takes up other weights of the same network: what runs it can be recorded.

use tch::Tensor;

use super::op::{Constant, Op};
use super::pool::Bounds;
use super::prepare::{prepare, Purpose};
use super::products::Product;
use super::{compile, example, Layout, Plan};
use crate::error::Result;
use crate::libtorch::{copied, copy_all};
use crate::network::{Model, Precision};

impl Plan {
    /// A plan with weights in memory of its own, not packed, for [`Plan::refresh`]. Otherwise as [`Plan::compile`].
    pub fn resident(model: &Model, precision: Precision, chunk: [i64; 4], layout: Layout) -> Result<Plan> {
        let [images, channels, height, width] = chunk;
        let purpose = Purpose { kind: precision.kind(), chunk: images, images, layout, packs: false };
        let mut plan = Plan::compile_for(model, purpose, [channels, height, width], Some(&[]), None)?;
        tch::no_grad(|| {
            for tensor in plan.parts.iter_mut().flat_map(|part| tensors_mut(part)) {
                *tensor = copied(tensor, tensor)?;
            }
            Ok(plan)
        })
    }

    /// Folds the weights of `model` into the tensors of a [`Plan::resident`]. Nothing waits for the device.
    pub fn refresh(&self, model: &Model) -> Result<()> {
        tch::no_grad(|| {
            let fresh = compile::operations(model, &[])?;
            let (mut all, mut values) = (Vec::new(), Vec::new());
            for (kept, mut fresh) in self.parts.iter().zip(fresh) {
                // Only the map of a constant depends on the shapes on the way.
                if has_constant(&fresh) {
                    let x = example(model.device(), self.purpose, self.shape)?;
                    let _ = prepare(&mut fresh, x, self.purpose)?;
                }
                for (kept, new) in tensors(kept).into_iter().zip(tensors(&fresh)) {
                    values.push(new.f_reshape(kept.size())?);
                    all.push(kept.shallow_clone());
                }
            }
            copy_all(&all, &values)?;
            self.parts.iter().flat_map(|part| products(part)).try_for_each(Product::take_up)
        })
    }
}

fn products(ops: &[Op]) -> Vec<&Product> {
    let mut all = Vec::new();
    for op in ops {
        match op {
            Op::Product(product) => all.push(product),
            Op::Residual { body, shortcut, .. } => {
                all.extend(products(body));
                all.extend(products(shortcut));
            }
            _ => {}
        }
    }
    all
}

fn has_constant(ops: &[Op]) -> bool {
    ops.iter().any(|op| match op {
        Op::Conv { constant: Constant::Shift { .. }, .. } => true,
        Op::Residual { body, shortcut, .. } => has_constant(body) || has_constant(shortcut),
        _ => false,
    })
}

fn tensors(ops: &[Op]) -> Vec<&Tensor> {
    let mut all = Vec::new();
    for op in ops {
        match op {
            Op::Conv { weight, bias, constant, .. } => {
                all.extend([weight, bias]);
                if let Constant::Map(map) = constant {
                    all.push(map);
                }
            }
            Op::Columns(columns) => all.extend([&columns.weight_in, &columns.bias_in]),
            Op::Product(product) => all.extend([&product.weight_in, &product.bias_in]),
            Op::Linear { weight, bias, .. } | Op::Dense { weight, bias, .. } => all.extend([weight, bias]),
            Op::Affine { scale, shift } => all.extend(scale.iter().chain([shift])),
            Op::MaxPool { bounds: Some(Bounds { low, high }), .. }
            | Op::GroupMax { bounds: Some(Bounds { low, high }), .. } => all.extend([low, high]),
            Op::Residual { body, shortcut, scale, .. } => {
                all.extend(tensors(body));
                all.extend(tensors(shortcut));
                all.extend(scale);
            }
            _ => {}
        }
    }
    all
}

fn tensors_mut(ops: &mut [Op]) -> Vec<&mut Tensor> {
    let mut all = Vec::new();
    for op in ops {
        match op {
            Op::Conv { weight, bias, constant, .. } => {
                all.extend([weight, bias]);
                if let Constant::Map(map) = constant {
                    all.push(map);
                }
            }
            Op::Columns(columns) => all.extend([&mut columns.weight_in, &mut columns.bias_in]),
            Op::Product(product) => all.extend([&mut product.weight_in, &mut product.bias_in]),
            Op::Linear { weight, bias, .. } | Op::Dense { weight, bias, .. } => all.extend([weight, bias]),
            Op::Affine { scale, shift } => all.extend(scale.iter_mut().chain([shift])),
            Op::MaxPool { bounds: Some(Bounds { low, high }), .. }
            | Op::GroupMax { bounds: Some(Bounds { low, high }), .. } => all.extend([low, high]),
            Op::Residual { body, shortcut, scale, .. } => {
                all.extend(tensors_mut(body));
                all.extend(tensors_mut(shortcut));
                all.extend(scale);
            }
            _ => {}
        }
    }
    all
}

//! The way through the operations.

use tch::{Kind, Tensor};

use super::pool::whole_map;
use super::{Back, Gradients, Op};
use crate::error::Result;
use crate::libtorch::channels_last;
use crate::network::{global_avg_pool, next_mask, Layer};

/// The tensors of a model at work.
pub struct Pass<'a> {
    /// Without autograd.
    pub tensors: &'a [Tensor],
    pub kind: Kind,
}

impl Pass<'_> {
    /// The result and the way back. `by_input` asks for the gradient by `x`.
    pub fn forward<'a>(&self, ops: &'a [Op], x: Tensor, by_input: bool) -> Result<(Tensor, Back<'a>)> {
        let mut steps = Vec::with_capacity(ops.len());
        let mut y = x;
        for op in ops {
            let (next, back) = self.run(op, y, by_input || !steps.is_empty())?;
            steps.push(back);
            y = next;
        }
        let back = |dy, gradients: &mut Gradients| {
            steps.into_iter().rev().try_fold(dy, |dy, back| back(dy, gradients))
        };
        Ok((y, Box::new(back)))
    }

    fn run<'a>(&self, op: &'a Op, x: Tensor, by_input: bool) -> Result<(Tensor, Back<'a>)> {
        match op {
            Op::Conv { conv, weights } => self.convolution(conv, *weights, x, by_input),
            Op::Linear(weights) => self.linear(*weights, x, by_input),
            Op::Norm(norm) => {
                let (y, normed) = self.norm(norm, x, None)?;
                Ok((y, Box::new(|dy, gradients| normed.back(dy, gradients))))
            }
            Op::Rectifier { slope } => {
                let (y, back) = self.rectified(*slope, x)?;
                Ok((y, Box::new(|dy, _| back(dy))))
            }
            Op::MaxPool(pool) => self.max_pool(pool, x),
            Op::GlobalMaxPool => match whole_map(&x) {
                Some(pool) => {
                    let (y, back) = self.max_pool(&pool, x)?;
                    Ok((y.f_flatten(1, -1)?, back))
                }
                None => self.by_autograd(&Layer::GlobalMaxPool, x),
            },
            Op::GlobalAvgPool => {
                let size = x.size();
                let back = move |dy: Tensor, _: &mut Gradients| {
                    let share = dy.f_div_scalar((size[2] * size[3]) as f64)?;
                    let share = share.f_view([size[0], size[1], 1, 1])?;
                    // Expanded memory is shared by all pixels, and the next may write to it.
                    channels_last(&share.f_expand(&size, false)?)
                };
                Ok((global_avg_pool(&x)?, Box::new(back)))
            }
            Op::Flatten => {
                let size = x.size();
                Ok((x.f_flatten(1, -1)?, Box::new(move |dy, _| Ok(dy.f_reshape(&size)?))))
            }
            Op::Residual { body, shortcut, join } => self.residual(body, shortcut, join, x),
            Op::Gate { body } => self.gate(body, x),
            Op::Drop(layer) => match next_mask(layer, &x)? {
                Some(mask) => Ok((x.f_mul(&mask)?, Box::new(move |mut dy, _| Ok(dy.f_mul_(&mask)?)))),
                None => self.by_autograd(layer, x),
            },
            Op::Other(layer) => self.by_autograd(layer, x),
        }
    }
}

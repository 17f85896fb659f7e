//! The way through the operations, forth and back.

use tch::{Kind, Tensor};

use super::pool::whole_map;
use super::{Gradients, Op, Saved};
use crate::error::{Error, Result};
use crate::network::Layer;

/// The tensors of a model at work.
pub struct Pass<'a> {
    /// Without autograd.
    pub tensors: &'a [Tensor],
    pub kind: Kind,
}

impl Pass<'_> {
    pub fn forward(&self, ops: &[Op], x: Tensor) -> Result<(Tensor, Vec<Saved>)> {
        let mut tape = Vec::with_capacity(ops.len());
        let y = ops.iter().try_fold(x, |x, op| -> Result<Tensor> {
            let (y, saved) = self.run(op, x)?;
            tape.push(saved);
            Ok(y)
        })?;
        Ok((y, tape))
    }

    fn run(&self, op: &Op, x: Tensor) -> Result<(Tensor, Saved)> {
        match op {
            Op::Conv { conv, weights } => self.convolution(conv, *weights, x),
            Op::Linear(weights) => self.linear(*weights, x),
            Op::Norm(norm) => self.norm(norm, x, None),
            Op::Bend { slope } => self.bend(*slope, x),
            Op::MaxPool(pool) => self.max_pool(pool, x),
            Op::GlobalMaxPool => match whole_map(&x) {
                Some(pool) => {
                    let (y, saved) = self.max_pool(&pool, x)?;
                    Ok((y.f_flatten(1, -1)?, saved))
                }
                None => self.by_autograd(&Layer::GlobalMaxPool, x),
            },
            Op::GlobalAvgPool => {
                Ok((x.f_mean_dim([2i64, 3].as_slice(), false, None::<Kind>)?, Saved::Size(x.size())))
            }
            Op::Flatten => Ok((x.f_flatten(1, -1)?, Saved::Size(x.size()))),
            Op::Residual { body, shortcut, join } => self.residual(body, shortcut, join, x),
            Op::Other(layer) => self.by_autograd(layer, x),
        }
    }

    /// The gradient by the input, which is left out if `by_input` is false and it is something to compute. `dy` belongs to
    /// the call, which may write over it.
    pub fn backward(
        &self,
        ops: &[Op],
        tape: Vec<Saved>,
        mut dy: Tensor,
        by_input: bool,
        gradients: &mut Gradients,
    ) -> Result<Option<Tensor>> {
        for (index, (op, saved)) in ops.iter().zip(tape).enumerate().rev() {
            match self.run_back(op, saved, dy, by_input || index > 0, gradients)? {
                Some(dx) => dy = dx,
                None => return Ok(None),
            }
        }
        Ok(Some(dy))
    }

    fn run_back(
        &self,
        op: &Op,
        saved: Saved,
        dy: Tensor,
        by_input: bool,
        gradients: &mut Gradients,
    ) -> Result<Option<Tensor>> {
        match (op, saved) {
            (Op::Conv { conv, weights }, Saved::Linear { x, weight, y }) => {
                self.convolution_back(conv, *weights, (x, weight, y), dy, by_input, gradients)
            }
            (Op::Linear(weights), Saved::Linear { x, weight, y }) => {
                self.linear_back(*weights, (x, weight, y), dy, by_input, gradients)
            }
            (Op::Norm(norm), saved) => {
                self.norm_back(norm, saved, dy, false, gradients).map(|(dx, _)| Some(dx))
            }
            (Op::Bend { slope }, Saved::Bend(y)) => self.unbent(*slope, y.as_ref(), dy).map(Some),
            (Op::MaxPool(_) | Op::GlobalMaxPool, Saved::Pool { pool, size, taps }) => {
                self.max_pool_back(&pool, &size, &taps, dy).map(Some)
            }
            (Op::GlobalAvgPool, Saved::Size(size)) => {
                let share = dy.f_div_scalar((size[2] * size[3]) as f64)?;
                let share = share.f_view([size[0], size[1], 1, 1])?;
                // Expanded memory is shared by all pixels, and the next may write to it.
                Ok(Some(share.f_expand(&size, false)?.f_contiguous()?))
            }
            (Op::Flatten, Saved::Size(size)) => Ok(Some(dy.f_reshape(&size)?)),
            (Op::Residual { body, shortcut, join }, Saved::Residual(tapes)) => {
                self.residual_back((body, shortcut, join), *tapes, dy, gradients).map(Some)
            }
            (Op::Other(_) | Op::GlobalMaxPool, Saved::Graph { x, y }) => {
                self.by_autograd_back(&x, &y, &dy).map(Some)
            }
            _ => Err(Error::argument(
                "an operation met what another one has kept: this is a bug in everybatch",
            )),
        }
    }
}

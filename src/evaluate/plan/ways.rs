//! Which convolutions of a plan run as one kernel of cuDNN with their sum and ReLU: those for which that is faster, which
//! is measured for each with the very maps that it will see.

use std::time::Instant;

use tch::Tensor;

use super::op::{all_ops, change_all, convolve, Constant, Op, Sum, Value, Way};
use super::Plan;
use crate::error::Result;
use crate::libtorch::{await_tensor, copied};
use crate::network::{Activation, Conv2d};

impl Plan {
    /// Measures both ways for each convolution, on a chunk of images, and takes the faster. Results that differ by more
    /// than `tolerance`, relative to the largest, are not those of the same convolution.
    pub fn choose_ways(&mut self, x: &Tensor, tolerance: f64) -> Result<()> {
        let kind = self.kind;
        tch::no_grad(|| {
            let x = x.f_to_kind(kind)?;
            let _ = self.parts.iter_mut().try_fold(x, |x, part| choose(part, x, tolerance))?;
            Ok(())
        })
    }

    /// The ways of all convolutions, in the order in which they run.
    pub fn ways(&self) -> Vec<Way> {
        let ops = self.parts.iter().flat_map(|part| all_ops(part));
        ops.filter_map(|op| if let Op::Conv { way, .. } = op { Some(*way) } else { None }).collect()
    }

    pub fn set_ways(&mut self, ways: &[Way]) {
        let mut ways = ways.iter();
        let mut set = |op: &mut Op| {
            if let Op::Conv { way, .. } = op {
                *way = ways.next().copied().unwrap_or(*way);
            }
        };
        self.parts.iter_mut().for_each(|part| change_all(part, &mut set));
    }
}

/// Chooses, and gives the result.
fn choose(ops: &mut [Op], mut x: Tensor, tolerance: f64) -> Result<Tensor> {
    for op in ops {
        match op {
            Op::Conv { conv, weight, bias, constant, activation: Some(Activation::Relu), way } => {
                let sum = match constant {
                    Constant::Map(map) => Some(map.f_narrow(0, 0, x.size()[0])?),
                    _ => None,
                };
                *way = faster(&x, conv, weight, bias, sum.as_ref(), tolerance)?;
            }
            Op::Residual { body, shortcut, scale, activation } => {
                let joined = scale.is_none() && body.last().is_some_and(Op::takes_sum);
                let other = choose(shortcut, x.shallow_clone(), tolerance)?;
                let before = body.len() - usize::from(joined);
                let y = choose(&mut body[..before], x.shallow_clone(), tolerance)?;
                if let (true, Some(Op::Conv { conv, weight, bias, way, .. })) = (joined, body.last_mut()) {
                    if *activation == Some(Activation::Relu) {
                        *way = faster(&y, conv, weight, bias, Some(&other), tolerance)?;
                    }
                }
            }
            _ => {
                for inner in op.inner_mut() {
                    let _ = choose(inner, x.shallow_clone(), tolerance)?;
                }
            }
        }
        x = op.run(Value { tensor: x, free: false })?.tensor;
    }
    Ok(x)
}

fn faster(
    x: &Tensor,
    conv: &Conv2d,
    weight: &Tensor,
    bias: &Tensor,
    sum: Option<&Tensor>,
    tolerance: f64,
) -> Result<Way> {
    let run_on = |x: &Tensor, way| {
        let sum = sum.map_or(Sum::None, |sum| Sum::Kept(sum.shallow_clone()));
        convolve(x, conv, weight, bias, sum, Some(Activation::Relu), way)
    };
    let run = |way| run_on(x, way);
    let separate = run(Way::Separate)?;
    // What cuDNN has no kernel for, or a wrong one, runs as before.
    let Ok(fused) = run(Way::Fused) else { return Ok(Way::Separate) };
    let scale = separate.f_abs()?.f_max()?.f_double_value(&[])?;
    let gap = (separate.f_sub(&fused)?).f_abs()?.f_max()?.f_double_value(&[])?;
    if !(fused.size() == separate.size() && gap <= tolerance * scale) {
        return Ok(Way::Separate);
    }
    // cuDNN says nothing of what its ReLU makes of NaN.
    let broken = run_on(&with_nan(x)?, Way::Fused)?.f_isnan()?;
    if !broken.f_equal(&run_on(&with_nan(x)?, Way::Separate)?.f_isnan()?)? {
        return Ok(Way::Separate);
    }
    let seconds = |way| -> Result<f64> {
        await_tensor(&run(way)?)?;
        let start = Instant::now();
        for _ in 0..10 {
            let _ = run(way)?;
        }
        await_tensor(&run(way)?)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let (one, other) = (seconds(Way::Fused)?, seconds(Way::Separate)?);
    Ok(if one < other { Way::Fused } else { Way::Separate })
}

/// The same maps with one value that is not a number in each.
fn with_nan(x: &Tensor) -> Result<Tensor> {
    let x = copied(x, x)?;
    let _ = x.f_select(1, 0)?.f_select(1, 0)?.f_select(1, 0)?.f_fill_(f64::NAN)?;
    Ok(x)
}

//! Loops of our own over memory on the CPU, each one pass where libtorch's operators take several. They know slices,
//! not layers; maps lie channels-last, so that the channels of a pixel are neighbours.

mod batch_norm;
mod element;
mod gate;
mod lines;
mod pixels;
mod pool;
mod product;
mod range;
mod tiles;
mod vectorised;
mod weight_gradient;

pub use batch_norm::{batch_norm, batch_norm_gradient, rectifier_gradient, Moments};
pub use element::{elements, elements_mut, Bf16, Places};
pub use gate::{gate, gate_gradient};
pub use pixels::{convolution, convolution_by_input, ByPixel, Finish, Panels};
pub use pool::{group_max, max_pool, max_pool_gradient, max_pool_taps, Map, Windows};
pub use product::{gather_taps, spread_taps, spread_taps_last, Taps};
pub use range::{absolute_sums, within};
pub use tiles::Unit;
pub use weight_gradient::{weight_gradient, Centered};

use vectorised::vectorised;

/// `work` with the type `T` that the elements of tensors of a number format have: [`Bf16`] for bfloat16, otherwise float32.
macro_rules! of_kind {
    ($kind:expr, $T:ident => $work:expr) => {
        match $kind {
            tch::Kind::BFloat16 => {
                type $T = crate::kernels::Bf16;
                $work
            }
            _ => {
                type $T = f32;
                $work
            }
        }
    };
}
pub(crate) use of_kind;

//! Loops of our own over memory on the CPU, each one pass where libtorch's operators take several. They know slices,
//! not layers; maps lie channels-last, so that the channels of a pixel are neighbours.

mod batch_norm;
mod element;
mod pool;
mod product;
mod range;
mod vectorised;

pub use batch_norm::{batch_norm, batch_norm_gradient, bend_gradient, Moments};
pub use element::{elements, elements_mut, Bf16, Element, Places};
pub use pool::{group_max, max_pool, max_pool_gradient, max_pool_taps, Map, Windows};
pub use product::{gather_taps, spread_taps, Taps};
pub use range::{absolute_sums, within};

use vectorised::vectorised;

//! Convolutions as the kernels on memory take them.

use tch::Kind;

use super::Conv2d;
use crate::kernels::{ByPixel, Taps, Unit};

/// Which tap of the kernel each pixel of the result has on each pixel of a map of this size.
pub fn taps(conv: &Conv2d, map: [i64; 2]) -> Taps {
    Taps {
        places: conv.taps(map).into_iter().map(|tap| tap.map(|tap| tap as usize)).collect(),
        inputs: (map[0] * map[1]) as usize,
        kernel: conv.kernel_size.iter().product::<i64>() as usize,
    }
}

pub fn by_pixel(conv: &Conv2d, map: [i64; 2]) -> ByPixel {
    ByPixel { inputs: conv.in_channels as usize, outputs: conv.out_channels as usize, taps: taps(conv, map) }
}

/// Numbers that the weight of such a product has at most: 128 MiB of float32.
const MOST: i128 = 1 << 25;

/// Whether one product of the flattened maps, for a map of this size, has a weight that memory is there for.
pub fn is_affordable_product(conv: &Conv2d, map: [i64; 2]) -> bool {
    let sides = [map, conv.output_size(map)].map(|size| size.map(i128::from).into_iter().product::<i128>());
    sides[0] * i128::from(conv.in_channels) * sides[1] * i128::from(conv.out_channels) <= MOST
}

/// Whether half of the kernel's taps or more lie beyond a map of this size: one product of the flattened maps is then half the
/// arithmetic, or less.
pub fn is_mostly_edge(conv: &Conv2d, map: [i64; 2]) -> bool {
    let [taps, pixels] = [conv.kernel_size, map].map(|size| size[0] * size[1]);
    conv.groups == 1 && 2 * pixels <= taps && is_affordable_product(conv, map)
}

/// The matrix unit where, for so many images and a map of this size, it is quicker pixel by pixel than libtorch or one product.
pub fn unit_by_pixel(conv: &Conv2d, kind: Kind, [images, height, width]: [i64; 3]) -> Option<Unit> {
    let channels = [conv.in_channels, conv.out_channels].map(|channels| channels as usize);
    let map = [height, width];
    let pixels = [map, conv.output_size(map)].map(|size| (size[0] * size[1]) as usize);
    match conv.groups == 1 && kind == Kind::BFloat16 && !is_mostly_edge(conv, map) {
        true => ByPixel::unit(images as usize, channels, pixels),
        false => None,
    }
}

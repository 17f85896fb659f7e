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

/// The matrix unit where, for so many images and a map of this size, it is quicker pixel by pixel than libtorch. Where half
/// of the taps or more lie beyond the map, one product of the flattened maps is as little work.
pub fn unit_by_pixel(conv: &Conv2d, kind: Kind, [images, height, width]: [i64; 3]) -> Option<Unit> {
    let channels = [conv.in_channels, conv.out_channels].map(|channels| channels as usize);
    let map = [height, width];
    let [pixels, results, taps] =
        [map, conv.output_size(map), conv.kernel_size].map(|size| (size[0] * size[1]) as usize);
    match conv.groups == 1 && kind == Kind::BFloat16 && 2 * pixels > taps {
        true => ByPixel::unit(images as usize, channels, [pixels, results]),
        false => None,
    }
}

//! Convolutions on small maps as one matrix product: most taps of a padded kernel lie outside of such a map.

use tch::Tensor;

use crate::error::Result;
use crate::network::Conv2d;

/// Whether the product of the whole map takes no more multiplications than the convolution, for maps (height, width).
pub fn is_less_work(conv: &Conv2d, map: [i64; 2]) -> bool {
    let [taps, pixels] = [conv.kernel_size, map].map(|size| size[0] * size[1]);
    conv.groups == 1 && pixels <= taps
}

/// The weight (height·width·out_channels, height·width·in_channels) that makes a channels-last output map from a
/// channels-last input map, and (height, width, channels) of the output.
pub fn as_product(conv: &Conv2d, weight: &Tensor, map: [i64; 2]) -> Result<(Tensor, [i64; 3])> {
    let output = conv.output_size(map);
    let none = conv.kernel_size[0] * conv.kernel_size[1]; // the place of a zero behind the kernel's taps
    let taps: Vec<i64> = conv.taps(map).into_iter().map(|tap| tap.unwrap_or(none)).collect();
    let (outputs, inputs) = (conv.out_channels, conv.in_channels);
    let device = weight.device();
    let flat = weight.f_reshape([outputs, inputs, none])?.f_permute([2, 0, 1])?;
    let zero = Tensor::f_zeros([1, outputs, inputs], (weight.f_kind()?, device))?;
    let places = [output[0] * output[1], map[0] * map[1]];
    let taps = Tensor::f_from_slice(&taps)?.f_to_device(device)?;
    let product = Tensor::f_cat(&[&flat, &zero], 0)?.f_index_select(0, &taps)?;
    let product = product.f_view([places[0], places[1], outputs, inputs])?.f_permute([0, 2, 1, 3])?;
    Ok((product.f_reshape([places[0] * outputs, places[1] * inputs])?, [output[0], output[1], outputs]))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    // Against libtorch's convolution.
    #[test]
    fn the_product_is_the_convolution() {
        let float = (Kind::Float, Device::Cpu);
        for conv in [
            Conv2d::new(3, 5, 3).padding(1),
            Conv2d::new(3, 5, 3).padding(1).stride(2),
            Conv2d { padding: [2, 1], dilation: [2, 1], ..Conv2d::new(3, 5, 3) },
            Conv2d { kernel_size: [1, 5], padding: [0, 2], stride: [1, 2], ..Conv2d::new(3, 5, 1) },
        ] {
            for map in [[2, 2], [1, 1], [3, 2]] {
                let (x, weight) = (Tensor::randn([4, 3, map[0], map[1]], float), {
                    let [rows, columns] = conv.kernel_size;
                    Tensor::randn([5, 3, rows, columns], float)
                });
                let (stride, padding, dilation) = (conv.stride, conv.padding, conv.dilation);
                let expected = x.conv2d(&weight, None::<&Tensor>, stride, padding, dilation, 1);
                let (weight, map) = as_product(&conv, &weight, map).unwrap();
                let y = x.permute([0, 2, 3, 1]).reshape([4, -1]).linear(&weight, None::<&Tensor>);
                let y = y.view([4, map[0], map[1], map[2]]).permute([0, 3, 1, 2]);
                assert_eq!(y.size(), expected.size());
                assert!((y - expected).abs().max().double_value(&[]) < 1e-5, "{conv:?} {map:?}");
            }
        }
    }
}

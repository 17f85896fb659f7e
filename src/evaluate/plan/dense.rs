//! Convolutions on small maps as one matrix product: most taps of a padded kernel lie outside of such a map.

use tch::{Device, Tensor};

use crate::error::Result;
use crate::kernels::{elements, elements_mut, of_kind, spread_taps_last};
use crate::network::{self, Conv2d};

/// Whether the product of the whole map takes no more multiplications than the convolution, for maps (height, width), and not
/// too much memory.
pub fn is_less_work(conv: &Conv2d, map: [i64; 2]) -> bool {
    let [taps, pixels] = [conv.kernel_size, map].map(|size| size[0] * size[1]);
    conv.groups == 1 && pixels <= taps && network::is_affordable_product(conv, map)
}

/// The weight (height·width·out_channels, height·width·in_channels) that makes a channels-last output map from a
/// channels-last input map, and (height, width, channels) of the output. On the CPU, of a weight in float32 or bfloat16.
pub fn as_product(conv: &Conv2d, weight: &Tensor, map: [i64; 2]) -> Result<(Tensor, [i64; 3])> {
    let [height, width] = conv.output_size(map);
    let (outputs, inputs) = (conv.out_channels, conv.in_channels);
    let (kind, weight) = (weight.f_kind()?, weight.f_contiguous()?);
    let size = [height * width * outputs, map[0] * map[1] * inputs];
    let product = Tensor::f_empty(size, (kind, Device::Cpu))?;
    let taps = network::taps(conv, map);
    // SAFETY: both are on the CPU, contiguous and of this element type; nothing else sees the product yet.
    unsafe {
        of_kind!(kind, T => {
            spread_taps_last::<T>(elements(&weight), inputs as usize, &taps, elements_mut(&product))
        })?;
    }
    Ok((product, [height, width, outputs]))
}

/// For each pixel of the output and each of the input, one after the other, the tap of the kernel that joins them; a place
/// behind all taps if none does.
pub fn taps(conv: &Conv2d, map: [i64; 2], device: Device) -> Result<Tensor> {
    let none = conv.kernel_size[0] * conv.kernel_size[1];
    let taps: Vec<i64> = conv.taps(map).into_iter().map(|tap| tap.unwrap_or(none)).collect();
    Ok(Tensor::f_from_slice(&taps)?.f_to_device(device)?)
}

/// The same weight by (pixel of the output, out_channels, pixel of the input, in_channels), with the [`taps`].
pub fn multiplied_out(weight: &Tensor, pixels: [i64; 2], taps: &Tensor) -> Result<Tensor> {
    let [outputs, inputs] = [weight.size()[0], weight.size()[1]];
    let flat = weight.f_reshape([outputs, inputs, -1])?.f_permute([2, 0, 1])?;
    let zero = Tensor::f_zeros([1, outputs, inputs], (weight.f_kind()?, weight.device()))?;
    let product = Tensor::f_cat(&[&flat, &zero], 0)?.f_index_select(0, taps)?;
    Ok(product.f_view([pixels[0], pixels[1], outputs, inputs])?.f_permute([0, 2, 1, 3])?)
}

#[cfg(test)]
mod tests {
    use tch::Kind;

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
                let pixels = [conv.output_size(map), map].map(|map| map[0] * map[1]);
                let on_device = multiplied_out(&weight, pixels, &taps(&conv, map, Device::Cpu).unwrap());
                let (weight, map) = as_product(&conv, &weight, map).unwrap();
                assert_eq!(weight, on_device.unwrap().reshape(weight.size()));
                let y = x.permute([0, 2, 3, 1]).reshape([4, -1]).linear(&weight, None::<&Tensor>);
                let y = y.view([4, map[0], map[1], map[2]]).permute([0, 3, 1, 2]);
                assert_eq!(y.size(), expected.size());
                assert!((y - expected).abs().max().double_value(&[]) < 1e-5, "{conv:?} {map:?}");
            }
        }
    }
}

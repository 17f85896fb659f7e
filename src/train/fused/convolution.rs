//! Convolution in training, each in the order of memory that suits it.

use tch::{Kind, Tensor};

use super::pass::Pass;
use super::{Back, Gradients, Weights};
use crate::error::Result;
use crate::kernels::{
    self, elements, elements_mut, gather_taps, of_kind, spread_taps, weight_gradient, within, ByPixel,
    Centered, Finish, Panels, Unit,
};
use crate::libtorch::{
    channels_last, convolution, convolution_gradients, empty_maps, is_misread, map_of, pack_convolution,
};
use crate::network::{by_pixel, conv2d, is_mostly_edge, taps, unit_by_pixel, Conv2d};

/// How a convolution is computed. Measured with oneDNN on AVX-512, forward and backward together, batches of 60: 7.0 ms
/// channels-last and 4.1 in the order of the indices for 256 -> 256 channels on maps of 2x2, where the weights are most of
/// the memory; 2.7 and 3.0 for 64 -> 64 on 7x7. The rule looks at sizes and at the kind of
/// machine, so that a run repeats bit for bit.
enum Way {
    /// One product of the flattened maps: the kernel covers all of the map, or most of its taps lie outside.
    Product,
    /// Maps (N, C, H, W) as they are indexed.
    Indexed,
    ChannelsLast,
    /// Channels-last, forward and by the map on the matrix unit.
    ByPixel(Unit, ByPixel),
}

impl Way {
    fn of(conv: &Conv2d, x: &Tensor) -> Self {
        let map = map_of(x);
        if conv.groups == 1 && covers(conv, map) {
            return Way::Product;
        }
        if let Some(unit) = unit_by_pixel(conv, x.kind(), [x.size()[0], map[0], map[1]]) {
            return Way::ByPixel(unit, by_pixel(conv, map));
        }
        if is_misread(conv, map) {
            return Way::Indexed;
        }
        let taps = conv.kernel_size.iter().product::<i64>();
        let weights = conv.out_channels * conv.in_channels / conv.groups * taps;
        let outputs = conv.output_size(map).iter().product::<i64>() * x.size()[0] * conv.out_channels;
        match weights > x.numel() as i64 + outputs {
            // Half the arithmetic, or less, outweighs the larger weight.
            true if is_mostly_edge(conv, map) => Way::Product,
            // The matrix unit takes a third of oneDNN's time for the gradient by the weight, and wants the channels last.
            true if centered(conv, x).is_some_and(|conv| conv.unit().is_some()) => Way::ChannelsLast,
            true => Way::Indexed,
            false => Way::ChannelsLast,
        }
    }
}

/// Whether the kernel meets the whole map once, so that its weight is that of the product.
fn covers(conv: &Conv2d, map: [i64; 2]) -> bool {
    conv.kernel_size == map && conv.padding == [0, 0] && conv.dilation == [1, 1]
}

impl Pass<'_> {
    pub fn convolution<'a>(
        &self,
        conv: &'a Conv2d,
        weights: Weights,
        x: Tensor,
        by_input: bool,
    ) -> Result<(Tensor, Back<'a>)> {
        let kind = self.kind;
        let (mut weight, bias) = self.weights(weights)?;
        let mut way = Way::of(conv, &x);
        let map = map_of(&x);
        let x = match way {
            Way::ChannelsLast | Way::ByPixel(..) => channels_last(&x)?,
            Way::Product | Way::Indexed => x.f_contiguous()?,
        };
        if matches!(way, Way::Product | Way::ByPixel(..)) {
            weight = weight.f_contiguous()?; // loops of ours go by the order of memory
        }
        let by_libtorch = |weight: &Tensor| conv2d(&x, weight, bias.as_ref(), conv);
        let mut y = match &way {
            Way::Product => {
                weight = product(conv, &weight, map)?;
                let [height, width] = conv.output_size(map);
                let bias =
                    bias.as_ref().map(|bias| bias.f_repeat_interleave_self_int(height * width, None, None));
                let y = flat(&x)?.f_linear(&weight, bias.transpose()?.as_ref())?;
                y.f_view([x.size()[0], conv.out_channels, height, width])?
            }
            // With one channel libtorch's own call takes five times as long as the same with the weight packed before.
            Way::ChannelsLast if conv.in_channels == 1 => {
                let none = Tensor::f_zeros([conv.out_channels], (kind, x.device()))?;
                let packed = pack_convolution(&weight, conv, &x.size())?;
                convolution(&x, &packed, bias.as_ref().unwrap_or(&none), conv, None)?
            }
            Way::ByPixel(unit, sizes) => {
                let y = empty_maps(x.size()[0], conv.out_channels, conv.output_size(map), &x)?;
                // SAFETY: maps and weights are dense, on the CPU and of this element type, the maps channels-last, and `y`
                // is new.
                unsafe {
                    let panels = Panels::forward(elements(&weight), sizes)?;
                    let finish =
                        Finish { bias: bias.as_ref().map(|bias| elements(bias)), ..Finish::default() };
                    kernels::convolution(*unit, elements(&x), &panels, sizes, finish, elements_mut(&y))?;
                }
                y
            }
            Way::ChannelsLast | Way::Indexed => by_libtorch(&weight)?,
        };
        // Of what is not finite, a product with the zeros of taps that do not reach makes NaN.
        let exact = covers(conv, map);
        if matches!(way, Way::Product) && !exact && !is_finite(&y)? {
            way = Way::Indexed;
            weight = self.cast(weights.first)?;
            y = by_libtorch(&weight)?;
        }
        let (y, unrectified) = self.rectified(weights.slope, y)?;
        let own = self.tensors[weights.first].shallow_clone();
        let back = move |dy: Tensor, gradients: &mut Gradients| {
            let dy = unrectified(dy)?;
            if matches!(way, Way::Product) && (exact || is_finite(&dy)?) {
                let dy = flat(&dy.f_contiguous()?)?;
                let dx = match by_input {
                    true => dy.f_mm(&weight)?.f_view_as(&x)?,
                    false => Tensor::new(),
                };
                let by_product = dy.f_tr()?.f_mm(&flat(&x)?)?;
                gradients[weights.first] = Some(product_back(conv, &by_product, map)?);
                if weights.bias {
                    let by_pixel = dy.f_view([dy.size()[0], conv.out_channels, -1])?;
                    gradients[weights.first + 1] =
                        Some(by_pixel.f_sum_dim_intlist([0i64, 2].as_slice(), false, Kind::Float)?);
                }
                return Ok(dx);
            }
            let (weight, dy) = match way {
                Way::Product => (own.f_to_kind(kind)?, dy.f_contiguous()?),
                // One channel lies the same either way, and libtorch is quicker with the order of the indices.
                Way::ChannelsLast | Way::ByPixel(..) if conv.in_channels > 1 => (weight, channels_last(&dy)?),
                Way::ChannelsLast | Way::ByPixel(..) | Way::Indexed => (weight, dy.f_contiguous()?),
            };
            let by_unit = match way {
                Way::ChannelsLast | Way::ByPixel(..) => by_unit(conv, &x, &dy)?,
                Way::Product | Way::Indexed => None,
            };
            let by_map = match &way {
                Way::ByPixel(unit, sizes) if by_input => {
                    let dx = empty_maps(x.size()[0], conv.in_channels, map, &x)?;
                    // SAFETY: as above.
                    unsafe {
                        let panels = Panels::back(elements(&weight), sizes)?;
                        kernels::convolution_by_input(
                            *unit,
                            elements(&dy),
                            &panels,
                            sizes,
                            elements_mut(&dx),
                        )?;
                    }
                    Some(dx)
                }
                _ => None,
            };
            let left = by_unit.is_none();
            let wanted = [by_input && by_map.is_none(), left, left && weights.bias];
            let [dx, by_weight, by_bias] = match wanted.contains(&true) {
                true => convolution_gradients(&dy, &x, &weight, conv, wanted)?,
                false => [None, None, None], // it would lay out the weight all the same
            };
            gradients[weights.first] = by_unit.or(by_weight);
            if weights.bias {
                // libtorch computes the one by the weight too for it.
                let sum = || dy.f_sum_dim_intlist([0i64, 2, 3].as_slice(), false, Kind::Float);
                gradients[weights.first + 1] = Some(by_bias.map_or_else(sum, Ok)?);
            }
            Ok(by_map.or(dx).unwrap_or_default())
        };
        Ok((y, Box::new(back)))
    }
}

/// The gradient by the weight from the processor's matrix unit, of maps channels-last; None where there is no unit, where it
/// takes no such convolution, and where something is not finite.
fn by_unit(conv: &Conv2d, x: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
    let Some(centered) = centered(conv, x) else { return Ok(None) };
    let Some(unit) = centered.unit() else { return Ok(None) };
    let [rows, columns] = conv.kernel_size;
    let by_weight =
        Tensor::f_empty([conv.out_channels, conv.in_channels, rows, columns], (Kind::Float, x.device()))?;
    // SAFETY: the maps are dense, channels-last, on the CPU and of this element type, and `by_weight` is new.
    unsafe { weight_gradient(unit, elements(x), elements(dy), &centered, elements_mut(&by_weight))? };
    Ok(is_finite(&by_weight)?.then_some(by_weight))
}

/// What [`weight_gradient`] takes, of a convolution in bfloat16.
fn centered(conv: &Conv2d, x: &Tensor) -> Option<Centered> {
    let plain = conv.groups == 1 && conv.dilation == [1, 1];
    let has_middle = conv.padding == conv.kernel_size.map(|side| side / 2);
    (plain && has_middle && x.kind() == Kind::BFloat16).then(|| Centered {
        images: x.size()[0] as usize,
        map: map_of(x).map(|side| side as usize),
        inputs: conv.in_channels as usize,
        outputs: conv.out_channels as usize,
        kernel: conv.kernel_size.map(|side| side as usize),
        stride: conv.stride.map(|side| side as usize),
    })
}

fn is_finite(x: &Tensor) -> Result<bool> {
    let x = x.f_contiguous()?;
    // SAFETY: it is dense, on the CPU and of this element type.
    Ok(unsafe { of_kind!(x.f_kind()?, T => within::<T>(elements(&x), f32::MAX)) })
}

/// The weight (channels out · pixels out, channels in · pixels in) of the product.
fn product(conv: &Conv2d, weight: &Tensor, map: [i64; 2]) -> Result<Tensor> {
    if covers(conv, map) {
        return flat(weight);
    }
    let taps = taps(conv, map);
    let (pixels, channels) = (conv.output_size(map).iter().product::<i64>(), conv.in_channels as usize);
    let size = [conv.out_channels * pixels, conv.in_channels * map[0] * map[1]];
    let product = Tensor::f_empty(size, (weight.f_kind()?, weight.device()))?;
    // SAFETY: both are dense, on the CPU and of these element types, and `product` is new.
    unsafe {
        of_kind!(weight.f_kind()?, T => {
            spread_taps::<T>(elements(weight), channels, &taps, elements_mut(&product))?
        });
    }
    Ok(product)
}

/// The gradient by the convolution's own weight.
fn product_back(conv: &Conv2d, by_product: &Tensor, map: [i64; 2]) -> Result<Tensor> {
    let [rows, columns] = conv.kernel_size;
    let size = [conv.out_channels, conv.in_channels, rows, columns];
    if covers(conv, map) {
        return Ok(by_product.f_view(size)?);
    }
    let (taps, channels) = (taps(conv, map), conv.in_channels as usize);
    let by_product = by_product.f_contiguous()?;
    let kind = by_product.f_kind()?;
    let by_weight = Tensor::f_empty(size, (kind, by_product.device()))?;
    // SAFETY: as in `product`.
    unsafe {
        of_kind!(kind, T => {
            gather_taps::<T>(elements(&by_product), channels, &taps, elements_mut(&by_weight))?
        });
    }
    Ok(by_weight)
}

/// Each image, or each output's weights, as a vector.
fn flat(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_view([x.size()[0], -1])?)
}

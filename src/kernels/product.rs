//! The weight of a convolution as that of one product of flattened maps, and the gradient back.

use std::ops::Range;

use super::element::{Element, Places};
use super::vectorised;
use crate::error::Result;
use crate::libtorch::parallel;

/// Which tap of a kernel each output pixel has on each input pixel: (outputs · inputs,), none where the kernel does not
/// reach.
pub struct Taps {
    pub places: Vec<Option<usize>>,
    /// Input pixels.
    pub inputs: usize,
    /// Taps of the kernel.
    pub kernel: usize,
}

impl Taps {
    /// Output pixels.
    pub fn outputs(&self) -> usize {
        self.places.len() / self.inputs
    }
}

/// `product` (channels out, outputs, channels in, inputs) of `weight` (channels out, channels in, kernel).
pub fn spread_taps<T: Element>(weight: &[T], channels: usize, taps: &Taps, product: &mut [T]) -> Result<()> {
    let (from, to) = (channels * taps.kernel, channels * taps.places.len());
    let product = Places::new(product);
    parallel(weight.len() / from, 1, |filters| {
        // SAFETY: `product` is borrowed until all ranges, which do not overlap, are done.
        let product = unsafe { product.slice(filters.start * to..filters.end * to) };
        spread(&weight[filters.start * from..filters.end * from], channels, taps, product);
    })
}

vectorised! {
    fn spread<T: Element>(weight: &[T], channels: usize, taps: &Taps, product: &mut [T]) {
        let row = channels * taps.inputs;
        let filters = weight.chunks_exact(channels * taps.kernel);
        for (filter, rows) in filters.zip(product.chunks_exact_mut(row * taps.outputs())) {
            rows.fill(T::from_value(0.0));
            for (row, places) in rows.chunks_exact_mut(row).zip(taps.places.chunks_exact(taps.inputs)) {
                for (input, tap) in places.iter().enumerate().filter_map(|(input, tap)| Some((input, (*tap)?))) {
                    let from = filter[tap..].iter().step_by(taps.kernel);
                    row[input..].iter_mut().step_by(taps.inputs).zip(from).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}

/// The same with the pixels before the channels: `product` (outputs, channels out, inputs, channels in).
pub fn spread_taps_last<T: Element>(
    weight: &[T],
    channels: usize,
    taps: &Taps,
    product: &mut [T],
) -> Result<()> {
    let from = channels * taps.kernel;
    let product = Places::new(product);
    parallel(weight.len() / from, SPREAD / (channels * taps.places.len()), |filters| {
        spread_last(weight, channels, taps, filters, &product);
    })
}

/// Elements of a product from which on a second thread pays.
const SPREAD: usize = 1 << 17;

vectorised! {
    fn spread_last<T: Element>(
        weight: &[T],
        channels: usize,
        taps: &Taps,
        filters: Range<usize>,
        product: &Places<T>,
    ) {
        let (from, row) = (channels * taps.kernel, channels * taps.inputs);
        let count = weight.len() / from;
        let mut by_tap = vec![T::from_value(0.0); from];
        for filter in filters {
            let own = &weight[filter * from..(filter + 1) * from];
            for (tap, to) in by_tap.chunks_exact_mut(channels).enumerate() {
                to.iter_mut().zip(own[tap..].iter().step_by(taps.kernel)).for_each(|(to, from)| *to = *from);
            }
            for (output, places) in taps.places.chunks_exact(taps.inputs).enumerate() {
                let start = (output * count + filter) * row;
                // SAFETY: the rows of a filter are its own, and `product` is borrowed until all filters are done.
                let row = unsafe { product.slice(start..start + row) };
                for (pixel, tap) in row.chunks_exact_mut(channels).zip(places) {
                    match tap {
                        Some(tap) => pixel.copy_from_slice(&by_tap[tap * channels..(tap + 1) * channels]),
                        None => pixel.fill(T::from_value(0.0)),
                    }
                }
            }
        }
    }
}

/// The gradient of `weight` from that of the product, which [`spread_taps`] makes of it.
pub fn gather_taps<T: Element>(product: &[T], channels: usize, taps: &Taps, weight: &mut [T]) -> Result<()> {
    let (from, to) = (channels * taps.places.len(), channels * taps.kernel);
    let weight = Places::new(weight);
    parallel(product.len() / from, 1, |filters| {
        // SAFETY: `weight` is borrowed until all ranges, which do not overlap, are done.
        let weight = unsafe { weight.slice(filters.start * to..filters.end * to) };
        gather(&product[filters.start * from..filters.end * from], channels, taps, weight);
    })
}

vectorised! {
    fn gather<T: Element>(product: &[T], channels: usize, taps: &Taps, weight: &mut [T]) {
        weight.fill(T::from_value(0.0));
        let row = channels * taps.inputs;
        let filters = weight.chunks_exact_mut(channels * taps.kernel);
        for (filter, rows) in filters.zip(product.chunks_exact(row * taps.outputs())) {
            for (row, places) in rows.chunks_exact(row).zip(taps.places.chunks_exact(taps.inputs)) {
                for (input, tap) in places.iter().enumerate().filter_map(|(input, tap)| Some((input, (*tap)?))) {
                    let sums = filter[tap..].iter_mut().step_by(taps.kernel);
                    for (sum, value) in sums.zip(row[input..].iter().step_by(taps.inputs)) {
                        *sum = T::from_value(sum.value() + value.value());
                    }
                }
            }
        }
    }
}

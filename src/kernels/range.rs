//! How large numbers are, in one pass.

use super::element::Element;
use super::vectorised;

vectorised! {
    /// The sum of the absolute values of each row of so many elements. Not a finite number where the row has one that is not.
    pub fn absolute_sums<T: Element>(x: &[T], width: usize) -> Vec<f32> {
        const LANES: usize = 16;
        let of_row = |row: &[T]| {
            let mut sums = [0f32; LANES];
            let parts = row.chunks_exact(LANES);
            let rest: f32 = parts.remainder().iter().map(|x| x.value().abs()).sum();
            for part in parts {
                (0..LANES).for_each(|lane| sums[lane] += part[lane].value().abs());
            }
            rest + sums.iter().sum::<f32>()
        };
        x.chunks_exact(width.max(1)).map(of_row).collect()
    }
}

vectorised! {
    /// Whether no absolute value is above `most`, and none is NaN.
    pub fn within<T: Element>(x: &[T], most: f32) -> bool {
        const BLOCK: usize = 4096;
        x.chunks(BLOCK).all(|block| block.iter().fold(true, |within, x| within & (x.value().abs() <= most)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // By hand.
    #[test]
    fn sums_and_limits() {
        let x: Vec<f32> = (0..40).map(|i| if i % 2 == 0 { i as f32 } else { -(i as f32) }).collect();
        assert_eq!(absolute_sums(&x, 20), [190.0, 590.0]);
        assert!(within(&x, 39.0) && !within(&x, 38.5));
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, 17, 39] {
                let mut x = x.clone();
                x[place] = wrong;
                assert!(!within(&x, f32::MAX));
                assert!(!absolute_sums(&x, 20)[place / 20].is_finite());
            }
        }
    }
}

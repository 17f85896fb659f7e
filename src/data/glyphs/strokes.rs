//! The shapes of the ten digits, each in several hands.
//!
//! A shape is a list of strokes, a stroke a list of knots. The pen passes every knot, smoothly or with a
//! corner. A digit is 2 units tall, x to the right and y downwards, with its middle at the origin.

#[derive(Clone, Copy)]
pub struct Knot {
    pub x: f32,
    pub y: f32,
    pub corner: bool,
}

pub type Stroke = &'static [Knot];
pub type Shape = &'static [Stroke];

/// The hands in which `digit` (0 to 9) is written, all equally common. Never empty.
pub fn shapes(digit: usize) -> &'static [Shape] {
    SHAPES[digit % SHAPES.len()]
}

/// The pen passes here smoothly.
const fn s(x: f32, y: f32) -> Knot {
    Knot { x, y, corner: false }
}

/// The pen turns a corner here.
const fn c(x: f32, y: f32) -> Knot {
    Knot { x, y, corner: true }
}

/// The hands of one digit: `[knot, knot; knot, knot]` is a shape of two strokes, and a knot is `s x y` or `c
/// x y`.
macro_rules! digit {
    ($([$($($kind:ident $x:literal $y:literal),+);+])+) => {
        &[$(&[$(&[$($kind($x, $y)),+]),+]),+]
    };
}

static SHAPES: [&[Shape]; 10] = [ZERO, ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN, EIGHT, NINE];

/// Round; narrow; begun with an overlap at the upper right.
static ZERO: &[Shape] = digit! {
    [s 0.05 -1.0, s -0.42 -0.72, s -0.6 0.0, s -0.42 0.72, s 0.0 1.0, s 0.42 0.72, s 0.6 0.0, s 0.42 -0.72,
     s 0.05 -1.0, s -0.2 -0.92]
    [s 0.0 -1.0, s -0.32 -0.6, s -0.4 0.05, s -0.25 0.75, s 0.05 1.0, s 0.32 0.65, s 0.4 0.0, s 0.3 -0.7,
     s 0.0 -1.0]
    [s 0.35 -0.8, s 0.0 -1.0, s -0.4 -0.75, s -0.58 -0.05, s -0.45 0.65, s -0.05 1.0, s 0.4 0.75, s 0.6 0.1,
     s 0.5 -0.55, s 0.25 -0.95, s -0.1 -0.88]
};

/// A plain line; bent; with a flag; with flag and foot.
static ONE: &[Shape] = digit! {
    [c 0.02 -1.0, c -0.02 1.0]
    [s 0.08 -1.0, s -0.03 -0.3, s 0.0 0.4, s 0.06 1.0]
    [c -0.28 -0.68, c 0.05 -1.0, c 0.02 1.0]
    [c -0.27 -0.7, c 0.03 -1.0, c 0.03 1.0; c -0.4 1.0, c 0.42 0.98]
};

/// Sharp foot; looped foot; wavy foot.
static TWO: &[Shape] = digit! {
    [s -0.52 -0.55, s -0.28 -0.92, s 0.12 -1.0, s 0.48 -0.7, s 0.4 -0.2, s -0.02 0.4, c -0.58 0.98,
     c 0.62 0.95]
    [s -0.48 -0.62, s -0.15 -0.97, s 0.3 -0.92, s 0.46 -0.5, s 0.22 0.05, s -0.15 0.6, s -0.45 0.95,
     s -0.62 0.75, s -0.4 0.55, s -0.05 0.8, s 0.3 0.98, s 0.66 0.75]
    [s -0.5 -0.7, s -0.1 -1.0, s 0.4 -0.8, s 0.4 -0.3, s 0.0 0.3, c -0.52 0.92, s -0.2 0.78, s 0.2 0.98,
     s 0.62 0.85]
};

/// Two bows; flat top; a small loop in the middle; two bows without a corner.
static THREE: &[Shape] = digit! {
    [s -0.5 -0.75, s -0.1 -1.0, s 0.38 -0.82, s 0.38 -0.35, c -0.05 -0.06, s 0.4 0.08, s 0.54 0.5,
     s 0.25 0.93, s -0.15 1.0, s -0.56 0.76]
    [c -0.48 -0.96, c 0.46 -1.0, c -0.05 -0.2, s 0.4 -0.05, s 0.54 0.4, s 0.3 0.88, s -0.1 1.0,
     s -0.52 0.82]
    [s -0.45 -0.82, s 0.0 -1.0, s 0.42 -0.7, s 0.25 -0.25, s -0.1 -0.08, s -0.15 0.06, s 0.02 0.05,
     s 0.42 0.2, s 0.5 0.6, s 0.1 1.0, s -0.5 0.85]
    [s -0.46 -0.7, s -0.05 -1.0, s 0.36 -0.72, s 0.2 -0.2, s 0.32 0.02, s 0.52 0.45, s 0.2 0.95, s -0.2 1.0,
     s -0.52 0.72]
};

/// Open; closed; open with a bow; open, with the bar through.
static FOUR: &[Shape] = digit! {
    [c -0.36 -0.95, c -0.55 0.18, c 0.6 0.12; c 0.28 -0.62, c 0.24 1.0]
    [c 0.22 -1.0, c -0.62 0.36, c 0.66 0.34; c 0.24 -0.98, c 0.22 1.0]
    [s -0.44 -0.95, s -0.52 -0.3, s -0.3 0.04, s 0.05 0.05, s 0.42 -0.12; c 0.48 -1.0, s 0.42 -0.1,
     c 0.3 1.0]
    [c -0.3 -1.0, c -0.5 0.1, c 0.52 0.06; c 0.42 -1.0, c 0.36 1.0]
};

/// In one go; hat added last; round like an S.
static FIVE: &[Shape] = digit! {
    [c 0.52 -0.98, c -0.36 -1.0, c -0.44 -0.12, s 0.08 -0.3, s 0.52 0.08, s 0.48 0.68, s 0.02 1.0,
     s -0.54 0.76]
    [c -0.34 -0.94, c -0.38 -0.1, s 0.1 -0.22, s 0.5 0.2, s 0.36 0.8, s -0.08 1.0, s -0.5 0.82;
     c -0.34 -0.94, c 0.56 -1.0]
    [s 0.5 -0.95, s 0.0 -0.98, s -0.36 -0.8, c -0.42 -0.2, s 0.0 -0.3, s 0.44 0.0, s 0.5 0.5, s 0.15 0.98,
     s -0.5 0.85]
};

/// Curved back; straight back; a curl at the top.
static SIX: &[Shape] = digit! {
    [s 0.36 -1.0, s -0.08 -0.7, s -0.42 -0.1, s -0.46 0.55, s -0.08 1.0, s 0.4 0.8, s 0.46 0.35, s 0.1 0.05,
     s -0.3 0.25, s -0.46 0.55]
    [c 0.12 -1.0, s -0.25 -0.3, s -0.42 0.4, s -0.25 0.92, s 0.15 1.0, s 0.44 0.65, s 0.25 0.18,
     s -0.1 0.12, s -0.4 0.45]
    [s 0.48 -0.8, s 0.22 -1.0, s -0.22 -0.72, s -0.5 -0.05, s -0.46 0.6, s -0.05 1.0, s 0.42 0.75,
     s 0.4 0.25, s 0.0 0.02, s -0.38 0.3]
};

/// Plain; with a bar; with a serif; wavy top and bent leg; serif and bar.
static SEVEN: &[Shape] = digit! {
    [c -0.54 -0.95, c 0.54 -0.98, c -0.1 1.0]
    [c -0.52 -0.95, c 0.54 -0.98, c -0.08 1.0; c -0.28 0.06, c 0.42 0.0]
    [c -0.56 -0.64, c -0.5 -0.96, c 0.54 -0.96, s 0.16 -0.1, s 0.0 1.0]
    [s -0.56 -0.82, s -0.28 -1.0, s 0.1 -0.86, c 0.52 -0.98, s 0.22 -0.2, s 0.04 0.4, s 0.0 1.0]
    [c -0.54 -0.62, c -0.52 -0.98, c 0.56 -0.95, s 0.2 -0.1, s 0.05 1.0; c -0.24 0.1, c 0.48 0.02]
};

/// In one go; two rings; open at the top; begun in the middle.
static EIGHT: &[Shape] = digit! {
    [s 0.36 -0.78, s 0.0 -1.0, s -0.38 -0.72, s -0.22 -0.3, s 0.2 0.1, s 0.46 0.55, s 0.05 1.0,
     s -0.44 0.62, s -0.22 0.15, s 0.22 -0.28, s 0.4 -0.7, s 0.1 -0.98]
    [s 0.05 -0.05, s -0.34 -0.3, s -0.34 -0.75, s 0.0 -1.0, s 0.36 -0.72, s 0.32 -0.28, s 0.02 -0.05;
     s 0.0 -0.05, s -0.4 0.2, s -0.46 0.65, s 0.0 1.0, s 0.46 0.65, s 0.4 0.2, s 0.0 -0.05]
    [s 0.46 -0.92, s 0.02 -0.96, s -0.36 -0.68, s -0.16 -0.25, s 0.25 0.12, s 0.44 0.6, s 0.0 1.0,
     s -0.42 0.65, s -0.18 0.15, s 0.24 -0.3, s 0.5 -0.82]
    [s 0.02 -0.02, s -0.34 -0.4, s -0.22 -0.9, s 0.2 -0.96, s 0.36 -0.55, s 0.04 -0.05, s -0.38 0.4,
     s -0.32 0.88, s 0.1 1.0, s 0.42 0.68, s 0.3 0.2, s -0.02 -0.05]
};

/// Straight leg; curved leg; hooked leg; loop drawn first and a separate leg.
static NINE: &[Shape] = digit! {
    [s 0.4 -0.62, s 0.08 -1.0, s -0.36 -0.78, s -0.42 -0.32, s -0.02 -0.08, s 0.34 -0.34, c 0.42 -0.75,
     c 0.32 1.0]
    [s 0.42 -0.7, s 0.05 -1.0, s -0.38 -0.72, s -0.36 -0.25, s 0.05 -0.1, s 0.4 -0.45, s 0.46 -0.6,
     s 0.46 0.1, s 0.24 0.72, s -0.1 1.0]
    [s 0.38 -0.82, s -0.05 -1.0, s -0.44 -0.65, s -0.3 -0.2, s 0.12 -0.15, c 0.42 -0.6, s 0.46 0.2,
     s 0.3 0.85, s -0.1 1.0, s -0.44 0.78]
    [s 0.4 -0.7, s 0.02 -0.98, s -0.4 -0.68, s -0.28 -0.2, s 0.14 -0.14, s 0.42 -0.56; c 0.46 -0.92,
     s 0.4 0.1, c 0.2 1.0]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_has_several_hands_within_the_unit_box() {
        for digit in 0..10 {
            assert!(shapes(digit).len() >= 3);
            for stroke in shapes(digit).iter().copied().flatten() {
                assert!(stroke.len() >= 2);
                assert!(stroke.iter().all(|knot| knot.x.abs() <= 0.7 && knot.y.abs() <= 1.0));
            }
        }
    }

    #[test]
    fn every_shape_is_as_tall_as_a_digit() {
        for shape in (0..10).flat_map(shapes) {
            let heights = || shape.iter().copied().flatten().map(|knot| knot.y);
            assert!(heights().fold(0.0, f32::min) < -0.9 && heights().fold(0.0, f32::max) > 0.9);
        }
    }
}

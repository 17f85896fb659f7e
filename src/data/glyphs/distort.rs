//! From a shape to the line that one hand draws: knots moved, a curve through them, the paper warped, the
//! whole turned, slanted, stretched and placed in the image.
//!
//! Only additions, multiplications, divisions and square roots are used, which are exact to the last bit
//! everywhere, so that a seed gives the same images on every machine.

use super::random::Random;
use super::raster::{Dot, SIDE};
use super::strokes::{Knot, Shape, Stroke};

/// Standard deviation of a knot's own displacement. A digit is 2 units tall.
const JITTER: f32 = 0.045;
/// Standard deviation of the warp's displacements at its nodes; the interpolation about halves it.
const WARP: f32 = 0.24;
/// Rotation, as the tangent of half the angle: mean 0.
const TURN: f32 = 0.07;
/// Horizontal displacement per unit of height. Most people lean to the right.
const SLANT: f32 = 0.18;
const SLANT_MEAN: f32 = 0.12;
/// Pixels per unit: half the height of a digit.
const SCALE: f32 = 8.8;
/// No digit is larger than this, in pixels, either way; its distance to the border stays visible.
const LARGEST: f32 = 21.5;
/// Standard deviation of the digit's middle from the image's, in pixels.
const SHIFT: f32 = 1.0;
/// Longest piece of a curve that is drawn as a straight line, in units.
const PIECE: f32 = 0.16;

/// Draws `shape` in a random hand. The result is in pixels; consecutive dots of a stroke are joined.
pub fn draw(shape: Shape, random: &mut Random) -> Vec<Vec<Dot>> {
    let warp = Warp::new(random);
    let frame = Frame::new(random);
    // All strokes share the warp and the frame, so that strokes that meet go on meeting, nearly.
    let mut strokes: Vec<Vec<Dot>> = shape
        .iter()
        .map(|stroke| {
            let weight = Pressure::new(random);
            let points = curve(&jittered(stroke, random));
            let last = points.len().saturating_sub(1).max(1) as f32;
            let dots = points.iter().enumerate().map(|(i, &point)| {
                let [x, y] = frame.place(warp.bend(point));
                Dot { x, y, weight: weight.at(i as f32 / last) }
            });
            dots.collect()
        })
        .collect();
    settle(&mut strokes, random);
    strokes
}

fn jittered(stroke: Stroke, random: &mut Random) -> Vec<Knot> {
    let moved = stroke.iter().map(|knot| Knot {
        x: knot.x + JITTER * random.bell(),
        y: knot.y + JITTER * random.bell(),
        corner: knot.corner,
    });
    moved.collect()
}

/// Points along the Catmull-Rom curve through the knots.
fn curve(knots: &[Knot]) -> Vec<[f32; 2]> {
    let mut points: Vec<[f32; 2]> = knots.first().map(|knot| [knot.x, knot.y]).into_iter().collect();
    for (i, pair) in knots.windows(2).enumerate() {
        let (from, to) = (pair[0], pair[1]);
        let before = if from.corner || i == 0 { from } else { knots[i - 1] };
        let after = knots.get(i + 2).copied().filter(|_| !to.corner).unwrap_or(to);
        // At a corner or an end, the tangent is that of the chord; else half the chord of the neighbours.
        let tangent = |a: Knot, b: Knot, ended: bool| {
            let factor = if ended { 1.0 } else { 0.5 };
            [factor * (b.x - a.x), factor * (b.y - a.y)]
        };
        let leave = tangent(before, to, from.corner || i == 0);
        let arrive = tangent(from, after, to.corner || i + 2 >= knots.len());
        let chord = ((to.x - from.x) * (to.x - from.x) + (to.y - from.y) * (to.y - from.y)).sqrt();
        let pieces = (chord / PIECE).ceil().clamp(2.0, 16.0);
        points.extend((1..=pieces as usize).map(|piece| {
            let t = piece as f32 / pieces;
            let (t2, t3) = (t * t, t * t * t);
            let hermite = |p: f32, m: f32, q: f32, n: f32| {
                (2.0 * t3 - 3.0 * t2 + 1.0) * p
                    + (t3 - 2.0 * t2 + t) * m
                    + (3.0 * t2 - 2.0 * t3) * q
                    + (t3 - t2) * n
            };
            [hermite(from.x, leave[0], to.x, arrive[0]), hermite(from.y, leave[1], to.y, arrive[1])]
        }));
    }
    points
}

/// A smooth random displacement of the paper: cubic B-splines over a coarse grid of random displacements.
struct Warp {
    nodes: [[[f32; 2]; Warp::NODES]; Warp::NODES],
}

impl Warp {
    /// Nodes each way; the splines cover `NODES - 3` cells.
    const NODES: usize = 6;
    /// Half the width of the covered square, in units.
    const REACH: f32 = 1.3;

    fn new(random: &mut Random) -> Self {
        // Some hands are steady and some are not.
        let strength = WARP * random.between(0.4, 1.35);
        let mut nodes = [[[0.0; 2]; Self::NODES]; Self::NODES];
        for node in nodes.iter_mut().flatten() {
            *node = [strength * random.bell(), strength * random.bell()];
        }
        Self { nodes }
    }

    fn bend(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let (column, across) = Self::weights(x);
        let (row, down) = Self::weights(y);
        let mut bent = [x, y];
        for (nodes, down) in self.nodes[row..row + 4].iter().zip(down) {
            for (node, across) in nodes[column..column + 4].iter().zip(across) {
                bent[0] += down * across * node[0];
                bent[1] += down * across * node[1];
            }
        }
        bent
    }

    /// The first of the four nodes that act at a coordinate, and their weights.
    fn weights(coordinate: f32) -> (usize, [f32; 4]) {
        let cells = (Self::NODES - 3) as f32;
        let place = ((coordinate + Self::REACH) / (2.0 * Self::REACH) * cells).clamp(0.0, cells - 0.001);
        let (cell, t) = (place as usize, place - place.floor());
        let u = 1.0 - t;
        let weights =
            [u * u * u, 3.0 * t * t * t - 6.0 * t * t + 4.0, 3.0 * u * u * u - 6.0 * u * u + 4.0, t * t * t];
        (cell, weights.map(|w| w / 6.0))
    }
}

/// An affine map from units to pixels around the origin.
struct Frame {
    matrix: [[f32; 2]; 2],
}

impl Frame {
    fn new(random: &mut Random) -> Self {
        // Rational form of a rotation: with t the tangent of half the angle, no sine or cosine is needed.
        let t = TURN * random.bell();
        let (cos, sin) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
        let slant = -(SLANT_MEAN + SLANT * random.bell()).clamp(-0.6, 0.8);
        let tall = SCALE * random.between(0.85, 1.12);
        let wide = tall * random.between(0.72, 1.28);
        // rotation * slant * stretch
        let matrix = [[cos * wide, (cos * slant - sin) * tall], [sin * wide, (sin * slant + cos) * tall]];
        Self { matrix }
    }

    fn place(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        self.matrix.map(|[a, b]| a * x + b * y)
    }
}

/// How hard the pen presses along a stroke: a factor around 1 on its thickness.
struct Pressure([f32; 3]);

impl Pressure {
    fn new(random: &mut Random) -> Self {
        Self([0; 3].map(|_| 1.0 + 0.14 * random.bell()))
    }

    fn at(&self, t: f32) -> f32 {
        let [start, middle, end] = self.0;
        if t < 0.5 {
            start + 2.0 * t * (middle - start)
        } else {
            middle + (2.0 * t - 1.0) * (end - middle)
        }
    }
}

/// Brings the digit to the middle of the image, give or take a little, and makes it fit.
fn settle(strokes: &mut [Vec<Dot>], random: &mut Random) {
    let dots = || strokes.iter().flatten();
    let range = |value: fn(&Dot) -> f32| {
        dots().map(value).fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let ((left, right), (top, bottom)) = (range(|dot| dot.x), range(|dot| dot.y));
    let shrink = (LARGEST / (right - left).max(bottom - top).max(1.0)).min(1.0);
    let middle = SIDE as f32 / 2.0;
    let mut shift = || middle + (SHIFT * random.bell()).clamp(-2.5, 2.5);
    let (x, y) = (shift(), shift());
    for dot in strokes.iter_mut().flatten() {
        dot.x = x + shrink * (dot.x - (left + right) / 2.0);
        dot.y = y + shrink * (dot.y - (top + bottom) / 2.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Purpose;
    use super::super::strokes::shapes;
    use super::*;

    fn knot(x: f32, y: f32, corner: bool) -> Knot {
        Knot { x, y, corner }
    }

    #[test]
    fn a_line_stays_straight_and_a_curve_passes_its_knots() {
        let line = curve(&[knot(0.0, -1.0, true), knot(0.0, 1.0, true)]);
        assert!(line.iter().all(|p| p[0] == 0.0) && line.windows(2).all(|w| w[0][1] < w[1][1]));
        let knots =
            [knot(0.0, 0.0, false), knot(1.0, 1.0, false), knot(2.0, 0.0, true), knot(2.0, 1.0, false)];
        let points = curve(&knots);
        for knot in knots {
            let nearest =
                points.iter().map(|p| (p[0] - knot.x).abs() + (p[1] - knot.y).abs()).fold(9.0, f32::min);
            assert!(nearest < 1e-6);
        }
        // After the corner, a line.
        assert!(points.iter().filter(|p| p[0] > 1.999).count() > 4);
    }

    #[test]
    fn a_curve_of_one_knot_or_none_is_no_trouble() {
        assert_eq!(curve(&[]).len(), 0);
        assert_eq!(curve(&[knot(1.0, 2.0, true)]), [[1.0, 2.0]]);
    }

    #[test]
    fn spline_weights_sum_to_one_and_are_continuous() {
        for i in -200..200 {
            let (cell, weights) = Warp::weights(i as f32 / 100.0);
            assert!(cell + 4 <= Warp::NODES);
            assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
        let warp = Warp::new(&mut Random::new(0, 0, Purpose::Image, 0));
        for i in -130..130 {
            let [a, b] = [i, i + 1].map(|i| warp.bend([i as f32 / 100.0, 0.3]));
            assert!((a[0] - b[0]).abs() < 0.03 && (a[1] - b[1]).abs() < 0.03);
        }
    }

    #[test]
    fn every_digit_lies_within_the_image() {
        for index in 0..2000 {
            let mut random = Random::new(3, 0, Purpose::Image, index);
            let hands = shapes(index as usize % 10);
            let drawn = draw(hands[random.below(hands.len())], &mut random);
            for dot in drawn.iter().flatten() {
                assert!(dot.x > 0.5 && dot.x < 27.5 && dot.y > 0.5 && dot.y < 27.5, "{} {}", dot.x, dot.y);
                assert!(dot.weight > 0.3 && dot.weight < 1.7);
            }
        }
    }
}

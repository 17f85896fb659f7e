//! From lines to pixels: ink with soft edges, then what a poor scanner does to it.

use super::random::Random;

/// Height and width of an image, in pixels.
pub const SIDE: usize = 28;
pub const PIXELS: usize = SIDE * SIDE;

/// A point of a stroke, in pixels: pixel (row, column) covers [column, column + 1) x [row, row + 1).
#[derive(Clone, Copy)]
pub struct Dot {
    pub x: f32,
    pub y: f32,
    /// Factor on the thickness of the pen.
    pub weight: f32,
}

/// Half the thickness of the pen, in pixels.
const RADIUS: (f32, f32) = (0.75, 1.75);
/// Width of the edge between ink and paper, in pixels.
const EDGE: (f32, f32) = (0.9, 1.9);
/// Brightness of the ink, of 1.
const BRIGHTNESS: (f32, f32) = (0.7, 1.15);
/// Standard deviation of the noise at its strongest, of 1; most images have less.
const NOISE: f32 = 0.12;
/// How often a stroke has a gap, and how long it is at most, as a part of the stroke.
const GAP_CHANCE: f32 = 0.12;
const GAP: f32 = 0.12;
/// How often there are specks on the paper, and how many at most.
const SPECK_CHANCE: f32 = 0.25;
const SPECKS: usize = 5;

/// Paints the strokes, white on black, into an image of `PIXELS` bytes.
pub fn paint(strokes: &[Vec<Dot>], random: &mut Random, image: &mut [u8]) {
    let radius = random.between(RADIUS.0, RADIUS.1);
    let edge = random.between(EDGE.0, EDGE.1);
    let brightness = random.between(BRIGHTNESS.0, BRIGHTNESS.1);
    let mut depth = [-edge; PIXELS];
    for stroke in strokes {
        let gap = gap(stroke.len(), random);
        for (i, pair) in stroke.windows(2).enumerate() {
            if !gap.contains(&i) {
                sink(&mut depth, pair[0], pair[1], radius, edge);
            }
        }
    }
    let mut ink = depth.map(|depth| brightness * smooth(depth / edge + 0.5));
    if random.chance(SPECK_CHANCE) {
        for _ in 0..=random.below(SPECKS) {
            let speck = &mut ink[random.below(PIXELS)];
            *speck = speck.max(random.between(0.1, 0.6));
        }
    }
    let noise = NOISE * random.unit() * random.unit();
    for (pixel, ink) in image.iter_mut().zip(ink) {
        *pixel = (255.0 * (ink + noise * random.bell()).clamp(0.0, 1.0) + 0.5) as u8;
    }
}

/// The pieces of a stroke that the pen skips; mostly none.
fn gap(pieces: usize, random: &mut Random) -> std::ops::Range<usize> {
    if !random.chance(GAP_CHANCE) {
        return 0..0;
    }
    let start = random.below(pieces.max(1));
    let length = (GAP * random.unit() * pieces as f32) as usize;
    start..start + 1 + length
}

/// Raises `depth`, each pixel's greatest depth within the ink so far (negative outside), by the line from `a`
/// to `b`.
fn sink(depth: &mut [f32; PIXELS], a: Dot, b: Dot, radius: f32, edge: f32) {
    let reach = radius * a.weight.max(b.weight) + edge / 2.0;
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let per_length = 1.0 / (dx * dx + dy * dy).max(1e-12);
    let columns = covered(a.x.min(b.x) - reach, a.x.max(b.x) + reach);
    for row in covered(a.y.min(b.y) - reach, a.y.max(b.y) + reach) {
        let py = row as f32 + 0.5 - a.y;
        for (column, depth) in columns.clone().zip(&mut depth[row * SIDE + columns.start..]) {
            let px = column as f32 + 0.5 - a.x;
            let along = ((px * dx + py * dy) * per_length).clamp(0.0, 1.0);
            let (ex, ey) = (px - along * dx, py - along * dy);
            let thickness = radius * (a.weight + along * (b.weight - a.weight));
            *depth = depth.max(thickness - (ex * ex + ey * ey).sqrt());
        }
    }
}

/// The pixels of a row or column whose middles may lie between two coordinates.
fn covered(low: f32, high: f32) -> std::ops::Range<usize> {
    // A float becomes the nearest integer of the type: below 0 is 0.
    let end = (high.ceil() as usize).min(SIDE);
    (low as usize).min(end)..end
}

/// 0 up to 0, 1 from 1, and smoothly between.
fn smooth(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::super::random::Purpose;
    use super::*;

    fn dot(x: f32, y: f32) -> Dot {
        Dot { x, y, weight: 1.0 }
    }

    #[test]
    fn depth_is_the_distance_to_the_line() {
        let mut depth = [-9.0; PIXELS];
        sink(&mut depth, dot(4.5, 10.5), dot(20.5, 10.5), 2.0, 2.0);
        let at = |row: usize, column: usize| depth[row * SIDE + column];
        assert_eq!(at(10, 12), 2.0);
        assert_eq!(at(12, 12), 0.0);
        assert_eq!(at(8, 20), 0.0);
        assert_eq!(at(10, 22), 0.0);
        assert_eq!(at(20, 12), -9.0);
    }

    #[test]
    fn lines_beyond_the_border_are_cut_off() {
        let mut image = [0; PIXELS];
        let far = [dot(-50.0, -50.0), dot(-40.0, 14.0), dot(80.0, 14.0), dot(80.0, 300.0)];
        paint(
            &[far.to_vec(), vec![], vec![dot(3.0, 3.0)]],
            &mut Random::new(0, 0, Purpose::Image, 0),
            &mut image,
        );
        assert!(image[14 * SIDE] > 100 && image[14 * SIDE + 27] > 100);
        assert!(image[..SIDE].iter().all(|&pixel| pixel < 150));
    }

    #[test]
    fn a_gap_is_short_and_rare() {
        let mut random = Random::new(0, 0, Purpose::Image, 0);
        let gaps: Vec<_> = (0..1000).map(|_| gap(20, &mut random)).filter(|gap| !gap.is_empty()).collect();
        assert!((60..200).contains(&gaps.len()));
        assert!(gaps.iter().all(|gap| gap.len() <= 3 && gap.start < 20));
        assert!(gap(0, &mut random).len() <= 1);
    }

    #[test]
    fn the_edge_rises_smoothly() {
        assert_eq!([-1.0, 0.0, 0.5, 1.0, 7.0].map(smooth), [0.0, 0.0, 0.5, 1.0, 1.0]);
    }
}

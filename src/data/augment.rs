//! Seeded changes to training images that keep their labels: moved, turned, scaled, sheared, bent, partly erased. The
//! numbers are drawn on the host, a function of seed and step alone; the pixels are computed where the images are.

use std::f64::consts::PI;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::libtorch::upload;

/// How far images are changed. Each image gets numbers of its own, uniform within these bounds; 0 is off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Pixels, in each direction.
    pub shift: f64,
    /// Degrees, to either side.
    pub rotate: f64,
    /// Share of the size: 0.1 scales by 0.9 to 1.1.
    pub scale: f64,
    /// Degrees by which the upright lines are inclined.
    pub shear: f64,
    /// Standard deviation of a smooth random displacement of each pixel, in pixels (Simard et al. 2003).
    pub elastic: f64,
    /// Standard deviation of the Gaussian that smooths it, in pixels.
    pub elastic_sigma: f64,
    /// Probability that a rectangle becomes black (Zhong et al. 2017).
    pub erase: f64,
    /// Smallest and largest share of the image that it covers.
    pub erase_area: (f64, f64),
}

impl Augment {
    #[cfg(test)]
    pub fn from_json(text: &str) -> Result<Self> {
        Ok(serde_json::from_str(text).unwrap())
    }

    pub fn check(&self) -> Result<()> {
        let within = |name: &str, value: f64, least: f64, most: f64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(Error::Argument(format!(
                "augment: {name} is {value}, and must lie between {least} and {most}"
            ))),
        };
        within("shift", self.shift, 0.0, 1e4)?;
        within("rotate", self.rotate, 0.0, 180.0)?;
        within("scale", self.scale, 0.0, 0.9)?;
        within("shear", self.shear, 0.0, 80.0)?;
        within("elastic", self.elastic, 0.0, 100.0)?;
        within("elastic_sigma", self.elastic_sigma, 0.1, 100.0)?;
        within("erase", self.erase, 0.0, 1.0)?;
        let (least, most) = self.erase_area;
        within("erase_area[0]", least, 0.0, 1.0)?;
        within("erase_area[1]", most, least, 1.0)
    }

    /// Whether any image is changed.
    pub fn changes_anything(&self) -> bool {
        self.moves_pixels() || self.erase > 0.0
    }

    fn moves_pixels(&self) -> bool {
        [self.shift, self.rotate, self.scale, self.shear, self.elastic].iter().any(|bound| *bound > 0.0)
    }
}

/// An augmentation at work on images of one size.
pub struct Augmenter {
    augment: Augment,
    seed: u64,
    /// (H, H) and (W, W): Gaussian smoothing along an axis that keeps white noise at deviation 1.
    smoothing: Option<[Tensor; 2]>,
    /// (2,): a pixel's width and height times the elastic deviation, in units of half the image.
    per_pixel: Tensor,
    size: [i64; 2],
}

/// The numbers that change one batch. They are drawn on the host; [`Augmenter::change`] computes with them alone, so that
/// it can be recorded and replayed with others in their place.
pub struct Drawn {
    /// (N, 2, 3) float32, each the map from output to input.
    maps: Option<Tensor>,
    /// (N, 2, H, W) float32, white noise of deviation 1.
    noise: Option<Tensor>,
    /// (4, N) int64: top, bottom, left and right of what is erased.
    erased: Option<Tensor>,
    /// Scalar bool: whether the rest counts. Only where numbers are put that may stand for no change at all.
    counts: Option<Tensor>,
}

impl Drawn {
    pub fn on_device(&self, device: Device) -> Result<Drawn> {
        let there = |t: &Option<Tensor>| t.as_ref().map(|t| upload(t, device)).transpose();
        Ok(Drawn {
            maps: there(&self.maps)?,
            noise: there(&self.noise)?,
            erased: there(&self.erased)?,
            counts: there(&self.counts)?,
        })
    }

    /// These as a place for numbers of any strength, 0 among them.
    pub fn of_any_strength(self) -> Result<Drawn> {
        let parts = [&self.maps, &self.noise, &self.erased].into_iter().flatten();
        let device = parts.map(Tensor::device).next().unwrap_or(Device::Cpu);
        Ok(Drawn { counts: Some(Tensor::f_ones([0i64; 0], (Kind::Bool, device))?), ..self })
    }

    /// Those of the images at `places` (n,) of the batch.
    pub fn select(&self, places: &Tensor) -> Result<Drawn> {
        let of = |t: &Option<Tensor>, axis| t.as_ref().map(|t| t.f_index_select(axis, places)).transpose();
        Ok(Drawn {
            maps: of(&self.maps, 0)?,
            noise: of(&self.noise, 0)?,
            erased: of(&self.erased, 1)?,
            counts: self.counts.as_ref().map(Tensor::shallow_clone),
        })
    }

    /// Puts other numbers, for as many images, in the place of these.
    pub fn replace_by(&self, other: &Drawn) -> Result<()> {
        if let Some(counts) = &self.counts {
            let any = [&other.maps, &other.noise, &other.erased].iter().any(|part| part.is_some());
            drop(counts.shallow_clone().f_fill_(i64::from(any))?);
        }
        let pairs = [(&self.maps, &other.maps), (&self.noise, &other.noise), (&self.erased, &other.erased)];
        for (here, new) in pairs {
            if let (Some(here), Some(new)) = (here, new) {
                here.shallow_clone().f_copy_(new)?;
            }
        }
        Ok(())
    }
}

impl Augmenter {
    pub fn new(augment: &Augment, [height, width]: [i64; 2], seed: u64, device: Device) -> Result<Self> {
        augment.check()?;
        let matrix = |size| smoothing(size, augment.elastic_sigma, device);
        let smoothing = (augment.elastic > 0.0).then(|| Ok::<_, Error>([matrix(height)?, matrix(width)?]));
        let per_pixel = [2.0 / width as f64, 2.0 / height as f64].map(|unit| (augment.elastic * unit) as f32);
        Ok(Augmenter {
            augment: augment.clone(),
            seed,
            smoothing: smoothing.transpose()?,
            per_pixel: Tensor::f_from_slice(&per_pixel)?.f_to_device(device)?,
            size: [height, width],
        })
    }

    /// Pixel values 0 to 255 as float32 (N, C, H, W) of uint8 `images` (N, C, H, W), changed with the numbers of `step`.
    /// What moves in from outside is black.
    pub fn apply(&self, images: &Tensor, step: usize, strength: f64) -> Result<Tensor> {
        self.change(images, &self.draw(images.size()[0], step, strength)?.on_device(images.device())?)
    }

    /// The numbers of `step` for so many images, on the host. `strength` in [0, 1] is a factor of all bounds, of the elastic
    /// deviation and of the probability that something is erased: at 0 images stay as they are, to the last bit.
    pub fn draw(&self, count: i64, step: usize, strength: f64) -> Result<Drawn> {
        let mut drawn = Drawn { maps: None, noise: None, erased: None, counts: None };
        if strength == 0.0 {
            return Ok(drawn);
        }
        // Another seed than the batch order's, whose streams are numbered too.
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed ^ 0x6175_676d_656e_7421);
        generator.set_stream(step as u64);
        let generator = &mut generator;
        let [height, width] = self.size;
        if self.augment.moves_pixels() {
            let maps: Vec<f32> = (0..count)
                .flat_map(|_| self.affine(height as f64, width as f64, strength, generator))
                .collect();
            drawn.maps = Some(Tensor::f_from_slice(&maps)?.f_view([count, 2, 3])?);
        }
        if self.smoothing.is_some() {
            let noise: Vec<f32> = (0..count * 2 * height * width)
                .map(|_| generator.random_range(-1f32..1.0) * 3f32.sqrt() * strength as f32) // deviation 1
                .collect();
            drawn.noise = Some(Tensor::f_from_slice(&noise)?.f_view([count, 2, height, width])?);
        }
        if self.augment.erase > 0.0 {
            let erased: Vec<i64> =
                (0..count).flat_map(|_| self.rectangle(height, width, strength, generator)).collect();
            let erased = Tensor::f_from_slice(&erased)?.f_view([count, 4])?;
            drawn.erased = Some(erased.f_tr()?.f_contiguous()?);
        }
        Ok(drawn)
    }

    /// `images` changed with these numbers, see [`Augmenter::apply`].
    pub fn change(&self, images: &Tensor, drawn: &Drawn) -> Result<Tensor> {
        let mut pixels = images.f_to_kind(Kind::Float)?;
        if let Some(maps) = &drawn.maps {
            let mut grid = Tensor::f_affine_grid_generator(maps, pixels.size().as_slice(), false)?;
            if let (Some([down, across]), Some(noise)) = (&self.smoothing, &drawn.noise) {
                let field = down.f_matmul(noise)?.f_matmul(&across.f_tr()?)?;
                grid = grid.f_add(&field.f_permute([0, 2, 3, 1])?.f_mul(&self.per_pixel)?)?;
            }
            // Where each output pixel is taken from: bilinear, zeros outside.
            pixels = pixels.f_grid_sampler(&grid, 0, 0, false)?;
        }
        if let Some(erased) = &drawn.erased {
            pixels = pixels.f_mul(&self.kept(erased)?)?;
        }
        if let Some(counts) = &drawn.counts {
            pixels = pixels.f_where_self(counts, &images.f_to_kind(Kind::Float)?)?;
        }
        Ok(pixels)
    }

    /// One image's rows (2, 3) of the map from output to input, both in [-1, 1].
    fn affine(&self, height: f64, width: f64, strength: f64, generator: &mut ChaCha8Rng) -> [f32; 6] {
        let mut within = |bound: f64| generator.random_range(-1.0..=1.0) * (bound * strength);
        let (angle, shear) =
            (within(self.augment.rotate) * PI / 180.0, within(self.augment.shear) * PI / 180.0);
        let zoom = 1.0 / (1.0 + within(self.augment.scale));
        let (right, down) = (within(self.augment.shift), within(self.augment.shift));
        let (sin, cos) = angle.sin_cos();
        // Rotation times shear times zoom, in pixels, then brought to a square of side 2.
        let [a, b] = [cos * zoom, (cos * shear.tan() - sin) * zoom];
        let [c, d] = [sin * zoom, (sin * shear.tan() + cos) * zoom];
        [a, b * height / width, 2.0 * right / width, c * width / height, d, 2.0 * down / height]
            .map(|value| value as f32)
    }

    /// 0 inside the erased rectangles, 1 elsewhere: (N, 1, H, W).
    fn kept(&self, erased: &Tensor) -> Result<Tensor> {
        let inside = |first: i64, shape: [i64; 4], length: i64| -> Result<Tensor> {
            let bound = |index| erased.f_get(index)?.f_view([-1, 1, 1, 1]);
            let line = Tensor::f_arange(length, (Kind::Int64, erased.device()))?.f_view(shape)?;
            Ok(line.f_ge_tensor(&bound(first)?)?.f_logical_and(&line.f_lt_tensor(&bound(first + 1)?)?)?)
        };
        let [height, width] = self.size;
        let rows = inside(0, [1, 1, -1, 1], height)?;
        let columns = inside(2, [1, 1, 1, -1], width)?;
        Ok(rows.f_logical_and(&columns)?.f_logical_not()?.f_to_kind(Kind::Float)?)
    }

    /// Top, bottom, left and right of what one image loses; empty if it loses nothing.
    fn rectangle(&self, height: i64, width: i64, strength: f64, generator: &mut ChaCha8Rng) -> [i64; 4] {
        if !generator.random_bool(self.augment.erase * strength) {
            return [0; 4];
        }
        let (least, most) = self.augment.erase_area;
        let area = generator.random_range(least..=most) * (height * width) as f64;
        // 0.3 to 3.3, as its paper has it, or as far as a rectangle of this area has room.
        let [least, most] = [area / (width * width) as f64, (height * height) as f64 / area].map(f64::ln);
        let [low, high] = [-1.2, 1.2].map(|bound: f64| bound.max(least).min(most));
        let aspect = if low < high { generator.random_range(low..high) } else { low }.exp();
        let side = |length: f64, limit: i64| (length.round() as i64).clamp(1, limit);
        let (tall, wide) = (side((area * aspect).sqrt(), height), side((area / aspect).sqrt(), width));
        let (top, left) =
            (generator.random_range(0..=height - tall), generator.random_range(0..=width - wide));
        [top, top + tall, left, left + wide]
    }
}

fn smoothing(size: i64, sigma: f64, device: Device) -> Result<Tensor> {
    let rows = (0..size).flat_map(|row| {
        let weights: Vec<f64> =
            (0..size).map(|at| (-((row - at) as f64 / sigma).powi(2) / 2.0).exp()).collect();
        let norm = weights.iter().map(|weight| weight * weight).sum::<f64>().sqrt();
        weights.into_iter().map(move |weight| (weight / norm) as f32)
    });
    Ok(Tensor::f_from_slice(&rows.collect::<Vec<_>>())?.f_view([size, size])?.f_to_device(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: Augment = Augment {
        shift: 0.0,
        rotate: 0.0,
        scale: 0.0,
        shear: 0.0,
        elastic: 0.0,
        elastic_sigma: 4.0,
        erase: 0.0,
        erase_area: (0.02, 0.2),
    };

    /// A bright block in the middle of 3 black images of 2 channels, 20 by 28.
    fn images() -> Tensor {
        let images = Tensor::zeros([3, 2, 20, 28], (Kind::Uint8, Device::Cpu));
        let _ = images.slice(2, 7, 13, 1).slice(3, 10, 18, 1).fill_(200);
        images
    }

    fn applied(augment: &Augment, seed: u64, step: usize) -> Tensor {
        let augmenter = Augmenter::new(augment, [20, 28], seed, Device::Cpu).unwrap();
        augmenter.apply(&images(), step, 1.0).unwrap()
    }

    /// Mean of the coordinates along `axis`, weighted by brightness, of each image.
    fn centre(pixels: &Tensor, axis: i64) -> Vec<f64> {
        let length = pixels.size()[axis as usize];
        let other = 5 - axis;
        let profile = pixels.sum_dim_intlist([1, other].as_slice(), false, Kind::Double);
        let at = Tensor::arange(length, (Kind::Double, Device::Cpu));
        Vec::try_from(
            (&profile * at).sum_dim_intlist(1, false, Kind::Double)
                / profile.sum_dim_intlist(1, false, Kind::Double),
        )
        .unwrap()
    }

    #[test]
    fn nothing_asked_is_nothing_done() {
        assert_eq!(applied(&OFF, 0, 0), images().to_kind(Kind::Float));
    }

    #[test]
    fn seed_and_step_decide() {
        let all =
            Augment { shift: 2.0, rotate: 10.0, scale: 0.1, shear: 5.0, elastic: 1.0, erase: 0.5, ..OFF };
        assert_eq!(applied(&all, 1, 2), applied(&all, 1, 2));
        assert_ne!(applied(&all, 1, 2), applied(&all, 1, 3));
        assert_ne!(applied(&all, 1, 2), applied(&all, 2, 2));
    }

    // The map's bounds are linear in all but the shear, whose tangent is.
    #[test]
    fn a_strength_is_a_factor_of_all_bounds() {
        let all = Augment { shift: 2.0, scale: 0.1, elastic: 1.0, ..OFF };
        let half = Augment { shift: 1.0, scale: 0.05, elastic: 0.5, ..OFF };
        let at = |augment: &Augment, strength| {
            let augmenter = Augmenter::new(augment, [20, 28], 5, Device::Cpu).unwrap();
            augmenter.apply(&images(), 7, strength).unwrap()
        };
        assert!(at(&all, 0.5).allclose(&at(&half, 1.0), 0.0, 1e-3, false));
        assert!(!at(&all, 0.5).allclose(&at(&all, 1.0), 0.0, 1.0, false));
        assert_eq!(at(&all, 0.0), images().to_kind(Kind::Float));
    }

    #[test]
    fn a_place_takes_numbers_of_any_strength() {
        let all = Augment { shift: 2.0, elastic: 1.0, erase: 0.5, ..OFF };
        let augmenter = Augmenter::new(&all, [20, 28], 5, Device::Cpu).unwrap();
        let place = augmenter.draw(3, 0, 1.0).unwrap().of_any_strength().unwrap();
        for (step, strength) in [(1, 0.3), (2, 0.0), (3, 1.0), (4, 0.0)] {
            let drawn = augmenter.draw(3, step, strength).unwrap();
            place.replace_by(&drawn).unwrap();
            let expected = augmenter.change(&images(), &drawn).unwrap();
            assert_eq!(augmenter.change(&images(), &place).unwrap(), expected, "{strength}");
        }
    }

    #[test]
    fn a_shift_moves_the_centre_within_its_bound_and_keeps_the_brightness() {
        let before = images().to_kind(Kind::Float);
        let after = applied(&Augment { shift: 3.0, ..OFF }, 4, 0);
        for axis in [2, 3] {
            let moved: Vec<f64> =
                centre(&after, axis).iter().zip(centre(&before, axis)).map(|(a, b)| a - b).collect();
            assert!(moved.iter().all(|by| by.abs() <= 3.001), "{moved:?}");
            assert!(moved.iter().any(|by| by.abs() > 0.3), "{moved:?}");
        }
        let ratio = after.sum(Kind::Double).double_value(&[]) / before.sum(Kind::Double).double_value(&[]);
        assert!((ratio - 1.0).abs() < 1e-4, "{ratio}");
    }

    // A rotation or shear keeps areas, a scaling by s multiplies them by s².
    #[test]
    fn areas_change_as_geometry_says() {
        let total = |pixels: &Tensor, image: i64| pixels.get(image).sum(Kind::Double).double_value(&[]);
        let before = images().to_kind(Kind::Float);
        for same in [Augment { rotate: 90.0, ..OFF }, Augment { shear: 20.0, ..OFF }] {
            let after = applied(&same, 0, 0);
            for image in 0..3 {
                let ratio = total(&after, image) / total(&before, image);
                assert!((ratio - 1.0).abs() < 0.03, "{same:?}: {ratio}");
            }
        }
        let after = applied(&Augment { scale: 0.3, ..OFF }, 0, 0);
        let ratios: Vec<f64> = (0..3).map(|i| total(&after, i) / total(&before, i)).collect();
        assert!(ratios.iter().all(|r| (0.45..1.75).contains(r)), "{ratios:?}");
        assert!(ratios.iter().any(|r| (r - 1.0).abs() > 0.05), "{ratios:?}");
    }

    // The pixels' values on a ramp tell how far each was displaced.
    #[test]
    fn elastic_displacements_have_the_asked_deviation() {
        let augment = Augment { elastic: 1.5, elastic_sigma: 3.0, ..OFF };
        let augmenter = Augmenter::new(&augment, [64, 64], 0, Device::Cpu).unwrap();
        let ramp = Tensor::arange(64, (Kind::Uint8, Device::Cpu)).view([1, 1, 1, 64]).repeat([20, 1, 64, 1]);
        let moved = augmenter.apply(&ramp, 0, 1.0).unwrap() - ramp.to_kind(Kind::Float);
        let inner = moved.slice(2, 8, 56, 1).slice(3, 8, 56, 1);
        let deviation = inner.std(false).double_value(&[]);
        assert!((deviation - 1.5).abs() < 0.15, "{deviation}");
    }

    #[test]
    fn erased_rectangles_cover_the_asked_share() {
        let augment = Augment { erase: 1.0, erase_area: (0.1, 0.2), ..OFF };
        let augmenter = Augmenter::new(&augment, [40, 40], 0, Device::Cpu).unwrap();
        let white = Tensor::full([50, 1, 40, 40], 255, (Kind::Uint8, Device::Cpu));
        let erased = augmenter.apply(&white, 0, 1.0).unwrap().eq(0.0).to_kind(Kind::Double);
        let shares: Vec<f64> =
            Vec::try_from(erased.mean_dim([1i64, 2, 3].as_slice(), false, Kind::Double)).unwrap();
        assert!(shares.iter().all(|share| (0.08..0.23).contains(share)), "{shares:?}");
    }

    #[test]
    fn values_that_cannot_work_are_refused() {
        for wrong in [
            Augment { shift: -1.0, ..OFF },
            Augment { rotate: f64::NAN, ..OFF },
            Augment { erase: 1.5, ..OFF },
            Augment { erase_area: (0.3, 0.2), ..OFF },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }

    // A share of the image that is asked for is the share that goes, but for the rounding of two sides to whole pixels.
    #[test]
    fn an_erased_rectangle_has_its_area() {
        for ([height, width], share) in
            [([40, 40], 0.9), ([40, 40], 1.0), ([40, 40], 0.5), ([8, 64], 0.3), ([64, 8], 0.3)]
        {
            let augment = Augment { erase: 1.0, erase_area: (share, share), ..OFF };
            let augmenter = Augmenter::new(&augment, [height, width], 3, Device::Cpu).unwrap();
            let drawn = augmenter.draw(500, 0, 1.0).unwrap();
            let kept = augmenter.kept(&drawn.erased.unwrap()).unwrap();
            let left = kept.mean_dim([1i64, 2, 3].as_slice(), false, Kind::Double);
            let rounding = 0.5 * (1.0 / height as f64 + 1.0 / width as f64) + 0.001;
            assert!(
                (left - (1.0 - share)).abs().max().double_value(&[]) < rounding,
                "{height} by {width}: {share}"
            );
        }
    }
}

//! What becomes of each image over a run, added up: margins, probabilities, losses, votes for classes, and when it was
//! learned and forgotten. Of the training images by what steps see of them, of the test images by what measurements do. All
//! of it lies on the device and grows in place, so that a device can record it.

use tch::{Device, Kind, Tensor};

use super::session::RunState;
use super::step::Taken;
use crate::error::{Error, Result};
use crate::evaluate::{Metrics, Single};

/// Its part of a run's state.
const PART: &str = "examples";

/// How often images were looked at, and what was seen.
struct Looks {
    /// (5, images) float64 sums: of the margin, its tanh, the probability of the label, the square of that, the loss.
    sums: Tensor,
    /// (images · classes,) int32: how often each class was predicted.
    votes: Tensor,
    /// (images,) int64: where the votes of each image begin.
    begins: Tensor,
    /// (5, images) int32: how often wrong; how often right and then wrong; steps before it was first right, -1 if it never
    /// was; steps before it was right for good, -1 if it was wrong at last; whether it was right at last, -1 if not seen.
    events: Tensor,
}

impl Looks {
    fn new(images: i64, classes: i64, device: Device) -> Result<Self> {
        let looks = Looks {
            sums: Tensor::f_zeros([5, images], (Kind::Double, device))?,
            votes: Tensor::f_zeros([images * classes], (Kind::Int, device))?,
            begins: Tensor::f_arange(images, (Kind::Int64, device))?.f_mul_scalar_(classes)?,
            events: Tensor::f_zeros([5, images], (Kind::Int, device))?,
        };
        looks.clear()?;
        Ok(looks)
    }

    fn clear(&self) -> Result<()> {
        let _ = self.sums.shallow_clone().f_zero_()?;
        let _ = self.votes.shallow_clone().f_zero_()?;
        let _ = self.events.f_narrow(0, 0, 2)?.f_zero_()?;
        let _ = self.events.f_narrow(0, 2, 3)?.f_fill_(-1)?;
        Ok(())
    }

    /// Adds what was seen of the images at `places`, all of them different ones, or of all; if it `counts`, a bool (). The
    /// weights were those after `taken` steps, int32 ().
    fn add(&self, places: Option<&Tensor>, seen: &Single, taken: &Tensor, counts: &Tensor) -> Result<()> {
        let margins = seen.margins()?;
        let tanh = margins.f_tanh()?;
        let probabilities = seen.probabilities()?;
        let squares = probabilities.f_square()?;
        let sums = Tensor::f_stack(&[&margins, &tanh, &probabilities, &squares, &seen.losses], 0)?;
        let sums = sums.f_where_self(counts, &sums.f_zeros_like()?)?; // nothing that is NaN, times nothing, is
        let begins = match places {
            Some(places) => self.begins.f_index_select(0, places)?,
            None => self.begins.shallow_clone(),
        };
        let cells = begins.f_add(&seen.predicted)?;
        put(&self.votes, &[Some(&cells)], &self.votes.f_index_select(0, &cells)?.f_add_(counts)?)?;
        let right = seen.right.f_logical_and(counts)?;
        let wrong = seen.right.f_logical_not()?.f_logical_and_(counts)?;
        match places {
            Some(places) => {
                let here = self.sums.f_index_select(1, places)?.f_add_(&sums)?;
                put(&self.sums, &[None, Some(places)], &here)?;
                let here = self.events.f_index_select(1, places)?;
                happened(&here, &right, &wrong, taken)?;
                put(&self.events, &[None, Some(places)], &here)
            }
            None => {
                let _ = self.sums.shallow_clone().f_add_(&sums)?;
                happened(&self.events, &right, &wrong, taken)
            }
        }
    }

    /// (images, ...) each, over the same memory.
    fn tensors(&self) -> Result<[Tensor; 3]> {
        let images = self.begins.size()[0];
        Ok([self.sums.f_tr()?, self.votes.f_view([images, -1])?, self.events.f_tr()?])
    }
}

/// Writes `values` to places all of which are different. Asked not to check them, no device makes the host wait: they are
/// known to be there.
fn put(target: &Tensor, places: &[Option<&Tensor>], values: &Tensor) -> Result<()> {
    let _ = target.shallow_clone().f_internal_index_put_impl_(places, values, false, true)?;
    Ok(())
}

/// Takes note in `events` (5, n) of which images were `right` and which `wrong` (n,), bool; neither says nothing.
fn happened(events: &Tensor, right: &Tensor, wrong: &Tensor, taken: &Tensor) -> Result<()> {
    let [mut times_wrong, mut forgotten, mut first, mut for_good, mut last] = rows(events)?;
    let was_right = last.f_eq(1)?;
    let _ = times_wrong.f_add_(wrong)?;
    let _ = forgotten.f_add_(&wrong.f_logical_and(&was_right)?)?;
    let never = first.f_lt(0)?.f_logical_and_(right)?;
    first.f_copy_(&taken.f_where_self(&never, &first)?)?;
    let anew = was_right.f_logical_not()?.f_logical_and_(right)?;
    for_good.f_copy_(&taken.f_where_self(&anew, &for_good)?)?;
    let _ = for_good.f_masked_fill_(wrong, -1)?;
    let _ = last.f_masked_fill_(right, 1)?.f_masked_fill_(wrong, 0)?;
    Ok(())
}

fn rows(events: &Tensor) -> Result<[Tensor; 5]> {
    let rows = events.f_unbind(0)?;
    <[Tensor; 5]>::try_from(rows).map_err(|_| Error::argument("events have five rows"))
}

/// How far a run is, as the device knows it.
struct Moment {
    /// () int32 steps taken.
    taken: Tensor,
    /// () bool: no loss was NaN or infinite until then.
    sound: Tensor,
}

impl Moment {
    fn new(device: Device) -> Result<Self> {
        let none: [i64; 0] = [];
        Ok(Moment {
            taken: Tensor::f_zeros(none, (Kind::Int, device))?,
            sound: Tensor::f_ones(none, (Kind::Bool, device))?,
        })
    }

    fn set(&self, taken: usize) -> Result<()> {
        let _ = self.taken.shallow_clone().f_fill_(taken as i64)?;
        let _ = self.sound.shallow_clone().f_fill_(1)?;
        Ok(())
    }
}

/// See the head of this file. Nothing counts that was seen after a loss was NaN or infinite, and neither does that loss: a
/// step knows of those of the steps before it, a measurement of those of the steps and measurements before it.
pub struct Examples {
    steps: Looks,
    test: Looks,
    /// (training images,) int64: the place of each among those that are trained on.
    places: Tensor,
    /// After the last step.
    now: Moment,
    /// When the weights were taken up that are measured.
    measured: Moment,
}

/// The numbers of the images, and that of classes.
pub struct Images<'a> {
    /// In the data set, and of those that are trained on.
    pub train: i64,
    pub kept: &'a [i64],
    pub test: i64,
    pub classes: i64,
}

impl Examples {
    pub fn new(of: &Images, device: Device) -> Result<Self> {
        let mut places = vec![0; of.train as usize];
        for (place, index) in of.kept.iter().enumerate() {
            places[*index as usize] = place as i64;
        }
        Ok(Examples {
            steps: Looks::new(of.kept.len() as i64, of.classes, device)?,
            test: Looks::new(of.test, of.classes, device)?,
            places: Tensor::f_from_slice(&places)?.f_to_device(device)?,
            now: Moment::new(device)?,
            measured: Moment::new(device)?,
        })
    }

    /// A step was taken, by the logits that the weights before it gave.
    pub fn see_step(&self, step: &Taken) -> Result<()> {
        let Moment { taken, sound } = &self.now;
        let _ = sound.shallow_clone().f_logical_and_(&step.loss.f_isfinite()?)?;
        let places = self.places.f_index_select(0, &step.batch)?;
        self.steps.add(Some(&places), &Single::new(&step.logits, &step.labels)?, taken, sound)?;
        let _ = taken.shallow_clone().f_add_scalar_(1)?;
        Ok(())
    }

    /// The weights of now are the ones that are measured next.
    pub fn take_up(&self) -> Result<()> {
        let Moment { taken, sound } = &self.measured;
        taken.shallow_clone().f_copy_(&self.now.taken)?;
        let _ = sound.shallow_clone().f_logical_and_(&self.now.sound)?;
        Ok(())
    }

    /// All test images, and then all validation images if there are any, were measured.
    pub fn see_measurement(&self, parts: &[&Metrics]) -> Result<()> {
        let Moment { taken, sound } = &self.measured;
        for (part, metrics) in parts.iter().enumerate() {
            let _ = sound.shallow_clone().f_logical_and_(&metrics.loss.f_isfinite()?)?;
            if part == 0 {
                self.test.add(None, &metrics.single, taken, sound)?;
            }
        }
        Ok(())
    }

    /// What is seen from here on counts, whatever was seen before.
    pub fn go_on_after(&self, taken: usize) -> Result<()> {
        [&self.now, &self.measured].into_iter().try_for_each(|moment| moment.set(taken))
    }

    /// Forgets everything, after a rehearsal.
    pub fn clear(&self) -> Result<()> {
        self.steps.clear()?;
        self.test.clear()?;
        self.go_on_after(0)
    }

    /// By the names of the arrays, (images, ...) each, over the same memory.
    pub fn tensors(&self) -> Result<Vec<(&'static str, Tensor)>> {
        let steps = ["step_sums", "step_votes", "step_events"].into_iter().zip(self.steps.tensors()?);
        let test = ["test_sums", "test_votes", "test_events"].into_iter().zip(self.test.tensors()?);
        Ok(steps.chain(test).collect())
    }

    /// The same as copies on the host.
    pub fn on_host(&self) -> Result<Vec<(&'static str, Tensor)>> {
        let copied = |tensor: Tensor| {
            Ok::<_, Error>(tensor.f_contiguous()?.f_to_device_(Device::Cpu, tensor.f_kind()?, false, true)?)
        };
        self.tensors()?.into_iter().map(|(name, tensor)| Ok((name, copied(tensor)?))).collect()
    }

    pub fn put_into(&self, state: &mut RunState) -> Result<()> {
        state.put(PART, self.tensors()?)
    }

    /// Takes up what `put_into` put there after so many steps.
    pub fn restore(&self, state: &RunState, taken: usize) -> Result<()> {
        state.copy_into(PART, self.tensors()?)?;
        self.go_on_after(taken)
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const CLASSES: usize = 3;

    fn numbers(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor.to_kind(Kind::Double).contiguous().flatten(0, -1)).unwrap()
    }

    /// What is to come out for one image, by the definitions, in float64.
    #[derive(Default)]
    struct Told {
        sums: [f64; 5],
        votes: [f64; CLASSES],
        rights: Vec<(usize, bool)>,
    }

    impl Told {
        fn see(&mut self, logits: &[f32], label: usize, taken: usize) {
            let logits: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
            let other = |(class, logit): (usize, &f64)| (class != label).then_some(*logit);
            let margin = logits[label] - logits.iter().enumerate().filter_map(other).fold(f64::MIN, f64::max);
            let loss = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[label];
            let p = (-loss).exp();
            for (sum, value) in self.sums.iter_mut().zip([margin, margin.tanh(), p, p * p, loss]) {
                *sum += value;
            }
            let best = (0..CLASSES).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            self.votes[best] += 1.0;
            self.rights.push((taken, best == label));
        }

        fn events(&self) -> [f64; 5] {
            let rights = &self.rights;
            let wrong = rights.iter().filter(|(_, right)| !right).count();
            let forgotten = rights.windows(2).filter(|pair| pair[0].1 && !pair[1].1).count();
            let first = rights.iter().find(|(_, right)| *right).map_or(-1.0, |(taken, _)| *taken as f64);
            let lasting = rights.iter().rev().take_while(|(_, right)| *right).last();
            let for_good = lasting.map_or(-1.0, |(taken, _)| *taken as f64);
            let last = rights.last().map_or(-1.0, |(_, right)| f64::from(u8::from(*right)));
            [wrong as f64, forgotten as f64, first, for_good, last]
        }
    }

    fn logits(draw: &mut ChaCha8Rng, rows: usize) -> Vec<f32> {
        (0..rows * CLASSES).map(|_| draw.random_range(-3.0..3.0)).collect()
    }

    fn taken(loss: f32, flat: &[f32], labels: &[i64], batch: &[i64]) -> Taken {
        Taken {
            loss: Tensor::from(loss),
            logits: Tensor::from_slice(flat).view([-1, CLASSES as i64]),
            labels: Tensor::from_slice(labels),
            batch: Tensor::from_slice(batch),
            gradients: vec![],
        }
    }

    fn assert_told(found: [Tensor; 3], told: &[Told]) {
        let [sums, votes, events] = found.map(|tensor| numbers(&tensor));
        let expected: Vec<_> = told.iter().flat_map(|told| told.sums).collect();
        assert!(sums.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{sums:?} {expected:?}");
        assert_eq!(votes, told.iter().flat_map(|told| told.votes).collect::<Vec<_>>());
        assert_eq!(events, told.iter().flat_map(Told::events).collect::<Vec<_>>());
    }

    #[test]
    fn steps_and_measurements_add_up_by_the_definitions() {
        for seed in 0..5 {
            let draw = &mut ChaCha8Rng::seed_from_u64(seed);
            let kept = [0, 2, 3, 4, 6, 7, 8];
            let of = Images { train: 9, kept: &kept, test: 4, classes: CLASSES as i64 };
            let examples = Examples::new(&of, Device::Cpu).unwrap();
            let mut trained: Vec<Told> = kept.iter().map(|_| Told::default()).collect();
            let mut tested: Vec<Told> = (0..4).map(|_| Told::default()).collect();
            let label = |index: usize| (index * index) as i64 % CLASSES as i64;
            for step in 0..12 {
                if step % 3 == 0 {
                    let flat = logits(draw, 4);
                    let labels: Vec<i64> = (0..4).map(label).collect();
                    let shaped = Tensor::from_slice(&flat).view([-1, CLASSES as i64]);
                    let metrics =
                        Metrics::new(&shaped, &Tensor::from_slice(&labels), CLASSES as i64).unwrap();
                    examples.take_up().unwrap();
                    examples.see_measurement(&[&metrics]).unwrap();
                    for (image, row) in flat.chunks(CLASSES).enumerate() {
                        tested[image].see(row, labels[image] as usize, step);
                    }
                }
                let mut batch = kept.to_vec();
                (0..kept.len()).for_each(|place| batch.swap(place, draw.random_range(place..kept.len())));
                let batch = &batch[..3];
                let labels: Vec<i64> = batch.iter().map(|index| label(*index as usize)).collect();
                let flat = logits(draw, 3);
                examples.see_step(&taken(1.0, &flat, &labels, batch)).unwrap();
                for ((row, index), label) in flat.chunks(CLASSES).zip(batch).zip(&labels) {
                    let place = kept.iter().position(|kept| kept == index).unwrap();
                    trained[place].see(row, *label as usize, step);
                }
            }
            assert_told(examples.steps.tensors().unwrap(), &trained);
            assert_told(examples.test.tensors().unwrap(), &tested);
        }
    }

    #[test]
    fn nothing_counts_from_the_first_loss_on_that_is_not_finite() {
        let of = Images { train: 2, kept: &[0, 1], test: 2, classes: CLASSES as i64 };
        let examples = Examples::new(&of, Device::Cpu).unwrap();
        let sound = [1f32, 0.0, 0.0, 0.0, 1.0, 0.0];
        let broken = [f32::NAN; 6];
        let measure = |flat: &[f32]| {
            let shaped = Tensor::from_slice(flat).view([-1, CLASSES as i64]);
            let metrics = Metrics::new(&shaped, &Tensor::from_slice(&[0i64, 1]), CLASSES as i64).unwrap();
            examples.take_up().unwrap();
            examples.see_measurement(&[&metrics]).unwrap();
        };
        let all =
            || examples.tensors().unwrap().iter().map(|(_, tensor)| numbers(tensor)).collect::<Vec<_>>();
        measure(&sound);
        examples.see_step(&taken(0.5, &sound, &[0, 1], &[0, 1])).unwrap();
        let before = all();
        assert_eq!(before[1].iter().sum::<f64>(), 2.0);
        measure(&broken);
        assert_eq!(all(), before);
        measure(&sound); // the weights cannot have become whole again, and if they seem to, it is too late
        assert_eq!(all(), before);
        examples.see_step(&taken(f32::INFINITY, &broken, &[0, 1], &[1, 0])).unwrap();
        examples.see_step(&taken(0.5, &sound, &[0, 1], &[0, 1])).unwrap();
        assert_eq!(all(), before);
        examples.clear().unwrap();
        assert_eq!(all()[2], [0.0, 0.0, -1.0, -1.0, -1.0].repeat(2));
    }
}

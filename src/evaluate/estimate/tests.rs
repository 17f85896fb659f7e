use super::*;
use rand::Rng;

const IMAGES: i64 = 1500;
const CLASSES: i64 = 6;

/// Logits (images, classes) of which any rows are given.
struct Rows<'a> {
    logits: &'a Tensor,
    /// A fault for those images after the first `sound`.
    sound: usize,
    looked: usize,
}

impl Source for Rows<'_> {
    fn grain(&self) -> usize {
        8
    }

    fn logits(&mut self, images: &[i64]) -> Result<Tensor> {
        assert_eq!(images.len() % 8, 0, "whole grains");
        self.looked += images.len();
        if self.looked > self.sound {
            return Err(Error::argument("the source is out of order"));
        }
        Ok(self.logits.index_select(0, &Tensor::from_slice(images)))
    }
}

fn rows(logits: &Tensor) -> Rows<'_> {
    Rows { logits, sound: usize::MAX, looked: 0 }
}

fn labels() -> Tensor {
    let mut random = random(7, 0);
    let labels: Vec<i64> = (0..IMAGES).map(|_| random.random_range(0..CLASSES)).collect();
    Tensor::from_slice(&labels)
}

fn noise(random: &mut ChaCha8Rng, size: [i64; 2]) -> Tensor {
    let normal = |random: &mut ChaCha8Rng| (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0;
    Tensor::from_slice(&(0..size[0] * size[1]).map(|_| normal(random)).collect::<Vec<_>>()).view(size)
}

/// Logits after each of so many steps: each image walks on its own, and each class with all images.
fn walk(labels: &Tensor, steps: usize, seed: u64) -> Vec<Tensor> {
    let mut random = random(seed, 1);
    let mut now: Tensor =
        3.0 * labels.one_hot(CLASSES).to_kind(Kind::Float) + 1.5 * noise(&mut random, [IMAGES, CLASSES]);
    let one = |_| {
        let before = now.shallow_clone();
        now = &now + 0.1 * noise(&mut random, [IMAGES, CLASSES]) + 0.1 * noise(&mut random, [1, CLASSES]);
        before
    };
    (0..steps).map(one).collect()
}

fn accuracy(logits: &Tensor, labels: &Tensor) -> f64 {
    logits.argmax(1, false).eq_tensor(labels).to_kind(Kind::Double).mean(Kind::Double).double_value(&[])
}

fn estimator(complete_every: Option<usize>, seed: u64) -> Estimator {
    let demand = Demand { tolerance: 0.003, complete_every, seed };
    Estimator::new(&labels(), CLASSES, demand).unwrap().unwrap()
}

/// Measures after each step; None where all images were looked at.
fn measure(estimator: &mut Estimator, first: usize, logits: &[Tensor]) -> Vec<Option<Figures>> {
    let one = |(at, now): (usize, &Tensor)| {
        let found = estimator.estimate(first + at, &mut rows(now)).unwrap();
        if found.is_none() {
            estimator.saw_all(first + at, now, accuracy(now, &labels())).unwrap();
        }
        found
    };
    logits.iter().enumerate().map(one).collect()
}

#[test]
fn estimates_are_as_good_as_they_say() {
    let labels = labels();
    let (mut covered, mut all, mut off) = (0.0, 0.0, 0.0);
    for seed in 0..4 {
        let logits = walk(&labels, 60, seed);
        let found = measure(&mut estimator(None, seed), 0, &logits);
        for (figures, now) in found.iter().zip(&logits).skip(10) {
            let Some(figures) = figures else { continue };
            let z = (figures.accuracy - accuracy(now, &labels)) / figures.accuracy_error;
            (covered, all, off) = (covered + f64::from(u8::from(z.abs() <= 1.96)), all + 1.0, off + z);
            assert!(figures.images < IMAGES / 2 && figures.accuracy_error < 0.01, "{figures:?}");
        }
    }
    assert!(all > 100.0 && covered / all > 0.88, "{covered} of {all}");
    assert!((off / all).abs() < 5.0 / f64::sqrt(all), "{off} of {all}");
}

#[test]
fn a_restored_estimator_goes_on_bit_by_bit() {
    let logits = walk(&labels(), 40, 3);
    for pause in [0, 1, 17, 30] {
        let mut whole = estimator(None, 5);
        let mut first = estimator(None, 5);
        let expected = measure(&mut whole, 0, &logits);
        assert_eq!(measure(&mut first, 0, &logits[..pause]), expected[..pause]);
        let (learned, tensors) = (first.learned(), first.tensors().unwrap());
        let learned = serde_json::from_str(&serde_json::to_string(&learned).unwrap()).unwrap();
        let mut second = estimator(None, 5);
        let get = |name: &'static str, like: Tensor| {
            let found = tensors.iter().find(|(here, _)| *here == name).map(|(_, tensor)| tensor.copy());
            assert!(found
                .as_ref()
                .is_none_or(|found| found.size() == like.size() && found.kind() == like.kind()));
            Ok(found)
        };
        second.restore(learned, get).unwrap();
        assert_eq!(measure(&mut second, pause, &logits[pause..]), expected[pause..], "after {pause}");
    }
    let seeds = [5, 6].map(|seed| measure(&mut estimator(None, seed), 0, &logits[..5]));
    assert_ne!(seeds[0], seeds[1]);
}

#[test]
fn complete_passes_are_due() {
    let logits = walk(&labels(), 1, 0);
    let still: Vec<_> = (0..20).map(|_| logits[0].shallow_clone()).collect();
    let complete = |found: Vec<Option<Figures>>| -> Vec<_> {
        found.iter().enumerate().filter(|(_, found)| found.is_none()).map(|(step, _)| step).collect()
    };
    assert_eq!(complete(measure(&mut estimator(Some(8), 0), 0, &still)), [0, 8, 16]);
    // One in between that nobody asked for moves none of them.
    let mut disturbed = estimator(Some(8), 0);
    measure(&mut disturbed, 0, &still[..5]);
    disturbed.saw_all(5, &still[5], 0.9).unwrap();
    assert_eq!(complete(measure(&mut disturbed, 6, &still[6..])), [8 - 6, 16 - 6]);
    // Without a number, as soon as the estimates since the last one have looked at as many images as there are.
    let found = measure(&mut estimator(None, 0), 0, &still);
    let looked: Vec<_> =
        found.iter().map(|found| found.as_ref().map_or(0, |figures| figures.images)).collect();
    let due = 1
        + looked[1..]
            .iter()
            .scan(0, |sum, one| {
                *sum += one;
                Some(*sum)
            })
            .take_while(|sum| *sum < IMAGES)
            .count()
        + 1;
    assert_eq!(complete(found)[..2], [0, due]);
}

#[test]
fn faults_of_the_source_are_told_and_change_nothing() {
    let logits = walk(&labels(), 3, 0);
    let (mut disturbed, mut clean) = (estimator(None, 0), estimator(None, 0));
    for estimator in [&mut disturbed, &mut clean] {
        estimator.saw_all(0, &logits[0], 0.9).unwrap();
    }
    for sound in [0, 96] {
        let mut source = Rows { logits: &logits[1], sound, looked: 0 };
        assert!(disturbed.estimate(1, &mut source).unwrap_err().to_string().contains("out of order"));
    }
    assert_eq!(
        disturbed.estimate(1, &mut rows(&logits[1])).unwrap(),
        clean.estimate(1, &mut rows(&logits[1])).unwrap()
    );
}

#[test]
fn what_is_not_finite_asks_for_a_complete_pass() {
    let logits = walk(&labels(), 2, 0);
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let broken = logits[1].copy();
        let _ = broken.narrow(1, 2, 1).fill_(value);
        let mut estimator = estimator(None, 0);
        assert_eq!(
            measure(&mut estimator, 0, &[logits[0].copy(), broken, logits[1].copy()]),
            [None, None, None]
        );
        assert!(measure(&mut estimator, 3, &[logits[1].copy()])[0].is_some());
    }
}

#[test]
fn a_network_that_is_another_of_a_sudden_is_looked_at_completely() {
    let labels = labels();
    for seed in 0..5 {
        let (calm, other) = (walk(&labels, 20, seed), walk(&labels, 1, 100 + seed));
        let mut estimator = estimator(Some(1000), seed);
        let found = measure(&mut estimator, 0, &calm);
        assert!(found[1..].iter().filter(|found| found.is_some()).count() > 15);
        assert_eq!(measure(&mut estimator, 20, &other), [None]);
    }
}

#[test]
fn too_few_images_and_wrong_labels() {
    let demand = Demand { tolerance: 0.01, complete_every: None, seed: 0 };
    let zeros = |images: i64| Tensor::zeros([images], (Kind::Int64, Device::Cpu));
    assert!(Estimator::new(&zeros(999), 2, demand).unwrap().is_none());
    assert!(Estimator::new(&zeros(1000), 2, demand).unwrap().is_some());
    for label in [2, -1] {
        let error = Estimator::new(&zeros(1000).fill_(label), 2, demand).err().unwrap();
        assert_eq!(error.to_string(), format!("label {label} is none of 2 classes"));
    }
}

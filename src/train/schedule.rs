//! Learning-rate schedules, with the formulas and defaults of torch.optim.lr_scheduler. All count optimizer steps.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::{Every, Method};
use crate::error::{Error, Result};

/// How the learning rate moves. Plain data; [`LearningRate`] follows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// With braces, or serde would take any field beside it.
    Constant {},
    /// Times `gamma` after every so many steps (StepLR).
    Step { every: Every, gamma: f64 },
    /// Times `gamma` after each of these numbers of steps (MultiStepLR).
    Multistep { milestones: Vec<usize>, gamma: f64 },
    /// Down to `final_lr` at the last step, by the same factor each step (ExponentialLR).
    Exponential { final_lr: f64 },
    /// In a straight line to `final_lr`, from one share of the run's steps to another, and constant before and after: where
    /// the shares are equal, a jump. Both are rounded to whole steps (a LinearLR in a SequentialLR).
    Linear { final_lr: f64, begin: f64, end: f64 },
    /// Half a cosine down to `min_lr` (Loshchilov & Hutter 2016; CosineAnnealingLR).
    Cosine { min_lr: f64 },
    /// Up from `lr / div_factor` to `lr` and down to `lr / div_factor / final_div_factor`, in two half cosines (Smith &
    /// Topin 2017; OneCycleLR). Momentum, or Adam's first beta, moves the other way unless it is not to.
    OneCycle {
        /// Share of the steps that go up.
        pct_start: f64,
        div_factor: f64,
        final_div_factor: f64,
        cycle_momentum: bool,
        base_momentum: f64,
        max_momentum: f64,
    },
    /// Times `factor` once more than `patience` measurements in a row brought nothing better (ReduceLROnPlateau).
    Plateau { factor: f64, patience: usize, threshold: f64, cooldown: usize, min_lr: f64 },
    /// In a straight line from `start_factor · lr` to `lr`, then another schedule (LinearLR in a SequentialLR).
    Warmup { steps: usize, start_factor: f64, then: Box<Schedule> },
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule::Constant {}
    }
}

impl Schedule {
    /// Whether it moves by what is measured.
    pub fn listens(&self) -> bool {
        match self {
            Schedule::Plateau { .. } => true,
            Schedule::Warmup { then, .. } => then.listens(),
            _ => false,
        }
    }

    /// Whether it is laid out over the length of the run.
    pub fn is_laid_out(&self) -> bool {
        match self {
            Schedule::Exponential { .. }
            | Schedule::Linear { .. }
            | Schedule::Cosine { .. }
            | Schedule::OneCycle { .. } => true,
            Schedule::Warmup { then, .. } => then.is_laid_out(),
            Schedule::Constant {}
            | Schedule::Step { .. }
            | Schedule::Multistep { .. }
            | Schedule::Plateau { .. } => false,
        }
    }

    pub fn check(&self, lr: f64, method: &Method) -> Result<()> {
        let wrong = |name: &str, value: f64, must: &str| {
            Err(Error::Argument(format!("schedule: {name} is {value}, and must {must}")))
        };
        let positive = |name: &str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => wrong(name, value, "be a finite number above 0"),
        };
        let not_negative = |name: &str, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => wrong(name, value, "be a finite number, 0 or above"),
        };
        match self {
            Schedule::Constant {} => {}
            Schedule::Step { every, gamma } => {
                every.check("schedule: every")?;
                positive("gamma", *gamma)?;
            }
            Schedule::Multistep { milestones, gamma } => {
                positive("gamma", *gamma)?;
                if milestones.is_empty() || milestones.windows(2).any(|pair| pair[0] >= pair[1]) {
                    return Err(Error::argument("schedule: milestones must be numbers of steps that rise"));
                }
            }
            Schedule::Exponential { final_lr } => {
                positive("final_lr", *final_lr)?;
                positive("lr", lr)?;
            }
            Schedule::Linear { final_lr, begin, end } => {
                not_negative("final_lr", *final_lr)?;
                for (name, value, least) in [("begin", *begin, 0.0), ("end", *end, *begin)] {
                    if !(least..=1.0).contains(&value) {
                        return wrong(
                            name,
                            value,
                            &format!("lie between {least} and 1, a share of the run's steps"),
                        );
                    }
                }
            }
            Schedule::Cosine { min_lr } => not_negative("min_lr", *min_lr)?,
            Schedule::OneCycle {
                pct_start,
                div_factor,
                final_div_factor,
                cycle_momentum,
                base_momentum,
                max_momentum,
            } => {
                if !(*pct_start > 0.0 && *pct_start < 1.0) {
                    return wrong("pct_start", *pct_start, "lie between 0 and 1");
                }
                positive("div_factor", *div_factor)?;
                positive("final_div_factor", *final_div_factor)?;
                for (name, value) in [("base_momentum", *base_momentum), ("max_momentum", *max_momentum)] {
                    if !(value > 0.0 && value < 1.0) {
                        return wrong(name, value, "lie between 0 and 1");
                    }
                }
                if *cycle_momentum && !method.has_momentum() {
                    return Err(Error::argument(
                        "schedule: a one-cycle schedule moves the momentum too, and this optimizer has none: give \
                         momentum, or cycle_momentum=False",
                    ));
                }
            }
            Schedule::Plateau { factor, threshold, min_lr, .. } => {
                if !(*factor > 0.0 && *factor < 1.0) {
                    return wrong("factor", *factor, "lie between 0 and 1");
                }
                not_negative("threshold", *threshold)?;
                not_negative("min_lr", *min_lr)?;
            }
            Schedule::Warmup { steps, start_factor, then } => {
                if *steps == 0 {
                    return Err(Error::argument("schedule: a warm-up needs at least one step"));
                }
                if !(*start_factor > 0.0 && *start_factor <= 1.0) {
                    return wrong("start_factor", *start_factor, "lie in (0, 1]");
                }
                if matches!(**then, Schedule::Warmup { .. }) {
                    return Err(Error::argument("schedule: a warm-up cannot follow a warm-up"));
                }
                then.check(lr, method)?;
            }
        }
        Ok(())
    }

    /// Refuses a warm-up that a run of `total` steps would not finish.
    pub fn check_length(&self, total: usize) -> Result<()> {
        match self {
            Schedule::Warmup { steps, .. } if *steps >= total => Err(Error::Argument(format!(
                "schedule: the warm-up takes {steps} steps, and the whole run {total}: give it fewer"
            ))),
            _ => Ok(()),
        }
    }
}

/// A schedule on its way through a run.
pub struct LearningRate {
    schedule: Schedule,
    lr: f64,
    total: usize,
    steps_per_epoch: usize,
    pub plateau: Plateau,
}

/// What the measurements have made of the rate, and where they stand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plateau {
    scale: f64,
    best: Option<f64>,
    bad: usize,
    cooling: usize,
}

impl LearningRate {
    pub fn new(schedule: &Schedule, lr: f64, total: usize, steps_per_epoch: usize) -> Self {
        let plateau = Plateau { scale: 1.0, best: None, bad: 0, cooling: 0 };
        LearningRate { schedule: schedule.clone(), lr, total, steps_per_epoch, plateau }
    }

    /// Learning rate of the step before which `taken` others were taken.
    pub fn at(&self, taken: usize) -> f64 {
        self.follow(&self.schedule, taken, self.total)
    }

    fn follow(&self, schedule: &Schedule, taken: usize, total: usize) -> f64 {
        let lr = self.lr;
        match schedule {
            Schedule::Constant {} => lr,
            Schedule::Step { every, gamma } => {
                let times = taken / every.in_steps(self.steps_per_epoch);
                lr * gamma.powi(times.min(i32::MAX as usize) as i32)
            }
            Schedule::Multistep { milestones, gamma } => {
                lr * gamma.powi(milestones.iter().filter(|milestone| **milestone <= taken).count() as i32)
            }
            Schedule::Exponential { final_lr } => {
                let last = total.saturating_sub(1).max(1);
                lr * (final_lr / lr).powf(taken as f64 / last as f64)
            }
            Schedule::Linear { final_lr, begin, end } => {
                let [first, last] = [begin, end].map(|share| (share * total as f64).round());
                match taken as f64 {
                    taken if taken >= last => *final_lr,
                    taken if taken <= first => lr,
                    taken => lr + (final_lr - lr) * ((taken - first) / (last - first)),
                }
            }
            Schedule::Cosine { min_lr } => {
                min_lr + (lr - min_lr) * (1.0 + (PI * taken as f64 / total as f64).cos()) / 2.0
            }
            Schedule::OneCycle { pct_start, div_factor, final_div_factor, .. } => {
                let low = lr / div_factor;
                cycle(taken, total, *pct_start, [low, lr, low / final_div_factor])
            }
            Schedule::Plateau { .. } => lr * self.plateau.scale,
            Schedule::Warmup { steps, start_factor, .. } if taken < *steps => {
                lr * (start_factor + (1.0 - start_factor) * taken as f64 / *steps as f64)
            }
            Schedule::Warmup { steps, then, .. } => {
                self.follow(then, taken - steps, total.saturating_sub(*steps).max(1))
            }
        }
    }

    /// A factor that follows another schedule over the same steps, as a share of 1.
    pub fn factor(&self, schedule: &Schedule) -> Self {
        LearningRate::new(schedule, 1.0, self.total, self.steps_per_epoch)
    }

    /// Momentum (or first beta) of that step, where the schedule moves it.
    pub fn momentum_at(&self, taken: usize) -> Option<f64> {
        let (schedule, taken, total) = match &self.schedule {
            Schedule::Warmup { steps, then, .. } => {
                (&**then, taken.checked_sub(*steps)?, self.total.saturating_sub(*steps).max(1))
            }
            other => (other, taken, self.total),
        };
        match schedule {
            Schedule::OneCycle { pct_start, cycle_momentum: true, base_momentum, max_momentum, .. } => {
                Some(cycle(taken, total, *pct_start, [*max_momentum, *base_momentum, *max_momentum]))
            }
            _ => None,
        }
    }

    /// Whether the momentum changes on the way.
    pub fn moves_momentum(&self) -> bool {
        [0, self.total.saturating_sub(1)].iter().any(|step| self.momentum_at(*step).is_some())
    }

    /// A measurement was made after `taken` steps; the smaller `value`, the better if `smaller_is_better`. During a
    /// warm-up it does not count.
    pub fn measured(&mut self, taken: usize, value: f64, smaller_is_better: bool) {
        let schedule = match &self.schedule {
            Schedule::Warmup { steps, .. } if taken < *steps => return,
            Schedule::Warmup { then, .. } => &**then,
            other => other,
        };
        let Schedule::Plateau { factor, patience, threshold, cooldown, min_lr } = *schedule else { return };
        let state = &mut self.plateau;
        let better = |best: f64| match smaller_is_better {
            true => value < best * (1.0 - threshold),
            false => value > best * (1.0 + threshold),
        };
        if state.best.is_none_or(better) {
            state.best = Some(value);
            state.bad = 0;
        } else {
            state.bad += 1;
        }
        if state.cooling > 0 {
            state.cooling -= 1;
            state.bad = 0;
        }
        if state.bad > patience {
            let old = self.lr * state.scale;
            let new = (old * factor).max(min_lr);
            if old - new > 1e-8 {
                state.scale = new / self.lr;
            }
            state.cooling = cooldown;
            state.bad = 0;
        }
    }
}

/// OneCycleLR's two phases between three values.
fn cycle(taken: usize, total: usize, pct_start: f64, [start, peak, end]: [f64; 3]) -> f64 {
    let (taken, last) = (taken as f64, total as f64 - 1.0);
    let top = pct_start * total as f64 - 1.0;
    let half_cosine = |from: f64, to: f64, share: f64| to + (from - to) / 2.0 * (1.0 + (PI * share).cos());
    match taken <= top {
        true => half_cosine(start, peak, if top > 0.0 { taken / top } else { 1.0 }),
        false => {
            half_cosine(peak, end, if last > top { ((taken - top) / (last - top)).min(1.0) } else { 1.0 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADAM: Method = Method::Adam { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 };

    fn rates(schedule: &Schedule, total: usize, steps: &[usize]) -> Vec<f64> {
        schedule.check(0.1, &ADAM).unwrap();
        let rate = LearningRate::new(schedule, 0.1, total, 10);
        steps.iter().map(|step| rate.at(*step)).collect()
    }

    fn assert_close(values: &[f64], expected: &[f64]) {
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-12, "{values:?} instead of {expected:?}");
        }
    }

    // By hand from the formulas; tests/test_schedules.py follows PyTorch's own over 1,000 steps.
    #[test]
    fn rates_follow_the_formulas() {
        let step = Schedule::Step { every: Every::EPOCH, gamma: 0.5 };
        assert_close(&rates(&step, 100, &[0, 9, 10, 29]), &[0.1, 0.1, 0.05, 0.025]);
        let multistep = Schedule::Multistep { milestones: vec![3, 5], gamma: 0.1 };
        assert_close(&rates(&multistep, 100, &[2, 3, 4, 5]), &[0.1, 0.01, 0.01, 0.001]);
        let cosine = Schedule::Cosine { min_lr: 0.02 };
        assert_close(&rates(&cosine, 100, &[0, 50, 100]), &[0.1, 0.06, 0.02]);
        let warmup = Schedule::Warmup { steps: 4, start_factor: 0.5, then: Box::new(cosine) };
        assert_close(&rates(&warmup, 104, &[0, 2, 4, 54]), &[0.05, 0.075, 0.1, 0.06]);
        let linear = Schedule::Linear { final_lr: 0.02, begin: 0.5, end: 0.9 };
        assert_close(&rates(&linear, 10, &[0, 5, 6, 8, 9]), &[0.1, 0.1, 0.08, 0.04, 0.02]);
        let jump = Schedule::Linear { final_lr: 0.0, begin: 0.07, end: 0.07 }; // 0.07 · 100 is above 7
        assert_close(&rates(&jump, 100, &[6, 7, 8]), &[0.1, 0.0, 0.0]);
        let rise = Schedule::Exponential { final_lr: 10.0 };
        assert_close(&rates(&rise, 3, &[0, 1, 2]), &[0.1, 1.0, 10.0]);
    }

    #[test]
    fn a_plateau_waits_longer_than_its_patience() {
        let schedule =
            Schedule::Plateau { factor: 0.1, patience: 1, threshold: 0.0, cooldown: 0, min_lr: 0.005 };
        let mut rate = LearningRate::new(&schedule, 0.1, 100, 10);
        let mut after = |value: f64| {
            rate.measured(1, value, true);
            rate.at(1)
        };
        assert_close(&[after(1.0), after(1.0), after(1.0), after(0.5)], &[0.1, 0.1, 0.01, 0.01]);
        assert_close(&[after(0.6), after(0.6)], &[0.01, 0.005]);
    }

    #[test]
    fn a_warm_up_ends_before_the_run() {
        let schedule = Schedule::Warmup { steps: 5, start_factor: 0.5, then: Box::default() };
        assert!(schedule.check_length(6).is_ok());
        assert!(schedule.check_length(5).unwrap_err().to_string().contains("warm-up takes 5 steps"));
    }

    #[test]
    fn a_plateau_begins_after_the_warm_up() {
        let plateau =
            Schedule::Plateau { factor: 0.1, patience: 0, threshold: 0.0, cooldown: 0, min_lr: 0.0 };
        let schedule = Schedule::Warmup { steps: 5, start_factor: 0.5, then: Box::new(plateau) };
        let mut rate = LearningRate::new(&schedule, 0.1, 100, 10);
        (1..5).for_each(|taken| rate.measured(taken, 1.0, true));
        rate.measured(5, 1.0, true);
        assert_close(&[rate.at(5)], &[0.1]);
        rate.measured(6, 1.0, true);
        assert_close(&[rate.at(6)], &[0.01]);
    }

    #[test]
    fn values_that_cannot_work_are_refused() {
        for json in [
            r#"{"type": "step", "every": 0, "gamma": 0.1}"#,
            r#"{"type": "multistep", "milestones": [5, 5], "gamma": 0.1}"#,
            r#"{"type": "cosine", "min_lr": -1.0}"#,
            r#"{"type": "linear", "final_lr": -1.0, "begin": 0, "end": 1}"#,
            r#"{"type": "linear", "final_lr": 0, "begin": 0.5, "end": 0.4}"#,
            r#"{"type": "linear", "final_lr": 0, "begin": 0.5, "end": 1.1}"#,
            r#"{"type": "warmup", "steps": 0, "start_factor": 0.1, "then": {"type": "constant"}}"#,
        ] {
            assert!(serde_json::from_str::<Schedule>(json).unwrap().check(0.1, &ADAM).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<Schedule>(r#"{"type": "cosine", "min_lr": 0, "lr_min": 0}"#).is_err());
    }
}

//! Factors by which something is multiplied at each step, so that it falls, or rises, over a run: what is done to images, and how
//! much labels are smoothed. A function of the step alone.

use super::{LearningRate, Method, Schedule};
use crate::error::{Error, Result};

/// 1 where there is no schedule.
pub struct Factor(Option<LearningRate>);

impl Factor {
    /// Over the steps that `rate` is laid out over.
    pub fn new(schedule: Option<&Schedule>, rate: &LearningRate) -> Self {
        Factor(schedule.map(|schedule| rate.factor(schedule)))
    }

    /// Whether it may change.
    pub fn moves(&self) -> bool {
        self.0.is_some()
    }

    /// Of the step before which `taken` others were taken, in [0, 1].
    pub fn at(&self, taken: usize) -> f64 {
        self.0.as_ref().map_or(1.0, |rate| rate.at(taken).clamp(0.0, 1.0))
    }
}

/// Refuses a schedule that is none of factors in [0, 1]; `name` is what the user calls it.
pub fn check_factor(name: &str, schedule: &Schedule) -> Result<()> {
    let refused = |why: String| Err(Error::Argument(format!("{name}: {why}")));
    // The largest number that it may come to, where it is 1 at its beginning or highest.
    let (option, value, most) = match schedule {
        Schedule::Constant {} => return Ok(()),
        Schedule::Step { gamma, .. } | Schedule::Multistep { gamma, .. } => ("gamma", *gamma, *gamma),
        Schedule::Exponential { final_lr } | Schedule::Linear { final_lr, .. } => {
            ("final_lr", *final_lr, *final_lr)
        }
        Schedule::Cosine { min_lr } => ("min_lr", *min_lr, *min_lr),
        Schedule::OneCycle { div_factor, final_div_factor, .. } => {
            match 1.0 / div_factor > 1.0 {
                true => ("div_factor", *div_factor, 1.0 / div_factor),
                false => ("final_div_factor", *final_div_factor, 1.0 / (div_factor * final_div_factor)),
            }
        }
        Schedule::Plateau { .. } => {
            return refused(
                "a plateau goes by measurements, and these factors are a function of the step alone: give linear, cosine, \
                 one_cycle, step or multistep"
                    .to_string(),
            )
        }
        Schedule::Warmup { .. } => {
            return refused(
                "a warm-up is for learning rates: give linear, cosine, one_cycle (which rises and falls), step or multistep"
                    .to_string(),
            )
        }
    };
    if most > 1.0 {
        return refused(format!(
            "{option} is {value}, and would take the factor above 1: it begins at 1, and is a share of what was asked for"
        ));
    }
    schedule.check(1.0, &Method::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::training_loop::tests::one_cycle;
    use crate::train::Every;

    fn rate() -> LearningRate {
        LearningRate::new(&Schedule::Constant {}, 0.3, 10, 5)
    }

    // By hand.
    #[test]
    fn factors_are_shares_of_one_over_the_steps_of_the_run() {
        let at = |schedule: &Schedule, taken| Factor::new(Some(schedule), &rate()).at(taken);
        let linear = Schedule::Linear { final_lr: 0.5, begin: 0.6, end: 1.0 };
        assert_eq!([0, 6, 8, 9].map(|taken| at(&linear, taken)), [1.0, 1.0, 0.75, 0.625]);
        let step = Schedule::Step { every: Every::EPOCH, gamma: 0.5 };
        assert_eq!([4, 5, 9].map(|taken| at(&step, taken)), [1.0, 0.5, 0.5]);
        assert_eq!(Factor::new(None, &rate()).at(7), 1.0);
        let all = (0..10).map(|taken| at(&one_cycle(), taken));
        assert!(all.into_iter().all(|factor| (0.0..=1.0).contains(&factor)));
    }

    #[test]
    fn what_is_no_factor_is_refused() {
        let plateau =
            Schedule::Plateau { factor: 0.1, patience: 1, threshold: 0.0, cooldown: 0, min_lr: 0.0 };
        let warmup = Schedule::Warmup { steps: 2, start_factor: 0.5, then: Box::default() };
        let low = |div_factor, final_div_factor| Schedule::OneCycle {
            pct_start: 0.3,
            div_factor,
            final_div_factor,
            cycle_momentum: true,
            base_momentum: 0.85,
            max_momentum: 0.95,
        };
        for (schedule, why) in [
            (plateau, "goes by measurements"),
            (warmup, "a warm-up is for learning rates"),
            (Schedule::Cosine { min_lr: 1.1 }, "min_lr is 1.1, and would take the factor above 1"),
            (Schedule::Exponential { final_lr: 2.0 }, "final_lr is 2"),
            (Schedule::Linear { final_lr: 2.0, begin: 0.0, end: 1.0 }, "final_lr is 2"),
            (Schedule::Step { every: Every::EPOCH, gamma: 1.5 }, "gamma is 1.5"),
            (low(0.5, 1e4), "div_factor is 0.5"),
            (low(2.0, 0.1), "final_div_factor is 0.1"),
            (Schedule::Cosine { min_lr: -0.5 }, "min_lr is -0.5"),
        ] {
            let error = check_factor("augment_schedule", &schedule).unwrap_err().to_string();
            assert!(error.contains(why), "{schedule:?}: {error}");
        }
        for schedule in [Schedule::Constant {}, one_cycle(), low(1.0, 1.0)] {
            check_factor("augment_schedule", &schedule).unwrap();
        }
    }
}

//! What the lists of a history have rows of, and how many.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::names;

/// By the names of the dimensions that arrays have in Python's table of measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Optimizer steps.
    Steps,
    /// Measurements of the test images, and of the validation images if there are any.
    Evaluations,
    /// Measurements of the training images.
    Passes,
    /// States that are kept for a replay.
    States,
}

impl Axis {
    /// In the order in which earlier versions counted rows, which knew the first ones alone.
    const ALL: [Axis; 4] = [Axis::Steps, Axis::Evaluations, Axis::Passes, Axis::States];

    pub fn name(self) -> &'static str {
        names::<Axis>()[self as usize]
    }
}

/// How a list grows.
#[derive(Clone, Copy)]
pub struct Adds {
    pub axis: Axis,
    /// The numbers that each row of the axis adds; None for one that is no row of its own.
    pub row: Option<usize>,
}

impl Adds {
    pub fn one(axis: Axis) -> Self {
        Adds { axis, row: None }
    }

    pub fn many(axis: Axis, numbers: usize) -> Self {
        Adds { axis, row: Some(numbers) }
    }

    /// How many there are after so many rows.
    pub fn numbers(self, rows: &Counts) -> usize {
        rows.of(self.axis) * self.row.unwrap_or(1)
    }
}

/// Rows of each axis; none of those that are not told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Told")]
pub struct Counts(BTreeMap<Axis, usize>);

/// As states tell it: by name, and those of earlier versions in the order of [`Axis::ALL`].
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Named(BTreeMap<Axis, usize>),
    Listed(Vec<usize>),
}

impl From<Told> for Counts {
    fn from(told: Told) -> Self {
        Counts(match told {
            Told::Named(counts) => counts,
            Told::Listed(counts) => Axis::ALL.into_iter().zip(counts).collect(),
        })
    }
}

impl<const N: usize> From<[(Axis, usize); N]> for Counts {
    fn from(counts: [(Axis, usize); N]) -> Self {
        Counts(counts.into())
    }
}

impl Counts {
    pub fn of(&self, axis: Axis) -> usize {
        self.0.get(&axis).copied().unwrap_or_default()
    }

    /// The same, but for one axis.
    pub fn with(mut self, axis: Axis, rows: usize) -> Self {
        self.0.insert(axis, rows);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_by_name_and_as_earlier_versions_listed_them() {
        let counts = Counts::from([(Axis::Steps, 3), (Axis::Evaluations, 4)]);
        let told = serde_json::to_string(&counts).unwrap();
        assert_eq!(told, r#"{"steps":3,"evaluations":4}"#);
        for text in [&told, "[3, 4]"] {
            assert_eq!(serde_json::from_str::<Counts>(text).unwrap(), counts);
        }
        assert!(serde_json::from_str::<Counts>(r#"{"hours": 3}"#).is_err());
        let counts = counts.with(Axis::Passes, 2);
        assert_eq!(
            [Adds::one(Axis::Passes), Adds::many(Axis::Steps, 7)].map(|adds| adds.numbers(&counts)),
            [2, 21]
        );
    }

    #[test]
    fn axes_are_numbered_in_their_order() {
        assert_eq!(Axis::ALL.map(Axis::name), ["steps", "evaluations", "passes", "states"]);
    }
}

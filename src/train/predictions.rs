//! Predicted classes as a run keeps them, on the host.

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::evaluate::class_kind;

/// A byte each, or two where there are more than 256 classes.
#[derive(Clone, Debug, PartialEq)]
pub enum Predictions {
    Bytes(Vec<u8>),
    Words(Vec<u16>),
}

impl Predictions {
    /// None yet, of so many classes.
    pub fn of(classes: usize) -> Self {
        match class_kind(classes as i64) {
            Kind::Uint8 => Predictions::Bytes(Vec::new()),
            _ => Predictions::Words(Vec::new()),
        }
    }

    /// Reads (N,) classes of [`class_kind`] from the device.
    pub fn read(classes: &Tensor) -> Result<Self> {
        Ok(match classes.f_kind()? {
            Kind::Uint8 => Predictions::Bytes(Vec::try_from(classes)?),
            _ => {
                let words = Vec::<i16>::try_from(classes)?;
                Predictions::Words(words.into_iter().map(|class| class as u16).collect())
            }
        })
    }

    /// What [`Predictions::read`] reads.
    pub fn tensor(&self) -> Result<Tensor> {
        Ok(match self {
            Predictions::Bytes(flat) => Tensor::f_from_slice(flat)?,
            Predictions::Words(flat) => {
                Tensor::f_from_slice(&flat.iter().map(|class| *class as i16).collect::<Vec<_>>())?
            }
        })
    }

    /// Adds others of as many classes.
    pub fn extend(&mut self, others: Predictions) {
        match (self, others) {
            (Predictions::Bytes(here), Predictions::Bytes(others)) => here.extend(others),
            (Predictions::Words(here), Predictions::Words(others)) => here.extend(others),
            (here, others) => *here = others, // cannot be: the number of classes stays
        }
    }

    pub fn truncate(&mut self, length: usize) {
        match self {
            Predictions::Bytes(flat) => flat.truncate(length),
            Predictions::Words(flat) => flat.truncate(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_classes_take_two_bytes() {
        let mut kept = Predictions::of(257);
        kept.extend(Predictions::read(&Tensor::from_slice(&[0i16, 256, 9_999])).unwrap());
        assert_eq!(kept, Predictions::Words(vec![0, 256, 9_999]));
        let mut kept = Predictions::of(256);
        assert_eq!(kept, Predictions::Bytes(vec![]));
        kept.extend(Predictions::read(&Tensor::from_slice(&[0u8, 255])).unwrap());
        kept.truncate(1);
        assert_eq!(kept, Predictions::Bytes(vec![0]));
    }
}

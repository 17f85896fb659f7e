//! States that a run keeps on the way, so that its steps can be gone through again (`replay`).

use super::axes::{Adds, Axis};
use super::history::Column;
use super::session::RunState;
use crate::error::{Error, Result};

/// Bytes that a state may take beyond those of the first: numbers in its JSON have more digits later.
const ROOM: usize = 1 << 10;

/// And beside them where estimators have learned more, if their measurements decide about the learning rate.
const ROOM_OF_ESTIMATORS: usize = 1 << 17;

/// As rows of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct States {
    /// (states,) steps taken before each.
    pub steps: Vec<i64>,
    /// (states · length,)
    bytes: Vec<u8>,
    /// Bytes of a row, which the first one decides.
    length: usize,
}

impl States {
    /// Adds what [`RunState::packed_to`] gives.
    pub fn push(&mut self, taken: usize, state: &RunState, estimators: bool) -> Result<()> {
        if self.steps.is_empty() {
            self.length = state.packed()?.length()? + ROOM + if estimators { ROOM_OF_ESTIMATORS } else { 0 };
        }
        let row = state.packed_to(self.length)?;
        row.pieces(|piece| {
            self.bytes.extend_from_slice(piece);
            Ok::<_, Error>(())
        })?;
        self.steps.push(taken as i64);
        Ok(())
    }

    /// Before rows of a history are taken up: so many bytes in so many of them.
    pub fn expect(&mut self, rows: usize, bytes: usize) -> Result<()> {
        match bytes.checked_rem(rows) {
            Some(0) => self.length = bytes / rows,
            None if bytes == 0 => {}
            _ => return Err(Error::Argument(format!("{bytes} bytes are not {rows} states of one length"))),
        }
        Ok(())
    }

    pub fn columns(&mut self) -> [(&'static str, Column<'_>, Adds); 2] {
        let row = Adds::many(Axis::States, self.length);
        [
            ("state_step", Column::Int(&mut self.steps), Adds::one(Axis::States)),
            ("states", Column::Bytes(&mut self.bytes), row),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_one_length_and_are_read_as_they_are() {
        let mut states = States::default();
        let told = [0.5, 0.1234567890123456, 1.0];
        for (taken, number) in told.into_iter().enumerate() {
            let mut state = RunState::new(&serde_json::json!({ "number": number })).unwrap();
            state.put("weights", [("a", tch::Tensor::from_slice(&[number; 3]))]).unwrap();
            states.push(taken, &state, false).unwrap();
        }
        let (bytes, length) = (states.bytes.clone(), states.length);
        assert_eq!((bytes.len(), states.steps.as_slice()), (3 * length, [0, 1, 2].as_slice()));
        for (row, number) in bytes.chunks(length).zip(told) {
            let state = RunState::from_safetensors(row).unwrap();
            assert_eq!(state.json["number"], number);
            assert_eq!(state.tensors["weights.a"].double_value(&[2]), number);
        }
        let mut again = States::default();
        again.expect(3, 3 * length).unwrap();
        assert_eq!(again.length, length);
        assert!(again.expect(2, 3 * length + 1).is_err() && again.expect(0, 5).is_err());
        again.expect(0, 0).unwrap();
    }

    #[test]
    fn a_state_that_does_not_fit_is_an_error() {
        let mut states = States::default();
        let small = RunState::new(&serde_json::json!({})).unwrap();
        states.push(0, &small, false).unwrap();
        let large = RunState::new(&serde_json::json!({ "text": "a".repeat(2 * ROOM) })).unwrap();
        assert!(states.push(1, &large, false).unwrap_err().to_string().contains("does not fit"));
    }
}

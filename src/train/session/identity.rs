//! Which run a state belongs to.

use serde_json::{Map, Value};

use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::network::Model;
use crate::train::{Schedule, TrainConfig};

/// What a run is of, as JSON: its config, network, data and who computes.
pub fn identity(
    model: &Model,
    data: &Dataset,
    config: &TrainConfig,
    on_device: bool,
) -> Result<Map<String, Value>> {
    let wrong = |e: serde_json::Error| Error::Argument(format!("the config cannot be told in JSON: {e}"));
    let mut of = match serde_json::to_value(config).map_err(wrong)? {
        Value::Object(of) => of,
        other => Map::from_iter([("config".to_string(), other)]),
    };
    of.remove("checkpoints"); // which decide nothing
    let Dataset { train, test, classes, .. } = data;
    let images = |split: &Split| serde_json::json!([split.len(), split.image_shape()]);
    for (name, value) in [
        ("network", serde_json::to_value(&model.network).map_err(wrong)?),
        ("normalization", serde_json::to_value(model.normalization()).map_err(wrong)?),
        ("training images", images(train)),
        ("test images", images(test)),
        ("number of classes", (*classes).into()),
        ("device", if on_device { "a GPU" } else { "a CPU" }.into()),
    ] {
        of.insert(name.to_string(), value);
    }
    Ok(of)
}

/// Refuses the state of another run, and says what is different. A run may be made longer, or shorter than it was to be, if
/// what it did until now does not depend on its length.
pub fn check_same(
    earlier: &Map<String, Value>,
    now: &Map<String, Value>,
    schedule: &Schedule,
    taken: usize,
    total: usize,
) -> Result<()> {
    // An earlier version lacks what it did not know, and did as the default says.
    let known = serde_json::to_value(TrainConfig::default()).unwrap_or_default();
    let differs = |name: &str| earlier.get(name).or_else(|| known.get(name)) != now.get(name);
    if differs("length") && schedule.is_laid_out() {
        return Err(Error::argument(
            "the learning rate of this run is laid out over all of its steps, so that a run of another length is another \
             one from its first step on: train it anew, or give a schedule that does not depend on the length (constant, \
             step, multistep, plateau)",
        ));
    }
    if taken > total {
        return Err(Error::Argument(format!(
            "the run has taken {taken} steps already, and is to take {total} in all: the number is that of the whole run"
        )));
    }
    let Some((name, here)) = now.iter().find(|(name, _)| *name != "length" && differs(name)) else {
        return Ok(());
    };
    let there = earlier.get(name).map_or_else(|| "unknown".to_string(), Value::to_string);
    let here = here.to_string();
    let message = match there.len().max(here.len()) {
        0..=100 => format!("its {name} was {there}, and is {here} here"),
        _ => format!("its {name} was another one"),
    };
    Err(Error::Argument(format!("a run goes on from the state of the same run alone: {message}")))
}

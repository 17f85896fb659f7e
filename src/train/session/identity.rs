//! Which run a state belongs to.

use serde_json::{Map, Value};

use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::network::Model;
use crate::train::TrainConfig;

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

/// Refuses the state of another run, and says what is different.
pub fn check_same(earlier: &Map<String, Value>, now: &Map<String, Value>) -> Result<()> {
    let Some((name, here)) = now.iter().find(|(name, here)| earlier.get(*name) != Some(here)) else {
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

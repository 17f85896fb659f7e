//! Which run a state belongs to.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::network::{Model, Network, Normalization};
use crate::train::TrainConfig;

const NETWORK: &str = "network";
const NORMALIZATION: &str = "normalization";
const TRAINING: &str = "training images";
const TEST: &str = "test images";
const CLASSES: &str = "number of classes";
const DEVICE: &str = "device";

/// What a run is of, as JSON: its config, network, data and who computes.
pub fn identity(
    model: &Model,
    data: &Dataset,
    config: &TrainConfig,
    on_device: bool,
) -> Result<Map<String, Value>> {
    let mut of = told(config)?;
    let Dataset { train, test, classes, .. } = data;
    let images = |split: &Split| serde_json::json!([split.len(), split.image_shape()]);
    for (name, value) in [
        (NETWORK, serde_json::to_value(&model.network).map_err(wrong)?),
        (NORMALIZATION, serde_json::to_value(model.normalization()).map_err(wrong)?),
        (TRAINING, images(train)),
        (TEST, images(test)),
        (CLASSES, (*classes).into()),
        (DEVICE, if on_device { "a GPU" } else { "a CPU" }.into()),
    ] {
        of.insert(name.to_string(), value);
    }
    Ok(of)
}

fn wrong(error: serde_json::Error) -> Error {
    Error::Argument(format!("the config cannot be told in JSON: {error}"))
}

/// A config as JSON, but for checkpoints, which decide nothing.
fn told(config: &TrainConfig) -> Result<Map<String, Value>> {
    let mut of = match serde_json::to_value(config).map_err(wrong)? {
        Value::Object(of) => of,
        other => Map::from_iter([("config".to_string(), other)]),
    };
    of.remove("checkpoints");
    Ok(of)
}

/// What a run is of that has another config, and all else the same.
pub fn with_config(of: &Map<String, Value>, config: &TrainConfig) -> Result<Map<String, Value>> {
    let mut of = of.clone();
    of.extend(told(config)?);
    Ok(of)
}

/// Config, network and normalisation of the run that a state is of.
pub fn told_by(of: &Map<String, Value>) -> Result<(TrainConfig, Network, Normalization)> {
    fn read<T: DeserializeOwned>(value: Option<Value>) -> Result<T> {
        serde_json::from_value(value.unwrap_or_default())
            .map_err(|e| Error::Argument(format!("the state does not say what run it is of: {e}")))
    }

    let mut config = of.clone();
    let (network, normalization) = (config.remove(NETWORK), config.remove(NORMALIZATION));
    for other in [TRAINING, TEST, CLASSES, DEVICE] {
        config.remove(other);
    }
    let Network { name, input_shape, layers } = read(network)?;
    let Normalization { mean, std } = read(normalization)?;
    let config = read(Some(Value::Object(config)))?;
    Ok((config, Network::new(name, input_shape, layers)?, Normalization::new(mean, std)?))
}

/// Refuses the state of another run, and says what is different. A run may be made longer, or shorter than it was to be, if
/// what it did until now does not depend on its length.
pub fn check_same(
    earlier: &Map<String, Value>,
    now: &Map<String, Value>,
    config: &TrainConfig,
    taken: usize,
    total: usize,
) -> Result<()> {
    // An earlier version lacks what it did not know, and did as the default says.
    let known = serde_json::to_value(TrainConfig::default()).unwrap_or_default();
    let differs = |name: &str| earlier.get(name).or_else(|| known.get(name)) != now.get(name);
    if let (true, Some((name, what))) = (differs("length"), config.laid_out()) {
        let plateau = if name == "schedule" { ", plateau" } else { "" };
        return Err(Error::Argument(format!(
            "{what} of this run is laid out over all of its steps, so that a run of another length is another one from its \
             first step on: train it anew, or give a {name} that does not depend on the length (constant, step, \
             multistep{plateau})"
        )));
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

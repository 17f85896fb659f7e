//! The one error type of the core. `bindings::errors` turns each variant into a Python exception.

use std::path::PathBuf;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument has a value that cannot work.
    #[error("{0}")]
    Argument(String),

    /// A layer cannot take the shape that arrives. `layer` is its path and kind, such as `4.body.2 (Conv2d)`.
    #[error("layer {layer} of network {network:?} cannot take an input of shape {arrives}: it needs {needs}. {hint}")]
    Layer { network: String, layer: String, arrives: String, needs: String, hint: String },

    /// Any other shape that does not fit.
    #[error("{0}")]
    Shape(String),

    /// The data set itself is wrong.
    #[error("{0}")]
    Data(String),

    /// A file could not be opened, read or written.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },

    /// A file is there that may not be replaced.
    #[error("{0}")]
    Exists(String),

    /// A file is not what it should be.
    #[error("{}: {message}", path.display())]
    Format { path: PathBuf, message: String },

    /// The device is not there or lacks what was asked of it.
    #[error("{0}")]
    Device(String),

    /// libtorch refused an operation: a bug of ours, or memory ran out.
    #[error("libtorch failed: {}", first_lines(.0))]
    Torch(#[from] tch::TchError),

    /// A call into libtorch's C interface failed; it gives no text of its own.
    #[error("libtorch's {call} failed with code {code}")]
    Shim { call: &'static str, code: i32 },
}

impl Error {
    pub fn argument(message: impl Into<String>) -> Self {
        Error::Argument(message.into())
    }
}

/// libtorch's own message without the C++ stack that follows it.
fn first_lines(error: &tch::TchError) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("Internal torch error: ").unwrap_or(&text);
    text.split("\nException raised from").next().unwrap_or(text).trim_end().to_string()
}

/// `" Did you mean \"adam\"?"` for a near miss among `choices`, or nothing.
pub fn suggest(name: &str, choices: &[&str]) -> String {
    let name = name.to_lowercase();
    choices
        .iter()
        .map(|choice| (strsim::jaro_winkler(&name, choice), choice))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, choice)| format!(" Did you mean {choice:?}?"))
        .unwrap_or_default()
}

/// The error for an unknown name: what it was, what it may be, and the nearest of them.
pub fn unknown(what: &str, name: &str, choices: &[&str]) -> Error {
    let listed = choices.iter().map(|c| format!("{c:?}")).collect::<Vec<_>>().join(", ");
    Error::Argument(format!("unknown {what} {name:?}: choose one of {listed}.{}", suggest(name, choices)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_suggested() {
        let error = unknown("optimizer", "Adm", &["sgd", "adam", "adamw"]).to_string();
        assert!(error.contains("Did you mean \"adam\"?"), "{error}");
    }

    #[test]
    fn libtorchs_messages_lose_their_stack() {
        let error = tch::Tensor::from_slice(&[1f32]).f_view([3]).unwrap_err();
        let text = Error::from(error).to_string();
        assert!(text.starts_with("libtorch failed: shape '[3]' is invalid"), "{text}");
        assert!(!text.contains("frame #"), "{text}");
    }

    #[test]
    fn nonsense_gets_no_suggestion() {
        assert_eq!(suggest("xyzzy", &["sgd", "adam"]), "");
    }
}

//! What is asked of a fit of exit heads.

use serde_json::{Value, json};

use super::error::ExitFitError;
use super::train::LAMBDAS;

/// Fewest windows of a fit: one to be fitted, one to choose by, one held out.
pub const FEWEST_WINDOWS: u64 = 3;

/// Fits to make: one head behind each of some layers.
#[derive(Clone, Debug, PartialEq)]
pub struct ExitFitSpec {
    /// The model: `builtin`, a directory or a .gguf file.
    pub model: String,
    /// Layers e in front of the exits.
    pub layers: Vec<usize>,
    /// The text: `builtin` or a file.
    pub corpus: String,
    /// Another text that the heads are judged on.
    pub check: Option<String>,
    /// Most windows of the text, drawn at random, and most of the other one, its first.
    pub windows: u32,
    /// Tokens of a window.
    pub tokens: u32,
    /// Passes of the refinement over the windows; 0 for ridge regression alone.
    pub epochs: u32,
    /// Adam's learning rate at the start; it falls to 0 in a straight line.
    pub learning_rate: f64,
    /// Windows of a minibatch.
    pub batch_windows: u32,
    /// Seed of which windows are held out, and of the order of minibatches.
    pub seed: u64,
}

/// What an option of `splitwave fit-exit` may be, by its name.
pub fn allowed(option: &str) -> &'static str {
    match option {
        "layer" => "1 to the model's layers, comma-separated, each once",
        "windows" => "3 to 4294967295",
        "epochs" => "0 to 10000",
        "learning-rate" => "above 0, at most 1",
        "seed" => "0 to 18446744073709551615",
        _ => "1 to 1000000",
    }
}

impl ExitFitSpec {
    /// Checks every option that needs no model; layers come in rising order.
    ///
    /// # Errors
    /// [`ExitFitError::Option`].
    pub(super) fn check(&self) -> Result<(), ExitFitError> {
        let refuse =
            |option, value: String| Err(ExitFitError::Option { option, value, allowed: allowed(option).to_owned() });
        if u64::from(self.windows) < FEWEST_WINDOWS {
            return refuse("windows", self.windows.to_string());
        }
        for (option, value) in [("tokens", self.tokens), ("batch-windows", self.batch_windows)] {
            if !(1..=1_000_000).contains(&value) {
                return refuse(option, value.to_string());
            }
        }
        if self.epochs > 10_000 {
            return refuse("epochs", self.epochs.to_string());
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            return refuse("learning-rate", self.learning_rate.to_string());
        }
        Ok(())
    }

    /// The layers in rising order.
    ///
    /// # Errors
    /// [`ExitFitError::Option`] if there are none, one is none of the model's, or stands there twice.
    pub(super) fn layers_of(&self, layers: usize) -> Result<Vec<usize>, ExitFitError> {
        let mut sorted = self.layers.clone();
        sorted.sort_unstable();
        let twice = sorted.windows(2).any(|pair| pair[0] == pair[1]);
        if sorted.is_empty() || twice || sorted.iter().any(|layer| !(1..=layers).contains(layer)) {
            let value = self.layers.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            let allowed = format!("1 to {layers}, the model's layers, comma-separated, each once");
            return Err(ExitFitError::Option { option: "layer", value, allowed });
        }
        Ok(sorted)
    }

    /// Everything that the numbers of a fit depend on but the program.
    pub(super) fn identity(&self, model: &str, corpus: &str, check: Option<&str>) -> Value {
        let mut layers = self.layers.clone();
        layers.sort_unstable();
        let identity = json!({
            "model_hash": model,
            "corpus_hash": corpus,
            "check_hash": check,
            "layers": layers,
            "windows": self.windows,
            "tokens": self.tokens,
            "lambdas": LAMBDAS,
            "epochs": self.epochs,
            "learning_rate": self.learning_rate,
            "batch_windows": self.batch_windows,
            "seed": self.seed,
        });
        // As it is read again: the JSON parser's last digit isn't exact.
        serde_json::from_str(&identity.to_string()).unwrap_or(identity)
    }
}

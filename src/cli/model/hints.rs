//! What to do about a model that cannot be loaded.

use std::path::Path;

use crate::cli::failure::Failure;
use crate::llm::{BUILTIN, ConfigProblem, GgufProblem, LoadError, WeightsProblem};

/// What the options take as PATH.
const WHAT_A_MODEL_IS: &str =
    "a model is \"builtin\", \"builtin-small\", a directory in Hugging Face's layout, or a .gguf file";
/// Files that don't belong together, or are damaged inside.
pub const FETCH_AGAIN: &str = "fetch the files of the checkpoint again, all of the same model";
const CHECK: &str = "`splitwave model check` lists all tensors with what is wrong";
/// Files that are not whole.
const COMPARE: &str = "download it again, and compare its size and checksum with those at its source";
/// A value of the configuration that would have to be computed with.
const UNSUPPORTED: &str =
    "choose a model with a supported value; with the value changed in the file alone, this one would run wrong";
const CONVERT: &str = "convert the model again with a recent llama.cpp (convert_hf_to_gguf.py)";

impl From<&LoadError> for Failure {
    fn from(error: &LoadError) -> Self {
        Self::input(&error.to_string(), &hint(error, CHECK))
    }
}

/// The hint for `error`; `tensors` is what to do if the tensors aren't those of the model.
pub fn hint(error: &LoadError, tensors: &str) -> String {
    let hint = match error {
        LoadError::Unreadable { file, .. } => return what_a_model_is(Path::new(file).parent()),
        LoadError::NoTokenizer { .. } => "give token ids with --tokens, or add the tokenizer of the same model",
        LoadError::Form { .. } => WHAT_A_MODEL_IS,
        LoadError::Vocabulary { .. } | LoadError::Tokenizer(_) => FETCH_AGAIN,
        LoadError::Config(error) => match error.problem {
            ConfigProblem::Unsupported { .. } => UNSUPPORTED,
            _ => "take the config.json that was published with the weights",
        },
        LoadError::Gguf(error) => match error.problem {
            GgufProblem::Unreadable(_) | GgufProblem::Magic(_) => WHAT_A_MODEL_IS,
            GgufProblem::Truncated { .. }
            | GgufProblem::Damaged { .. }
            | GgufProblem::Twice(_)
            | GgufProblem::Overlap { .. } => COMPARE,
            GgufProblem::Unsupported { .. } | GgufProblem::Foreign { .. } => UNSUPPORTED,
            GgufProblem::TensorType { .. } => "choose a file of another quantisation, or make one with llama-quantize",
            _ => CONVERT,
        },
        LoadError::Weights(error) => match error.problem {
            WeightsProblem::Malformed { .. } | WeightsProblem::Unreadable(_) => COMPARE,
            WeightsProblem::Dtype { .. } | WeightsProblem::Blocks { .. } => {
                "save the model in one of the supported types, or convert it to GGUF"
            }
            WeightsProblem::Missing { .. }
            | WeightsProblem::Shape { .. }
            | WeightsProblem::NotFinite { .. }
            | WeightsProblem::Unexpected { .. } => tensors,
            _ => FETCH_AGAIN,
        },
    };
    hint.to_owned()
}

/// Knows the built-in model's name misspelt.
fn what_a_model_is(named: Option<&Path>) -> String {
    let is_slip = |name: &Path| {
        let word = name.to_string_lossy().to_lowercase();
        !name.exists() && strsim::osa_distance(&word, BUILTIN) <= 2
    };
    if named.is_some_and(is_slip) {
        format!("did you mean \"{BUILTIN}\"? {WHAT_A_MODEL_IS}")
    } else {
        WHAT_A_MODEL_IS.to_owned()
    }
}

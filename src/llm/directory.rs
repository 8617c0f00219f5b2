//! A model's directory in Hugging Face's layout.

use std::fs::File;
use std::path::Path;

use super::checkpoint::{Checkpoint, Source};
use super::config::DecoderConfig;
use super::error::LoadError;
use super::limited_read::{self, CONFIG_BYTES};
use super::safetensors_file;

/// What a model's directory must hold.
const NEEDED: &str = "config.json, model.safetensors and tokenizer.json \
    (instead of model.safetensors: its shards with model.safetensors.index.json)";

/// Configuration and checkpoint of a directory; of the weights, only headers have been read.
#[derive(Debug)]
pub(super) struct Directory {
    /// The parsed `config.json`.
    pub config: DecoderConfig,
    /// Its text.
    pub config_text: Vec<u8>,
    /// The weights.
    pub checkpoint: Checkpoint<'static>,
}

/// Opens `config.json` and the checkpoint, in one file or in shards, of a directory.
///
/// # Errors
/// [`LoadError`] if a file is missing, damaged, or of a kind that isn't supported.
pub(super) fn open(dir: &Path) -> Result<Directory, LoadError> {
    let config_path = dir.join("config.json");
    let config_text = read(&config_path, CONFIG_BYTES)?;
    let config = DecoderConfig::from_json(&config_path.display().to_string(), &config_text)?;
    let path = dir.join("model.safetensors");
    let index = dir.join("model.safetensors.index.json");
    let checkpoint = if index.is_file() && !path.exists() {
        safetensors_file::sharded(&index)?
    } else {
        match File::open(&path) {
            Ok(file) => safetensors_file::single(&path.display().to_string(), Source::File(file))?,
            Err(error) => return Err(no_weights(dir, &path, &error)),
        }
    };
    Ok(Directory { config, config_text, checkpoint })
}

/// The bytes of a file of a model's directory, at most `limit`.
///
/// # Errors
/// [`LoadError::Unreadable`], which says what such a directory holds.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    limited_read::read(path, limit).map_err(|error| unreadable(path, &error))
}

/// Where weights in Python's pickle format stand instead, says so.
fn no_weights(dir: &Path, path: &Path, error: &std::io::Error) -> LoadError {
    for pickle in ["pytorch_model.bin", "pytorch_model.bin.index.json"] {
        let pickle = dir.join(pickle);
        if pickle.is_file() {
            let supported = "safetensors (save the model again with a release of transformers that writes them)";
            return LoadError::Form { file: pickle.display().to_string(), form: "a PyTorch pickle", supported };
        }
    }
    unreadable(path, error)
}

fn unreadable(path: &Path, error: &std::io::Error) -> LoadError {
    LoadError::Unreadable { file: path.display().to_string(), reason: error.to_string(), needed: NEEDED }
}

//! A model as the user names it: a directory, or the one inside the program.

use std::path::Path;

use super::builtin;
use super::config::DecoderConfig;
use super::error::LoadError;
use super::model::Decoder;
use super::tokenizer::Tokenizer;

/// What a model's directory must hold.
const NEEDED: &str = "config.json, model.safetensors and tokenizer.json";

/// A decoder with its tokenizer.
#[derive(Debug)]
pub struct LoadedModel {
    /// The layers.
    pub decoder: Decoder,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    content_hash: String,
}

impl LoadedModel {
    /// Opens what a scenario's `model.source` names: [`builtin::NAME`], or the path of
    /// a Hugging Face directory.
    ///
    /// # Errors
    /// [`LoadError`] if a file is missing, damaged, or of a kind that isn't supported.
    pub fn open(source: &str) -> Result<Self, LoadError> {
        if source == builtin::NAME { Self::builtin() } else { Self::from_dir(Path::new(source)) }
    }

    /// The model that is compiled into the program.
    ///
    /// # Errors
    /// [`LoadError`] only if the program was built from damaged files.
    pub fn builtin() -> Result<Self, LoadError> {
        Self::from_bytes(builtin::NAME, builtin::CONFIG, builtin::WEIGHTS, builtin::TOKENIZER)
    }

    /// Loads a directory with `config.json`, `model.safetensors` and `tokenizer.json`.
    ///
    /// # Errors
    /// [`LoadError`] if a file is missing, damaged, or of a kind that isn't supported.
    pub fn from_dir(dir: &Path) -> Result<Self, LoadError> {
        if dir.is_file() {
            let supported = "a directory in Hugging Face's layout, with model.safetensors in one file";
            return Err(LoadError::Form { file: dir.display().to_string(), form: "a single file", supported });
        }
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read(&path).map_err(|error| LoadError::Unreadable {
                file: path.display().to_string(),
                reason: error.to_string(),
                needed: NEEDED,
            })
        };
        let config = read("config.json")?;
        let index = dir.join("model.safetensors.index.json");
        if index.is_file() && !dir.join("model.safetensors").exists() {
            let supported = "model.safetensors in one file (merge the shards by saving the model again)";
            return Err(LoadError::Form { file: index.display().to_string(), form: "a sharded checkpoint", supported });
        }
        let weights = read("model.safetensors")?;
        Self::from_bytes(&dir.display().to_string(), &config, &weights, &read("tokenizer.json")?)
    }

    /// Builds a model from the bytes of its three files; `place` names them in errors.
    ///
    /// # Errors
    /// [`LoadError`] if one of them is damaged or of a kind that isn't supported.
    pub fn from_bytes(place: &str, config: &[u8], weights: &[u8], tokenizer: &[u8]) -> Result<Self, LoadError> {
        let parsed = DecoderConfig::from_json(&format!("{place}/config.json"), config)?;
        let tokenizer = Tokenizer::from_json(&format!("{place}/tokenizer.json"), tokenizer)?;
        let decoder = Decoder::from_safetensors(parsed, &format!("{place}/model.safetensors"), weights)?;
        // The length in front keeps a byte that moves from one file to the other from going unseen.
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(config.len() as u64).to_le_bytes()).update(config).update(weights);
        Ok(Self { decoder, tokenizer, content_hash: hasher.finalize().to_hex().to_string() })
    }

    /// BLAKE3 hash of configuration and weights, in hexadecimal. The tokenizer has
    /// its own ([`Tokenizer::content_hash`]).
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }
}

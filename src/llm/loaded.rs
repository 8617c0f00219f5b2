//! A model as the user names it: a directory, a GGUF file, or the one inside the program.

use std::path::Path;

use super::bos::{self, Bos, Settings};
use super::builtin;
use super::checkpoint::{Checkpoint, Source};
use super::config::DecoderConfig;
use super::directory;
use super::error::LoadError;
use super::gguf::{self, GgufFile};
use super::limited_read::{CONFIG_BYTES, TOKENIZER_BYTES};
use super::model::Decoder;
use super::safetensors_file;
use super::tokenizer::Tokenizer;

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
    /// Opens what a scenario's `model.source` names: [`builtin::NAME`], [`builtin::SMALL_NAME`], the path of a
    /// Hugging Face directory, or that of a file whose name ends in `.gguf`.
    ///
    /// # Errors
    /// [`LoadError`] if a file is missing, damaged, or of a kind that isn't supported.
    pub fn open(source: &str) -> Result<Self, LoadError> {
        let path = Path::new(source);
        if source == builtin::NAME {
            Self::builtin()
        } else if source == builtin::SMALL_NAME {
            Self::builtin_small()
        } else if is_gguf(path) {
            Self::from_gguf(path)
        } else {
            Self::from_dir(path)
        }
    }

    /// The model that is compiled into the program.
    ///
    /// # Errors
    /// [`LoadError`] only if the program was built from damaged files.
    pub fn builtin() -> Result<Self, LoadError> {
        Self::from_bytes(builtin::NAME, builtin::CONFIG, builtin::WEIGHTS, builtin::TOKENIZER)
    }

    /// The small model that is compiled into the program; its tokenizer is that of [`LoadedModel::builtin`].
    ///
    /// # Errors
    /// [`LoadError`] only if the program was built from damaged files.
    pub fn builtin_small() -> Result<Self, LoadError> {
        Self::from_bytes(builtin::SMALL_NAME, builtin::SMALL_CONFIG, builtin::SMALL_WEIGHTS, builtin::TOKENIZER)
    }

    /// Loads a directory with `config.json`, `tokenizer.json` and the weights, in
    /// `model.safetensors` or in shards. The weights are never in memory twice.
    ///
    /// # Errors
    /// [`LoadError`] if a file is missing, damaged, or of a kind that isn't supported.
    pub fn from_dir(dir: &Path) -> Result<Self, LoadError> {
        let directory::Directory { config, config_text, checkpoint } = open_directory(dir)?;
        let tokenizer = tokenizer_of(dir, &config)?;
        Self::assemble(config, &config_text, checkpoint, tokenizer)
    }

    /// Loads a GGUF file, which holds configuration, weights and tokenizer. The weights
    /// are never in memory twice.
    ///
    /// # Errors
    /// [`LoadError`] if it cannot be read, is damaged, or of a kind that isn't supported.
    pub fn from_gguf(path: &Path) -> Result<Self, LoadError> {
        Self::assemble_gguf(gguf::open(path)?)
    }

    /// Builds a model from the bytes of a GGUF file; `place` names it in errors.
    ///
    /// # Errors
    /// [`LoadError`] if it is damaged or of a kind that isn't supported.
    pub fn from_gguf_bytes(place: &str, bytes: &[u8]) -> Result<Self, LoadError> {
        Self::assemble_gguf(gguf::from_bytes(place, bytes)?)
    }

    fn assemble_gguf(file: GgufFile) -> Result<Self, LoadError> {
        let content_hash = file.content_hash()?;
        let tokenizer = file.tokenizer(&content_hash)?;
        Ok(Self { decoder: Decoder::load(file.config, file.checkpoint)?, tokenizer, content_hash })
    }

    /// Builds a model from the bytes of its three files; `place` names them in errors.
    ///
    /// # Errors
    /// [`LoadError`] if one of them is damaged or of a kind that isn't supported.
    pub fn from_bytes(place: &str, config: &[u8], weights: &[u8], tokenizer: &[u8]) -> Result<Self, LoadError> {
        let parsed = DecoderConfig::from_json(&format!("{place}/config.json"), config)?;
        let checkpoint = safetensors_file::single(&format!("{place}/model.safetensors"), Source::Memory(weights))?;
        let tokenizer = fitting_tokenizer(&format!("{place}/tokenizer.json"), tokenizer, None, &parsed)?;
        Self::assemble(parsed, config, checkpoint, tokenizer)
    }

    fn assemble(
        mut config: DecoderConfig,
        config_text: &[u8],
        checkpoint: Checkpoint,
        (tokenizer, bos): (Tokenizer, Bos),
    ) -> Result<Self, LoadError> {
        let content_hash = content_hash(config_text, &checkpoint, bos.other_than(&config))?;
        config.bos_token = bos.token;
        Ok(Self { decoder: Decoder::load(config, checkpoint)?, tokenizer, content_hash })
    }

    /// BLAKE3 hash of configuration and weights, in hexadecimal, and of the BOS token where
    /// the tokenizer has another one than config.json. The tokenizer has its own
    /// ([`Tokenizer::content_hash`]).
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }
}

/// BLAKE3 of the text of a configuration and all bytes of its checkpoint, in hexadecimal;
/// and of `other_bos`, because other inputs give other numbers.
pub(super) fn content_hash(
    config_text: &[u8],
    checkpoint: &Checkpoint,
    other_bos: Option<Bos>,
) -> Result<String, LoadError> {
    // The length in front keeps a byte that moves from one file to the other from going unseen.
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(config_text.len() as u64).to_le_bytes()).update(config_text);
    checkpoint.hash(&mut hasher)?;
    if let Some(Bos { token, .. }) = other_bos {
        hasher.update(b"bos").update(&token.map_or([0xff; 4], u32::to_le_bytes));
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Opens the directory `dir`; a single file that isn't GGUF is refused by that name.
pub(super) fn open_directory(dir: &Path) -> Result<directory::Directory, LoadError> {
    if dir.is_file() {
        let supported = "a directory in Hugging Face's layout, or a .gguf file";
        return Err(LoadError::Form { file: dir.display().to_string(), form: "a single file", supported });
    }
    directory::open(dir)
}

/// Whether `path` is named like a GGUF file, and isn't a directory.
pub(super) fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) && !path.is_dir()
}

/// Configuration and weights at `path`, a directory or a .gguf file.
///
/// # Errors
/// [`LoadError`] if a file is missing, damaged, or of a kind that isn't supported.
pub(super) fn open_checkpoint(path: &Path) -> Result<(DecoderConfig, Checkpoint<'static>), LoadError> {
    if is_gguf(path) {
        let GgufFile { config, checkpoint, .. } = gguf::open(path)?;
        return Ok((config, checkpoint));
    }
    let directory::Directory { config, checkpoint, .. } = open_directory(path)?;
    Ok((config, checkpoint))
}

/// The tokenizer of a model's directory, and the BOS token that it stands for.
///
/// # Errors
/// [`LoadError`] if there is none, it cannot be read, is damaged, or isn't of this model.
pub(super) fn tokenizer_of(dir: &Path, config: &DecoderConfig) -> Result<(Tokenizer, Bos), LoadError> {
    let [file, settings_file] = ["tokenizer.json", "tokenizer_config.json"].map(|name| dir.join(name));
    if !file.exists() {
        return Err(LoadError::NoTokenizer { place: dir.display().to_string(), missing: "tokenizer.json".to_owned() });
    }
    let bytes = directory::read(&file, TOKENIZER_BYTES)?;
    let settings = if settings_file.exists() {
        let text = directory::read(&settings_file, CONFIG_BYTES)?;
        Some(Settings::from_json(&settings_file.display().to_string(), &text)?)
    } else {
        None
    };
    fitting_tokenizer(&file.display().to_string(), &bytes, settings.as_ref(), config)
}

/// The tokenizer in the bytes of a tokenizer.json, and the BOS token that it stands for.
///
/// # Errors
/// [`LoadError`] if it is damaged, or isn't of this model.
pub(super) fn fitting_tokenizer(
    file: &str,
    bytes: &[u8],
    settings: Option<&Settings>,
    config: &DecoderConfig,
) -> Result<(Tokenizer, Bos), LoadError> {
    let tokenizer = Tokenizer::from_json(file, bytes)?;
    check_vocabulary(file, &tokenizer, config)?;
    let bos = bos::bos(config, &tokenizer, settings)?;
    Ok((tokenizer, bos))
}

/// Fewer tokens than embeddings are normal, because vocabularies are padded to round numbers.
fn check_vocabulary(file: &str, tokenizer: &Tokenizer, config: &DecoderConfig) -> Result<(), LoadError> {
    let (tokens, vocab) = (tokenizer.vocab(), config.vocab);
    if tokens > vocab { Err(LoadError::Vocabulary { file: file.to_owned(), tokens, vocab }) } else { Ok(()) }
}

//! Whether a text begins with a BOS token, and with which.

use std::fmt;

use serde_json::Value;

use super::config::{DecoderConfig, Family};
use super::tokenizer::{Tokenizer, TokenizerError};

/// What settled whether a text begins with a BOS token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BosRule {
    /// `add_bos_token` in tokenizer_config.json.
    Setting,
    /// The post-processor in tokenizer.json.
    PostProcessor,
    /// `tokenizer_class` in tokenizer_config.json; tokenizer.json has no post-processor.
    TokenizerClass,
    /// `bos_token_id` in config.json: no tokenizer says otherwise.
    Config,
    /// The family: Qwen's models are trained without.
    Family,
    /// The metadata of a GGUF file.
    Metadata,
}

impl fmt::Display for BosRule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Setting => "`add_bos_token` in tokenizer_config.json",
            Self::PostProcessor => "the post-processor in tokenizer.json",
            Self::TokenizerClass => "`tokenizer_class` in tokenizer_config.json",
            Self::Config => "`bos_token_id` in config.json",
            Self::Family => "the family",
            Self::Metadata => "the file's metadata",
        })
    }
}

/// The token in front of a text, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bos {
    pub token: Option<u32>,
    pub rule: BosRule,
}

impl Bos {
    /// Itself, if `config` alone says another token or none.
    pub(super) fn other_than(self, config: &DecoderConfig) -> Option<Self> {
        (self.token != config.bos_token).then_some(self)
    }
}

/// A token in a tokenizer_config.json.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NamedToken {
    Absent,
    /// The tokenizer has none.
    Null,
    Text(String),
}

/// What a tokenizer_config.json says of BOS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    file: String,
    add_bos_token: Option<bool>,
    bos_token: NamedToken,
    tokenizer_class: Option<String>,
}

impl Settings {
    /// Reads the text of a tokenizer_config.json; `file` names it in errors.
    pub(super) fn from_json(file: &str, text: &[u8]) -> Result<Self, TokenizerError> {
        let refused = |reason: String| TokenizerError::Settings { file: file.to_owned(), reason };
        let settings = match serde_json::from_slice(text) {
            Ok(Value::Object(settings)) => settings,
            Ok(_) => return Err(refused("is not a JSON object".to_owned())),
            Err(error) => return Err(refused(format!("is not a JSON object: {error}"))),
        };
        let add_bos_token = match settings.get("add_bos_token") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(flag)) => Some(*flag),
            Some(_) => return Err(refused("`add_bos_token` must be true, false or null".to_owned())),
        };
        let bos_token = match settings.get("bos_token") {
            None => NamedToken::Absent,
            Some(Value::Null) => NamedToken::Null,
            Some(token) => match token.as_str().or_else(|| token.get("content")?.as_str()) {
                Some(text) => NamedToken::Text(text.to_owned()),
                None => return Err(refused("`bos_token` must be a token or null".to_owned())),
            },
        };
        let tokenizer_class = settings.get("tokenizer_class").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { file: file.to_owned(), add_bos_token, bos_token, tokenizer_class })
    }

    /// Whether transformers' class of that name puts BOS in front unless it is told not
    /// to; `None` if the file names no class.
    fn class_adds_bos(&self) -> Option<bool> {
        let class = self.tokenizer_class.as_deref()?;
        let class = class.strip_suffix("Fast").unwrap_or(class);
        Some(matches!(class, "LlamaTokenizer" | "CodeLlamaTokenizer" | "CohereTokenizer"))
    }
}

/// The BOS token of a model with Hugging Face's files; `config` is config.json alone.
///
/// A model is to be fed what it was trained on, and `bos_token_id` in config.json
/// doesn't tell: Qwen's says 151643, which its tokenizer never puts in front of a text
/// ("should never be used", QwenLM/Qwen3 issue 486), and DeepSeek's distillations of
/// Qwen have the same number there and another BOS in their tokenizer. So the tokenizer
/// decides, as far as it says anything:
///
/// 1. `add_bos_token` in tokenizer_config.json, if it is true or false. Converters to
///    GGUF do likewise (llama.cpp, gguf-py/gguf/vocab.py), and so does transformers 4's
///    `LlamaTokenizerFast`. transformers 5 reads the post-processor alone.
/// 2. The post-processor of tokenizer.json: a token that its template has in front of
///    the text (LLaMA-2 and -3, Mistral, Cohere), or none (Qwen: `ByteLevel` alone).
/// 3. Without a post-processor, `tokenizer_class`: LLaMA's and Cohere's put BOS in
///    front (transformers 4), all others (`GPT2Tokenizer`, …) don't.
/// 4. A tokenizer that says nothing of all this, and a model without one: config.json,
///    but for Qwen, which has none.
///
/// Where 1 or 3 call for BOS, it is `bos_token` in tokenizer_config.json, else what the
/// post-processor has in front, else that of config.json.
///
/// # Errors
/// [`TokenizerError::Settings`] if that token isn't in the vocabulary, or there are several.
pub(super) fn bos(
    config: &DecoderConfig,
    tokenizer: &Tokenizer,
    settings: Option<&Settings>,
) -> Result<Bos, TokenizerError> {
    let refused = |file: &str, reason: String| Err(TokenizerError::Settings { file: file.to_owned(), reason });
    let in_front = match tokenizer.in_front() {
        Some([]) => Some(None),
        Some([token]) => Some(Some(*token)),
        Some(tokens) => {
            let reason = format!("puts the tokens {tokens:?} in front of a text; at most one is supported");
            return refused(tokenizer.file(), reason);
        }
        None => None,
    };
    let setting = settings.and_then(|settings| settings.add_bos_token);
    let class = settings.and_then(Settings::class_adds_bos);
    let (adds, rule) = match (setting, in_front, class) {
        (Some(adds), ..) => (adds, BosRule::Setting),
        (None, Some(token), _) => (token.is_some(), BosRule::PostProcessor),
        (None, None, Some(adds)) => (adds, BosRule::TokenizerClass),
        (None, None, None) => return Ok(without_tokenizer(config)),
    };
    let token = match settings.filter(|_| adds && rule != BosRule::PostProcessor) {
        _ if !adds => None,
        Some(Settings { bos_token: NamedToken::Null, .. }) => None,
        Some(Settings { file, bos_token: NamedToken::Text(name), .. }) => match tokenizer.id(name) {
            Some(token) => Some(token),
            None => return refused(file, format!("`bos_token` = {name:?} is no token of {}", tokenizer.file())),
        },
        Some(Settings { bos_token: NamedToken::Absent, .. }) | None => in_front.flatten().or(config.bos_token),
    };
    match token {
        Some(id) if id as usize >= config.vocab => {
            let vocab = config.vocab;
            refused(tokenizer.file(), format!("its BOS token {id} is beyond the model's vocabulary of {vocab}"))
        }
        token => Ok(Bos { token, rule }),
    }
}

/// The BOS token by config.json alone.
pub(super) fn without_tokenizer(config: &DecoderConfig) -> Bos {
    let rule = if has_no_bos(config.family) { BosRule::Family } else { BosRule::Config };
    Bos { token: config.bos_token, rule }
}

/// Whether a family's models are trained without BOS, whatever their config.json says.
pub(super) fn has_no_bos(family: Family) -> bool {
    matches!(family, Family::Qwen2 | Family::Qwen3)
}

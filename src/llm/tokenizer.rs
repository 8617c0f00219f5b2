//! Text to token ids and back, by a Hugging Face `tokenizer.json`.

use serde_json::{Map, Value};

/// A `tokenizer.json` that cannot be used, or a text that it cannot encode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// The file is no tokenizer.
    #[error("{file}: is not a Hugging Face tokenizer.json: {reason}")]
    Malformed {
        /// The file, as the user named it.
        file: String,
        /// The parser's finding.
        reason: String,
    },
    /// A text cannot be turned into tokens, or tokens into text.
    #[error("{file}: the tokenizer failed: {reason}")]
    Failed {
        /// The tokenizer's file.
        file: String,
        /// Its finding.
        reason: String,
    },
}

/// Refuses what the tokenizer library doesn't check and panics at (version 0.23.2; the
/// fuzz target `tokenizer_json` found it). No model of a supported family has any of it.
fn refuse_fatal(tokenizer: &Value) -> Result<(), String> {
    let in_normalizer = |found: &Map<String, Value>| {
        let pattern = found.get("pattern").map(|pattern| &pattern["String"]);
        let matches_something = |pattern: &Value| pattern.as_str().is_some_and(|text| !text.is_empty());
        found.contains_key("precompiled_charsmap")
            || found.get("type").is_some_and(|name| name == "Precompiled")
            || found.get("prepend").is_some_and(|text| text == "")
            || pattern.is_some_and(|pattern| !matches_something(pattern))
    };
    let in_pre_tokenizer = |found: &Map<String, Value>| found.get("length").is_some_and(|length| length == 0);
    for (part, refused) in
        [("normalizer", &in_normalizer as &dyn Fn(&Map<String, Value>) -> bool), ("pre_tokenizer", &in_pre_tokenizer)]
    {
        if let Some(found) = find(&tokenizer[part], refused) {
            return Err(format!("`{part}` contains {}, which is not supported", Value::Object(found.clone())));
        }
    }
    let model = &tokenizer["model"];
    match &model["continuing_subword_prefix"] {
        Value::Null => {}
        Value::String(prefix) if prefix.is_empty() => {}
        other => return Err(format!("`continuing_subword_prefix` = {other} is not supported; supported: null")),
    }
    let longest = model["vocab"].as_object().and_then(|vocab| vocab.keys().map(String::len).max()).unwrap_or(0);
    for merge in model["merges"].as_array().into_iter().flatten() {
        let length = match merge {
            Value::String(pair) => pair.len().saturating_sub(1),
            Value::Array(pair) => pair.iter().filter_map(Value::as_str).map(str::len).sum(),
            _ => 0,
        };
        if length > longest {
            return Err(format!("the merge {merge} makes no token of the vocabulary"));
        }
    }
    Ok(())
}

/// The first object that is `wanted`, `value` itself or inside it.
fn find<'a>(value: &'a Value, wanted: &dyn Fn(&Map<String, Value>) -> bool) -> Option<&'a Map<String, Value>> {
    match value {
        Value::Object(map) if wanted(map) => Some(map),
        Value::Object(map) => map.values().find_map(|inner| find(inner, wanted)),
        Value::Array(list) => list.iter().find_map(|inner| find(inner, wanted)),
        _ => None,
    }
}

/// A tokenizer; special tokens are left to the caller.
#[derive(Debug)]
pub struct Tokenizer {
    file: String,
    inner: tokenizers::Tokenizer,
    content_hash: String,
}

impl Tokenizer {
    /// Reads the bytes of a `tokenizer.json`; `file` names it in errors.
    ///
    /// # Errors
    /// [`TokenizerError::Malformed`] if they are none.
    pub fn from_json(file: &str, bytes: &[u8]) -> Result<Self, TokenizerError> {
        let malformed = |reason: String| TokenizerError::Malformed { file: file.to_owned(), reason };
        let value: Value = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        refuse_fatal(&value).map_err(malformed)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| malformed(e.to_string()))?;
        // Left-overs of training runs; a corpus must come out whole and unpadded.
        inner.with_truncation(None).map_err(|e| malformed(e.to_string()))?;
        inner.with_padding(None);
        Ok(Self { file: file.to_owned(), inner, content_hash: blake3::hash(bytes).to_hex().to_string() })
    }

    /// A tokenizer built from the lists of another file; `file` names it in errors.
    pub(super) fn from_parts(file: String, inner: tokenizers::Tokenizer, content_hash: String) -> Self {
        Self { file, inner, content_hash }
    }

    /// The token ids of `text`, without special tokens.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`] if the tokenizer has no token for some character.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match self.inner.encode_fast(text, false) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => Err(TokenizerError::Failed { file: self.file.clone(), reason: error.to_string() }),
        }
    }

    /// The text of token ids, without special tokens; unknown ids are left out.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`] if the tokenizer's decoder fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TokenizerError> {
        let failed = |e: tokenizers::Error| TokenizerError::Failed { file: self.file.clone(), reason: e.to_string() };
        self.inner.decode(tokens, true).map_err(failed)
    }

    /// How the vocabulary writes a token; `None` if it has no such token.
    pub fn name(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Number of tokens it knows, special ones included.
    pub fn vocab(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// BLAKE3 hash of the file's bytes, in hexadecimal.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }
}

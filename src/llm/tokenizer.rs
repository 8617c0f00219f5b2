//! Text to token ids and back, by a Hugging Face `tokenizer.json`.

use serde_json::{Map, Value};
use tokenizers::PostProcessorWrapper;

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
    /// What the tokenizer's files say of special tokens cannot be used.
    #[error("{file}: {reason}")]
    Settings {
        /// The file.
        file: String,
        /// What about it.
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

/// Most special tokens in front of a text that are listed: a template may repeat a list
/// of its file any number of times.
const MOST_IN_FRONT: usize = 16;

/// What a post-processor has in front of a single text; `None` if there is none. Read
/// from the JSON, because the library panics at a template with an unknown token.
fn in_front(post_processor: &Value) -> Result<Option<Vec<u32>>, String> {
    let unusable = |what: &str| Err(format!("`post_processor`: {what}"));
    let too_many = || unusable(&format!("more than {MOST_IN_FRONT} tokens in front of a text"));
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let tokens = match post_processor["type"].as_str() {
        _ if post_processor.is_null() => return Ok(None),
        Some("TemplateProcessing") => {
            let Some(template) = post_processor["single"].as_array() else {
                return unusable("`single` must be a list");
            };
            let mut tokens = Vec::new();
            for special in template.iter().map_while(|piece| piece.get("SpecialToken")) {
                let name = special["id"].as_str().unwrap_or_default();
                let ids = post_processor["special_tokens"][name]["ids"].as_array();
                match ids.and_then(|ids| ids.iter().map(id).collect::<Option<Vec<u32>>>()) {
                    Some(ids) if tokens.len() + ids.len() > MOST_IN_FRONT => return too_many(),
                    Some(ids) => tokens.extend(ids),
                    None => return unusable(&format!("`special_tokens` has no ids for {name:?}")),
                }
            }
            tokens
        }
        // The later ones work on what the earlier ones made.
        Some("Sequence") => {
            let mut tokens = Vec::new();
            for part in post_processor["processors"].as_array().into_iter().flatten() {
                tokens.splice(0..0, in_front(part)?.unwrap_or_default());
                if tokens.len() > MOST_IN_FRONT {
                    return too_many();
                }
            }
            tokens
        }
        Some("BertProcessing" | "RobertaProcessing") => match id(&post_processor["cls"][1]) {
            Some(id) => vec![id],
            None => return unusable("`cls` must be a token with its id"),
        },
        Some("ByteLevel") => Vec::new(),
        _ => return unusable("its `type` is not supported; supported: TemplateProcessing, ByteLevel, Sequence"),
    };
    Ok(Some(tokens))
}

/// A tokenizer; special tokens are left to the caller.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    file: String,
    inner: tokenizers::Tokenizer,
    /// Special tokens in front of a text, if there is a post-processor.
    in_front: Option<Vec<u32>>,
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
        let in_front = in_front(&value["post_processor"]).map_err(malformed)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| malformed(e.to_string()))?;
        // Left-overs of training runs; a corpus must come out whole and unpadded.
        inner.with_truncation(None).map_err(|e| malformed(e.to_string()))?;
        inner.with_padding(None);
        // Special tokens are not its business here, and it panics at templates that
        // nobody writes (a second text, or one template after another).
        inner.with_post_processor(None::<PostProcessorWrapper>);
        Ok(Self { file: file.to_owned(), inner, in_front, content_hash: blake3::hash(bytes).to_hex().to_string() })
    }

    /// A tokenizer built from the lists of another file; `file` names it in errors.
    pub(super) fn from_parts(file: String, inner: tokenizers::Tokenizer, content_hash: String) -> Self {
        Self { file, inner, in_front: None, content_hash }
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

    /// The id of a token of the vocabulary.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The special tokens that the post-processor of a tokenizer.json has in front of a
    /// text; `None` if it has no post-processor.
    pub(super) fn in_front(&self) -> Option<&[u32]> {
        self.in_front.as_deref()
    }

    /// Its file, as the user named it.
    pub(super) fn file(&self) -> &str {
        &self.file
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_in_front_is_what_the_library_puts_there() {
        let builtin: Value = serde_json::from_slice(crate::llm::builtin::TOKENIZER).unwrap();
        let read = |post_processor: &Value| {
            let mut tokenizer = builtin.clone();
            tokenizer["post_processor"] = post_processor.clone();
            Tokenizer::from_json("tokenizer.json", tokenizer.to_string().as_bytes())
        };
        let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
        let special = |name: &str| json!({ "SpecialToken": { "id": name, "type_id": 0 } });
        let ids = |name: &str, ids: &[u32]| json!({ "id": name, "ids": ids, "tokens": vec![name; ids.len()] });
        let template = |single: &[Value]| {
            json!({ "type": "TemplateProcessing", "single": single, "pair": [],
                    "special_tokens": { "<s>": ids("<s>", &[0]), "two": ids("two", &[7, 8]), "</s>": ids("</s>", &[1]) } })
        };
        let bytes = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true });
        let bos = template(&[special("<s>"), text.clone()]);
        let both = template(&[special("<s>"), special("two"), text.clone(), special("</s>")]);
        let after = template(&[text.clone(), special("</s>")]);
        let sequence = |parts: &[&Value]| json!({ "type": "Sequence", "processors": parts });
        let roberta = json!({ "type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0],
                              "trim_offsets": true, "add_prefix_space": false });
        let bert = json!({ "type": "BertProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0] });
        for (post_processor, expected) in [
            (Value::Null, None),
            (bytes.clone(), Some(vec![])),
            (bos.clone(), Some(vec![0])),
            (both.clone(), Some(vec![0, 7, 8])),
            (after.clone(), Some(vec![])),
            (sequence(&[&bytes, &bos]), Some(vec![0])),
            (sequence(&[]), Some(vec![])),
            (roberta, Some(vec![0])),
            (bert, Some(vec![0])),
        ] {
            let tokenizer = read(&post_processor).unwrap();
            assert_eq!(tokenizer.in_front().map(<[u32]>::to_vec), expected, "{post_processor}");
            let plain = tokenizer.encode("a word").unwrap();
            let mut file = builtin.clone();
            file["post_processor"] = post_processor.clone();
            let library = tokenizers::Tokenizer::from_bytes(file.to_string()).unwrap();
            let whole = library.encode_fast("a word", true).unwrap().get_ids().to_vec();
            let start = [expected.unwrap_or_default(), plain.clone()].concat();
            assert_eq!(whole[..start.len()], start, "{post_processor}");
            assert_eq!(library.encode_fast("a word", false).unwrap().get_ids(), plain);
        }
        // The library panics at these.
        let second = template(&[json!({ "Sequence": { "id": "B", "type_id": 0 } })]);
        for (post_processor, expected) in [(sequence(&[&both, &bos, &after]), &[0, 0, 7, 8][..]), (second, &[])] {
            let tokenizer = read(&post_processor).unwrap();
            assert_eq!(tokenizer.in_front(), Some(expected));
            assert_eq!(tokenizer.encode("a word"), read(&Value::Null).unwrap().encode("a word"));
        }
        for (post_processor, expected) in [
            (template(&[special("three"), text.clone()]), "`special_tokens` has no ids for \"three\""),
            (template(&[vec![special("two"); 9], vec![text]].concat()), "more than 16 tokens in front of a text"),
            (sequence(&[&both; 6]), "more than 16 tokens in front of a text"),
            (json!({ "type": "TemplateProcessing" }), "`single` must be a list"),
            (json!({ "type": "Other" }), "its `type` is not supported"),
            (json!("x"), "its `type` is not supported"),
        ] {
            let error = read(&post_processor).unwrap_err().to_string();
            assert!(error.contains(&format!("`post_processor`: {expected}")), "{error}");
        }
    }
}

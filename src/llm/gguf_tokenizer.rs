//! The tokenizer in a GGUF file's metadata.
//!
//! - `llama`: SentencePiece BPE with a score per piece. The pair whose piece has the
//!   highest score is merged first (Kudo and Richardson, arXiv 1808.06226), which is a
//!   list of merges ordered by score; characters without a piece become bytes `<0x00>`.
//! - `gpt2`: byte-level BPE with merges, behind the regular expressions that
//!   `tokenizer.ggml.pre` names. These are the ones in the models' tokenizer.json,
//!   llama.cpp's being translations of them; `default` is llama.cpp's own.

use std::collections::BTreeMap;

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{self, NFC, NormalizerWrapper, Prepend, Replace};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, PreTokenizerWrapper, SplitDelimiterBehavior, decoders};

use super::gguf_error::GgufProblem;
use super::gguf_metadata::{Metadata, out_of_range, unsupported};
use super::gguf_reader::{Texts, Value};

/// Longest piece that merges are derived for; each of its cuts is looked up.
const LONGEST_PIECE: usize = 1024;
/// Most memory of the ways to put tokens together, in that of the tokens. LLaMA-2's, English and
/// code, are below 4.
const MERGES_PER_TOKENS: usize = 64;

/// A token's kind in `tokenizer.ggml.token_type`.
mod kind {
    pub(super) const NORMAL: i64 = 1;
    pub(super) const UNKNOWN: i64 = 2;
    pub(super) const CONTROL: i64 = 3;
    pub(super) const USER_DEFINED: i64 = 4;
    pub(super) const BYTE: i64 = 6;
}

/// Builds the tokenizer that `tokenizer.ggml.*` describe, of at most `vocab` tokens.
pub(super) fn build(metadata: &Metadata, vocab: usize) -> Result<tokenizers::Tokenizer, GgufProblem> {
    let key = "tokenizer.ggml.tokens";
    let texts = match metadata.required(key)? {
        Value::Texts(texts) if (1..=vocab).contains(&texts.len()) => texts,
        other => {
            let allowed = format!("a list of 1 to {vocab} tokens, one per row of the embedding");
            return Err(out_of_range(key, other, &allowed));
        }
    };
    let tokens = Tokens { ids: ids(texts)?, kinds: kinds(metadata, texts.len())?, texts };
    let key = "tokenizer.ggml.model";
    match metadata.required(key)? {
        Value::Text(model) if model == "llama" => sentence_piece(metadata, &tokens),
        Value::Text(model) if model == "gpt2" => byte_level(metadata, &tokens),
        other => Err(unsupported(key, other, "\"llama\" (SentencePiece BPE), \"gpt2\" (byte-level BPE)")),
    }
}

/// Whether a text starts with BOS when `tokenizer.ggml.add_bos_token` is absent: it does
/// for SentencePiece models, Llama 3 and Mistral's tekken.
pub(super) fn starts_with_bos(metadata: &Metadata) -> bool {
    let is =
        |key, names: &[&str]| matches!(metadata.get(key), Some(Value::Text(text)) if names.contains(&text.as_str()));
    !is("tokenizer.ggml.model", &["gpt2"]) || is("tokenizer.ggml.pre", &["llama-bpe", "llama3", "llama-v3", "tekken"])
}

/// The tokens in the order of their ids.
struct Tokens<'a> {
    texts: &'a Texts,
    ids: BTreeMap<&'a str, u32>,
    /// One per token; all normal when the file doesn't say.
    kinds: Vec<i64>,
}

impl Tokens<'_> {
    fn vocab(&self) -> Vocab {
        self.texts.iter().zip(0..).map(|(text, id)| (text.to_owned(), id)).collect()
    }

    /// Tokens that are cut out of a text before anything else happens to it.
    fn added(&self) -> Vec<AddedToken> {
        let with_kind = self.texts.iter().zip(&self.kinds);
        let added = with_kind.filter_map(|(text, &kind)| match kind {
            kind::CONTROL | kind::UNKNOWN => Some(AddedToken::from(text, true).normalized(false)),
            kind::USER_DEFINED => Some(AddedToken::from(text, false).normalized(false)),
            _ => None,
        });
        added.collect()
    }
}

/// The id of each token; none may be there twice, nor be empty.
fn ids(texts: &Texts) -> Result<BTreeMap<&str, u32>, GgufProblem> {
    let mut ids = BTreeMap::new();
    for (text, id) in texts.iter().zip(0..) {
        if text.is_empty() {
            return Err(GgufProblem::Tokenizer(format!("token {id} is empty")));
        }
        if let Some(before) = ids.insert(text, id) {
            return Err(GgufProblem::Tokenizer(format!("tokens {before} and {id} are both {text:?}")));
        }
    }
    Ok(ids)
}

fn kinds(metadata: &Metadata, count: usize) -> Result<Vec<i64>, GgufProblem> {
    let key = "tokenizer.ggml.token_type";
    match metadata.get(key) {
        None => Ok(vec![kind::NORMAL; count]),
        Some(Value::Integers(kinds)) if kinds.len() == count => Ok(kinds.clone()),
        Some(other) => Err(out_of_range(key, other, &format!("a list of {count} numbers, one per token"))),
    }
}

fn sentence_piece(metadata: &Metadata, tokens: &Tokens) -> Result<tokenizers::Tokenizer, GgufProblem> {
    let key = "tokenizer.ggml.scores";
    let scores = match metadata.required(key)? {
        Value::Floats(scores) if scores.len() == tokens.texts.len() && scores.iter().all(|x| !x.is_nan()) => scores,
        other => {
            let allowed = format!("a list of {} numbers, one per token", tokens.texts.len());
            return Err(out_of_range(key, other, &allowed));
        }
    };
    let key = "tokenizer.ggml.remove_extra_whitespaces";
    if metadata.flag(key)? == Some(true) {
        return Err(unsupported(key, &Value::Flag(true), "false (spaces are tokens)"));
    }
    let prefixed = metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);

    let has_bytes = (0..=255u8).all(|byte| {
        let id = tokens.ids.get(format!("<0x{byte:02X}>").as_str());
        id.and_then(|&id| tokens.kinds.get(id as usize)).is_some_and(|&kind| kind == kind::BYTE)
    });
    let mut model = BPE::builder()
        .vocab_and_merges(tokens.vocab(), merges_by_score(tokens, scores)?)
        .fuse_unk(true)
        .byte_fallback(has_bytes);
    let unknown = tokens.texts.iter().zip(&tokens.kinds).find(|(_, kind)| **kind == kind::UNKNOWN);
    match unknown {
        Some((text, _)) => model = model.unk_token(text.to_owned()),
        None if has_bytes => {}
        // Characters would vanish from the text.
        None => return Err(GgufProblem::Tokenizer("it has neither 256 byte tokens nor an unknown token".to_owned())),
    }
    let mut tokenizer = tokenizers::Tokenizer::new(model.build().map_err(|error| failed(&*error))?);
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if prefixed {
        steps.push(Prepend::new("▁".to_owned()).into());
    }
    steps.push(Replace::new(" ", "▁").map_err(|error| failed(&*error))?.into());
    tokenizer.with_normalizer(Some(normalizers::Sequence::new(steps))).map_err(|error| failed(&*error))?;
    let mut steps: Vec<decoders::DecoderWrapper> = vec![
        Replace::new("▁", " ").map_err(|error| failed(&*error))?.into(),
        decoders::byte_fallback::ByteFallback::new().into(),
        decoders::fuse::Fuse::new().into(),
    ];
    if prefixed {
        steps.push(decoders::strip::Strip::new(' ', 1, 0).into());
    }
    tokenizer.with_decoder(Some(decoders::sequence::Sequence::new(steps)));
    tokenizer.add_tokens(tokens.added()).map_err(|error| failed(&*error))?;
    Ok(tokenizer)
}

/// Every way to put a normal piece together from two, best first: by the piece's
/// score, then by the length of the left and of the right part, as Hugging Face's
/// conversion of SentencePiece models orders them.
fn merges_by_score(tokens: &Tokens, scores: &[f32]) -> Result<Merges, GgufProblem> {
    let normal = |text: &str| {
        let id = *tokens.ids.get(text)?;
        tokens.kinds.get(id as usize).is_some_and(|&kind| kind == kind::NORMAL).then_some(id)
    };
    // A hostile list of pieces has a number of cuts that is the square of its size.
    let size = |texts: usize, count: usize| texts + count * size_of::<(String, String)>();
    let limit = MERGES_PER_TOKENS * size(tokens.texts.iter().map(str::len).sum(), tokens.texts.len());
    let mut taken = 0;
    let mut merges = Vec::new();
    for ((text, &score), &kind) in tokens.texts.iter().zip(scores).zip(&tokens.kinds) {
        if kind != kind::NORMAL {
            continue;
        }
        if text.len() > LONGEST_PIECE {
            let problem = format!("a token of {} bytes is longer than {LONGEST_PIECE}", text.len());
            return Err(GgufProblem::Tokenizer(problem));
        }
        let characters = text.chars().count();
        let mut cuts = Vec::new();
        for (left_characters, (at, _)) in text.char_indices().enumerate().skip(1) {
            let (left, right) = text.split_at(at);
            if let (Some(left_id), Some(right_id)) = (normal(left), normal(right)) {
                cuts.push((left_id, right_id, left_characters, left, right));
            }
        }
        taken += size(cuts.len() * text.len(), cuts.len());
        if taken > limit {
            let problem = "its tokens can be put together from one another in too many ways".to_owned();
            return Err(GgufProblem::Tokenizer(problem));
        }
        cuts.sort_by_key(|&(left_id, right_id, ..)| (left_id, right_id));
        merges
            .extend(cuts.iter().map(|&(_, _, length, left, right)| (score, length, characters - length, left, right)));
    }
    // Stable: what is equal keeps the order of the ids.
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((b.1, b.2).cmp(&(a.1, a.2))));
    Ok(merges.into_iter().map(|(.., left, right)| (left.to_owned(), right.to_owned())).collect())
}

fn byte_level(metadata: &Metadata, tokens: &Tokens) -> Result<tokenizers::Tokenizer, GgufProblem> {
    let pre = PreTokenizer::new(metadata)?;
    let key = "tokenizer.ggml.merges";
    let lines = match metadata.required(key)? {
        Value::Texts(lines) => lines,
        other => return Err(out_of_range(key, other, "a list of pairs of tokens")),
    };
    let mut merges = Merges::new();
    for line in lines.iter() {
        let Some((left, right)) = line.split_once(' ') else {
            return Err(GgufProblem::Tokenizer(format!("merge {line:?} is no pair of tokens")));
        };
        // The library panics at some of these.
        if [left, right, &format!("{left}{right}")].into_iter().any(|token| !tokens.ids.contains_key(token)) {
            let problem = format!("merge {line:?} takes or makes something that is no token");
            return Err(GgufProblem::Tokenizer(problem));
        }
        merges.push((left.to_owned(), right.to_owned()));
    }
    let model = BPE::builder().vocab_and_merges(tokens.vocab(), merges).ignore_merges(pre.ignore_merges);
    let mut tokenizer = tokenizers::Tokenizer::new(model.build().map_err(|error| failed(&*error))?);
    if pre.nfc {
        tokenizer.with_normalizer(Some(NFC)).map_err(|error| failed(&*error))?;
    }
    tokenizer.with_pre_tokenizer(Some(Sequence::new(pre.steps)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.add_tokens(tokens.added()).map_err(|error| failed(&*error))?;
    Ok(tokenizer)
}

/// What `tokenizer.ggml.pre` stands for.
struct PreTokenizer {
    /// Canonical composition first.
    nfc: bool,
    steps: Vec<PreTokenizerWrapper>,
    /// A word that is a token is that token, whatever the merges make of it.
    ignore_merges: bool,
}

impl PreTokenizer {
    fn new(metadata: &Metadata) -> Result<Self, GgufProblem> {
        const CONTRACTIONS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)";
        const REST: &str = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        // In tekken a slash ends a run of punctuation, too.
        const TEKKEN_REST: &str = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        const UPPER: &str = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]";
        const LOWER: &str = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]";
        let key = "tokenizer.ggml.pre";
        let name = metadata.required(key)?;
        let known = match name {
            Value::Text(name) => name.as_str(),
            _ => "",
        };
        let mut found = Self { nfc: false, steps: Vec::new(), ignore_merges: false };
        match known {
            "gpt-2" => found.steps = vec![bytes(true)],
            "smollm" => found.steps = vec![Digits::new(true).into(), bytes(true)],
            "command-r" => {
                found.nfc = true;
                found.steps = vec![Digits::new(true).into(), bytes(true)];
            }
            "qwen2" => {
                found.nfc = true;
                let words = format!(r"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{REST}");
                found.steps = vec![isolated(&words)?, bytes(false)];
            }
            "llama-bpe" | "llama3" | "llama-v3" => {
                found.ignore_merges = true;
                let words = format!(r"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{REST}");
                found.steps = vec![isolated(&words)?, bytes(false)];
            }
            "tekken" => {
                found.ignore_merges = true;
                let before = r"[^\r\n\p{L}\p{N}]?";
                let words = format!(r"{before}{UPPER}*{LOWER}+|{before}{UPPER}+{LOWER}*|\p{{N}}|{TEKKEN_REST}");
                found.steps = vec![isolated(&words)?, bytes(false)];
            }
            "default" => {
                let words = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
                for pattern in [r"[\p{P}\$\+<=>\^~\|]+", words, r"\p{N}+", "[0-9][0-9][0-9]"] {
                    found.steps.push(isolated(pattern)?);
                }
                found.steps.push(bytes(false));
            }
            _ => {
                let supported =
                    "\"default\", \"gpt-2\", \"llama-bpe\", \"qwen2\", \"command-r\", \"tekken\", \"smollm\"";
                return Err(unsupported(key, name, supported));
            }
        }
        Ok(found)
    }
}

/// Bytes as printable characters, after GPT-2's regular expression if `words`.
fn bytes(words: bool) -> PreTokenizerWrapper {
    ByteLevel::new(false, true, words).into()
}

fn isolated(pattern: &str) -> Result<PreTokenizerWrapper, GgufProblem> {
    let split = Split::new(SplitPattern::Regex(pattern.to_owned()), SplitDelimiterBehavior::Isolated, false);
    split.map(Into::into).map_err(|error| failed(&*error))
}

fn failed(error: &(dyn std::error::Error + Send + Sync)) -> GgufProblem {
    GgufProblem::Tokenizer(error.to_string())
}

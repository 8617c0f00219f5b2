//! Prompts from a text: token ids, cut into windows.

use std::ops::Range;
use std::path::Path;

use super::builtin;
use super::parquet_text;
use super::tokenizer::{Tokenizer, TokenizerError};

/// Sentences of fewer tokens are left out: headings' remains and single words say
/// nothing about a language model.
pub const SHORTEST_SENTENCE: usize = 4;

/// How a corpus is cut into prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Segmentation {
    /// Consecutive windows of as many tokens as asked for, without overlap.
    #[default]
    Tokens,
    /// One window per sentence, whatever length is asked for: the unit of Chen et al.,
    /// about 20 words on WikiText-2.
    Sentence,
}

/// A text as token ids, and where its windows are.
#[derive(Debug)]
pub struct Corpus {
    file: String,
    tokens: Vec<u32>,
    /// Sentences in `tokens`; `None` when windows are cut by length.
    sentences: Option<Vec<Range<usize>>>,
    content_hash: String,
}

/// A corpus that cannot be used, or a window that it doesn't have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CorpusError {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {reason}; a corpus is a text file in UTF-8, or \"builtin\"")]
    Unreadable {
        /// The file.
        file: String,
        /// The system's reason.
        reason: String,
    },
    /// The file is no Parquet file of texts.
    #[error("{file}: is no Parquet file that a text can be read from: {reason}")]
    Parquet {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is not text.
    #[error("{file}: is not UTF-8 text: invalid from byte {offset} on; convert it (iconv -t UTF-8)")]
    NotUtf8 {
        /// The file.
        file: String,
        /// Offset of the first invalid byte.
        offset: usize,
    },
    /// The text is shorter than one window.
    #[error("{file}: has {has} tokens, but one window needs {needs}; take a longer text or shorter prompts")]
    TooShort {
        /// The file.
        file: String,
        /// Tokens in the text, or in its sentences.
        has: usize,
        /// Tokens of one window.
        needs: usize,
    },
    /// A window beyond the last.
    #[error("{file}: has no window {index}; it has {count} (from 0)")]
    Window {
        /// The file.
        file: String,
        /// The index asked for.
        index: usize,
        /// Number of windows.
        count: usize,
    },
    /// The tokenizer knows a token that the model doesn't.
    #[error(
        "{file}: token {index} is {id}, beyond the model's vocabulary of {vocab}; tokenizer.json is of another model"
    )]
    TokenBeyondVocabulary {
        /// The file.
        file: String,
        /// Index of the token in the text.
        index: usize,
        /// The token id.
        id: u32,
        /// The model's vocabulary V.
        vocab: usize,
    },
    /// The tokenizer cannot encode the text.
    #[error("{file}: {source}")]
    Tokenizer {
        /// The file.
        file: String,
        /// The tokenizer's error.
        source: TokenizerError,
    },
}

impl Corpus {
    /// Opens what a scenario's `model.corpus` names: [`builtin::NAME`], or the path of a
    /// text file, taken as it is, or of a .parquet file whose rows are its lines. `vocab` is the vocabulary of the model that will read it.
    ///
    /// # Errors
    /// [`CorpusError`] if the file is missing, is not UTF-8, or doesn't go with the model.
    pub fn open(source: &str, tokenizer: &Tokenizer, vocab: usize, cut: Segmentation) -> Result<Self, CorpusError> {
        if source == builtin::NAME {
            return Self::from_bytes(source, builtin::CORPUS, tokenizer, vocab, cut);
        }
        let bytes = std::fs::read(Path::new(source))
            .map_err(|error| CorpusError::Unreadable { file: source.to_owned(), reason: error.to_string() })?;
        Self::from_bytes(source, &bytes, tokenizer, vocab, cut)
    }

    /// Tokenises the bytes of a text, or of a Parquet file if `file` says so; it names it in errors.
    ///
    /// # Errors
    /// [`CorpusError`] if they are not UTF-8 or don't go with the model.
    pub fn from_bytes(
        file: &str,
        bytes: &[u8],
        tokenizer: &Tokenizer,
        vocab: usize,
        cut: Segmentation,
    ) -> Result<Self, CorpusError> {
        let read;
        let text = if Path::new(file).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet")) {
            read =
                parquet_text::read(bytes).map_err(|reason| CorpusError::Parquet { file: file.to_owned(), reason })?;
            &read
        } else {
            std::str::from_utf8(bytes)
                .map_err(|error| CorpusError::NotUtf8 { file: file.to_owned(), offset: error.valid_up_to() })?
        };
        let encode = |text: &str| {
            tokenizer.encode(text).map_err(|source| CorpusError::Tokenizer { file: file.to_owned(), source })
        };
        let (tokens, sentences) = match cut {
            Segmentation::Tokens => (encode(text)?, None),
            Segmentation::Sentence => {
                let (mut tokens, mut ranges) = (Vec::new(), Vec::new());
                for sentence in sentences(text) {
                    let encoded = encode(sentence)?;
                    if encoded.len() >= SHORTEST_SENTENCE {
                        ranges.push(tokens.len()..tokens.len() + encoded.len());
                        tokens.extend(encoded);
                    }
                }
                (tokens, Some(ranges))
            }
        };
        if let Some(index) = tokens.iter().position(|&id| id as usize >= vocab) {
            let id = tokens[index];
            return Err(CorpusError::TokenBeyondVocabulary { file: file.to_owned(), index, id, vocab });
        }
        let content_hash = blake3::hash(bytes).to_hex().to_string();
        Ok(Self { file: file.to_owned(), tokens, sentences, content_hash })
    }

    /// All token ids, in order; of sentences, those that have a window.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How many windows there are of `len` tokens; sentences have their own lengths.
    pub fn window_count(&self, len: usize) -> usize {
        self.continued_count(len, 0)
    }

    /// How many windows there are of `len` tokens with `further` tokens behind them:
    /// windows and what follows don't overlap with the next, but a sentence's
    /// continuation is the text behind it, in which other sentences begin.
    pub fn continued_count(&self, len: usize, further: usize) -> usize {
        match &self.sentences {
            Some(sentences) => sentences.partition_point(|sentence| sentence.end + further <= self.tokens.len()),
            None => self.tokens.len().checked_div(len + further).unwrap_or(0),
        }
    }

    /// Tokens of the longest window, when `len` are asked for.
    pub fn longest_window(&self, len: usize) -> usize {
        self.sentences.as_ref().map_or(len, |sentences| sentences.iter().map(Range::len).max().unwrap_or(0))
    }

    /// Window `index` (from 0): tokens `index·len..(index + 1)·len`, or sentence `index`.
    ///
    /// # Errors
    /// [`CorpusError::TooShort`] if there is no window at all, [`CorpusError::Window`] if
    /// there are only fewer.
    pub fn window(&self, index: usize, len: usize) -> Result<&[u32], CorpusError> {
        self.continued(index, len, 0)
    }

    /// Window `index` (from 0) with the `further` tokens of the text behind it: tokens
    /// `index·(len + further)..(index + 1)·(len + further)`, or sentence `index` and what
    /// follows (of sentences that have a window).
    ///
    /// # Errors
    /// As [`Corpus::window`].
    pub fn continued(&self, index: usize, len: usize, further: usize) -> Result<&[u32], CorpusError> {
        let count = self.continued_count(len, further);
        if index < count {
            let stride = len + further;
            let by_length = index * stride..(index + 1) * stride;
            let range = self.sentences.as_ref().map_or(by_length, |s| s[index].start..s[index].end + further);
            return Ok(&self.tokens[range]);
        }
        let file = self.file.clone();
        if count > 0 {
            return Err(CorpusError::Window { file, index, count });
        }
        let needs = if self.sentences.is_some() { SHORTEST_SENTENCE + further } else { (len + further).max(1) };
        Err(CorpusError::TooShort { file, has: self.tokens.len(), needs })
    }

    /// BLAKE3 hash of the text's bytes, in hexadecimal.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }
}

/// The sentences of a text: a line break ends one, and so do `.`, `!` or `?` (with
/// closing quotes or brackets) before white space. Headings of WikiText (` = Title = `)
/// are none.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let is_heading = |line: &str| line.starts_with('=') && line.ends_with('=');
    text.lines().map(str::trim).filter(move |line| !is_heading(line)).flat_map(|line| {
        let mut rest = line;
        std::iter::from_fn(move || {
            let (sentence, after) = rest.split_at(sentence_end(rest));
            rest = after.trim_start();
            (!sentence.is_empty()).then_some(sentence)
        })
    })
}

/// Length in bytes of the first sentence of a line.
fn sentence_end(line: &str) -> usize {
    let mut after_terminator = false;
    for (offset, c) in line.char_indices() {
        if after_terminator && c.is_whitespace() {
            return offset;
        }
        let closes = matches!(c, '"' | '\'' | ')' | ']' | '”' | '’');
        after_terminator = matches!(c, '.' | '!' | '?') || (after_terminator && closes);
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_at_marks_and_lines() {
        let text = " = Heading = \n \n He left . \"Why?\" she asked. It cost 3.5 pounds\nNext line! ";
        let found: Vec<&str> = sentences(text).collect();
        assert_eq!(found, ["He left .", "\"Why?\"", "she asked.", "It cost 3.5 pounds", "Next line!"]);
        assert_eq!(sentences("").count() + sentences(" \n\n").count(), 0);
    }
}

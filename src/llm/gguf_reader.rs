//! The bytes of a GGUF header: numbers, strings and arrays, read as a stream.
//!
//! Layout (ggml-org/ggml, docs/gguf.md): magic, version, number of tensors, number
//! of metadata pairs, the pairs, one record per tensor, and from the next multiple
//! of `general.alignment` on the tensors' data. A length in the file is compared
//! with what the file has left before anything is allocated for it.

use std::io::Read;

use super::gguf_error::GgufProblem;

/// Longest string that is kept; the ones of use (names, tokens) are far shorter,
/// chat templates are longer and skipped.
const LONGEST_TEXT: u64 = 4096;
/// Most tokens or merges of a tokenizer: sixteen times those of the largest known.
const MOST_TOKENS: u64 = 1 << 22;
/// Most numbers that are kept of a list outside the tokenizer: one per layer.
const MOST_NUMBERS: u64 = 4096;
/// Arrays within arrays that are followed; no known file has any.
const DEEPEST_ARRAY: u32 = 4;

/// A metadata value, as far as it is of use.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Flag(bool),
    Text(String),
    Texts(Texts),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    /// Too long, or a kind of array that no key of ours has.
    Skipped,
}

impl Value {
    /// The value in an error message, cut to a readable length.
    pub(super) fn shown(&self) -> String {
        const LONGEST: usize = 60;
        let text = match self {
            Self::Unsigned(n) => n.to_string(),
            Self::Signed(n) => n.to_string(),
            Self::Float(x) => x.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Text(text) => format!("{text:?}"),
            Self::Texts(texts) => format!("a list of {} texts", texts.len()),
            Self::Integers(list) => format!("{:?}", &list[..list.len().min(LONGEST)]),
            Self::Floats(list) => format!("a list of {} numbers", list.len()),
            Self::Skipped => "a long text or list".to_owned(),
        };
        match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }

    pub(super) fn unsigned(&self) -> Option<u64> {
        match self {
            Self::Unsigned(n) => Some(*n),
            Self::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    pub(super) fn real(&self) -> Option<f64> {
        match self {
            Self::Float(x) => Some(*x),
            Self::Unsigned(n) => Some(*n as f64),
            Self::Signed(n) => Some(*n as f64),
            _ => None,
        }
    }
}

/// Many short texts in one allocation: as much memory as they take in the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end])
    }
}

/// A stream that knows how long its file is and where it stands.
pub(super) struct HeaderReader<R> {
    input: R,
    position: u64,
    length: u64,
    part: String,
}

impl<R: Read> HeaderReader<R> {
    pub(super) fn new(input: R, length: u64) -> Self {
        Self { input, position: 0, length, part: "its first bytes".to_owned() }
    }

    /// Says what is read from here on, for errors.
    pub(super) fn enter(&mut self, part: impl Into<String>) {
        self.part = part.into();
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    fn truncated(&self) -> GgufProblem {
        GgufProblem::Truncated { part: self.part.clone(), length: self.length }
    }

    /// Claims the next `count` records of `size` bytes at least.
    fn claim(&self, count: u64, size: u64) -> Result<(), GgufProblem> {
        let left = self.length.saturating_sub(self.position);
        if count.checked_mul(size).is_some_and(|bytes| bytes <= left) { Ok(()) } else { Err(self.truncated()) }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), GgufProblem> {
        self.claim(bytes.len() as u64, 1)?;
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.truncated(),
            _ => GgufProblem::Unreadable(error.to_string()),
        })?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), GgufProblem> {
        self.claim(bytes, 1)?;
        let copied = std::io::copy(&mut self.input.by_ref().take(bytes), &mut std::io::sink());
        let skipped = copied.map_err(|error| GgufProblem::Unreadable(error.to_string()))?;
        if skipped < bytes {
            return Err(self.truncated()); // the file shrank meanwhile
        }
        self.position += bytes;
        Ok(())
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufProblem> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, GgufProblem> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, GgufProblem> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A number of records of at least `size` bytes each, which must fit into the file.
    pub(super) fn count(&mut self, what: &str, size: u64) -> Result<u64, GgufProblem> {
        let count = self.u64()?;
        let most = self.length.saturating_sub(self.position) / size;
        if count <= most { Ok(count) } else { Err(damaged(what, count, format!("at most {most} in this file"))) }
    }

    /// A name: a string that is needed whole.
    pub(super) fn name(&mut self, what: &str) -> Result<String, GgufProblem> {
        let length = self.u64()?;
        if length == 0 || length > LONGEST_TEXT {
            return Err(damaged(&format!("the length of {what}"), length, format!("from 1 to {LONGEST_TEXT} bytes")));
        }
        self.text(length, what)
    }

    fn text(&mut self, length: u64, what: &str) -> Result<String, GgufProblem> {
        self.claim(length, 1)?;
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| damaged(what, "no UTF-8", "text in UTF-8"))
    }

    /// A metadata value with its type in front; `key` names it in errors, and the
    /// lists of the tokenizer are kept in full.
    pub(super) fn value(&mut self, key: &str) -> Result<Value, GgufProblem> {
        let kind = self.u32()?;
        match kind {
            8 => match self.u64()? {
                length if length <= LONGEST_TEXT => {
                    self.text(length, &format!("the value of `{key}`")).map(Value::Text)
                }
                length => self.skip(length).map(|()| Value::Skipped),
            },
            9 => self.array(key),
            _ => self.scalar(kind, key),
        }
    }

    fn scalar(&mut self, kind: u32, key: &str) -> Result<Value, GgufProblem> {
        Ok(match kind {
            0 => Value::Unsigned(u8::from_le_bytes(self.bytes()?).into()),
            1 => Value::Signed(i8::from_le_bytes(self.bytes()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.bytes()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.bytes()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.bytes()?).into()),
            6 => Value::Float(as_written(f32::from_le_bytes(self.bytes()?))),
            7 => match self.bytes()? {
                [flag @ (0 | 1)] => Value::Flag(flag == 1),
                [other] => return Err(damaged(&format!("the truth value of `{key}`"), other, "0 or 1")),
            },
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.bytes()?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            other => return Err(damaged(&format!("the type of `{key}`"), other, "from 0 to 12")),
        })
    }

    fn array(&mut self, key: &str) -> Result<Value, GgufProblem> {
        let (kind, length) = (self.u32()?, self.u64()?);
        let in_tokenizer = key.starts_with("tokenizer.ggml.");
        let most = if in_tokenizer { MOST_TOKENS } else { MOST_NUMBERS };
        match kind {
            8 if in_tokenizer => {
                self.claim(length, 8)?;
                if length > MOST_TOKENS {
                    return Err(damaged(&format!("the length of `{key}`"), length, format!("at most {MOST_TOKENS}")));
                }
                self.texts(length, key).map(Value::Texts)
            }
            6 if length <= most => {
                self.claim(length, 4)?;
                let list: Result<Vec<f32>, _> = (0..length).map(|_| self.bytes().map(f32::from_le_bytes)).collect();
                list.map(Value::Floats)
            }
            0..=5 | 10 | 11 if length <= most => {
                self.claim(length, width(kind))?;
                let mut list = Vec::new();
                for _ in 0..length {
                    list.push(match self.scalar(kind, key)? {
                        Value::Signed(n) => n,
                        // No list of ours holds numbers near 2^63: a wrong one is out of range below either way.
                        other => other.unsigned().and_then(|n| i64::try_from(n).ok()).unwrap_or(i64::MAX),
                    });
                }
                Ok(Value::Integers(list))
            }
            _ => self.skip_array(kind, length, key, 1).map(|()| Value::Skipped),
        }
    }

    fn texts(&mut self, count: u64, key: &str) -> Result<Texts, GgufProblem> {
        let mut texts = Texts { text: String::new(), ends: Vec::with_capacity(count as usize) };
        let mut bytes = Vec::new();
        for index in 0..count {
            let length = self.u64()?;
            let what = || format!("entry {index} of `{key}`");
            if length > LONGEST_TEXT {
                let allowed = format!("at most {LONGEST_TEXT} bytes");
                return Err(damaged(&format!("the length of {}", what()), length, allowed));
            }
            bytes.resize(length as usize, 0);
            self.fill(&mut bytes)?;
            texts
                .text
                .push_str(std::str::from_utf8(&bytes).map_err(|_| damaged(&what(), "no UTF-8", "text in UTF-8"))?);
            texts.ends.push(texts.text.len());
        }
        Ok(texts)
    }

    fn skip_array(&mut self, kind: u32, length: u64, key: &str, depth: u32) -> Result<(), GgufProblem> {
        match kind {
            8 => {
                self.claim(length, 8)?;
                for _ in 0..length {
                    let bytes = self.u64()?;
                    self.skip(bytes)?;
                }
                Ok(())
            }
            9 if depth == DEEPEST_ARRAY => Err(damaged(
                &format!("the depth of the lists in `{key}`"),
                depth + 1,
                format!("at most {DEEPEST_ARRAY}"),
            )),
            9 => {
                self.claim(length, 12)?;
                for _ in 0..length {
                    let (kind, length) = (self.u32()?, self.u64()?);
                    self.skip_array(kind, length, key, depth + 1)?;
                }
                Ok(())
            }
            0..=7 | 10..=12 => {
                self.claim(length, width(kind))?;
                self.skip(length * width(kind))
            }
            other => Err(damaged(&format!("the type of the list `{key}`"), other, "from 0 to 12")),
        }
    }
}

/// Bytes of a number of this type.
fn width(kind: u32) -> u64 {
    match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        _ => 8,
    }
}

/// The decimal number that was rounded to `x`: 1e-5 and not 9.99999974737875e-6,
/// so that a model has the same ε from GGUF and from config.json.
fn as_written(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

pub(super) fn damaged(what: &str, value: impl std::fmt::Display, allowed: impl Into<String>) -> GgufProblem {
    GgufProblem::Damaged { what: what.to_owned(), value: value.to_string(), allowed: allowed.into() }
}

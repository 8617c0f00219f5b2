//! Problems of a scenario: what is wrong, where, with which value, what is allowed, and what to do.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Whether a problem stops the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The scenario cannot be run.
    Error,
    /// The scenario can be run, but probably does not mean what it says.
    Warning,
}

/// The text that a value was read from: a file, or one overlay such as `--set #2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(Arc<str>);

impl Origin {
    /// An origin by the name that messages show, usually the path of a file as the user wrote it.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(Arc::from(name.as_ref()))
    }

    /// The origin of the `number`-th `--set` argument, counted from one.
    pub fn set(number: usize) -> Self {
        Self::new(format!("--set #{number}"))
    }

    /// The name that messages show.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that values were read from.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name in messages.
    pub origin: Origin,
    /// The whole text; spans count its bytes.
    pub text: Arc<str>,
}

/// Where a value was read: the number of its source (0 is the file, `k` the `k`-th overlay) and the bytes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into [`Document::sources`](super::document::Document::sources).
    pub source: usize,
    /// Bytes of that text.
    pub span: Range<usize>,
}

/// One problem of a scenario.
///
/// Checks that only know the meaning of a value give a [`path`](Self::path); the document that was read
/// adds `origin` and `span` ([`Document::locate`](super::document::Document::locate)).
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The text in which the problem lies; `None` until it is located.
    pub origin: Option<Origin>,
    /// Bytes of that text, on character boundaries.
    pub span: Option<Range<usize>>,
    /// Dotted path of the value, for example `ue[0].workload.rate_per_s`; empty for the whole document.
    pub path: String,
    /// What is wrong, in one line.
    pub message: String,
    /// The value that was found, as written.
    pub value: Option<String>,
    /// What is allowed there: a type, an interval, a list of names.
    pub allowed: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where it was met, if a scenario is looked at under many values: how many points of a study, and which.
    pub met: Option<String>,
    /// Whether the problem stops the run.
    pub severity: Severity,
}

impl Problem {
    /// An error at a path.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            origin: None,
            span: None,
            path: path.into(),
            message: message.into(),
            value: None,
            allowed: None,
            hint: None,
            met: None,
            severity: Severity::Error,
        }
    }

    /// A warning at a path.
    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(path, message) }
    }

    /// Adds the value that was found.
    pub fn with_value(mut self, value: impl fmt::Display) -> Self {
        self.value = Some(value.to_string());
        self
    }

    /// Adds what is allowed.
    pub fn with_allowed(mut self, allowed: impl fmt::Display) -> Self {
        self.allowed = Some(allowed.to_string());
        self
    }

    /// Adds what to do.
    pub fn with_hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Adds where the problem lies.
    pub fn with_place(mut self, origin: Origin, span: Range<usize>) -> Self {
        self.origin = Some(origin);
        self.span = Some(span);
        self
    }

    /// Whether the problem stops the run.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    /// One line, for logs and for messages without a source excerpt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(value) = &self.value {
            write!(f, " (found {value})")?;
        }
        if let Some(allowed) = &self.allowed {
            write!(f, "; allowed: {allowed}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        if let Some(met) = &self.met {
            write!(f, "; met at {met}")?;
        }
        Ok(())
    }
}

/// One step of a [`KeyPath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `.key`: a key of a table; in an array of tables an index, or the `name` of an element.
    Key(String),
    /// `[2]`: an element of an array, counted from zero.
    Index(usize),
}

/// A dotted path into a document with the byte span of each step in the path's own text.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KeyPath {
    /// The steps from the root, each with its span.
    pub steps: Vec<(Step, Range<usize>)>,
}

/// A text is no dotted path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyPathError {
    /// Nothing stands between two dots, before the first or after the last.
    #[error("empty key at byte {0} of `{1}`: write a dotted path such as `ue[0].count` or `ue.phone.count`")]
    EmptyKey(usize, String),
    /// A character that needs quotes, or a quote or bracket without its partner.
    #[error("unexpected `{0}` at byte {1} of `{2}`: quote keys that hold more than letters, digits, `-` and `_`")]
    Unexpected(char, usize, String),
    /// The path ends inside quotes or brackets.
    #[error("`{0}` ends inside a quoted key or an index")]
    Unclosed(String),
    /// Deeper than any scenario.
    #[error("`{0}` has more than {MAX_DEPTH} steps")]
    TooDeep(String),
}

/// Tables and arrays nest at most so deep: far beyond any scenario, and safe for recursion.
pub const MAX_DEPTH: usize = 32;

impl KeyPath {
    /// Parses `ue[1].workload.rate_per_s`, `ue.phone.count`, `table."a key".x`.
    ///
    /// # Errors
    ///
    /// [`KeyPathError`] for an empty key, a character that needs quotes, an open quote or bracket, or more than
    /// [`MAX_DEPTH`] steps.
    pub fn parse(text: &str) -> Result<Self, KeyPathError> {
        let mut steps = Vec::new();
        let mut rest = text.char_indices().peekable();
        loop {
            let start = rest.peek().map_or(text.len(), |&(at, _)| at);
            let key = if rest.next_if(|&(_, c)| c == '"').is_some() {
                quoted_key(&mut rest).ok_or_else(|| KeyPathError::Unclosed(clip(text)))?
            } else {
                let mut key = String::new();
                while let Some((_, c)) = rest.next_if(|&(_, c)| is_bare(c)) {
                    key.push(c);
                }
                match rest.peek() {
                    Some(&(at, c)) if c != '.' && c != '[' => {
                        return Err(KeyPathError::Unexpected(c, at, clip(text)));
                    }
                    _ if key.is_empty() => return Err(KeyPathError::EmptyKey(start, clip(text))),
                    _ => key,
                }
            };
            let end = rest.peek().map_or(text.len(), |&(at, _)| at);
            steps.push((Step::Key(key), start..end));
            while let Some((open, _)) = rest.next_if(|&(_, c)| c == '[') {
                let mut digits = String::new();
                while let Some((_, c)) = rest.next_if(|&(_, c)| c.is_ascii_digit()) {
                    digits.push(c);
                }
                match rest.next() {
                    Some((close, ']')) => match digits.parse() {
                        Ok(index) => steps.push((Step::Index(index), open..close + 1)),
                        Err(_) => return Err(KeyPathError::Unexpected(']', close, clip(text))),
                    },
                    Some((at, c)) => return Err(KeyPathError::Unexpected(c, at, clip(text))),
                    None => return Err(KeyPathError::Unclosed(clip(text))),
                }
            }
            if steps.len() > MAX_DEPTH {
                return Err(KeyPathError::TooDeep(clip(text)));
            }
            match rest.next() {
                Some((_, '.')) => {}
                Some((at, c)) => return Err(KeyPathError::Unexpected(c, at, clip(text))),
                None => return Ok(Self { steps }),
            }
        }
    }
}

/// The rest of a quoted key after its opening quote; a backslash takes the next character as it is.
fn quoted_key(rest: &mut impl Iterator<Item = (usize, char)>) -> Option<String> {
    let mut key = String::new();
    loop {
        match rest.next()?.1 {
            '"' => return Some(key),
            '\\' => key.push(rest.next()?.1),
            c => key.push(c),
        }
    }
}

fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// The path of a key below `parent`, quoted where [`KeyPath::parse`] needs it.
pub fn child_path(parent: &str, key: &str) -> String {
    let key = if !key.is_empty() && key.chars().all(is_bare) {
        key.to_owned()
    } else {
        format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
    };
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}

/// A text short enough for a message: at most 60 characters, the cut marked.
pub fn clip(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

//! Overlays: `--set key=value` arguments and study axes laid over the tree of a scenario file.

use std::ops::Range;
use std::str::FromStr;

use toml::de::DeValue;

use super::document::{Entry, Node, Value, convert};
use super::problem::{KeyPath, KeyPathError, Origin, Place, Problem, Step, child_path, clip};
use super::walk;

/// One `key=value` that replaces or adds a value of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct SetArg {
    text: String,
    path: KeyPath,
    value: Range<usize>,
    label: Option<String>,
}

/// A text is no `key=value`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetArgError {
    /// There is no `=`.
    #[error("`{0}` has no `=`: write `key=value`, for example `ue.phone.count=40`")]
    NoEquals(String),
    /// The key is no dotted path.
    #[error(transparent)]
    Key(#[from] KeyPathError),
}

impl SetArg {
    /// Parses `ue.phone.count=40`, `ue[0].count=40`, `ue.0.count=40`, `model.corpus=wikitext/test.txt`.
    ///
    /// The key is a dotted path; an element of an array of tables is named by its index or by its `name`, and an
    /// array of one element needs neither. The value is a TOML value; what is none but looks like a bare word or a
    /// path is taken as a string. The value itself is judged when the overlay is applied.
    ///
    /// # Errors
    ///
    /// [`SetArgError`] when there is no `=` or the key is no dotted path.
    pub fn parse(text: &str) -> Result<Self, SetArgError> {
        let equals = key_end(text).ok_or_else(|| SetArgError::NoEquals(clip(text)))?;
        let mut path = KeyPath::parse(text[..equals].trim())?;
        let indent = text[..equals].len() - text[..equals].trim_start().len();
        for (_, span) in &mut path.steps {
            *span = span.start + indent..span.end + indent;
        }
        let raw = &text[equals + 1..];
        let start = equals + 1 + (raw.len() - raw.trim_start().len());
        let end = (equals + 1 + raw.trim_end().len()).max(start);
        Ok(Self { text: text.to_owned(), path, value: start..end, label: None })
    }

    /// Names the origin that problems show instead of `--set #2`, for example `axis loss_probability`.
    pub fn with_origin(mut self, name: impl Into<String>) -> Self {
        self.label = Some(name.into());
        self
    }

    /// The text as given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The origin of this argument when it is the `number`-th, counted from one.
    pub(super) fn origin(&self, number: usize) -> Origin {
        self.label.as_ref().map_or_else(|| Origin::set(number), Origin::new)
    }
}

impl FromStr for SetArg {
    type Err = SetArgError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// The position of the first `=` outside quotes.
fn key_end(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '=' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Lays `set` over the tree below `root`; `source` is the number of its text among the document's sources.
///
/// A problem leaves the tree as it was, but for tables that were created on the way.
pub(super) fn apply(root: &mut Node, set: &SetArg, source: usize) -> Result<(), Box<Problem>> {
    let origin = set.origin(source);
    let place = |span: &Range<usize>| Place { source, span: span.clone() };
    let located =
        |problem: Box<Problem>, span: &Range<usize>| Box::new(problem.with_place(origin.clone(), span.clone()));
    let value = read_value(set, source).map_err(|problem| located(problem, &set.value))?;
    let mut node = root;
    let mut path = String::new();
    for (step, span) in &set.path.steps {
        node = descend(node, &mut path, step, &place(span)).map_err(|problem| located(problem, span))?;
    }
    *node = value;
    Ok(())
}

/// The way from `root` to where a dotted path leads, with elements of arrays by their index.
///
/// # Errors
/// What is in the way: a number where a table should be, an element that isn't there. Nothing is said of missing keys.
pub fn resolve(root: &Node, path: &KeyPath) -> Result<Vec<Step>, Box<Problem>> {
    let mut tree = root.clone();
    let mut node = &mut tree;
    let mut text = String::new();
    for (step, _) in &path.steps {
        let place = node.place.clone();
        node = descend(node, &mut text, step, &place)?;
    }
    // What `descend` writes is a path.
    Ok(KeyPath::parse(&text).map(|path| path.steps.into_iter().map(|(step, _)| step).collect()).unwrap_or_default())
}

/// Lays a value where a resolved way leads; tables that are missing on the way are made, and stand at `place`.
pub fn lay(root: &mut Node, way: &[Step], place: &Place, value: Node) {
    let mut node = root;
    for step in way {
        let next = match (&mut node.value, step) {
            (Value::Array(items), Step::Index(index)) => items.get_mut(*index),
            (Value::Table(entries), Step::Key(key)) => {
                let index = entries.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
                    let node = Node { place: place.clone(), value: Value::Table(Vec::new()) };
                    entries.push(Entry { key: key.clone(), place: place.clone(), node });
                    entries.len() - 1
                });
                entries.get_mut(index).map(|entry| &mut entry.node)
            }
            _ => None,
        };
        // A way that was resolved in this tree leads on.
        let Some(next) = next else { return };
        node = next;
    }
    *node = value;
}

/// The value after `=`, its spans counted in the whole argument.
fn read_value(set: &SetArg, source: usize) -> Result<Node, Box<Problem>> {
    let raw = &set.text[set.value.clone()];
    let place = Place { source, span: set.value.clone() };
    let key = &set.text[..set.value.start].trim_end_matches(['=', ' ']);
    if raw.is_empty() {
        let problem = Problem::error(*key, format!("no value after `{}=`", clip(key)));
        return Err(Box::new(problem.with_hint("write a TOML value; an empty string is `\"\"`")));
    }
    let (parsed, errors) = DeValue::parse_recoverable(raw);
    let Some(first) = errors.iter().min_by_key(|error| error.span().map_or(0, |span| span.start)) else {
        let mut problems = Vec::new();
        let node = convert(parsed, source, set.value.start, 0, &mut problems);
        return match problems.into_iter().next() {
            None => Ok(node),
            Some((_, problem)) => Err(Box::new(problem)),
        };
    };
    if looks_bare(raw) {
        return Ok(Node { place, value: Value::String(raw.to_owned()) });
    }
    let problem = Problem::error(*key, format!("the value of `{}` is no TOML value: {}", clip(key), first.message()));
    let hint = "quote text twice, once for the shell: --set 'key=\"some text\"'";
    Err(Box::new(problem.with_value(clip(raw)).with_hint(hint)))
}

/// Whether a text that is no TOML value is a word or a path rather than a mistyped array, table or string.
fn looks_bare(raw: &str) -> bool {
    raw.chars().all(|c| c.is_alphanumeric() || "_-./\\:+~@%".contains(c))
}

/// The node that one step leads to; a missing key is created, at first as an empty table.
fn descend<'n>(
    node: &'n mut Node,
    path: &mut String,
    step: &Step,
    place: &Place,
) -> Result<&'n mut Node, Box<Problem>> {
    let parent = path.clone();
    let shown = if parent.is_empty() { "the scenario".to_owned() } else { format!("`{parent}`") };
    match (&mut node.value, step) {
        (Value::Array(items), step) => {
            let count = items.len();
            match element(items, step) {
                Some(index) => {
                    *path = format!("{path}[{index}]");
                    Ok(&mut items[index])
                }
                None if count == 1 && matches!((&items[0].value, step), (Value::Table(_), Step::Key(_))) => {
                    *path = format!("{path}[0]");
                    descend(&mut items[0], path, step, place)
                }
                None => Err(Box::new(no_element(&parent, items, step))),
            }
        }
        (Value::Table(_), Step::Index(index)) => {
            let problem = Problem::error(parent, format!("{shown} is a table, not an array"));
            Err(Box::new(problem.with_value(format!("[{index}]"))))
        }
        (Value::Table(entries), Step::Key(key)) => {
            *path = child_path(path, key);
            let index = entries.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
                let node = Node { place: place.clone(), value: Value::Table(Vec::new()) };
                entries.push(Entry { key: key.clone(), place: place.clone(), node });
                entries.len() - 1
            });
            Ok(&mut entries[index].node)
        }
        (other, _) => {
            let problem = Problem::error(&parent, format!("{shown} is {}, not a table", other.type_name()));
            Err(Box::new(problem.with_hint(format!("set it as a whole: `{parent}=…`"))))
        }
    }
}

/// The index of the element of an array that a step names: by number, or by the element's `name`.
pub(super) fn element(items: &[Node], step: &Step) -> Option<usize> {
    let index = match step {
        Step::Index(index) => Some(*index),
        Step::Key(key) => items.iter().position(|item| item.name() == Some(key)).or_else(|| key.parse().ok()),
    };
    index.filter(|&index| index < items.len())
}

fn no_element(parent: &str, items: &[Node], step: &Step) -> Problem {
    let names: Vec<_> = items.iter().filter_map(Node::name).map(clip).collect();
    let wanted = match step {
        Step::Index(index) => format!("[{index}]"),
        Step::Key(key) => clip(key),
    };
    let near = walk::nearest(&wanted, items.iter().filter_map(Node::name));
    let hint = near.map(|near| format!("did you mean `{}`?", clip(near)));
    let range = match items.len() {
        0 => "none: the array is empty".to_owned(),
        1 => "index 0".to_owned(),
        count => format!("index 0 to {}", count - 1),
    };
    let allowed = if names.is_empty() { range } else { format!("{range}, or {}", names.join(", ")) };
    let problem = Problem::error(parent, format!("`{parent}` has no element `{wanted}`"));
    Problem { hint, ..problem.with_value(wanted).with_allowed(allowed) }
}

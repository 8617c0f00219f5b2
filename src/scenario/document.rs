//! A scenario file in memory: every value with the text it came from, so that every problem has its line.
//!
//! The file and the overlays keep their own texts. A syntax error costs the statement it stands in, not the rest of
//! the file: the statement is blanked and the file read again, until what is left is clean or too little is left.

use std::ops::Range;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::outline::Outline;
use super::overlay::{self, SetArg};
use super::problem::{KeyPath, MAX_DEPTH, Origin, Place, Problem, Source, Step, child_path, clip};
use super::reader::Reader;
use super::walk;

/// A value and its place; a table's place is its header.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it was read.
    pub place: Place,
    /// What was read.
    pub value: Value,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string.
    String(String),
    /// An integer.
    Integer(i128),
    /// A float; not necessarily finite.
    Float(f64),
    /// A boolean.
    Boolean(bool),
    /// A date or a time, which no scenario uses.
    Datetime,
    /// An array.
    Array(Vec<Node>),
    /// A table in the order of the file.
    Table(Vec<Entry>),
    /// What could not be read; its problem is reported already.
    Unreadable,
}

/// A key of a table with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key without quotes.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// The value of a key, where this is a table that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Table(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
            _ => None,
        }
    }

    /// The `name` of an element of an array of tables.
    pub fn name(&self) -> Option<&str> {
        match self.get("name")?.value {
            Value::String(ref name) => Some(name),
            _ => None,
        }
    }
}

impl Value {
    /// The type with its article, as messages say it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Boolean(_) => "a boolean",
            Self::Datetime => "a date",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A scenario file with its overlays, read as far as it can be read.
#[derive(Clone, Debug)]
pub struct Document {
    sources: Arc<[Source]>,
    root: Node,
    problems: Vec<(Place, Problem)>,
    has_gaps: bool,
}

impl Document {
    /// Reads a file's text and lays the overlays over it, in their order. Problems are kept for [`Self::read`].
    pub fn parse(name: impl AsRef<str>, text: impl Into<String>, sets: &[SetArg]) -> Self {
        let mut sources = vec![Source { origin: Origin::new(name), text: Arc::from(text.into()) }];
        let mut problems = Vec::new();
        let (mut root, has_gaps) = read_statements(&sources[0].text, &mut problems);
        for (index, set) in sets.iter().enumerate() {
            let source = index + 1;
            sources.push(Source { origin: set.origin(source), text: Arc::from(set.text()) });
            if let Err(problem) = overlay::apply(&mut root, set, source) {
                problems.push((Place { source, span: problem.span.clone().unwrap_or(0..0) }, *problem));
            }
        }
        Self { sources: sources.into(), root, problems, has_gaps }
    }

    /// A tree of values that stand in several texts; a value's place counts them.
    pub fn from_parts(sources: Arc<[Source]>, root: Node) -> Self {
        Self { sources, root, problems: Vec::new(), has_gaps: false }
    }

    /// Reads a file's bytes like [`Self::parse`]; bytes that are no UTF-8 are a problem at their line.
    pub fn parse_bytes(name: impl AsRef<str>, bytes: &[u8], sets: &[SetArg]) -> Self {
        // The replacement character is as valid in a TOML string or comment as any other, so the rest still reads.
        let mut document = Self::parse(name, String::from_utf8_lossy(bytes), sets);
        if let Err(error) = str::from_utf8(bytes) {
            let start = error.valid_up_to();
            let problem = Problem::error("", "not UTF-8 text").with_hint("save the file as UTF-8");
            let span = start..start + char::REPLACEMENT_CHARACTER.len_utf8();
            document.problems.push((Place { source: 0, span }, problem));
        }
        document
    }

    /// The file's text and then the overlays' texts, for excerpts.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Adds texts of other files, for excerpts of problems that lie there.
    pub(super) fn append(&mut self, sources: &[Source]) {
        self.sources = self.sources.iter().chain(sources).cloned().collect();
    }

    /// What can't be read as TOML.
    pub fn syntax_problems(&self) -> Vec<Problem> {
        self.problems.iter().cloned().map(|(place, problem)| self.placed(place, problem)).collect()
    }

    /// Reads a part of the document, which stands at `path`, as [`Self::read`] reads all of it.
    ///
    /// # Errors
    /// All problems of that part.
    pub fn read_part<T: DeserializeOwned + JsonSchema>(&self, node: &Node, path: &str) -> Result<T, Vec<Problem>> {
        let schema = schemars::schema_for!(T);
        let mut found = Vec::new();
        let outline = Outline::new(schema.as_value());
        walk::check_at(node, walk::Path::Root(path), &outline, &self.sources, false, &mut found);
        if found.is_empty() {
            let read = T::deserialize(Reader(node));
            return read.map_err(|error| {
                let place = error.place.unwrap_or_else(|| node.place.clone());
                vec![self.placed(place, Problem::error(path, error.message))]
            });
        }
        Err(found.into_iter().map(|(place, problem)| self.placed(place, problem)).collect())
    }

    /// The text of a value, as written.
    pub fn written(&self, node: &Node) -> &str {
        let source = self.sources.get(node.place.source);
        source.and_then(|source| source.text.get(node.place.span.clone())).unwrap_or_default()
    }

    /// The tree of values.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Checks the tree against the JSON Schema of `T` and deserialises it.
    ///
    /// # Errors
    ///
    /// All problems, in the order of the texts: syntax, unknown and missing keys, wrong types, unknown names, values
    /// out of range; and if there is none of these, what `T`'s own `Deserialize` refuses.
    pub fn read<T: DeserializeOwned + JsonSchema>(&self) -> Result<T, Vec<Problem>> {
        self.read_by(&Outline::new(schemars::schema_for!(T).as_value()))
    }

    /// [`Self::read`] by a schema that is at hand.
    pub(super) fn read_by<T: DeserializeOwned>(&self, outline: &Outline<'_>) -> Result<T, Vec<Problem>> {
        let problems = self.check(outline);
        if problems.iter().any(Problem::is_error) {
            return Err(problems);
        }
        T::deserialize(Reader(&self.root)).map_err(|error| {
            let place = error.place.unwrap_or(Place { source: 0, span: 0..0 });
            let path = path_of(&self.root, &place, "").unwrap_or_default();
            vec![self.placed(place, Problem::error(path, error.message.trim_end()))]
        })
    }

    /// What is left when everything that `problems` refuses is taken out and counts as its default: enough to look
    /// for further problems, not to run. `None` if that is no `T` either. A missing `name` gets one.
    pub(super) fn salvage<T: DeserializeOwned>(&self, problems: &[Problem], outline: &Outline<'_>) -> Option<T> {
        let mut rest = Self { problems: Vec::new(), ..self.clone() };
        for problem in problems.iter().filter(|problem| problem.is_error()) {
            let (Some(origin), Some(span)) = (&problem.origin, &problem.span) else { continue };
            let Some(source) = self.sources.iter().position(|source| source.origin == *origin) else { continue };
            remove(&mut rest.root, &Place { source, span: span.clone() });
        }
        let place = rest.root.place.clone();
        if let Value::Table(entries) = &mut rest.root.value
            && !entries.iter().any(|entry| entry.key == "name")
        {
            let node = Node { place: place.clone(), value: Value::String("unnamed".into()) };
            entries.push(Entry { key: "name".into(), place, node });
        }
        rest.read_by(outline).ok()
    }

    /// All problems of the tree under a schema, without deserialising it.
    fn check(&self, outline: &Outline<'_>) -> Vec<Problem> {
        let mut found = self.problems.clone();
        walk::check(&self.root, outline, &self.sources, self.has_gaps, &mut found);
        found.sort_by_key(|(place, _)| (place.source, place.span.start));
        found.into_iter().map(|(place, problem)| self.placed(place, problem)).collect()
    }

    /// Where the value at a dotted path stands; without that value, where the nearest table around it begins.
    ///
    /// Elements of an array are named by index (`ue[0]`, `ue.0`) or by their `name` (`ue.phone`); an array of one
    /// element needs neither.
    pub fn span_of(&self, path: &str) -> (Origin, Range<usize>) {
        let place = &self.nearest(path).0.place;
        (self.sources[place.source].origin.clone(), place.span.clone())
    }

    /// Adds origin, span and the value as written to a problem that only has a path.
    pub fn locate(&self, problem: &mut Problem) {
        if problem.span.is_some() {
            return;
        }
        let (node, exact) = self.nearest(&problem.path);
        let source = &self.sources[node.place.source];
        problem.origin = Some(source.origin.clone());
        problem.span = Some(node.place.span.clone());
        let is_scalar = !matches!(node.value, Value::Table(_) | Value::Array(_) | Value::Unreadable);
        if exact && is_scalar && problem.value.is_none() {
            problem.value = Some(clip(&source.text[node.place.span.clone()]));
        }
    }

    /// The node at a path and whether it is the very one, or the nearest around it.
    fn nearest(&self, path: &str) -> (&Node, bool) {
        let Ok(path) = KeyPath::parse(path) else {
            return (&self.root, path.is_empty());
        };
        let mut node = &self.root;
        for (step, _) in &path.steps {
            if let (Value::Array(items), Step::Key(_)) = (&node.value, step)
                && let [only] = items.as_slice()
                && overlay::element(items, step).is_none()
            {
                node = only;
            }
            let next = match (&node.value, step) {
                (Value::Array(items), step) => overlay::element(items, step).map(|index| &items[index]),
                (Value::Table(_), Step::Key(key)) => node.get(key),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => return (node, false),
            }
        }
        (node, true)
    }

    fn placed(&self, place: Place, problem: Problem) -> Problem {
        let origin = self.sources[place.source].origin.clone();
        problem.with_place(origin, place.span)
    }
}

/// The path of the value at a place.
fn path_of(node: &Node, place: &Place, path: &str) -> Option<String> {
    let inner = match &node.value {
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| path_of(item, place, &format!("{path}[{index}]")))
        }
        Value::Table(entries) => entries.iter().find_map(|entry| {
            let child = child_path(path, &entry.key);
            if entry.place == *place { Some(child) } else { path_of(&entry.node, place, &child) }
        }),
        _ => None,
    };
    inner.or_else(|| (node.place == *place).then(|| path.to_owned()))
}

/// Takes over a value that toml read, its spans moved by `shift` into the text of `source`.
///
/// Numbers that no type holds and nesting deeper than [`MAX_DEPTH`] are problems.
pub(super) fn convert(
    value: Spanned<DeValue<'_>>,
    source: usize,
    shift: usize,
    depth: usize,
    problems: &mut Vec<(Place, Problem)>,
) -> Node {
    let at = |span: Range<usize>| Place { source, span: span.start + shift..span.end + shift };
    let place = at(value.span());
    let mut refuse = |problem: Problem| {
        problems.push((place.clone(), problem));
        Value::Unreadable
    };
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(digits) => match i128::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => refuse(Problem::error("", "the integer is too large").with_value(clip(digits.as_str()))),
        },
        DeValue::Float(digits) => match digits.as_str().parse() {
            Ok(number) => Value::Float(number),
            Err(_) => refuse(Problem::error("", "not a number").with_value(clip(digits.as_str()))),
        },
        DeValue::Boolean(flag) => Value::Boolean(flag),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(_) | DeValue::Table(_) if depth >= MAX_DEPTH => {
            refuse(Problem::error("", format!("tables and arrays nest more than {MAX_DEPTH} deep")))
        }
        DeValue::Array(items) => {
            Value::Array(items.into_iter().map(|item| convert(item, source, shift, depth + 1, problems)).collect())
        }
        DeValue::Table(table) => Value::Table(
            table
                .into_iter()
                .map(|(key, value)| Entry {
                    place: at(key.span()),
                    key: key.into_inner().into_owned(),
                    node: convert(value, source, shift, depth + 1, problems),
                })
                .collect(),
        ),
    };
    Node { place, value }
}

/// Reads a file's text; a statement with a syntax error is a problem and is blanked. Also says whether any was.
fn read_statements(text: &str, problems: &mut Vec<(Place, Problem)>) -> (Node, bool) {
    const MOST_ERRORS: usize = 50;
    let mut rest = text.to_owned();
    for gaps in 0.. {
        let (tree, errors) = DeTable::parse_recoverable(&rest);
        let first = errors.iter().min_by_key(|error| error.span().map_or(usize::MAX, |span| span.start));
        let Some(error) = first else {
            let root = Spanned::new(0..0, DeValue::Table(tree.into_inner()));
            return (convert(root, 0, 0, 0, problems), gaps > 0);
        };
        let unclosed =
            errors.iter().find(|e| e.message().starts_with("unclosed") || e.message().contains("multi-line"));
        let (span, gap) = if let Some(span) = error.span() {
            gap_around(&rest, tree.get_ref(), span, unclosed.is_some())
        } else {
            // toml limits the depth of dotted keys but doesn't say where it met the limit.
            let before = rest.split_inclusive('\n').take_while(|line| line.matches('.').count() < MAX_DEPTH);
            let start = before.map(str::len).sum::<usize>();
            (start..start, line_at(&rest, start))
        };
        let is_multi_line = rest[gap.clone()].contains('\n');
        let message = unclosed.filter(|_| is_multi_line).unwrap_or(error).message();
        let mut problem = Problem::error("", format!("not TOML: {message}"));
        if message.starts_with("string values must be quoted") {
            problem = problem.with_hint("text stands in quotes, decimals have a point, and there are no units");
        }
        problems.push((Place { source: 0, span }, problem));
        if gaps + 1 == MOST_ERRORS || rest[gap.clone()].trim().is_empty() {
            break;
        }
        let blank: String = rest[gap.clone()].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
        rest.replace_range(gap, &blank);
    }
    (Node { place: Place { source: 0, span: 0..0 }, value: Value::Table(Vec::new()) }, true)
}

/// The span to show for a syntax error, and the whole lines to blank: its statement, or under a broken header all up to
/// the next header.
fn gap_around(text: &str, tree: &DeTable<'_>, error: Range<usize>, unclosed: bool) -> (Range<usize>, Range<usize>) {
    let start = floor_char_boundary(text, error.start);
    let shown = start..floor_char_boundary(text, error.end).max(start);
    let line = line_at(text, start);
    if text[line.clone()].trim_start().starts_with('[') && begins_statement(&text[line.clone()]) {
        return (shown, line.start..following(text, line.end, |next| next.trim_start().starts_with('[')));
    }
    let Some(value) = multi_line_value(text, tree, start) else {
        return (shown, line);
    };
    let first = line_at(text, value.start);
    if !unclosed {
        return (shown, first.start..line_at(text, value.end).end.max(line.end));
    }
    // What was never closed swallows the statements after it; they begin no deeper than it does.
    let indent = |line: &str| line.len() - line.trim_start().len();
    let depth = indent(&text[first.clone()]);
    let end = following(text, first.end, |next| begins_statement(next) && indent(next) <= depth);
    (value.start..first.end, first.start..end)
}

/// The outermost value of more than one line whose lines hold a position.
fn multi_line_value(text: &str, table: &DeTable<'_>, at: usize) -> Option<Range<usize>> {
    fn inside(text: &str, value: &Spanned<DeValue<'_>>, at: usize) -> Option<Range<usize>> {
        let span = value.span();
        if text.get(span.clone())?.trim_end().contains('\n') {
            let lines = line_at(text, span.start).start..=line_at(text, span.end).end;
            return lines.contains(&at).then_some(span);
        }
        match value.get_ref() {
            DeValue::Array(items) => items.iter().find_map(|item| inside(text, item, at)),
            DeValue::Table(table) => table.values().find_map(|value| inside(text, value, at)),
            _ => None,
        }
    }
    table.values().find_map(|value| inside(text, value, at))
}

/// The line that holds a position, without its line end.
fn line_at(text: &str, at: usize) -> Range<usize> {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    start..end
}

/// The end of the lines after `end` up to the first one that `stops`.
fn following(text: &str, end: usize, stops: impl Fn(&str) -> bool) -> usize {
    let mut end = end;
    while end < text.len() {
        let next = line_at(text, end + 1);
        if stops(&text[next.clone()]) {
            break;
        }
        end = next.end.max(end + 1);
    }
    end
}

/// Whether a line looks like the begin of a statement: `key = …` or `[table]`.
fn begins_statement(line: &str) -> bool {
    let line = line.trim_start();
    if let Some(header) = line.strip_prefix('[') {
        let header = header.split('#').next().unwrap_or(header);
        return !header.contains(',') && header.trim_start_matches('[').starts_with(|c: char| c.is_alphabetic());
    }
    let after = line.trim_start_matches(|c: char| c.is_alphanumeric() || "-_.\"' ".contains(c));
    after.len() < line.len() && after.starts_with('=')
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// Takes out the entry or element at a place, or whose key stands there.
fn remove(node: &mut Node, place: &Place) -> bool {
    match &mut node.value {
        Value::Table(entries) => {
            let found = entries.iter().position(|entry| entry.place == *place || entry.node.place == *place);
            found.map(|index| entries.remove(index)).is_some()
                || entries.iter_mut().any(|entry| remove(&mut entry.node, place))
        }
        Value::Array(items) => {
            let found = items.iter().position(|item| item.place == *place);
            found.map(|index| items.remove(index)).is_some() || items.iter_mut().any(|item| remove(item, place))
        }
        _ => false,
    }
}

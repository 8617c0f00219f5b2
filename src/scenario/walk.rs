//! The walk of a scenario's tree along its JSON Schema: every key, type, name and range, without stopping at the first.
//!
//! Understands what schemars derives for structs, options, vectors, unit enums and ranges, and `anyOf` of values that
//! differ in type. What no schema says is left to `Deserialize` and to the checks that know the meaning.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value as Json;

use super::document::{Node, Value};
use super::outline::{Facts, Id, Others, Outline};
use super::problem::{Place, Problem, Source, child_path, clip};

type Found = Vec<(Place, Problem)>;

/// So many problems get the nearest valid key.
const MOST_SEARCHED: usize = 1000;

/// Adds all problems of the tree below `root` under a schema. After syntax errors (`has_gaps`) no key counts as missing.
pub(super) fn check(root: &Node, outline: &Outline<'_>, sources: &[Source], has_gaps: bool, found: &mut Found) {
    check_at(root, Path::Root(""), outline, sources, has_gaps, found);
}

/// [`check`] of a part of a document whose root stands at `path`.
pub(super) fn check_at(
    node: &Node,
    path: Path<'_>,
    outline: &Outline<'_>,
    sources: &[Source],
    has_gaps: bool,
    found: &mut Found,
) {
    let walk = Walk { outline, sources, has_gaps };
    non_finite(node, path, found);
    walk.value(node, Outline::ROOT, path, found);
}

/// The way from the root to a value; its text is made for problems only.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    /// Where the walk begins.
    Root(&'p str),
    /// A key of a table.
    Key(&'p Path<'p>, &'p str),
    /// An element of an array.
    Index(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(path) => f.write_str(path),
            Self::Key(parent, key) => f.write_str(&child_path(&parent.to_string(), &clip(key))),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Reports every NaN and infinity, also where the schema knows no key.
fn non_finite(node: &Node, path: Path<'_>, found: &mut Found) {
    match &node.value {
        Value::Float(number) if !number.is_finite() => {
            let path = path.to_string();
            let message = format!("`{path}` must be a finite number");
            let problem = Problem::error(&path, message).with_value(number);
            let hint = "write it as a string: \"inf\" or \"-inf\"";
            let quoted = number.is_infinite() && path == "collaboration.threshold";
            found.push((node.place.clone(), if quoted { problem.with_hint(hint) } else { problem }));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                non_finite(item, Path::Index(&path, index), found);
            }
        }
        Value::Table(entries) => {
            for entry in entries {
                non_finite(&entry.node, Path::Key(&path, &entry.key), found);
            }
        }
        _ => {}
    }
}

struct Walk<'w, 's> {
    outline: &'w Outline<'s>,
    sources: &'w [Source],
    has_gaps: bool,
}

impl<'s> Walk<'_, 's> {
    fn value(&self, node: &Node, id: Id, path: Path<'_>, found: &mut Found) {
        let is_done = match node.value {
            Value::Unreadable => true,
            Value::Float(number) => !number.is_finite(),
            _ => false,
        };
        if is_done {
            return;
        }
        let facts = self.outline.facts(id);
        let schema = facts.schema;
        if !facts.accepts(&node.value) {
            found.push((node.place.clone(), self.wrong_type(node, schema, &path.to_string())));
            return;
        }
        let mut branches =
            facts.branches.iter().copied().filter(|&branch| self.outline.facts(branch).accepts(&node.value));
        match (branches.next(), branches.next()) {
            (None, _) => {
                if let Some(names) = &facts.names {
                    self.name(node, names, schema, path, found);
                    return;
                }
            }
            (Some(only), None) => match &self.outline.facts(only).names {
                Some(names) => {
                    self.name(node, names, schema, path, found);
                    return;
                }
                None => self.value(node, only, path, found),
            },
            (Some(first), Some(second)) => {
                let branches: Vec<Id> = [first, second].into_iter().chain(branches).collect();
                let lists = branches.iter().map(|&branch| self.outline.facts(branch).names.as_deref());
                if let Some(lists) = lists.collect::<Option<Vec<_>>>() {
                    self.name(node, &lists.concat(), schema, path, found);
                    return;
                }
                // Alternatives of one type differ in their keys: the one that fits best says what is wrong.
                let attempts = branches.into_iter().map(|branch| {
                    let mut found = Vec::new();
                    self.value(node, branch, path, &mut found);
                    found
                });
                found.extend(attempts.min_by_key(Vec::len).into_iter().flatten());
            }
        }
        match &node.value {
            Value::Integer(_) | Value::Float(_) => self.number(node, facts, path, found),
            Value::String(text) => {
                self.length(node, facts.characters, path, ("characters", text.chars().count()), found);
            }
            Value::Array(items) => {
                self.length(node, facts.elements, path, ("elements", items.len()), found);
                if let Some(id) = facts.items {
                    for (index, item) in items.iter().enumerate() {
                        self.value(item, id, Path::Index(&path, index), found);
                    }
                }
            }
            Value::Table(_) => self.table(node, facts, path, found),
            Value::Boolean(_) | Value::Datetime | Value::Unreadable => {}
        }
    }

    fn wrong_type(&self, node: &Node, schema: &'s Json, path: &str) -> Problem {
        let types = self.outline.schemas.types(schema);
        let has = |name: &str| types.contains(&name);
        let written = self.written(&node.place);
        let is_header = written.starts_with('[') && !matches!(node.value, Value::Array(_)) || written.starts_with("[[");
        let hint = match &node.value {
            Value::String(text) if (has("number") || has("integer")) && text.parse::<f64>().is_ok() => {
                Some(format!("write the number without quotes: {text}"))
            }
            Value::String(text) if has("boolean") && matches!(text.as_str(), "true" | "false") => {
                Some(format!("write it without quotes: {text}"))
            }
            Value::Float(number) if has("integer") && number.fract() == 0.0 => {
                Some(format!("write it without decimal point: {number:.0}"))
            }
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) if has("string") => {
                Some(format!("write it in quotes: \"{written}\""))
            }
            Value::Table(_) if has("array") && is_header => Some(format!("write the header as [{written}]")),
            // An overlay makes a table of what the file doesn't have; it can't know that several are wanted.
            Value::Table(_) if has("array") && node.place.source > 0 => {
                Some(format!("the file has no [[{path}]]: add one there, or set it as a whole: `{path}=[{{ … }}]`"))
            }
            Value::Array(_) if has("object") && is_header => {
                Some(format!("write the header as [{}]", written.trim_matches(['[', ']'])))
            }
            Value::Table(_) | Value::Array(_) => None,
            _ if has("array") => Some(format!("write it as an array: [{written}]")),
            _ => None,
        };
        let wanted: Vec<_> = types.iter().map(|name| with_article(name)).collect();
        let message = match node.value {
            Value::Float(number) if has("integer") => {
                format!("`{path}` must be {}, not {number:?}", wanted.join(" or "))
            }
            ref value => format!("`{path}` must be {}, not {}", wanted.join(" or "), value.type_name()),
        };
        let mut problem = Problem::error(path, message).with_value(written);
        problem.allowed = Some(self.outline.schemas.describe(schema));
        problem.hint = hint;
        problem
    }

    fn name(&self, node: &Node, names: &[&Json], schema: &'s Json, path: Path<'_>, found: &mut Found) {
        let (is_known, text) = match &node.value {
            Value::String(text) => (names.iter().any(|name| name.as_str() == Some(text)), text.as_str()),
            Value::Integer(_) | Value::Float(_) => {
                (names.iter().any(|name| compare(&node.value, name) == Ordering::Equal), "")
            }
            Value::Boolean(flag) => (names.iter().any(|name| name.as_bool() == Some(*flag)), ""),
            _ => (false, ""),
        };
        if is_known {
            return;
        }
        let path = path.to_string();
        let written = self.written(&node.place);
        let is_bare = matches!(node.value, Value::String(_)) && !written.starts_with(['"', '\'']);
        let shown = if is_bare { format!("\"{written}\"") } else { written.clone() };
        let mut problem = Problem::error(&path, format!("unknown value {shown} for `{path}`"))
            .with_value(written)
            .with_allowed(self.outline.schemas.describe(schema));
        let near = nearest(text, names.iter().filter_map(|name| name.as_str()));
        problem.hint = near.map(|near| format!("did you mean \"{near}\"?"));
        found.push((node.place.clone(), problem));
    }

    fn number(&self, node: &Node, facts: &Facts<'s>, path: Path<'_>, found: &mut Found) {
        let out_of_range = |allowed: &dyn fmt::Display| {
            let path = path.to_string();
            let message = format!("`{path}` is out of range");
            let problem = Problem::error(path, message).with_value(self.written(&node.place)).with_allowed(allowed);
            (node.place.clone(), problem)
        };
        let misses = |bound: Option<(&Json, bool)>, outside: Ordering| {
            bound.is_some_and(|(bound, open)| {
                let order = compare(&node.value, bound);
                order == outside || (open && order == Ordering::Equal)
            })
        };
        if let Some(bounds) = facts.bounds
            && (misses(bounds.low, Ordering::Less) || misses(bounds.high, Ordering::Greater))
        {
            found.push(out_of_range(&bounds));
        } else if let (Value::Integer(number), Some((low, high))) = (&node.value, facts.integer_limits)
            && !(low..=high).contains(number)
        {
            found.push(out_of_range(&format!("[{low}, {high}]")));
        }
    }

    /// Checks `minItems`, `maxItems`, `minLength`, `maxLength`.
    fn length(
        &self,
        node: &Node,
        [min, max]: [Option<usize>; 2],
        path: Path<'_>,
        (unit, count): (&str, usize),
        found: &mut Found,
    ) {
        let allowed = match (min, max) {
            (Some(min), _) if count < min => format!("at least {min}"),
            (_, Some(max)) if count > max => format!("at most {max}"),
            _ => return,
        };
        let path = path.to_string();
        let message = format!("`{path}` has {count} {unit}");
        let problem = Problem::error(path, message)
            .with_value(self.written(&node.place))
            .with_allowed(format!("{allowed} {unit}"));
        found.push((node.place.clone(), problem));
    }

    fn table(&self, node: &Node, facts: &Facts<'s>, path: Path<'_>, found: &mut Found) {
        let Value::Table(entries) = &node.value else { return };
        for entry in entries {
            let child = Path::Key(&path, &entry.key);
            match (facts.properties.iter().find(|(key, _)| **key == entry.key), facts.others) {
                (Some(&(_, id)), _) | (None, Others::Of(id)) => self.value(&entry.node, id, child, found),
                (None, Others::Refused) => {
                    let keys: Vec<_> = facts.properties.iter().map(|(key, _)| *key).collect();
                    // The search costs the number of keys; a file with so many unknown ones is no scenario.
                    let search = found.len() < MOST_SEARCHED;
                    let problem = self.unknown_key(&entry.key, &keys, &path.to_string(), search);
                    found.push((entry.place.clone(), problem));
                }
                (None, Others::Any) => {}
            }
        }
        if self.has_gaps {
            return;
        }
        for key in facts.required.iter().filter(|key| node.get(key).is_none()) {
            let path = path.to_string();
            let message = format!("missing key `{key}` {}", within(&path));
            let mut problem = Problem::error(child_path(&path, key), message);
            if let Some(&(_, id)) = facts.properties.iter().find(|(name, _)| name == key) {
                let schema = self.outline.facts(id).schema;
                problem.allowed = Some(self.outline.schemas.describe(schema));
                problem.hint =
                    self.outline.schemas.summary(schema).map(|summary| format!("add `{key} = …`: {summary}"));
            }
            found.push((node.place.clone(), problem));
        }
    }

    fn unknown_key(&self, key: &str, keys: &[&str], path: &str, search: bool) -> Problem {
        let shown = clip(key);
        let mut problem = Problem::error(child_path(path, &shown), format!("unknown key `{shown}` {}", within(path)));
        if !search {
            return problem;
        }
        let elsewhere: Vec<_> = self
            .outline
            .all_keys()
            .iter()
            .filter(|(_, name)| *name == key)
            .map(|(header, _)| show_header(header))
            .collect();
        let close = nearest(key, keys.iter().copied());
        let is_slip = close.is_some_and(|near| strsim::osa_distance(key, near) <= 1 + usize::from(key.len() > 6));
        problem.hint = match close {
            Some(near) if is_slip || elsewhere.is_empty() => Some(format!("did you mean `{near}`?")),
            _ if (1..=3).contains(&elsewhere.len()) => Some(format!("`{shown}` belongs {}", elsewhere.join(" or "))),
            Some(near) => Some(format!("did you mean `{near}`?")),
            None => nearest(key, self.outline.all_keys().iter().map(|(_, name)| *name)).and_then(|near| {
                let home = self.outline.all_keys().iter().find(|(_, name)| *name == near)?;
                Some(format!("did you mean `{near}` {}?", show_header(&home.0)))
            }),
        };
        if problem.hint.is_none() {
            problem.allowed = Some(keys.join(", "));
        }
        problem
    }

    /// The value as written, on one line and not too long.
    fn written(&self, place: &Place) -> String {
        let text = self.sources.get(place.source).and_then(|source| source.text.get(place.span.clone()));
        clip(text.and_then(|text| text.lines().next()).unwrap_or_default())
    }
}

/// Compares a number with one of the schema: exactly where both are integers.
fn compare(value: &Value, bound: &Json) -> Ordering {
    let (integer, float) = match *value {
        Value::Integer(number) => (Some(number), number as f64),
        Value::Float(number) => (None, number),
        _ => return Ordering::Less,
    };
    let exact = bound.as_i64().map(i128::from).or_else(|| bound.as_u64().map(i128::from));
    match (integer, exact) {
        (Some(number), Some(bound)) => number.cmp(&bound),
        _ => bound.as_f64().and_then(|bound| float.partial_cmp(&bound)).unwrap_or(Ordering::Less),
    }
}

/// The candidate most like a mistyped word, if one is like it at all.
pub fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // Longer words are no slip of the pen, and comparing costs the product of the lengths.
    const LONGEST: usize = 64;
    // Below this, Jaro-Winkler joins words that only share letters ("rate" and "radio" have 0.78).
    const LEAST: f64 = 0.85;
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let like = |candidate: &str| {
        let candidate = candidate.replace('-', "_");
        let is_near = strsim::osa_distance(&word, &candidate) * 3 <= word.len().max(3);
        let likeness = strsim::jaro_winkler(&word, &candidate);
        (is_near || likeness >= LEAST).then_some(likeness)
    };
    let scored = candidates.filter_map(|candidate| Some((like(candidate)?, candidate)));
    scored.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, candidate)| candidate)
}

fn within(path: &str) -> String {
    if path.is_empty() { "at the top level".to_owned() } else { format!("in `{path}`") }
}

fn show_header(header: &str) -> String {
    if header.is_empty() { "at the top level".to_owned() } else { format!("in {header}") }
}

fn with_article(json_type: &str) -> &str {
    match json_type {
        "object" => "a table",
        "array" => "an array",
        "integer" => "an integer",
        "number" => "a number",
        "string" => "a string",
        "boolean" => "a boolean",
        other => other,
    }
}

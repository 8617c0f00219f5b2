//! The walk of a scenario's tree along its JSON Schema: every key, type, name and range, without stopping at the first.
//!
//! Understands what schemars derives for structs, options, vectors, unit enums and ranges, and `anyOf` of values that
//! differ in type. What no schema says is left to `Deserialize` and to the checks that know the meaning.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::document::{Node, Value};
use super::problem::{Place, Problem, Source, child_path, clip};
use super::reference::Schemas;

type Found = Vec<(Place, Problem)>;

/// So many problems get the nearest valid key.
const MOST_SEARCHED: usize = 1000;

/// Adds all problems of the tree below `root` under `schema`. After syntax errors (`has_gaps`) no key counts as missing.
pub(super) fn check(root: &Node, schema: &Json, sources: &[Source], has_gaps: bool, found: &mut Found) {
    let schemas = Schemas(schema);
    let walk = Walk { schemas, all_keys: schemas.all_keys(), sources, has_gaps };
    non_finite(root, "", found);
    walk.value(root, schema, "", found);
}

/// Reports every NaN and infinity, also where the schema knows no key.
fn non_finite(node: &Node, path: &str, found: &mut Found) {
    match &node.value {
        Value::Float(number) if !number.is_finite() => {
            let problem = Problem::error(path, format!("`{path}` must be a finite number")).with_value(number);
            found.push((node.place.clone(), problem));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                non_finite(item, &format!("{path}[{index}]"), found);
            }
        }
        Value::Table(entries) => {
            for entry in entries {
                non_finite(&entry.node, &child_path(path, &clip(&entry.key)), found);
            }
        }
        _ => {}
    }
}

struct Walk<'s> {
    schemas: Schemas<'s>,
    all_keys: Vec<(String, &'s str)>,
    sources: &'s [Source],
    has_gaps: bool,
}

impl<'s> Walk<'s> {
    fn value(&self, node: &Node, schema: &'s Json, path: &str, found: &mut Found) {
        let is_done = match node.value {
            Value::Unreadable => true,
            Value::Float(number) => !number.is_finite(),
            _ => false,
        };
        if is_done {
            return;
        }
        if !self.accepts(schema, &node.value) {
            found.push((node.place.clone(), self.wrong_type(node, schema, path)));
            return;
        }
        let branches = self.schemas.branches(schema);
        let branches: Vec<_> = branches.into_iter().filter(|branch| self.accepts(branch, &node.value)).collect();
        let lists: Option<Vec<_>> = if branches.is_empty() {
            self.schemas.names(schema)
        } else {
            let lists = branches.iter().map(|branch| self.schemas.names(branch)).collect::<Option<Vec<_>>>();
            lists.map(|lists| lists.into_iter().flatten().collect())
        };
        if let Some(names) = lists {
            self.name(node, &names, schema, path, found);
            return;
        }
        // Alternatives of one type differ in their keys: the one that fits best says what is wrong.
        let attempts = branches.into_iter().map(|branch| {
            let mut found = Vec::new();
            self.value(node, branch, path, &mut found);
            found
        });
        found.extend(attempts.min_by_key(Vec::len).into_iter().flatten());
        match &node.value {
            Value::Integer(_) | Value::Float(_) => self.number(node, schema, path, found),
            Value::String(text) => {
                self.length(node, schema, path, ("Length", "characters", text.chars().count()), found);
            }
            Value::Array(items) => {
                self.length(node, schema, path, ("Items", "elements", items.len()), found);
                if let Some(schema) = self.schemas.items(schema) {
                    for (index, item) in items.iter().enumerate() {
                        self.value(item, schema, &format!("{path}[{index}]"), found);
                    }
                }
            }
            Value::Table(_) => self.table(node, schema, path, found),
            Value::Boolean(_) | Value::Datetime | Value::Unreadable => {}
        }
    }

    /// Whether the type of a value is one that the schema names.
    fn accepts(&self, schema: &'s Json, value: &Value) -> bool {
        let types = self.schemas.types(schema);
        let fits = |name: &&str| match value {
            Value::String(_) => *name == "string",
            Value::Integer(_) => matches!(*name, "integer" | "number"),
            Value::Float(_) => *name == "number",
            Value::Boolean(_) => *name == "boolean",
            Value::Array(_) => *name == "array",
            Value::Table(_) => *name == "object",
            Value::Datetime | Value::Unreadable => false,
        };
        types.is_empty() || types.iter().any(fits)
    }

    fn wrong_type(&self, node: &Node, schema: &'s Json, path: &str) -> Problem {
        let types = self.schemas.types(schema);
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
        problem.allowed = Some(self.schemas.describe(schema));
        problem.hint = hint;
        problem
    }

    fn name(&self, node: &Node, names: &[&Json], schema: &'s Json, path: &str, found: &mut Found) {
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
        let written = self.written(&node.place);
        let is_bare = matches!(node.value, Value::String(_)) && !written.starts_with(['"', '\'']);
        let shown = if is_bare { format!("\"{written}\"") } else { written.clone() };
        let mut problem = Problem::error(path, format!("unknown value {shown} for `{path}`"))
            .with_value(written)
            .with_allowed(self.schemas.describe(schema));
        let near = nearest(text, names.iter().filter_map(|name| name.as_str()));
        problem.hint = if self.schemas.is_planned(schema, text) {
            Some("planned, and not in this version".to_owned())
        } else {
            near.map(|near| format!("did you mean \"{near}\"?"))
        };
        found.push((node.place.clone(), problem));
    }

    fn number(&self, node: &Node, schema: &'s Json, path: &str, found: &mut Found) {
        let out_of_range = |allowed: &dyn std::fmt::Display| {
            let problem = Problem::error(path, format!("`{path}` is out of range"));
            (node.place.clone(), problem.with_value(self.written(&node.place)).with_allowed(allowed))
        };
        let bounds = self.schemas.bounds(schema);
        let misses = |bound: Option<(&Json, bool)>, outside: Ordering| {
            bound.is_some_and(|(bound, open)| {
                let order = compare(&node.value, bound);
                order == outside || (open && order == Ordering::Equal)
            })
        };
        if let Some(bounds) = bounds
            && (misses(bounds.low, Ordering::Less) || misses(bounds.high, Ordering::Greater))
        {
            found.push(out_of_range(&bounds));
        } else if let (Value::Integer(number), Some((low, high))) = (&node.value, self.schemas.integer_limits(schema))
            && !(low..=high).contains(number)
        {
            found.push(out_of_range(&format!("[{low}, {high}]")));
        }
    }

    /// Checks `minItems`, `maxItems`, `minLength`, `maxLength`.
    fn length(&self, node: &Node, schema: &'s Json, path: &str, what: (&str, &str, usize), found: &mut Found) {
        let (suffix, unit, count) = what;
        let limit = |prefix: &str| {
            let facets = self.schemas.facets(schema).into_iter();
            let mut limits = facets.filter_map(|facet| facet.get(&format!("{prefix}{suffix}"))?.as_u64());
            limits.next().map(|limit| limit as usize)
        };
        let allowed = match (limit("min"), limit("max")) {
            (Some(min), _) if count < min => format!("at least {min}"),
            (_, Some(max)) if count > max => format!("at most {max}"),
            _ => return,
        };
        let problem = Problem::error(path, format!("`{path}` has {count} {unit}"))
            .with_value(self.written(&node.place))
            .with_allowed(format!("{allowed} {unit}"));
        found.push((node.place.clone(), problem));
    }

    fn table(&self, node: &Node, schema: &'s Json, path: &str, found: &mut Found) {
        let Value::Table(entries) = &node.value else { return };
        let properties = self.schemas.properties(schema);
        let facets = self.schemas.facets(schema);
        let others = facets.iter().find_map(|facet| facet.get("additionalProperties"));
        for entry in entries {
            let child = child_path(path, &entry.key);
            match (properties.iter().find(|(key, _)| **key == entry.key), others) {
                (Some((_, schema)), _) => self.value(&entry.node, schema, &child, found),
                (None, Some(Json::Bool(false))) => {
                    let keys: Vec<_> = properties.iter().map(|(key, _)| key.as_str()).collect();
                    // The search costs the number of keys; a file with so many unknown ones is no scenario.
                    let search = found.len() < MOST_SEARCHED;
                    found.push((entry.place.clone(), self.unknown_key(&entry.key, &keys, path, search)));
                }
                (None, Some(others)) => self.value(&entry.node, others, &child, found),
                (None, None) => {}
            }
        }
        if self.has_gaps {
            return;
        }
        let required = facets.iter().filter_map(|facet| facet.get("required")?.as_array()).flatten();
        for key in required.filter_map(Json::as_str).filter(|key| node.get(key).is_none()) {
            let mut problem = Problem::error(child_path(path, key), format!("missing key `{key}` {}", within(path)));
            if let Some((_, schema)) = properties.iter().find(|(name, _)| *name == key) {
                problem.allowed = Some(self.schemas.describe(schema));
                problem.hint = self.schemas.summary(schema).map(|summary| format!("add `{key} = …`: {summary}"));
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
        let elsewhere: Vec<_> =
            self.all_keys.iter().filter(|(_, name)| *name == key).map(|(header, _)| show_header(header)).collect();
        let close = nearest(key, keys.iter().copied());
        let is_slip = close.is_some_and(|near| strsim::osa_distance(key, near) <= 1 + usize::from(key.len() > 6));
        problem.hint = match close {
            Some(near) if is_slip || elsewhere.is_empty() => Some(format!("did you mean `{near}`?")),
            _ if (1..=3).contains(&elsewhere.len()) => Some(format!("`{shown}` belongs {}", elsewhere.join(" or "))),
            Some(near) => Some(format!("did you mean `{near}`?")),
            None => nearest(key, self.all_keys.iter().map(|(_, name)| *name)).and_then(|near| {
                let home = self.all_keys.iter().find(|(_, name)| *name == near)?;
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
pub(super) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
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

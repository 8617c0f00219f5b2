//! A JSON Schema in words: what messages say is allowed, and the reference page of the scenario file.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

/// References and alternatives are followed at most so deep; schemars makes recursive schemas for recursive types.
const MAX_REFERENCES: usize = 16;

/// A root schema, to look up its definitions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schemas<'s>(pub(super) &'s Json);

impl<'s> Schemas<'s> {
    /// The schema objects that all apply where `schema` stands: itself, what it refers to, and its `allOf`.
    pub(super) fn facets(self, schema: &'s Json) -> Vec<&'s Map<String, Json>> {
        let mut facets = Vec::new();
        let mut pending = vec![schema];
        while let Some(next) = pending.pop() {
            let Json::Object(object) = next else { continue };
            if facets.len() == MAX_REFERENCES {
                break;
            }
            facets.push(object);
            pending.extend(object.get("allOf").and_then(Json::as_array).into_iter().flatten().rev());
            if let Some(target) = object.get("$ref").and_then(Json::as_str) {
                pending.extend(target.strip_prefix('#').and_then(|pointer| self.0.pointer(pointer)));
            }
        }
        facets
    }

    /// The alternatives of a schema (`anyOf`, `oneOf`) but for `null`, which TOML doesn't have.
    pub(super) fn branches(self, schema: &'s Json) -> Vec<&'s Json> {
        let of = |facet: &'s Map<String, Json>| {
            ["anyOf", "oneOf"].into_iter().filter_map(|key| facet.get(key)?.as_array()).flatten()
        };
        let branches = self.facets(schema).into_iter().flat_map(of);
        branches.filter(|branch| branch.get("type").and_then(Json::as_str) != Some("null")).collect()
    }

    /// The JSON types that a schema accepts; empty when it accepts any.
    pub(super) fn types(self, schema: &'s Json) -> Vec<&'s str> {
        self.types_within(schema, MAX_REFERENCES)
    }

    fn types_within(self, schema: &'s Json, depth: usize) -> Vec<&'s str> {
        let facets = self.facets(schema);
        for facet in &facets {
            match facet.get("type") {
                Some(Json::String(name)) => return vec![name],
                Some(Json::Array(names)) => {
                    return names.iter().filter_map(Json::as_str).filter(|name| *name != "null").collect();
                }
                _ => {}
            }
        }
        if let Some(names) = facets.iter().find_map(|facet| names_here(facet)) {
            let of = |name: &Json| match name {
                Json::String(_) => "string",
                Json::Bool(_) => "boolean",
                Json::Number(number) if number.is_f64() => "number",
                Json::Number(_) => "integer",
                _ => "null",
            };
            return unique(names.into_iter().map(of));
        }
        if facets.iter().any(|facet| facet.contains_key("properties")) {
            return vec!["object"];
        }
        let branches = if depth == 0 { Vec::new() } else { self.branches(schema) };
        let types: Vec<_> = branches.into_iter().map(|branch| self.types_within(branch, depth - 1)).collect();
        if types.iter().any(Vec::is_empty) { Vec::new() } else { unique(types.into_iter().flatten()) }
    }

    /// All values of a schema that only lists values (`const`, `enum`, or alternatives of them).
    pub(super) fn names(self, schema: &'s Json) -> Option<Vec<&'s Json>> {
        self.names_within(schema, MAX_REFERENCES)
    }

    fn names_within(self, schema: &'s Json, depth: usize) -> Option<Vec<&'s Json>> {
        if let Some(names) = self.facets(schema).into_iter().find_map(names_here) {
            return Some(names);
        }
        let branches = if depth == 0 { Vec::new() } else { self.branches(schema) };
        if branches.is_empty() {
            return None;
        }
        let lists: Option<Vec<_>> = branches.into_iter().map(|branch| self.names_within(branch, depth - 1)).collect();
        Some(lists?.into_iter().flatten().collect())
    }

    /// What each of a schema's values means, where it lists values and says so.
    fn meanings(self, schema: &'s Json, depth: usize) -> Vec<(&'s Json, &'s str)> {
        let of = |branch: &'s Json| {
            let facets = self.facets(branch);
            let one = facets.iter().find_map(|facet| match names_here(facet)?.as_slice() {
                [name] => Some((*name, facet.get("description")?.as_str()?)),
                _ => None,
            });
            match one {
                Some(meaning) => vec![meaning],
                None if depth > 0 => self.meanings(branch, depth - 1),
                None => Vec::new(),
            }
        };
        self.branches(schema).into_iter().flat_map(of).collect()
    }

    /// The keys of a table with their schemas.
    pub(super) fn properties(self, schema: &'s Json) -> Vec<(&'s String, &'s Json)> {
        let facets = self.facets(schema).into_iter();
        facets.filter_map(|facet| facet.get("properties")?.as_object()).flatten().collect()
    }

    /// The schema of an array's elements.
    pub(super) fn items(self, schema: &'s Json) -> Option<&'s Json> {
        self.facets(schema).into_iter().find_map(|facet| facet.get("items"))
    }

    /// The first text under a key such as `description`, the nearest to where the schema is used.
    fn text(self, schema: &'s Json, key: &str) -> Option<&'s str> {
        self.facets(schema).into_iter().find_map(|facet| facet.get(key)?.as_str())
    }

    /// The first line of the description.
    pub(super) fn summary(self, schema: &'s Json) -> Option<&'s str> {
        self.text(schema, "description").and_then(|text| text.lines().next())
    }

    /// What a schema allows, in words: `integer in [1, ∞) or "all"`.
    pub(super) fn describe(self, schema: &'s Json) -> String {
        self.describe_within(schema, 4)
    }

    fn describe_within(self, schema: &'s Json, depth: usize) -> String {
        if let Some(names) = self.names(schema) {
            return names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        }
        let branches = self.branches(schema);
        if !branches.is_empty() && depth > 0 {
            return unique(branches.into_iter().map(|branch| self.describe_within(branch, depth - 1))).join(" or ");
        }
        let words = self.types(schema).into_iter().map(|name| match name {
            "object" => self.describe_table(schema),
            "array" => match self.items(schema) {
                Some(items) if depth > 0 => match self.describe_within(items, depth - 1) {
                    words if words.starts_with("table") => "array of tables".to_owned(),
                    words if matches!(words.as_str(), "integer" | "number" | "string") => format!("array of {words}s"),
                    words => format!("array of {words}"),
                },
                _ => "array".to_owned(),
            },
            "integer" | "number" => match self.bounds(schema) {
                Some(bounds) => format!("{name} in {bounds}"),
                None => name.to_owned(),
            },
            other => other.to_owned(),
        });
        let words = unique(words);
        if words.is_empty() { "any value".to_owned() } else { words.join(" or ") }
    }

    fn describe_table(self, schema: &'s Json) -> String {
        let keys: Vec<_> = self.properties(schema).into_iter().map(|(key, _)| key.as_str()).collect();
        if (1..=6).contains(&keys.len()) { format!("table {{ {} }}", keys.join(", ")) } else { "table".to_owned() }
    }

    /// The interval that a number must lie in.
    pub(super) fn bounds(self, schema: &'s Json) -> Option<Bounds<'s>> {
        let facets = self.facets(schema);
        let find = |key: &str| facets.iter().find_map(|facet| facet.get(key).filter(|bound| bound.is_number()));
        let bound = |closed: &str, open: &str| match find(open) {
            Some(bound) => Some((bound, true)),
            None => find(closed).map(|bound| (bound, false)),
        };
        let low = bound("minimum", "exclusiveMinimum");
        let high = bound("maximum", "exclusiveMaximum");
        (low.is_some() || high.is_some()).then_some(Bounds { low, high })
    }

    /// What the integer type behind a schema can hold at all.
    pub(super) fn integer_limits(self, schema: &'s Json) -> Option<(i128, i128)> {
        match self.text(schema, "format")? {
            "int32" => Some((i32::MIN.into(), i32::MAX.into())),
            "uint32" => Some((0, u32::MAX.into())),
            "int64" | "int" => Some((i64::MIN.into(), i64::MAX.into())),
            "uint64" | "uint" => Some((0, u64::MAX.into())),
            _ => None,
        }
    }

    /// All keys of all tables, each with the header of its table: `("[radio]", "bandwidth_mhz")`.
    pub(super) fn all_keys(self) -> Vec<(String, &'s str)> {
        let mut keys = Vec::new();
        self.for_each_table(&mut |Section { header, schema, .. }| {
            keys.extend(self.properties(schema).into_iter().map(|(key, _)| (header.clone(), key.as_str())));
        });
        keys
    }

    /// The object of a table's keys; one and the same wherever a definition is used.
    fn keys(self, schema: &'s Json) -> Option<&'s Json> {
        self.facets(schema).into_iter().filter_map(|facet| facet.get("properties")).next_back()
    }

    /// The tables that a value may be, or be an array of, and whether it is an array.
    fn tables(self, schema: &'s Json, depth: usize) -> Vec<(&'s Json, bool)> {
        let branches = if depth == 0 { Vec::new() } else { self.branches(schema) };
        if !branches.is_empty() {
            return branches.into_iter().flat_map(|branch| self.tables(branch, depth - 1)).collect();
        }
        match (self.keys(schema), self.items(schema)) {
            (Some(_), _) => vec![(schema, false)],
            (None, Some(items)) => vec![(items, true)],
            (None, None) => Vec::new(),
        }
    }

    /// Visits the root and every table below it once.
    fn for_each_table(self, visit: &mut impl FnMut(Section<'s>)) {
        let mut seen: Vec<&Json> = Vec::new();
        let description = self.text(self.0, "description");
        let mut pending = vec![Section { header: String::new(), path: String::new(), description, schema: self.0 }];
        while let Some(section) = pending.pop() {
            let (path, schema) = (section.path.clone(), section.schema);
            let Some(keys) = self.keys(schema) else { continue };
            if seen.iter().any(|&known| std::ptr::eq(known, keys)) {
                continue;
            }
            seen.push(keys);
            visit(section);
            let mut inner = Vec::new();
            for (key, schema) in self.properties(schema) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                // Where the value may also be a number, the key's description is not the table's.
                let is_table = self.types(schema).iter().all(|name| matches!(*name, "object" | "array"));
                for (table, is_array) in self.tables(schema, MAX_REFERENCES) {
                    let header = if is_array { format!("[[{path}]]") } else { format!("[{path}]") };
                    let description = self.text(if is_table { schema } else { table }, "description");
                    inner.push(Section { header, path: path.clone(), description, schema: table });
                }
            }
            pending.extend(inner.into_iter().rev());
        }
    }
}

/// A table of the scenario file.
struct Section<'s> {
    /// Its header, `[radio]` or `[[ue]]`; empty for the root.
    header: String,
    /// Its dotted path.
    path: String,
    /// What it is for.
    description: Option<&'s str>,
    /// Its schema.
    schema: &'s Json,
}

/// The values that one schema object lists itself.
fn names_here(facet: &Map<String, Json>) -> Option<Vec<&Json>> {
    match (facet.get("const"), facet.get("enum")) {
        (Some(name), _) => Some(vec![name]),
        (None, Some(Json::Array(names))) => Some(names.iter().filter(|name| !name.is_null()).collect()),
        _ => None,
    }
}

/// The elements without repetitions, in their order.
fn unique<T: PartialEq>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut unique = Vec::new();
    for item in items {
        if !unique.contains(&item) {
            unique.push(item);
        }
    }
    unique
}

/// An interval of numbers; each end with whether it is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<'s> {
    /// The lower end.
    pub(super) low: Option<(&'s Json, bool)>,
    /// The upper end.
    pub(super) high: Option<(&'s Json, bool)>,
}

impl std::fmt::Display for Bounds<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.low {
            Some((bound, open)) => write!(f, "{}{}", if open { '(' } else { '[' }, number(bound))?,
            None => f.write_str("(-∞")?,
        }
        match self.high {
            Some((bound, open)) => write!(f, ", {}{}", number(bound), if open { ')' } else { ']' }),
            None => f.write_str(", ∞)"),
        }
    }
}

/// A number of a schema as a person writes it: `0` for 0.0, `1e-9` for 1e-9.
fn number(json: &Json) -> String {
    match json.as_f64() {
        Some(value) if json.is_f64() && (value == 0.0 || (1e-4..1e7).contains(&value.abs())) => format!("{value}"),
        Some(value) if json.is_f64() => format!("{value:e}"),
        _ => json.to_string(),
    }
}

/// The reference of a scenario file from its JSON Schema, in Markdown: a section per table in the order of the schema,
/// a row per key with type and allowed values, default and description. The same schema always gives the same text.
///
/// A table that stands in several places (a value that varies, say) has one section, at its first place.
pub fn scenario_reference_markdown(schema: &Json) -> String {
    let schemas = Schemas(schema);
    let mut sections = Vec::new();
    schemas.for_each_table(&mut |section| sections.push(section));
    let mut text = String::new();
    for Section { header, path, description, schema: table } in &sections {
        let title = if header.is_empty() { "Top level".to_owned() } else { format!("`{header}`") };
        let _ = write!(text, "{}## {title}\n\n", if text.is_empty() { "" } else { "\n" });
        if let Some(description) = description {
            let _ = write!(text, "{}\n\n", description.trim());
        }
        text.push_str("| key | type | default | description |\n|---|---|---|---|\n");
        let required = |key: &str| {
            let lists = schemas.facets(table).into_iter().filter_map(|facet| facet.get("required")?.as_array());
            lists.flatten().any(|name| name == key)
        };
        for (key, schema) in schemas.properties(table) {
            let anchor = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let mut kind = schemas.describe(schema);
            // A table with a section at another place.
            let inner = schemas.tables(schema, MAX_REFERENCES).first().and_then(|(table, _)| schemas.keys(table));
            let is_home = |section: &&Section| {
                let same = |(keys, inner): (&Json, &Json)| std::ptr::eq(keys, inner);
                section.path != anchor && schemas.keys(section.schema).zip(inner).is_some_and(same)
            };
            if let Some(home) = sections.iter().find(is_home) {
                let _ = write!(kind, ", as `{}`", home.header);
            }
            let default = match schemas.facets(schema).into_iter().find_map(|facet| facet.get("default")) {
                _ if required(key) => "required".to_owned(),
                Some(Json::Null) | None => "—".to_owned(),
                Some(Json::Object(keys)) if keys.is_empty() => "—".to_owned(),
                Some(default) if is_section(default, &schemas.types(schema)) => "see its section".to_owned(),
                Some(default) => format!("`{}`", toml_text(default)),
            };
            let mut cells =
                [kind.as_str(), &default, schemas.text(schema, "description").unwrap_or("")].map(table_cell);
            let items = schemas.items(schema).map(|items| schemas.meanings(items, MAX_REFERENCES)).unwrap_or_default();
            for (value, meaning) in schemas.meanings(schema, MAX_REFERENCES).into_iter().chain(items) {
                let _ = write!(cells[2], "<br>`{}`: {}", toml_text(value), table_cell(meaning));
            }
            let _ = writeln!(text, "| <a id=\"{anchor}\"></a>`{key}` | {} |", cells.join(" | "));
        }
    }
    text
}

/// Whether a default is a table, or an array of tables, that stands in the file under its own header.
fn is_section(default: &Json, types: &[&str]) -> bool {
    match default {
        Json::Object(_) => !types.contains(&"number") && !types.contains(&"integer"),
        Json::Array(items) => items.first().is_some_and(Json::is_object),
        _ => false,
    }
}

/// A text on one line, its bars escaped.
fn table_cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// A default value as TOML writes it.
fn toml_text(value: &Json) -> String {
    match value {
        Json::Array(items) => format!("[{}]", items.iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        Json::Object(entries) => {
            let entries = entries.iter().filter(|(_, value)| !value.is_null());
            let entries: Vec<_> = entries.map(|(key, value)| format!("{key} = {}", toml_text(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

//! A JSON Schema with its references followed, once: what the walk asks of every value.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value as Json;

use super::document::Value;
use super::reference::{Bounds, Schemas};

/// The place of a schema in its [`Outline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(usize);

/// All schemas that a root schema reaches.
pub(super) struct Outline<'s> {
    /// For words and messages.
    pub(super) schemas: Schemas<'s>,
    facts: Vec<Facts<'s>>,
    all_keys: OnceLock<Vec<(String, &'s str)>>,
}

/// What a schema says of a value, its references and `allOf` included.
pub(super) struct Facts<'s> {
    /// The schema itself.
    pub(super) schema: &'s Json,
    /// The types that it accepts; empty for any.
    types: Vec<&'s str>,
    /// Its alternatives.
    pub(super) branches: Vec<Id>,
    /// Its values, if it only lists values.
    pub(super) names: Option<Vec<&'s Json>>,
    /// The interval of a number.
    pub(super) bounds: Option<Bounds<'s>>,
    /// What the integer type can hold.
    pub(super) integer_limits: Option<(i128, i128)>,
    /// Least and most characters of a text.
    pub(super) characters: [Option<usize>; 2],
    /// Least and most elements of an array.
    pub(super) elements: [Option<usize>; 2],
    /// The schema of an array's elements.
    pub(super) items: Option<Id>,
    /// The keys of a table.
    pub(super) properties: Vec<(&'s str, Id)>,
    /// What other keys hold.
    pub(super) others: Others,
    /// Keys that must be there.
    pub(super) required: Vec<&'s str>,
}

/// What keys beyond the named ones hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// There are none.
    Refused,
    /// Values of a schema.
    Of(Id),
    /// Anything.
    Any,
}

impl<'s> Outline<'s> {
    /// Follows all references of a root schema.
    pub(super) fn new(root: &'s Json) -> Self {
        let schemas = Schemas(root);
        let mut outline = Self { schemas, facts: Vec::new(), all_keys: OnceLock::new() };
        // The first schema met is the root and gets the first place; `pending` ends because schemas are finitely many.
        let mut places = Places { schemas: Vec::new(), ids: BTreeMap::new() };
        places.of(root);
        while let Some(schema) = places.schemas.get(outline.facts.len()).copied() {
            let facts = facts(schemas, schema, &mut places);
            outline.facts.push(facts);
        }
        outline
    }

    /// The schema that was followed.
    pub(super) const ROOT: Id = Id(0);

    /// What a schema says.
    pub(super) fn facts(&self, id: Id) -> &Facts<'s> {
        &self.facts[id.0]
    }

    /// All keys of all tables, as [`Schemas::all_keys`].
    pub(super) fn all_keys(&self) -> &[(String, &'s str)] {
        self.all_keys.get_or_init(|| self.schemas.all_keys())
    }
}

impl Facts<'_> {
    /// Whether the type of a value is one that the schema names.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        let fits = |name: &&str| match value {
            Value::String(_) => *name == "string",
            Value::Integer(_) => matches!(*name, "integer" | "number"),
            Value::Float(_) => *name == "number",
            Value::Boolean(_) => *name == "boolean",
            Value::Array(_) => *name == "array",
            Value::Table(_) => *name == "object",
            Value::Datetime | Value::Unreadable => false,
        };
        self.types.is_empty() || self.types.iter().any(fits)
    }
}

/// Schemas in the order in which they were met; one is known by its address.
struct Places<'s> {
    schemas: Vec<&'s Json>,
    ids: BTreeMap<*const Json, Id>,
}

impl<'s> Places<'s> {
    fn of(&mut self, schema: &'s Json) -> Id {
        *self.ids.entry(std::ptr::from_ref(schema)).or_insert_with(|| {
            self.schemas.push(schema);
            Id(self.schemas.len() - 1)
        })
    }
}

fn facts<'s>(schemas: Schemas<'s>, schema: &'s Json, places: &mut Places<'s>) -> Facts<'s> {
    let facets = schemas.facets(schema);
    let limit = |key: &str| facets.iter().find_map(|facet| facet.get(key)?.as_u64()).map(|limit| limit as usize);
    let others = match facets.iter().find_map(|facet| facet.get("additionalProperties")) {
        None => Others::Any,
        Some(Json::Bool(false)) => Others::Refused,
        Some(schema) => Others::Of(places.of(schema)),
    };
    let required = facets.iter().filter_map(|facet| facet.get("required")?.as_array()).flatten();
    Facts {
        schema,
        types: schemas.types(schema),
        branches: schemas.branches(schema).into_iter().map(|branch| places.of(branch)).collect(),
        names: schemas.names(schema),
        bounds: schemas.bounds(schema),
        integer_limits: schemas.integer_limits(schema),
        characters: [limit("minLength"), limit("maxLength")],
        elements: [limit("minItems"), limit("maxItems")],
        items: schemas.items(schema).map(|items| places.of(items)),
        properties: schemas
            .properties(schema)
            .into_iter()
            .map(|(key, schema)| (key.as_str(), places.of(schema)))
            .collect(),
        others,
        required: required.filter_map(Json::as_str).collect(),
    }
}

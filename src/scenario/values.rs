//! Values of more than one form: a number or a range, a layer or `"all"`, one
//! table or several. Each reads its form from the TOML type alone and so keeps
//! its place in the file.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::channel::{Draw, Parameter};

/// Either a number `N` or a table `T`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum NumberOr<N, T> {
    /// A number.
    Number(N),
    /// A table.
    Table(T),
}

/// A real long-term parameter.
pub type Varying = NumberOr<f64, VaryingRange>;
/// A whole number, or one drawn from a range.
pub type Count = NumberOr<u32, CountRange>;

/// A range of a parameter that varies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaryingRange {
    /// Least value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// When a value is drawn, uniformly: "per-ue", "per-episode" or "per-request".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draw: Option<Draw>,
    /// Instead of `draw`: a Brownian walk between min and max, reflected at both; its standard deviation after one second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub walk_per_sqrt_s: Option<f64>,
}

/// A range of whole numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountRange {
    /// Least value.
    pub min: u32,
    /// Largest value.
    pub max: u32,
    /// When a value is drawn, uniformly: "per-ue", "per-episode" or "per-request".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draw: Option<Draw>,
}

impl Varying {
    /// The parameter, if a range says how it varies.
    pub fn parameter(&self) -> Option<Parameter> {
        match self {
            Self::Number(value) => Some(Parameter::Constant(*value)),
            Self::Table(VaryingRange { min, max, draw: Some(draw), walk_per_sqrt_s: None }) => {
                Some(Parameter::Drawn { min: *min, max: *max, draw: *draw })
            }
            Self::Table(VaryingRange { min, max, draw: None, walk_per_sqrt_s: Some(per_sqrt_s) }) => {
                Some(Parameter::Walk { min: *min, max: *max, per_sqrt_s: *per_sqrt_s })
            }
            Self::Table(_) => None,
        }
    }

    /// Least and largest value.
    pub fn bounds(&self) -> (f64, f64) {
        match self {
            Self::Number(value) => (*value, *value),
            Self::Table(range) => (range.min, range.max),
        }
    }
}

impl Count {
    /// Least and largest value.
    pub fn bounds(&self) -> (u32, u32) {
        match self {
            Self::Number(value) => (*value, *value),
            Self::Table(range) => (range.min, range.max),
        }
    }
}

/// A number type with its visitor methods and schema.
pub trait Number: Sized {
    /// What messages say is expected.
    const EXPECTED: &'static str;
    /// From a TOML integer.
    fn from_integer(value: i64) -> Option<Self>;
    /// From a TOML float.
    fn from_float(value: f64) -> Option<Self>;
    /// Its JSON Schema.
    fn schema() -> Schema;
}

impl Number for f64 {
    const EXPECTED: &'static str = "a number or a table with min, max and draw";
    fn from_integer(value: i64) -> Option<Self> {
        Some(value as f64)
    }
    fn from_float(value: f64) -> Option<Self> {
        Some(value)
    }
    fn schema() -> Schema {
        json_schema!({ "type": "number" })
    }
}

impl Number for u32 {
    const EXPECTED: &'static str = "a whole number or a table with min, max and draw";
    fn from_integer(value: i64) -> Option<Self> {
        value.try_into().ok()
    }
    fn from_float(_: f64) -> Option<Self> {
        None
    }
    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
    }
}

impl<'de, N: Number, T: Deserialize<'de>> Deserialize<'de> for NumberOr<N, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form<N, T>(PhantomData<(N, T)>);

        impl<'de, N: Number, T: Deserialize<'de>> Visitor<'de> for Form<N, T> {
            type Value = NumberOr<N, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(N::EXPECTED)
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
                N::from_integer(value)
                    .map(NumberOr::Number)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Signed(value), &self))
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
                N::from_float(value)
                    .map(NumberOr::Number)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Float(value), &self))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(NumberOr::Table)
            }
        }
        deserializer.deserialize_any(Form(PhantomData))
    }
}

impl<N: Number, T: JsonSchema> JsonSchema for NumberOr<N, T> {
    fn schema_name() -> Cow<'static, str> {
        format!("NumberOr{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [N::schema(), generator.subschema_for::<T>()] })
    }
}

/// The largest split: a layer, or all of the model's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitMax {
    /// The model's last layer.
    All,
    /// This layer.
    Layer(u32),
}

impl Serialize for SplitMax {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Layer(layer) => serializer.serialize_u32(*layer),
        }
    }
}

impl<'de> Deserialize<'de> for SplitMax {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl Visitor<'_> for Form {
            type Value = SplitMax;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a layer or \"all\"")
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
                u32::try_from(value)
                    .map(SplitMax::Layer)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(value), &self))
            }
            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
                if value == "all" {
                    Ok(SplitMax::All)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(value), &self))
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl JsonSchema for SplitMax {
    fn schema_name() -> Cow<'static, str> {
        "SplitMax".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 1, "maximum": u32::MAX }, { "enum": ["all"] }] })
    }
}

/// One table that serves all, or named ones.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// `[table]`
    One(T),
    /// `[[table]]`
    Many(Vec<T>),
}

impl<T: Default> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::One(T::default())
    }
}

impl<T> OneOrMany<T> {
    /// The tables, in order.
    pub fn tables(&self) -> &[T] {
        match self {
            Self::One(table) => std::slice::from_ref(table),
            Self::Many(tables) => tables,
        }
    }

    /// The path of table `index` under `key`.
    pub fn path(&self, key: &str, index: usize) -> String {
        match self {
            Self::One(_) => key.to_owned(),
            Self::Many(_) => format!("{key}[{index}]"),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Form<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table or an array of tables")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(OneOrMany::One)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, tables: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(tables)).map(OneOrMany::Many)
            }
        }
        deserializer.deserialize_any(Form(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [table, { "type": "array", "items": table, "minItems": 1 }] })
    }
}

//! The value of an axis: what the scenario gets, and the cell of a CSV file.

use std::fmt::{self, Write as _};

use crate::scenario::{Node, Place, Value};

/// A value of an axis at a point.
#[derive(Clone, Debug, PartialEq)]
pub enum AxisValue {
    /// A whole number.
    Integer(i64),
    /// A real number.
    Float(f64),
    /// Yes or no.
    Boolean(bool),
    /// A text.
    Text(String),
    /// An array or a table, as TOML writes it on one line.
    Toml(String),
}

impl AxisValue {
    /// The value that a file gives.
    pub(super) fn of(node: &Node) -> Self {
        match &node.value {
            Value::Integer(number) => i64::try_from(*number).map_or_else(|_| Self::Toml(toml(node)), Self::Integer),
            Value::Float(number) => Self::Float(*number),
            Value::Boolean(flag) => Self::Boolean(*flag),
            Value::String(text) => Self::Text(text.clone()),
            _ => Self::Toml(toml(node)),
        }
    }

    /// The value in a scenario's JSON; `None` for null, tables and arrays.
    pub(super) fn of_json(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::Bool(flag) => Some(Self::Boolean(*flag)),
            serde_json::Value::String(text) => Some(Self::Text(text.clone())),
            serde_json::Value::Number(number) => {
                number.as_i64().map(Self::Integer).or_else(|| number.as_f64().map(Self::Float))
            }
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Boolean(_) | Self::Text(_) | Self::Toml(_) => None,
        }
    }

    /// Whether both say the same: numbers by their value, `1` as `1.0`.
    pub fn same(&self, other: &Self) -> bool {
        match (self.as_f64(), other.as_f64()) {
            (Some(a), Some(b)) => a == b,
            _ => self == other,
        }
    }

    /// The number as a value of the scenario at a place.
    pub(super) fn node(&self, place: &Place) -> Node {
        let value = match self {
            Self::Integer(number) => Value::Integer((*number).into()),
            Self::Float(number) => Value::Float(*number),
            Self::Boolean(flag) => Value::Boolean(*flag),
            Self::Text(text) | Self::Toml(text) => Value::String(text.clone()),
        };
        Node { place: place.clone(), value }
    }
}

impl fmt::Display for AxisValue {
    /// The cell of a CSV file: numbers in their shortest form that reads back, texts without quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => f.write_str(zmij::Buffer::new().format(*value)),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Text(text) | Self::Toml(text) => f.write_str(text),
        }
    }
}

/// A value as TOML on one line.
pub(super) fn toml(node: &Node) -> String {
    match &node.value {
        Value::String(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => zmij::Buffer::new().format(*number).to_owned(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Table(entries) => {
            let key = |key: &str| crate::scenario::problem::child_path("", key);
            let entries = entries.iter().map(|entry| format!("{} = {}", key(&entry.key), toml(&entry.node)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Datetime | Value::Unreadable => "?".to_owned(),
    }
}

/// A text as a basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Document;

    #[test]
    fn values_on_one_line_read_back() {
        let text = "a = [1, 2.5, 1e-7, \"x\\\"\\n\", true]\nb = { \"two words\" = [], c = -3 }\n";
        let document = Document::parse("t", text, &[]);
        let line = toml(document.root());
        assert_eq!(line, "{ a = [1, 2.5, 1e-7, \"x\\\"\\u000A\", true], b = { \"two words\" = [], c = -3 } }");
        let again = Document::parse("t", format!("r = {line}"), &[]);
        assert_eq!(toml(again.root().get("r").unwrap()), line);
    }

    #[test]
    fn numbers_are_compared_by_value_and_printed_as_written() {
        assert!(AxisValue::Integer(1).same(&AxisValue::Float(1.0)));
        assert!(!AxisValue::Text("1".into()).same(&AxisValue::Integer(1)));
        let cells = [AxisValue::Float(0.3), AxisValue::Integer(-4), AxisValue::Text("a,b".into())];
        assert_eq!(cells.map(|cell| cell.to_string()), ["0.3", "-4", "a,b"]);
    }
}

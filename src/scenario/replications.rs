//! How often a scenario is repeated: so many times, or until a mean is known well enough.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::record::Figures;
use crate::scenario::problem::Problem;
use crate::scenario::schema::Scenario;
use crate::scenario::walk::nearest;

/// Most replications of a scenario.
const MOST: u32 = 100_000;
/// What a goal looks like.
const FORM: &str = "\"<column> within <x>%\" of its mean, or \"<column> within <x>\" in the column's unit";

/// `replications`: a number, or a table with a goal.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Replications {
    /// So many.
    Number(u32),
    /// As many as it takes.
    Until(UntilTable),
}

/// `replications = { until = …, max = … }`: more and more replications, until the mean of a figure over them is known well enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UntilTable {
    /// The goal: `"e2e_mean within 5%"`, the half width of the confidence interval (Student's t over replications) beside the mean, or `"e2e_mean within 0.01"`, in the column's unit. The column is one of the row `all` of summary.csv, with or without its `_s`. It is judged after `min` replications and then each time after half as many again (3, 5, 8, 12, 18, …), whatever the number of threads. Stopping at the first success makes intervals cover less often than `confidence` says: of normal figures that vary by 10 % of their mean, to within 5 %, 91 % instead of 95 % with `min = 3`, 94 % with `min = 10`.
    pub until: String,
    /// Most replications; if the goal isn't met then, a note says how far it was.
    #[schemars(range(min = 2, max = 100_000))]
    pub max: u32,
    /// Replications before the goal is judged for the first time.
    #[serde(default = "three")]
    #[schemars(range(min = 2, max = 100_000))]
    pub min: u32,
    /// Confidence of the interval.
    #[serde(default = "ninety_five_percent")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub confidence: f64,
}

fn three() -> u32 {
    3
}
fn ninety_five_percent() -> f64 {
    0.95
}

impl Default for Replications {
    fn default() -> Self {
        Self::Number(1)
    }
}

impl fmt::Display for Replications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(count) => count.fmt(f),
            Self::Until(UntilTable { until, max, min, .. }) => write!(f, "{min} to {max} until {until}"),
        }
    }
}

impl<'de> Deserialize<'de> for Replications {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = Replications;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or a table with until and max")
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
                let count = u32::try_from(value).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))?;
                Ok(Replications::Number(count))
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
                let count = u32::try_from(value).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))?;
                Ok(Replications::Number(count))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                UntilTable::deserialize(MapAccessDeserializer::new(map)).map(Replications::Until)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl JsonSchema for Replications {
    fn schema_name() -> Cow<'static, str> {
        "Replications".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let number = json_schema!({ "type": "integer", "minimum": 1, "maximum": MOST });
        json_schema!({ "anyOf": [number, generator.subschema_for::<UntilTable>()] })
    }
}

/// How well a mean shall be known: the largest half width of its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Precision {
    /// As a share of the mean.
    Relative(f64),
    /// In the unit of the column.
    Absolute(f64),
}

/// What replications are repeated for: the mean of a figure, to a precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// The figure: its place in [`Figures::columns`].
    pub figure: usize,
    /// How well.
    pub precision: Precision,
}

impl Goal {
    /// Reads `e2e_mean within 5%`.
    ///
    /// # Errors
    /// A [`Problem`] at `replications.until`: another form, a column that `summary.csv` doesn't have, or a
    /// precision that is no number, not above 0, or above 100 %.
    pub fn parse(text: &str) -> Result<Self, Box<Problem>> {
        let refuse = |message: String| Problem::error("replications.until", message).with_value(format!("{text:?}"));
        let words: Vec<&str> = text.split_whitespace().collect();
        let (column, width) = match words.as_slice() {
            [column, "within", width] => (*column, *width),
            // `5 %`
            [column, "within", width, "%"] => (*column, &text[text.find(width).unwrap_or(0)..]),
            _ => return Err(Box::new(refuse("this is no goal for replications".into()).with_allowed(FORM))),
        };
        let names = || Figures::columns().iter().map(|column| column.name);
        let figure = names().position(|name| name == column || name.strip_suffix("_s") == Some(column));
        let Some(figure) = figure else {
            let near = nearest(column, names().chain(names().filter_map(|name| name.strip_suffix("_s"))));
            let hint = near.map_or_else(
                || "docs/columns.md lists the columns of summary.csv".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(Box::new(refuse(format!("summary.csv has no column `{column}`")).with_hint(hint)));
        };
        let (number, share) = match width.trim().strip_suffix('%') {
            Some(number) => (number.trim(), true),
            None => (width, false),
        };
        let most = if share { 100.0 } else { f64::MAX };
        match number.parse::<f64>() {
            Ok(number) if number > 0.0 && number <= most => {
                let precision = if share { Precision::Relative(number / 100.0) } else { Precision::Absolute(number) };
                Ok(Self { figure, precision })
            }
            Ok(_) => {
                let allowed = if share { "above 0 % and up to 100 %" } else { "a number above 0" };
                Err(Box::new(refuse(format!("`{width}` is out of range")).with_allowed(allowed)))
            }
            Err(_) => Err(Box::new(refuse(format!("`{width}` is no number")).with_allowed(FORM))),
        }
    }

    /// The name of the figure's column.
    pub fn column(&self) -> &'static str {
        Figures::columns().get(self.figure).map_or("", |column| column.name)
    }
}

/// What [`Replications`] say beyond types and ranges.
pub(super) fn check_replications(problems: &mut Vec<Problem>, scenario: &Scenario) {
    let Replications::Until(UntilTable { until, max, min, .. }) = &scenario.replications else { return };
    if let Err(problem) = Goal::parse(until) {
        problems.push(*problem);
    }
    if max < min {
        problems.push(
            Problem::error("replications.max", "at most fewer replications than at least")
                .with_value(max)
                .with_allowed(format!("replications.min = {min} to {MOST}"))
                .with_hint("raise it, or lower replications.min"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals() {
        let goal = |text: &str| Goal::parse(text).map(|goal| (goal.column(), goal.precision)).unwrap();
        assert_eq!(goal("e2e_mean within 5%"), ("e2e_mean_s", Precision::Relative(0.05)));
        assert_eq!(goal("  e2e_mean_s  within 2.5 % "), ("e2e_mean_s", Precision::Relative(0.025)));
        assert_eq!(goal("edge_utilisation within 1e-3"), ("edge_utilisation", Precision::Absolute(1e-3)));
        assert_eq!(goal("reward_mean within 100%"), ("reward_mean", Precision::Relative(1.0)));
    }

    #[test]
    fn goals_that_are_refused_say_why() {
        for (text, message, more) in [
            ("", "this is no goal", "within <x>%"),
            ("e2e_mean < 5%", "this is no goal", "within <x>%"),
            ("e2e_mean within", "this is no goal", "within <x>%"),
            ("e2e_mean within 5% of it", "this is no goal", "within <x>%"),
            ("e2e_maen within 5%", "no column `e2e_maen`", "did you mean `e2e_mean`?"),
            ("name within 5%", "no column `name`", ""),
            ("e2e_mean within five", "`five` is no number", "within <x>%"),
            ("e2e_mean within %", "`%` is no number", ""),
            ("e2e_mean within 0%", "`0%` is out of range", "above 0 %"),
            ("e2e_mean within -5%", "`-5%` is out of range", "above 0 %"),
            ("e2e_mean within -5 %", "out of range", "above 0 %"),
            ("e2e_mean within 101%", "`101%` is out of range", "up to 100 %"),
            ("e2e_mean within 0", "`0` is out of range", "above 0"),
            ("e2e_mean within nan", "`nan` is out of range", "above 0"),
            ("e2e_mean within inf", "`inf` is out of range", "above 0"),
            ("e2e_mean within NaN%", "`NaN%` is out of range", "above 0 %"),
        ] {
            let problem = Goal::parse(text).unwrap_err();
            let said = problem.to_string();
            assert!(said.contains(message) && said.contains(more), "{text:?}: {said}");
            assert_eq!(problem.value, Some(format!("{text:?}")));
        }
    }
}

//! Ranges of the study file: evenly spaced values of an axis, and intervals to draw from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::{Node, Problem, Value};
use crate::study::log_scale::{exp, ln};
use crate::study::value::AxisValue;

/// How a range is divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Equal differences.
    #[default]
    Linear,
    /// Equal ratios; both ends are above 0.
    Log,
}

/// A range of an axis: `"channel.noise_std" = { from = 0.3, to = 2.0, count = 7 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpacedRange {
    /// First value.
    pub from: f64,
    /// Last value.
    pub to: f64,
    /// Values, both ends included. They are rounded to 12 significant digits; whole numbers where both ends are written as integers and every value is whole.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub count: u64,
    /// How it is divided.
    #[serde(default)]
    pub scale: Scale,
}

/// An interval to draw from: `"channel.noise_std" = { min = 0.3, max = 2.0, scale = "log" }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrawnRange {
    /// Least value.
    pub min: f64,
    /// Largest value. Whole numbers are drawn where both ends are written as integers.
    pub max: f64,
    /// Whether values or their logarithms are uniform.
    #[serde(default)]
    pub scale: Scale,
}

/// The integers that the two ends of a range are written as, if both are.
pub(super) fn integer_ends(node: &Node, keys: [&str; 2]) -> Option<(i64, i64)> {
    let integer = |key| match node.get(key)?.value {
        Value::Integer(number) => i64::try_from(number).ok(),
        _ => None,
    };
    Some((integer(keys[0])?, integer(keys[1])?))
}

impl SpacedRange {
    /// Its values, or what is wrong with it.
    pub(super) fn values(&self, path: &str, integers: bool) -> Result<Vec<AxisValue>, Box<Problem>> {
        let Self { from, to, count, scale } = *self;
        if count == 1 && from != to {
            let problem = Problem::error(path, format!("one value can't be both ends of `{path}`"));
            let problem = problem.with_value(format!("from = {from}, to = {to}")).with_hint("set count to 2 or more");
            return Err(Box::new(problem));
        }
        positive_ends(path, scale, [("from", from), ("to", to)])?;
        let last = count.saturating_sub(1);
        let value = |index: u64| match (index, scale) {
            (0, _) => from,
            (index, _) if index == last => to,
            (index, Scale::Linear) => round(from + (to - from) * index as f64 / last as f64),
            (index, Scale::Log) => round(exp(ln(from) + (ln(to) - ln(from)) * index as f64 / last as f64)),
        };
        let values: Vec<f64> = (0..count).map(value).collect();
        if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
            return Err(Box::new(Problem::error(path, format!("`{path}` is too wide to divide")).with_value(bad)));
        }
        let whole = integers && values.iter().all(|value| value.fract() == 0.0 && value.abs() < 9e15);
        let kind = |value: f64| if whole { AxisValue::Integer(value as i64) } else { AxisValue::Float(value) };
        Ok(values.into_iter().map(kind).collect())
    }
}

impl DrawnRange {
    /// What is wrong with it.
    pub(super) fn check(&self, path: &str, integers: Option<(i64, i64)>) -> Result<(), Box<Problem>> {
        if !(self.max - self.min).is_finite() {
            return Err(Box::new(Problem::error(path, format!("`{path}` is too wide to draw from"))));
        }
        // Doubles can't tell large integers apart.
        if self.min > self.max || integers.is_some_and(|(min, max)| min > max) {
            let problem = Problem::error(format!("{path}.min"), "min is above max").with_value(self.min);
            return Err(Box::new(problem.with_allowed(format!("at most {}", self.max))));
        }
        positive_ends(path, self.scale, [("min", self.min), ("max", self.max)])
    }

    /// The value at a quantile u in (0, 1): the inverse of its distribution function.
    pub(super) fn at(&self, u: f64, integers: Option<(i64, i64)>) -> AxisValue {
        let between = |low: f64, high: f64| match self.scale {
            Scale::Linear => low + u * (high - low),
            Scale::Log => exp(ln(low) + u * (ln(high) - ln(low))),
        };
        match integers {
            // Each whole number n stands for [n, n + 1).
            Some((min, max)) => {
                let value = between(min as f64, max as f64 + 1.0).floor();
                AxisValue::Integer((value as i64).clamp(min, max))
            }
            None => AxisValue::Float(round(between(self.min, self.max)).clamp(self.min, self.max)),
        }
    }
}

fn positive_ends(path: &str, scale: Scale, ends: [(&str, f64); 2]) -> Result<(), Box<Problem>> {
    match ends.iter().find(|(_, end)| scale == Scale::Log && *end <= 0.0) {
        Some((key, end)) => {
            let problem = Problem::error(format!("{path}.{key}"), "a log scale has no values of 0 and below");
            let problem = problem.with_value(end).with_allowed("above 0");
            Err(Box::new(problem.with_hint("set scale = \"linear\", or begin above 0")))
        }
        None => Ok(()),
    }
}

/// 12 significant digits: `0.1 + 0.2` is 0.3, and what differs by a rounding only is the same run.
fn round(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(from: f64, to: f64, count: u64, scale: Scale) -> Vec<f64> {
        let values = SpacedRange { from, to, count, scale }.values("k", false).unwrap();
        values.iter().filter_map(AxisValue::as_f64).collect()
    }

    #[test]
    fn ranges_are_spaced_evenly() {
        assert_eq!(values(0.1, 0.5, 5, Scale::Linear), [0.1, 0.2, 0.3, 0.4, 0.5]);
        assert_eq!(values(1.0, 1000.0, 4, Scale::Log), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(values(2.0, 0.0, 3, Scale::Linear), [2.0, 1.0, 0.0]);
        assert_eq!(values(0.3, 2.0, 3, Scale::Log)[1], 0.774_596_669_241);
        let whole = SpacedRange { from: 1.0, to: 10.0, count: 4, scale: Scale::Linear }.values("k", true).unwrap();
        assert_eq!(whole, [1, 4, 7, 10].map(AxisValue::Integer));
    }

    #[test]
    fn quantiles_reach_both_ends() {
        let counts = DrawnRange { min: 1.0, max: 3.0, scale: Scale::Linear };
        let at = |u| counts.at(u, Some((1, 3)));
        assert_eq!([at(1e-16), at(0.34), at(0.67), at(1.0 - 1e-16)], [1, 2, 3, 3].map(AxisValue::Integer));
        let log = DrawnRange { min: 0.01, max: 100.0, scale: Scale::Log };
        assert_eq!(log.at(0.5, None), AxisValue::Float(1.0));
        assert_eq!(log.at(0.25, None), AxisValue::Float(0.1));
    }
}

//! What makes two runs the same run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Part of every run id. Raise it with each change of the program after which the
/// same scenario gives other numbers or other files: a model of the network, an
/// order of draws or of additions, a default, a column. Results made before then
/// don't pass for results of the new program.
pub const RESULTS_VERSION: u32 = 5;

/// Keys of the scenario that change no result, or (`seed`) enter on their own, or name files whose
/// numbers do (`device_files`).
const NOT_IDENTITY: [&str; 4] = ["device_files", "name", "replications", "seed"];
/// The table that says which files are kept, which changes none of them, and the
/// one key in it that changes a file (`series.csv`).
const OUTPUT: (&str, &str) = ("output", "sample_interval_s");

/// Hex digits of a run id.
const RUN_ID_DIGITS: usize = 16;

/// Everything that the results of a run depend on.
#[derive(Clone, Copy, Debug)]
pub struct RunIdentity<'a> {
    /// The scenario, with defaults filled in or not.
    pub scenario: &'a Value,
    /// The defaults, as [`without_defaults`] takes them.
    pub defaults: &'a Value,
    /// Content hashes of the inputs. A name that is a key path of the scenario
    /// (`model.corpus`, `ue.0.workload.path`) stands for the value there, which
    /// then doesn't count itself: a path is no content.
    pub inputs: &'a BTreeMap<String, String>,
    /// Seed.
    pub seed: u64,
    /// Number of the replication.
    pub replication: u32,
}

impl RunIdentity<'_> {
    /// The run id: the first 16 hex digits of the BLAKE3 hash of [`RunIdentity::canonical`].
    pub fn run_id(&self) -> String {
        id_of(&self.canonical())
    }

    /// The run ids of the first so many replications, whatever [`RunIdentity::replication`] says.
    pub fn run_ids(&self, replications: u32) -> Vec<String> {
        let rest = self.canonical_rest();
        (0..replications).map(|replication| id_of(&canonical_head(replication, &rest))).collect()
    }

    /// The text that is hashed: JSON with sorted keys, without whitespace and
    /// default-valued keys, whole numbers without a fraction.
    pub fn canonical(&self) -> String {
        canonical_head(self.replication, &self.canonical_rest())
    }

    /// The canonical text behind the replication.
    fn canonical_rest(&self) -> String {
        let mut scenario = self.scenario.clone();
        if let Value::Object(keys) = &mut scenario {
            keys.retain(|key, _| !NOT_IDENTITY.contains(&key.as_str()));
            if let Some(interval) = keys.shift_remove(OUTPUT.0).and_then(|output| output.get(OUTPUT.1).cloned()) {
                keys.insert(OUTPUT.0.to_owned(), Value::Object(Map::from_iter([(OUTPUT.1.to_owned(), interval)])));
            }
        }
        for name in self.inputs.keys() {
            remove(&mut scenario, name);
        }
        let mut text = String::new();
        let _ = write!(text, "\"results_version\":{RESULTS_VERSION},\"seed\":{},\"inputs\":{{", self.seed);
        for (index, (name, hash)) in self.inputs.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(text, "{comma}{}:{}", quoted(name), quoted(hash));
        }
        text.push_str("},\"scenario\":");
        write_canonical(&without_defaults(&scenario, self.defaults), &mut text);
        text.push('}');
        text
    }
}

fn canonical_head(replication: u32, rest: &str) -> String {
    format!("{{\"replication\":{replication},{rest}")
}

fn id_of(canonical: &str) -> String {
    let mut id = blake3::hash(canonical.as_bytes()).to_hex().to_string();
    id.truncate(RUN_ID_DIGITS);
    id
}

/// `value` less what says no more than `defaults`:
///
/// - a key whose value equals its default is left out, and so is a null without one;
/// - objects are compared key by key, at any depth, and left out once empty;
/// - a default array of a single object, or an object where the value has an array, is a template: each object of the value's
///   array is compared with it, and all elements stay, for their number counts;
/// - other arrays equal their default or stay whole.
///
/// Numbers are equal if their values are: `1` and `1.0`. A default that itself
/// depends on another key has no place in `defaults`.
pub fn without_defaults(value: &Value, defaults: &Value) -> Value {
    match (value, defaults) {
        (Value::Object(keys), Value::Object(defaults)) => {
            let mut kept = Map::new();
            for (key, value) in keys {
                let default = defaults.get(key).unwrap_or(&Value::Null);
                if same(value, default) {
                    continue;
                }
                let rest = without_defaults(value, default);
                let says_nothing = default.is_object() && rest.as_object().is_some_and(Map::is_empty);
                if !says_nothing {
                    kept.insert(key.clone(), rest);
                }
            }
            Value::Object(kept)
        }
        // `[[channel]]` where `[channel]` is the default.
        (Value::Array(elements), template @ Value::Object(_)) => {
            elements.iter().map(|element| without_defaults(element, template)).collect()
        }
        (Value::Array(elements), Value::Array(defaults)) => match defaults.as_slice() {
            [template @ Value::Object(_)] => {
                elements.iter().map(|element| without_defaults(element, template)).collect()
            }
            _ => value.clone(),
        },
        _ => value.clone(),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Number(_), Value::Number(_)) => a == b || canonical_of(a) == canonical_of(b),
        _ => a == b,
    }
}

/// Removes the value at a dotted key path, if there is one; numbers index arrays.
/// An element of an array becomes null, so that its neighbours keep their places.
fn remove(value: &mut Value, path: &str) {
    let (parents, key) = path.rsplit_once('.').map_or((None, path), |(parents, key)| (Some(parents), key));
    let mut place = value;
    for step in parents.into_iter().flat_map(|parents| parents.split('.')) {
        let next = match place {
            Value::Object(keys) => keys.get_mut(step),
            Value::Array(elements) => step.parse::<usize>().ok().and_then(|index| elements.get_mut(index)),
            _ => None,
        };
        match next {
            Some(next) => place = next,
            None => return,
        }
    }
    match place {
        Value::Object(keys) => drop(keys.shift_remove(key)),
        Value::Array(elements) => {
            if let Some(element) = key.parse::<usize>().ok().and_then(|index| elements.get_mut(index)) {
                *element = Value::Null;
            }
        }
        _ => {}
    }
}

fn canonical_of(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    /// Up to here every whole f64 is one integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Object(keys) => {
            let sorted: BTreeMap<_, _> = keys.iter().collect();
            text.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&quoted(key));
                text.push(':');
                write_canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(elements) => {
            text.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(element, text);
            }
            text.push(']');
        }
        Value::Number(number) => match number.as_f64() {
            Some(real) if number.is_f64() && real.fract() == 0.0 && real.abs() <= EXACT => {
                let _ = write!(text, "{}", real as i64);
            }
            _ => {
                let _ = write!(text, "{number}");
            }
        },
        Value::String(string) => text.push_str(&quoted(string)),
        Value::Bool(_) | Value::Null => {
            let _ = write!(text, "{value}");
        }
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

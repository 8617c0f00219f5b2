//! Single fields of a `config.json`: their types and ranges, and those that must not be there.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::config::{ConfigProblem, Family, RopeScaling};

/// Allowed ε of a norm: it is added in single precision, where 1e-45 is the smallest
/// number, so that a row of zeros would become 0/0 below. A little less than in the
/// words: the JSON parser's last digit isn't exact.
pub(super) const NORM_EPS: RangeInclusive<f64> = 0.999e-30..=1.0;
/// The same in words.
pub(super) const NORM_EPS_ALLOWED: &str = "a number from 1e-30 to 1";

/// Base θ of the rotary frequencies, and what becomes of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rope {
    pub theta: f64,
    pub scaling: RopeScaling,
}

/// The object of a config.json, with the readers of single fields.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn parse(text: &[u8]) -> Result<Self, ConfigProblem> {
        match serde_json::from_slice(text) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(other) => Err(ConfigProblem::NotJson(format!("the file holds {}", shown(&other)))),
            Err(error) => Err(ConfigProblem::NotJson(error.to_string())),
        }
    }

    /// A field that is there and not null.
    pub(super) fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    pub(super) fn required(&self, field: &'static str) -> Result<&Value, ConfigProblem> {
        self.get(field).ok_or(ConfigProblem::Missing(field))
    }

    /// A required integer in `1..=max`.
    pub(super) fn size(&self, field: &'static str, max: usize) -> Result<usize, ConfigProblem> {
        integer(field, self.required(field)?, 1, max)
    }

    /// An integer in `1..=max`, `default` when absent or null.
    pub(super) fn size_or(&self, field: &'static str, max: usize, default: usize) -> Result<usize, ConfigProblem> {
        self.get(field).map_or(Ok(default), |value| integer(field, value, 1, max))
    }

    /// An integer in `1..=max`, `None` when null, `default` when absent.
    pub(super) fn nullable_size_or(
        &self,
        field: &'static str,
        max: usize,
        default: usize,
    ) -> Result<Option<usize>, ConfigProblem> {
        match self.0.get(field) {
            Some(Value::Null) => Ok(None),
            _ => self.size_or(field, max, default).map(Some),
        }
    }

    /// An integer in `0..=max`, `default` when absent or null.
    pub(super) fn count_or(&self, field: &'static str, max: usize, default: usize) -> Result<usize, ConfigProblem> {
        self.get(field).map_or(Ok(default), |value| integer(field, value, 0, max))
    }

    /// A number above 0, `default` when absent.
    pub(super) fn positive_or(&self, field: &'static str, default: f64) -> Result<f64, ConfigProblem> {
        self.0.get(field).map_or(Ok(default), |value| positive_real(field, value))
    }

    /// ε of a norm, `default` when absent.
    pub(super) fn norm_eps(&self, field: &'static str, default: f64) -> Result<f64, ConfigProblem> {
        let Some(value) = self.0.get(field) else { return Ok(default) };
        let eps = value.as_f64().filter(|eps| NORM_EPS.contains(eps));
        eps.ok_or_else(|| out_of_range(field, &shown(value), NORM_EPS_ALLOWED))
    }

    /// A boolean, `default` when absent or null.
    pub(super) fn flag_or(&self, field: &'static str, default: bool) -> Result<bool, ConfigProblem> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(out_of_range(field, &shown(value), "true or false")),
        }
    }

    /// Token ids: null, one, or a list; each below `vocab`. `default` when absent.
    pub(super) fn tokens(
        &self,
        field: &'static str,
        vocab: usize,
        default: Option<u32>,
    ) -> Result<Vec<u32>, ConfigProblem> {
        let default = default.map(Value::from);
        let Some(value) = self.0.get(field).or(default.as_ref()).filter(|value| !value.is_null()) else {
            return Ok(Vec::new());
        };
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        list.iter()
            .map(|id| match id.as_u64().and_then(|n| u32::try_from(n).ok()) {
                Some(n) if (n as usize) < vocab => Ok(n),
                _ => {
                    let allowed = format!("null, or token ids below `vocab_size` = {vocab}");
                    Err(out_of_range(field, &shown(value), &allowed))
                }
            })
            .collect()
    }

    /// Of each of `layers` layers, whether `layer_types` calls it sliding; `None` without that field.
    pub(super) fn sliding_layers(&self, layers: usize) -> Result<Option<Vec<bool>>, ConfigProblem> {
        let Some(value) = self.get("layer_types") else { return Ok(None) };
        let kind = |kind: &Value| match kind.as_str() {
            Some("full_attention") => Ok(false),
            Some("sliding_attention") => Ok(true),
            _ => Err(unsupported("layer_types", kind, "\"full_attention\", \"sliding_attention\"")),
        };
        match value.as_array() {
            Some(list) if list.len() == layers => list.iter().map(kind).collect::<Result<_, _>>().map(Some),
            _ => {
                let allowed = format!("a list of `num_hidden_layers` = {layers} names");
                Err(out_of_range("layer_types", &shown(value), &allowed))
            }
        }
    }

    /// Refuses the fields that ask for arithmetic which no code here has.
    pub(super) fn refuse_foreign_arithmetic(&self, family: Family) -> Result<(), ConfigProblem> {
        if let Some(act) = self.get("hidden_act").filter(|act| *act != "silu") {
            return Err(unsupported("hidden_act", act, "\"silu\""));
        }
        for (field, supported) in [
            ("quantization_config", "checkpoints in f32, f16 or bf16, and GGUF files"),
            ("per_layer_config", "layers of one kind"),
        ] {
            if let Some(value) = self.get(field) {
                return Err(unsupported(field, value, supported));
            }
        }
        let without_mlp_bias = family != Family::Llama;
        for (field, foreign, supported) in [
            ("use_qk_norm", true, "false (queries and keys without a norm of their own)"),
            ("attention_bias", family == Family::Mistral, "false (a Mistral's projections have no bias)"),
            ("mlp_bias", without_mlp_bias, "false (in this family the feed-forward network has no bias)"),
        ] {
            if foreign && self.flag_or(field, false)? {
                return Err(unsupported(field, &Value::Bool(true), supported));
            }
        }
        Ok(())
    }

    /// The rotary embedding, from either generation's fields.
    ///
    /// transformers 5 takes θ from the object, then from the field beside it, then
    /// from the class; older releases from the field beside it, then from the class.
    /// A file that the two would read differently is refused.
    pub(super) fn rope(&self, family: Family) -> Result<Rope, ConfigProblem> {
        let (new, old) = (self.object("rope_parameters")?, self.object("rope_scaling")?);
        let neither = Map::new();
        let (field, object) = match (new, old) {
            (Some(new), Some(old)) if new != old => {
                // What no code here can run is worth more than that they differ.
                self.rope_scaling("rope_parameters", new)?;
                self.rope_scaling("rope_scaling", old)?;
                let value = Value::Object(old.clone());
                return Err(unsupported("rope_scaling", &value, "one that equals `rope_parameters`, or none"));
            }
            (Some(new), _) => ("rope_parameters", new),
            (None, Some(old)) => ("rope_scaling", old),
            (None, None) => ("rope_parameters", &neither),
        };
        let inner = |name: &str| object.get(name).filter(|value| !value.is_null());
        let scaling = self.rope_scaling(field, object)?;
        for part in [inner("partial_rotary_factor"), self.get("partial_rotary_factor")].into_iter().flatten() {
            if part.as_f64() != Some(1.0) {
                return Err(unsupported("partial_rotary_factor", part, "1 (the whole head is rotated)"));
            }
        }
        let theta = match (inner("rope_theta"), self.get("rope_theta")) {
            (Some(inner), Some(outer)) if inner.as_f64() != outer.as_f64() => {
                let supported = "the same value as inside `rope_parameters` or `rope_scaling`";
                return Err(unsupported("rope_theta", outer, supported));
            }
            (Some(theta), _) | (None, Some(theta)) => positive_real("rope_theta", theta)?,
            (None, None) if family != Family::Cohere => 10_000.0,
            // Cohere's class says 500,000 since transformers 5, and said 10,000 before.
            (None, None) if new.is_some() => 500_000.0,
            (None, None) => return Err(ConfigProblem::Missing("rope_theta")),
        };
        Ok(Rope { theta, scaling })
    }

    fn rope_scaling(&self, field: &'static str, object: &Map<String, Value>) -> Result<RopeScaling, ConfigProblem> {
        const KNOWN: [&str; 8] = [
            "rope_type",
            "type",
            "rope_theta",
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "original_max_position_embeddings",
            "partial_rotary_factor",
        ];
        let inner = |name: &str| object.get(name).filter(|value| !value.is_null());
        let default = Value::from("default");
        let kind = match (inner("rope_type"), inner("type")) {
            (Some(kind), Some(old)) if kind != old => {
                return Err(unsupported("type", old, "the same as `rope_type`, or none"));
            }
            (Some(kind), _) | (None, Some(kind)) => kind,
            // One generation would run this without scaling, the other not at all.
            (None, None) if inner("factor").is_some() => return Err(ConfigProblem::Missing("rope_type")),
            (None, None) => &default,
        };
        let positive = |name: &'static str| {
            let value = inner(name).ok_or(ConfigProblem::Missing(name))?;
            positive_real(name, value)
        };
        let scaling = match kind.as_str() {
            Some("default") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear { factor: positive("factor")? },
            Some("llama3") => {
                let (low_freq_factor, high_freq_factor) = (positive("low_freq_factor")?, positive("high_freq_factor")?);
                if high_freq_factor <= low_freq_factor {
                    let allowed = format!("above `low_freq_factor` = {low_freq_factor}");
                    return Err(out_of_range("high_freq_factor", &high_freq_factor, &allowed));
                }
                let original_positions = positive("original_max_position_embeddings")?;
                if let Some(outer) = self.get("original_max_position_embeddings")
                    && outer.as_f64() != Some(original_positions)
                {
                    let supported = "the same value as inside `rope_parameters` or `rope_scaling`";
                    return Err(unsupported("original_max_position_embeddings", outer, supported));
                }
                RopeScaling::Llama3 {
                    factor: positive("factor")?,
                    low_freq_factor,
                    high_freq_factor,
                    original_positions,
                }
            }
            _ => return Err(unsupported("rope_type", kind, "\"default\", \"linear\", \"llama3\"")),
        };
        match object.iter().find(|(name, value)| !value.is_null() && !KNOWN.contains(&name.as_str())) {
            None => Ok(scaling),
            Some((name, value)) => {
                let entry = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
                Err(unsupported(field, &entry, "rope_type, rope_theta, factor and the factors of \"llama3\""))
            }
        }
    }

    /// An object, `None` when absent, null or empty.
    fn object(&self, field: &'static str) -> Result<Option<&Map<String, Value>>, ConfigProblem> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map).filter(|map| !map.is_empty())),
            Some(value) => Err(out_of_range(field, &shown(value), "an object or null")),
        }
    }
}

fn integer(field: &'static str, value: &Value, min: usize, max: usize) -> Result<usize, ConfigProblem> {
    match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
        Some(n) if (min..=max).contains(&n) => Ok(n),
        _ => Err(out_of_range(field, &shown(value), &format!("an integer from {min} to {max}"))),
    }
}

fn positive_real(field: &'static str, value: &Value) -> Result<f64, ConfigProblem> {
    match value.as_f64() {
        Some(x) if x > 0.0 && x.is_finite() => Ok(x),
        _ => Err(out_of_range(field, &shown(value), "a number above 0")),
    }
}

pub(super) fn out_of_range(field: &'static str, value: &dyn Display, allowed: &str) -> ConfigProblem {
    ConfigProblem::OutOfRange { field, value: value.to_string(), allowed: allowed.to_owned() }
}

pub(super) fn unsupported(field: &'static str, value: &Value, supported: &'static str) -> ConfigProblem {
    ConfigProblem::Unsupported { field, value: shown(value), supported }
}

/// A JSON value in an error message, cut to a readable length.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

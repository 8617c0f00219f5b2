//! An exit head as a file: safetensors with its map, and everything else as JSON in one entry of the metadata.
//!
//! ```text
//!  weight  f16 or f32 [d, d]   A, outputs × inputs
//!  bias    as weight  [d]      b
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::builtin;
use super::exit_head::{ExitHead, ExitHeadParts};
use super::limited_read;
use super::stored_type::StoredType;

/// Entry of the metadata.
const METADATA: &str = "splitwave";
/// What the entry says that the file is.
const FORMAT: &str = "exit-head";
/// Version of the format.
const VERSION: u32 = 1;
/// Widest residual stream that is believed; published models have at most 18,432.
const WIDEST: usize = 1 << 15;
/// Largest file that is read: one of d = 16,384 in single precision, which has 1 GiB, and its header.
const MOST_BYTES: u64 = (1 << 30) + (1 << 24);
/// Most layers of a model that are believed.
const MOST_LAYERS: usize = 1 << 16;

/// An exit head that can't be read, written or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExitHeadError {
    /// The file can't be read.
    #[error("{file}: cannot be read: {reason}; `splitwave fit-exit` makes such a file")]
    Unreadable {
        /// The file.
        file: String,
        /// The system's reason.
        reason: String,
    },
    /// The file can't be written.
    #[error("{file}: cannot be written: {reason}")]
    Unwritable {
        /// The file.
        file: String,
        /// The reason.
        reason: String,
    },
    /// The file is damaged.
    #[error("{file}: no whole safetensors file: {reason}; copy it again, or make it again with `splitwave fit-exit`")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file holds something else.
    #[error("{file}: holds no exit head: {reason}; `splitwave fit-exit` makes one")]
    Foreign {
        /// The file.
        file: String,
        /// What is missing.
        reason: String,
    },
    /// The file is of another version.
    #[error(
        "{file}: an exit head of format version {found}; this program reads {VERSION}: make it again with \
         `splitwave fit-exit`"
    )]
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: u64,
    },
    /// A setting can't be.
    #[error("{file}: {what} is {value}; allowed: {allowed}: make it again with `splitwave fit-exit`")]
    Setting {
        /// The file.
        file: String,
        /// Which setting.
        what: &'static str,
        /// What stands there.
        value: String,
        /// What may.
        allowed: String,
    },
    /// A tensor can't be used.
    #[error("{file}: tensor `{tensor}` {problem}; make it again with `splitwave fit-exit`")]
    Tensor {
        /// The file.
        file: String,
        /// Its name.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It was fitted for another model.
    #[error(
        "the exit head behind layer {layer} was fitted for another model: its {what} is {fitted}, this model's is \
         {found}; fit one for this model with `splitwave fit-exit --model MODEL --layer {layer}`"
    )]
    Model {
        /// Its layer.
        layer: usize,
        /// What differs.
        what: &'static str,
        /// That of the model that it was fitted for.
        fitted: String,
        /// That of the model at hand.
        found: String,
    },
}

/// Everything that is no tensor.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    format: String,
    version: u32,
    layer: usize,
    layers: usize,
    width: usize,
    model_hash: String,
    made_with: BTreeMap<String, String>,
    metrics: BTreeMap<String, f64>,
}

impl ExitHead {
    /// Layers of [`super::BUILTIN`] that have a head compiled into the program.
    pub const BUILTIN_LAYERS: [usize; builtin::EXIT_HEADS.len()] = {
        let mut layers = [0; builtin::EXIT_HEADS.len()];
        let mut index = 0;
        while index < layers.len() {
            layers[index] = builtin::EXIT_HEADS[index].0;
            index += 1;
        }
        layers
    };

    /// The head behind `layer` of [`super::BUILTIN`] that is compiled into the program, if there is one.
    ///
    /// # Errors
    /// [`ExitHeadError`] only if the program was built from damaged files.
    pub fn builtin(layer: usize) -> Option<Result<Self, ExitHeadError>> {
        let (_, bytes) = builtin::EXIT_HEADS.iter().find(|(known, _)| *known == layer)?;
        Some(Self::from_bytes(&format!("{}/exit_{layer}.safetensors", builtin::NAME), bytes))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ExitHeadError`] if it is missing, damaged, or something else.
    pub fn open(path: &Path) -> Result<Self, ExitHeadError> {
        let file = path.display().to_string();
        let bytes = limited_read::read(path, MOST_BYTES)
            .map_err(|error| ExitHeadError::Unreadable { file: file.clone(), reason: error.to_string() })?;
        Self::from_bytes(&file, &bytes)
    }

    /// Reads the bytes of a file; `file` names it in errors.
    ///
    /// # Errors
    /// [`ExitHeadError`] if it is damaged, or something else.
    pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<Self, ExitHeadError> {
        let damaged =
            |error: SafeTensorError| ExitHeadError::Damaged { file: file.to_owned(), reason: error.to_string() };
        let foreign = |reason: String| ExitHeadError::Foreign { file: file.to_owned(), reason };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let text = header.metadata().as_ref().and_then(|entries| entries.get(METADATA));
        let text = text.ok_or_else(|| foreign("its metadata has no entry `splitwave`".to_owned()))?;
        let value: serde_json::Value = serde_json::from_str(text)
            .map_err(|error| foreign(format!("its entry `splitwave` is no JSON ({error})")))?;
        if value["format"].as_str() != Some(FORMAT) {
            return Err(foreign(format!("its entry `splitwave` doesn't say `\"format\": \"{FORMAT}\"`")));
        }
        match value["version"].as_u64() {
            Some(version) if version == u64::from(VERSION) => {}
            found => return Err(ExitHeadError::Version { file: file.to_owned(), found: found.unwrap_or(0) }),
        }
        let settings: Settings = serde_json::from_value(value)
            .map_err(|error| foreign(format!("its settings are not those of an exit head ({error})")))?;
        let hash = blake3::hash(bytes).to_hex().to_string();
        head(file, settings, &tensors, hash)
    }

    /// The bytes of its file: a function of the head alone.
    ///
    /// # Errors
    /// [`ExitHeadError::Unwritable`] if its settings can't be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ExitHeadError> {
        let unwritable = |reason: String| ExitHeadError::Unwritable { file: "the exit head".to_owned(), reason };
        let settings = Settings {
            format: FORMAT.to_owned(),
            version: VERSION,
            layer: self.layer(),
            layers: self.layers(),
            width: self.width(),
            model_hash: self.model_hash().to_owned(),
            made_with: self.made_with().clone(),
            metrics: self.metrics().clone(),
        };
        let text = serde_json::to_string(&settings).map_err(|error| unwritable(error.to_string()))?;
        let half = self.stored_type() == StoredType::F16;
        let bytes_of = |values: &[f32]| -> Vec<u8> {
            if half {
                values.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect()
            } else {
                values.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
        };
        let dtype = if half { Dtype::F16 } else { Dtype::F32 };
        let (weight, bias) = (bytes_of(&self.weight()), bytes_of(self.bias()));
        let view = |shape, bytes| TensorView::new(dtype, shape, bytes).map_err(|error| unwritable(error.to_string()));
        let tensors = [("weight", view(vec![self.width(); 2], &weight)?), ("bias", view(vec![self.width()], &bias)?)];
        // One entry: the order of a hash table doesn't reach the file.
        safetensors::serialize(tensors, Some(std::iter::once((METADATA.to_owned(), text)).collect()))
            .map_err(|error| unwritable(error.to_string()))
    }

    /// Writes its file.
    ///
    /// # Errors
    /// [`ExitHeadError::Unwritable`] if the system refuses.
    pub fn save(&self, path: &Path) -> Result<(), ExitHeadError> {
        let unwritable = |error: std::io::Error| ExitHeadError::Unwritable {
            file: path.display().to_string(),
            reason: error.to_string(),
        };
        std::fs::write(path, self.to_bytes()?).map_err(unwritable)
    }
}

/// The head of a file that is safetensors.
fn head(
    file: &str,
    settings: Settings,
    tensors: &SafeTensors<'_>,
    content_hash: String,
) -> Result<ExitHead, ExitHeadError> {
    let Settings { layer, layers, width, model_hash, made_with, metrics, .. } = settings;
    let setting =
        |what, value: String, allowed: String| ExitHeadError::Setting { file: file.to_owned(), what, value, allowed };
    if !(1..=WIDEST).contains(&width) {
        return Err(setting("`width`", width.to_string(), format!("1 to {WIDEST}")));
    }
    if !(1..=MOST_LAYERS).contains(&layers) {
        return Err(setting("`layers`", layers.to_string(), format!("1 to {MOST_LAYERS}")));
    }
    if model_hash.len() != 64 || !model_hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let value = model_hash.chars().take(80).collect();
        return Err(setting("`model_hash`", value, "64 hexadecimal digits".to_owned()));
    }
    if tensors.len() != 2 {
        return Err(setting("the number of tensors", tensors.len().to_string(), "2, `weight` and `bias`".to_owned()));
    }
    let bad = |tensor: &str, problem: String| ExitHeadError::Tensor {
        file: file.to_owned(),
        tensor: tensor.to_owned(),
        problem,
    };
    let read = |name: &str, shape: &[usize]| {
        let found = tensors.tensor(name).map_err(|_| bad(name, "is missing".to_owned()))?;
        if found.shape() != shape {
            return Err(bad(name, format!("has shape {:?}, not {shape:?}", found.shape())));
        }
        let bytes = found.data();
        let (stored, values): (StoredType, Vec<f32>) = match found.dtype() {
            Dtype::F16 => {
                let widened = |&bytes: &[u8; 2]| half::f16::from_le_bytes(bytes).to_f32();
                (StoredType::F16, bytes.as_chunks().0.iter().map(widened).collect())
            }
            Dtype::F32 => {
                (StoredType::F32, bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
            }
            other => return Err(bad(name, format!("is stored as {other:?}; allowed: F16, F32"))),
        };
        Ok((stored, values))
    };
    let (stored, weight) = read("weight", &[width, width])?;
    let (of_bias, bias) = read("bias", &[width])?;
    if stored != of_bias {
        return Err(bad("bias", format!("is stored as {of_bias}, but `weight` as {stored}")));
    }
    let parts = ExitHeadParts { layer, layers, width, weight, bias, model_hash, made_with, metrics };
    ExitHead::build(file, parts, stored, content_hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn parts() -> ExitHeadParts {
        ExitHeadParts {
            layer: 2,
            layers: 4,
            width: 2,
            weight: vec![1.0, -0.1, 1e-3, 0.9],
            bias: vec![0.3, -7.0],
            model_hash: "5a".repeat(32),
            made_with: [("corpus".to_owned(), "a text".to_owned())].into(),
            metrics: [("ppl".to_owned(), 12.5)].into(),
        }
    }

    /// A file of these settings and tensors.
    fn file(settings: &Value, tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
        let views = tensors
            .iter()
            .map(|&(name, dtype, shape, bytes)| (name, TensorView::new(dtype, shape.into(), bytes).unwrap()));
        let entry = (METADATA.to_owned(), settings.to_string());
        safetensors::serialize(views, Some(std::iter::once(entry).collect())).unwrap()
    }

    fn settings() -> Value {
        json!({
            "format": "exit-head", "version": 1, "layer": 2, "layers": 4, "width": 2, "model_hash": "5a".repeat(32),
            "made_with": {}, "metrics": {},
        })
    }

    fn refusal(bytes: &[u8]) -> String {
        ExitHead::from_bytes("x.safetensors", bytes).unwrap_err().to_string()
    }

    #[test]
    fn files_give_back_what_was_saved() {
        for head in [ExitHead::new(parts()).unwrap(), ExitHead::in_half_precision(parts()).unwrap()] {
            let bytes = head.to_bytes().unwrap();
            let again = ExitHead::from_bytes("x", &bytes).unwrap();
            assert_eq!((again.weight(), again.bias()), (head.weight(), head.bias()));
            assert_eq!((again.layer(), again.layers(), again.model_hash()), (2, 4, head.model_hash()));
            assert_eq!((again.made_with(), again.metrics()), (head.made_with(), head.metrics()));
            assert_eq!((again.content_hash(), again.stored_type()), (head.content_hash(), head.stored_type()));
            assert_eq!(again.to_bytes().unwrap(), bytes);
        }
        assert_eq!(ExitHead::new(parts()).unwrap().weight(), parts().weight);
    }

    #[test]
    fn files_on_disk_and_missing_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exit_2.safetensors");
        let head = ExitHead::new(parts()).unwrap();
        head.save(&path).unwrap();
        assert_eq!(ExitHead::open(&path).unwrap().content_hash(), head.content_hash());
        let missing = ExitHead::open(&folder.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("none: cannot be read: ") && missing.contains("`splitwave fit-exit`"), "{missing}");
        assert!(matches!(ExitHead::open(folder.path()), Err(ExitHeadError::Unreadable { .. })));
        assert!(matches!(head.save(folder.path()), Err(ExitHeadError::Unwritable { .. })));
    }

    #[test]
    fn hostile_files_are_refused_by_what_is_wrong() {
        let weight: Vec<u8> = [1.0_f32, 0.0, 0.0, 1.0].into_iter().flat_map(f32::to_le_bytes).collect();
        let bias = &weight[..8];
        let whole: [(&str, Dtype, &[usize], &[u8]); 2] =
            [("weight", Dtype::F32, &[2, 2], &weight), ("bias", Dtype::F32, &[2], bias)];
        assert!(ExitHead::from_bytes("x", &file(&settings(), &whole)).is_ok());
        let with = |key: &str, value: Value| {
            let mut changed = settings();
            changed[key] = value;
            refusal(&file(&changed, &whole))
        };
        for (key, value, said) in [
            ("format", json!("surrogate"), "doesn't say `\"format\": \"exit-head\"`"),
            ("version", json!(2), "format version 2; this program reads 1"),
            ("version", json!("new"), "format version 0"),
            ("layer", json!(5), "`layer` is 5; allowed: 1 to the model's 4 layers"),
            ("layer", json!(0), "`layer` is 0"),
            ("layer", json!(-1), "settings are not those of an exit head"),
            ("layers", json!(0), "`layers` is 0"),
            ("layers", json!(1_u64 << 40), "`layers` is 1099511627776"),
            ("width", json!(0), "`width` is 0"),
            ("width", json!(1_u64 << 40), "`width` is 1099511627776; allowed: 1 to 32768"),
            ("width", json!(3), "tensor `weight` has shape [2, 2], not [3, 3]"),
            ("model_hash", json!("5a"), "`model_hash` is 5a; allowed: 64 hexadecimal digits"),
            ("metrics", json!({"ppl": "low"}), "settings are not those"),
            ("more", json!(1), "unknown field `more`"),
        ] {
            let found = with(key, value);
            assert!(found.contains(said), "{key}: {found}");
        }
        let of = |tensors: &[(&str, Dtype, &[usize], &[u8])]| refusal(&file(&settings(), tensors));
        assert!(of(&whole[..1]).contains("the number of tensors is 1; allowed: 2"));
        assert!(of(&[whole[0], ("gain", Dtype::F32, &[2], bias)]).contains("tensor `bias` is missing"));
        assert!(of(&[whole[0], ("bias", Dtype::F32, &[1, 2], bias)]).contains("`bias` has shape [1, 2], not [2]"));
        assert!(of(&[whole[0], ("bias", Dtype::I32, &[2], bias)]).contains("stored as I32; allowed: F16, F32"));
        let half: [u8; 4] = [0, 0x3c, 0, 0x3c];
        assert!(of(&[whole[0], ("bias", Dtype::F16, &[2], &half)]).contains("stored as F16, but `weight` as F32"));
        let nan: Vec<u8> = [1.0, f32::NAN].into_iter().flat_map(f32::to_le_bytes).collect();
        assert!(of(&[whole[0], ("bias", Dtype::F32, &[2], &nan)]).contains("tensor `bias` holds NaN"));
        let half_infinity: [u8; 8] = [0, 0x7c, 0, 0, 0, 0, 0, 0];
        let tensors: [(&str, Dtype, &[usize], &[u8]); 2] =
            [("weight", Dtype::F16, &[2, 2], &half_infinity), ("bias", Dtype::F16, &[2], &half)];
        assert!(of(&tensors).contains("tensor `weight` holds inf"));
        let foreign =
            safetensors::serialize([("weight", TensorView::new(Dtype::F32, vec![2, 2], &weight).unwrap())], None);
        assert!(refusal(&foreign.unwrap()).contains("metadata has no entry `splitwave`"));
        assert!(refusal(b"").contains("no whole safetensors file"));
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at in 0_usize..400, byte: u8, cut in 0_usize..400) {
            let mut bytes = ExitHead::new(parts()).unwrap().to_bytes().unwrap();
            let length = bytes.len();
            bytes[at % length] ^= byte;
            bytes.truncate(length - cut % length * usize::from(cut % 2 == 0));
            let _ = ExitHead::from_bytes("x", &bytes);
        }
    }
}

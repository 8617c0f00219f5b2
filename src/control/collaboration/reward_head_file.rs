//! A reward head as a file: safetensors with its layers and its standardisation, and everything else as JSON in one
//! entry of the metadata.
//!
//! ```text
//!  layers.<i>.weight  f32 [out, in]     inputs.mean, .scale       f64 [inputs]
//!  layers.<i>.bias    f32 [out]         label.mean, .scale        f64 [1]
//!                                       range                     f64 [2]
//!                                       temperature               f64 [1]
//! ```
//!
//! A file is hostile until it is parsed: sizes are bounded, and what is no number is refused.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::control::collaboration::head_inputs::{HeadFeature, HeadLevel};
use crate::control::collaboration::reward_head::{HeadPair, RewardHead, Standard};
use crate::rl::{Activation, Mlp};

/// Entry of the metadata.
const METADATA: &str = "splitwave";
/// What the entry says that the file is.
const FORMAT: &str = "reward-head";
/// Version of the format.
const VERSION: u32 = 1;
/// Largest file that is read; the built-in ones have less than 200 kB.
const MOST_BYTES: u64 = 256 << 20;
/// Widest device, widest hidden layer and most layers that are believed.
const WIDEST_DEVICE: usize = 1 << 16;
const WIDEST: usize = 1 << 12;
const MOST_LAYERS: usize = 16;
/// Digits of a BLAKE3 hash.
const HASH_DIGITS: usize = 64;

/// How a scenario names the heads of the built-in pair of models.
pub const BUILTIN_HEAD: &str = "builtin";
const HEAD: &[u8] = include_bytes!("../../../models/builtin/reward.safetensors");
const ROUTER: &[u8] = include_bytes!("../../../models/builtin/router.safetensors");

/// A reward head that can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RewardHeadError {
    /// The file can't be read or written.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is damaged.
    #[error("{file}: no whole safetensors file: {reason}; copy it again, or make it again with `splitwave fit-reward`")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file holds something else.
    #[error("{file}: holds no reward head: {reason}; `splitwave fit-reward` makes one")]
    Foreign {
        /// The file.
        file: String,
        /// What is missing.
        reason: String,
    },
    /// The file is of another version.
    #[error(
        "{file}: a reward head of format version {found}; this program reads {VERSION}: make it again with \
         `splitwave fit-reward`"
    )]
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: u64,
    },
    /// The settings in the file can't be.
    #[error("{file}: {what} is {value}; allowed: {allowed}: make it again with `splitwave fit-reward`")]
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
    #[error("{file}: tensor `{tensor}` {problem}; make it again with `splitwave fit-reward`")]
    Tensor {
        /// The file.
        file: String,
        /// Its name.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It can't be written.
    #[error("a reward head can't be written as safetensors: {0}")]
    Write(#[from] SafeTensorError),
}

/// Everything that is no tensor.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    format: String,
    version: u32,
    level: HeadLevel,
    features: Vec<HeadFeature>,
    width: usize,
    /// Neurons per layer, the inputs first.
    sizes: Vec<usize>,
    activation: Activation,
    device: String,
    edge: String,
    tokenizer: String,
    made_with: BTreeMap<String, String>,
    metrics: BTreeMap<String, f64>,
}

impl RewardHead {
    /// Reads a file.
    ///
    /// # Errors
    /// [`RewardHeadError`] if it is missing, damaged, or something else.
    pub fn open(path: &Path) -> Result<Self, RewardHeadError> {
        let file = path.display().to_string();
        let io = |source| RewardHeadError::Io { file: file.clone(), source };
        let bytes = std::fs::metadata(path).map_err(io)?.len();
        if bytes > MOST_BYTES {
            let reason = format!("it has {bytes} bytes, more than the {MOST_BYTES} of the largest head");
            return Err(RewardHeadError::Foreign { file, reason });
        }
        Self::from_bytes(&file, &std::fs::read(path).map_err(io)?)
    }

    /// The head of the built-in pair of models at temperature 1, for tokens.
    ///
    /// # Errors
    /// [`RewardHeadError`] only if the program was built from a damaged file.
    pub fn builtin() -> Result<Self, RewardHeadError> {
        Self::from_bytes(BUILTIN_HEAD, HEAD)
    }

    /// The head of the built-in pair of models at temperature 1, for queries.
    ///
    /// # Errors
    /// [`RewardHeadError`] only if the program was built from a damaged file.
    pub fn builtin_router() -> Result<Self, RewardHeadError> {
        Self::from_bytes(BUILTIN_HEAD, ROUTER)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// [`RewardHeadError`] if it can't be written.
    pub fn save(&self, path: &Path) -> Result<(), RewardHeadError> {
        let io = |source| RewardHeadError::Io { file: path.display().to_string(), source };
        std::fs::write(path, self.to_bytes()?).map_err(io)
    }

    /// The bytes of the file: a function of the head alone.
    ///
    /// # Errors
    /// [`RewardHeadError`] if it can't be written as safetensors.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RewardHeadError> {
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        let sizes = self.network.sizes();
        for (index, (weights, biases)) in self.network.layers().into_iter().enumerate() {
            let (inputs, outputs) = (sizes[index], sizes[index + 1]);
            // In memory column-major, in the file as PyTorch has it.
            let by_rows = (0..outputs).flat_map(|row| (0..inputs).map(move |column| weights[column * outputs + row]));
            let weights = by_rows.flat_map(f32::to_le_bytes).collect();
            tensors.push((weight(index), Dtype::F32, vec![outputs, inputs], weights));
            let biases = biases.iter().copied().flat_map(f32::to_le_bytes).collect();
            tensors.push((bias(index), Dtype::F32, vec![outputs], biases));
        }
        let mut reals = |name: &str, values: Vec<f64>| {
            let bytes = values.iter().copied().flat_map(f64::to_le_bytes).collect();
            tensors.push((name.to_owned(), Dtype::F64, vec![values.len()], bytes));
        };
        reals("inputs.mean", self.columns.iter().map(|column| column.mean).collect());
        reals("inputs.scale", self.columns.iter().map(|column| column.scale).collect());
        reals("label.mean", vec![self.label.mean]);
        reals("label.scale", vec![self.label.scale]);
        reals("range", vec![self.range.0, self.range.1]);
        reals("temperature", vec![self.temperature]);
        let settings = Settings {
            format: FORMAT.to_owned(),
            version: VERSION,
            level: self.level,
            features: self.features.clone(),
            width: self.width,
            sizes: sizes.to_vec(),
            activation: self.network.activation(),
            device: self.pair.device.clone(),
            edge: self.pair.edge.clone(),
            tokenizer: self.pair.tokenizer.clone(),
            made_with: self.made_with.clone(),
            metrics: self.metrics.clone(),
        };
        let text = serde_json::to_string(&settings).map_err(SafeTensorError::InvalidHeaderDeserialization)?;
        let mut views = Vec::with_capacity(tensors.len());
        for (name, dtype, shape, bytes) in &tensors {
            views.push((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?));
        }
        // One entry: the order of a hash table doesn't reach the file.
        Ok(safetensors::serialize(views, Some(std::iter::once((METADATA.to_owned(), text)).collect()))?)
    }

    /// Reads the bytes of a file; `file` names it in errors.
    ///
    /// # Errors
    /// [`RewardHeadError`] if they aren't a whole reward head.
    pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<Self, RewardHeadError> {
        let damaged =
            |error: SafeTensorError| RewardHeadError::Damaged { file: file.to_owned(), reason: error.to_string() };
        let foreign = |reason: &str| RewardHeadError::Foreign { file: file.to_owned(), reason: reason.to_owned() };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let text = header.metadata().as_ref().and_then(|entries| entries.get(METADATA));
        let text = text.ok_or_else(|| foreign("its metadata has no entry `splitwave`"))?;
        let value: serde_json::Value = serde_json::from_str(text)
            .map_err(|error| foreign(&format!("its entry `splitwave` is no JSON ({error})")))?;
        match value["format"].as_str() {
            Some(FORMAT) => {}
            Some(other) => return Err(foreign(&format!("it is a file of format \"{other}\""))),
            None => return Err(foreign(&format!("its entry `splitwave` doesn't say `\"format\": \"{FORMAT}\"`"))),
        }
        match value["version"].as_u64() {
            Some(version) if version == u64::from(VERSION) => {}
            found => return Err(RewardHeadError::Version { file: file.to_owned(), found: found.unwrap_or(0) }),
        }
        let settings: Settings = serde_json::from_value(value)
            .map_err(|error| foreign(&format!("its settings are not those of a reward head ({error})")))?;
        let content_hash = blake3::hash(bytes).to_hex().to_string();
        Reader { file, tensors }.head(settings, content_hash)
    }

    /// Hashes the bytes that it has as a file.
    pub(super) fn sealed(mut self) -> Result<Self, RewardHeadError> {
        self.content_hash = blake3::hash(&self.to_bytes()?).to_hex().to_string();
        Ok(self)
    }
}

fn weight(layer: usize) -> String {
    format!("layers.{layer}.weight")
}

fn bias(layer: usize) -> String {
    format!("layers.{layer}.bias")
}

/// The tensors of a file.
struct Reader<'a> {
    file: &'a str,
    tensors: SafeTensors<'a>,
}

impl Reader<'_> {
    fn head(&self, settings: Settings, content_hash: String) -> Result<RewardHead, RewardHeadError> {
        let Settings { level, features, width, sizes, activation, .. } = settings;
        if !(1..=WIDEST_DEVICE).contains(&width) {
            return Err(self.setting("`width`", width.to_string(), format!("1 to {WIDEST_DEVICE}")));
        }
        let in_order = features.windows(2).all(|pair| pair[0] < pair[1]);
        let known = features.iter().all(|feature| level.features().contains(feature));
        if features.is_empty() || !in_order || !known {
            let names = level.features().iter().map(|feature| feature.name()).collect::<Vec<_>>().join(", ");
            let allowed = format!("some of {names}, in this order and each once");
            return Err(self.setting("`features`", format!("{features:?}"), allowed));
        }
        let count: usize = features.iter().map(|feature| feature.width(level, width)).sum();
        let hidden = sizes.get(1..).unwrap_or_default();
        if !(2..=MOST_LAYERS).contains(&sizes.len())
            || hidden.iter().any(|size| !(1..=WIDEST).contains(size))
            || (sizes.first(), sizes.last()) != (Some(&count), Some(&1))
        {
            let allowed = format!("{count} inputs, layers of at most {WIDEST} neurons, 1 output");
            return Err(self.setting("`sizes`", format!("{sizes:?}"), allowed));
        }
        for (what, hash) in
            [("`device`", &settings.device), ("`edge`", &settings.edge), ("`tokenizer`", &settings.tokenizer)]
        {
            if hash.len() != HASH_DIGITS || !hash.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                let shown: String = hash.chars().take(HASH_DIGITS + 1).collect();
                return Err(self.setting(what, format!("\"{shown}\""), format!("{HASH_DIGITS} hexadecimal digits")));
            }
        }
        let network = self.network(&sizes, activation)?;
        let means = self.column("inputs.mean", count, f64::is_finite)?;
        let scales = self.column("inputs.scale", count, |value| value > 0.0)?;
        let columns = means.into_iter().zip(scales).map(|(mean, scale)| Standard { mean, scale }).collect();
        let [mean] = self.reals("label.mean", f64::is_finite)?;
        let [scale] = self.reals("label.scale", |value| value > 0.0)?;
        let [low, high] = self.reals("range", |value| value <= 0.0)?;
        if low > high {
            return Err(self.tensor("range", format!("goes from {low} to {high}, which is less")));
        }
        let [temperature] = self.reals("temperature", |value| value >= 0.0)?;
        let tensors = 2 * (sizes.len() - 1) + 6;
        if self.tensors.len() != tensors {
            let found = self.tensors.len().to_string();
            return Err(self.setting("the number of tensors", found, tensors.to_string()));
        }
        let pair = HeadPair { device: settings.device, edge: settings.edge, tokenizer: settings.tokenizer };
        Ok(RewardHead {
            level,
            features,
            width,
            network,
            columns,
            label: Standard { mean, scale },
            pair,
            temperature,
            range: (low, high),
            made_with: settings.made_with,
            metrics: settings.metrics,
            content_hash,
        })
    }

    fn network(&self, sizes: &[usize], activation: Activation) -> Result<Mlp<f32>, RewardHeadError> {
        let mut parameters = Vec::new();
        for (index, pair) in sizes.windows(2).enumerate() {
            let &[inputs, outputs] = pair else { continue };
            let by_rows = self.singles(&weight(index), &[outputs, inputs])?;
            parameters.extend((0..inputs).flat_map(|column| by_rows.iter().skip(column).step_by(inputs)));
            parameters.extend(self.singles(&bias(index), &[outputs])?);
        }
        let count = parameters.len().to_string();
        Mlp::from_parameters(sizes, activation, parameters)
            .ok_or_else(|| self.setting("the number of parameters", count, format!("those of layers {sizes:?}")))
    }

    /// A tensor of that type and shape.
    fn bytes(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&[u8], RewardHeadError> {
        let found = self.tensors.tensor(name).map_err(|_| self.tensor(name, "is missing".to_owned()))?;
        if found.dtype() != dtype || found.shape() != shape {
            let problem = format!("has shape {:?} in {:?}, not {shape:?} in {dtype:?}", found.shape(), found.dtype());
            return Err(self.tensor(name, problem));
        }
        Ok(found.data())
    }

    fn singles(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, RewardHeadError> {
        let bytes = self.bytes(name, Dtype::F32, shape)?;
        let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        match values.iter().find(|value| !value.is_finite()) {
            Some(bad) => Err(self.tensor(name, format!("holds {bad}, which is not finite"))),
            None => Ok(values),
        }
    }

    fn column(&self, name: &str, count: usize, ok: fn(f64) -> bool) -> Result<Vec<f64>, RewardHeadError> {
        let bytes = self.bytes(name, Dtype::F64, &[count])?;
        let values: Vec<f64> = bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
        match values.iter().find(|&&value| !value.is_finite() || !ok(value)) {
            Some(bad) => Err(self.tensor(name, format!("holds {bad}, which it can't be"))),
            None => Ok(values),
        }
    }

    fn reals<const N: usize>(&self, name: &str, ok: fn(f64) -> bool) -> Result<[f64; N], RewardHeadError> {
        let values = self.column(name, N, ok)?;
        <[f64; N]>::try_from(values).map_err(|_| self.tensor(name, "has another length".to_owned()))
    }

    fn setting(&self, what: &'static str, value: String, allowed: String) -> RewardHeadError {
        RewardHeadError::Setting { file: self.file.to_owned(), what, value, allowed }
    }

    fn tensor(&self, tensor: &str, problem: String) -> RewardHeadError {
        RewardHeadError::Tensor { file: self.file.to_owned(), tensor: tensor.to_owned(), problem }
    }
}

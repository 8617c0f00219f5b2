//! A surrogate as a file: safetensors with its layers and its standardisation, and
//! everything else as JSON in one entry of the metadata.
//!
//! ```text
//!  layers.<i>.weight  f32 [out, in]     inputs.mean, .scale, .min, .max   f64 [inputs]
//!  layers.<i>.bias    f32 [out]         target.mean, .scale               f64 [1]
//!                                       ppl_clean                         f64 [1], if known
//! ```
//!
//! Reals that predictions depend on are tensors, whose bits survive; in JSON a last digit
//! might not.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::control::surrogate::{Input, InputColumn, Surrogate, Target, TargetColumn};
use crate::rl::{Activation, Mlp};

/// Entry of the metadata.
const METADATA: &str = "splitwave";
/// What the entry says that the file is.
const FORMAT: &str = "surrogate";
/// Version of the format.
const VERSION: u32 = 1;
/// Largest file that is read; one of 128-128 neurons has 70 kB.
const MOST_BYTES: u64 = 64 << 20;
/// Widest layer and most layers that are believed.
const WIDEST: usize = 1 << 12;
const MOST_LAYERS: usize = 16;

/// A surrogate that can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SurrogateError {
    /// The file can't be read.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is damaged.
    #[error("{file}: no whole safetensors file: {reason}; copy it again, or make it again with `splitwave fit`")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file holds something else.
    #[error("{file}: holds no surrogate: {reason}; `splitwave fit` makes one")]
    Foreign {
        /// The file.
        file: String,
        /// What is missing.
        reason: String,
    },
    /// The file is of another version.
    #[error(
        "{file}: a surrogate of format version {found}; this program reads {VERSION}: make it again with `splitwave fit`"
    )]
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: u64,
    },
    /// The settings in the file can't be.
    #[error("{file}: {what} is {value}; allowed: {allowed}: make it again with `splitwave fit`")]
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
    #[error("{file}: tensor `{tensor}` {problem}; make it again with `splitwave fit`")]
    Tensor {
        /// The file.
        file: String,
        /// Its name.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It can't be written.
    #[error("a surrogate can't be written as safetensors: {0}")]
    Write(#[from] SafeTensorError),
}

/// Everything that is no tensor.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    format: String,
    version: u32,
    inputs: Vec<String>,
    target: String,
    ppl_cap: Option<f64>,
    /// Neurons per layer, the inputs first.
    sizes: Vec<usize>,
    activation: Activation,
    vocabulary: Option<usize>,
    made_with: BTreeMap<String, String>,
    metrics: BTreeMap<String, f64>,
}

/// Reads a file.
///
/// # Errors
/// [`SurrogateError`] if it is missing, damaged, or something else.
pub(super) fn read(path: &Path) -> Result<Surrogate, SurrogateError> {
    let file = path.display().to_string();
    let io = |source| SurrogateError::Io { file: file.clone(), source };
    let bytes = std::fs::metadata(path).map_err(io)?.len();
    if bytes > MOST_BYTES {
        let reason = format!("it has {bytes} bytes, more than the {MOST_BYTES} of the largest surrogate");
        return Err(SurrogateError::Foreign { file, reason });
    }
    from_bytes(&file, &std::fs::read(path).map_err(io)?)
}

/// The bytes of the file: a function of the surrogate alone.
pub(super) fn to_bytes(surrogate: &Surrogate) -> Result<Vec<u8>, SurrogateError> {
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let sizes = surrogate.network.sizes();
    for (index, (weights, biases)) in surrogate.network.layers().into_iter().enumerate() {
        let (inputs, outputs) = (sizes[index], sizes[index + 1]);
        // In memory column-major, in the file as PyTorch has it.
        let by_rows = (0..outputs).flat_map(|row| (0..inputs).map(move |column| weights[column * outputs + row]));
        tensors.push((weight(index), Dtype::F32, vec![outputs, inputs], by_rows.flat_map(f32::to_le_bytes).collect()));
        let biases = biases.iter().copied().flat_map(f32::to_le_bytes).collect();
        tensors.push((bias(index), Dtype::F32, vec![outputs], biases));
    }
    let mut reals = |name: &str, values: Vec<f64>| {
        let bytes = values.iter().copied().flat_map(f64::to_le_bytes).collect();
        tensors.push((name.to_owned(), Dtype::F64, vec![values.len()], bytes));
    };
    let column = |of: fn(&InputColumn) -> f64| surrogate.inputs.iter().map(of).collect::<Vec<f64>>();
    reals("inputs.mean", column(|column| column.mean));
    reals("inputs.scale", column(|column| column.scale));
    reals("inputs.min", column(|column| column.range.0));
    reals("inputs.max", column(|column| column.range.1));
    reals("target.mean", vec![surrogate.target.mean]);
    reals("target.scale", vec![surrogate.target.scale]);
    if let Some(clean) = surrogate.ppl_clean {
        reals("ppl_clean", vec![clean]);
    }
    let target = surrogate.target.target;
    let settings = Settings {
        format: FORMAT.to_owned(),
        version: VERSION,
        inputs: surrogate.inputs.iter().map(|column| column.input.name().to_owned()).collect(),
        target: target.name().to_owned(),
        ppl_cap: if let Target::Ppl { cap } = target { cap } else { None },
        sizes: sizes.to_vec(),
        activation: surrogate.network.activation(),
        vocabulary: surrogate.vocabulary,
        made_with: surrogate.made_with.clone(),
        metrics: surrogate.metrics.clone(),
    };
    let text = serde_json::to_string(&settings).map_err(SafeTensorError::InvalidHeaderDeserialization)?;
    let mut views = Vec::with_capacity(tensors.len());
    for (name, dtype, shape, bytes) in &tensors {
        views.push((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?));
    }
    // One entry: the order of a hash table doesn't reach the file.
    Ok(safetensors::serialize(views, Some(std::iter::once((METADATA.to_owned(), text)).collect()))?)
}

/// Reads the bytes of a file.
pub(super) fn from_bytes(file: &str, bytes: &[u8]) -> Result<Surrogate, SurrogateError> {
    let damaged = |error: SafeTensorError| SurrogateError::Damaged { file: file.to_owned(), reason: error.to_string() };
    let foreign = |reason: &str| SurrogateError::Foreign { file: file.to_owned(), reason: reason.to_owned() };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let text = header.metadata().as_ref().and_then(|entries| entries.get(METADATA));
    let text = text.ok_or_else(|| foreign("its metadata has no entry `splitwave`"))?;
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| foreign(&format!("its entry `splitwave` is no JSON ({error})")))?;
    if value["format"].as_str() != Some(FORMAT) {
        return Err(foreign("its entry `splitwave` doesn't say `\"format\": \"surrogate\"`"));
    }
    match value["version"].as_u64() {
        Some(version) if version == u64::from(VERSION) => {}
        found => return Err(SurrogateError::Version { file: file.to_owned(), found: found.unwrap_or(0) }),
    }
    let settings: Settings = serde_json::from_value(value)
        .map_err(|error| foreign(&format!("its settings are not those of a surrogate ({error})")))?;
    let reader = Reader { file, tensors };
    let content_hash = blake3::hash(bytes).to_hex().to_string();
    reader.surrogate(settings, content_hash)
}

fn weight(layer: usize) -> String {
    format!("layers.{layer}.weight")
}

fn bias(layer: usize) -> String {
    format!("layers.{layer}.bias")
}

/// A bound of the network's values over the whole training range, however layers add up:
/// `|y_o| ≤ Σ |w_oi|·max|x_i| + |b_o|`, layer by layer.
fn largest_output(network: &Mlp<f32>, inputs: &[InputColumn]) -> f64 {
    let standard = |column: &InputColumn| {
        let of = |value: f64| ((value - column.mean) / column.scale).abs();
        of(column.range.0).max(of(column.range.1))
    };
    let mut bounds: Vec<f64> = inputs.iter().map(standard).collect();
    let mut largest = bounds.iter().copied().fold(0.0, f64::max);
    for (weight, bias) in network.layers() {
        let outputs = bias.len();
        let of = |o: usize| {
            let terms = bounds.iter().enumerate().map(|(i, bound)| f64::from(weight[i * outputs + o]).abs() * bound);
            terms.sum::<f64>() + f64::from(bias[o]).abs()
        };
        bounds = (0..outputs).map(of).collect();
        largest = bounds.iter().copied().fold(largest, f64::max);
    }
    largest
}

/// The tensors of a file.
struct Reader<'a> {
    file: &'a str,
    tensors: SafeTensors<'a>,
}

impl Reader<'_> {
    fn surrogate(&self, settings: Settings, content_hash: String) -> Result<Surrogate, SurrogateError> {
        let inputs = self.inputs(&settings.inputs)?;
        let sizes = &settings.sizes;
        let ends = (sizes.first(), sizes.last());
        if !(2..=MOST_LAYERS).contains(&sizes.len())
            || sizes.iter().any(|size| !(1..=WIDEST).contains(size))
            || ends != (Some(&inputs.len()), Some(&1))
        {
            let allowed = format!("{} inputs, layers of at most {WIDEST} neurons, 1 output", inputs.len());
            return Err(self.setting("`sizes`", format!("{sizes:?}"), allowed));
        }
        let network = self.network(sizes, settings.activation)?;
        if largest_output(&network, &inputs) >= f64::from(f32::MAX) {
            return Err(self.tensor("layers", "hold weights with which predictions may overflow".to_owned()));
        }
        let target = Target::named(&settings.target, settings.ppl_cap)
            .ok_or_else(|| self.setting("`target`", format!("\"{}\"", settings.target), Target::NAMES.join(", ")))?;
        let [mean] = self.reals("target.mean", f64::is_finite)?;
        let [scale] = self.reals("target.scale", |value| value > 0.0)?;
        let ppl_clean = match self.tensors.tensor("ppl_clean") {
            Ok(_) => Some(self.reals::<1>("ppl_clean", |value| value >= 1.0)?[0]),
            Err(_) => None,
        };
        if target != Target::RelativeGain && ppl_clean.is_none() {
            return Err(self.tensor("ppl_clean", "is missing".to_owned()));
        }
        let known = 2 * (sizes.len() - 1) + 6 + usize::from(ppl_clean.is_some());
        if self.tensors.len() != known {
            let defect = format!("{} tensors", self.tensors.len());
            return Err(self.setting("the number of tensors", defect, known.to_string()));
        }
        Ok(Surrogate {
            network,
            inputs,
            target: TargetColumn { target, mean, scale },
            ppl_clean,
            vocabulary: settings.vocabulary,
            made_with: settings.made_with,
            metrics: settings.metrics,
            content_hash,
        })
    }

    fn inputs(&self, names: &[String]) -> Result<Vec<InputColumn>, SurrogateError> {
        let known = || Input::ALL.map(Input::name).join(", ");
        let of =
            |name: &String| Input::named(name).ok_or_else(|| self.setting("an input", format!("\"{name}\""), known()));
        let inputs: Vec<Input> = names.iter().map(of).collect::<Result<_, _>>()?;
        let distinct: std::collections::BTreeSet<Input> = inputs.iter().copied().collect();
        if inputs.is_empty() || distinct.len() < inputs.len() {
            return Err(self.setting("`inputs`", format!("{names:?}"), format!("some of {}, each once", known())));
        }
        let count = inputs.len();
        let means = self.column("inputs.mean", count, f64::is_finite)?;
        let scales = self.column("inputs.scale", count, |value| value.is_finite() && value > 0.0)?;
        let lows = self.column("inputs.min", count, f64::is_finite)?;
        let highs = self.column("inputs.max", count, f64::is_finite)?;
        let mut columns = Vec::with_capacity(count);
        for ((((input, mean), scale), low), high) in inputs.into_iter().zip(means).zip(scales).zip(lows).zip(highs) {
            if low > high {
                let problem = format!("says {input} goes up to {high}, but `inputs.min` that it begins at {low}");
                return Err(self.tensor("inputs.max", problem));
            }
            columns.push(InputColumn { input, mean, scale, range: (low, high) });
        }
        Ok(columns)
    }

    fn network(&self, sizes: &[usize], activation: Activation) -> Result<Mlp<f32>, SurrogateError> {
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
    fn bytes(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&[u8], SurrogateError> {
        let found = self.tensors.tensor(name).map_err(|_| self.tensor(name, "is missing".to_owned()))?;
        if found.dtype() != dtype || found.shape() != shape {
            let problem = format!("has shape {:?} in {:?}, not {shape:?} in {dtype:?}", found.shape(), found.dtype());
            return Err(self.tensor(name, problem));
        }
        Ok(found.data())
    }

    fn singles(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, SurrogateError> {
        let bytes = self.bytes(name, Dtype::F32, shape)?;
        let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        match values.iter().find(|value| !value.is_finite()) {
            Some(bad) => Err(self.tensor(name, format!("holds {bad}, which is not finite"))),
            None => Ok(values),
        }
    }

    fn column(&self, name: &str, count: usize, ok: fn(f64) -> bool) -> Result<Vec<f64>, SurrogateError> {
        let bytes = self.bytes(name, Dtype::F64, &[count])?;
        let values: Vec<f64> = bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
        match values.iter().find(|&&value| !value.is_finite() || !ok(value)) {
            Some(bad) => Err(self.tensor(name, format!("holds {bad}, which it can't be"))),
            None => Ok(values),
        }
    }

    fn reals<const N: usize>(&self, name: &str, ok: fn(f64) -> bool) -> Result<[f64; N], SurrogateError> {
        let values = self.column(name, N, ok)?;
        <[f64; N]>::try_from(values).map_err(|_| self.tensor(name, "has another length".to_owned()))
    }

    fn setting(&self, what: &'static str, value: String, allowed: String) -> SurrogateError {
        SurrogateError::Setting { file: self.file.to_owned(), what, value, allowed }
    }

    fn tensor(&self, tensor: &str, problem: String) -> SurrogateError {
        SurrogateError::Tensor { file: self.file.to_owned(), tensor: tensor.to_owned(), problem }
    }
}

//! The reward surrogate (\[Chen25\], section 4): a small network that gives a split's
//! quality under long-term channel conditions, in microseconds instead of a pass through
//! the model.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::control::surrogate_file::{SurrogateError, from_bytes, to_bytes};
use crate::control::table::TableValue;
use crate::network::ports::Conditions;
use crate::rl::{Mlp, Passes};

/// Clean perplexities that a PPL counts at most as a target, unless a cap is given: what a
/// reward counts for a request that failed.
const DEFAULT_CAP: f64 = 10.0;
/// Least gain as a target: rewards clip it there.
const LEAST_GAIN: f64 = -1.0;

/// Surrogates that are compiled into the program, by the name that a scenario gives them:
/// fitted to records of the built-in model, and to the gains of LLaMA-2-7B.
const NAMED: [(&str, &[u8]); 2] = [
    ("builtin", include_bytes!("../../models/builtin/surrogate.safetensors")),
    ("llama-2-7b", include_bytes!("../../models/llama-2-7b/surrogate.safetensors")),
];

/// What a surrogate may go by: what is frozen at a decision. Of \[Chen25\]'s inputs the
/// SNR is left out: an activation SNR differs from window to window, and the channel's
/// follows from σ and σ_h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// Layers before the channel.
    Split,
    /// σ of eq. (3).
    NoiseStd,
    /// σ_h of the gain.
    RayleighScale,
    /// P of eq. (4).
    LossProbability,
}

impl Input {
    /// All of them, in the order of the columns of records.csv.
    pub const ALL: [Self; 4] = [Self::Split, Self::NoiseStd, Self::RayleighScale, Self::LossProbability];

    /// The column of records.csv that holds it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::NoiseStd => "noise_std",
            Self::RayleighScale => "rayleigh_scale",
            Self::LossProbability => "loss_probability",
        }
    }

    /// The input of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|input| input.name() == name)
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a surrogate predicts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Target {
    /// `(PPL_0 - PPL)/PPL_0`, clipped below at -1.
    #[default]
    RelativeGain,
    /// PPL, at most the cap.
    Ppl {
        /// The cap; `None` for 10 times the clean PPL of the same window.
        cap: Option<f64>,
    },
    /// ln PPL: predictions are geometric means, as the PPL of a corpus is.
    LnPpl,
}

impl Target {
    /// Names, as the command line and the files have them.
    pub const NAMES: [&'static str; 3] = ["relative-gain", "ppl", "ln-ppl"];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::RelativeGain => "relative-gain",
            Self::Ppl { .. } => "ppl",
            Self::LnPpl => "ln-ppl",
        }
    }

    /// The target of that name. `cap` plays a part for `ppl` only.
    pub fn named(name: &str, cap: Option<f64>) -> Option<Self> {
        [Self::RelativeGain, Self::Ppl { cap }, Self::LnPpl].into_iter().find(|target| target.name() == name)
    }

    /// Its value for an evaluation; `None` where the evaluation doesn't say it.
    pub fn of(self, row: &SurrogateRow) -> Option<f64> {
        match self {
            Self::RelativeGain => {
                let computed = row.ppl.zip(row.ppl_clean).map(|(ppl, clean)| (clean - ppl) / clean);
                Some(row.relative_gain.or(computed)?.max(LEAST_GAIN))
            }
            Self::Ppl { cap } => {
                let ppl = row.ppl?;
                Some(ppl.min(cap.or(row.ppl_clean.map(|clean| DEFAULT_CAP * clean))?))
            }
            Self::LnPpl => row.ppl.map(f64::ln),
        }
    }

    /// The nearest value that it can have: gains lie on -1..=1, no PPL is below 1.
    fn possible(self, value: f64) -> f64 {
        match self {
            Self::RelativeGain => value.clamp(LEAST_GAIN, 1.0),
            Self::Ppl { .. } => value.max(1.0),
            Self::LnPpl => value.max(0.0),
        }
    }
}

/// A split under long-term conditions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SurrogatePoint {
    /// Layers before the channel.
    pub split: u32,
    /// σ of eq. (3); 0 if digital.
    pub noise_std: f64,
    /// σ_h.
    pub rayleigh_scale: f64,
    /// P of eq. (4).
    pub loss_probability: f64,
}

impl SurrogatePoint {
    /// A split under the conditions of a request.
    pub fn of(split: u32, conditions: &Conditions) -> Self {
        let &Conditions { noise_std, rayleigh_scale, loss_probability, .. } = conditions;
        Self { split, noise_std, rayleigh_scale, loss_probability }
    }

    /// The value of one input.
    pub fn get(&self, input: Input) -> f64 {
        match input {
            Input::Split => f64::from(self.split),
            Input::NoiseStd => self.noise_std,
            Input::RayleighScale => self.rayleigh_scale,
            Input::LossProbability => self.loss_probability,
        }
    }
}

/// An evaluation to learn from, or a table's cell. Outages have no place here: a quality
/// source scores them as chance by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SurrogateRow {
    /// Where it was made.
    pub point: SurrogatePoint,
    /// PPL, eq. (6).
    pub ppl: Option<f64>,
    /// PPL of the same window without a channel.
    pub ppl_clean: Option<f64>,
    /// `(PPL_0 - PPL)/PPL_0`.
    pub relative_gain: Option<f64>,
}

/// An input as a network was trained with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputColumn {
    /// Which.
    pub input: Input,
    /// Mean over the training rows.
    pub mean: f64,
    /// Standard deviation over the training rows; 1 where it didn't vary.
    pub scale: f64,
    /// Least and largest value of what the training rows were drawn from, where that is known; else theirs, rounded outwards.
    pub range: (f64, f64),
}

/// Mean and standard deviation of the target over the training rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetColumn {
    /// What it is.
    pub target: Target,
    /// Mean.
    pub mean: f64,
    /// Standard deviation; 1 where it didn't vary.
    pub scale: f64,
}

/// A trained network with everything that it takes to ask it, and what it was trained on.
///
/// With x_i the inputs: `x̂_i = (x_i - mean_i)/scale_i`, `ŷ = MLP(x̂)`,
/// `y = mean + scale·ŷ`. Inputs beyond the training range count as its border, as in a
/// table; predictions that no target can have count as the nearest that one can.
#[derive(Clone, Debug, PartialEq)]
pub struct Surrogate {
    pub(super) network: Mlp<f32>,
    pub(super) inputs: Vec<InputColumn>,
    pub(super) target: TargetColumn,
    pub(super) ppl_clean: Option<f64>,
    pub(super) vocabulary: Option<usize>,
    pub(super) made_with: BTreeMap<String, String>,
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) content_hash: String,
}

/// Buffers of a surrogate's evaluation, to be used again.
#[derive(Default)]
pub struct SurrogateScratch {
    inputs: Vec<f32>,
    passes: Passes<f32>,
}

impl Surrogate {
    /// Puts a trained network together.
    pub(super) fn new(
        network: Mlp<f32>,
        inputs: Vec<InputColumn>,
        target: TargetColumn,
        ppl_clean: Option<f64>,
    ) -> Result<Self, SurrogateError> {
        Self {
            network,
            inputs,
            target,
            ppl_clean,
            vocabulary: None,
            made_with: BTreeMap::new(),
            metrics: BTreeMap::new(),
            content_hash: String::new(),
        }
        .sealed()
    }

    /// Adds what it was made with, by the names of a table's columns (`reception`, `model` …), the vocabulary of the
    /// model, and the figures of the fit.
    ///
    /// # Errors
    /// [`SurrogateError`] if it can't be written as a file.
    pub fn described(
        mut self,
        made_with: BTreeMap<String, String>,
        vocabulary: Option<usize>,
        metrics: BTreeMap<String, f64>,
    ) -> Result<Self, SurrogateError> {
        (self.made_with, self.vocabulary) = (made_with, vocabulary);
        self.metrics = metrics.into_iter().filter(|(_, value)| value.is_finite()).collect();
        self.sealed()
    }

    /// Hashes the bytes that it has as a file.
    fn sealed(mut self) -> Result<Self, SurrogateError> {
        self.content_hash = blake3::hash(&to_bytes(&self)?).to_hex().to_string();
        Ok(self)
    }

    /// Opens what a scenario's `quality.surrogate` names: one that is compiled in, or a file.
    ///
    /// # Errors
    /// [`SurrogateError`] if the file is missing, damaged, or something else.
    pub fn open(source: &str, path: &Path) -> Result<Self, SurrogateError> {
        match Self::named(source) {
            Some(named) => named,
            None => crate::control::surrogate_file::read(path),
        }
    }

    /// The surrogate of that name that is compiled into the program.
    pub fn named(name: &str) -> Option<Result<Self, SurrogateError>> {
        let (_, bytes) = NAMED.iter().find(|(known, _)| *known == name)?;
        Some(from_bytes(name, bytes))
    }

    /// Whether it is the name of a surrogate that is compiled in.
    pub fn is_name(source: &str) -> bool {
        NAMED.iter().any(|(name, _)| *name == source)
    }

    /// Reads a surrogate from the bytes of its file; `file` names it in errors.
    ///
    /// # Errors
    /// [`SurrogateError`] if they aren't a whole surrogate.
    pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<Self, SurrogateError> {
        from_bytes(file, bytes)
    }

    /// The bytes of its file: the same for the same surrogate.
    ///
    /// # Errors
    /// [`SurrogateError`] if it can't be written as safetensors.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SurrogateError> {
        to_bytes(self)
    }

    /// The prediction for a point, in units of the target.
    pub fn predict(&self, point: &SurrogatePoint, scratch: &mut SurrogateScratch) -> f64 {
        scratch.inputs.clear();
        for &InputColumn { input, mean, scale, range: (least, most) } in &self.inputs {
            // Ranges are ordered and finite: a file in which they aren't is refused.
            let value = point.get(input).max(least).min(most);
            scratch.inputs.push(((value - mean) / scale) as f32);
        }
        let output = self.network.forward(&scratch.inputs, &mut scratch.passes).first().copied().unwrap_or(f32::NAN);
        self.target.target.possible(self.target.mean + self.target.scale * f64::from(output))
    }

    /// What it says for a point, in a table's words. With a relative gain as the target PPL
    /// is unknown, as in a table of gains; otherwise the clean PPL is the mean (geometric)
    /// of the training rows.
    pub fn value(&self, point: &SurrogatePoint, scratch: &mut SurrogateScratch) -> TableValue {
        let predicted = self.predict(point, scratch);
        let ppl = match self.target.target {
            Target::RelativeGain => return TableValue { relative_gain: Some(predicted), ..TableValue::default() },
            Target::Ppl { .. } => predicted,
            Target::LnPpl => predicted.exp(),
        };
        let relative_gain = self.ppl_clean.map(|clean| (clean - ppl) / clean);
        TableValue { ppl: Some(ppl), ppl_clean: self.ppl_clean, relative_gain }
    }

    /// The clean PPL as a table knows it: `None` where the target is a relative gain.
    pub fn table_ppl_clean(&self) -> Option<f64> {
        self.ppl_clean.filter(|_| self.has_ppl())
    }

    /// Whether it knows PPL, or relative gains only.
    pub fn has_ppl(&self) -> bool {
        self.target.target != Target::RelativeGain && self.ppl_clean.is_some()
    }

    /// What it goes by, and how it was standardised.
    pub fn inputs(&self) -> &[InputColumn] {
        &self.inputs
    }

    /// Least and largest value of an input in training: beyond, predictions are those of
    /// the border. `None` if it isn't an input: then it played no part, or was the same throughout.
    pub fn range(&self, input: Input) -> Option<(f64, f64)> {
        self.inputs.iter().find(|column| column.input == input).map(|column| column.range)
    }

    /// What it predicts.
    pub fn target(&self) -> Target {
        self.target.target
    }

    /// Mean (geometric) of the training rows' clean PPL, where they have one.
    pub fn ppl_clean(&self) -> Option<f64> {
        self.ppl_clean
    }

    /// What the records say that they were made with, by the column's name (`reception`,
    /// `fading`, `rayleigh_scale` if it is no input, `model_hash` …); `None` if they don't say.
    /// `model_hash` is a model's content hash, or its first 12 digits.
    pub fn made_with(&self, setting: &str) -> Option<&str> {
        self.made_with.get(setting).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All of what [`Surrogate::made_with`] knows.
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.made_with
    }

    /// Vocabulary of the model, if the records say so.
    pub fn vocabulary(&self) -> Option<usize> {
        self.vocabulary
    }

    /// Figures of the fit by name, such as `mse` and `r2` of the cross-validation.
    pub fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.metrics
    }

    /// The network.
    pub fn network(&self) -> &Mlp<f32> {
        &self.network
    }

    /// BLAKE3 hash of the bytes of its file, in hexadecimal.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }
}

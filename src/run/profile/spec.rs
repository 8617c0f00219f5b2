//! What is asked of a profile, and whether a scenario can give it.

use serde::{Deserialize, Serialize};

use crate::channel::{Codec, FadingKind, FadingModel, LossUnit, Parameter, Reception, TxNormalisation};
use crate::network::spec::OutageSpec;
use crate::run::assembly::Assembly;
use crate::run::checks::{loss_bounds, word};
use crate::run::profile::ProfileError;
use crate::scenario::air::ChannelTable;
use crate::scenario::values::OneOrMany;

/// Largest σ.
const MOST_NOISE: f64 = 1e6;
/// Largest activation SNR, either way \[dB\].
const MOST_SNR_DB: f64 = 200.0;
/// Most repetitions of a window. Each has streams of its own, counted down from the last replication.
const MOST_DRAWS: u32 = 1_000_000;

/// How a tensor is sent and received: what a profile varies beside split, noise and loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// `channel.reception`.
    pub reception: Reception,
    /// `channel.loss_unit`.
    pub loss_unit: LossUnit,
    /// `channel.tx_normalisation`.
    pub tx_normalisation: TxNormalisation,
    /// Digital: `channel.encoding` with `outlier_share` and `top_k_share`; `None` for the channel's own, and if analog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<Codec>,
}

/// Where an activation SNR is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnrAt {
    /// At each (window, split): σ follows the activations, as behind a transmitter with
    /// power control.
    Each,
    /// At this split, in the median over the windows: one σ for all splits and windows, so
    /// that the others have the SNR that their activations give (Chen25's absolute noise).
    Split(u32),
}

/// What the noise levels of a profile are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseScale {
    /// σ itself.
    Std,
    /// Activation SNR \[dB\]. Under `per-row` rows have unit power, and σ = 10^(-SNR/20).
    SnrDb(SnrAt),
}

/// The points of a profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Points {
    /// Every combination of splits, settings, losses and noise levels, each with every
    /// window and draw.
    Grid {
        /// Loss probabilities.
        losses: Vec<f64>,
        /// Noise levels; digital settings have none.
        noises: Vec<f64>,
        /// Repetitions of each window with other fading and noise.
        draws: u32,
    },
    /// Points drawn uniformly, one window each: what a surrogate learns from. Record i is
    /// a function of the seed and i, not of the number of records.
    Random {
        /// Least and largest loss probability.
        losses: [f64; 2],
        /// Least and largest noise level.
        noises: [f64; 2],
        /// Number of records.
        records: u32,
        /// Records of one point, one after the other: same split, setting, loss and noise,
        /// other windows, fading and noise. What they differ by is what no surrogate can know.
        #[serde(default = "once", skip_serializing_if = "is_once")]
        repeats: u32,
    },
}

/// Left out of a fingerprint, as it was before there were repeats.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_once(repeats: &u32) -> bool {
    *repeats == once()
}

fn once() -> u32 {
    1
}

/// A profile to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileSpec {
    /// Splits.
    pub splits: Vec<u32>,
    /// Ways of sending and receiving.
    pub settings: Vec<Setting>,
    /// What the noise levels are.
    pub noise: NoiseScale,
    /// The points.
    pub points: Points,
    /// Windows of the corpus, spread evenly over it; `None` for all.
    pub windows: Option<u32>,
    /// Tokens of a window.
    pub tokens: u32,
}

impl Setting {
    /// The setting of a scenario's own channel.
    pub fn of(channel: &ChannelTable) -> Self {
        let &ChannelTable { reception, loss_unit, tx_normalisation, .. } = channel;
        Self { reception, loss_unit, tx_normalisation, codec: None }
    }

    /// Every combination of the lists. Digital reception sends no analog values: it comes
    /// with the first normalisation only, which plays no part. Analog reception encodes nothing: it comes once for
    /// all of `codecs`. None of these: the channel's own.
    pub fn combinations(
        receptions: &[Reception],
        loss_units: &[LossUnit],
        tx_normalisations: &[TxNormalisation],
        codecs: &[Codec],
    ) -> Vec<Self> {
        let own = [None];
        let codecs: Vec<Option<Codec>> = codecs.iter().copied().map(Some).collect();
        let codecs = if codecs.is_empty() { &own[..] } else { &codecs };
        let mut settings = Vec::new();
        for &reception in receptions {
            for &loss_unit in loss_units {
                let digital = reception == Reception::Digital;
                let some = if digital { 1 } else { tx_normalisations.len() };
                for &tx_normalisation in tx_normalisations.iter().take(some) {
                    let codecs = if digital { codecs } else { &own };
                    settings.extend(codecs.iter().map(|&codec| Self { reception, loss_unit, tx_normalisation, codec }));
                }
            }
        }
        settings
    }

    /// Whether noise plays a part.
    pub fn is_analog(&self) -> bool {
        self.reception != Reception::Digital
    }

    /// The scenario over a channel of this setting. The first channel is the one that is
    /// profiled.
    pub(super) fn assemble(self, assembly: &Assembly) -> Result<Assembly, ProfileError> {
        let mut scenario = assembly.scenario.clone();
        let table = match &mut scenario.channel {
            OneOrMany::One(table) => Some(table),
            OneOrMany::Many(tables) => tables.first_mut(),
        };
        if let Some(table) = table {
            (table.reception, table.loss_unit) = (self.reception, self.loss_unit);
            table.tx_normalisation = self.tx_normalisation;
            if let Some(codec) = self.codec {
                table.encoding = Some(codec.encoding());
                (table.outlier_share, table.top_k_share) = (codec.outlier_share(), codec.top_k_share());
            } else if self.is_analog() {
                // What a digital channel of the scenario says of its bits.
                (table.encoding, table.outlier_share, table.top_k_share) = (None, 0.0, None);
            }
        }
        Assembly::new(&scenario, assembly.inputs.clone()).map_err(|problems| {
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            ProfileError::Spec(format!("{self}: {}", told.join("; ")))
        })
    }

    /// Whether packets or elements can be lost over this fading.
    fn can_lose(self, fading: FadingKind) -> bool {
        fading != FadingKind::None || self.loss_unit == LossUnit::ElementIid
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}, {}", word(self.reception), word(self.loss_unit), word(self.tx_normalisation))?;
        self.codec.map_or(Ok(()), |codec| write!(f, ", {codec}"))
    }
}

impl ProfileSpec {
    /// Checks everything that doesn't take the corpus or the model's activations.
    ///
    /// # Errors
    /// [`ProfileError::Spec`] with the option at fault and what it allows.
    pub(super) fn check(&self, assembly: &Assembly) -> Result<(), ProfileError> {
        let refuse = |message: String| Err(ProfileError::Spec(message));
        if assembly.network.cellular.is_some() {
            return refuse(
                "a profile has one link of given statistics, and this scenario has cells; profile a statistical channel of \
                 the same encoding"
                    .to_owned(),
            );
        }
        let layers = assembly.network.model_layers;
        if let Some(split) = self.splits.iter().find(|split| !(1..=layers).contains(*split)) {
            return refuse(format!("--splits: {split} is no split of this model; allowed: 1 to {layers}"));
        }
        if let NoiseScale::SnrDb(SnrAt::Split(split)) = self.noise
            && !(1..=layers).contains(&split)
        {
            return refuse(format!("--snr-at: {split} is no split of this model; allowed: 1 to {layers}, or each"));
        }
        let (losses, noises, ranges) = match &self.points {
            Points::Grid { losses, noises, .. } => (losses.as_slice(), noises.as_slice(), false),
            Points::Random { losses, noises, .. } => (losses.as_slice(), noises.as_slice(), true),
        };
        let [loss_option, std_option, snr_option] = if ranges {
            ["--loss-range", "--noise-range", "--snr-range-db"]
        } else {
            ["--losses", "--noises", "--snrs-db"]
        };
        let analog = self.settings.iter().any(Setting::is_analog);
        if let Some(loss) = losses.iter().find(|loss| !(0.0..1.0).contains(*loss)) {
            return refuse(format!("{loss_option}: {loss} is no loss probability; allowed: 0 to below 1"));
        }
        let noise_option = match self.noise {
            NoiseScale::Std => {
                if let Some(noise) = noises.iter().find(|noise| !(0.0..=MOST_NOISE).contains(*noise)) {
                    return refuse(format!(
                        "{std_option}: {noise} is no standard deviation; allowed: 0 to {MOST_NOISE:e}"
                    ));
                }
                std_option
            }
            NoiseScale::SnrDb(_) => {
                if let Some(snr) = noises.iter().find(|snr| !(-MOST_SNR_DB..=MOST_SNR_DB).contains(*snr)) {
                    return refuse(format!("{snr_option}: {snr} is out of range; allowed: ±{MOST_SNR_DB} dB"));
                }
                if !analog {
                    return refuse(format!("{snr_option}: a digital link has no activation SNR; leave it out"));
                }
                snr_option
            }
        };
        if ranges {
            for (option, range) in [(loss_option, losses), (noise_option, noises)] {
                if let [min, max] = range
                    && min > max
                {
                    return refuse(format!("{option}: {min} is above {max}"));
                }
            }
        } else {
            let doubled = |values: &[f64]| {
                let mut sorted = values.to_vec();
                sorted.sort_by(f64::total_cmp);
                sorted.windows(2).any(|pair| pair[0] == pair[1])
            };
            for (option, values) in [(loss_option, losses), (noise_option, noises)] {
                if doubled(values) {
                    return refuse(format!("a value stands twice in {option}"));
                }
            }
        }
        let mut splits = self.splits.clone();
        splits.sort_unstable();
        if splits.windows(2).any(|pair| pair[0] == pair[1]) {
            return refuse("a value stands twice in --splits".into());
        }
        for (index, setting) in self.settings.iter().enumerate() {
            if self.settings[..index].contains(setting) {
                let options = "--receptions, --loss-units, --tx-normalisations or --encodings";
                return refuse(format!("{setting} is asked for twice: a value stands twice in {options}"));
            }
        }
        let model = &assembly.network.channels[0].fading;
        if let FadingModel::Trace(traces) = model
            && traces.series().iter().any(|series| !series.repeats())
        {
            return refuse(
                "the windows of a profile start at any time, and the fading trace has an end: set \
                 channel.fading_trace_repeat = true"
                    .into(),
            );
        }
        let fading = model.kind();
        if let Some(loss) = losses.iter().find(|loss| **loss > 0.0)
            && let Some(setting) = self.settings.iter().find(|setting| !setting.can_lose(fading))
        {
            return refuse(format!(
                "{loss_option}: {loss} can't happen with {setting}: without fading the gain is constant and no \
                 packet is lost; allowed: 0, or loss_unit = \"element-iid\""
            ));
        }
        if let Points::Grid { draws, .. } = self.points
            && draws > MOST_DRAWS
        {
            return refuse(format!("--draws: {draws} is out of range; allowed: 1 to {MOST_DRAWS}"));
        }
        if let Points::Random { repeats, .. } = self.points
            && !(1..=MOST_DRAWS).contains(&repeats)
        {
            return refuse(format!("--repeats: {repeats} is out of range; allowed: 1 to {MOST_DRAWS}"));
        }
        let no_points = match &self.points {
            Points::Grid { losses, noises, draws } => losses.is_empty() || *draws == 0 || (noises.is_empty() && analog),
            Points::Random { records, .. } => *records == 0,
        };
        if no_points || self.splits.is_empty() || self.settings.is_empty() || self.windows == Some(0) {
            return refuse("the profile is empty: give at least one split, loss, noise, window and draw".into());
        }
        Ok(())
    }
}

/// Least and largest loss probability and σ that a scenario's first channel can have.
pub fn channel_ranges(assembly: &Assembly) -> ([f64; 2], [f64; 2]) {
    let channel = &assembly.network.channels[0];
    let ((least, most), (quiet, loud)) = (loss_bounds(channel), channel.noise_std.bounds());
    ([least, most], [quiet, loud])
}

/// σ_h of the channel. P is the profile's, so h_th follows; a σ_h that varies has no place
/// in a table.
///
/// # Errors
/// [`ProfileError::Spec`] if σ_h varies or follows from the two others.
pub(super) fn constant_scale(assembly: &Assembly) -> Result<f64, ProfileError> {
    match &assembly.network.channels[0].outage {
        OutageSpec::ThresholdAndLoss { .. } => Err(ProfileError::Spec(
            "a profile varies the loss probability at one rayleigh_scale: leave channel.gain_threshold out".into(),
        )),
        OutageSpec::ScaleAndLoss { rayleigh_scale, .. } | OutageSpec::ScaleAndThreshold { rayleigh_scale, .. } => {
            match rayleigh_scale {
                Parameter::Constant(scale) => Ok(*scale),
                Parameter::Drawn { .. } | Parameter::Walk { .. } => {
                    Err(ProfileError::Spec("a profile needs one rayleigh_scale: set channel.rayleigh_scale".into()))
                }
            }
        }
    }
}

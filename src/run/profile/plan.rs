//! The evaluations of a profile, one by one: what the n-th is, without the others.

use std::collections::BTreeMap;

use crate::kernel::{Purpose, Streams};
use crate::run::profile::spec::{NoiseScale, Points, ProfileSpec};

/// Streams of a grid's first draw; draw k has those of the k-th replication before. No
/// replication of a run has either: a table must not know the run that reads it.
const GRID_REPLICATION: u32 = u32::MAX;
/// Streams of random records, by their number.
const RECORDS_REPLICATION: u32 = u32::MAX / 2;
/// Index of [`Purpose::ProfileStart`] that chooses a record's setting; 0 is its start.
const SETTING_INDEX: u64 = 1;

/// The noise of one evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Noise {
    /// σ, and the activation SNR that it was asked as \[dB\].
    Std(f64, Option<f64>),
    /// The σ that gives the window and split this activation SNR \[dB\].
    SnrDb(f64),
}

impl Noise {
    /// The activation SNR that was asked for \[dB\].
    pub fn target_db(self) -> Option<f64> {
        match self {
            Self::Std(_, target) => target,
            Self::SnrDb(snr) => Some(snr),
        }
    }
}

/// One evaluation: a window over a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evaluation {
    /// Number of the point that it belongs to; 0 for random records.
    pub point: usize,
    /// Window of the corpus.
    pub window: u32,
    /// Layers before the channel.
    pub split: u32,
    /// Index of the setting.
    pub setting: usize,
    /// P.
    pub loss: f64,
    /// σ.
    pub noise: Noise,
    /// Number of the repetition, or of the record.
    pub draw: u32,
    /// Draws of fading and noise.
    pub streams: Streams,
    /// Whose these are.
    pub entity: u32,
}

/// A point of a grid at any split.
#[derive(Clone, Copy, Debug)]
struct Condition {
    setting: usize,
    loss: f64,
    noise: Noise,
}

/// A profile that has been checked, its windows and noise levels settled.
pub(super) struct ProfilePlan<'a> {
    spec: &'a ProfileSpec,
    seed: u64,
    windows: Vec<u32>,
    /// 10 lg of the power that σ is relative to, by setting; `None` where it follows each window.
    reference_db: BTreeMap<usize, f64>,
    /// By setting, then loss, then noise.
    conditions: Vec<Condition>,
}

impl<'a> ProfilePlan<'a> {
    /// The evaluations of `spec` on `windows`. `reference_db` has, for each setting whose
    /// SNR is met at one split, the median transmitted power there \[dB\].
    pub fn new(spec: &'a ProfileSpec, seed: u64, windows: Vec<u32>, reference_db: BTreeMap<usize, f64>) -> Self {
        let mut plan = Self { spec, seed, windows, reference_db, conditions: Vec::new() };
        if let Points::Grid { losses, noises, .. } = &spec.points {
            for (setting, kind) in spec.settings.iter().enumerate() {
                let noises = if kind.is_analog() { noises.as_slice() } else { &[0.0] };
                for &loss in losses {
                    for &level in noises {
                        let noise = plan.noise(setting, level);
                        plan.conditions.push(Condition { setting, loss, noise });
                    }
                }
            }
        }
        plan
    }

    fn noise(&self, setting: usize, level: f64) -> Noise {
        if !self.spec.settings[setting].is_analog() {
            return Noise::Std(0.0, None);
        }
        match (self.spec.noise, self.reference_db.get(&setting)) {
            (NoiseScale::Std, _) => Noise::Std(level, None),
            (NoiseScale::SnrDb(_), Some(power_db)) => Noise::Std(std_for(*power_db, level), Some(level)),
            (NoiseScale::SnrDb(_), None) => Noise::SnrDb(level),
        }
    }

    /// Number of evaluations.
    pub fn len(&self) -> u64 {
        match self.spec.points {
            Points::Grid { draws, .. } => self.windows.len() as u64 * self.points() as u64 * u64::from(draws),
            Points::Random { records, .. } => u64::from(records),
        }
    }

    /// Number of points of a grid; 0 for random records.
    pub fn points(&self) -> usize {
        self.spec.splits.len() * self.conditions.len()
    }

    /// Whether every window meets all splits, one after the other.
    pub fn is_grid(&self) -> bool {
        matches!(self.spec.points, Points::Grid { .. })
    }

    /// Evaluation `index` < [`len`](Self::len). Of a grid: by window, split, setting, loss,
    /// noise, and draw, the last fastest.
    ///
    /// A window's draw has its own start, fading and noise, the same at every point
    /// (common random numbers) and in every profile of that seed that has it.
    pub fn evaluation(&self, index: u64) -> Evaluation {
        match &self.spec.points {
            Points::Grid { draws, .. } => {
                let (rest, draw) = (index / u64::from(*draws), (index % u64::from(*draws)) as u32);
                let point = (rest % self.points() as u64) as usize;
                let window = self.windows[(rest / self.points() as u64) as usize];
                let Condition { setting, loss, noise } = self.conditions[point % self.conditions.len()];
                let split = self.spec.splits[point / self.conditions.len()];
                let streams = Streams::new(self.seed, GRID_REPLICATION - draw);
                Evaluation { point, window, split, setting, loss, noise, draw, streams, entity: window }
            }
            Points::Random { losses, noises, repeats, .. } => {
                let record = index as u32;
                let streams = Streams::new(self.seed, RECORDS_REPLICATION);
                // A point's coordinates have its own number; the window, its start, fading and noise the record's.
                let point = record / *repeats;
                let stream = |purpose| streams.stream(point, purpose);
                let one_of = |purpose, at, count: usize| stream(purpose).below(at, count as u64) as usize;
                let window = streams.stream(record, Purpose::Prompt).below(0, self.windows.len() as u64) as usize;
                let within = |purpose, [min, max]: [f64; 2]| {
                    // The last rounding may step over the bound by an ulp.
                    (min + (max - min) * stream(purpose).uniform(0)).min(max)
                };
                let setting = one_of(Purpose::ProfileStart, SETTING_INDEX, self.spec.settings.len());
                Evaluation {
                    point: 0,
                    window: self.windows[window],
                    split: self.spec.splits[one_of(Purpose::InitialSplit, 0, self.spec.splits.len())],
                    setting,
                    loss: within(Purpose::LossProbability, *losses),
                    noise: self.noise(setting, within(Purpose::NoiseStd, *noises)),
                    draw: record,
                    streams,
                    entity: record,
                }
            }
        }
    }
}

/// The σ that gives a transmitted row of power `power_db` an SNR of `snr_db`.
pub(super) fn std_for(power_db: f64, snr_db: f64) -> f64 {
    10f64.powf((power_db - snr_db) / 20.0)
}

/// `wanted` of `count` windows, spread evenly: a corpus has more than one register.
pub(super) fn spread(wanted: u32, count: u32) -> Vec<u32> {
    (0..wanted).map(|i| (u64::from(i) * u64::from(count) / u64::from(wanted)) as u32).collect()
}

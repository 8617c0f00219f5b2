//! Small-scale fading with random access: the gain of a link at any instant, in
//! any order, without state.
//!
//! Autoregressive models step from event to event. With ρ = J₀(2πf_dτ) they are
//! right on one fixed step only (J₀(a + b) ≠ J₀(a)·J₀(b)), and a run with more
//! events would meet a slower channel. A sum of sinusoids is a closed form of
//! the distance travelled: asking more often changes nothing. So are the models
//! built on it, the block of an instant, and the place in a trace.
//!
//! ```text
//!  FadingModel (kind and parameters, of a channel) ─▶ Fading (of a Link) ─▶ envelope(Moment) = |z|
//!       └▶ FadingLaw: P ↔ h_th ↔ σ_h (law.rs)
//! ```

mod block;
mod gamma;
mod law;
mod nakagami;
mod rician;
mod sum_of_sinusoids;
mod trace;

use std::sync::Arc;

use super::outage;
use crate::kernel::{Purpose, Stream, Streams};
use crate::units::ratio_from_db;

pub use block::{BlockFading, COHERENCE_TURNS};
pub use law::FadingLaw;
pub use nakagami::{MAX_NAKAGAMI_M, MIN_NAKAGAMI_M, Nakagami, NakagamiModel};
pub use rician::{DEFAULT_RICIAN_K_DB, MAX_RICIAN_K_DB, Rician};
pub use sum_of_sinusoids::{DEFAULT_SINUSOIDS, MAX_SINUSOIDS, SumOfSinusoids};
pub use trace::{GainTrace, GainTraces};

/// Parameters that make no fading process.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum FadingError {
    /// A number of sinusoids that makes no sum.
    #[error("{0} sinusoids per link: not between 1 and {MAX_SINUSOIDS}")]
    Sinusoids(usize),
    /// K of Rician fading is out of range or no number.
    #[error("Rician K of {0} dB: not between -{MAX_RICIAN_K_DB} and {MAX_RICIAN_K_DB}")]
    RicianK(f64),
    /// m of Nakagami fading is out of range or no number.
    #[error("Nakagami m = {0}: not between {MIN_NAKAGAMI_M} and {MAX_NAKAGAMI_M}")]
    NakagamiM(f64),
    /// The length of a block is not positive and finite.
    #[error("a coherence time of {0} s is not positive and finite")]
    Coherence(f64),
}

/// A radio link: a UE's, to one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Number of the UE in the network.
    pub ue: u32,
    /// Number of the cell; 0 where there is one.
    pub cell: u32,
}

impl Link {
    /// The link of a UE where there is one cell.
    pub fn of_ue(ue: u32) -> Self {
        Self { ue, cell: 0 }
    }

    /// The link's draws for `purpose`: the UE's, from block 2³²·cell on.
    pub(super) fn stream(self, streams: Streams, purpose: Purpose) -> Stream {
        streams.stream(self.ue, purpose).starting_at(u64::from(self.cell) << 32)
    }
}

/// When and where a gain is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moment {
    /// Distance travelled, in wavelengths: `f_d·t` at constant speed.
    pub turns: f64,
    /// Simulated time \[s\].
    pub time_s: f64,
}

impl Moment {
    /// `time_s` \[s\] of a link whose Doppler frequency has always been `doppler_hz`.
    #[inline]
    pub fn at(time_s: f64, doppler_hz: f64) -> Self {
        Self { turns: doppler_hz * time_s, time_s }
    }
}

/// The fading model that a scenario names: `fading = "rayleigh"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FadingKind {
    /// No fading: |z| = 1 always, an AWGN channel.
    None,
    /// Rayleigh fading with Clarke's spectrum.
    #[default]
    Rayleigh,
    /// A line of sight beside Rayleigh fading: `rician_k_db`.
    Rician,
    /// Nakagami-m fading: `nakagami_m`. Milder than Rayleigh above m = 1, harsher below.
    Nakagami,
    /// Rayleigh gains that hold for a coherence time and are then drawn anew.
    Block,
    /// Gains from a file: `fading_trace`.
    Trace,
}

/// How the links of a channel fade: the kind with its parameters. A clone shares tables and traces.
#[derive(Debug, Clone, Default)]
pub enum FadingModel {
    /// |z| = 1.
    #[default]
    None,
    /// A sum of sinusoids.
    Rayleigh {
        /// N.
        sinusoids: usize,
    },
    /// A line of sight beside one.
    Rician {
        /// Power of the line of sight over that of the scattered waves \[dB\].
        k_db: f64,
        /// N.
        sinusoids: usize,
    },
    /// Several combined, or one transformed.
    Nakagami {
        /// The shape.
        model: NakagamiModel,
        /// N of each.
        sinusoids: usize,
    },
    /// One gain per block.
    Block {
        /// Length of a block \[s\]; `None` for 0.423 wavelengths.
        coherence_s: Option<f64>,
    },
    /// Series of gains.
    Trace(Arc<GainTraces>),
}

impl FadingModel {
    /// What scenarios call it.
    pub fn kind(&self) -> FadingKind {
        match self {
            Self::None => FadingKind::None,
            Self::Rayleigh { .. } => FadingKind::Rayleigh,
            Self::Rician { .. } => FadingKind::Rician,
            Self::Nakagami { .. } => FadingKind::Nakagami,
            Self::Block { .. } => FadingKind::Block,
            Self::Trace(_) => FadingKind::Trace,
        }
    }

    /// Whether the gain never varies.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Whether the gain varies with the distance travelled.
    pub fn follows_doppler(&self) -> bool {
        !matches!(self, Self::None | Self::Trace(_) | Self::Block { coherence_s: Some(_) })
    }

    /// The laws of its links' gains: one, but for traces one each.
    pub fn laws(&self) -> Vec<FadingLaw<'_>> {
        match self {
            Self::None | Self::Rayleigh { .. } | Self::Block { .. } => vec![FadingLaw::Rayleigh],
            Self::Rician { k_db, .. } => vec![FadingLaw::Rician { k: ratio_from_db(*k_db) }],
            Self::Nakagami { model, .. } => vec![FadingLaw::Nakagami { m: model.m() }],
            Self::Trace(traces) => traces.series().iter().map(|series| FadingLaw::Empirical(series)).collect(),
        }
    }

    /// Fades per second at a Doppler frequency f_d = `doppler_hz`: how often the gain falls
    /// through ρ. `None` without fading and of a trace, of which theory says nothing.
    ///
    /// Rayleigh: [`level_crossing_rate`](crate::channel::level_crossing_rate); blocks of
    /// length T: `P·(1 - P)/T`; the others have f_d times their own.
    pub fn level_crossing_rate(&self, doppler_hz: f64, rho: f64) -> Option<f64> {
        Some(match self {
            Self::None | Self::Trace(_) => return None,
            Self::Rayleigh { .. } => outage::level_crossing_rate(doppler_hz, rho),
            Self::Rician { k_db, .. } => doppler_hz * rician::rician_crossings(ratio_from_db(*k_db), rho),
            Self::Nakagami { model, .. } => doppler_hz * nakagami::nakagami_crossings(model.m(), rho),
            Self::Block { coherence_s } => {
                let loss = FadingLaw::Rayleigh.outage(rho * rho);
                loss * (1.0 - loss) / coherence_s.unwrap_or(COHERENCE_TURNS / doppler_hz)
            }
        })
    }

    /// The mean length of a fade, `P/LCR` \[s\]; 0 where nothing is lost, infinite for a
    /// channel that stands still. `None` as [`FadingModel::level_crossing_rate`].
    pub fn average_fade_duration(&self, doppler_hz: f64, rho: f64) -> Option<f64> {
        if matches!(self, Self::Rayleigh { .. }) {
            return Some(outage::average_fade_duration(doppler_hz, rho));
        }
        let rate = self.level_crossing_rate(doppler_hz, rho)?;
        let loss = self.laws().first().map_or(0.0, |law| law.outage(rho * rho));
        Some(if loss == 0.0 { 0.0 } else { loss / rate })
    }
}

/// The kind with the parameters that tell two of a kind apart: `rayleigh`, `rician k_db=9`.
impl std::fmt::Display for FadingModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Rayleigh { .. } => f.write_str("rayleigh"),
            Self::Rician { k_db, .. } => write!(f, "rician k_db={k_db}"),
            Self::Nakagami { model, .. } => write!(f, "nakagami m={}", model.m()),
            Self::Block { coherence_s: None } => f.write_str("block"),
            Self::Block { coherence_s: Some(coherence_s) } => write!(f, "block coherence_s={coherence_s}"),
            Self::Trace(_) => f.write_str("trace"),
        }
    }
}

/// The fading of one link.
#[derive(Debug, Clone)]
pub enum Fading {
    /// |z| = 1.
    None,
    /// A sum of sinusoids.
    Rayleigh(SumOfSinusoids),
    /// With a line of sight.
    Rician {
        /// The waves.
        waves: Box<Rician>,
        /// K, as a ratio.
        k: f64,
    },
    /// Of a gamma law.
    Nakagami {
        /// The waves.
        waves: Box<Nakagami>,
        /// m.
        m: f64,
    },
    /// One gain per block.
    Block(Box<BlockFading>),
    /// A series.
    Trace(Arc<GainTrace>),
}

impl Fading {
    /// The fading of `link`.
    ///
    /// # Errors
    /// [`FadingError`] for parameters out of range.
    pub fn new(model: &FadingModel, streams: &Streams, link: Link) -> Result<Self, FadingError> {
        Ok(match model {
            FadingModel::None => Self::None,
            FadingModel::Rayleigh { sinusoids } => Self::Rayleigh(SumOfSinusoids::new(streams, link, *sinusoids)?),
            FadingModel::Rician { k_db, sinusoids } => Self::Rician {
                waves: Box::new(Rician::new(streams, link, *k_db, *sinusoids)?),
                k: ratio_from_db(*k_db),
            },
            FadingModel::Nakagami { model, sinusoids } => {
                Self::Nakagami { waves: Box::new(Nakagami::new(streams, link, model, *sinusoids)?), m: model.m() }
            }
            FadingModel::Block { coherence_s } => Self::Block(Box::new(BlockFading::new(streams, link, *coherence_s)?)),
            FadingModel::Trace(traces) => Self::Trace(traces.of_ue(link.ue).clone()),
        })
    }

    /// Whether the gain never varies.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// |z|, E|z|² = 1, at a moment.
    pub fn envelope(&self, at: Moment) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Rayleigh(waves) => waves.envelope(at.turns),
            Self::Rician { waves, .. } => waves.envelope(at.turns),
            Self::Nakagami { waves, .. } => waves.envelope(at.turns),
            Self::Block(blocks) => blocks.envelope(at),
            Self::Trace(series) => series.envelope(at.time_s),
        }
    }

    /// The law of the gain.
    pub fn law(&self) -> FadingLaw<'_> {
        match self {
            Self::None | Self::Rayleigh(_) | Self::Block(_) => FadingLaw::Rayleigh,
            Self::Rician { k, .. } => FadingLaw::Rician { k: *k },
            Self::Nakagami { m, .. } => FadingLaw::Nakagami { m: *m },
            Self::Trace(series) => FadingLaw::Empirical(series),
        }
    }
}

/// The gain of Chen25 (3), `h = √2·σ_h·|z|`: E h² = 2σ_h², Rayleigh's scale σ_h whatever the law.
/// Without fading |z| = 1 keeps the mean power: h = √2·σ_h.
#[inline]
pub fn rayleigh_gain(rayleigh_scale: f64, envelope: f64) -> f64 {
    std::f64::consts::SQRT_2 * rayleigh_scale * envelope
}

//! The radio channel as one link sees it: gain over time, loss, and what both
//! do to a tensor. No queues, no geometry of cells, no model.
//!
//! A tour, in the order of a request's way through the air:
//!
//! - [`Parameter`]: σ, σ_h and P are *long-term* parameters. Each is constant,
//!   drawn per UE, episode or request, or walks on a grid of time.
//! - [`SumOfSinusoids`], [`Fading`]: the short-term gain `h(t)`, a closed form of
//!   the distance travelled. Any instant, in any order, without state.
//! - [`outage_probability`] and its inverses: Chen25 (4), which ties the loss
//!   probability to the gain threshold; [`average_fade_duration`] says how long
//!   a run of losses lasts.
//! - [`Encoding`]: bits on the air and error in the tensor, from one place.
//! - [`Packets`]: the gain that each packet met, and whether it was lost.
//! - [`ReceptionRecord`], [`apply`]: Chen25 (3). A request carries this record,
//!   never a tensor; applied to the activations of the model that runs, it is
//!   the same lost packets, gains and noise at any time, on any thread.
//!
//! Every draw comes from [`Streams`](crate::kernel::Streams), addressed
//! by link or request and by index, so all of this is pure functions.
//!
//! ```text
//!              distance / λ                 h_th
//!                   │                        │
//!  Streams ─▶ Fading::envelope ─▶ h ─▶ h < h_th? ─▶ Packets ─┐
//!  Streams ─▶ Parameter::value ─▶ σ, σ_h, P ─────────────────┴▶ ReceptionRecord ─▶ apply(rows)
//! ```
//!
//! Chen25: Chen, Li, Yu, Zhao, Zhang, "Adaptive Layer Splitting for Wireless
//! LLM Inference in Edge Computing: A Model-Based Reinforcement Learning
//! Approach", arXiv 2406.02616, FITEE 26(2):278-292, 2025.

mod encoding;
mod fading;
mod noise;
mod outage;
mod packets;
mod parameter;
mod reception;
mod turns;

pub use encoding::Encoding;
pub use fading::{DEFAULT_SINUSOIDS, Fading, FadingError, FadingKind, MAX_SINUSOIDS, SumOfSinusoids, rayleigh_gain};
pub use outage::{
    DEFAULT_RAYLEIGH_SCALE, OutageError, average_fade_duration, digital_gain_threshold, gain_threshold_for,
    level_crossing_rate, outage_probability, rayleigh_scale_for, relative_threshold,
};
pub use packets::Packets;
pub use parameter::{Draw, Occasion, Parameter, ParameterError, ParameterState, WALK_STEP};
pub use reception::{Impairment, LossUnit, NoiseKey, Received, Reception, ReceptionRecord, TxNormalisation, apply};

//! The radio channel as one link sees it: gain over time, loss, and what both
//! do to a tensor; where a UE is, and what its place means for the gain. No queues,
//! no cells side by side, no model.
//!
//! A tour, in the order of a request's way through the air:
//!
//! - [`Parameter`]: σ, σ_h and P are *long-term* parameters. Each is constant,
//!   drawn per UE, episode or request, or walks on a grid of time.
//! - [`FadingModel`], [`Fading`]: the short-term gain `h(t)`, a closed form of
//!   the distance travelled and the time. Any instant, in any order, without state.
//! - [`Mobility`] and [`Mover`]: where a UE is at any time, and how far it has travelled.
//! - [`LargeScale`]: path loss ([`Environment`]), shadowing and line of sight
//!   ([`GaussianField`]) from one cell to any place: a closed form of the place.
//! - [`outage_probability`] and its inverses: Chen25 (4), which ties the loss
//!   probability to the gain threshold, and [`FadingLaw`], the same for other laws
//!   than Rayleigh's; [`average_fade_duration`] says how long a run of losses lasts.
//! - [`Encoding`], and [`Codec`] with outliers and top-k: bits on the air and error in the tensor, from
//!   one place.
//! - [`Packets`]: the gain that each packet met, and whether it was lost.
//! - [`tx_scales`], [`receive_raw`], [`receive_equalised`]: Chen25 (3) on rows of
//!   activations, with the transmitter's scaling.
//! - [`lost_rows`], [`lost_chunks`], [`lost_strides`], [`lost_elements`]: what is missing; [`conceal`]:
//!   what stands in its place.
//! - [`ReceptionRecord`], [`apply`]: all of these as one request met them. A request
//!   carries this record, never a tensor; applied to the activations of the
//!   model that runs, it is the same lost packets, gains and noise at any
//!   time, on any thread.
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

mod analog;
mod area;
mod codec;
mod concealment;
mod encoding;
mod fading;
mod field;
mod gauss_markov;
mod large_scale;
mod loss;
mod mobility;
mod mobility_trace;
mod noise;
mod normalisation;
mod outage;
mod packets;
mod parameter;
mod path_loss;
mod random_waypoint;
mod reception;
mod turns;

pub use analog::{receive_equalised, receive_raw};
pub use area::{Area, AreaError, MOST_COORDINATE_M};
pub use codec::{Codec, CodecError};
pub use concealment::{Concealment, conceal, conceal_by_mean, rescale};
pub use encoding::Encoding;
pub use fading::{
    BlockFading, COHERENCE_TURNS, DEFAULT_RICIAN_K_DB, DEFAULT_SINUSOIDS, Fading, FadingError, FadingKind, FadingLaw,
    FadingModel, GainTrace, GainTraces, Link, MAX_NAKAGAMI_M, MAX_RICIAN_K_DB, MAX_SINUSOIDS, MIN_NAKAGAMI_M, Moment,
    Nakagami, NakagamiModel, Rician, SumOfSinusoids, rayleigh_gain,
};
pub use field::{DEFAULT_WAVES, GaussianField};
pub use gauss_markov::GAUSS_MARKOV_STEP;
pub use large_scale::{LargeScale, LargeScaleSpec, LineOfSightMode, LinkLoss};
pub use loss::{LossUnit, lost_chunks, lost_elements, lost_rows, lost_strides, rows_without_chunks};
pub use mobility::{Mobility, MobilityError, Mover, Whereabouts};
pub use mobility_trace::{MobilityTrace, TraceError, TracePoint};
pub use noise::fill_normals;
pub use normalisation::{TxNormalisation, activation_snr_db, row_powers, tx_scales};
pub use outage::{
    DEFAULT_RAYLEIGH_SCALE, OutageError, average_fade_duration, digital_gain_threshold, digital_snr_needed,
    gain_threshold_for, level_crossing_rate, outage_probability, rayleigh_scale_for, relative_threshold,
};
pub use packets::Packets;
pub use parameter::{Draw, Occasion, Parameter, ParameterError, ParameterState, WALK_STEP};
pub use path_loss::{Environment, LinkGeometry};
pub use reception::{Impairment, NoiseKey, Received, Reception, ReceptionRecord, RoundReception, apply};

//! The radio: how many packets a payload takes, how long it is on the air, at what
//! rate and with how many repeats, and what it costs to send. Who shares the air
//! is decided flow by flow by the processor-sharing server of [`crate::kernel`], or slot by
//! slot by [`SlotCell`]; what arrives, by the fading of [`crate::channel`].
//!
//! - [`UplinkSpec`]: packets and airtime at a fixed rate.
//! - [`shannon_efficiency`], [`Cqi`]: the rate at an SINR, and its block errors.
//! - [`resource_blocks`], [`transport_block_bits`]: what a slot carries.
//! - [`Harq`]: repeats of single packets.
//! - [`rayleigh_capacity_gain`]: what a cell gains from many links to choose from.
//! - [`SlotCell`]: a cell whose scheduler serves one flow per slot.
//! - [`transmit_power_w`]: power of a UE's transmitter.

mod adaptation;
mod energy;
mod error_function;
mod harq;
mod link;
mod multi_user_gain;
mod power_control;
mod rate;
mod service_log;
mod slots;

pub use adaptation::{
    Cqi, DEFAULT_BLER_SLOPE_DB, highest_cqi, resource_blocks, shannon_efficiency, sinr_needed, slot_nanos,
    transport_block_bits,
};
pub use energy::{sleep_power_w, transmit_power_w};
pub use harq::{Combining, Harq, HarqOutcome, MAX_HARQ_TRANSMISSIONS, block_error_draw};
pub use link::{LinkMode, Payload, PayloadKind, UplinkSpec};
pub use multi_user_gain::{rayleigh_capacity_gain, rayleigh_multi_user_gain};
pub use power_control::{PowerControl, noise_dbm};
pub use rate::{Rate, RateRule};
pub use slots::{SlotCell, SlotCellError, SlotDeparted, SlotFlowId, SlotScheduler, SlotService};

//! The radio: how many packets a payload takes, how long it is on the air, and
//! what it costs to send. Who shares the air is decided by the processor-sharing
//! server of [`crate::kernel`]; what arrives, by the fading of [`crate::channel`].

mod energy;
mod link;

pub use energy::{sleep_power_w, transmit_power_w};
pub use link::{LinkMode, Payload, PayloadKind, UplinkSpec};

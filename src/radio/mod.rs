//! The radio: how many packets a payload takes, how long it is on the air, and
//! what it costs to send. Who shares the air is decided by the processor-sharing
//! server of [`crate::kernel`]; what arrives, by the fading of [`crate::channel`].

mod energy;
mod harq;
mod link;

pub use energy::transmit_power_w;
pub use harq::{Combining, Harq, HarqOutcome, MAX_HARQ_TRANSMISSIONS};
pub use link::{LinkMode, Payload, PayloadKind, UplinkSpec};

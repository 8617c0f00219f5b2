//! The discrete-event kernel: what every queueing model is built on.
//!
//! * [`Calendar`]: the pending events, in the order (time, class, sequence).
//! * [`ProcessorSharing`]: a server whose capacity all present jobs share, equally or by
//!   weight; [`CapacityGain`]: a capacity that grows with their number.
//! * [`Streams`]: random numbers by key and index, never by order of drawing.
//!
//! The kernel knows no network. A simulation is a loop over [`Calendar::pop`];
//! its state stands beside the calendar, not inside it.

mod calendar;
mod capacity_gain;
mod processor_sharing;
mod streams;

pub use calendar::{Calendar, Ticket};
pub use capacity_gain::{CapacityGain, CapacityGainError};
pub use processor_sharing::{Departed, FlowId, MAX_WEIGHT, ProcessorSharing};
pub use streams::{Purpose, Stream, Streams};

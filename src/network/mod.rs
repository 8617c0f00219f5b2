//! The network: UEs, one shared uplink, one edge, and the requests that pass
//! through them.
//!
//! One request, in the order of the files: [`workload`] lets it arrive; `ue.rs`
//! queues it, freezes its channel conditions, asks the controller and runs
//! layers 1..p; `uplink.rs` sends the tensor and collects what became of each
//! packet, and `delivery.rs` says whether what was lost is sent again; `edge.rs` queues it
//! again and runs the rest; [`rounds`] sends a request for several tokens round again,
//! [`collaboration`] one whose UE asks the edge for some of its tokens; `ending.rs` returns
//! the result and writes its row; `ledger.rs` lets the row wait for its quality and
//! the decision for its reward. `energy.rs` and `battery.rs` keep account of what all that takes.
//!
//! [`modulated`] and [`renewal`] are laws of arrivals, [`conversation`] lets a request follow from another's answer.
//!
//! [`simulation`] is the event loop, [`event`] the table of events, [`world`] the
//! state, [`spec`] what defines a network, [`ports`] and [`text`] what it asks of others, and
//! [`rows`] what it gives.

mod air;
pub mod battery;
mod cell_link;
pub mod cells;
pub mod collaboration;
pub mod compute;
pub mod conversation;
pub mod costs;
mod delivery;
mod edge;
mod ending;
pub mod energy;
pub mod event;
mod ledger;
mod load;
pub mod modulated;
pub mod ports;
pub mod renewal;
pub mod request;
pub mod rounds;
pub mod rows;
pub mod simulation;
mod slotted;
pub mod spec;
pub mod text;
mod ue;
mod uplink;
pub mod workload;
pub mod world;

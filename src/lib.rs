//! Splitwave: a discrete-event network simulator for split LLM inference at the
//! wireless edge.
//!
//! Many user equipments (UEs) with time-varying fading channels, packet loss and
//! compute queues share an edge. Each request runs the first `p` layers of a real
//! LLaMA-family model on the UE, sends the intermediate tensor over the simulated
//! channel, and finishes on the edge: the packets that the channel lost are the
//! parts of the tensor that are missing when the rest of the model runs.
//!
//! The floors, from the ground up; imports run strictly downwards:
//!
//! | floor | module | what it holds |
//! |---|---|---|
//! | 0 | [`units`], [`stats`] | simulated time, decibels; moments, quantiles, intervals |
//! | 1 | [`kernel`] | the event list, processor sharing, random streams |
//! | 2 | [`channel`], [`llm`] | fading and reception; the decoder that runs any range of layers |
//! | 3 | [`radio`] | packets and airtime |
//! | 4 | [`network`] | UEs, uplink, edge, requests: the simulation |
//! | 5 | [`control`], [`record`] | rewards, quality, policies; CSV files |
//! | 6 | [`scenario`] | the TOML file |
//! | 7 | [`run`] | one run and its folder of results |
//! | 8 | [`study`] | parameter studies |
//! | 9 | [`cli`] | the commands |
//!
//! `ARCHITECTURE.md` follows one request through the files.

pub mod channel;
pub mod cli;
pub mod control;
pub mod kernel;
pub mod llm;
pub mod network;
pub mod radio;
pub mod record;
pub mod rl;
pub mod run;
pub mod scenario;
pub mod stats;
pub mod study;
pub mod units;

//! Collaborative generation: the UE proposes tokens by itself, and the edge is asked for some of them.
//!
//! ```text
//!        ┌──────────────── kept ◀─────────────────┐
//!        ▼                                        │
//! UE pass for the next token ──▶ proposal, score ─┤
//!        ▲                                        ▼
//!        │                                  message ─▶ uplink ─▶ edge ─▶ downlink
//!        ├──── the edge's token ◀──────────────────────────────────────────┘
//!        └──── its own, if the message is lost or the answer late
//! ```
//!
//! Each method is a file and a [`Collaboration`]; `flow.rs` carries requests through the network by
//! its word, `upload.rs` sends what goes to the edge unasked.

mod early_exit;
mod flow;
mod hybrid_reward;
mod hybrid_uncertainty;
mod query_router;
mod talk;
mod upload;

pub use early_exit::EarlyExit;
pub use flow::Told;
pub(in crate::network) use flow::awaited;
pub use hybrid_reward::HybridReward;
pub use hybrid_uncertainty::HybridUncertainty;
pub use query_router::QueryRouter;
pub use talk::{Asked, Talk, TokenTrail};

use crate::llm::{CostModel, decode_layer_flop, head_flop, layer_kv_bytes};
use crate::network::compute::{Pass, Work};
use crate::network::costs::{KV_BYTES_PER_VALUE, token_bits};
use crate::network::ports::ServiceMode;
use crate::network::spec::NetworkSpec;
use crate::units::SimTime;

/// What a scenario says of collaboration; also of generated text without one.
#[derive(Clone, Debug)]
pub struct CollaborationSpec {
    /// What is paid for the UE's own model.
    pub device: CostModel,
    /// Threshold of the score; which side of it asks is the method's.
    pub threshold: f64,
    /// Scores are uniform draws on (0, 1), and no model says anything.
    pub random_scores: bool,
    /// The UE goes on with its own token so long after it asked. `None`: it waits.
    pub answer_deadline: Option<SimTime>,
    /// Entries of the proposal's distribution that are sent, k; `None` for all V.
    pub upload_entries: Option<u32>,
    /// Bits of a probability that is sent.
    pub probability_bits: u32,
    /// Layers of the running model in front of the exit.
    pub exit_layer: u32,
}

/// How far a request is with its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Tokens of the prompt, S.
    pub prompt: u32,
    /// Tokens that stand behind it, t.
    pub position: u32,
    /// Inputs (ids, or rows of states) that have reached the edge.
    pub at_edge: u32,
    /// Inputs whose keys and values the edge has computed.
    pub computed: u32,
}

impl Standing {
    /// Inputs of the pass that gives the next token, S + t.
    pub fn inputs(&self) -> u32 {
        self.prompt + self.position
    }
}

/// A method of collaboration: who computes what, what is sent, and when.
pub trait Collaboration: Sync {
    /// Whether the UE keeps its own token, given its score.
    fn keeps(&self, spec: &CollaborationSpec, standing: &Standing, score: f64) -> bool;

    /// The UE's pass for the next token.
    fn ue_work(&self, network: &NetworkSpec, spec: &CollaborationSpec, standing: &Standing) -> Work {
        let _ = network;
        small_model_pass(&spec.device, standing)
    }

    /// Bits of the message that asks.
    fn ask_bits(&self, network: &NetworkSpec, spec: &CollaborationSpec, standing: &Standing) -> u64 {
        let _ = spec;
        // A question without news is still a message.
        unsynced_ids_bits(network, standing).max(token_bits(network))
    }

    /// The edge's pass for the next token.
    fn edge_work(&self, network: &NetworkSpec, spec: &CollaborationSpec, standing: &Standing) -> Work {
        let _ = spec;
        edge_pass(network, 0, standing)
    }

    /// Bits of what each input leaves for the edge, sent unasked as soon as there is something; `None`
    /// if nothing is.
    fn row_bits(&self, network: &NetworkSpec) -> Option<u64> {
        let _ = network;
        None
    }

    /// Whether the edge, once asked, goes on to the last token.
    fn hands_over(&self) -> bool {
        false
    }
}

impl ServiceMode {
    /// The method of a collaborative mode.
    pub fn method(self) -> Option<&'static dyn Collaboration> {
        match self {
            Self::Split | Self::DeviceOnly | Self::EdgeOnly => None,
            Self::HybridReward => Some(&HybridReward),
            Self::HybridUncertainty => Some(&HybridUncertainty),
            Self::EarlyExit => Some(&EarlyExit),
            Self::QueryRouter => Some(&QueryRouter),
        }
    }
}

/// A pass through all layers of the UE's own model and its head: the prompt, or one more token.
pub fn small_model_pass(cost: &CostModel, standing: &Standing) -> Work {
    device_pass(cost, cost.geometry.layers, standing)
}

/// A pass through the first `layers` layers and a head: the prompt at first, then one more token.
pub(super) fn device_pass(cost: &CostModel, layers: usize, standing: &Standing) -> Work {
    let geometry = &cost.geometry;
    let (inputs, first) = (standing.inputs() as usize, standing.position == 0);
    let flop = if first { cost.ue_flop(layers, inputs) } else { cost.ue_decode_flop(layers, inputs) };
    let kv = if first { 0.0 } else { layers as f64 * layer_kv_bytes(geometry, inputs, KV_BYTES_PER_VALUE) };
    Work {
        flop: flop + head_flop(geometry, 1),
        parameters: layers as f64 * geometry.layer_parameters() + geometry.head_parameters(),
        kv_bytes: kv,
        pass: if first { Pass::Prefill } else { Pass::Decode },
    }
}

/// Layers from `from` on, and the head, of the large model over all inputs that it has not computed yet:
/// a prompt's pass if it has none, one step of decoding for one, else as many rows that attend to what
/// is there, in one pass over the weights.
pub(super) fn edge_pass(network: &NetworkSpec, from: usize, standing: &Standing) -> Work {
    let (cost, geometry) = (&network.cost, &network.cost.geometry);
    let (inputs, computed) = (standing.inputs() as usize, standing.computed as usize);
    let layers = geometry.layers.saturating_sub(from) as f64;
    let (flop, kv) = if computed == 0 {
        (cost.layers_flop(from..geometry.layers, inputs), 0.0)
    } else {
        let rows = (computed + 1..=inputs).map(|context| decode_layer_flop(geometry, context)).sum::<f64>();
        (layers * rows, layers * layer_kv_bytes(geometry, inputs, KV_BYTES_PER_VALUE))
    };
    Work {
        flop: flop + head_flop(geometry, 1),
        parameters: layers * geometry.layer_parameters() + geometry.head_parameters(),
        kv_bytes: kv,
        pass: if inputs.saturating_sub(computed) == 1 { Pass::Decode } else { Pass::Prefill },
    }
}

/// Bits of the ids that the edge has not seen, ι·Δ.
pub(super) fn unsynced_ids_bits(network: &NetworkSpec, standing: &Standing) -> u64 {
    u64::from(standing.inputs().saturating_sub(standing.at_edge)) * token_bits(network)
}

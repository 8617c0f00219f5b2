//! `early-exit`: the UE has the first layers of the large model and a head behind them (CE-CoLLM,
//! arXiv 2411.02829).

use super::{Collaboration, CollaborationSpec, Standing, device_pass, edge_pass};
use crate::llm::scale_split;
use crate::network::compute::Work;
use crate::network::spec::NetworkSpec;

/// Bits of a value of a state on the air: f16.
const STATE_BITS: u64 = 16;

/// The token stays if the exit's confidence reaches the threshold. The states behind the exit go to the
/// edge as they come, each once; asked, it runs the other layers over those that are new.
#[derive(Clone, Copy, Debug)]
pub struct EarlyExit;

fn exit(network: &NetworkSpec, spec: &CollaborationSpec) -> usize {
    scale_split(spec.exit_layer as usize, network.model_layers as usize, network.cost.geometry.layers)
}

impl Collaboration for EarlyExit {
    fn keeps(&self, spec: &CollaborationSpec, _: &Standing, score: f64) -> bool {
        score >= spec.threshold
    }

    /// The layers in front of the exit, its map of d × d, and the head.
    fn ue_work(&self, network: &NetworkSpec, spec: &CollaborationSpec, standing: &Standing) -> Work {
        let map = (network.cost.geometry.d_model as f64).powi(2);
        let work = device_pass(&network.cost, exit(network, spec), standing);
        Work { flop: work.flop + 2.0 * map, parameters: work.parameters + map, ..work }
    }

    /// The rows that are still to come carry the question.
    fn ask_bits(&self, network: &NetworkSpec, _: &CollaborationSpec, standing: &Standing) -> u64 {
        let rows = u64::from(standing.inputs().saturating_sub(standing.at_edge));
        rows * self.row_bits(network).unwrap_or(0)
    }

    fn edge_work(&self, network: &NetworkSpec, spec: &CollaborationSpec, standing: &Standing) -> Work {
        edge_pass(network, exit(network, spec), standing)
    }

    /// `16·d`.
    fn row_bits(&self, network: &NetworkSpec) -> Option<u64> {
        Some(STATE_BITS * network.cost.geometry.d_model as u64)
    }
}

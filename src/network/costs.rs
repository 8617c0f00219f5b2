//! What a request costs: work on either side of the split, values and bits on the air.

use crate::llm::{CostModel, head_flop, scale_split};
use crate::network::compute::Work;
use crate::network::ports::ServiceMode;
use crate::network::spec::NetworkSpec;

/// Work on the UE and on the edge.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    /// On the UE.
    pub ue: Work,
    /// On the edge.
    pub edge: Work,
}

/// The head runs for the one token that the user waits for; scoring the others is
/// the researcher's wish, not the network's load.
const HEAD_TOKENS: usize = 1;

/// Work of a request of `tokens` prompt tokens, split after layer `split` of the
/// running model.
pub fn costs(spec: &NetworkSpec, split: Option<u32>, tokens: u32) -> Costs {
    let cost = &spec.cost;
    let geometry = &cost.geometry;
    let (layers, tokens) = (geometry.layers, tokens as usize);
    let on_ue = match spec.mode {
        ServiceMode::Split => scale_split(split.unwrap_or(spec.split.min) as usize, spec.model_layers as usize, layers),
        ServiceMode::DeviceOnly => layers,
        ServiceMode::EdgeOnly => 0,
    };
    let layer = geometry.layer_parameters();
    let ue = Work { flop: cost.ue_flop(on_ue, tokens), parameters: on_ue as f64 * layer };
    let edge = Work {
        flop: cost.edge_flop(on_ue, tokens, HEAD_TOKENS),
        parameters: (layers - on_ue.min(layers)) as f64 * layer + geometry.head_parameters(),
    };
    match spec.mode {
        ServiceMode::DeviceOnly => Costs {
            ue: Work {
                flop: ue.flop + head_flop(geometry, HEAD_TOKENS),
                parameters: ue.parameters + geometry.head_parameters(),
            },
            edge: Work::default(),
        },
        ServiceMode::Split | ServiceMode::EdgeOnly => Costs { ue, edge },
    }
}

/// Work of all layers, C_UE(L): what rewards measure the UE's work by \[FLOP\].
pub fn all_layers_flop(spec: &NetworkSpec, tokens: u32) -> f64 {
    spec.cost.ue_flop(spec.cost.geometry.layers, tokens as usize)
}

/// C_UE(p)/C_UE(L) of a split of the running model.
pub fn ue_cost_share(cost: &CostModel, model_layers: u32, split: u32, tokens: u32) -> f64 {
    cost.ue_share(scale_split(split as usize, model_layers as usize, cost.geometry.layers), tokens as usize)
}

/// Values of the tensor that crosses, S · d.
pub fn tensor_values(spec: &NetworkSpec, tokens: u32) -> u64 {
    spec.cost.geometry.payload_values(tokens as usize) as u64
}

/// Bits of a prompt's token ids, S · ⌈log2 V⌉.
pub fn prompt_bits(spec: &NetworkSpec, tokens: u32) -> u64 {
    u64::from(tokens) * token_bits(spec)
}

/// Bits of the result, a token id for each token asked for.
pub fn result_bits(spec: &NetworkSpec, output_tokens: u32) -> u64 {
    u64::from(output_tokens) * token_bits(spec)
}

fn token_bits(spec: &NetworkSpec) -> u64 {
    u64::from(spec.cost.geometry.vocab.max(2).next_power_of_two().trailing_zeros())
}

//! What a request costs: work on either side of the split, values and bits on the air.

use crate::llm::{CostModel, head_flop, layer_kv_bytes, scale_split};
use crate::network::collaboration::{Standing, small_model_pass};
use crate::network::compute::{Pass, Work};
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

/// Bytes of a cached key's or value's element: f16, as devices keep them whatever the
/// format of their weights.
pub const KV_BYTES_PER_VALUE: f64 = 2.0;

/// Layers of the cost model that run on the UE.
pub fn layers_on_ue(spec: &NetworkSpec, split: Option<u32>) -> usize {
    let layers = spec.cost.geometry.layers;
    match spec.mode {
        ServiceMode::Split => scale_split(split.unwrap_or(spec.split.min) as usize, spec.model_layers as usize, layers),
        ServiceMode::DeviceOnly => layers,
        ServiceMode::EdgeOnly
        | ServiceMode::HybridReward
        | ServiceMode::HybridUncertainty
        | ServiceMode::EarlyExit
        | ServiceMode::QueryRouter => 0,
    }
}

/// Work of a prompt of `tokens` tokens, split after layer `split` of the running
/// model: all of a request for one token, and the first round of a session.
pub fn costs(spec: &NetworkSpec, split: Option<u32>, tokens: u32) -> Costs {
    if let Some(ue) = small_model_alone(spec, tokens, 0) {
        return Costs { ue, edge: Work::default() };
    }
    let (cost, on_ue, tokens) = (&spec.cost, layers_on_ue(spec, split), tokens as usize);
    let flop = (cost.ue_flop(on_ue, tokens), cost.edge_flop(on_ue, tokens, HEAD_TOKENS));
    place(spec, on_ue, flop, 0.0, Pass::Prefill)
}

/// Work of a decode round, whose one token attends to `context` positions, itself
/// included: a pass over the weights, and over the keys and values of all positions.
pub fn decode_costs(spec: &NetworkSpec, split: Option<u32>, context: u64) -> Costs {
    if let Some(ue) = small_model_alone(spec, context as u32 - 1, 1) {
        return Costs { ue, edge: Work::default() };
    }
    let (cost, on_ue, context) = (&spec.cost, layers_on_ue(spec, split), context as usize);
    let kv = layer_kv_bytes(&cost.geometry, context, KV_BYTES_PER_VALUE);
    let flop = (cost.ue_decode_flop(on_ue, context), cost.edge_decode_flop(on_ue, context));
    place(spec, on_ue, flop, kv, Pass::Decode)
}

/// A pass of the UE's own model, which generates texts where nothing is sent.
fn small_model_alone(spec: &NetworkSpec, prompt: u32, position: u32) -> Option<Work> {
    let collaboration = spec.collaboration.as_ref().filter(|_| spec.mode == ServiceMode::DeviceOnly)?;
    let standing = Standing { prompt, position, at_edge: 0, computed: 0 };
    Some(small_model_pass(&collaboration.device, &standing))
}

/// The work of a pass on either side, given its FLOP and the bytes of keys and values
/// per layer. Alone on the device the head runs there, too.
fn place(spec: &NetworkSpec, on_ue: usize, (ue_flop, edge_flop): (f64, f64), layer_kv: f64, pass: Pass) -> Costs {
    let geometry = &spec.cost.geometry;
    let (layer, on_edge) = (geometry.layer_parameters(), geometry.layers.saturating_sub(on_ue) as f64);
    let on_ue = on_ue as f64;
    let ue = Work { flop: ue_flop, parameters: on_ue * layer, kv_bytes: on_ue * layer_kv, pass };
    let edge = Work {
        flop: edge_flop,
        parameters: on_edge * layer + geometry.head_parameters(),
        kv_bytes: on_edge * layer_kv,
        pass,
    };
    match spec.mode {
        ServiceMode::DeviceOnly => Costs {
            ue: Work {
                flop: ue.flop + head_flop(geometry, HEAD_TOKENS),
                parameters: ue.parameters + geometry.head_parameters(),
                ..ue
            },
            edge: Work::default(),
        },
        _ => Costs { ue, edge },
    }
}

/// Work of all layers in all rounds, C_UE(L): what rewards measure the UE's work by \[FLOP\].
pub fn all_layers_flop(spec: &NetworkSpec, tokens: u32, output_tokens: u32) -> f64 {
    let (cost, layers) = (&spec.cost, spec.cost.geometry.layers);
    let decoded = |round: u32| cost.ue_decode_flop(layers, tokens as usize + round as usize);
    cost.ue_flop(layers, tokens as usize) + (1..output_tokens).map(decoded).sum::<f64>()
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

/// Bits of a token id, ⌈log2 V⌉: what the downlink carries for each token of the result.
pub fn token_bits(spec: &NetworkSpec) -> u64 {
    u64::from(spec.cost.geometry.vocab.max(2).next_power_of_two().trailing_zeros())
}

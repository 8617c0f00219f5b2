//! One decoder layer, on rows that follow those it has seen.
//!
//! ```text
//! LLaMA, Mistral, Qwen2, Qwen3                 Cohere
//!   x += attention(norm(x))                      n = norm(x)
//!   x += down(silu(gate(n)) · up(n)), n = norm(x)  x += attention(n) + down(silu(gate(n)) · up(n))
//! ```
//!
//! (Touvron et al., arXiv 2302.13971; the parallel form is GPT-J's.)

use pulp::Arch;

use super::attention::{AttentionShape, attention};
use super::checkpoint::Checkpoint;
use super::config::{DecoderConfig, NormKind};
use super::elementwise::{Add, Norm, SwiGlu};
use super::gemm::Columns;
use super::kv_cache::KvLayer;
use super::projection::Projection;
use super::rotary::{Angles, Rotary};
use super::weights::WeightsError;

/// The weights of one layer.
#[derive(Debug)]
pub(super) struct Block {
    shape: AttentionShape,
    attention_norm: Norm,
    query: Projection,
    key: Projection,
    value: Projection,
    /// Norms of each query and key head (Qwen3).
    head_norms: Option<(Norm, Norm)>,
    output: Projection,
    /// `None` where the feed-forward network reads the attention's norm.
    ffn_norm: Option<Norm>,
    gate: Projection,
    up: Projection,
    down: Projection,
}

/// Rows between the products of a layer, reused from layer to layer.
#[derive(Default)]
pub(super) struct Scratch {
    normed: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    context: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    out: Vec<f32>,
    wide: Vec<Columns>,
}

impl Block {
    /// Reads layer `index` (from 0) of a checkpoint.
    pub(super) fn load(
        config: &DecoderConfig,
        index: usize,
        checkpoint: &mut Checkpoint,
    ) -> Result<Self, WeightsError> {
        let &DecoderConfig { d_model: d, heads, kv_heads, head_dim, d_ff, .. } = config;
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let mut norm = |part: &str, kind: NormKind, width: usize| {
            let weight = checkpoint.vector(&format!("{}.weight", name(part)), width)?;
            Ok(Norm { kind, weight, eps: config.norm_eps as f32 })
        };
        let attention_norm = norm("input_layernorm", config.norm, d)?;
        let ffn_norm =
            if config.parallel_block { None } else { Some(norm("post_attention_layernorm", config.norm, d)?) };
        let head_norms = if config.qk_norm {
            Some((
                norm("self_attn.q_norm", NormKind::Rms, head_dim)?,
                norm("self_attn.k_norm", NormKind::Rms, head_dim)?,
            ))
        } else {
            None
        };
        let mut projection =
            |part: &str, shape: [usize; 2], bias: bool| Projection::load(checkpoint, &name(part), shape, bias);
        Ok(Self {
            shape: AttentionShape { heads, kv_heads, head_dim, window: config.windows.get(index).copied().flatten() },
            attention_norm,
            query: projection("self_attn.q_proj", [heads * head_dim, d], config.qkv_bias)?,
            key: projection("self_attn.k_proj", [kv_heads * head_dim, d], config.qkv_bias)?,
            value: projection("self_attn.v_proj", [kv_heads * head_dim, d], config.qkv_bias)?,
            head_norms,
            output: projection("self_attn.o_proj", [d, heads * head_dim], config.output_bias)?,
            ffn_norm,
            gate: projection("mlp.gate_proj", [d_ff, d], config.mlp_bias)?,
            up: projection("mlp.up_proj", [d_ff, d], config.mlp_bias)?,
            down: projection("mlp.down_proj", [d, d_ff], config.mlp_bias)?,
        })
    }

    /// Number of weights.
    pub(super) fn parameters(&self) -> u64 {
        let projections = [&self.query, &self.key, &self.value, &self.output, &self.gate, &self.up, &self.down];
        let norms = [Some(&self.attention_norm), self.ffn_norm.as_ref()];
        let head_norms = self.head_norms.iter().flat_map(|(query, key)| [query, key]);
        projections.into_iter().map(Projection::parameters).sum::<u64>()
            + norms.into_iter().flatten().chain(head_norms).map(|norm| norm.weight.len() as u64).sum::<u64>()
    }

    /// The layer applied to rows `x` \[S × d\] of the residual stream, in place. Their
    /// keys and values are added to `kv`; `angles` are those of their positions.
    pub(super) fn forward(
        &self,
        arch: Arch,
        x: &mut [f32],
        kv: &mut KvLayer,
        (rotary, angles): (&Rotary, &Angles),
        scratch: &mut Scratch,
    ) {
        let Scratch { normed, query, key, value, context, gate, up, out, wide } = scratch;
        let AttentionShape { heads, kv_heads, head_dim, .. } = self.shape;
        self.attention_norm.forward(arch, x, normed);
        self.query.forward(arch, normed, query, wide);
        self.key.forward(arch, normed, key, wide);
        self.value.forward(arch, normed, value, wide);
        if let Some((query_norm, key_norm)) = &self.head_norms {
            for (norm, rows) in [(query_norm, &mut *query), (key_norm, &mut *key)] {
                norm.forward(arch, rows, normed);
                std::mem::swap(rows, normed);
            }
        }
        // The scores' 1/√head_dim is taken with the queries.
        let scale = 1.0 / (head_dim as f32).sqrt();
        rotary.turn(arch, query, heads * head_dim, angles, scale);
        rotary.turn(arch, key, kv_heads * head_dim, angles, 1.0);
        kv.push(key, value);
        attention(arch, self.shape, query, kv, context);
        self.output.forward(arch, context, out, wide);
        arch.dispatch(Add { x, y: out });
        if let Some(norm) = &self.ffn_norm {
            norm.forward(arch, x, normed);
        }
        self.gate.forward(arch, normed, gate, wide);
        self.up.forward(arch, normed, up, wide);
        arch.dispatch(SwiGlu { gate, up });
        self.down.forward(arch, gate, out, wide);
        arch.dispatch(Add { x, y: out });
    }
}

//! One decoder layer: attention, then the gated feed-forward network, each after
//! an RMS norm and added to the residual stream (Touvron et al., arXiv 2302.13971;
//! grouped-query attention: Ainslie et al., arXiv 2305.13245).
//!
//! Projections that read the same input are one product (query, key and value;
//! gate and up). The queries of the heads that share a key head are stacked as
//! rows, \[kv_heads × group·S × head_dim\], so keys and values are never repeated.

use candle_core::{Device, Tensor};

use super::config::DecoderConfig;
use super::elementwise::{add_assign, causal_softmax, merged_heads, rms_norm, rotated_heads, swiglu};
use super::error::LoadError;
use super::linear::{Linear, with_values};
use super::rotary::Rotary;
use super::weights::Checkpoint;

/// The weights of one layer.
#[derive(Debug)]
pub(super) struct Block {
    shape: Shape,
    eps: f32,
    attention_norm: Vec<f32>,
    query_key_value: Linear,
    output: Linear,
    ffn_norm: Vec<f32>,
    gate_up: Linear,
    down: Linear,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    d_ff: usize,
}

impl Block {
    /// Reads layer `index` (from 0) of a checkpoint.
    pub(super) fn load(config: &DecoderConfig, index: usize, checkpoint: &mut Checkpoint) -> Result<Self, LoadError> {
        let &DecoderConfig { d_model: d, heads, kv_heads, head_dim, d_ff, .. } = config;
        let mut take =
            |name: &str, shape: &[usize]| checkpoint.take(&format!("model.layers.{index}.{name}.weight"), shape);
        let attention_norm = take("input_layernorm", &[d])?;
        let query = take("self_attn.q_proj", &[heads * head_dim, d])?;
        let key = take("self_attn.k_proj", &[kv_heads * head_dim, d])?;
        let value = take("self_attn.v_proj", &[kv_heads * head_dim, d])?;
        let output = take("self_attn.o_proj", &[d, heads * head_dim])?;
        let ffn_norm = take("post_attention_layernorm", &[d])?;
        let gate = take("mlp.gate_proj", &[d_ff, d])?;
        let up = take("mlp.up_proj", &[d_ff, d])?;
        let down = take("mlp.down_proj", &[d, d_ff])?;
        Ok(Self {
            shape: Shape { heads, kv_heads, head_dim, d_ff },
            eps: config.norm_eps as f32,
            attention_norm,
            query_key_value: Linear::new(&[query, key, value], d)?,
            output: Linear::new(&[output], heads * head_dim)?,
            ffn_norm,
            gate_up: Linear::new(&[gate, up], d)?,
            down: Linear::new(&[down], d_ff)?,
        })
    }

    /// The layer applied to the residual stream `x` \[S × d\], in place.
    pub(super) fn forward(&self, x: &mut [f32], rotary: &Rotary) -> candle_core::Result<()> {
        let attended = self.attention(rms_norm(x, &self.attention_norm, self.eps), rotary)?;
        with_values(&attended, |y| add_assign(x, y))?;
        let gate_up = self.gate_up.forward(rms_norm(x, &self.ffn_norm, self.eps))?;
        let activated = with_values(&gate_up, |y| swiglu(y, self.shape.d_ff))?;
        with_values(&self.down.forward(activated)?, |y| add_assign(x, y))
    }

    fn attention(&self, normed: Vec<f32>, rotary: &Rotary) -> candle_core::Result<Tensor> {
        let Shape { heads, kv_heads, head_dim, .. } = self.shape;
        let rows = normed.len() / self.attention_norm.len();
        let all_heads = heads + 2 * kv_heads;
        let projected = self.query_key_value.forward(normed)?;
        let (query, key) = with_values(&projected, |qkv| {
            let width = all_heads * head_dim;
            let scale = 1.0 / (head_dim as f32).sqrt();
            (
                rotated_heads(qkv, width, 0, heads, rotary, scale),
                rotated_heads(qkv, width, heads, kv_heads, rotary, 1.0),
            )
        })?;
        let stacked = heads / kv_heads * rows;
        let query = Tensor::from_vec(query, (kv_heads, stacked, head_dim), &Device::Cpu)?;
        let key = Tensor::from_vec(key, (kv_heads, rows, head_dim), &Device::Cpu)?;
        // A view: the product reads the value heads where they stand.
        let value = projected.reshape((rows, all_heads, head_dim))?.narrow(1, heads + kv_heads, kv_heads)?;
        let scores = query.matmul(&key.t()?)?;
        let weights = with_values(&scores, |scores| causal_softmax(scores, rows))?;
        let weights = Tensor::from_vec(weights, (kv_heads, stacked, rows), &Device::Cpu)?;
        let context = weights.matmul(&value.transpose(0, 1)?)?;
        self.output.forward(with_values(&context, |context| merged_heads(context, rows, head_dim))?)
    }
}

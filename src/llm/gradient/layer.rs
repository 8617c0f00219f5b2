//! One layer in double precision: forward, and the gradients of its matrices.
//!
//! ```text
//!  n = norm(x)   q, k, v = n·Wᵀ   c = attention(turned q, turned k, v)   y = x + c·Woᵀ
//!  m = norm(y)   g, u = m·Wᵀ      s = silu(g)·u                          z = y + s·Wdᵀ
//! ```

use crate::llm::checkpoint::Checkpoint;
use crate::llm::config::DecoderConfig;
use crate::llm::exponential::exp_f64;
use crate::llm::weights::WeightsError;

use super::attention::Shape;
use super::norm::{Normed, rms_norm, rms_norm_back};
use super::product::{project, project_back};
use super::rotation::{Rotation, Turn};

/// The matrices of one layer, or numbers that belong to their weights one by one; each row-major \[out × in\] as in
/// a checkpoint of Hugging Face's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerMatrices {
    /// `self_attn.q_proj`, \[heads·d_h × d\].
    pub query: Vec<f64>,
    /// `self_attn.k_proj`, \[KV heads·d_h × d\].
    pub key: Vec<f64>,
    /// `self_attn.v_proj`, \[KV heads·d_h × d\].
    pub value: Vec<f64>,
    /// `self_attn.o_proj`, \[d × heads·d_h\].
    pub output: Vec<f64>,
    /// `mlp.gate_proj`, \[d_ff × d\].
    pub gate: Vec<f64>,
    /// `mlp.up_proj`, \[d_ff × d\].
    pub up: Vec<f64>,
    /// `mlp.down_proj`, \[d × d_ff\].
    pub down: Vec<f64>,
}

impl LayerMatrices {
    /// The matrices with their names within a layer of a checkpoint.
    pub fn named(&self) -> [(&'static str, &[f64]); 7] {
        [
            ("self_attn.q_proj", &self.query),
            ("self_attn.k_proj", &self.key),
            ("self_attn.v_proj", &self.value),
            ("self_attn.o_proj", &self.output),
            ("mlp.gate_proj", &self.gate),
            ("mlp.up_proj", &self.up),
            ("mlp.down_proj", &self.down),
        ]
    }

    /// `f(a, b)` of the numbers of two layers of one shape.
    pub(in crate::llm) fn combine(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let each = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect();
        Self {
            query: each(&self.query, &other.query),
            key: each(&self.key, &other.key),
            value: each(&self.value, &other.value),
            output: each(&self.output, &other.output),
            gate: each(&self.gate, &other.gate),
            up: each(&self.up, &other.up),
            down: each(&self.down, &other.down),
        }
    }
}

/// The weights of one layer.
pub(super) struct Layer {
    pub matrices: LayerMatrices,
    attention_norm: Vec<f64>,
    ffn_norm: Vec<f64>,
}

/// What a layer is run with: its sizes, its windows, the positions.
pub(super) struct Setting<'a> {
    pub config: &'a DecoderConfig,
    pub shape: Shape,
    pub rotation: &'a Rotation,
}

/// What of the forward pass the way back needs.
struct Trace {
    attention_input: Normed,
    query: Vec<f64>,
    key: Vec<f64>,
    value: Vec<f64>,
    context: Vec<f64>,
    /// y.
    between: Vec<f64>,
    ffn_input: Normed,
    gate: Vec<f64>,
    up: Vec<f64>,
    /// s.
    activated: Vec<f64>,
}

impl Layer {
    /// Reads layer `index` (from 0) of a checkpoint of floats.
    ///
    /// # Errors
    /// [`WeightsError`] if a tensor is missing, of another shape, or not finite.
    pub(super) fn load(
        config: &DecoderConfig,
        index: usize,
        checkpoint: &mut Checkpoint,
    ) -> Result<Self, WeightsError> {
        let &DecoderConfig { d_model: d, heads, kv_heads, head_dim, d_ff, .. } = config;
        let mut read =
            |part: &str, shape: &[usize]| values(checkpoint, &format!("model.layers.{index}.{part}.weight"), shape);
        Ok(Self {
            attention_norm: read("input_layernorm", &[d])?,
            ffn_norm: read("post_attention_layernorm", &[d])?,
            matrices: LayerMatrices {
                query: read("self_attn.q_proj", &[heads * head_dim, d])?,
                key: read("self_attn.k_proj", &[kv_heads * head_dim, d])?,
                value: read("self_attn.v_proj", &[kv_heads * head_dim, d])?,
                output: read("self_attn.o_proj", &[d, heads * head_dim])?,
                gate: read("mlp.gate_proj", &[d_ff, d])?,
                up: read("mlp.up_proj", &[d_ff, d])?,
                down: read("mlp.down_proj", &[d, d_ff])?,
            },
        })
    }

    fn trace(&self, setting: &Setting, x: &[f64]) -> Trace {
        let &DecoderConfig { d_model: d, heads, kv_heads, head_dim, norm_eps, .. } = setting.config;
        let weights = &self.matrices;
        let attention_input = rms_norm(x, &self.attention_norm, norm_eps);
        let mut query = project(&attention_input.rows, &weights.query, d);
        let mut key = project(&attention_input.rows, &weights.key, d);
        let value = project(&attention_input.rows, &weights.value, d);
        setting.rotation.turn(&mut query, heads * head_dim, Turn::Forth);
        setting.rotation.turn(&mut key, kv_heads * head_dim, Turn::Forth);
        let context = setting.shape.forward(&query, &key, &value);
        let mut between = project(&context, &weights.output, heads * head_dim);
        add(&mut between, x);
        let ffn_input = rms_norm(&between, &self.ffn_norm, norm_eps);
        let gate = project(&ffn_input.rows, &weights.gate, d);
        let up = project(&ffn_input.rows, &weights.up, d);
        let activated = gate.iter().zip(&up).map(|(&gate, up)| gate * sigmoid(gate) * up).collect();
        Trace { attention_input, query, key, value, context, between, ffn_input, gate, up, activated }
    }

    /// Rows `x` \[windows·S × d\] behind the layer.
    pub(super) fn forward(&self, setting: &Setting, x: &[f64]) -> Vec<f64> {
        let trace = self.trace(setting, x);
        let mut out = project(&trace.activated, &self.matrices.down, setting.config.d_ff);
        add(&mut out, &trace.between);
        out
    }

    /// From the gradient `dz` of the rows behind the layer: that of its input rows `x`, and those of its matrices.
    pub(super) fn backward(&self, setting: &Setting, x: &[f64], dz: &[f64]) -> (Vec<f64>, LayerMatrices) {
        let &DecoderConfig { d_model: d, heads, kv_heads, head_dim, d_ff, .. } = setting.config;
        let weights = &self.matrices;
        let trace = self.trace(setting, x);

        let mut d_activated = vec![0.0; trace.activated.len()];
        let down = project_back(dz, &trace.activated, &weights.down, d_ff, &mut d_activated);
        let (mut d_gate, mut d_up) = (Vec::with_capacity(d_activated.len()), Vec::with_capacity(d_activated.len()));
        for ((&gate, &up), d) in trace.gate.iter().zip(&trace.up).zip(&d_activated) {
            let sigmoid = sigmoid(gate);
            d_up.push(d * gate * sigmoid);
            // silu'(g) = σ(g)·(1 + g·(1 - σ(g)))
            d_gate.push(d * up * sigmoid * (1.0 + gate * (1.0 - sigmoid)));
        }
        let mut d_normed = vec![0.0; x.len()];
        let gate = project_back(&d_gate, &trace.ffn_input.rows, &weights.gate, d, &mut d_normed);
        let up = project_back(&d_up, &trace.ffn_input.rows, &weights.up, d, &mut d_normed);
        let mut dy = dz.to_vec();
        rms_norm_back(&d_normed, &trace.between, &self.ffn_norm, &trace.ffn_input.inverse_rms, &mut dy);

        let mut d_context = vec![0.0; trace.context.len()];
        let output = project_back(&dy, &trace.context, &weights.output, heads * head_dim, &mut d_context);
        let mut inner = setting.shape.backward(&trace.query, &trace.key, &trace.value, &d_context);
        setting.rotation.turn(&mut inner.query, heads * head_dim, Turn::Back);
        setting.rotation.turn(&mut inner.key, kv_heads * head_dim, Turn::Back);
        d_normed.fill(0.0);
        let query = project_back(&inner.query, &trace.attention_input.rows, &weights.query, d, &mut d_normed);
        let key = project_back(&inner.key, &trace.attention_input.rows, &weights.key, d, &mut d_normed);
        let value = project_back(&inner.value, &trace.attention_input.rows, &weights.value, d, &mut d_normed);
        let mut dx = dy;
        rms_norm_back(&d_normed, x, &self.attention_norm, &trace.attention_input.inverse_rms, &mut dx);
        (dx, LayerMatrices { query, key, value, output, gate, up, down })
    }
}

/// The values of tensor `name`, which must have `shape`, in double precision.
///
/// # Errors
/// [`WeightsError`] if there is no such tensor of finite floats.
pub(super) fn values(checkpoint: &mut Checkpoint, name: &str, shape: &[usize]) -> Result<Vec<f64>, WeightsError> {
    Ok(checkpoint.floats(name, shape)?.into_iter().map(f64::from).collect())
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// `1/(1 + e^-x)`.
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + exp_f64(-x))
}

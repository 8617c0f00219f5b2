//! A small untied LLaMA with random weights: its checkpoint files, and its logits by
//! plain loops in double precision.

use safetensors::{Dtype, tensor::TensorView};
use splitwave::llm::{Decoder, DecoderConfig};

/// Uniforms on \[0, 1) by a 64-bit linear congruence (Knuth's multiplier), high bits only.
pub fn uniforms(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    }
}

/// Four layers, d = 20, 6 heads of 8 on 2 KV heads, ffn 36, vocabulary 90: no number
/// is a multiple of a vector width, and heads are wider than d / heads.
#[derive(Clone, Debug)]
pub struct Tiny {
    pub dtype: Dtype,
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

const D: usize = 20;
const LAYERS: usize = 4;
const HEADS: usize = 6;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 8;
const FFN: usize = 36;
const VOCAB: usize = 90;
const EPS: f64 = 1e-5;
const THETA: f64 = 500.0;

impl Default for Tiny {
    fn default() -> Self {
        let mut draw = uniforms(1);
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: &[usize]| {
            let count = shape.iter().product();
            let norm = shape.len() == 1;
            let values = (0..count).map(|_| if norm { 0.5 + draw() } else { draw() - 0.5 }).collect();
            tensors.push((name, shape.to_vec(), values));
        };
        add("model.embed_tokens.weight".into(), &[VOCAB, D]);
        for layer in 0..LAYERS {
            for (name, shape) in [
                ("input_layernorm", &[D] as &[usize]),
                ("self_attn.q_proj", &[HEADS * HEAD_DIM, D]),
                ("self_attn.k_proj", &[KV_HEADS * HEAD_DIM, D]),
                ("self_attn.v_proj", &[KV_HEADS * HEAD_DIM, D]),
                ("self_attn.o_proj", &[D, HEADS * HEAD_DIM]),
                ("post_attention_layernorm", &[D]),
                ("mlp.gate_proj", &[FFN, D]),
                ("mlp.up_proj", &[FFN, D]),
                ("mlp.down_proj", &[D, FFN]),
            ] {
                add(format!("model.layers.{layer}.{name}.weight"), shape);
            }
        }
        add("model.norm.weight".into(), &[D]);
        add("lm_head.weight".into(), &[VOCAB, D]);
        Self { dtype: Dtype::F32, tensors }
    }
}

impl Tiny {
    /// `config.json` of transformers 5, without a start token.
    pub fn config_json() -> String {
        serde_json::json!({
            "model_type": "llama", "hidden_size": D, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "intermediate_size": FFN, "vocab_size": VOCAB,
            "max_position_embeddings": 64, "rms_norm_eps": EPS, "hidden_act": "silu", "tie_word_embeddings": false,
            "bos_token_id": null, "dtype": "float32",
            "rope_parameters": { "rope_theta": THETA, "rope_type": "default" },
        })
        .to_string()
    }

    /// The bytes of `model.safetensors`.
    pub fn checkpoint(&self) -> Vec<u8> {
        let encode = |values: &[f32]| -> Vec<u8> {
            match self.dtype {
                Dtype::F16 => values.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect(),
                Dtype::BF16 => values.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect(),
                _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            }
        };
        let bytes: Vec<Vec<u8>> = self.tensors.iter().map(|(_, _, values)| encode(values)).collect();
        let views = self.tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            (name.clone(), TensorView::new(self.dtype, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    /// The values of one tensor, to be changed.
    pub fn tensor_mut(&mut self, name: &str) -> &mut Vec<f32> {
        &mut self.tensors.iter_mut().find(|(known, ..)| known == name).unwrap().2
    }

    pub fn decoder(&self) -> Decoder {
        let config = DecoderConfig::from_json("config.json", Self::config_json().as_bytes()).unwrap();
        Decoder::from_safetensors(config, "model.safetensors", &self.checkpoint()).unwrap()
    }

    /// Logits \[S × V\] by the textbook, in f64.
    pub fn plain_logits(&self, tokens: &[u32]) -> Vec<f64> {
        let weight = |name: &str| -> Vec<f64> {
            let (_, _, values) = self.tensors.iter().find(|(known, ..)| known == name).unwrap();
            values.iter().copied().map(f64::from).collect()
        };
        let embedding = weight("model.embed_tokens.weight");
        let mut x: Vec<Vec<f64>> = tokens.iter().map(|&t| embedding[t as usize * D..][..D].to_vec()).collect();
        for layer in 0..LAYERS {
            let weight = |name: &str| weight(&format!("model.layers.{layer}.{name}.weight"));
            let norm = weight("input_layernorm");
            let normed: Vec<Vec<f64>> = x.iter().map(|row| rms_norm(row, &norm)).collect();
            let project =
                |name: &str| -> Vec<Vec<f64>> { normed.iter().map(|row| times(&weight(name), row)).collect() };
            let (mut q, mut k, v) =
                (project("self_attn.q_proj"), project("self_attn.k_proj"), project("self_attn.v_proj"));
            q.iter_mut().enumerate().for_each(|(position, row)| rotate(row, position));
            k.iter_mut().enumerate().for_each(|(position, row)| rotate(row, position));
            let output = weight("self_attn.o_proj");
            for position in 0..tokens.len() {
                let mut context = Vec::new();
                for head in 0..HEADS {
                    let shared = head / (HEADS / KV_HEADS);
                    let part = |row: &[f64], head: usize| row[head * HEAD_DIM..(head + 1) * HEAD_DIM].to_vec();
                    let query = part(&q[position], head);
                    let weights: Vec<f64> = (0..=position)
                        .map(|past| (dot(&query, &part(&k[past], shared)) / (HEAD_DIM as f64).sqrt()).exp())
                        .collect();
                    let total: f64 = weights.iter().sum();
                    context.extend((0..HEAD_DIM).map(|i| {
                        let values = weights.iter().enumerate().map(|(past, w)| w * v[past][shared * HEAD_DIM + i]);
                        values.sum::<f64>() / total
                    }));
                }
                add(&mut x[position], &times(&output, &context));
            }
            let norm = weight("post_attention_layernorm");
            let (gate, up, down) = (weight("mlp.gate_proj"), weight("mlp.up_proj"), weight("mlp.down_proj"));
            for row in &mut x {
                let normed = rms_norm(row, &norm);
                let gated = times(&gate, &normed).into_iter().map(|g| g / (1.0 + (-g).exp()));
                let activated: Vec<f64> = gated.zip(times(&up, &normed)).map(|(g, u)| g * u).collect();
                add(row, &times(&down, &activated));
            }
        }
        let (norm, head) = (weight("model.norm.weight"), weight("lm_head.weight"));
        x.iter().flat_map(|row| times(&head, &rms_norm(row, &norm))).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Matrix \[out × in\] times vector.
fn times(matrix: &[f64], vector: &[f64]) -> Vec<f64> {
    matrix.chunks_exact(vector.len()).map(|row| dot(row, vector)).collect()
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn rms_norm(x: &[f64], weight: &[f64]) -> Vec<f64> {
    let root = (dot(x, x) / x.len() as f64 + EPS).sqrt();
    x.iter().zip(weight).map(|(x, w)| x / root * w).collect()
}

/// Turns the pairs (i, i + half) of every head by `position · θ^(-2i/head_dim)`.
fn rotate(row: &mut [f64], position: usize) {
    for head in row.chunks_exact_mut(HEAD_DIM) {
        for i in 0..HEAD_DIM / 2 {
            let angle = position as f64 * THETA.powf(-2.0 * i as f64 / HEAD_DIM as f64);
            let (a, b) = (head[i], head[i + HEAD_DIM / 2]);
            head[i] = a * angle.cos() - b * angle.sin();
            head[i + HEAD_DIM / 2] = b * angle.cos() + a * angle.sin();
        }
    }
}

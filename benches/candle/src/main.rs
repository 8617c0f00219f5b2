//! A LLaMA decoder as a chain of candle's operators, on one thread: the cases of
//! benches/transformers/bench.py that fit, as CSV lines `case,seconds` of one round.
//!
//! ```text
//! RAYON_NUM_THREADS=1 CANDLE_NUM_THREADS=1 cargo run --release -- ../../models/builtin [RANDOM_MODEL]
//! ```
//!
//! Negative log-likelihoods go to standard error, for comparison.

use std::path::Path;
use std::time::Instant;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};
use candle_nn::rotary_emb::rope;

struct Block {
    norms: [Tensor; 2],
    /// Transposed once: q, k, v, o, gate, up, down.
    weights: [Tensor; 7],
}

struct Model {
    embedding: Tensor,
    blocks: Vec<Block>,
    norm: Tensor,
    head: Tensor,
    heads: usize,
    kv_heads: usize,
    eps: f32,
    theta: f64,
    bos: u32,
}

type Cache = Vec<Option<(Tensor, Tensor)>>;

impl Model {
    fn load(dir: &Path) -> Result<Self> {
        let text = std::fs::read(dir.join("config.json"))?;
        let config: serde_json::Value = serde_json::from_slice(&text).map_err(candle_core::Error::wrap)?;
        let number = |key: &str| config[key].as_f64().unwrap_or_else(|| panic!("no {key} in config.json"));
        let tensors = candle_core::safetensors::load(dir.join("model.safetensors"), &Device::Cpu)?;
        let get = |name: &str| tensors[name].to_dtype(DType::F32);
        let mut blocks = Vec::new();
        for i in 0..number("num_hidden_layers") as usize {
            let part = |name: &str| get(&format!("model.layers.{i}.{name}.weight"));
            let transposed = |name: &str| part(name)?.t()?.contiguous();
            blocks.push(Block {
                norms: [part("input_layernorm")?, part("post_attention_layernorm")?],
                weights: [
                    transposed("self_attn.q_proj")?,
                    transposed("self_attn.k_proj")?,
                    transposed("self_attn.v_proj")?,
                    transposed("self_attn.o_proj")?,
                    transposed("mlp.gate_proj")?,
                    transposed("mlp.up_proj")?,
                    transposed("mlp.down_proj")?,
                ],
            });
        }
        let embedding = get("model.embed_tokens.weight")?;
        let head = if tensors.contains_key("lm_head.weight") { get("lm_head.weight")? } else { embedding.clone() };
        let theta = config["rope_parameters"]["rope_theta"].as_f64().unwrap_or(10_000.0);
        Ok(Self {
            head: head.t()?.contiguous()?,
            embedding,
            blocks,
            norm: get("model.norm.weight")?,
            heads: number("num_attention_heads") as usize,
            kv_heads: number("num_key_value_heads") as usize,
            eps: number("rms_norm_eps") as f32,
            theta,
            bos: number("bos_token_id") as u32,
        })
    }

    /// Logits [B, S, V] of tokens [B, S] behind those in `cache`.
    fn logits(&self, tokens: &Tensor, cache: &mut Cache) -> Result<Tensor> {
        let (batch, rows) = tokens.dims2()?;
        let start = cache[0].as_ref().map_or(Ok(0), |(key, _)| key.dim(2))?;
        let width = self.embedding.dim(1)?;
        let head_dim = self.blocks[0].weights[0].dim(1)? / self.heads;
        let (cos, sin) = self.angles(start, rows, head_dim)?;
        let mut x = self.embedding.index_select(&tokens.flatten_all()?, 0)?.reshape((batch, rows, width))?;
        let mask = (rows > 1).then(|| self.mask(rows, start + rows)).transpose()?;
        for (block, cache) in self.blocks.iter().zip(cache) {
            let [q, k, v, o, gate, up, down] = &block.weights;
            let normed = rms_norm(&x, &block.norms[0], self.eps)?;
            let heads = |w: &Tensor, count: usize| {
                normed.broadcast_matmul(w)?.reshape((batch, rows, count, head_dim))?.transpose(1, 2)?.contiguous()
            };
            let query = rope(&heads(q, self.heads)?, &cos, &sin)?;
            let mut key = rope(&heads(k, self.kv_heads)?, &cos, &sin)?;
            let mut value = heads(v, self.kv_heads)?;
            if let Some((before_key, before_value)) = cache {
                key = Tensor::cat(&[&*before_key, &key], 2)?;
                value = Tensor::cat(&[&*before_value, &value], 2)?;
            }
            *cache = Some((key.clone(), value.clone()));
            let group = self.heads / self.kv_heads;
            let repeat = |x: &Tensor| {
                let (b, h, s, d) = x.dims4()?;
                x.unsqueeze(2)?.expand((b, h, group, s, d))?.reshape((b, h * group, s, d))
            };
            let scores = (query.matmul(&repeat(&key)?.t()?)? / (head_dim as f64).sqrt())?;
            let scores = match &mask {
                Some(mask) => scores.broadcast_add(mask)?,
                None => scores,
            };
            let context = softmax_last_dim(&scores)?.matmul(&repeat(&value)?.contiguous()?)?;
            let context = context.transpose(1, 2)?.reshape((batch, rows, self.heads * head_dim))?;
            x = (x + context.broadcast_matmul(o)?)?;
            let normed = rms_norm(&x, &block.norms[1], self.eps)?;
            let activated = (silu(&normed.broadcast_matmul(gate)?)? * normed.broadcast_matmul(up)?)?;
            x = (x + activated.broadcast_matmul(down)?)?;
        }
        rms_norm(&x, &self.norm, self.eps)?.broadcast_matmul(&self.head)
    }

    fn angles(&self, start: usize, rows: usize, head_dim: usize) -> Result<(Tensor, Tensor)> {
        let angle = |p: usize, i: usize| p as f64 * self.theta.powf(-2.0 * i as f64 / head_dim as f64);
        let half = head_dim / 2;
        let of = |f: fn(f64) -> f64| {
            let values: Vec<f32> =
                (start..start + rows).flat_map(|p| (0..half).map(move |i| (p, i))).map(|(p, i)| f(angle(p, i)) as f32).collect();
            Tensor::from_vec(values, (rows, half), &Device::Cpu)
        };
        Ok((of(f64::cos)?, of(f64::sin)?))
    }

    fn mask(&self, rows: usize, keys: usize) -> Result<Tensor> {
        let hidden = |r: usize, k: usize| k > keys - rows + r;
        let values: Vec<f32> = (0..rows)
            .flat_map(|r| (0..keys).map(move |k| if hidden(r, k) { f32::NEG_INFINITY } else { 0.0 }))
            .collect();
        Tensor::from_vec(values, (rows, keys), &Device::Cpu)
    }

    fn cache(&self) -> Cache {
        vec![None; self.blocks.len()]
    }

    /// Sum of -ln P over windows [B, S], each behind a start token.
    fn score(&self, windows: &[&[u32]]) -> Result<f32> {
        let rows = windows[0].len();
        let inputs: Vec<u32> =
            windows.iter().flat_map(|w| std::iter::once(self.bos).chain(w[..rows - 1].iter().copied())).collect();
        let targets: Vec<u32> = windows.concat();
        let inputs = Tensor::from_vec(inputs, (windows.len(), rows), &Device::Cpu)?;
        let logits = self.logits(&inputs, &mut self.cache())?.flatten(0, 1)?;
        let scored = logits.gather(&Tensor::new(targets, &Device::Cpu)?.unsqueeze(1)?, 1)?.squeeze(1)?;
        (logits.log_sum_exp(D::Minus1)? - scored)?.sum_all()?.to_scalar()
    }
}

fn seconds<T>(repeats: u32, mut work: impl FnMut() -> Result<T>) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..repeats {
        std::hint::black_box(work()?);
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(repeats))
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().expect("the directory of the built-in model");
    let dir = Path::new(&dir);
    let model = Model::load(dir)?;
    let tokenizer = tokenizers::Tokenizer::from_file(dir.join("tokenizer.json")).map_err(candle_core::Error::wrap)?;
    let text = std::fs::read_to_string(dir.join("corpus.txt"))?;
    let text: String = text.chars().take(40_000).collect();
    let ids = tokenizer.encode(text, false).map_err(candle_core::Error::wrap)?;
    let windows: Vec<&[u32]> = ids.get_ids().chunks_exact(128).take(16).collect();

    eprintln!("builtin, 1 window: {}", model.score(&windows[..1])?);
    println!("builtin-prefill-1x128,{}", seconds(4, || model.score(&windows[..1]))?);
    println!("builtin-prefill-16x128,{}", seconds(1, || model.score(&windows))?);

    let tokens = |part: &[u32]| Tensor::from_vec(part.to_vec(), (1, part.len()), &Device::Cpu);
    let mut cache = model.cache();
    model.logits(&tokens(&windows[0][..64])?, &mut cache)?;
    let mut next = windows[0][64..].iter();
    let step = seconds(64, || model.logits(&tokens(&[next.next().copied().unwrap_or(0)])?, &mut cache))?;
    println!("builtin-decode-token,{step}");

    if let Some(dir) = args.next() {
        let model = Model::load(Path::new(&dir))?;
        let tokens: Vec<u32> = (0..128).map(|i| (37 * i + 11) % 2048).collect();
        eprintln!("random: {}", model.score(&[&tokens])?);
        println!("random-prefill-1x128,{}", seconds(1, || model.score(&[&tokens]))?);
    }
    Ok(())
}

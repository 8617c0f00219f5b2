//! A safetensors file for the decoder of `corpus/safetensors`, and one forward pass.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use splitwave::llm::{Decoder, DecoderConfig};

/// The configuration of the checkpoints that seeds.py writes.
const CONFIG: &str = r#"{
    "model_type": "llama", "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 2, "intermediate_size": 6, "vocab_size": 10,
    "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "rope_theta": 100.0, "torch_dtype": "float32",
    "tie_word_embeddings": true
}"#;

static DECODER_CONFIG: LazyLock<DecoderConfig> =
    LazyLock::new(|| DecoderConfig::from_json("config.json", CONFIG.as_bytes()).expect("the text above is valid"));

fuzz_target!(|data: &[u8]| {
    if let Ok(decoder) = Decoder::from_safetensors(DECODER_CONFIG.clone(), "fuzz.safetensors", data) {
        let _ = decoder.window_nll(&[1, 2, 3, 9]);
    }
});

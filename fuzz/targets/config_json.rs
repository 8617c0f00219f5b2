//! `config.json` of a checkpoint.
#![no_main]

use libfuzzer_sys::fuzz_target;
use splitwave::llm::DecoderConfig;

fuzz_target!(|data: &[u8]| {
    if let Ok(config) = DecoderConfig::from_json("config.json", data) {
        assert_eq!(config.windows.len(), config.layers);
        assert!(config.heads.is_multiple_of(config.kv_heads) && config.head_dim.is_multiple_of(2));
        assert!(config.norm_eps > 0.0 && config.rope_theta > 0.0);
    }
});

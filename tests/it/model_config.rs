//! config.json of every family, in both generations, and what is refused by name.

use serde_json::{Value, json};
use splitwave::llm::*;

fn read(fields: &Value) -> Result<DecoderConfig, ConfigProblem> {
    DecoderConfig::from_json("config.json", fields.to_string().as_bytes()).map_err(|error| error.problem)
}

/// `base` with the fields of `changes`; the text `"-"` takes a field away.
fn with(base: &Value, changes: &Value) -> Value {
    let mut fields = base.clone();
    let object = fields.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value == "-" {
            object.remove(name)
        } else {
            object.insert(name.clone(), value.clone())
        };
    }
    fields
}

/// What the two generations write of one model must come to the same.
fn both(shared: &Value, new: &Value, old: &Value) -> DecoderConfig {
    let [new, old] = [new, old].map(|own| read(&with(shared, own)).unwrap());
    assert_eq!(new, old);
    new
}

/// A field's refusal, as the user reads it.
fn refusal(base: &Value, changes: &Value) -> String {
    read(&with(base, changes)).unwrap_err().to_string()
}

/// Only what no family has a default for.
fn bare(model_type: &str) -> Value {
    json!({ "model_type": model_type, "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 32,
            "intermediate_size": 96, "vocab_size": 300_000 })
}

#[test]
fn llama_2_and_3_are_read_in_both_generations() {
    let shared = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 11008, "max_position_embeddings": 4096,
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "rms_norm_eps": 1e-5,
        "pretraining_tp": 1, "tie_word_embeddings": false, "vocab_size": 32000,
    });
    let new = json!({ "rope_parameters": { "rope_theta": 10000.0, "rope_type": "default" }, "dtype": "float16" });
    let old = json!({ "rope_scaling": null, "torch_dtype": "float16" });
    let llama_2 = DecoderConfig {
        family: Family::Llama,
        d_model: 4096,
        layers: 32,
        heads: 32,
        kv_heads: 32,
        head_dim: 128,
        d_ff: 11008,
        vocab: 32000,
        max_positions: 4096,
        norm: NormKind::Rms,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        rope_pairing: RopePairing::Halves,
        windows: vec![None; 32],
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        parallel_block: false,
        logit_scale: 1.0,
        tied_head: false,
        bos_token: Some(1),
        eos_tokens: vec![2],
    };
    assert_eq!(both(&shared, &new, &old), llama_2);

    let scaling = json!({ "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                          "original_max_position_embeddings": 8192, "rope_type": "llama3" });
    let shared = with(
        &shared,
        &json!({ "bos_token_id": 128_000, "eos_token_id": [128_001, 128_008, 128_009], "intermediate_size": 14336,
                 "max_position_embeddings": 131_072, "num_key_value_heads": 8, "vocab_size": 128_256,
                 "attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true }),
    );
    let new = json!({ "rope_parameters": with(&scaling, &json!({ "rope_theta": 500_000.0 })) });
    let llama_3 = DecoderConfig {
        kv_heads: 8,
        d_ff: 14336,
        vocab: 128_256,
        max_positions: 131_072,
        rope_theta: 500_000.0,
        rope_scaling: RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_positions: 8192.0,
        },
        qkv_bias: true,
        output_bias: true,
        mlp_bias: true,
        tied_head: true,
        bos_token: Some(128_000),
        eos_tokens: vec![128_001, 128_008, 128_009],
        ..llama_2.clone()
    };
    assert_eq!(both(&shared, &new, &json!({ "rope_theta": 500_000, "rope_scaling": scaling })), llama_3);

    // The first scaled files said `type`.
    let linear = json!({ "rope_theta": 1e4, "rope_scaling": { "type": "linear", "factor": 2.0 } });
    let config = both(
        &shared,
        &json!({ "rope_parameters": { "rope_type": "linear", "factor": 2, "rope_theta": 1e4 } }),
        &linear,
    );
    assert_eq!((config.rope_scaling, config.rope_theta), (RopeScaling::Linear { factor: 2.0 }, 10_000.0));
}

#[test]
fn mistral_has_one_window_for_all_layers() {
    let shared = json!({
        "model_type": "mistral", "bos_token_id": 1, "eos_token_id": 2, "head_dim": 128, "hidden_act": "silu",
        "hidden_size": 5120, "intermediate_size": 14336, "max_position_embeddings": 1_024_000,
        "num_attention_heads": 32, "num_hidden_layers": 40, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
        "sliding_window": 4096, "vocab_size": 131_072,
    });
    let new = json!({ "rope_parameters": { "rope_theta": 1e6, "rope_type": "default" } });
    let old = json!({ "rope_theta": 1e6, "torch_dtype": "bfloat16" });
    let config = both(&shared, &new, &old);
    assert_eq!((config.family, config.windows), (Family::Mistral, vec![Some(4096); 40]));
    assert_eq!((config.d_model, config.heads, config.kv_heads, config.head_dim), (5120, 32, 8, 128));
    assert_eq!((config.rope_theta, config.norm_eps, config.max_positions), (1e6, 1e-5, 1_024_000));
    assert!(!config.qkv_bias && !config.tied_head && !config.qk_norm);
    let config = both(&with(&shared, &json!({ "sliding_window": null })), &new, &old);
    assert_eq!(config.windows, vec![None; 40]);
    let all_full = json!({ "sliding_window": null, "layer_types": vec!["full_attention"; 40] });
    assert_eq!(read(&with(&shared, &all_full)).unwrap().windows, vec![None; 40]);

    let mixed = json!({ "layer_types": vec!["full_attention"; 40] });
    assert!(
        refusal(&shared, &mixed).contains("one kind for all layers in this family"),
        "{}",
        refusal(&shared, &mixed)
    );
    let text = refusal(&shared, &json!({ "attention_bias": true }));
    assert!(text.contains("`attention_bias` = true is not supported"), "{text}");
    for bad in [json!(0), json!(-1), json!("4096"), json!(1.5)] {
        let text = refusal(&shared, &json!({ "sliding_window": bad }));
        assert!(text.contains("`sliding_window`") && text.contains("an integer from 1 to"), "{text}");
    }
}

#[test]
fn cohere_has_layer_norm_scaled_logits_and_a_tied_head() {
    // Aya-23-8B.
    let shared = json!({
        "model_type": "cohere", "attention_bias": false, "bos_token_id": 5, "eos_token_id": 255_001,
        "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336, "layer_norm_eps": 1e-5,
        "logit_scale": 0.0625, "max_position_embeddings": 8192, "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 8, "use_qk_norm": false, "vocab_size": 256_000,
    });
    let new = json!({ "rope_parameters": { "rope_theta": 10000, "rope_type": "default" } });
    let old = json!({ "rope_theta": 10000, "torch_dtype": "float16" });
    let config = both(&shared, &new, &old);
    assert_eq!((config.family, config.norm, config.norm_eps), (Family::Cohere, NormKind::Layer, 1e-5));
    assert_eq!((config.rope_pairing, config.rope_theta), (RopePairing::Interleaved, 10_000.0));
    assert!(config.parallel_block && config.tied_head && !config.qkv_bias && !config.output_bias);
    assert_eq!((config.logit_scale, config.head_dim, config.kv_heads), (0.0625, 128, 8));
    assert_eq!((config.bos_token, config.eos_tokens), (Some(5), vec![255_001]));
    let changes =
        json!({ "tie_word_embeddings": false, "attention_bias": true, "logit_scale": 0.25, "rope_theta": 4e6 });
    let config = read(&with(&shared, &changes)).unwrap();
    assert!(!config.tied_head && config.qkv_bias && config.output_bias);
    assert_eq!((config.logit_scale, config.rope_theta), (0.25, 4e6));

    let text = refusal(&shared, &json!({ "use_qk_norm": true, "rope_theta": 1e4 }));
    assert!(text.contains("`use_qk_norm` = true is not supported"), "{text}");
    // 10,000 before transformers 5, and 500,000 since.
    assert_eq!(read(&shared), Err(ConfigProblem::Missing("rope_theta")));
    let text = refusal(&shared, &json!({ "rope_theta": 1e4, "logit_scale": null }));
    assert!(text.contains("`logit_scale` = null is not allowed; it must be a number above 0"), "{text}");
}

#[test]
fn qwen2_has_biases_and_windows_by_layer() {
    // Qwen2-0.5B.
    let shared = json!({
        "model_type": "qwen2", "bos_token_id": 151_643, "eos_token_id": 151_643, "hidden_act": "silu",
        "hidden_size": 896, "intermediate_size": 4864, "max_position_embeddings": 131_072, "max_window_layers": 24,
        "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
        "sliding_window": 131_072, "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 151_936,
    });
    let new = json!({ "rope_parameters": { "rope_theta": 1e6, "rope_type": "default" }, "sliding_window": null,
                      "layer_types": vec!["full_attention"; 24] });
    let config = both(&shared, &new, &json!({ "rope_theta": 1e6 }));
    assert_eq!((config.family, config.windows), (Family::Qwen2, vec![None; 24]));
    assert!(config.qkv_bias && !config.output_bias && config.tied_head && !config.qk_norm);
    assert_eq!((config.heads, config.kv_heads, config.head_dim), (14, 2, 64));
    // Its bos_token_id is not what its texts begin with (QwenLM/Qwen3, issue 486).
    assert_eq!((config.bos_token, config.eos_tokens), (None, vec![151_643]));

    // The layers from max_window_layers on slide, unless layer_types says which.
    let sliding = with(
        &shared,
        &json!({ "use_sliding_window": true, "sliding_window": 16, "num_hidden_layers": 4,
                                         "max_window_layers": 3, "rope_theta": 1e6 }),
    );
    assert_eq!(read(&sliding).unwrap().windows, [None, None, None, Some(16)]);
    let types =
        json!({ "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"] });
    assert_eq!(read(&with(&sliding, &types)).unwrap().windows, [Some(16), None, Some(16), None]);
    assert_eq!(read(&with(&sliding, &json!({ "max_window_layers": 0 }))).unwrap().windows, [Some(16); 4]);
    assert_eq!(read(&with(&sliding, &json!({ "sliding_window": null }))).unwrap().windows, [None; 4]);
    assert_eq!(
        read(&with(&sliding, &json!({ "sliding_window": "-" }))).unwrap().windows,
        [None, None, None, Some(4096)]
    );
    let text = refusal(&with(&sliding, &types), &json!({ "use_sliding_window": false }));
    assert!(text.contains("only with `use_sliding_window` = true"), "{text}");
    let text = refusal(&sliding, &json!({ "layer_types": ["full_attention"] }));
    assert!(text.contains("a list of `num_hidden_layers` = 4 names"), "{text}");
    let text =
        refusal(&sliding, &json!({ "layer_types": ["full_attention", "linear_attention", "full_attention", "x"] }));
    assert!(text.contains("`layer_types` = \"linear_attention\" is not supported"), "{text}");
}

#[test]
fn qwen3_normalises_queries_and_keys() {
    // Qwen3-0.6B.
    let shared = json!({
        "model_type": "qwen3", "attention_bias": false, "bos_token_id": 151_643, "eos_token_id": 151_645,
        "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "intermediate_size": 3072,
        "max_position_embeddings": 40_960, "max_window_layers": 28, "num_attention_heads": 16,
        "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-6, "sliding_window": null,
        "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 151_936,
    });
    let new = json!({ "rope_parameters": { "rope_theta": 1_000_000, "rope_type": "default" } });
    let config = both(&shared, &new, &json!({ "rope_theta": 1_000_000, "rope_scaling": null }));
    assert!(config.qk_norm && !config.qkv_bias && !config.output_bias && config.tied_head);
    assert_eq!((config.bos_token, &config.eos_tokens[..]), (None, &[151_645][..]));
    assert_eq!((config.family, config.head_dim, config.d_model, config.heads), (Family::Qwen3, 128, 1024, 16));
    let biased = read(&with(&shared, &json!({ "attention_bias": true }))).unwrap();
    assert!(biased.qkv_bias && biased.output_bias);
    let sliding = json!({ "use_sliding_window": true, "sliding_window": 9, "max_window_layers": 27 });
    let windows = read(&with(&shared, &sliding)).unwrap().windows;
    assert_eq!((windows[26], windows[27]), (None, Some(9)));
}

/// From the configuration classes of transformers 5.23, with 32 heads on d = 64.
#[test]
fn absent_fields_have_the_defaults_of_their_family() {
    type Row = (&'static str, usize, usize, usize, f64, Option<u32>, Vec<u32>, bool);
    let rows: [Row; 5] = [
        ("llama", 2048, 32, 2, 1e4, Some(1), vec![2], false),
        ("mistral", 131_072, 8, 2, 1e4, Some(1), vec![2], false),
        ("cohere", 8192, 32, 2, 5e5, Some(5), vec![255_001], true),
        ("qwen2", 32_768, 32, 2, 1e4, None, vec![], false),
        ("qwen3", 32_768, 32, 128, 1e4, None, vec![], false),
    ];
    for (model_type, positions, kv_heads, head_dim, theta, bos, eos, tied) in rows {
        // The class's own θ of Cohere holds in files that have rope_parameters.
        let config = read(&with(&bare(model_type), &json!({ "rope_parameters": { "rope_type": "default" } }))).unwrap();
        assert_eq!(
            (config.max_positions, config.kv_heads, config.head_dim),
            (positions, kv_heads, head_dim),
            "{model_type}"
        );
        assert_eq!((config.rope_theta, config.tied_head), (theta, tied), "{model_type}");
        assert_eq!((config.bos_token, config.eos_tokens), (bos, eos), "{model_type}");
        let eps = if model_type == "cohere" { 1e-5 } else { 1e-6 };
        assert_eq!((config.norm_eps, config.logit_scale), (eps, if model_type == "cohere" { 0.0625 } else { 1.0 }));
        let window = if model_type == "mistral" { Some(4096) } else { None };
        assert_eq!(config.windows, vec![window; 6], "{model_type}");
        // null is no default.
        let nulls =
            json!({ "rope_theta": 1e4, "bos_token_id": null, "eos_token_id": null, "num_key_value_heads": null });
        let config = read(&with(&bare(model_type), &nulls)).unwrap();
        assert_eq!((config.bos_token, config.eos_tokens, config.kv_heads), (None, vec![], 32), "{model_type}");
    }
}

#[test]
fn what_neither_generation_explains_is_refused_by_name() {
    let base = bare("llama");
    for (changes, expected) in [
        (
            json!({ "model_type": "gemma2" }),
            "`model_type` = \"gemma2\" is not supported; supported: \"llama\", \"mistral\", \"cohere\", \"qwen2\", \"qwen3\"",
        ),
        (json!({ "hidden_act": "gelu" }), "`hidden_act` = \"gelu\" is not supported; supported: \"silu\""),
        (json!({ "quantization_config": { "bits": 4 } }), "`quantization_config` = {\"bits\":4} is not supported"),
        (json!({ "per_layer_config": { "0": {} } }), "`per_layer_config`"),
        (json!({ "use_qk_norm": true }), "`use_qk_norm` = true is not supported"),
        (json!({ "sliding_window": 512 }), "`sliding_window` = 512 is not supported; supported: null in this family"),
        (json!({ "layer_types": ["sliding_attention"] }), "a list of `num_hidden_layers` = 6 names"),
        (
            json!({ "num_hidden_layers": 1025 }),
            "`num_hidden_layers` = 1025 is not allowed; it must be an integer from 1 to 1024",
        ),
        (json!({ "max_position_embeddings": 2_000_000 }), "an integer from 1 to 1048576"),
        (json!({ "partial_rotary_factor": 0.5 }), "`partial_rotary_factor` = 0.5"),
        (
            json!({ "rope_parameters": { "rope_type": "default", "partial_rotary_factor": 0.25 } }),
            "`partial_rotary_factor` = 0.25",
        ),
        (
            json!({ "rope_parameters": { "rope_type": "default", "rope_theta": 5e5 }, "rope_theta": 1e4 }),
            "`rope_theta` = 10000.0 is not supported; supported: the same value",
        ),
        (
            json!({ "rope_parameters": { "rope_type": "default" }, "rope_scaling": { "type": "linear", "factor": 2 } }),
            "one that equals `rope_parameters`",
        ),
        (
            json!({ "rope_parameters": { "rope_type": "default", "mrope_section": [16, 24] } }),
            "`rope_parameters` = {\"mrope_section\":[16,24]} is not supported",
        ),
        (
            json!({ "rope_parameters": { "full_attention": { "rope_type": "default" } } }),
            "`rope_parameters` = {\"full_attention\":",
        ),
        (json!({ "rope_scaling": { "factor": 2.0 } }), "field `rope_type` is missing"),
        (json!({ "rope_scaling": { "rope_type": "linear" } }), "field `factor` is missing"),
        (json!({ "rope_scaling": { "rope_type": "linear", "type": "dynamic", "factor": 2 } }), "`type` = \"dynamic\""),
        (
            json!({ "rope_scaling": { "rope_type": "linear", "factor": 0 } }),
            "`factor` = 0 is not allowed; it must be a number above 0",
        ),
        (
            json!({ "rope_scaling": "linear" }),
            "`rope_scaling` = \"linear\" is not allowed; it must be an object or null",
        ),
        (json!({ "rope_theta": "10000" }), "`rope_theta` = \"10000\" is not allowed"),
        (json!({ "rms_norm_eps": null }), "`rms_norm_eps` = null is not allowed"),
    ] {
        let text = refusal(&base, &changes);
        assert!(text.contains(expected), "{changes}: {text}");
    }
    for kind in ["yarn", "dynamic", "longrope", "su", "ntk", "mrope", "proportional"] {
        let text = refusal(&base, &json!({ "rope_scaling": { "rope_type": kind, "factor": 4.0, "beta_fast": 32 } }));
        let expected =
            format!("`rope_type` = \"{kind}\" is not supported; supported: \"default\", \"linear\", \"llama3\"");
        assert_eq!(text, expected);
    }
    let llama3 = json!({ "rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
                         "original_max_position_embeddings": 8192 });
    let text = refusal(&base, &json!({ "rope_scaling": with(&llama3, &json!({ "low_freq_factor": 4 })) }));
    assert_eq!(text, "`high_freq_factor` = 4 is not allowed; it must be above `low_freq_factor` = 4");
    for field in ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"] {
        let text = refusal(&base, &json!({ "rope_scaling": with(&llama3, &json!({ field: "-" })) }));
        assert!(text.starts_with(&format!("field `{field}` is missing")), "{text}");
    }
    let text = refusal(&base, &json!({ "rope_scaling": llama3, "original_max_position_embeddings": 4096 }));
    assert!(text.starts_with("`original_max_position_embeddings` = 4096 is not supported"), "{text}");

    // What neither release runs is said before what the two would read differently.
    let yarn = json!({ "rope_type": "yarn", "factor": 4.0 });
    let plain = json!({ "rope_type": "default", "rope_theta": 1e4 });
    for (new, old) in [(&plain, &yarn), (&yarn, &plain)] {
        let text = refusal(&base, &json!({ "rope_parameters": new, "rope_scaling": old }));
        assert!(text.starts_with("`rope_type` = \"yarn\" is not supported"), "{text}");
    }

    // A window that no context reaches, and an empty object, change nothing.
    let harmless = json!({ "sliding_window": 2048, "rope_scaling": {}, "rope_theta": null });
    assert_eq!(read(&with(&base, &harmless)), read(&base));
    // Nor does one that the file itself calls unused.
    for family in ["llama", "cohere"] {
        let base = with(&bare(family), &json!({ "rope_theta": 1e4 }));
        let unused = json!({ "sliding_window": 512, "use_sliding_window": false });
        assert_eq!(read(&with(&base, &unused)), read(&base), "{family}");
        let text = refusal(&base, &with(&unused, &json!({ "use_sliding_window": true })));
        assert!(text.starts_with("`sliding_window` = 512 is not supported"), "{text}");
    }
}

/// Below 1.4e-45 ε would be 0 in single precision, and a row of zeros no number.
#[test]
fn the_epsilon_of_norms_must_be_one_in_single_precision() {
    for (family, field) in [("llama", "rms_norm_eps"), ("cohere", "layer_norm_eps")] {
        let base = with(&bare(family), &json!({ "rope_theta": 1e4 }));
        for good in [1e-30, 1e-12, 1e-5, 1.0] {
            let eps = read(&with(&base, &json!({ field: good }))).unwrap().norm_eps;
            assert!((eps / good - 1.0).abs() < 1e-15, "{eps}");
            assert!(eps as f32 > 0.0);
        }
        for bad in [json!(1e-31), json!(1e-46), json!(0), json!(-1e-5), json!(1.5), json!(1e300), json!("1e-5")] {
            let text = refusal(&base, &json!({ field: bad }));
            assert_eq!(text, format!("`{field}` = {bad} is not allowed; it must be a number from 1e-30 to 1"));
        }
    }
}

/// A few bytes must not ask for a table of millions.
#[test]
fn absurd_sizes_are_refused_before_anything_is_made() {
    for field in
        ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size", "head_dim"]
    {
        for size in [u64::MAX, 1 << 40, (1 << 24) + 1] {
            let problem = read(&with(&bare("llama"), &json!({ field: size }))).unwrap_err();
            assert!(matches!(problem, ConfigProblem::OutOfRange { field: name, .. } if name == field), "{problem}");
        }
    }
    let heads = json!({ "num_attention_heads": 1 << 20, "head_dim": 1 << 10 });
    assert!(refusal(&bare("llama"), &heads).contains("at most 16777216 / `num_attention_heads`"));
}

//! Damaged and foreign model files: an error that says what, where and what to do,
//! never a panic.

use proptest::prelude::*;
use splitwave::llm::*;

use crate::llm_tiny::Tiny;

const TOKENIZER: &[u8] = include_bytes!("../../models/builtin/tokenizer.json");

fn tokenizer() -> Tokenizer {
    Tokenizer::from_json("tokenizer.json", TOKENIZER).unwrap()
}

fn config(text: &str) -> Result<DecoderConfig, ConfigProblem> {
    DecoderConfig::from_json("dir/config.json", text.as_bytes()).map_err(|error| {
        assert!(error.to_string().starts_with("dir/config.json: "), "{error}");
        error.problem
    })
}

fn weights(bytes: &[u8]) -> Result<Decoder, WeightsProblem> {
    let config = config(&Tiny::config_json()).unwrap();
    match Decoder::from_safetensors(config, "dir/model.safetensors", bytes) {
        Ok(decoder) => Ok(decoder),
        Err(LoadError::Weights(error)) => {
            assert!(error.to_string().starts_with("dir/model.safetensors: "), "{error}");
            Err(error.problem)
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_truncated_checkpoint_is_refused_at_every_length() {
    let bytes = Tiny::default().checkpoint();
    assert!(weights(&bytes).is_ok());
    for length in [0, 1, 7, 8, 9, 100, bytes.len() / 2, bytes.len() - 1] {
        let problem = weights(&bytes[..length]).unwrap_err();
        assert!(matches!(problem, WeightsProblem::Malformed { bytes, .. } if bytes == length), "{length}: {problem}");
        assert!(problem.to_string().contains("fetch or copy it again"));
    }
    // A header that claims to be longer than memory.
    let mut huge = bytes.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(weights(&huge), Err(WeightsProblem::Malformed { .. })));
}

#[test]
fn missing_and_foreign_tensors_are_named() {
    let name = "model.layers.2.mlp.up_proj.weight";
    let mut tiny = Tiny::default();
    tiny.tensors.retain(|(known, ..)| known != name);
    assert_eq!(
        weights(&tiny.checkpoint()).unwrap_err(),
        WeightsProblem::Missing { name: name.into(), config: "config.json" }
    );

    let mut tiny = Tiny::default();
    tiny.tensors.push(("model.layers.0.self_attn.q_proj.bias".into(), vec![48], vec![0.0; 48]));
    tiny.tensors.push(("model.layers.4.input_layernorm.weight".into(), vec![20], vec![1.0; 20]));
    let first = "model.layers.0.self_attn.q_proj.bias".to_owned();
    assert_eq!(
        weights(&tiny.checkpoint()).unwrap_err(),
        WeightsProblem::Unexpected { first, count: 2, config: "config.json" }
    );

    // Rotary frequencies, which old files store, are no obstacle.
    let mut tiny = Tiny::default();
    tiny.tensors.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), vec![4], vec![1.0; 4]));
    assert!(weights(&tiny.checkpoint()).is_ok());
}

#[test]
fn a_misshaped_tensor_shows_both_shapes() {
    let mut tiny = Tiny::default();
    let (name, shape, _) = &mut tiny.tensors[2];
    assert_eq!((name.as_str(), shape.as_slice()), ("model.layers.0.self_attn.q_proj.weight", [48, 20].as_slice()));
    shape.swap(0, 1);
    let problem = weights(&tiny.checkpoint()).unwrap_err();
    let WeightsProblem::Shape { ref found, ref expected, .. } = problem else { panic!("{problem}") };
    assert_eq!((found.as_slice(), expected.as_slice()), ([20, 48].as_slice(), [48, 20].as_slice()));
}

#[test]
fn weights_that_are_no_numbers_are_found() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut tiny = Tiny::default();
        tiny.tensor_mut("model.layers.3.mlp.down_proj.weight")[123] = bad;
        let problem = weights(&tiny.checkpoint()).unwrap_err();
        let WeightsProblem::NotFinite { ref name, index, value } = problem else { panic!("{problem}") };
        assert_eq!(
            (name.as_str(), index, value.to_bits()),
            ("model.layers.3.mlp.down_proj.weight", 123, bad.to_bits())
        );
    }
}

#[test]
fn other_element_types_are_refused() {
    // The header's text alone says that the bytes are integers.
    let mut bytes = Tiny::default().checkpoint();
    let from = bytes.windows(5).position(|w| w == b"\"F32\"").unwrap();
    bytes[from..from + 5].copy_from_slice(b"\"I32\"");
    let problem = weights(&bytes).unwrap_err();
    assert!(matches!(problem, WeightsProblem::Dtype { ref dtype, .. } if dtype == "I32"), "{problem}");
}

#[test]
fn every_field_of_the_config_is_checked() {
    let good: serde_json::Value = serde_json::from_str(&Tiny::config_json()).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut changed = good.clone();
        changed[field] = value;
        config(&changed.to_string())
    };
    for field in
        ["model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"]
    {
        let mut changed = good.clone();
        changed.as_object_mut().unwrap().remove(field);
        assert!(matches!(config(&changed.to_string()), Err(ConfigProblem::Missing(name)) if name == field));
    }
    for field in ["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"] {
        for bad in [0.into(), (-4).into(), "4".into(), 1.5.into(), u64::MAX.into()] {
            let problem = with(field, bad).unwrap_err();
            assert!(matches!(problem, ConfigProblem::OutOfRange { field: name, .. } if name == field), "{problem}");
        }
    }
    let out_of_range = |field, value: serde_json::Value| {
        let problem = with(field, value).unwrap_err();
        assert!(matches!(problem, ConfigProblem::OutOfRange { .. }), "{problem}");
        problem.to_string()
    };
    assert!(out_of_range("num_key_value_heads", 4.into()).contains("a divisor of `num_attention_heads` = 6"));
    assert!(out_of_range("head_dim", 7.into()).contains("even"));
    assert!(out_of_range("bos_token_id", 90.into()).contains("below `vocab_size` = 90"));
    assert!(out_of_range("rms_norm_eps", 0.0.into()).contains("a number from 1e-30 to 1"));
    assert!(out_of_range("tie_word_embeddings", "no".into()).contains("true or false"));
    let mut no_head_dim = good.clone();
    no_head_dim.as_object_mut().unwrap().remove("head_dim");
    let problem = config(&no_head_dim.to_string()).unwrap_err().to_string();
    assert!(problem.contains("a divisor of `hidden_size` = 20"), "{problem}");

    for (field, value, named) in [
        ("model_type", serde_json::json!("gpt2"), "supported: \"llama\", \"mistral\""),
        ("hidden_act", serde_json::json!("gelu"), "\"silu\""),
        ("quantization_config", serde_json::json!({ "bits": 4 }), "f32, f16 or bf16"),
        ("rope_parameters", serde_json::json!({ "rope_type": "yarn", "rope_theta": 5e5 }), "\"yarn\""),
        ("partial_rotary_factor", serde_json::json!(0.5), "whole head"),
    ] {
        let problem = with(field, value).unwrap_err();
        assert!(matches!(problem, ConfigProblem::Unsupported { .. }), "{problem}");
        assert!(problem.to_string().contains(named), "{problem}");
    }
    for text in ["", "{", "[1]", "null", "\u{0}"] {
        assert!(matches!(config(text), Err(ConfigProblem::NotJson(_))), "{text:?}");
    }
}

#[test]
fn directories_without_a_model_say_what_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let open = || LoadedModel::from_dir(dir.path()).unwrap_err().to_string();
    assert!(
        open().contains("config.json: cannot be read")
            && open().contains("model.safetensors and tokenizer.json (instead")
    );
    std::fs::write(dir.path().join("config.json"), Tiny::config_json()).unwrap();
    assert!(open().contains("model.safetensors: cannot be read"), "{}", open());
    std::fs::write(dir.path().join("model.safetensors.index.json"), "{}").unwrap();
    assert!(open().contains("index.json: is not an index of shards"), "{}", open());
    std::fs::write(dir.path().join("model.safetensors"), Tiny::default().checkpoint()).unwrap();
    assert!(open().contains("there is no tokenizer (tokenizer.json is missing)"), "{}", open());
    std::fs::write(dir.path().join("tokenizer.json"), "{\"version\": 1}").unwrap();
    assert!(open().contains("is not a Hugging Face tokenizer.json"), "{}", open());
    std::fs::write(dir.path().join("tokenizer.json"), TOKENIZER).unwrap();
    // The built-in model's 2048 tokens on 90 embeddings.
    assert!(open().contains("has 2048 tokens, but the model's vocabulary (`vocab_size`) only 90"), "{}", open());
    let file = dir.path().join("config.json");
    let problem = LoadedModel::open(file.to_str().unwrap()).unwrap_err().to_string();
    assert!(problem.contains("a single file is not supported"), "{problem}");
}

#[test]
fn corpora_that_are_no_text_are_refused() {
    let tokenizer = tokenizer();
    let read = |bytes: &[u8], cut| Corpus::from_bytes("book.txt", bytes, &tokenizer, 2048, cut);
    let problem = read(b"caf\xe9 au lait", Segmentation::Tokens).unwrap_err();
    assert_eq!(problem, CorpusError::NotUtf8 { file: "book.txt".into(), offset: 3 });

    let short = read(b"Too short.", Segmentation::Tokens).unwrap();
    let has = short.tokens().len();
    let problem = short.window(0, 64).unwrap_err();
    assert_eq!(problem, CorpusError::TooShort { file: "book.txt".into(), has, needs: 64 });
    assert!(problem.to_string().contains("one window needs 64"));
    for cut in [Segmentation::Tokens, Segmentation::Sentence] {
        let empty = read(b"", cut).unwrap();
        assert!(matches!(empty.window(0, 8), Err(CorpusError::TooShort { has: 0, .. })));
    }
    let problem = short.window(9, 2).unwrap_err();
    assert_eq!(problem, CorpusError::Window { file: "book.txt".into(), index: 9, count: has / 2 });
    assert!(matches!(short.window(0, 0), Err(CorpusError::TooShort { .. })));

    let problem = Corpus::open("no/such/file.txt", &tokenizer, 2048, Segmentation::Tokens).unwrap_err();
    assert!(problem.to_string().starts_with("no/such/file.txt: cannot be read"), "{problem}");
    let problem = Corpus::from_bytes("book.txt", b"Hello there", &tokenizer, 50, Segmentation::Tokens).unwrap_err();
    assert!(matches!(problem, CorpusError::TokenBeyondVocabulary { vocab: 50, id: 50.., .. }), "{problem}");
}

#[test]
fn calls_that_do_not_fit_the_model_are_refused() {
    let decoder = Tiny::default().decoder();
    let beyond = DecoderError::TokenBeyondVocabulary { position: 1, id: 90, vocab: 90 };
    assert_eq!(decoder.embed(&[89, 90]).unwrap_err(), beyond);
    let hidden = decoder.embed(&[1, 2, 3]).unwrap();
    assert_eq!(decoder.nll(&hidden, &[1, 90]).unwrap_err(), beyond);
    assert_eq!(decoder.nll(&hidden, &[1; 4]).unwrap_err(), DecoderError::Targets { targets: 4, rows: 3 });
    for rows in [0, 65] {
        let window = vec![1; rows];
        assert_eq!(decoder.embed(&window).unwrap_err(), DecoderError::WindowLength { rows, max: 64 });
        assert_eq!(decoder.window_nll(&window).unwrap_err(), DecoderError::WindowLength { rows, max: 64 });
    }
    #[allow(clippy::reversed_empty_ranges)]
    for range in [0..5, 4..5, 3..2, usize::MAX..usize::MAX] {
        let problem = decoder.run(hidden.clone(), range.clone()).unwrap_err();
        assert_eq!(problem, DecoderError::Layers { range, layers: 4 });
    }
    let foreign = Hidden::from_vec(vec![0.0; 42], 21).unwrap();
    assert_eq!(decoder.logits(&foreign).unwrap_err(), DecoderError::Width { found: 21, expected: 20 });
    assert_eq!(decoder.run(foreign, 0..1).unwrap_err(), DecoderError::Width { found: 21, expected: 20 });
}

#[test]
fn a_tensor_beyond_all_numbers_gives_an_error_and_zeros_give_none() {
    let decoder = Tiny::default().decoder();
    let window: Vec<u32> = (0..10).collect();
    for bad in [f32::NAN, f32::INFINITY] {
        let problem = decoder.split_nll(&window, 2, |hidden| hidden.values_mut()[4 * 20] = bad).unwrap_err();
        assert!(matches!(problem, DecoderError::NotFinite { .. }), "{problem}");
    }
    let nothing = decoder.split_nll(&window, 2, |hidden| hidden.values_mut().fill(0.0)).unwrap();
    // Zeros stay zeros through every layer: uniform logits, chance.
    assert!((nothing.perplexity() - 90.0).abs() < 1e-9, "{}", nothing.perplexity());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::cases(200), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to the bytes, loading returns.
    #[test]
    fn flipped_bytes_never_panic(flips in prop::collection::vec((0_usize..6000, any::<u8>()), 1..8), cut in 0_usize..8000) {
        let mut bytes = Tiny::default().checkpoint();
        for (index, byte) in &flips {
            bytes[*index] = *byte;
        }
        let _ = weights(&bytes);
        bytes.truncate(cut);
        let _ = weights(&bytes);
        let mut text = Tiny::config_json().into_bytes();
        for (index, byte) in flips {
            let index = index % text.len();
            text[index] = byte;
        }
        let _ = DecoderConfig::from_json("config.json", &text);
    }
}

//! Checkpoints in one file and in shards: what is read, and what is refused.

use std::path::Path;

use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use splitwave::llm::*;

use crate::llm_tiny::Tiny;

/// A tokenizer of `tokens` words.
fn tokenizer(tokens: usize) -> String {
    let vocab: serde_json::Map<String, Value> = (0..tokens).map(|id| (format!("w{id}"), json!(id))).collect();
    json!({ "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": { "type": "WhitespaceSplit" }, "post_processor": null, "decoder": null,
            "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "w0" } })
    .to_string()
}

/// A directory with Tiny's configuration and a tokenizer of as many words.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), Tiny::config_json()).unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer(90)).unwrap();
    dir
}

fn shard_name(index: usize) -> String {
    format!("model-{:05}-of-00003.safetensors", index + 1)
}

/// Writes the tensors round robin into three shards, and gives their index.
fn write_shards(dir: &Path, tiny: &Tiny) -> Value {
    let mut weight_map = serde_json::Map::new();
    for shard in 0..3 {
        let part = Tiny { tensors: tiny.tensors.iter().skip(shard).step_by(3).cloned().collect(), ..tiny.clone() };
        for (name, ..) in &part.tensors {
            weight_map.insert(name.clone(), shard_name(shard).into());
        }
        std::fs::write(dir.join(shard_name(shard)), part.checkpoint()).unwrap();
    }
    let index = json!({ "metadata": { "total_size": 1 }, "weight_map": weight_map });
    write_index(dir, &index);
    index
}

fn write_index(dir: &Path, index: &Value) {
    std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

/// The problem of loading `dir`, as the user reads it.
fn refusal(dir: &Path) -> String {
    LoadedModel::from_dir(dir).unwrap_err().to_string()
}

fn logit_bits(decoder: &Decoder) -> Vec<u32> {
    let hidden = decoder.run(decoder.embed(&[3, 1, 89, 14]).unwrap(), 0..decoder.layers()).unwrap();
    decoder.logits(&hidden).unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn shards_give_the_bits_of_a_single_file() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let tiny = Tiny { dtype, ..Tiny::default() };
        let in_memory = logit_bits(&tiny.decoder());
        let (single, sharded) = (directory(), directory());
        std::fs::write(single.path().join("model.safetensors"), tiny.checkpoint()).unwrap();
        write_shards(sharded.path(), &tiny);
        let [single, sharded] = [single, sharded].map(|dir| LoadedModel::from_dir(dir.path()).unwrap());
        assert_eq!(logit_bits(&single.decoder), in_memory);
        assert_eq!(logit_bits(&sharded.decoder), in_memory);
        // The hash is of the files: config, then all bytes of weights in order.
        let bytes = LoadedModel::from_bytes(
            "here",
            Tiny::config_json().as_bytes(),
            &tiny.checkpoint(),
            tokenizer(90).as_bytes(),
        );
        assert_eq!(single.content_hash(), bytes.unwrap().content_hash());
        assert_ne!(single.content_hash(), sharded.content_hash());
    }
    let config = include_bytes!("../../models/builtin/config.json");
    let weights = include_bytes!("../../models/builtin/model.safetensors");
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(config.len() as u64).to_le_bytes()).update(config).update(weights);
    assert_eq!(LoadedModel::builtin().unwrap().content_hash(), hasher.finalize().to_hex().as_str());
}

#[test]
fn a_byte_in_any_shard_changes_the_hash() {
    let dir = directory();
    let mut tiny = Tiny::default();
    write_shards(dir.path(), &tiny);
    let before = LoadedModel::from_dir(dir.path()).unwrap().content_hash().to_owned();
    tiny.tensor_mut("lm_head.weight")[5] += 0.25;
    write_shards(dir.path(), &tiny);
    assert_ne!(LoadedModel::from_dir(dir.path()).unwrap().content_hash(), before);
}

#[test]
fn problems_of_shards_are_named() {
    let dir = directory();
    let path = dir.path();
    let index = write_shards(path, &Tiny::default());
    let second = path.join(shard_name(1));
    let bytes = std::fs::read(&second).unwrap();

    std::fs::remove_file(&second).unwrap();
    let text = refusal(path);
    assert!(text.contains("model-00002-of-00003.safetensors: cannot be read: "), "{text}");
    assert!(text.contains("model.safetensors.index.json calls for this shard"), "{text}");

    std::fs::write(&second, &bytes[..bytes.len() - 3]).unwrap();
    let text = refusal(path);
    assert!(text.contains("model-00002-of-00003.safetensors: is not a complete safetensors file"), "{text}");

    // The third shard under the name of the second holds what is in the third too.
    std::fs::copy(path.join(shard_name(2)), &second).unwrap();
    let text = refusal(path);
    assert!(text.contains("00002-of-00003.safetensors: tensor `") && text.contains("is not in this shard"), "{text}");
    let mut all_in_first = index.clone();
    for shard in all_in_first["weight_map"].as_object_mut().unwrap().values_mut() {
        if *shard == shard_name(1) {
            *shard = shard_name(0).into();
        }
    }
    write_index(path, &all_in_first);
    assert!(refusal(path).contains("model-00001-of-00003.safetensors: tensor `"), "{}", refusal(path));
    let mut both = index.clone();
    both["weight_map"].as_object_mut().unwrap().retain(|_, shard| *shard != shard_name(1));
    both["weight_map"]["extra"] = shard_name(1).into();
    std::fs::write(&second, one_tensor_more(path)).unwrap();
    write_index(path, &both);
    let text = refusal(path);
    assert!(
        text.contains("00003-of-00003.safetensors: tensor `") && text.contains("00002-of-00003.safetensors too"),
        "{text}"
    );

    std::fs::write(&second, &bytes).unwrap();
    for (weight_map, expected) in [
        (json!({ "a": "../../etc/model.safetensors" }), "not the name of a file beside it"),
        (json!({ "a": "/etc/passwd" }), "not the name of a file beside it"),
        (json!({ "a": "" }), "not the name of a file beside it"),
        (json!({ "a": 3 }), "is not an index of shards: invalid type"),
        (json!([]), "is not an index of shards: invalid type"),
    ] {
        write_index(path, &json!({ "weight_map": weight_map }));
        assert!(refusal(path).contains(expected), "{}", refusal(path));
    }
    write_index(path, &json!({}));
    assert!(refusal(path).contains("index.json: is not an index of shards: missing field `weight_map`"));
    write_index(path, &json!({ "weight_map": {} }));
    assert!(refusal(path).contains("index.json: tensor `model.embed_tokens.weight` is missing"), "{}", refusal(path));

    // A single file beside the index is the one that counts.
    std::fs::write(path.join("model.safetensors"), Tiny::default().checkpoint()).unwrap();
    assert!(LoadedModel::from_dir(path).is_ok());
}

/// The tensors of the third shard and one called `extra`.
fn one_tensor_more(dir: &Path) -> Vec<u8> {
    let bytes = std::fs::read(dir.join(shard_name(2))).unwrap();
    let shard = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut views = shard.tensors();
    views.push(("extra".to_owned(), TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn other_directories_say_what_is_needed() {
    let dir = directory();
    std::fs::write(dir.path().join("pytorch_model.bin"), b"\x80\x02").unwrap();
    let text = refusal(dir.path());
    assert!(text.contains("pytorch_model.bin: a PyTorch pickle is not supported; supported: safetensors"), "{text}");
    std::fs::create_dir(dir.path().join("model.safetensors")).unwrap();
    assert!(refusal(dir.path()).contains("model.safetensors: "), "{}", refusal(dir.path()));
}

#[test]
fn a_tokenizer_of_more_tokens_than_embeddings_is_refused() {
    let dir = directory();
    std::fs::write(dir.path().join("model.safetensors"), Tiny::default().checkpoint()).unwrap();
    for tokens in [1, 89, 90] {
        std::fs::write(dir.path().join("tokenizer.json"), tokenizer(tokens)).unwrap();
        assert!(LoadedModel::from_dir(dir.path()).is_ok(), "{tokens}");
    }
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer(91)).unwrap();
    let error = LoadedModel::from_dir(dir.path()).unwrap_err();
    assert!(matches!(error, LoadError::Vocabulary { tokens: 91, vocab: 90, .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("tokenizer.json: the tokenizer has 91 tokens") && text.contains("(`vocab_size`) only 90"),
        "{text}"
    );
}

/// A file of `data` zeros with this header.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn load(bytes: &[u8]) -> Result<Decoder, LoadError> {
    let config = DecoderConfig::from_json("config.json", Tiny::config_json().as_bytes()).unwrap();
    Decoder::from_safetensors(config, "model.safetensors", bytes)
}

#[test]
fn headers_that_lie_are_refused() {
    for (header, data, expected) in [
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            7,
            "(69 bytes): tensor `a` lies at bytes 62..70 of the file",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            9,
            "bytes 70..71 of the file, behind the last tensor, belong to none",
        ),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8, "tensor `a` lies at bytes 70..62 of the file"),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
            12,
            "bytes 63..67 of the file, in front of tensor `a`, belong to none",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            8,
            "tensors `a` and `b` overlap",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}}"#,
            8,
            "..18446744073709551615 of the file",
        ),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551616]}}"#, 8, "header is damaged"),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}"#, 8, "header is damaged"),
        (
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
            8,
            "tensor `a` of shape [3] in F32 cannot have 8 bytes",
        ),
        (
            r#"{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,8]}}"#,
            8,
            "tensor `a` of shape [2] in BF16 cannot have 8 bytes",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#,
            8,
            "tensor `a` of shape [4611686018427387904, 4] in F32 cannot have 8 bytes",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}}"#,
            8,
            "a shape of at most 8 dimensions",
        ),
        (r#"{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}"#, 8, "header is damaged"),
        (r#"{"a":{"dtype":"F32","shape":[2]}}"#, 8, "missing field `data_offsets`"),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            8,
            "tensor `a` appears twice",
        ),
        ("[]", 0, "invalid type: sequence, expected an object with the names of tensors"),
        ("", 0, "header is damaged"),
        (r#"{"a":"#, 0, "header is damaged"),
    ] {
        let text = load(&file(header, data)).unwrap_err().to_string();
        assert!(text.starts_with("model.safetensors: is not a complete safetensors file ("), "{text}");
        assert!(text.contains(expected), "{header}: {text}");
    }
    for claimed in [0x64, 1 << 27, 1 << 50, u64::MAX] {
        let mut bytes = file("{}", 20);
        bytes[..8].copy_from_slice(&claimed.to_le_bytes());
        let text = load(&bytes).unwrap_err().to_string();
        assert!(
            text.contains(&format!("its header claims {claimed} bytes, but 22 follow, and 100000000 are the most")),
            "{text}"
        );
    }
    let long = format!(r#"{{"{}":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}}}"#, "a".repeat(1001));
    assert!(load(&file(&long, 8)).unwrap_err().to_string().contains("a name has 1001 bytes"));
    // An empty file in good form lacks everything.
    let text = load(&file(r#"{"__metadata__":{"format":"pt"}}  "#, 0)).unwrap_err().to_string();
    assert_eq!(
        text,
        "model.safetensors: tensor `model.embed_tokens.weight` is missing, but config.json calls for it; fetch the model again"
    );
}

#[test]
fn element_types_that_are_not_read_hinder_only_where_they_are_needed() {
    // Frequencies that old files store may be of any type.
    let tiny = Tiny::default();
    let bytes = tiny.checkpoint();
    let with_extra = |name: &str, dtype, shape: Vec<usize>, data: &[u8]| {
        let shard = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut views = shard.tensors();
        views.retain(|(known, _)| known != name);
        views.push((name.to_owned(), TensorView::new(dtype, shape, data).unwrap()));
        load(&safetensors::serialize(views, None).unwrap())
    };
    assert!(with_extra("model.layers.0.self_attn.rotary_emb.inv_freq", Dtype::F64, vec![1], &[0; 8]).is_ok());
    for (dtype, name, size) in [(Dtype::F8_E4M3, "F8_E4M3", 1), (Dtype::I8, "I8", 1), (Dtype::F64, "F64", 8)] {
        let error = with_extra("model.norm.weight", dtype, vec![20], &vec![0; 20 * size]).unwrap_err();
        let expected =
            format!("model.safetensors: tensor `model.norm.weight` is stored as {name}; supported: F32, F16, BF16");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn numbers_beyond_the_first_rows_are_checked_too() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let mut tiny = Tiny { dtype, ..Tiny::default() };
        tiny.tensor_mut("lm_head.weight")[90 * 20 - 1] = f32::NAN;
        let text = load(&tiny.checkpoint()).unwrap_err().to_string();
        assert!(text.contains("tensor `lm_head.weight` holds NaN at element 1799"), "{text}");
        // In a file on disk as in memory.
        let dir = directory();
        std::fs::write(dir.path().join("model.safetensors"), tiny.checkpoint()).unwrap();
        assert!(refusal(dir.path()).ends_with(&text["model.safetensors".len()..]));
    }
}

/// One lie about the header of a good file.
fn lie() -> impl Strategy<Value = (usize, usize, Value)> {
    let number = prop_oneof![0_u64..4000, Just(u64::MAX), (0_u32..64).prop_map(|bits| 1 << bits)];
    let value = prop_oneof![
        number.clone().prop_map(Value::from),
        number.prop_map(|n| json!([n])),
        prop::collection::vec(0_u64..200, 0..10).prop_map(Value::from),
        Just(json!("F32")),
        Just(json!("BF16")),
        Just(json!({})),
        Just(Value::Null),
        Just(json!(-1)),
        Just(json!(1e300)),
    ];
    (0_usize..39, 0_usize..5, value)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::cases(200), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a header says, loading returns, and says so if a place or a size was changed.
    #[test]
    fn changed_headers_never_panic(lies in prop::collection::vec(lie(), 1..4)) {
        let good = Tiny::default().checkpoint();
        let header_bytes = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
        let mut header: Value = serde_json::from_slice(&good[8..8 + header_bytes]).unwrap();
        for (tensor, field, value) in lies {
            let tensors = header.as_object_mut().unwrap();
            let name = tensors.keys().nth(tensor % tensors.len()).unwrap().clone();
            match field {
                0 => tensors[&name]["dtype"] = value,
                1 => tensors[&name]["shape"] = value,
                2 => tensors[&name]["data_offsets"] = value,
                3 => tensors[&name]["data_offsets"] = json!([value, 4000]),
                _ => tensors[&name] = value,
            }
            if !tensors.values().all(Value::is_object) {
                break;
            }
        }
        let text = header.to_string();
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.bytes());
        bytes.extend(&good[8 + header_bytes..]);
        if let Ok(decoder) = load(&bytes) {
            prop_assert_eq!(logit_bits(&decoder), logit_bits(&load(&good).unwrap()));
        }
    }
}

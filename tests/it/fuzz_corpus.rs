//! The inputs of the fuzz targets (`fuzz/`), without a fuzzer: seeds are valid files, and
//! what once made a target fail (`found-…`) gives an error now, or nothing.

use std::fs;
use std::path::{Path, PathBuf};

use splitwave::control::{PolicyFile, Surrogate};
use splitwave::llm::*;
use splitwave::scenario::LoadedScenario;

/// Runs `target` on each file of its corpus; returns the number of seeds.
fn seeds<E: std::fmt::Display>(target: &str, run: impl Fn(&[u8]) -> Result<(), E>) -> usize {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let result = run(&fs::read(&path).unwrap());
        if !path.file_name().unwrap().to_str().unwrap().starts_with("found-") {
            assert!(result.is_ok(), "{}: {}", path.display(), result.unwrap_err());
            count += 1;
        }
    }
    count
}

#[test]
fn seeds_of_the_fuzz_targets_are_valid() {
    let text = "ab  c\u{e9}\n12 <s>it's";
    let found = seeds("config_json", |bytes| DecoderConfig::from_json("config.json", bytes).map(|_| ()));
    assert_eq!(found, 7);
    let found = seeds("gguf", |bytes| {
        let model = LoadedModel::from_gguf_bytes("seed.gguf", bytes)?;
        if let Ok(tokens) = model.tokenizer.encode(text) {
            let _ = model.tokenizer.decode(&tokens);
            let _ = model.decoder.window_nll(&tokens);
        }
        Ok::<(), LoadError>(())
    });
    assert_eq!(found, 9);
    let found = seeds("policy", |bytes| PolicyFile::from_bytes(bytes).map(|_| ()));
    assert_eq!(found, 2);
    let found = seeds("surrogate", |bytes| Surrogate::from_bytes("seed.safetensors", bytes).map(|_| ()));
    assert_eq!(found, 1);
    let target = include_str!("../../fuzz/targets/safetensors.rs");
    let config = target.split("r#\"").nth(1).unwrap().split("\"#").next().unwrap();
    let config = DecoderConfig::from_json("config.json", config.as_bytes()).unwrap();
    let found = seeds("safetensors", |bytes| {
        let decoder = Decoder::from_safetensors(config.clone(), "seed.safetensors", bytes)?;
        let _ = decoder.window_nll(&[1, 2, 3, 9]);
        Ok::<(), LoadError>(())
    });
    assert_eq!(found, 3);
    let found = seeds("scenario", |bytes| {
        // Boxed, with no message of its own: the name of the first problem is enough.
        LoadedScenario::from_bytes(Path::new("seed.toml"), bytes, &[])
            .map(|_| ())
            .map_err(|bad| format!("{:?}", bad.problems.first().map(ToString::to_string)))
    });
    assert_eq!(found, 1);
    let found = seeds("tokenizer_json", |bytes| {
        let tokenizer = Tokenizer::from_json("tokenizer.json", bytes)?;
        if let Ok(tokens) = tokenizer.encode(text) {
            let _ = tokenizer.decode(&tokens);
        }
        Ok::<(), TokenizerError>(())
    });
    assert_eq!(found, 2);
}

//! The model and the corpus that are compiled into the program, so that a first
//! run needs no download: 16 layers, d = 128, 3.2 million parameters.

/// How a scenario names them.
pub const NAME: &str = "builtin";

/// `config.json`.
pub(super) const CONFIG: &[u8] = include_bytes!("../../models/builtin/config.json");
/// `model.safetensors`, f16.
pub(super) const WEIGHTS: &[u8] = include_bytes!("../../models/builtin/model.safetensors");
/// `tokenizer.json`, byte-level BPE with 2048 tokens.
pub(super) const TOKENIZER: &[u8] = include_bytes!("../../models/builtin/tokenizer.json");
/// Prose that the model was not trained on.
pub(super) const CORPUS: &[u8] = include_bytes!("../../models/builtin/corpus.txt");

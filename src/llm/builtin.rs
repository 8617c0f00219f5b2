//! The models and the corpus that are compiled into the program, so that a first
//! run needs no download: one of 16 layers, d = 128, 3.2 million parameters, and a small
//! one with the same tokenizer for a UE that proposes tokens by itself: 4 layers, d = 96,
//! 0.6 million parameters.

/// How a scenario names model and corpus.
pub const NAME: &str = "builtin";
/// How a scenario names the small model.
pub const SMALL_NAME: &str = "builtin-small";

/// `config.json` and `model.safetensors` of a model that a user names so.
pub(super) fn files(name: &str) -> Option<(&'static [u8], &'static [u8])> {
    match name {
        NAME => Some((CONFIG, WEIGHTS)),
        SMALL_NAME => Some((SMALL_CONFIG, SMALL_WEIGHTS)),
        _ => None,
    }
}

/// `config.json`.
pub(super) const CONFIG: &[u8] = include_bytes!("../../models/builtin/config.json");
/// `model.safetensors`, f16.
pub(super) const WEIGHTS: &[u8] = include_bytes!("../../models/builtin/model.safetensors");
/// `config.json` of the small model.
pub(super) const SMALL_CONFIG: &[u8] = include_bytes!("../../models/builtin/small/config.json");
/// `model.safetensors` of the small model, f16.
pub(super) const SMALL_WEIGHTS: &[u8] = include_bytes!("../../models/builtin/small/model.safetensors");
/// `tokenizer.json` of both, byte-level BPE with 2048 tokens.
pub(super) const TOKENIZER: &[u8] = include_bytes!("../../models/builtin/tokenizer.json");
/// Exit heads of the model, by their layer, f16.
pub(super) const EXIT_HEADS: [(usize, &[u8]); 3] = [
    (4, include_bytes!("../../models/builtin/exit_4.safetensors")),
    (8, include_bytes!("../../models/builtin/exit_8.safetensors")),
    (12, include_bytes!("../../models/builtin/exit_12.safetensors")),
];
/// Prose that the model was not trained on.
pub(super) const CORPUS: &[u8] = include_bytes!("../../models/builtin/corpus.txt");

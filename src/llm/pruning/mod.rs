//! Structured pruning: a decoder of the same shape with fewer heads and narrower feed-forward networks.
//!
//! As LLM-Pruner (Ma, Fang and Wang, NeurIPS 2023, arXiv 2305.11627) has it, weights that only make sense together
//! form a group, and a group is worth what leaving it out would cost by the first-order term of the loss, weight by
//! weight: `I = Σ |w · ∂L/∂w|` over the group's weights, with L the negative log-likelihood of calibration windows,
//! summed. Groups are
//!
//! - a key/value head with the query heads that share it: rows of q, k and v, columns of o;
//! - a feed-forward channel: a row of gate and of up, a column of down.
//!
//! The groups of lowest score go, in every layer the same number, so that what is left is an ordinary checkpoint with
//! smaller numbers in its config.json. (LLM-Pruner leaves first and last layers alone; a checkpoint whose layers
//! differ in size has no config.json.) The residual stream keeps its width: what crosses a split stays as large as it was.

mod error;
mod groups;
mod weights_file;
mod windows;

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Map, Value};

use super::builtin;
use super::checkpoint::{Checkpoint, Source};
use super::config::DecoderConfig;
use super::directory;
use super::error::LoadError;
use super::gradient::{DoubleDecoder, GradientError};
use super::limited_read::{CONFIG_BYTES, TOKENIZER_BYTES};
use super::loaded;
use super::perplexity::TeacherForced;
use super::safetensors_file;
use super::weights::WeightsError;

pub use error::PruneWriteError;
pub use groups::{GroupCounts, GroupScores, KeptGroups};
pub use windows::WindowSplit;

/// How the importance of a group is measured.
#[derive(Clone, Copy, Debug)]
pub enum Importance<'a> {
    /// `Σ |w · ∂L/∂w|` on windows of one length.
    FirstOrder(&'a [TeacherForced]),
    /// `Σ |w|`.
    Magnitude,
    /// Uniform numbers of this seed: the yardstick.
    Random(u64),
}

/// A model in files that can be pruned.
#[derive(Debug)]
pub struct Prunable {
    decoder: DoubleDecoder<'static>,
    config_text: Vec<u8>,
    tokenizer_files: Vec<(&'static str, Vec<u8>)>,
}

impl Prunable {
    /// Opens "builtin", "builtin-small", or a directory in Hugging Face's layout.
    ///
    /// # Errors
    /// [`GradientError`] if a file is missing or damaged, or the model has what isn't supported: GGUF files, biases,
    /// other norms.
    pub fn open(source: &str) -> Result<Self, GradientError> {
        let built_in = |config: &[u8], weights: &'static [u8]| {
            let checkpoint = safetensors_file::single(&format!("{source}/model.safetensors"), Source::Memory(weights));
            let parsed = DecoderConfig::from_json(&format!("{source}/config.json"), config).map_err(LoadError::from)?;
            let files = vec![("tokenizer.json", builtin::TOKENIZER.to_vec())];
            Self::of(source, parsed, config.to_vec(), checkpoint.map_err(LoadError::from)?, files)
        };
        if source == builtin::NAME {
            return built_in(builtin::CONFIG, builtin::WEIGHTS);
        }
        if source == builtin::SMALL_NAME {
            return built_in(builtin::SMALL_CONFIG, builtin::SMALL_WEIGHTS);
        }
        let path = Path::new(source);
        if loaded::is_gguf(path) {
            let supported = "\"builtin\", \"builtin-small\", or a directory in Hugging Face's layout";
            let form = "a GGUF file, which has no config.json to write smaller numbers into,";
            return Err(LoadError::Form { file: source.to_owned(), form, supported }.into());
        }
        let directory::Directory { config, config_text, checkpoint } = loaded::open_directory(path)?;
        let mut files = Vec::new();
        for (name, limit) in [("tokenizer.json", TOKENIZER_BYTES), ("tokenizer_config.json", CONFIG_BYTES)] {
            let file = path.join(name);
            if file.exists() {
                files.push((name, directory::read(&file, limit)?));
            }
        }
        Self::of(source, config, config_text, checkpoint, files)
    }

    fn of(
        source: &str,
        config: DecoderConfig,
        config_text: Vec<u8>,
        checkpoint: Checkpoint<'static>,
        tokenizer_files: Vec<(&'static str, Vec<u8>)>,
    ) -> Result<Self, GradientError> {
        let decoder = DoubleDecoder::load(source, config, checkpoint)?;
        Ok(Self { decoder, config_text, tokenizer_files })
    }

    /// The model's configuration, its BOS token by config.json alone.
    pub fn config(&self) -> &DecoderConfig {
        self.decoder.config()
    }

    /// The model in double precision.
    pub fn decoder(&mut self) -> &mut DoubleDecoder<'static> {
        &mut self.decoder
    }

    /// What goes into the pruned model's directory as it is: name and bytes.
    pub fn tokenizer_files(&self) -> &[(&'static str, Vec<u8>)] {
        &self.tokenizer_files
    }

    /// Scores all groups. `watch` is told how many of so many steps are done, and may end it.
    ///
    /// # Errors
    /// [`GradientError`] if a window doesn't fit the model, or a layer can't be read, or `watch` says so.
    pub fn score(
        &mut self,
        importance: Importance,
        watch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<GroupScores, GradientError> {
        let config = self.decoder.config().clone();
        let mut scores = GroupScores::default();
        match importance {
            Importance::FirstOrder(windows) => {
                self.decoder.gradient(
                    windows,
                    &mut |(_, weights, gradient)| {
                        scores.push_layer(&config, &weights.combine(gradient, |w, g| (w * g).abs()));
                    },
                    watch,
                )?;
                // The way back begins at the last layer.
                scores.heads.reverse();
                scores.channels.reverse();
            }
            Importance::Magnitude => {
                for index in 0..config.layers {
                    let weights = self.decoder.matrices(index)?;
                    scores.push_layer(&config, &weights.combine(&weights, |w, _| w.abs()));
                    if watch(index + 1, config.layers).is_break() {
                        return Err(GradientError::Interrupted);
                    }
                }
            }
            Importance::Random(seed) => scores = GroupScores::random(&config, seed),
        }
        Ok(scores)
    }

    /// config.json of the pruned model: the original's with the numbers of heads and channels that are left, and an
    /// explicit `head_dim`.
    pub fn pruned_config(&self, kept: &KeptGroups) -> String {
        let config = self.decoder.config();
        let GroupCounts { heads, channels } = kept.counts();
        // It was an object when it was opened.
        let mut fields: Map<String, Value> = serde_json::from_slice(&self.config_text).unwrap_or_default();
        for (field, number) in [
            ("num_attention_heads", config.heads / config.kv_heads * heads),
            ("num_key_value_heads", heads),
            ("head_dim", config.head_dim),
            ("intermediate_size", channels),
        ] {
            fields.insert(field.to_owned(), number.into());
        }
        serde_json::to_string_pretty(&fields).unwrap_or_default() + "\n"
    }

    /// Bytes of all tensors of the model with the groups `kept`, in the types that they are stored in.
    ///
    /// # Errors
    /// [`WeightsError`] if a tensor is missing.
    pub fn stored_bytes(&mut self, kept: &KeptGroups) -> Result<u64, WeightsError> {
        weights_file::stored_bytes(&mut self.decoder, kept)
    }

    /// Writes model.safetensors of the pruned model, each tensor in the type that it is stored in. Gives the bytes of
    /// all tensors.
    ///
    /// # Errors
    /// [`PruneWriteError`] if a tensor can't be read, or the file not be written.
    pub fn write_weights(&mut self, kept: &KeptGroups, out: &mut dyn Write) -> Result<u64, PruneWriteError> {
        weights_file::write(&mut self.decoder, kept, out)
    }
}

//! The decoder: embedding, any range of layers, and the head.

use std::ops::Range;
use std::path::Path;

use pulp::Arch;

use super::block::{Block, Scratch};
use super::checkpoint::{Checkpoint, Source};
use super::config::DecoderConfig;
use super::elementwise::Norm;
use super::error::{DecoderError, LoadError};
use super::hidden::Hidden;
use super::kv_cache::{KvCache, KvLayer};
use super::loaded;
use super::perplexity::{Nll, TeacherForced, negative_log_likelihood};
use super::projection::Projection;
use super::rotary::Rotary;
use super::safetensors_file;

/// Rows whose logits are held at once while scoring: bounds memory at large
/// vocabularies, and is enough for the matrix product to run at full speed.
const ROWS_AT_ONCE: usize = 64;

pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
pub(super) const HEAD: &str = "lm_head.weight";

/// A decoder whose layers run in any range, so that a split is two calls:
/// `run(embed(tokens), 0..p)` on the device and `run(_, p..L)` on the edge, with
/// bits equal to `run(_, 0..L)`.
#[derive(Debug)]
pub struct Decoder {
    config: DecoderConfig,
    arch: Arch,
    embedding: Projection,
    blocks: Vec<Block>,
    final_norm: Norm,
    /// `None`: the embedding.
    head: Option<Projection>,
    rotary: Rotary,
}

impl Decoder {
    /// Opens the checkpoint in a directory of Hugging Face's layout, or a .gguf file,
    /// without its tokenizer.
    ///
    /// # Errors
    /// [`LoadError`] if a file is missing, damaged, or of a kind that isn't supported.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let (config, checkpoint) = loaded::open_checkpoint(path)?;
        Self::load(config, checkpoint)
    }

    /// Builds the decoder from the bytes of a safetensors file; `file` names it in errors.
    ///
    /// # Errors
    /// [`LoadError::Weights`] if the file is damaged or isn't of this configuration.
    pub fn from_safetensors(config: DecoderConfig, file: &str, bytes: &[u8]) -> Result<Self, LoadError> {
        Self::load(config, safetensors_file::single(file, Source::Memory(bytes))?)
    }

    /// Builds the decoder, reading each tensor once.
    pub(super) fn load(config: DecoderConfig, mut checkpoint: Checkpoint) -> Result<Self, LoadError> {
        let &DecoderConfig { vocab, d_model, .. } = &config;
        let embedding = Projection::load(&mut checkpoint, "model.embed_tokens", [vocab, d_model], false)?;
        let mut blocks = Vec::new();
        for index in 0..config.layers {
            blocks.push(Block::load(&config, index, &mut checkpoint)?);
        }
        let weight = checkpoint.vector("model.norm.weight", d_model)?;
        let final_norm = Norm { kind: config.norm, weight, eps: config.norm_eps as f32 };
        // A tied head that is stored as well is the embedding again, or else the head after all:
        // transformers ties only what is equal.
        let stored = checkpoint.has(HEAD) && !(config.tied_head && checkpoint.equal(HEAD, EMBEDDING)?);
        let head = if config.tied_head && !stored {
            None
        } else {
            Some(Projection::load(&mut checkpoint, "lm_head", [vocab, d_model], false)?)
        };
        // Old files store the rotary frequencies.
        checkpoint.finish(|name| name.ends_with("rotary_emb.inv_freq") || (!stored && name == HEAD))?;
        let rotary = Rotary::new(&config);
        Ok(Self { config, arch: Arch::new(), embedding, blocks, final_norm, head, rotary })
    }

    /// The model's configuration.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Number of layers L.
    pub fn layers(&self) -> usize {
        self.blocks.len()
    }

    /// Number of weights, norms included; a tied head counts once.
    pub fn parameters(&self) -> u64 {
        let head = self.head.as_ref().map_or(0, Projection::parameters);
        let blocks: u64 = self.blocks.iter().map(Block::parameters).sum();
        self.embedding.parameters() + blocks + self.config.d_model as u64 + head
    }

    /// Embeds `tokens`: hidden states \[S × d\] in front of layer 0.
    ///
    /// # Errors
    /// [`DecoderError`] if there are none or too many, or one is beyond the vocabulary.
    pub fn embed(&self, tokens: &[u32]) -> Result<Hidden, DecoderError> {
        self.check_rows(tokens.len())?;
        let (vocab, width) = (self.config.vocab, self.config.d_model);
        if let Some(position) = tokens.iter().position(|&id| id as usize >= vocab) {
            return Err(DecoderError::TokenBeyondVocabulary { position, id: tokens[position], vocab });
        }
        let values = tokens.iter().flat_map(|&id| self.embedding.row(self.arch, id as usize)).collect();
        Hidden::from_vec(values, width)
            .map_err(|_| DecoderError::WindowLength { rows: 0, max: self.config.max_positions })
    }

    /// Runs `layers` (counted from 0, end exclusive) on hidden states \[S × d\].
    ///
    /// `run(run(h, 0..p), p..L)` gives the bits of `run(h, 0..L)` for every p. An
    /// empty range returns `hidden` as it is.
    ///
    /// # Errors
    /// [`DecoderError`] if `layers` or the shape of `hidden` don't fit the model.
    pub fn run(&self, mut hidden: Hidden, layers: Range<usize>) -> Result<Hidden, DecoderError> {
        self.check_hidden(&hidden)?;
        let blocks = self.blocks_of(&layers)?;
        let angles = self.rotary.angles(0, hidden.rows());
        let mut scratch = Scratch::default();
        let mut kv = KvLayer::new(&self.config);
        for block in blocks {
            kv.clear();
            block.forward(self.arch, hidden.values_mut(), &mut kv, (&self.rotary, &angles), &mut scratch);
        }
        Ok(hidden)
    }

    /// An empty cache for `layers`, to be filled by [`Decoder::run_cached`].
    ///
    /// # Errors
    /// [`DecoderError::Layers`] if the model has no such layers.
    pub fn kv_cache(&self, layers: Range<usize>) -> Result<KvCache, DecoderError> {
        self.blocks_of(&layers)?;
        Ok(KvCache::new(&self.config, layers))
    }

    /// Runs the cache's layers on rows \[S × d\] that follow the positions it holds, and
    /// keeps their keys and values there. Rows in any portions have the bits that
    /// [`Decoder::run`] gives them all at once.
    ///
    /// # Errors
    /// [`DecoderError`] if the rows don't fit the model, or with those before them are too many.
    pub fn run_cached(&self, mut hidden: Hidden, cache: &mut KvCache) -> Result<Hidden, DecoderError> {
        self.check_hidden(&hidden)?;
        let blocks = self.blocks_of(&cache.layers())?;
        self.check_rows(cache.len() + hidden.rows())?;
        let angles = self.rotary.angles(cache.len(), hidden.rows());
        let mut scratch = Scratch::default();
        for (block, kv) in blocks.iter().zip(&mut cache.layers) {
            block.forward(self.arch, hidden.values_mut(), kv, (&self.rotary, &angles), &mut scratch);
        }
        Ok(hidden)
    }

    fn blocks_of(&self, layers: &Range<usize>) -> Result<&[Block], DecoderError> {
        let count = self.layers();
        self.blocks.get(layers.clone()).ok_or_else(|| DecoderError::Layers { range: layers.clone(), layers: count })
    }

    /// Logits \[S × V\], row-major, of hidden states \[S × d\] behind the last layer.
    ///
    /// # Errors
    /// [`DecoderError`] if the shape of `hidden` doesn't fit the model.
    pub fn logits(&self, hidden: &Hidden) -> Result<Vec<f32>, DecoderError> {
        self.check_hidden(hidden)?;
        let mut logits = Vec::with_capacity(hidden.rows() * self.config.vocab);
        self.for_each_logits(hidden.values(), |_, row| {
            logits.extend_from_slice(row);
            Ok(())
        })?;
        Ok(logits)
    }

    /// The final norm of hidden states \[S × d\] behind the last layer: what the head multiplies.
    ///
    /// # Errors
    /// [`DecoderError`] if the shape of `hidden` doesn't fit the model.
    pub fn normed(&self, hidden: &Hidden) -> Result<Vec<f32>, DecoderError> {
        self.check_hidden(hidden)?;
        let mut normed = Vec::new();
        self.final_norm.forward(self.arch, hidden.values(), &mut normed);
        Ok(normed)
    }

    /// Negative log-likelihood of `targets`, row k predicting `targets[k]`, from
    /// hidden states \[S × d\] behind the last layer (see [`TeacherForced`]). Rows
    /// beyond the targets cost nothing.
    ///
    /// # Errors
    /// [`DecoderError`] if a shape or target doesn't fit the model, or hidden states
    /// of extreme size make the logits overflow.
    pub fn nll(&self, hidden: &Hidden, targets: &[u32]) -> Result<Nll, DecoderError> {
        self.check_hidden(hidden)?;
        let vocab = self.config.vocab;
        if targets.len() > hidden.rows() {
            return Err(DecoderError::Targets { targets: targets.len(), rows: hidden.rows() });
        }
        if let Some(position) = targets.iter().position(|&id| id as usize >= vocab) {
            return Err(DecoderError::TokenBeyondVocabulary { position, id: targets[position], vocab });
        }
        let mut sum = 0.0;
        self.for_each_logits(&hidden.values()[..targets.len() * hidden.width()], |position, logits| {
            sum += negative_log_likelihood(logits, targets[position]).ok_or(DecoderError::NotFinite { position })?;
            Ok(())
        })?;
        Ok(Nll { sum, tokens: targets.len() as u64 })
    }

    /// Negative log-likelihood of a window of tokens, split at layer `split`: layers
    /// `0..split`, then whatever `channel` does to the hidden states \[S × d\], then
    /// the other layers and the head (eqs. 1, 5 and 6 of Chen et al.). A split of 0
    /// sends the embedding, one of L the states in front of the head.
    ///
    /// # Errors
    /// [`DecoderError`] as the single steps give it.
    pub fn split_nll(
        &self,
        window: &[u32],
        split: usize,
        channel: impl FnOnce(&mut Hidden),
    ) -> Result<Nll, DecoderError> {
        let TeacherForced { inputs, targets } = TeacherForced::new(window, self.config.bos_token);
        let mut hidden = self.run(self.embed(&inputs)?, 0..split)?;
        channel(&mut hidden);
        self.nll(&self.run(hidden, split..self.layers())?, &targets)
    }

    /// Negative log-likelihood of a window of tokens over a perfect channel.
    ///
    /// # Errors
    /// [`DecoderError`] if the window doesn't fit the model.
    pub fn window_nll(&self, window: &[u32]) -> Result<Nll, DecoderError> {
        self.split_nll(window, self.layers(), |_| ())
    }

    /// Calls `visit` with the index and the logits of each row, a few rows in memory at a time.
    fn for_each_logits(
        &self,
        rows: &[f32],
        mut visit: impl FnMut(usize, &[f32]) -> Result<(), DecoderError>,
    ) -> Result<(), DecoderError> {
        let (width, vocab) = (self.config.d_model, self.config.vocab);
        let head = self.head();
        let scale = self.config.logit_scale as f32;
        let (mut normed, mut logits, mut wide) = (Vec::new(), Vec::new(), Vec::new());
        for (part, rows) in rows.chunks(ROWS_AT_ONCE * width).enumerate() {
            self.final_norm.forward(self.arch, rows, &mut normed);
            head.forward(self.arch, &normed, &mut logits, &mut wide);
            if scale != 1.0 {
                for logit in &mut logits {
                    *logit *= scale;
                }
            }
            let mut numbered = logits.chunks_exact(vocab).enumerate();
            numbered.try_for_each(|(row, logits)| visit(part * ROWS_AT_ONCE + row, logits))?;
        }
        Ok(())
    }

    /// What makes logits of the final norm: the embedding where they are tied.
    pub(super) fn head(&self) -> &Projection {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// The norm in front of the head.
    pub(super) fn final_norm(&self) -> &Norm {
        &self.final_norm
    }

    fn check_rows(&self, rows: usize) -> Result<(), DecoderError> {
        let max = self.config.max_positions;
        if (1..=max).contains(&rows) { Ok(()) } else { Err(DecoderError::WindowLength { rows, max }) }
    }

    fn check_hidden(&self, hidden: &Hidden) -> Result<(), DecoderError> {
        if hidden.width() != self.config.d_model {
            return Err(DecoderError::Width { found: hidden.width(), expected: self.config.d_model });
        }
        self.check_rows(hidden.rows())
    }
}

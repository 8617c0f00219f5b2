//! The decoder: embedding, any range of layers, and the head.

use std::ops::Range;

use candle_core::{Device, Tensor};

use super::block::Block;
use super::config::DecoderConfig;
use super::elementwise::rms_norm;
use super::error::{DecoderError, LoadError};
use super::hidden::Hidden;
use super::linear::{Linear, with_values};
use super::perplexity::{Nll, TeacherForced, negative_log_likelihood};
use super::rotary::Rotary;
use super::weights::Checkpoint;

/// Rows whose logits are held at once while scoring: bounds memory at large
/// vocabularies, and is enough for the matrix product to run at full speed.
const ROWS_AT_ONCE: usize = 64;

/// A LLaMA decoder whose layers run in any range, so that a split is two calls:
/// `run(embed(tokens), 0..p)` on the device and `run(_, p..L)` on the edge, with
/// bits equal to `run(_, 0..L)`.
#[derive(Debug)]
pub struct Decoder {
    config: DecoderConfig,
    embedding: Tensor,
    blocks: Vec<Block>,
    final_norm: Vec<f32>,
    head: Linear,
    rotary: Rotary,
}

impl Decoder {
    /// Builds the decoder from the bytes of a safetensors file; `file` names it in errors.
    ///
    /// # Errors
    /// [`LoadError::Weights`] if the file is damaged or isn't of this configuration.
    pub fn from_safetensors(config: DecoderConfig, file: &str, bytes: &[u8]) -> Result<Self, LoadError> {
        let mut checkpoint = Checkpoint::parse(file, bytes)?;
        let shape = [config.vocab, config.d_model];
        let stored = checkpoint.take("model.embed_tokens.weight", &shape)?;
        let embedding = Tensor::from_vec(stored, &shape, &Device::Cpu)?;
        let mut blocks = Vec::new();
        for index in 0..config.layers {
            blocks.push(Block::load(&config, index, &mut checkpoint)?);
        }
        let final_norm = checkpoint.take("model.norm.weight", &[config.d_model])?;
        let head = if config.tied_head {
            Linear::transposed_view(&embedding)?
        } else {
            Linear::new(&[checkpoint.take("lm_head.weight", &shape)?], config.d_model)?
        };
        // Old files store the rotary frequencies, and some store a tied head twice.
        let tied = config.tied_head;
        checkpoint.finish(|name| name.ends_with("rotary_emb.inv_freq") || (tied && name == "lm_head.weight"))?;
        let rotary = Rotary::new(config.head_dim, config.max_positions, config.rope_theta);
        Ok(Self { config, embedding, blocks, final_norm, head, rotary })
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
        let c = &self.config;
        let projections = 2 * c.heads * c.head_dim + 2 * c.kv_heads * c.head_dim + 3 * c.d_ff;
        let head = if c.tied_head { 0 } else { c.vocab };
        ((c.layers * (projections + 2) + c.vocab + head + 1) * c.d_model) as u64
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
        let values = with_values(&self.embedding, |table| {
            let row = |&id: &u32| &table[id as usize * width..(id as usize + 1) * width];
            tokens.iter().flat_map(row).copied().collect::<Vec<f32>>()
        })?;
        Hidden::from_vec(values, width).map_err(|error| DecoderError::Backend(error.to_string()))
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
        let Some(blocks) = self.blocks.get(layers.clone()) else {
            return Err(DecoderError::Layers { range: layers, layers: self.layers() });
        };
        for block in blocks {
            block.forward(hidden.values_mut(), &self.rotary)?;
        }
        Ok(hidden)
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
        for (part, rows) in rows.chunks(ROWS_AT_ONCE * width).enumerate() {
            let normed = rms_norm(rows, &self.final_norm, self.config.norm_eps as f32);
            with_values(&self.head.forward(normed)?, |logits| {
                let mut numbered = logits.chunks_exact(vocab).enumerate();
                numbered.try_for_each(|(row, logits)| visit(part * ROWS_AT_ONCE + row, logits))
            })??;
        }
        Ok(())
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

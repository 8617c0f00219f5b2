//! The gradient of a decoder's negative log-likelihood with respect to its matrices, by reverse-mode differentiation
//! in double precision.
//!
//! This is a second decoder, slow and exact: [`DoubleDecoder`] computes what [`super::Decoder`] computes, and the way
//! back. All windows go through a layer before the next. Only the rows in front of each layer are kept; the way back
//! computes the rest of a layer anew (Chen et al., "Training deep nets with sublinear memory cost", arXiv 1604.06174).
//! A layer's weights are read when it is its turn, so that one layer is in memory at a time, once forth and once back.
//!
//! ```text
//!  embedding ─ layer 0 ─ … ─ layer L-1 ─ norm, head ─ Σ -ln P      layer.rs, head.rs
//!                 │                │              │
//!              dW_0 ◄─── … ◄── dW_L-1 ◄────────── ┘
//! ```

mod attention;
mod error;
mod head;
mod layer;
mod norm;
mod product;
mod rotation;

use std::ops::ControlFlow;

use super::checkpoint::{Checkpoint, Source};
use super::config::{DecoderConfig, NormKind, RopePairing};
use super::error::{DecoderError, LoadError};
use super::model::{EMBEDDING, HEAD};
use super::perplexity::{Nll, TeacherForced};
use super::safetensors_file;
use super::weights::WeightsError;

use attention::Shape;
use head::Head;
use layer::{Layer, Setting, values};
use rotation::Rotation;

pub use error::GradientError;
pub use layer::LayerMatrices;

/// Rows whose way through a layer is in memory at once, rounded to whole windows.
const ROWS_AT_ONCE: usize = 2048;

/// A decoder in double precision: logits, likelihoods, and their gradient.
#[derive(Debug)]
pub struct DoubleDecoder<'a> {
    config: DecoderConfig,
    checkpoint: Checkpoint<'a>,
    head: Head,
    /// \[V × d\]; `None`: the head.
    embedding: Option<Vec<f64>>,
}

/// A layer on the way back: its index from 0, its matrices, and the gradient of the summed negative log-likelihood
/// with respect to each of their weights.
pub type LayerGradient<'a> = (usize, &'a LayerMatrices, &'a LayerMatrices);

impl<'a> DoubleDecoder<'a> {
    /// Takes over a checkpoint of floats; `name` stands for it in errors. Of the weights, embedding, final norm and head are read.
    ///
    /// # Errors
    /// [`GradientError`] if the model has what isn't supported, or a tensor isn't there or not finite.
    pub(super) fn load(
        name: &str,
        config: DecoderConfig,
        mut checkpoint: Checkpoint<'a>,
    ) -> Result<Self, GradientError> {
        if let Some(feature) = unsupported(&config) {
            let (name, family) = (name.to_owned(), config.family.model_type());
            return Err(GradientError::Unsupported { name, family, feature });
        }
        let &DecoderConfig { vocab, d_model: d, .. } = &config;
        let load = |error| GradientError::Load(LoadError::Weights(error));
        // As in `Decoder::load`: what is tied and stored as well is the embedding again, or else the head after all.
        let has_head =
            checkpoint.has(HEAD) && !(config.tied_head && checkpoint.equal(HEAD, EMBEDDING).map_err(load)?);
        let own_head = !config.tied_head || has_head;
        let mut read = |name: &str, shape: &[usize]| values(&mut checkpoint, name, shape).map_err(load);
        let embedding = read(EMBEDDING, &[vocab, d])?;
        let norm = read("model.norm.weight", &[d])?;
        let (weight, embedding) =
            if own_head { (read(HEAD, &[vocab, d])?, Some(embedding)) } else { (embedding, None) };
        let head = Head { weight, norm, eps: config.norm_eps, scale: config.logit_scale };
        Ok(Self { config, checkpoint, head, embedding })
    }

    /// Takes over the bytes of a safetensors file; `file` names it in errors.
    ///
    /// # Errors
    /// [`GradientError`] as there is no gradient of such a model, or the file is damaged.
    pub fn from_safetensors(config: DecoderConfig, file: &str, bytes: &'a [u8]) -> Result<Self, GradientError> {
        let checkpoint = safetensors_file::single(file, Source::Memory(bytes)).map_err(LoadError::Weights)?;
        Self::load(file, config, checkpoint)
    }

    /// The model's configuration.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Whether the head is a matrix of its own, not the embedding.
    pub(super) fn has_own_head(&self) -> bool {
        self.embedding.is_some()
    }

    /// The checkpoint that the layers are read from.
    pub(super) fn checkpoint(&mut self) -> &mut Checkpoint<'a> {
        &mut self.checkpoint
    }

    /// The matrices of layer `index` (from 0).
    ///
    /// # Errors
    /// [`GradientError::Load`] if it can't be read.
    pub(super) fn matrices(&mut self, index: usize) -> Result<LayerMatrices, GradientError> {
        Ok(self.layer(index)?.matrices)
    }

    /// Logits \[S × V\], row-major, of a window of input tokens.
    ///
    /// # Errors
    /// [`GradientError`] if the window doesn't fit the model, or a layer can't be read.
    pub fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f64>, GradientError> {
        let rotation = Rotation::new(&self.config, tokens.len());
        let mut x = self.embed(tokens)?;
        for index in 0..self.config.layers {
            x = self.layer(index)?.forward(&self.setting(index, &rotation, tokens.len()), &x);
        }
        self.check_complete().map_err(LoadError::Weights)?;
        Ok(self.head.logits(&x))
    }

    /// The summed negative log-likelihood of windows of one length, and layer by layer, from the last to the first,
    /// its gradient: for the mean per token divide by [`Nll::tokens`]. `visit` sees each layer; `watch` is told how
    /// many of so many passes of a layer are done, and may end it.
    ///
    /// # Errors
    /// [`GradientError`] if a window doesn't fit the model, their lengths differ, or a layer can't be read;
    /// [`GradientError::Interrupted`] if `watch` says so.
    pub fn gradient(
        &mut self,
        windows: &[TeacherForced],
        visit: &mut dyn FnMut(LayerGradient),
        watch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Nll, GradientError> {
        let rows = common_length(windows)?;
        let layers = self.config.layers;
        let mut done = 0;
        let mut step = || {
            done += 1;
            if watch(done, 2 * layers).is_break() { Err(GradientError::Interrupted) } else { Ok(()) }
        };
        let rotation = Rotation::new(&self.config, rows);
        let (mut x, mut targets) = (Vec::new(), Vec::new());
        for window in windows {
            x.extend(self.embed(&window.inputs)?);
            self.check_tokens(&window.targets)?;
            targets.extend((0..rows).map(|row| window.targets.get(row).copied()));
        }
        // Whole windows.
        let portion = (ROWS_AT_ONCE / rows).max(1) * rows * self.config.d_model;
        let mut inputs = Vec::new();
        for index in 0..layers {
            let layer = self.layer(index)?;
            let setting = self.setting(index, &rotation, rows);
            let behind = x.chunks(portion).flat_map(|x| layer.forward(&setting, x)).collect();
            inputs.push(std::mem::replace(&mut x, behind));
            step()?;
        }
        self.check_complete().map_err(LoadError::Weights)?;
        let (nll, mut dx) =
            self.head.backward(&x, &targets).map_err(|row| DecoderError::NotFinite { position: row % rows })?;
        for (index, x) in inputs.into_iter().enumerate().rev() {
            let layer = self.layer(index)?;
            let setting = self.setting(index, &rotation, rows);
            let mut sum: Option<LayerMatrices> = None;
            for (x, dx) in x.chunks(portion).zip(dx.chunks_mut(portion)) {
                let (before, gradient) = layer.backward(&setting, x, dx);
                dx.copy_from_slice(&before);
                sum = Some(match sum {
                    None => gradient,
                    Some(sum) => sum.combine(&gradient, |a, b| a + b),
                });
            }
            if let Some(gradient) = sum {
                visit((index, &layer.matrices, &gradient));
            }
            step()?;
        }
        Ok(nll)
    }

    fn setting<'s>(&'s self, index: usize, rotation: &'s Rotation, rows: usize) -> Setting<'s> {
        Setting { config: &self.config, shape: Shape::new(&self.config, index, rows), rotation }
    }

    fn layer(&mut self, index: usize) -> Result<Layer, GradientError> {
        Ok(Layer::load(&self.config, index, &mut self.checkpoint).map_err(LoadError::Weights)?)
    }

    /// Once all layers have been read: nothing is in the checkpoint that the model has no place for.
    ///
    /// # Errors
    /// [`WeightsError`] with the first such tensor.
    pub(super) fn check_complete(&self) -> Result<(), WeightsError> {
        let tied = !self.has_own_head();
        self.checkpoint.finish(|name| name.ends_with("rotary_emb.inv_freq") || (tied && name == HEAD))
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), DecoderError> {
        let vocab = self.config.vocab;
        match tokens.iter().position(|&id| id as usize >= vocab) {
            Some(position) => Err(DecoderError::TokenBeyondVocabulary { position, id: tokens[position], vocab }),
            None => Ok(()),
        }
    }

    /// Rows \[S × d\] in front of layer 0.
    fn embed(&self, tokens: &[u32]) -> Result<Vec<f64>, DecoderError> {
        let (rows, max, d) = (tokens.len(), self.config.max_positions, self.config.d_model);
        if !(1..=max).contains(&rows) {
            return Err(DecoderError::WindowLength { rows, max });
        }
        self.check_tokens(tokens)?;
        let embedding = self.embedding.as_ref().unwrap_or(&self.head.weight);
        Ok(tokens.iter().flat_map(|&id| &embedding[id as usize * d..][..d]).copied().collect())
    }
}

/// The first trait of a model that no gradient is implemented for.
fn unsupported(config: &DecoderConfig) -> Option<&'static str> {
    let traits = [
        (config.norm != NormKind::Rms, "layer norms"),
        (config.qkv_bias, "biases on queries, keys and values"),
        (config.output_bias, "a bias on the attention's output"),
        (config.mlp_bias, "biases in the feed-forward network"),
        (config.qk_norm, "norms on queries and keys"),
        (config.parallel_block, "attention beside feed-forward"),
        (config.rope_pairing != RopePairing::Halves, "rotary pairs of neighbours"),
    ];
    traits.into_iter().find(|(has, _)| *has).map(|(_, feature)| feature)
}

/// The number of rows S that all windows have.
fn common_length(windows: &[TeacherForced]) -> Result<usize, GradientError> {
    let lengths = || windows.iter().map(|window| window.inputs.len());
    let (min, max) = (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0));
    if min == max && windows.iter().any(|window| !window.targets.is_empty()) {
        return Ok(max);
    }
    let lengths = if min == max { max.to_string() } else { format!("{min} to {max}") };
    Err(GradientError::Windows { windows: windows.len(), lengths })
}

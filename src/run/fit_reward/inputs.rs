//! The models and texts of a fit, and the prompts that are cut from a text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::control::collaboration::HeadFeature;
use crate::kernel::Streams;
use crate::llm::{Corpus, LoadedModel, Segmentation, Tokenizer};
use crate::run::fit_reward::error::FitRewardError;
use crate::run::fit_reward::rollouts::{Roller, Rollout};
use crate::run::fit_reward::spec::{DEFAULT_PROMPTS, FitRewardSpec};

/// Number of the first prompt of the text of `--check` among the draws.
pub const CHECK_PROMPTS: u32 = 1 << 31;

/// Models and texts.
pub struct Inputs {
    /// The small model.
    pub device: LoadedModel,
    /// The large model.
    pub edge: LoadedModel,
    corpus: Corpus,
    /// The text of `--check`.
    pub check: Option<Corpus>,
}

impl Inputs {
    /// Loads what is named.
    ///
    /// # Errors
    /// [`FitRewardError`] if something can't be loaded, or doesn't fit together.
    pub fn load(spec: &FitRewardSpec) -> Result<Self, FitRewardError> {
        let model = |option, source: &str| {
            LoadedModel::open(source).map_err(|source| FitRewardError::Model { option, source: Box::new(source) })
        };
        let (device, edge) = (model("device", &spec.device)?, model("edge", &spec.edge)?);
        if let Some(difference) = difference(&device.tokenizer, &edge.tokenizer) {
            let (device, edge) = (spec.device.clone(), spec.edge.clone());
            return Err(FitRewardError::Tokenizers { device, edge, difference });
        }
        let vocab = device.decoder.config().vocab.min(edge.decoder.config().vocab);
        let text = |option, source: &str| {
            Corpus::open(source, &device.tokenizer, vocab, Segmentation::Tokens)
                .map_err(|source| FitRewardError::Corpus { option, source })
        };
        let corpus = text("corpus", &spec.corpus)?;
        let check = spec.check.as_deref().map(|source| text("check", source)).transpose()?;
        let inputs = Self { device, edge, corpus, check };
        inputs.check_positions(spec)?;
        Ok(inputs)
    }

    /// Refuses rollouts that are longer than a model.
    fn check_positions(&self, spec: &FitRewardSpec) -> Result<(), FitRewardError> {
        let text = self.text_tokens(spec);
        for (model, name) in [(&self.device, &spec.device), (&self.edge, &spec.edge)] {
            let config = model.decoder.config();
            // The last token is no row.
            let rows = text + usize::from(config.bos_token.is_some()) + spec.output_tokens as usize - 1;
            if rows > config.max_positions {
                let (prompt_tokens, output_tokens) = (spec.prompt_tokens, spec.output_tokens);
                let (model, positions) = (name.clone(), config.max_positions);
                return Err(FitRewardError::Positions { prompt_tokens, output_tokens, rows, model, positions });
            }
        }
        Ok(())
    }

    /// Tokens of the text in a prompt: with a BOS token of the device, one less than its rows.
    fn text_tokens(&self, spec: &FitRewardSpec) -> usize {
        spec.prompt_tokens as usize - usize::from(self.device.decoder.config().bos_token.is_some())
    }

    /// The prompts: windows of the text, spread evenly over it.
    ///
    /// # Errors
    /// [`FitRewardError`] if it has fewer than asked for, or none.
    pub fn prompts(&self, spec: &FitRewardSpec) -> Result<Vec<Vec<u32>>, FitRewardError> {
        self.windows(spec, ("corpus", &self.corpus), &spec.corpus, spec.prompts)
    }

    /// The prompts of the text of `--check`, as many as it has up to those of a fit.
    ///
    /// # Errors
    /// As [`Inputs::prompts`].
    pub fn check_prompts(&self, spec: &FitRewardSpec, check: &Corpus) -> Result<Vec<Vec<u32>>, FitRewardError> {
        self.windows(spec, ("check", check), spec.check.as_deref().unwrap_or_default(), None)
    }

    fn windows(
        &self,
        spec: &FitRewardSpec,
        (option, corpus): (&'static str, &Corpus),
        name: &str,
        asked: Option<u32>,
    ) -> Result<Vec<Vec<u32>>, FitRewardError> {
        let rows = spec.prompt_tokens as usize;
        let has = corpus.window_count(rows);
        let count = asked.map_or(has.clamp(1, DEFAULT_PROMPTS as usize), |asked| asked as usize);
        if let Some(asked) = asked.filter(|_| has > 0 && count > has) {
            return Err(FitRewardError::Prompts { option, corpus: name.to_owned(), has, asked });
        }
        let text = self.text_tokens(spec);
        let window = |number: usize| {
            let index = (number as u64 * has as u64 / count as u64) as usize;
            let window = corpus.window(index, rows).map_err(|source| FitRewardError::Corpus { option, source })?;
            Ok(window.get(..text).unwrap_or(window).to_vec())
        };
        (0..count).map(window).collect()
    }

    /// What makes rollouts.
    pub fn roller<'a>(&'a self, spec: &FitRewardSpec, features: &'a [HeadFeature], streams: Streams) -> Roller<'a> {
        Roller {
            device: &self.device.decoder,
            edge: &self.edge.decoder,
            output_tokens: spec.output_tokens as usize,
            temperature: spec.temperature,
            level: spec.level,
            features,
            streams,
        }
    }

    /// Hashes of everything that was loaded.
    pub fn hashes(&self) -> Value {
        json!({
            "device": self.device.content_hash(),
            "edge": self.edge.content_hash(),
            "tokenizer": self.device.tokenizer.content_hash(),
            "corpus": self.corpus.content_hash(),
            "check": self.check.as_ref().map(Corpus::content_hash),
        })
    }

    /// What the head says of how it was made.
    pub fn made_with(&self, spec: &FitRewardSpec, prompts: usize) -> BTreeMap<String, String> {
        // Where a file lies is nobody's business but the user's.
        let name = |source: &str| {
            Path::new(source).file_name().map_or_else(|| source.to_owned(), |name| name.to_string_lossy().into_owned())
        };
        let all = [
            ("device", name(&spec.device)),
            ("edge", name(&spec.edge)),
            ("corpus", name(&spec.corpus)),
            ("corpus_blake3", self.corpus.content_hash().to_owned()),
            ("prompts", prompts.to_string()),
            ("prompt_tokens", spec.prompt_tokens.to_string()),
            ("output_tokens", spec.output_tokens.to_string()),
            ("seed", spec.seed.to_string()),
        ];
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The rollouts of all prompts, whose draws are numbered from `first` on, in parallel in the current pool. They stand
/// in the order of prompts and depend on nothing else; `watch` is told how many are done.
///
/// # Errors
/// [`FitRewardError::Rollout`] of the first prompt that fails.
pub fn roll_all(
    roller: &Roller<'_>,
    prompts: &[Vec<u32>],
    first: u32,
    watch: &(dyn Fn(usize, usize) + Sync),
) -> Result<Vec<Rollout>, FitRewardError> {
    let done = AtomicUsize::new(0);
    let one = |(number, text): (usize, &Vec<u32>)| {
        let prompt = number as u32;
        let rollout = roller.roll(first + prompt, text).map_err(|source| FitRewardError::Rollout { prompt, source });
        watch(done.fetch_add(1, Ordering::Relaxed) + 1, prompts.len());
        rollout
    };
    prompts.par_iter().enumerate().map(one).collect::<Vec<Result<Rollout, _>>>().into_iter().collect()
}

/// Where two tokenizers give a token different names, in words; `None` if they don't.
fn difference(device: &Tokenizer, edge: &Tokenizer) -> Option<String> {
    if device.content_hash() == edge.content_hash() {
        return None;
    }
    let (own, other) = (device.vocab(), edge.vocab());
    if own != other {
        return Some(format!("{own} and {other}"));
    }
    let name = |name: Option<String>| name.map_or_else(|| "nothing".to_owned(), |name| format!("`{name}`"));
    let differs = |id: &u32| device.name(*id) != edge.name(*id);
    let id = (0..own as u32).find(differs)?;
    Some(format!("token {id} is {} and {}", name(device.name(id)), name(edge.name(id))))
}

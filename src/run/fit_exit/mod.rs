//! `splitwave fit-exit`: exit heads behind layers of a model, fitted to a text.
//!
//! ```text
//!  windows of the text, shuffled ─┬ fitted ────── one pass of the model ── sums ── ridge regression for each λ
//!                                 │    └ epochs: minibatches ── ∂KL(full ‖ exit)/∂(A, b) ── Adam      (train.rs)
//!                                 ├ validation ── choose λ, then the epoch
//!                                 └ held out ──┐
//!  windows of the text of --check ─────────────┴ logit lens, ridge, exit ── metrics.csv             (figures.rs)
//! ```

mod error;
mod figures;
mod output;
mod passes;
mod spec;
mod train;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::kernel::Streams;
use crate::llm::{Corpus, ExitHead, HeadLoss, LoadedModel, Segmentation};
use crate::record::FileSeal;
use crate::run::manifest::{Manifest, instruction_set};

use output::{IDENTITY, Output, finished};
use passes::{Passes, Text};
use train::{FittedExit, Place, Shares};

pub use error::ExitFitError;
pub use figures::{ExitMetricsRow, THRESHOLDS};
use spec::FEWEST_WINDOWS;

pub use spec::{ExitFitSpec, allowed};

/// Where and how exit heads are fitted.
pub struct ExitFitJob<'a> {
    /// What is asked for.
    pub spec: &'a ExitFitSpec,
    /// Where its files go.
    pub folder: &'a Path,
    /// The command that makes it again, for the manifest.
    pub command: &'a str,
    /// Whether a fit that is there is replaced.
    pub replace: bool,
    /// Threads for the model.
    pub pool: &'a rayon::ThreadPool,
}

/// A finished fit.
#[derive(Clone, Debug)]
pub struct ExitFit {
    /// Its files.
    pub files: Vec<FileSeal>,
    /// The rows of metrics.csv; none if it was there.
    pub metrics: Vec<ExitMetricsRow>,
    /// Whether all of it was there already; then nothing was done.
    pub was_there: bool,
}

/// How far a fit is.
pub enum ExitFitProgress<'a> {
    /// The text is read: windows fitted, for validation, and held out.
    Read([usize; 3]),
    /// Ridge regression is done: λ and divergence on the validation windows of each exit.
    Ridge(&'a [(f64, f64)]),
    /// An epoch is done: its number, and the divergence on the validation windows of each exit.
    Epoch(u32, &'a [f64]),
}

impl ExitFitJob<'_> {
    /// Makes the heads and their files. The bytes of all of them are a function of model, text, settings and the
    /// machine's instruction set. A fit that is there, whole, isn't made again.
    ///
    /// # Errors
    /// [`ExitFitError`] with what is at fault.
    pub fn make(&self, watch: &(dyn Fn(ExitFitProgress<'_>) + Sync)) -> Result<ExitFit, ExitFitError> {
        let spec = self.spec;
        spec.check()?;
        let model = LoadedModel::open(&spec.model)?;
        let config = model.decoder.config();
        let layers = spec.layers_of(config.layers)?;
        let least = if config.bos_token.is_some() { 1 } else { 2 };
        if !(least..=config.max_positions).contains(&(spec.tokens as usize)) {
            let allowed = format!("{least} to {}, the model's positions", config.max_positions);
            return Err(ExitFitError::Option { option: "tokens", value: spec.tokens.to_string(), allowed });
        }
        let open = |source: &str| Corpus::open(source, &model.tokenizer, config.vocab, Segmentation::Tokens);
        let corpus = open(&spec.corpus)?;
        let check = spec.check.as_deref().map(open).transpose()?;
        let check_hash = check.as_ref().map(Corpus::content_hash);
        let identity = spec.identity(model.content_hash(), corpus.content_hash(), check_hash);
        if !self.replace
            && let Some(files) = finished(self.folder, &layers, &identity)?
        {
            return Ok(ExitFit { files, metrics: Vec::new(), was_there: true });
        }
        let count = windows(&corpus, &spec.corpus, spec.tokens, FEWEST_WINDOWS)?;
        let shares = Shares::draw(count, spec.windows as usize, Streams::new(spec.seed, 0));
        watch(ExitFitProgress::Read([shares.fitted.len(), shares.validation.len(), shares.held_out.len()]));

        let loss = HeadLoss::new(&model.decoder);
        let tokens = spec.tokens as usize;
        let passes =
            Passes { loss: &loss, layers: &layers, text: Text { corpus: &corpus, name: &spec.corpus, tokens } };
        let place = Place { layers: config.layers, width: config.d_model, model_hash: model.content_hash() };
        let fits = self.pool.install(|| train::fit(&passes, place, &shares, spec, watch))?;
        let judged = Judged::of(&fits, &layers, place)?;
        let mut metrics = self.pool.install(|| judged.rows(&passes, &shares.held_out, "held-out"))?;
        if let Some((check, name)) = check.as_ref().zip(spec.check.as_deref()) {
            let count = windows(check, name, spec.tokens, 1)?.min(spec.windows as usize);
            let all: Vec<usize> = (0..count).collect();
            let passes = Passes { text: Text { corpus: check, name, tokens }, ..passes };
            metrics.extend(self.pool.install(|| judged.rows(&passes, &all, "check"))?);
        }
        let mut heads = Vec::with_capacity(fits.len());
        for (fit, &layer) in fits.iter().zip(&layers) {
            let mut parts = place.parts(layer, &fit.best);
            parts.made_with = self.made_with(fit, &corpus, &shares);
            parts.metrics = named(&metrics, layer);
            heads.push((layer, ExitHead::in_half_precision(parts)?.to_bytes()?));
        }
        let manifest = self.manifest(identity, &fits, &layers);
        let files = Output { heads, metrics: &metrics, manifest }.write(self.folder)?;
        Ok(ExitFit { files, metrics, was_there: false })
    }

    fn made_with(&self, fit: &FittedExit, corpus: &Corpus, shares: &Shares) -> BTreeMap<String, String> {
        let spec = self.spec;
        [
            ("corpus_hash", corpus.content_hash().to_owned()),
            ("tokens", spec.tokens.to_string()),
            ("windows_fitted", shares.fitted.len().to_string()),
            ("lambda", fit.lambda.to_string()),
            ("epoch", fit.epoch.to_string()),
            ("epochs", spec.epochs.to_string()),
            ("learning_rate", spec.learning_rate.to_string()),
            ("batch_windows", spec.batch_windows.to_string()),
            ("seed", spec.seed.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn manifest(&self, identity: Value, fits: &[FittedExit], layers: &[usize]) -> Value {
        let build = Manifest::start(Value::Null, String::new(), self.spec.seed, 0, String::new());
        let of =
            |(fit, layer): (&FittedExit, &usize)| json!({ "layer": layer, "lambda": fit.lambda, "epoch": fit.epoch });
        let mut manifest = json!({
            "command": self.command,
            "version": build.version,
            "commit": build.commit,
            "dirty": build.dirty,
            "instruction_set": instruction_set(),
            "exits": fits.iter().zip(layers).map(of).collect::<Vec<_>>(),
        });
        manifest[IDENTITY] = identity;
        manifest
    }
}

/// How many windows a text has.
fn windows(corpus: &Corpus, name: &str, tokens: u32, least: u64) -> Result<usize, ExitFitError> {
    let count = corpus.window_count(tokens as usize);
    let has = count as u64;
    if has < least {
        return Err(ExitFitError::Windows { file: name.to_owned(), has, tokens, least });
    }
    Ok(count)
}

/// The figures of a layer's head by name, those on the text of `--check` with `check_` in front.
fn named(metrics: &[ExitMetricsRow], layer: usize) -> BTreeMap<String, f64> {
    let mut named = BTreeMap::new();
    for row in metrics.iter().filter(|row| row.layer == layer as u64 && row.head == "exit") {
        let all = [
            ("ppl", Some(row.ppl)),
            ("ppl_full", Some(row.ppl_full)),
            ("kl_nats", Some(row.kl_nats)),
            ("agreement", Some(row.agreement)),
            ("sure_80", Some(row.sure_80)),
            ("sure_80_agreement", row.sure_80_agreement),
            ("sure_90", Some(row.sure_90)),
            ("sure_90_agreement", row.sure_90_agreement),
        ];
        let prefix = if row.text == "check" { "check_" } else { "" };
        named.extend(all.into_iter().filter_map(|(name, value)| Some((format!("{prefix}{name}"), value?))));
    }
    named
}

/// The heads that figures are told of.
struct Judged {
    /// Number in the list of layers, layer, name, head.
    heads: Vec<(usize, usize, &'static str, ExitHead)>,
}

impl Judged {
    fn of(fits: &[FittedExit], layers: &[usize], place: Place<'_>) -> Result<Self, ExitFitError> {
        let mut heads = Vec::with_capacity(3 * fits.len());
        for (index, (fit, &layer)) in fits.iter().zip(layers).enumerate() {
            heads.push((index, layer, "logit-lens", place.lens(layer)?));
            heads.push((index, layer, "ridge", place.head(layer, &fit.ridge)?));
            heads.push((index, layer, "exit", place.head(layer, &fit.best)?));
        }
        Ok(Self { heads })
    }

    fn rows(&self, passes: &Passes<'_>, windows: &[usize], text: &str) -> Result<Vec<ExitMetricsRow>, ExitFitError> {
        let heads: Vec<(usize, &ExitHead)> = self.heads.iter().map(|(index, _, _, head)| (*index, head)).collect();
        let figures = passes.figures(windows, &heads)?;
        let of = |((_, layer, name, _), figures): (&(usize, usize, &'static str, ExitHead), &figures::Figures)| {
            figures.row(text, *layer, name, windows.len())
        };
        Ok(self.heads.iter().zip(&figures).filter_map(of).collect())
    }
}

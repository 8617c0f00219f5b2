//! `splitwave fit-reward`: the reward model of \[MS24\] for a pair of models, judged beside what a device knows without.
//!
//! ```text
//!  text ── prompts ── rollouts of the small model, scored by the large one (rollouts.rs)
//!            │
//!            ├ K folds by prompts: K fits, each on the others' rows (folds.rs)
//!            │     └ every row predicted by a fit that didn't see its prompt
//!            │           └ judge.rs beside baselines ── metrics.csv, tradeoff.csv, share_ratio.csv, thresholds.csv …
//!            └ one fit to all rows ── reward.safetensors; on the text of --check ── the same figures
//! ```

mod error;
mod folds;
mod inputs;
mod judge;
mod rollouts;
mod spec;
mod tables;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::control::collaboration::{HeadFeature, HeadLevel, HeadOrigin, HeadPair, HeadRows, RewardHead, Scorer};
use crate::kernel::Streams;
use crate::record::FileSeal;
use crate::run::fit_folder::{IDENTITY, Output, finished, table};
use crate::run::manifest::{Manifest, instruction_set};

use folds::{Fits, assign, epochs};
use inputs::Inputs;
use judge::{Judgement, Sample, Score};
use rollouts::Rollout;
use tables::{Errors, ORACLE};

pub use error::FitRewardError;
pub use folds::FoldFit;
pub use spec::{FitRewardSpec, allowed, default_regression};
pub use tables::{HeadCalibrationRow, HeadMetricsRow, HeadPredictionRow, ShareRatioRow, ThresholdRow, TradeoffRow};

/// The head.
pub const REWARD_FILE: &str = "reward.safetensors";
/// The other files, but for the manifest.
const TABLES: [&str; 6] =
    ["metrics.csv", "share_ratio.csv", "tradeoff.csv", "thresholds.csv", "calibration.csv", "predictions.csv"];

/// Where and how a reward head is made.
pub struct FitRewardJob<'a> {
    /// What is asked for.
    pub spec: &'a FitRewardSpec,
    /// Where its files go.
    pub folder: &'a Path,
    /// The command that makes it again, for the manifest.
    pub command: &'a str,
    /// Whether a fit that is there is replaced.
    pub replace: bool,
    /// Threads for rollouts, folds and resamples.
    pub pool: &'a rayon::ThreadPool,
}

/// A finished head.
#[derive(Clone, Debug)]
pub struct FitReward {
    /// Its files.
    pub files: Vec<FileSeal>,
    /// The rows of metrics.csv; none if it was there.
    pub metrics: Vec<HeadMetricsRow>,
    /// The rows of share_ratio.csv; none if it was there.
    pub share_ratios: Vec<ShareRatioRow>,
    /// Share of tokens that are the large model's first choice; `None` if it was there.
    pub first_choices: Option<f64>,
    /// Mean r of all tokens \[nat\]; `None` if it was there.
    pub mean_reward: Option<f64>,
    /// Whether all of it was there already; then nothing was done.
    pub was_there: bool,
}

/// How far a fit is.
pub enum FitRewardProgress<'a> {
    /// Rollouts: so many are done, of so many.
    Rollouts(usize, usize),
    /// All rollouts are there: prompts, tokens, inputs per row.
    Rows(usize, usize, usize),
    /// A fold is done.
    Fold(&'a FoldFit),
}

impl FitRewardJob<'_> {
    /// Makes the head and its files. The bytes of all of them are a function of models, texts, settings and the machine's
    /// instruction set. One that is there, whole, isn't made again.
    ///
    /// `watch` is told how far it is, from several threads.
    ///
    /// # Errors
    /// [`FitRewardError`] says which option is at fault.
    pub fn make(&self, watch: &(dyn Fn(FitRewardProgress<'_>) + Sync)) -> Result<FitReward, FitRewardError> {
        let spec = self.spec;
        spec.check()?;
        let features = spec.asked_features()?;
        let inputs = Inputs::load(spec)?;
        let prompts = inputs.prompts(spec)?;
        if prompts.len() < spec.folds as usize {
            return Err(FitRewardError::Folds { prompts: prompts.len(), folds: spec.folds });
        }
        let identity = spec.identity(&inputs.hashes(), &features, prompts.len());
        if !self.replace
            && let Some(files) = finished(self.folder, &[&[REWARD_FILE], &TABLES[..]].concat(), &identity)?
        {
            let (metrics, share_ratios) = (Vec::new(), Vec::new());
            return Ok(FitReward {
                files,
                metrics,
                share_ratios,
                first_choices: None,
                mean_reward: None,
                was_there: true,
            });
        }
        let streams = Streams::new(spec.seed, 0);
        let roller = inputs.roller(spec, &features, streams);
        let tell = |done, all| watch(FitRewardProgress::Rollouts(done, all));
        let rollouts = self.pool.install(|| inputs::roll_all(&roller, &prompts, 0, &tell))?;
        let checked = match &inputs.check {
            Some(check) => {
                let prompts = inputs.check_prompts(spec, check)?;
                // Other draws than those of the prompts that the head was fitted to.
                Some(self.pool.install(|| inputs::roll_all(&roller, &prompts, inputs::CHECK_PROMPTS, &tell))?)
            }
            None => None,
        };
        let rows = Rows::of(&rollouts, spec.level);
        let width = inputs.device.decoder.config().d_model;
        let head_rows = rows.head_rows(spec.level, &features, width);
        let tokens: usize = rollouts.iter().map(|rollout| rollout.tokens.len()).sum();
        watch(FitRewardProgress::Rows(rollouts.len(), tokens, head_rows.columns()));

        let origin = HeadOrigin {
            pair: HeadPair::of(&inputs.device, &inputs.edge),
            temperature: spec.temperature,
            made_with: inputs.made_with(spec, prompts.len()),
        };
        let fits = Fits { rows: head_rows, origin: &origin, settings: &spec.regression, streams };
        let fold_of = assign(prompts.len(), spec.folds, streams);
        let tell = |fold: &FoldFit| watch(FitRewardProgress::Fold(fold));
        let (folds, whole) =
            self.pool.install(|| rayon::join(|| fits.cross_validate(&fold_of, spec.folds, &tell), || fits.whole()));
        let folds =
            folds.map_err(|(fold, source)| FitRewardError::Training { what: format!("fold {fold}"), source })?;
        let whole = whole.map_err(|source| FitRewardError::Training { what: "the final fit".to_owned(), source })?;

        let mut out = Report::default();
        let (predictions, constants) = held_out(&folds, rows.rewards.len());
        let sample = rows.sample(&rollouts, spec.level, predictions.clone());
        for fold in &folds {
            let part = sample.part(&fold.rows);
            let constants = vec![fold.constant; fold.rows.len()];
            let errors = Errors::of(&part.rewards, &fold.predictions, &constants, fold.epochs);
            out.metrics.extend(tables::metrics(&fold.fold.to_string(), &part, &part.judge_plainly(), &errors));
        }
        let mean_epochs = folds.iter().map(|fold| fold.epochs).sum::<f64>() / f64::from(spec.folds);
        let errors = Errors::of(&rows.rewards, &predictions, &constants, mean_epochs);
        let judged = self.pool.install(|| sample.judge(streams));
        out.add("pooled", &sample, &judged, &errors);
        let mut named = named(&judged, &errors);
        named.insert("folds".to_owned(), f64::from(spec.folds));
        if let Some(rollouts) = &checked {
            let rows = Rows::of(rollouts, spec.level);
            let head_rows = rows.head_rows(spec.level, &features, width);
            let predictions = head_rows.predictions(&whole);
            let constant = fits.rows.labels.iter().sum::<f64>() / fits.rows.labels.len().max(1) as f64;
            let constants = vec![constant; predictions.len()];
            let errors = Errors::of(&rows.rewards, &predictions, &constants, epochs(&whole));
            let sample = rows.sample(rollouts, spec.level, predictions);
            let judged = self.pool.install(|| sample.judge(streams));
            out.add("check", &sample, &judged, &errors);
            let figures = self::named(&judged, &errors);
            named.extend(figures.into_iter().map(|(name, value)| (format!("check_{name}"), value)));
        }
        let whole = whole.with_metrics(named)?;

        let bytes = whole.to_bytes()?;
        let manifest = self.manifest(identity, &inputs, &whole);
        let output = Output { name: REWARD_FILE, network: (&bytes, rows.rewards.len() as u64), manifest };
        let predicted = match spec.level {
            HeadLevel::Token => tables::token_predictions(&rollouts, &predictions, &fold_of),
            HeadLevel::Query => tables::query_predictions(&rollouts, &predictions, &fold_of),
        };
        let files = output.write(self.folder, |folder| {
            Ok(vec![
                table(folder, &out.metrics)?,
                table(folder, &out.share_ratios)?,
                table(folder, &out.tradeoff)?,
                table(folder, &tables::thresholds(&sample))?,
                table(folder, &tables::calibration(&rows.rewards, &predictions))?,
                table(folder, &predicted)?,
            ])
        })?;
        let all = rollouts.iter().flat_map(|rollout| &rollout.tokens);
        let first = all.clone().filter(|token| token.reward == 0.0).count();
        Ok(FitReward {
            files,
            metrics: out.metrics,
            share_ratios: out.share_ratios,
            first_choices: Some(first as f64 / tokens.max(1) as f64),
            mean_reward: Some(all.map(|token| token.reward).sum::<f64>() / tokens.max(1) as f64),
            was_there: false,
        })
    }

    fn manifest(&self, identity: Value, inputs: &Inputs, head: &RewardHead) -> Value {
        let build = Manifest::start(Value::Null, String::new(), self.spec.seed, 0, String::new());
        let mut manifest = json!({
            "command": self.command,
            "version": build.version,
            "commit": build.commit,
            "dirty": build.dirty,
            "instruction_set": instruction_set(),
            "device": self.spec.device,
            "edge": self.spec.edge,
            "corpus": self.spec.corpus,
            "check": self.spec.check,
            "hashes": inputs.hashes(),
            "made_with": head.made_with(),
        });
        manifest[IDENTITY] = identity;
        manifest
    }
}

/// What goes into the tables of several samples.
#[derive(Default)]
struct Report {
    metrics: Vec<HeadMetricsRow>,
    share_ratios: Vec<ShareRatioRow>,
    tradeoff: Vec<TradeoffRow>,
}

impl Report {
    fn add(&mut self, fold: &'static str, sample: &Sample, judged: &[Judgement], errors: &Errors) {
        self.metrics.extend(tables::metrics(fold, sample, judged, errors));
        self.share_ratios.extend(tables::share_ratios(fold, judged));
        self.tradeoff.extend(tables::tradeoff(fold, sample));
    }
}

/// The head's own figures by name, for its file.
fn named(judged: &[Judgement], errors: &Errors) -> BTreeMap<String, f64> {
    let own = judged.first();
    let ratio = |at: usize| own.and_then(|own| own.share_ratios[at].value);
    let all = [
        ("mse", Some(errors.mse)),
        ("constant_mse", Some(errors.constant_mse)),
        ("r2", errors.r2),
        ("rank_correlation", own.and_then(|own| own.rank_correlation.value)),
        ("auc", own.and_then(|own| own.auc.value)),
        ("share_ratio_20", ratio(0)),
        ("share_ratio_40", ratio(1)),
        ("share_ratio_60", ratio(2)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Predictions of the folds in the order of rows, and the means of what each was learned from.
fn held_out(folds: &[FoldFit], rows: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut predictions, mut constants) = (vec![0.0; rows], vec![0.0; rows]);
    for fold in folds {
        for (&row, &prediction) in fold.rows.iter().zip(&fold.predictions) {
            (predictions[row], constants[row]) = (prediction, fold.constant);
        }
    }
    (predictions, constants)
}

/// The rows that rollouts give, tokens or queries.
struct Rows {
    inputs: Vec<f32>,
    rewards: Vec<f64>,
    prompts: Vec<u32>,
}

impl Rows {
    fn of(rollouts: &[Rollout], level: HeadLevel) -> Self {
        let (mut inputs, mut rewards, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
        for (prompt, rollout) in rollouts.iter().enumerate() {
            inputs.extend_from_slice(&rollout.inputs);
            match level {
                HeadLevel::Token => rewards.extend(rollout.tokens.iter().map(|token| token.reward)),
                HeadLevel::Query => rewards.push(rollout.mean_reward()),
            }
            prompts.resize(rewards.len(), prompt as u32);
        }
        Self { inputs, rewards, prompts }
    }

    fn head_rows<'a>(&'a self, level: HeadLevel, features: &'a [HeadFeature], width: usize) -> HeadRows<'a> {
        let Self { inputs, rewards, prompts } = self;
        HeadRows { level, features, width, inputs, labels: rewards, prompts }
    }

    /// The rows with the scores of all scorers.
    fn sample(&self, rollouts: &[Rollout], level: HeadLevel, predictions: Vec<f64>) -> Sample {
        let mut scores = vec![Score::new(Scorer::Reward.name(), predictions)];
        for scorer in Scorer::ALL {
            scores.extend(scores_by(scorer, rollouts, level).map(|values| Score::new(scorer.name(), values)));
        }
        scores.push(Score::new(ORACLE, self.rewards.clone()));
        let firsts = (level == HeadLevel::Token).then(|| self.rewards.iter().map(|&r| r == 0.0).collect());
        Sample { rewards: self.rewards.clone(), prompts: self.prompts.clone(), first_choices: firsts, scores }
    }
}

/// Scores of a baseline; `None` of a scorer that has none at this level, or isn't one.
fn scores_by(scorer: Scorer, rollouts: &[Rollout], level: HeadLevel) -> Option<Vec<f64>> {
    if level == HeadLevel::Query {
        let of: fn(&Rollout) -> f64 = match scorer {
            Scorer::MaxSoftmax => |rollout| rollout.query.mean_max_softmax,
            Scorer::Entropy => |rollout| -rollout.query.mean_entropy,
            Scorer::Random => |rollout| rollout.tokens.first().map_or(0.5, |token| token.random),
            Scorer::Reward | Scorer::Margin | Scorer::TokenProbability | Scorer::Perturbation => return None,
        };
        return Some(rollouts.iter().map(of).collect());
    }
    let tokens = rollouts.iter().flat_map(|rollout| &rollout.tokens);
    tokens
        .map(|token| match scorer {
            Scorer::Perturbation => Some(1.0 - token.uncertainty),
            Scorer::Random => Some(token.random),
            _ => scorer.by_confidence(&token.confidence),
        })
        .collect()
}

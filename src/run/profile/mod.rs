//! `splitwave profile`: perplexity over split × noise × loss × ways of sending with the
//! real model (Fig. 3 of Chen et al.), the table that `greedy`, `oracle` and
//! `quality.source = "table"` read, and records drawn at random for a surrogate.
//!
//! Each evaluation sends one window over the scenario's own channel, alone on the
//! uplink: packets meet the fading at their midpoints, as in a simulation. Start, fading
//! and noise of a window's draw are the same at every point (common random numbers), so
//! points are compared on one channel.
//!
//! ```text
//!  spec ── plan ── evaluation 0, 1, 2 … in the order of records.csv: window by window
//!                     │
//!      window ── one pass through the model ── clean hidden state behind each split
//!                     │                           (evaluation.rs)
//!                     ├ channel, rest of the model, score ── a row of records.csv
//!                     ├ …                                       (streamed, resume.rs)
//!                     └ …                        all rows ── table.csv (table.rs)
//! ```

mod evaluation;
mod plan;
mod resume;
mod rows;
mod spec;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::llm::{Corpus, Nll};
use crate::network::ports::{QualityError, RecordError};
use crate::record::FileSeal;
use crate::run::assembly::Assembly;
use crate::run::manifest::Manifest;
use crate::run::results::MANIFEST_FILE;
use crate::run::signals::Interrupt;
use crate::run::wording::counted;

use evaluation::{CleanWindow, Evaluator};
use plan::{Evaluation, ProfilePlan, spread};
use resume::{FINGERPRINT, RECORDS_FILE, Workplace, fingerprint};

pub use rows::{ProfilePoint, ProfileRecord};
pub use spec::{NoiseScale, Points, ProfileSpec, Setting, SnrAt, channel_ranges};

/// Evaluations of one batch per thread: rows go to the disk after each.
const EVALUATIONS_PER_THREAD: usize = 16;
/// Windows at most that the median activation power of a split is taken over.
const REFERENCE_WINDOWS: u32 = 16;

/// A profile that can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// What is asked for doesn't fit the scenario.
    #[error("{0}")]
    Spec(String),
    /// The model failed.
    #[error(transparent)]
    Quality(#[from] QualityError),
    /// A row can't be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A profile is there already, made with other settings, or not whole.
    #[error("{path}: there is a profile already, and not this one: {differences}")]
    Exists {
        /// Its records.
        path: PathBuf,
        /// What differs.
        differences: String,
    },
    /// An unfinished profile of other settings is in the way.
    #[error("{path} holds an unfinished profile that was begun otherwise: {differences}")]
    Differs {
        /// Its folder.
        path: PathBuf,
        /// What differs.
        differences: String,
    },
    /// Another process makes a profile there.
    #[error("{path}: another process is making a profile there")]
    Busy {
        /// Its folder.
        path: PathBuf,
    },
    /// The rows of an unfinished profile are not the ones that it would have.
    #[error("{path}, line {line}: not the row that this profile has there; the file was changed")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first line that is wrong.
        line: u64,
    },
    /// Somebody asked to stop.
    #[error("interrupted after {done} of {}", counted(*all, "evaluation"))]
    Interrupted {
        /// Evaluations done and kept.
        done: u64,
        /// Evaluations asked for.
        all: u64,
    },
}

/// Where and how a profile is made.
pub struct ProfileJob<'a> {
    /// The scenario: model, corpus, first channel, radio.
    pub assembly: &'a Assembly,
    /// What is asked for.
    pub spec: &'a ProfileSpec,
    /// Seed.
    pub seed: u64,
    /// Threads for the model.
    pub pool: &'a rayon::ThreadPool,
    /// Where its files go.
    pub folder: &'a Path,
    /// The command that makes it again, for the manifest.
    pub command: &'a str,
    /// Whether it is made even if it is there, and other profiles are thrown away, finished or not.
    pub replace: bool,
    /// Raised to stop.
    pub interrupt: &'a Interrupt,
}

/// A finished profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its record files: records.csv, and table.csv of a grid.
    pub files: Vec<FileSeal>,
    /// Evaluations that an earlier process had left.
    pub kept: u64,
    /// Whether all of it was there already; then nothing was done.
    pub was_there: bool,
    /// Points at which nothing arrived in any evaluation: they have no PPL. 0 if it was there.
    pub silent: usize,
}

/// How far a profile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileProgress {
    /// Evaluations done, the kept ones with them.
    pub done: u64,
    /// Evaluations asked for.
    pub all: u64,
}

impl ProfileJob<'_> {
    /// Makes the profile, or what is left of it to make: records.csv, for a grid
    /// table.csv, and manifest.json. The bytes of the CSV files depend neither on the
    /// number of threads nor on interruptions. One that is there, whole, isn't made again.
    ///
    /// `watch` is told how far it is: before the first evaluation and after each batch.
    ///
    /// # Errors
    /// [`ProfileError`]; rows done so far stay in `.partial`, from where the same profile
    /// goes on.
    pub fn make(&self, watch: &mut dyn FnMut(ProfileProgress)) -> Result<Profile, ProfileError> {
        let (assembly, spec) = (self.assembly, self.spec);
        spec.check(assembly)?;
        let Some(corpus) = &assembly.inputs.corpus else {
            return Err(ProfileError::Spec("a profile runs the model: set quality.source = \"llm\"".into()));
        };
        let windows = self.windows(corpus)?;
        let settings: Vec<Assembly> =
            spec.settings.iter().map(|setting| setting.assemble(assembly)).collect::<Result<_, _>>()?;
        let rayleigh_scale = spec::constant_scale(assembly)?;
        let scenario = serde_json::to_value(&assembly.scenario).unwrap_or_default();
        let print = fingerprint(&scenario, &assembly.inputs.hashes, spec, self.seed);
        if !self.replace
            && let Some(files) = resume::finished(self.folder, &print)?
        {
            let kept = files.iter().find(|file| file.name == RECORDS_FILE).map_or(0, |file| file.rows);
            return Ok(Profile { files, kept, was_there: true, silent: 0 });
        }
        let source = &assembly.scenario.model.source;
        let name = Path::new(source).file_name().map_or_else(|| source.clone(), |name| name.display().to_string());
        let follows = |at: SnrAt| {
            let analog = spec.settings.iter().enumerate().filter(|(_, setting)| setting.is_analog());
            let scaled =
                analog.filter(|(_, setting)| setting.tx_normalisation != crate::channel::TxNormalisation::PerRow);
            let chosen = scaled.filter(|_| spec.noise == NoiseScale::SnrDb(at));
            chosen.map(|(index, _)| index).collect::<Vec<usize>>()
        };
        let evaluator = Evaluator {
            settings: &settings,
            corpus,
            tokens: spec.tokens,
            rayleigh_scale,
            follows_power: follows(SnrAt::Each),
            model: name,
        };
        let reference_db = match spec.noise {
            NoiseScale::SnrDb(at) => self.reference_powers(&evaluator, &windows, at, &follows(at))?,
            NoiseScale::Std => BTreeMap::new(),
        };
        let plan = ProfilePlan::new(spec, self.seed, windows, reference_db);

        std::fs::create_dir_all(self.folder).map_err(|source| RecordError { path: self.folder.to_owned(), source })?;
        let place = Workplace::open(self.folder, &print, &plan, spec, self.replace)?;
        let mut manifest = Manifest::start(scenario, String::new(), self.seed, 0, self.command.to_owned());
        manifest.inputs.clone_from(&assembly.inputs.hashes);
        manifest.threads = self.pool.current_num_threads();
        manifest.counts.insert("evaluations".to_owned(), plan.len());
        manifest.counts.insert("evaluations_kept".to_owned(), place.kept);

        let Workplace { partial, mut records, kept, lock } = place;
        let done = self.evaluate(&plan, &evaluator, &mut records, kept, watch)?;
        if done < plan.len() {
            records.finish()?;
            return Err(ProfileError::Interrupted { done, all: plan.len() });
        }
        let mut files = vec![records.finish()?];
        let mut silent = 0;
        if plan.is_grid() {
            let (table, without) = table::write_table(&partial, &plan, &settings, spec.tokens, rayleigh_scale)?;
            files.push(table);
            silent = without;
        }
        let mut manifest = serde_json::to_value(manifest.complete(files.clone())).unwrap_or_default();
        manifest[FINGERPRINT] = print;
        let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
        std::fs::write(partial.join(MANIFEST_FILE), text + "\n")
            .map_err(|source| RecordError { path: partial.clone(), source })?;
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).chain([MANIFEST_FILE]).collect();
        Workplace::publish(&partial, lock, self.folder, &names)?;
        Ok(Profile { files, kept, was_there: false, silent })
    }

    /// The windows of the corpus that are profiled.
    fn windows(&self, corpus: &Corpus) -> Result<Vec<u32>, ProfileError> {
        let (spec, config) = (self.spec, self.assembly.inputs.model.decoder.config());
        let longest = corpus.longest_window(spec.tokens as usize);
        let least = if config.bos_token.is_some() { 1 } else { 2 };
        let sentences = corpus.longest_window(0) > 0;
        if (spec.tokens < least && !sentences) || longest > config.max_positions {
            return Err(ProfileError::Spec(format!(
                "--tokens: windows of {} don't fit the model; allowed: {least} to {}",
                counted(longest, "token"),
                config.max_positions
            )));
        }
        let count = corpus.window_count(spec.tokens as usize) as u32;
        let wanted = spec.windows.unwrap_or(count);
        if wanted > count || count == 0 {
            let (windows, tokens) = (counted(count, "window"), counted(spec.tokens, "token"));
            let message = format!("--windows: the corpus has {windows} of {tokens} only");
            return Err(ProfileError::Spec(message));
        }
        Ok(spread(wanted, count))
    }

    /// 10 lg of the power that an absolute σ is relative to, by setting: 1 with rows of unit
    /// power, otherwise the median over up to [`REFERENCE_WINDOWS`] of the windows, spread evenly, of
    /// the transmitted power at the split of `at`.
    fn reference_powers(
        &self,
        evaluator: &Evaluator<'_>,
        windows: &[u32],
        at: SnrAt,
        follows: &[usize],
    ) -> Result<BTreeMap<usize, f64>, ProfileError> {
        let mut powers: BTreeMap<usize, f64> =
            (0..self.spec.settings.len()).filter(|setting| !follows.contains(setting)).map(|s| (s, 0.0)).collect();
        let SnrAt::Split(split) = at else { return Ok(powers) };
        let some = spread(REFERENCE_WINDOWS.min(windows.len() as u32), windows.len() as u32);
        for &setting in follows {
            let mut found: Vec<f64> = self.pool.install(|| {
                let of = |&index: &u32| evaluator.power_db(windows[index as usize], split, setting);
                some.par_iter().map(of).collect::<Result<_, _>>()
            })?;
            found.sort_by(f64::total_cmp);
            powers.insert(setting, f64::midpoint(found[(found.len() - 1) / 2], found[found.len() / 2]));
        }
        Ok(powers)
    }

    /// Evaluates from `start` on, a batch at a time; gives how far it came.
    fn evaluate(
        &self,
        plan: &ProfilePlan<'_>,
        evaluator: &Evaluator<'_>,
        records: &mut crate::record::CsvFile,
        start: u64,
        watch: &mut dyn FnMut(ProfileProgress),
    ) -> Result<u64, ProfileError> {
        let all = plan.len();
        let batch = (self.pool.current_num_threads() * EVALUATIONS_PER_THREAD) as u64;
        let every_split: BTreeSet<u32> = self.spec.splits.iter().copied().collect();
        let mut clean: BTreeMap<u32, CleanWindow> = BTreeMap::new();
        let mut scores: BTreeMap<u32, Nll> = BTreeMap::new();
        let mut done = start;
        watch(ProfileProgress { done, all });
        while done < all && !self.interrupt.is_set() {
            let evaluations: Vec<Evaluation> =
                (done..all.min(done + batch)).map(|index| plan.evaluation(index)).collect();
            let mut needed: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
            for evaluation in &evaluations {
                needed.entry(evaluation.window).or_default().insert(evaluation.split);
            }
            // A grid's window needs its other splits in the next batch; a record's needs them never again.
            clean.retain(|window, _| plan.is_grid() && needed.contains_key(window));
            let missing: Vec<(u32, BTreeSet<u32>)> =
                needed.into_iter().filter(|(window, _)| !clean.contains_key(window)).collect();
            let rows = self.pool.install(|| {
                let running = || !self.interrupt.is_set();
                let fresh = missing.into_par_iter().filter(|_| running()).map(|(window, splits)| {
                    let splits = if plan.is_grid() { &every_split } else { &splits };
                    Ok((window, evaluator.clean(window, splits, scores.get(&window).copied())?))
                });
                clean.extend(fresh.collect::<Result<BTreeMap<_, _>, QualityError>>()?);
                let one = |evaluation: &Evaluation| {
                    let state = clean.get(&evaluation.window).filter(|_| running())?;
                    Some(evaluator.evaluate(evaluation, state))
                };
                Ok::<_, ProfileError>(evaluations.par_iter().map(one).collect::<Vec<_>>())
            })?;
            scores.extend(clean.iter().map(|(&window, state)| (window, state.nll)));
            for row in rows.into_iter().map_while(|row| row) {
                records.push(&row?)?;
                done += 1;
            }
            records.flush()?;
            watch(ProfileProgress { done, all });
        }
        Ok(done)
    }
}

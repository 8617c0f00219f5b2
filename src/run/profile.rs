//! `splitwave profile`: perplexity over split × loss probability × noise with the
//! real model (Fig. 3 of Chen et al.), and the table that `greedy`, `oracle` and
//! `quality.source = "table"` read.
//!
//! Each evaluation sends one window over the scenario's own channel, alone on
//! the uplink: packets meet the fading at their midpoints, as in a simulation.
//! Windows, fading and noise are the same at every point (common random numbers).

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use rayon::prelude::*;

use crate::channel::{Fading, FadingKind, LossUnit, NoiseKey, Packets, Parameter, gain_threshold_for};
use crate::control::{clean_nll, evaluate};
use crate::kernel::{Purpose, Streams};
use crate::llm::{Corpus, Nll};
use crate::network::ports::{Conditions, Crossing, Delivery, Quality, QualityError, QualityRequest, RecordError};
use crate::network::rows::{Cell, CellVisitor, Column, Record, record};
use crate::network::spec::OutageSpec;
use crate::record::{CsvFile, FileSeal};
use crate::run::assembly::Assembly;
use crate::run::checks::word;
use crate::run::manifest::Manifest;
use crate::run::results::MANIFEST_FILE;

/// Evaluations between two looks at the watcher.
const CHUNK: usize = 256;
/// Where the files are until they are whole.
const PARTIAL: &str = ".partial";
/// Windows start at instants of this span, long against any fade \[s\].
const SPAN_S: f64 = 1e4;

record! {
    /// One row per evaluation of the model.
    "records.csv" => pub struct ProfileRecord {
        /// Layers before the channel.
        split: u32,
        /// P of eq. (4).
        loss_probability: f64,
        /// σ of eq. (3).
        noise_std: f64,
        /// Window of the corpus.
        window: u32,
        /// Repetition with other fading and noise, from 0.
        draw: u32,
        /// Tokens of the window.
        prompt_tokens: u32,
        /// 10 lg(median power of a transmitted row / σ²) \[dB\].
        activation_snr_db: Option<f64>,
        /// Mean gain at the packets' midpoints.
        mean_gain: f64,
        /// Packets sent.
        packets_sent: u32,
        /// Packets lost.
        packets_lost: u32,
        /// Rows lost.
        rows_lost: Option<u32>,
        /// Negative log-likelihood of the scored tokens \[nat\].
        nll_sum: Option<f64>,
        /// Tokens scored.
        tokens_scored: Option<u32>,
        /// PPL without a channel.
        ppl_clean: Option<f64>,
        /// PPL, eq. (6); the vocabulary's size where nothing arrived.
        ppl: Option<f64>,
        /// (PPL_0 - PPL)/PPL_0.
        relative_ppl_gain: Option<f64>,
        /// Whether nothing arrived.
        outage: bool,
    }
}

record! {
    /// One row per point: perplexity over all its evaluations in which anything arrived.
    "table.csv" => pub struct ProfilePoint<'a> {
        /// Layers before the channel.
        split: u32,
        /// P of eq. (4).
        loss_probability: f64,
        /// σ of eq. (3).
        noise_std: f64,
        /// Corpus PPL, exp(ΣNLL/ΣN).
        ppl: Option<f64>,
        /// Corpus PPL of the same windows without a channel.
        ppl_clean: Option<f64>,
        /// (PPL_0 - PPL)/PPL_0 of the two.
        relative_ppl_gain: Option<f64>,
        /// Standard error of ln(PPL/PPL_0), paired by window.
        ln_ppl_ratio_error: Option<f64>,
        /// Evaluations in which something arrived.
        evaluations: u32,
        /// Evaluations in which nothing arrived.
        outages: u32,
        /// `channel.reception` of the profile.
        reception: &'a str,
        /// `channel.loss_unit` of the profile.
        loss_unit: &'a str,
        /// `channel.tx_normalisation` of the profile.
        tx_normalisation: &'a str,
        /// Vocabulary of the model.
        vocabulary: u32,
        /// `channel.fading` of the profile.
        fading: &'a str,
        /// σ_h of the profile.
        rayleigh_scale: f64,
        /// Tokens of a window, as asked for.
        prompt_tokens: u32,
        /// Packets per window of that length.
        packets: u32,
        /// `channel.doppler_hz` of the profile.
        doppler_hz: f64,
        /// Airtime of a window \[s\].
        airtime_s: f64,
        /// Content hash of the model.
        model: &'a str,
    }
}

/// The grid of a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileGrid {
    /// Splits.
    pub splits: Vec<u32>,
    /// Loss probabilities.
    pub losses: Vec<f64>,
    /// Noise levels.
    pub noises: Vec<f64>,
    /// Windows of the corpus, spread evenly over it.
    pub windows: u32,
    /// Repetitions of each.
    pub draws: u32,
    /// Tokens of a window.
    pub tokens: u32,
}

/// A profile that can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The grid doesn't fit the scenario.
    #[error("{0}")]
    Grid(String),
    /// The model failed.
    #[error(transparent)]
    Quality(#[from] QualityError),
    /// A row can't be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The watcher asked to stop.
    #[error("interrupted after {done} of {all} evaluations")]
    Interrupted {
        /// Evaluations done.
        done: u64,
        /// Evaluations asked for.
        all: u64,
    },
}

impl ProfileGrid {
    /// Number of evaluations.
    pub fn evaluations(&self) -> u64 {
        let points = self.splits.len() as u64 * self.losses.len() as u64 * self.noises.len() as u64;
        points * u64::from(self.windows) * u64::from(self.draws)
    }

    fn check(&self, assembly: &Assembly) -> Result<(), ProfileError> {
        let grid = |message: String| Err(ProfileError::Grid(message));
        let layers = assembly.network.model_layers;
        if let Some(split) = self.splits.iter().find(|split| !(1..=layers).contains(*split)) {
            return grid(format!("--splits: {split} is no split of this model; allowed: 1 to {layers}"));
        }
        if let Some(loss) = self.losses.iter().find(|loss| !(0.0..1.0).contains(*loss)) {
            return grid(format!("--losses: {loss} is no loss probability; allowed: 0 to below 1"));
        }
        if let Some(noise) = self.noises.iter().find(|noise| !((0.0..=1e6).contains(*noise))) {
            return grid(format!("--noises: {noise} is no standard deviation; allowed: 0 to 1e6"));
        }
        let doubled = |values: &[f64]| {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted.windows(2).any(|pair| pair[0] == pair[1])
        };
        let mut splits = self.splits.clone();
        splits.sort_unstable();
        if splits.windows(2).any(|pair| pair[0] == pair[1]) || doubled(&self.losses) || doubled(&self.noises) {
            return grid("a value stands twice in --splits, --losses or --noises".into());
        }
        let channel = &assembly.network.channels[0];
        let still = channel.fading == FadingKind::None && channel.loss_unit != LossUnit::ElementIid;
        if let Some(loss) = self.losses.iter().find(|loss| still && **loss > 0.0) {
            return grid(format!(
                "--losses: {loss} can't happen: without fading the gain is constant and no packet is lost; \
                 allowed: 0, or loss_unit = \"element-iid\""
            ));
        }
        if self.evaluations() == 0 {
            return grid("the grid is empty: give at least one split, loss, noise, window and draw".into());
        }
        Ok(())
    }
}

/// Makes the profile of an assembled scenario's first channel and writes
/// `records.csv`, `table.csv` and `manifest.json` (with the `command` that makes it
/// again) into `folder`.
///
/// # Errors
/// [`ProfileError`]; records written so far stay in `.partial`.
pub fn profile(
    assembly: &Assembly,
    grid: &ProfileGrid,
    seed: u64,
    pool: &rayon::ThreadPool,
    folder: &Path,
    command: &str,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<[FileSeal; 2], ProfileError> {
    grid.check(assembly)?;
    let Some(corpus) = &assembly.inputs.corpus else {
        return Err(ProfileError::Grid("a profile runs the model: set quality.source = \"llm\"".into()));
    };
    let (longest, most) =
        (corpus.longest_window(grid.tokens as usize), assembly.inputs.model.decoder.config().max_positions);
    if grid.tokens == 0 || longest > most {
        let message = format!("--tokens: windows of {longest} tokens don't fit the model; allowed: 1 to {most}");
        return Err(ProfileError::Grid(message));
    }
    let count = corpus.window_count(grid.tokens as usize) as u32;
    if grid.windows > count {
        let message = format!("--windows: the corpus has {count} windows of {} tokens only", grid.tokens);
        return Err(ProfileError::Grid(message));
    }
    // No replication of a run has these draws: a table must not know the run that reads it.
    let streams = Streams::new(seed, u32::MAX);
    let rayleigh_scale = constant_scale(assembly)?;
    let made_with = MadeWith::of(assembly, rayleigh_scale, grid.tokens);
    // Spread over the corpus: its registers differ.
    let windows: Vec<u32> =
        (0..grid.windows).map(|i| (u64::from(i) * u64::from(count) / u64::from(grid.windows)) as u32).collect();
    let clean: Vec<Nll> = pool.install(|| {
        windows
            .par_iter()
            .map(|&window| clean_nll(&assembly.inputs.model, corpus, (window, grid.tokens)))
            .collect::<Result<_, _>>()
    })?;
    // Nothing half made may pass for a table: the files get their names when all are whole.
    let partial = folder.join(PARTIAL);
    let in_partial = |source| RecordError { path: partial.clone(), source };
    std::fs::create_dir_all(&partial).map_err(in_partial)?;
    let scenario = serde_json::to_value(&assembly.scenario).unwrap_or_default();
    let mut manifest = Manifest::start(scenario, String::new(), seed, 0, command.to_owned());
    manifest.inputs.clone_from(&assembly.inputs.hashes);
    manifest.threads = pool.current_num_threads();
    manifest.counts.insert("evaluations".to_owned(), grid.evaluations());
    let mut records = CsvFile::create::<ProfileRecord>(&partial)?;
    let mut table = CsvFile::create::<ProfilePoint>(&partial)?;
    let per_point = windows.len() * grid.draws as usize;
    let mut done = 0;
    for &split in &grid.splits {
        for &loss in &grid.losses {
            for &noise in &grid.noises {
                let mut rows: Vec<ProfileRecord> = Vec::with_capacity(per_point);
                for start in (0..per_point).step_by(CHUNK) {
                    let part: Vec<ProfileRecord> = pool.install(|| {
                        (start..per_point.min(start + CHUNK))
                            .into_par_iter()
                            .map(|i| {
                                let (w, draw) = (i / grid.draws as usize, (i % grid.draws as usize) as u32);
                                let point = Point {
                                    rayleigh_scale,
                                    split,
                                    loss,
                                    noise,
                                    window: windows[w],
                                    draw,
                                    key: i as u32,
                                };
                                point.evaluate(assembly, corpus, streams, grid.tokens, clean[w])
                            })
                            .collect::<Result<_, _>>()
                    })?;
                    done += part.len() as u64;
                    for row in &part {
                        records.push(row)?;
                    }
                    rows.extend(part);
                    if watch(done).is_break() {
                        records.finish()?;
                        return Err(ProfileError::Interrupted { done, all: grid.evaluations() });
                    }
                }
                let point = summarise(&rows, &made_with);
                if point.ppl.is_none() {
                    return Err(ProfileError::Grid(format!(
                        "nothing arrived in any evaluation of split {split}, loss {loss}, noise {noise}: \
                         ask for more --windows or --draws, or a smaller loss"
                    )));
                }
                table.push(&point)?;
            }
        }
    }
    let seals = [records.finish()?, table.finish()?];
    let manifest = serde_json::to_string_pretty(&manifest.complete(seals.to_vec())).unwrap_or_default();
    std::fs::write(partial.join(MANIFEST_FILE), manifest + "\n").map_err(in_partial)?;
    for name in [seals[0].name.as_str(), seals[1].name.as_str(), MANIFEST_FILE] {
        std::fs::rename(partial.join(name), folder.join(name)).map_err(in_partial)?;
    }
    std::fs::remove_dir(&partial).map_err(in_partial)?;
    Ok(seals)
}

/// σ_h of the channel. P is the grid's, so h_th follows; a σ_h that varies has no place in the table.
fn constant_scale(assembly: &Assembly) -> Result<f64, ProfileError> {
    match &assembly.network.channels[0].outage {
        OutageSpec::ThresholdAndLoss { .. } => Err(ProfileError::Grid(
            "a profile varies the loss probability at one rayleigh_scale: leave channel.gain_threshold out".into(),
        )),
        OutageSpec::ScaleAndLoss { rayleigh_scale, .. } | OutageSpec::ScaleAndThreshold { rayleigh_scale, .. } => {
            match rayleigh_scale {
                Parameter::Constant(scale) => Ok(*scale),
                Parameter::Drawn { .. } | Parameter::Walk { .. } => {
                    Err(ProfileError::Grid("a profile needs one rayleigh_scale: set channel.rayleigh_scale".into()))
                }
            }
        }
    }
}

struct Point {
    rayleigh_scale: f64,
    split: u32,
    loss: f64,
    noise: f64,
    window: u32,
    draw: u32,
    /// Link and noise of this window and draw, the same at every point.
    key: u32,
}

impl Point {
    fn evaluate(
        &self,
        assembly: &Assembly,
        corpus: &Corpus,
        streams: Streams,
        asked: u32,
        clean: Nll,
    ) -> Result<ProfileRecord, QualityError> {
        let network = &assembly.network;
        let channel = &network.channels[0];
        let failed = |reason: String| QualityError::failed(Some(self.window), Some(self.split), reason);
        let ids = corpus.window(self.window as usize, asked as usize).map_err(|error| failed(error.to_string()))?;
        let tokens = ids.len() as u32;
        let rayleigh_scale = self.rayleigh_scale;
        let threshold = gain_threshold_for(self.loss, rayleigh_scale).map_err(|error| failed(error.to_string()))?;
        let fading = Fading::new(channel.fading, &streams, self.key, channel.sinusoids)
            .map_err(|error| failed(error.to_string()))?;
        let payload = network.tensor_payload(0, tokens);
        let start = streams.stream(self.key, Purpose::ProfileStart).uniform(0) * SPAN_S;
        let conditions = Conditions {
            noise_std: self.noise,
            rayleigh_scale,
            gain_threshold: threshold,
            loss_probability: self.loss,
        };
        let step = payload.airtime.as_secs_f64() / f64::from(payload.packets);
        let by_element = channel.loss_unit == LossUnit::ElementIid;
        let midpoints = (0..payload.packets).map(|k| start + (f64::from(k) + 0.5) * step);
        let mut packets = Packets::with_capacity(payload.packets as usize);
        channel.transmit(&fading, &conditions, by_element, midpoints, &mut packets);
        let reception = channel.record(&conditions, NoiseKey { ue: self.key, request: 0 }, packets);
        let (sent, lost) = (reception.packets.len(), reception.packets.lost());
        let mean_gain = reception.packets.mean_gain().unwrap_or(0.0);
        let rows_lost = reception.rows_lost(tokens as usize);
        let outage = channel.is_outage(&reception, tokens as usize);
        let delivery = if outage {
            Delivery::Nothing
        } else {
            Delivery::Tensor(Box::new(Crossing { split: self.split, reception }))
        };
        let request =
            QualityRequest { window: Some(self.window), prompt_tokens: asked, output_tokens: 1, delivery, conditions };
        let quality: Quality = evaluate(&assembly.inputs.model, corpus, &streams, &request, clean)?;
        Ok(ProfileRecord {
            split: self.split,
            loss_probability: self.loss,
            noise_std: self.noise,
            window: self.window,
            draw: self.draw,
            prompt_tokens: tokens,
            activation_snr_db: quality.activation_snr_db,
            mean_gain,
            packets_sent: sent as u32,
            packets_lost: lost as u32,
            rows_lost: quality.rows_lost.or(rows_lost.map(|rows| rows as u32)),
            nll_sum: quality.nll_sum,
            tokens_scored: quality.tokens_scored,
            ppl_clean: quality.ppl_clean,
            ppl: quality.ppl,
            relative_ppl_gain: quality.relative_gain,
            outage,
        })
    }
}

/// What a profile was made with.
struct MadeWith {
    reception: String,
    loss_unit: String,
    tx_normalisation: String,
    vocabulary: u32,
    fading: String,
    rayleigh_scale: f64,
    prompt_tokens: u32,
    doppler_hz: f64,
    airtime_s: f64,
    model: String,
}

impl MadeWith {
    fn of(assembly: &Assembly, rayleigh_scale: f64, prompt_tokens: u32) -> Self {
        let (network, channel) = (&assembly.network, &assembly.network.channels[0]);
        let airtime = network.tensor_payload(0, prompt_tokens).airtime;
        Self {
            reception: word(channel.reception),
            loss_unit: word(channel.loss_unit),
            tx_normalisation: word(channel.tx_normalisation),
            vocabulary: assembly.inputs.model.decoder.config().vocab as u32,
            fading: word(channel.fading),
            rayleigh_scale,
            prompt_tokens,
            doppler_hz: channel.doppler_hz,
            airtime_s: airtime.as_secs_f64(),
            model: assembly.inputs.model.content_hash().to_owned(),
        }
    }
}

/// The table's row of one point.
fn summarise<'a>(rows: &[ProfileRecord], made_with: &'a MadeWith) -> ProfilePoint<'a> {
    let arrived: Vec<&ProfileRecord> = rows.iter().filter(|row| !row.outage).collect();
    let tokens: f64 = arrived.iter().filter_map(|row| row.tokens_scored).map(f64::from).sum();
    let nll: f64 = arrived.iter().filter_map(|row| row.nll_sum).sum();
    let clean: f64 = arrived.iter().filter_map(|row| Some(row.ppl_clean?.ln() * f64::from(row.tokens_scored?))).sum();
    let mean = nll / tokens;
    // Delta method for a ratio of sums: residuals of the windows' NLL, less the clean
    // one's, against their lengths.
    let excess = mean - clean / tokens;
    let mut by_window: BTreeMap<u32, f64> = BTreeMap::new();
    for row in &arrived {
        if let (Some(nll), Some(tokens), Some(ppl_clean)) = (row.nll_sum, row.tokens_scored, row.ppl_clean) {
            let tokens = f64::from(tokens);
            // Draws of one window are not independent.
            *by_window.entry(row.window).or_default() += nll - tokens * ppl_clean.ln() - excess * tokens;
        }
    }
    let count = by_window.len() as f64;
    let spread: f64 = by_window.values().map(|residual| residual * residual).sum();
    let known = |value: f64| value.is_finite().then_some(value);
    let (ppl, ppl_clean) = (known(mean.exp()), known((clean / tokens).exp()));
    let first = &rows[0];
    ProfilePoint {
        split: first.split,
        loss_probability: first.loss_probability,
        noise_std: first.noise_std,
        ppl,
        ppl_clean,
        relative_ppl_gain: ppl.zip(ppl_clean).map(|(ppl, clean)| (clean - ppl) / clean),
        ln_ppl_ratio_error: known((spread * count / (count - 1.0)).sqrt() / tokens),
        evaluations: arrived.len() as u32,
        outages: (rows.len() - arrived.len()) as u32,
        reception: &made_with.reception,
        loss_unit: &made_with.loss_unit,
        tx_normalisation: &made_with.tx_normalisation,
        vocabulary: made_with.vocabulary,
        fading: &made_with.fading,
        rayleigh_scale: made_with.rayleigh_scale,
        prompt_tokens: made_with.prompt_tokens,
        packets: first.packets_sent,
        doppler_hz: made_with.doppler_hz,
        airtime_s: made_with.airtime_s,
        model: &made_with.model,
    }
}

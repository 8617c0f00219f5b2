//! table.csv: what records.csv says about each point of a grid.

use std::path::Path;

use serde::Deserialize;

use crate::channel::Reception;
use crate::network::ports::RecordError;
use crate::record::{CsvFile, FileSeal};
use crate::run::assembly::Assembly;
use crate::run::checks::word;
use crate::run::profile::ProfileError;
use crate::run::profile::plan::ProfilePlan;
use crate::run::profile::resume::kept_rows;
use crate::run::profile::rows::ProfilePoint;
use crate::scenario::schema::WindowKind;

/// What the table needs of a record.
#[derive(Debug, Deserialize)]
pub(super) struct Kept {
    pub split: u32,
    pub noise_std: f64,
    pub activation_snr_db: Option<f64>,
    pub loss_probability: f64,
    pub loss_unit: String,
    pub reception: String,
    pub tx_normalisation: String,
    pub encoding: Option<String>,
    pub window: u32,
    pub ppl_clean: f64,
    pub draw: u32,
    pub packets_sent: u32,
    pub nll_sum: f64,
    pub tokens_scored: u32,
    pub outage: bool,
    pub snr_target_db: Option<f64>,
}

/// A window's sums at one point, over the draws in which anything arrived.
#[derive(Clone, Copy)]
struct WindowSums {
    window: u32,
    tokens: f64,
    nll: f64,
    clean: f64,
}

/// What the records of one point come to.
#[derive(Clone, Default)]
struct PointSums {
    /// In order of the windows: draws of one window are not independent.
    windows: Vec<WindowSums>,
    evaluations: u32,
    outages: u32,
    /// σ of the first record, and whether all have it.
    noise_std: Option<(f64, bool)>,
    snr_db: f64,
    snrs: u32,
    snr_target_db: Option<f64>,
    split: u32,
    loss_probability: f64,
    packets: u32,
}

impl PointSums {
    fn add(&mut self, row: &Kept) {
        if self.evaluations + self.outages == 0 {
            (self.split, self.loss_probability) = (row.split, row.loss_probability);
            (self.packets, self.snr_target_db) = (row.packets_sent, row.snr_target_db);
        }
        let (first, same) = self.noise_std.unwrap_or((row.noise_std, true));
        self.noise_std = Some((first, same && first == row.noise_std));
        if let Some(snr) = row.activation_snr_db {
            self.snr_db += snr;
            self.snrs += 1;
        }
        if row.outage {
            self.outages += 1;
            return;
        }
        self.evaluations += 1;
        let tokens = f64::from(row.tokens_scored);
        let sums = match self.windows.last_mut() {
            Some(last) if last.window == row.window => last,
            _ => {
                self.windows.push(WindowSums { window: row.window, tokens: 0.0, nll: 0.0, clean: 0.0 });
                let last = self.windows.len() - 1;
                &mut self.windows[last]
            }
        };
        sums.tokens += tokens;
        sums.nll += row.nll_sum;
        sums.clean += tokens * row.ppl_clean.ln();
    }

    /// ln PPL, ln PPL_0 and the standard error of their difference, paired by window, by
    /// the delta method for a ratio of sums: with D the excess over the clean
    /// log-likelihood and T the tokens of a window, e = ΣD/ΣT has the variance
    /// n/(n - 1)·Σ(D - e·T)²/(ΣT)².
    fn logarithms(&self) -> [Option<f64>; 3] {
        let total = |of: fn(&WindowSums) -> f64| self.windows.iter().map(of).sum::<f64>();
        let (tokens, nll, clean) = (total(|w| w.tokens), total(|w| w.nll), total(|w| w.clean));
        let excess = (nll - clean) / tokens;
        let residuals = self.windows.iter().map(|w| w.nll - w.clean - excess * w.tokens);
        let (spread, n) = (residuals.map(|r| r * r).sum::<f64>(), self.windows.len() as f64);
        let known = |value: f64| value.is_finite().then_some(value);
        [known(nll / tokens), known(clean / tokens), known((spread * n / (n - 1.0)).sqrt() / tokens)]
    }
}

/// Writes the table of a whole records.csv in `folder`; also gives the number of points
/// at which nothing arrived at all, which have no PPL.
///
/// # Errors
/// [`ProfileError::Record`] if a file can't be read or written.
pub(super) fn write_table(
    folder: &Path,
    plan: &ProfilePlan<'_>,
    settings: &[Assembly],
    tokens: u32,
    rayleigh_scale: f64,
) -> Result<(FileSeal, usize), ProfileError> {
    let path = folder.join("records.csv");
    let content = std::fs::read(&path).map_err(|source| RecordError { path: path.clone(), source })?;
    let mut points = vec![PointSums::default(); plan.points()];
    let mut setting_of = vec![0; plan.points()];
    for (index, row) in kept_rows(&content).enumerate() {
        let row = row.map_err(|error| RecordError { path: path.clone(), source: error.into() })?;
        let evaluation = plan.evaluation(index as u64);
        points[evaluation.point].add(&row);
        setting_of[evaluation.point] = evaluation.setting;
    }
    let made: Vec<MadeWith> = settings.iter().map(|assembly| MadeWith::of(assembly, tokens)).collect();
    let mut table = CsvFile::create::<ProfilePoint<'_>>(folder)?;
    let mut silent = 0;
    for (point, setting) in points.iter().zip(setting_of) {
        let row = made[setting].point(point, rayleigh_scale);
        silent += usize::from(row.ppl.is_none());
        table.push(&row)?;
    }
    Ok((table.finish()?, silent))
}

/// What the points of one setting were made with.
struct MadeWith {
    reception: String,
    loss_unit: String,
    tx_normalisation: String,
    vocabulary: u32,
    fading: String,
    prompt_tokens: u32,
    doppler_hz: f64,
    airtime_s: f64,
    model: String,
    concealment: String,
    encoding: Option<String>,
    sentences: bool,
    bits_per_token: Option<u64>,
}

impl MadeWith {
    fn of(assembly: &Assembly, prompt_tokens: u32) -> Self {
        let (network, channel) = (&assembly.network, &assembly.network.channels[0]);
        Self {
            reception: word(channel.reception),
            loss_unit: word(channel.loss_unit),
            tx_normalisation: word(channel.tx_normalisation),
            vocabulary: assembly.inputs.model.decoder.config().vocab as u32,
            fading: channel.fading.to_string(),
            prompt_tokens,
            doppler_hz: channel.doppler_hz,
            airtime_s: network.tensor_payload(0, prompt_tokens).airtime.as_secs_f64(),
            model: assembly.inputs.model.content_hash().to_owned(),
            concealment: word(channel.concealment),
            encoding: (channel.reception == Reception::Digital).then(|| channel.codec.to_string()),
            bits_per_token: network.tensor_payload(0, 1).bits,
            sentences: assembly.scenario.model.window == WindowKind::Sentence,
        }
    }

    fn point(&self, sums: &PointSums, rayleigh_scale: f64) -> ProfilePoint<'_> {
        let [ln_ppl, ln_clean, ln_error] = sums.logarithms();
        let (ppl, ppl_clean) = (ln_ppl.map(f64::exp), ln_clean.map(f64::exp));
        ProfilePoint {
            split: sums.split,
            loss_probability: sums.loss_probability,
            noise_std: sums.noise_std.and_then(|(std, same)| same.then_some(std)),
            ppl,
            ppl_clean,
            relative_ppl_gain: ppl.zip(ppl_clean).map(|(ppl, clean)| (clean - ppl) / clean),
            ln_ppl_ratio_error: ln_error,
            evaluations: sums.evaluations,
            outages: sums.outages,
            reception: &self.reception,
            loss_unit: &self.loss_unit,
            tx_normalisation: &self.tx_normalisation,
            vocabulary: self.vocabulary,
            fading: &self.fading,
            rayleigh_scale,
            prompt_tokens: self.prompt_tokens,
            packets: (!self.sentences).then_some(sums.packets),
            doppler_hz: self.doppler_hz,
            airtime_s: (!self.sentences).then_some(self.airtime_s),
            model: &self.model,
            activation_snr_db: (sums.snrs > 0).then(|| sums.snr_db / f64::from(sums.snrs)),
            snr_target_db: sums.snr_target_db,
            concealment: &self.concealment,
            encoding: self.encoding.as_deref(),
            window: if self.sentences { "sentence" } else { "tokens" },
            bits_per_token: self.bits_per_token,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(window: u32, nll_sum: f64, tokens_scored: u32, clean: f64) -> Kept {
        Kept {
            split: 1,
            noise_std: 0.5,
            activation_snr_db: None,
            loss_probability: 0.1,
            loss_unit: "token-row".into(),
            reception: "raw".into(),
            tx_normalisation: "none".into(),
            encoding: None,
            window,
            ppl_clean: (clean / f64::from(tokens_scored)).exp(),
            draw: 0,
            packets_sent: 4,
            nll_sum,
            tokens_scored,
            outage: false,
            snr_target_db: None,
        }
    }

    /// Two windows of 2 and 4 tokens, the first sent twice: excesses D = 2 + 4 and 6 over
    /// T = 2 + 2 and 4 tokens, so e = 12/8; residuals 6 - 6 = 0 and 6 - 6 = 0.
    #[test]
    fn the_error_is_that_of_a_ratio_of_sums() {
        let mut point = PointSums::default();
        for row in [row(3, 6.0, 2, 4.0), row(3, 8.0, 2, 4.0), row(7, 14.0, 4, 8.0)] {
            point.add(&row);
        }
        let [ln_ppl, ln_clean, error] = point.logarithms().map(Option::unwrap);
        assert!((ln_ppl - 28.0 / 8.0).abs() < 1e-12 && (ln_clean - 16.0 / 8.0).abs() < 1e-12);
        assert!(error < 1e-12, "{error}");
        // A third window, D = 1 over T = 2: e = 13/10, residuals 0.8, 0.8, -1.6; √(3.84·3/2)/10 = 0.24.
        point.add(&row(9, 5.0, 2, 4.0));
        let [ln_ppl, _, error] = point.logarithms().map(Option::unwrap);
        assert!((ln_ppl - 3.3).abs() < 1e-12 && (error - 0.24).abs() < 1e-12, "{ln_ppl} {error}");
        // An outage counts beside the mean.
        point.add(&Kept { outage: true, ..row(9, 99.0, 2, 4.0) });
        assert_eq!((point.evaluations, point.outages, point.windows.len()), (4, 1, 3));
    }
}

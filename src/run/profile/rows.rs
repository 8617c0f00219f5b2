//! The rows of a profile's two files.

use crate::network::rows::{Cell, CellVisitor, Column, Record, record};

record! {
    /// One row per evaluation of the model.
    "records.csv" => pub struct ProfileRecord {
        /// Name of the model: `builtin`, or the last part of its path.
        model: String,
        /// Layers before the channel.
        split: u32,
        /// σ of eq. (3), in units of what is transmitted; 0 if digital.
        noise_std: f64,
        /// 10 lg(median power of a transmitted row / σ²) \[dB\].
        activation_snr_db: Option<f64>,
        /// σ_h: E h² = 2σ_h²; without fading h = √2·σ_h throughout.
        rayleigh_scale: f64,
        /// P of eq. (4).
        loss_probability: f64,
        /// `channel.loss_unit`.
        loss_unit: String,
        /// `channel.reception`.
        reception: String,
        /// `channel.tx_normalisation`.
        tx_normalisation: String,
        /// Window of the corpus.
        window: u32,
        /// PPL without a channel.
        ppl_clean: f64,
        /// PPL, eq. (6); the vocabulary's size where nothing arrived.
        ppl: f64,
        /// Repetition with other fading and noise, from 0; with `--records` the record's number.
        draw: u32,
        /// Tokens of the window.
        prompt_tokens: u32,
        /// Mean gain at the packets' midpoints.
        mean_gain: f64,
        /// Packets sent.
        packets_sent: u32,
        /// Packets lost.
        packets_lost: u32,
        /// Rows lost.
        rows_lost: u32,
        /// Negative log-likelihood of the scored tokens \[nat\].
        nll_sum: f64,
        /// Tokens scored.
        tokens_scored: u32,
        /// (PPL_0 - PPL)/PPL_0.
        relative_ppl_gain: f64,
        /// Whether no packet arrived (of whole rows, none); never with `element-iid`, whose elements are lost one by one: `ppl` says so then.
        outage: bool,
        /// `channel.fading`.
        fading: String,
        /// The activation SNR asked for with `--snrs-db` \[dB\]; under `--snr-at SPLIT` met there, in the median of the windows (of up to 16 of them).
        snr_target_db: Option<f64>,
        /// First 12 digits of the model's content hash.
        model_hash: String,
        /// `channel.encoding`, with its shares of outliers and top-k as `--encodings` has them. Empty if analog.
        encoding: Option<String>,
        /// Bits on the air of a token's row in the cost geometry. Empty if analog.
        bits_per_token: Option<u64>,
    }
}

record! {
    /// One row per point: perplexity over all its evaluations but the outages.
    "table.csv" => pub struct ProfilePoint<'a> {
        /// Layers before the channel.
        split: u32,
        /// P of eq. (4).
        loss_probability: f64,
        /// σ of eq. (3); empty where it follows each window (`--snrs-db` with `--snr-at each`).
        noise_std: Option<f64>,
        /// Corpus PPL, exp(ΣNLL/ΣN).
        ppl: Option<f64>,
        /// Corpus PPL of the same windows without a channel.
        ppl_clean: Option<f64>,
        /// (PPL_0 - PPL)/PPL_0 of the two.
        relative_ppl_gain: Option<f64>,
        /// Standard error of ln(PPL/PPL_0), paired by window.
        ln_ppl_ratio_error: Option<f64>,
        /// Evaluations that were no outages.
        evaluations: u32,
        /// Evaluations in which no packet arrived (of whole rows, none); never any with `element-iid`.
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
        /// Packets per window of that length. Empty for sentences, which have their own.
        packets: Option<u32>,
        /// `channel.doppler_hz` of the profile.
        doppler_hz: f64,
        /// Airtime of a window \[s\]. Empty for sentences.
        airtime_s: Option<f64>,
        /// Content hash of the model.
        model: &'a str,
        /// Mean of the evaluations' activation SNR \[dB\].
        activation_snr_db: Option<f64>,
        /// The activation SNR asked for with `--snrs-db` \[dB\].
        snr_target_db: Option<f64>,
        /// `channel.concealment` of the profile.
        concealment: &'a str,
        /// `channel.encoding` of the profile, with its shares of outliers and top-k as `--encodings` has them. Empty if analog.
        encoding: Option<&'a str>,
        /// `model.window` of the profile.
        window: &'a str,
        /// Bits on the air of a token's row in the cost geometry. Empty if analog.
        bits_per_token: Option<u64>,
    }
}

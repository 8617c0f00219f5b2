//! One evaluation: a window's clean hidden state over the channel, through the rest of
//! the model, and scored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::channel::{self, Fading, Link, LossUnit, NoiseKey, Packets, Reception, ReceptionRecord};
use crate::control::{CleanPass, Window, WindowText};
use crate::kernel::{Purpose, Streams};
use crate::llm::{Corpus, Decoder, DecoderError, Hidden, Nll};
use crate::network::ports::{Conditions, QualityError};
use crate::network::spec::ChannelSpec;
use crate::run::assembly::Assembly;
use crate::run::checks::word;
use crate::run::profile::plan::{Evaluation, Noise, std_for};
use crate::run::profile::rows::ProfileRecord;

/// Windows start at instants of this span, long against any fade \[s\].
const SPAN_S: f64 = 1e4;
/// Digits of the model's hash that tell models of one name apart.
const HASH_DIGITS: usize = 12;

/// A window without a channel: its hidden states behind some splits, from one pass
/// through the model, and its negative log-likelihood.
pub(super) struct CleanWindow {
    text: WindowText,
    hidden: BTreeMap<u32, Arc<Hidden>>,
    /// By (split, setting): 10 lg of the median power of a transmitted row.
    power_db: BTreeMap<(u32, usize), f64>,
    /// Negative log-likelihood of all targets.
    pub nll: Nll,
}

/// What all evaluations of a profile share.
pub(super) struct Evaluator<'a> {
    /// The scenario over a channel of each setting.
    pub settings: &'a [Assembly],
    /// Where windows come from.
    pub corpus: &'a Corpus,
    /// Tokens of a window, as asked for.
    pub tokens: u32,
    /// σ_h.
    pub rayleigh_scale: f64,
    /// Settings whose σ follows each window's power.
    pub follows_power: Vec<usize>,
    /// Name of the model in the rows.
    pub model: String,
}

impl Evaluator<'_> {
    fn decoder(&self) -> &Decoder {
        &self.settings[0].inputs.model.decoder
    }

    /// Runs a window without a channel and keeps its states behind `splits`. The layers
    /// behind the last of them are left out where `nll`, the window's score, is known.
    ///
    /// # Errors
    /// [`QualityError`] if the corpus has no such window, or the model can't read it.
    pub fn clean(&self, window: u32, splits: &BTreeSet<u32>, nll: Option<Nll>) -> Result<CleanWindow, QualityError> {
        let pass = CleanPass {
            window: Window { index: window, prompt_tokens: self.tokens, output_tokens: 1 },
            from: None,
            splits: splits.iter().copied().collect(),
            score: nll.is_none(),
        };
        let passed = pass.run(&self.settings[0].inputs.model, self.corpus)?;
        let mut power_db = BTreeMap::new();
        for &setting in &self.follows_power {
            let channel = &self.settings[setting].network.channels[0];
            for (split, state) in &passed.states {
                let power = transmitted_power_db(channel, state);
                power_db.insert((*split, setting), power.ok_or_else(|| no_power(window, *split))?);
            }
        }
        let nll = nll.or(passed.nll).unwrap_or_default();
        Ok(CleanWindow { text: passed.text, hidden: passed.states.into_iter().collect(), power_db, nll })
    }

    /// 10 lg of the median power of a transmitted row at a split \[dB\].
    ///
    /// # Errors
    /// [`QualityError`] if the window can't be run, or has no power.
    pub fn power_db(&self, window: u32, split: u32, setting: usize) -> Result<f64, QualityError> {
        let clean = self.clean(window, &BTreeSet::from([split]), Some(Nll::default()))?;
        let channel = &self.settings[setting].network.channels[0];
        let power = clean.hidden.get(&split).and_then(|state| transmitted_power_db(channel, state));
        power.ok_or_else(|| no_power(window, split))
    }

    /// Sends the window alone over the uplink and scores what arrives: eq. (1), (3), (5)
    /// and (6). Packets meet the fading at their midpoints, as in a simulation.
    ///
    /// # Errors
    /// [`QualityError`] if the model can't run.
    pub fn evaluate(&self, evaluation: &Evaluation, clean: &CleanWindow) -> Result<ProfileRecord, QualityError> {
        let Evaluation { window, split, setting, loss, noise, draw, streams, entity, .. } = *evaluation;
        let failed = |reason: String| QualityError::failed(Some(window), Some(split), reason);
        let assembly = &self.settings[setting];
        let (network, channel) = (&assembly.network, &assembly.network.channels[0]);
        let state = clean.hidden.get(&split).ok_or_else(|| failed("its hidden state is not there".into()))?;
        let noise_std = match noise {
            Noise::Std(std, _) => std,
            Noise::SnrDb(snr) => clean.power_db.get(&(split, setting)).map_or(0.0, |&power| std_for(power, snr)),
        };
        let rayleigh_scale = self.rayleigh_scale;
        let fading =
            Fading::new(&channel.fading, &streams, Link::of_ue(entity)).map_err(|error| failed(error.to_string()))?;
        let threshold = fading.law().gain_threshold_for(loss, rayleigh_scale);
        let gain_threshold = threshold.map_err(|error| failed(error.to_string()))?;
        let conditions = Conditions { noise_std, rayleigh_scale, gain_threshold, loss_probability: loss };
        let tokens = clean.text.inputs.len() as u32;
        let payload = network.tensor_payload(0, tokens);
        let start = streams.stream(entity, Purpose::ProfileStart).uniform(0) * SPAN_S;
        let step = payload.airtime.as_secs_f64() / f64::from(payload.packets);
        let by_element = channel.loss_unit == LossUnit::ElementIid;
        let midpoints = (0..payload.packets).map(|k| channel.moment(start + (f64::from(k) + 0.5) * step));
        let mut packets = Packets::with_capacity(payload.packets as usize);
        channel.transmit(&fading, &conditions, by_element, midpoints, &mut packets);
        let reception = channel.record(&conditions, NoiseKey { ue: entity, request: 0 }, packets);

        let mut hidden = Hidden::clone(state);
        let width = hidden.width();
        let received = channel::apply(&reception, &streams, hidden.values_mut(), width);
        let outage = channel.is_outage(&reception, tokens as usize);
        let nll = if outage || !received.anything_arrived {
            Nll::chance(self.decoder().config().vocab, clean.nll.tokens)
        } else {
            self.finish(hidden, split, clean).map_err(|error| failed(error.to_string()))?
        };
        let (ppl, ppl_clean) = (nll.perplexity(), clean.nll.perplexity());
        Ok(ProfileRecord {
            model: self.model.clone(),
            split,
            noise_std: reception.noise_std,
            activation_snr_db: received.activation_snr_db,
            rayleigh_scale,
            loss_probability: loss,
            loss_unit: word(channel.loss_unit),
            reception: word(channel.reception),
            tx_normalisation: word(channel.tx_normalisation),
            window,
            ppl_clean,
            ppl,
            draw,
            prompt_tokens: tokens,
            mean_gain: reception.packets.mean_gain().unwrap_or(0.0),
            packets_sent: reception.packets.len() as u32,
            packets_lost: reception.packets.lost() as u32,
            rows_lost: received.rows_lost as u32,
            nll_sum: nll.sum,
            tokens_scored: nll.tokens as u32,
            relative_ppl_gain: (ppl_clean - ppl) / ppl_clean,
            outage,
            fading: channel.fading.to_string(),
            snr_target_db: noise.target_db(),
            encoding: (channel.reception == Reception::Digital).then(|| channel.codec.to_string()),
            model_hash: assembly.inputs.model.content_hash().chars().take(HASH_DIGITS).collect(),
            bits_per_token: network.tensor_payload(0, 1).bits,
        })
    }

    /// The edge's part of the model.
    fn finish(&self, hidden: Hidden, split: u32, clean: &CleanWindow) -> Result<Nll, DecoderError> {
        let decoder = self.decoder();
        let scored =
            decoder.run(hidden, split as usize..decoder.layers()).and_then(|hidden| clean.text.score(decoder, &hidden));
        match scored {
            // A gain or noise beyond single precision leaves nothing to decode.
            Err(DecoderError::NotFinite { .. }) => Ok(Nll::chance(decoder.config().vocab, clean.nll.tokens)),
            scored => scored,
        }
    }
}

fn no_power(window: u32, split: u32) -> QualityError {
    QualityError::failed(Some(window), Some(split), "its activations have no power: no SNR can be met")
}

/// 10 lg of the median power of a transmitted row \[dB\]: the activation SNR that the
/// channel itself finds at σ = 1.
fn transmitted_power_db(channel: &ChannelSpec, state: &Hidden) -> Option<f64> {
    let unit = Conditions { noise_std: 1.0, rayleigh_scale: 1.0, gain_threshold: 0.0, loss_probability: 0.0 };
    let record: ReceptionRecord = channel.record(&unit, NoiseKey::default(), Packets::default());
    let mut sent = state.clone();
    let width = sent.width();
    channel::apply(&record, &Streams::new(0, 0), sent.values_mut(), width).activation_snr_db
}

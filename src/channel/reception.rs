//! What the channel does to a tensor: Chen25 (3) and the losses.

use std::ops::Range;

use super::analog::{receive_equalised, receive_raw};
use super::codec::Codec;
use super::concealment::{Concealment, conceal, conceal_by_mean, rescale};
use super::loss::{LossUnit, lost_chunks, lost_elements, lost_rows, lost_strides, rows_without_chunks};
use super::noise::fill_normals;
use super::normalisation::{TxNormalisation, activation_snr_db, row_powers, tx_scales};
use super::packets::Packets;
use crate::kernel::{Purpose, Stream, Streams};

/// How the edge receives a tensor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reception {
    /// Uncoded analog, as Chen25 (3) is printed: `ŷ = h·y + n`.
    Raw,
    /// Uncoded analog with coherent equalisation: `ŷ = y + n/h`.
    #[default]
    Equalised,
    /// Packets arrive intact or not at all; σ plays no part.
    Digital,
}

/// The kind of damage, the same for all requests of a channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// How the tensor is received.
    pub reception: Reception,
    /// What a lost packet takes with it.
    pub loss_unit: LossUnit,
    /// Analog only: the transmitter's scaling.
    pub tx_normalisation: TxNormalisation,
    /// Digital only: which values are on the air, and in what format.
    pub codec: Codec,
    /// What stands in place of what the prefill lost.
    pub concealment: Concealment,
    /// What stands in place of what is missing of the row of a decode round.
    pub round_concealment: Concealment,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            reception: Reception::default(),
            loss_unit: LossUnit::default(),
            tx_normalisation: TxNormalisation::default(),
            codec: Codec::default(),
            concealment: Concealment::Zero,
            // A row of zeros is like no token's, and it would stay in the edge's cache.
            round_concealment: Concealment::PreviousRow,
        }
    }
}

/// Everything that happened to one request's tensor on the air: plain data, from
/// which any model that runs makes the same damage at any time.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceptionRecord {
    /// The kind of damage.
    pub impairment: Impairment,
    /// σ, the noise's standard deviation in each element (analog only).
    pub noise_std: f64,
    /// P of [`LossUnit::ElementIid`]; plays no part otherwise.
    pub loss_probability: f64,
    /// Whose noise and element losses these are.
    pub noise_key: NoiseKey,
    /// Gains and losses of the prefill. No packets at all: gain 1, nothing lost.
    pub packets: Packets,
    /// The decode rounds of a session, one row each, in order. None without a session.
    pub rounds: Vec<RoundReception>,
}

/// What happened to the one row that a decode round sends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoundReception {
    /// Each packet's last transmission, the one that counted. No packets at all: gain 1.
    pub packets: Packets,
    /// Whether the edge goes on with the row, less what its lost packets take with them; if not, all
    /// of it is concealed: nothing of it came in time, or under `token-row` not all of it.
    pub arrived: bool,
}

/// The address of a request's [`Purpose::Noise`] and [`Purpose::ElementLoss`] draws:
/// its place in its UE's own sequence, so that no other UE's requests move them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoiseKey {
    /// The UE.
    pub ue: u32,
    /// Number of the UE's request.
    pub request: u64,
}

impl NoiseKey {
    /// 2³² blocks for each request.
    fn stream(self, streams: Streams, purpose: Purpose) -> Stream {
        streams.stream(self.ue, purpose).starting_at(self.request << 32)
    }
}

/// What is left of a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Received {
    /// Rows of which nothing arrived (with `token-row`: that lost a packet), of the
    /// prefill and of the rounds: [`ReceptionRecord::rows_lost`] + [`ReceptionRecord::rounds_lost`].
    pub rows_lost: usize,
    /// Values that did not arrive, of all rows, whatever stands in their place.
    pub elements_lost: usize,
    /// `10 lg(median row power / σ²)` \[dB\] of the prefill's rows as transmitted, at h = 1. The
    /// median, as LLaMA's first row is an outlier. `None` for digital
    /// reception, σ = 0, or a median of 0.
    pub activation_snr_db: Option<f64>,
    /// Whether any value of the prefill arrived; if not, the request is an outage.
    pub anything_arrived: bool,
}

/// What was sent at one time: the prefill, or the row of a decode round.
struct Transmission<'a> {
    /// Its part of the tensor.
    values: Range<usize>,
    packets: &'a Packets,
    arrived: bool,
    concealment: Concealment,
    /// Whether its packets take elements in turn.
    interleaved: bool,
}

impl Transmission<'_> {
    /// The slices that met one gain, in order: (slice, gain, whether its packet was lost).
    fn slices(&self) -> impl Iterator<Item = (Range<usize>, f32, bool)> {
        let (start, values, packets) = (self.values.start, self.values.len(), self.packets);
        let unfaded = packets.is_empty().then_some((start..start + values, 1.0, false));
        let parts = packets.iter().enumerate().filter(|_| !self.interleaved).map(move |(k, (gain, lost))| {
            let slice = packets.values(k, values);
            (start + slice.start..start + slice.end, gain, lost)
        });
        let met: Vec<(f32, bool)> = packets.iter().filter(|_| self.interleaved).collect();
        let in_turn = if met.is_empty() { 0 } else { values };
        let turns = (0..in_turn).map(move |e| {
            let (gain, lost) = met[e % met.len()];
            (start + e..start + e + 1, gain, lost)
        });
        unfaded.into_iter().chain(parts).chain(turns)
    }
}

impl ReceptionRecord {
    /// The rows lost of a prefill of `rows` rows, as [`apply`] will find them; `None`
    /// for [`LossUnit::ElementIid`], where that takes the draws and the width.
    ///
    /// `token-row`: the rows that a lost packet has a part in. `chunk`: the rows
    /// that no arrived packet has a part in. `interleaved`: all if every packet was lost, none
    /// otherwise, for each has a part in every row.
    pub fn rows_lost(&self, rows: usize) -> Option<usize> {
        self.rows_lost_of(&self.packets, rows)
    }

    /// How many decode rounds lost their row, as [`apply`] will find them; `None` if
    /// that takes the draws ([`LossUnit::ElementIid`], and a round that arrived).
    ///
    /// Those that did not arrive, and of the others those of which
    /// [`rows_lost`](Self::rows_lost) would count the one row.
    pub fn rounds_lost(&self) -> Option<usize> {
        let lost = |round: &RoundReception| {
            if round.arrived { self.rows_lost_of(&round.packets, 1) } else { Some(1) }
        };
        self.rounds.iter().map(lost).sum()
    }

    fn rows_lost_of(&self, packets: &Packets, rows: usize) -> Option<usize> {
        let is_dead = |gain, lost| self.is_dead(gain, lost);
        match self.impairment.loss_unit {
            LossUnit::TokenRow => Some(lost_rows(packets, rows, is_dead).map(|span| span.len()).sum()),
            LossUnit::Chunk => Some(rows_without_chunks(packets, rows, is_dead)),
            LossUnit::Interleaved => Some(if self.carries_nothing(packets) { rows } else { 0 }),
            LossUnit::ElementIid => None,
        }
    }

    /// Whether there are packets, and none of them carries anything to the receiver.
    fn carries_nothing(&self, packets: &Packets) -> bool {
        !packets.is_empty() && packets.iter().all(|(gain, lost)| self.is_dead(gain, lost))
    }

    /// Whether a packet carries nothing to the receiver. A gain of 0 cannot be equalised.
    fn is_dead(&self, gain: f32, lost: bool) -> bool {
        let silent = self.impairment.reception == Reception::Equalised && gain == 0.0;
        silent || (lost && self.impairment.loss_unit != LossUnit::ElementIid)
    }

    /// Rows of the prefill among `rows` rows, S of S + R.
    fn prefill_rows(&self, rows: usize) -> usize {
        rows.saturating_sub(self.rounds.len())
    }

    /// The prefill and the rounds of a tensor of `values` values, rows of `d`: together all of it, in order.
    fn transmissions(&self, values: usize, d: usize) -> impl Iterator<Item = Transmission<'_>> {
        let prefill = (self.prefill_rows(values.div_ceil(d)) * d).min(values);
        let interleaved = self.impairment.loss_unit == LossUnit::Interleaved;
        let first = Transmission {
            values: 0..prefill,
            packets: &self.packets,
            arrived: true,
            concealment: self.impairment.concealment,
            interleaved,
        };
        let rounds = (prefill..values).step_by(d).zip(&self.rounds).map(move |(start, round)| Transmission {
            values: start..(start + d).min(values),
            packets: &round.packets,
            arrived: round.arrived,
            concealment: self.impairment.round_concealment,
            interleaved,
        });
        std::iter::once(first).chain(rounds)
    }
}

/// Damages a tensor as `record` says: `rows`, S + R rows of `d` values in
/// row-major order, in place. S are those of the prefill, and the last R, one
/// for each of `record.rounds`, those of the decode rounds (R = 0 without a session).
///
/// In this order: encoding (digital, [`Codec::quantise`]); the transmitter's
/// scaling ([`tx_scales`]), gain and noise (analog, [`receive_raw`],
/// [`receive_equalised`]); losses ([`lost_rows`], [`lost_chunks`], [`lost_strides`],
/// [`lost_elements`]), row by row, and what stands in their place ([`conceal`],
/// [`conceal_by_mean`], [`rescale`]).
///
/// A round's row meets the gains of its own packets. It is lost as a whole if it
/// did not arrive ([`RoundReception::arrived`]); otherwise its lost packets lose what
/// `loss_unit` says, as in the prefill, and with `element-iid` its elements are lost as the
/// prefill's are. `round_concealment` stands in place of any of it.
///
/// Element e's noise and loss depend on (`record.noise_key`, e) alone: losing one
/// packet moves no other element's noise, and the row of a round has the noise
/// that it would have in a longer prefill. Nothing depends on what else is
/// evaluated, before or at the same time: a batch gives what its windows give
/// alone. The result is finite for finite input: analog values saturate at ±[`f32::MAX`].
pub fn apply(record: &ReceptionRecord, streams: &Streams, rows: &mut [f32], d: usize) -> Received {
    let d = d.max(1);
    let activation_snr_db = if record.impairment.reception == Reception::Digital {
        record.impairment.codec.quantise(rows, d);
        None
    } else {
        let power = row_powers(rows, d);
        let prefill = record.prefill_rows(power.len());
        let scale = scales(record, &power, rows, d);
        fade_and_add_noise(record, &record.noise_key.stream(*streams, Purpose::Noise), rows, d, &scale);
        activation_snr_db(&power[..prefill], &scale[..prefill], record.noise_std)
    };
    let draws = record.noise_key.stream(*streams, Purpose::ElementLoss);
    let mut received = Received { rows_lost: 0, elements_lost: 0, activation_snr_db, anything_arrived: false };
    for (index, transmission) in record.transmissions(rows.len(), d).enumerate() {
        let (rows_lost, elements_lost) = lose(record, &transmission, &draws, rows, d);
        received.rows_lost += rows_lost;
        received.elements_lost += elements_lost;
        if index == 0 {
            received.anything_arrived = elements_lost < transmission.values.len();
        }
    }
    received
}

/// The transmitter's scale of each row, transmission by transmission.
fn scales(record: &ReceptionRecord, power: &[f64], rows: &[f32], d: usize) -> Vec<f64> {
    let of = |transmission: Transmission| {
        let Range { start, end } = transmission.values;
        tx_scales(record.impairment.tx_normalisation, &power[start / d..end.div_ceil(d)], &rows[start..end])
    };
    record.transmissions(rows.len(), d).flat_map(of).collect()
}

/// The channel of analog reception, a row at a time: noise is drawn in rows, and each slice of a row meets its gain.
fn fade_and_add_noise(record: &ReceptionRecord, noise: &Stream, rows: &mut [f32], d: usize, scale: &[f64]) {
    let receive = if record.impairment.reception == Reception::Raw { receive_raw } else { receive_equalised };
    let values = rows.len();
    let mut normals = vec![0.0; d.min(values)];
    let transmissions: Vec<Transmission> = record.transmissions(values, d).collect();
    let mut slices = transmissions.iter().flat_map(Transmission::slices);
    let (mut slice, mut gain) = (0..0, 1.0);
    for (r, (row, scale)) in rows.chunks_mut(d).zip(scale).enumerate() {
        let normals = &mut normals[..row.len()];
        // Without noise the normals stay 0 and are not worth drawing.
        if record.noise_std > 0.0 {
            fill_normals(noise, r * d, normals);
        }
        let mut done = 0;
        while done < row.len() {
            while slice.end <= r * d + done {
                match slices.next() {
                    Some((next, h, _)) => (slice, gain) = (next, f64::from(h)),
                    None => slice.end = values,
                }
            }
            let until = (slice.end - r * d).min(row.len());
            receive(&mut row[done..until], gain, record.noise_std, *scale, &normals[done..until]);
            done = until;
        }
    }
}

/// Conceals what one transmission lost; returns how many (rows, elements) that is. `draws` is for lone elements.
fn lose(
    record: &ReceptionRecord,
    transmission: &Transmission,
    draws: &Stream,
    rows: &mut [f32],
    d: usize,
) -> (usize, usize) {
    let Range { start, end } = transmission.values;
    let mut elements = 0;
    let how = transmission.concealment;
    if matches!(how, Concealment::Zero | Concealment::PreviousRow) {
        let rows_lost = for_each_loss(record, transmission, draws, d, &mut |lost| {
            elements += lost.len();
            conceal(rows, d, lost, how);
        });
        return (rows_lost, elements);
    }
    // These two look at all that is there before they put anything in place of the rest.
    let mut is_lost = vec![false; end - start];
    let rows_lost = for_each_loss(record, transmission, draws, d, &mut |lost| {
        elements += lost.len();
        is_lost[lost.start - start..lost.end - start].fill(true);
    });
    if elements > 0 {
        let (before, sent) = rows[..end].split_at_mut(start);
        match how {
            Concealment::Mean => conceal_by_mean(before, sent, d, &is_lost),
            Concealment::Rescale | Concealment::Zero | Concealment::PreviousRow => rescale(sent, d, &is_lost),
        }
    }
    (rows_lost, elements)
}

/// Hands what one transmission lost to `lose`, as disjoint ranges of the tensor's elements in ascending order; returns
/// how many rows count as lost.
fn for_each_loss(
    record: &ReceptionRecord,
    transmission: &Transmission,
    draws: &Stream,
    d: usize,
    lose: &mut dyn FnMut(Range<usize>),
) -> usize {
    let packets = transmission.packets;
    let Range { start, end } = transmission.values;
    let is_dead = |gain, lost| record.is_dead(gain, lost);
    let count = (end - start).div_ceil(d);
    match record.impairment.loss_unit {
        _ if !transmission.arrived => {
            lose(start..end);
            count
        }
        LossUnit::TokenRow => {
            let mut rows_lost = 0;
            for span in lost_rows(packets, count, is_dead) {
                rows_lost += span.len();
                lose(start + span.start * d..(start + span.end * d).min(end));
            }
            rows_lost
        }
        LossUnit::Chunk => {
            for slice in lost_chunks(packets, end - start, is_dead) {
                lose(start + slice.start..start + slice.end);
            }
            rows_without_chunks(packets, count, is_dead)
        }
        LossUnit::Interleaved => {
            for e in lost_strides(packets, end - start, is_dead) {
                lose(start + e..start + e + 1);
            }
            if record.carries_nothing(packets) { count } else { 0 }
        }
        LossUnit::ElementIid => {
            let mut missing = vec![0usize; count];
            for (slice, gain, lost) in transmission.slices() {
                // Of a packet that carries nothing, all is lost.
                let probability = if is_dead(gain, lost) { 1.0 } else { record.loss_probability };
                for e in lost_elements(draws, slice, probability) {
                    missing[(e - start) / d] += 1;
                    lose(e..e + 1);
                }
            }
            let lengths = (start..end).step_by(d).map(|first| d.min(end - first));
            missing.iter().zip(lengths).filter(|&(&missing, length)| missing == length).count()
        }
    }
}

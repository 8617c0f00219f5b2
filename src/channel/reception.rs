//! What the channel does to a tensor: Chen25 (3) and the losses.

use std::ops::Range;

use super::encoding::Encoding;
use super::noise::fill_normals;
use super::packets::Packets;
use crate::kernel::{Purpose, Stream, Streams};
use crate::units::db_from_ratio;

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

/// What is missing when a packet is lost. What is missing is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-planned" = ["interleaved"]))]
pub enum LossUnit {
    /// Every row (token) that the packet has a part in.
    #[default]
    TokenRow,
    /// The packet's own slice.
    Chunk,
    /// Every element on its own, with the loss probability P; packets are not
    /// lost. No channel does this; Chen25's published code does.
    ElementIid,
}

/// How an analog transmitter scales the tensor. The receiver knows the scale
/// factors without error and scales back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TxNormalisation {
    /// Not at all: σ is absolute, as in Chen25.
    #[default]
    None,
    /// Each row to unit mean power: σ is relative to the row.
    PerRow,
    /// The whole tensor to unit mean power: σ is relative to the request.
    PerRequest,
}

/// The kind of damage, the same for all requests of a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Impairment {
    /// How the tensor is received.
    pub reception: Reception,
    /// What a lost packet takes with it.
    pub loss_unit: LossUnit,
    /// Analog only: the transmitter's scaling.
    pub tx_normalisation: TxNormalisation,
    /// Digital only: the format of the values on the air.
    pub encoding: Encoding,
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
    /// Gains and losses. No packets at all: gain 1, nothing lost.
    pub packets: Packets,
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
    /// Rows of which nothing arrived (with `token-row`: that lost a packet).
    pub rows_lost: usize,
    /// Values that did not arrive.
    pub elements_lost: usize,
    /// `10 lg(median row power / σ²)` \[dB\] of the rows as transmitted, at h = 1. The
    /// median, as LLaMA's first row is an outlier. `None` for digital
    /// reception, σ = 0, or a median of 0.
    pub activation_snr_db: Option<f64>,
    /// Whether any value arrived; if not, the request is an outage.
    pub anything_arrived: bool,
}

impl ReceptionRecord {
    /// The rows lost of a tensor of `rows` rows, as [`apply`] will find them; `None`
    /// for [`LossUnit::ElementIid`], where that takes the draws and the width.
    ///
    /// `token-row`: the rows that a lost packet has a part in. `chunk`: the rows
    /// that no arrived packet has a part in.
    pub fn rows_lost(&self, rows: usize) -> Option<usize> {
        match self.impairment.loss_unit {
            LossUnit::TokenRow => Some(self.row_spans(rows, true).map(|span| span.len()).sum()),
            LossUnit::Chunk if self.packets.is_empty() => Some(0),
            LossUnit::Chunk => {
                let touched: usize = self.row_spans(rows, false).map(|span| span.len()).sum();
                Some(rows - touched)
            }
            LossUnit::ElementIid => None,
        }
    }

    /// Whether a packet carries nothing to the receiver. A gain of 0 cannot be equalised.
    fn is_dead(&self, gain: f32, lost: bool) -> bool {
        let silent = self.impairment.reception == Reception::Equalised && gain == 0.0;
        silent || (lost && self.impairment.loss_unit != LossUnit::ElementIid)
    }

    /// Disjoint spans of the rows in which a packet has a part that is `dead` (or not), none empty.
    fn row_spans(&self, rows: usize, dead: bool) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut covered = 0;
        let chosen = self.packets.iter().enumerate().filter(move |&(_, (gain, lost))| self.is_dead(gain, lost) == dead);
        let spans = chosen.map(move |(k, _)| {
            let span = self.packets.rows(k, rows);
            let fresh = span.start.max(covered)..span.end.max(covered);
            covered = fresh.end;
            fresh
        });
        spans.filter(|span| !span.is_empty())
    }

    /// The slices of a tensor of `values` values that met one gain: (slice, gain, dead).
    fn slices(&self, values: usize) -> impl Iterator<Item = (Range<usize>, f64, bool)> + '_ {
        let unfaded = self.packets.is_empty().then_some((0..values, 1.0, false));
        unfaded.into_iter().chain(
            self.packets.iter().enumerate().map(move |(k, (gain, lost))| {
                (self.packets.values(k, values), f64::from(gain), self.is_dead(gain, lost))
            }),
        )
    }
}

/// Damages a tensor as `record` says: `rows`, S rows of `d` values in row-major
/// order, in place.
///
/// In this order: encoding (digital), the transmitter's scaling (analog), the
/// channel, losses. Element e's noise and loss depend on (`record.noise_key`, e)
/// alone: losing one packet moves no other element's noise. The result is
/// finite for finite input: analog values saturate at ±[`f32::MAX`].
pub fn apply(record: &ReceptionRecord, streams: &Streams, rows: &mut [f32], d: usize) -> Received {
    let d = d.max(1);
    let activation_snr_db = if record.impairment.reception == Reception::Digital {
        record.impairment.encoding.quantise(rows);
        None
    } else {
        let power: Vec<f64> = rows.chunks(d).map(mean_power).collect();
        let scale = inverse_tx_gains(record.impairment.tx_normalisation, &power, rows);
        add_noise(record, &record.noise_key.stream(*streams, Purpose::Noise), rows, d, &scale);
        activation_snr_db(&power, &scale, record.noise_std)
    };
    let (rows_lost, elements_lost) = lose(record, &record.noise_key.stream(*streams, Purpose::ElementLoss), rows, d);
    Received { rows_lost, elements_lost, activation_snr_db, anything_arrived: elements_lost < rows.len() }
}

/// The mean square of a row.
fn mean_power(row: &[f32]) -> f64 {
    row.iter().map(|&y| f64::from(y) * f64::from(y)).sum::<f64>() / row.len() as f64
}

/// By row, the factor that undoes the transmitter's scaling: the root mean square it scaled to 1.
fn inverse_tx_gains(normalisation: TxNormalisation, power: &[f64], rows: &[f32]) -> Vec<f64> {
    match normalisation {
        TxNormalisation::None => vec![1.0; power.len()],
        TxNormalisation::PerRow => power.iter().map(|power| power.sqrt()).collect(),
        TxNormalisation::PerRequest => vec![mean_power(rows).sqrt(); power.len()],
    }
}

/// The channel, with the transmitter's scaling 1/s and its undoing taken
/// together: `s·(h·y/s + n) = h·y + s·n`. A row without power (s = 0) stays zero.
fn add_noise(record: &ReceptionRecord, noise: &Stream, rows: &mut [f32], d: usize, scale: &[f64]) {
    let raw = record.impairment.reception == Reception::Raw;
    let values = rows.len();
    let mut normals = vec![0.0; d.min(values)];
    let mut slices = record.slices(values);
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
                    Some((next, h, _)) => (slice, gain) = (next, h),
                    None => slice.end = values,
                }
            }
            let until = (slice.end - r * d).min(row.len());
            let (signal, std) = if raw {
                (gain, record.noise_std * scale)
            } else {
                // A gain of 0 is a loss, dealt with later.
                (1.0, if gain > 0.0 { record.noise_std * scale / gain } else { 0.0 })
            };
            for (y, n) in row[done..until].iter_mut().zip(&normals[done..until]) {
                *y = saturate(signal * f64::from(*y) + std * n);
            }
            done = until;
        }
    }
}

/// The nearest finite single-precision value.
#[inline]
fn saturate(value: f64) -> f32 {
    value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

/// [`Received::activation_snr_db`].
fn activation_snr_db(power: &[f64], scale: &[f64], noise_std: f64) -> Option<f64> {
    let mut sent: Vec<f64> = power
        .iter()
        .zip(scale)
        .map(|(power, scale)| if *scale > 0.0 { power / (scale * scale) } else { 0.0 })
        .collect();
    sent.sort_by(f64::total_cmp);
    let middle = sent.len() / 2;
    let median = if sent.len() % 2 == 1 {
        sent[middle]
    } else if middle > 0 {
        f64::midpoint(sent[middle - 1], sent[middle])
    } else {
        0.0
    };
    (median > 0.0 && noise_std > 0.0).then(|| db_from_ratio(median / (noise_std * noise_std)))
}

/// Zeroes what was lost; returns how many (rows, elements). `draws` is for lone elements.
fn lose(record: &ReceptionRecord, draws: &Stream, rows: &mut [f32], d: usize) -> (usize, usize) {
    let (values, count) = (rows.len(), rows.len().div_ceil(d));
    let mut elements = 0;
    match record.impairment.loss_unit {
        LossUnit::TokenRow => {
            for span in record.row_spans(count, true) {
                let lost = &mut rows[span.start * d..(span.end * d).min(values)];
                elements += lost.len();
                lost.fill(0.0);
            }
        }
        LossUnit::Chunk => {
            for (slice, ..) in record.slices(values).filter(|&(.., dead)| dead) {
                elements += slice.len();
                rows[slice].fill(0.0);
            }
        }
        LossUnit::ElementIid => return lose_elements(record, draws, rows, d),
    }
    (record.rows_lost(count).unwrap_or(0), elements)
}

/// Loses each element with P: element e if word e % 4 of block e / 4 is below P·2³².
fn lose_elements(record: &ReceptionRecord, draws: &Stream, rows: &mut [f32], d: usize) -> (usize, usize) {
    let threshold = (record.loss_probability * (1u64 << 32) as f64).round() as u64;
    let mut arrived = vec![0usize; rows.len().div_ceil(d)];
    for (slice, _, dead) in record.slices(rows.len()) {
        let mut block = (u64::MAX, [0; 4]);
        for e in slice {
            let index = e as u64 / 4;
            if block.0 != index {
                block = (index, draws.block(index));
            }
            if dead || u64::from(block.1[e % 4]) < threshold {
                rows[e] = 0.0;
            } else {
                arrived[e / d] += 1;
            }
        }
    }
    (arrived.iter().filter(|&&n| n == 0).count(), rows.len() - arrived.iter().sum::<usize>())
}

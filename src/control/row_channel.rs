//! A channel without time axis: rows cross it one after the other, each packet is
//! lost or not on its own. For looking at a model; the simulation has fades in time.

use crate::channel::{
    self, Impairment, LossUnit, NoiseKey, OutageError, Packets, Received, Reception, ReceptionRecord, RoundReception,
    gain_threshold_for,
};
use crate::kernel::{Purpose, Streams};
use crate::llm::Hidden;

/// Transmissions of a packet before it is given up: at P = 0.9 one in 10⁴⁵ packets.
const MOST_TRANSMISSIONS: u32 = 1000;
/// The largest σ, as in scenarios.
const LARGEST_NOISE: f64 = 1e6;

/// Whether the rows of generated tokens are sent again. Those of the prompt are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecodeDelivery {
    /// Lost packets are sent again until they arrive (acknowledged mode).
    #[default]
    Acknowledged,
    /// Sent once; `round_concealment` stands in place of what `loss_unit` loses.
    Once,
}

/// The channel between device and edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowChannel {
    /// What gain, noise and loss do to the tensor.
    pub impairment: Impairment,
    /// σ.
    pub noise_std: f64,
    /// P: of each packet, or with `element-iid` of each element.
    pub loss_probability: f64,
    /// σ_h of a Rayleigh gain drawn for each packet; a packet is lost if it meets a gain
    /// below h_th, which follows from P by eq. (4). `None`: the gain is 1.
    pub rayleigh_scale: Option<f64>,
    /// Packets of a row.
    pub packets_per_row: usize,
    /// Delivery of the rows of generated tokens.
    pub decode_delivery: DecodeDelivery,
}

/// A [`RowChannel`] out of range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RowChannelError {
    /// P or σ_h is out of range.
    #[error(transparent)]
    Outage(#[from] OutageError),
    /// σ is negative, too large or not a number.
    #[error("noise of standard deviation {0} is not allowed; allowed: 0 to {LARGEST_NOISE}")]
    Noise(f64),
    /// A row without packets, or with more than values.
    #[error("{packets} packets per row are not allowed; allowed: 1 to the {width} values of a row of this model")]
    Packets {
        /// The number asked for.
        packets: usize,
        /// Values of a row.
        width: usize,
    },
}

/// What the uplink carried, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Rows of the prompt, S.
    pub prompt_rows: usize,
    /// Of these, lost.
    pub prompt_rows_lost: usize,
    /// Rows of generated tokens that were sent.
    pub decode_rows: usize,
    /// Of these, lost (under `chunk` and `interleaved`: those of which nothing arrived).
    pub decode_rows_lost: usize,
    /// Values that did not arrive, of all rows.
    pub elements_lost: usize,
    /// Packets of the rows of generated tokens that were sent again.
    pub packets_repeated: u64,
    /// Values on the air, repetitions included.
    pub values: u64,
    /// Bits on the air, repetitions included; 0 for analog reception, which has none.
    pub bits: u64,
    /// 10 lg(median power of a row of the prompt / σ²) \[dB\], analog only.
    pub activation_snr_db: Option<f64>,
}

/// One session's rows on their way: what was sent, and what happened to it.
#[derive(Debug)]
pub(super) struct Crossing {
    channel: RowChannel,
    streams: Streams,
    width: usize,
    record: ReceptionRecord,
    /// All rows as sent.
    sent: Vec<f32>,
    traffic: Traffic,
}

impl RowChannel {
    /// Checks the ranges for rows of `width` values.
    ///
    /// # Errors
    /// [`RowChannelError`].
    pub fn check(&self, width: usize) -> Result<(), RowChannelError> {
        if !(0.0..=LARGEST_NOISE).contains(&self.noise_std) {
            return Err(RowChannelError::Noise(self.noise_std));
        }
        gain_threshold_for(self.loss_probability, self.rayleigh_scale.unwrap_or(1.0))?;
        let packets = self.packets_per_row;
        if (1..=width).contains(&packets) { Ok(()) } else { Err(RowChannelError::Packets { packets, width }) }
    }
}

impl Crossing {
    pub(super) fn new(channel: RowChannel, streams: Streams, width: usize) -> Self {
        let record = ReceptionRecord {
            impairment: channel.impairment,
            noise_std: channel.noise_std,
            loss_probability: channel.loss_probability,
            noise_key: NoiseKey::default(),
            packets: Packets::default(),
            rounds: Vec::new(),
        };
        Self { channel, streams, width, record, sent: Vec::new(), traffic: Traffic::default() }
    }

    /// Sends the rows of the prompt (first) or of one token (then); what the edge has of
    /// them, and whether that is anything.
    pub(super) fn send(&mut self, rows: Hidden) -> (Vec<f32>, bool) {
        let start = self.sent.len();
        let first_row = start / self.width;
        let count = rows.rows();
        self.sent.extend(rows.into_vec());
        if start == 0 {
            for row in 0..count {
                for k in 0..self.channel.packets_per_row {
                    let (gain, lost) = self.transmit(row, k, 0);
                    self.record.packets.push(gain, lost);
                }
            }
        } else {
            let round = self.send_round(first_row);
            self.record.rounds.push(round);
        }
        // All rows again, though only the last are new: one definition of what happens to a row, whether it is sent
        // here or simulated, and cheap beside the layers.
        let mut received = self.sent.clone();
        let damage = channel::apply(&self.record, &self.streams, &mut received, self.width);
        self.count(start == 0, count, damage);
        (received.split_off(start), damage.anything_arrived)
    }

    /// What was sent and lost so far.
    pub(super) fn traffic(&self) -> Traffic {
        self.traffic
    }

    fn count(&mut self, is_prompt: bool, rows: usize, damage: Received) {
        let traffic = &mut self.traffic;
        if is_prompt {
            traffic.prompt_rows = rows;
            traffic.prompt_rows_lost = damage.rows_lost;
            traffic.activation_snr_db = damage.activation_snr_db;
        } else {
            traffic.decode_rows += rows;
            traffic.decode_rows_lost = damage.rows_lost - traffic.prompt_rows_lost;
        }
        traffic.elements_lost = damage.elements_lost;
    }

    /// The packets of the row of one token.
    fn send_round(&mut self, row: usize) -> RoundReception {
        let mut packets = Packets::with_capacity(self.channel.packets_per_row);
        for k in 0..self.channel.packets_per_row {
            let (mut gain, mut lost) = self.transmit(row, k, 0);
            if self.channel.decode_delivery == DecodeDelivery::Acknowledged {
                for transmission in 1..MOST_TRANSMISSIONS {
                    if !lost {
                        break;
                    }
                    (gain, lost) = self.transmit(row, k, transmission);
                    self.traffic.packets_repeated += 1;
                }
            }
            packets.push(gain, lost);
        }
        // Packets that never came lose what `loss_unit` says.
        RoundReception { packets, arrived: true }
    }

    /// One transmission of packet k of a row: its gain, and whether it was lost. With fading,
    /// `h = σ_h·√(-2 ln(1 - u))` is below h_th exactly if u < P: the same packets are lost without.
    fn transmit(&mut self, row: usize, k: usize, transmission: u32) -> (f64, bool) {
        let Self { channel, width, .. } = *self;
        let packets = channel.packets_per_row;
        let values = ((k + 1) * width / packets - k * width / packets) as u64;
        self.traffic.values += values;
        if channel.impairment.reception == Reception::Digital {
            self.traffic.bits += channel.impairment.codec.packet_bits(k as u64, packets as u64, width as u64);
        }
        let uniform = self.streams.stream(transmission, Purpose::PacketLoss).uniform((row * packets + k) as u64);
        let gain = channel.rayleigh_scale.map_or(1.0, |scale| scale * (-2.0 * (-uniform).ln_1p()).sqrt());
        // Single elements are lost on their own then.
        let lost = channel.impairment.loss_unit != LossUnit::ElementIid && uniform < channel.loss_probability;
        (gain, lost)
    }
}

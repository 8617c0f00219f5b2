//! What became of a tensor's packets on the air.

use std::ops::Range;

/// The gain that each of K packets met at its midpoint in time, and which of
/// them were lost. Five bytes per packet, roughly.
///
/// Packet k of K carries the part [k/K, (k + 1)/K) of the tensor in row-major
/// order. Parts and not values, because the packets are those of the cost
/// geometry (say 4096 values per row) while the tensor is the running model's
/// (say 128). The last packet is taken to be as long as the others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Packets {
    gains: Vec<f32>,
    /// Bit k % 64 of word k / 64: packet k was lost.
    lost: Vec<u64>,
}

impl Packets {
    /// No packets yet, with room for `count`.
    pub fn with_capacity(count: usize) -> Self {
        Self { gains: Vec::with_capacity(count), lost: Vec::with_capacity(count.div_ceil(64)) }
    }

    /// Forgets all packets and keeps their room.
    pub fn clear(&mut self) {
        self.gains.clear();
        self.lost.clear();
    }

    /// The next packet: its gain h (finite, at least 0) and whether it was lost.
    pub fn push(&mut self, gain: f64, lost: bool) {
        let k = self.gains.len();
        if k.is_multiple_of(64) {
            self.lost.push(0);
        }
        if let Some(word) = self.lost.last_mut() {
            *word |= u64::from(lost) << (k % 64);
        }
        self.gains.push(gain as f32);
    }

    /// K, the number of packets sent.
    pub fn len(&self) -> usize {
        self.gains.len()
    }

    /// Whether there is no packet.
    pub fn is_empty(&self) -> bool {
        self.gains.is_empty()
    }

    /// Each packet's gain h and whether it was lost, in order of sending.
    pub fn iter(&self) -> impl Iterator<Item = (f32, bool)> + '_ {
        self.gains.iter().enumerate().map(|(k, &gain)| (gain, self.lost[k / 64] >> (k % 64) & 1 == 1))
    }

    /// How many packets were lost.
    pub fn lost(&self) -> usize {
        self.lost.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many bursts the losses form: runs of consecutive lost packets.
    pub fn loss_bursts(&self) -> usize {
        let (mut bursts, mut before) = (0, false);
        for (_, lost) in self.iter() {
            bursts += usize::from(lost && !before);
            before = lost;
        }
        bursts
    }

    /// The mean of h over packets; `None` without packets.
    pub fn mean_gain(&self) -> Option<f64> {
        let sum: f64 = self.gains.iter().map(|&gain| f64::from(gain)).sum();
        (!self.is_empty()).then(|| sum / self.len() as f64)
    }

    /// The values that packet k < K carries of a tensor of `values` values:
    /// ⌊k·n/K⌋ to ⌊(k + 1)·n/K⌋, empty if there are more packets than values.
    pub fn values(&self, k: usize, values: usize) -> Range<usize> {
        scaled(k, values, self.len())..scaled(k + 1, values, self.len())
    }

    /// The rows that packet k < K has a part in, of a tensor of `rows` rows: ⌊k·S/K⌋
    /// to ⌈(k + 1)·S/K⌉. A packet may have a part in a row that is less than a
    /// value of the running model; the rows lost therefore do not depend on
    /// the running model's width.
    pub fn rows(&self, k: usize, rows: usize) -> Range<usize> {
        // ⌈a⌉ = -⌊-a⌋, from the tensor's other end.
        let start = scaled(k, rows, self.len());
        start..rows - scaled(self.len().saturating_sub(k + 1), rows, self.len())
    }
}

/// ⌊k·n/K⌋ without overflow; n for K = 0.
fn scaled(k: usize, n: usize, count: usize) -> usize {
    if count == 0 { n } else { (k as u128 * n as u128 / count as u128) as usize }
}

//! When which bit of a flow was sent: the parts of slots that it got.

use crate::units::SimTime;

/// What one flow got, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceLog {
    /// The length of a slot \[ns\].
    slot: u64,
    segments: Vec<Segment>,
    /// Bits sent.
    bits: u64,
    /// The end of the last segment.
    end: SimTime,
    airtime: SimTime,
}

/// A span in which a flow was served without a break, at one rate. Slots that follow
/// each other share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    begin: SimTime,
    bits_before: u64,
    bits_per_slot: u64,
}

impl ServiceLog {
    /// Nothing yet, in slots of the given length.
    pub fn new(slot: SimTime) -> Self {
        let slot = slot.as_nanos();
        Self { slot, segments: Vec::new(), bits: 0, end: SimTime::ZERO, airtime: SimTime::ZERO }
    }

    /// Notes that `bits` were sent from `begin` to `end`, at `bits_per_slot` > 0.
    pub fn push(&mut self, begin: SimTime, end: SimTime, bits: u64, bits_per_slot: u64) {
        let continues = self.segments.last().is_some_and(|last| {
            let span = begin.saturating_sub(last.begin).as_nanos();
            last.bits_per_slot == bits_per_slot
                && self.end == begin
                // Not if the segment's end lost the part of a bit.
                && u128::from(self.bits - last.bits_before) * u128::from(self.slot)
                    == u128::from(span) * u128::from(bits_per_slot)
        });
        if !continues {
            self.segments.push(Segment { begin, bits_before: self.bits, bits_per_slot });
        }
        self.bits += bits;
        self.end = end;
        self.airtime += end - begin;
    }

    /// The sum of all parts.
    pub fn airtime(&self) -> SimTime {
        self.airtime
    }

    /// The first nanoseconds at which each of the increasing `amounts` had been sent: 0 at
    /// `start`, amounts beyond what was sent with the last bit.
    pub fn instants(&self, start: SimTime, amounts: impl Iterator<Item = u64>) -> impl Iterator<Item = SimTime> {
        // The segment in which the amount is reached.
        let mut at = 0;
        amounts.map(move |amount| {
            let amount = amount.min(self.bits);
            while self.segments.get(at + 1).is_some_and(|next| next.bits_before < amount) {
                at += 1;
            }
            match self.segments.get(at) {
                Some(segment) if amount > 0 => {
                    let nanos = nanos_of(amount - segment.bits_before, segment.bits_per_slot, self.slot);
                    segment.begin + SimTime::from_nanos(nanos)
                }
                _ => start,
            }
        })
    }

    #[cfg(test)]
    pub fn segments(&self) -> usize {
        self.segments.len()
    }
}

/// The time that `bits` take at `bits_per_slot` > 0, rounded up \[ns\].
pub(super) fn nanos_of(bits: u64, bits_per_slot: u64, slot: u64) -> u64 {
    let nanos = (u128::from(bits) * u128::from(slot)).div_ceil(u128::from(bits_per_slot));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

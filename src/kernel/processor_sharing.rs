//! Processor sharing: a server of capacity 1 whose `n` present flows are each
//! served at rate `1/n` (Kleinrock, "Queueing Systems" vol. 2, section 4.4).
//! The radio of a cell shared at flow level, or an edge that shares its
//! processor. Generalised by weights `w` (discriminatory processor sharing:
//! Altman, Avrachenkov, Ayesta, "A survey on discriminatory processor sharing",
//! Queueing Systems 53, 2006) and by a capacity `G(n)` that grows with the flows
//! present ([`CapacityGain`]): flow i is served at rate `G(n)·wᵢ/Σw`.
//!
//! Virtual time `V` is the work that a flow of weight 1 present all the time would
//! have received: `dV/dt = G(n)/Σw`. A flow of work `x` that arrives at virtual time
//! `V₀` leaves when `V = V₀ + x/w`, its *finish tag*, whatever comes and goes
//! meanwhile. So a heap of finish tags serves every arrival and departure in
//! O(log n), without touching the other flows.
//!
//! `V` is a fixed-point integer with 40 bits below the nanosecond, rounded down
//! at each change of `n`. Where no `G(n)` exceeds 1, whatever the weights, a flow's
//! share of any span therefore never exceeds the span itself, from which follows
//! exactly: **a sojourn is never shorter than its work**, and without a gain a flow that
//! is alone leaves at `start + work` to the nanosecond. Otherwise a sojourn is
//! never shorter than its work divided by the largest `G(n)`. Departures are rounded
//! up to whole nanoseconds; the capacity up to there, less than 1 ns per departure, is
//! lost. Rounding `V` moves no departure before 2³⁰ changes times `Σw` in one
//! busy period: a margin of 2⁻¹⁰ ns absorbs it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::capacity_gain::CapacityGain;
use crate::units::SimTime;

/// The largest weight of a flow.
pub const MAX_WEIGHT: u32 = 1000;

/// Bits of virtual time below the nanosecond.
const FRACTION_BITS: u32 = 40;

/// 2⁻¹⁰ ns: an instant that exceeds a whole nanosecond by less is taken for it.
/// Without it, rounding `V` down would push exact instants to the next nanosecond.
const TOLERANCE: u128 = 1 << (FRACTION_BITS - 10);

/// Cancelled tags tolerated in the heap beyond the number of live ones.
const SWEEP_SLACK: usize = 64;

/// Names one flow in service. An id outlives its flow harmlessly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId {
    slot: u32,
    generation: u32,
}

/// A flow that has received all its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departed<J> {
    /// What the flow was served for.
    pub job: J,
    /// When it arrived.
    pub start: SimTime,
    /// The work it brought: the sojourn it would have had alone.
    pub work: SimTime,
    /// When it left; without a gain `finish - start >= work`.
    pub finish: SimTime,
    /// Its weight.
    pub weight: u32,
    /// Number of the breakpoint at which it arrived.
    origin: u64,
}

/// A flow in service.
#[derive(Clone, Copy, Debug)]
struct Flow<J> {
    job: J,
    start: SimTime,
    work: SimTime,
    origin: u64,
    weight: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot<J> {
    generation: u32,
    flow: Option<Flow<J>>,
}

/// A point where the slope of `V(t)` changes.
#[derive(Clone, Copy, Debug)]
struct Breakpoint {
    time: SimTime,
    virtual_time: u128,
    /// Σw of the flows in service from here on; without weights, their number.
    weights: u32,
    /// Flows in service that arrived here.
    arrivals: u32,
}

impl Breakpoint {
    /// `V` at `now`, on the segment that begins here, at a capacity of `gain`.
    fn virtual_time_at(&self, now: SimTime, gain: u32) -> u128 {
        let elapsed = fixed_point(now.saturating_sub(self.time));
        let weights = u128::from(self.weights.max(1));
        let growth = if gain == CapacityGain::ONE {
            elapsed / weights
        } else {
            // At most 104 + 20 bits: no product overflows.
            elapsed * u128::from(gain) / (weights * u128::from(CapacityGain::ONE))
        };
        self.virtual_time + growth
    }

    /// The first nanosecond at which `V` has reached `target`, on the segment that begins here,
    /// at a capacity of `gain`.
    fn instant_of(&self, target: u128, gain: u32) -> SimTime {
        let mut missing = target.saturating_sub(self.virtual_time).saturating_mul(u128::from(self.weights));
        if gain != CapacityGain::ONE {
            missing = missing.saturating_mul(u128::from(CapacityGain::ONE)).div_ceil(u128::from(gain));
        }
        let nanos = missing.saturating_sub(TOLERANCE).div_ceil(1 << FRACTION_BITS);
        self.time + SimTime::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// A finish tag; ties leave in the order of arrival.
type Tag = Reverse<(u128, u64, FlowId)>;

/// A processor-sharing server.
///
/// Equal shares of capacity 1 with [`new`](Self::new) and [`arrive`](Self::arrive).
///
/// Work is measured in the time it takes alone. After each change the caller
/// schedules one event at [`ProcessorSharing::next_departure`] (cancelling the
/// previous one) and calls [`ProcessorSharing::depart`] when it comes.
///
/// ```
/// use splitwave::{kernel::ProcessorSharing, units::SimTime};
///
/// let ns = SimTime::from_nanos;
/// let mut server = ProcessorSharing::new();
/// server.arrive(ns(0), ns(100), 'a');
/// server.arrive(ns(50), ns(100), 'b'); // both at half speed from here
/// assert_eq!(server.next_departure(), Some(ns(150)));
/// let a = server.depart(ns(150)).unwrap();
/// assert_eq!((a.job, a.finish), ('a', ns(150)));
///
/// let mut instants = Vec::new();
/// server.service_instants(&a, [ns(25), ns(75)], &mut instants);
/// assert_eq!(instants, [ns(25), ns(100)]); // alone, then shared
/// assert_eq!(server.next_departure(), Some(ns(200)));
/// ```
#[derive(Clone, Debug)]
pub struct ProcessorSharing<J> {
    tags: BinaryHeap<Tag>,
    slots: Vec<Slot<J>>,
    free_slots: Vec<u32>,
    active: u32,
    /// Σw of the flows in service.
    weights: u32,
    gain: Option<CapacityGain>,
    /// G(n) of the flows in service, in units of 1/[`CapacityGain::ONE`].
    present_gain: u32,
    next_arrival: u64,
    /// `V(t)` since the arrival of the oldest flow in service; the last one is the present.
    history: VecDeque<Breakpoint>,
    /// G(n) from each breakpoint on, as `present_gain`; empty without a gain. Beside `history`
    /// because most servers have none: their breakpoints stay small.
    gains: VecDeque<u32>,
    /// Number of the first breakpoint in `history`, counted from the beginning.
    history_start: u64,
}

impl<J: Copy> Default for ProcessorSharing<J> {
    fn default() -> Self {
        Self::new()
    }
}

impl<J: Copy> ProcessorSharing<J> {
    /// An idle server of capacity 1.
    pub fn new() -> Self {
        Self::with_capacity_gain(None)
    }

    /// An idle server whose capacity is `gain` of the number of flows in service.
    ///
    /// ```
    /// use splitwave::{kernel::{CapacityGain, ProcessorSharing}, units::SimTime};
    ///
    /// let ns = SimTime::from_nanos;
    /// let mut server = ProcessorSharing::with_gain(CapacityGain::new([1.0, 1.25])?);
    /// server.arrive(ns(0), ns(100), 'a');
    /// server.arrive(ns(0), ns(100), 'b'); // together 1.25, each 0.625
    /// assert_eq!(server.next_departure(), Some(ns(160)));
    /// # Ok::<(), splitwave::kernel::CapacityGainError>(())
    /// ```
    pub fn with_gain(gain: CapacityGain) -> Self {
        Self::with_capacity_gain(Some(gain))
    }

    fn with_capacity_gain(gain: Option<CapacityGain>) -> Self {
        Self {
            tags: BinaryHeap::new(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            active: 0,
            weights: 0,
            gain,
            present_gain: CapacityGain::ONE,
            next_arrival: 0,
            history: VecDeque::new(),
            gains: VecDeque::new(),
            history_start: 0,
        }
    }

    /// Flows in service.
    pub fn active(&self) -> usize {
        self.active as usize
    }

    /// A flow of weight 1 that needs `work` of service arrives. Zero work departs at once.
    ///
    /// Times passed to one server must not decrease, nor pass a due departure;
    /// debug builds panic if they do.
    pub fn arrive(&mut self, now: SimTime, work: SimTime, job: J) -> FlowId {
        self.arrive_weighted(now, work, 1, job)
    }

    /// As [`ProcessorSharing::arrive`] for a flow of `weight` (1 to [`MAX_WEIGHT`]; others
    /// count as the nearest of these): served `weight` times as fast as one of weight 1.
    #[inline]
    pub fn arrive_weighted(&mut self, now: SimTime, work: SimTime, weight: u32, job: J) -> FlowId {
        let weight = weight.clamp(1, MAX_WEIGHT);
        debug_assert!(self.next_departure().is_none_or(|due| now <= due), "a departure before {now} s is overdue");
        self.prune();
        let present = self.change(now, self.active + 1, self.weights + weight);
        present.arrivals += 1;
        let tag = present.virtual_time + virtual_span(work, weight);
        let origin = self.history_start + (self.history.len() - 1) as u64;
        let flow = Flow { job, start: now, work, origin, weight };
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, flow: None });
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        entry.flow = Some(flow);
        let id = FlowId { slot, generation: entry.generation };
        self.tags.push(Reverse((tag, self.next_arrival, id)));
        self.next_arrival += 1;
        id
    }

    /// When the next flow departs if nothing arrives or is cancelled before: the
    /// exact instant, rounded up to a nanosecond.
    pub fn next_departure(&self) -> Option<SimTime> {
        let &Reverse((tag, ..)) = self.tags.peek()?;
        Some(self.history.back()?.instant_of(tag, self.present_gain))
    }

    /// Takes out the next flow that has received all its work by `now`, if there is one.
    ///
    /// Flows that finish at one instant leave one call at a time, ties in the order of arrival.
    pub fn depart(&mut self, now: SimTime) -> Option<Departed<J>> {
        if self.next_departure()? > now {
            return None;
        }
        let Reverse((.., id)) = self.tags.pop()?;
        self.prune();
        let Flow { job, start, work, origin, weight } = self.remove(now, id)?;
        Some(Departed { job, start, work, finish: now, weight, origin })
    }

    /// Removes a flow before its time. Returns the work it has received, to the
    /// nearest nanosecond; `None` if it is no longer in service.
    pub fn cancel(&mut self, now: SimTime, id: FlowId) -> Option<SimTime> {
        self.flow(id)?;
        self.prune();
        let flow = self.remove(now, id)?;
        self.received_at(self.history.back()?.virtual_time, &flow)
    }

    /// The work that a flow in service has received by `now`, to the nearest nanosecond; `None` if
    /// it is not in service.
    pub fn received(&self, now: SimTime, id: FlowId) -> Option<SimTime> {
        let flow = self.flow(id)?;
        self.received_at(self.history.back()?.virtual_time_at(now, self.present_gain), flow)
    }

    /// The work that a flow has received when virtual time is `virtual_time`.
    fn received_at(&self, virtual_time: u128, flow: &Flow<J>) -> Option<SimTime> {
        let received = virtual_time - self.curve_from(flow.origin, flow.weight)?.origin;
        let received = received.saturating_mul(u128::from(flow.weight));
        let nanos = (received + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS;
        Some(SimTime::from_nanos(nanos as u64).min(flow.work))
    }

    /// Appends to `out` the real instants at which the departed flow had received
    /// each of the given amounts of work, which must increase; an amount beyond
    /// its work counts as its work. Rounded up to the nanosecond, as departures are.
    ///
    /// The server keeps the history of a departed flow until its next change:
    /// call this before the next `arrive`, `depart` or `cancel`. Returns false,
    /// and appends nothing, if it is too late.
    pub fn service_instants(
        &self,
        departed: &Departed<J>,
        amounts: impl IntoIterator<Item = SimTime>,
        out: &mut Vec<SimTime>,
    ) -> bool {
        let Departed { start, work, finish, weight, origin, .. } = *departed;
        let amounts = amounts.into_iter().map(|amount| amount.min(work));
        if self.gain.is_none() && finish.saturating_sub(start) == work {
            // Alone all its time: no history needed. (With a gain, others may have made up for their share.)
            out.extend(amounts.map(|amount| start + amount));
            return true;
        }
        let Some(curve) = self.curve_from(origin, weight) else { return false };
        out.extend(curve.instants(amounts).map(|instant| instant.min(finish)));
        true
    }

    /// As [`ProcessorSharing::service_instants`] for a flow still in service, as far as
    /// the amounts have been received by `now`. Returns false if `id` is not in service.
    pub fn service_instants_so_far(
        &self,
        now: SimTime,
        id: FlowId,
        amounts: impl IntoIterator<Item = SimTime>,
        out: &mut Vec<SimTime>,
    ) -> bool {
        let Some((flow, curve)) =
            self.flow(id).and_then(|flow| Some((flow, self.curve_from(flow.origin, flow.weight)?)))
        else {
            return false;
        };
        let amounts = amounts.into_iter().take_while(|&amount| amount <= flow.work);
        out.extend(curve.instants(amounts).take_while(|&instant| instant <= now));
        true
    }

    fn flow(&self, id: FlowId) -> Option<&Flow<J>> {
        self.slots.get(id.slot as usize).filter(|slot| slot.generation == id.generation)?.flow.as_ref()
    }

    /// Takes a flow out of service at `now`.
    fn remove(&mut self, now: SimTime, id: FlowId) -> Option<Flow<J>> {
        let slot = &mut self.slots[id.slot as usize];
        let flow = slot.flow.take()?;
        // A slot whose generations are used up is retired: no id is ever ambiguous.
        if slot.generation < u32::MAX {
            slot.generation += 1;
            self.free_slots.push(id.slot);
        }
        self.change(now, self.active - 1, self.weights - flow.weight);
        let index = (flow.origin - self.history_start) as usize;
        self.history[index].arrivals -= 1;
        self.drop_dead_tags();
        Some(flow)
    }

    /// Keeps the least tag that of a flow in service, and the tags of cancelled
    /// flows fewer than the live ones plus a constant.
    fn drop_dead_tags(&mut self) {
        if self.tags.len() > 2 * self.active() + SWEEP_SLACK {
            let slots = &self.slots;
            self.tags.retain(|Reverse((.., id))| slots[id.slot as usize].generation == id.generation);
        }
        while let Some(&Reverse((.., id))) = self.tags.peek()
            && self.flow(id).is_none()
        {
            self.tags.pop();
        }
    }

    /// Sets the number of flows and the sum of their weights from `now` on.
    #[inline]
    fn change(&mut self, now: SimTime, active: u32, weights: u32) -> &mut Breakpoint {
        (self.active, self.weights) = (active, weights);
        match self.history.back() {
            Some(present) if now <= present.time => {
                debug_assert!(now == present.time, "time runs backwards from {} s to {now} s", present.time);
            }
            present => {
                let virtual_time = present.map_or(0, |present| present.virtual_time_at(now, self.present_gain));
                self.history.push_back(Breakpoint { time: now, virtual_time, weights, arrivals: 0 });
            }
        }
        if let Some(gain) = &self.gain {
            self.present_gain = gain.of(active);
            self.gains.resize(self.history.len(), self.present_gain);
            self.gains[self.history.len() - 1] = self.present_gain;
        }
        let last = self.history.len() - 1;
        self.history[last].weights = weights;
        &mut self.history[last]
    }

    /// Forgets the history that no flow in service needs.
    fn prune(&mut self) {
        if self.active == 0 {
            // Idle: virtual time starts again from 0.
            self.history_start += self.history.len() as u64;
            self.history.clear();
            self.gains.clear();
            return;
        }
        while self.history.len() > 1 && self.history.front().is_some_and(|oldest| oldest.arrivals == 0) {
            self.history.pop_front();
            self.gains.pop_front();
            self.history_start += 1;
        }
    }

    /// The work that a flow of `weight` received since the breakpoint numbered `origin`,
    /// if that is still remembered.
    fn curve_from(&self, origin: u64, weight: u32) -> Option<Curve<'_>> {
        let segment = usize::try_from(origin.checked_sub(self.history_start)?).ok()?;
        let origin = self.history.get(segment)?.virtual_time;
        Some(Curve { history: &self.history, gains: &self.gains, segment, origin, weight })
    }
}

/// The work received since one arrival, as a piecewise linear function of time.
struct Curve<'a> {
    history: &'a VecDeque<Breakpoint>,
    gains: &'a VecDeque<u32>,
    segment: usize,
    /// Virtual time of the arrival.
    origin: u128,
    weight: u32,
}

impl Curve<'_> {
    /// The first nanoseconds at which each of the increasing `amounts` had been received.
    fn instants(mut self, amounts: impl Iterator<Item = SimTime>) -> impl Iterator<Item = SimTime> {
        amounts.map(move |amount| {
            let target = self.origin + virtual_span(amount, self.weight);
            self.advance_to(target);
            self.history[self.segment].instant_of(target, self.gain())
        })
    }

    /// The capacity on the present segment.
    fn gain(&self) -> u32 {
        self.gains.get(self.segment).copied().unwrap_or(CapacityGain::ONE)
    }

    /// Moves to the segment on which `V` reaches `target`: the last one that
    /// begins below it. Gallops, since few amounts may meet many segments or
    /// many amounts few segments.
    fn advance_to(&mut self, target: u128) {
        let begins_below = |index: usize| self.history.get(index).is_some_and(|point| point.virtual_time < target);
        let mut stride = 1;
        while begins_below(self.segment + stride) {
            self.segment += stride;
            stride *= 2;
        }
        while stride > 1 {
            stride /= 2;
            if begins_below(self.segment + stride) {
                self.segment += stride;
            }
        }
    }
}

/// A span as fixed-point virtual time.
fn fixed_point(span: SimTime) -> u128 {
    u128::from(span.as_nanos()) << FRACTION_BITS
}

/// The growth of `V` that serves `work` to a flow of `weight`, rounded down.
fn virtual_span(work: SimTime, weight: u32) -> u128 {
    let work = fixed_point(work);
    // A division of 128 bits is slow, and most flows have weight 1.
    if weight == 1 { work } else { work / u128::from(weight) }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod weighted_tests;

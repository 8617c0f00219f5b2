//! One cell, slot by slot: a scheduler gives each slot to one flow after another,
//! by turns or by the rates that the links last reported.
//!
//! A data structure without events, as [`crate::kernel::ProcessorSharing`] is: the
//! caller steps it once per slot. Everything is integer (bits, nanoseconds), but for
//! the averages that proportional fairness compares.

use super::service_log::{ServiceLog, nanos_of};
use crate::units::SimTime;

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SlotScheduler {
    /// By turns, in the order of arrival.
    RoundRobin,
    /// Whoever has the highest rate.
    MaxCi,
    /// Whoever has the highest rate R relative to its own past mean T, `argmax R/T`, with
    /// `T ← βT + (1 - β)·served` in each slot (Jalali, Padovani, Pankaj, VTC 2000-Spring).
    /// A flow begins with `T = R/n`, n flows present: what equal shares would have given it.
    ProportionalFair {
        /// β in [0, 1): 1/(1 - β) slots are remembered.
        beta: f64,
    },
}

impl SlotScheduler {
    /// Proportional fairness that remembers 50 slots.
    pub const PROPORTIONAL_FAIR: Self = Self::ProportionalFair { beta: 0.98 };
}

/// Why numbers make no [`SlotCell`].
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SlotCellError {
    /// A slot without length.
    #[error("a slot of 0 s: it must be at least 1 ns")]
    Slot,
    /// β is no forgetting factor.
    #[error("proportional fairness with beta = {0}: not at least 0 and below 1")]
    Beta(f64),
}

/// Names one flow of a [`SlotCell`]. An id is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotFlowId(u64);

/// What one flow got of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotService<J> {
    /// The flow served.
    pub flow: SlotFlowId,
    /// What it is served for.
    pub job: J,
    /// Bits moved.
    pub bits: u64,
    /// Where in the slot its part begins.
    pub begin: SimTime,
    /// Where its part ends; at the finish of a flow that needs no more, or at the end of the slot.
    pub end: SimTime,
    /// Whether these were its last bits: it is among [`SlotCell::take_departures`].
    pub finished: bool,
}

/// A flow that has moved all its bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotDeparted<J> {
    /// Its id.
    pub flow: SlotFlowId,
    /// What it was served for.
    pub job: J,
    /// When it arrived.
    pub start: SimTime,
    /// The bits it brought.
    pub bits: u64,
    /// When its last bit was sent.
    pub finish: SimTime,
    log: ServiceLog,
}

impl<J> SlotDeparted<J> {
    /// Appends to `out` the instants at which each of the given numbers of bits,
    /// which must increase, had been sent, rounded up to the nanosecond; none is later
    /// than the finish. No bits had been sent on arrival.
    pub fn service_instants(&self, amounts: impl IntoIterator<Item = u64>, out: &mut Vec<SimTime>) {
        out.extend(self.log.instants(self.start, amounts.into_iter()).map(|instant| instant.min(self.finish)));
    }

    /// Time on the air: the parts of slots that it got.
    pub fn airtime(&self) -> SimTime {
        self.log.airtime()
    }
}

/// A flow under way, apart from what each slot looks at.
#[derive(Clone, Debug)]
struct Flow<J> {
    id: SlotFlowId,
    job: J,
    start: SimTime,
    bits: u64,
    bits_left: u64,
    log: ServiceLog,
}

/// What each slot looks at, flow by flow.
#[derive(Clone, Copy, Debug)]
struct LinkState {
    /// R: bits that a whole slot carries, as last reported.
    bits_per_slot: u64,
    /// When that is out of date; before the first report, at once.
    csi_due: SimTime,
    /// T, the mean of the bits served per slot.
    mean_bits: f64,
    reported: bool,
}

/// The flows of one cell and the scheduler that serves them.
///
/// A slot goes to one flow as a whole. If that needs less, it gets the share of the slot that it
/// needs, and the scheduler chooses again for the rest: as a cell that divides the resource
/// blocks of a slot would, and no capacity is lost while anyone has bits to send and a rate above 0.
/// The parts stand one behind the other in the slot.
///
/// ```
/// use splitwave::radio::{SlotCell, SlotScheduler};
/// use splitwave::units::SimTime;
///
/// let ms = |ms: u64| SimTime::from_nanos(ms * 1_000_000);
/// let mut cell = SlotCell::new(SlotScheduler::RoundRobin, ms(1), ms(5))?;
/// cell.arrive(ms(0), 'a', 1500);
/// cell.arrive(ms(0), 'b', 1000);
/// let rate = |_: &char, _| 1000; // bits per slot
/// assert_eq!(cell.step(ms(0), rate)[0].job, 'a');
/// assert_eq!(cell.step(ms(1), rate)[0].job, 'b'); // and is done
/// assert_eq!(cell.step(ms(2), rate)[0].bits, 500);
/// let departures = cell.take_departures();
/// assert_eq!(departures[0].finish, ms(2));
/// assert_eq!(departures[1].finish, SimTime::from_nanos(2_500_000));
///
/// let mut instants = Vec::new();
/// departures[1].service_instants([500, 1250], &mut instants);
/// assert_eq!(instants, [500_000, 2_250_000].map(SimTime::from_nanos));
/// # Ok::<(), splitwave::radio::SlotCellError>(())
/// ```
#[derive(Clone, Debug)]
pub struct SlotCell<J> {
    scheduler: SlotScheduler,
    slot: SimTime,
    csi_period: SimTime,
    /// In the order of arrival, which is that of their ids.
    flows: Vec<Flow<J>>,
    /// Beside `flows`, index by index.
    links: Vec<LinkState>,
    next_id: u64,
    /// The end of the last slot.
    free_from: SimTime,
    /// Round robin: whose turn was last.
    last_served: Option<SlotFlowId>,
    /// The last slot's.
    services: Vec<SlotService<J>>,
    departures: Vec<SlotDeparted<J>>,
}

impl<J: Copy> SlotCell<J> {
    /// A cell without flows. `slot` is the length of a slot; a link's rate is asked for again when
    /// `csi_period` has passed since it last was, 0 for each slot.
    ///
    /// # Errors
    /// [`SlotCellError`] for a slot of length 0, or β outside [0, 1).
    pub fn new(scheduler: SlotScheduler, slot: SimTime, csi_period: SimTime) -> Result<Self, SlotCellError> {
        if slot == SimTime::ZERO {
            return Err(SlotCellError::Slot);
        }
        if let SlotScheduler::ProportionalFair { beta } = scheduler
            && !(0.0..1.0).contains(&beta)
        {
            return Err(SlotCellError::Beta(beta));
        }
        Ok(Self {
            scheduler,
            slot,
            csi_period,
            flows: Vec::new(),
            links: Vec::new(),
            next_id: 0,
            free_from: SimTime::ZERO,
            last_served: None,
            services: Vec::new(),
            departures: Vec::new(),
        })
    }

    /// Flows under way.
    pub fn active(&self) -> usize {
        self.flows.len()
    }

    /// The length of a slot.
    pub fn slot(&self) -> SimTime {
        self.slot
    }

    /// A flow of `bits` arrives. It takes part from the next [`SlotCell::step`] on; one
    /// without bits departs at once.
    pub fn arrive(&mut self, now: SimTime, job: J, bits: u64) -> SlotFlowId {
        let id = SlotFlowId(self.next_id);
        self.next_id += 1;
        let log = ServiceLog::new(self.slot);
        if bits == 0 {
            self.departures.push(SlotDeparted { flow: id, job, start: now, bits, finish: now, log });
            return id;
        }
        self.flows.push(Flow { id, job, start: now, bits, bits_left: bits, log });
        self.links.push(LinkState { bits_per_slot: 0, csi_due: SimTime::ZERO, mean_bits: 0.0, reported: false });
        id
    }

    /// Removes a flow before its time. Returns the bits it has sent; `None` if it is no longer
    /// under way.
    pub fn cancel(&mut self, id: SlotFlowId) -> Option<u64> {
        let index = self.index_of(id)?;
        let flow = self.flows.remove(index);
        self.links.remove(index);
        Some(flow.bits - flow.bits_left)
    }

    /// The bits that a flow still has to send; `None` if it is no longer under way.
    pub fn bits_left(&self, id: SlotFlowId) -> Option<u64> {
        self.index_of(id).map(|index| self.flows[index].bits_left)
    }

    /// Serves the slot that begins at `slot_start`: slots must follow each other without overlap,
    /// though some may be left out. Returns who got what of it, in order.
    ///
    /// `bits_per_slot_of(job, now)` is asked for what a whole slot carries on a flow's link, of flows whose
    /// last report is out of date, in the order of arrival; 0 for a link that can't be used. Until the
    /// next report the flow is scheduled and served at that rate.
    ///
    /// Capacity up to the next bit is lost where a rest of a slot carries no whole number of bits.
    pub fn step(
        &mut self,
        slot_start: SimTime,
        mut bits_per_slot_of: impl FnMut(&J, SimTime) -> u64,
    ) -> &[SlotService<J>] {
        debug_assert!(self.free_from <= slot_start, "the slot at {slot_start} s begins within the one before");
        self.free_from = slot_start + self.slot;
        self.services.clear();
        let present = self.flows.len() as f64;
        for (flow, link) in self.flows.iter().zip(&mut self.links) {
            if link.csi_due <= slot_start {
                link.bits_per_slot = bits_per_slot_of(&flow.job, slot_start);
                link.csi_due = slot_start + self.csi_period;
                if !link.reported {
                    (link.reported, link.mean_bits) = (true, link.bits_per_slot as f64 / present);
                }
            }
        }
        let mut used = 0;
        while used < self.slot.as_nanos()
            && let Some(index) = self.choose()
            && let Some(end) = self.serve_part(slot_start, used, index)
        {
            used = end;
        }
        if let SlotScheduler::ProportionalFair { beta } = self.scheduler {
            self.update_means(beta);
        }
        &self.services
    }

    /// The flows that have departed since this was last asked, in the order of departure.
    pub fn take_departures(&mut self) -> Vec<SlotDeparted<J>> {
        std::mem::take(&mut self.departures)
    }

    /// As [`SlotDeparted::service_instants`] for a flow under way, as far as the amounts had been
    /// sent by `now`. Returns false if `id` is not under way.
    pub fn service_instants_so_far(
        &self,
        now: SimTime,
        id: SlotFlowId,
        amounts: impl IntoIterator<Item = u64>,
        out: &mut Vec<SimTime>,
    ) -> bool {
        let Some(index) = self.index_of(id) else { return false };
        let flow = &self.flows[index];
        let sent = flow.bits - flow.bits_left;
        let amounts = amounts.into_iter().take_while(|&amount| amount <= sent);
        out.extend(flow.log.instants(flow.start, amounts).take_while(|&instant| instant <= now));
        true
    }

    fn index_of(&self, id: SlotFlowId) -> Option<usize> {
        self.flows.binary_search_by_key(&id, |flow| flow.id).ok()
    }

    /// Who is served next: a flow whose rate is above 0.
    fn choose(&self) -> Option<usize> {
        match self.scheduler {
            SlotScheduler::MaxCi => self.highest(|link| link.bits_per_slot as f64),
            SlotScheduler::ProportionalFair { .. } => self.highest(|link| link.bits_per_slot as f64 / link.mean_bits),
            SlotScheduler::RoundRobin => {
                let first = self.flows.partition_point(|flow| Some(flow.id) <= self.last_served);
                let usable = |index: &usize| self.links[*index].bits_per_slot > 0;
                (first..self.flows.len()).chain(0..first).find(usable)
            }
        }
    }

    /// The first of the flows with the highest metric, of those with a rate above 0.
    #[inline]
    fn highest(&self, metric: impl Fn(&LinkState) -> f64) -> Option<usize> {
        let mut best = (f64::NEG_INFINITY, None);
        for (index, link) in self.links.iter().enumerate() {
            let metric = metric(link);
            // A link without a rate has metric 0, or 0/0, which is never greater.
            if metric > best.0 && link.bits_per_slot > 0 {
                best = (metric, Some(index));
            }
        }
        best.1
    }

    /// Gives a flow the slot from `used` nanoseconds on, or what it needs of it.
    /// Returns where its part ends; `None` if not a bit fits in.
    fn serve_part(&mut self, slot_start: SimTime, used: u64, index: usize) -> Option<u64> {
        let slot = self.slot.as_nanos();
        let bits_per_slot = self.links[index].bits_per_slot;
        let capacity = (u128::from(bits_per_slot) * u128::from(slot - used) / u128::from(slot)) as u64;
        let flow = &mut self.flows[index];
        let finished = flow.bits_left <= capacity;
        let bits = if finished { flow.bits_left } else { capacity };
        if bits == 0 {
            return None;
        }
        let end = if finished { used + nanos_of(bits, bits_per_slot, slot) } else { slot };
        let at = |nanos| slot_start + SimTime::from_nanos(nanos);
        let (begin, end_at) = (at(used), at(end));
        flow.bits_left -= bits;
        flow.log.push(begin, end_at, bits, bits_per_slot);
        let (id, job) = (flow.id, flow.job);
        self.services.push(SlotService { flow: id, job, bits, begin, end: end_at, finished });
        self.last_served = Some(id);
        if finished {
            let Flow { id, job, start, bits, log, .. } = self.flows.remove(index);
            self.links.remove(index);
            self.departures.push(SlotDeparted { flow: id, job, start, bits, finish: end_at, log });
        }
        Some(end)
    }

    /// `T ← βT + (1 - β)·served` of all flows.
    fn update_means(&mut self, beta: f64) {
        for link in &mut self.links {
            link.mean_bits *= beta;
        }
        for service in self.services.iter().filter(|service| !service.finished) {
            if let Ok(index) = self.flows.binary_search_by_key(&service.flow, |flow| flow.id) {
                self.links[index].mean_bits += (1.0 - beta) * service.bits as f64;
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Requests under way, in a generational slab.

use crate::channel::Packets;
use crate::kernel::FlowId;
use crate::kernel::Ticket;
use crate::network::air::AirFlow;
use crate::network::cells::{CellLink, RateProfile};
use crate::network::collaboration::Talk;
use crate::network::compute::Work;
use crate::network::conversation::Turn;
use crate::network::ports::{Conditions, Crossing, Prompt};
use crate::network::rounds::Session;
use crate::radio::Payload;
use crate::units::SimTime;

/// Names a request under way. A stale name (the request has ended) finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    slot: u32,
    generation: u32,
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for the UE's processor.
    UeQueue,
    /// Computes on the UE.
    UeCompute,
    /// Is sent.
    Uplink {
        /// The cell that it is sent to.
        cell: u32,
        /// Its place on the cell's uplink.
        flow: AirFlow,
    },
    /// Waits for the last attempt of its hybrid ARQ, or to send lost packets again.
    Backoff,
    /// Waits for rows of its own that are sent beside it.
    AwaitRows,
    /// Waits for the edge's processor.
    EdgeQueue,
    /// Computes on the edge, on its own server or in a batch.
    EdgeCompute,
    /// Computes on the processor-sharing edge.
    EdgeShared {
        /// Its place at the edge.
        flow: FlowId,
    },
    /// Returns.
    Downlink,
}

/// What a decision fixed.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    /// Step of the run.
    pub step: u64,
    /// Split that the request runs with.
    pub split: u32,
}

/// What happened on the uplink.
#[derive(Clone, Debug, Default)]
pub struct UplinkLog {
    /// Packets sent, retransmissions included.
    pub packets_sent: u32,
    /// Packets lost.
    pub packets_lost: u32,
    /// Runs of consecutive lost packets.
    pub loss_bursts: u32,
    /// Sum of the gains at the packets' midpoints.
    pub gain_sum: f64,
    /// Bits sent; `None` if analog.
    pub bits: Option<u64>,
    /// Packets that the present transmission has still to send: all K at first, those that were
    /// lost in a retransmission, what a handover left of either.
    pub pending_packets: u32,
    /// Airtime of all packets of the payload.
    pub airtime: SimTime,
    /// Packets K of the payload.
    pub packets: u32,
    /// Bits of all packets.
    pub payload_bits: u64,
    /// Transmissions of the payload so far.
    pub transmissions: u32,
    /// Rows of the tensor that are lost, as the column `rows_lost` has them.
    pub rows_lost: Option<u32>,
    /// What became of each packet of the payload, in its last transmission so far.
    pub reception: Packets,
    /// Packets of `reception` that the present retransmission has dealt with.
    pub renewed: u32,
    /// Packets that hybrid ARQ brought through in a later attempt: their places in `reception`
    /// and when. Only while these attempts are on the air.
    pub late: Vec<(u32, SimTime)>,
    /// Packets of the present transmission so far, all attempts included.
    pub sent_now: u32,
    /// Whether the last of its packets so far was lost.
    pub last_was_lost: bool,
    /// When the last attempt of the present transmission is over, once its first ones are.
    pub attempts_until: Option<SimTime>,
    /// When the edge goes on without what is missing, and the event that does it.
    pub deadline: Option<(SimTime, Ticket)>,
    /// Packets that never arrived, of all payloads whose delivery has ended.
    pub packets_missing: u32,
    /// Packets of these payloads.
    pub packets_asked: u32,
    /// Further attempts of packets, which take the air once all first ones are over.
    pub further: u32,
    /// Whether these attempts are on the air.
    pub tail: bool,
    /// The link that the present transmission uses, in a network of cells.
    pub link: Option<CellLink>,
    /// How its rate goes on.
    pub profile: RateProfile,
    /// What the flow on the air puts into each cell.
    pub emission: Box<[u64]>,
    /// Energy of the transmitter so far, where its power varies \[J\].
    pub tx_energy_j: f64,
    /// Handovers while on the air.
    pub handovers: u32,
    /// Slot by slot: airtime that the flow has had, bits that it has sent, and the event of its end.
    pub slots: SlotProgress,
}

/// How far a flow in a cell that is scheduled slot by slot has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlotProgress {
    /// Parts of slots.
    pub airtime: SimTime,
    /// Bits sent.
    pub bits: u64,
    /// Bits of the flow.
    pub of_bits: u64,
    /// Packets of the flow.
    pub of_packets: u32,
    /// The flow's last bit is sent in the slot that runs.
    pub departure: Option<Ticket>,
}

impl UplinkLog {
    /// Turns to a payload; what was counted before stays.
    pub fn begin(&mut self, payload: &Payload) {
        self.bits = payload.bits.map(|_| self.bits.unwrap_or(0));
        self.payload_bits = payload.bits.unwrap_or(0);
        self.packets = payload.packets;
        self.pending_packets = payload.packets;
        self.airtime = payload.airtime;
        self.transmissions = 0;
        self.forget_transmission();
        self.reception.clear();
    }

    /// Begins the first transmission of the payload anew: what has come of it doesn't count.
    pub fn restart(&mut self) {
        if self.transmissions == 0 {
            self.forget_transmission();
            self.reception.clear();
            self.pending_packets = self.packets;
        }
    }

    fn forget_transmission(&mut self) {
        self.renewed = 0;
        self.late.clear();
        self.attempts_until = None;
        self.further = 0;
        self.tail = false;
        self.slots = SlotProgress::default();
        self.sent_now = 0;
        self.last_was_lost = false;
    }

    /// The places in `reception` that the next packets of the present transmission take.
    pub fn next_places(&self) -> impl Iterator<Item = u32> + '_ {
        let first = self.transmissions == 0;
        let new = (self.reception.len() as u32..).take_while(move |_| first);
        let again =
            (0u32..).zip(self.reception.iter()).filter(move |&(k, (_, lost))| !first && lost && k >= self.renewed);
        new.chain(again.map(|(k, _)| k))
    }

    /// Books packets of the present transmission, all attempts included, with their bits.
    pub fn count_sent(&mut self, attempts: u32) {
        let before = self.share(self.payload_bits, self.sent_now);
        self.sent_now += attempts;
        let bits = self.share(self.payload_bits, self.sent_now) - before;
        self.bits = self.bits.map(|so_far| so_far + bits);
        self.packets_sent += attempts;
    }

    /// Counts the runs of lost packets among the next ones of the present transmission.
    pub fn count_bursts(&mut self, packets: &Packets) {
        let mut before = self.last_was_lost;
        for (_, lost) in packets.iter() {
            self.loss_bursts += u32::from(lost && !before);
            before = lost;
        }
        self.last_was_lost = before;
    }

    /// Takes in what became of the next `packets` of the present transmission, and leaves
    /// `packets` empty: those of a first transmission follow each other, those of a later one
    /// take the places of the lost ones, in order.
    pub fn take_in(&mut self, packets: &mut Packets) {
        self.pending_packets = self.pending_packets.saturating_sub(packets.len() as u32);
        if self.transmissions == 0 {
            if self.reception.is_empty() {
                std::mem::swap(&mut self.reception, packets);
            } else {
                packets.iter().for_each(|(gain, lost)| self.reception.push(f64::from(gain), lost));
            }
        } else {
            let before = std::mem::take(&mut self.reception);
            let mut again = packets.iter();
            for (k, (gain, lost)) in (0u32..).zip(before.iter()) {
                let renewed = if lost && k >= self.renewed { again.next() } else { None };
                let (gain, lost) = match renewed {
                    Some(outcome) => {
                        self.renewed = k + 1;
                        outcome
                    }
                    None => (gain, lost),
                };
                self.reception.push(f64::from(gain), lost);
            }
        }
        packets.clear();
    }

    /// Ends the present transmission.
    pub fn end_transmission(&mut self) {
        self.transmissions += 1;
        self.forget_transmission();
    }

    /// The part of `whole` (airtime or bits of all packets) that the pending packets take.
    pub fn pending_share(&self, whole: u64) -> u64 {
        self.share(whole, self.pending_packets)
    }

    /// The part of `whole` that so many packets take.
    pub fn share(&self, whole: u64, packets: u32) -> u64 {
        (u128::from(whole) * u128::from(packets) / u128::from(self.packets.max(1))) as u64
    }
}

/// A request under way.
#[derive(Clone, Debug)]
pub struct Request {
    /// Number in order of arrival.
    pub number: u64,
    /// UE.
    pub ue: u32,
    /// Number of the UE's request: the index of its draws.
    pub ue_request: u64,
    /// Corpus window.
    pub window: Option<u32>,
    /// Prompt tokens S.
    pub prompt_tokens: u32,
    /// Tokens asked for.
    pub output_tokens: u32,
    /// Arrival at the UE.
    pub arrival: SimTime,
    /// Where it is, since when.
    pub phase: Phase,
    /// Start of the phase.
    pub since: SimTime,
    /// Conditions, frozen at the start of service.
    pub conditions: Option<Conditions>,
    /// The decision, in split mode.
    pub decided: Option<Decided>,
    /// Work on the UE, of the present round.
    pub ue_work: Work,
    /// Work on the edge, of the present round.
    pub edge_work: Work,
    /// Solo time of the edge work.
    pub edge_time: SimTime,
    /// Solo time of the UE work.
    pub ue_time: SimTime,
    /// Share of the UE work really done.
    pub ue_done: f64,
    /// Share of its bytes really read.
    pub ue_read: f64,
    /// Parameters that the UE loads in front of its work.
    pub load_parameters: f64,
    /// Time that it takes to load them, before `ue_time`.
    pub load_time: SimTime,
    /// Time spent so; `None` where loading takes no time, or the UE has not begun.
    pub loaded: Option<SimTime>,
    /// Parameters really loaded.
    pub loaded_parameters: f64,
    /// Share of the edge work really done.
    pub edge_done: f64,
    /// Episode of the UE when service began.
    pub episode: Option<u32>,
    /// Time spent: waiting for the UE, computing there, waiting on the uplink, on
    /// the air, waiting at the edge, computing there, on the way back. `None`: not reached.
    pub spent: [Option<SimTime>; 7],
    /// What happened on the uplink.
    pub uplink: Option<Box<UplinkLog>>,
    /// The tensor's crossing, for the quality source.
    pub crossing: Option<Box<Crossing>>,
    /// The event that ends the present phase, if it may have to be cancelled.
    pub pending: Option<Ticket>,
    /// The deadline's event.
    pub deadline: Option<Ticket>,
    /// Its rounds; `None` for one token.
    pub session: Option<Box<Session>>,
    /// Its place in a conversation.
    pub turn: Option<Turn>,
    /// Its text, if one is generated.
    pub talk: Option<Box<Talk>>,
    /// The request that this one only sends for; it has no row.
    pub carries: Option<RequestId>,
}

/// Index into [`Request::spent`]: waiting for the UE.
pub const UE_WAIT: usize = 0;
/// Computing on the UE.
pub const UE_COMPUTE: usize = 1;
/// Waiting on the uplink.
pub const UPLINK_WAIT: usize = 2;
/// On the air.
pub const UPLINK_AIR: usize = 3;
/// Waiting at the edge.
pub const EDGE_WAIT: usize = 4;
/// Computing on the edge.
pub const EDGE_COMPUTE: usize = 5;
/// On the way back.
pub const DOWNLINK: usize = 6;

impl Request {
    /// A request that arrives now.
    pub fn new(number: u64, ue: u32, ue_request: u64, prompt: Prompt, output_tokens: u32, now: SimTime) -> Self {
        Self {
            number,
            ue,
            ue_request,
            window: prompt.window,
            prompt_tokens: prompt.tokens,
            output_tokens,
            arrival: now,
            phase: Phase::UeQueue,
            since: now,
            conditions: None,
            decided: None,
            ue_work: Work::default(),
            edge_work: Work::default(),
            edge_time: SimTime::ZERO,
            ue_time: SimTime::ZERO,
            ue_done: 0.0,
            ue_read: 0.0,
            load_parameters: 0.0,
            load_time: SimTime::ZERO,
            loaded: None,
            loaded_parameters: 0.0,
            edge_done: 0.0,
            episode: None,
            spent: [None; 7],
            uplink: None,
            crossing: None,
            pending: None,
            deadline: None,
            session: (output_tokens > 1).then(Box::default),
            turn: None,
            talk: None,
            carries: None,
        }
    }

    /// Work done on the UE, in all rounds \[FLOP\].
    pub fn ue_flop(&self) -> f64 {
        self.session.as_ref().map_or(0.0, |session| session.ue_flop) + self.ue_work.flop * self.ue_done
    }

    /// Work done on the edge, in all rounds \[FLOP\].
    pub fn edge_flop(&self) -> f64 {
        self.session.as_ref().map_or(0.0, |session| session.edge_flop) + self.edge_work.flop * self.edge_done
    }

    /// Books a span on the uplink that has ended: `served` of it as airtime, and its energy (slot by slot
    /// that is booked already).
    pub fn spend_on_air(&mut self, elapsed: SimTime, served: SimTime, by_slot: bool) {
        let served = served.min(elapsed);
        self.spend(UPLINK_AIR, served);
        self.spend(UPLINK_WAIT, elapsed - served);
        if let Some(log) = self.uplink.as_mut()
            && let Some(link) = &log.link
            && !by_slot
        {
            log.tx_energy_j += link.power_w * served.as_secs_f64();
        }
    }

    /// Adds `time` to a phase.
    pub fn spend(&mut self, phase: usize, time: SimTime) {
        let so_far = self.spent[phase].unwrap_or(SimTime::ZERO);
        self.spent[phase] = Some(so_far + time);
    }
}

/// The requests under way. Slots are reused; names of ended requests go stale.
#[derive(Debug, Default)]
pub struct Requests {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    request: Option<Request>,
}

impl Requests {
    /// Takes in a request.
    pub fn insert(&mut self, request: Request) -> RequestId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, request: None });
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        entry.request = Some(request);
        RequestId { slot, generation: entry.generation }
    }

    /// The request of that name, if it is under way.
    pub fn get(&self, id: RequestId) -> Option<&Request> {
        let slot = self.slots.get(id.slot as usize)?;
        if slot.generation == id.generation { slot.request.as_ref() } else { None }
    }

    /// The request of that name, if it is under way.
    pub fn get_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation == id.generation { slot.request.as_mut() } else { None }
    }

    /// Takes out a request that has ended.
    pub fn remove(&mut self, id: RequestId) -> Option<Request> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let request = slot.request.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(request)
    }

    /// Number under way.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names of all under way, by number of the request.
    pub fn ids(&self) -> Vec<RequestId> {
        let mut ids: Vec<(u64, RequestId)> = (0u32..)
            .zip(&self.slots)
            .filter_map(|(slot, entry)| {
                let request = entry.request.as_ref()?;
                Some((request.number, RequestId { slot, generation: entry.generation }))
            })
            .collect();
        ids.sort_unstable_by_key(|&(number, _)| number);
        ids.into_iter().map(|(_, id)| id).collect()
    }
}

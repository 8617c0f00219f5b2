//! Cells that are scheduled slot by slot: reports of the links, and the packets of each slot.
//!
//! A slot is served as a whole at its beginning; what ends within it ends by an event. Packets meet
//! their gain when half of their bits are sent, at the rate that the last report gave the slot.

use crate::kernel::Ticket;
use crate::network::air::AirFlow;
use crate::network::cells::{AdaptsTo, CellLink};
use crate::network::event::Event;
use crate::network::request::{Phase, RequestId, SlotProgress, UplinkLog};
use crate::network::simulation::{Simulation, SimulationError};
use crate::network::spec::{Sharing, SlotSpec};
use crate::radio::{LinkMode, SlotService};
use crate::units::SimTime;

impl Simulation<'_> {
    /// Makes sure that a cell with flows has a slot among the events: the next on the grid.
    pub(super) fn schedule_slot(&mut self, now: SimTime, cell: u32) {
        let Sharing::Slots(SlotSpec { slot, .. }) = self.spec.sharing else { return };
        if std::mem::replace(&mut self.world.air.cells[cell as usize].slot_scheduled, true) {
            return;
        }
        let next = now.as_nanos().div_ceil(slot.as_nanos()) * slot.as_nanos();
        self.schedule(SimTime::from_nanos(next), Event::Slot { cell });
    }

    pub(super) fn on_slot(&mut self, now: SimTime, cell: u32) {
        let air = &mut self.world.air.cells[cell as usize];
        air.slot_scheduled = false;
        let Some(mut slots) = air.slots.take() else { return };
        let services = slots.step(now, |&id, at| self.report(at, id)).to_vec();
        let departures = slots.take_departures();
        let (active, slot) = (slots.active(), slots.slot());
        self.world.air.cells[cell as usize].slots = Some(slots);
        for service in &services {
            self.receive_in_slot(now, service);
        }
        for departed in departures {
            let event = Event::SlotDeparture { request: departed.job };
            let ticket = self.calendar.schedule_cancellable(departed.finish.max(now), event.class(), event);
            if let Some(log) = self.uplink_log(departed.job) {
                log.slots.departure = Some(ticket);
            }
        }
        if active > 0 {
            self.schedule_slot(now + slot, cell);
        }
    }

    fn uplink_log(&mut self, id: RequestId) -> Option<&mut UplinkLog> {
        self.world.requests.get_mut(id)?.uplink.as_deref_mut()
    }

    /// What a slot carries of a request's flow, by its link now \[bit\].
    fn report(&mut self, now: SimTime, id: RequestId) -> u64 {
        let Sharing::Slots(SlotSpec { slot, .. }) = self.spec.sharing else { return 0 };
        let by_report = self.spec.cellular.as_ref().map(|cells| match cells.adapts_to {
            AdaptsTo::Mean => AdaptsTo::Mean,
            AdaptsTo::Instant | AdaptsTo::Reports(_) => AdaptsTo::Instant,
        });
        if let Some(link) = self.link_now(now, id, by_report) {
            if let Some(log) = self.uplink_log(id) {
                log.link = Some(link);
            }
            self.set_conditions(id, &link);
        }
        let Some(request) = self.world.requests.get(id) else { return 0 };
        let uplink = &self.spec.uplinks[self.spec.groups[self.world.ues[request.ue as usize].group as usize].channel];
        let efficiency = match (request.uplink.as_ref().and_then(|log| log.link), uplink.mode) {
            (Some(CellLink { rate, .. }), _) => rate.efficiency,
            (None, LinkMode::Digital { spectral_efficiency_bps_hz, .. }) => spectral_efficiency_bps_hz,
            (None, LinkMode::Analog { .. }) => 0.0,
        };
        // A link that carries a bit at all is served in the end.
        ((efficiency * uplink.bandwidth_hz * slot.as_secs_f64()) as u64).max(1)
    }

    /// The packets whose midpoints a flow has reached in its part of a slot.
    fn receive_in_slot(&mut self, now: SimTime, service: &SlotService<RequestId>) {
        let id = service.job;
        let Some(log) = self.uplink_log(id) else { return };
        let before = log.slots.bits;
        log.slots.bits += service.bits;
        log.slots.airtime += service.end - service.begin;
        if let Some(link) = &log.link {
            log.tx_energy_j += link.power_w * (service.end - service.begin).as_secs_f64();
        }
        if log.tail {
            return;
        }
        // Midpoint of packet k of K: (k + 1/2)/K of the bits.
        let (packets, all) = (u128::from(log.slots.of_packets), u128::from(log.slots.of_bits));
        let done = packets.saturating_sub(u128::from(log.pending_packets));
        let (after, begin) = (u128::from(log.slots.bits), service.begin.as_nanos());
        let length = u128::from((service.end - service.begin).as_nanos());
        let midpoints = (done..packets).map(|k| all * (2 * k + 1) / (2 * packets.max(1)));
        let instants = midpoints.take_while(|&bits| bits <= after).map(|bits| {
            let into = bits.saturating_sub(u128::from(before)) * length / u128::from(service.bits.max(1));
            SimTime::from_nanos(begin + into as u64)
        });
        self.instants.clear();
        self.instants.extend(instants);
        let count = self.instants.len() as u32;
        if count > 0 {
            self.receive(now, id, count);
        }
    }

    pub(super) fn on_slot_departure(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let Phase::Uplink { cell, flow: AirFlow::Slotted(_) } = request.phase else { return Ok(()) };
        let Some(log) = request.uplink.as_mut() else { return Ok(()) };
        let airtime = std::mem::take(&mut log.slots).airtime;
        self.world.air.left(cell);
        self.left_air(now, id, cell, airtime, true);
        let Some(log) = self.uplink_log(id) else { return Ok(()) };
        match log.attempts_until {
            Some(until) if log.tail => self.attempts_served(now, id, until),
            _ => self.first_attempts_over(now, id),
        }
    }

    /// Forgets the slots of a flow that is taken off the air, and gives the airtime that it has had.
    pub(super) fn forget_slots(&mut self, id: RequestId) -> SimTime {
        let Some(log) = self.uplink_log(id) else { return SimTime::ZERO };
        let SlotProgress { airtime, departure, .. } = std::mem::take(&mut log.slots);
        self.cancel_event(departure);
        airtime
    }

    fn cancel_event(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.calendar.cancel(ticket);
        }
    }
}

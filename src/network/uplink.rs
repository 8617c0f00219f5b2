//! The uplink: flows share the airtime of their cell; each packet meets the fading gain at
//! its own midpoint in time, and in hybrid ARQ again a round trip later.

use crate::channel::{Reception, rayleigh_gain};
use crate::kernel::Purpose;
use crate::network::air::AirFlow;
use crate::network::cells::RateProfile;
use crate::network::delivery::Cargo;
use crate::network::event::Event;
use crate::network::request::{Phase, RequestId, SlotProgress, UPLINK_AIR, UPLINK_WAIT};
use crate::network::simulation::{Simulation, SimulationError};
use crate::network::spec::Delivery;
use crate::radio::{Combining, Harq, block_error_draw};
use crate::units::SimTime;

/// Hybrid ARQ that never tries again.
const ONE_ATTEMPT: Harq = Harq { max_transmissions: 1, round_trip: SimTime::ZERO, combining: Combining::None };

impl Simulation<'_> {
    /// Sends the packets that are still pending.
    pub(super) fn transmit(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        self.set_link(now, id);
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let Some(log) = request.uplink.as_mut() else { return Ok(()) };
        let airtime = log.pending_share(log.airtime.as_nanos());
        request.since = now;
        if airtime == 0 {
            request.spend(UPLINK_AIR, SimTime::ZERO);
            request.spend(UPLINK_WAIT, SimTime::ZERO);
            self.instants.clear();
            let packets = request.uplink.as_ref().map_or(0, |log| log.pending_packets);
            self.instants.resize(packets as usize, now);
            self.receive(now, id, packets);
            return self.first_attempts_over(now, id);
        }
        let pending = log.pending_packets;
        self.join_uplink(now, id, pending);
        Ok(())
    }

    /// A flow of so many packets joins the uplink of the UE's cell.
    fn join_uplink(&mut self, now: SimTime, id: RequestId, packets: u32) {
        let Some(request) = self.world.requests.get_mut(id) else { return };
        let ue = &self.world.ues[request.ue as usize];
        let (cell, weight) = (ue.cell, self.spec.groups[ue.group as usize].weight);
        let ue = request.ue;
        let Some(log) = request.uplink.as_mut() else { return };
        let airtime = SimTime::from_nanos(log.share(log.airtime.as_nanos(), packets));
        let bits = log.share(log.payload_bits, packets);
        log.slots = SlotProgress { of_bits: bits, of_packets: packets, ..SlotProgress::default() };
        self.settle(now, ue);
        let flow = self.world.air.join(cell, now, (airtime, bits), weight, id);
        if let Some(request) = self.world.requests.get_mut(id) {
            request.phase = Phase::Uplink { cell, flow };
        }
        self.drain_for_sending(now, ue, id);
        self.on_air(now, id, cell);
        match flow {
            AirFlow::Shared(_) => self.reschedule_uplink(cell),
            AirFlow::Slotted(_) => self.schedule_slot(now, cell),
        }
    }

    /// Takes a request's flow off the air before its time.
    pub(super) fn take_off_air(&mut self, now: SimTime, id: RequestId, cell: u32, flow: AirFlow) {
        let shared = self.world.air.cancel(cell, now, flow);
        let served = shared.unwrap_or_else(|| self.forget_slots(id));
        self.left_air(now, id, cell, served, shared.is_none());
        self.reschedule_uplink(cell);
    }

    /// Books a flow that has left the air after so much airtime.
    pub(super) fn left_air(&mut self, now: SimTime, id: RequestId, cell: u32, served: SimTime, by_slot: bool) {
        self.off_air(id, cell);
        let Some(request) = self.world.requests.get_mut(id) else { return };
        let (ue, since) = (request.ue, request.since);
        let served = served.min(now.saturating_sub(since));
        request.spend_on_air(now.saturating_sub(since), served, by_slot);
        self.book_on_air(since, now, ue, served);
        self.sent(now, ue, id, served);
    }

    /// Keeps exactly one event for the next departure from a cell's uplink.
    pub(super) fn reschedule_uplink(&mut self, cell: u32) {
        let air = &mut self.world.air.cells[cell as usize];
        if let Some(ticket) = air.departure.take() {
            self.calendar.cancel(ticket);
        }
        if let Some(at) = air.flows.next_departure() {
            let event = Event::UplinkDeparture { cell };
            air.departure = Some(self.calendar.schedule_cancellable(at, event.class(), event));
        }
    }

    pub(super) fn on_uplink_departure(&mut self, now: SimTime, cell: u32) -> Result<(), SimulationError> {
        self.world.air.cells[cell as usize].departure = None;
        let Some(departed) = self.world.air.depart(cell, now) else {
            self.reschedule_uplink(cell);
            return Ok(());
        };
        let id = departed.job;
        self.instants.clear();
        if let Some(request) = self.world.requests.get(id)
            && let Some(log) = &request.uplink
            && !log.tail
            && !self.world.ues[request.ue as usize].fading.is_none()
        {
            let packets = log.pending_packets;
            let offsets = (0..packets).map(|k| served(departed.work, 2 * k + 1, 2 * packets, &log.profile));
            self.world.air.cells[cell as usize].flows.service_instants(&departed, offsets, &mut self.instants);
        }
        self.reschedule_uplink(cell);
        self.left_air(now, id, cell, departed.work, false);
        let Some(log) = self.world.requests.get(id).and_then(|request| request.uplink.as_ref()) else { return Ok(()) };
        match log.attempts_until {
            Some(until) if log.tail => self.attempts_served(now, id, until),
            _ => {
                let pending = log.pending_packets;
                self.receive(now, id, pending);
                self.first_attempts_over(now, id)
            }
        }
    }

    /// The first attempts of all pending packets are over: further ones take the air, or none are needed.
    pub(super) fn first_attempts_over(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let Some(log) = request.uplink.as_mut() else { return Ok(()) };
        let Some(until) = log.attempts_until else { return self.transmission_over(now, id) };
        let further = log.further;
        if log.share(log.airtime.as_nanos(), further) == 0 {
            return self.attempts_served(now, id, until);
        }
        log.tail = true;
        request.since = now;
        self.join_uplink(now, id, further);
        Ok(())
    }

    /// The air that later attempts take has been served; the last of them may be over a little later.
    pub(super) fn attempts_served(
        &mut self,
        now: SimTime,
        id: RequestId,
        until: SimTime,
    ) -> Result<(), SimulationError> {
        if until <= now {
            return self.transmission_over(now, id);
        }
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        request.phase = Phase::Backoff;
        request.since = now;
        self.schedule_phase_end(until, Event::AttemptsOver { request: id }, id);
        Ok(())
    }

    pub(super) fn on_attempts_over(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        if request.phase != Phase::Backoff {
            return Ok(());
        }
        request.pending = None;
        request.spend(UPLINK_WAIT, now - request.since);
        self.transmission_over(now, id)
    }

    /// What became of the next `count` pending packets, whose midpoints are in `self.instants`
    /// (none without fading).
    pub(super) fn receive(&mut self, now: SimTime, id: RequestId, count: u32) {
        let Some(request) = self.world.requests.get(id) else { return };
        let (Some(conditions), Some(log)) = (request.conditions, request.uplink.as_ref()) else { return };
        let (number, round, link) = (request.ue, request.round(), log.link);
        let sent_before = log.packets_sent;
        let channel = self.channel(number);
        let places: Vec<u32> =
            if channel.harq.is_some() { log.next_places().take(count as usize).collect() } else { Vec::new() };
        let draws = self.streams.stream(number, Purpose::HarqBlockError).starting_at(request.ue_request << 32);
        let ue = &self.world.ues[number as usize];
        let cargo = Cargo::at(self.spec.mode, round);
        let by_element = cargo.by_element(channel);
        let digital = channel.reception == Reception::Digital || cargo == Cargo::Ids;
        let harq = channel.harq.filter(|_| !by_element && cargo.delivery(channel) != Delivery::None);

        let mut packets = std::mem::take(&mut self.packets);
        packets.clear();
        let instants = &self.instants;
        // Without fading the gain is the same at any instant, and none were collected.
        let midpoints = (0..count as usize).map(|k| instants.get(k).copied().unwrap_or(SimTime::ZERO));
        let (mut further, mut until, mut earlier_gains) = (0u32, None, 0.0);
        let mut late = Vec::new();
        if by_element || (harq.is_none() && link.is_none()) {
            let moments = midpoints.map(|at| self.moment(number, link.as_ref(), at));
            channel.transmit(&ue.fading, &conditions, by_element, moments, &mut packets);
        } else {
            let harq = harq.unwrap_or(ONE_ATTEMPT);
            let needed = conditions.gain_threshold.powi(2);
            let mut report = None;
            for (k, at) in (0u32..).zip(midpoints) {
                let (mut gain, mut earlier) = (0.0, 0.0);
                let quality = |attempt| {
                    earlier += gain;
                    let moment = self.moment(number, link.as_ref(), harq.instant(at, attempt));
                    gain = rayleigh_gain(conditions.rayleigh_scale, ue.fading.envelope(moment));
                    gain * gain
                };
                // Analog packets need no SINR. Neighbours have one report.
                let rate = link.filter(|_| digital).map(|link| {
                    let reported = link.reported(at);
                    if report.is_none_or(|(before, _)| before != reported) {
                        report = Some((reported, self.packet_rate(number, &link, at)));
                    }
                    (link.sinr, report.map_or(link.rate, |(_, rate)| rate))
                });
                let received = |attempt, combined: f64| match &rate {
                    Some((sinr, rate)) => {
                        let packet = sent_before.wrapping_add(k);
                        rate.received(sinr * combined, || block_error_draw(&draws, packet, attempt))
                    }
                    None => combined >= needed,
                };
                let outcome = harq.transmit(quality, received);
                let last = outcome.attempts - 1;
                packets.push(gain, !outcome.delivered);
                earlier_gains += earlier;
                further += last;
                if last > 0 {
                    let over = harq.instant(at, last);
                    until = until.max(Some(over));
                    if outcome.delivered {
                        late.push((places.get(k as usize).copied().unwrap_or(u32::MAX), over));
                    }
                }
            }
        }
        let (lost, gain) = (packets.lost() as u32, packets.mean_gain());
        self.packets = packets;
        let Some(log) = self.world.requests.get_mut(id).and_then(|request| request.uplink.as_mut()) else { return };
        log.count_sent(count + further);
        log.packets_lost += lost + further;
        log.count_bursts(&self.packets);
        log.gain_sum += earlier_gains + gain.unwrap_or(0.0) * f64::from(count);
        log.further += further;
        log.attempts_until = log.attempts_until.max(until);
        log.late.append(&mut late);
        log.take_in(&mut self.packets);
        let sender = &mut self.world.ues[number as usize];
        sender.last_gain = gain.map(|gain| (gain, now)).or(sender.last_gain);
        if let (Some(link), Some(gain)) = (link, gain) {
            self.learn_link(now, number, link.sinr, gain, f64::from(lost) / f64::from(count));
        }
    }

    /// What became of those packets of the flow under way that are through by now.
    pub(super) fn receive_so_far(&mut self, now: SimTime, id: RequestId) {
        let Some(request) = self.world.requests.get(id) else { return };
        let (Phase::Uplink { cell, flow }, Some(log)) = (request.phase, request.uplink.as_ref()) else { return };
        // Slot by slot they are received as they come.
        let AirFlow::Shared(flow) = flow else { return };
        if log.tail {
            return;
        }
        let (packets, flows) = (log.pending_packets, &self.world.air.cells[cell as usize].flows);
        let airtime = SimTime::from_nanos(log.pending_share(log.airtime.as_nanos()));
        self.instants.clear();
        // A packet is through when its end has been served: the end of packet k is the beginning of the next.
        let ends = (1..=packets).map(|k| served(airtime, k, packets, &log.profile));
        flows.service_instants_so_far(now, flow, ends, &mut self.instants);
        let through = self.instants.len() as u32;
        self.instants.clear();
        let midpoints = (0..through).map(|k| served(airtime, 2 * k + 1, 2 * packets, &log.profile));
        flows.service_instants_so_far(now, flow, midpoints, &mut self.instants);
        self.receive(now, id, through);
    }

    pub(super) fn on_retransmit(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        if request.phase != Phase::Backoff {
            return Ok(());
        }
        request.pending = None;
        request.spend(UPLINK_WAIT, now - request.since);
        self.transmit(now, id)
    }
}

/// Airtime that has been served when `numerator/denominator` of the bits are sent.
fn served(airtime: SimTime, numerator: u32, denominator: u32, profile: &RateProfile) -> SimTime {
    let (numerator, denominator) = (u64::from(numerator), u64::from(denominator.max(1)));
    if profile.is_constant() {
        let nanos = u128::from(airtime.as_nanos()) * u128::from(numerator) / u128::from(denominator);
        return SimTime::from_nanos(nanos as u64);
    }
    let share = profile.airtime(numerator as f64 / denominator as f64);
    SimTime::from_nanos((airtime.as_nanos() as f64 * share) as u64)
}

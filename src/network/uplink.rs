//! The uplink: flows share the airtime; each packet meets the fading gain at
//! its own midpoint in time.

use crate::channel::{Fading, LossUnit, NoiseKey};
use crate::network::costs::prompt_bits;
use crate::network::event::Event;
use crate::network::ports::{Crossing, ServiceMode};
use crate::network::request::{Phase, RequestId, UPLINK_AIR, UPLINK_WAIT, UplinkLog};
use crate::network::rows::Outcome;
use crate::network::simulation::{Simulation, SimulationError};
use crate::radio::PayloadKind;
use crate::units::SimTime;

impl Simulation<'_> {
    /// Puts a request's payload on the uplink.
    pub(super) fn send(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get(id) else { return Ok(()) };
        let group = &self.spec.groups[self.world.ues[request.ue as usize].group as usize];
        let payload = match self.spec.mode {
            ServiceMode::EdgeOnly => {
                let bits = prompt_bits(self.spec, request.prompt_tokens);
                self.spec.uplinks[group.channel].payload(PayloadKind::Data { bits })
            }
            ServiceMode::Split | ServiceMode::DeviceOnly => {
                self.spec.tensor_payload(group.channel, request.prompt_tokens)
            }
        };
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        request.uplink.insert(UplinkLog::default()).begin(&payload);
        self.transmit(now, id)
    }

    /// Sends the packets that are still pending.
    pub(super) fn transmit(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let Some(log) = request.uplink.as_mut() else { return Ok(()) };
        let airtime = log.pending_share(log.airtime.as_nanos());
        request.since = now;
        let ue = request.ue;
        if airtime == 0 {
            request.spend(UPLINK_AIR, SimTime::ZERO);
            request.spend(UPLINK_WAIT, SimTime::ZERO);
            self.instants.clear();
            let packets = request.uplink.as_ref().map_or(0, |log| log.pending_packets);
            self.instants.resize(packets as usize, now);
            return self.arrived_over_the_air(now, id);
        }
        self.settle(now, ue);
        let flow = self.world.uplink.arrive(now, SimTime::from_nanos(airtime), id);
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        request.phase = Phase::Uplink { flow };
        self.drain_for_sending(now, ue, id);
        self.reschedule_uplink();
        Ok(())
    }

    /// Keeps exactly one event for the uplink's next departure.
    pub(super) fn reschedule_uplink(&mut self) {
        if let Some(ticket) = self.world.uplink_departure.take() {
            self.calendar.cancel(ticket);
        }
        if let Some(at) = self.world.uplink.next_departure() {
            let event = Event::UplinkDeparture;
            self.world.uplink_departure = Some(self.calendar.schedule_cancellable(at, event.class(), event));
        }
    }

    pub(super) fn on_uplink_departure(&mut self, now: SimTime) -> Result<(), SimulationError> {
        self.world.uplink_departure = None;
        let Some(departed) = self.world.uplink.depart(now) else {
            self.reschedule_uplink();
            return Ok(());
        };
        let id = departed.job;
        self.instants.clear();
        if let Some(request) = self.world.requests.get(id)
            && let Some(log) = &request.uplink
            && matches!(self.world.ues[request.ue as usize].fading, Fading::Rayleigh(_))
        {
            // Midpoint of packet k of K: (k + 1/2)/K of the airtime.
            let (packets, airtime) = (u128::from(log.pending_packets), u128::from(departed.work.as_nanos()));
            let offsets =
                (0..packets).map(|k| SimTime::from_nanos((airtime * (2 * k + 1) / (2 * packets.max(1))) as u64));
            self.world.uplink.service_instants(&departed, offsets, &mut self.instants);
        }
        self.reschedule_uplink();
        if let Some(request) = self.world.requests.get_mut(id) {
            request.spend(UPLINK_AIR, departed.work);
            request.spend(UPLINK_WAIT, (now - request.since).saturating_sub(departed.work));
            let (ue, since) = (request.ue, request.since);
            self.book_on_air(since, now, ue, departed.work);
            self.sent(now, ue, id, departed.work);
            self.arrived_over_the_air(now, id)?;
        }
        Ok(())
    }

    /// What became of the packets whose midpoints are in `self.instants`.
    fn arrived_over_the_air(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let round = request.round();
        let (Some(conditions), Some(log)) = (request.conditions, request.uplink.as_mut()) else { return Ok(()) };
        let ue = &self.world.ues[request.ue as usize];
        let channel = &self.spec.channels[self.spec.groups[ue.group as usize].channel];
        let is_tensor = self.spec.mode == ServiceMode::Split;
        let by_element = is_tensor && channel.loss_unit == LossUnit::ElementIid;

        self.packets.clear();
        let instants = &self.instants;
        // Without fading the gain is the same at any instant, and none were collected.
        let midpoints = (0..log.pending_packets as usize).map(|k| instants.get(k).map_or(0.0, |at| at.as_secs_f64()));
        channel.transmit(&ue.fading, &conditions, by_element, midpoints, &mut self.packets);
        let lost = self.packets.lost() as u32;
        let bits_now = log.pending_share(log.payload_bits);
        log.bits = log.bits.map(|bits| bits + bits_now);
        log.packets_sent += log.pending_packets;
        log.packets_lost += lost;
        log.loss_bursts += self.packets.loss_bursts() as u32;
        let gain = self.packets.mean_gain();
        log.gain_sum += gain.unwrap_or(0.0) * f64::from(log.pending_packets);
        log.transmissions += 1;
        let sender = &mut self.world.ues[request.ue as usize];
        sender.last_gain = gain.map(|gain| (gain, now)).or(sender.last_gain);

        if round > 0 {
            return self.row_transmitted(now, id);
        }
        if !is_tensor {
            log.pending_packets = lost;
            if lost == 0 {
                return self.queue_at_edge(now, id);
            }
            if log.transmissions >= self.spec.max_transmissions {
                return self.end_by_id(now, id, Outcome::Outage);
            }
            request.phase = Phase::Backoff;
            request.since = now;
            self.schedule_phase_end(now + self.spec.retransmission_delay, Event::Retransmit { request: id }, id);
            return Ok(());
        }

        let noise_key = NoiseKey { ue: request.ue, request: request.ue_request };
        let record = channel.record(&conditions, noise_key, std::mem::take(&mut self.packets));
        let rows = request.prompt_tokens as usize;
        log.rows_lost = record.rows_lost(rows).map(|rows| rows as u32);
        let outage = channel.is_outage(&record, rows);
        if !outage
            && self.ports.quality.name().is_some()
            && let Some(decided) = request.decided
        {
            request.crossing = Some(Box::new(Crossing { split: decided.split, reception: record }));
        } else {
            self.packets = record.packets;
        }
        if outage { self.end_by_id(now, id, Outcome::Outage) } else { self.queue_at_edge(now, id) }
    }

    pub(super) fn on_retransmit(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        request.pending = None;
        request.spend(UPLINK_WAIT, now - request.since);
        self.transmit(now, id)
    }
}

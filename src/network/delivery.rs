//! What follows a transmission: lost packets are sent again, or the edge goes on without them.
//!
//! ```text
//!              ┌─────────────── lost, and repeated ──────────────┐
//!              ▼                                                 │
//! begin ─▶ transmit ─▶ (uplink) ─▶ attempts of hybrid ARQ ─▶ transmission_over ─▶ delivered
//!              ▲                                                                      ▲
//!              └── handover: the packets that are left              deadline ─────────┘
//! ```

use crate::channel::{LossUnit, NoiseKey, RoundReception};
use crate::network::event::Event;
use crate::network::ports::{Crossing, ServiceMode};
use crate::network::request::{Phase, Request, RequestId, UplinkLog};
use crate::network::rows::Outcome;
use crate::network::simulation::{Simulation, SimulationError};
use crate::network::spec::{ChannelSpec, Delivery, NetworkSpec};
use crate::radio::{Payload, PayloadKind};
use crate::units::SimTime;

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cargo {
    /// A prompt's token ids.
    Ids,
    /// A prompt's tensor.
    Prompt,
    /// The row of a decode round.
    Row,
}

impl Cargo {
    /// What a request sends in its present round.
    pub fn of(mode: ServiceMode, request: &Request) -> Self {
        Self::at(mode, request.round())
    }

    /// What is sent in that round.
    pub fn at(mode: ServiceMode, round: u32) -> Self {
        match (mode, round) {
            (ServiceMode::Split | ServiceMode::DeviceOnly, 0) => Self::Prompt,
            (ServiceMode::Split | ServiceMode::DeviceOnly, _) => Self::Row,
            // What collaboration sends is data, too: ids, distributions, states of which each bit counts.
            _ => Self::Ids,
        }
    }

    /// How it is delivered. Token ids are data: without all of them there is no prompt.
    pub fn delivery(self, channel: &ChannelSpec) -> Delivery {
        match self {
            Self::Ids => Delivery::Am { deadline: None },
            Self::Prompt => channel.delivery,
            Self::Row => channel.decode.delivery,
        }
    }

    /// Whether its elements are lost one by one, and no packet ever.
    pub fn by_element(self, channel: &ChannelSpec) -> bool {
        self != Self::Ids && channel.loss_unit == LossUnit::ElementIid
    }

    fn payload(self, spec: &NetworkSpec, channel: usize, request: &Request) -> Payload {
        match self {
            Self::Ids => {
                let bits = match (spec.mode.method(), &spec.collaboration) {
                    (Some(method), Some(of)) if request.carries.is_none() => {
                        method.ask_bits(spec, of, &request.standing())
                    }
                    (Some(method), _) => u64::from(request.prompt_tokens) * method.row_bits(spec).unwrap_or(0),
                    (None, _) => crate::network::costs::prompt_bits(spec, request.prompt_tokens),
                };
                spec.uplinks[channel].payload(PayloadKind::Data { bits })
            }
            Self::Prompt => spec.tensor_payload(channel, request.prompt_tokens),
            Self::Row => spec.tensor_payload(channel, 1),
        }
    }
}

impl Simulation<'_> {
    /// Puts the payload of a request's present round on the uplink.
    pub(super) fn send(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get(id) else { return Ok(()) };
        let group = &self.spec.groups[self.world.ues[request.ue as usize].group as usize];
        let cargo = Cargo::of(self.spec.mode, request);
        let payload = cargo.payload(self.spec, group.channel, request);
        let deadline = cargo.delivery(&self.spec.channels[group.channel]).deadline().map(|after| {
            let (at, event) = (now + after, Event::DeliveryDeadline { request: id });
            (at, self.calendar.schedule_cancellable(at, event.class(), event))
        });
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let log = request.uplink.get_or_insert_with(Box::<UplinkLog>::default);
        log.begin(&payload);
        log.deadline = deadline;
        self.transmit(now, id)
    }

    /// A transmission has ended, with all its attempts.
    pub(super) fn transmission_over(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let channel = &self.spec.channels[self.spec.groups[self.world.ues[request.ue as usize].group as usize].channel];
        let cargo = Cargo::of(self.spec.mode, request);
        let delivery = cargo.delivery(channel);
        let Some(log) = request.uplink.as_mut() else { return Ok(()) };
        log.end_transmission();
        let lost = log.reception.lost() as u32;
        let often_enough = match delivery {
            Delivery::None | Delivery::Um => true,
            // What is sent beside a request is sent until it is there, or the request has ended.
            Delivery::Am { .. } | Delivery::Deadline { .. } => {
                request.carries.is_none() && log.transmissions >= self.spec.max_transmissions
            }
        };
        if lost == 0 || often_enough {
            return self.delivered(now, id);
        }
        log.pending_packets = lost;
        request.phase = Phase::Backoff;
        request.since = now;
        let again = now + self.spec.retransmission_delay;
        // A payload whose deadline comes first only waits for that.
        if log.deadline.is_none_or(|(deadline, _)| again < deadline) {
            self.schedule_phase_end(again, Event::Retransmit { request: id }, id);
        }
        Ok(())
    }

    /// The payload's time is up: the edge goes on with what it has by now.
    pub(super) fn on_delivery_deadline(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let channel = &self.spec.channels[self.spec.groups[self.world.ues[request.ue as usize].group as usize].channel];
        let keeps_parts = matches!(Cargo::of(self.spec.mode, request).delivery(channel), Delivery::Deadline { .. });
        if let Some(log) = request.uplink.as_mut() {
            log.deadline = None;
        }
        if keeps_parts {
            self.receive_so_far(now, id);
        }
        self.abandon(now, id);
        let Some(log) = self.world.requests.get_mut(id).and_then(|request| request.uplink.as_mut()) else {
            return Ok(());
        };
        // Attempts that would have come later bring nothing any more.
        let late = std::mem::take(&mut log.late);
        if late.iter().any(|&(_, at)| at > now) {
            let before = std::mem::take(&mut log.reception);
            for (k, (gain, lost)) in (0u32..).zip(before.iter()) {
                let too_late = late.iter().any(|&(place, at)| place == k && at > now);
                log.reception.push(f64::from(gain), lost || too_late);
            }
        }
        if log.transmissions == 0 {
            if keeps_parts {
                while log.reception.len() < log.packets as usize {
                    log.reception.push(0.0, true);
                }
            } else {
                log.reception.clear();
            }
        }
        self.delivered(now, id)
    }

    /// The edge goes on with what there is of the payload, and with what stands in place of the rest.
    fn delivered(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let channel = &self.spec.channels[self.spec.groups[self.world.ues[request.ue as usize].group as usize].channel];
        let cargo = Cargo::of(self.spec.mode, request);
        let Some(log) = request.uplink.as_mut() else { return Ok(()) };
        if let Some((_, ticket)) = log.deadline.take() {
            self.calendar.cancel(ticket);
        }
        let sent = log.reception.len() as u32;
        log.packets_asked += log.packets;
        log.packets_missing += log.reception.lost() as u32 + log.packets.saturating_sub(sent);
        let packets = std::mem::take(&mut log.reception);
        match cargo {
            Cargo::Ids => {
                let arrived = packets.lost() == 0;
                self.packets = packets;
                if request.carries.is_some() {
                    return self.upload_over(now, id);
                }
                if request.talk.is_some() {
                    return if arrived { self.question_at_edge(now, id) } else { self.fall_back(now, id) };
                }
                if arrived { self.queue_at_edge(now, id) } else { self.end_by_id(now, id, Outcome::Outage) }
            }
            Cargo::Prompt => {
                let Some(conditions) = request.conditions else { return Ok(()) };
                let noise_key = NoiseKey { ue: request.ue, request: request.ue_request };
                let record = channel.record(&conditions, noise_key, packets);
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
            Cargo::Row => {
                let arrived = channel.row_arrived(&packets);
                if let Some(rows) = log.rows_lost.as_mut() {
                    *rows += u32::from(!arrived);
                }
                if let Some(crossing) = request.crossing.as_mut() {
                    crossing.reception.rounds.push(RoundReception { packets, arrived });
                }
                self.queue_at_edge(now, id)
            }
        }
    }
}

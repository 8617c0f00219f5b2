//! A UE's link to the cell that serves it: its rate when a transmission begins, the
//! measurements while one is on the air, and handovers.

use crate::channel::{DEFAULT_RAYLEIGH_SCALE, Fading, Link, Moment, Reception};
use crate::network::cells::{AdaptsTo, CellLink, Estimate, Ground, InFlight};
use crate::network::event::Event;
use crate::network::ports::{Conditions, ServiceMode};
use crate::network::request::{Phase, RequestId};
use crate::network::simulation::{Simulation, SimulationError};
use crate::network::spec::Sharing;
use crate::network::world::World;
use crate::radio::{Rate, transport_block_bits};
use crate::units::{SimTime, db_from_ratio, ratio_from_db};

/// Loss that a UE expects before its first packets: that at which link adaptation aims.
const FIRST_LOSS: f64 = 0.1;

impl Simulation<'_> {
    /// Sets the link of a transmission that begins now: cell, SINR, rate, and with them airtime,
    /// packets and the conditions that they meet. Nothing to do without cells.
    pub(super) fn set_link(&mut self, now: SimTime, id: RequestId) {
        if self.spec.cellular.is_none() {
            return;
        }
        // Slot by slot the first report comes with the first slot.
        let by_slot = matches!(self.spec.sharing, Sharing::Slots(_)).then_some(AdaptsTo::Mean);
        let Some(mut link) = self.link_now(now, id, by_slot) else { return };
        self.set_conditions(id, &link);
        let World { ues, requests, air, cellular: Some(cellular), .. } = &mut self.world else { return };
        let Some(request) = requests.get_mut(id) else { return };
        let state = &ues[request.ue as usize];
        let sharers = air.active_in(state.cell) + 1;
        let group = &self.spec.groups[state.group as usize];
        let ground = Ground::of(self.spec, state.group as usize, &self.streams);
        let (Some(ground), Some(log)) = (ground, request.uplink.as_mut()) else { return };
        if log.payload_bits > 0 && !self.spec.uplinks[group.channel].ideal {
            let fading = (&state.fading, self.spec.channels[group.channel].doppler_hz);
            let pending = log.pending_share(log.payload_bits);
            link.rate.efficiency = cellular.follow_reports(ground, &link, fading, (pending, sharers), &mut log.profile);
            let efficiency = link.rate.efficiency;
            let first = log.transmissions == 0 && log.reception.is_empty();
            if let Some(blocks) = ground.spec.slot_blocks.filter(|_| first) {
                let packets = log.payload_bits.div_ceil(transport_block_bits(blocks, efficiency).max(1));
                log.packets = packets.clamp(1, u64::from(u32::MAX)) as u32;
                log.pending_packets = log.packets;
            }
            let seconds = log.payload_bits as f64 / (efficiency * ground.spec.bandwidth_hz);
            log.airtime = SimTime::from_secs_saturating(seconds).max(SimTime::from_nanos(1));
        }
        if let (true, Some(radio)) = (ground.spec.interference, &state.radio) {
            log.emission = radio.emission(link.radiated_w);
        }
        log.link = Some(link);
    }

    /// The link of a request's UE to the cell that serves it now, with a rate for what the scenario says or
    /// for `adapts_to`. `None` without cells.
    pub(super) fn link_now(&mut self, now: SimTime, id: RequestId, adapts_to: Option<AdaptsTo>) -> Option<CellLink> {
        let ue = self.world.requests.get(id)?.ue;
        self.follow(now, ue);
        let state = &self.world.ues[ue as usize];
        let ground = Ground::of(self.spec, state.group as usize, &self.streams)?;
        let (cellular, radio) = (self.world.cellular.as_ref()?, state.radio.as_ref()?);
        let interference_w = if ground.spec.interference { self.world.air.interference_w(state.cell) } else { 0.0 };
        let surroundings = (interference_w, self.channel(ue).doppler_hz);
        let adapts_to = adapts_to.unwrap_or(ground.spec.adapts_to);
        Some(cellular.link(ground, radio, (state.cell, &state.fading), now, surroundings, adapts_to))
    }

    /// Sets the conditions that a request's packets meet on a link.
    pub(super) fn set_conditions(&mut self, id: RequestId, link: &CellLink) {
        let World { ues, requests, .. } = &mut self.world;
        let Some(request) = requests.get_mut(id) else { return };
        let state = &ues[request.ue as usize];
        let channel = &self.spec.channels[self.spec.groups[state.group as usize].channel];
        let digital = channel.reception == Reception::Digital;
        // Where each packet has a rate of its own there is no threshold.
        let needed = if digital && link.reports.is_none() { link.rate.needed / link.sinr } else { 0.0 };
        let tensor = self.spec.mode == ServiceMode::Split;
        request.conditions = Some(Conditions {
            noise_std: if digital || !tensor { 0.0 } else { (1.0 / link.sinr).sqrt() },
            rayleigh_scale: DEFAULT_RAYLEIGH_SCALE,
            gain_threshold: needed.sqrt(),
            loss_probability: state.fading.law().outage(needed),
        });
    }

    /// Follows a UE to the present, and to the cell that serves it. Gives the fading of the link that it
    /// leaves, if it leaves one.
    fn follow(&mut self, now: SimTime, ue: u32) -> Option<Fading> {
        let World { ues, cellular: Some(cellular), .. } = &mut self.world else { return None };
        let state = &mut ues[ue as usize];
        let ground = Ground::of(self.spec, state.group as usize, &self.streams)?;
        let radio = state.radio.as_mut()?;
        let cell = cellular.follow(ground, radio, state.cell, now);
        if cell != state.cell {
            state.cell = cell;
            let model = &self.spec.channels[ground.channel].fading;
            // The same model made the UE's first link.
            if let Ok(fading) = Fading::new(model, &self.streams, Link { ue, cell }) {
                return Some(std::mem::replace(&mut state.fading, fading));
            }
        }
        None
    }

    /// A flow has joined a cell: its UE's transmission is heard there and elsewhere, and the UE
    /// measures as long as it is on the air.
    pub(super) fn on_air(&mut self, now: SimTime, id: RequestId, cell: u32) {
        let World { ues, requests, air, .. } = &mut self.world;
        let Some(request) = requests.get(id) else { return };
        let Some(radio) = ues[request.ue as usize].radio.as_mut() else { return };
        if let Some(log) = &request.uplink {
            air.emit(cell, &log.emission);
        }
        radio.flights.push(id);
        if !std::mem::replace(&mut radio.measuring, true) {
            let ue = request.ue;
            self.schedule_measurement(now, ue);
        }
    }

    /// A flow has left a cell.
    pub(super) fn off_air(&mut self, id: RequestId, cell: u32) {
        let World { ues, requests, air, .. } = &mut self.world;
        let Some(request) = requests.get(id) else { return };
        let Some(radio) = ues[request.ue as usize].radio.as_mut() else { return };
        if let Some(log) = &request.uplink {
            air.fall_silent(cell, &log.emission);
        }
        radio.flights.retain(|&flight| flight != id);
    }

    fn schedule_measurement(&mut self, now: SimTime, ue: u32) {
        let group = self.world.ues[ue as usize].group as usize;
        let moves = |ground: Ground<'_>| !matches!(ground.placement.mobility, crate::channel::Mobility::Static);
        let ground = Ground::of(self.spec, group, &self.streams).filter(|&ground| moves(ground));
        let Some(ground) = ground else { return };
        let interval = ground.spec.handover.interval.as_nanos().max(1);
        let next = SimTime::from_nanos((now.as_nanos() / interval + 1).saturating_mul(interval));
        self.schedule(next, Event::Measure { ue });
    }

    pub(super) fn on_measure(&mut self, now: SimTime, ue: u32) -> Result<(), SimulationError> {
        let Some(radio) = self.world.ues[ue as usize].radio.as_mut() else { return Ok(()) };
        if radio.flights.is_empty() {
            radio.measuring = false;
            return Ok(());
        }
        let flights = radio.flights.clone();
        let mut left = self.follow(now, ue);
        let serving = self.world.ues[ue as usize].cell;
        for id in flights {
            match self.world.requests.get(id).map(|request| request.phase) {
                Some(Phase::Uplink { cell, .. }) if cell != serving => self.hand_over(now, id, &mut left)?,
                _ => self.emit_anew(id),
            }
        }
        self.schedule_measurement(now, ue);
        Ok(())
    }

    /// A UE on the air has moved: other cells hear it at another power.
    fn emit_anew(&mut self, id: RequestId) {
        let World { ues, requests, air, .. } = &mut self.world;
        let Some(request) = requests.get_mut(id) else { return };
        let (Phase::Uplink { cell, .. }, Some(log)) = (request.phase, request.uplink.as_mut()) else { return };
        let (Some(radio), Some(link)) = (&ues[request.ue as usize].radio, &log.link) else { return };
        if !log.emission.is_empty() {
            air.fall_silent(cell, &log.emission);
            log.emission = radio.emission(link.radiated_w);
            air.emit(cell, &log.emission);
        }
    }

    /// A request on the air follows its UE to another cell. Attempts of hybrid ARQ that are on
    /// the air alone are finished where they began.
    /// What is through met the fading of the link that was `left`.
    fn hand_over(&mut self, now: SimTime, id: RequestId, left: &mut Option<Fading>) -> Result<(), SimulationError> {
        let Some(handover) = self.spec.cellular.as_ref().map(|cells| cells.handover) else { return Ok(()) };
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let Phase::Uplink { cell, flow } = request.phase else { return Ok(()) };
        let Some(log) = request.uplink.as_mut().filter(|log| !log.tail) else { return Ok(()) };
        log.handovers += 1;
        let ue = request.ue as usize;
        match (handover.in_flight, left.take()) {
            (InFlight::Restarted, fading) => *left = fading,
            (InFlight::Carried, None) => self.receive_so_far(now, id),
            (InFlight::Carried, Some(fading)) => {
                let present = std::mem::replace(&mut self.world.ues[ue].fading, fading);
                self.receive_so_far(now, id);
                *left = Some(std::mem::replace(&mut self.world.ues[ue].fading, present));
            }
        }
        self.take_off_air(now, id, cell, flow);
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        if let Some(log) = request.uplink.as_mut().filter(|_| handover.in_flight == InFlight::Restarted) {
            log.restart();
        }
        if request.uplink.as_ref().is_some_and(|log| log.pending_packets == 0) {
            return self.first_attempts_over(now, id);
        }
        if handover.interruption == SimTime::ZERO {
            return self.transmit(now, id);
        }
        request.phase = Phase::Backoff;
        request.since = now;
        self.schedule_phase_end(now + handover.interruption, Event::Retransmit { request: id }, id);
        Ok(())
    }

    /// The moment of a request's link at an instant of its transmission.
    pub(super) fn moment(&self, ue: u32, link: Option<&CellLink>, at: SimTime) -> Moment {
        let channel = self.channel(ue);
        let Some(link) = link else { return channel.moment(at.as_secs_f64()) };
        let group = self.world.ues[ue as usize].group as usize;
        match (Ground::of(self.spec, group, &self.streams), &self.world.cellular) {
            (Some(ground), Some(cellular)) => cellular.moment(ground, link, at, channel.doppler_hz),
            _ => channel.moment(at.as_secs_f64()),
        }
    }

    /// A UE learns from what became of packets of a mean power gain |z|².
    pub(super) fn learn_link(&mut self, now: SimTime, ue: u32, sinr: f64, gain: f64, loss: f64) {
        let Some(cells) = &self.spec.cellular else { return };
        let Some(radio) = self.world.ues[ue as usize].radio.as_mut() else { return };
        let sinr_db = db_from_ratio((sinr * gain * gain).max(1e-20));
        radio.learn(cells.memory_s, Estimate { sinr_db, loss, at: now });
    }

    /// What a UE believes of its link before it decides: σ and P as past packets say, or before the
    /// first ones as the path loss does. `None` without cells.
    pub(super) fn believed_conditions(&mut self, now: SimTime, ue: u32) -> Option<(Conditions, f64)> {
        self.spec.cellular.as_ref()?;
        self.follow(now, ue);
        let state = &self.world.ues[ue as usize];
        let ground = Ground::of(self.spec, state.group as usize, &self.streams)?;
        let (radio, cellular, channel) = (state.radio.as_ref()?, self.world.cellular.as_ref()?, self.channel(ue));
        let (sinr_db, loss) = if let Some(estimate) = radio.estimate {
            (estimate.sinr_db, estimate.loss)
        } else {
            let surroundings = (0.0, channel.doppler_hz);
            let link = cellular.link(ground, radio, (state.cell, &Fading::None), now, surroundings, AdaptsTo::Mean);
            (db_from_ratio(link.sinr), FIRST_LOSS)
        };
        let sinr = ratio_from_db(sinr_db);
        let digital = channel.reception == Reception::Digital;
        let law = state.fading.law();
        let conditions = Conditions {
            noise_std: if digital { 0.0 } else { (1.0 / sinr).sqrt() },
            rayleigh_scale: DEFAULT_RAYLEIGH_SCALE,
            gain_threshold: law.gain_threshold_for(loss.min(0.999), DEFAULT_RAYLEIGH_SCALE).unwrap_or(0.0),
            loss_probability: loss,
        };
        Some((conditions, sinr_db))
    }

    /// The rate of a packet that a UE first sends at `at`.
    pub(super) fn packet_rate(&self, ue: u32, link: &CellLink, at: SimTime) -> Rate {
        let state = &self.world.ues[ue as usize];
        let ground = Ground::of(self.spec, state.group as usize, &self.streams);
        match (ground, &self.world.cellular) {
            (Some(ground), Some(cellular)) => {
                cellular.packet_rate(ground, link, (&state.fading, self.channel(ue).doppler_hz), at)
            }
            _ => link.rate,
        }
    }
}

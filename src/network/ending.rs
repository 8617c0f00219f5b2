//! How requests end: the way back, deadlines, the drain limit, and their rows.

use crate::channel::LossUnit;
use crate::network::collaboration::awaited;
use crate::network::costs::{all_layers_flop, token_bits};
use crate::network::energy::share;
use crate::network::event::Event;
use crate::network::ledger::Ended;
use crate::network::ports::{Conditions, Delivery, QualityRequest, ServiceMode};
use crate::network::request::{
    DOWNLINK, EDGE_COMPUTE, EDGE_WAIT, Phase, Request, RequestId, UE_COMPUTE, UE_WAIT, UPLINK_AIR, UPLINK_WAIT,
};
use crate::network::rows::{Outcome, RequestRow};
use crate::network::simulation::{Simulation, SimulationError};
use crate::network::spec::{Discipline, Sharing};
use crate::network::text::TokenSource;
use crate::units::{SimTime, db_from_ratio};

impl<'p> Simulation<'p> {
    /// Time that a token takes back to the client.
    pub(super) fn downlink_time(&self) -> SimTime {
        let downlink = self.spec.downlink;
        SimTime::from_secs_saturating(downlink.latency_s + token_bits(self.spec) as f64 / downlink.rate_bps)
    }

    /// Sends a token back.
    pub(super) fn return_result(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let time = self.downlink_time();
        if self.spec.mode.method().is_some() && self.answered_at_edge(now, id)? {
            return Ok(());
        }
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        if self.spec.mode == ServiceMode::EdgeOnly && !request.is_last_round() {
            return self.stream_token(now, id);
        }
        request.phase = Phase::Downlink;
        request.since = now;
        if time == SimTime::ZERO {
            return self.on_downlink_done(now, id);
        }
        self.schedule_phase_end(now + time, Event::DownlinkDone { request: id }, id);
        Ok(())
    }

    pub(super) fn on_downlink_done(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        request.pending = None;
        request.spend(DOWNLINK, now - request.since);
        if self.spec.mode.method().is_some() {
            return self.answered(now, id);
        }
        if let Some(session) = request.session.as_mut() {
            session.first_token.get_or_insert(now);
            if !request.is_last_round() {
                self.return_to_ue(now, id);
                return Ok(());
            }
        }
        self.end_by_id(now, id, Outcome::Completed)
    }

    pub(super) fn on_deadline(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        request.deadline = None;
        let (phase, ue) = (request.phase, request.ue);
        self.abandon(now, id);
        self.end_by_id(now, id, Outcome::Timeout)?;
        match phase {
            Phase::UeCompute => self.serve_ue(now, ue),
            Phase::EdgeCompute => self.serve_edge(now),
            _ => {}
        }
        Ok(())
    }

    /// Takes a request out of wherever it is, and books the time and the work
    /// spent there so far.
    pub(super) fn abandon(&mut self, now: SimTime, id: RequestId) {
        let Some(ue) = self.world.requests.get(id).map(|request| request.ue) else { return };
        self.settle(now, ue);
        let Some(request) = self.world.requests.get_mut(id) else { return };
        if let Some((_, ticket)) = request.uplink.as_mut().and_then(|log| log.deadline.take()) {
            self.calendar.cancel(ticket);
        }
        if let Some(ticket) = request.pending.take() {
            self.calendar.cancel(ticket);
        }
        let elapsed = now.saturating_sub(request.since);
        match request.phase {
            Phase::UeQueue => {
                request.spend(UE_WAIT, elapsed);
                if request.round() == 0 {
                    self.world.ues[request.ue as usize].waiting -= 1;
                }
                self.world.ue_waiting -= 1;
            }
            Phase::UeCompute => {
                request.spend(UE_COMPUTE, elapsed);
                let state = &mut self.world.ues[ue as usize];
                state.serving = None;
                let processor = &self.spec.groups[state.group as usize].processor;
                if request.output_tokens > 1 {
                    self.ports.recorder.ue_computed(ue, request.since, now);
                }
                request.book_service(request.progress(self.spec, processor, elapsed));
                let since = request.since;
                self.book_computing(since, now, ue);
            }
            Phase::Uplink { cell, flow } => {
                self.take_off_air(now, id, cell, flow);
            }
            Phase::Backoff => request.spend(UPLINK_WAIT, elapsed),
            Phase::AwaitRows => awaited(request, now),
            Phase::EdgeQueue => {
                request.spend(EDGE_WAIT, elapsed);
                self.world.edge.waiting -= 1;
            }
            Phase::EdgeCompute => {
                request.spend(EDGE_COMPUTE, elapsed);
                if let Discipline::Fifo { .. } = self.spec.edge.discipline {
                    request.edge_done = share(elapsed, request.edge_time);
                    self.world.edge.in_service -= 1;
                    self.book_edge_of(now, id);
                } else {
                    // A batch runs on without looking back.
                    request.edge_done = 1.0;
                }
            }
            Phase::EdgeShared { flow } => {
                let served = self.world.edge.shared.cancel(now, flow).unwrap_or(SimTime::ZERO).min(elapsed);
                request.spend(EDGE_COMPUTE, served);
                request.spend(EDGE_WAIT, elapsed - served);
                request.edge_done = share(served, request.edge_time);
                self.world.edge.in_service -= 1;
                self.book_edge_of(now, id);
                self.reschedule_edge();
            }
            Phase::Downlink => request.spend(DOWNLINK, elapsed),
        }
        self.rearm(now, ue);
    }

    /// Ends everything that is still under way at the drain limit.
    pub(super) fn end_unfinished(&mut self, horizon: SimTime) -> Result<(), SimulationError> {
        self.closed = true;
        for id in self.world.requests.ids() {
            if self.world.requests.get(id).is_some_and(|request| request.carries.is_some()) {
                continue;
            }
            self.abandon(horizon, id);
            self.end_by_id(horizon, id, Outcome::Unfinished)?;
        }
        Ok(())
    }

    pub(super) fn end_by_id(&mut self, now: SimTime, id: RequestId, outcome: Outcome) -> Result<(), SimulationError> {
        self.recall_upload(now, id);
        match self.world.requests.remove(id) {
            Some(request) => self.end(now, request, outcome),
            None => Ok(()),
        }
    }

    /// Turns a request that has ended into its row.
    pub(super) fn end(&mut self, now: SimTime, mut request: Request, outcome: Outcome) -> Result<(), SimulationError> {
        if let Some(ticket) = request.deadline.take() {
            self.calendar.cancel(ticket);
        }
        self.progress.ended += 1;
        self.last_end = self.last_end.max(now);
        self.settle(now, request.ue);
        let group = &self.spec.groups[self.world.ues[request.ue as usize].group as usize];
        let goes_on = self.await_next_turn(now, &request, outcome);
        // A UE that is off asks for nothing in return.
        if group.workload.is_closed_loop() && !goes_on && !self.is_off(request.ue) {
            self.schedule_arrival(request.ue, now);
        }
        if outcome == Outcome::Completed && self.spec.collaboration.is_some() && request.talk.is_none() {
            self.tell_at_once(&mut request);
        }
        if outcome != Outcome::Completed
            && let Some(talk) = request.talk.as_mut()
        {
            // Tokens that are still on their way don't come any more.
            talk.trail.retain(|token| token.at.is_none_or(|at| at <= now));
        }
        let row = self.row(now, &request, outcome);
        let told = self.told(&mut request, outcome);
        let delivery = match outcome {
            // Of an outage there is nothing to judge but chance.
            _ if self.spec.collaboration.is_some() && outcome != Outcome::Outage => None,
            Outcome::Completed => Some(request.crossing.take().map_or(Delivery::Direct, Delivery::Tensor)),
            Outcome::Outage => Some(Delivery::Nothing),
            // A reward needs to know what a failed request has missed.
            Outcome::Timeout if request.decided.is_some() => Some(Delivery::Late),
            Outcome::Timeout | Outcome::Dropped | Outcome::Unfinished => None,
        };
        let ticket = match (delivery, request.conditions, self.ports.quality.name()) {
            (Some(delivery), Some(conditions), Some(_)) => Some(self.ports.quality.submit(QualityRequest {
                window: request.window,
                prompt_tokens: request.prompt_tokens,
                output_tokens: request.output_tokens,
                delivery,
                conditions: self.conditions_of_quality(&request, conditions),
            })),
            _ => None,
        };
        let all_layers = all_layers_flop(self.spec, request.prompt_tokens, request.output_tokens);
        let ended = Ended {
            ue_cost_share: request.ue_flop() / all_layers,
            row,
            ticket,
            told,
            step: request.decided.map(|decided| decided.step),
            elapsed_s: (now - request.arrival).as_secs_f64(),
        };
        self.keep(ended)
    }

    /// The conditions that tables and surrogates are asked at: where lost packets are sent again, P is the
    /// share of packets that were missing in the end.
    fn conditions_of_quality(&self, request: &Request, conditions: Conditions) -> Conditions {
        let channel = self.channel(request.ue);
        let by_element = channel.loss_unit == LossUnit::ElementIid;
        let repaired = self.spec.cellular.is_some() || channel.delivery != crate::network::spec::Delivery::None;
        let repaired = repaired && !by_element;
        match request.uplink.as_ref().filter(|log| repaired && log.packets_asked > 0) {
            Some(log) => Conditions {
                loss_probability: f64::from(log.packets_missing) / f64::from(log.packets_asked),
                ..conditions
            },
            None => conditions,
        }
    }

    fn row(&self, now: SimTime, request: &Request, outcome: Outcome) -> RequestRow<'p> {
        let spec: &'p crate::network::spec::NetworkSpec = self.spec;
        let ue = &self.world.ues[request.ue as usize];
        let group = &spec.groups[ue.group as usize];
        let digital = spec.channels[group.channel].reception == crate::channel::Reception::Digital;
        let crosses = spec.mode != ServiceMode::DeviceOnly;
        let conditions = request.conditions.filter(|_| crosses);
        let tensor = spec.mode == ServiceMode::Split;
        let log = request.uplink.as_ref().filter(|log| log.packets_sent > 0);
        let link = request.uplink.as_ref().and_then(|log| log.link.as_ref());
        let by_slot = matches!(spec.sharing, Sharing::Slots(_));
        let by_reports = link.is_some_and(|link| link.reports.is_some() || by_slot);
        let efficiency = link.filter(|_| digital).and_then(|link| {
            if !by_slot {
                return Some(link.rate.efficiency);
            }
            let on_air_s = request.spent[UPLINK_AIR]?.as_secs_f64();
            let bits = request.uplink.as_ref()?.bits.filter(|_| on_air_s > 0.0)?;
            Some(bits as f64 / (on_air_s * spec.uplinks[group.channel].bandwidth_hz))
        });
        let elapsed = now - request.arrival;
        let completed = outcome == Outcome::Completed;
        let ttft = match &request.session {
            None => completed.then_some(elapsed),
            // Some tokens of a session may be there when it fails.
            Some(session) => session.first_token.filter(|&at| at <= now).map(|at| at - request.arrival),
        };
        let further = f64::from(request.output_tokens.saturating_sub(1));
        let tpot = ttft.filter(|_| completed && further > 0.0).map(|first| (elapsed - first).as_secs_f64() / further);
        let served = request.conditions.is_some();
        let on_air = request.spent[UPLINK_AIR];
        let talk = request.talk.as_deref();
        let asks = talk.filter(|_| spec.mode.method().is_some());
        let tokens_of = |source| talk.map(|talk| talk.tokens_of(source));
        RequestRow {
            request_id: request.number,
            ue_id: request.ue,
            group: &group.name,
            cell_id: link.map_or(ue.cell, |link| link.cell),
            episode: request.episode,
            window: request.window,
            arrival_s: request.arrival,
            split: request.decided.map(|decided| decided.split),
            prompt_tokens: request.prompt_tokens,
            output_tokens: request.output_tokens,
            noise_std: conditions.filter(|_| tensor && !digital).map(|c| c.noise_std),
            rayleigh_scale: conditions.map(|c| c.rayleigh_scale),
            loss_probability: conditions.filter(|_| !by_reports).map(|c| c.loss_probability),
            activation_snr_db: None,
            mean_gain: log.map(|log| log.gain_sum / f64::from(log.packets_sent)),
            packets_sent: log.map(|log| log.packets_sent),
            packets_lost: log.map(|log| log.packets_lost),
            rows_lost: log.and_then(|log| log.rows_lost),
            loss_bursts: log.map(|log| log.loss_bursts),
            uplink_bits: log.and_then(|log| log.bits),
            ue_wait_s: request.spent[UE_WAIT],
            ue_compute_s: request.spent[UE_COMPUTE],
            uplink_wait_s: request.spent[UPLINK_WAIT],
            uplink_air_s: on_air,
            edge_wait_s: request.spent[EDGE_WAIT],
            edge_compute_s: request.spent[EDGE_COMPUTE],
            downlink_s: request.spent[DOWNLINK],
            ttft_s: ttft,
            tpot_s: tpot,
            e2e_s: completed.then_some(elapsed),
            deadline_met: group.deadline.filter(|_| outcome != Outcome::Unfinished).map(|_| completed),
            ue_flop: served.then_some(request.ue_flop()),
            edge_flop: served.then_some(request.edge_flop()),
            ue_energy_j: request.spent[UE_COMPUTE].map(|time| {
                let bytes = request.ue_bytes(group.processor.bytes_per_parameter);
                group.processor.energy(request.ue_flop(), bytes, time)
            }),
            tx_energy_j: transmitted(request).map(|time| {
                match request.uplink.as_ref().filter(|log| log.link.is_some()) {
                    Some(log) => log.tx_energy_j,
                    None => group.tx_power_w * time.as_secs_f64(),
                }
            }),
            nll_sum: None,
            tokens_scored: None,
            ppl_clean: None,
            ppl: None,
            quality_source: None,
            reward: None,
            outcome,
            packets_missing: log.filter(|log| log.packets_asked > 0).map(|log| log.packets_missing),
            sinr_db: link.map(|link| db_from_ratio(link.sinr)),
            spectral_efficiency_bps_hz: efficiency,
            x_m: link.map(|link| link.here.x_m),
            y_m: link.map(|link| link.here.y_m),
            distance_m: link.map(|link| link.distance_m),
            handovers: request.uplink.as_ref().filter(|log| log.link.is_some()).map(|log| log.handovers),
            conversation: request.turn.map(|turn| turn.conversation),
            turn: request.turn.map(|turn| turn.number),
            layer_load_s: request.loaded,
            battery_j: ue.battery.as_ref().map(|battery| battery.left_j()),
            ue_tokens: tokens_of(TokenSource::Ue),
            edge_tokens: tokens_of(TokenSource::Edge),
            fallback_tokens: tokens_of(TokenSource::Fallback),
            llm_agreements: None,
            edge_asks: asks.map(|talk| talk.asks),
            downlink_bits: asks.map(|talk| talk.downlink_bits),
        }
    }
}

/// Airtime of all that a request sent: also of what it did not wait for.
fn transmitted(request: &Request) -> Option<SimTime> {
    let unasked = request.talk.as_ref().map_or(SimTime::ZERO, |talk| talk.upload_air);
    if unasked > SimTime::ZERO { Some(unasked) } else { request.spent[UPLINK_AIR] }
}

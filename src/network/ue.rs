//! The UE: arrivals, its queue, the decision, its part of the model.

use crate::channel::Occasion;
use crate::kernel::Purpose;
use crate::network::compute::Work;
use crate::network::conversation::{AwaitedTurn, Turn};
use crate::network::costs::{costs, layers_on_ue};
use crate::network::energy::ServiceProgress;
use crate::network::event::Event;
use crate::network::ledger::DecisionFacts;
use crate::network::ports::{Conditions, NetworkState, Observation, ServiceMode};
use crate::network::request::{Decided, Phase, Request, RequestId, UE_COMPUTE, UE_WAIT};
use crate::network::rounds::DeviceSession;
use crate::network::rows::Outcome;
use crate::network::simulation::{Simulation, SimulationError};
use crate::network::spec::{ChannelSpec, InitialSplit, OutageSpec};
use crate::units::SimTime;

impl Simulation<'_> {
    pub(super) fn on_arrival(&mut self, now: SimTime, ue: u32) -> Result<(), SimulationError> {
        if self.closed {
            return Ok(());
        }
        let state = &mut self.world.ues[ue as usize];
        let k = state.arrived;
        state.arrived += 1;
        let conversation = &self.spec.groups[state.group as usize].workload.conversation;
        let first = conversation.map(|spec| spec.first_turn(&self.streams, ue, k));
        self.take_in(now, ue, k, first, 0)
    }

    /// A conversation goes on.
    pub(super) fn on_next_turn(&mut self, now: SimTime, slot: u32) -> Result<(), SimulationError> {
        match self.world.awaited_turns.take(slot) {
            Some(awaited) if !self.closed => {
                let AwaitedTurn { ue, turn, context } = awaited;
                self.take_in(now, ue, u64::from(turn.conversation), Some(turn), context)
            }
            _ => Ok(()),
        }
    }

    /// A request of arrival `k` of the UE, or the turn that its conversation has come to
    /// behind `context` tokens.
    fn take_in(
        &mut self,
        now: SimTime,
        ue: u32,
        k: u64,
        turn: Option<Turn>,
        context: u64,
    ) -> Result<(), SimulationError> {
        let state = &self.world.ues[ue as usize];
        let group = &self.spec.groups[state.group as usize];
        let conversation = turn.zip(group.workload.conversation);
        let k = conversation.map_or(k, |(turn, spec)| spec.request_index(turn));
        let (said, output_tokens) = group.workload.tokens(&self.streams, state.member, k);
        let tokens = conversation.map_or(said, |(_, spec)| spec.prompt_tokens(context, said));
        let uniform = self.streams.stream(ue, Purpose::Prompt).uniform(k);
        let prompt = self.ports.prompts.pick(uniform, tokens, output_tokens);
        let number = self.progress.arrived;
        self.progress.arrived += 1;
        if self.spec.max_requests.is_some_and(|most| self.progress.arrived >= most) {
            self.close_arrivals(now);
        }
        if !group.workload.is_closed_loop() && turn.is_none_or(|turn| turn.number == 0) {
            self.schedule_arrival(ue, now);
        }
        let mut request = Request::new(number, ue, k, prompt, output_tokens, now);
        request.turn = turn;
        let state = &self.world.ues[ue as usize];
        let full = state.serving.is_some() && group.queue_capacity.is_some_and(|most| state.waiting >= most);
        if full || self.is_off(ue) {
            return self.end(now, request, Outcome::Dropped);
        }
        let id = self.world.requests.insert(request);
        if let Some(deadline) = group.deadline {
            let event = Event::Deadline { request: id };
            let ticket = self.calendar.schedule_cancellable(now + deadline, event.class(), event);
            if let Some(request) = self.world.requests.get_mut(id) {
                request.deadline = Some(ticket);
            }
        }
        let state = &mut self.world.ues[ue as usize];
        state.queue.push_back(id);
        state.waiting += 1;
        self.world.ue_waiting += 1;
        self.serve_ue(now, ue);
        Ok(())
    }

    /// Starts the UE's next request if the UE is free.
    pub(super) fn serve_ue(&mut self, now: SimTime, ue: u32) {
        if self.world.ues[ue as usize].serving.is_some() || self.is_off(ue) {
            return;
        }
        self.settle(now, ue);
        if self.serve_round(now, ue) {
            return;
        }
        let state = &mut self.world.ues[ue as usize];
        let id = loop {
            let Some(id) = state.queue.pop_front() else { return };
            if self.world.requests.get(id).is_some() {
                break id;
            }
        };
        state.serving = Some(id);
        state.waiting -= 1;
        self.world.ue_waiting -= 1;
        let step = state.steps;
        state.steps += 1;
        let controller = self.spec.groups[state.group as usize].controller;
        let steps_per_episode = u64::from(self.spec.controllers[controller].steps_per_episode.max(1));
        let episode = step / steps_per_episode;
        let Some(request) = self.world.requests.get(id) else { return };
        let (number, ue_request, prompt_tokens) = (request.number, request.ue_request, request.prompt_tokens);
        let output_tokens = request.output_tokens;
        let occasion = Occasion { episode, request: ue_request, time: now };
        let believed = self.believed_conditions(now, ue);
        let conditions = believed.map_or_else(|| self.conditions(ue, &occasion), |(conditions, _)| conditions);

        let mut decided = None;
        if self.spec.mode == ServiceMode::Split {
            self.start_episode(ue, &occasion, (step % steps_per_episode) as u32);
            let state = &mut self.world.ues[ue as usize];
            // The layers of the first split are there from the start.
            state.resident = state.resident.max(if step == 0 { state.split } else { 0 });
            let mut state = self.network_state(now, ue, &conditions);
            if let Some((_, sinr_db)) = believed {
                state.snr_db = sinr_db;
            }
            let observation = Observation {
                ue,
                now,
                decision: step,
                step_in_episode: (step % steps_per_episode) as u32,
                conditions,
                split: self.world.ues[ue as usize].split,
                prompt_tokens,
                state,
            };
            let controller = self.world.ues[ue as usize].controller;
            let decision = self.ports.controllers[controller as usize].decide(&observation);
            self.ledger.updated(self.ports.controllers[controller as usize].take_update());
            // A controller's word is bounded here, once, whatever its arithmetic says.
            let split = decision.split.clamp(self.spec.split.min, self.max_split(ue));
            self.world.ues[ue as usize].split = split;
            let run_step = self.progress.steps;
            self.progress.steps += 1;
            let each = self.spec.steps_of_each.get(ue as usize) == Some(&(step + 1));
            self.short_of_steps = self.short_of_steps.saturating_sub(usize::from(each));
            let enough = self.spec.max_steps.is_some_and(|most| self.progress.steps >= most);
            if !self.closed && (enough || each && self.short_of_steps == 0) {
                self.close_arrivals(now);
            }
            self.ledger.decided(DecisionFacts {
                step: run_step,
                controller,
                request: number,
                episode: episode as u32,
                digital: self.is_digital(ue),
                observation,
                decision,
                split,
            });
            decided = Some(Decided { step: run_step, split });
        }

        let mut costs = costs(self.spec, decided.map(|decided| decided.split), prompt_tokens);
        let processor = &self.spec.groups[self.world.ues[ue as usize].group as usize].processor;
        let mut ue_time = processor.time(costs.ue);
        let mut first_token = None;
        if output_tokens > 1 && self.spec.mode == ServiceMode::DeviceOnly {
            let session = DeviceSession::new(self.spec, processor, prompt_tokens, output_tokens);
            (costs.ue, ue_time, first_token) = (session.work, session.time, Some(now + session.first));
        }
        if let Some(work) = self.begin_text(id) {
            let group = self.world.ues[ue as usize].group as usize;
            (costs.ue, costs.edge, ue_time) = (work, Work::default(), self.spec.groups[group].processor.time(work));
        }
        let loading = self.load(ue, decided.map(|decided| decided.split));
        let Some(request) = self.world.requests.get_mut(id) else { return };
        if let Some((parameters, time)) = loading {
            (request.load_parameters, request.load_time, request.loaded) = (parameters, time, Some(SimTime::ZERO));
        }
        let busy = request.load_time + ue_time;
        request.spend(UE_WAIT, now - request.arrival);
        request.phase = Phase::UeCompute;
        request.since = now;
        request.conditions = Some(conditions);
        request.episode = Some(episode as u32);
        request.decided = decided;
        request.ue_work = costs.ue;
        request.edge_work = costs.edge;
        request.ue_time = ue_time;
        if let Some(session) = request.session.as_mut() {
            session.first_token = first_token;
        }
        self.schedule_phase_end(now + busy, Event::UeDone { request: id }, id);
        self.drain_for_service(now, ue);
    }

    /// The largest split that a UE's memory has room for.
    fn max_split(&self, ue: u32) -> u32 {
        self.spec.groups[self.world.ues[ue as usize].group as usize].max_split
    }

    /// The parameters of the layers that a UE has not loaded yet and needs for a split, and the time
    /// that loading takes; they stay. `None` where that takes no time, or nothing is to be loaded ever.
    fn load(&mut self, ue: u32, split: Option<u32>) -> Option<(f64, SimTime)> {
        let state = &mut self.world.ues[ue as usize];
        let processor = &self.spec.groups[state.group as usize].processor;
        let split = split.filter(|_| processor.load_bytes_per_s.is_some())?;
        let layers = |split: u32| layers_on_ue(self.spec, Some(split)) as f64;
        let further = layers(split.max(state.resident)) - layers(state.resident);
        state.resident = state.resident.max(split);
        let parameters = further * self.spec.cost.geometry.layer_parameters();
        Some((parameters, processor.load_time(parameters)))
    }

    pub(super) fn on_ue_done(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(ue) = self.world.requests.get(id).map(|request| request.ue) else { return Ok(()) };
        self.settle(now, ue);
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        request.pending = None;
        request.spend(UE_COMPUTE, now - request.since);
        request.book_service(ServiceProgress { done: 1.0, read: 1.0, loaded: request.load_time });
        let (since, several) = (request.since, request.output_tokens > 1);
        self.world.ues[ue as usize].serving = None;
        self.book_computing(since, now, ue);
        if several {
            self.ports.recorder.ue_computed(ue, since, now);
        }
        match self.spec.mode {
            ServiceMode::DeviceOnly => self.end_by_id(now, id, Outcome::Completed)?,
            ServiceMode::Split | ServiceMode::EdgeOnly => self.send(now, id)?,
            ServiceMode::HybridReward
            | ServiceMode::HybridUncertainty
            | ServiceMode::EarlyExit
            | ServiceMode::QueryRouter => self.proposed(now, id)?,
        }
        self.serve_ue(now, ue);
        self.rearm(now, ue);
        Ok(())
    }

    /// What a UE knows of the network.
    fn network_state(&self, now: SimTime, ue: u32, conditions: &Conditions) -> NetworkState {
        let state = &self.world.ues[ue as usize];
        let last = state.last_gain;
        NetworkState {
            snr_db: self.channel(ue).mean_snr_db(conditions),
            gain_estimate: last.map(|(gain, _)| gain),
            gain_age: last.map(|(_, at)| now.saturating_sub(at)),
            ue_queue: state.waiting,
            edge_queue: self.world.edge.waiting,
            edge_busy: self.world.edge.in_service,
            battery: state.battery.as_ref().map(|battery| battery.left_j() / battery.capacity_j),
        }
    }

    /// Whether a UE's tensor crosses a digital link.
    pub(super) fn is_digital(&self, ue: u32) -> bool {
        self.channel(ue).reception == crate::channel::Reception::Digital
    }

    /// Resets the split where an episode begins (or with each request, if it is drawn so).
    fn start_episode(&mut self, ue: u32, occasion: &Occasion, step_in_episode: u32) {
        use crate::channel::Draw;
        let state = &mut self.world.ues[ue as usize];
        let stream = self.streams.stream(ue, Purpose::InitialSplit);
        let begins = step_in_episode == 0;
        match self.spec.split.initial {
            InitialSplit::Constant(split) if begins => state.split = split,
            InitialSplit::Constant(_) => {}
            InitialSplit::Drawn { min, max, draw } => {
                let index = match draw {
                    Draw::PerRequest => occasion.request,
                    Draw::PerUe if begins => 0,
                    Draw::PerEpisode if begins => occasion.episode,
                    Draw::PerUe | Draw::PerEpisode => return,
                };
                state.split = min + stream.below(index, u64::from(max - min) + 1) as u32;
            }
        }
    }

    /// The long-term conditions of a UE on an occasion, by eq. (4) with the law of its fading.
    fn conditions(&mut self, ue: u32, occasion: &Occasion) -> Conditions {
        let state = &mut self.world.ues[ue as usize];
        let channel = &self.spec.channels[self.spec.groups[state.group as usize].channel];
        let law = state.fading.law();
        let [noise, scale, threshold, loss] = &mut state.walks;
        let streams = &self.streams;
        let noise_std = channel.noise_std.value(noise, &streams.stream(ue, Purpose::NoiseStd), occasion);
        let scale_stream = streams.stream(ue, Purpose::RayleighScale);
        let threshold_stream = streams.stream(ue, Purpose::GainThreshold);
        let loss_stream = streams.stream(ue, Purpose::LossProbability);
        // The scenario has checked the bounds of all three, so eq. (4) has a solution;
        // the fallbacks are for the type only.
        match &channel.outage {
            OutageSpec::ScaleAndLoss { rayleigh_scale, loss_probability } => {
                let rayleigh_scale = rayleigh_scale.value(scale, &scale_stream, occasion);
                let loss_probability = loss_probability.value(loss, &loss_stream, occasion);
                let gain_threshold = law.gain_threshold_for(loss_probability, rayleigh_scale).unwrap_or(0.0);
                Conditions { noise_std, rayleigh_scale, gain_threshold, loss_probability }
            }
            OutageSpec::ScaleAndThreshold { rayleigh_scale, gain_threshold } => {
                let rayleigh_scale = rayleigh_scale.value(scale, &scale_stream, occasion);
                let gain_threshold = gain_threshold.value(threshold, &threshold_stream, occasion);
                let loss_probability = law.outage_probability(gain_threshold, rayleigh_scale);
                Conditions { noise_std, rayleigh_scale, gain_threshold, loss_probability }
            }
            OutageSpec::ThresholdAndLoss { gain_threshold, loss_probability } => {
                let gain_threshold = gain_threshold.value(threshold, &threshold_stream, occasion);
                let loss_probability = loss_probability.value(loss, &loss_stream, occasion);
                let rayleigh_scale = law
                    .rayleigh_scale_for(loss_probability, gain_threshold)
                    .unwrap_or(crate::channel::DEFAULT_RAYLEIGH_SCALE);
                Conditions { noise_std, rayleigh_scale, gain_threshold, loss_probability }
            }
        }
    }
}

impl<'p> Simulation<'p> {
    /// The channel of a UE.
    pub(super) fn channel(&self, ue: u32) -> &'p ChannelSpec {
        let group = self.world.ues[ue as usize].group;
        &self.spec.channels[self.spec.groups[group as usize].channel]
    }
}

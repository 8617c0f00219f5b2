//! Sessions: a request for more than one token goes through the network once per
//! token.
//!
//! Round 0 is the prompt's, the same as a request for one token. From then on each
//! round decodes one token, with the keys and values that its positions left on
//! either side of the split:
//!
//! ```text
//! split        UE ─ row ─▶ edge ─ token ─▶ UE ─ row ─▶ edge ─ token ─▶ …
//! edge-only    prompt ─▶ edge ─▶ edge ─▶ edge …, each token on its way back meanwhile
//! device-only  one service of T passes
//! ```
//!
//! Conditions and split are those of the decision, once per session.

use crate::network::compute::{Processor, Work};
use crate::network::costs::{costs, decode_costs};
use crate::network::event::Event;
use crate::network::request::{Phase, Request, RequestId, UE_WAIT};
use crate::network::simulation::{Simulation, SimulationError};
use crate::network::spec::NetworkSpec;
use crate::units::SimTime;

/// What a request for one token doesn't need to know.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The present round; round 0 is the prompt's.
    pub round: u32,
    /// When the client has the first token, as soon as that is certain.
    pub first_token: Option<SimTime>,
    /// Work of earlier rounds on the UE \[FLOP\].
    pub ue_flop: f64,
    /// Parameters that earlier rounds read on the UE.
    pub ue_parameters: f64,
    /// Keys and values that earlier rounds read on the UE \[byte\].
    pub ue_kv_bytes: f64,
    /// Work of earlier rounds on the edge \[FLOP\].
    pub edge_flop: f64,
}

impl Request {
    /// The present round.
    pub fn round(&self) -> u32 {
        self.session.as_ref().map_or(0, |session| session.round)
    }

    /// Whether the present round yields the last token.
    pub fn is_last_round(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.round + 1 >= self.output_tokens)
    }

    /// Turns to the next round, none of which is done.
    fn turn(&mut self, spec: &NetworkSpec) {
        let (split, tokens) = (self.decided.map(|decided| decided.split), self.prompt_tokens);
        self.book_round();
        let costs = decode_costs(spec, split, u64::from(tokens) + u64::from(self.round()));
        (self.ue_work, self.edge_work) = (costs.ue, costs.edge);
    }

    /// Books what was done in the present round, and begins the next one.
    pub fn book_round(&mut self) {
        let Some(session) = self.session.as_mut() else { return };
        session.ue_flop += self.ue_work.flop * self.ue_done;
        session.ue_parameters += self.ue_work.parameters * self.ue_read;
        session.ue_kv_bytes += self.ue_work.kv_bytes * self.ue_read;
        session.edge_flop += self.edge_work.flop * self.edge_done;
        session.round += 1;
        (self.ue_done, self.ue_read, self.edge_done) = (0.0, 0.0, 0.0);
        (self.load_parameters, self.load_time) = (0.0, SimTime::ZERO);
    }
}

impl Simulation<'_> {
    /// A token is at the client, which asks for another one: its row is computed as
    /// soon as the UE is free, before any new prompt.
    pub(super) fn return_to_ue(&mut self, now: SimTime, id: RequestId) {
        let Some(request) = self.world.requests.get_mut(id) else { return };
        request.turn(self.spec);
        self.wait_for_ue(now, id);
    }

    /// The next pass of a request waits for its UE's processor.
    pub(super) fn wait_for_ue(&mut self, now: SimTime, id: RequestId) {
        let Some(request) = self.world.requests.get_mut(id) else { return };
        request.phase = Phase::UeQueue;
        request.since = now;
        let ue = request.ue;
        self.world.ues[ue as usize].returned.push_back(id);
        self.world.ue_waiting += 1;
        self.serve_ue(now, ue);
    }

    /// Starts the decode round that has waited longest at a free UE, if there is one.
    pub(super) fn serve_round(&mut self, now: SimTime, ue: u32) -> bool {
        let state = &mut self.world.ues[ue as usize];
        while let Some(id) = state.returned.pop_front() {
            let Some(request) = self.world.requests.get_mut(id) else { continue };
            self.world.ue_waiting -= 1;
            state.serving = Some(id);
            request.spend(UE_WAIT, now - request.since);
            request.phase = Phase::UeCompute;
            request.since = now;
            request.ue_time = self.spec.groups[state.group as usize].processor.time(request.ue_work);
            let done = now + request.ue_time;
            self.begin_pass(id);
            self.schedule_phase_end(done, Event::UeDone { request: id }, id);
            self.drain_for_service(now, ue);
            return true;
        }
        false
    }

    /// The edge has a token and goes on with the next one while this one returns.
    pub(super) fn stream_token(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let back = self.downlink_time();
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        request.turn(self.spec);
        if let Some(session) = request.session.as_mut() {
            session.first_token.get_or_insert(now + back);
        }
        // Whoever finished the last round looks for the edge's next job.
        self.enqueue_at_edge(now, id)
    }
}

/// A whole session on the device.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceSession {
    /// Time of the prompt's pass, which yields the first token.
    pub first: SimTime,
    /// Time of all passes.
    pub time: SimTime,
    /// Work of all passes, whatever each of them is.
    pub work: Work,
}

impl DeviceSession {
    /// The passes of a prompt of `tokens` tokens and of `output_tokens` - 1 further ones.
    pub fn new(spec: &NetworkSpec, processor: &Processor, tokens: u32, output_tokens: u32) -> Self {
        let mut session = Self::default();
        for (round, work) in passes(spec, tokens, output_tokens).enumerate() {
            session.time += processor.time(work);
            session.work.flop += work.flop;
            session.work.parameters += work.parameters;
            session.work.kv_bytes += work.kv_bytes;
            if round == 0 {
                session.first = session.time;
            }
        }
        session
    }

    /// Shares of the session's FLOP and of its bytes that are done after `elapsed`.
    pub fn share(spec: &NetworkSpec, processor: &Processor, request: &Request, elapsed: SimTime) -> (f64, f64) {
        let (mut left, mut done, mut read) = (elapsed, 0.0, 0.0);
        let bytes = |work: Work| work.bytes(processor.bytes_per_parameter);
        for work in passes(spec, request.prompt_tokens, request.output_tokens) {
            let time = processor.time(work);
            if time > left {
                let part = left.as_nanos() as f64 / time.as_nanos() as f64;
                done += work.flop * part;
                read += bytes(work) * part;
                break;
            }
            left = left - time;
            done += work.flop;
            read += bytes(work);
        }
        let all = bytes(request.ue_work);
        (done / request.ue_work.flop, if all > 0.0 { read / all } else { 1.0 })
    }
}

fn passes(spec: &NetworkSpec, tokens: u32, output_tokens: u32) -> impl Iterator<Item = Work> + '_ {
    let decoded = move |round: u32| decode_costs(spec, None, u64::from(tokens) + u64::from(round)).ue;
    std::iter::once(costs(spec, None, tokens).ue).chain((1..output_tokens).map(decoded))
}

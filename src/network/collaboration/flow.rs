//! Requests with generated text on their way through the network.

use crate::kernel::Purpose;
use crate::network::collaboration::{Asked, Collaboration, Talk, TokenTrail};
use crate::network::compute::Work;
use crate::network::costs::token_bits;
use crate::network::event::Event;
use crate::network::ports::ServiceMode;
use crate::network::request::{Phase, Request, RequestId, UPLINK_AIR, UPLINK_WAIT};
use crate::network::rows::{Outcome, RequestRow, TokenRow};
use crate::network::simulation::{Simulation, SimulationError};
use crate::network::spec::NetworkSpec;
use crate::network::text::{TextId, TextJob, TokenSource};
use crate::units::SimTime;

impl Request {
    /// What the text source needs to know of it.
    pub(in crate::network) fn text_job(&self) -> TextJob {
        TextJob {
            ue: self.ue,
            request: self.ue_request,
            window: self.window,
            prompt_tokens: self.prompt_tokens,
            output_tokens: self.output_tokens,
            crossing: None,
        }
    }

    /// Turns to the next pass of its text.
    fn turn_to(&mut self, ue_work: Work) {
        self.book_round();
        (self.ue_work, self.edge_work) = (ue_work, Work::default());
    }
}

/// The UE's pass for the next token of a request.
pub(in crate::network) fn ue_work(spec: &NetworkSpec, request: &Request) -> Work {
    let (Some(method), Some(collaboration)) = (spec.mode.method(), &spec.collaboration) else { return Work::default() };
    method.ue_work(spec, collaboration, &request.standing())
}

impl Simulation<'_> {
    /// A collaborative request begins its service: its text begins, too. Gives the first pass.
    pub(in crate::network) fn begin_text(&mut self, id: RequestId) -> Option<Work> {
        self.spec.mode.method()?;
        let request = self.world.requests.get_mut(id)?;
        let text = self.ports.text.as_deref_mut().map(|source| source.open(request.text_job()));
        request.session.get_or_insert_default();
        request.talk = Some(Box::new(Talk { text, ..Talk::default() }));
        let work = ue_work(self.spec, request);
        self.begin_pass(id);
        Some(work)
    }

    /// The UE begins its pass for the next token of a text.
    pub(in crate::network) fn begin_pass(&mut self, id: RequestId) {
        let random = self.spec.collaboration.as_ref().is_none_or(|spec| spec.random_scores);
        let Some(talk) = self.world.requests.get(id).and_then(|request| request.talk.as_ref()) else { return };
        let (text, scored) = (talk.text, self.wants_score(talk) && !random);
        if let (Some(source), Some(text), true) = (self.ports.text.as_deref_mut(), text, scored) {
            source.submit(text);
        }
    }

    fn hands_over(&self) -> bool {
        self.spec.mode.method().is_some_and(Collaboration::hands_over)
    }

    /// Whether the next token is scored: once a request has been routed, nobody asks.
    fn wants_score(&self, talk: &Talk) -> bool {
        !talk.fell_back && (!self.hands_over() || talk.trail.is_empty())
    }

    /// The score of the token that a UE has just computed.
    fn score(&mut self, id: RequestId) -> Result<Option<f64>, SimulationError> {
        let Some(request) = self.world.requests.get(id) else { return Ok(None) };
        let Some(talk) = request.talk.as_ref() else { return Ok(None) };
        if !self.wants_score(talk) {
            return Ok(None);
        }
        if self.spec.collaboration.as_ref().is_none_or(|spec| spec.random_scores) {
            let draws = self.streams.stream(request.ue, Purpose::RandomScore).child(request.ue_request);
            return Ok(Some(draws.uniform(talk.trail.len() as u64)));
        }
        let text = talk.text;
        match (self.ports.text.as_deref_mut(), text) {
            (Some(source), Some(text)) => Ok(Some(source.join(text)?)),
            _ => Ok(None),
        }
    }

    /// The UE has computed its token: it stays, or the edge is asked.
    pub(in crate::network) fn proposed(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let score = self.score(id)?;
        let (Some(method), Some(spec)) = (self.spec.mode.method(), &self.spec.collaboration) else { return Ok(()) };
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let standing = request.standing();
        let Some(talk) = request.talk.as_mut() else { return Ok(()) };
        talk.score = score;
        talk.rows_ready = standing.inputs();
        let fell_back = talk.fell_back;
        let kept = fell_back || score.is_none_or(|score| method.keeps(spec, &standing, score));
        if method.row_bits(self.spec).is_some() {
            self.upload_rows(now, id)?;
        }
        if kept {
            self.token_stands(now, id, if fell_back { TokenSource::Fallback } else { TokenSource::Ue });
            return self.go_on_at_ue(now, id);
        }
        self.ask(now, id, method)
    }

    /// Puts the question for the next token to the edge.
    fn ask(&mut self, now: SimTime, id: RequestId, method: &dyn Collaboration) -> Result<(), SimulationError> {
        let deadline = self.spec.collaboration.as_ref().and_then(|spec| spec.answer_deadline).map(|after| {
            let event = Event::AnswerDeadline { request: id };
            self.calendar.schedule_cancellable(now + after, event.class(), event)
        });
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let Some(talk) = request.talk.as_mut() else { return Ok(()) };
        talk.asked = Some(Asked { since: now, deadline });
        talk.asks += 1;
        if method.row_bits(self.spec).is_none() {
            return self.send(now, id);
        }
        request.phase = Phase::AwaitRows;
        request.since = now;
        talk.awaited_air = SimTime::ZERO;
        self.rows_awaited(now, id)
    }

    /// The question, and all that it needs, has reached the edge.
    pub(in crate::network) fn question_at_edge(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let (Some(method), Some(spec)) = (self.spec.mode.method(), &self.spec.collaboration) else { return Ok(()) };
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let inputs = request.standing().inputs();
        if let Some(talk) = request.talk.as_mut() {
            talk.at_edge = inputs;
        }
        request.edge_work = method.edge_work(self.spec, spec, &request.standing());
        request.edge_done = 0.0;
        self.queue_at_edge(now, id)
    }

    /// A question joins a batch: what an earlier batch has computed for it while it waited need not be done again.
    pub(in crate::network) fn edge_pass_anew(&mut self, id: RequestId) {
        let (Some(method), Some(spec)) = (self.spec.mode.method(), &self.spec.collaboration) else { return };
        let Some(request) = self.world.requests.get_mut(id) else { return };
        let standing = request.standing();
        request.edge_work = method.edge_work(self.spec, spec, &standing);
        if let Some(talk) = request.talk.as_mut() {
            talk.in_batch = Some(standing.inputs());
        }
    }

    /// The edge has computed a token of a collaborative request. Gives whether it goes on with the
    /// next one, while this one returns.
    pub(in crate::network) fn answered_at_edge(
        &mut self,
        now: SimTime,
        id: RequestId,
    ) -> Result<bool, SimulationError> {
        let (hands_over, back) = (self.hands_over(), self.downlink_time());
        let bits = token_bits(self.spec);
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(false) };
        let standing = request.standing();
        let Some(talk) = request.talk.as_mut() else { return Ok(false) };
        talk.computed = standing.inputs();
        talk.downlink_bits += bits;
        // A first token that won't be there in time is nothing to go on from.
        let until = talk.asked.zip(self.spec.collaboration.as_ref().and_then(|spec| spec.answer_deadline));
        let late = until.is_some_and(|(asked, after)| now + back > asked.since + after);
        if !hands_over || late || standing.position + 1 >= request.output_tokens {
            return Ok(false);
        }
        self.answer_stands(now + back, id);
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(false) };
        request.book_round();
        request.ue_work = Work::default();
        if let (Some(method), Some(spec)) = (self.spec.mode.method(), &self.spec.collaboration) {
            request.edge_work = method.edge_work(self.spec, spec, &request.standing());
        }
        self.enqueue_at_edge(now, id)?;
        Ok(true)
    }

    /// The edge's token is at the UE.
    pub(in crate::network) fn answered(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        self.answer_stands(now, id);
        self.go_on_from_queue(now, id)
    }

    /// The edge's token stands next in the text, and the client has it at `at`.
    fn answer_stands(&mut self, at: SimTime, id: RequestId) {
        self.token_stands(at, id, TokenSource::Edge);
        let uploads = self.spec.mode.method().is_some_and(|method| method.row_bits(self.spec).is_some());
        if let Some(request) = self.world.requests.get_mut(id) {
            let inputs = request.standing().inputs();
            // The edge knows the id of its own token; of states it waits for the row.
            if let Some(talk) = request.talk.as_mut().filter(|_| !uploads) {
                talk.at_edge = inputs;
            }
        }
    }

    /// The question or its answer is lost: the UE's own token stands.
    pub(in crate::network) fn fall_back(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let hands_over = self.hands_over();
        self.token_stands(now, id, TokenSource::Fallback);
        if let Some(talk) = self.world.requests.get_mut(id).and_then(|request| request.talk.as_mut()) {
            talk.fell_back = hands_over;
        }
        self.go_on_from_queue(now, id)
    }

    /// No answer has come in time.
    pub(in crate::network) fn on_answer_deadline(
        &mut self,
        now: SimTime,
        id: RequestId,
    ) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let phase = request.phase;
        let Some(asked) = request.talk.as_mut().and_then(|talk| talk.asked.as_mut()) else { return Ok(()) };
        asked.deadline = None;
        self.abandon(now, id);
        match phase {
            Phase::EdgeQueue => self.world.edge.queue.retain(|&waiting| waiting != id),
            Phase::EdgeCompute => self.serve_edge(now),
            _ => {}
        }
        self.fall_back(now, id)
    }

    /// A token stands next in the text.
    fn token_stands(&mut self, at: SimTime, id: RequestId, source: TokenSource) {
        let Some(request) = self.world.requests.get_mut(id) else { return };
        let asked = request.talk.as_mut().and_then(|talk| talk.asked.take());
        let upload = request.talk.as_ref().and_then(|talk| talk.upload);
        let own = request.uplink.as_ref().and_then(|log| log.bits);
        // What is on its way unasked has the log meanwhile.
        let beside = upload.and_then(|upload| self.world.requests.get(upload)?.uplink.as_ref()?.bits);
        let bits = own.or(beside);
        let Some(request) = self.world.requests.get_mut(id) else { return };
        request.add_token(source, at, asked.map(|asked| asked.since), bits);
        if let Some(ticket) = asked.and_then(|asked| asked.deadline) {
            self.calendar.cancel(ticket);
        }
        let text = request.talk.as_ref().and_then(|talk| talk.text);
        if let (Some(texts), Some(text)) = (self.ports.text.as_deref_mut(), text) {
            texts.settle(text, source);
        }
    }

    /// The UE keeps its processor and computes the next token, if there is one.
    fn go_on_at_ue(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        if request.is_told() {
            return self.end_by_id(now, id, Outcome::Completed);
        }
        let work = ue_work(self.spec, request);
        request.turn_to(work);
        let ue = request.ue;
        let state = &mut self.world.ues[ue as usize];
        request.phase = Phase::UeCompute;
        request.since = now;
        request.ue_time = self.spec.groups[state.group as usize].processor.time(work);
        let done = now + request.ue_time;
        state.serving = Some(id);
        self.begin_pass(id);
        self.schedule_phase_end(done, Event::UeDone { request: id }, id);
        self.drain_for_service(now, ue);
        Ok(())
    }

    /// The next pass waits for the UE's processor, if there is one.
    fn go_on_from_queue(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        if request.is_told() {
            return self.end_by_id(now, id, Outcome::Completed);
        }
        let work = ue_work(self.spec, request);
        request.turn_to(work);
        self.wait_for_ue(now, id);
        Ok(())
    }

    /// A request of a mode without collaboration has ended with generated text: who wrote it.
    pub(in crate::network) fn tell_at_once(&mut self, request: &mut Request) {
        let source = match self.spec.mode {
            ServiceMode::DeviceOnly => TokenSource::Ue,
            ServiceMode::Split | ServiceMode::EdgeOnly => TokenSource::Edge,
            _ => return,
        };
        let text = self.ports.text.as_deref_mut().map(|texts| {
            let text = texts.open(TextJob { crossing: request.crossing.take(), ..request.text_job() });
            (0..request.output_tokens).for_each(|_| texts.settle(text, source));
            text
        });
        let trail = vec![TokenTrail::bare(source); request.output_tokens as usize];
        request.talk = Some(Box::new(Talk { text, trail, ..Talk::default() }));
    }

    /// What is left of the text of a request that has ended.
    pub(in crate::network) fn told(&mut self, request: &mut Request, outcome: Outcome) -> Option<Box<Told>> {
        let talk = request.talk.take()?;
        if let Some(ticket) = talk.asked.and_then(|asked| asked.deadline) {
            self.calendar.cancel(ticket);
        }
        if let (Some(texts), Some(text)) = (self.ports.text.as_deref_mut(), talk.text) {
            texts.close(text);
        }
        let completed = outcome == Outcome::Completed;
        let threshold = self.spec.collaboration.as_ref().map_or(f64::NAN, |spec| spec.threshold);
        Some(Box::new(Told { text: talk.text, trail: talk.trail, completed, threshold }))
    }

    /// Fills in the row of a told text what its model says, and records its tokens.
    pub(in crate::network) fn write_told(
        &mut self,
        row: &mut RequestRow<'_>,
        told: &Told,
    ) -> Result<(), SimulationError> {
        let tokens = match (self.ports.text.as_deref_mut(), told.text) {
            (Some(texts), Some(text)) => texts.finish(text)?,
            _ => Vec::new(),
        };
        if told.completed && !tokens.is_empty() {
            let nll: f64 = tokens.iter().map(|token| -token.logprob_llm).sum();
            row.nll_sum = Some(nll);
            row.tokens_scored = Some(tokens.len() as u32);
            row.ppl = Some((nll / tokens.len() as f64).exp());
            row.llm_agreements = Some(tokens.iter().filter(|token| token.token == token.llm_token).count() as u32);
            row.quality_source = Some("llm");
        }
        for (position, trail) in (0u32..).zip(&told.trail) {
            let token = tokens.get(position as usize);
            self.ports.recorder.token(&TokenRow {
                request_id: row.request_id,
                position,
                source: trail.source.name(),
                score: trail.score,
                threshold: trail.score.map(|_| told.threshold),
                uplink_bits: trail.uplink_bits,
                wait_s: trail.wait,
                edge_s: trail.edge,
                logprob_llm: token.map(|token| token.logprob_llm),
                token: token.map(|token| token.token),
                llm_token: token.map(|token| token.llm_token),
                time_s: trail.at,
            })?;
        }
        Ok(())
    }
}

/// A text whose request has ended.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its name at the text source.
    pub text: Option<TextId>,
    /// How its tokens came about.
    pub trail: Vec<TokenTrail>,
    /// Whether the request completed.
    pub completed: bool,
    /// The threshold that scores were held against.
    pub threshold: f64,
}

/// The part of a wait for rows that was spent on the air, and the rest.
pub(in crate::network) fn awaited(request: &mut Request, now: SimTime) {
    let elapsed = now.saturating_sub(request.since);
    let air = request.talk.as_ref().map_or(SimTime::ZERO, |talk| talk.awaited_air).min(elapsed);
    request.spend(UPLINK_AIR, air);
    request.spend(UPLINK_WAIT, elapsed - air);
}

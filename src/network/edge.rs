//! The edge: first come first served, processor sharing, or batches.

use crate::kernel::Purpose;
use crate::network::compute::{Pass, Work};
use crate::network::event::Event;
use crate::network::request::{EDGE_COMPUTE, EDGE_WAIT, Phase, Request, RequestId};
use crate::network::simulation::{Simulation, SimulationError};
use crate::network::spec::{Discipline, ServiceLaw};
use crate::units::SimTime;

impl Simulation<'_> {
    /// A tensor (or a prompt) has arrived at the edge.
    pub(super) fn queue_at_edge(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        self.enqueue_at_edge(now, id)?;
        self.serve_edge(now);
        Ok(())
    }

    /// Adds a job to the edge's queue, for [`Simulation::serve_edge`] to find; processor
    /// sharing serves it from now on.
    pub(super) fn enqueue_at_edge(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get(id) else { return Ok(()) };
        let edge_time = self.edge_time(request);
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        request.since = now;
        request.edge_time = edge_time;
        if self.spec.edge.discipline == Discipline::ProcessorSharing {
            // A session's rounds would follow each other down the stack: they leave by an event.
            if edge_time == SimTime::ZERO && request.session.is_none() {
                request.spend(EDGE_WAIT, SimTime::ZERO);
                request.spend(EDGE_COMPUTE, SimTime::ZERO);
                return self.return_result(now, id);
            }
            let flow = self.world.edge.shared.arrive(now, edge_time, id);
            request.phase = Phase::EdgeShared { flow };
            self.world.edge.in_service += 1;
            self.reschedule_edge();
        } else {
            request.phase = Phase::EdgeQueue;
            self.world.edge.queue.push_back(id);
            self.world.edge.waiting += 1;
        }
        Ok(())
    }

    /// Solo time of a job: the roofline's, or the synthetic law's. A request's draws are its
    /// own, whoever comes to the edge before it.
    fn edge_time(&self, request: &Request) -> SimTime {
        match self.spec.edge.service {
            None => self.spec.edge.processor.time(request.edge_work),
            Some(ServiceLaw::Deterministic { mean_s }) => SimTime::from_secs_saturating(mean_s),
            Some(ServiceLaw::Exponential { mean_s }) => {
                // Rounds of a session lie 2⁴⁰ draws apart.
                let stream = self.streams.stream(request.ue, Purpose::Service);
                let draw = stream.starting_at(u64::from(request.round()) << 40).exponential(request.ue_request);
                SimTime::from_secs_saturating(mean_s * draw)
            }
        }
    }

    /// Starts whatever the edge may start now.
    pub(super) fn serve_edge(&mut self, now: SimTime) {
        match self.spec.edge.discipline {
            Discipline::Fifo { servers } => {
                while self.world.edge.in_service < servers {
                    let Some(id) = self.next_at_edge() else { return };
                    let Some(request) = self.world.requests.get_mut(id) else { continue };
                    request.spend(EDGE_WAIT, now - request.since);
                    request.phase = Phase::EdgeCompute;
                    request.since = now;
                    let done = now + request.edge_time;
                    self.world.edge.in_service += 1;
                    self.schedule_phase_end(done, Event::EdgeDone { request: id }, id);
                }
            }
            Discipline::Batch { max_batch, max_wait } => self.serve_batch(now, max_batch, max_wait),
            Discipline::ProcessorSharing => {}
        }
    }

    /// Takes the first live request out of the queue.
    fn next_at_edge(&mut self) -> Option<RequestId> {
        loop {
            let id = self.world.edge.queue.pop_front()?;
            if self.world.requests.get(id).is_some() {
                self.world.edge.waiting -= 1;
                return Some(id);
            }
        }
    }

    fn serve_batch(&mut self, now: SimTime, max_batch: u32, max_wait: SimTime) {
        if self.world.edge.batch_running {
            return;
        }
        let oldest = loop {
            let Some(&id) = self.world.edge.queue.front() else { return };
            match self.world.requests.get(id) {
                Some(request) => break request.since,
                None => self.world.edge.queue.pop_front(),
            };
        };
        if let Some(ticket) = self.world.edge.timer.take() {
            self.calendar.cancel(ticket);
        }
        if self.world.edge.waiting < max_batch && now < oldest + max_wait {
            let event = Event::BatchTimer;
            self.world.edge.timer = Some(self.calendar.schedule_cancellable(oldest + max_wait, event.class(), event));
            return;
        }
        // Weights are read once for the batch, from its earliest split on; arithmetic adds up,
        // and so do the keys and values that each request reads.
        // A batch of further tokens alone goes at the speed of decoding.
        let mut work = Work { pass: Pass::Decode, ..Work::default() };
        while self.world.edge.batch.len() < max_batch as usize {
            let Some(id) = self.next_at_edge() else { break };
            self.edge_pass_anew(id);
            let Some(request) = self.world.requests.get_mut(id) else { continue };
            request.spend(EDGE_WAIT, now - request.since);
            request.phase = Phase::EdgeCompute;
            request.since = now;
            work.flop += request.edge_work.flop;
            work.parameters = work.parameters.max(request.edge_work.parameters);
            work.kv_bytes += request.edge_work.kv_bytes;
            if request.edge_work.pass == Pass::Prefill {
                work.pass = Pass::Prefill;
            }
            self.world.edge.batch.push(id);
        }
        self.world.edge.batch_running = true;
        self.world.edge.in_service = self.world.edge.batch.len() as u32;
        let processor = &self.spec.edge.processor;
        let done = now + processor.time(work);
        self.book_edge(done, work.flop, work.bytes(processor.bytes_per_parameter));
        self.schedule(done, Event::BatchDone);
    }

    pub(super) fn on_batch_done(&mut self, now: SimTime) -> Result<(), SimulationError> {
        self.world.edge.batch_running = false;
        self.world.edge.in_service = 0;
        let mut batch = std::mem::take(&mut self.world.edge.batch);
        for id in batch.drain(..) {
            self.computed_at_edge(now, id)?;
        }
        self.world.edge.batch = batch;
        self.serve_edge(now);
        Ok(())
    }

    pub(super) fn on_edge_done(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        self.world.edge.in_service -= 1;
        if let Some(request) = self.world.requests.get_mut(id) {
            request.edge_done = 1.0;
            self.book_edge_of(now, id);
        }
        self.computed_at_edge(now, id)?;
        self.serve_edge(now);
        Ok(())
    }

    fn computed_at_edge(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        // A batch runs on without a request that has given up waiting for it; the keys and values are there.
        if let Some(talk) = request.talk.as_mut()
            && let Some(inputs) = talk.in_batch.take()
        {
            talk.computed = talk.computed.max(inputs);
        }
        if request.phase != Phase::EdgeCompute {
            return Ok(());
        }
        request.pending = None;
        request.spend(EDGE_COMPUTE, now - request.since);
        request.edge_done = 1.0;
        self.return_result(now, id)
    }

    /// Keeps exactly one event for the next departure under processor sharing.
    pub(super) fn reschedule_edge(&mut self) {
        if let Some(ticket) = self.world.edge.departure.take() {
            self.calendar.cancel(ticket);
        }
        if let Some(at) = self.world.edge.shared.next_departure() {
            let event = Event::EdgeDeparture;
            self.world.edge.departure = Some(self.calendar.schedule_cancellable(at, event.class(), event));
        }
    }

    pub(super) fn on_edge_departure(&mut self, now: SimTime) -> Result<(), SimulationError> {
        self.world.edge.departure = None;
        let departed = self.world.edge.shared.depart(now);
        self.reschedule_edge();
        let Some(departed) = departed else { return Ok(()) };
        self.world.edge.in_service -= 1;
        let Some(request) = self.world.requests.get_mut(departed.job) else { return Ok(()) };
        request.spend(EDGE_COMPUTE, departed.work);
        request.spend(EDGE_WAIT, (now - request.since).saturating_sub(departed.work));
        request.edge_done = 1.0;
        self.book_edge_of(now, departed.job);
        self.return_result(now, departed.job)
    }
}

//! The event loop: arrivals in, ended requests out.

use std::ops::ControlFlow;

use crate::channel::{FadingError, Packets};
use crate::kernel::{Calendar, Streams};
use crate::network::energy::EdgeMeter;
use crate::network::event::Event;
use crate::network::ledger::Ledger;
use crate::network::load::LoadClock;
use crate::network::ports::{Controller, Prompts, QualityError, QualitySource, RecordError, Recorder, Reward};
use crate::network::request::RequestId;
use crate::network::rows::SeriesRow;
use crate::network::spec::{Discipline, NetworkSpec};
use crate::network::text::TextSource;
use crate::network::world::World;
use crate::radio::SlotCellError;
use crate::units::SimTime;

/// Events between two looks at the watcher.
const WATCH_EVERY: u64 = 1 << 14;

/// What the floors above lend to a simulation.
pub struct Ports<'p> {
    /// Where prompts come from.
    pub prompts: &'p dyn Prompts,
    /// The reward of a step.
    pub reward: &'p dyn Reward,
    /// The quality source.
    pub quality: &'p mut dyn QualitySource,
    /// Where generated texts come from; `None` where none are, or scores are draws and nobody reads them.
    pub text: Option<&'p mut dyn TextSource>,
    /// The recorder.
    pub recorder: &'p mut dyn Recorder,
    /// Controllers, as [`World::controllers`] orders them.
    pub controllers: &'p mut [Box<dyn Controller>],
}

/// How far a simulation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Simulated time.
    pub now: SimTime,
    /// Events delivered.
    pub events: u64,
    /// Requests that have arrived.
    pub arrived: u64,
    /// Requests that have ended.
    pub ended: u64,
    /// Decisions taken.
    pub steps: u64,
    /// Once the run has ended: which of how many evaluations is under way, counted from 1.
    pub evaluation: Option<(u32, u32)>,
}

impl Progress {
    /// Share of the way to whatever ends arrivals first: `duration`, or a stop rule.
    pub fn share(&self, spec: &NetworkSpec) -> f64 {
        let of = |part: f64, whole: Option<f64>| whole.map_or(0.0, |whole| part / whole.max(1.0));
        let time = self.now.as_secs_f64() / spec.duration.as_secs_f64().max(1e-9);
        let steps = of(self.steps as f64, spec.max_steps.map(|most| most as f64));
        let requests = of(self.arrived as f64, spec.max_requests.map(|most| most as f64));
        time.max(steps).max(requests).min(1.0)
    }
}

/// What a finished simulation says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Totals {
    /// The end.
    pub progress: Progress,
    /// When arrivals ended: at `duration`, or earlier by a stop rule.
    pub arrivals_end: SimTime,
    /// Share of time, after the warm-up and until arrivals end, in which the uplink had a flow.
    pub uplink_utilisation: Option<f64>,
    /// Mean share of the edge's servers that was busy in that time.
    pub edge_utilisation: Option<f64>,
    /// Energy of the edge from the warm-up to the end of the run \[J\]. `None` where there is none.
    pub edge_energy_j: Option<f64>,
}

/// Why a simulation ended early.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// A quality evaluation failed.
    #[error(transparent)]
    Quality(#[from] QualityError),
    /// A row could not be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The fading can't be built.
    #[error(transparent)]
    Fading(#[from] FadingError),
    /// The slots can't be.
    #[error(transparent)]
    Slots(#[from] SlotCellError),
    /// The watcher asked to stop.
    #[error("interrupted at {now} s of simulated time")]
    Interrupted {
        /// Simulated time reached.
        now: SimTime,
    },
}

/// A network under simulation.
pub struct Simulation<'p> {
    pub(super) spec: &'p NetworkSpec,
    pub(super) streams: Streams,
    pub(super) ports: Ports<'p>,
    pub(super) world: World,
    pub(super) calendar: Calendar<Event>,
    pub(super) ledger: Ledger<'p>,
    pub(super) progress: Progress,
    uplink_load: LoadClock,
    edge_load: LoadClock,
    pub(super) edge_meter: EdgeMeter,
    /// When the last request so far ended.
    pub(super) last_end: SimTime,
    /// Whether arrivals have stopped for good.
    pub(super) closed: bool,
    arrivals_end: SimTime,
    /// UEs that have not taken the decisions that [`NetworkSpec::steps_of_each`] asks of them.
    pub(super) short_of_steps: usize,
    /// Reused between departures.
    pub(super) instants: Vec<SimTime>,
    /// Reused between departures.
    pub(super) packets: Packets,
}

impl<'p> Simulation<'p> {
    /// A network at time 0 with its first arrivals scheduled.
    ///
    /// # Errors
    /// [`SimulationError::Fading`] for parameters of the fading out of range.
    pub fn new(spec: &'p NetworkSpec, streams: Streams, ports: Ports<'p>) -> Result<Self, SimulationError> {
        let world = World::new(spec, &streams)?;
        let mut simulation = Self {
            spec,
            streams,
            ports,
            world,
            calendar: Calendar::new(),
            ledger: Ledger::default(),
            progress: Progress::default(),
            uplink_load: LoadClock::new(spec.warmup, spec.duration),
            edge_load: LoadClock::new(spec.warmup, spec.duration),
            edge_meter: EdgeMeter::default(),
            last_end: SimTime::ZERO,
            closed: spec.max_requests == Some(0) || spec.max_steps == Some(0),
            arrivals_end: spec.duration,
            short_of_steps: spec.steps_of_each.iter().filter(|&&steps| steps > 0).count(),
            instants: Vec::new(),
            packets: Packets::default(),
        };
        for ue in 0..simulation.world.ues.len() as u32 {
            simulation.schedule_arrival(ue, SimTime::ZERO);
            simulation.rearm(SimTime::ZERO, ue);
        }
        if spec.sample_interval.is_some() {
            simulation.schedule(SimTime::ZERO, Event::Sample);
        }
        Ok(simulation)
    }

    /// Runs to the end: arrivals until `duration` (or a stop rule), then until
    /// nothing is under way or the drain limit has passed. `watch` sees the
    /// progress now and then and may stop the run.
    ///
    /// # Errors
    /// [`SimulationError`]; rows recorded so far stay.
    pub fn run(mut self, watch: &mut dyn FnMut(&Progress) -> ControlFlow<()>) -> Result<Totals, SimulationError> {
        let mut next_watch = 0;
        let mut flushes = 0;
        while let Some(at) = self.calendar.peek_time() {
            if at > self.horizon() || (self.closed && self.world.requests.is_empty()) {
                break;
            }
            let Some((now, event)) = self.calendar.pop() else { break };
            self.handle(now, event).and_then(|()| self.write_updates()).map_err(|error| self.or_interrupted(error))?;
            self.progress.now = now;
            self.observe_load(now);
            // Events are soon handled; a flush may have run the model for a second.
            if self.calendar.popped() >= next_watch || self.ledger.flushes() > flushes {
                next_watch = self.calendar.popped() + WATCH_EVERY;
                flushes = self.ledger.flushes();
                self.progress.events = self.calendar.popped();
                if watch(&self.progress).is_break() {
                    return Err(SimulationError::Interrupted { now });
                }
            }
        }
        let horizon = self.horizon();
        self.end_unfinished(horizon)
            .and_then(|()| self.flush())
            .and_then(|()| self.teach_the_rest())
            .map_err(|error| self.or_interrupted(error))?;
        self.progress.events = self.calendar.popped();
        // What the samples look at ends no run.
        let end = self.arrivals_end.max(self.last_end);
        self.record_ue_energy(end);
        let edge_energy_j = self.edge_energy(end);
        Ok(Totals {
            progress: self.progress,
            arrivals_end: self.arrivals_end,
            uplink_utilisation: self.uplink_load.utilisation(self.world.air.cells.len() as u32),
            edge_utilisation: self.edge_load.utilisation(self.servers()),
            edge_energy_j,
        })
    }

    /// When arrivals end, or ended.
    pub(super) fn arrivals_end(&self) -> SimTime {
        self.arrivals_end
    }

    /// The drain limit, counted from the end of arrivals.
    fn horizon(&self) -> SimTime {
        self.arrivals_end + self.spec.drain_limit
    }

    /// A quality source that was told to stop is an interrupted run.
    fn or_interrupted(&self, error: SimulationError) -> SimulationError {
        match error {
            SimulationError::Quality(QualityError::Interrupted) => {
                SimulationError::Interrupted { now: self.calendar.now() }
            }
            error => error,
        }
    }

    /// A stop rule ends arrivals.
    pub(super) fn close_arrivals(&mut self, now: SimTime) {
        self.closed = true;
        // The last decision of a run may come in its drain: arrivals have ended by then.
        if now >= self.spec.duration {
            return;
        }
        self.arrivals_end = now;
        self.ports.recorder.arrivals_ended(now);
        self.uplink_load.close(now);
        self.edge_load.close(now);
    }

    #[inline]
    fn observe_load(&mut self, now: SimTime) {
        let edge = &self.world.edge;
        let busy = match self.spec.edge.discipline {
            Discipline::Fifo { .. } => edge.in_service,
            Discipline::ProcessorSharing => u32::from(edge.in_service > 0),
            Discipline::Batch { .. } => u32::from(edge.batch_running),
        };
        self.edge_load.set(now, busy);
        self.uplink_load.set(now, self.world.air.busy_cells());
        self.edge_meter.set(now, self.spec.warmup, busy);
    }

    fn handle(&mut self, now: SimTime, event: Event) -> Result<(), SimulationError> {
        match event {
            Event::Arrival { ue } => self.on_arrival(now, ue),
            Event::NextTurn { slot } => self.on_next_turn(now, slot),
            Event::UeDone { request } => self.on_ue_done(now, request),
            Event::UplinkDeparture { cell } => self.on_uplink_departure(now, cell),
            Event::Slot { cell } => {
                self.on_slot(now, cell);
                Ok(())
            }
            Event::SlotDeparture { request } => self.on_slot_departure(now, request),
            Event::AttemptsOver { request } => self.on_attempts_over(now, request),
            Event::Retransmit { request } => self.on_retransmit(now, request),
            Event::EdgeDone { request } => self.on_edge_done(now, request),
            Event::EdgeDeparture => self.on_edge_departure(now),
            Event::BatchDone => self.on_batch_done(now),
            Event::BatchTimer => {
                self.world.edge.timer = None;
                self.serve_edge(now);
                Ok(())
            }
            Event::DownlinkDone { request } => self.on_downlink_done(now, request),
            Event::Deadline { request } => self.on_deadline(now, request),
            Event::DeliveryDeadline { request } => self.on_delivery_deadline(now, request),
            Event::AnswerDeadline { request } => self.on_answer_deadline(now, request),
            Event::Measure { ue } => self.on_measure(now, ue),
            Event::BatteryCheck { ue } => self.on_battery_check(now, ue),
            Event::Sample => self.on_sample(now),
        }
    }

    pub(super) fn schedule(&mut self, at: SimTime, event: Event) {
        self.calendar.schedule(at, event.class(), event);
    }

    /// Schedules the event that ends a request's phase. Only a deadline, of the request, of its
    /// payload's delivery or of an answer, or an empty battery can cancel it, so only requests with one pay for a ticket.
    pub(super) fn schedule_phase_end(&mut self, at: SimTime, event: Event, id: RequestId) {
        let Some(request) = self.world.requests.get_mut(id) else { return };
        let delivery_ends = request.uplink.as_ref().is_some_and(|log| log.deadline.is_some());
        let asks = request.talk.as_ref().and_then(|talk| talk.asked).is_some_and(|asked| asked.deadline.is_some());
        if request.deadline.is_some() || delivery_ends || asks || self.world.ues[request.ue as usize].battery.is_some()
        {
            request.pending = Some(self.calendar.schedule_cancellable(at, event.class(), event));
        } else {
            self.calendar.schedule(at, event.class(), event);
        }
    }

    /// Schedules a UE's next arrival, unless arrivals have ended.
    pub(super) fn schedule_arrival(&mut self, ue: u32, after: SimTime) {
        let state = &mut self.world.ues[ue as usize];
        let workload = &self.spec.groups[state.group as usize].workload;
        if self.closed {
            return;
        }
        match workload.arrival(&self.streams, state.member, state.arrived, after, &mut state.chain) {
            Some(at) if at < self.spec.duration => self.schedule(at, Event::Arrival { ue }),
            _ => {}
        }
    }

    fn on_sample(&mut self, now: SimTime) -> Result<(), SimulationError> {
        let row = SeriesRow {
            time_s: now,
            edge_queue: self.world.edge.waiting,
            edge_busy: self.world.edge.in_service,
            uplink_active: self.world.air.active(),
            ue_queue_mean: self.world.ue_waiting as f64 / self.world.ues.len().max(1) as f64,
            requests_completed: self.ledger.completed(),
        };
        self.ports.recorder.sample(&row)?;
        if let Some(interval) = self.spec.sample_interval
            && !(self.world.requests.is_empty() && (self.closed || now >= self.spec.duration))
        {
            self.schedule(now + interval, Event::Sample);
        }
        Ok(())
    }
}

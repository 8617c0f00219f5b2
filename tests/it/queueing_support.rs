//! Textbook queues built on the kernel, for comparison with queueing theory.
//!
//! ```text
//!            ┌──────────┐   ┌─ server 1 ─┐
//! Poisson ──▶│ FIFO, ≤K │──▶│    …       │──▶      or one processor-sharing server
//!            └──────────┘   └─ server c ─┘
//! ```
//!
//! The mean service time is 1 s, so the arrival rate \[1/s\] is the offered load.

use std::collections::VecDeque;

use splitwave::kernel::{Calendar, ProcessorSharing, Purpose, Stream, Streams, Ticket};
use splitwave::units::SimTime;

/// Distribution of the service time, of mean 1.
#[derive(Clone, Copy, Debug)]
pub enum ServiceLaw {
    Exponential,
    Deterministic,
    /// Sum of this many exponentials (at most 4).
    Erlang(u32),
    /// One of two exponentials, with balanced means and this squared coefficient of variation (above 1).
    Hyperexponential(f64),
}

impl ServiceLaw {
    /// Squared coefficient of variation `Var S / (E S)²`.
    pub fn scv(self) -> f64 {
        match self {
            Self::Exponential => 1.0,
            Self::Deterministic => 0.0,
            Self::Erlang(stages) => 1.0 / f64::from(stages),
            Self::Hyperexponential(scv) => scv,
        }
    }

    fn draw(self, stream: Stream, customer: u64) -> f64 {
        match self {
            Self::Exponential => stream.exponential(customer),
            Self::Deterministic => 1.0,
            Self::Erlang(stages) => {
                let sum: f64 = (0..u64::from(stages)).map(|stage| stream.exponential(4 * customer + stage)).sum();
                sum / f64::from(stages)
            }
            Self::Hyperexponential(scv) => {
                let [branch, size] = stream.uniform_pair(customer);
                let first = 0.5 * (1.0 + ((scv - 1.0) / (scv + 1.0)).sqrt());
                let probability = if branch < first { first } else { 1.0 - first };
                -(-size).ln_1p() / (2.0 * probability)
            }
        }
    }
}

/// Poisson arrivals with independent service times.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Arrivals per second: the offered load in servers.
    pub rate: f64,
    pub law: ServiceLaw,
    /// How many customers come; the run goes on until the last one has left.
    pub customers: u64,
}

impl Load {
    fn gap(&self, streams: Streams, customer: u64) -> SimTime {
        SimTime::from_secs_saturating(streams.stream(0, Purpose::Arrival).exponential(customer) / self.rate)
    }

    fn work(&self, streams: Streams, customer: u64) -> SimTime {
        SimTime::from_secs_saturating(self.law.draw(streams.stream(0, Purpose::Service), customer))
    }
}

/// One customer's way through a queue.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    /// Customers in the system just before it came.
    pub seen: u32,
    pub arrival: SimTime,
    pub work: SimTime,
    /// Start of its service.
    pub start: SimTime,
    pub finish: SimTime,
}

impl Visit {
    /// Time in the system \[s\].
    pub fn sojourn(&self) -> f64 {
        (self.finish - self.arrival).as_secs_f64()
    }

    /// Time before service \[s\].
    pub fn wait(&self) -> f64 {
        (self.start - self.arrival).as_secs_f64()
    }
}

/// Whole-run counts; times in nanoseconds, exact.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub arrivals: u64,
    pub blocked: u64,
    pub departures: u64,
    /// ∫ N(t) dt from the empty start to the empty end.
    pub area: u128,
    /// Σ (finish - arrival) over those that were served.
    pub sojourns: u128,
    /// Σ work over those that were served.
    pub work: u128,
    pub end: SimTime,
    in_system: u32,
    changed: SimTime,
}

impl Totals {
    fn step(&mut self, now: SimTime, arrived: bool) {
        self.area += u128::from(self.in_system) * u128::from((now - self.changed).as_nanos());
        self.changed = now;
        if arrived {
            self.in_system += 1;
        } else {
            self.in_system -= 1;
            self.departures += 1;
            self.end = now;
        }
        assert_eq!(self.arrivals - self.blocked, self.departures + u64::from(self.in_system), "flow conservation");
    }

    fn served(&mut self, visit: &Visit) {
        self.step(visit.finish, false);
        self.sojourns += u128::from((visit.finish - visit.arrival).as_nanos());
        self.work += u128::from(visit.work.as_nanos());
    }
}

/// M/G/c/K: first come, first served by `servers`, at most `capacity` in the
/// system. `observe` sees each visit as it ends.
pub fn fifo(load: &Load, servers: usize, capacity: u32, streams: Streams, mut observe: impl FnMut(&Visit)) -> Totals {
    #[derive(Clone, Copy)]
    enum Event {
        Arrival,
        Completion { server: u32 },
    }
    let mut calendar = Calendar::new();
    let mut totals = Totals::default();
    let mut waiting: VecDeque<Visit> = VecDeque::new();
    let mut in_service: Vec<Option<Visit>> = vec![None; servers];
    let mut idle: Vec<u32> = (0..servers as u32).rev().collect();
    calendar.schedule(load.gap(streams, 0), 1, Event::Arrival);
    while let Some((now, event)) = calendar.pop() {
        match event {
            Event::Arrival => {
                let customer = totals.arrivals;
                totals.arrivals += 1;
                if totals.arrivals < load.customers {
                    calendar.schedule(now + load.gap(streams, totals.arrivals), 1, Event::Arrival);
                }
                if totals.in_system == capacity {
                    totals.blocked += 1;
                } else {
                    let work = load.work(streams, customer);
                    let seen = totals.in_system;
                    waiting.push_back(Visit { seen, arrival: now, work, start: now, finish: now });
                    totals.step(now, true);
                }
            }
            Event::Completion { server } => {
                let visit = in_service[server as usize].take().expect("a server completes what it serves");
                totals.served(&visit);
                idle.push(server);
                observe(&visit);
            }
        }
        while let Some(&server) = idle.last()
            && let Some(visit) = waiting.pop_front()
        {
            idle.pop();
            let visit = Visit { start: now, finish: now + visit.work, ..visit };
            in_service[server as usize] = Some(visit);
            calendar.schedule(visit.finish, 0, Event::Completion { server });
        }
    }
    totals
}

/// M/G/1 with processor sharing. `observe` sees each visit as it ends.
pub fn processor_sharing(load: &Load, streams: Streams, mut observe: impl FnMut(&Visit)) -> Totals {
    #[derive(Clone, Copy)]
    enum Event {
        Arrival,
        Departure,
    }
    let mut calendar = Calendar::new();
    let mut totals = Totals::default();
    let mut server = ProcessorSharing::new();
    let mut departure: Option<Ticket> = None;
    calendar.schedule(load.gap(streams, 0), 1, Event::Arrival);
    while let Some((now, event)) = calendar.pop() {
        match event {
            Event::Arrival => {
                let (customer, seen) = (totals.arrivals, totals.in_system);
                totals.arrivals += 1;
                totals.step(now, true);
                server.arrive(now, load.work(streams, customer), seen);
                if totals.arrivals < load.customers {
                    calendar.schedule(now + load.gap(streams, totals.arrivals), 1, Event::Arrival);
                }
                if let Some(ticket) = departure.take() {
                    calendar.cancel(ticket);
                }
            }
            Event::Departure => {
                let gone = server.depart(now).expect("a departure comes at its time");
                let visit =
                    Visit { seen: gone.job, arrival: gone.start, work: gone.work, start: gone.start, finish: now };
                totals.served(&visit);
                observe(&visit);
            }
        }
        departure = server.next_departure().map(|at| calendar.schedule_cancellable(at, 0, Event::Departure));
    }
    totals
}

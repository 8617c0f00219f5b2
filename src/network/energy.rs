//! Where energy goes: the UE's part of a request, what UEs draw between their requests, and
//! the edge.

use crate::network::compute::Processor;
use crate::network::ports::ServiceMode;
use crate::network::request::{Request, RequestId};
use crate::network::rounds::DeviceSession;
use crate::network::simulation::Simulation;
use crate::network::spec::{Discipline, NetworkSpec};
use crate::units::SimTime;

/// How far the service of a request at its UE has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServiceProgress {
    /// Share of the FLOP.
    pub done: f64,
    /// Share of the bytes.
    pub read: f64,
    /// Time spent loading layers, which comes first.
    pub loaded: SimTime,
}

impl Request {
    /// How far the present service at the UE has come after `elapsed`.
    pub fn progress(&self, spec: &NetworkSpec, processor: &Processor, elapsed: SimTime) -> ServiceProgress {
        let loaded = elapsed.min(self.load_time);
        let computed = elapsed - loaded;
        let (done, read) = if self.session.is_some() && spec.mode == ServiceMode::DeviceOnly {
            DeviceSession::share(spec, processor, self, computed)
        } else {
            let done = share(computed, self.ue_time);
            (done, done)
        };
        ServiceProgress { done, read, loaded }
    }

    /// Energy of the present service at the UE after `elapsed` \[J\].
    pub fn service_energy(&self, spec: &NetworkSpec, processor: &Processor, elapsed: SimTime) -> f64 {
        let ServiceProgress { done, read, loaded } = self.progress(spec, processor, elapsed);
        let bytes = self.ue_work.bytes(processor.bytes_per_parameter) * read;
        let loading = self.load_parameters * share(loaded, self.load_time) * processor.bytes_per_parameter;
        processor.energy(self.ue_work.flop * done, bytes + loading, elapsed)
    }

    /// Books the present service at the UE, which has come so far.
    pub fn book_service(&mut self, progress: ServiceProgress) {
        (self.ue_done, self.ue_read) = (progress.done, progress.read);
        self.loaded_parameters += self.load_parameters * share(progress.loaded, self.load_time);
        if let Some(loaded) = self.loaded.as_mut() {
            *loaded += progress.loaded;
        }
    }

    /// Bytes that the UE has read and loaded, in all rounds.
    pub fn ue_bytes(&self, bytes_per_parameter: f64) -> f64 {
        let earlier = self
            .session
            .as_ref()
            .map_or(0.0, |session| session.ue_parameters * bytes_per_parameter + session.ue_kv_bytes);
        earlier + self.ue_work.bytes(bytes_per_parameter) * self.ue_read + self.loaded_parameters * bytes_per_parameter
    }
}

/// `part / whole`, 1 for an empty whole.
pub fn share(part: SimTime, whole: SimTime) -> f64 {
    if whole == SimTime::ZERO { 1.0 } else { (part.as_nanos() as f64 / whole.as_nanos() as f64).min(1.0) }
}

/// What a UE drew between its requests, and what it has left.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UeEnergy {
    /// Energy of its processor while it didn't compute, from the warm-up to the end of the
    /// run \[J\]. `None` if the device says nothing of idle power.
    pub idle_j: Option<f64>,
    /// Energy of its radio while it didn't send, likewise \[J\]. `None` if sleep takes none.
    pub sleep_j: Option<f64>,
    /// What its battery has left \[J\]. `None` without one.
    pub battery_left_j: Option<f64>,
    /// When the battery was empty. `None` if it never was.
    pub battery_empty_at: Option<SimTime>,
}

/// Time in which a UE was busy, behind the warm-up.
#[derive(Clone, Copy, Debug, Default)]
pub struct UeBusy {
    /// Computing.
    pub computing: SimTime,
    /// On the air.
    pub on_air: SimTime,
}

/// What the edge has done, behind the warm-up.
#[derive(Clone, Copy, Debug, Default)]
pub struct EdgeMeter {
    /// Time of its servers in use \[ns\].
    busy_ns: u128,
    /// Servers in use since `since`.
    level: u32,
    since: SimTime,
    /// Arithmetic \[FLOP\].
    flop: f64,
    /// Bytes read.
    bytes: f64,
}

impl EdgeMeter {
    /// From `now` on, `level` servers are in use.
    pub fn set(&mut self, now: SimTime, warmup: SimTime, level: u32) {
        if level != self.level {
            self.advance(now, warmup);
            self.level = level;
        }
    }

    fn advance(&mut self, now: SimTime, warmup: SimTime) {
        let span = now.max(warmup).saturating_sub(self.since.max(warmup));
        self.busy_ns += u128::from(span.as_nanos()) * u128::from(self.level);
        self.since = now;
    }
}

impl Simulation<'_> {
    /// A UE has computed from `since` to `now`.
    pub(super) fn book_computing(&mut self, since: SimTime, now: SimTime, ue: u32) {
        let busy = &mut self.world.ues[ue as usize].busy;
        busy.computing += now.saturating_sub(since.max(self.spec.warmup));
    }

    /// A UE has sent from `since` to `now`, for `on_air` of it: a transmission across the end of the
    /// warm-up counts by the share that comes after it.
    pub(super) fn book_on_air(&mut self, since: SimTime, now: SimTime, ue: u32, on_air: SimTime) {
        let warmup = self.spec.warmup;
        let counted = if since >= warmup {
            on_air
        } else {
            let inside = share(now.saturating_sub(warmup), now - since);
            SimTime::from_nanos((on_air.as_nanos() as f64 * inside) as u64)
        };
        self.world.ues[ue as usize].busy.on_air += counted;
    }

    /// The edge has done so much work by `now`; a batch reads its parameters once.
    pub(super) fn book_edge(&mut self, now: SimTime, flop: f64, bytes: f64) {
        if now >= self.spec.warmup {
            self.edge_meter.flop += flop;
            self.edge_meter.bytes += bytes;
        }
    }

    /// [`Simulation::book_edge`] of what was done of a request's present round.
    pub(super) fn book_edge_of(&mut self, now: SimTime, id: RequestId) {
        let Some(request) = self.world.requests.get(id) else { return };
        let (work, done) = (request.edge_work, request.edge_done);
        self.book_edge(now, work.flop * done, work.bytes(self.spec.edge.processor.bytes_per_parameter) * done);
    }

    /// Energy of the edge from the warm-up to `end` \[J\]: its servers' while they are in use, and
    /// P_idle of those that aren't. `None` where there is none.
    pub(super) fn edge_energy(&mut self, end: SimTime) -> Option<f64> {
        if self.spec.mode == ServiceMode::DeviceOnly {
            return None;
        }
        let end = end.max(self.edge_meter.since);
        self.edge_meter.advance(end, self.spec.warmup);
        let EdgeMeter { busy_ns, flop, bytes, .. } = self.edge_meter;
        let (processor, servers) = (&self.spec.edge.processor, self.servers());
        let all_ns = u128::from(end.saturating_sub(self.spec.warmup).as_nanos()) * u128::from(servers);
        let seconds = |ns: u128| ns as f64 / 1e9;
        let busy = SimTime::from_nanos(u64::try_from(busy_ns).unwrap_or(u64::MAX));
        let idle_j = processor.idle_power() * seconds(all_ns.saturating_sub(busy_ns));
        Some(processor.energy(flop, bytes, busy) + idle_j)
    }

    /// Servers of the edge.
    pub(super) fn servers(&self) -> u32 {
        match self.spec.edge.discipline {
            Discipline::Fifo { servers } => servers,
            Discipline::ProcessorSharing | Discipline::Batch { .. } => 1,
        }
    }

    /// Tells the recorder what each UE drew between its requests until `end`, and what it has left.
    pub(super) fn record_ue_energy(&mut self, end: SimTime) {
        for ue in 0..self.world.ues.len() as u32 {
            self.settle(end, ue);
            let state = &self.world.ues[ue as usize];
            let group = &self.spec.groups[state.group as usize];
            let battery_empty_at = state.battery.as_ref().and_then(|battery| battery.empty_at);
            let span = battery_empty_at.unwrap_or(end).saturating_sub(self.spec.warmup);
            let without = |busy: SimTime| span.saturating_sub(busy).as_secs_f64();
            let energy = UeEnergy {
                idle_j: group.processor.idle_w.map(|watts| watts * without(state.busy.computing)),
                sleep_j: (group.sleep_power_w > 0.0).then(|| group.sleep_power_w * without(state.busy.on_air)),
                battery_left_j: state.battery.as_ref().map(|battery| battery.left_j()),
                battery_empty_at,
            };
            if energy != UeEnergy::default() {
                self.ports.recorder.ue_energy(ue, &energy);
            }
        }
    }
}

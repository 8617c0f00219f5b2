//! Batteries: what a UE has left, and what happens when it has nothing.
//!
//! The charge is a function of time: computing, transmitting and waiting drain it at known
//! rates. It is brought up to date (`settle`) in front of each change of what the
//! UE does, and one event per UE waits at the earliest instant at which it can be empty
//! (`rearm`). While the UE sends, that instant supposes that nobody shares the
//! air; if others did, the event finds charge left and looks again.

use crate::kernel::Ticket;
use crate::network::event::Event;
use crate::network::request::{Phase, RequestId};
use crate::network::rows::Outcome;
use crate::network::simulation::{Simulation, SimulationError};
use crate::units::SimTime;

/// A UE's battery.
#[derive(Debug)]
pub struct Battery {
    /// Charge at the start of the run \[J\].
    pub capacity_j: f64,
    /// When it was empty.
    pub empty_at: Option<SimTime>,
    /// Charge at `since` \[J\].
    left_j: f64,
    since: SimTime,
    /// Energy of the present service that is booked \[J\].
    computed_j: f64,
    /// Transmissions under way, and the airtime of each that is booked.
    sending: Vec<(RequestId, SimTime)>,
    /// The event at the earliest instant at which it can be empty.
    check: Option<Ticket>,
}

impl Battery {
    /// A full one.
    pub fn new(capacity_j: f64) -> Self {
        Self {
            capacity_j,
            empty_at: None,
            left_j: capacity_j,
            since: SimTime::ZERO,
            computed_j: 0.0,
            sending: Vec::new(),
            check: None,
        }
    }

    /// What is left \[J\], as of the last `settle`.
    pub fn left_j(&self) -> f64 {
        self.left_j.max(0.0)
    }
}

impl Simulation<'_> {
    /// Whether a UE's battery is empty.
    pub(super) fn is_off(&self, ue: u32) -> bool {
        self.world.ues[ue as usize].battery.as_ref().is_some_and(|battery| battery.empty_at.is_some())
    }

    /// Power that a request's transmission draws \[W\].
    fn sending_power_w(&self, ue: u32, id: RequestId) -> f64 {
        let link = self.world.requests.get(id).and_then(|request| request.uplink.as_ref()?.link);
        let group = self.world.ues[ue as usize].group as usize;
        link.map_or(self.spec.groups[group].tx_power_w, |link| link.power_w)
    }

    /// What a UE draws from the last booking to `at` \[J\], if it goes on with what it does now and is on
    /// the air for `on_air` of that time, which takes `sent_j`; and the energy of its present service so far.
    fn drawn(&self, battery: &Battery, at: SimTime, ue: u32, (on_air, sent_j): (SimTime, f64)) -> (f64, f64) {
        let state = &self.world.ues[ue as usize];
        let group = &self.spec.groups[state.group as usize];
        let computing = state.serving.and_then(|id| self.world.requests.get(id));
        let span = at - battery.since;
        let (processor_j, computed_j) = match computing.filter(|request| request.phase == Phase::UeCompute) {
            Some(request) => {
                let so_far = request.service_energy(self.spec, &group.processor, at.saturating_sub(request.since));
                (so_far - battery.computed_j, so_far)
            }
            None => (group.processor.idle_power() * span.as_secs_f64(), 0.0),
        };
        let radio_j = group.sleep_power_w * span.saturating_sub(on_air).as_secs_f64() + sent_j;
        (processor_j + radio_j, computed_j)
    }

    /// Books what a UE with a battery has drawn so far, before it does something else.
    pub(super) fn settle(&mut self, now: SimTime, ue: u32) {
        let Some(mut battery) = self.world.ues[ue as usize].battery.take() else { return };
        if battery.empty_at.is_none() {
            let (mut on_air, mut sent_j) = (SimTime::ZERO, 0.0);
            for (id, booked) in &mut battery.sending {
                if let Some(request) = self.world.requests.get(*id)
                    && let Phase::Uplink { cell, flow } = request.phase
                {
                    // Slot by slot the airtime is booked with the slot.
                    let slotted = request.uplink.as_ref().map_or(SimTime::ZERO, |log| log.slots.airtime);
                    let received = self.world.air.received(cell, now, flow).unwrap_or(slotted);
                    let more = received.saturating_sub(*booked);
                    on_air += more;
                    sent_j += self.sending_power_w(ue, *id) * more.as_secs_f64();
                    *booked = received.max(*booked);
                }
            }
            let (drawn, computed) = self.drawn(&battery, now, ue, (on_air, sent_j));
            battery.left_j -= drawn;
            battery.computed_j = computed;
            battery.since = now;
        }
        self.world.ues[ue as usize].battery = Some(battery);
    }

    /// A UE, whose charge is settled, begins a service.
    pub(super) fn drain_for_service(&mut self, now: SimTime, ue: u32) {
        if let Some(battery) = self.world.ues[ue as usize].battery.as_mut() {
            battery.computed_j = 0.0;
            self.rearm(now, ue);
        }
    }

    /// A UE, whose charge is settled, begins to send.
    pub(super) fn drain_for_sending(&mut self, now: SimTime, ue: u32, id: RequestId) {
        if let Some(battery) = self.world.ues[ue as usize].battery.as_mut() {
            battery.sending.push((id, SimTime::ZERO));
            self.rearm(now, ue);
        }
    }

    /// A transmission has ended, after `on_air` of airtime: books what of it was not booked.
    pub(super) fn sent(&mut self, now: SimTime, ue: u32, id: RequestId, on_air: SimTime) {
        self.settle(now, ue);
        let power_w = self.sending_power_w(ue, id);
        let state = &mut self.world.ues[ue as usize];
        let group = &self.spec.groups[state.group as usize];
        let Some(battery) = state.battery.as_mut() else { return };
        let Some(place) = battery.sending.iter().position(|(sending, _)| *sending == id) else { return };
        let (_, booked) = battery.sending.swap_remove(place);
        if battery.empty_at.is_none() {
            let rest = on_air.saturating_sub(booked).as_secs_f64();
            battery.left_j -= (power_w - group.sleep_power_w) * rest;
        }
        self.rearm(now, ue);
    }

    /// Keeps exactly one event at the earliest instant at which the battery, settled now, can be empty.
    pub(super) fn rearm(&mut self, now: SimTime, ue: u32) {
        let Some(battery) = self.world.ues[ue as usize].battery.as_mut() else { return };
        if let Some(ticket) = battery.check.take() {
            self.calendar.cancel(ticket);
        }
        let Some(at) = self.earliest_empty(now, ue) else { return };
        let event = Event::BatteryCheck { ue };
        let ticket = self.calendar.schedule_cancellable(at, event.class(), event);
        if let Some(battery) = self.world.ues[ue as usize].battery.as_mut() {
            battery.check = Some(ticket);
        }
    }

    /// When a battery is empty if the UE goes on as it does, alone on the air if it sends.
    /// `None` if not before the UE does something else.
    fn earliest_empty(&self, now: SimTime, ue: u32) -> Option<SimTime> {
        let state = &self.world.ues[ue as usize];
        let battery = state.battery.as_ref().filter(|battery| battery.empty_at.is_none())?;
        if battery.left_j <= 0.0 {
            return Some(now);
        }
        let sends = !battery.sending.is_empty();
        let powers = battery.sending.iter().map(|&(id, _)| self.sending_power_w(ue, id));
        let tx_power_w = powers.fold(0.0, f64::max);
        let left = |at: SimTime| {
            let on_air = if sends { at - now } else { SimTime::ZERO };
            battery.left_j - self.drawn(battery, at, ue, (on_air, tx_power_w * on_air.as_secs_f64())).0
        };
        let computing = state.serving.and_then(|id| self.world.requests.get(id));
        let Some(request) = computing.filter(|request| request.phase == Phase::UeCompute) else {
            let group = &self.spec.groups[state.group as usize];
            let radio_w = if sends { tx_power_w.max(group.sleep_power_w) } else { group.sleep_power_w };
            let watts = group.processor.idle_power() + radio_w;
            // A step of at least a nanosecond, so that time goes on.
            let step = SimTime::from_secs_saturating(battery.left_j / watts).max(SimTime::from_nanos(1));
            let end = self.spec.duration + self.spec.drain_limit;
            return (watts > 0.0 && step <= end.saturating_sub(now)).then(|| now + step);
        };
        // The energy of a service is a function of time that never falls: bisect.
        let (mut before, mut after) = (now, request.since + request.load_time + request.ue_time);
        if after <= now || left(after) > 0.0 {
            return None;
        }
        while (after - before).as_nanos() > 1 {
            let middle = SimTime::from_nanos(before.as_nanos().midpoint(after.as_nanos()));
            if left(middle) > 0.0 { before = middle } else { after = middle }
        }
        Some(after)
    }

    /// The battery may be empty. Once arrivals are over and nothing is under way, the run is over too.
    pub(super) fn on_battery_check(&mut self, now: SimTime, ue: u32) -> Result<(), SimulationError> {
        if let Some(battery) = self.world.ues[ue as usize].battery.as_mut() {
            battery.check = None;
        }
        if self.world.requests.is_empty() && now > self.arrivals_end() {
            return Ok(());
        }
        self.settle(now, ue);
        let Some(battery) = self.world.ues[ue as usize].battery.as_mut() else { return Ok(()) };
        if battery.left_j > 0.0 {
            self.rearm(now, ue);
            return Ok(());
        }
        battery.left_j = 0.0;
        battery.empty_at = Some(now);
        self.switch_off(now, ue)
    }

    /// A UE without charge sends nothing and hears nothing: whatever it asked for is an outage.
    fn switch_off(&mut self, now: SimTime, ue: u32) -> Result<(), SimulationError> {
        for id in self.world.requests.ids() {
            if self.world.requests.get(id).is_some_and(|request| request.ue == ue && request.carries.is_none()) {
                self.abandon(now, id);
                self.end_by_id(now, id, Outcome::Outage)?;
            }
        }
        let state = &mut self.world.ues[ue as usize];
        state.queue.clear();
        state.returned.clear();
        let (steps, wanted) = (state.steps, self.spec.steps_of_each.get(ue as usize).copied().unwrap_or(0));
        self.serve_edge(now);
        // Nobody waits for decisions that it can't take any more.
        if steps < wanted {
            self.short_of_steps = self.short_of_steps.saturating_sub(1);
            if self.short_of_steps == 0 && !self.closed {
                self.close_arrivals(now);
            }
        }
        Ok(())
    }
}

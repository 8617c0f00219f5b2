//! HOLD on simcore: one component that sends itself events.

use std::cell::RefCell;
use std::rc::Rc;

use serde::Serialize;
use simcore::{Event, EventHandler, Simulation, SimulationContext, cast};

use crate::delays::Delays;

#[derive(Clone, Serialize)]
struct Hold {
    job: u32,
}

struct Holder {
    context: SimulationContext,
    delays: Delays,
}

impl Holder {
    fn hold(&mut self, job: u32) {
        self.context.emit_self(Hold { job }, self.delays.draw() as f64 * 1e-9);
    }
}

impl EventHandler for Holder {
    fn on(&mut self, event: Event) {
        cast!(match event.data {
            Hold { job } => {
                self.hold(job);
            }
        })
    }
}

/// Million events per second.
pub fn rate(pending: u32, events: u64) -> f64 {
    let mut simulation = Simulation::new(1);
    let context = simulation.create_context("holder");
    let holder = Rc::new(RefCell::new(Holder { context, delays: Delays::new() }));
    simulation.add_handler("holder", holder.clone());
    (0..pending).for_each(|job| holder.borrow_mut().hold(job));
    crate::rate(events, || assert!(simulation.step()))
}

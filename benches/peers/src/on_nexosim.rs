//! HOLD on nexosim: one model that schedules events on itself.

use std::time::Duration;

use nexosim::model::{Context, Model, schedulable};
use nexosim::simulation::{Mailbox, SimInit};
use nexosim::time::MonotonicTime;
use serde::{Deserialize, Serialize};

use crate::delays::Delays;

#[derive(Serialize, Deserialize)]
struct Holder {
    pending: u32,
    #[serde(skip, default = "Delays::new")]
    delays: Delays,
}

#[Model]
impl Holder {
    #[nexosim(init)]
    async fn init(&mut self, cx: &Context<Self>) {
        for job in 0..self.pending {
            self.hold(job, cx);
        }
    }

    #[nexosim(schedulable)]
    fn hold(&mut self, job: u32, cx: &Context<Self>) {
        let delay = Duration::from_nanos(self.delays.draw());
        cx.schedule_event(delay, schedulable!(Self::hold), job).expect("a delay is positive");
    }
}

/// Million events per second, on one thread: the fastest setting for small events.
pub fn rate(pending: u32, events: u64) -> f64 {
    let holder = Holder { pending, delays: Delays::new() };
    let mut simulation = SimInit::with_num_threads(1)
        .add_model(holder, Mailbox::new(), "holder")
        .init(MonotonicTime::EPOCH)
        .expect("the bench is complete");
    // A step delivers all events of one instant: here one, but for rare ties of nanoseconds.
    crate::rate(events, || simulation.step().expect("a handler runs"))
}

//! HOLD on other Rust engines: one repetition, a line per engine and size
//! (`engine <tab> pending <tab> million events per second`), as `hold --once` prints.

mod delays;
mod on_nexosim;
mod on_simcore;

use std::time::Instant;

fn main() {
    for (pending, events) in [(1_000, 1_000_000), (100_000, 500_000)] {
        println!("simcore 0.1\t{pending}\t{:.3}", on_simcore::rate(pending, events));
        println!("nexosim 1.0, 1 thread\t{pending}\t{:.3}", on_nexosim::rate(pending, events));
    }
}

/// Million steps per second over `events` calls of `step`.
fn rate(events: u64, mut step: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..events {
        step();
    }
    events as f64 / start.elapsed().as_secs_f64() / 1e6
}

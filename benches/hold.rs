//! HOLD: every event, when it comes, schedules itself again after an
//! exponential delay, so the number of pending events stays the same (Vaucher
//! and Duval, "A comparison of simulation event list algorithms", CACM 18(4), 1975).
//!
//! Prints medians of interleaved repetitions, in million events per second:
//! the calendar, the calendar with a timeout set and cancelled per event, and
//! the standard library's bare heap of typed tuples, used in two ways.
//!
//! ```text
//! cargo bench --bench hold              # the table
//! cargo bench --bench hold -- --once    # one repetition: engine, pending, Mevents/s
//! ```

#![allow(clippy::disallowed_methods, reason = "a bench reads the wall clock")]

#[path = "peers/src/delays.rs"]
mod delays;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::time::Instant;

use delays::Delays;
use splitwave::kernel::Calendar;
use splitwave::units::SimTime;

const PENDING: [u32; 2] = [1_000, 100_000];
const EVENTS: u64 = 2_000_000;
const REPETITIONS: usize = 9;

/// One engine: takes the number of pending events, returns million events per second.
type Engine = (&'static str, fn(u32) -> f64);

const ENGINES: [Engine; 4] = [
    ("splitwave", calendar),
    ("splitwave, timeout cancelled per event", calendar_with_timeouts),
    ("BinaryHeap (u64, u64, u32), pop and push", heap_pop_push),
    ("BinaryHeap (u64, u64, u32), replace-top", heap_replace_top),
];

fn main() {
    if std::env::args().any(|argument| argument == "--once") {
        for pending in PENDING {
            for (name, engine) in ENGINES {
                println!("{name}\t{pending}\t{:.3}", engine(pending));
            }
        }
        return;
    }
    for pending in PENDING {
        let mut rates = ENGINES.map(|_| Vec::new());
        for _ in 0..REPETITIONS {
            for (rates, (_, engine)) in rates.iter_mut().zip(ENGINES) {
                rates.push(engine(pending));
            }
        }
        let medians = rates.map(median);
        println!("HOLD, {pending} pending events");
        for ((name, _), rate) in ENGINES.iter().zip(medians) {
            println!("  {name:<42}{rate:>7.2} M events/s{:>7.2} of ours", rate / medians[0]);
        }
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Runs `hold` [`EVENTS`] times.
fn rate(mut hold: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..EVENTS {
        hold();
    }
    EVENTS as f64 / start.elapsed().as_secs_f64() / 1e6
}

fn calendar(pending: u32) -> f64 {
    let mut delays = Delays::new();
    let mut calendar = Calendar::new();
    for event in 0..pending {
        calendar.schedule(SimTime::from_nanos(delays.draw()), 0, event);
    }
    let rate = rate(|| {
        if let Some((now, event)) = calendar.pop() {
            calendar.schedule(now + SimTime::from_nanos(delays.draw()), 0, event);
        }
    });
    assert_eq!(black_box(calendar).popped(), EVENTS);
    rate
}

/// Each event cancels the timeout it set before and sets another, far away.
fn calendar_with_timeouts(pending: u32) -> f64 {
    const TIMEOUT: SimTime = SimTime::from_nanos(60_000_000_000);
    let mut delays = Delays::new();
    let mut calendar = Calendar::new();
    let mut timeouts = Vec::new();
    for event in 0..pending {
        calendar.schedule(SimTime::from_nanos(delays.draw()), 0, event);
        timeouts.push(calendar.schedule_cancellable(TIMEOUT, 1, event));
    }
    let rate = rate(|| {
        if let Some((now, event)) = calendar.pop() {
            let timeout = &mut timeouts[event as usize];
            calendar.cancel(*timeout);
            calendar.schedule(now + SimTime::from_nanos(delays.draw()), 0, event);
            *timeout = calendar.schedule_cancellable(now + TIMEOUT, 1, event);
        }
    });
    assert_eq!(black_box(calendar).popped(), EVENTS);
    rate
}

fn filled_heap(pending: u32, delays: &mut Delays) -> BinaryHeap<Reverse<(u64, u64, u32)>> {
    (0..pending).map(|event| Reverse((delays.draw(), u64::from(event), event))).collect()
}

fn heap_pop_push(pending: u32) -> f64 {
    let mut delays = Delays::new();
    let mut heap = filled_heap(pending, &mut delays);
    let mut sequence = u64::from(pending);
    let rate = rate(|| {
        if let Some(Reverse((now, _, event))) = heap.pop() {
            heap.push(Reverse((now + delays.draw(), sequence, event)));
            sequence += 1;
        }
    });
    black_box(heap);
    rate
}

fn heap_replace_top(pending: u32) -> f64 {
    let mut delays = Delays::new();
    let mut heap = filled_heap(pending, &mut delays);
    let mut sequence = u64::from(pending);
    let rate = rate(|| {
        if let Some(mut top) = heap.peek_mut() {
            let Reverse((now, _, event)) = *top;
            *top = Reverse((now + delays.draw(), sequence, event));
            sequence += 1;
        }
    });
    black_box(heap);
    rate
}

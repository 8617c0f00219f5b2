use std::collections::BTreeMap;

use super::*;
use crate::kernel::{Purpose, Streams};

fn at(nanos: u64) -> SimTime {
    SimTime::from_nanos(nanos)
}

#[test]
fn one_instant_is_ordered_by_class_then_by_arrival() {
    let mut calendar = Calendar::new();
    for event in 0..300 {
        calendar.schedule(at(5), [2, 0, 255][event % 3], event);
    }
    calendar.schedule(at(4), 255, 1000);
    let order: Vec<usize> = std::iter::from_fn(|| calendar.pop().map(|(_, event)| event)).collect();
    let expected =
        std::iter::once(1000).chain((1..300).step_by(3)).chain((0..300).step_by(3)).chain((2..300).step_by(3));
    assert!(order.into_iter().eq(expected));
    assert_eq!(calendar.popped(), 301);
}

#[test]
fn events_scheduled_by_a_handler_at_its_own_instant_follow_in_turn() {
    let mut calendar = Calendar::new();
    calendar.schedule(at(7), 1, 'a');
    calendar.schedule(at(7), 1, 'b');
    assert_eq!(calendar.pop(), Some((at(7), 'a')));
    calendar.schedule(at(7), 1, 'c');
    calendar.schedule(at(7), 0, 'd');
    let rest: String = std::iter::from_fn(|| calendar.pop().map(|(_, event)| event)).collect();
    assert_eq!(rest, "dbc");
}

#[test]
fn a_stale_ticket_cancels_nothing() {
    let mut calendar = Calendar::new();
    let delivered = calendar.schedule_cancellable(at(1), 0, 'a');
    assert_eq!(calendar.pop(), Some((at(1), 'a')));
    let reused = calendar.schedule_cancellable(at(2), 0, 'b');
    assert_eq!(delivered.slot, reused.slot);
    assert!(!calendar.cancel(delivered));
    assert!(calendar.cancel(reused));
    assert!(!calendar.cancel(reused));
    assert!(calendar.is_empty());
    assert_eq!((calendar.peek_time(), calendar.pop(), calendar.now()), (None, None, at(1)));
}

#[test]
fn a_slot_without_generations_left_is_retired() {
    let mut calendar = Calendar::new();
    calendar.slots.push(Slot { generation: u32::MAX, pending: false });
    calendar.free_slots.push(0);
    let last = calendar.schedule_cancellable(at(1), 0, ());
    assert!(calendar.pop().is_some());
    let next = calendar.schedule_cancellable(at(1), 0, ());
    assert_ne!(last.slot, next.slot);
    assert!(!calendar.cancel(last));
}

/// Random operations against an ordered map, with small times so that ties abound.
#[test]
fn agrees_with_an_ordered_map() {
    for seed in 0..300 {
        let draws = Streams::new(seed, 0).stream(0, Purpose::Test);
        // Some runs mostly schedule, some mostly cancel, some hover around empty.
        let [schedule, cancel] = [[40, 60], [30, 80], [48, 52]][seed as usize % 3];
        let mut calendar = Calendar::new();
        let mut model = BTreeMap::new();
        let mut tickets = Vec::new();
        let mut popped = 0;
        for step in 0..600 {
            let [action, time, class, pick] = draws.block(step);
            match action % 100 {
                a if a < schedule => {
                    let (time, class) = (calendar.now() + at(u64::from(time % 6)), class as u8 % 3);
                    let event = step as u32;
                    if pick % 2 == 0 {
                        tickets.push((calendar.schedule_cancellable(time, class, event), (time, class, step)));
                    } else {
                        calendar.schedule(time, class, event);
                    }
                    model.insert((time, class, step), event);
                }
                a if a < cancel && !tickets.is_empty() => {
                    let (ticket, key) = tickets[pick as usize % tickets.len()];
                    assert_eq!(calendar.cancel(ticket), model.remove(&key).is_some());
                }
                _ => {
                    if pick % 3 == 0 {
                        assert_eq!(calendar.peek_time(), model.keys().next().map(|key| key.0));
                    }
                    let expected = model.pop_first().map(|((time, ..), event)| (time, event));
                    popped += u64::from(expected.is_some());
                    assert_eq!(calendar.pop(), expected);
                }
            }
            assert_eq!(calendar.len(), model.len());
            assert!(calendar.heap.len() <= 2 * calendar.len() + SWEEP_SLACK + 2);
        }
        for ((time, ..), event) in model {
            assert_eq!(calendar.pop(), Some((time, event)));
            popped += 1;
        }
        assert_eq!(calendar.pop(), None);
        assert_eq!(calendar.popped(), popped);
    }
}

/// A timeout per request, nearly always cancelled: the case that bloats lazy calendars.
#[test]
fn cancelled_timeouts_do_not_pile_up() {
    let mut calendar = Calendar::new();
    let live = 100;
    for event in 0..live {
        calendar.schedule(at(event), 0, event);
    }
    let mut most = 0;
    for _ in 0..200_000 {
        let Some((now, event)) = calendar.pop() else { panic!("a request is lost") };
        let timeout = calendar.schedule_cancellable(now + at(1 << 40), 1, u64::MAX);
        calendar.schedule(now + at(live), 0, event);
        assert!(calendar.cancel(timeout));
        most = most.max(calendar.heap.len());
    }
    assert_eq!(calendar.len() as u64, live);
    assert!(most <= 2 * live as usize + SWEEP_SLACK + 2, "{most} entries for {live} live events");
    assert!(calendar.slots.len() <= most);
}

#[cfg(debug_assertions)]
#[test]
#[should_panic(expected = "in the past")]
fn the_past_is_refused_in_debug_builds() {
    let mut calendar = Calendar::new();
    calendar.schedule(at(5), 0, ());
    calendar.pop();
    calendar.schedule(at(4), 0, ());
}

#[cfg(not(debug_assertions))]
#[test]
fn the_past_is_clamped_to_now() {
    let mut calendar = Calendar::new();
    calendar.schedule(at(5), 0, ());
    calendar.pop();
    calendar.schedule(at(4), 0, ());
    assert_eq!(calendar.pop(), Some((at(5), ())));
}

#[test]
fn a_small_event_takes_24_bytes_and_a_ticket_8() {
    assert_eq!(size_of::<Entry<u32>>(), 24);
    assert_eq!(size_of::<Ticket>(), 8);
}

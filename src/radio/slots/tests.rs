use proptest::prelude::*;

use super::*;
use crate::kernel::{Purpose, Stream, Streams};
use crate::radio::{rayleigh_multi_user_gain, shannon_efficiency};
use crate::units::ratio_from_db;

/// 1 ms.
const SLOT: SimTime = SimTime::from_nanos(1_000_000);

fn slot(index: u64) -> SimTime {
    SimTime::from_nanos(index * SLOT.as_nanos())
}

fn cell<J: Copy>(scheduler: SlotScheduler) -> SlotCell<J> {
    SlotCell::new(scheduler, SLOT, SimTime::ZERO).unwrap()
}

/// More than any test sends.
const BACKLOG: u64 = 1 << 50;

/// Slots that each of `flows` backlogged flows got out of `slots`, and its bits.
fn shares(
    scheduler: SlotScheduler,
    flows: usize,
    slots: u64,
    rate: impl Fn(usize, u64) -> u64,
) -> (Vec<u64>, Vec<u64>) {
    let mut cell = cell(scheduler);
    for job in 0..flows {
        cell.arrive(SimTime::ZERO, job, BACKLOG);
    }
    let (mut counts, mut bits) = (vec![0; flows], vec![0; flows]);
    for index in 0..slots {
        for service in cell.step(slot(index), |&job, _| rate(job, index)) {
            counts[service.job] += 1;
            bits[service.job] += service.bits;
        }
    }
    (counts, bits)
}

/// Bits per slot under Rayleigh fading that is drawn anew in each slot.
fn rayleigh_bits(draws: &Stream, mean_snr: f64, job: usize, slot: u64) -> u64 {
    let gain = draws.exponential(slot * 64 + job as u64);
    (1e5 * shannon_efficiency(mean_snr * gain, 1.0)) as u64
}

#[test]
fn turns_are_equal_in_number_whatever_the_rates() {
    let (counts, bits) = shares(SlotScheduler::RoundRobin, 7, 1000, |job, _| 100 * (job as u64 + 1));
    assert!(counts.iter().all(|&count| count == 142 || count == 143), "{counts:?}");
    assert_eq!(counts.iter().sum::<u64>(), 1000);
    assert!((0..7).all(|job| bits[job] == counts[job] * 100 * (job as u64 + 1)));
    // A link that can't be used loses its turn, and nobody else does.
    let (counts, _) = shares(SlotScheduler::RoundRobin, 4, 300, |job, _| if job == 2 { 0 } else { 5 });
    assert_eq!(counts, [100, 100, 0, 100]);
}

#[test]
fn the_best_takes_all() {
    let (counts, _) = shares(SlotScheduler::MaxCi, 5, 100, |job, _| [3, 9, 4, 9, 1][job]);
    assert_eq!(counts, [0, 100, 0, 0, 0], "ties go to the first to arrive");
    let (counts, _) = shares(SlotScheduler::MaxCi, 3, 99, |job, slot| (job as u64 + slot) % 3);
    assert_eq!(counts, [33, 33, 33]);
}

#[test]
fn nobody_is_served_without_a_rate() {
    for scheduler in [SlotScheduler::RoundRobin, SlotScheduler::MaxCi, SlotScheduler::PROPORTIONAL_FAIR] {
        assert_eq!(shares(scheduler, 3, 10, |_, _| 0).0, [0; 3]);
        // Rates come back: nobody was forgotten.
        let (counts, _) = shares(scheduler, 3, 60, |job, slot| if slot < 30 { 0 } else { 1 + (job as u64 + slot) % 3 });
        assert_eq!(counts.iter().sum::<u64>(), 30);
        assert!(counts.iter().all(|&count| count >= 8), "{scheduler:?}: {counts:?}");
    }
}

/// The gain of an ideal choice of the best of n, `E[max]/E`. With a memory of 1000 slots
/// proportional fairness comes within 1.5 % of it: 0.5 % of that is the standard error of the simulated mean
/// (20,000 slots, coefficient of variation of the rate below 0.6), four times over, and the rest its bias.
#[test]
fn proportional_fairness_has_the_multi_user_gain() {
    let draws = Streams::new(1, 0).stream(0, Purpose::Test);
    let scheduler = SlotScheduler::ProportionalFair { beta: 0.999 };
    for mean_db in [10.0, 20.0] {
        let mean_snr = ratio_from_db(mean_db);
        let ideal = rayleigh_multi_user_gain(mean_snr, 32);
        let slots = 20_000;
        let per_slot = |flows| {
            let (_, bits) = shares(scheduler, flows, slots, |job, slot| rayleigh_bits(&draws, mean_snr, job, slot));
            bits.iter().sum::<u64>() as f64 / slots as f64
        };
        let alone = per_slot(1);
        for flows in [2, 4, 8, 16, 32] {
            let gain = per_slot(flows) / alone;
            assert!((gain / ideal[flows - 1] - 1.0).abs() < 0.015, "{mean_db} dB, n = {flows}: {gain}");
        }
    }
}

/// Users whose rates differ only by a factor get equal shares of the slots: 1/8 each of 40,000, within
/// four standard errors of a binomial count (which the scheduler's averaging only makes smaller).
#[test]
fn proportional_fairness_gives_equal_shares_of_the_slots() {
    let draws = Streams::new(2, 0).stream(0, Purpose::Test);
    let slots = 40_000;
    let (counts, bits) = shares(SlotScheduler::PROPORTIONAL_FAIR, 8, slots, |job, slot| {
        (1 + job as u64 % 2) * rayleigh_bits(&draws, 10.0, job, slot)
    });
    let expected = slots as f64 / 8.0;
    let margin = 4.0 * (expected * (1.0 - 1.0 / 8.0)).sqrt();
    assert!(counts.iter().all(|&count| (count as f64 - expected).abs() < margin), "{counts:?}");
    // Statistically equal users move equal bits: their rate when served has a coefficient of
    // variation below 0.3, so that the count dominates.
    for job in 0..6 {
        let ratio = bits[job] as f64 / bits[job + 2] as f64;
        assert!((ratio - 1.0).abs() < 2.0 * margin / expected, "{bits:?}");
    }
}

#[test]
fn rates_are_asked_for_once_per_period() {
    let mut cell = SlotCell::new(SlotScheduler::MaxCi, SLOT, slot(5)).unwrap();
    let mut asked = Vec::new();
    cell.arrive(slot(0), 'a', BACKLOG);
    for index in 0..12 {
        if index == 3 {
            cell.arrive(slot(3), 'b', BACKLOG);
        }
        // b's rate rises by the slot, but only its reports count.
        let served = cell.step(slot(index), |&job, now| {
            asked.push((job, now));
            if job == 'a' { 10 } else { now.as_nanos() / SLOT.as_nanos() * 3 }
        });
        let expected = if index < 8 { ('a', 10) } else { ('b', 24) };
        assert_eq!((served[0].job, served[0].bits), expected, "slot {index}");
    }
    assert_eq!(asked, [('a', 0), ('b', 3), ('a', 5), ('b', 8), ('a', 10)].map(|(job, index)| (job, slot(index))));
}

#[test]
fn the_rest_of_a_slot_goes_to_the_next() {
    let mut cell = cell(SlotScheduler::RoundRobin);
    for (job, bits) in [('a', 250), ('b', 100), ('c', 5000)] {
        cell.arrive(slot(0), job, bits);
    }
    let parts: Vec<_> = cell.step(slot(0), |_, _| 1000).iter().map(|s| (s.job, s.bits, s.end.as_nanos())).collect();
    assert_eq!(parts, [('a', 250, 250_000), ('b', 100, 350_000), ('c', 650, 1_000_000)]);
    let departed: Vec<_> = cell.take_departures().iter().map(|d| (d.job, d.finish.as_nanos())).collect();
    assert_eq!(departed, [('a', 250_000), ('b', 350_000)]);
    assert_eq!((cell.active(), cell.take_departures().len()), (1, 0));
}

#[test]
fn cancelled_flows_return_what_they_sent() {
    let mut cell = cell(SlotScheduler::RoundRobin);
    let (a, b) = (cell.arrive(slot(0), 'a', 3000), cell.arrive(slot(0), 'b', 3000));
    for index in 0..3 {
        cell.step(slot(index), |_, _| 1000);
    }
    let mut instants = Vec::new();
    assert!(cell.service_instants_so_far(slot(3), a, [0, 500, 1000, 1500, 2500], &mut instants));
    assert_eq!(instants, [0, 500_000, 1_000_000, 2_500_000].map(SimTime::from_nanos));
    assert_eq!((cell.bits_left(a), cell.cancel(b)), (Some(1000), Some(1000)));
    assert_eq!((cell.cancel(b), cell.bits_left(b)), (None, None));
    assert!(!cell.service_instants_so_far(slot(3), b, [1], &mut instants));
    assert_eq!(cell.step(slot(3), |_, _| 1000)[0].job, 'a');
    let a = &cell.take_departures()[0];
    assert_eq!((a.finish, a.airtime()), (slot(4), slot(3)));
}

#[test]
fn a_flow_without_bits_departs_on_arrival() {
    let mut cell = cell(SlotScheduler::MaxCi);
    let id = cell.arrive(slot(3), 'a', 0);
    assert_eq!((cell.active(), cell.cancel(id)), (0, None));
    let departed = cell.take_departures();
    assert_eq!((departed[0].flow, departed[0].finish, departed[0].airtime()), (id, slot(3), SimTime::ZERO));
    let mut instants = Vec::new();
    departed[0].service_instants([0, 7], &mut instants);
    assert_eq!(instants, [slot(3); 2]);
}

#[test]
fn slots_in_a_row_at_one_rate_are_one_segment() {
    let mut cell = cell(SlotScheduler::RoundRobin);
    cell.arrive(slot(0), (), 1_000_000);
    for index in 0..1000 {
        cell.step(slot(index), |(), _| if index < 500 { 1500 } else { 500 });
    }
    let departed = &cell.take_departures()[0];
    assert_eq!((departed.finish, departed.log.segments()), (slot(1000), 2));
}

#[test]
fn refuses_what_is_no_cell() {
    let new = |scheduler, slot| SlotCell::<()>::new(scheduler, slot, SLOT).map(|_| ());
    assert_eq!(new(SlotScheduler::MaxCi, SimTime::ZERO), Err(SlotCellError::Slot));
    for beta in [1.0, -0.1] {
        assert_eq!(new(SlotScheduler::ProportionalFair { beta }, SLOT), Err(SlotCellError::Beta(beta)));
    }
    assert!(new(SlotScheduler::ProportionalFair { beta: f64::NAN }, SLOT).is_err());
}

#[test]
fn extremes_do_not_overflow() {
    let mut cell = SlotCell::new(SlotScheduler::PROPORTIONAL_FAIR, SimTime::MAX, SimTime::MAX).unwrap();
    cell.arrive(SimTime::ZERO, 'a', u64::MAX);
    cell.arrive(SimTime::ZERO, 'b', u64::MAX);
    assert_eq!(cell.step(SimTime::ZERO, |_, _| u64::MAX).len(), 1);
    assert_eq!(cell.take_departures()[0].finish, SimTime::MAX);
}

/// The definition: each flow keeps all its parts, and every choice is made from scratch.
struct Reference {
    scheduler: SlotScheduler,
    flows: Vec<ReferenceFlow>,
    turn: Option<u32>,
}

struct ReferenceFlow {
    job: u32,
    start: u64,
    bits: u64,
    mean: f64,
    rate: u64,
    /// (begin, end, bits, bits per slot)
    parts: Vec<(u64, u64, u64, u64)>,
}

impl ReferenceFlow {
    fn sent(&self) -> u64 {
        self.parts.iter().map(|part| part.2).sum()
    }

    fn instant(&self, amount: u64) -> u64 {
        let mut sent = 0;
        for &(begin, _, bits, rate) in &self.parts {
            if sent + bits >= amount {
                return begin + ((amount - sent) * SLOT.as_nanos()).div_ceil(rate);
            }
            sent += bits;
        }
        unreachable!("{amount} bits of {}", self.bits);
    }
}

impl Reference {
    /// Serves a slot; returns the flows that are done.
    fn step(&mut self, at: u64) -> Vec<ReferenceFlow> {
        let mut done = Vec::new();
        let mut rest = SLOT.as_nanos();
        let mut served = Vec::new();
        while rest > 0 {
            let usable: Vec<usize> = (0..self.flows.len()).filter(|&i| self.flows[i].rate > 0).collect();
            let ranked = |metric: &dyn Fn(&ReferenceFlow) -> f64| {
                usable.iter().copied().rev().max_by(|&i, &j| metric(&self.flows[i]).total_cmp(&metric(&self.flows[j])))
            };
            let chosen = match self.scheduler {
                SlotScheduler::MaxCi => ranked(&|flow| flow.rate as f64),
                SlotScheduler::ProportionalFair { .. } => ranked(&|flow| flow.rate as f64 / flow.mean),
                SlotScheduler::RoundRobin => {
                    let later = usable.iter().find(|&&i| self.turn.is_none_or(|turn| self.flows[i].job > turn));
                    later.or(usable.first()).copied()
                }
            };
            let Some(index) = chosen else { break };
            let flow = &mut self.flows[index];
            let begin = at + SLOT.as_nanos() - rest;
            let left = flow.bits - flow.sent();
            let room = flow.rate * rest / SLOT.as_nanos();
            if room == 0 {
                break;
            }
            self.turn = Some(flow.job);
            if left <= room {
                let took = (left * SLOT.as_nanos()).div_ceil(flow.rate);
                flow.parts.push((begin, begin + took, left, flow.rate));
                rest -= took;
                done.push(self.flows.remove(index));
            } else {
                flow.parts.push((begin, at + SLOT.as_nanos(), room, flow.rate));
                rest = 0;
                served.push((flow.job, room));
            }
        }
        if let SlotScheduler::ProportionalFair { beta } = self.scheduler {
            for flow in &mut self.flows {
                flow.mean *= beta;
                let got = served.iter().find(|part| part.0 == flow.job).map_or(0, |part| part.1);
                flow.mean += (1.0 - beta) * got as f64;
            }
        }
        done
    }
}

proptest! {
    /// Random arrivals, cancellations and rates: departures and instants of service to the nanosecond,
    /// bits to the last, and no time lost while there are bits to send.
    #[test]
    fn agrees_with_the_definition(seed: u64, kind in 0..3usize, arrivals_per_slot in 0.1..1.2f64) {
        let scheduler = [SlotScheduler::RoundRobin, SlotScheduler::MaxCi, SlotScheduler::PROPORTIONAL_FAIR][kind];
        let draws = Streams::new(seed, 0).stream(0, Purpose::Test);
        // A dead link now and then.
        let rate_of = |job: u32, index: u64| {
            let word = draws.starting_at(1 << 40).block((u64::from(job) << 20) + index)[0];
            if word.is_multiple_of(8) { 0 } else { 200 + u64::from(word >> 8) % 5000 }
        };
        let mut cell = cell(scheduler);
        let mut reference = Reference { scheduler, flows: Vec::new(), turn: None };
        let (mut ids, mut jobs) = (Vec::new(), 0u32);
        let (mut brought, mut moved) = (0, 0);
        for index in 0..300u64 {
            let [pick, size, action, _] = draws.block(index);
            let now = slot(index);
            if f64::from(pick) < arrivals_per_slot * f64::from(u32::MAX) && index < 250 {
                for copy in 0..=u64::from(action % 2) {
                    let bits = 1 + (u64::from(size) + copy * 7919) % 9000;
                    ids.push(cell.arrive(now, jobs, bits));
                    let (start, parts) = (now.as_nanos(), Vec::new());
                    reference.flows.push(ReferenceFlow { job: jobs, start, bits, mean: f64::NAN, rate: 0, parts });
                    jobs += 1;
                    brought += bits;
                }
            }
            if action.is_multiple_of(13) && !reference.flows.is_empty() {
                let gone = reference.flows.remove(action as usize % reference.flows.len());
                prop_assert_eq!(cell.cancel(ids[gone.job as usize]), Some(gone.sent()));
                brought -= gone.bits - gone.sent();
            }
            let present = reference.flows.len() as f64;
            for flow in &mut reference.flows {
                flow.rate = rate_of(flow.job, index);
                if flow.mean.is_nan() {
                    flow.mean = flow.rate as f64 / present;
                }
            }
            let done = reference.step(now.as_nanos());
            let services = cell.step(now, |&job, _| rate_of(job, index)).to_vec();
            moved += services.iter().map(|service| service.bits).sum::<u64>();
            if cell.flows.iter().zip(&cell.links).any(|(_, link)| link.bits_per_slot > 0) {
                // Somebody still has bits: the slot was used to its end, but for less than a bit.
                let used = services.last().map_or(0, |service| (service.end - now).as_nanos());
                let bit = SLOT.as_nanos().div_ceil(200);
                prop_assert!(used == SLOT.as_nanos() || SLOT.as_nanos() - used < bit, "{} ns of slot {}", used, index);
            }
            prop_assert!(services.windows(2).all(|pair| pair[0].end == pair[1].begin));
            let departures = cell.take_departures();
            prop_assert_eq!(departures.len(), done.len());
            for (departed, expected) in departures.iter().zip(&done) {
                prop_assert_eq!((departed.job, departed.bits), (expected.job, expected.bits));
                prop_assert_eq!(departed.start.as_nanos(), expected.start);
                prop_assert_eq!(departed.finish.as_nanos(), expected.parts.last().map_or(0, |part| part.1));
                let airtime: u64 = expected.parts.iter().map(|part| part.1 - part.0).sum();
                prop_assert_eq!(departed.airtime().as_nanos(), airtime);
                let amounts = (1..=5).map(|k| departed.bits * k / 5).filter(|&amount| amount > 0);
                let mut instants = Vec::new();
                departed.service_instants(amounts.clone(), &mut instants);
                let expected: Vec<u64> = amounts.map(|amount| expected.instant(amount)).collect();
                prop_assert_eq!(instants.iter().map(|at| at.as_nanos()).collect::<Vec<_>>(), expected);
            }
            prop_assert_eq!(cell.active(), reference.flows.len());
        }
        let left: u64 = reference.flows.iter().map(|flow| flow.bits - flow.sent()).sum();
        prop_assert_eq!(moved + left, brought);
    }
}

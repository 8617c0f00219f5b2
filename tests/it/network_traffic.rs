//! Bursty arrivals against their theory, tokens drawn from a trace, and conversations.

use std::collections::BTreeMap;
use std::io::Write as _;

use splitwave::kernel::{Purpose, Streams};
use splitwave::network::modulated::{ChainCursor, Modulated};
use splitwave::network::rows::Outcome;
use splitwave::stats::{ks_critical_value, ks_statistic};
use splitwave::units::SimTime;

use crate::network_support::{DEVICES, Finished, Row, assembly, run, seconds, simulate};

/// Arrivals of one UE before `end`.
fn arrivals(process: &Modulated, streams: Streams, ue: u32, end: SimTime) -> Vec<SimTime> {
    let (mut found, mut cursor) = (Vec::new(), ChainCursor::default());
    let mut at = SimTime::ZERO;
    while let Some(next) = process.arrival(&streams, ue, found.len() as u64, at, &mut cursor).filter(|&at| at < end) {
        found.push(next);
        at = next;
    }
    found
}

/// Counts over t seconds from time 0 of many UEs: stationary from the start, so their mean
/// is λ̄·t, and their variance over mean the index of dispersion. Five standard errors.
#[test]
fn counts_of_modulated_arrivals_meet_theory() {
    let streams = Streams::new(21, 0);
    let bursty = Modulated { rates_per_s: [9.0, 0.5], sojourns_s: [2.0, 6.0] };
    let on_off = Modulated { rates_per_s: [5.0, 0.0], sojourns_s: [1.0, 3.0] };
    for (process, ues) in [(bursty, 20_000u32), (on_off, 20_000)] {
        let counts: Vec<[f64; 3]> = (0..ues)
            .map(|ue| {
                let all = arrivals(&process, streams, ue, seconds(20.0));
                [0.2, 3.0, 20.0].map(|t| all.partition_point(|&at| at < seconds(t)) as f64)
            })
            .collect();
        let n = f64::from(ues);
        for (i, t) in [0.2, 3.0, 20.0].into_iter().enumerate() {
            let moment = |about: f64, power| counts.iter().map(|count| (count[i] - about).powi(power)).sum::<f64>() / n;
            let mean = moment(0.0, 1);
            let (variance, fourth) = (moment(mean, 2), moment(mean, 4));
            let expected = process.mean_rate_per_s() * t;
            assert!((mean - expected).abs() < 5.0 * (variance / n).sqrt(), "{process:?}, {t} s: {mean} for {expected}");
            let error = ((fourth - variance * variance) / n).sqrt() / expected;
            let (found, theory) = (variance / expected, process.dispersion(t));
            assert!((found - theory).abs() < 5.0 * error, "{process:?}, {t} s: {found} for {theory} ± {error}");
            assert!(5.0 * error < 0.15 * theory, "the test is blunt: {error} of {theory}");
        }
    }
}

/// An on-off source is a renewal process with hyperexponential gaps (Kuczura, Bell System
/// Technical Journal 52(3), 1973): rates r = ½·(s ± √(s² - 4·λ·ω_off)) with s = λ + ω_on + ω_off,
/// the first with probability (λ - r_2)/(r_1 - r_2). α = 0.001.
#[test]
fn gaps_of_an_on_off_source_are_hyperexponential() {
    let (rate, on_s, off_s): (f64, f64, f64) = (5.0, 1.0, 3.0);
    let process = Modulated { rates_per_s: [rate, 0.0], sojourns_s: [on_s, off_s] };
    let all = arrivals(&process, Streams::new(22, 0), 4, seconds(16_000.0));
    let mut gaps: Vec<f64> = all.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    gaps.sort_unstable_by(f64::total_cmp);
    let sum = rate + 1.0 / on_s + 1.0 / off_s;
    let root = (sum * sum - 4.0 * rate / off_s).sqrt();
    let (fast, slow) = (0.5 * (sum + root), 0.5 * (sum - root));
    let quick = (rate - slow) / (fast - slow);
    let distance = ks_statistic(&gaps, |x| 1.0 - quick * (-fast * x).exp() - (1.0 - quick) * (-slow * x).exp());
    assert!(gaps.len() > 15_000 && distance < ks_critical_value(gaps.len(), 0.001), "{distance}, {}", gaps.len());
}

/// Requests straight to an edge that takes so many milliseconds for each.
fn paced(count: u32, workload: &str, service_ms: f64, more: &str) -> String {
    format!(
        "name = \"paced\"\nduration_s = 60.0\nservice.mode = \"edge-only\"\nquality.source = \"none\"\n\
         [radio]\nsharing = \"ideal\"\ndownlink_latency_ms = 0.0\n[edge]\n\
         service_time = {{ law = \"deterministic\", mean_ms = {service_ms} }}\n\
         [[ue]]\nname = \"source\"\ncount = {count}\nworkload = {{ {workload} }}\n{more}"
    )
}

fn arrivals_of(finished: &Finished, ue: u32) -> Vec<SimTime> {
    finished.by_arrival().iter().filter(|row| row.ue_id == ue).map(|row| row.arrival_s).collect()
}

/// The scenario's kinds are the processes: arrivals of UE 1, whoever else is there and
/// however slow the edge is.
#[test]
fn arrivals_depend_on_nothing_but_the_key() {
    for (workload, rate) in [
        ("kind = \"mmpp\", rates_per_s = [3.0, 0.2], sojourns_s = [4.0, 8.0]", 3.4 / 3.0),
        ("kind = \"on-off\", rate_per_s = 4.0, on_s = 2.0, off_s = 6.0", 1.0),
        ("kind = \"gamma\", rate_per_s = 1.5, cv = 2.0", 1.5),
        ("kind = \"weibull\", rate_per_s = 1.5, shape = 0.6", 1.5),
    ] {
        let alone = run(&paced(2, workload, 1.0, ""));
        let crowded = run(&paced(7, workload, 900.0, ""));
        let found = arrivals_of(&alone, 1);
        assert!(found.len() > 15 && found == arrivals_of(&crowded, 1), "{workload}");
        // Mean rate over 300 UEs, within 10 %: standard errors are below 2.5 %.
        let many = simulate(&assembly(&paced(300, workload, 0.001, "")), 3, 0);
        let mean = many.rows.len() as f64 / 300.0 / 60.0;
        assert!((mean / rate - 1.0).abs() < 0.1, "{workload}: {mean} for {rate}");
    }
    let mmpp = Modulated { rates_per_s: [3.0, 0.2], sojourns_s: [4.0, 8.0] };
    let by_hand = arrivals(&mmpp, Streams::new(1, 0), 1, seconds(60.0));
    let mmpp = "kind = \"mmpp\", rates_per_s = [3.0, 0.2], sojourns_s = [4.0, 8.0]";
    assert_eq!(arrivals_of(&run(&paced(2, mmpp, 1.0, "")), 1), by_hand);
}

/// (prompt, output) pairs of a trace's rows stay together, and each row is drawn as often as the others.
#[test]
fn tokens_are_drawn_from_the_rows_of_a_trace() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,11,3\n\
                 2023-11-16 18:17:04.0319600,70,2\n2023-11-16 18:17:04.0781490,500,9\n2023-11-16 18:17:05,70,1\n";
    file.write_all(azure.as_bytes()).unwrap();
    let path = file.path().display();
    let workload = format!("rate_per_s = 2.0, tokens_from = \"{path}\", max_prompt_tokens = 200");
    let built = assembly(&paced(20, &workload, 0.001, ""));
    assert!(built.warnings.iter().any(|warning| warning.message == "cut to 200, for being longer: 1 row of 4"));
    let mut seen = BTreeMap::new();
    let finished = simulate(&built, 1, 0);
    for row in &finished.rows {
        *seen.entry((row.prompt_tokens, row.output_tokens)).or_insert(0u32) += 1;
    }
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [(11, 3), (70, 1), (70, 2), (200, 9)]);
    let quarter = finished.rows.len() as f64 / 4.0;
    // Four standard deviations, √(n·3/16).
    assert!(seen.values().all(|&count| (f64::from(count) - quarter).abs() < 4.0 * (0.75 * quarter).sqrt()), "{seen:?}");
}

/// Rows by UE, conversation and turn.
fn by_turn(finished: &Finished) -> BTreeMap<(u32, u32, u32), Row> {
    let rows = finished.rows.iter();
    let keyed = rows.map(|row| ((row.ue_id, row.conversation.unwrap(), row.turn.unwrap()), row.clone()));
    let found: BTreeMap<_, _> = keyed.collect();
    assert_eq!(found.len(), finished.rows.len(), "two rows of one turn");
    found
}

/// Three turns of 10 new tokens and answers of one: prompts of 10, 10 + 1 + 10 and
/// 21 + 1 + 10 tokens, cut to 25; each a drawn thought after the answer before.
#[test]
fn turns_follow_answers_and_prompts_grow() {
    let workload = "rate_per_s = 0.05, prompt_tokens = 10, turns = 3, think_time_s = 2.0, max_context_tokens = 25";
    let finished = run(&paced(3, workload, 100.0, ""));
    let rows = by_turn(&finished);
    let streams = Streams::new(1, 0);
    let mut turns = 0;
    for (&(ue, conversation, turn), row) in &rows {
        assert_eq!(row.prompt_tokens, [10, 21, 25][turn as usize]);
        let expected = if turn == 0 {
            let gaps = streams.stream(ue, Purpose::Arrival);
            let gap = |k: u32| SimTime::from_secs_saturating(gaps.exponential(u64::from(k)) / 0.05);
            (0..=conversation).map(gap).sum()
        } else {
            let before = &rows[&(ue, conversation, turn - 1)];
            let index = (u64::from(conversation) << 32) + u64::from(turn);
            let thought = streams.stream(ue, Purpose::SessionTurn).exponential(index) * 2.0;
            turns += 1;
            before.arrival_s + before.e2e_s.unwrap() + SimTime::from_secs_saturating(thought)
        };
        assert_eq!(row.arrival_s, expected, "{row:#?}");
        // Nothing is missing: what comes next would come after the end.
        if turn < 2 && !rows.contains_key(&(ue, conversation, turn + 1)) {
            assert!(row.arrival_s > seconds(45.0), "{row:#?}");
        }
    }
    assert!(turns > 8, "{turns}");
}

/// A closed loop thinks between turns by the conversation's draws, and between
/// conversations by its own.
#[test]
fn a_closed_loop_of_conversations() {
    let workload = "kind = \"closed-loop\", think_time_s = 0.5, prompt_tokens = 8, output_tokens = 3, turns = 2";
    let finished = run(&paced(1, workload, 100.0, ""));
    let rows = finished.by_arrival();
    let streams = Streams::new(1, 0);
    let mut ended = SimTime::ZERO;
    for (number, row) in (0u64..).zip(&rows) {
        let (conversation, turn) = (number / 2, number % 2);
        assert_eq!((row.conversation, row.turn), (Some(conversation as u32), Some(turn as u32)));
        assert_eq!(row.prompt_tokens, [8, 8 + 3 + 8][turn as usize]);
        let thought = match turn {
            0 => streams.stream(0, Purpose::Think).exponential(conversation),
            _ => streams.stream(0, Purpose::SessionTurn).exponential((conversation << 32) + 1),
        };
        assert_eq!(row.arrival_s, ended + SimTime::from_secs_saturating(thought * 0.5));
        ended = row.arrival_s + row.e2e_s.unwrap();
    }
    assert!(rows.len() > 40);
}

/// A turn that fails is the last of its conversation, whatever the failure.
#[test]
fn a_failed_turn_is_the_last() {
    let text = format!(
        "name = \"frail\"\nduration_s = 120.0\ndrain_limit_s = 0.1\nquality.source = \"none\"\n\
         [channel]\nreception = \"digital\"\nloss_probability = 0.5\ndoppler_hz = 3.0\n\
         [[ue]]\nname = \"phone\"\ndevice = \"phone\"\ncount = 6\nqueue_capacity = 0\ndeadline_ms = 90.0\n\
         workload = {{ rate_per_s = 2.0, prompt_tokens = 12, think_time_s = 0.3, \
         turns = {{ min = 1, max = 6, draw = \"per-request\" }} }}\n[edge]\ndevice = \"server\"\n{DEVICES}"
    );
    let finished = run(&text);
    for outcome in [Outcome::Completed, Outcome::Outage, Outcome::Timeout, Outcome::Dropped] {
        assert!(finished.count(outcome) > 20, "{outcome:?}: {}", finished.count(outcome));
    }
    let rows = by_turn(&finished);
    let mut longest = 0;
    for &(ue, conversation, turn) in rows.keys() {
        if turn > 0 {
            let before = &rows[&(ue, conversation, turn - 1)];
            assert_eq!(before.outcome, Outcome::Completed, "{before:#?}");
        }
        longest = longest.max(turn);
    }
    assert!(longest > 2, "{longest}");
    // Conversations arrive all the same: as many as the arrivals of requests without turns.
    let firsts = |finished: &Finished| -> Vec<(u32, SimTime)> {
        let rows = finished.by_arrival();
        rows.iter().filter(|row| row.turn.is_none_or(|turn| turn == 0)).map(|row| (row.ue_id, row.arrival_s)).collect()
    };
    let alone = text.replace("turns = { min = 1, max = 6, draw = \"per-request\" }", "turns = 1");
    assert_eq!(firsts(&finished), firsts(&run(&alone)));
}

/// What is said in a turn doesn't depend on how fast the others were answered.
#[test]
fn turns_are_the_same_on_a_slow_edge() {
    let workload = "rate_per_s = 0.5, think_time_s = 0.2, turns = { min = 1, max = 4, draw = \"per-request\" }, \
                    prompt_tokens = { min = 5, max = 50, draw = \"per-request\" }";
    let quick = by_turn(&run(&paced(2, workload, 1.0, "")));
    let slow = by_turn(&run(&paced(2, workload, 300.0, "")));
    let both = quick.iter().filter_map(|(key, row)| Some((row, slow.get(key)?)));
    let prompts: Vec<(u32, u32)> = both.map(|(quick, slow)| (quick.prompt_tokens, slow.prompt_tokens)).collect();
    assert!(prompts.len() > 60 && prompts.iter().all(|(quick, slow)| quick == slow), "{}", prompts.len());
}

#[test]
fn one_turn_is_no_conversation() {
    let alone = "rate_per_s = 0.5, prompt_tokens = { min = 5, max = 50, draw = \"per-request\" }";
    let plain = run(&paced(2, alone, 50.0, ""));
    assert_eq!(plain.rows, run(&paced(2, &format!("{alone}, turns = 1"), 50.0, "")).rows);
    assert!(plain.rows.iter().all(|row| (row.conversation, row.turn) == (None, None)));
}

//! The decision process: episodes, moves, rewards, and who learns what.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use splitwave::kernel::{Purpose, Streams};
use splitwave::network::ports::{Controller, Decision, Observation};
use splitwave::network::rows::{DecisionRow, Outcome};
use splitwave::units::SimTime;

use crate::network_support::{DEVICES, assembly, check, layer_flop, lottery, run, simulate, simulate_with};

/// A lossy, busy network with rewards.
fn learning(reward: &str) -> String {
    lottery("random", "")
        .replace("duration_s = 8.0", "duration_s = 25.0")
        .replace(
            "noise_std = { min = 0.1, max = 1.0, draw = \"per-request\" }",
            "noise_std = { min = 0.1, max = 1.0, draw = \"per-episode\" }",
        )
        .replace(
            "loss_probability = { min = 0.0, max = 0.2, draw = \"per-request\" }",
            "loss_probability = { min = 0.2, max = 0.6, draw = \"per-episode\" }\ndoppler_hz = 2.0",
        )
        .replace("count = 3", "count = 3\ndeadline_ms = 900.0")
        .replace("[edge]", &format!("[reward]\n{reward}\n[edge]"))
}

#[test]
fn decisions_follow_episodes_moves_and_bounds() {
    let assembly = assembly(&learning(""));
    let finished = simulate(&assembly, 1, 0);
    check(&assembly, &finished);
    let streams = Streams::new(1, 0);
    let mut by_ue = vec![Vec::new(); 3];
    for step in &finished.steps {
        by_ue[step.ue_id as usize].push(step.clone());
    }
    for (ue, steps) in (0u32..).zip(&by_ue) {
        assert!(steps.len() > 10);
        for (n, step) in (0u32..).zip(steps) {
            assert_eq!((step.episode, step.step_in_episode), (n / 5, n % 5));
            let drawn = |low: f64, high: f64, purpose| {
                low + (high - low) * streams.stream(ue, purpose).uniform(u64::from(step.episode))
            };
            assert_eq!(step.noise_std, Some(drawn(0.1, 1.0, Purpose::NoiseStd)));
            assert_eq!(step.loss_probability, Some(drawn(0.2, 0.6, Purpose::LossProbability)));
            let initial = 1 + streams.stream(ue, Purpose::InitialSplit).below(u64::from(step.episode), 8) as u32;
            let before = if n % 5 == 0 { initial } else { steps[n as usize - 1].next_split };
            assert_eq!(step.split, before);
            let target = i64::from(step.split) + [-1, 0, 1][step.action as usize];
            assert_eq!(i64::from(step.next_split), target.clamp(1, 8));
            assert_eq!(step.action, streams.stream(ue, Purpose::Action).below(u64::from(n), 3) as u32);
            assert_eq!(step.log_prob, Some(-3f64.ln()));
        }
    }
}

#[test]
fn rewards_are_those_of_the_rows() {
    for (reward, gain) in [("lambda = 30.0", false), ("kind = \"relative-gain\"", true)] {
        let assembly = assembly(&learning(reward));
        let finished = simulate(&assembly, 1, 0);
        check(&assembly, &finished);
        let vocab = assembly.inputs.model.decoder.config().vocab as f64;
        let outcomes: BTreeSet<Outcome> = finished.rows.iter().map(|row| row.outcome).collect();
        assert!(outcomes.contains(&Outcome::Outage) && outcomes.contains(&Outcome::Timeout), "{outcomes:?}");
        for row in &finished.rows {
            let Some(split) = row.split.filter(|_| row.outcome != Outcome::Unfinished) else {
                assert_eq!((row.reward, row.ppl), (None, None));
                continue;
            };
            let clean = row.ppl_clean.unwrap();
            match row.outcome {
                Outcome::Timeout => assert_eq!((row.ppl, row.nll_sum, row.tokens_scored), (None, None, None)),
                Outcome::Outage => {
                    let tokens = f64::from(row.tokens_scored.unwrap());
                    assert!((row.ppl.unwrap() / vocab - 1.0).abs() < 1e-9);
                    assert!((row.nll_sum.unwrap() - tokens * vocab.ln()).abs() < 1e-9);
                    assert!(
                        row.tokens_scored == Some(row.prompt_tokens)
                            || row.tokens_scored == Some(row.prompt_tokens - 1)
                    );
                }
                _ => {
                    let corpus = (row.nll_sum.unwrap() / f64::from(row.tokens_scored.unwrap())).exp();
                    assert!((row.ppl.unwrap() / corpus - 1.0).abs() < 1e-9);
                }
            }
            // An outage has its PPL, chance; its reward counts it as failed.
            let ppl = row.ppl.filter(|_| row.outcome == Outcome::Completed);
            let expected = if gain {
                let gain = ppl.map_or(-1.0, |ppl| ((clean - ppl) / clean).max(-1.0));
                10.0 * gain + (10.0 - f64::from(split)) / 10.0
            } else {
                let ppl = ppl.map_or(10.0 * clean, |ppl| ppl.min(10.0 * clean));
                let all = 32.0 * layer_flop(f64::from(row.prompt_tokens));
                -(ppl + 30.0 * row.ue_flop.unwrap() / all)
            };
            assert!((row.reward.unwrap() - expected).abs() < 1e-9 * expected.abs(), "{row:#?} for {expected}");
        }
        assert!(finished.steps.iter().all(|step| step.reward_source.as_deref() == Some("llm")));
    }
}

/// A step and its reward.
type Lesson = (u64, Option<f64>);

/// Goes out of bounds, and writes down what it is taught.
struct Pupil {
    lessons: Arc<Mutex<Vec<Lesson>>>,
    eager: bool,
}

impl Controller for Pupil {
    fn decide(&mut self, observation: &Observation) -> Decision {
        // Out of bounds on purpose: the network holds it to 1..=8.
        let split = if observation.decision.is_multiple_of(2) { 0 } else { 99 };
        Decision { action: 7, split, log_prob: Some(-0.5), value: None }
    }

    fn learn(&mut self, step: &DecisionRow<'_>) {
        self.lessons.lock().expect("one thread").push((step.step, step.reward));
    }

    fn lessons_wanted(&self) -> Option<usize> {
        self.eager.then_some(1)
    }
}

#[test]
fn controllers_learn_every_step_once_and_in_order() {
    let text = learning("").replace("[controller]", "[controller]\nscope = \"shared\"");
    let assembly = assembly(&text);
    let mut taught = Vec::new();
    for eager in [false, true] {
        let lessons = Arc::new(Mutex::new(Vec::new()));
        let pupil = Pupil { lessons: Arc::clone(&lessons), eager };
        let finished = simulate_with(&assembly, 1, 0, vec![Box::new(pupil)]);
        check(&assembly, &finished);
        let lessons = lessons.lock().expect("one thread").clone();
        let steps: Vec<_> = finished.steps.iter().map(|step| (step.step, step.reward)).collect();
        assert!(lessons.len() > 40);
        assert_eq!(lessons, steps);
        assert!(finished.steps.iter().all(|step| step.next_split == 1 || step.next_split == 8));
        taught.push((finished.rows, finished.steps));
    }
    assert_eq!(taught[0], taught[1], "when rewards are joined does not show");
}

/// A given initial split is that of each episode, as a drawn one is.
#[test]
fn a_given_initial_split_returns_with_each_episode() {
    let text = learning("").replace("{ min = 1, max = 8, draw = \"per-episode\" }\n[controller]", "5\n[controller]");
    let finished = run(&text);
    assert!(finished.steps.iter().filter(|step| step.step_in_episode == 0).all(|step| step.split == 5));
    assert!(finished.steps.iter().any(|step| step.split != 5));
}

/// Writes down for whom it decides.
struct Clerk(Arc<Mutex<BTreeSet<u32>>>);

impl Controller for Clerk {
    fn decide(&mut self, observation: &Observation) -> Decision {
        self.0.lock().expect("one thread").insert(observation.ue);
        Decision { action: 0, split: observation.split, log_prob: None, value: None }
    }
}

/// Two groups with a controller each, one of them shared, and a channel each.
#[test]
fn groups_have_their_own_controllers_and_channels() {
    let group = |name: &str, count: u32, controller: &str, channel: &str| {
        format!(
            "[[ue]]\nname = \"{name}\"\ndevice = \"phone\"\ncount = {count}\ncontroller = \"{controller}\"\n\
             channel = \"{channel}\"\nworkload = {{ rate_per_s = 2.0, prompt_tokens = 10 }}\n"
        )
    };
    let text = format!(
        "name = \"groups\"\nduration_s = 20.0\nquality.source = \"none\"\n\
         [[controller]]\nname = \"own\"\n[[controller]]\nname = \"common\"\nscope = \"shared\"\n\
         [[channel]]\nname = \"waves\"\nnoise_std = 0.25\n[[channel]]\nname = \"bits\"\nreception = \"digital\"\n\
         {}{}{}[edge]\ndevice = \"server\"\n{DEVICES}",
        group("a", 2, "own", "waves"),
        group("b", 3, "common", "bits"),
        group("c", 1, "own", "bits"),
    );
    let assembly = assembly(&text);
    let seen: Vec<Arc<Mutex<BTreeSet<u32>>>> = (0..4).map(|_| Arc::default()).collect();
    let clerks = seen.iter().map(|seen| Box::new(Clerk(Arc::clone(seen))) as Box<dyn Controller>).collect();
    let finished = simulate_with(&assembly, 1, 0, clerks);
    check(&assembly, &finished);
    // Shared ones come first.
    let served: Vec<BTreeSet<u32>> = seen.iter().map(|seen| seen.lock().expect("one thread").clone()).collect();
    assert_eq!(served, [BTreeSet::from([2, 3, 4]), BTreeSet::from([0]), BTreeSet::from([1]), BTreeSet::from([5])]);
    for row in &finished.rows {
        // 40960 values at two per hertz, or in 16 bits at 4 bit/s/Hz; 20 MHz.
        let (noise, air) = if row.ue_id < 2 { (Some(0.25), 1_024_000) } else { (None, 8_192_000) };
        assert_eq!((row.noise_std, row.uplink_air_s), (noise, Some(SimTime::from_nanos(air))), "{row:#?}");
    }
}

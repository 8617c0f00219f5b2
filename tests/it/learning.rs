//! Learning inside a run: what controllers are taught, what they leave behind, and how that is judged.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use splitwave::control::{ActionSpace, Learner, LearnerPlace, ObservationBounds, ObservationSpace, Observed};
use splitwave::kernel::Streams;
use splitwave::rl::{Agent, Choice, Policy, Ppo, PpoSettings, Transition, Update};

use crate::cli_support::{Place, csv_rows, summary_of_all};
use crate::network_support::{assembly, check, lottery, simulate_with};

/// One UE on the LLaMA-2-7B surface, Case A.
const SURFACE: &str = r#"
name = "surface"
duration_s = 1e8
stop = { env_steps = 2000 }
[model]
source = "none"
[quality]
source = "table"
table = "llama-2-7b"
[split]
min = 1
max = 10
initial = { min = 1, max = 10, draw = "per-episode" }
[controller]
kind = "ppo"
observe = ["loss_probability", "split"]
[reward]
kind = "relative-gain"
[evaluation]
episodes = 200
every_steps = 1000
[channel]
loss_probability = { min = 0.0, max = 0.3, draw = "per-episode" }
noise_std = 0.0
loss_unit = "element-iid"
fading = "none"
[[ue]]
name = "phone"
workload = { kind = "closed-loop", think_time_s = 0.0, prompt_tokens = 20 }
[output]
requests = false
sample_interval_s = 0.0
"#;

fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} = {:?}", row[column]))
}

#[test]
fn a_learner_leaves_its_steps_its_updates_and_its_worth() {
    let place = Place::with(SURFACE);
    let run = &place.run(&["s.toml"], "results/surface")[0];
    let (_, steps) = csv_rows(&run.join("decisions.csv"));
    assert_eq!(steps.len(), 2000);
    for step in &steps {
        assert!(number(step, "log_prob") < 0.0);
        assert!(number(step, "value").is_finite());
        assert_eq!(step["reward_source"], "table");
    }
    let (_, updates) = csv_rows(&run.join("updates.csv"));
    assert_eq!(updates.len(), 5, "one update per 400 steps");
    for (index, update) in updates.iter().enumerate() {
        assert_eq!((update["ue_id"].as_str(), update["state"].as_str()), ("0", "learning"));
        assert_eq!(number(update, "update") as usize, index + 1);
        assert_eq!(number(update, "env_steps") as usize, 400 * (index + 1));
        // Episodes of the rollout are those of its 400 steps.
        let rewards = steps[400 * index..400 * (index + 1)].iter().map(|step| number(step, "reward"));
        assert!((number(update, "episode_reward_mean") - rewards.sum::<f64>() / 80.0).abs() < 1e-9);
        let entropy = number(update, "entropy");
        assert!(entropy > 0.0 && entropy <= 3f64.ln() + 1e-6, "entropy {entropy}");
        assert!((0.0..=1.0).contains(&number(update, "clip_fraction")));
    }

    let (_, episodes) = csv_rows(&run.join("evaluations.csv"));
    let of = |policy: &str, env_steps: &str| {
        let rows: Vec<_> =
            episodes.iter().filter(|row| row["policy"] == policy && row["env_steps"] == env_steps).cloned().collect();
        assert_eq!(rows.len(), 200, "{policy} after {env_steps:?}");
        rows
    };
    let mean = |rows: &[BTreeMap<String, String>]| {
        rows.iter().map(|row| number(row, "reward")).sum::<f64>() / rows.len() as f64
    };
    let (optimal, random, last) = (of("optimal", ""), of("random", ""), of("learned", "2000"));
    for early in ["0", "1000"] {
        of("learned", early);
    }
    for (a, b) in last.iter().zip(optimal.iter()).chain(last.iter().zip(random.iter())) {
        for column in ["ue_id", "episode", "loss_probability", "first_split"] {
            assert_eq!(a[column], b[column], "all policies meet the same starts");
        }
    }
    for (learned, best) in last.iter().zip(&optimal) {
        assert!(number(learned, "reward") <= number(best, "reward") + 1e-9, "nothing beats the optimum in an episode");
    }
    let all = summary_of_all(run);
    assert!((number(&all, "eval_reward_mean") - mean(&last)).abs() < 1e-9);
    assert!((number(&all, "eval_optimal_mean") - mean(&optimal)).abs() < 1e-9);
    let regret = (mean(&optimal) - mean(&last)) / (mean(&optimal) - mean(&random));
    assert!((number(&all, "normalised_regret") - regret).abs() < 1e-9);
}

/// The optimum of a 5-step episode from a uniform start, over loss probabilities on 0 to 0.3, is 2.961.
#[test]
fn the_optimum_of_case_a_is_the_known_one() {
    let place = Place::with(
        &SURFACE.replace("episodes = 200", "episodes = 40000").replace("env_steps = 2000", "env_steps = 5"),
    );
    let run = &place.run(&["s.toml"], "results/surface")[0];
    let all = summary_of_all(run);
    // The standard deviation of an episode is 0.42: three standard errors.
    assert!((number(&all, "eval_optimal_mean") - 2.961).abs() < 3.0 * 0.42 / 200.0, "{all:?}");
    assert!((number(&all, "eval_random_mean") - 2.688).abs() < 3.0 * 0.5 / 200.0, "{all:?}");
}

#[test]
fn threads_and_outputs_change_no_policy() {
    let texts = [SURFACE.to_owned(), SURFACE.replace("requests = false", "requests = true\ndecisions = false")];
    let mut policies = Vec::new();
    for (text, threads) in [(&texts[0], "1"), (&texts[0], "3"), (&texts[1], "2")] {
        let place = Place::with(&text.replace("kind = \"ppo\"", "kind = \"ppo\"\npolicy_out = \"policy.safetensors\""));
        let run = &place.run(&["s.toml", "--threads", threads], "results/surface")[0];
        policies.push((
            fs::read(run.join("policy.safetensors")).unwrap(),
            fs::read(run.join("updates.csv")).unwrap(),
            fs::read(run.join("evaluations.csv")).unwrap(),
        ));
    }
    assert!(policies.iter().all(|files| *files == policies[0]));
}

#[test]
fn a_policy_goes_on_from_its_file() {
    let place = Place::with(&SURFACE.replace("kind = \"ppo\"", "kind = \"ppo\"\npolicy_out = \"policy.safetensors\""));
    let run = &place.run(&["s.toml"], "results/surface")[0];
    let trained = number(&summary_of_all(run), "eval_reward_mean");
    fs::copy(run.join("policy.safetensors"), place.path("policy.safetensors")).unwrap();

    // Frozen, it does what it did in its last evaluation, in a scenario of other losses' bounds as well.
    let frozen = "kind = \"ppo\"\npolicy_in = \"policy.safetensors\"\nlearn = false\nchoose = \"best\"";
    place.write(
        "frozen.toml",
        SURFACE.replace("kind = \"ppo\"", frozen).replace("name = \"surface\"", "name = \"frozen\""),
    );
    let frozen_run = &place.run(&["frozen.toml"], "results/frozen")[0];
    assert!((number(&summary_of_all(frozen_run), "eval_reward_mean") - trained).abs() < 1e-12);
    let (_, rows) = csv_rows(&frozen_run.join("evaluations.csv"));
    assert!(rows.iter().filter(|row| row["policy"] == "learned").all(|row| row["env_steps"] == "2000"));
    assert!(!frozen_run.join("updates.csv").exists(), "what doesn't learn has no updates");

    // It goes on learning from there.
    let further = "kind = \"ppo\"\npolicy_in = \"policy.safetensors\"";
    place.write(
        "further.toml",
        SURFACE.replace("kind = \"ppo\"", further).replace("name = \"surface\"", "name = \"further\""),
    );
    let further_run = &place.run(&["further.toml"], "results/further")[0];
    let (_, rows) = csv_rows(&further_run.join("evaluations.csv"));
    let first: Vec<f64> = rows.iter().filter(|row| row["env_steps"] == "0").map(|row| number(row, "reward")).collect();
    assert!((first.iter().sum::<f64>() / 200.0 - trained).abs() < 1e-12, "it begins as it was saved");

    // What doesn't fit says what.
    let refuse = |name: &str, text: &str, parts: &[&str]| {
        place.write(name, text);
        place.splitwave(&["run", name]).says(2, parts);
    };
    let with = |from: &str, to: &str| SURFACE.replace("kind = \"ppo\"", frozen).replace(from, to);
    let observe = "observe = [\"loss_probability\", \"split\"]";
    refuse(
        "observations.toml",
        &with(observe, "observe = [\"split\", \"noise_std\"]"),
        &["observations of the policy file: loss_probability, split; of the scenario: split, noise_std", "policy_in"],
    );
    refuse(
        "actions.toml",
        &with(observe, &format!("{observe}\nmoves = [-2, 0, 2]")),
        &["actions of the policy file: moves [-1, 0, 1]; of the scenario: moves [-2, 0, 2]"],
    );
    refuse(
        "kind.toml",
        &with("kind = \"ppo\"", "kind = \"a2c\""),
        &["kind of the policy file: ppo; of the scenario: a2c"],
    );
    // Networks of other widths can't go on learning; frozen, the file brings its own.
    let narrow = SURFACE.replace("[reward]", "[controller.ppo]\nhidden = [16]\n[reward]");
    refuse(
        "narrow.toml",
        &narrow.replace("kind = \"ppo\"", further),
        &["hidden layers of the policy file: [64, 64], tanh; of the scenario: [16], tanh", "policy_in"],
    );
    place.write(
        "frozen16.toml",
        narrow.replace("kind = \"ppo\"", frozen).replace("name = \"surface\"", "name = \"frozen16\""),
    );
    let frozen_run = &place.run(&["frozen16.toml"], "results/frozen16")[0];
    assert!((number(&summary_of_all(frozen_run), "eval_reward_mean") - trained).abs() < 1e-12);

    let whole = fs::read(place.path("policy.safetensors")).unwrap();
    for (name, bytes, part) in [
        ("cut", &whole[..whole.len() - 100], "not a whole safetensors file"),
        ("short", &whole[..20], "not a whole safetensors file"),
        ("empty", &whole[..0], "not a whole safetensors file"),
    ] {
        place.write(&format!("{name}.safetensors"), bytes);
        refuse(
            &format!("{name}.toml"),
            &with("policy_in = \"policy.safetensors\"", &format!("policy_in = \"{name}.safetensors\"")),
            &[part, "policy_in"],
        );
    }
    refuse(
        "missing.toml",
        &with("policy_in = \"policy.safetensors\"", "policy_in = \"nowhere.safetensors\""),
        &["nowhere.safetensors", "policy_in"],
    );
}

#[test]
fn a_diverging_learner_says_so_and_the_run_goes_on() {
    let text = SURFACE.replace("[reward]", "[controller.ppo]\nlearning_rate = 1e30\n[reward]");
    let place = Place::with(&text);
    let run = &place.run(&["s.toml"], "results/surface")[0];
    let (_, updates) = csv_rows(&run.join("updates.csv"));
    let states: Vec<&str> = updates.iter().map(|row| row["state"].as_str()).collect();
    assert_eq!(states.last(), Some(&"diverged"), "{states:?}");
    assert_eq!(states.iter().filter(|state| **state == "diverged").count(), 1);
    let (_, steps) = csv_rows(&run.join("decisions.csv"));
    assert_eq!(steps.len(), 2000, "the run goes on with the last finite policy");
    assert!(steps.iter().all(|step| number(step, "log_prob") <= 0.0));
}

#[test]
fn every_kind_learns_per_ue_or_shared() {
    for kind in ["ppo", "a2c", "dqn"] {
        for scope in ["per-ue", "shared"] {
            let text = SURFACE
                .replace(
                    "kind = \"ppo\"",
                    &format!("kind = \"{kind}\"\nscope = \"{scope}\"\npolicy_out = \"p.safetensors\""),
                )
                .replace("[[ue]]", "[[ue]]\ncount = 3")
                .replace("env_steps = 2000", "env_steps = 6000")
                .replace("every_steps = 1000", "every_steps = 0");
            let place = Place::with(&text);
            let run = &place.run(&["s.toml"], "results/surface")[0];
            let (_, updates) = csv_rows(&run.join("updates.csv"));
            let owners: std::collections::BTreeSet<&str> = updates.iter().map(|row| row["ue_id"].as_str()).collect();
            let expected: &[&str] = if scope == "shared" { &[""] } else { &["0", "1", "2"] };
            assert_eq!(owners.into_iter().collect::<Vec<_>>(), expected, "{kind} {scope}");
            let regret = number(&summary_of_all(run), "normalised_regret");
            assert!(regret < 1.5, "{kind} {scope}: regret {regret}");
            // And all of them go on from their files.
            fs::copy(run.join("p.safetensors"), place.path("p.safetensors")).unwrap();
            let again = text.replace(
                "policy_out = \"p.safetensors\"",
                "policy_in = \"p.safetensors\"\nlearn = false\nchoose = \"best\"",
            );
            place.write("again.toml", again.replace("name = \"surface\"", "name = \"again\""));
            let again = &place.run(&["again.toml"], "results/again")[0];
            assert!((number(&summary_of_all(again), "normalised_regret") - regret).abs() < 1e-12, "{kind} {scope}");
        }
    }
}

/// Seven UEs of one learner, some slower than others, beside a busy group that nobody judges.
#[test]
fn every_judged_ue_has_the_same_episodes_under_every_policy() {
    let text = SURFACE
        .replace("[controller]\n", "[[controller]]\nname = \"learner\"\nscope = \"shared\"\n")
        .replace("[reward]", "[[controller]]\nname = \"still\"\nkind = \"fixed\"\n[reward]")
        .replace("[[ue]]\nname = \"phone\"", "[[ue]]\nname = \"phone\"\ncontroller = \"learner\"\ncount = 7")
        .replace("[output]", "[[ue]]\nname = \"busy\"\ncontroller = \"still\"\ncount = 2\nworkload = { rate_per_s = 2.0, prompt_tokens = 1 }\n[output]")
        .replace("think_time_s = 0.0", "think_time_s = 0.3")
        .replace("episodes = 200\nevery_steps = 1000", "episodes = 50")
        .replace("env_steps = 2000", "env_steps = 4000");
    let place = Place::with(&text);
    let run = &place.run(&["s.toml"], "results/surface")[0];
    let (_, rows) = csv_rows(&run.join("evaluations.csv"));
    let starts = |policy: &str| {
        let of = |row: &&BTreeMap<String, String>| row["policy"] == policy;
        let start = |row: &BTreeMap<String, String>| {
            ["ue_id", "episode", "loss_probability", "first_split"].map(|column| row[column].clone())
        };
        let mut starts: Vec<_> = rows.iter().filter(of).map(start).collect();
        starts.sort();
        starts
    };
    let random = starts("random");
    assert_eq!(random.len(), 7 * 8, "50 over 7 UEs, rounded up");
    for policy in ["learned", "greedy", "optimal"] {
        assert_eq!(starts(policy), random, "{policy}");
    }
    assert!(rows.iter().all(|row| (row["policy"] == "learned") == (row["round"] == "0")));
}

/// What a shared learner learns depends on when requests end, not on when waiting rows are joined:
/// an idle network beside it fills the reorder buffer and changes nothing.
#[test]
fn unrelated_requests_do_not_change_what_is_learned() {
    let text = |rate: f64| {
        format!(
            r#"
name = "reorder"
duration_s = 1500.0
[model]
source = "none"
[quality]
source = "table"
table = "llama-2-7b"
[split]
max = 10
[[controller]]
name = "learner"
kind = "ppo"
scope = "shared"
observe = ["loss_probability", "split"]
policy_out = "p.safetensors"
[[controller]]
name = "still"
kind = "fixed"
[controller.ppo]
[reward]
kind = "relative-gain"
[evaluation]
episodes = 0
[channel]
loss_probability = {{ min = 0.0, max = 0.3, draw = "per-episode" }}
noise_std = 0.0
loss_unit = "element-iid"
fading = "none"
[radio]
sharing = "ideal"
[[ue]]
name = "phone"
controller = "learner"
count = 5
workload = {{ rate_per_s = 0.1, prompt_tokens = 20 }}
[[ue]]
name = "other"
controller = "still"
workload = {{ rate_per_s = {rate:?}, prompt_tokens = 20 }}
[edge]
discipline = "fifo"
servers = 1000
service_time = {{ law = "deterministic", mean_ms = 50.0 }}
"#
        )
        .replace("[controller.ppo]\n", "")
    };
    let mut updates = Vec::new();
    for rate in [0.01, 7.0] {
        let place = Place::with(&text(rate));
        let run = &place.run(&["s.toml"], "results/reorder")[0];
        updates
            .push((fs::read_to_string(run.join("updates.csv")).unwrap(), fs::read(run.join("p.safetensors")).unwrap()));
    }
    assert!(updates[0].0.lines().count() > 1, "{}", updates[0].0);
    assert_eq!(updates[0].0, updates[1].0);
    assert!(updates[0].1 == updates[1].1);
}

/// Where nobody is judged, how plays no part; the name of a policy's file never does.
#[test]
fn run_ids_know_what_matters() {
    let id = |text: &str| {
        let place = Place::with(text);
        let run = &place.run(&["s.toml"], "results/surface")[0];
        run.file_name().unwrap().to_owned()
    };
    let short = SURFACE.replace("env_steps = 2000", "env_steps = 5").replace("episodes = 200", "episodes = 4");
    let plain = id(&short);
    let saved = short.replace("kind = \"ppo\"", "kind = \"ppo\"\npolicy_out = \"p.safetensors\"");
    assert_eq!(id(&saved), plain);
    assert_ne!(id(&short.replace("episodes = 4", "episodes = 5")), plain);
    assert_ne!(id(&short.replace("every_steps = 1000", "seed = 2")), plain);
    let random = short.replace("kind = \"ppo\"", "kind = \"random\"");
    assert_eq!(id(&random), id(&random.replace("episodes = 4", "episodes = 5")));
}

/// What a user should know is said, and stands in the manifest and in summary.csv.
#[test]
fn learners_that_do_not_learn_are_named() {
    let place = Place::with(
        &SURFACE.replace("env_steps = 2000", "env_steps = 300").replace("every_steps = 1000", "every_steps = 0"),
    );
    let done = place.splitwave(&["run", "s.toml"]);
    done.says(
        0,
        &[
            "takes 400 steps per update",
            "raise stop.env_steps by 100",
            "1 of 1 learner never updated the policy, in up to 300 steps",
        ],
    );
    let text = SURFACE.replace("[reward]", "[controller.ppo]\nlearning_rate = 1e30\n[reward]");
    let place = Place::with(&text);
    let done = place.splitwave(&["run", "s.toml"]);
    done.says(0, &["1 of 1 learner diverged"]);
    let run = &place.finished("results/surface")[0];
    assert_eq!(summary_of_all(run)["diverged_learners"], "1");
    let remarks = crate::cli_support::manifest(run)["remarks"].to_string();
    assert!(remarks.contains("diverged"), "{remarks}");
}

/// Writes down what it is taught.
struct Diary {
    inner: Ppo,
    lessons: Arc<Mutex<Vec<Transition>>>,
}

impl Agent for Diary {
    fn choose(&mut self, observation: &[f32], uniforms: [f64; 2]) -> Choice {
        self.inner.choose(observation, uniforms)
    }

    fn observe(&mut self, transition: Transition) -> Option<Update> {
        self.lessons.lock().unwrap().push(transition.clone());
        self.inner.observe(transition)
    }

    fn wanted(&self) -> usize {
        self.inner.wanted()
    }

    fn policy(&self) -> &Policy {
        self.inner.policy()
    }
}

/// Requests of a busy, lossy network end in any order, some with timeouts; lessons keep the order of decisions.
#[test]
fn lessons_follow_the_decisions_of_each_ue() {
    let text = lottery("random", "")
        .replace("duration_s = 8.0", "duration_s = 25.0")
        .replace(
            "noise_std = { min = 0.1, max = 1.0, draw = \"per-request\" }",
            "noise_std = { min = 0.1, max = 1.0, draw = \"per-episode\" }",
        )
        .replace("count = 3", "count = 3\ndeadline_ms = 900.0")
        .replace("[controller]", "[controller]\nscope = \"shared\"");
    let assembly = assembly(&text);
    let bounds = ObservationBounds {
        noise_std: (0.1, 1.0),
        rayleigh_scale: (0.7, 0.7),
        loss_probability: (0.0, 0.2),
        split: (1, 8),
        steps_per_episode: 5,
    };
    let space = ObservationSpace::new(&[Observed::NoiseStd, Observed::Split], &bounds);
    let lessons = Arc::new(Mutex::new(Vec::new()));
    let settings = PpoSettings { n_steps: 16, batch_size: 8, ..PpoSettings::default() };
    let streams = Streams::new(1, 0);
    let inner = Ppo::new(2, 3, settings, streams, 0);
    let actions = ActionSpace { min: 1, max: 8, moves: Some(vec![-1, 0, 1]) };
    let place = LearnerPlace { ue: None, table: None, steps_per_episode: 5, snapshot_every: None, learned_before: 0 };
    let agent = Box::new(Diary { inner, lessons: Arc::clone(&lessons) });
    let learner = Learner::new(agent, space, actions, streams, place);
    let finished = simulate_with(&assembly, 1, 0, vec![Box::new(learner)]);
    check(&assembly, &finished);
    let lessons = lessons.lock().unwrap().clone();
    assert!(lessons.len() > 40, "{} lessons", lessons.len());
    for ue in 0..3 {
        let steps: Vec<_> = finished.steps.iter().filter(|step| step.ue_id == ue).collect();
        let taught: Vec<_> = lessons.iter().filter(|lesson| lesson.trajectory == ue).collect();
        // The last step may wait for what comes next for ever.
        assert!(taught.len() == steps.len() || taught.len() + 1 == steps.len(), "{} of {}", taught.len(), steps.len());
        for (n, (lesson, step)) in taught.iter().zip(&steps).enumerate() {
            assert_eq!(
                (Some(lesson.reward), lesson.choice.action, lesson.choice.log_prob),
                (step.reward, step.action, step.log_prob)
            );
            assert_eq!(lesson.observation[1], (2.0 * (f64::from(step.split) - 1.0) / 7.0 - 1.0) as f32);
            assert_eq!(lesson.next.is_none(), step.step_in_episode == 4, "the fifth step is terminal");
            if let (Some(next), Some(following)) = (&lesson.next, taught.get(n + 1)) {
                assert_eq!(*next, following.observation);
            }
        }
    }
}

/// Algorithm 1: T epochs of true rewards, then the surrogate's.
#[test]
fn rewards_come_from_the_surrogate_after_t_epochs() {
    let text = SURFACE
        .replace("source = \"table\"", "source = \"table-then-surrogate\"\nswitch_after_epochs = 3")
        .replace("env_steps = 2000", "env_steps = 2400");
    let place = Place::with(&text);
    let run = &place.run(&["s.toml"], "results/surface")[0];
    let (_, steps) = csv_rows(&run.join("decisions.csv"));
    for (n, step) in steps.iter().enumerate() {
        let expected = if n < 1200 { "table" } else { "surrogate" };
        assert_eq!(step["reward_source"], expected, "step {n}");
    }
    // The surrogate of 1,200 noiseless records is close to the table.
    let table = splitwave::control::QualityTable::open("llama-2-7b", Path::new("")).unwrap();
    let error = |step: &BTreeMap<String, String>| {
        let split = number(step, "next_split");
        let gain = table.value(split as u32, number(step, "loss_probability"), 0.0).relative_gain.unwrap();
        number(step, "reward") - (10.0 * gain.max(-1.0) + (10.0 - split) / 10.0)
    };
    let truth = steps[..1200].iter().map(|step| error(step).abs()).fold(0.0, f64::max);
    assert!(truth < 1e-9, "{truth}");
    let mse = steps[1200..].iter().map(|step| error(step).powi(2)).sum::<f64>() / 1200.0;
    assert!(mse < 0.1f64.powi(2), "rewards off by {} (rms)", mse.sqrt());
}

//! Output analysis: warm-up, MSER-5 and batch means against queueing theory and by their
//! definitions; replications until a mean is known well enough, through the binary.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use splitwave::kernel::Streams;
use splitwave::record::Figures;
use splitwave::run::runner::{Job, evaluation_pool};
use splitwave::run::signals::Interrupt;
use splitwave::stats::{BatchMeans, Mser5, mean_interval};
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

use crate::cli_support::{Done, Place, csv_rows, manifest, project, records, summary_of_all};
use crate::network_support::assembly;
use crate::queueing_support::{Load, ServiceLaw, fifo};

/// Chance of a false alarm per check, were the seeds not fixed.
const ALPHA: f64 = 1e-3;
const REPLICATIONS: u32 = 300;

/// The number of intervals that cover must lie in the central 99.9 % of Binomial(300, 0.95): 272 to 296.
fn assert_coverage(name: &str, covered: u64) {
    let binomial = Binomial::new(0.95, u64::from(REPLICATIONS)).unwrap();
    let (low, high) = (binomial.cdf(covered), 1.0 - binomial.cdf(covered.saturating_sub(1)));
    println!("{name}: {covered} of {REPLICATIONS} intervals cover");
    assert!(low > ALPHA / 2.0 && high > ALPHA / 2.0, "{name}: {covered} of {REPLICATIONS}");
}

/// 6000 customers of M/M/1 at ρ = 0.5, the first 1000 left out: batches of 128 or more are over six
/// relaxation times, λ/(√μ - √λ)² = 5.8 customers. E W = ρ/(1 - ρ) = 1.
#[test]
fn batch_means_of_waits_cover_as_often_as_they_say() {
    let (mut covered, mut correlated) = (0, 0);
    for replication in 0..REPLICATIONS {
        let (mut batches, mut customers) = (BatchMeans::new(), 0);
        let load = Load { rate: 0.5, law: ServiceLaw::Exponential, customers: 6000 };
        fifo(&load, 1, u32::MAX, Streams::new(2031, replication), |visit| {
            customers += 1;
            if customers > 1000 {
                batches.push(visit.wait());
            }
        });
        assert_eq!((batches.batch_size(), batches.batches()), (128, 39));
        covered += u64::from(batches.interval(0.95).unwrap().covers(1.0));
        correlated += u32::from(batches.is_correlated());
    }
    assert_coverage("M/M/1", covered);
    // 5 % of independent normal means: 15 of 300; 4 to 29 are the central 99.9 %. These are a little
    // correlated and skewed yet.
    assert!((4..=40).contains(&correlated), "{correlated} of {REPLICATIONS} called correlated");
}

/// x_t = 0.9 x_{t-1} + e_t from its stationary law: Σ ρ_k = 19 observations of memory, batches of 256.
/// Batches of one observation are told from independent ones.
#[test]
fn batch_means_of_an_autoregression_cover_as_often_as_they_say() {
    let mut covered = 0;
    for replication in 0..REPLICATIONS {
        let normal = Normal(Streams::new(2032, replication));
        let (mut batches, mut few) = (BatchMeans::new(), BatchMeans::new());
        let mut x = normal.at(0) / (1.0 - 0.81_f64).sqrt();
        for t in 1..=8192 {
            x = 0.9 * x + normal.at(t);
            batches.push(x);
            if t < 40 {
                few.push(x);
            }
        }
        covered += u64::from(batches.interval(0.95).unwrap().covers(0.0));
        // r_1 of 39 values is 0.9 less a bias of about (1 + 4·0.9)/39 = 0.12, ± 0.1; the test's limit is 0.26.
        assert!(few.is_correlated(), "replication {replication}: {:?}", few.correlation());
    }
    assert_coverage("AR(1)", covered);
}

/// Standard normal values by index (Box and Muller).
struct Normal(Streams);

impl Normal {
    fn at(&self, index: u64) -> f64 {
        let stream = self.0.stream(0, splitwave::kernel::Purpose::Service);
        let [u, v] = stream.uniform_pair(index);
        (-2.0 * (-u).ln_1p()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// M/M/1 at ρ = 0.5 that begins with a queue of 200 mean service times drains it at the rate 1 - ρ: for about
/// λ·200/(1 - ρ) = 200 customers. E T = 1/(μ - λ) = 2. From an empty start there is next to nothing to leave
/// out: half of the queue's mean is reached after a few relaxation times of 5.8 customers.
#[test]
fn mser5_finds_the_drain_of_a_full_queue() {
    let run = |replication: u32, backlog: f64| {
        let streams = Streams::new(2033, replication);
        let (arrivals, services) = (
            streams.stream(0, splitwave::kernel::Purpose::Arrival),
            streams.stream(0, splitwave::kernel::Purpose::Service),
        );
        let (mut wait, mut sum, mut mser) = (backlog, 0.0, Mser5::new());
        for customer in 0..5000 {
            // Lindley's recursion.
            let sojourn = wait + services.exponential(customer);
            sum += sojourn;
            mser.push(sojourn, customer);
            wait = (sojourn - arrivals.exponential(customer) / 0.5).max(0.0);
        }
        (sum / 5000.0, mser.truncation().expect("a steady state"))
    };
    let (mut cuts, mut whole, mut kept, mut empty) = (Vec::new(), 0.0, 0.0, Vec::new());
    for replication in 0..200 {
        let (mean, found) = run(replication, 200.0);
        assert_eq!(found.position, found.observations, "positions were the customers' numbers");
        cuts.push(found.observations);
        whole += mean / 200.0;
        kept += found.mean / 200.0;
        empty.push(run(replication, 0.0).1.observations);
    }
    cuts.sort_unstable();
    empty.sort_unstable();
    println!("cut: {} to {} to {}; mean {whole:.3}, kept {kept:.3}", cuts[0], cuts[100], cuts[199]);
    assert!((150..=300).contains(&cuts[100]), "median {}", cuts[100]);
    assert!(cuts[0] >= 80, "the queue was still half full at {}", cuts[0]);
    // 200 customers wait 100 on average: 4 of the mean of 5000.
    assert!(whole - 2.0 > 3.0 && (kept - 2.0).abs() < 0.05 * (whole - 2.0), "{whole} and {kept}");
    assert!(empty[100] <= 60, "ten relaxation times: {}", empty[100]);
}

const MM1: &str = "name = \"queue\"\nservice.mode = \"edge-only\"\nquality.source = \"none\"\nradio.sharing = \"ideal\"
radio.downlink_latency_ms = 0.0\noutput.sample_interval_s = 0.0\n[[ue]]\nname = \"source\"\n";

/// M/M/1 at ρ = 0.9 from empty, one minute of arrivals at 9/s, with and without 300 s in front of it (eight relaxation
/// times of 1/(√μ - √λ)² = 38 s). Σ (T - E T) over the arrivals of the minute has the mean 0 in equilibrium, and the
/// edge is busy for 0.9 of it.
#[test]
fn a_warm_up_takes_the_bias_of_an_empty_start_away() {
    let pool = evaluation_pool(1).unwrap();
    let column = |name: &str| Figures::columns().iter().position(|column| column.name == name).unwrap();
    let [completed, mean, busy, ue] = ["completed", "e2e_mean_s", "edge_utilisation", "ue_utilisation"].map(column);
    let estimate = |warmup_s: f64| {
        let times = format!("duration_s = {}\nwarmup_s = {warmup_s}\n", warmup_s + 60.0);
        let edge =
            "workload = { rate_per_s = 9.0 }\n[edge]\nservice_time = { law = \"exponential\", mean_ms = 100.0 }\n";
        let discipline = "discipline = \"fifo\"\n";
        let assembly = Arc::new(assembly(&format!("{times}{MM1}{edge}{discipline}")));
        let (mut sums, mut shares) = (Vec::new(), Vec::new());
        for replication in 0..REPLICATIONS {
            let job = Job { assembly: assembly.clone(), seed: 5, replication, command: String::new() };
            let figures = job.run_in_memory(&pool, &Interrupt::default(), &mut |_| {}).unwrap().figures;
            let number = |place: usize| figures.all[place].parse::<f64>().unwrap();
            sums.push(number(completed) * (number(mean) - 1.0));
            shares.push(number(busy));
            assert_eq!(number(ue), 0.0, "nothing runs on the UE");
        }
        [sums, shares].map(|values| mean_interval(&values, 1.0 - ALPHA).unwrap())
    };
    let ([cold, cold_busy], [warm, warm_busy]) = (estimate(0.0), estimate(300.0));
    println!("cold {cold:?} {cold_busy:?}\nwarm {warm:?} {warm_busy:?}");
    assert!(cold.high() < 0.0 && cold_busy.high() < 0.9, "without a warm-up both are too low");
    assert!(warm.covers(0.0) && warm_busy.covers(0.9), "with one they are right");
}

/// The columns, from requests.csv by their definitions; and the note, where the warm-up is too short.
#[test]
fn a_run_says_what_its_warm_up_should_have_been() {
    // 300 prompts within a second, 30 s of work, then five per second for 600 s: ρ = 0.5.
    let times = (0..300).map(|i| f64::from(i) / 300.0).chain((0..3000).map(|i| 1.0 + 0.2 * f64::from(i)));
    let trace: Vec<String> = times.map(|time| format!("{time},16")).collect();
    let run = |warmup_s: &str| {
        let place = Place::with(&format!(
            "duration_s = 700.0\nwarmup_s = {warmup_s}\n{MM1}workload = {{ kind = \"trace\", path = \"t.csv\" }}
queue_capacity = 1000\n[edge]\ndiscipline = \"fifo\"\nservice_time = {{ law = \"exponential\", mean_ms = 100.0 }}\n"
        ));
        place.write("t.csv", format!("arrival_s,prompt_tokens\n{}\n", trace.join("\n")));
        let done = place.splitwave(&["run", "s.toml"]);
        done.says(0, &[]);
        (done, place.finished("results/queue").remove(0), place)
    };
    let (done, folder, _place) = run("0.0");
    let (_, rows) = csv_rows(&folder.join("requests.csv"));
    let number = |row: &std::collections::BTreeMap<String, String>, key: &str| row[key].parse::<f64>().unwrap();
    let e2e: Vec<f64> = rows.iter().map(|row| number(row, "e2e_s")).collect();
    assert_eq!(e2e.len(), 3300);
    let all = summary_of_all(&folder);
    // 3300 in batches of 128: 25 of them.
    let means: Vec<f64> = e2e.chunks_exact(128).map(|batch| batch.iter().sum::<f64>() / 128.0).collect();
    let half_width = mean_interval(&means, 0.95).unwrap().half_width;
    assert!((number(&all, "e2e_mean_half_width_s") / half_width - 1.0).abs() < 1e-9);
    let (cut, rest) = mser5(&e2e).unwrap();
    assert_eq!(all["mser5_truncation_s"], rows[cut]["arrival_s"]);
    // The queue is empty after about 60 s: 300 requests of the burst and 300 more.
    assert!((400..=900).contains(&cut), "{cut}");
    let before = number(&all, "mser5_truncation_s");
    let note = format!(
        "queue #0: note: MSER-5 suggests leaving out the first {cut} requests (arrivals before about {before:.1} s); warmup_s is 0; the mean end-to-end time of the rest is {rest:.4} s"
    );
    done.says(0, &[&note]);
    assert!(done.err.contains("e2e_mean_half_width_s is too small"), "batches that fall with the queue: {}", done.err);
    assert!(manifest(&folder)["remarks"].to_string().contains(&format!("the first {cut} requests")));
    let (_, groups) = csv_rows(&folder.join("summary.csv"));
    assert_eq!(groups[0]["e2e_mean_half_width_s"], "", "a UE has none");
    assert_eq!(groups[1]["e2e_mean_half_width_s"], all["e2e_mean_half_width_s"], "the one group is all");
    assert_eq!(groups[1]["mser5_truncation_s"], "", "only for all");

    let enough = format!("{}", before.ceil() + 1.0);
    let (done, folder, _place) = run(&format!("{enough}.0"));
    assert!(!done.err.contains("MSER-5"), "{}", done.err);
    assert_eq!(summary_of_all(&folder)["mser5_truncation_s"], all["mser5_truncation_s"], "whatever the warm-up");
    assert!(number(&summary_of_all(&folder), "e2e_mean_half_width_s") < 0.2 * half_width);
}

/// MSER-5 by its definition: the observations left out, and the mean of the rest.
fn mser5(values: &[f64]) -> Option<(usize, f64)> {
    let means: Vec<f64> = values.chunks_exact(5).map(|batch| batch.iter().sum::<f64>() / 5.0).collect();
    let statistic = |d: usize| {
        let rest = &means[d..];
        let mean = rest.iter().sum::<f64>() / rest.len() as f64;
        (rest.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (rest.len() as f64).powi(2), mean)
    };
    let half = means.len() / 2;
    let best = (0..=half).min_by(|&a, &b| statistic(a).0.total_cmp(&statistic(b).0))?;
    (best < half).then(|| (5 * best, statistic(best).1))
}

/// `scenarios/queueing_mm1.toml`, shortened.
fn queueing(place: &Place, arguments: &[&str]) -> Done {
    let file = project().join("scenarios/queueing_mm1.toml");
    let short = ["run", file.to_str().unwrap(), "--set", "duration_s=1100", "--set", "warmup_s=100"];
    place.splitwave(&[&short, arguments].concat())
}

fn ids(runs: &[PathBuf]) -> Vec<&std::ffi::OsStr> {
    runs.iter().map(|run| run.file_name().unwrap()).collect()
}

fn e2e_mean(run: &Path) -> f64 {
    summary_of_all(run)["e2e_mean_s"].parse().unwrap()
}

/// The half width of the 95 % interval over replications, by another Student's t.
fn half_width(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let t = StudentsT::new(0.0, 1.0, n - 1.0).unwrap().inverse_cdf(0.975);
    (mean, t * (variance / n).sqrt())
}

#[test]
fn replications_go_on_until_the_mean_is_known() {
    let goal = "replications={ until = \"e2e_mean within 5%\", max = 50 }";
    let place = Place::new();
    let one = queueing(&place, &["--set", goal, "-o", "one", "--threads", "1"]);
    one.says(0, &["queueing-mm1: e2e_mean_s ±", "after 3 replications; 2 more of at most 50"]);
    let runs = place.finished("one/queueing-mm1");
    let means: Vec<f64> = runs.iter().map(|run| e2e_mean(run)).collect();
    let precise = |n: usize| {
        let (mean, half_width) = half_width(&means[..n]);
        half_width <= 0.05 * mean
    };
    let looks = [3, 5, 8, 12, 18, 27, 41, 50];
    let stop = looks.into_iter().find(|&n| n >= means.len() || precise(n)).unwrap();
    assert!(stop > 3 && stop < 50, "the test wants a rule that looks more than once: {stop}");
    assert_eq!(means.len(), stop, "it stops at the first look that is precise enough");
    assert!(precise(stop));
    let (mean, width) = half_width(&means);
    one.says(0, &[&format!("after {stop} replications: within 5 %")]);
    // The table: the means and their half widths, in ms.
    let row = |start: &str| -> Vec<String> {
        let line = one.out.lines().find(|line| line.starts_with(start));
        let line = line.unwrap_or_else(|| panic!("no `{start}`:\n{}", one.out));
        line[start.len()..].split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row(&format!("queueing-mm1 mean of {stop}"))[7], format!("{:.1}", mean * 1e3));
    assert_eq!(row("± 95 %")[6], format!("{:.1}", width * 1e3));
    assert!(one.out.contains("mean of N replications, ± 95 % by Student's t"), "{}", one.out);

    // However many threads there are.
    let two = queueing(&place, &["--set", goal, "-o", "two", "--threads", "2"]);
    two.says(0, &[&format!("after {stop} replications: within 5 %")]);
    let others = place.finished("two/queueing-mm1");
    assert_eq!(ids(&others), ids(&runs));
    assert!(runs.iter().zip(&others).all(|(a, b)| records(a) == records(b)));
    assert_eq!(place.hidden("two/queueing-mm1"), Vec::<PathBuf>::new(), "nothing was run beyond");

    // Runs that are there count, whether the rule or a number made them; a number takes the goal's place.
    let again = queueing(&place, &["--set", goal, "-o", "one"]);
    assert_eq!(again.err.matches("already there, skipped").count(), stop, "{}", again.err);
    again.says(0, &[&format!("after {stop} replications: within 5 %")]);
    assert_eq!(place.finished("one/queueing-mm1").len(), stop);
    queueing(&place, &["--set", goal, "-o", "four", "--replications", "4", "--quiet"]).says(0, &[]);
    let four = place.finished("four/queueing-mm1");
    assert_eq!(ids(&four), ids(&runs[..4]), "the goal is no part of the run ids");
    assert!(manifest(&four[0])["command"].as_str().unwrap().contains("--replications 4"));
    assert!(!manifest(&runs[0])["command"].as_str().unwrap().contains("--replications"));
    queueing(&place, &["--set", goal, "-o", "four", "--quiet"]).says(0, &[]);
    assert_eq!(ids(&place.finished("four/queueing-mm1")), ids(&runs), "it goes on from where it is");
}

#[test]
fn a_goal_out_of_reach_ends_at_max_with_a_note() {
    let place = Place::new();
    let goal = "replications={ until = \"e2e_mean_s within 0.1%\", max = 4, min = 2, confidence = 0.9 }";
    let done = queueing(&place, &["--set", goal, "--set", "duration_s=300"]);
    let runs = place.finished("results/queueing-mm1");
    assert_eq!(runs.len(), 4);
    let means: Vec<f64> = runs.iter().map(|run| e2e_mean(run)).collect();
    let interval = mean_interval(&means, 0.9).unwrap();
    let percent = interval.half_width / interval.mean * 100.0;
    let start = format!("queueing-mm1: note: e2e_mean_s ±{}", percent.floor());
    done.says(
        0,
        &["after 2 replications; 1 more of at most 4", &start, "90 %) after 4 replications: not within 0.1 %"],
    );
    assert!(done.out.contains("queueing-mm1 mean of 4"), "{}", done.out);

    // An absolute width in the column's unit; a figure that no run has.
    let goal = "replications={ until = \"e2e_mean within 10\", max = 9 }";
    let done = queueing(&place, &["--set", goal, "--set", "duration_s=300"]);
    done.says(0, &["after 3 replications: within 10"]);
    let goal = "replications={ until = \"corpus_ppl within 10%\", max = 9 }";
    let done = queueing(&place, &["--set", goal, "--set", "duration_s=300"]);
    done.says(0, &["note: no corpus_ppl in 3 replications"]);
}

#[test]
fn goals_that_make_no_sense_are_refused_at_their_place() {
    let long = "replications = { until = \"e2e_maen within 5%\", max = 5 }";
    for (line, said) in [
        (long, ["no column `e2e_maen`", "s.toml:2:26", "did you mean `e2e_mean`?"]),
        ("replications = { until = \"e2e_mean within 0%\", max = 5 }", ["out of range", "s.toml:2:26", "above 0 %"]),
        ("replications = { until = \"e2e_mean within -1\", max = 5 }", ["out of range", "s.toml:2:26", "above 0"]),
        ("replications = { until = \"soon\", max = 5 }", ["no goal", "s.toml:2:26", "<column> within <x>%"]),
        ("replications = { until = 5, max = 5 }", ["must be a string", "s.toml:2:26", "string"]),
        ("replications = { until = \"e2e_mean within 5%\" }", ["missing key `max`", "s.toml:2", "add `max"]),
        (
            "replications = { until = \"e2e_mean within 5%\", max = 5, min = 6 }",
            ["fewer", "s.toml:2:54", "6 to 100000"],
        ),
        (
            "replications = { until = \"e2e_mean within 5%\", max = 100001 }",
            ["out of range", "s.toml:2:54", "[2, 100000]"],
        ),
        (
            "replications = { until = \"e2e_mean within 5%\", max = 5, min = 1 }",
            ["out of range", "s.toml:2:63", "[2, 100000]"],
        ),
        (
            "replications = { until = \"e2e_mean within 5%\", max = 5, confidence = 1 }",
            ["out of range", "s.toml:2:70", "(0, 1)"],
        ),
        ("replications = { until = \"e2e_mean within 5%\", most = 5 }", ["unknown key `most`", "s.toml:2:48", ""]),
        ("replications = 0", ["out of range", "s.toml:2:16", "[1, 100000]"]),
        ("replications = 100001", ["out of range", "s.toml:2:16", "[1, 100000]"]),
        ("replications = \"many\"", ["must be", "s.toml:2:16", "integer in [1, 100000]"]),
        ("replications = 1.5", ["must be", "s.toml:2:16", "integer in [1, 100000]"]),
    ] {
        let place = Place::with(&format!("name = \"a\"\n{line}\n"));
        place.splitwave(&["run", "s.toml"]).says(2, &said);
        assert!(!place.path("results").exists(), "{line}: something was written");
    }
    let place = Place::with("name = \"a\"\nquality.source = \"none\"\n");
    let set = "replications={ until = \"e2e_mean within nothing\", max = 5 }";
    place.splitwave(&["run", "s.toml", "--set", set]).says(2, &["`nothing` is no number", "--set #1"]);
    let set = "replications={ until = \"e2e_mean within 5%\", max = 9 }";
    let valid = place.splitwave(&["validate", "s.toml", "--set", set]);
    assert!(valid.out.contains("replications: 3 to 9 until e2e_mean within 5%"), "{valid:?}");
}

#[test]
fn a_study_needs_a_fixed_number() {
    let base = "name = \"a\"\nquality.source = \"none\"\nreplications = { until = \"e2e_mean within 5%\", max = 5 }\n";
    let place = Place::with(base);
    let study = "name = \"p\"\nbase = \"s.toml\"\n[axes]\n\"split.initial\" = [1, 2]\n";
    place.write("study.toml", study);
    place.splitwave(&["study", "plan", "study.toml"]).says(
        2,
        &[
            "a study needs a fixed number of replications",
            "s.toml:3:16",
            "set `replications` at the top of the study file",
        ],
    );
    place.write("study.toml", format!("replications = 2\n{study}"));
    let plan = place.splitwave(&["study", "plan", "study.toml"]);
    assert!(plan.out.contains("2 points × 2 replications = 4 runs"), "{plan:?}");
}

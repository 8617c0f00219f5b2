//! Every scenario that comes with the program runs, and says what it promises.

use std::fs;
use std::path::{Path, PathBuf};

use splitwave::run::results::verify;

use crate::cli_support::{Place, csv_rows, project, summary_of_all};

/// Requests of a shortened run.
const REQUESTS: u64 = 24;
/// WikiText-2's test split, where the user has put it beside the project.
const WIKITEXT: &str = "../shared/wikitext-2/test.txt";

/// Whether a file is a study: it stands on a base.
pub fn is_study(path: &Path) -> bool {
    fs::read_to_string(path).unwrap().lines().any(|line| line.starts_with("base = "))
}

/// The scenario files below a folder, but for studies.
fn scenarios(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "studies") {
            scenarios(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "toml") && !is_study(&path) {
            into.push(path);
        }
    }
}

fn all_scenarios() -> Vec<PathBuf> {
    let mut paths = Vec::new();
    scenarios(&project().join("scenarios"), &mut paths);
    assert!(paths.len() >= 6, "{paths:?}");
    paths
}

/// What a scenario needs that only the user has.
fn sets_of(path: &Path) -> Vec<String> {
    if path.file_stem().is_none_or(|name| name != "wikitext") {
        return Vec::new();
    }
    let text = project().join(WIKITEXT);
    if text.is_file() {
        vec!["--set".into(), format!("model.corpus={}", text.display())]
    } else {
        println!("{}: runs on the built-in corpus, for {} is not there", path.display(), text.display());
        vec!["--set".into(), "model.corpus=builtin".into()]
    }
}

#[test]
fn every_scenario_is_valid_and_runs() {
    for path in all_scenarios() {
        let place = Place::new();
        let file = path.to_str().unwrap();
        let needed = sets_of(&path);
        let needed: Vec<&str> = needed.iter().map(String::as_str).collect();
        let valid = place.splitwave(&[&["validate", file], &needed[..]].concat());
        assert_eq!(valid.code, Some(0), "{file}: {}", valid.err);
        assert!(!valid.err.contains("error"), "{file}: {}", valid.err);

        let requests = format!("stop.requests={REQUESTS}");
        let mut shorter = vec!["run", file, "--set", &requests, "--set", "warmup_s=0", "--replications", "1"];
        if fs::read_to_string(&path).unwrap().contains("[evaluation]") {
            shorter.extend(["--set", "evaluation.episodes=4"]);
        }
        let done = place.splitwave(&[&shorter[..], &needed].concat());
        assert_eq!(done.code, Some(0), "{file}: {}", done.err);

        let name = fs::read_dir(place.path("results")).unwrap().next().unwrap().unwrap().file_name();
        let runs = place.finished(&format!("results/{}", name.to_str().unwrap()));
        let all = summary_of_all(&runs[0]);
        assert_eq!(all["arrivals"], REQUESTS.to_string(), "{file}");
        assert!(all["completed"].parse::<u64>().unwrap() > REQUESTS / 2, "{file}: {all:?}");
        let files: Vec<String> = verify(&runs[0]).unwrap().into_iter().map(|seal| seal.name).collect();
        assert!(files.iter().any(|file| file == "summary.csv"));
        if files.iter().any(|file| file == "requests.csv") {
            let (_, rows) = csv_rows(&runs[0].join("requests.csv"));
            assert_eq!(rows.len() as u64, REQUESTS, "{file}");
        }
    }
}

/// The commands in a scenario's own header are commands that work.
#[test]
fn the_commands_in_the_headers_are_valid() {
    let place = Place::new();
    let mut tried = 0;
    for path in all_scenarios() {
        let text = fs::read_to_string(&path).unwrap();
        let commands = text.lines().filter_map(|line| line.strip_prefix("#")?.trim().strip_prefix("splitwave run "));
        for command in commands.filter(|command| !command.contains("path/to/")) {
            let words: Vec<&str> = command.split(" -o ").next().unwrap().split_whitespace().collect();
            let rest =
                command.split_once(" -o ").and_then(|(_, rest)| rest.split_once(' ')).map_or("", |(_, rest)| rest);
            let line = format!("cd '{}' && splitwave validate {} {rest}", project().display(), words.join(" "));
            let done = place.shell(&line);
            assert_eq!(done.code, Some(0), "{}: {command}: {}", path.display(), done.err);
            tried += 1;
        }
        assert!(text.contains("splitwave run scenarios/"), "{} doesn't say how it is run", path.display());
    }
    assert!(tried >= 6, "{tried} commands");
}

/// M/M/1 at ρ = 0.8. The mean number in the system over T seconds has a variance of about
/// 2ρ(1 + ρ)/((1 - ρ)⁴μT) (Whitt, Management Science 35(11), 1989): a standard error of 1.1 % here.
#[test]
fn the_queue_of_theory_meets_theory() {
    let place = Place::new();
    let file = project().join("scenarios/queueing_mm1.toml");
    let done = place.splitwave(&["run", file.to_str().unwrap()]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("M/M/1 with λ = 8.0000/s, μ = 10.0000/s"), "{}", done.out);
    let all = summary_of_all(&place.finished("results/queueing-mm1")[0]);
    let value = |column: &str| all[column].parse::<f64>().unwrap();
    let (arrival_rate, service_rate): (f64, f64) = (8.0, 10.0);
    let sojourn = 1.0 / (service_rate - arrival_rate);
    for (column, theory, tolerance) in [
        ("edge_utilisation", arrival_rate / service_rate, 0.01),
        ("throughput_rps", arrival_rate, 0.01),
        ("edge_compute_mean_s", 1.0 / service_rate, 0.01),
        ("edge_wait_mean_s", sojourn - 1.0 / service_rate, 0.05),
        ("e2e_mean_s", sojourn, 0.05),
        ("e2e_median_s", 2f64.ln() * sojourn, 0.05),
        ("e2e_p95_s", 20f64.ln() * sojourn, 0.06),
        ("e2e_p99_s", 100f64.ln() * sojourn, 0.10),
    ] {
        let error = value(column) / theory - 1.0;
        assert!(error.abs() < tolerance, "{column}: {} against {theory}: {error:+.4}", value(column));
    }
    assert_eq!(all["arrivals"], all["completed"]);
}

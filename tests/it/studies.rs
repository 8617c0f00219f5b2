//! The studies that come with the program can be planned and run, and their headers say how.

use std::fs;
use std::path::PathBuf;

use crate::cli_support::{Place, project};
use crate::scenarios::is_study;

fn studies() -> Vec<PathBuf> {
    let entries = ["scenarios/studies", "scenarios/hybrid"].map(|folder| fs::read_dir(project().join(folder)).unwrap());
    let mut paths: Vec<PathBuf> = entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| is_study(path));
    paths.sort();
    assert!(paths.len() >= 8, "{paths:?}");
    paths
}

/// The value of a study file's `name`.
fn name_of(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("name = ")).unwrap().trim_matches('"')
}

#[test]
fn every_study_is_planned_and_begun() {
    for path in studies() {
        let place = Place::new();
        let file = path.to_str().unwrap();
        let plan = place.splitwave(&["study", "plan", file, "--json", "--no-probe"]);
        assert_eq!(plan.code, Some(0), "{file}: {}", plan.err);
        // Four runs of it, spread over its points.
        let runs = plan.out.matches("\"replication\"").count();
        assert!(runs >= 100, "{file}: {runs} runs");
        let shard = format!("1/{}", runs.div_ceil(4));
        let done = place.splitwave(&["study", "run", file, "--shard", &shard]);
        assert_eq!(done.code, Some(0), "{file}: {}", done.err);
        let ended = format!("{} done now, 0 failed, 0 left", runs.div_ceil(runs.div_ceil(4)));
        assert!(done.err.contains(&ended) || done.out.contains(&ended), "{file}: {done:?}");
    }
}

/// Run, collect, and a picture that is in docs/pictures under the name that the command gives it.
#[test]
fn the_headers_say_how() {
    for path in studies() {
        let text = fs::read_to_string(&path).unwrap();
        let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
        let file = path.strip_prefix(project()).unwrap();
        let [run, collect, draw] = commands[..] else { panic!("{}: {commands:?}", path.display()) };
        assert_eq!(run, format!("splitwave study run {}", file.display()));
        assert!(collect.starts_with(&format!("splitwave study collect {}", file.display())), "{collect}");
        let results = format!("results/studies/{} ", name_of(&text));
        let script = draw.strip_prefix("python analysis/").and_then(|rest| rest.split_once(".py "));
        let (script, rest) = script.unwrap_or_else(|| panic!("{draw}"));
        assert!(["study_report", "fig8", "hybrid_report"].contains(&script) && rest.starts_with(&results), "{draw}");
        // A script whose pictures have names of their own says which one it draws.
        let picture = match draw.rsplit_once("--name ") {
            Some((_, name)) => name.to_owned(),
            None => format!("hybrid_{}", draw.split_once("--pictures ").unwrap().1.split(' ').next().unwrap()),
        };
        assert!(project().join(format!("docs/pictures/{picture}.png")).exists(), "{picture}");
    }
}

//! Small studies, and what their files of attempts say.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::path::Path;

use splitwave::study::attempts::{Attempts, Entry, Status};

use crate::cli_support::{Done, Place};

/// Runs of a few milliseconds.
pub const BASE: &str = r#"name = "tiny"
seed = 3
duration_s = 5.0
replications = 2
[quality]
source = "none"
[controller]
kind = "random"
[channel]
loss_probability = { min = 0.0, max = 0.3, draw = "per-episode" }
doppler_hz = 200.0
[[ue]]
name = "phone"
count = 3
workload = { rate_per_s = 0.5, prompt_tokens = 16 }
[[ue]]
name = "watch"
count = 1
workload = { rate_per_s = 0.2, prompt_tokens = 8 }
"#;

/// Six points of two replications over [`BASE`].
pub const GRID: &str = r#"name = "grid"
base = "s.toml"
[axes]
"split.initial" = [1, 2, 3]
"radio.bandwidth_mhz" = [5.0, 10.0]
"#;

/// Where the attempts of [`GRID`] are by default.
pub const ATTEMPTS: &str = "results/studies/grid/attempts";

/// A place with a base scenario and a study of it, `study.toml`.
pub fn place(base: &str, study: &str) -> Place {
    let place = Place::with(base);
    place.write("study.toml", study);
    place
}

/// `splitwave study run study.toml ARGUMENTS` there.
pub fn study_run(place: &Place, arguments: &[&str]) -> Done {
    place.splitwave(&[&["study", "run", "study.toml"], arguments].concat())
}

/// What the files of attempts in a folder say; no line of them is damaged.
pub fn attempts(folder: &Path) -> Vec<Entry> {
    let attempts = Attempts::read(folder).unwrap();
    assert_eq!(attempts.defects, []);
    attempts.entries.into_iter().map(|(_, entry)| entry).collect()
}

/// What a run came to, of all UEs and by group.
pub type Cells = (Vec<String>, Vec<(String, Vec<String>)>);

/// The figures of the runs that are done, by run id. Those of a run that was done twice are the same.
pub fn figures(entries: &[Entry]) -> BTreeMap<String, Cells> {
    let mut figures = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.status == Status::Done) {
        let cells = (entry.figures.clone(), entry.groups.clone());
        let earlier = figures.insert(entry.run_id.clone(), cells.clone());
        assert!(earlier.is_none_or(|earlier| earlier == cells), "run {} has two results", entry.run_id);
    }
    figures
}

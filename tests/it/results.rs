//! Result folders, run ids, manifests and signals, in friendly and hostile places.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use serde_json::{Value, json};
use splitwave::network::rows::SeriesRow;
use splitwave::record::{CsvFile, FileSeal};
use splitwave::run::identity::{RunIdentity, without_defaults};
use splitwave::run::manifest::Manifest;
use splitwave::run::results::{Attempt, Opened, ResultFolder, ResultsError, verify};
use splitwave::units::SimTime;

const RUN: &str = "00c0ffee00c0ffee";

fn open(out: &Path, required: &[&str], force: bool) -> Opened {
    ResultFolder::open(out, "quickstart", RUN, required, force).unwrap()
}

fn fresh(out: &Path, force: bool) -> Attempt {
    match open(out, &["series.csv"], force) {
        Opened::Fresh(attempt) => attempt,
        Opened::Finished { path } => panic!("{} is there", path.display()),
    }
}

fn series(attempt: &Attempt, rows: u64) -> FileSeal {
    let mut file = CsvFile::create::<SeriesRow>(attempt.path()).unwrap();
    for row in 0..rows {
        file.push(&SeriesRow {
            time_s: SimTime::from_nanos(row * 500_000_000),
            edge_queue: 0,
            edge_busy: 1,
            uplink_active: 2,
            ue_queue_mean: 0.5,
            requests_completed: row,
        })
        .unwrap();
    }
    file.finish().unwrap()
}

fn manifest(files: Vec<FileSeal>) -> Manifest {
    let scenario = json!({"name": "quickstart", "warmup_s": 2.0});
    let mut manifest = Manifest::start(scenario, RUN.to_owned(), 7, 2, "splitwave run quickstart.toml".to_owned());
    manifest.counts.insert("events".to_owned(), 12);
    manifest.complete(files)
}

fn finished(out: &Path) -> PathBuf {
    let attempt = fresh(out, false);
    let files = vec![series(&attempt, 3)];
    let run = attempt.finish(&manifest(files)).unwrap();
    assert!(run.ours);
    run.path
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_run_appears_whole_and_is_skipped_the_next_time() {
    let out = tempfile::tempdir().unwrap();
    let attempt = fresh(out.path(), false);
    assert!(attempt.path().file_name().unwrap().to_str().unwrap().starts_with(&format!(".{RUN}.")));
    let path = out.path().join("quickstart").join(RUN);
    let files = vec![series(&attempt, 3)];
    assert!(!path.exists());
    assert_eq!(attempt.finish(&manifest(files.clone())).unwrap().path, path);
    assert_eq!(names(&out.path().join("quickstart")), [RUN]);
    assert_eq!(names(&path), ["manifest.json", "series.csv"]);
    assert_eq!(verify(&path).unwrap(), files);
    assert!(matches!(open(out.path(), &["series.csv"], false), Opened::Finished { path: found } if found == path));

    let read: Value = serde_json::from_slice(&fs::read(path.join("manifest.json")).unwrap()).unwrap();
    assert_eq!((&read["scenario"]["name"], &read["scenario"]["warmup_s"]), (&json!("quickstart"), &json!(2.0)));
    assert_eq!((&read["run_id"], &read["seed"], &read["replication"]), (&json!(RUN), &json!(7), &json!(2)));
    assert_eq!((&read["version"], &read["results_version"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(5)));
    assert_eq!((&read["schema_version"], &read["counts"]["events"]), (&json!(1), &json!(12)));
    assert_eq!(read["files"][0]["bytes"], json!(files[0].bytes));
    for key in ["commit", "dirty", "host", "threads", "instruction_set", "wall_s", "started_at", "command", "inputs"] {
        assert!(read.get(key).is_some(), "{key}");
    }
}

#[test]
fn a_run_with_fewer_files_is_run_again_and_moved_aside() {
    let out = tempfile::tempdir().unwrap();
    let path = finished(out.path());
    let Opened::Fresh(attempt) = open(out.path(), &["series.csv", "requests.csv"], false) else {
        panic!("no requests")
    };
    let requests = CsvFile::create::<splitwave::network::rows::RequestRow<'_>>(attempt.path()).unwrap();
    let files = vec![requests.finish().unwrap(), series(&attempt, 3)];
    assert!(attempt.finish(&manifest(files)).unwrap().ours);
    assert_eq!(names(&path), ["manifest.json", "requests.csv", "series.csv"]);
    assert_eq!(names(path.parent().unwrap()), [format!(".{RUN}.old-1"), RUN.to_owned()]);
}

#[test]
fn force_moves_the_old_run_aside() {
    let out = tempfile::tempdir().unwrap();
    let path = finished(out.path());
    for k in 1..=2 {
        let attempt = fresh(out.path(), true);
        assert!(!path.exists());
        let files = vec![series(&attempt, 3 + k)];
        attempt.finish(&manifest(files)).unwrap();
        assert_eq!(verify(&path).unwrap()[0].rows, 3 + k);
        assert_eq!(verify(&path.with_file_name(format!(".{RUN}.old-{k}"))).unwrap()[0].rows, 2 + k);
    }
}

#[test]
fn attempts_race_and_one_run_comes_of_it() {
    let out = tempfile::tempdir().unwrap();
    let barrier = Barrier::new(8);
    let runs: Vec<_> = std::thread::scope(|scope| {
        let attempts: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let attempt = fresh(out.path(), false);
                    let files = vec![series(&attempt, 200)];
                    barrier.wait();
                    attempt.finish(&manifest(files)).unwrap()
                })
            })
            .collect();
        attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect()
    });
    assert_eq!(runs.iter().filter(|run| run.ours).count(), 1);
    assert!(runs.iter().all(|run| run.path == runs[0].path));
    assert_eq!(verify(&runs[0].path).unwrap()[0].rows, 200);
    assert_eq!(names(&out.path().join("quickstart")), [RUN]);
}

#[test]
fn another_result_of_the_same_run_is_an_error() {
    let out = tempfile::tempdir().unwrap();
    let (first, second) = (fresh(out.path(), false), fresh(out.path(), false));
    assert_ne!(first.path(), second.path());
    let files = vec![series(&first, 3)];
    let path = first.finish(&manifest(files)).unwrap().path;
    let (left, files) = (second.path().to_owned(), vec![series(&second, 4)]);
    let error = second.finish(&manifest(files)).unwrap_err();
    assert!(matches!(&error, ResultsError::Differs { file, .. } if file == "series.csv"), "{error}");
    assert!(fs::read_to_string(left.join("interrupted")).unwrap().contains("series.csv"));
    assert_eq!(verify(&path).unwrap()[0].rows, 3);
}

#[test]
fn an_interrupted_attempt_never_passes_for_a_run() {
    let out = tempfile::tempdir().unwrap();
    let attempt = fresh(out.path(), false);
    series(&attempt, 3);
    let at = SimTime::from_nanos(12_500_000_000);
    let left = attempt.interrupt("interrupted by SIGINT", at, "splitwave run quickstart.toml --seed 7").unwrap();
    let marker = fs::read_to_string(left.join("interrupted")).unwrap();
    assert_eq!(
        marker,
        "what: interrupted by SIGINT\nsimulated_time_s: 12.5\nrun again: splitwave run quickstart.toml --seed 7\n"
    );
    assert!(verify(&left).is_err());

    // Even in the place of a run, and with a manifest.
    let alive = fresh(out.path(), false);
    let path = out.path().join("quickstart").join(RUN);
    fs::rename(&left, &path).unwrap();
    fs::write(path.join("manifest.json"), r#"{"files": []}"#).unwrap();
    assert!(matches!(open(out.path(), &[], false), Opened::Fresh(_)));
    let dropped = fresh(out.path(), false);
    let (dead, marked) = (alive.path().to_owned(), dropped.path().to_owned());
    drop(dropped);
    assert!(marked.join("interrupted").is_file());
    let attempt = fresh(out.path(), false);
    let files = vec![series(&attempt, 3)];
    assert!(attempt.finish(&manifest(files)).unwrap().ours);
    assert!(verify(&path).is_ok());
    // The marked one is gone; the one under way isn't touched.
    assert!(!marked.exists() && dead.exists());
}

#[test]
fn a_panic_leaves_a_marker() {
    let out = tempfile::tempdir().unwrap();
    let attempt = fresh(out.path(), false);
    let path = attempt.path().to_owned();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _attempt = attempt;
        std::panic::resume_unwind(Box::new("the model failed"));
    }));
    assert!(result.is_err() && path.join("interrupted").is_file());
}

#[test]
fn damage_is_seen() {
    type Inflict = fn(&Path);
    let damages: [(&str, Inflict); 5] = [
        ("cut manifest", |path| {
            let text = fs::read(path.join("manifest.json")).unwrap();
            fs::write(path.join("manifest.json"), &text[..text.len() / 2]).unwrap();
        }),
        ("no manifest", |path| fs::remove_file(path.join("manifest.json")).unwrap()),
        ("cut file", |path| {
            fs::File::options().write(true).open(path.join("series.csv")).unwrap().set_len(40).unwrap();
        }),
        ("no file", |path| fs::remove_file(path.join("series.csv")).unwrap()),
        ("a file from elsewhere", |path| {
            fs::write(path.join("manifest.json"), r#"{"files":[{"name":"../x","rows":0,"bytes":0,"blake3":""}]}"#)
                .unwrap();
        }),
    ];
    for (damage, inflict) in damages {
        let out = tempfile::tempdir().unwrap();
        let path = finished(out.path());
        inflict(&path);
        assert!(matches!(verify(&path), Err(ResultsError::Damaged { .. })), "{damage}");
        let attempt = fresh(out.path(), false);
        let files = vec![series(&attempt, 3)];
        assert!(attempt.finish(&manifest(files)).unwrap().ours, "{damage}");
        assert!(verify(&path).is_ok(), "{damage}");
        assert!(path.with_file_name(format!(".{RUN}.old-1")).is_dir(), "{damage}");
    }
    // A changed byte keeps the length: only the hash tells.
    let out = tempfile::tempdir().unwrap();
    let path = finished(out.path());
    let text = fs::read_to_string(path.join("series.csv")).unwrap().replace("0.5,0\n", "0.6,0\n");
    fs::write(path.join("series.csv"), text).unwrap();
    assert!(matches!(open(out.path(), &["series.csv"], false), Opened::Finished { .. }));
    assert!(verify(&path).unwrap_err().to_string().contains("hash"));
}

#[test]
fn names_stay_within_the_output_folder() {
    let out = tempfile::tempdir().unwrap();
    let long = "x".repeat(129);
    for name in ["", ".", "..", "../x", "a/b", "/etc", "a b", "a\\b", "ü", "a\n", ".hidden", long.as_str()] {
        for (scenario, run) in [(name, RUN), ("quickstart", name)] {
            let error = ResultFolder::open(out.path(), scenario, run, &[], false).unwrap_err();
            assert!(matches!(error, ResultsError::Name { .. }), "{name}: {error}");
        }
    }
    assert_eq!(names(out.path()), [""; 0]);
}

#[cfg(unix)]
#[test]
fn links_out_of_the_output_folder_are_refused() {
    use std::os::unix::fs::symlink;
    let (out, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(elsewhere.path(), out.path().join("quickstart")).unwrap();
    let error = ResultFolder::open(out.path(), "quickstart", RUN, &[], false).unwrap_err();
    assert!(matches!(error, ResultsError::Outside { .. }), "{error}");
    fs::create_dir(out.path().join("other")).unwrap();
    symlink(elsewhere.path(), out.path().join("other").join(RUN)).unwrap();
    let error = ResultFolder::open(out.path(), "other", RUN, &[], false).unwrap_err();
    assert!(matches!(error, ResultsError::Outside { .. }), "{error}");
    symlink("nowhere", out.path().join("dangling")).unwrap();
    assert!(ResultFolder::open(out.path(), "dangling", RUN, &[], false).is_err());
    assert_eq!(names(elsewhere.path()), [""; 0]);
    // The output folder itself may be a link.
    symlink(elsewhere.path(), out.path().join("results")).unwrap();
    assert!(matches!(ResultFolder::open(&out.path().join("results"), "a", RUN, &[], false), Ok(Opened::Fresh(_))));
}

#[test]
fn files_in_the_way_and_folders_that_refuse() {
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("file"), "").unwrap();
    fs::write(out.path().join("quickstart"), "").unwrap();
    fs::create_dir(out.path().join("there")).unwrap();
    fs::write(out.path().join("there").join(RUN), "").unwrap();
    let file = out.path().join("file");
    for (folder, name) in [(file.as_path(), "a"), (&file.join("below"), "a"), (out.path(), "quickstart")] {
        let error = ResultFolder::open(folder, name, RUN, &[], false).unwrap_err();
        assert!(error.to_string().starts_with(out.path().to_str().unwrap()), "{error}");
        assert!(error.hint().contains("in the way"), "{error}: {}", error.hint());
    }
    let error = ResultFolder::open(out.path(), "there", RUN, &[], false).unwrap_err();
    assert!(matches!(error, ResultsError::InTheWay { .. }), "{error}");
    assert!(matches!(ResultFolder::open(out.path(), "there", RUN, &[], true), Ok(Opened::Fresh(_))));
    if cfg!(target_os = "linux") {
        let error = ResultFolder::open(Path::new("/proc/results"), "a", RUN, &[], false).unwrap_err();
        assert!(error.hint().contains("--out") && error.to_string().starts_with("/proc/results: "), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_at_the_end_leaves_no_run() {
    let out = tempfile::tempdir().unwrap();
    let attempt = fresh(out.path(), false);
    let (left, files) = (attempt.path().to_owned(), vec![series(&attempt, 3)]);
    std::os::unix::fs::symlink("/dev/full", left.join("manifest.json")).unwrap();
    let error = attempt.finish(&manifest(files)).unwrap_err();
    assert!(error.to_string().starts_with(left.join("manifest.json").to_str().unwrap()), "{error}");
    assert!(error.hint().contains("space"), "{error}");
    assert!(left.join("interrupted").is_file() && !left.with_file_name(RUN).exists());
}

fn run_id(scenario: &Value, inputs: &[(&str, &str)], seed: u64, replication: u32) -> String {
    let defaults = json!({
        "duration_s": 60.0,
        "model": {"source": "builtin", "corpus": "builtin", "cost_as": "llama-2-7b"},
        "split": {"min": 1, "max": "all"},
        "controller": {"moves": [-1, 0, 1]},
        "ue": [{"count": 1, "workload": {"kind": "poisson", "rate_per_s": 0.1}}],
        "stop": null,
        "output": {"requests": true, "sample_interval_s": 1.0},
    });
    let inputs: BTreeMap<String, String> = inputs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    RunIdentity { scenario, defaults: &defaults, inputs: &inputs, seed, replication }.run_id()
}

#[test]
fn what_makes_a_run_another_run() {
    let hashes = [("model.corpus", "aa"), ("model.source", "bb")];
    let id = |scenario: Value| run_id(&scenario, &hashes, 1, 0);
    let base = id(json!({"name": "a", "ue": [{"name": "phone", "count": 20}]}));
    assert_eq!(base.len(), 16);
    assert!(base.bytes().all(|byte| byte.is_ascii_hexdigit()));
    for (what, same) in [
        ("a new name", json!({"name": "b", "ue": [{"name": "phone", "count": 20}]})),
        ("another order", json!({"ue": [{"count": 20, "name": "phone"}], "name": "a"})),
        ("a whole number", json!({"ue": [{"count": 20.0, "name": "phone"}], "duration_s": 60})),
        (
            "output and replications",
            json!({"output": {"requests": false, "sample_interval_s": 1}, "replications": 9, "seed": 4,
            "ue": [{"name": "phone", "count": 20}]}),
        ),
        (
            "defaults spelled out",
            json!({"duration_s": 60.0, "stop": null, "split": {"max": "all", "min": 1},
            "controller": {"moves": [-1, 0, 1]}, "model": {"cost_as": "llama-2-7b"},
            "ue": [{"name": "phone", "count": 20, "workload": {"rate_per_s": 0.1}}]}),
        ),
        (
            "the same corpus elsewhere",
            json!({"model": {"corpus": "/data/x.txt"}, "ue": [{"name": "phone", "count": 20}]}),
        ),
    ] {
        assert_eq!(id(same), base, "{what}");
    }
    for other in [
        json!({"ue": [{"name": "phone", "count": 21}]}),
        json!({"ue": [{"name": "phone", "count": 20}, {}]}),
        json!({"ue": [{"name": "phone", "count": 20, "workload": {"rate_per_s": 0.2}}]}),
        json!({"ue": [{"name": "phone", "count": 20}], "duration_s": 60.5}),
        json!({"ue": [{"name": "phone", "count": 20}], "split": {"max": 4}}),
        json!({"ue": [{"name": "phone", "count": 20}], "controller": {"moves": [-1, 1]}}),
        json!({"ue": [{"name": "phone", "count": 20}], "stop": {"requests": 3}}),
        json!({"ue": [{"name": "phone", "count": 20}], "model": {"cost_as": "self"}}),
        json!({"ue": [{"name": "phone", "count": 20}], "output": {"sample_interval_s": 0.5}}),
    ] {
        assert_ne!(id(other.clone()), base, "{other}");
    }
    let scenario = json!({"ue": [{"name": "phone", "count": 20}]});
    assert_ne!(run_id(&scenario, &hashes, 2, 0), base);
    assert_ne!(run_id(&scenario, &hashes, 1, 1), base);
    assert_ne!(run_id(&scenario, &[("model.corpus", "ab"), ("model.source", "bb")], 1, 0), base);
    assert_ne!(run_id(&scenario, &[("model.corpus", "aa"), ("model.source", "bb"), ("tokenizer", "cc")], 1, 0), base);
}

#[test]
fn defaults_drop_out_at_any_depth() {
    let defaults = json!({"a": {"b": {"c": 1, "d": [1]}}, "list": [{"x": 0}], "empty": {}});
    for (value, rest) in [
        (json!({"a": {"b": {"c": 1.0, "d": [1]}}}), json!({})),
        (json!({"a": {"b": {"c": 2, "d": [1]}}}), json!({"a": {"b": {"c": 2}}})),
        (json!({"a": {"b": {"d": [1, 1]}}}), json!({"a": {"b": {"d": [1, 1]}}})),
        (json!({"list": [{"x": 0}, {"x": 1}, 5]}), json!({"list": [{}, {"x": 1}, 5]})),
        (json!({"list": [{"x": 0}], "empty": {}, "none": null}), json!({})),
        (json!({"a": 3, "new": {}}), json!({"a": 3, "new": {}})),
    ] {
        assert_eq!(without_defaults(&value, &defaults), rest, "{value}");
    }
}

#[test]
fn the_text_behind_a_run_id() {
    let inputs = BTreeMap::from([("ue.0.workload.path".to_owned(), "ff".to_owned())]);
    let scenario =
        json!({"z": 1e300, "name": "n", "b": -0.0, "ue": [{"workload": {"path": "t.csv", "kind": "trace\""}}]});
    let identity =
        RunIdentity { scenario: &scenario, defaults: &json!({}), inputs: &inputs, seed: u64::MAX, replication: 3 };
    assert_eq!(
        identity.canonical(),
        r#"{"replication":3,"results_version":5,"seed":18446744073709551615,"inputs":{"ue.0.workload.path":"ff"},"#
            .to_owned()
            + r#""scenario":{"b":0,"ue":[{"workload":{"kind":"trace\""}}],"z":1e+300}}"#
    );
}

/// A signal ends the process that it is sent to, so it is sent to a child.
#[cfg(unix)]
#[test]
fn the_first_signal_asks_and_the_second_ends() {
    use splitwave::run::signals::Interrupt;
    const SIGNALS: &str = "SPLITWAVE_TEST_SIGNALS";
    if let Ok(count) = std::env::var(SIGNALS) {
        let interrupt = Interrupt::install().unwrap();
        assert!(!interrupt.is_set());
        for _ in 0..count.parse().unwrap() {
            signal_hook::low_level::raise(signal_hook::consts::SIGINT).unwrap();
            assert!(interrupt.clone().is_set());
        }
        return;
    }
    for (count, status) in [("1", 0), ("2", 130)] {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "results::the_first_signal_asks_and_the_second_ends"])
            .env(SIGNALS, count)
            .output()
            .unwrap();
        assert_eq!(child.status.code(), Some(status), "{}", String::from_utf8_lossy(&child.stdout));
    }
    let unasked = Interrupt::new();
    assert!(!unasked.is_set());
    unasked.set();
    assert!(unasked.is_set());
}

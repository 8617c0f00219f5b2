//! Ctrl-C, SIGTERM and SIGKILL in the middle of a run: what is finished stays,
//! what is not never passes for it, and the same command completes the rest with
//! the same bytes.
#![cfg(unix)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

use splitwave::record::FileSeal;
use splitwave::run::results::verify;

use crate::cli_support::{BINARY, Place, manifest, records};

/// Some 100,000 requests in each of three runs, one after the other: about half a second each.
const LONG: &str = r#"name = "long"
duration_s = 100.0
replications = 3
[quality]
source = "none"
[controller]
kind = "random"
[radio]
sharing = "ideal"
[[ue]]
count = 1000
workload = { rate_per_s = 1.0, prompt_tokens = 8 }
[edge]
service_time = { law = "deterministic", mean_ms = 0.1 }
"#;
const COMMAND: [&str; 4] = ["run", "s.toml", "--threads", "1"];
const RESULTS: &str = "results/long";

/// The files of the three runs when nobody interrupts.
fn undisturbed() -> &'static Vec<Vec<FileSeal>> {
    static SEALS: OnceLock<Vec<Vec<FileSeal>>> = OnceLock::new();
    SEALS.get_or_init(|| {
        let place = Place::with(LONG);
        let done = place.splitwave(&[&COMMAND[..], &["--quiet"]].concat());
        assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(0), "", ""));
        place.finished(RESULTS).iter().map(|run| verify(run).unwrap()).collect()
    })
}

/// Waits until `what` is there; looks often, and for two minutes at most.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..60_000 {
        if let Some(found) = look() {
            return found;
        }
        sleep(Duration::from_millis(2));
    }
    panic!("{what} did not come");
}

/// Starts the command, and sends the signal when one run is finished and the second has rows on the disk.
fn interrupted_by(place: &Place, signal: &str) -> Output {
    let mut command = Command::new(BINARY);
    command.args(COMMAND).current_dir(place.path("")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_for("a second run with rows", || {
        let has_rows = |attempt: PathBuf| fs::metadata(attempt.join("requests.csv")).is_ok_and(|file| file.len() > 0);
        let second = !finished(place).is_empty() && place.hidden(RESULTS).into_iter().any(has_rows);
        second.then_some(())
    });
    send(&child, signal);
    child.wait_with_output().unwrap()
}

/// Folders under their final name; reads nothing in them.
fn finished(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.path(RESULTS)).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.')).collect()
}

fn send(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// The finished runs are whole and those that nobody interrupted; at least one is, and not all are.
fn some_are_finished(place: &Place) -> usize {
    let runs = place.finished(RESULTS);
    assert!((1..3).contains(&runs.len()), "{runs:?}");
    for run in &runs {
        let replication = manifest(run)["replication"].as_u64().unwrap() as usize;
        assert_eq!(verify(run).unwrap(), undisturbed()[replication]);
    }
    runs.len()
}

/// The attempt that was under way.
fn attempt(place: &Place) -> PathBuf {
    let [attempt] = &place.hidden(RESULTS)[..] else { panic!("{:?}", place.hidden(RESULTS)) };
    assert!(attempt.extension().is_some_and(|extension| extension == "partial"));
    assert!(!attempt.join("manifest.json").exists());
    assert!(verify(attempt).is_err(), "an attempt passes for a finished run");
    attempt.clone()
}

/// Rows so far: no half of one, and the beginning of what the whole run has.
fn rows_are_whole(attempt: &Path, whole: &Path) {
    let whole = records(whole);
    for (name, content) in records(attempt) {
        let mut reader = csv::Reader::from_reader(&content[..]);
        let rows = reader.records().map(Result::unwrap).count();
        assert!(content.ends_with(b"\n"), "{name} ends within a row");
        if name != "summary.csv" {
            assert!(rows > 0, "{name} has no rows");
            assert!(whole[&name].starts_with(&content), "{name} differs from the whole run's beginning");
        }
    }
}

/// The same command completes, skips what is finished, and gives the bytes of an undisturbed run.
fn completes(place: &Place, were_finished: usize) {
    let done = place.splitwave(&COMMAND);
    done.says(0, &["already there, skipped"]);
    assert_eq!(done.err.matches("skipped").count(), were_finished, "{}", done.err);
    let seals: Vec<_> = place.finished(RESULTS).iter().map(|run| verify(run).unwrap()).collect();
    assert_eq!(&seals, undisturbed());
}

#[test]
fn a_signal_that_asks_leaves_a_marked_attempt() {
    for signal in ["-INT", "-TERM"] {
        let place = Place::with(LONG);
        let output = interrupted_by(&place, signal);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(75), "{signal}: {told}");
        for part in ["error: interrupted at ", " s of simulated time", "hint: finished runs stay", "marked interrupted"]
        {
            assert!(told.contains(part), "{signal}: {told}");
        }
        let were_finished = some_are_finished(&place);
        let attempt = attempt(&place);
        assert!(told.contains(attempt.file_name().unwrap().to_str().unwrap()), "{told}");
        let marker = fs::read_to_string(attempt.join("interrupted")).unwrap();
        assert!(marker.contains("interrupted by a signal") && marker.contains("run again: splitwave run s.toml"));

        // What was written before the signal, kept for the comparison with what the rerun writes.
        let kept = place.path("kept");
        fs::create_dir(&kept).unwrap();
        for (name, content) in records(&attempt) {
            fs::write(kept.join(name), content).unwrap();
        }
        completes(&place, were_finished);
        rows_are_whole(&kept, &place.finished(RESULTS)[were_finished]);
        assert_eq!(place.hidden(RESULTS), [] as [PathBuf; 0], "the attempt is of no use any more");
    }
}

#[test]
fn a_killed_process_leaves_an_attempt_that_never_passes_for_a_run() {
    let place = Place::with(LONG);
    let output = interrupted_by(&place, "-KILL");
    assert_eq!(output.status.signal(), Some(9));
    let were_finished = some_are_finished(&place);
    let attempt = attempt(&place);
    assert!(!attempt.join("interrupted").exists());
    completes(&place, were_finished);
    // Nobody can tell a dead process on another machine from a slow one: its folder stays, hidden.
    assert_eq!(place.hidden(RESULTS), [attempt]);
}

/// With the model in the loop events are rare and evaluations long: the run stops all the same.
#[test]
fn a_run_stops_while_the_model_is_running() {
    let place = Place::with(
        "name = \"long\"\nduration_s = 1e6\nstop = { requests = 20000 }\n[channel]\nnoise_std = 1.0\n\
         [[ue]]\ncount = 20\nworkload = { rate_per_s = 1.0, prompt_tokens = 32 }\n",
    );
    let mut command = Command::new(BINARY);
    command.args(COMMAND).current_dir(place.path("")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_for("rows", || {
        let has_rows = |attempt: PathBuf| fs::metadata(attempt.join("requests.csv")).is_ok_and(|file| file.len() > 0);
        place.hidden(RESULTS).into_iter().any(has_rows).then_some(())
    });
    send(&child, "-TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
    let requests = fs::read_to_string(attempt(&place).join("requests.csv")).unwrap();
    assert!(requests.ends_with('\n') && requests.lines().count() < 20_000);
}

//! `splitwave study run`: what it writes down, in parts, after failures, signals and damage.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use splitwave::record::Figures;
use splitwave::run::results::verify;
use splitwave::study::attempts::Status;

use crate::cli_support::{BINARY, Place, summary_of_all};
use crate::study_support::{ATTEMPTS, BASE, GRID, attempts, figures, place, study_run};

/// Two runs: one of milliseconds, and one of hours.
const ENDLESS: &str = r#"name = "tiny"
duration_s = 1.0
[quality]
source = "none"
[radio]
sharing = "ideal"
[[ue]]
count = 100
workload = { rate_per_s = 100.0, prompt_tokens = 8 }
[edge]
service_time = { law = "deterministic", mean_ms = 0.001 }
"#;
const SHORT_AND_ENDLESS: &str = "name = \"grid\"\nbase = \"s.toml\"\n[axes]\nduration_s = [1.0, 1e6]\n";

/// The cells are the text of `summary.csv`, the ids those of `splitwave run`, and no folder is needed for either.
#[test]
fn figures_are_the_text_of_the_summary() {
    let place = place(BASE, GRID);
    let done = study_run(&place, &["--threads", "2", "--keep", "all"]);
    done.says(0, &["grid: 12 runs\n"]);
    assert!(
        done.out.starts_with("grid: 12 runs, 0 done before, 12 done now, 0 failed, 0 left\nwritten to "),
        "{}",
        done.out
    );
    assert!(done.out.ends_with("\nnext: splitwave study collect study.toml\n"), "{}", done.out);

    let kept = attempts(&place.path(ATTEMPTS));
    assert_eq!(kept.len(), 12);
    for entry in &kept {
        let run = place.path("results/studies/grid/runs/tiny").join(&entry.run_id);
        verify(&run).unwrap();
        let text = fs::read_to_string(run.join("summary.csv")).unwrap();
        let cells = |line: &str| line.split(',').skip(3).map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<&str> = text.lines().collect();
        let [.., phone, watch, all] = lines[..] else { panic!("{text}") };
        assert_eq!(entry.figures, cells(all));
        let groups = [("phone".to_owned(), cells(phone)), ("watch".to_owned(), cells(watch))];
        assert_eq!(entry.groups, groups);
        assert!(phone.starts_with("group,phone,phone,") && all.starts_with("all,all,,"));
        let arrivals = Figures::columns().iter().position(|column| column.name == "arrivals").unwrap();
        assert_eq!(entry.figures[arrivals], summary_of_all(&run)["arrivals"]);
    }

    // The id of a point is the one that `splitwave run` gives to the same scenario.
    let sets = ["s.toml", "--set", "split.initial=2", "--set", "radio.bandwidth_mhz=10.0", "--quiet"];
    let folders = place.run(&sets, "results/tiny");
    let ids: BTreeSet<&str> = folders.iter().map(|folder| folder.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.iter().all(|id| kept.iter().any(|entry| entry.run_id == *id)), "{ids:?}");

    let done = study_run(&place, &["--out", "in-memory", "--threads", "1"]);
    assert!(done.out.ends_with("\nnext: splitwave study collect study.toml --out in-memory\n"), "{}", done.out);
    assert!(!place.path("in-memory/runs").exists());
    assert_eq!(figures(&attempts(&place.path("in-memory/attempts"))), figures(&kept));
}

#[test]
fn shards_of_any_number_and_threads_give_the_same() {
    let place = place(BASE, GRID);
    study_run(&place, &["--out", "whole", "--threads", "1", "--quiet"]).says(0, &[]);
    let whole = attempts(&place.path("whole/attempts"));
    assert_eq!(figures(&whole).len(), 12);

    let first = study_run(&place, &["--shard", "2/5", "--threads", "2"]);
    first.says(0, &["grid: 3 runs\n"]);
    assert!(
        first.out.contains("grid, shard 2/5: 3 runs, 0 done before, 3 done now, 0 failed, 0 left\n"),
        "{}",
        first.out
    );
    assert!(first.out.contains("next when all shards are done: splitwave study collect"), "{}", first.out);
    // Runs 1, 6 and 11 of 12, counted from 0: one in each part of three.
    for shard in ["1/3", "2/3", "3/3"] {
        let done = study_run(&place, &["--shard", shard]);
        assert!(done.out.contains("4 runs, 1 done before, 3 done now, 0 failed, 0 left"), "{}", done.out);
    }
    let parts = attempts(&place.path(ATTEMPTS));
    assert_eq!(parts.len(), 12, "no run twice");
    assert_eq!(figures(&parts), figures(&whole));
    assert_eq!(fs::read_dir(place.path(ATTEMPTS)).unwrap().count(), 4, "a file per process");

    let again = study_run(&place, &[]);
    again.says(0, &["grid: 12 runs, 12 done before\n"]);
    assert_eq!(fs::read_dir(place.path(ATTEMPTS)).unwrap().count(), 4, "nothing to write, no file");
    study_run(&place, &["--shard", "13/13"]).says(0, &["warning: this part of grid has no runs"]);
}

#[test]
fn batch_systems_say_which_part_it_is() {
    let place = place(BASE, GRID);
    let done = place.shell("SLURM_ARRAY_TASK_ID=4 splitwave study run study.toml --shards 4");
    done.says(0, &["shard 4/4, as SLURM_ARRAY_TASK_ID says\n", "grid: 3 runs"]);
    let done = place.shell("HQ_TASK_ID=1 splitwave study run study.toml --shards 4");
    done.says(0, &["shard 1/4, as HQ_TASK_ID says\n"]);
    for (line, said) in [
        (
            "SLURM_ARRAY_TASK_ID=0",
            "error: SLURM_ARRAY_TASK_ID is `0`; allowed: 1 to 4\nhint: submit the array with the numbers 1-4\n",
        ),
        ("HQ_TASK_ID=5", "error: HQ_TASK_ID is `5`; allowed: 1 to 4\n"),
        ("", "error: --shards 4 says how many parts there are, but neither HQ_TASK_ID nor SLURM_ARRAY_TASK_ID"),
    ] {
        let line = format!("unset HQ_TASK_ID SLURM_ARRAY_TASK_ID; {line} splitwave study run study.toml --shards 4");
        place.shell(&line).says(2, &[said]);
    }
    study_run(&place, &["--shard", "5/4"]).says(2, &["allowed: i/n with i from 1 to n"]);
    study_run(&place, &["--shard", "1/4", "--shards", "4"]).says(2, &["cannot be used with"]);
}

/// A run that fails is written down, the rest is done, and the next process tries it again.
#[test]
fn a_run_that_takes_too_long_has_failed() {
    let place = place(ENDLESS, SHORT_AND_ENDLESS);
    let done = study_run(&place, &["--timeout-per-run", "0.2", "--retries", "1", "--threads", "1"]);
    done.says(
        1,
        &["took longer than 0.2 s (--timeout-per-run)", "tried again", "error: 1 of 2 runs failed\n", "point 1"],
    );
    let kept = attempts(&place.path(ATTEMPTS));
    let told: Vec<(Status, u32)> = kept.iter().map(|entry| (entry.status, entry.attempt)).collect();
    assert_eq!(told, [(Status::Done, 1), (Status::Failed, 1), (Status::Failed, 2)]);
    assert!(kept[2].error.as_ref().unwrap().starts_with("took longer than 0.2 s"), "{:?}", kept[2]);
    assert!(kept[2].figures.is_empty() && kept[2].wall_s >= 0.2 && kept[2].wall_s < 5.0, "{:?}", kept[2]);

    let done = study_run(&place, &["--timeout-per-run", "0.1", "--max-failures", "0"]);
    done.says(
        1,
        &[
            "1 done before, 1 failed before and tried again",
            "error: stopped: 1 run failed, more than --max-failures allows",
        ],
    );
    assert_eq!(attempts(&place.path(ATTEMPTS))[3].attempt, 3);
    for bad in ["0", "-1", "soon", "nan", "inf"] {
        study_run(&place, &["--timeout-per-run", bad]).says(2, &["allowed: seconds above 0"]);
    }
}

#[test]
fn damaged_result_folders_are_named_and_made_again() {
    let place = place(BASE, GRID);
    study_run(&place, &["--keep", "all", "--quiet"]).says(0, &[]);
    let runs = place.finished("results/studies/grid/runs/tiny");
    assert_eq!(runs.len(), 12);
    let summary = runs[4].join("summary.csv");
    let whole = fs::read(&summary).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&summary, damaged).unwrap();
    fs::remove_dir_all(&runs[5]).unwrap();

    let done = study_run(&place, &["--keep", "all"]);
    done.says(0, &["warning: ", "summary.csv: its content has the hash", "moved aside"]);
    assert!(done.out.contains("12 runs, 10 done before, 2 done now, 0 failed, 0 left"), "{}", done.out);
    assert_eq!(place.finished("results/studies/grid/runs/tiny").len(), 12);
    assert_eq!(fs::read(&summary).unwrap(), whole);
    assert_eq!(place.hidden("results/studies/grid/runs/tiny").len(), 1);
    let kept = attempts(&place.path(ATTEMPTS));
    assert_eq!((kept.len(), figures(&kept).len()), (14, 12), "made twice, with the same figures");

    // A process that died between a folder and its line: the line comes from the folder.
    fs::remove_dir_all(place.path(ATTEMPTS)).unwrap();
    study_run(&place, &["--keep", "all"]).says(0, &[]);
    let from_folders = attempts(&place.path(ATTEMPTS));
    assert_eq!(figures(&from_folders), figures(&kept));
}

#[test]
fn a_folder_of_another_study_is_refused() {
    let place = place(BASE, GRID);
    study_run(&place, &["--quiet", "--shard", "1/12"]).says(0, &[]);
    place.write("other.toml", GRID.replace("\"grid\"", "\"other\""));
    let done = place.splitwave(&["study", "run", "other.toml", "--out", "results/studies/grid"]);
    done.says(
        2,
        &["error: results/studies/grid holds the study `grid`, not `other`\nhint: choose another folder with --out"],
    );
    let file = place.path("results/studies/grid/study.json");
    let text = fs::read_to_string(&file).unwrap();
    let version = splitwave::run::identity::RESULTS_VERSION;
    let before = text.replace(&format!("\"results_version\": {version}"), "\"results_version\": 1");
    assert_ne!(before, text);
    fs::write(&file, before).unwrap();
    study_run(&place, &[]).says(2, &["holds results of version 1; this program makes version"]);
}

/// A disk without room: what could be written stays, and the same command goes on.
#[test]
fn a_full_disk_stops_the_study_and_loses_nothing() {
    let place = place(BASE, GRID);
    // In blocks of 512 or 1,024 bytes, by shell: room for the header and some lines.
    let done = place.shell("ulimit -f 8; splitwave study run study.toml --threads 1");
    done.says(1, &["error: ", ".ndjson: writing failed: ", "written before stay", "hint: is the disk full"]);
    let before = attempts(&place.path(ATTEMPTS)).len();
    assert!((1..12).contains(&before), "{before}");
    let done = study_run(&place, &[]);
    assert!(done.out.contains(&format!("12 runs, {before} done before, {} done now", 12 - before)), "{}", done.out);
    assert_eq!(attempts(&place.path(ATTEMPTS)).len(), 12);
}

/// Waits until `what` is there; looks often, and for two minutes at most.
fn wait_for(what: &str, mut look: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if look() {
            return;
        }
        sleep(Duration::from_millis(2));
    }
    panic!("{what} did not come");
}

fn send(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// Starts [`SHORT_AND_ENDLESS`] with these variables, and waits until its first run is written down.
fn started(place: &Place, variables: &[(&str, &str)]) -> Child {
    let mut command = Command::new(BINARY);
    let path = format!("{}:{}", place.path("bin").display(), std::env::var("PATH").unwrap());
    command.args(["study", "run", "study.toml", "--threads", "1"]).current_dir(place.path("")).env("PATH", path);
    for name in ["SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "HQ_TASK_ID"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let folder = place.path(ATTEMPTS);
    wait_for("a first run", || splitwave::study::attempts::Attempts::read(&folder).unwrap().entries.len() == 1);
    child
}

fn ended(child: Child) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn signals_stop_what_is_under_way_and_leave_no_line_of_it() {
    for signal in ["-INT", "-TERM", "-USR1"] {
        let place = place(ENDLESS, SHORT_AND_ENDLESS);
        let child = started(&place, &[]);
        send(&child, signal);
        let (code, said) = ended(child);
        assert_eq!(code, Some(75), "{signal}: {said}");
        let parts =
            "error: interrupted with 1 of 2 runs left\nhint: what is done stays; the same command runs the rest\n";
        assert!(said.ends_with(parts), "{signal}: {said}");
        assert_eq!(attempts(&place.path(ATTEMPTS)).len(), 1);
    }
}

const ARRAY_TASK: [(&str, &str); 3] =
    [("SLURM_JOB_ID", "19"), ("SLURM_ARRAY_JOB_ID", "17"), ("SLURM_ARRAY_TASK_ID", "3")];

/// A place with a `scontrol` that writes down what it is asked, says `shows` of jobs, and refuses
/// to queue them again where `refuses` says so.
fn with_scontrol(shows: &str, refuses: bool) -> Place {
    let place = place(ENDLESS, SHORT_AND_ENDLESS);
    let log = place.path("asked");
    let end = if refuses { "echo 'Requested operation not permitted' >&2; exit 1" } else { "exit 0" };
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> '{}'\ncase \"$*\" in *show*) echo '{shows}';; requeue*) {end};; esac\n",
        log.display()
    );
    let path = place.write("bin/scontrol", script);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    place
}

fn asked(place: &Place) -> String {
    fs::read_to_string(place.path("asked")).unwrap_or_default()
}

#[test]
fn a_job_of_slurm_is_queued_again_and_waits_to_be_killed() {
    // Preempted: the job is running still. Its time limit: Slurm is ending it, and says why.
    for (signal, shows, asks) in [
        ("-USR1", "", "requeue 17_3\n"),
        ("-TERM", "JobId=19 JobState=RUNNING Reason=None", "--oneliner show job 17_3\nrequeue 17_3\n"),
        ("-TERM", "JobId=19 JobState=COMPLETING Reason=TimeLimit", "--oneliner show job 17_3\nrequeue 17_3\n"),
    ] {
        let place = with_scontrol(shows, false);
        let mut child = started(&place, &ARRAY_TASK);
        send(&child, signal);
        wait_for("a request", || asked(&place).contains("requeue"));
        sleep(Duration::from_millis(200));
        assert!(child.try_wait().unwrap().is_none(), "a job that ends by itself is not queued again");
        assert_eq!(asked(&place), asks);
        send(&child, "-TERM");
        let (code, said) = ended(child);
        assert_eq!(code, Some(75), "{said}");
        for part in [
            "interrupted with 1 of 2 runs left; job 17_3 is queued again, waiting for Slurm to end this one\n",
            "hint: job 17_3 is queued again and runs the rest\n",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(attempts(&place.path(ATTEMPTS)).len(), 1);
    }
}

#[test]
fn a_job_that_a_person_ends_stays_away() {
    // Ctrl-C; `scancel`; a Slurm that refuses; a task of HyperQueue, whose worker is the job.
    let running = "JobId=19 JobState=RUNNING Reason=None";
    let cancelled = "JobId=19 JobState=CANCELLED Reason=None";
    let hyperqueue = [&ARRAY_TASK[..], &[("HQ_TASK_ID", "2")]].concat();
    let nothing = "hint: what is done stays; the same command runs the rest\n";
    for (signal, shows, refuses, variables, asks, said_too) in [
        ("-INT", running, false, &ARRAY_TASK[..], "", nothing),
        (
            "-TERM",
            cancelled,
            false,
            &ARRAY_TASK[..],
            "--oneliner show job 17_3\n",
            "; job 17_3 is CANCELLED: it was cancelled",
        ),
        (
            "-USR1",
            running,
            true,
            &ARRAY_TASK[..],
            "requeue 17_3\n",
            "`scontrol requeue 17_3` failed: Requested operation not",
        ),
        ("-TERM", running, false, &hyperqueue[..], "", nothing),
    ] {
        let place = with_scontrol(shows, refuses);
        let child = started(&place, variables);
        send(&child, signal);
        let (code, said) = ended(child);
        assert_eq!((code, asked(&place).as_str()), (Some(75), asks), "{said}");
        assert!(said.contains(said_too), "{said}");
    }
}

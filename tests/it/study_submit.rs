//! `study submit`: the scripts to the letter, and what happens with them.

use std::path::Path;

use crate::cli_support::{BINARY, Done, Place, SMALL, csv_rows};

/// Twelve runs of a scenario that takes milliseconds.
const STUDY: &str = r#"name = "grid"
base = "s.toml"
replications = 3
[axes]
"split.initial" = [1, 4]
"channel.doppler_hz" = [10.0, 60.0]
"#;

/// A place with a study, in a folder whose name needs quotes.
fn place() -> Place {
    let place = Place::with(SMALL);
    place.write("g.toml", STUDY);
    place.write("a b/s.toml", SMALL);
    place.write("a b/g.toml", STUDY);
    place
}

/// `study submit ARGUMENTS` in a folder of a place, with the programs of its folder `bin` first on the path.
fn submit(place: &Place, folder: &str, arguments: &str) -> Done {
    place.shell(&format!(r#"PATH="$PWD/bin:$PATH"; cd '{folder}' && splitwave study submit {arguments}"#))
}

/// Text with the folder of the test and the program by fixed names.
fn placeless(place: &Place, text: &str) -> String {
    let folder = place.path("").canonicalize().unwrap();
    text.replace(BINARY, "/PROGRAM").replace(folder.to_str().unwrap(), "/HERE")
}

/// The scripts that a dry run prints, each of which bash must be able to parse.
fn parse(place: &Place, printed: &str) {
    for part in printed.split("==> ").skip(1) {
        let (_, script) = part.split_once(" <==\n").unwrap();
        place.write("script.sh", script.split("\n$ bash").next().unwrap());
        place.shell("bash -n script.sh").says(0, &[]);
    }
}

/// A program for the path that writes down how it was called, and says the number of a job.
fn fake(place: &Place, program: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let calls = place.path("calls");
    let text = format!("#!/bin/sh\necho \"{program} $*\" >> '{0}'\nwc -l < '{0}' | tr -d ' '\n", calls.display());
    let path = place.write(&format!("bin/{program}"), text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn calls(place: &Place) -> Vec<String> {
    let text = std::fs::read_to_string(place.path("calls")).unwrap_or_default();
    text.lines().map(|line| placeless(place, line)).collect()
}

#[test]
fn slurm_to_the_letter() {
    let place = place();
    let done = submit(
        &place,
        "a b",
        "g.toml --engine slurm --shards 4 --cpus 2 --time 90 --mem 500m --partition cpu,gpu --account me --out ../o --dry-run",
    );
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    parse(&place, &done.out);
    let expected = include_str!("study_submit/slurm.txt");
    assert_eq!(placeless(&place, &done.out), expected);
    assert!(!place.path("o").exists() && !place.path("a b/results").exists());
}

#[test]
fn hyperqueue_to_the_letter() {
    let place = place();
    let done = submit(&place, "a b", "g.toml --engine hq --shards 4 --cpus 2 --time 90 --mem 2G --dry-run");
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    parse(&place, &done.out);
    assert_eq!(placeless(&place, &done.out), include_str!("study_submit/hq.txt"));
}

#[test]
fn local_to_the_letter() {
    let place = place();
    let done = submit(&place, "a b", "g.toml --engine local --cpus 2 --dry-run");
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    parse(&place, &done.out);
    assert_eq!(placeless(&place, &done.out), include_str!("study_submit/local.txt"));
}

#[test]
fn slurm_gets_the_shards_and_then_the_collector() {
    let place = place();
    fake(&place, "sbatch");
    let done = submit(&place, ".", "g.toml --engine slurm --out o");
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert_eq!(
        placeless(&place, &done.out),
        "wrote shards.sh, collect.sh, submit.sh to /HERE/o/submit\nshards: job 1, 8 tasks; collector: job 2\n"
    );
    assert_eq!(calls(&place), ["sbatch --parsable shards.sh", "sbatch --parsable --dependency=afterany:1 collect.sh"]);
    assert!(place.path("o/study.json").exists());
}

#[test]
fn hyperqueue_gets_one_job() {
    let place = place();
    fake(&place, "hq");
    let done = submit(&place, ".", "g.toml --engine hq --shards 3 --out o");
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert!(placeless(&place, &done.out).ends_with("shards: job 1, 3 tasks; then: bash /HERE/o/submit/collect.sh 1\n"));
    assert_eq!(
        calls(&place),
        ["hq --output-mode=quiet submit --name=grid --array=1-3 --cpus=1 --cwd=/HERE \
          --stdout=/HERE/o/submit/shard-%{TASK_ID}-%{JOB_ID}-%{INSTANCE_ID}.out \
          --stderr=/HERE/o/submit/shard-%{TASK_ID}-%{JOB_ID}-%{INSTANCE_ID}.log \
          -- /PROGRAM study run /HERE/g.toml --out /HERE/o --shards 3 --threads 1"]
    );
}

#[test]
fn the_array_that_the_scripts_ask_for_does_the_study() {
    let place = place();
    fake(&place, "sbatch");
    submit(&place, "a b", "g.toml --engine slurm --shards 3 --out ../o").says(0, &[]);
    let task = |task: u32| format!("cd 'a b' && SLURM_ARRAY_TASK_ID={task} bash ../o/submit/shards.sh");
    place.shell(&task(1)).says(0, &[]);
    place.shell(&task(3)).says(0, &[]);
    // Exit status 3: incomplete.
    place.shell("bash o/submit/collect.sh").says(3, &["missing"]);
    place.shell(&task(2)).says(0, &[]);
    place.shell("bash o/submit/collect.sh").says(0, &[]);
    assert_eq!(csv_rows(&place.path("o/runs.csv")).1.len(), 12);
    place.shell("cd 'a b' && bash ../o/submit/shards.sh").says(1, &["submit this file with sbatch"]);
}

#[test]
fn here_it_runs_and_collects() {
    let place = place();
    submit(&place, ".", "g.toml --engine local").says(0, &[]);
    let (_, rows) = csv_rows(&place.path("results/studies/grid/runs.csv"));
    assert_eq!(rows.len(), 12);
    assert!(rows.iter().all(|row| row["status"] == "done"));
}

#[test]
fn without_sbatch_the_scripts_stay() {
    let place = place();
    let done = place.shell(&format!("PATH=/nowhere '{BINARY}' study submit g.toml --engine slurm --out o"));
    done.says(1, &["error: `sbatch` was not found: nothing is submitted\nhint: ", "bash ", "/o/submit/submit.sh\n"]);
    for script in ["shards.sh", "collect.sh", "submit.sh"] {
        assert!(place.path("o/submit").join(script).exists());
    }
}

#[test]
fn a_refusal_of_sbatch_is_passed_on() {
    let place = place();
    fake(&place, "sbatch");
    place.write("bin/sbatch", "#!/bin/sh\necho 'sbatch: error: invalid account' >&2\nexit 1\n");
    submit(&place, ".", "g.toml --engine slurm --out o")
        .says(1, &["sbatch: error: invalid account\n", "failed (exit status: 1)\nhint: slurm says why above"]);
}

#[test]
fn an_edited_script_is_kept() {
    let place = place();
    fake(&place, "sbatch");
    submit(&place, ".", "g.toml --engine slurm --out o --no-submit").says(0, &[]);
    assert_eq!(calls(&place), [""; 0]);
    let script = place.path("o/submit/shards.sh");
    let text = std::fs::read_to_string(&script).unwrap();
    std::fs::write(&script, "#!/bin/bash\n# mine\n").unwrap();
    let done = submit(&place, ".", "g.toml --engine slurm --out o --no-submit");
    done.says(0, &["note: a script there differed; it is kept as ", "/o/submit/shards.sh.old\n"]);
    assert_eq!(std::fs::read_to_string(place.path("o/submit/shards.sh.old")).unwrap(), "#!/bin/bash\n# mine\n");
    assert_eq!(std::fs::read_to_string(&script).unwrap(), text);
    assert_eq!(submit(&place, ".", "g.toml --engine slurm --out o --no-submit").err, "");
}

#[test]
fn wrong_options_are_named() {
    let place = place();
    for (arguments, parts) in [
        ("--engine pbs", &["allowed: slurm, hq, local"][..]),
        ("--engine slurm --shards 13", &["--shards 13: the study has 12 runs; allowed: 1 to 12", "hint: "]),
        ("--engine slurm --shards 0", &["0"]),
        ("--engine slurm --time 4", &["allowed: 5 minutes to 365 days"]),
        ("--engine slurm --mem 4", &["allowed: a whole number from 1 on and K, M, G or T"]),
        ("--engine slurm --partition 'a b'", &["allowed: letters, digits"]),
        ("--engine hq --account me", &["--account plays no part with --engine hq", "hint: "]),
        ("--engine local --shards 2", &["--shards plays no part with --engine local", "hint: "]),
    ] {
        submit(&place, ".", &format!("g.toml {arguments} --out o")).says(2, parts);
    }
    assert!(!place.path("o").exists());
}

#[test]
fn another_studys_folder_is_refused() {
    let place = place();
    fake(&place, "sbatch");
    place.write("h.toml", STUDY.replace("grid", "other"));
    submit(&place, ".", "h.toml --engine slurm --out o --no-submit").says(0, &[]);
    submit(&place, ".", "g.toml --engine slurm --out o").says(2, &["holds the study `other`, not `grid`"]);
    assert_eq!(calls(&place), [""; 0]);
    assert!(Path::new(&place.path("o/submit/shards.sh")).exists());
}

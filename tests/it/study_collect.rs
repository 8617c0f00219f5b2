//! `splitwave study collect` and `status`: tables from files of attempts.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use splitwave::record::Figures;
use splitwave::run::inputs::Library;
use splitwave::study::Plan;
use splitwave::study::attempt_log::AttemptLog;
use splitwave::study::attempts::{Entry, Header, Status};
use splitwave::study::collect::{Collected, collect};
use splitwave::study::folder::StudyFolder;
use splitwave::study::means::Pairing;
use splitwave::study::status::status;

use crate::cli_support::Place;
use crate::study_support::{BASE, GRID, place, study_run};

/// A study whose runs nobody simulates: what they came to is made up.
struct Made {
    place: Place,
    plan: Plan,
    folder: StudyFolder,
}

impl Made {
    fn new() -> Self {
        let place = place(BASE, GRID);
        // The base is found beside the study.
        let plan = Plan::open(&place.path("study.toml"), &mut Library::default()).unwrap();
        let folder = StudyFolder::open(&place.path("out"), "grid").unwrap();
        Self { place, plan, folder }
    }

    fn header(&self) -> Header {
        Header::of_this_process(self.plan.name(), None, None, 2)
    }

    /// A run whose mean end-to-end time is `e2e`, empty otherwise but for the counts.
    fn done(&self, run: usize, e2e: &str) -> Entry {
        let cell = |name: &str| match name {
            "arrivals" | "completed" => "7",
            "outage" | "timeout" | "dropped" | "unfinished" => "0",
            "e2e_mean_s" => e2e,
            _ => "",
        };
        let run = self.plan.run(run);
        Entry {
            run_id: run.id.to_string(),
            replication: run.replication,
            attempt: 1,
            status: Status::Done,
            error: None,
            wall_s: 2.0,
            ended_at: "2026-01-31T12:00:00Z".into(),
            figures: Figures::columns().iter().map(|column| cell(column.name).to_owned()).collect(),
            groups: Vec::new(),
        }
    }

    fn failed(&self, run: usize, error: &str) -> Entry {
        let entry = self.done(run, "");
        Entry { status: Status::Failed, error: Some(error.into()), figures: Vec::new(), ..entry }
    }

    fn write(&self, header: &Header, entries: &[Entry]) -> PathBuf {
        let log = AttemptLog::create(&self.folder.attempts(), header).unwrap();
        for entry in entries {
            log.push(entry).unwrap();
        }
        log.path().to_owned()
    }

    fn collect(&self, pairings: &[&str]) -> Result<Collected, String> {
        let pairings: Vec<Pairing> = pairings.iter().map(|text| text.parse().unwrap()).collect();
        collect(&self.plan, &self.folder, &pairings).map_err(|error| format!("{error} | {}", error.hint()))
    }

    fn rows(&self, file: &str) -> Vec<BTreeMap<String, String>> {
        let mut reader = csv::Reader::from_path(self.folder.file(file)).unwrap();
        reader.deserialize().map(Result::unwrap).collect()
    }
}

fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap()
}

/// Points are (split, bandwidth) = (1, 5), (1, 10), (2, 5) …, each with two replications.
#[test]
fn means_intervals_and_paired_differences_by_hand() {
    let made = Made::new();
    // Run 2·point + replication. Point 0: 1 and 2; point 1: 3 alone; point 2: 5 and 4; point 4: failed.
    let entries = [
        made.done(5, "4"),
        made.done(0, "1"),
        made.failed(8, "no luck"),
        made.done(4, "5"),
        made.done(1, "2"),
        made.done(2, "3.0"),
        made.failed(8, "none at all"),
    ];
    made.write(&made.header(), &entries);
    let collected = made.collect(&["split.initial=1,2"]).unwrap();
    assert_eq!((collected.planned, collected.done, collected.missing.len()), (12, 5, 6));
    let failed = &collected.failed[0];
    assert_eq!((failed.run, failed.error.as_str(), failed.attempts), (made.plan.run(8), "none at all", 2));

    let runs = made.rows("runs.csv");
    let ids: Vec<&str> = runs.iter().map(|row| row["run_id"].as_str()).collect();
    assert_eq!(ids, [0, 1, 2, 4, 5, 8].map(|run| made.plan.run(run).id.to_string()), "in the order of the plan");
    let cells = |row: usize| {
        ["point", "replication", "seed", "status", "error", "split.initial", "radio.bandwidth_mhz", "e2e_mean_s"]
            .map(|column| runs[row][column].as_str())
    };
    assert_eq!(cells(2), ["1", "0", "3", "done", "", "1", "10.0", "3.0"], "figures keep their text");
    assert_eq!(cells(5), ["4", "0", "3", "failed", "none at all", "3", "5.0", ""]);

    let means = made.rows("means.csv");
    let of = |point: &str| means.iter().find(|row| row["point"] == point && row["figure"] == "e2e_mean_s").unwrap();
    // t(1 degree of freedom, 95 %) = 12.7062; s = 1/√2, so t·s/√2 = 6.3531.
    assert_eq!((of("0")["n"].as_str(), number(of("0"), "mean")), ("2", 1.5));
    assert!((number(of("0"), "ci95_low") - (1.5 - 6.3531)).abs() < 1e-4);
    assert!((number(of("0"), "ci95_high") - (1.5 + 6.3531)).abs() < 1e-4);
    let one = of("1");
    assert_eq!([&one["n"], &one["mean"], &one["ci95_low"], &one["ci95_high"]], ["1", "3.0", "", ""]);
    assert!(means.iter().all(|row| row["point"] != "4"), "a point without figures has no mean");

    // Splits 1 and 2 at 5 MHz: 1 - 5 and 2 - 4; at 10 MHz split 2 has no run.
    let differences = made.rows("differences.csv");
    let of: Vec<_> = differences.iter().filter(|row| row["figure"] == "e2e_mean_s").collect();
    assert_eq!(of.len(), 1);
    let columns = ["axis", "level_a", "level_b", "split.initial", "radio.bandwidth_mhz", "n", "mean_a", "mean_b"];
    assert_eq!(columns.map(|c| of[0][c].as_str()), ["split.initial", "1", "2", "", "5.0", "2", "1.5", "4.5"]);
    // s = √2, t·s/√2 = 12.7062.
    assert_eq!(number(of[0], "difference"), -3.0);
    assert!((number(of[0], "ci95_low") + 15.7062).abs() < 1e-4 && (number(of[0], "ci95_high") - 9.7062).abs() < 1e-4);

    // Without --paired the old comparison does not stay beside new tables.
    made.collect(&[]).unwrap();
    assert!(!made.folder.file("differences.csv").exists() && !made.folder.file("groups.csv").exists());
}

#[test]
fn parquet_has_the_cells_of_the_csv_with_types() {
    let made = Made::new();
    made.write(&made.header(), &[made.done(3, "0.125"), made.failed(7, "why, \"so\"")]);
    made.collect(&[]).unwrap();
    let reader = SerializedFileReader::new(fs::File::open(made.folder.file("runs.parquet")).unwrap()).unwrap();
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    let csv = made.rows("runs.csv");
    assert_eq!(rows.len(), csv.len());
    for (row, csv) in rows.iter().zip(&csv) {
        let mut columns = 0;
        for (name, field) in row.get_column_iter() {
            let text = csv[name].as_str();
            match field {
                Field::Null => assert_eq!(text, "", "{name}"),
                Field::ULong(value) => assert_eq!(value.to_string(), text, "{name}"),
                Field::Long(value) => assert_eq!(value.to_string(), text, "{name}"),
                Field::Double(value) => assert_eq!(*value, text.parse::<f64>().unwrap(), "{name}"),
                Field::Str(value) => assert_eq!(value, text, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
            columns += 1;
        }
        assert_eq!(columns, csv.len());
    }
    let kind = |name: &str| {
        let (_, field) = rows[0].get_column_iter().find(|(column, _)| *column == name).unwrap();
        std::mem::discriminant(field)
    };
    assert_eq!(kind("split.initial"), std::mem::discriminant(&Field::Long(0)));
    assert_eq!(kind("radio.bandwidth_mhz"), std::mem::discriminant(&Field::Double(0.0)));
    assert_eq!(kind("arrivals"), std::mem::discriminant(&Field::Long(0)));
}

#[test]
fn duplicates_must_be_identical() {
    let made = Made::new();
    let first = made.write(&made.header(), &[made.done(0, "1"), made.done(1, "1")]);
    made.write(&made.header(), &[made.done(0, "1")]);
    let collected = made.collect(&[]).unwrap();
    assert_eq!((collected.done, collected.duplicates, collected.extra), (2, 1, 0));
    let runs = fs::read(made.folder.file("runs.csv")).unwrap();

    // The same machine, another number.
    let second = made.write(&made.header(), &[made.done(1, "2")]);
    let said = made.collect(&[]).unwrap_err();
    let id = made.plan.run(1).id;
    let expected = format!(
        "run {id} has two results: `e2e_mean_s` differs, 1 and 2, in {} and {}, both on ",
        first.display(),
        second.display()
    );
    assert!(said.starts_with(&expected) && said.contains("the run is not deterministic"), "{said}");
    assert_eq!(fs::read(made.folder.file("runs.csv")).unwrap(), runs, "the old tables stay");

    // Another machine.
    fs::remove_file(second).unwrap();
    let old = Header { instruction_set: "x86-64-v0".into(), ..made.header() };
    made.write(&old, &[made.done(1, "3"), made.done(0, "4"), made.failed(0, "later")]);
    let said = made.collect(&[]).unwrap_err();
    assert!(said.contains("on machines of different instruction sets, ") && said.contains("x86-64-v0"), "{said}");
    assert!(said.contains("; 1 more like this | numbers of a model may differ in their last digits"), "{said}");
}

#[test]
fn damaged_lines_are_named_and_count_for_nothing() {
    let made = Made::new();
    let path = made.write(&made.header(), &[made.done(0, "1"), made.done(1, "1"), made.done(2, "1")]);
    let text = fs::read(&path).unwrap();
    let mut flipped = text.clone();
    let middle = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 150;
    flipped[middle] ^= 1;
    fs::write(&path, &flipped[..text.len() - 5]).unwrap();
    let collected = made.collect(&[]).unwrap();
    assert_eq!((collected.done, collected.missing.len()), (1, 11));
    let lines: Vec<u64> = collected.defects.iter().map(|defect| defect.line).collect();
    assert_eq!(lines, [3, 4]);
    assert!(collected.defects[0].to_string().starts_with(&format!("{}, line 3: damaged: ", path.display())));
    assert!(collected.defects[1].to_string().contains("cut off"));
    // An entry of another study's run is extra.
    let stranger = Entry { run_id: "0123456789abcdef".into(), ..made.done(0, "9") };
    made.write(&made.header(), &[stranger]);
    assert_eq!(made.collect(&[]).unwrap().extra, 1);
}

#[test]
fn tables_do_not_depend_on_shards() {
    let place = place(BASE, GRID);
    study_run(&place, &["--out", "one", "--threads", "1", "-q"]).says(0, &[]);
    let incomplete = study_run(&place, &["--out", "many", "--shard", "3/3", "-q"]);
    incomplete.says(0, &[]);
    let collect =
        |out: &str, more: &[&str]| place.splitwave(&[&["study", "collect", "study.toml", "--out", out], more].concat());
    let message = "error: incomplete: of 12 runs, 0 failed and 8 are missing";
    collect("many", &[]).says(3, &[message, "hint: `splitwave study run study.toml --out many` runs them"]);
    collect("many", &["--allow-missing"]).says(0, &[]);
    for shard in ["1/3", "2/3"] {
        study_run(&place, &["--out", "many", "--shard", shard, "--threads", "2", "-q"]).says(0, &[]);
    }
    for out in ["one", "many"] {
        let done = collect(out, &["--paired", "radio.bandwidth_mhz=10.0,5.0"]);
        done.says(0, &[]);
        assert!(done.out.starts_with("grid: 12 planned, 12 done, 0 missing, 0 failed, 0 done twice, 0 extra\n"));
    }
    for file in ["runs.csv", "means.csv", "groups.csv", "differences.csv", "runs.parquet"] {
        let [one, many] = ["one", "many"].map(|out| fs::read(place.path(&format!("{out}/{file}"))).unwrap());
        assert!(one == many && one.len() > 500, "{file}");
    }
    let groups = fs::read_to_string(place.path("one/groups.csv")).unwrap();
    assert_eq!(groups.lines().count(), 1 + 12 * 2);

    let refused = |arguments: &[&str], said: &[&str]| {
        collect("one", arguments).says(2, said);
    };
    refused(
        &["--paired", "split.inital=1,2"],
        &["`split.inital` is no axis of the study; it has `split.initial`, `radio.bandwidth_mhz`"],
    );
    refused(&["--paired", "split.initial=1,4"], &["`split.initial` is never 4; it has 1, 2, 3"]);
    refused(&["--paired", "split.initial=1,1"], &["the two levels are one"]);
    refused(&["--paired", "split.initial"], &["is no AXIS=A,B"]);
    let done = place.splitwave(&["study", "collect", "study.toml", "--out", "nowhere"]);
    done.says(2, &["no run of this study was begun here", "begin with `splitwave study run`"]);
}

/// What no two points differ in alone can't be compared; points without a partner are counted.
#[test]
fn only_what_differs_in_one_axis_is_compared() {
    let said = |axes: &str, pairing: &str| {
        let place = place(BASE, &format!("name = \"grid\"\nbase = \"s.toml\"\nreplications = 1\n{axes}"));
        study_run(&place, &["-q", "--threads", "1"]).says(0, &[]);
        let done = place.splitwave(&["study", "collect", "study.toml", "--paired", pairing]);
        let rows = fs::read_to_string(place.path("results/studies/grid/differences.csv")).unwrap_or_default();
        (format!("{}{}", done.out, done.err), rows.lines().filter(|row| row.contains(",arrivals,")).count())
    };
    let drawn = "[sample]\ncount = 6\n[sample.ranges]\n\"split.initial\" = { min = 1, max = 2 }\n\
                 \"radio.downlink_latency_ms\" = { min = 1.0, max = 9.0 }\n";
    let (text, _) = said(drawn, "split.initial=1,2");
    assert!(text.contains("`split.initial` is drawn by [sample]: no two of its points differ in it alone"), "{text}");
    let twice = "[[zip]]\n\"split.initial\" = [1, 1, 2]\n\"radio.downlink_latency_ms\" = [1.0, 5.0, 1.0]\n";
    let (text, _) = said(twice, "split.initial=1,2");
    assert!(text.contains("`split.initial` is 1 more than once in its [[zip]]"), "{text}");
    // In a zip, what goes with the level goes with it.
    let zip = "[axes]\n\"radio.bandwidth_mhz\" = [5.0, 9.0]\n\
               [[zip]]\n\"split.initial\" = [1, 2]\n\"radio.downlink_latency_ms\" = [1.0, 5.0]\n";
    let (text, rows) = said(zip, "split.initial=1,2");
    assert!(!text.contains("warning: --paired") && rows == 2, "{text}{rows}");
    let gap = "[axes]\n\"radio.bandwidth_mhz\" = [5.0, 9.0]\n\"split.initial\" = [1, 2]\n\
               [[exclude]]\n\"radio.bandwidth_mhz\" = 9.0\n\"split.initial\" = 2\n";
    let (text, rows) = said(gap, "split.initial=1,2");
    assert!(text.contains("--paired: 1 point at one level had no partner at the other") && rows == 1, "{text}{rows}");
}

/// Seeds are whole numbers below 2^64, and so they come out.
#[test]
fn the_largest_seed_is_collected() {
    let study = GRID.replace("base =", "seed = 18446744073709551615\nbase =");
    let place = place(BASE, &study);
    study_run(&place, &["-q"]).says(0, &[]);
    place.splitwave(&["study", "collect", "study.toml"]).says(0, &[]);
    let folder = place.path("results/studies/grid");
    let reader = SerializedFileReader::new(fs::File::open(folder.join("runs.parquet")).unwrap()).unwrap();
    let row = reader.get_row_iter(None).unwrap().next().unwrap().unwrap();
    let (_, seed) = row.get_column_iter().find(|(name, _)| *name == "seed").unwrap();
    assert_eq!(*seed, Field::ULong(u64::MAX));
    assert!(fs::read_to_string(folder.join("runs.csv")).unwrap().contains(",18446744073709551615,"));
}

/// What a run is was settled when the study was planned.
#[test]
fn files_that_change_under_a_study_change_none_of_its_runs() {
    let config = |width: u32| {
        format!(
            "{{ \"model_type\": \"llama\", \"hidden_size\": 4096, \"intermediate_size\": {width}, \"num_hidden_layers\": 32, \
             \"num_attention_heads\": 32, \"vocab_size\": 32000, \"max_position_embeddings\": 4096, \
             \"rms_norm_eps\": 1e-5, \"hidden_act\": \"silu\" }}"
        )
    };
    let place = place(&format!("{BASE}[model]\ncost_as = \"cfg.json\"\n"), GRID);
    let path = place.write("cfg.json", config(11008));
    let mut library = Library::default();
    let plan = Plan::open(&place.path("study.toml"), &mut library).unwrap();
    let before = plan.run(0).id.to_string();
    fs::write(&path, config(22016)).unwrap();
    assert_eq!(plan.job(0, &mut library).unwrap().run_id(), before);
    // A library of its own reads the file anew: another run, which must not pass for the planned one.
    assert_ne!(plan.job(0, &mut Library::default()).unwrap().run_id(), before);
}

#[test]
fn status_comes_from_the_files() {
    let made = Made::new();
    let header = Header { shard: Some("1/2".into()), ..made.header() };
    let path = made.write(&header, &[made.done(0, "1"), made.done(2, "1"), made.failed(4, "no")]);
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    let found = status(&made.plan, &made.folder, written + Duration::from_secs(30)).unwrap();
    assert_eq!((found.planned, found.done, found.failed, found.missing), (12, 2, 1, 9));
    assert_eq!(found.run_wall_s, Some(2.0));
    // 9 runs of 2 s on the 2 threads of the process, heard of half a minute ago.
    assert_eq!(found.eta_s, Some(9.0));
    let process = &found.processes[0];
    assert_eq!((process.done, process.failed, process.at_work), (2, 1, true));
    assert_eq!((process.quiet_s, process.shard.as_deref()), (Some(30.0), Some("1/2")));
    let later = status(&made.plan, &made.folder, written + Duration::from_secs(120)).unwrap();
    assert_eq!((later.processes[0].at_work, later.eta_s), (false, None));
    // A process that has ended says so, and is not waited for.
    let ended = AttemptLog::create(&made.folder.attempts(), &header).unwrap();
    ended.end("interrupted").unwrap();
    let found = status(&made.plan, &made.folder, written).unwrap();
    assert_eq!((found.processes[1].at_work, found.processes[1].ended.as_deref()), (false, Some("interrupted")));
    fs::remove_file(ended.path()).unwrap();
    // A folder that is cleared under a process takes its file along: that is no success.
    ended.push(&made.done(5, "1")).unwrap();
    assert!(ended.sync().unwrap_err().to_string().contains("looking for the file that this process writes failed"));
    // A clock that runs behind that of the file system.
    let before = status(&made.plan, &made.folder, SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(before.processes[0].quiet_s, Some(0.0));

    let shown = made.place.splitwave(&["study", "status", "study.toml", "--out", "out", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!([&json["planned"], &json["done"], &json["failed"], &json["missing"]], [12, 2, 1, 9]);
    let text = made.place.splitwave(&["study", "status", "study.toml", "--out", "out"]);
    assert!(text.out.starts_with("grid: 2 of 12 runs done (16.7 %), 1 failed, 9 missing; 9 s left on 2 threads\n"));
    assert!(text.out.contains("  shard 1/2 on "), "{}", text.out);
}

//! The commands as their help and the README promise them.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use crate::cli_support::{BINARY, Done, Place, SMALL, csv_rows, manifest, records, summary_of_all};

/// The columns that readers of the files rely on, in their order.
const REQUESTS: &str = "request_id, ue_id, group, cell_id, episode, window, arrival_s, split, prompt_tokens, \
    output_tokens, noise_std, rayleigh_scale, loss_probability, activation_snr_db, mean_gain, packets_sent, \
    packets_lost, rows_lost, loss_bursts, uplink_bits, ue_wait_s, ue_compute_s, uplink_wait_s, uplink_air_s, \
    edge_wait_s, edge_compute_s, downlink_s, ttft_s, tpot_s, e2e_s, deadline_met, ue_flop, edge_flop, ue_energy_j, \
    tx_energy_j, nll_sum, tokens_scored, ppl_clean, ppl, quality_source, reward, outcome, layer_load_s, battery_j, \
    conversation, turn, packets_missing, sinr_db, spectral_efficiency_bps_hz, x_m, y_m, distance_m, handovers, \
    ue_tokens, edge_tokens, fallback_tokens, llm_agreements, edge_asks, downlink_bits";
const DECISIONS: &str = "step, ue_id, request_id, time_s, episode, step_in_episode, noise_std, rayleigh_scale, \
    loss_probability, split, action, next_split, log_prob, value, reward, reward_source";
const SERIES: &str = "time_s, edge_queue, edge_busy, uplink_active, ue_queue_mean, requests_completed";

fn ok(done: &Done) {
    assert_eq!(done.code, Some(0), "{done:?}");
}

#[test]
fn help_lists_every_command_and_option() {
    let place = Place::new();
    let help = |arguments: &[&str]| {
        let done = place.splitwave(arguments);
        ok(&done);
        assert_eq!(done.err, "");
        done.out
    };
    let has = |text: &str, parts: &[&str]| {
        for part in parts {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
    };
    has(&help(&["--help"]), &["run ", "validate ", "schema ", "profile ", "Usage: splitwave <COMMAND>"]);
    let run = help(&["run", "--help"]);
    has(&run, &["<SCENARIO.toml>...", "--out <OUT>", "[default: results]", "--set <KEY=VALUE>", "--seed <SEED>"]);
    has(&run, &["--replications <REPLICATIONS>", "--threads <THREADS>", "--quiet", "--force"]);
    has(&help(&["validate", "--help"]), &["<SCENARIO.toml>...", "--set <KEY=VALUE>"]);
    has(&help(&["schema", "--help"]), &["--markdown", "--columns"]);
    has(&help(&["profile", "--help"]), &["<SCENARIO.toml>", "--out <OUT>", "--splits", "--losses", "--noises"]);
    has(&help(&["--version"]), &[&format!("splitwave {}", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn a_finished_run_is_skipped_unless_forced() {
    let place = Place::with(SMALL);
    let first = place.splitwave(&["run", "s.toml"]);
    first.says(0, &["small #0: done in ", "results/small/"]);
    let runs = place.finished("results/small");
    let (made, bytes) = (manifest(&runs[0]), records(&runs[0]));

    let again = place.splitwave(&["run", "s.toml"]);
    again.says(0, &["small #0: already there, skipped (--force runs it again): results/small/"]);
    assert_eq!((again.out, manifest(&runs[0])), (first.out, made.clone()), "the table of a run that is there");

    place.splitwave(&["run", "s.toml", "--force"]).says(0, &["done in "]);
    assert_eq!((place.finished("results/small"), records(&runs[0])), (runs.clone(), bytes.clone()));
    let [aside] = &place.hidden("results/small")[..] else { panic!("one run moved aside") };
    assert!(aside.to_str().unwrap().ends_with(".old-1"));
    assert_eq!((manifest(aside), records(aside)), (made, bytes));
    place.run(&["s.toml", "--force"], "results/small");
    assert_eq!(place.hidden("results/small").len(), 2);
}

#[test]
fn a_run_that_lacks_a_file_is_run_again() {
    let place = Place::with(SMALL);
    let without = place.run(&["s.toml", "--set", "output.requests=false"], "results/small");
    assert_eq!(records(&without[0]).keys().collect::<Vec<_>>(), ["decisions.csv", "series.csv", "summary.csv"]);
    let with = place.run(&["s.toml"], "results/small");
    assert_eq!(with, without);
    assert!(records(&with[0]).contains_key("requests.csv"));
    place.splitwave(&["run", "s.toml", "--set", "output.requests=false"]).says(0, &["already there, skipped"]);
}

#[test]
fn tables_go_to_standard_output_and_progress_to_standard_error() {
    let place = Place::with(SMALL);
    let done = place.splitwave(&["run", "s.toml"]);
    ok(&done);
    let mut lines = done.out.lines();
    assert!(lines.next().unwrap().starts_with("run       group  requests  completed"), "{}", done.out);
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let all = summary_of_all(&place.finished("results/small")[0]);
    assert_eq!(row[..5], ["small", "#0", "all", &all["arrivals"], &all["completed"]]);
    assert_eq!(done.err.lines().count(), 1, "{}", done.err);
    assert!(!done.out.contains('\u{1b}') && !done.err.contains('\u{1b}'), "colours in a file");

    let valid = place.splitwave(&["validate", "s.toml"]);
    assert_eq!((valid.code, valid.err.as_str()), (Some(0), ""));
    assert!(
        valid.out.starts_with("s.toml: valid: scenario small; UEs: 3, groups: 1, simulated s: 20"),
        "{}",
        valid.out
    );
}

#[test]
fn quiet_prints_nothing_on_success() {
    let place = Place::with(SMALL);
    // A slow fade: the scenario has a warning.
    let slow = ["run", "s.toml", "--set", "channel.doppler_hz=0.1"];
    place
        .splitwave(&slow)
        .says(0, &["warning: a mean fade lasts ", "--set #1:1:20", "hint: raise doppler_hz", "1 warning"]);
    for arguments in [&["--force", "--quiet"], &["--quiet", "--threads=1"]] {
        let done = place.splitwave(&[&slow[..], arguments].concat());
        assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(0), "", ""));
    }
    place.splitwave(&["run", "nowhere.toml", "--quiet"]).says(2, &["error: "]);
}

#[test]
fn seed_replications_and_threads() {
    let place = Place::with(SMALL);
    let one = place.run(&["s.toml", "-o", "one", "--seed", "9", "--replications", "3", "--threads", "1"], "one/small");
    let two = place.run(&["s.toml", "-o", "two", "--seed", "9", "--replications", "3", "--threads", "2"], "two/small");
    assert_eq!((one.len(), two.len()), (3, 3));
    for (replication, (one, two)) in one.iter().zip(&two).enumerate() {
        assert_eq!(one.file_name(), two.file_name());
        assert_eq!(records(one), records(two));
        let (one, two) = (manifest(one), manifest(two));
        assert_eq!((&one["seed"], &one["replication"]), (&9.into(), &replication.into()));
        assert_eq!((&one["threads"], &two["threads"]), (&1.into(), &2.into()));
    }
    let requests: BTreeSet<_> = one.iter().map(|run| records(run)["requests.csv"].clone()).collect();
    assert_eq!(requests.len(), 3, "replications differ");
    // The same three by the scenario's own keys.
    let keys = ["s.toml", "--set", "seed=9", "--set", "replications=3", "-o", "one"];
    assert_eq!(place.run(&keys, "one/small"), one);
}

#[test]
fn several_files_at_once() {
    let place = Place::with(SMALL);
    place.write("t.toml", SMALL.replace("\"small\"", "\"other\"").replace("seed = 3", "seed = 4"));
    let done = place.splitwave(&["run", "s.toml", "t.toml"]);
    ok(&done);
    assert_eq!((place.finished("results/small").len(), place.finished("results/other").len()), (1, 1));
    let rows: Vec<&str> = done.out.lines().skip(1).take(2).collect();
    assert!(rows[0].starts_with("small #0") && rows[1].starts_with("other #0"), "{}", done.out);
    // The same run twice is one run.
    assert_eq!(place.run(&["s.toml", "s.toml", "--force"], "results/small").len(), 1);
}

#[test]
fn the_manifest_says_what_was_run_and_how_to_run_it_again() {
    let place = Place::with(SMALL);
    let noise = "channel.noise_std={ min = 0.1, max = 0.2, draw = \"per-ue\" }";
    let runs =
        place.run(&["s.toml", "--set", noise, "--set", "duration_s=15", "--seed", "5", "-o", "first"], "first/small");
    let page = manifest(&runs[0]);
    let all = summary_of_all(&runs[0]);
    assert_eq!(page["scenario"]["channel"]["noise_std"]["draw"], "per-ue");
    assert_eq!(page["scenario"]["channel"]["sinusoids"], 32, "defaults are filled in");
    assert_eq!((&page["scenario"]["seed"], &page["seed"]), (&5.into(), &5.into()));
    assert_eq!((&page["version"], &page["schema_version"]), (&env!("CARGO_PKG_VERSION").into(), &1.into()));
    assert_eq!(page["inputs"]["model.source"].as_str().map(str::len), Some(64));
    assert_eq!(page["counts"]["requests"].as_u64().unwrap().to_string(), all["arrivals"]);
    assert!(page["counts"]["events"].as_u64() > page["counts"]["requests"].as_u64());
    assert!(page["wall_s"].as_f64().unwrap() > 0.0 && page["threads"].as_u64().unwrap() >= 1);
    for key in ["instruction_set", "host", "started_at", "run_id"] {
        assert!(page[key].as_str().is_some_and(|text| !text.is_empty()), "{key}");
    }
    for key in ["commit", "dirty"] {
        assert!(page.get(key).is_some(), "{key}");
    }
    let files: Vec<&str> = page["files"].as_array().unwrap().iter().filter_map(|file| file["name"].as_str()).collect();
    assert_eq!(files, ["requests.csv", "decisions.csv", "series.csv", "summary.csv"]);

    // The command goes through a shell as it stands.
    ok(&place.shell(page["command"].as_str().unwrap()));
    let again = place.finished("results/small");
    assert_eq!(again[0].file_name(), runs[0].file_name());
    assert_eq!(records(&again[0]), records(&runs[0]));
}

#[test]
fn the_files_have_the_columns_that_readers_rely_on() {
    let place = Place::with(SMALL);
    let runs = place.run(&["s.toml"], "results/small");
    for (file, columns) in [("requests.csv", REQUESTS), ("decisions.csv", DECISIONS), ("series.csv", SERIES)] {
        let (header, rows) = csv_rows(&runs[0].join(file));
        assert_eq!(header, columns.split(", ").collect::<Vec<_>>(), "{file}");
        assert!(rows.len() > 5, "{file}");
    }
    let (header, rows) = csv_rows(&runs[0].join("summary.csv"));
    for column in [
        "scope",
        "name",
        "arrivals",
        "completed",
        "outage",
        "timeout",
        "dropped",
        "unfinished",
        "e2e_mean_s",
        "e2e_median_s",
        "e2e_p95_s",
        "e2e_p99_s",
        "e2e_max_s",
        "ttft_mean_s",
        "ttft_median_s",
        "ttft_p95_s",
        "ttft_p99_s",
        "corpus_ppl",
        "ppl_mean",
        "split_mean",
        "reward_mean",
        "ue_utilisation",
        "uplink_utilisation",
        "edge_utilisation",
        "ue_energy_j",
        "tx_energy_j",
        "goodput_rps",
    ] {
        assert!(header.iter().any(|name| name == column), "{column}");
    }
    let scopes: Vec<&str> = rows.iter().map(|row| row["scope"].as_str()).collect();
    assert_eq!(scopes, ["ue", "ue", "ue", "group", "all"]);
    for row in rows {
        let count = |column: &str| row[column].parse::<u64>().unwrap();
        let outcomes: u64 = ["completed", "outage", "timeout", "dropped", "unfinished"].map(count).iter().sum();
        assert_eq!(outcomes, count("arrivals"));
    }
}

#[test]
fn the_run_id_depends_on_what_changes_results_and_on_nothing_else() {
    let place = Place::with(SMALL);
    place.write("sub/copy.txt", "A text that nobody reads, for there is no model to score it.");
    let config = std::fs::read(crate::cli_support::project().join("models/builtin/config.json")).unwrap();
    place.write("one.json", &config);
    place.write("sub/two.json", &config);
    let run_id = |arguments: &[&str]| {
        let done = place.splitwave(&[&["run", "s.toml", "--force", "-o", "ids"], arguments].concat());
        ok(&done);
        let path = done.err.lines().last().unwrap().rsplit('/').next().unwrap().to_owned();
        assert_eq!(path.len(), 16, "{}", done.err);
        path
    };
    let of = |set: &str| run_id(&["--set", set]);
    let id = run_id(&[]);
    for same in [
        "name=another",
        "replications=1",
        "output.requests=false",
        "output.decisions=false",
        "channel.sinusoids=32",
        "drain_limit_s=60",
        "duration_s=20",
        "model.corpus=sub/copy.txt",
    ] {
        assert_eq!(of(same), id, "{same}");
    }
    assert_eq!(run_id(&["--threads", "1"]), id);
    assert_eq!(of("model.cost_as=one.json"), of("model.cost_as=sub/two.json"), "a path is no content");
    let others: Vec<String> = [
        "seed=4",
        "duration_s=21",
        "drain_limit_s=61",
        "warmup_s=1",
        "stop.requests=5",
        "model.cost_as=self",
        "model.cost_as=one.json",
        "model.flop_count=chen25-eq2",
        "service.mode=edge-only",
        "split.max=8",
        "split.initial=2",
        "controller.kind=fixed",
        "controller.moves=[-2,0,2]",
        "reward.lambda=10",
        "channel.noise_std=0.1",
        "channel.loss_probability=0.1",
        "channel.reception=raw",
        "channel.sinusoids=16",
        "radio.bandwidth_mhz=6",
        "ue.count=4",
        "ue.device=t4",
        "ue.queue_capacity=1",
        "ue.deadline_ms=500",
        "ue.workload.rate_per_s=0.6",
        "edge.device=t4",
        "edge.discipline=ps",
        "output.sample_interval_s=2",
    ]
    .map(of)
    .into();
    let replication = place.run(&["s.toml", "--replications", "2", "-o", "two"], "two/small");
    let ids: BTreeSet<String> = others.iter().cloned().chain([id.clone()]).collect();
    assert_eq!(ids.len(), others.len() + 1, "{others:?}");
    assert_eq!(replication[0].file_name().unwrap().to_str(), Some(id.as_str()));
    assert!(!ids.contains(replication[1].file_name().unwrap().to_str().unwrap()));
}

#[test]
fn profile_writes_a_table_that_scenarios_read() {
    let place =
        Place::with("name = \"p\"\nduration_s = 5.0\n[channel]\ndoppler_hz = 60.0\n[radio]\nbandwidth_mhz = 1.0\n");
    let grid = ["--splits", "1,2", "--losses", "0,0.3", "--noises", "0,1", "--windows", "2", "--tokens", "16"];
    let done = place.splitwave(&[&["profile", "s.toml", "-o", "grid"], &grid[..]].concat());
    ok(&done);
    assert!(
        done.out.contains("grid/table.csv: 8 rows") && done.out.contains("grid/records.csv: 16 rows"),
        "{}",
        done.out
    );
    let table = ["--set", "quality.source=table", "--set", "quality.table=grid/table.csv", "--set", "split.max=2"];
    ok(&place.splitwave(&[&["validate", "s.toml"], &table[..]].concat()));
    for (option, value, said) in [
        ("--splits", "17", "allowed: 1 to 16"),
        ("--losses", "1", "allowed: 0 to below 1"),
        ("--noises", "inf", "allowed: 0 to 1e6"),
        ("--losses", "-0.1", "allowed: 0 to below 1"),
    ] {
        place
            .splitwave(&["profile", "s.toml", "-o", "other", option, value])
            .says(2, &["error: ", option, said, "hint: "]);
    }
    let made = std::fs::read(place.path("grid/table.csv")).unwrap();
    let twice = place.splitwave(&[&["profile", "s.toml", "-o", "grid"], &grid[..]].concat());
    twice.says(0, &["grid/records.csv: already there with 16 records, skipped (--force makes it again)\n"]);
    assert_eq!(twice.out, "");
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.path("grid/manifest.json")).unwrap()).unwrap();
    let command = manifest["command"].as_str().unwrap().replace("DIR", "again");
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    ok(&place.splitwave(&words));
    assert_eq!(std::fs::read(place.path("again/table.csv")).unwrap(), made, "{command}");
    let quiet = place.splitwave(&[&["profile", "s.toml", "-o", "grid", "--force", "--quiet"], &grid[..]].concat());
    assert_eq!((quiet.code, quiet.out.as_str(), quiet.err.as_str()), (Some(0), "", ""));
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let place = Place::with(SMALL);
    for command in
        [&["run", "s.toml", "--force"] as &[_], &["validate", "s.toml"], &["schema"], &["schema", "--markdown"]]
    {
        let mut child = Command::new(BINARY)
            .args(command)
            .current_dir(place.path(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().unwrap().code(), Some(0), "{command:?}");
    }
    assert_eq!(place.finished("results/small").len(), 1);
}

/// Two scenarios may each have a file of that name beside them.
#[test]
fn files_of_one_name_are_two_files() {
    let place = Place::new();
    let table = |gain: &str| format!("split,loss_probability,relative_ppl_gain\n1,0,{gain}\n1,0.5,{gain}\n");
    for (folder, gain) in [("a", "-0.1"), ("b", "-0.9")] {
        std::fs::create_dir(place.path(folder)).unwrap();
        place.write(&format!("{folder}/table.csv"), table(gain));
        place.write(
            &format!("{folder}/s.toml"),
            format!(
                "name = \"{folder}\"\n[split]\nmax = 1\n[quality]\nsource = \"table\"\ntable = \"table.csv\"\n\
                 [reward]\nkind = \"relative-gain\"\n[[ue]]\nworkload = {{ rate_per_s = 1.0 }}\n"
            ),
        );
    }
    ok(&place.splitwave(&["run", "a/s.toml", "b/s.toml"]));
    let reward = |folder: &str| {
        let requests = records(&place.finished(&format!("results/{folder}"))[0])["requests.csv"].clone();
        let mut reader = csv::Reader::from_reader(&requests[..]);
        let column = reader.headers().unwrap().iter().position(|name| name == "reward").unwrap();
        reader.records().next().unwrap().unwrap()[column].parse::<f64>().unwrap()
    };
    // 10 · gain + (10 - 1)/10
    assert!((reward("a") + 0.1).abs() < 1e-9 && (reward("b") + 8.1).abs() < 1e-9);
}

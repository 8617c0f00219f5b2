//! `study plan`: which points a study file gives, in which order, under which ids, and what it refuses.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use splitwave::run::inputs::Library;
use splitwave::study::{AxisValue, Plan};

use crate::cli_support::{Done, Place, SMALL, manifest};

/// A place with `s.toml` and the study `p.toml`.
fn place(study: &str) -> Place {
    let place = Place::with(SMALL);
    place.write("p.toml", format!("name = \"p\"\nbase = \"s.toml\"\n{study}"));
    place
}

fn plan(study: &str) -> Done {
    place(study).splitwave(&["study", "plan", "p.toml", "--no-probe"])
}

/// The runs of a study that must be right.
fn runs(study: &str) -> Vec<Value> {
    let done = place(study).splitwave(&["study", "plan", "p.toml", "--json"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let mut document: Value = serde_json::from_str(&done.out).unwrap();
    document["runs"].as_array_mut().unwrap().drain(..).collect()
}

/// The values of each run, in the order of the columns.
fn values(study: &str) -> Vec<Value> {
    let values = |run: &Value| run["values"].as_object().unwrap().values().cloned().collect::<Value>();
    runs(study).iter().map(values).collect()
}

fn ids(study: &str) -> Vec<String> {
    runs(study).iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn axes_are_crossed_in_the_order_of_the_file() {
    let grid = "[axes]\n\"split.initial\" = [1, 5]\n\"channel.doppler_hz\" = { from = 10, to = 30, count = 3 }\n";
    let expected = [[1, 10], [1, 20], [1, 30], [5, 10], [5, 20], [5, 30]].map(|point| json!(point));
    assert_eq!(values(grid), expected);
    let tables = "[axes.split]\ninitial = [1, 5]\n[axes]\nchannel.doppler_hz = [10, 20, 30]\n";
    assert_eq!(values(tables), expected);
    assert_eq!(ids(tables), ids(grid), "two ways to write one study");
}

#[test]
fn zips_are_paired_and_crossed_excluded_and_included() {
    let study = "[axes]\n\"split.initial\" = [1, 5]\n\
                 [[zip]]\n\"ue.phone.count\" = [1, 2]\n\"radio.bandwidth_mhz\" = [5.0, 10.0]\n\
                 [[exclude]]\n\"split.initial\" = 5.0\n\"ue.phone.count\" = 2\n\
                 [[include]]\n\"edge.device\" = \"t4\"\n";
    let expected =
        [json!([1, 1, 5.0, "l4"]), json!([1, 2, 10.0, "l4"]), json!([5, 1, 5.0, "l4"]), json!([null, 3, 5.0, "t4"])];
    assert_eq!(values(study), expected);
    let listed = "[[include]]\n\"split.initial\" = 3\n[[include]]\n\"split.initial\" = 4\n";
    assert_eq!(values(listed), [json!([3]), json!([4])], "without axes there is no grid");
    assert_eq!(values(""), [json!([])], "without anything there is the base");
}

#[test]
fn constants_and_tables_reach_the_scenario() {
    let study = "[set]\nduration_s = 7.5\n\"channel.loss_probability\" = { min = 0.0, max = 0.1, draw = \"per-ue\" }\n\
                 [axes]\n\"channel.loss_probability.max\" = [0.2, 0.3]\n\"controller.moves\" = [[-1, 0, 1], [-2, 0, 2]]\n";
    let place = place(study);
    let mut library = Library::default();
    let plan = Plan::open(&place.path("p.toml"), &mut library).unwrap();
    let job = plan.job(1, &mut library).unwrap();
    assert_eq!(plan.value(1, 1), Some(&AxisValue::Toml("[-2, 0, 2]".into())));
    assert_eq!(plan.value(1, 0).and_then(AxisValue::as_f64), Some(0.2));
    let scenario = &job.assembly.scenario;
    assert_eq!((scenario.duration_s, scenario.controller.tables()[0].moves.as_slice()), (7.5, &[-2, 0, 2][..]));
    assert_eq!(scenario.channel.tables()[0].loss_probability.as_ref().unwrap().bounds(), (0.0, 0.2));
    assert_eq!(job.run_id(), plan.run(1).id.to_string());
    assert_eq!(plan.find(&plan.run(3).id), Some(3));
    let done = place.shell(&job.command);
    assert_eq!(done.code, Some(0), "{}: {}", job.command, done.err);
    let made = place.finished("results/small");
    assert_eq!(manifest(&made[0])["run_id"], job.run_id(), "the command runs it again");
}

#[test]
fn ids_are_those_of_run_and_stay() {
    let place = Place::with(SMALL);
    let made = place.run(&["s.toml", "--quiet", "--replications", "2"], "results/small");
    let of_run: Vec<String> = made.iter().map(|run| manifest(run)["run_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids("replications = 2\n"), of_run);
    // The default of an axis is the base scenario itself.
    let one = ids("replications = 2\n[axes]\n\"edge.max_batch\" = [8, 4]\n");
    assert_eq!(one[..2], of_run);
    let more = ids("replications = 3\n[axes]\n\"edge.max_batch\" = [2, 8, 4]\n\"radio.tx_power_dbm\" = [20.0, 23.0]\n");
    let at = |point: usize, replication: usize| more[point * 3 + replication].clone();
    assert_eq!([at(3, 0), at(3, 1), at(5, 0), at(5, 1)], one[..], "more values, axes and replications keep old ids");
    assert_eq!(more.iter().collect::<BTreeSet<_>>().len(), 18);
}

#[test]
fn seeds_are_common_or_of_the_point() {
    let axes = "[axes]\n\"split.initial\" = [1, 2, 3]\n";
    let seeds = |study: &str| runs(study).iter().map(|run| run["seed"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(seeds(axes), [3, 3, 3], "the base scenario's");
    assert_eq!(seeds(&format!("seed = 9\n{axes}")), [9, 9, 9]);
    let own = seeds(&format!("seed_policy = \"per-point\"\nreplications = 2\n{axes}"));
    assert!(own[0] == own[1] && own[2] == own[3] && own[0] != own[2] && own[2] != own[4], "{own:?}");
    assert!(own.iter().all(|seed| *seed < 1 << 53));
    let later =
        seeds("seed_policy = \"per-point\"\n[axes]\n\"split.initial\" = [0.5, 2, 3]\n".replace("0.5, ", "").as_str());
    assert_eq!(later, [own[2], own[4]], "a point keeps its seed wherever it stands");
}

#[test]
fn equal_points_are_one_run() {
    let study = "[axes]\n\"channel.doppler_hz\" = [10, 10.0, 20]\n";
    assert_eq!(values(study), [json!([10]), json!([20])]);
    plan(study).says(0, &["1 point is the same as an earlier one and left out, the first: channel.doppler_hz = 10.0"]);
}

#[test]
fn samples_are_crossed_and_within_their_ranges() {
    let study = |method: &str, count: usize| {
        format!(
            "[axes]\n\"split.initial\" = [1, 2]\n[sample]\nmethod = \"{method}\"\ncount = {count}\nseed = 7\n[sample.ranges]\n\
             \"channel.doppler_hz\" = {{ min = 1.0, max = 100.0, scale = \"log\" }}\n\
             \"ue.phone.count\" = {{ min = 1, max = 5 }}\n"
        )
    };
    let random = values(&study("random", 50));
    assert_eq!(random.len(), 100);
    assert_eq!(random[..20], values(&study("random", 20))[..20], "a larger count keeps the points that are there");
    for point in &random {
        let (doppler, count) = (point[1].as_f64().unwrap(), point[2].as_u64().unwrap());
        assert!((1.0..=100.0).contains(&doppler) && (1..=5).contains(&count), "{point}");
    }
    // Each of 50 slices of the logarithm's range once, and each of five counts ten times.
    let hypercube = &values(&study("latin-hypercube", 50))[..50];
    let slices = hypercube.iter().map(|point| (point[1].as_f64().unwrap().log10() / 2.0 * 50.0) as usize);
    assert_eq!(slices.collect::<BTreeSet<_>>(), (0..50).collect());
    for count in 1..=5 {
        assert_eq!(hypercube.iter().filter(|point| point[2] == json!(count)).count(), 10);
    }
}

#[test]
fn keys_that_are_no_axes_are_named() {
    plan("[set]\n\"radio.bandwith_mhz\" = 3.0\n[axes]\n\"split.inital\" = [1]\n\"edge.batch\" = [1]\n").says(
        2,
        &[
            "unknown key `bandwith_mhz` in `radio`",
            "p.toml:4:1",
            "did you mean `bandwidth_mhz`?",
            "unknown key `inital` in `split`",
            "p.toml:6:1",
            "did you mean `initial`?",
            "unknown key `batch` in `edge`",
            "3 errors",
        ],
    );
    plan("[axes]\n\"ue.fone.count\" = [1]\n\"split.min.x\" = [1]\n\"a b\" = [1]\n").says(2, &["unexpected ` `"]);
    plan("[axes]\n\"ue[3].count\" = [1]\n\"duration_s.x\" = [1]\n")
        .says(2, &["`ue` has no element `[3]`", "allowed: index 0, or phone", "`duration_s` is a number, not a table"]);
    for (key, because) in [
        ("name", "it names the folder of results"),
        ("seed", "replications and seed_policy say how randomness varies"),
        ("replications", "every point has the same"),
        ("output.requests", "it says which files are written"),
    ] {
        plan(&format!("[axes]\n\"{key}\" = [1, 2]\n")).says(2, &[&format!("`{key}` is no axis: {because}")]);
    }
    plan("[set]\nseed = 4\n").says(2, &["`seed` can't stand in [set]", "at the top of the study file"]);
    plan("[[exclude]]\n\"split.inital\" = 1\n[axes]\n\"split.initial\" = [1, 2]\n")
        .says(2, &["`split.inital` is no axis of this study", "did you mean `split.initial`?"]);
}

#[test]
fn a_key_in_two_places_is_refused() {
    plan("[axes]\n\"ue.phone.count\" = [1]\n[[zip]]\n\"ue[0].count\" = [2]\n")
        .says(2, &["`ue[0].count` stands twice among the axes (as `ue.phone.count`)", "p.toml:6:1"]);
    plan("[axes]\n\"split\" = [{ initial = 1 }]\n\"split.initial\" = [2]\n")
        .says(2, &["`split` and `split.initial` are axes, and one holds the other"]);
    plan("[set]\n\"split.initial\" = 2\n[axes]\n\"split.initial\" = [2]\n")
        .says(2, &["`split.initial` is in [set], and `split.initial` is an axis", "leave it out of [set]"]);
}

#[test]
fn empty_and_uneven_grids_are_refused() {
    plan("[axes]\n\"split.initial\" = []\n").says(2, &["`split.initial` has no values: the grid is empty"]);
    plan("[axes]\n\"split.initial\" = [1]\n[[exclude]]\n\"split.initial\" = 1\n")
        .says(2, &["the grid is empty: [[exclude]] leaves out every one of its 1 points"]);
    plan("[[zip]]\n\"split.initial\" = [1, 2]\n\"ue.phone.count\" = [1, 2, 3]\n").says(
        2,
        &["the lists of a [[zip]] differ in length: split.initial has 2, ue.phone.count has 3", "pair every value"],
    );
    plan("[[zip]]\n[axes]\n\"split.initial\" = [1]\n").says(2, &["this [[zip]] names no key"]);
    plan("[axes]\n\"split.initial\" = 3\n")
        .says(2, &["`split.initial` must be a list or a range, not an integer", "belongs in [set]"]);
    plan("[axes]\n\"split.initial\" = [1, 2]\n[[exclude]]\n\"split.initial\" = 7\n")
        .says(0, &["warning: this [[exclude]] leaves out no point", "1 warning"]);
}

#[test]
fn a_misspelt_group_is_offered_its_name() {
    plan("[axes]\n\"ue.phne.count\" = [1, 2]\n")
        .says(2, &["unknown key `phne`", "did you mean `ue.phone`?", "1 error"]);
}

#[test]
fn bad_ranges_are_refused() {
    let axis = |range: &str| plan(&format!("[axes]\n\"channel.doppler_hz\" = {range}\n"));
    axis("{ from = 1, to = 2, count = 0 }").says(2, &["`channel.doppler_hz.count` is out of range", "[1, 10000000]"]);
    axis("{ from = 1, to = 2, count = 1 }").says(2, &["one value can't be both ends of `channel.doppler_hz`"]);
    axis("{ from = 0.0, to = 2, count = 3, scale = \"log\" }")
        .says(2, &["a log scale has no values of 0 and below", "allowed: above 0"]);
    axis("{ from = 1, too = 2, count = 3 }").says(2, &["unknown key `too`", "did you mean `to`?"]);
    axis("{ from = nan, to = 2, count = 3 }").says(2, &["must be a finite number"]);
    axis("{ min = 1, max = 2 }")
        .says(2, &["is an interval to draw from", "draw from it in [sample.ranges]", "1 error"]);
    axis("[1.0, inf]").says(2, &["must be a finite number"]);
    let sample =
        |range: &str| plan(&format!("[sample]\ncount = 3\n[sample.ranges]\n\"channel.doppler_hz\" = {range}\n"));
    sample("{ min = 3, max = 2 }").says(2, &["min is above max", "at most 2"]);
    // Doubles can't tell these two apart.
    sample("{ min = 9007199254740993, max = 9007199254740992 }").says(2, &["min is above max"]);
    sample("{ min = -1.7e308, max = 1.7e308 }").says(2, &["too wide to draw from"]);
    sample("{ min = -1.0, max = 2.0, scale = \"log\" }").says(2, &["a log scale has no values of 0 and below"]);
    plan("[sample]\ncount = 3\n[sample.ranges]\n").says(2, &["there is nothing to draw"]);
    plan("[sample]\ncount = 0\n[sample.ranges]\n\"channel.doppler_hz\" = { min = 1, max = 2 }\n")
        .says(2, &["`sample.count` is out of range"]);
}

#[test]
fn too_many_runs_are_refused_with_their_number() {
    // 8192^10 = 2^130 is more than 128 bits hold.
    let keys = [
        "channel.doppler_hz",
        "channel.noise_std",
        "channel.snr_gap_db",
        "radio.bandwidth_mhz",
        "radio.downlink_mbps",
        "radio.downlink_latency_ms",
        "radio.tx_power_dbm",
        "radio.retransmission_delay_ms",
        "reward.lambda",
        "warmup_s",
    ];
    let axis = |key: &&str| format!("\"{key}\" = {{ from = 1.0, to = 2.0, count = 8192 }}\n");
    let axes = keys.iter().map(axis).collect::<Vec<_>>().concat();
    plan(&format!("[axes]\n{axes}")).says(2, &["at most 10000000 runs"]);
    let axis = |key: &str| format!("\"{key}\" = {{ from = 1.0, to = 2.0, count = 1001 }}\n");
    let study = format!("replications = 10\n[axes]\n{}{}", axis("channel.doppler_hz"), axis("radio.bandwidth_mhz"));
    plan(&study).says(2, &["10020010 runs: 1002001 points (1001 × 1001) of 10 replications", "at most 10000000 runs"]);
}

#[test]
fn all_bad_points_are_listed_before_anything_runs() {
    let study = "[axes]\n\"split.initial\" = [1, 40, 0]\n\"ue.phone.device\" = [\"l5\", \"l4\"]\n\"edge.servers\" = [2]\n\
                 \"edge.discipline\" = [\"fifo\", \"ps\"]\n";
    let done = plan(study);
    done.says(
        2,
        &[
            "no device has this name",
            "did you mean \"l4\"?",
            "met: 6 of 12 points: split.initial = 1, ue.phone.device = l5",
        ],
    );
    done.says(2, &["the initial split is outside split.min and split.max", "met: 4 of 12 points: split.initial = 40"]);
    done.says(2, &["`split.initial` is out of range", "met: 4 of 12 points: split.initial = 0"]);
    done.says(2, &["only a \"fifo\" edge has several servers", "met: 6 of 12 points"]);
    assert!(done.err.ends_with("4 errors\n"), "{}", done.err);
    assert_eq!(done.out, "");
}

#[test]
fn study_files_that_cannot_be_read_say_why() {
    let place = Place::new();
    place.splitwave(&["study", "plan", "no.toml"]).says(2, &["no.toml", "give the path of a study file"]);
    place.write("p.toml", "name = \"a b\"\nbase = \"no.toml\"\n");
    place.splitwave(&["study", "plan", "p.toml"]).says(2, &["this name can't be the name of a folder"]);
    place.write("p.toml", "name = \"p\"\nbase = \"no.toml\"\nreplicatons = 3\n");
    place
        .splitwave(&["study", "plan", "p.toml"])
        .says(2, &["unknown key `replicatons`", "did you mean `replications`?"]);
    place.write("p.toml", "name = \"p\"\nbase = \"no.toml\"\n");
    place.splitwave(&["study", "plan", "p.toml"]).says(2, &["no.toml", "p.toml:2:8", "the study file's folder"]);
    place.write("sub/s.toml", SMALL.replace("seed = 3", "seed = = 3"));
    place.write("sub/p.toml", "name = \"p\"\nbase = \"s.toml\"\n");
    place.splitwave(&["study", "plan", "sub/p.toml"]).says(2, &["not TOML", "sub/s.toml:2:"]);
}

#[test]
fn the_table_shows_axes_runs_and_time() {
    let place = place(
        "replications = 7\n[axes]\n\"split.initial\" = [1, 2]\n[[zip]]\n\"ue.phone.count\" = [1, 2]\nduration_s = [5.0, 6.0]\n",
    );
    let done = place.splitwave(&["study", "plan", "p.toml", "--threads", "2"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(lines[0], "study p: 4 points × 7 replications = 28 runs");
    assert_eq!(lines[3], "split.initial        2  1, 2");
    assert_eq!(lines[4], "ue.phone.count       2  1, 2  (with duration_s)");
    let first: Vec<&str> = lines[8].split_whitespace().collect();
    assert_eq!((&first[2..], first[0]), (&["0", "0", "3", "1", "1", "5.0"][..], "0"));
    assert_eq!(lines[20], "… and 16 more; --json lists all");
    assert!(lines[22].starts_with("about ") && lines[22].contains(" on 2 threads ("), "{}", lines[22]);
}

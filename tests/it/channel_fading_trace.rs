//! Fading from a file: what its gains are, what they do to packets, and what is refused.

use splitwave::channel::{FadingLaw, FadingModel, GainTrace};
use splitwave::network::rows::Outcome;

use crate::cli_support::Place;
use crate::network_support::run;

/// 0 to 2 in a second, 2 for a second, 2 to 1 in two.
fn trace(repeats: bool) -> GainTrace {
    GainTrace::new(vec![[0.0, 0.0], [1.0, 2.0], [2.0, 2.0], [4.0, 1.0]], repeats).expect("in order")
}

#[test]
fn the_gain_is_linear_between_instants() {
    let once = trace(false);
    for (time_s, gain) in
        [(-1.0, 0.0), (0.0, 0.0), (0.25, 0.5), (1.0, 2.0), (1.7, 2.0), (3.0, 1.5), (4.0, 1.0), (9.0, 1.0)]
    {
        assert_eq!(once.envelope(time_s), gain, "{time_s}");
    }
    let again = trace(true);
    for (time_s, gain) in [(3.0, 1.5), (4.0, 0.0), (4.25, 0.5), (41.0, 2.0), (-1.0, 1.5)] {
        assert_eq!(again.envelope(time_s), gain, "{time_s}");
    }
    assert_eq!(GainTrace::new(vec![[0.0, 0.7]], false).unwrap().envelope(5.0), 0.7);
}

#[test]
fn the_law_is_the_share_of_time() {
    let trace = trace(false);
    // Below ρ ≤ 1 only the rise, ρ/2 s of 4 s; above, the fall too, 2(ρ - 1) s; at 2 it stands for 1 s.
    for (rho, share) in [(0.0, 0.0), (0.5, 0.0625), (1.0, 0.125), (1.5, 0.4375), (2.0, 0.75), (2.1, 1.0)] {
        assert!((trace.share_below(rho) - share).abs() < 1e-12, "{rho}: {}", trace.share_below(rho));
        assert_eq!(FadingLaw::Empirical(&trace).outage(rho * rho), trace.share_below(rho));
    }
    for (share, rho) in [(0.0, 0.0), (0.0625, 0.5), (0.4375, 1.5), (0.75, 2.0), (0.9, 2.0)] {
        assert!((trace.quantile(share) - rho).abs() < 1e-12, "{share}: {}", trace.quantile(share));
    }
    // (∫ of squares: 4/3 + 4 + 2·7/3) / 4.
    assert!((trace.mean_square() - 2.5).abs() < 1e-12);
    // Against counting 40,000 instants of a winding series.
    let points: Vec<[f64; 2]> = (0..200).map(|i| [f64::from(i), 1.0 + (f64::from(i) * 0.7).sin() * 0.8]).collect();
    let winding = GainTrace::new(points, false).unwrap();
    for rho in [0.25, 0.6, 1.0, 1.7] {
        let below = (0..40_000).filter(|&i| winding.envelope((f64::from(i) + 0.5) * 199.0 / 4e4) < rho).count();
        assert!((winding.share_below(rho) - below as f64 / 4e4).abs() < 1e-3, "{rho}");
        assert!((winding.quantile(winding.share_below(rho)) - rho).abs() < 1e-9);
    }
}

#[test]
fn what_makes_no_series_is_refused() {
    for points in
        [vec![], vec![[0.0, 1.0], [0.0, 2.0]], vec![[0.0, -1.0]], vec![[f64::NAN, 1.0]], vec![[0.0, f64::INFINITY]]]
    {
        assert!(GainTrace::new(points.clone(), false).is_none(), "{points:?}");
    }
    let model = FadingModel::default();
    assert!(model.is_none());
}

const SCENARIO: &str = "name = \"t\"
duration_s = 4.0
[quality]
source = \"none\"
[channel]
fading = \"trace\"
fading_trace = \"FILE\"
KEYS
[[ue]]
name = \"phone\"
count = 2
workload = { kind = \"deterministic\", rate_per_s = 2.0, prompt_tokens = 4 }
[[ue]]
name = \"tablet\"
workload = { kind = \"deterministic\", rate_per_s = 2.0, prompt_tokens = 4 }
";

#[test]
fn packets_meet_the_gain_of_the_trace() {
    let place = Place::new();
    // Gain 1 until 2 s, then 0.5 for the phones; 2 for the tablet.
    let by_group = "time_s,gain,group\n0,1,phone\n0,2,tablet\n2,1,phone\n2.000001,0.5,phone\n5,0.5,phone\n5,2,tablet\n";
    let by_ue =
        "time_s,gain,ue\n0,1,0\n0,1,1\n0,2,2\n2,1,0\n2.000001,0.5,0\n2,1,1\n2.000001,0.5,1\n9,0.5,0\n9,0.5,1\n9,2,2\n";
    for (name, file) in [("group.csv", by_group), ("ue.csv", by_ue)] {
        let path = place.write(name, file);
        let keys = "gain_threshold = 0.7";
        let text = SCENARIO.replace("FILE", path.to_str().unwrap()).replace("KEYS", keys);
        let rows = run(&text).by_arrival();
        assert!(rows.len() >= 21, "{}", rows.len());
        for row in &rows {
            let weak = row.arrival_s.as_secs_f64() > 2.0;
            // σ_h = 1/√2, so h is the trace's gain.
            let gain = if row.ue_id == 2 {
                2.0
            } else if weak {
                0.5
            } else {
                1.0
            };
            if row.arrival_s.as_secs_f64() < 1.9 || weak {
                assert!((row.mean_gain.unwrap() - gain).abs() < 1e-6, "{name}: {row:#?}");
                assert_eq!(row.outcome == Outcome::Outage, gain < 0.7, "{name}: {row:#?}");
            }
        }
        // P is the share of its own series: none of the tablet's, and of the phones' what is after 2 s.
        let losses: Vec<f64> = rows.iter().filter_map(|row| row.loss_probability).collect();
        assert!(losses.contains(&0.0) && losses.iter().any(|&loss| loss > 0.5), "{losses:?}");
    }
}

/// Validates the scenario with this file of gains; what must be said.
fn said(file: &str, keys: &str, code: i32, parts: &[&str]) {
    let place = Place::with(&SCENARIO.replace("FILE", "g.csv").replace("KEYS", keys));
    place.write("g.csv", file);
    place.splitwave(&["validate", "s.toml"]).says(code, parts);
}

#[test]
fn files_that_are_no_trace_are_refused() {
    let head = "time_s,gain\n";
    let rows = |rows: &str| format!("{head}{rows}");
    for (file, parts) in [
        ("time,gain\n0,1\n".to_owned(), ["no column `time_s`", "time_s, gain and maybe ue or group"]),
        ("time_s,db\n0,1\n".to_owned(), ["no column `gain`", "s.toml:7"]),
        (rows(""), ["no rows", "s.toml:7"]),
        (rows("0,1\n1,NaN\n"), ["g.csv, line 3: `gain` is `NaN`", "allowed: 0 to 1e6"]),
        (rows("0,1\n1,-0.1\n"), ["line 3: `gain` is `-0.1`", "allowed"]),
        (rows("0,1\n1,1e7\n"), ["line 3: `gain` is `1e7`", "allowed"]),
        (rows("0,1\ninf,1\n"), ["line 3: `time_s` is `inf`", "a finite number of seconds"]),
        (rows("0,1\n2,1\n1,1\n"), ["line 4: time_s = 1 is before the one above it", "(line 3)"]),
        (rows("0,1\n2,1\n2,1\n"), ["line 4: time_s = 2 stands twice", "sort each series by time"]),
        (rows("0,1\n3,1\n"), ["the trace ends at 3 s, before duration_s = 4", "fading_trace_repeat = true"]),
        (rows("0.5,1\n5,1\n"), ["the trace begins at 0.5 s", "allowed: 0 or before"]),
        ("time_s,gain,ue\n0,1,3\n".to_owned(), ["`ue` is 3; allowed: 0 to 2", "s.toml:7"]),
        ("time_s,gain,ue\n0,1,x\n".to_owned(), ["line 2: `ue` is `x`", "the number of a UE"]),
        ("time_s,gain,ue\n0,1,0\n9,1,0\n0,1,2\n9,1,2\n".to_owned(), ["no row for ue 1, of group phone", "s.toml:7"]),
        ("time_s,gain,group\n0,1,car\n".to_owned(), ["`group` is `car`; allowed: phone, tablet", "s.toml:7"]),
        ("time_s,gain,group\n0,1,phone\n9,1,phone\n".to_owned(), ["no row for group tablet", "s.toml:7"]),
        ("time_s,gain,ue,group\n0,1,0,phone\n".to_owned(), ["both a column `ue` and a column `group`", "s.toml:7"]),
    ] {
        said(&file, "", 2, &parts);
    }
    said("time_s,gain\n0,1\n", "fading_trace_repeat = true", 2, &["has one row; a trace that repeats needs two"]);
    let place = Place::with(&SCENARIO.replace("FILE", "missing.csv").replace("KEYS", ""));
    place.splitwave(&["validate", "s.toml"]).says(2, &["missing.csv", "s.toml:7", "a path counts from"]);
}

#[test]
fn odd_traces_are_remarked_on() {
    let gap = "time_s,gain\n0,1\n0.1,1\n0.2,1\n0.3,1\n5,1\n";
    said(gap, "", 0, &["warning: g.csv, line 6: a gap of 4.7 s, where the median step is", "s.toml:7", "1 warning"]);
    said(
        "time_s,gain\n0,2\n9,2\n",
        "",
        0,
        &["mean square gain of the trace is 4.0000, not 1", "divide the gains by 2.0000"],
    );
    said("time_s,gain\n0,1\n9,1\n", "doppler_hz = 3.0\nsinusoids = 64", 0, &["which has its own time", "2 warnings"]);
}

#[test]
fn keys_of_another_fading_play_no_part() {
    let place = Place::with(
        "name = \"a\"\nduration_s = 1.0\n[quality]\nsource = \"none\"\n[channel]\nrician_k_db = 3\nnakagami_m = 2\n\
         coherence_ms = 5\nfading_trace = \"none.csv\"\nfading_trace_repeat = true\n",
    );
    let parts = ["fading is not \"rician\"", "s.toml:6", "s.toml:7", "s.toml:8", "s.toml:9", "s.toml:10", "5 warnings"];
    place.splitwave(&["validate", "s.toml"]).says(0, &parts);
    let block = "name = \"a\"\nduration_s = 1.0\nquality.source = \"none\"\n[channel]\nfading = \"block\"\n\
                 coherence_ms = 5\ndoppler_hz = 3\nsinusoids = 64\n";
    let parts = ["fading is \"block\"", "coherence_ms says how long a gain holds", "2 warnings"];
    let done = Place::with(block).splitwave(&["validate", "s.toml"]);
    assert!(parts.iter().all(|part| done.err.contains(part) || done.out.contains(part)), "{done:?}");
}

#[test]
fn kinds_without_their_parameters_are_refused() {
    let of = |keys: &str| Place::with(&format!("name = \"a\"\nquality.source = \"none\"\n[channel]\n{keys}\n"));
    for (keys, parts) in [
        ("fading = \"nakagami\"", ["nakagami fading needs a shape, nakagami_m", "set it from 0.5"]),
        ("fading = \"trace\"", ["a trace needs its file", "columns time_s and gain"]),
        ("fading = \"nakagami\"\nnakagami_m = 0.4", ["nakagami_m", "[0.5, 100]"]),
        ("fading = \"rician\"\nrician_k_db = 31", ["rician_k_db", "[-30, 30]"]),
        ("fading = \"block\"\ncoherence_ms = 0", ["coherence_ms", "0.001"]),
    ] {
        of(keys).splitwave(&["validate", "s.toml"]).says(2, &parts);
    }
}

/// The run is known by what is in the file, not by its name.
#[test]
fn the_content_of_a_trace_names_the_run() {
    let place = Place::with(&SCENARIO.replace("FILE", "g.csv").replace("KEYS", ""));
    let id = |place: &Place| {
        let folders = place.run(&["s.toml", "--out", "out"], "out/t");
        folders.last().and_then(|folder| folder.file_name()).map(|name| name.to_string_lossy().into_owned())
    };
    place.write("g.csv", "time_s,gain\n0,1\n9,1\n");
    let first = id(&place);
    let other = Place::with(&SCENARIO.replace("FILE", "h.csv").replace("KEYS", ""));
    other.write("h.csv", "time_s,gain\n0,1\n9,1\n");
    assert_eq!(first, id(&other));
    other.write("h.csv", "time_s,gain\n0,1\n9,1.01\n");
    let changed: Vec<_> = other.run(&["s.toml", "--out", "new"], "new/t");
    assert_ne!(first, changed[0].file_name().map(|name| name.to_string_lossy().into_owned()));
}

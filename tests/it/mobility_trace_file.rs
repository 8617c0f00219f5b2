//! The file of a mobility trace: what it says, and hostile input.

use splitwave::run::mobility_trace::{MobilityTraceFile, read_mobility_trace};
use splitwave::units::SimTime;
use std::fmt::Write as _;

fn read(text: &str) -> Result<MobilityTraceFile, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("paths.csv");
    std::fs::write(&path, text).expect("a file");
    read_mobility_trace(&path).map_err(|error| error.replace(&path.display().to_string(), "paths.csv"))
}

#[test]
fn rows_become_paths() {
    let text = "# two cars\nue, time_s, x_m, y_m, note\n1,0,0,0,a\n0,0,10,20,b\n0,2.5,10,70,c\n1,4,-40,30,d\n";
    let file = read(text).expect("a trace");
    assert_eq!(file.trace.ues(), 2);
    assert_eq!(file.hash, blake3_of(text));
    assert_eq!(file.warnings, Vec::<String>::new());
    let at = |ue, nanos| {
        let w = file.trace.at(ue, SimTime::from_nanos(nanos));
        [w.x_m, w.y_m, w.travelled_m, w.speed_m_s]
    };
    assert_eq!(at(0, 1_250_000_000), [10.0, 45.0, 25.0, 20.0]);
    assert_eq!(at(1, 2_000_000_000), [-20.0, 15.0, 25.0, 12.5]);
}

fn blake3_of(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

#[test]
fn a_wide_gap_draws_a_warning() {
    let mut text = "time_s,ue,x_m,y_m\n".to_owned();
    for second in 0..10 {
        writeln!(text, "{second},0,{second},0").unwrap();
    }
    assert!(read(&text).expect("a trace").warnings.is_empty());
    text += "19.5,0,0,0\n";
    let warnings = read(&text).expect("a trace").warnings;
    let expected = "paths.csv, line 12: 10.5 s without a row of UE 0 (median step: 1 s)";
    assert_eq!(warnings.len(), 1);
    let folderless = warnings[0].split_once("paths.csv").map(|(_, rest)| format!("paths.csv{rest}"));
    assert!(folderless.expect("the file's name").starts_with(expected), "{}", warnings[0]);
}

#[test]
fn errors_name_file_line_and_what_is_allowed() {
    let head = "time_s,ue,x_m,y_m\n";
    let cases = [
        (
            "time_s,ue,x_m\n0,0,0\n".to_owned(),
            "paths.csv: no column `y_m`; a mobility trace has time_s, ue, x_m and y_m",
        ),
        (head.to_owned(), "paths.csv: no rows; a mobility trace has time_s, ue, x_m and y_m"),
        (String::new(), "paths.csv: no column `time_s`"),
        (format!("{head}0,0,0,0\nNaN,0,0,0\n"), "paths.csv, line 3: `time_s` is `NaN`; allowed: seconds of at least 0"),
        (format!("{head}-1,0,0,0\n"), "paths.csv, line 2: `time_s` is `-1`; allowed: seconds of at least 0"),
        (format!("{head}1e300,0,0,0\n"), "paths.csv, line 2: `time_s` is `1e300`; allowed: seconds of at least 0"),
        (
            format!("{head}0,0,NaN,0\n"),
            "paths.csv, line 2: `x_m` is `NaN`; allowed: metres between -1000000 and 1000000",
        ),
        (format!("{head}0,0,0,inf\n"), "paths.csv, line 2: `y_m` is `inf`; allowed: metres between"),
        (format!("{head}0,0,0,\n"), "paths.csv, line 2: `y_m` is ``; allowed: metres between"),
        (format!("{head}0,-1,0,0\n"), "paths.csv, line 2: `ue` is `-1`; allowed: a whole number from 0"),
        (
            format!("{head}0,4000000000,0,0\n"),
            "paths.csv, line 2: `ue` is `4000000000`; allowed: a whole number from 0",
        ),
        (
            format!("{head}0,0,0,0\n0,2,0,0\n"),
            "paths.csv, line 3: `ue` is 2, but UE 1 has no rows; number a group's UEs from 0",
        ),
        (format!("{head}0,1,0,0\n"), "paths.csv, line 2: `ue` is 1, but UE 0 has no rows"),
        (
            format!("{head}1,0,0,0\n# later\n0.5,0,0,0\n"),
            "paths.csv, line 4: time_s = 0.5 of UE 0 is before line 2; each UE's times must increase",
        ),
        (
            format!("{head}1,0,0,0\n0,1,0,0\n1,0,0,0\n"),
            "paths.csv, line 4: time_s = 1 of UE 0 is the same time as line 2; each UE's times must increase",
        ),
        (format!("{head}1,0,0\n"), "paths.csv: CSV error: record 1 (line: 2"),
    ];
    for (text, expected) in cases {
        let error = read(&text).expect_err(expected);
        assert!(error.starts_with(expected), "{error}\nfor\n{expected}");
    }
    let error = read_mobility_trace(std::path::Path::new("nowhere/paths.csv")).expect_err("no file");
    assert!(error.starts_with("nowhere/paths.csv: "), "{error}");
}

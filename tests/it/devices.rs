//! Devices of one's own: files of them, what comes first, and every mistake with its file and line.

use crate::cli_support::{Place, manifest};

const SMALL: &str = "name = \"a\"
duration_s = 2.0
quality.source = \"none\"
device_files = [\"mine.toml\"]
[[ue]]
name = \"phone\"
device = \"npu\"
workload.rate_per_s = 5.0
";

fn device(name: &str, peak: f64) -> String {
    format!("[[device]]\nname = \"{name}\"\npeak_tflops = {peak}\nmemory_gb_s = 50.0\nreference = \"mine\"\n")
}

#[test]
fn a_file_of_devices_lies_beside_the_scenario() {
    let place = Place::new();
    std::fs::create_dir(place.path("sub")).unwrap();
    place.write("sub/s.toml", SMALL);
    place.write("sub/mine.toml", device("npu", 10.0));
    let resolved = |more: &[&str], out: &str| {
        let done = place.splitwave(&[&["run", "sub/s.toml", "-o", out], more].concat());
        assert_eq!(done.code, Some(0), "{}", done.err);
        let run = place.finished(&format!("{out}/a")).remove(0);
        let id = run.file_name().unwrap().to_str().unwrap().to_owned();
        (manifest(&run)["resolved"]["devices"]["npu"]["peak_tflops"].as_f64().unwrap(), id)
    };
    let (peak, id) = resolved(&[], "one");
    assert_eq!(peak, 10.0);
    // The same numbers in a file of another name are the same run; others are another one.
    place.write("sub/other.toml", device("npu", 10.0));
    assert_eq!(resolved(&["--set", "device_files=[\"other.toml\"]"], "two"), (10.0, id.clone()));
    place.write("sub/other.toml", device("npu", 11.0));
    let (peak, changed) = resolved(&["--set", "device_files=[\"other.toml\"]"], "three");
    assert!(peak == 11.0 && changed != id);
    // The first of two files counts, and the scenario's own device before both.
    let both = "device_files=[\"mine.toml\", \"other.toml\"]";
    assert_eq!(resolved(&["--set", both], "four"), (10.0, id));
    place.write("sub/s.toml", format!("{SMALL}{}", device("npu", 12.0)));
    assert_eq!(resolved(&["--set", both], "five").0, 12.0);
    // A preset's name is free.
    place.write("sub/s.toml", SMALL.replace("\"npu\"", "\"l4\""));
    place.write("sub/mine.toml", device("l4", 13.0));
    let done = place.splitwave(&["run", "sub/s.toml", "-o", "six"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let run = place.finished("six/a").remove(0);
    assert_eq!(manifest(&run)["resolved"]["devices"]["l4"]["peak_tflops"], 13.0);
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line() {
    let good = device("npu", 10.0);
    for (content, said) in [
        (
            "[[device]]\nname = \"npu\"\npeak_tflops = -1\nmemory_gb_s = 50.0\n".to_owned(),
            vec!["out of range", "mine.toml:3:15", "allowed: (0"],
        ),
        (format!("{good}memory_gbs = 3.0\n"), vec!["unknown key `memory_gbs`", "mine.toml:6:1", "memory_gb_s"]),
        (format!("{good}load_gb_s = 0\n"), vec!["load_gb_s", "mine.toml:6:13", "allowed: (0"]),
        (format!("{good}idle_power_w = nan\n"), vec!["must be a finite number", "mine.toml:6:16"]),
        (format!("{good}memory_gb = \"8\"\n"), vec!["must be a number", "mine.toml:6:13"]),
        (
            format!("{good}energy_per_flop_pj = 1.0\npower_w = 3.0\n"),
            vec!["count it twice", "mine.toml:7:11", "leave one of them out"],
        ),
        (format!("{good}clock_ghz = 2.0\nflop_per_cycle = 8.0\n"), vec!["belongs to the roofline", "mine.toml:3:15"]),
        (
            "[[device]]\nname = \"npu\"\nclock_ghz = 2.0\n".to_owned(),
            vec!["need clock_ghz and flop_per_cycle", "mine.toml:1", "add flop_per_cycle"],
        ),
        (
            "[[device]]\nname = \"npu\"\nkappa = 1e-27\npeak_tflops = 2.0\nmemory_gb_s = 1.0\n".to_owned(),
            vec!["belongs to the roofline"],
        ),
        (
            "[[device]]\nname = \"npu\"\nclock_ghz = 2.0\nflop_per_cycle = 8.0\npower_w = 2.0\n".to_owned(),
            vec!["would count it twice", "mine.toml:5:11"],
        ),
        (
            "[[device]]\nname = \"npu\"\nmemory_gb_s = 50.0\n".to_owned(),
            vec!["peak_tflops is missing", "mine.toml:1", "add peak_tflops"],
        ),
        (format!("{good}{good}"), vec!["two [[device]] of this file have this name", "mine.toml:7:8"]),
        ("[[device]\nname = 3".to_owned(), vec!["mine.toml:1"]),
        ("duration_s = 3.0\n".to_owned(), vec!["duration_s", "mine.toml:1:1"]),
        (String::new(), vec!["device", "mine.toml"]),
    ] {
        let place = Place::with(SMALL);
        place.write("s.toml", SMALL);
        place.write("mine.toml", &content);
        let done = place.splitwave(&["run", "s.toml", "--out", "out"]);
        done.says(2, &said);
        assert!(!place.path("out").exists(), "something was written");
    }
    let place = Place::with(SMALL);
    place.write("s.toml", SMALL);
    place.splitwave(&["run", "s.toml"]).says(2, &["mine.toml", "s.toml:4", "scenario file's folder"]);
    std::fs::create_dir(place.path("mine.toml")).unwrap();
    place.splitwave(&["run", "s.toml"]).says(2, &["not a file of devices", "s.toml:4"]);
    place.write("s.toml", SMALL.replace("device_files = [\"mine.toml\"]", "device_files = \"mine.toml\""));
    place.splitwave(&["run", "s.toml"]).says(2, &["device_files", "array"]);
    // The same mistakes in the scenario itself.
    place.write("s.toml", format!("name = \"a\"\n{}power_w = 1.0\nenergy_per_byte_pj = 2.0\n", device("own", 1.0)));
    place.splitwave(&["run", "s.toml"]).says(2, &["count it twice", "s.toml:7:11"]);
}

//! Traces in the columns of those who recorded them, written by hand.

use std::fmt::Write as _;
use std::path::Path;

use splitwave::network::workload::TraceArrival;
use splitwave::run::assembly::assemble;
use splitwave::run::inputs::Library;
use splitwave::run::traces::TraceFile;
use splitwave::scenario::nodes::WorkloadTable;
use splitwave::scenario::{LoadedScenario, Problem};
use splitwave::units::SimTime;

fn open(text: &str) -> Result<TraceFile, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    std::fs::write(&path, text).unwrap();
    TraceFile::open(&path).map_err(|error| error.replace(&format!("{}", path.display()), "t.csv"))
}

/// Nanoseconds, prompt, output.
type Shown = (u64, u32, Option<u32>);

fn rows(found: &[TraceArrival]) -> Vec<Shown> {
    found.iter().map(|row| (row.at.as_nanos(), row.prompt_tokens, row.output_tokens)).collect()
}

const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 23:59:59.9799600,374,44\n\
                     2023-11-17 00:00:00.0000000,396,109\n2023-11-17 00:00:00.0319601,879,0\n2023-11-17 00:01:00,91,16\n";
const BURST_GPT: &str = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                         5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,230,1317,Conversation log\n\
                         118.5,GPT-4,417,0,417,API log\n118.5,GPT-4,417,276,693,API log\n";

#[test]
fn each_format_is_read_by_its_own_columns() {
    let azure = open(AZURE).unwrap();
    assert_eq!(rows(&azure.rows), [(0, 374, Some(44)), (20_040_000, 396, Some(109)), (60_020_040_000, 91, Some(16))]);
    assert_eq!((azure.unanswered, azure.hash), (1, blake3::hash(AZURE.as_bytes()).to_hex().to_string()));

    let offsets = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,2162,5\n\
                   2024-05-10T00:00:00.017335Z,2399,6\n2024-05-10T02:00:00.1+02:00,2,7\n";
    assert_eq!(
        rows(&open(offsets).unwrap().rows),
        [(0, 2162, Some(5)), (7_405_000, 2399, Some(6)), (90_070_000, 2, Some(7))]
    );

    let burst = open(BURST_GPT).unwrap();
    let expected = [(0, 472, Some(18)), (40_000_000_000, 1087, Some(230)), (113_500_000_000, 417, Some(276))];
    assert_eq!((rows(&burst.rows), burst.unanswered), (expected.to_vec(), 1));
    // Later releases have more columns, and copies have them in another order.
    let more = "Session ID,Response tokens,Timestamp,Request tokens\n1,2,3.25,4\n,5,3.5,6\n";
    assert_eq!(rows(&open(more).unwrap().rows), [(0, 4, Some(2)), (250_000_000, 6, Some(5))]);

    let vidur = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.25,10,2\n0.25,11,1\n";
    assert_eq!(rows(&open(vidur).unwrap().rows), [(250_000_000, 10, Some(2)), (250_000_000, 11, Some(1))]);
    let own = "\u{feff}arrival_s , prompt_tokens\n# a remark\n 0.1 , 7\n1e1,8\n";
    assert_eq!(rows(&open(own).unwrap().rows), [(100_000_000, 7, None), (10_000_000_000, 8, None)]);
}

#[test]
fn what_is_wrong_in_a_trace_is_said_with_line_and_value() {
    let azure = |rows: &str| format!("TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}");
    let burst = |rows: &str| format!("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n{rows}");
    for (text, said) in [
        (
            azure("2023-11-16 18:17:03,1,1\n2023-11-16 18:17:02.9,1,1\n"),
            "t.csv, line 3: TIMESTAMP = 2023-11-16 18:17:02.9 is before the line above; sort the trace by time",
        ),
        (
            azure("2023-11-16 18:17:03,1,1\n2023-11-16 18:17:09,1,1\n2023-11-16 18:17:08,1,1\n"),
            "t.csv, line 4: TIMESTAMP",
        ),
        (
            azure("1700158623,1,1\n"),
            "t.csv, line 2: `TIMESTAMP` is `1700158623`; allowed: a date and time of day such as 2023-11-16 18:17:03.9799600",
        ),
        (azure("2023-02-30 00:00:00,1,1\n"), "t.csv, line 2: `TIMESTAMP` is `2023-02-30 00:00:00`"),
        (azure("2023-11-16 18:17:03,0,1\n"), "t.csv, line 2: `ContextTokens` is `0`; allowed: a whole number above 0"),
        (azure("2023-11-16 18:17:03,5,1.5\n"), "t.csv, line 2: `GeneratedTokens` is `1.5`; allowed: a whole number"),
        (azure("2023-11-16 18:17:03,5,0\n"), "t.csv: no rows with an answer"),
        (azure("2023-11-16 18:17:03,5,1000001\n"), "`GeneratedTokens` is `1000001`; allowed: 1 to 1000000"),
        (burst("nan,a,1,1,2,b\n"), "t.csv, line 2: `Timestamp` is `nan`; allowed: seconds of at least 0"),
        (burst("-1,a,1,1,2,b\n"), "t.csv, line 2: `Timestamp` is `-1`"),
        (burst("1e300,a,1,1,2,b\n"), "t.csv, line 2: `Timestamp` is `1e300`"),
        (burst("5,a,1,1,2,b\n4,a,1,1,2,b\n"), "t.csv, line 3: Timestamp = 4 is before the line above"),
        (burst("5,a,-1,1,2,b\n"), "t.csv, line 2: `Request tokens` is `-1`"),
        (burst("5,a,1,99999999999,2,b\n"), "t.csv, line 2: `Response tokens` is `99999999999`"),
        (burst("5,a,1\n"), "line: 2"),
        (
            "TIMESTAMP,ContextTokens\n".into(),
            "t.csv: no column `GeneratedTokens`; an Azure LLM inference trace has TIMESTAMP, ContextTokens and \
          GeneratedTokens; a trace has arrival_s, prompt_tokens and maybe output_tokens; BurstGPT has Timestamp, Request \
          tokens and Response tokens; a trace of Vidur has arrived_at, num_prefill_tokens and num_decode_tokens; the \
          file's columns: `TIMESTAMP`, `ContextTokens`",
        ),
        ("time,in,out\n1,2,3\n".into(), "t.csv: no column `arrival_s`; a trace has arrival_s"),
        (String::new(), "t.csv: no column `arrival_s`"),
        ("arrival_s,prompt_tokens\n".into(), "t.csv: no rows"),
    ] {
        let error = open(&text).expect_err(&text);
        assert!(error.contains(said), "{error}\ninstead of\n{said}");
    }
    assert!(TraceFile::open(Path::new("nowhere.csv")).is_err_and(|error| error.starts_with("nowhere.csv: ")));
    let binary = std::env::current_exe().unwrap();
    assert!(TraceFile::open(&binary).is_err());
}

fn replayed(trace: &TraceFile, workload: &WorkloadTable) -> Result<(Vec<Shown>, Vec<String>), Box<Problem>> {
    let mut warnings = Vec::new();
    let found = trace.replayed("ue[0].workload", workload, &mut warnings)?;
    Ok((rows(&found), warnings.iter().map(|warning| format!("{}: {}", warning.path, warning.message)).collect()))
}

#[test]
fn a_part_of_a_trace_is_shifted_scaled_and_cut() {
    let trace = open("arrival_s,prompt_tokens,output_tokens\n1,10,1\n2,20,2\n3.5,30,3\n3.5,40,4\n8,50,5\n").unwrap();
    let second = 1_000_000_000;
    let all = replayed(&trace, &WorkloadTable::default()).unwrap();
    assert_eq!((all.0[4], all.0.len(), all.1.len()), ((8 * second, 50, Some(5)), 5, 0));
    let part = WorkloadTable {
        trace_from_s: Some(2.0),
        trace_to_s: Some(8.0),
        trace_scale: Some(2.0),
        max_prompt_tokens: Some(35),
        max_output_tokens: Some(2),
        ..WorkloadTable::default()
    };
    let (found, warnings) = replayed(&trace, &part).unwrap();
    assert_eq!(found, [(0, 20, Some(2)), (3 * second, 30, Some(2)), (3 * second, 35, Some(2))]);
    assert_eq!(
        warnings,
        [
            "ue[0].workload.max_prompt_tokens: cut to 35, for being longer: 1 row of 3",
            "ue[0].workload.max_output_tokens: cut to 2, for being longer: 2 rows of 3",
        ]
    );
    for (from, to, key) in [(9.0, None, "trace_from_s"), (3.6, Some(7.9), "trace_to_s"), (0.0, Some(0.5), "trace_to_s")]
    {
        let empty = WorkloadTable { trace_from_s: Some(from), trace_to_s: to, ..WorkloadTable::default() };
        let problem = replayed(&trace, &empty).unwrap_err();
        assert_eq!(
            (problem.path.clone(), problem.allowed.as_deref()),
            (format!("ue[0].workload.{key}"), Some("the trace goes from 1 s to 8 s"))
        );
    }
}

/// 300 rows a second apart with a hole of 1000 s before line 202: the mean gap is 1298/299 s.
#[test]
fn holes_and_failures_are_told() {
    let mut text = "arrival_s,prompt_tokens\n".to_owned();
    for i in 0..300 {
        let _ = writeln!(text, "{},5", if i < 200 { i } else { i + 999 });
    }
    let trace = open(&text).unwrap();
    let (_, warnings) = replayed(&trace, &WorkloadTable::default()).unwrap();
    assert_eq!(
        warnings,
        ["ue[0].workload.path: nothing arrives for 1000 s before line 202 of the trace, 230 times its mean gap of \
          4.341137123 s"]
    );
    let before = WorkloadTable { trace_to_s: Some(500.0), ..WorkloadTable::default() };
    assert_eq!(replayed(&trace, &before).unwrap().1, [""; 0]);
    let (_, warnings) = replayed(&open(AZURE).unwrap(), &WorkloadTable::default()).unwrap();
    assert_eq!(warnings, ["ue[0].workload.path: left out of the trace, for having no answer: 1 row of 4"]);
}

/// Times of a million rows are exact, and nothing but the rows is kept.
#[test]
fn a_long_trace_is_read() {
    let mut text = String::with_capacity(30 << 20);
    text.push_str("arrival_s,prompt_tokens,output_tokens\n");
    for i in 0..300_000u64 {
        let _ = writeln!(text, "{}.{:03},{},{}", i / 1000, i % 1000, 1 + i % 4000, 1 + i % 7);
    }
    let trace = open(&text).unwrap();
    assert!((0u64..).zip(trace.rows.iter()).all(|(i, row)| row.at == SimTime::from_nanos(i * 1_000_000)));
    assert_eq!(trace.rows.len(), 300_000);
}

/// What is wrong with a workload, and the column of its line where that is; what is
/// only warned of, if nothing is.
fn problems(folder: &Path, library: &mut Library, workload: &str, more: &str) -> Vec<(usize, Problem)> {
    let text = format!("name = \"a\"\n[[ue]]\nworkload = {{ {workload} }}\n{more}");
    let loaded = LoadedScenario::from_bytes(&folder.join("s.toml"), text.as_bytes(), &[]);
    let found = match loaded.and_then(|loaded| assemble(loaded, library)) {
        Ok(assembly) => assembly.warnings,
        Err(bad) => bad.problems.into_iter().filter(Problem::is_error).collect(),
    };
    let line = text.find("workload").unwrap();
    found.into_iter().map(|problem| ((problem.span.clone().unwrap().start + 1).saturating_sub(line), problem)).collect()
}

#[test]
fn workloads_with_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("t.csv"), AZURE).unwrap();
    std::fs::write(folder.join("u.csv"), "time,prompt\n1,2\n").unwrap();
    let mut library = Library::default();
    for (workload, said, column) in [
        ("kind = \"mmpp\"", "\"mmpp\" needs the rates of its two states", 21),
        ("kind = \"mmpp\", rates_per_s = [0.0, 0.0], sojourns_s = [1.0, 1.0]", "these are no rates of arrivals", 43),
        ("kind = \"mmpp\", rates_per_s = [1.0, -1.0], sojourns_s = [1.0, 1.0]", "allowed: two numbers of 0 to 1e9", 43),
        ("kind = \"mmpp\", rates_per_s = [1.0], sojourns_s = [1.0, 1.0]", "`ue[0].workload.rates_per_s`", 43),
        ("kind = \"mmpp\", rates_per_s = [1.0, nan], sojourns_s = [1.0, 1.0]", "must be a finite number", 49),
        ("kind = \"mmpp\", rates_per_s = [1.0, 2.0], sojourns_s = [0.0, 1.0]", "these are no mean times of stay", 68),
        ("kind = \"mmpp\", rates_per_s = [1e-6, 0.0], sojourns_s = [1.0, 1.0]", "at most 1e6", 21),
        ("rates_per_s = [1.0, 2.0]", "rates_per_s belongs to kind = \"mmpp\"", 28),
        ("kind = \"on-off\", on_s = 1.0", "\"on-off\" needs how long it is on and off", 21),
        ("kind = \"on-off\", on_s = 0.0, off_s = 1.0", "`ue[0].workload.on_s` is out of range", 38),
        ("kind = \"gamma\"", "the law of gaps needs a shape", 21),
        ("kind = \"gamma\", shape = 0.5, cv = 2.0", "both shape and cv", 48),
        ("kind = \"gamma\", cv = 31", "`ue[0].workload.cv` is out of range", 35),
        ("kind = \"weibull\", shape = 0.01", "vary beyond all measure", 40),
        ("shape = 2.0", "shape belongs to kind = \"gamma\" or \"weibull\"", 22),
        ("trace_scale = 2.0", "trace_scale belongs to kind = \"trace\"", 28),
        ("max_prompt_tokens = 2", "belongs to kind = \"trace\", or beside tokens_from", 34),
        ("kind = \"trace\", path = \"t.csv\", trace_scale = 0.0", "`ue[0].workload.trace_scale` is out of range", 60),
        ("kind = \"trace\", path = \"t.csv\", trace_from_s = 5, trace_to_s = 5", "above trace_from_s = 5", 77),
        ("kind = \"trace\", path = \"t.csv\", trace_from_s = 99", "the trace goes from 0 s to 60.02004 s", 61),
        ("kind = \"trace\", path = \"t.csv\", turns = 2", "a trace has all its requests", 54),
        ("kind = \"trace\", path = \"t.csv\", tokens_from = \"t.csv\"", "a trace brings its own tokens", 60),
        ("tokens_from = \"v.csv\"", "v.csv: No such file", 28),
        ("tokens_from = \"u.csv\"", "u.csv: no column `arrival_s`", 28),
        ("think_time_s = 2.0", "think_time_s belongs to kind = \"closed-loop\", or to conversations", 29),
        ("max_context_tokens = 20", "only conversations, of several turns, have a context", 35),
        ("turns = 0", "`ue[0].workload.turns` is out of range", 22),
        ("turns = { min = 3, max = 2, draw = \"per-request\" }", "min is above max", 30),
        ("turns = { min = 1, max = 2 }", "a range that doesn't say when", 22),
        // 8·64 + 7 tokens; the model reads 512.
        ("turns = 8", "a conversation grows to 519 tokens, longer than the model's context", 22),
        ("turns = 8", "set max_context_tokens to at most 512, or take fewer turns", 22),
    ] {
        let found = problems(folder, &mut library, workload, "");
        let fits = |(at, problem): &(usize, Problem)| *at == column && problem.to_string().contains(said);
        assert!(found.iter().any(fits), "{workload}: {said}, {column}: {found:#?}");
        assert!(found.iter().all(|(_, problem)| problem.is_error()));
    }
    let sentences = "[model]\nwindow = \"sentence\"\n";
    let found = problems(folder, &mut library, "turns = 2", sentences);
    assert!(found.iter().any(|(at, problem)| *at == 22 && problem.message.starts_with("sentences bring their own")));
    // 7 turns are 454 tokens; with a context of 500 any number fits.
    for workload in ["turns = 7", "turns = 9, max_context_tokens = 500", "turns = 1, output_tokens = 3"] {
        let found = problems(folder, &mut library, workload, "");
        assert!(found.iter().all(|(_, problem)| !problem.is_error()), "{workload}: {found:#?}");
    }
    let idle = problems(folder, &mut library, "turns = 1, max_context_tokens = 50, think_time_s = 2.0", "");
    let idle = idle.iter().filter(|(_, problem)| problem.message == "this plays no part: a conversation has one turn");
    assert_eq!(idle.count(), 2);
}

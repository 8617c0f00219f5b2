//! Scenario files as people mistype them: every problem, its line, its text, and nothing else.

use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use splitwave::cli::render::render_problems;
use splitwave::scenario::problem::{KeyPath, KeyPathError, Step};
use splitwave::scenario::{Document, Problem, SetArg, SetArgError, scenario_reference_markdown};

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Example {
    /// Letters, digits, `-` and `_`.
    name: String,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    channel: Channel,
    #[serde(default)]
    reward: Reward,
    #[serde(default)]
    ue: Vec<Ue>,
}

/// The radio channel.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Channel {
    noise_std: Varying,
    loss_probability: Varying,
    reception: Reception,
    trace: Option<String>,
    /// The schema says "string"; that it must be an address only `Deserialize` knows.
    server: Option<std::net::Ipv4Addr>,
}

#[derive(Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Reception {
    /// As printed.
    Raw,
    /// Divided by the gain.
    #[default]
    Equalised,
    /// In packets.
    Digital,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
enum Varying {
    Fixed(#[schemars(range(min = 0.0))] f64),
    Drawn(Drawn),
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Drawn {
    #[schemars(range(min = 0.0, max = 1.0))]
    min: f64,
    #[schemars(range(min = 0.0, max = 1.0))]
    max: f64,
    draw: String,
}

impl Default for Varying {
    fn default() -> Self {
        Self::Fixed(0.5)
    }
}

#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Reward {
    lambda: f64,
    #[schemars(length(min = 1))]
    moves: Option<Vec<i32>>,
    clip: bool,
}

#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Ue {
    name: String,
    #[schemars(range(min = 1))]
    count: u32,
    workload: Workload,
}

#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Workload {
    kind: String,
    #[schemars(extend("exclusiveMinimum" = 0))]
    rate_per_s: f64,
}

const VALID: &str = r#"name = "quickstart"
seed = 7
[channel]
noise_std = { min = 0.3, max = 0.9, draw = "per-episode" }
loss_probability = 1
reception = "digital" # ∞
[reward]
moves = [-1, 0, 1]
[[ue]]
name = "phone"
count = 20
workload = { kind = "poisson", rate_per_s = 0.1 }
[[ue]]
name = "tablet"
count = 5
workload.rate_per_s = 2
"#;

fn sets(texts: &[&str]) -> Vec<SetArg> {
    texts.iter().map(|text| text.parse().expect("a --set argument")).collect()
}

fn document(text: &str, overlays: &[&str]) -> Document {
    Document::parse("s.toml", text, &sets(overlays))
}

/// A problem's origin, the text there before the problem, and the marked text.
fn marked<'d>(document: &'d Document, problem: &Problem) -> (&'d str, &'d str, &'d str) {
    let (origin, span) = (problem.origin.as_ref().expect("an origin"), problem.span.clone().expect("a span"));
    let source = document.sources().iter().find(|source| source.origin == *origin).expect("a known origin");
    (source.origin.as_str(), &source.text[..span.start], source.text.get(span).expect("a span of characters"))
}

/// A problem's origin, line and marked text.
fn place<'d>(document: &'d Document, problem: &Problem) -> (&'d str, usize, &'d str) {
    let (origin, before, marked) = marked(document, problem);
    (origin, before.matches('\n').count() + 1, marked)
}

/// Each problem as "line: marked text: message; allowed; hint", the line `#k` in the k-th overlay.
fn listed(text: &str, overlays: &[&str]) -> Vec<String> {
    let document = document(text, overlays);
    let problems = document.read::<Example>().err().unwrap_or_default();
    let show = |problem: &Problem| {
        let (origin, line, marked) = place(&document, problem);
        let line = origin.strip_prefix("--set ").map_or(line.to_string(), ToOwned::to_owned);
        let said = [Some(&problem.message), problem.allowed.as_ref(), problem.hint.as_ref()];
        let said: Vec<_> = said.into_iter().flatten().map(String::as_str).collect();
        format!("{line}: {marked}: {}", said.join("; "))
    };
    problems.iter().map(show).collect()
}

#[test]
fn a_valid_file_reads() {
    let example: Example = document(VALID, &[]).read().expect("no problem");
    assert_eq!((example.name.as_str(), example.seed, example.ue.len()), ("quickstart", 7, 2));
    assert_eq!((example.ue[1].count, example.ue[1].workload.rate_per_s), (5, 2.0));
    assert!(matches!(example.channel.noise_std, Varying::Drawn(Drawn { max: 0.9, .. })));
    assert!(matches!(example.channel.loss_probability, Varying::Fixed(1.0)), "an integer where a number is wanted");
    let with_windows_line_ends = format!("\u{feff}{}", VALID.replace('\n', "\r\n"));
    assert_eq!(
        document(&with_windows_line_ends, &[]).read::<Example>().expect("no problem").reward.moves.unwrap(),
        [-1, 0, 1]
    );
}

/// Compares the problems of a file with the comments `#~ marked text: message; allowed; hint` on its lines.
fn assert_annotated(text: &str) {
    let comments = |(index, line): (usize, &str)| {
        let comments: Vec<_> = line.split("#~ ").skip(1).map(|comment| comment.trim_end().to_owned()).collect();
        comments.into_iter().map(move |comment| format!("{}: {comment}", index + 1))
    };
    let expected: Vec<_> = text.lines().enumerate().flat_map(comments).collect();
    assert_eq!(listed(text, &[]), expected);
}

#[test]
fn every_problem_is_reported_at_its_line() {
    assert_annotated(
        r#"sed = 3 #~ sed: unknown key `sed` at the top level; did you mean `seed`? #~ : missing key `name` at the top level; string; add `name = …`: Letters, digits, `-` and `_`.
lambda = 20.0 #~ lambda: unknown key `lambda` at the top level; `lambda` belongs in [reward]
[channel]
noise_std = { min = 0.3, max = 2.0 } #~ { min = 0.3, max = 2.0 }: missing key `draw` in `channel.noise_std`; string #~ 2.0: `channel.noise_std.max` is out of range; [0, 1]
loss_probability = nan #~ nan: `channel.loss_probability` must be a finite number
reception = "equalized" #~ "equalized": unknown value "equalized" for `channel.reception`; "raw", "equalised", "digital"; did you mean "equalised"?
trace = 3 #~ 3: `channel.trace` must be a string, not an integer; string; write it in quotes: "3"
[reward]
lamda = 1 #~ lamda: unknown key `lamda` in `reward`; did you mean `lambda`?
lambda = "20" #~ "20": `reward.lambda` must be a number, not a string; number; write the number without quotes: 20
moves = [] #~ []: `reward.moves` has 0 elements; at least 1 elements
clip = "true" #~ "true": `reward.clip` must be a boolean, not a string; boolean; write it without quotes: true
zzz = 1 #~ zzz: unknown key `zzz` in `reward`; lambda, moves, clip
[[ue]]
count = 0 #~ 0: `ue[0].count` is out of range; [1, ∞)
workload = { kind = "poisson", rate_per_s = 0 } #~ 0: `ue[0].workload.rate_per_s` is out of range; (0, ∞)
[[ue]]
count = 5.0 #~ 5.0: `ue[1].count` must be an integer, not 5.0; integer in [1, ∞); write it without decimal point: 5
workload = [1] #~ [1]: `ue[1].workload` must be a table, not an array; table { kind, rate_per_s }
"#,
    );
}

#[test]
fn a_syntax_error_costs_its_statement_only() {
    assert_annotated(
        r#"seed 4 #~ : not TOML: key with no value, expected `=`
name = poisson #~ poisson: not TOML: string values must be quoted, expected literal string; text stands in quotes, decimals have a point, and there are no units
[channel #~ : not TOML: unclosed table, expected `]`
trace = "a"
[reward]
lambda = #~ : not TOML: string values must be quoted, expected literal string; text stands in quotes, decimals have a point, and there are no units
lamda = 3 #~ lamda: unknown key `lamda` in `reward`; did you mean `lambda`?
[[ue]]
count = 1
count = 2 #~ count: not TOML: duplicate key
[channel]
reception = "raww" #~ "raww": unknown value "raww" for `channel.reception`; "raw", "equalised", "digital"; did you mean "raw"?
"#,
    );
    assert_eq!(
        listed("moves = [1, 2\nnaem = \"a\"\nworkload = {\n  a = 1\n  b = 2\n[reward]\nlambda = 1\n", &[]),
        [
            "1: [1, 2: not TOML: missing comma between array elements, expected `,`",
            "2: naem: unknown key `naem` at the top level; did you mean `name`?",
            "3: {: not TOML: unclosed inline table, expected `}`",
        ]
    );
}

#[test]
fn brackets_and_numbers_are_told_apart() {
    assert_annotated(
        r#"name = "a"
seed = 99999999999999999999999999999999999999999 #~ 99999999999999999999999999999999999999999: the integer is too large
[reward]
lambda = 1e999 #~ 1e999: `reward.lambda` must be a finite number
moves = [3000000000] #~ 3000000000: `reward.moves[0]` is out of range; [-2147483648, 2147483647]
[ue] #~ [ue]: `ue` must be an array, not a table; array of tables; write the header as [[ue]]
[[channel]] #~ [[channel]]: `channel` must be a table, not an array; table { noise_std, loss_probability, reception, trace, server }; write the header as [channel]
"#,
    );
}

#[test]
fn what_only_deserialize_refuses_has_its_place_too() {
    let document = document(VALID, &["channel.server=edge.local"]);
    let problems = document.read::<Example>().expect_err("no address");
    let [problem] = problems.as_slice() else { panic!("one problem: {problems:?}") };
    assert_eq!((problem.message.as_str(), problem.path.as_str()), ("invalid IPv4 address syntax", "channel.server"));
    assert_eq!(place(&document, problem), ("--set #1", 1, "edge.local"));
}

#[test]
fn overlays_reach_elements_by_name_and_index() {
    let overlays = ["ue.phone.count=40", "ue[1].count=6", "ue.1.workload.kind=bursty", "channel.trace=traces/a-1.csv"];
    let example: Example = document(VALID, &overlays).read().expect("no problem");
    assert_eq!((example.ue[0].count, example.ue[1].count), (40, 6));
    assert_eq!((example.ue[1].workload.kind.as_str(), example.ue[1].workload.rate_per_s), ("bursty", 2.0));
    assert_eq!(example.channel.trace.as_deref(), Some("traces/a-1.csv"));

    let one_group = "name = \"a\"\n[[ue]]\nname = \"phone\"\n";
    let overlays = ["ue.count=3", "reward.moves=[0, 1]", "channel.reception=raw", "ue.phone.count=4"];
    let example: Example = document(one_group, &overlays).read().expect("no problem");
    assert_eq!((example.ue[0].count, example.reward.moves.unwrap()), (4, vec![0, 1]));
    assert_eq!(example.channel.reception, Reception::Raw, "tables that the file lacks are created");
}

#[test]
fn overlay_problems_show_the_argument() {
    let cases = r#"
ue.phone.cuont=3 => cuont: unknown key `cuont` in `ue[0]`; did you mean `count`?
seed=-1 => -1: `seed` is out of range; [0, ∞)
ue[2].count=1 => [2]: `ue` has no element `[2]`; index 0 to 1, or phone, tablet
ue.tabled.count=1 => tabled: `ue` has no element `tabled`; index 0 to 1, or phone, tablet; did you mean `tablet`?
seed.x=1 => x: `seed` is an integer, not a table; set it as a whole: `seed=…`
reward.moves=[1, => [1,: the value of `reward.moves` is no TOML value: unclosed array, expected `]`; quote text twice, once for the shell: --set 'key="some text"'
reward.lambda= => : no value after `reward.lambda=`; write a TOML value; an empty string is `""`
channel.reception=digitol => digitol: unknown value "digitol" for `channel.reception`; "raw", "equalised", "digital"; did you mean "digital"?
reward[0]=1 => [0]: `reward` is a table, not an array
"#;
    let cases = cases.trim().lines().map(|line| line.split_once(" => ").expect("an argument and its problem"));
    let (overlays, expected): (Vec<_>, Vec<_>) = cases.unzip();
    let expected: Vec<_> = (1..).zip(expected).map(|(number, problem)| format!("#{number}: {problem}")).collect();
    assert_eq!(listed(VALID, &overlays), expected);
    assert_eq!(SetArg::parse("seed"), Err(SetArgError::NoEquals("seed".into())));
    let empty = KeyPathError::EmptyKey(3, "ue.".into());
    assert_eq!(SetArg::parse("ue.=1"), Err(SetArgError::Key(empty)));
    let axis = SetArg::parse("seed=-1").unwrap().with_origin("axis seed");
    let problems = Document::parse("s.toml", VALID, &[axis]).read::<Example>().unwrap_err();
    assert_eq!(problems[0].origin.as_ref().unwrap().as_str(), "axis seed");
}

#[test]
fn paths_lead_to_their_values_or_the_table_around() {
    let document = document(VALID, &["ue.tablet.count=9"]);
    let at = |path: &str| {
        let (origin, span) = document.span_of(path);
        place(&document, &Problem::error(path, "").with_place(origin, span))
    };
    assert_eq!(at("ue[1].workload.rate_per_s"), ("s.toml", 16, "2"));
    assert_eq!(at("ue.phone.workload.kind"), ("s.toml", 12, "\"poisson\""));
    assert_eq!(at("ue.0.count"), ("s.toml", 11, "20"));
    assert_eq!(at("ue.tablet.count"), ("--set #1", 1, "9"));
    assert_eq!(at("reward.moves[2]"), ("s.toml", 8, "1"));
    assert_eq!(at("ue[1].deadline_ms"), ("s.toml", 13, "[[ue]]"));
    assert_eq!(at("channel.noise_std.walk"), ("s.toml", 4, "{ min = 0.3, max = 0.9, draw = \"per-episode\" }"));
    assert_eq!(at("edge.device"), ("s.toml", 1, ""));
    let mut problem = Problem::error("ue.phone.count", "too many");
    document.locate(&mut problem);
    assert_eq!((place(&document, &problem), problem.value.as_deref()), (("s.toml", 11, "20"), Some("20")));

    let path = KeyPath::parse(r#"a."b.\"c"[3].d-1"#).unwrap();
    let steps: Vec<_> = path.steps.into_iter().map(|(step, _)| step).collect();
    let key = |key: &str| Step::Key(key.to_owned());
    assert_eq!(steps, [key("a"), key("b.\"c"), Step::Index(3), key("d-1")]);
}

#[test]
fn problems_are_rendered_with_their_lines() {
    let document = document("name = \"a\"\n[reward]\nlamda = 1\n", &["ue=[{ count = 0 }]"]);
    let mut problems = document.read::<Example>().unwrap_err();
    let mut warning =
        Problem::warning("reward.moves", "a learner with one move learns nothing").with_allowed("two moves");
    document.locate(&mut warning);
    problems.push(warning);
    let expected = "\
error: unknown key `lamda` in `reward`
 --> s.toml:3:1
  |
3 | lamda = 1
  | ^^^^^
  |
  = hint: did you mean `lambda`?

error: `ue[0].count` is out of range
 --> --set #1:1:15
  |
1 | ue=[{ count = 0 }]
  |               ^
  |
  = allowed: [1, ∞)

warning: a learner with one move learns nothing
 --> s.toml:2:1
  |
2 | [reward]
  | ^^^^^^^^
  |
  = key: reward.moves
  = allowed: two moves

2 errors, 1 warning
";
    assert_eq!(render_problems(&problems, document.sources(), false), expected);
    assert!(render_problems(&problems, document.sources(), true).contains("\u{1b}["), "colour only where asked for");
}

#[test]
fn the_reference_has_a_section_per_table() {
    let text = scenario_reference_markdown(schemars::schema_for!(Example).as_value());
    let headings: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let expected = "Top level, `[channel]`, `[channel.noise_std]`, `[reward]`, `[[ue]]`, `[ue.workload]`";
    assert_eq!(headings.join(", "), expected);
    let row = |key: &str| text.lines().find(|line| line.contains(&format!("id=\"{key}\""))).expect("a row").to_owned();
    assert!(row("name").ends_with("`name` | string | required | Letters, digits, `-` and `_`. |"));
    assert!(row("channel.reception").contains("| \"raw\", \"equalised\", \"digital\" | `\"equalised\"` |"));
    assert!(row("channel.noise_std").contains("| number in [0, ∞) or table { min, max, draw } | `0.5` |"));
    assert!(row("channel.loss_probability").contains("table { min, max, draw }, as `[channel.noise_std]` |"));
    assert!(row("ue.workload.rate_per_s").contains("| number in (0, ∞) | `0.0` |"));
}

/// Reads and renders; each span must lie within its text, on character boundaries.
fn survives(text: &str, overlays: &[SetArg]) {
    let document = Document::parse("s.toml", text, overlays);
    if let Err(problems) = document.read::<Example>() {
        assert!(!problems.is_empty());
        for problem in &problems {
            marked(&document, problem);
        }
        render_problems(&problems, document.sources(), false);
    }
    for path in ["ue.phone.count", "ue[0]", "channel.noise_std.min", ""] {
        let (origin, span) = document.span_of(path);
        place(&document, &Problem::error(path, "").with_place(origin, span));
    }
}

#[test]
fn hostile_files_give_problems() {
    let deep = |open: &str, close: &str, count: usize| format!("a = {}1{}", open.repeat(count), close.repeat(count));
    let texts = [
        String::new(),
        "\u{feff}".to_owned(),
        "\r".to_owned(),
        deep("[", "]", 100_000),
        deep("{ a = ", " }", 100_000),
        deep("[", "]", 70),
        "a = [[[[\n".repeat(1000),
        format!("{}a = 1\n", "a.".repeat(200_000)),
        format!("name = \"a\"\n[{}a]\n", "a.".repeat(60)),
        format!("{} = 1\n", "k".repeat(1_000_000)),
        format!("name = \"{}\"\n[reward]\n\"{}\" = nan\n", "é".repeat(500_000), "ü\n".repeat(1000)),
        (0..20_000).map(|key| format!("seed{key} = {key}\n")).collect::<Vec<_>>().concat(),
        "seed = \"x\n".repeat(2000),
        "name = '''\nseed = 3\n".to_owned(),
    ];
    for text in &texts {
        assert!(document(text, &[]).read::<Example>().is_err());
        survives(text, &sets(&["ue.phone.count=1", "a.b.c=[[1], {}]"]));
    }
    assert!(SetArg::parse(&format!("{}a=1", "a.".repeat(100_000))).is_err());
    let document = Document::parse_bytes("s.toml", b"name = \"a\"\nseed = \"\xff\xfe\"\n", &[]);
    let problems = document.read::<Example>().unwrap_err();
    assert_eq!(problems[0].message, "`seed` must be an integer, not a string");
    assert_eq!((problems[1].message.as_str(), place(&document, &problems[1]).1), ("not UTF-8 text", 2));
}

/// What people and fuzzers put into scenario files.
const FRAGMENTS: &str = "[ ] [[ { } = \" ''' \"\"\" # , . \n \r \\ - nan 1e400 0x true é \u{0} \u{feff} 1979-05-27 name [ue]\n ue=3\n ={\n \
                         [[channel]]\n 99999999999999999999";

fn fragment() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(FRAGMENTS.split(' ').collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::cases(3000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_give_problems(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        survives(&String::from_utf8_lossy(&bytes), &[]);
        let _ = Document::parse_bytes("s.toml", &bytes, &[]).read::<Example>();
    }

    #[test]
    fn random_toml_like_text_gives_problems(parts in proptest::collection::vec(fragment(), 0..60)) {
        survives(&parts.concat(), &[]);
    }

    #[test]
    fn mutations_of_a_valid_file_give_problems(
        edits in proptest::collection::vec((any::<u16>(), 0..8_usize, fragment()), 1..6)
    ) {
        let mut text: Vec<char> = VALID.chars().collect();
        for (at, removed, inserted) in edits {
            let at = usize::from(at) % (text.len() + 1);
            let end = (at + removed).min(text.len());
            text.splice(at..end, inserted.chars());
        }
        survives(&text.into_iter().collect::<String>(), &[]);
    }

    #[test]
    fn random_overlays_give_problems(key in "[a-z0-9.\\[\\]\" ]{0,12}", value in "\\PC{0,12}", known in 0..5_usize) {
        let key = ["ue.phone.count", "ue", "channel.noise_std", "reward.moves[1]", &key][known];
        if let Ok(set) = SetArg::parse(&format!("{key}={value}")) {
            survives(VALID, &[set]);
        }
    }
}

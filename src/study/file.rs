//! The study file: TOML in, its tables and dotted keys out, all problems at once.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::{Document, KeyPath, Node, Origin, Place, Problem, Step, Value, check_name};
use crate::study::range::SpacedRange;
use crate::study::sampling::Method;

/// Which seed the points have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SeedPolicy {
    /// All the same: common random numbers. Every point meets the same arrivals, prompts and fading, so that differences between points are not differences of luck.
    #[default]
    Common,
    /// Each its own, from `seed` and the point's values: points are independent of each other.
    PerPoint,
}

/// Dotted keys of the scenario with their values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Keys {}

/// A study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StudyTable {
    /// Name of the study and of its folder of results: letters, digits, `-` and `_`.
    pub name: String,
    /// The scenario that every point starts from: a path from the working directory, or else beside the study file.
    pub base: String,
    /// Replications of each point. Default: the base scenario's.
    #[schemars(range(min = 1, max = 100_000))]
    pub replications: Option<u32>,
    /// Seed. Default: the base scenario's.
    pub seed: Option<u64>,
    /// Which seed the points have.
    #[serde(default)]
    pub seed_policy: SeedPolicy,
    /// Constants laid over the base scenario: dotted key = value.
    #[serde(default)]
    pub set: Keys,
    /// Axes, all crossed with each other in the order of the file, the last one fastest: dotted key = list or `{ from, to, count, scale }`.
    #[serde(default)]
    pub axes: Keys,
    /// Axes that go hand in hand: lists of equal length. Each `[[zip]]` is crossed with the axes and the others.
    #[serde(default)]
    pub zip: Vec<Keys>,
    /// One more point, after the grid: dotted key = value. A key that is left out stays as in the base.
    #[serde(default)]
    pub include: Vec<Keys>,
    /// Leaves out every point of the grid that has all of these values. Points of `[[include]]` stay.
    #[serde(default)]
    pub exclude: Vec<Keys>,
    /// Points drawn over ranges, crossed with the axes and zips.
    pub sample: Option<SampleTable>,
}

/// `[sample]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleTable {
    /// How points are drawn.
    #[serde(default)]
    pub method: Method,
    /// Points.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub count: u64,
    /// Seed of the draws; not of the simulations.
    #[serde(default = "one")]
    pub seed: u64,
    /// Dotted key = `{ min, max, scale }`.
    pub ranges: Keys,
}

fn one() -> u64 {
    1
}

/// One dotted key with its value.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// The key in its plain form: the name of a column.
    pub(super) key: String,
    /// Its steps.
    pub(super) path: KeyPath,
    /// Where the key stands.
    pub(super) place: Place,
    /// Its value.
    pub(super) node: Node,
}

/// A study file, its dotted keys not yet judged.
pub(super) struct StudyFile {
    pub(super) table: StudyTable,
    pub(super) document: Document,
    pub(super) set: Vec<Setting>,
    pub(super) axes: Vec<Setting>,
    pub(super) zips: Vec<Vec<Setting>>,
    pub(super) includes: Vec<Vec<Setting>>,
    pub(super) excludes: Vec<Vec<Setting>>,
    pub(super) ranges: Vec<Setting>,
}

impl StudyFile {
    /// Reads the bytes of a study file; `path` names it in messages.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Box<(Document, Vec<Problem>)>> {
        let document = Document::parse_bytes(path.display().to_string(), bytes, &[]);
        let table: StudyTable = match document.read() {
            Ok(table) => table,
            Err(problems) => return Err(Box::new((document, problems))),
        };
        let mut problems = Vec::new();
        check_name(&mut problems, "name", &table.name);
        for problem in &mut problems {
            document.locate(problem);
        }
        let mut reader = Reader { document: &document, problems };
        let root = document.root();
        let set = reader.table(root.get("set"), plain);
        let axes = reader.table(root.get("axes"), spaced);
        let zips = reader.tables(root.get("zip"), spaced);
        let includes = reader.tables(root.get("include"), plain);
        let excludes = reader.tables(root.get("exclude"), plain);
        let ranges = reader.table(root.get("sample").and_then(|sample| sample.get("ranges")), drawn);
        let problems = reader.problems;
        if problems.is_empty() {
            Ok(Self { table, document, set, axes, zips, includes, excludes, ranges })
        } else {
            Err(Box::new((document, problems)))
        }
    }

    /// The origin of the file in messages.
    pub(super) fn origin(&self) -> Origin {
        self.document.sources().first().map_or_else(|| Origin::new("study"), |source| source.origin.clone())
    }
}

/// Says whether a table is the value of a key, rather than a header or dotted key on the way to it.
type IsValue = fn(&Document, &Node) -> bool;

/// An inline table is a value; a header is none.
fn plain(document: &Document, node: &Node) -> bool {
    document.written(node).starts_with('{')
}

fn has_single(node: &Node, keys: &[&str]) -> bool {
    let single =
        |key: &&str| !matches!(node.get(key).map(|node| &node.value), None | Some(Value::Table(_) | Value::Array(_)));
    keys.iter().any(single)
}

fn spaced(_: &Document, node: &Node) -> bool {
    // An interval to draw from is no axis, which is said better than that its ends are none.
    has_single(node, &["from", "to", "count", "scale", "min", "max"])
}

fn drawn(_: &Document, node: &Node) -> bool {
    has_single(node, &["min", "max", "scale"])
}

struct Reader<'d> {
    document: &'d Document,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn tables(&mut self, node: Option<&Node>, is_value: IsValue) -> Vec<Vec<Setting>> {
        let Some(Value::Array(items)) = node.map(|node| &node.value) else { return Vec::new() };
        items.iter().map(|item| self.table(Some(item), is_value)).collect()
    }

    fn table(&mut self, node: Option<&Node>, is_value: IsValue) -> Vec<Setting> {
        let mut settings = Vec::new();
        if let Some(node) = node {
            self.walk(node, "", is_value, &mut settings);
        }
        settings
    }

    fn walk(&mut self, node: &Node, parent: &str, is_value: IsValue, into: &mut Vec<Setting>) {
        let Value::Table(entries) = &node.value else { return };
        for entry in entries {
            // A quoted key is a dotted path itself.
            let text = if parent.is_empty() { entry.key.clone() } else { format!("{parent}.{}", entry.key) };
            if matches!(entry.node.value, Value::Table(_)) && !is_value(self.document, &entry.node) {
                self.walk(&entry.node, &text, is_value, into);
                continue;
            }
            let place = entry.place.clone();
            match KeyPath::parse(&text) {
                Ok(path) => into.push(Setting { key: plain_form(&path), path, place, node: entry.node.clone() }),
                Err(error) => {
                    let origin = self.document.sources()[place.source].origin.clone();
                    self.problems.push(Problem::error("", error.to_string()).with_place(origin, place.span));
                }
            }
        }
    }
}

/// A path as messages and columns show it.
pub(super) fn plain_form(path: &KeyPath) -> String {
    path.steps.iter().fold(String::new(), |text, (step, _)| match step {
        Step::Key(key) => crate::scenario::problem::child_path(&text, key),
        Step::Index(index) => format!("{text}[{index}]"),
    })
}

/// Reads the range of an axis.
pub(super) fn spaced_range(document: &Document, setting: &Setting) -> Result<SpacedRange, Vec<Problem>> {
    document.read_part(&setting.node, &setting.key)
}

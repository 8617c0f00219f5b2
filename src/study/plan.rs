//! The runs of a study, in order.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use crate::run::assembly::assemble;
use crate::run::inputs::Library;
use crate::run::runner::Job;
use crate::run::wording::counted;
use crate::scenario::{
    Document, LoadedScenario, Node, Place, Problem, Source, Step, Value, defaults, lay, nearest, resolve,
};
use crate::study::axes::{Builder, located, moved};
use crate::study::error::{BadStudy, StudyError};
use crate::study::file::{Setting, StudyFile};
use crate::study::points::{Points, Randomness};
use crate::study::submit::quoted;
use crate::study::value::{AxisValue, toml};

/// The id of a run, as `splitwave run` gives it: 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(u64);

/// A text is no run id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no run id: 16 hex digits in lower case")]
pub struct RunIdError(String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let id = u64::from_str_radix(text, 16).ok().filter(|_| digits);
        id.map(Self).ok_or_else(|| RunIdError(crate::scenario::problem::clip(text)))
    }
}

/// One run of a study.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedRun {
    /// Its id, the very one that `splitwave run` gives it.
    pub id: RunId,
    /// Its design point, from 0.
    pub point: usize,
    /// Its replication, from 0.
    pub replication: u32,
    /// Its seed.
    pub seed: u64,
}

/// A study file, read and checked: every point of it could run.
pub struct Plan {
    name: String,
    scenario_name: String,
    axes: Vec<String>,
    points: Points,
    ids: Vec<RunId>,
    /// Indices of `ids` in the order of the ids.
    sorted: Vec<u32>,
    /// By point.
    seeds: Vec<u64>,
    replications: u32,
    /// `--set` arguments of the study's constants.
    constants: Vec<String>,
    warnings: Vec<Problem>,
    /// What points that leave an axis out have there; none if there are no such points.
    base_values: Vec<Option<AxisValue>>,
}

impl Plan {
    /// Reads a study file and its base scenario, and checks every point.
    ///
    /// # Errors
    /// [`StudyError::Bad`] with every problem of the file and of all points.
    pub fn open(path: &Path, library: &mut Library) -> Result<Self, StudyError> {
        Self::open_and_tell(path, library, &mut |_| {})
    }

    /// The same; tells the number of points before it checks them, which takes seconds for some 100,000.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_and_tell(path: &Path, library: &mut Library, tell: &mut dyn FnMut(usize)) -> Result<Self, StudyError> {
        let bad = |sources: &[Source], problems: Vec<Problem>| {
            StudyError::Bad(Box::new(BadStudy { path: path.to_owned(), sources: sources.to_vec(), problems }))
        };
        let bytes = std::fs::read(path).map_err(|error| {
            let problem = Problem::error("", format!("{}: {error}", path.display()));
            bad(&[], vec![problem.with_hint("give the path of a study file; docs/study.md describes it")])
        })?;
        let file = StudyFile::parse(path, &bytes).map_err(|refused| {
            let (document, problems) = *refused;
            bad(document.sources(), problems)
        })?;
        let base = beside(path, &file.table.base);
        let bytes = std::fs::read(&base).map_err(|error| {
            let problem = Problem::error("base", format!("{}: {error}", base.display()))
                .with_hint("a path counts from the working directory, or else from the study file's folder");
            bad(file.document.sources(), vec![located(&file, problem, None)])
        })?;
        let scenario = Document::parse_bytes(base.display().to_string(), &bytes, &[]);
        let broken = scenario.syntax_problems();
        if !broken.is_empty() {
            return Err(bad(scenario.sources(), broken));
        }
        let sources: Arc<[Source]> = [scenario.sources(), file.document.sources()].concat().into();
        let (root, mut problems) = with_constants(&file, scenario.root());
        let replications =
            file.table.replications.or_else(|| whole(&root, "replications")?.try_into().ok()).unwrap_or(1);
        problems.extend(open_ended(&file, &root, &sources));
        let seed = file.table.seed.or_else(|| whole(&root, "seed")).unwrap_or(1);
        problems.extend(unknown_keys(&file, &base, &sources, &root));
        let (design, mut warnings) = match Builder::new(&file, &root, 1).build(replications) {
            Ok(built) if problems.is_empty() => built,
            built => {
                problems.extend(built.err().into_iter().flatten());
                problems.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
                return Err(bad(&sources, problems));
            }
        };
        let points = Points { base, sources, root, design };
        let randomness = Randomness { seed, policy: file.table.seed_policy, replications };
        tell(points.design.codes.len());
        let checked = points.check(randomness, library);
        warnings.extend(checked.problems);
        if warnings.iter().any(Problem::is_error) {
            return Err(bad(&points.sources, warnings));
        }
        let scenario_name = points.root.get("name").and_then(|node| match &node.value {
            Value::String(name) => Some(name.clone()),
            _ => None,
        });
        let mut plan = Self {
            name: file.table.name.clone(),
            scenario_name: scenario_name.unwrap_or_default(),
            axes: points.design.axes.iter().map(|axis| axis.name.clone()).collect(),
            base_values: if points.design.includes.is_empty() { Vec::new() } else { points.base_values() },
            points,
            ids: checked.ids,
            sorted: Vec::new(),
            seeds: checked.seeds,
            replications,
            constants: file.set.iter().map(set_argument).collect(),
            warnings,
        };
        let twice = plan.merge_equal_points();
        plan.warnings.extend(twice.map(|problem| located(&file, problem, None)));
        Ok(plan)
    }

    /// Points that are the same run are one; the first of them stays.
    fn merge_equal_points(&mut self) -> Option<Problem> {
        let replications = self.replications as usize;
        let mut order: Vec<u32> = (0..self.seeds.len() as u32).collect();
        order.sort_by_key(|&point| (self.ids[point as usize * replications], point));
        let id = |point: u32| self.ids[point as usize * replications];
        let mut again: Vec<u32> =
            order.windows(2).filter(|pair| id(pair[0]) == id(pair[1])).map(|pair| pair[1]).collect();
        again.sort_unstable();
        let problem = again.first().map(|&first| {
            let names = self.points.design.describe(first as usize);
            let message = format!(
                "{} the same as an earlier one and left out, the first: {names}",
                if again.len() == 1 { "1 point is".to_owned() } else { format!("{} points are", again.len()) },
            );
            Problem::warning("", message).with_hint("a value that stands twice, or a key that plays no part there")
        });
        if problem.is_some() {
            let stays = |point: usize| again.binary_search(&(point as u32)).is_err();
            let mut point = 0..;
            self.points.design.codes.retain(|_| point.next().is_some_and(stays));
            let mut point = 0..;
            self.seeds.retain(|_| point.next().is_some_and(stays));
            let mut run = 0..;
            self.ids.retain(|_| run.next().is_some_and(|run: usize| stays(run / replications)));
        }
        self.sorted = (0..self.ids.len() as u32).collect();
        let ids = &self.ids;
        self.sorted.sort_unstable_by_key(|&run| ids[run as usize]);
        problem
    }

    /// Name of the study.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of the base scenario, which every point keeps: result folders are `<name>/<run id>`.
    pub fn scenario_name(&self) -> &str {
        &self.scenario_name
    }

    /// What is allowed but probably not meant.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The texts that warnings point into.
    pub fn sources(&self) -> &[Source] {
        &self.points.sources
    }

    /// Dotted keys in the order of columns: axes, zips, sampled ranges, then keys that only `[[include]]` names.
    pub fn axes(&self) -> &[String] {
        &self.axes
    }

    /// The values that the file gives an axis, in their order; none if only `[[include]]` names it.
    pub fn levels(&self, axis: usize) -> &[AxisValue] {
        self.points.design.axes.get(axis).map_or(&[], |axis| &axis.levels)
    }

    /// The axes that vary together with this one, itself included.
    pub fn paired(&self, axis: usize) -> Vec<usize> {
        let axes = &self.points.design.axes;
        let factor = |axis: usize| axes.get(axis).and_then(|axis| axis.factor);
        (0..axes.len())
            .filter(|&other| other == axis || (factor(other).is_some() && factor(other) == factor(axis)))
            .collect()
    }

    /// Whether an axis is drawn by `[sample]`: its values go with others of the same draw, not with each of them.
    pub fn is_drawn(&self, axis: usize) -> bool {
        let axes = &self.points.design.axes;
        axes.get(axis).is_some_and(|axis| axis.factor.is_some() && axis.factor == self.points.design.drawn)
    }

    /// Number of design points.
    pub fn points(&self) -> usize {
        self.seeds.len()
    }

    /// Replications of each point.
    pub fn replications(&self) -> u32 {
        self.replications
    }

    /// Number of runs: points times replications.
    pub fn runs(&self) -> usize {
        self.ids.len()
    }

    /// The run of an index below [`Plan::runs`]: point by point, and in each point its replications.
    pub fn run(&self, index: usize) -> PlannedRun {
        let (point, replication) = (index / self.replications as usize, index % self.replications as usize);
        PlannedRun { id: self.ids[index], point, replication: replication as u32, seed: self.seeds[point] }
    }

    /// The value of an axis at a point, the base scenario's where the point leaves it. `None` if that is no
    /// number, text or flag.
    pub fn value(&self, point: usize, axis: usize) -> Option<&AxisValue> {
        self.points.design.value(point, axis).or_else(|| self.base_values.get(axis)?.as_ref())
    }

    /// A point in words: `split.initial = 3, channel.noise_std = 0.3`.
    pub fn describe(&self, point: usize) -> String {
        self.points.design.describe(point)
    }

    /// The index of the run of that id.
    pub fn find(&self, id: &RunId) -> Option<usize> {
        let found = self.sorted.binary_search_by_key(id, |&run| self.ids[run as usize]);
        found.ok().map(|place| self.sorted[place] as usize)
    }

    /// A run, assembled anew and ready.
    ///
    /// # Errors
    /// [`StudyError::Bad`] if files that the scenario names have changed since the plan was made.
    pub fn job(&self, index: usize, library: &mut Library) -> Result<Job, StudyError> {
        let PlannedRun { point, replication, seed, .. } = self.run(index);
        let assembly = assemble(self.points.load(point)?, library)?;
        Ok(Job { assembly: Arc::new(assembly), seed, replication, command: self.command(point, seed) })
    }

    /// The command that runs the replications of a point without the study.
    fn command(&self, point: usize, seed: u64) -> String {
        let axes = self.axes.iter().enumerate().filter_map(|(index, name)| {
            let node = self.points.design.node(point, index)?;
            Some(format!("{name}={}", toml(&node)))
        });
        let base = quoted(&self.points.base.display().to_string());
        let mut words = vec![format!("splitwave run {base}")];
        words.extend(self.constants.iter().cloned().chain(axes).map(|set| format!("--set {}", quoted(&set))));
        words.push(format!("--seed {seed} --replications {}", self.replications));
        words.join(" ")
    }

    /// The size of the study in words: `6 points × 10 replications = 60 runs`.
    pub fn size(&self) -> String {
        let (points, runs) = (counted(self.points() as u64, "point"), counted(self.runs() as u64, "run"));
        format!("{points} × {} = {runs}", counted(self.replications, "replication"))
    }
}

/// A path as it is if that exists, else beside the study file.
fn beside(study: &Path, path: &str) -> PathBuf {
    let plain = PathBuf::from(path);
    if plain.is_absolute() || plain.exists() {
        return plain;
    }
    let beside = study.parent().map_or_else(|| plain.clone(), |folder| folder.join(path));
    if beside.exists() { beside } else { plain }
}

/// The base scenario with `[set]` laid over it, and what is in the way.
fn with_constants(file: &StudyFile, base: &Node) -> (Node, Vec<Problem>) {
    let mut root = base.clone();
    let mut problems = Vec::new();
    for (index, setting) in file.set.iter().enumerate() {
        let key = &setting.key;
        let instead = match key.as_str() {
            "name" => Some("the scenario keeps its own name: it names the folders of results"),
            "seed" | "replications" => Some("give it at the top of the study file, outside of [set]"),
            _ => None,
        };
        let problem = match (instead, resolve(&root, &setting.path)) {
            (Some(hint), _) => Problem::error(key, format!("`{key}` can't stand in [set]")).with_hint(hint),
            (None, Err(problem)) => *problem,
            (None, Ok(_)) if file.set[..index].iter().any(|other| other.key == *key) => {
                Problem::error(key, format!("`{key}` stands twice in [set]")).with_hint("leave one of them out")
            }
            (None, Ok(way)) => {
                let node = moved(&setting.node, 1);
                lay(&mut root, &way, &Place { source: 1, ..setting.place.clone() }, node);
                continue;
            }
        };
        problems.push(located(file, problem, Some(&setting.place)));
    }
    (root, problems)
}

/// A base whose replications depend on results: a study's runs are all known beforehand.
fn open_ended(file: &StudyFile, root: &Node, sources: &[Source]) -> Option<Problem> {
    let node = root.get("replications").filter(|node| matches!(node.value, Value::Table(_)))?;
    if file.table.replications.is_some() {
        return None;
    }
    let problem = Problem::error("replications", "a study needs a fixed number of replications; its base has a goal")
        .with_hint("set `replications` at the top of the study file");
    let source = sources.get(node.place.source)?;
    Some(problem.with_place(source.origin.clone(), node.place.span.clone()))
}

/// Keys of axes and constants that no scenario has: what is wrong at the keys of a tree with a value at each of them.
fn unknown_keys(file: &StudyFile, base: &Path, sources: &Arc<[Source]>, root: &Node) -> Vec<Problem> {
    let mut tree = root.clone();
    let varied = file.axes.iter().chain(file.zips.iter().flatten()).chain(&file.ranges);
    let settings: Vec<&Setting> = varied.chain(file.includes.iter().flatten()).collect();
    for setting in &settings {
        let value = match &setting.node.value {
            Value::Array(items) => items.first(),
            _ => setting.node.get("from").or_else(|| setting.node.get("min")).or(Some(&setting.node)),
        };
        if let (Ok(way), Some(value)) = (resolve(&tree, &setting.path), value) {
            lay(&mut tree, &way, &Place { source: 1, ..setting.place.clone() }, moved(value, 1));
        }
    }
    let document = Document::from_parts(sources.clone(), tree);
    let mut found = match LoadedScenario::from_document(base, document) {
        Ok(loaded) => loaded.problems,
        Err(bad) => bad.problems,
    };
    let study = file.origin();
    let at_key = |problem: &Problem| {
        let is = |setting: &&Setting| Some(&setting.place.span) == problem.span.as_ref();
        problem.origin.as_ref() == Some(&study)
            && (settings.iter().any(is) || file.set.iter().any(|setting| is(&setting)))
    };
    found.retain(|problem| problem.is_error() && at_key(problem));
    for problem in found.iter_mut().filter(|problem| problem.message.starts_with("unknown key")) {
        let setting = settings.iter().find(|setting| Some(&setting.place.span) == problem.span.as_ref());
        if let Some(hint) = setting.and_then(|setting| misspelt_name(root, setting)) {
            (problem.hint, problem.allowed) = (Some(hint), None);
        }
    }
    found
}

/// `ue.phne.count` where there is a group `phone`: an array of one element takes the name for a key.
fn misspelt_name(root: &Node, setting: &Setting) -> Option<String> {
    let [(Step::Key(array), _), (Step::Key(name), _), ..] = setting.path.steps.as_slice() else { return None };
    let Value::Array(items) = &root.get(array)?.value else { return None };
    let near = nearest(name, items.iter().filter_map(Node::name))?;
    Some(format!("did you mean `{array}.{near}`?"))
}

/// A whole number of the base scenario, or its default; what is wrong with it is said at the points.
fn whole(root: &Node, key: &str) -> Option<u64> {
    match root.get(key).map(|node| &node.value) {
        Some(Value::Integer(number)) => u64::try_from(*number).ok(),
        Some(_) => None,
        None => defaults().get(key)?.as_u64(),
    }
}

fn set_argument(setting: &Setting) -> String {
    format!("{}={}", setting.key, toml(&setting.node))
}

//! The scenarios of a study's points, and the check of all of them before anything runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::run::assembly::assemble_with;
use crate::run::inputs::Library;
use crate::run::runner::Job;
use crate::scenario::{BadScenario, Document, LoadedScenario, Node, Origin, Problem, Severity, Source, Step, lay};
use crate::study::design::{Axis, Design};
use crate::study::file::SeedPolicy;
use crate::study::plan::RunId;
use crate::study::value::AxisValue;

/// Points that a thread takes at a time.
const CHUNK: usize = 64;
/// Points that a problem names.
const MOST_NAMED: usize = 3;

/// The points of a study and what they start from.
pub(super) struct Points {
    /// The base scenario's file; paths count from it.
    pub(super) base: PathBuf,
    /// Texts of the base scenario and of the study file.
    pub(super) sources: Arc<[Source]>,
    /// The base scenario with the study's constants.
    pub(super) root: Node,
    /// What varies.
    pub(super) design: Design,
}

/// How the runs of a point are numbered and seeded.
#[derive(Clone, Copy)]
pub(super) struct Randomness {
    pub(super) seed: u64,
    pub(super) policy: SeedPolicy,
    pub(super) replications: u32,
}

/// The value that a step leads to; an element of an array goes by its index or `name`.
fn below<'v>(value: &'v serde_json::Value, step: &Step) -> Option<&'v serde_json::Value> {
    match (value, step) {
        (serde_json::Value::Array(items), Step::Index(index)) => items.get(*index),
        (serde_json::Value::Array(items), Step::Key(key)) => {
            items.iter().find(|item| item.get("name").and_then(|name| name.as_str()) == Some(key))
        }
        (value, Step::Key(key)) => value.get(key),
        _ => None,
    }
}

/// What the check of all points gave.
pub(super) struct Checked {
    /// The id of each run, point by point.
    pub(super) ids: Vec<RunId>,
    /// The seed of each point.
    pub(super) seeds: Vec<u64>,
    /// Each problem once, with the points that have it.
    pub(super) problems: Vec<Problem>,
}

impl Points {
    /// What the base scenario has under each axis' key, its own or a default: numbers, texts and flags.
    pub(super) fn base_values(&self) -> Vec<Option<AxisValue>> {
        let document = Document::from_parts(self.sources.clone(), self.root.clone());
        let base = LoadedScenario::from_document(&self.base, document).ok();
        let base = base.and_then(|loaded| serde_json::to_value(&loaded.scenario).ok());
        let value = |axis: &Axis| AxisValue::of_json(axis.way.iter().try_fold(base.as_ref()?, below)?);
        self.design.axes.iter().map(value).collect()
    }

    /// The scenario of a point, checked as far as it goes without its inputs.
    pub(super) fn load(&self, point: usize) -> Result<LoadedScenario, Box<BadScenario>> {
        let mut root = self.root.clone();
        for (index, axis) in self.design.axes.iter().enumerate() {
            if let Some(node) = self.design.node(point, index) {
                lay(&mut root, &axis.way, &axis.place, node.into_owned());
            }
        }
        LoadedScenario::from_document(&self.base, Document::from_parts(self.sources.clone(), root))
    }

    /// Checks every point with its inputs and names its runs.
    pub(super) fn check(&self, randomness: Randomness, library: &mut Library) -> Checked {
        let points = self.design.codes.len();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(points.div_ceil(CHUNK));
        let (next, library) = (AtomicUsize::new(0), Mutex::new(library));
        let work = || {
            let mut chunks = Vec::new();
            loop {
                let chunk = next.fetch_add(1, Ordering::Relaxed);
                if chunk * CHUNK >= points {
                    return chunks;
                }
                let mut checked =
                    Chunk { number: chunk, ids: Vec::new(), seeds: Vec::new(), groups: Groups::default() };
                for point in chunk * CHUNK..points.min((chunk + 1) * CHUNK) {
                    self.check_point(point, randomness, &library, &mut checked);
                }
                chunks.push(checked);
            }
        };
        let mut chunks: Vec<Chunk> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            // A panic of a thread is the program's own: without its points the others would be misnamed.
            let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<Chunk>>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().flat_map(join).collect()
        });
        // In the order of the points, whoever took them.
        chunks.sort_by_key(|chunk| chunk.number);
        let mut checked = Checked { ids: Vec::new(), seeds: Vec::new(), problems: Vec::new() };
        let mut groups = Groups::default();
        for chunk in chunks {
            checked.ids.extend(chunk.ids);
            checked.seeds.extend(chunk.seeds);
            groups.merge(chunk.groups);
        }
        checked.problems = groups.problems(&self.design);
        checked
    }

    fn check_point(&self, point: usize, randomness: Randomness, library: &Mutex<&mut Library>, into: &mut Chunk) {
        let loaded = match self.load(point) {
            Ok(loaded) => loaded,
            Err(bad) => return into.groups.add(point, bad.problems),
        };
        let inputs = library.lock().unwrap_or_else(PoisonError::into_inner).load(&loaded);
        match assemble_with(loaded, inputs) {
            Err(bad) => into.groups.add(point, bad.problems),
            Ok(mut assembly) => {
                into.groups.add(point, std::mem::take(&mut assembly.warnings));
                let (seed, replications) = (randomness.seed, randomness.replications);
                let mut job = Job { assembly: Arc::new(assembly), seed, replication: 0, command: String::new() };
                let mut ids = job.run_ids(if randomness.policy == SeedPolicy::PerPoint { 1 } else { replications });
                if randomness.policy == SeedPolicy::PerPoint {
                    // Of the seed and everything that the point's results depend on, so it stays when points are added;
                    // 53 bits, which any reader of numbers keeps.
                    let hash = blake3::hash(format!("{seed} {}", ids.concat()).as_bytes());
                    let word = hash.as_bytes()[..8].iter().fold(0, |word: u64, &byte| word << 8 | u64::from(byte));
                    job.seed = word >> 11;
                    ids = job.run_ids(replications);
                }
                into.seeds.push(job.seed);
                into.ids.extend(ids.iter().filter_map(|id| id.parse::<RunId>().ok()));
            }
        }
    }
}

struct Chunk {
    number: usize,
    ids: Vec<RunId>,
    seeds: Vec<u64>,
    groups: Groups,
}

/// Problems that differ in numbers only are one.
type GroupKey = (Severity, Option<Origin>, Option<(usize, usize)>, String, String);

struct Group {
    problem: Problem,
    count: usize,
    first: Vec<usize>,
}

#[derive(Default)]
struct Groups(BTreeMap<GroupKey, Group>);

impl Groups {
    fn add(&mut self, point: usize, problems: Vec<Problem>) {
        for problem in problems {
            let span = problem.span.as_ref().map(|span| (span.start, span.end));
            let message = without_numbers(&problem.message);
            let key = (problem.severity, problem.origin.clone(), span, problem.path.clone(), message);
            let group = self.0.entry(key).or_insert_with(|| Group { problem, count: 0, first: Vec::new() });
            // Two problems of one point may fall together.
            if group.first.last() != Some(&point) {
                group.count += 1;
                if group.first.len() < MOST_NAMED {
                    group.first.push(point);
                }
            }
        }
    }

    /// Takes over the groups of later points.
    fn merge(&mut self, later: Self) {
        for (key, group) in later.0 {
            match self.0.entry(key) {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(group);
                }
                std::collections::btree_map::Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.count += group.count;
                    known.first.extend(group.first);
                    known.first.truncate(MOST_NAMED);
                }
            }
        }
    }

    /// One problem for each group, in the order of the points that first have it.
    fn problems(self, design: &Design) -> Vec<Problem> {
        let all = design.codes.len();
        let mut groups: Vec<Group> = self.0.into_values().collect();
        groups.sort_by_key(|group| group.first.first().copied());
        let met = |group: Group| {
            let Group { problem, count, first } = group;
            let named: Vec<_> = first.iter().map(|&point| design.describe(point)).collect();
            let more = if count > first.len() { "; …" } else { "" };
            let met = if count == all {
                (all > 1).then(|| format!("all {all} points"))
            } else {
                Some(format!("{count} of {all} points: {}{more}", named.join("; ")))
            };
            Problem { met, ..problem }
        };
        groups.into_iter().map(met).collect()
    }
}

/// A message with each number as `#`.
fn without_numbers(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for c in message.chars() {
        match (c, text.ends_with('#')) {
            ('0'..='9' | '.', true) => {}
            ('0'..='9', false) => text.push('#'),
            (c, _) => text.push(c),
        }
    }
    text
}

//! From the tables of a study file to its design: keys resolved, lists and ranges read, the grid counted.

use std::collections::BTreeSet;

use crate::run::wording::counted;
use crate::scenario::{Node, Place, Problem, Step, Value, nearest, resolve};
use crate::study::design::{Axis, Design, Included, Levels};
use crate::study::file::{Setting, StudyFile, spaced_range};
use crate::study::range::{DrawnRange, integer_ends};
use crate::study::sampling::quantiles;
use crate::study::value::AxisValue;

/// Most runs of a study.
pub(super) const MOST_RUNS: u128 = 10_000_000;

/// Reads a study's axes against its base scenario.
pub(super) struct Builder<'a> {
    file: &'a StudyFile,
    /// The base scenario with the study's constants.
    base: &'a Node,
    /// The number of the study file among the texts of a point.
    source: usize,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    axes: Vec<Axis>,
    factors: Vec<usize>,
    drawn: Option<usize>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(file: &'a StudyFile, base: &'a Node, source: usize) -> Self {
        let (problems, warnings, axes, factors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { file, base, source, problems, warnings, axes, factors, drawn: None }
    }

    /// The design and its warnings.
    pub(super) fn build(mut self, replications: u32) -> Result<(Design, Vec<Problem>), Vec<Problem>> {
        let file = self.file;
        for setting in &file.axes {
            if let Some(axis) = self.axis(setting) {
                let levels = axis.levels.len();
                self.factor(vec![axis], levels);
            }
        }
        for (index, settings) in file.zips.iter().enumerate() {
            self.zip(index, settings);
        }
        self.sample();
        let includes = self.includes();
        self.check_keys();
        let excludes = self.excludes();
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        // Without any axis the grid is the base scenario, unless points are listed.
        let has_grid = !self.factors.is_empty() || includes.is_empty();
        let grid = if has_grid {
            self.factors.iter().fold(1, |grid: u128, &levels| grid.saturating_mul(levels as u128))
        } else {
            0
        };
        let runs = grid.saturating_add(includes.len() as u128).saturating_mul(u128::from(replications));
        if runs > MOST_RUNS {
            let sizes: Vec<_> = self.factors.iter().map(ToString::to_string).collect();
            let message = format!(
                "{runs} runs: {} points ({}{}) of {}",
                grid.saturating_add(includes.len() as u128),
                sizes.join(" × "),
                if includes.is_empty() { String::new() } else { format!(" + {} included", includes.len()) },
                counted(replications, "replication"),
            );
            return Err(vec![Problem::error("", message).with_allowed(format!("at most {MOST_RUNS} runs"))]);
        }
        let design = Design {
            axes: self.axes,
            factors: self.factors,
            drawn: self.drawn,
            grid: grid as usize,
            includes,
            codes: Vec::new(),
        };
        let (design, unmatched) = leave_out(design, &excludes);
        for index in unmatched {
            let place = file.excludes[index].first().map(|setting| setting.place.clone());
            let problem = Problem::warning(format!("exclude[{index}]"), "this [[exclude]] leaves out no point")
                .with_hint("numbers must be written as `splitwave study plan` shows them");
            self.warnings.push(located(file, problem, place.as_ref()));
        }
        if design.codes.is_empty() {
            let message = format!("the grid is empty: [[exclude]] leaves out every one of its {} points", design.grid);
            let place =
                file.excludes.first().and_then(|settings| settings.first()).map(|setting| setting.place.clone());
            return Err(vec![located(file, Problem::error("exclude[0]", message), place.as_ref())]);
        }
        Ok((design, self.warnings))
    }

    /// An axis with the values of a list or a range.
    fn axis(&mut self, setting: &Setting) -> Option<Axis> {
        let key = &setting.key;
        let way = self.way(setting)?;
        let (levels, nodes) = match &setting.node.value {
            Value::Array(items) if items.is_empty() => {
                let problem = Problem::error(key, format!("`{key}` has no values: the grid is empty"));
                self.refuse(problem.with_hint("list at least one value, or leave the axis out"), &setting.node.place);
                return None;
            }
            Value::Array(items) => {
                let nodes: Vec<Node> = items.iter().map(|item| moved(item, self.source)).collect();
                (items.iter().map(AxisValue::of).collect(), Levels::Written(nodes))
            }
            Value::Table(_) if setting.node.get("min").or_else(|| setting.node.get("max")).is_some() => {
                let problem = Problem::error(key, format!("`{key}` is an interval to draw from, not values"));
                let problem = problem.with_allowed("[value, …] or { from, to, count, scale }");
                self.refuse(problem.with_hint("draw from it in [sample.ranges]"), &setting.node.place);
                return None;
            }
            Value::Table(_) => {
                let range = match spaced_range(&self.file.document, setting) {
                    Ok(range) => range,
                    Err(problems) => {
                        self.problems.extend(problems);
                        return None;
                    }
                };
                let integers = integer_ends(&setting.node, ["from", "to"]).is_some();
                match range.values(key, integers) {
                    Ok(levels) => (levels, Levels::Computed(self.moved(&setting.node.place))),
                    Err(problem) => {
                        self.refuse(*problem, &setting.node.place);
                        return None;
                    }
                }
            }
            other => {
                let problem =
                    Problem::error(key, format!("`{key}` must be a list or a range, not {}", other.type_name()))
                        .with_allowed("[value, …] or { from, to, count, scale }")
                        .with_hint("a value that stays the same belongs in [set]");
                self.refuse(problem, &setting.node.place);
                return None;
            }
        };
        let place = self.moved(&setting.place);
        Some(Axis { name: key.clone(), place, way, levels, nodes, factor: None })
    }

    fn factor(&mut self, axes: Vec<Axis>, levels: usize) {
        let factor = Some(self.factors.len());
        self.factors.push(levels);
        self.axes.extend(axes.into_iter().map(|axis| Axis { factor, ..axis }));
    }

    fn zip(&mut self, index: usize, settings: &[Setting]) {
        let axes: Vec<Axis> = settings.iter().filter_map(|setting| self.axis(setting)).collect();
        let lengths: BTreeSet<usize> = axes.iter().map(|axis| axis.levels.len()).collect();
        if settings.is_empty() {
            let problem = Problem::error(format!("zip[{index}]"), "this [[zip]] names no key: the grid is empty");
            self.problems.push(located(self.file, problem, None));
        } else if lengths.len() > 1 {
            let lengths: Vec<_> = axes.iter().map(|axis| format!("{} has {}", axis.name, axis.levels.len())).collect();
            let message = format!("the lists of a [[zip]] differ in length: {}", lengths.join(", "));
            let problem = Problem::error(format!("zip[{index}]"), message)
                .with_allowed("lists of equal length")
                .with_hint("pair every value, or move a list to [axes], where all values are crossed");
            self.refuse(problem, &settings[0].place);
        } else if axes.len() == settings.len() {
            let levels = axes[0].levels.len();
            self.factor(axes, levels);
        }
    }

    fn sample(&mut self) {
        let Some(sample) = &self.file.table.sample else { return };
        if self.file.ranges.is_empty() {
            let problem = Problem::error("sample.ranges", "[sample.ranges] names no key: there is nothing to draw");
            self.problems.push(located(self.file, problem, None));
        }
        let mut axes = Vec::new();
        for setting in &self.file.ranges {
            let (key, place) = (&setting.key, &setting.node.place);
            let way = self.way(setting);
            let range: DrawnRange = match self.file.document.read_part(&setting.node, key) {
                Ok(range) => range,
                Err(problems) => {
                    self.problems.extend(problems);
                    continue;
                }
            };
            if let Err(problem) = range.check(key, integer_ends(&setting.node, ["min", "max"])) {
                self.refuse(*problem, place);
                continue;
            }
            let Some(way) = way else { continue };
            let integers = integer_ends(&setting.node, ["min", "max"]);
            let draws = quantiles(sample.method, sample.seed, key, sample.count);
            let levels = draws.into_iter().map(|u| range.at(u, integers)).collect();
            let nodes = Levels::Computed(self.moved(place));
            axes.push(Axis { name: key.clone(), place: self.moved(&setting.place), way, levels, nodes, factor: None });
        }
        if !axes.is_empty() {
            self.drawn = Some(self.factors.len());
            self.factor(axes, sample.count as usize);
        }
    }

    /// Points beyond the grid; keys that no axis has become axes without levels.
    fn includes(&mut self) -> Vec<Included> {
        let mut includes = Vec::new();
        for settings in &self.file.includes {
            let mut included: Vec<(usize, AxisValue, Node)> = Vec::new();
            for setting in settings {
                let Some(way) = self.way(setting) else { continue };
                let axis = self.axes.iter().position(|axis| axis.way == way).unwrap_or_else(|| {
                    let place = self.moved(&setting.place);
                    let (levels, nodes) = (Vec::new(), Levels::Written(Vec::new()));
                    self.axes.push(Axis { name: setting.key.clone(), place, way, levels, nodes, factor: None });
                    self.axes.len() - 1
                });
                if included.iter().any(|(known, ..)| *known == axis) {
                    self.refuse(twice(&setting.key, "in one [[include]]"), &setting.place);
                }
                included.push((axis, AxisValue::of(&setting.node), moved(&setting.node, self.source)));
            }
            includes.push(included);
        }
        let by_axis = |included: Vec<(usize, AxisValue, Node)>| {
            let mut values: Included = vec![None; self.axes.len()];
            for (axis, value, node) in included {
                values[axis] = Some((value, node));
            }
            values
        };
        includes.into_iter().map(by_axis).collect()
    }

    /// For each `[[exclude]]`: the axes and the values that a point is left out for.
    fn excludes(&mut self) -> Vec<Vec<(usize, AxisValue)>> {
        let mut excludes = Vec::new();
        for settings in &self.file.excludes {
            let mut wanted = Vec::new();
            for setting in settings {
                let way = resolve(self.base, &setting.path).ok();
                let found = self.axes.iter().position(|axis| Some(&axis.way) == way.as_ref());
                let Some(axis) = found else {
                    let names = || self.axes.iter().map(|axis| axis.name.as_str());
                    let problem = Problem::error(&setting.key, format!("`{}` is no axis of this study", setting.key));
                    let problem = match nearest(&setting.key, names()) {
                        Some(name) => problem.with_hint(format!("did you mean `{name}`?")),
                        None => problem.with_allowed(names().collect::<Vec<_>>().join(", ")),
                    };
                    self.refuse(problem, &setting.place);
                    continue;
                };
                wanted.push((axis, AxisValue::of(&setting.node)));
            }
            if settings.is_empty() {
                let problem = Problem::error("exclude", "this [[exclude]] names no key: it would leave out everything");
                self.problems.push(located(self.file, problem, None));
            }
            excludes.push(wanted);
        }
        excludes
    }

    /// No key stands in two places, nor a key and a table around it.
    fn check_keys(&mut self) {
        let place = |place: &Place| Place { source: 0, span: place.span.clone() };
        let mut found = Vec::new();
        for (index, axis) in self.axes.iter().enumerate() {
            for other in &self.axes[..index] {
                if axis.way == other.way {
                    let name = if axis.name == other.name { String::new() } else { format!(" (as `{}`)", other.name) };
                    found.push((twice(&axis.name, &format!("among the axes{name}")), place(&axis.place)));
                } else if axis.way.starts_with(&other.way) || other.way.starts_with(&axis.way) {
                    let message = format!("`{}` and `{}` are axes, and one holds the other", other.name, axis.name);
                    let problem = Problem::error(&axis.name, message);
                    found.push((problem.with_hint("vary the whole table or keys in it"), place(&axis.place)));
                }
            }
        }
        for setting in &self.file.set {
            // What is in the way is said where constants are laid over the base.
            let Ok(way) = resolve(self.base, &setting.path) else { continue };
            // A constant table in which an axis varies one key is fine: the axis comes after it.
            if let Some(axis) = self.axes.iter().find(|axis| way.starts_with(&axis.way)) {
                let message = format!("`{}` is in [set], and `{}` is an axis", setting.key, axis.name);
                let problem = Problem::error(&setting.key, message).with_hint("leave it out of [set]");
                found.push((problem, setting.place.clone()));
            }
        }
        for (problem, place) in found {
            self.refuse(problem, &place);
        }
    }

    /// The way to a key in the base scenario.
    fn way(&mut self, setting: &Setting) -> Option<Vec<Step>> {
        if let Some(problem) = no_axis(&setting.key, &setting.path.steps) {
            self.refuse(problem, &setting.place);
            return None;
        }
        match resolve(self.base, &setting.path) {
            Ok(way) => Some(way),
            Err(problem) => {
                self.refuse(*problem, &setting.place);
                None
            }
        }
    }

    fn refuse(&mut self, problem: Problem, place: &Place) {
        self.problems.push(located(self.file, problem, Some(place)));
    }

    fn moved(&self, place: &Place) -> Place {
        Place { source: self.source, span: place.span.clone() }
    }
}

/// Why a key of the scenario can't vary, if it can't.
fn no_axis(key: &str, steps: &[(Step, std::ops::Range<usize>)]) -> Option<Problem> {
    let Some((Step::Key(first), _)) = steps.first() else { return None };
    let because = match first.as_str() {
        "name" => "it names the folder of results and changes no number",
        "seed" => "replications and seed_policy say how randomness varies",
        "replications" => "every point has the same: set `replications` at the top of the study file",
        "output" => "it says which files are written and changes no number",
        _ => return None,
    };
    Some(Problem::error(key, format!("`{key}` is no axis: {because}")))
}

/// Leaves out points; also says which exclusions match none.
fn leave_out(mut design: Design, excludes: &[Vec<(usize, AxisValue)>]) -> (Design, Vec<usize>) {
    let mut matched = vec![false; excludes.len()];
    let mut codes: Vec<u32> = Vec::new();
    for code in 0..design.grid {
        let mut stays = true;
        for (exclude, matched) in excludes.iter().zip(&mut matched) {
            let has = |(axis, wanted): &(usize, AxisValue)| {
                design.value_of(code, *axis).is_some_and(|value| value.same(wanted))
            };
            if exclude.iter().all(has) {
                stays = false;
                *matched = true;
            }
        }
        if stays {
            codes.push(code as u32);
        }
    }
    codes.extend((design.grid..design.grid + design.includes.len()).map(|code| code as u32));
    design.codes = codes;
    let unmatched = matched.iter().enumerate().filter(|(_, matched)| !**matched).map(|(index, _)| index).collect();
    (design, unmatched)
}

fn twice(key: &str, place: &str) -> Problem {
    Problem::error(key, format!("`{key}` stands twice {place}")).with_hint("leave one of them out")
}

/// A problem at a place of the study file.
pub(super) fn located(file: &StudyFile, mut problem: Problem, place: Option<&Place>) -> Problem {
    if let Some(place) = place {
        return problem.with_place(file.origin(), place.span.clone());
    }
    file.document.locate(&mut problem);
    problem
}

/// A value of the study file as a part of a point's tree, where that file has another number.
pub(super) fn moved(node: &Node, source: usize) -> Node {
    let mut node = node.clone();
    let mut pending = vec![&mut node];
    while let Some(node) = pending.pop() {
        node.place.source = source;
        match &mut node.value {
            Value::Array(items) => pending.extend(items),
            Value::Table(entries) => {
                for entry in entries {
                    entry.place.source = source;
                    pending.push(&mut entry.node);
                }
            }
            _ => {}
        }
    }
    node
}

//! Means over replications: `means.csv`, and `differences.csv` between two levels of an axis.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::record::Figures;
use crate::scenario::problem::clip;
use crate::stats::{Moments, StudentInterval};
use crate::study::Plan;
use crate::study::beside::{Beside, WriteError};
use crate::study::outcomes::{Outcome, Outcomes};
use crate::study::tables::{axis_cells, write_csv};

/// Confidence of the intervals.
pub const LEVEL: f64 = 0.95;

/// Two levels of an axis to compare, `AXIS=A,B`: the difference is A less B.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// Dotted key of the axis.
    pub axis: String,
    /// The levels, as they stand in runs.csv.
    pub levels: [String; 2],
}

/// Two levels that can't be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairingError {
    /// The text is no pairing.
    #[error("`{0}` is no AXIS=A,B")]
    Syntax(String),
    /// No such axis.
    #[error("`{axis}` is no axis of the study; it has {known}")]
    Axis {
        /// What was asked for.
        axis: String,
        /// The axes.
        known: String,
    },
    /// No such value.
    #[error("`{axis}` is never {level}; it has {known}")]
    Level {
        /// The axis.
        axis: String,
        /// What was asked for.
        level: String,
        /// The values.
        known: String,
    },
    /// A drawn axis.
    #[error("`{axis}` is drawn by [sample]: no two of its points differ in it alone")]
    Drawn {
        /// The axis.
        axis: String,
    },
    /// A level that stands several times in a `[[zip]]`.
    #[error("`{axis}` is {level} more than once in its [[zip]]: no telling which go together")]
    Ambiguous {
        /// The axis.
        axis: String,
        /// The level.
        level: String,
    },
    /// One level twice.
    #[error("`{axis}={level},{level}`: the two levels are one")]
    Same {
        /// The axis.
        axis: String,
        /// The level.
        level: String,
    },
}

impl std::str::FromStr for Pairing {
    type Err = PairingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('=').and_then(|(axis, levels)| Some((axis, levels.split_once(',')?)));
        let syntax = || PairingError::Syntax(clip(text));
        let (axis, (a, b)) = parts.ok_or_else(syntax)?;
        let [axis, a, b] = [axis, a, b].map(|part| part.trim().to_owned());
        if axis.is_empty() || a.is_empty() || b.is_empty() {
            return Err(syntax());
        }
        Ok(Self { axis, levels: [a, b] })
    }
}

impl Pairing {
    /// The index of its axis in the plan.
    ///
    /// # Errors
    /// [`PairingError`] if the plan has no such axis, or not these levels on it.
    pub fn axis_in(&self, plan: &Plan) -> Result<usize, PairingError> {
        let Self { axis, levels: [a, b] } = self;
        let place = plan.axes().iter().position(|known| known == axis);
        let place = place.ok_or_else(|| PairingError::Axis { axis: clip(axis), known: quoted_list(plan.axes()) })?;
        if plan.is_drawn(place) {
            return Err(PairingError::Drawn { axis: axis.clone() });
        }
        let mut known: Vec<String> = Vec::new();
        let mut seen = BTreeSet::new();
        for point in 0..plan.points() {
            let level = plan.value(point, place).map(ToString::to_string).unwrap_or_default();
            if !level.is_empty() && seen.insert(level.clone()) {
                known.push(level);
            }
        }
        for level in [a, b] {
            if !known.iter().any(|cell| is_level(cell, level)) {
                let (axis, level, known) = (axis.clone(), clip(level), listed(&known));
                return Err(PairingError::Level { axis, level, known });
            }
            let times = plan.levels(place).iter().filter(|known| is_level(&known.to_string(), level)).count();
            if times > 1 && plan.paired(place).len() > 1 {
                return Err(PairingError::Ambiguous { axis: axis.clone(), level: level.clone() });
            }
        }
        if is_level(a, b) {
            return Err(PairingError::Same { axis: axis.clone(), level: a.clone() });
        }
        Ok(place)
    }
}

/// Whether a cell is the level that somebody names: the same text, or the same number (`40` and `40.0`).
fn is_level(cell: &str, level: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    cell == level || number(cell).is_some_and(|cell| number(level) == Some(cell))
}

/// The first ones of many.
fn listed(levels: &[String]) -> String {
    const LISTED: usize = 20;
    let more = if levels.len() > LISTED { format!(", … ({} in all)", levels.len()) } else { String::new() };
    levels[..levels.len().min(LISTED)].join(", ") + &more
}

fn quoted_list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// `means.csv`: a row per design point and figure: n runs that have the figure, their mean, and its 95 %
/// interval by Student's distribution (empty for fewer than two).
///
/// # Errors
/// [`WriteError`] if it can't be written.
pub fn write_means(path: &Path, plan: &Plan, outcomes: &Outcomes) -> Result<Beside, WriteError> {
    write_csv(path, |csv| {
        let axes = plan.axes().iter().map(String::as_str);
        csv.write_record(["point"].into_iter().chain(axes).chain(["figure", "n", "mean", "ci95_low", "ci95_high"]))?;
        for point in 0..plan.points() {
            let mut moments = vec![Moments::default(); Figures::columns().len()];
            for run in runs_of(plan, point) {
                for (moments, value) in moments.iter_mut().zip(values(&outcomes.runs[run])) {
                    if let Some(value) = value {
                        moments.push(value);
                    }
                }
            }
            let leading: Vec<String> = std::iter::once(point.to_string()).chain(axis_cells(plan, point)).collect();
            for (column, moments) in Figures::columns().iter().zip(&moments) {
                if moments.n() > 0 {
                    let row = [column.name.to_owned(), moments.n().to_string()];
                    csv.write_record(leading.iter().chain(&row).chain(&estimate(moments)))?;
                }
            }
        }
        Ok(())
    })
}

/// `differences.csv`: for every pair of points that differ in the paired axis alone (and in those that go with it in
/// a `[[zip]]`), and every figure: the mean over replications of level A less level B, each replication with
/// itself, and its 95 % interval. With common random numbers most of the variance cancels. Also gives the number of
/// points at either level that have no such partner.
///
/// # Errors
/// [`WriteError`] if it can't be written.
pub fn write_differences(
    path: &Path,
    plan: &Plan,
    outcomes: &Outcomes,
    pairings: &[(Pairing, usize)],
) -> Result<(Beside, usize), WriteError> {
    let mut alone = 0;
    let table = write_csv(path, |csv| {
        let axes = plan.axes().iter().map(String::as_str);
        let last = ["figure", "n", "mean_a", "mean_b", "difference", "ci95_low", "ci95_high"];
        csv.write_record(["axis", "level_a", "level_b"].into_iter().chain(axes).chain(last))?;
        for (Pairing { axis, levels }, place) in pairings {
            let varied = plan.paired(*place);
            // What the two points share, and which they are.
            let mut pairs: BTreeMap<Vec<String>, [Option<usize>; 2]> = BTreeMap::new();
            let mut order = Vec::new();
            for point in 0..plan.points() {
                let mut cells: Vec<String> = axis_cells(plan, point).collect();
                let Some(side) = levels.iter().position(|level| is_level(&cells[*place], level)) else { continue };
                for &axis in &varied {
                    cells[axis].clear();
                }
                let pair = pairs.entry(cells.clone()).or_insert_with(|| {
                    order.push(cells);
                    [None; 2]
                });
                pair[side].get_or_insert(point);
            }
            for cells in order {
                let Some(&[Some(a), Some(b)]) = pairs.get(&cells) else {
                    alone += 1;
                    continue;
                };
                let leading: Vec<&str> =
                    [axis, &levels[0], &levels[1]].into_iter().chain(&cells).map(String::as_str).collect();
                for (column, [of_a, of_b, of_both]) in Figures::columns().iter().zip(paired(plan, outcomes, [a, b])) {
                    if of_both.n() == 0 {
                        continue;
                    }
                    let mean = |moments: &Moments| moments.mean().map(text).unwrap_or_default();
                    let row = [column.name.to_owned(), of_both.n().to_string(), mean(&of_a), mean(&of_b)];
                    let estimate = estimate(&of_both);
                    csv.write_record(leading.iter().copied().chain(row.iter().chain(&estimate).map(String::as_str)))?;
                }
            }
        }
        Ok(())
    })?;
    Ok((table, alone))
}

/// By figure: the values at two points in the replications that both have, and their differences.
fn paired(plan: &Plan, outcomes: &Outcomes, [a, b]: [usize; 2]) -> Vec<[Moments; 3]> {
    let mut moments = vec![[Moments::default(), Moments::default(), Moments::default()]; Figures::columns().len()];
    for (a, b) in runs_of(plan, a).zip(runs_of(plan, b)) {
        let both = values(&outcomes.runs[a]).zip(values(&outcomes.runs[b]));
        for ([of_a, of_b, of_both], pair) in moments.iter_mut().zip(both) {
            if let (Some(a), Some(b)) = pair {
                of_a.push(a);
                of_b.push(b);
                of_both.push(a - b);
            }
        }
    }
    moments
}

/// The runs of a point, by replication.
fn runs_of(plan: &Plan, point: usize) -> std::ops::Range<usize> {
    let replications = plan.replications() as usize;
    point * replications..(point + 1) * replications
}

/// The numbers of a run that is done.
fn values(outcome: &Outcome) -> impl Iterator<Item = Option<f64>> {
    let cells = match outcome {
        Outcome::Done(done) => Some(done.all.iter()),
        _ => None,
    };
    let numbers = cells.into_iter().flatten().map(|cell| cell.parse::<f64>().ok().filter(|value| value.is_finite()));
    numbers.chain(std::iter::repeat(None)).take(Figures::columns().len())
}

/// Mean and interval, as cells.
fn estimate(moments: &Moments) -> [String; 3] {
    let interval = StudentInterval::from_moments(moments, LEVEL);
    let cell = |value: Option<f64>| value.map(text).unwrap_or_default();
    [cell(moments.mean()), cell(interval.map(|i| i.low())), cell(interval.map(|i| i.high()))]
}

/// A number in its shortest form that reads back.
fn text(value: f64) -> String {
    let mut buffer = zmij::Buffer::new();
    if value == 0.0 { "0.0".to_owned() } else { buffer.format(value).to_owned() }
}

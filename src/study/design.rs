//! The points of a study: factors crossed, points left out, points added.

use std::borrow::Cow;

use crate::scenario::{Node, Place, Step};
use crate::study::value::AxisValue;

/// An axis: a key of the scenario and its values.
pub(super) struct Axis {
    /// Its dotted key, as written.
    pub(super) name: String,
    /// The key's place in the study file.
    pub(super) place: Place,
    /// The way to it in the base scenario.
    pub(super) way: Vec<Step>,
    /// Its values; none if only `[[include]]` names it.
    pub(super) levels: Vec<AxisValue>,
    /// The values in the study file.
    pub(super) nodes: Levels,
    /// The factor that it varies with.
    pub(super) factor: Option<usize>,
}

/// Where an axis' values stand.
pub(super) enum Levels {
    /// Each on its own.
    Written(Vec<Node>),
    /// All in a range.
    Computed(Place),
}

/// Points beyond the grid: by axis, the value and where it stands.
pub(super) type Included = Vec<Option<(AxisValue, Node)>>;

/// The design: an axis' values by point.
pub(super) struct Design {
    pub(super) axes: Vec<Axis>,
    /// Levels of each factor; the last one varies fastest.
    pub(super) factors: Vec<usize>,
    /// The factor of the points drawn by `[sample]`.
    pub(super) drawn: Option<usize>,
    /// Points of the full grid.
    pub(super) grid: usize,
    pub(super) includes: Vec<Included>,
    /// The points in order: a number below `grid` is that point of the full grid, others count the included ones.
    pub(super) codes: Vec<u32>,
}

impl Axis {
    /// A value as the scenario gets it.
    fn node(&self, level: usize) -> Option<Cow<'_, Node>> {
        match &self.nodes {
            Levels::Written(nodes) => nodes.get(level).map(Cow::Borrowed),
            Levels::Computed(place) => self.levels.get(level).map(|value| Cow::Owned(value.node(place))),
        }
    }
}

impl Design {
    /// The level of a factor at a point of the full grid.
    fn level(&self, code: usize, factor: usize) -> usize {
        let stride: usize = self.factors[factor + 1..].iter().product();
        code / stride % self.factors[factor]
    }

    /// The value of an axis at a point; `None` where it stays as in the base scenario.
    pub(super) fn value(&self, point: usize, axis: usize) -> Option<&AxisValue> {
        self.value_of(*self.codes.get(point)? as usize, axis)
    }

    pub(super) fn value_of(&self, code: usize, axis: usize) -> Option<&AxisValue> {
        if let Some(included) = code.checked_sub(self.grid) {
            return self.includes.get(included)?.get(axis)?.as_ref().map(|(value, _)| value);
        }
        let axis = self.axes.get(axis)?;
        axis.levels.get(self.level(code, axis.factor?))
    }

    /// The value of an axis at a point as the scenario gets it.
    pub(super) fn node(&self, point: usize, axis: usize) -> Option<Cow<'_, Node>> {
        let code = *self.codes.get(point)? as usize;
        if let Some(included) = code.checked_sub(self.grid) {
            return self.includes.get(included)?.get(axis)?.as_ref().map(|(_, node)| Cow::Borrowed(node));
        }
        let axis = self.axes.get(axis)?;
        axis.node(self.level(code, axis.factor?))
    }

    /// A point in words: `split.initial = 3, channel.noise_std = 0.3`.
    pub(super) fn describe(&self, point: usize) -> String {
        let values = self.axes.iter().enumerate().filter_map(|(index, axis)| {
            Some(format!("{} = {}", axis.name, crate::scenario::problem::clip(&self.value(point, index)?.to_string())))
        });
        let values: Vec<_> = values.collect();
        if values.is_empty() { "the base scenario".to_owned() } else { values.join(", ") }
    }
}

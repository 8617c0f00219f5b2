//! Measured or computed gains: a series in time.

use std::sync::Arc;

/// A series of gains |z| over time: linear in the gain between its instants.
///
/// Before the first and after the last instant the nearest gain holds, unless the series
/// repeats; then it goes on with the first gain where the last was, period after period
/// of `last - first`.
#[derive(Debug)]
pub struct GainTrace {
    /// [time \[s\], gain], in order of time.
    points: Box<[[f64; 2]]>,
    repeats: bool,
    shares: Shares,
}

/// The share of time that a trace spends below each gain: linear between these
/// [gain, share]; two of one gain where the trace stands still.
type Shares = Box<[[f64; 2]]>;

impl GainTrace {
    /// A series of `[time [s], gain]`; `None` unless it has a point, times are finite and
    /// increase, and gains are finite and at least 0.
    pub fn new(points: Vec<[f64; 2]>, repeats: bool) -> Option<Self> {
        let in_order = points.windows(2).all(|pair| pair[0][0] < pair[1][0]);
        let sound = points.iter().all(|[time, gain]| time.is_finite() && gain.is_finite() && *gain >= 0.0);
        (in_order && sound && !points.is_empty()).then(|| {
            let shares = shares(&points);
            Self { points: points.into(), repeats, shares }
        })
    }

    /// First and last instant \[s\].
    pub fn span_s(&self) -> (f64, f64) {
        (self.points[0][0], self.points[self.points.len() - 1][0])
    }

    /// Whether the series goes on where it ends.
    pub fn repeats(&self) -> bool {
        self.repeats
    }

    /// |z| at `time_s` \[s\].
    pub fn envelope(&self, time_s: f64) -> f64 {
        let (first, last) = self.span_s();
        let time =
            if self.repeats && last > first { first + (time_s - first).rem_euclid(last - first) } else { time_s };
        let after = self.points.partition_point(|[at, _]| *at <= time);
        match (after.checked_sub(1).and_then(|at| self.points.get(at)), self.points.get(after)) {
            (Some([t0, g0]), Some([t1, g1])) => g0 + (g1 - g0) * ((time - t0) / (t1 - t0)),
            (Some([_, gain]), None) | (None, Some([_, gain])) => *gain,
            (None, None) => 1.0,
        }
    }

    /// E|z|² over the series' time.
    pub fn mean_square(&self) -> f64 {
        let (first, last) = self.span_s();
        if last == first {
            return self.points[0][1] * self.points[0][1];
        }
        // ∫ of the square of a straight line: (a² + ab + b²)/3.
        let pieces = self.points.windows(2).map(|pair| {
            let [[t0, a], [t1, b]] = [pair[0], pair[1]];
            (t1 - t0) * (a * a + a * b + b * b) / 3.0
        });
        pieces.sum::<f64>() / (last - first)
    }

    /// The share of the series' time with a gain below ρ.
    pub fn share_below(&self, rho: f64) -> f64 {
        let after = self.shares.partition_point(|[gain, _]| *gain < rho);
        match (after.checked_sub(1).and_then(|at| self.shares.get(at)), self.shares.get(after)) {
            (None, _) => 0.0,
            (_, None) => 1.0,
            (Some([g0, s0]), Some([g1, s1])) => s0 + (s1 - s0) * ((rho - g0) / (g1 - g0)),
        }
    }

    /// The gain below which the series spends a share `probability` of its time; where it
    /// stands still at a gain for longer, that gain.
    pub fn quantile(&self, probability: f64) -> f64 {
        let after = self.shares.partition_point(|[_, share]| *share <= probability);
        match (after.checked_sub(1).and_then(|at| self.shares.get(at)), self.shares.get(after)) {
            (Some([g0, s0]), Some([g1, s1])) => g0 + (g1 - g0) * ((probability - s0) / (s1 - s0)),
            (Some([gain, _]), None) | (None, Some([gain, _])) => *gain,
            (None, None) => 1.0,
        }
    }
}

/// Each piece from gain a to b spends its time evenly between them: its density begins at
/// the smaller and ends at the larger; a level piece is a step.
fn shares(points: &[[f64; 2]]) -> Shares {
    let span = points[points.len() - 1][0] - points[0][0];
    if span == 0.0 {
        return Box::new([[points[0][1], 0.0], [points[0][1], 1.0]]);
    }
    // (gain, change of density, step).
    let mut changes = Vec::with_capacity(2 * points.len());
    for pair in points.windows(2) {
        let share = (pair[1][0] - pair[0][0]) / span;
        let (low, high) = (pair[0][1].min(pair[1][1]), pair[0][1].max(pair[1][1]));
        let density = share / (high - low);
        if density.is_finite() {
            changes.push((low, density, 0.0));
            changes.push((high, -density, 0.0));
        } else {
            changes.push((low, 0.0, share));
        }
    }
    changes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut shares: Vec<[f64; 2]> = Vec::with_capacity(changes.len() + 1);
    let (mut gain, mut density, mut share) = (changes[0].0, 0.0, 0.0);
    for (at, change, step) in changes {
        if at > gain || shares.is_empty() {
            share = (share + f64::max(density, 0.0) * (at - gain)).min(1.0);
            gain = at;
            shares.push([gain, share]);
        }
        density += change;
        if step > 0.0 {
            share = (share + step).min(1.0);
            shares.push([gain, share]);
        }
    }
    // What rounding has left of the whole.
    if let Some(last) = shares.last_mut() {
        last[1] = 1.0;
    }
    shares.into()
}

/// The series of all UEs of a channel.
#[derive(Debug, Clone)]
pub struct GainTraces {
    /// Each series once.
    series: Vec<Arc<GainTrace>>,
    /// By the UE's number in the network.
    by_ue: Vec<u32>,
}

impl GainTraces {
    /// `by_ue[ue]` is the place in `series` of what UE `ue` meets; `None` if it points
    /// beyond, or nothing is there.
    pub fn new(series: Vec<Arc<GainTrace>>, by_ue: Vec<u32>) -> Option<Self> {
        let sound = !by_ue.is_empty() && by_ue.iter().all(|&at| (at as usize) < series.len());
        sound.then_some(Self { series, by_ue })
    }

    /// All series.
    pub fn series(&self) -> &[Arc<GainTrace>] {
        &self.series
    }

    /// What a UE meets on all its links. Numbers beyond the network's count from 0 again:
    /// a profile's links are no UE's.
    pub fn of_ue(&self, ue: u32) -> &Arc<GainTrace> {
        &self.series[self.by_ue[ue as usize % self.by_ue.len()] as usize]
    }
}

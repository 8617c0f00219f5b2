//! Gains from a file: `channel.fading_trace`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::channel::{GainTrace, GainTraces};
use crate::run::wording::counted;
use crate::scenario::nodes::UeTable;
use crate::scenario::schema::Scenario;

/// A mean square so far from 1 is worth a word.
const MEAN_SQUARE_TOLERANCE: f64 = 0.1;
/// A step so many times the median one is a gap.
const GAP: f64 = 10.0;

/// Whose series a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// All UEs'.
    All,
    /// The UE's of this number.
    Ue,
    /// Those of the group of this name.
    Group,
}

/// A file of gains, read.
#[derive(Clone, Debug)]
pub struct FadingTraceFile {
    file: String,
    owner: Owner,
    /// By the cell of the owner's column, "" without one; a UE's number as it is written by Rust.
    series: BTreeMap<String, Arc<GainTrace>>,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
    /// BLAKE3 of its bytes.
    pub hash: String,
}

/// Points of a series while it is read, and the line of each.
#[derive(Default)]
struct Draft {
    points: Vec<[f64; 2]>,
    lines: Vec<u64>,
}

impl FadingTraceFile {
    /// Reads `time_s, gain[, ue | group]`, in order of time within each series.
    ///
    /// # Errors
    /// What is wrong, with file and line.
    pub fn read(path: &Path, repeats: bool) -> Result<Self, String> {
        let file = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| format!("{file}: {error}"))?;
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(bytes.as_slice());
        let headers = reader.headers().map_err(|error| format!("{file}: {error}"))?.clone();
        let find = |name: &str| headers.iter().position(|header| header == name);
        let need = |name: &str| {
            find(name).ok_or_else(|| {
                format!("{file}: no column `{name}`; a fading trace has time_s, gain and maybe ue or group")
            })
        };
        let (time_at, gain_at) = (need("time_s")?, need("gain")?);
        let (owner, owner_at) = match (find("ue"), find("group")) {
            (None, None) => (Owner::All, None),
            (Some(at), None) => (Owner::Ue, Some(at)),
            (None, Some(at)) => (Owner::Group, Some(at)),
            (Some(_), Some(_)) => {
                return Err(format!("{file}: both a column `ue` and a column `group`; allowed: one of them"));
            }
        };
        let mut drafts: BTreeMap<String, Draft> = BTreeMap::new();
        for record in reader.records() {
            let record = record.map_err(|error| format!("{file}: {error}"))?;
            let line = record.position().map_or(0, csv::Position::line);
            let cell = |at: usize| record.get(at).unwrap_or_default();
            let refuse = |column: &str, at: usize, allowed: &str| {
                format!("{file}, line {line}: `{column}` is `{}`; allowed: {allowed}", cell(at))
            };
            let number = |at: usize| cell(at).parse::<f64>().ok().filter(|value| value.is_finite());
            let time_s = number(time_at).ok_or_else(|| refuse("time_s", time_at, "a finite number of seconds"))?;
            let gain = number(gain_at)
                .filter(|gain| (0.0..=MOST_GAIN).contains(gain))
                .ok_or_else(|| refuse("gain", gain_at, "0 to 1e6, linear (not dB)"))?;
            let key = match (owner, owner_at) {
                (Owner::Ue, Some(at)) => {
                    let ue = cell(at).parse::<u32>().map_err(|_| refuse("ue", at, "the number of a UE, from 0"))?;
                    ue.to_string()
                }
                (Owner::Group, Some(at)) => cell(at).to_owned(),
                _ => String::new(),
            };
            let draft = drafts.entry(key).or_default();
            if let Some([before, _]) = draft.points.last().filter(|[before, _]| time_s <= *before) {
                let what = if time_s == *before { "stands twice" } else { "is before the one above it" };
                return Err(format!(
                    "{file}, line {line}: time_s = {time_s} {what} in its series (line {}); sort each series by time",
                    draft.lines.last().copied().unwrap_or_default()
                ));
            }
            draft.points.push([time_s, gain]);
            draft.lines.push(line);
        }
        if drafts.is_empty() {
            return Err(format!("{file}: no rows"));
        }
        let mut warnings = gaps(&file, &drafts).into_iter().collect::<Vec<_>>();
        let mut series = BTreeMap::new();
        for (key, draft) in drafts {
            // The loop above has refused what makes no series.
            let trace = GainTrace::new(draft.points, repeats).ok_or_else(|| format!("{file}: not in order"))?;
            series.insert(key, Arc::new(trace));
        }
        warnings.extend(off_unit_power(&file, owner, &series));
        Ok(Self { file, owner, series, warnings, hash: blake3::hash(&bytes).to_hex().to_string() })
    }

    /// The series of the UEs of the `index`-th channel of a scenario.
    ///
    /// # Errors
    /// A series of an unknown owner, a UE without one, or a series that doesn't last.
    pub fn of_channel(&self, scenario: &Scenario, index: usize) -> Result<GainTraces, String> {
        let file = &self.file;
        let ues: u64 = scenario.ue.iter().map(|group| u64::from(group.count)).sum();
        for key in self.series.keys() {
            if self.owner == Owner::Ue && key.parse::<u64>().is_ok_and(|ue| ue >= ues) {
                return Err(format!("{file}: `ue` is {key}; allowed: 0 to {}", ues.saturating_sub(1)));
            }
            if self.owner == Owner::Group && !scenario.ue.iter().any(|group| group.name == *key) {
                let names: Vec<&str> = scenario.ue.iter().map(|group| group.name.as_str()).collect();
                return Err(format!("{file}: `group` is `{key}`; allowed: {}", names.join(", ")));
            }
        }
        let places: BTreeMap<&str, u32> = self.series.keys().map(String::as_str).zip(0..).collect();
        let series: Vec<Arc<GainTrace>> = self.series.values().cloned().collect();
        let tables = scenario.channel.tables();
        let is_here = |group: &UeTable| {
            let named = tables.iter().position(|table| table.name.is_some() && table.name == group.channel);
            named.unwrap_or(0) == index
        };
        let mut by_ue = Vec::with_capacity(ues as usize);
        for group in &scenario.ue {
            let here = is_here(group);
            for _ in 0..group.count {
                let ue = by_ue.len();
                let key = match self.owner {
                    Owner::All => String::new(),
                    Owner::Ue => ue.to_string(),
                    Owner::Group => group.name.clone(),
                };
                let Some(&place) = places.get(key.as_str()) else {
                    if here {
                        let group = &group.name;
                        return Err(match self.owner {
                            Owner::Group => format!("{file}: no row for group {group}"),
                            Owner::All | Owner::Ue => format!("{file}: no row for ue {ue}, of group {group}"),
                        });
                    }
                    // Never asked for.
                    by_ue.push(0);
                    continue;
                };
                if here {
                    self.check_span(&series[place as usize], &key, scenario.duration_s)?;
                }
                by_ue.push(place);
            }
        }
        GainTraces::new(series, by_ue).ok_or_else(|| format!("{file}: there is no UE"))
    }

    /// A series has a gain for each instant of the run.
    fn check_span(&self, series: &GainTrace, key: &str, duration_s: f64) -> Result<(), String> {
        let (file, whose) = (&self.file, self.owner.named(key));
        let (first, last) = series.span_s();
        if series.repeats() {
            return if last > first {
                Ok(())
            } else {
                Err(format!("{file}: {whose} has one row; a trace that repeats needs two"))
            };
        }
        if first > 0.0 {
            return Err(format!(
                "{file}: {whose} begins at {first} s; allowed: 0 or before, or fading_trace_repeat = true"
            ));
        }
        if last < duration_s {
            return Err(format!(
                "{file}: {whose} ends at {last} s, before duration_s = {duration_s}; shorten the run, or set \
                 fading_trace_repeat = true"
            ));
        }
        Ok(())
    }
}

/// The largest gain: 120 dB.
const MOST_GAIN: f64 = 1e6;

impl Owner {
    fn named(self, key: &str) -> String {
        match self {
            Self::All => "the trace".to_owned(),
            Self::Ue => format!("the series of ue {key}"),
            Self::Group => format!("the series of group {key}"),
        }
    }
}

/// Steps that are long against the others of their series.
fn gaps(file: &str, drafts: &BTreeMap<String, Draft>) -> Option<String> {
    let (mut first, mut found) = (None, 0usize);
    for draft in drafts.values() {
        let mut steps: Vec<f64> = draft.points.windows(2).map(|pair| pair[1][0] - pair[0][0]).collect();
        let wide: Vec<(usize, f64)> = steps.iter().copied().enumerate().collect();
        if steps.is_empty() {
            continue;
        }
        let middle = steps.len() / 2;
        let median = *steps.select_nth_unstable_by(middle, f64::total_cmp).1;
        for (at, step) in wide.into_iter().filter(|(_, step)| *step > GAP * median) {
            found += 1;
            first.get_or_insert((draft.lines[at + 1], step, median));
        }
    }
    let (line, step, median) = first?;
    let more = if found > 1 { format!(", and {} more", counted(found - 1, "such gap")) } else { String::new() };
    Some(format!(
        "{file}, line {line}: a gap of {step} s, where the median step is {median} s{more}: the gain is a straight line \
         across it"
    ))
}

/// Series whose mean square is not 1.
fn off_unit_power(file: &str, owner: Owner, series: &BTreeMap<String, Arc<GainTrace>>) -> Option<String> {
    let off = |trace: &GainTrace| (trace.mean_square() - 1.0).abs() > MEAN_SQUARE_TOLERANCE;
    let mut found = series.iter().filter(|(_, trace)| off(trace));
    let (key, trace) = found.next()?;
    let more = found.count();
    let more = if more > 0 { format!(", and {} more are off", counted(more, "series")) } else { String::new() };
    Some(format!(
        "{file}: the mean square gain of {} is {:.4}, not 1{more}: E h² is that times 2σ_h²; divide the gains by {:.4}, or \
         set rayleigh_scale to mean it",
        owner.named(key),
        trace.mean_square(),
        trace.mean_square().sqrt()
    ))
}

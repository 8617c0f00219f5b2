//! The file of a mobility trace: CSV with `time_s, ue, x_m, y_m`.

use std::path::Path;
use std::sync::Arc;

use crate::channel::{MOST_COORDINATE_M, MobilityTrace, TraceError, TracePoint};
use crate::units::SimTime;

/// What a trace's columns are, for messages.
const COLUMNS: &str = "a mobility trace has time_s, ue, x_m and y_m";

/// The most UEs of one trace: a wild number must not take the memory.
const MOST_UES: u32 = 1_000_000;

/// A gap of more than so many median steps draws a warning.
const WIDE_GAP: f64 = 10.0;

/// A trace and what its file says besides.
#[derive(Debug, Clone)]
pub struct MobilityTraceFile {
    /// The paths.
    pub trace: Arc<MobilityTrace>,
    /// BLAKE3 of the file.
    pub hash: String,
    /// What is legal but odd: gaps in time.
    pub warnings: Vec<String>,
}

/// Reads `time_s, ue, x_m, y_m`: seconds from the start of the simulation, the number of the UE within its
/// group from 0, metres. Lines with `#` are comments. UEs may alternate; each UE's times increase.
///
/// # Errors
/// A sentence with file, line, column, value and what is allowed: for an unreadable file, missing columns,
/// numbers that are none or out of range, times that don't increase, and numbers of UEs with gaps.
pub fn read_mobility_trace(path: &Path) -> Result<MobilityTraceFile, String> {
    let file = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("{file}: {error}"))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(bytes.as_slice());
    let headers = reader.headers().map_err(|error| format!("{file}: {error}"))?.clone();
    let find = |name: &str| {
        let at = headers.iter().position(|header| header == name);
        at.ok_or_else(|| format!("{file}: no column `{name}`; {COLUMNS}"))
    };
    let (time_at, ue_at, x_at, y_at) = (find("time_s")?, find("ue")?, find("x_m")?, find("y_m")?);
    let mut rows: Vec<(u32, u64, TracePoint)> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| format!("{file}: {error}"))?;
        let line = record.position().map_or(0, |start| line_of_record(&bytes, start));
        let cell = |at: usize| record.get(at).unwrap_or_default();
        let refuse = |column: &str, at: usize, allowed: &str| {
            format!("{file}, line {line}: `{column}` is `{}`; allowed: {allowed}", cell(at))
        };
        let time = cell(time_at).parse::<f64>().ok().and_then(|seconds| SimTime::from_secs_f64(seconds).ok());
        let time = time.ok_or_else(|| refuse("time_s", time_at, "seconds of at least 0"))?;
        let ue = cell(ue_at).parse::<u32>().ok().filter(|&ue| ue < MOST_UES);
        let ue = ue.ok_or_else(|| refuse("ue", ue_at, "a whole number from 0, below a million"))?;
        let metres = |column: &str, at: usize| {
            let value = cell(at).parse::<f64>().ok().filter(|value| value.abs() <= MOST_COORDINATE_M);
            value.ok_or_else(|| refuse(column, at, "metres between -1000000 and 1000000"))
        };
        rows.push((ue, line, TracePoint { time, x_m: metres("x_m", x_at)?, y_m: metres("y_m", y_at)? }));
    }
    // By UE; within a UE the order of the file stays.
    rows.sort_by_key(|&(ue, ..)| ue);
    let mut paths: Vec<Vec<TracePoint>> = Vec::new();
    let mut lines: Vec<Vec<u64>> = Vec::new();
    for (ue, line, point) in rows {
        let known = paths.len();
        if ue as usize > known {
            return Err(format!(
                "{file}, line {line}: `ue` is {ue}, but UE {known} has no rows; number a group's UEs from 0 without gaps"
            ));
        }
        if ue as usize == known {
            paths.push(Vec::new());
            lines.push(Vec::new());
        }
        let (path, lines) = (&mut paths[ue as usize], &mut lines[ue as usize]);
        if let (Some(last), Some(above)) = (path.last(), lines.last())
            && point.time <= last.time
        {
            let what = if point.time == last.time { "the same time as" } else { "before" };
            return Err(format!(
                "{file}, line {line}: time_s = {} of UE {ue} is {what} line {above}; each UE's times must increase",
                point.time
            ));
        }
        path.push(point);
        lines.push(line);
    }
    let warnings = wide_gaps(&file.to_string(), &paths, &lines);
    let trace = MobilityTrace::new(paths).map_err(|error| match error {
        TraceError::Empty => format!("{file}: no rows; {COLUMNS}"),
        other => format!("{file}: {other}"),
    })?;
    Ok(MobilityTraceFile { trace: Arc::new(trace), hash: blake3::hash(&bytes).to_hex().to_string(), warnings })
}

/// The line that a record stands in. The reader's own position is where it began to look: at the comments
/// and empty lines before the record, if there are any.
fn line_of_record(bytes: &[u8], start: &csv::Position) -> u64 {
    let behind = usize::try_from(start.byte()).ok().and_then(|byte| bytes.get(byte..)).unwrap_or_default();
    let skipped = behind.split(|&byte| byte == b'\n').take_while(|line| matches!(*line, [] | [b'\r'] | [b'#', ..]));
    start.line() + skipped.count() as u64
}

/// A sentence for each UE whose widest gap is more than [`WIDE_GAP`] median steps of the file.
fn wide_gaps(file: &str, paths: &[Vec<TracePoint>], lines: &[Vec<u64>]) -> Vec<String> {
    let step_s = |pair: &[TracePoint]| (pair[1].time - pair[0].time).as_secs_f64();
    let mut steps_s: Vec<f64> = paths.iter().flat_map(|path| path.windows(2).map(step_s)).collect();
    steps_s.sort_by(f64::total_cmp);
    let Some(&median_s) = steps_s.get(steps_s.len() / 2) else { return Vec::new() };
    let mut warnings = Vec::new();
    for (ue, path) in paths.iter().enumerate() {
        let gaps_s = path.windows(2).map(step_s).enumerate();
        let Some((at, gap_s)) = gaps_s.max_by(|(_, a), (_, b)| a.total_cmp(b)) else { continue };
        if gap_s > WIDE_GAP * median_s {
            warnings.push(format!(
                "{file}, line {}: {gap_s} s without a row of UE {ue} (median step: {median_s} s); it is moved \
                 along a straight line meanwhile",
                lines[ue][at + 1]
            ));
        }
    }
    warnings
}

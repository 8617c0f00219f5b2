//! Traces of requests: CSV files in the columns of whoever recorded them.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use crate::network::workload::TraceArrival;
use crate::run::timestamp::parse_timestamp;
use crate::run::wording::counted;
use crate::scenario::Problem;
use crate::scenario::nodes::WorkloadTable;
use crate::units::SimTime;

/// A gap so many times as long as the mean one may be a hole in the recording.
const LONG_GAP: u64 = 100;

/// How a format tells the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// Seconds since the start of the simulation.
    Seconds,
    /// Seconds; the file's first row is time 0.
    SecondsFromFirst,
    /// Date and time of day; the file's first row is time 0.
    DateFromFirst,
}

/// The columns of a kind of trace.
struct Format {
    name: &'static str,
    arrival: &'static str,
    prompt: &'static str,
    output: &'static str,
    /// Whether every file has the column of output tokens.
    has_output: bool,
    clock: Clock,
    /// Whether a row of 0 output tokens is a request that got no answer.
    records_failures: bool,
}

impl Format {
    fn columns(&self) -> [&'static str; 3] {
        [self.arrival, self.prompt, self.output]
    }

    fn is_needed(&self, column: &str) -> bool {
        self.has_output || column != self.output
    }
}

/// The formats that are known; the first one is meant by a file that looks like none.
const FORMATS: [Format; 4] = [
    Format {
        name: "a trace",
        arrival: "arrival_s",
        prompt: "prompt_tokens",
        output: "output_tokens",
        has_output: false,
        clock: Clock::Seconds,
        records_failures: false,
    },
    // Patel et al., "Splitwise", ISCA 2024; Stojkovic et al., "DynamoLLM", HPCA 2025.
    Format {
        name: "an Azure LLM inference trace",
        arrival: "TIMESTAMP",
        prompt: "ContextTokens",
        output: "GeneratedTokens",
        has_output: true,
        clock: Clock::DateFromFirst,
        records_failures: true,
    },
    // Wang et al., "BurstGPT", arXiv 2401.17644.
    Format {
        name: "BurstGPT",
        arrival: "Timestamp",
        prompt: "Request tokens",
        output: "Response tokens",
        has_output: true,
        clock: Clock::SecondsFromFirst,
        records_failures: true,
    },
    // Agrawal et al., "Vidur", MLSys 2024.
    Format {
        name: "a trace of Vidur",
        arrival: "arrived_at",
        prompt: "num_prefill_tokens",
        output: "num_decode_tokens",
        has_output: true,
        clock: Clock::Seconds,
        records_failures: false,
    },
];

/// A trace as its file has it.
#[derive(Clone, Debug)]
pub struct TraceFile {
    /// Its requests, in order of time.
    pub rows: Arc<[TraceArrival]>,
    /// The line of each.
    lines: Arc<[u32]>,
    /// Rows that were left out for having no answer.
    pub unanswered: u64,
    /// BLAKE3 hash of the file's bytes, in hexadecimal.
    pub hash: String,
}

/// Passes bytes on and hashes them.
struct Hashed<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

impl TraceFile {
    /// Reads a trace in whichever known columns its header has, row by row.
    ///
    /// # Errors
    /// A file that can't be read, a header without the columns of any format, a time or
    /// count that is none, rows out of order, no rows: a message with file, line, value
    /// and what is allowed.
    pub fn open(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
        Self::read(&name, BufReader::new(file))
    }

    fn read(file: &str, input: impl Read) -> Result<Self, String> {
        let hashed = Hashed { inner: input, hasher: blake3::Hasher::new() };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(hashed);
        let headers = reader.headers().map_err(|error| format!("{file}: {error}"))?.clone();
        let format = format_of(&headers);
        let at = |column: &str| headers.iter().position(|header| header == column);
        let need = |column: &str| at(column).ok_or_else(|| missing_column(file, column, &headers, format));
        let (arrival_at, prompt_at) = (need(format.arrival)?, need(format.prompt)?);
        let output_at = if format.has_output { Some(need(format.output)?) } else { at(format.output) };

        let (mut rows, mut lines): (Vec<TraceArrival>, Vec<u32>) = (Vec::new(), Vec::new());
        let (mut unanswered, mut origin, mut last) = (0, None, SimTime::ZERO);
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(|error| format!("{file}: {error}"))? {
            let line = record.position().map_or(0, csv::Position::line);
            let cell = |at: usize| record.get(at).unwrap_or_default();
            let refuse = |at: usize, allowed: &str| {
                let column = headers.get(at).unwrap_or_default();
                format!("{file}, line {line}: `{column}` is `{}`; allowed: {allowed}", cell(at))
            };
            let early = || {
                let column = format.arrival;
                let found = cell(arrival_at);
                format!("{file}, line {line}: {column} = {found} is before the line above; sort the trace by time")
            };
            let at = match format.clock {
                Clock::Seconds => seconds(cell(arrival_at)),
                Clock::SecondsFromFirst => seconds(cell(arrival_at))
                    .map(|at| {
                        let first = *origin.get_or_insert(i128::from(at.as_nanos()));
                        since(first, i128::from(at.as_nanos()))
                    })
                    .transpose()
                    .map_err(|()| early())?,
                Clock::DateFromFirst => parse_timestamp(cell(arrival_at))
                    .map(|at| {
                        let first = *origin.get_or_insert(at);
                        since(first, at)
                    })
                    .transpose()
                    .map_err(|()| early())?,
            };
            let at = at.ok_or_else(|| match format.clock {
                Clock::Seconds | Clock::SecondsFromFirst => refuse(arrival_at, "seconds of at least 0"),
                Clock::DateFromFirst => {
                    refuse(arrival_at, "a date and time of day such as 2023-11-16 18:17:03.9799600")
                }
            })?;
            if at < last {
                return Err(early());
            }
            last = at;
            if format.records_failures && output_at.is_some_and(|at| cell(at).parse() == Ok(0u32)) {
                unanswered += 1;
                continue;
            }
            let count = |at: usize| {
                let value = cell(at).parse::<u32>().ok().filter(|&tokens| tokens > 0);
                value.ok_or_else(|| refuse(at, "a whole number above 0"))
            };
            let prompt_tokens = count(prompt_at)?;
            let output_tokens = output_at.map(count).transpose()?;
            if output_tokens > Some(WorkloadTable::MOST_OUTPUT_TOKENS) {
                let at = output_at.unwrap_or_default();
                return Err(refuse(at, &format!("1 to {}", WorkloadTable::MOST_OUTPUT_TOKENS)));
            }
            rows.push(TraceArrival { at, prompt_tokens, output_tokens });
            lines.push(u32::try_from(line).unwrap_or(u32::MAX));
        }
        if rows.is_empty() {
            let answered = if unanswered > 0 { " with an answer" } else { "" };
            return Err(format!("{file}: no rows{answered}"));
        }
        let hash = reader.into_inner().hasher.finalize().to_hex().to_string();
        Ok(Self { rows: rows.into(), lines: lines.into(), unanswered, hash })
    }

    /// The rows that a workload replays: those of its part of the trace, from time 0 on
    /// and with its gaps, cut to its most tokens. Adds what deserves a warning.
    ///
    /// # Errors
    /// A problem at the key of `path` (`ue[0].workload`) that leaves no row.
    pub fn replayed(
        &self,
        path: &str,
        workload: &WorkloadTable,
        warnings: &mut Vec<Problem>,
    ) -> Result<Arc<[TraceArrival]>, Box<Problem>> {
        let time = |seconds: Option<f64>| seconds.map(SimTime::from_secs_saturating);
        let from = time(workload.trace_from_s).unwrap_or(SimTime::ZERO);
        let to = time(workload.trace_to_s);
        let first = self.rows.partition_point(|row| row.at < from);
        let end = to.map_or(self.rows.len(), |to| self.rows.partition_point(|row| row.at < to)).max(first);
        if first == end {
            let (start, last) = (self.rows[0].at, self.rows[self.rows.len() - 1].at);
            let key = if first == self.rows.len() || to.is_none() { "trace_from_s" } else { "trace_to_s" };
            let value = if key == "trace_from_s" { from } else { to.unwrap_or(from) };
            let problem = Problem::error(format!("{path}.{key}"), "this part of the trace has no rows");
            let allowed = format!("the trace goes from {start} s to {last} s");
            return Err(Box::new(problem.with_value(value).with_allowed(allowed)));
        }
        self.warn(&format!("{path}.path"), first..end, warnings);
        if from == SimTime::ZERO && end == self.rows.len() && workload.trace_scale.is_none() {
            return Ok(Self::cut(path, self.rows.clone(), workload, warnings));
        }
        let scale = workload.trace_scale.unwrap_or(1.0);
        let scaled = |at: SimTime| {
            let at = at - from;
            if scale == 1.0 { at } else { SimTime::from_nanos((at.as_nanos() as f64 * scale).round() as u64) }
        };
        let rows = self.rows[first..end].iter().map(|row| TraceArrival { at: scaled(row.at), ..*row });
        Ok(Self::cut(path, rows.collect(), workload, warnings))
    }

    /// The rows that `tokens_from` draws from, cut to the most tokens.
    pub fn drawn_from(&self, path: &str, workload: &WorkloadTable, warnings: &mut Vec<Problem>) -> Arc<[TraceArrival]> {
        self.warn_unanswered(&format!("{path}.tokens_from"), warnings);
        Self::cut(path, self.rows.clone(), workload, warnings)
    }

    fn cut(
        path: &str,
        rows: Arc<[TraceArrival]>,
        workload: &WorkloadTable,
        warnings: &mut Vec<Problem>,
    ) -> Arc<[TraceArrival]> {
        let most_prompt = workload.max_prompt_tokens.unwrap_or(u32::MAX);
        let most_output = workload.max_output_tokens.unwrap_or(u32::MAX);
        let long_prompts = rows.iter().filter(|row| row.prompt_tokens > most_prompt).count();
        let long_outputs = rows.iter().filter(|row| row.output_tokens > Some(most_output)).count();
        let mut say = |key: &str, count: usize, most: u32| {
            if count > 0 {
                let message = format!("cut to {most}, for being longer: {} of {}", counted(count, "row"), rows.len());
                warnings.push(Problem::warning(format!("{path}.{key}"), message));
            }
        };
        say("max_prompt_tokens", long_prompts, most_prompt);
        say("max_output_tokens", long_outputs, most_output);
        if long_prompts == 0 && long_outputs == 0 {
            return rows;
        }
        let cut = |row: &TraceArrival| TraceArrival {
            prompt_tokens: row.prompt_tokens.min(most_prompt),
            output_tokens: row.output_tokens.map(|tokens| tokens.min(most_output)),
            ..*row
        };
        rows.iter().map(cut).collect()
    }

    fn warn_unanswered(&self, key: &str, warnings: &mut Vec<Problem>) {
        if self.unanswered > 0 {
            let all = self.rows.len() as u64 + self.unanswered;
            let message =
                format!("left out of the trace, for having no answer: {} of {all}", counted(self.unanswered, "row"));
            warnings.push(Problem::warning(key, message));
        }
    }

    /// What the used rows deserve to have said.
    fn warn(&self, key: &str, used: std::ops::Range<usize>, warnings: &mut Vec<Problem>) {
        self.warn_unanswered(key, warnings);
        let (rows, lines) = (&self.rows[used.clone()], &self.lines[used]);
        let gaps = rows.len() as u64 - 1;
        let Some((at, longest)) = (1..rows.len())
            .map(|i| (i, rows[i].at - rows[i - 1].at))
            .max_by_key(|&(i, gap)| (gap, std::cmp::Reverse(i)))
        else {
            return;
        };
        let span = rows[rows.len() - 1].at - rows[0].at;
        let mean = SimTime::from_nanos((span.as_nanos() / gaps).max(1));
        if longest.as_nanos() / LONG_GAP >= mean.as_nanos() {
            let message = format!(
                "nothing arrives for {longest} s before line {} of the trace, {:.0} times its mean gap of {mean} s",
                lines[at],
                longest.as_secs_f64() / mean.as_secs_f64()
            );
            let hint = "if the recording was interrupted there, replay a part of it: trace_from_s, trace_to_s";
            warnings.push(Problem::warning(key, message).with_hint(hint));
        }
    }
}

/// The format most of whose columns are there.
fn format_of(headers: &csv::StringRecord) -> &'static Format {
    let found = |format: &Format| {
        format.columns().iter().filter(|column| headers.iter().any(|header| header == **column)).count()
    };
    let mut best = &FORMATS[0];
    for format in &FORMATS[1..] {
        if found(format) > found(best) {
            best = format;
        }
    }
    best
}

fn missing_column(file: &str, column: &str, headers: &csv::StringRecord, format: &Format) -> String {
    let lists = |format: &Format| {
        let quoted = |column: &&str| format!("{}{column}", if format.is_needed(column) { "" } else { "maybe " });
        let [arrival, prompt, output] = format.columns().map(|column| quoted(&column));
        format!("{} has {arrival}, {prompt} and {output}", format.name)
    };
    let known: Vec<String> =
        std::iter::once(format).chain(FORMATS.iter().filter(|other| other.name != format.name)).map(lists).collect();
    // A binary file's header is no list of names.
    let there: Vec<String> = headers
        .iter()
        .take(12)
        .map(|name| format!("`{}`", name.chars().take(40).collect::<String>().escape_debug()))
        .collect();
    format!("{file}: no column `{column}`; {}; the file's columns: {}", known.join("; "), there.join(", "))
}

fn seconds(text: &str) -> Option<SimTime> {
    text.parse::<f64>().ok().and_then(|seconds| SimTime::from_secs_f64(seconds).ok())
}

/// The time from `first` to `at` \[ns\], or an error if `at` is earlier. Spans beyond
/// simulated time end there.
fn since(first: i128, at: i128) -> Result<SimTime, ()> {
    if at < first {
        return Err(());
    }
    Ok(SimTime::from_nanos(u64::try_from(at - first).unwrap_or(u64::MAX)))
}

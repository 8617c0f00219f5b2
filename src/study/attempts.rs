//! What became of the runs that processes tried: one file per process, append only.
//!
//! ```text
//!  attempts/20260131T120000Z-node7-4711-0.ndjson
//!     {"blake3":"5f0c…","body":{"study":"split-by-snr", … }}        the header
//!     {"blake3":"09ab…","body":{"run_id":"…","status":"done", … }}  one line per run attempted
//!     {"blake3":"41d0…","body":{"begun":"…"}}                       a run that is under way for a second
//!     {"blake3":"77e2…","body":{"ended":"whole", … }}               the end, if its process came to one
//! ```
//!
//! Each line carries the hash of its body as it was written. A line that is torn or damaged
//! is named and counts for nothing: its run is run again. Nobody locks anything, and no two
//! processes write to one file.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::record::Figures;
use crate::run::clock::utc_now;
use crate::run::identity::RESULTS_VERSION;
use crate::run::manifest::{commit, dirty, host_name, instruction_set};

/// How files of attempts are called.
pub const EXTENSION: &str = "ndjson";
/// In front of the hash, between hash and body, and behind the body.
const FRAME: (&[u8], &[u8], &[u8]) = (b"{\"blake3\":\"", b"\",\"body\":", b"}");
/// Hex digits of a hash.
const HASH_DIGITS: usize = 64;
/// No line is longer: some 100,000 groups of UEs would fit.
const LONGEST_LINE: u64 = 64 << 20;

/// The first line: who wrote the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Name of the study.
    pub study: String,
    /// [`RESULTS_VERSION`] of the program.
    pub results_version: u32,
    /// Version of the program.
    pub version: String,
    /// Commit that the program was built from; null where the build didn't know.
    pub commit: Option<String>,
    /// Whether the sources differed from that commit; null where the build didn't know.
    pub dirty: Option<bool>,
    /// Instruction-set level of the machine: floating-point kernels may differ between levels
    /// in the last bits.
    pub instruction_set: String,
    /// Name of the machine, if it has one.
    pub host: Option<String>,
    /// Number of the process there.
    pub pid: u32,
    /// Job of the batch system, if there is one: `slurm 17_3`.
    pub job: Option<String>,
    /// Its part of the study, `i/n`; null for all of it.
    pub shard: Option<String>,
    /// Threads given to it.
    pub threads: usize,
    /// Start by the wall clock, UTC, as RFC 3339 has it.
    pub started_at: String,
    /// Names of the columns of [`Entry::figures`].
    pub figures: Vec<String>,
}

impl Header {
    /// Of this process, which starts now.
    pub fn of_this_process(study: &str, shard: Option<String>, job: Option<String>, threads: usize) -> Self {
        Self {
            study: study.to_owned(),
            results_version: RESULTS_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: commit().map(str::to_owned),
            dirty: dirty(),
            instruction_set: instruction_set().to_owned(),
            host: host_name(),
            pid: std::process::id(),
            job,
            shard,
            threads,
            started_at: utc_now(),
            figures: Figures::columns().iter().map(|column| column.name.to_owned()).collect(),
        }
    }
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It has run.
    Done,
    /// It failed.
    Failed,
}

/// A further line: one run attempted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Id of the run, 16 hex digits.
    pub run_id: String,
    /// Number of the replication.
    pub replication: u32,
    /// How often the run has been tried, this time included.
    pub attempt: u32,
    /// What became of it.
    pub status: Status,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Wall time that it took \[s\].
    pub wall_s: f64,
    /// Its end by the wall clock, UTC, as RFC 3339 has it.
    pub ended_at: String,
    /// The cells of `summary.csv` for all UEs, as they stand there; none if it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<String>,
    /// The same for each group by name, if there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<(String, Vec<String>)>,
}

/// A line in between: a run that has been under way for a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begun {
    /// Id of the run.
    pub begun: String,
}

/// The last line, if its process came to an end: nothing more comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Footer {
    /// How it ended: `whole`, `interrupted` or `too many failures`.
    pub ended: String,
    /// When, by the wall clock, UTC, as RFC 3339 has it.
    pub ended_at: String,
}

/// A file of attempts that was read.
#[derive(Clone, Debug)]
pub struct AttemptFile {
    /// Its path.
    pub path: PathBuf,
    /// Its first line.
    pub header: Header,
    /// When it was last written to, if the system knows.
    pub modified: Option<SystemTime>,
    /// Its last line, if its process has ended by itself.
    pub footer: Option<Footer>,
}

/// A line that counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}, line {line}: {what}", path.display())]
pub struct Defect {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub what: String,
}

/// Attempts that can't be read at all.
#[derive(Debug, thiserror::Error)]
#[error("{}: listing the files of attempts failed: {source}", path.display())]
pub struct AttemptsError {
    /// The folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// All that is known of the runs of a study.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    /// The files, by name.
    pub files: Vec<AttemptFile>,
    /// Their entries: index of the file, and the line.
    pub entries: Vec<(usize, Entry)>,
    /// Lines that count for nothing.
    pub defects: Vec<Defect>,
    /// Runs that were under way when their process was last heard of: index of the file, and run id.
    pub begun: BTreeSet<(usize, String)>,
}

impl Attempts {
    /// Reads all files of a folder; none where there is no folder.
    ///
    /// # Errors
    /// [`AttemptsError`] if the folder can't be listed; files that can't be read are defects.
    pub fn read(folder: &Path) -> Result<Self, AttemptsError> {
        let mut entries = Vec::new();
        let attempts = Self::visit(folder, &mut |file, entry| entries.push((file, entry)))?;
        Ok(Self { entries, ..attempts })
    }

    /// The same, with the entries told one by one and not kept.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn visit(folder: &Path, tell: &mut dyn FnMut(usize, Entry)) -> Result<Self, AttemptsError> {
        let mut attempts = Self::default();
        for path in list(folder).map_err(|source| AttemptsError { path: folder.to_owned(), source })? {
            attempts.visit_file(&path, tell);
        }
        Ok(attempts)
    }

    fn visit_file(&mut self, path: &Path, tell: &mut dyn FnMut(usize, Entry)) {
        let (mut number, index) = (0, self.files.len());
        let mut defects = Vec::new();
        let mut refuse = |line: u64, what: String| defects.push(Defect { path: path.to_owned(), line, what });
        let read = File::open(path).and_then(|file| {
            let modified = file.metadata()?.modified().ok();
            let mut reader = BufReader::new(file);
            let mut line = Vec::new();
            while next_line(&mut reader, &mut line)? {
                number += 1;
                let body = unframed(&line);
                if let Some(file) = self.files.get_mut(index) {
                    match body.and_then(|body| Line::read(body, &file.header)) {
                        Ok(Line::Entry(entry)) => {
                            self.begun.remove(&(index, entry.run_id.clone()));
                            tell(index, *entry);
                        }
                        Ok(Line::Begun(begun)) => _ = self.begun.insert((index, begun.begun)),
                        Ok(Line::Footer(footer)) => file.footer = Some(footer),
                        Err(what) => refuse(number, what),
                    }
                    continue;
                }
                match body.and_then(header) {
                    Ok(header) => {
                        self.files.push(AttemptFile { path: path.to_owned(), header, modified, footer: None });
                    }
                    Err(what) => {
                        refuse(number, format!("{what}; without its first line nothing in the file counts"));
                        break;
                    }
                }
            }
            Ok(())
        });
        if let Err(error) = read {
            refuse(number + 1, format!("cannot be read: {error}"));
        }
        self.defects.extend(defects);
    }
}

/// The files of attempts in a folder, by name.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads a line with its end into `line`; `false` at the end of the file. Of a line without any
/// sense of proportion only the beginning.
fn next_line(reader: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let length = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', line)?;
    if length as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
        reader.skip_until(b'\n')?;
        line.truncate(HASH_DIGITS);
        line.push(b'\n');
    }
    Ok(length > 0)
}

/// A line, from its body.
pub(super) fn framed(body: &[u8]) -> Vec<u8> {
    let hash = blake3::hash(body).to_hex();
    [FRAME.0, hash.as_bytes(), FRAME.1, body, FRAME.2, b"\n"].concat()
}

/// The body of a line, if it is whole.
fn unframed(line: &[u8]) -> Result<&[u8], String> {
    let Some(line) = line.strip_suffix(b"\n") else {
        return Err("cut off: the line has no end (unless it is being written just now)".to_owned());
    };
    let inside = line
        .strip_prefix(FRAME.0)
        .and_then(|rest| rest.split_at_checked(HASH_DIGITS))
        .and_then(|(hash, rest)| Some((hash, rest.strip_prefix(FRAME.1)?.strip_suffix(FRAME.2)?)));
    let Some((hash, body)) = inside else {
        return Err("damaged: this is no line of a file of attempts".to_owned());
    };
    let found = blake3::hash(body).to_hex();
    if hash == found.as_bytes() {
        Ok(body)
    } else {
        Err(format!("damaged: its content has the hash {found}, not the one that the line says"))
    }
}

/// A line behind the first.
enum Line {
    Entry(Box<Entry>),
    Begun(Begun),
    Footer(Footer),
}

impl Line {
    fn read(body: &[u8], header: &Header) -> Result<Self, String> {
        let odd = |error: serde_json::Error| format!("not understood: {error}");
        if body.starts_with(br#"{"begun""#) {
            serde_json::from_slice(body).map(Self::Begun).map_err(odd)
        } else if body.starts_with(br#"{"ended""#) {
            serde_json::from_slice(body).map(Self::Footer).map_err(odd)
        } else {
            entry(body, header).map(|entry| Self::Entry(Box::new(entry)))
        }
    }
}

fn header(body: &[u8]) -> Result<Header, String> {
    let header: Header = serde_json::from_slice(body).map_err(|error| format!("no header: {error}"))?;
    if header.results_version != RESULTS_VERSION {
        let theirs = header.results_version;
        return Err(format!("written by results version {theirs}; this program has {RESULTS_VERSION}"));
    }
    if !header.figures.iter().eq(Figures::columns().iter().map(|column| column.name)) {
        return Err("its figures are not those of this program".to_owned());
    }
    Ok(header)
}

fn entry(body: &[u8], header: &Header) -> Result<Entry, String> {
    let entry: Entry = serde_json::from_slice(body).map_err(|error| format!("not understood: {error}"))?;
    let wanted = if entry.status == Status::Done { header.figures.len() } else { 0 };
    let rows = entry.groups.iter().map(|(_, cells)| cells).chain([&entry.figures]);
    let odd = rows.map(Vec::len).find(|&cells| cells != wanted);
    match odd {
        None => Ok(entry),
        Some(cells) => Err(format!("not understood: {cells} figures, not {wanted} as the first line says")),
    }
}

#[cfg(test)]
mod tests;

//! The file in which a process writes down what became of its runs.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::run::clock::utc_now;
use crate::run::wording::counted;
use crate::study::attempts::{Begun, EXTENSION, Entry, Footer, Header, framed};

/// What became of the runs can't be written down.
#[derive(Debug, thiserror::Error)]
#[error("{}: {action} failed: {source}; {} written before stay", path.display(), counted(*entries, "run"))]
pub struct LogError {
    /// The file, or its folder.
    pub path: PathBuf,
    /// What was tried.
    pub action: &'static str,
    /// Runs that the file holds.
    pub entries: u64,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

/// Writes one file of attempts, which nobody else writes to. What [`push`](Self::push) has
/// taken survives the end of the process, however it comes; what [`sync`](Self::sync) has
/// seen survives that of the machine.
#[derive(Debug)]
pub struct AttemptLog {
    path: PathBuf,
    /// For [`AttemptLog::sync`], so that nobody has to wait for the disk.
    handle: File,
    dirty: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// Bytes written; all of them whole lines.
    written: u64,
    entries: u64,
    failed: bool,
}

impl AttemptLog {
    /// Creates a file in `folder` that no other process has, with its first line.
    ///
    /// # Errors
    /// [`LogError`] if it can't be created.
    pub fn create(folder: &Path, header: &Header) -> Result<Self, LogError> {
        let fail = |path: &Path, action| {
            let path = path.to_owned();
            move |source| LogError { path, action, entries: 0, source }
        };
        fs::create_dir_all(folder).map_err(fail(folder, "creating the folder"))?;
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let host: String = header.host.as_deref().unwrap_or("host").chars().take(64).map(plain).collect();
        let started: String = header.started_at.chars().filter(char::is_ascii_alphanumeric).collect();
        let mut number = 0u64;
        let (path, file) = loop {
            let path = folder.join(format!("{started}-{host}-{}-{number}.{EXTENSION}", header.pid));
            // Whoever creates a file owns it, whatever other process or machine counts alike.
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(fail(&path, "creating the file")(error)),
            }
        };
        let handle = file.try_clone().map_err(fail(&path, "opening the file"))?;
        let state = Mutex::new(State { file, written: 0, entries: 0, failed: false });
        let log = Self { path, handle, dirty: AtomicBool::new(false), state };
        log.write(header, 0)?;
        log.sync()?;
        // The name in the folder, where the system can.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(log)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends what became of a run, in one piece, before it returns.
    ///
    /// # Errors
    /// [`LogError`] if the write fails; the file then ends behind its last whole line, and
    /// every further call fails, too.
    pub fn push(&self, entry: &Entry) -> Result<(), LogError> {
        self.write(entry, 1)
    }

    /// Returns when all lines are on the disk.
    ///
    /// # Errors
    /// [`LogError`] if the system can't say so.
    pub fn sync(&self) -> Result<(), LogError> {
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        self.still_there()?;
        self.handle.sync_data().map_err(|source| {
            let entries = self.state.lock().unwrap_or_else(PoisonError::into_inner).entries;
            LogError { path: self.path.clone(), action: "putting the file on the disk", entries, source }
        })
    }

    /// Notes that a run is under way.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn begun(&self, run_id: &str) -> Result<(), LogError> {
        self.write(&Begun { begun: run_id.to_owned() }, 0)
    }

    /// Says that nothing more comes, and how it ended: for who watches.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn end(&self, ended: &str) -> Result<(), LogError> {
        self.write(&Footer { ended: ended.to_owned(), ended_at: utc_now() }, 0)
    }

    /// Whether the file is still there: a folder that somebody clears takes it along, and writing goes on into nothing.
    fn still_there(&self) -> Result<(), LogError> {
        self.path.metadata().map(drop).map_err(|source| LogError {
            path: self.path.clone(),
            action: "looking for the file that this process writes",
            entries: 0,
            source,
        })
    }

    fn write(&self, body: &impl Serialize, entries: u64) -> Result<(), LogError> {
        let line = serde_json::to_vec(body).map(|body| framed(&body));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match line {
            _ if state.failed => Err(io::Error::other("an earlier write to this file failed")),
            Err(error) => Err(error.into()),
            Ok(line) => state.file.write_all(&line).map(|()| line.len() as u64),
        };
        match result {
            Ok(length) => {
                state.written += length;
                state.entries += entries;
                self.dirty.store(true, Ordering::Release);
                Ok(())
            }
            Err(source) => {
                state.failed = true;
                // The error of the write is the one to report; cutting is a best effort.
                let _ = state.file.set_len(state.written);
                Err(LogError { path: self.path.clone(), action: "writing", entries: state.entries, source })
            }
        }
    }
}

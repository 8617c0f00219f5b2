//! The folder of a run: `<out>/<scenario name>/<run id>/`.
//!
//! A run that is there is whole. An attempt works in a hidden folder beside it,
//! which no other attempt shares; when all is on the disk, the manifest is written
//! and the folder renamed, which succeeds for one attempt and is atomic.
//!
//! ```text
//!  results/quickstart/.3f0c….7121-0.partial/   an attempt, under way or dead
//!                       └─ interrupted         its end, if it came to one
//!  results/quickstart/3f0c…/                   the finished run
//!                       └─ manifest.json       length and hash of each file
//!  results/quickstart/.3f0c….old-1/            moved aside, never deleted
//! ```

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::record::FileSeal;
use crate::run::manifest::Manifest;
use crate::run::wording::counted;
use crate::units::SimTime;

/// The file that makes a folder a finished run.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The file that marks an attempt that came to an early end.
pub const INTERRUPTED_FILE: &str = "interrupted";
/// Longest name of a scenario, so that paths stay within what file systems take.
const LONGEST_NAME: usize = 128;
/// Attempts at a rename that others keep getting in the way of.
const RENAME_TRIES: usize = 32;

/// Results that can't be written, or can't be trusted.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// A name that could leave the output folder.
    #[error("`{name}` can't name a result folder: 1 to {LONGEST_NAME} letters, digits, `-` and `_` can")]
    Name {
        /// The name.
        name: String,
    },
    /// A symbolic link out of the output folder.
    #[error("{path} leads to {target}, out of the output folder")]
    Outside {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// What is no folder, where the run's folder goes.
    #[error("{path}: no folder, but the run's folder would be here")]
    InTheWay {
        /// Its path.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{path}: {action} failed: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A folder that isn't a whole finished run.
    #[error("{path}: {defect}")]
    Damaged {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        defect: String,
    },
    /// Two attempts at the same run with different results.
    #[error("{attempt}: `{file}` differs from the one of the same run in {finished}")]
    Differs {
        /// The finished run.
        finished: PathBuf,
        /// The attempt that came second; it stays.
        attempt: PathBuf,
        /// The file that differs.
        file: String,
    },
}

impl ResultsError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Name { .. } => "give the scenario another `name`",
            Self::Outside { .. } => "remove the link, or choose another folder with --out",
            Self::InTheWay { .. } => "remove it, or move it aside with --force",
            Self::Io { source, .. } => match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                    "free some space, or choose another disk with --out"
                }
                ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                    "a file is in the way: remove it, or choose another folder with --out"
                }
                _ => "choose a folder that you may write to with --out",
            },
            Self::Damaged { .. } => "run it again: a run that isn't whole is moved aside and replaced",
            Self::Differs { .. } => {
                "the runs used different machines, programs or output settings: compare the two manifests, \
                 then keep one of the two, or run again with --force"
            }
        }
    }

    fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }
}

/// Opens result folders.
pub struct ResultFolder;

/// What was found where a run's results go.
#[derive(Debug)]
pub enum Opened {
    /// The finished run, with all the files required.
    Finished {
        /// Its folder.
        path: PathBuf,
    },
    /// Nothing of the kind; an attempt can begin.
    Fresh(Attempt),
}

impl ResultFolder {
    /// Looks for the finished run `run_id` of `scenario_name` under `out`, with
    /// `required_files` of the lengths that its manifest says; without one, or
    /// under `force`, begins an attempt. `force` first moves what is there aside.
    /// Hashes aren't checked here: see [`verify`].
    ///
    /// # Errors
    /// [`ResultsError`] for names that could leave `out`, and folders that can't be written.
    pub fn open(
        out: &Path,
        scenario_name: &str,
        run_id: &str,
        required_files: &[&str],
        force: bool,
    ) -> Result<Opened, ResultsError> {
        for name in [scenario_name, run_id] {
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            if name.is_empty() || name.len() > LONGEST_NAME || !plain {
                return Err(ResultsError::Name { name: name.to_owned() });
            }
        }
        fs::create_dir_all(out).map_err(ResultsError::io(out, "creating the output folder"))?;
        let real_out = out.canonicalize().map_err(ResultsError::io(out, "opening the output folder"))?;
        let parent = out.join(scenario_name);
        stays_within(&real_out, &parent)?;
        fs::create_dir_all(&parent).map_err(ResultsError::io(&parent, "creating the scenario's folder"))?;
        let path = parent.join(run_id);
        if exists(&path) {
            if force {
                move_aside(&parent, run_id)?;
            } else {
                stays_within(&real_out, &path)?;
                if !path.is_dir() {
                    return Err(ResultsError::InTheWay { path });
                }
                if listed_files(&path).is_ok_and(|files| holds(&files, required_files)) {
                    return Ok(Opened::Finished { path });
                }
            }
        }
        Attempt::begin(parent, run_id).map(Opened::Fresh)
    }
}

/// An attempt at a run, in a hidden folder of its own. Dropped without
/// [`Attempt::finish`] (an error, a panic) it stays, marked `interrupted`.
#[derive(Debug)]
pub struct Attempt {
    parent: PathBuf,
    run_id: String,
    path: PathBuf,
    settled: bool,
}

/// The run's folder after a successful attempt, its own or a faster one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The folder.
    pub path: PathBuf,
    /// Whether it is this attempt's; `false` if another one with the same results was faster.
    pub ours: bool,
}

impl Attempt {
    fn begin(parent: PathBuf, run_id: &str) -> Result<Self, ResultsError> {
        let process = std::process::id();
        let mut number = 0u64;
        loop {
            let path = parent.join(format!(".{run_id}.{process}-{number}.partial"));
            // Whoever creates a folder owns it, whatever other process or machine counts alike.
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { parent, run_id: run_id.to_owned(), path, settled: false }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(ResultsError::io(&path, "creating the attempt's folder")(error)),
            }
        }
    }

    /// The folder to write into.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the manifest, and makes the folder the run's. If another attempt
    /// finished first with the same files, this one is deleted; if what is there
    /// is damaged or has fewer files, it is moved aside. Interrupted attempts at
    /// the same run are deleted, for nobody needs them any more.
    ///
    /// # Errors
    /// [`ResultsError::Differs`] if the finished run has other results;
    /// [`ResultsError::Io`] if the disk is full. The attempt then stays, marked.
    pub fn finish(mut self, manifest: &Manifest) -> Result<Published, ResultsError> {
        let result = self.publish(manifest);
        match &result {
            Ok(_) => {
                self.settled = true;
                self.delete_interrupted();
            }
            Err(error) => {
                self.mark(&format!("what: {error}\nhint: {}\n", error.hint()));
            }
        }
        result
    }

    /// Leaves the folder as it is, marked with what happened, when (in simulated
    /// time), and the command that runs it again. Returns the folder.
    ///
    /// # Errors
    /// [`ResultsError::Io`] if the marker can't be written; without one the folder
    /// doesn't pass for a finished run either.
    pub fn interrupt(mut self, reason: &str, at: SimTime, rerun: &str) -> Result<PathBuf, ResultsError> {
        self.settled = true;
        let text = format!("what: {reason}\nsimulated_time_s: {at}\nrun again: {rerun}\n");
        let marker = self.path.join(INTERRUPTED_FILE);
        fs::write(&marker, text).map_err(ResultsError::io(&marker, "writing the marker"))?;
        Ok(self.path.clone())
    }

    fn publish(&self, manifest: &Manifest) -> Result<Published, ResultsError> {
        let file = self.path.join(MANIFEST_FILE);
        write_synced(&file, manifest).map_err(ResultsError::io(&file, "writing the manifest"))?;
        sync_folder(&self.path);
        let path = self.parent.join(&self.run_id);
        let mut tries = 1;
        loop {
            let error = match fs::rename(&self.path, &path) {
                Ok(()) => {
                    sync_folder(&self.parent);
                    return Ok(Published { path, ours: true });
                }
                Err(error) => error,
            };
            if !exists(&path) || tries == RENAME_TRIES {
                return Err(ResultsError::io(&path, "renaming the finished attempt")(error));
            }
            tries += 1;
            if let Ok(theirs) = listed_files(&path) {
                for ours in &manifest.files {
                    if theirs.iter().any(|their| their.name == ours.name && their != ours) {
                        let (finished, attempt) = (path, self.path.clone());
                        return Err(ResultsError::Differs { finished, attempt, file: ours.name.clone() });
                    }
                }
                let names: Vec<_> = manifest.files.iter().map(|file| file.name.as_str()).collect();
                if holds(&theirs, &names) {
                    // What can't be deleted is hidden, and not taken for a result.
                    let _ = fs::remove_dir_all(&self.path);
                    return Ok(Published { path, ours: false });
                }
            }
            move_aside(&self.parent, &self.run_id)?;
        }
    }

    fn delete_interrupted(&self) {
        let prefix = format!(".{}.", self.run_id);
        let Ok(entries) = fs::read_dir(&self.parent) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let attempt = name.to_str().is_some_and(|name| name.starts_with(&prefix) && name.ends_with(".partial"));
            let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if attempt && folder && entry.path().join(INTERRUPTED_FILE).is_file() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Marks the folder, as far as that is possible.
    fn mark(&mut self, text: &str) {
        self.settled = true;
        let _ = fs::write(self.path.join(INTERRUPTED_FILE), text);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.settled {
            self.mark("what: the run failed before its end\nrun again: the same command\n");
        }
    }
}

/// Checks a finished run: the manifest, and length and hash of each file in it.
/// Returns the files.
///
/// # Errors
/// [`ResultsError::Damaged`] with the first file at fault.
pub fn verify(path: &Path) -> Result<Vec<FileSeal>, ResultsError> {
    let files = listed_files(path)?;
    for seal in &files {
        let file = path.join(&seal.name);
        let hash = content_hash(&file).map_err(ResultsError::io(&file, "reading"))?;
        if hash != seal.blake3 {
            let defect = format!("its content has the hash {hash}, not {} as the manifest says", seal.blake3);
            return Err(ResultsError::Damaged { path: file, defect });
        }
    }
    Ok(files)
}

/// The BLAKE3 hash of a file's content, 64 hex digits.
///
/// # Errors
/// If the file can't be read.
pub fn content_hash(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The files of a finished run by its manifest; each is there in its length.
fn listed_files(path: &Path) -> Result<Vec<FileSeal>, ResultsError> {
    #[derive(Deserialize)]
    struct Listing {
        files: Vec<FileSeal>,
    }
    let damaged = |path: PathBuf, defect: String| ResultsError::Damaged { path, defect };
    let marker = path.join(INTERRUPTED_FILE);
    if exists(&marker) {
        return Err(damaged(marker, "the attempt was interrupted".to_owned()));
    }
    let manifest = path.join(MANIFEST_FILE);
    let text = match fs::read(&manifest) {
        Ok(text) => text,
        Err(error) => return Err(damaged(manifest, format!("no manifest: {error}"))),
    };
    let files = match serde_json::from_slice::<Listing>(&text) {
        Ok(listing) => listing.files,
        Err(error) => return Err(damaged(manifest, format!("not a whole manifest: {error}"))),
    };
    for seal in &files {
        let file = path.join(&seal.name);
        if Path::new(&seal.name).file_name() != Some(seal.name.as_ref()) {
            return Err(damaged(manifest, format!("`{}` is no plain file name", seal.name)));
        }
        match fs::metadata(&file) {
            Ok(found) if found.is_file() && found.len() == seal.bytes => {}
            Ok(found) => {
                let defect = format!("{}, not {} as the manifest says", counted(found.len(), "byte"), seal.bytes);
                return Err(damaged(file, defect));
            }
            Err(error) => return Err(damaged(file, format!("listed in the manifest, but: {error}"))),
        }
    }
    Ok(files)
}

fn holds(files: &[FileSeal], required: &[&str]) -> bool {
    required.iter().all(|name| files.iter().any(|file| file.name == *name))
}

/// Whether anything is there, be it a link to nowhere.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Refuses a path that links lead out of `real_out`.
fn stays_within(real_out: &Path, path: &Path) -> Result<(), ResultsError> {
    if !exists(path) {
        return Ok(());
    }
    let target = path.canonicalize().map_err(ResultsError::io(path, "following the link"))?;
    if target != real_out && target.starts_with(real_out) {
        return Ok(());
    }
    Err(ResultsError::Outside { path: path.to_owned(), target })
}

/// Renames what stands at the run's place to the first free `.<run id>.old-<k>`.
fn move_aside(parent: &Path, run_id: &str) -> Result<(), ResultsError> {
    let path = parent.join(run_id);
    let mut k = 1u64;
    let aside = loop {
        let aside = parent.join(format!(".{run_id}.old-{k}"));
        if !exists(&aside) {
            break aside;
        }
        k += 1;
    };
    match fs::rename(&path, aside) {
        // Another attempt has moved it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(ResultsError::io(&path, "moving it aside")),
    }
}

fn write_synced(path: &Path, manifest: &Manifest) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(manifest)?;
    text.push(b'\n');
    let mut file = File::create(path)?;
    file.write_all(&text)?;
    file.sync_all()
}

/// Puts the names in a folder on the disk, where the system can.
fn sync_folder(path: &Path) {
    if let Ok(folder) = File::open(path) {
        let _ = folder.sync_all();
    }
}

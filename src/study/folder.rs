//! The folder of a study: what is where in it, and whose it is.
//!
//! ```text
//!  results/studies/split-by-snr/
//!        ├ study.json     whose folder it is; written once
//!        ├ attempts/      one file per process: what became of its runs
//!        ├ runs/          result folders, with `--keep all` only
//!        └ submit/        scripts for a cluster
//! ```

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::run::identity::RESULTS_VERSION;
use crate::scenario::problem::clip;
use crate::study::beside::create_beside;

/// The file that says whose folder it is.
pub const STUDY_FILE: &str = "study.json";

/// A folder that can't be this study's.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another study is there.
    #[error("{} holds the study `{found}`, not `{wanted}`", path.display())]
    OtherStudy {
        /// The folder.
        path: PathBuf,
        /// Name of the study that is there.
        found: String,
        /// Name of this study.
        wanted: String,
    },
    /// Numbers of another version of the program are there.
    #[error("{} holds results of version {found}; this program makes version {RESULTS_VERSION}", path.display())]
    OtherResults {
        /// The folder.
        path: PathBuf,
        /// Results version that is there.
        found: u32,
    },
    /// No study is there.
    #[error("{}: there is no {STUDY_FILE}: no run of this study was begun here", path.display())]
    Nothing {
        /// The folder.
        path: PathBuf,
    },
    /// The file that says whose folder it is can't be understood.
    #[error("{}: {defect}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        defect: String,
    },
    /// The system refuses.
    #[error("{}: {action} failed: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl FolderError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::OtherStudy { .. } => "choose another folder with --out, or give the study its own `name`",
            Self::OtherResults { .. } => {
                "numbers of two versions don't mix: choose another folder with --out, or use the program that began it"
            }
            Self::Nothing { .. } => "begin with `splitwave study run`, or say where the study is with --out",
            Self::Damaged { .. } => "move the file aside: the next `splitwave study run` writes it anew",
            Self::Io { source, .. } => match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                    "free some space, or choose another disk with --out"
                }
                ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                    "a file is in the way: remove it, or choose another folder with --out"
                }
                _ => "choose a folder that you may write to with --out",
            },
        }
    }

    /// Whether the folder is another's, rather than that the system refuses.
    pub fn is_wrong_input(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }

    fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }
}

/// What `study.json` says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    study: String,
    results_version: u32,
    version: String,
}

/// The folder of one study.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudyFolder {
    path: PathBuf,
}

impl StudyFolder {
    /// The folder of the study `name` at `path`, made if it isn't there.
    ///
    /// # Errors
    /// [`FolderError`] if it is another study's, or holds results of another version.
    pub fn open(path: &Path, name: &str) -> Result<Self, FolderError> {
        fs::create_dir_all(path).map_err(FolderError::io(path, "creating the folder"))?;
        let folder = Self { path: path.to_owned() };
        let file = folder.file(STUDY_FILE);
        if !file.exists() {
            let owner = Owner {
                study: name.to_owned(),
                results_version: RESULTS_VERSION,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            write_once(&file, &owner).map_err(FolderError::io(&file, "writing"))?;
        }
        folder.check(name)?;
        Ok(folder)
    }

    /// The folder of the study `name` at `path`, which must be there.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`FolderError::Nothing`].
    pub fn find(path: &Path, name: &str) -> Result<Self, FolderError> {
        let folder = Self { path: path.to_owned() };
        folder.check(name)?;
        Ok(folder)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where processes write down what became of their runs.
    pub fn attempts(&self) -> PathBuf {
        self.path.join("attempts")
    }

    /// Where result folders are, with `--keep all`: `<scenario name>/<run id>` in it.
    pub fn runs(&self) -> PathBuf {
        self.path.join("runs")
    }

    /// Where scripts for a cluster are.
    pub fn submit(&self) -> PathBuf {
        self.path.join("submit")
    }

    /// A file of the study.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn check(&self, wanted: &str) -> Result<(), FolderError> {
        let path = self.file(STUDY_FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(FolderError::Nothing { path: self.path.clone() });
            }
            text => text.map_err(FolderError::io(&path, "reading"))?,
        };
        let owner: Owner = serde_json::from_slice(&text)
            .map_err(|error| FolderError::Damaged { path, defect: format!("not whose folder it is: {error}") })?;
        if owner.study != wanted {
            let (path, found) = (self.path.clone(), clip(&owner.study));
            return Err(FolderError::OtherStudy { path, found, wanted: wanted.to_owned() });
        }
        if owner.results_version != RESULTS_VERSION {
            return Err(FolderError::OtherResults { path: self.path.clone(), found: owner.results_version });
        }
        Ok(())
    }
}

/// Writes a file that is there whole or not at all, and never twice: of processes that begin
/// at the same time the first one's stays.
fn write_once(path: &Path, owner: &Owner) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(owner)?;
    text.push(b'\n');
    let (beside, mut file) = create_beside(path)?;
    let written =
        file.write_all(&text).and_then(|()| file.sync_all()).and_then(|()| match fs::hard_link(&beside, path) {
            // A file system without links: a rename is whole as well, and the contents are the same.
            Err(error) if error.kind() != ErrorKind::AlreadyExists && !path.exists() => fs::rename(&beside, path),
            _ => Ok(()),
        });
    // Gone already where it was renamed.
    let _ = fs::remove_file(&beside);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_study_of_one_version() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("deep/out");
        assert!(matches!(StudyFolder::find(&out, "a"), Err(FolderError::Nothing { .. })));
        let folder = StudyFolder::open(&out, "a").unwrap();
        let text = fs::read_to_string(folder.file(STUDY_FILE)).unwrap();
        assert_eq!(StudyFolder::open(&out, "a").unwrap(), folder);
        assert_eq!(StudyFolder::find(&out, "a").unwrap(), folder);
        assert_eq!(fs::read_to_string(folder.file(STUDY_FILE)).unwrap(), text);
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "nothing is left beside it");

        let error = StudyFolder::open(&out, "b").unwrap_err();
        assert_eq!(error.to_string(), format!("{} holds the study `a`, not `b`", out.display()));
        let version = format!("\"results_version\": {RESULTS_VERSION}");
        fs::write(folder.file(STUDY_FILE), text.replace(&version, "\"results_version\": 1")).unwrap();
        assert!(matches!(StudyFolder::open(&out, "a"), Err(FolderError::OtherResults { found: 1, .. })));
        fs::write(folder.file(STUDY_FILE), &text[..20]).unwrap();
        assert!(matches!(StudyFolder::open(&out, "a"), Err(FolderError::Damaged { .. })));
    }

    #[test]
    fn processes_that_begin_at_the_same_time_agree() {
        let place = tempfile::tempdir().unwrap();
        let names = ["a", "b", "a", "b"];
        let opened: Vec<bool> = std::thread::scope(|scope| {
            let workers = names.map(|name| scope.spawn(|| StudyFolder::open(place.path(), name).is_ok()));
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let first = StudyFolder::find(place.path(), "a").is_ok();
        assert_eq!(opened, [first, !first, first, !first]);
    }
}

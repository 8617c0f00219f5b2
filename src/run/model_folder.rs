//! A model's directory as it is written: hidden until it is whole.
//!
//! ```text
//!  models/.small.1234-0.partial/   under way; deleted if it comes to nothing
//!  models/small/                   renamed to this when all files are on the disk
//! ```

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The files of a directory that may be replaced.
const KNOWN: [&str; 5] =
    ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "pruning.json"];

/// A directory that can't be written.
#[derive(Debug, thiserror::Error)]
pub enum ModelFolderError {
    /// There is something of that name.
    #[error("{path}: is there already")]
    Exists {
        /// Its path.
        path: PathBuf,
    },
    /// What is there isn't only a model's directory, so that it isn't replaced.
    #[error("{path}: holds {found}, which no model's directory of this program holds; it is not replaced")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The first entry that is none of a model's.
        found: String,
    },
    /// What is there is no directory.
    #[error("{path}: is not a directory, so it is not replaced")]
    NoDirectory {
        /// Its path.
        path: PathBuf,
    },
    /// The path has no last part.
    #[error("{path}: can't be the name of a new directory")]
    Name {
        /// The path.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl ModelFolderError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// A directory under way. Dropped without [`ModelFolder::publish`] it is deleted.
#[derive(Debug)]
pub struct ModelFolder {
    target: PathBuf,
    partial: PathBuf,
    replace: bool,
}

impl ModelFolder {
    /// Begins a directory that will be `target`; parents are created. With `replace` a model's directory that is
    /// there gives way at the end.
    ///
    /// # Errors
    /// [`ModelFolderError`] if there is something that doesn't give way, or nothing can be written there.
    pub fn begin(target: &Path, replace: bool) -> Result<Self, ModelFolderError> {
        let Some(name) = target.file_name() else { return Err(ModelFolderError::Name { path: target.to_owned() }) };
        check_target(target, replace)?;
        let parent = target.parent().unwrap_or(Path::new(""));
        if !parent.as_os_str().is_empty() {
            fs::create_dir_all(parent).map_err(ModelFolderError::io(parent))?;
        }
        let process = std::process::id();
        let mut number = 0_u64;
        loop {
            let partial = target.with_file_name(format!(".{}.{process}-{number}.partial", name.to_string_lossy()));
            match fs::create_dir(&partial) {
                Ok(()) => return Ok(Self { target: target.to_owned(), partial, replace }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(ModelFolderError::io(&partial)(error)),
            }
        }
    }

    /// Where the files are until then.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Writes one file, down to the disk.
    ///
    /// # Errors
    /// What `content` says, or the system.
    pub fn write<T, E: From<io::Error>>(
        &self,
        name: &str,
        content: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut out = BufWriter::new(File::create(self.partial.join(name))?);
        let written = content(&mut out)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        Ok(written)
    }

    /// Gives the directory its name.
    ///
    /// # Errors
    /// [`ModelFolderError`] if something has come there that doesn't give way, or the system refuses.
    pub fn publish(self) -> Result<(), ModelFolderError> {
        check_target(&self.target, self.replace)?;
        let io = ModelFolderError::io(&self.target);
        let aside = self.partial.with_extension("old");
        let replaces = self.target.symlink_metadata().is_ok();
        if replaces && let Err(error) = fs::rename(&self.target, &aside) {
            return Err(io(error));
        }
        if let Err(error) = fs::rename(&self.partial, &self.target) {
            if replaces {
                let _ = fs::rename(&aside, &self.target);
            }
            return Err(io(error));
        }
        if replaces { fs::remove_dir_all(&aside).map_err(ModelFolderError::io(&aside)) } else { Ok(()) }
    }
}

impl Drop for ModelFolder {
    fn drop(&mut self) {
        // Once published it isn't there any more.
        let _ = fs::remove_dir_all(&self.partial);
    }
}

/// Whether a directory may get the name `target`.
fn check_target(target: &Path, replace: bool) -> Result<(), ModelFolderError> {
    let path = target.to_owned();
    let Ok(metadata) = target.symlink_metadata() else { return Ok(()) };
    if !replace {
        return Err(ModelFolderError::Exists { path });
    }
    if !metadata.is_dir() {
        return Err(ModelFolderError::NoDirectory { path });
    }
    for entry in fs::read_dir(target).map_err(ModelFolderError::io(target))? {
        let entry = entry.map_err(ModelFolderError::io(target))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !KNOWN.contains(&name.as_str()) || entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            return Err(ModelFolderError::Foreign { path, found: format!("`{name}`") });
        }
    }
    Ok(())
}

//! Files that are there whole or not at all: written beside, then renamed; several of them together.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// A file that can't be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: writing failed: {source}", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// A file that is whole and on the disk, but not at its place yet. Dropped, it is removed.
#[must_use]
#[derive(Debug)]
pub struct Beside {
    path: PathBuf,
    hidden: PathBuf,
    published: bool,
}

impl Beside {
    /// Lets `write` fill a hidden file beside `path`, which nobody else has, and puts it on the disk.
    ///
    /// # Errors
    /// [`WriteError`]; the hidden file is removed then.
    pub fn write<E: Into<io::Error>>(
        path: &Path,
        write: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
    ) -> Result<Self, WriteError> {
        let failed = |source| WriteError { path: path.to_owned(), source };
        let (beside, file) = create_beside(path).map_err(failed)?;
        let written = Self { path: path.to_owned(), hidden: beside, published: false };
        let mut file = BufWriter::new(file);
        let whole =
            write(&mut file).map_err(Into::into).and_then(|()| file.flush()).and_then(|()| file.get_ref().sync_all());
        whole.map_err(failed)?;
        Ok(written)
    }

    /// Puts it in the place of what stood there before.
    ///
    /// # Errors
    /// [`WriteError`] if it can't be renamed.
    pub fn publish(mut self) -> Result<PathBuf, WriteError> {
        fs::rename(&self.hidden, &self.path).map_err(|source| WriteError { path: self.path.clone(), source })?;
        self.published = true;
        Ok(self.path.clone())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.hidden);
        }
    }
}

/// A hidden file beside `path`. Whoever creates it owns it: processes of two machines may have one number.
pub(super) fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let process = std::process::id();
    let mut number = 0u64;
    loop {
        let beside = path.with_file_name(format!(".{name}.{process}-{number}"));
        match File::options().write(true).create_new(true).open(&beside) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            result => return Ok((beside, result?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_stays_until_the_new_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("t.csv");
        let write = |text: &'static str| Beside::write(&path, move |file| file.write_all(text.as_bytes()));
        write("old").unwrap().publish().unwrap();
        let (first, second) = (write("first").unwrap(), write("second").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        second.publish().unwrap();
        drop(first);
        let failed = Beside::write(&path, |file| {
            file.write_all(b"half")?;
            Err::<(), _>(io::Error::other("no"))
        });
        assert_eq!(failed.unwrap_err().to_string(), format!("{}: writing failed: no", path.display()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}

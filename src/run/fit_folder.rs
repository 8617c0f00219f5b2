//! The folder of a fit, of a surrogate or a reward head: found, written, and moved to its place when it is whole.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::network::ports::RecordError;
use crate::network::rows::Record;
use crate::record::{CsvFile, FileSeal};
use crate::run::results::{self, MANIFEST_FILE};

/// Where the files are until they are whole.
const PARTIAL: &str = ".partial";
/// The settings in the manifest that two fits are told apart by.
pub const IDENTITY: &str = "fit";

/// Something else is where a fit's files go.
#[derive(Debug, thiserror::Error)]
#[error("{path}: there is something already, and not this fit: {differences}")]
pub struct Occupied {
    /// The folder.
    pub path: PathBuf,
    /// What differs.
    pub differences: String,
}

/// Everything that goes into the folder.
pub struct Output<'a> {
    /// Name of the network's file.
    pub name: &'static str,
    /// The network's bytes, and the rows that it was fitted to.
    pub network: (&'a [u8], u64),
    /// The manifest but for its list of files.
    pub manifest: Value,
}

/// The files of the finished fit of this identity in `folder`, if it is there; its files are among `known`.
///
/// # Errors
/// [`Occupied`] if there is another fit, or one that isn't whole.
pub fn finished(folder: &Path, known: &[&str], identity: &Value) -> Result<Option<Vec<FileSeal>>, Occupied> {
    let there = known.iter().chain(&[MANIFEST_FILE]).find(|name| folder.join(name).exists());
    let Some(there) = there else { return Ok(None) };
    let exists = |differences: String| Occupied { path: folder.to_owned(), differences };
    let manifest: Value = fs::read(folder.join(MANIFEST_FILE))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .ok_or_else(|| exists(format!("{there} has no manifest.json of a fit beside it")))?;
    let then = &manifest[IDENTITY];
    if then != identity {
        return Err(exists(differences(then, identity)));
    }
    results::verify(folder).map(Some).map_err(|error| exists(error.to_string()))
}

/// What differs between two identities, in words.
fn differences(then: &Value, now: &Value) -> String {
    let (Some(before), Some(after)) = (then.as_object(), now.as_object()) else {
        return "its manifest.json is none of a fit".to_owned();
    };
    let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(*value));
    let told: Vec<String> = changed
        .map(|(key, value)| match key.as_str() {
            // Hashes say nothing to a reader.
            "records" | "check" | "hashes" => format!("other {key}"),
            _ => format!("{key} was {}, is {value}", before.get(key).unwrap_or(&Value::Null)),
        })
        .collect();
    if told.is_empty() { "its settings".to_owned() } else { told.join("; ") }
}

impl Output<'_> {
    /// Writes everything, `tables` first, and moves it to its place, the manifest last.
    ///
    /// # Errors
    /// [`RecordError`] if a file can't be written.
    pub fn write(
        mut self,
        folder: &Path,
        tables: impl FnOnce(&Path) -> Result<Vec<FileSeal>, RecordError>,
    ) -> Result<Vec<FileSeal>, RecordError> {
        let partial = folder.join(PARTIAL);
        let failed = |source: io::Error| RecordError { path: partial.clone(), source };
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(failed)?;
        }
        fs::create_dir_all(&partial).map_err(failed)?;
        let mut files = tables(&partial)?;
        let (bytes, rows) = self.network;
        fs::write(partial.join(self.name), bytes).map_err(failed)?;
        let blake3 = blake3::hash(bytes).to_hex().to_string();
        files.insert(0, FileSeal { name: self.name.to_owned(), rows, bytes: bytes.len() as u64, blake3 });
        self.manifest["files"] = serde_json::to_value(&files).unwrap_or_default();
        let text = serde_json::to_string_pretty(&self.manifest).unwrap_or_default();
        fs::write(partial.join(MANIFEST_FILE), text + "\n").map_err(failed)?;
        // The manifest goes first and comes last: what it vouches for is there.
        match fs::remove_file(folder.join(MANIFEST_FILE)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        for name in files.iter().map(|file| file.name.as_str()).chain([MANIFEST_FILE]) {
            fs::rename(partial.join(name), folder.join(name)).map_err(failed)?;
        }
        fs::remove_dir_all(&partial).map_err(failed)?;
        Ok(files)
    }
}

/// Writes one table.
///
/// # Errors
/// [`RecordError`] if it can't be written.
pub fn table<R: Record>(folder: &Path, rows: &[R]) -> Result<FileSeal, RecordError> {
    let mut file = CsvFile::create::<R>(folder)?;
    for row in rows {
        file.push(row)?;
    }
    file.finish()
}

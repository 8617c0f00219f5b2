//! The folder of a fit of exit heads: found, written, and moved to its place when it is whole.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use serde_json::Value;

use super::error::ExitFitError;
use super::figures::ExitMetricsRow;
use crate::network::ports::RecordError;
use crate::network::rows::Record;
use crate::record::FileSeal;
use crate::run::fit_folder::table;
use crate::run::results::{self, MANIFEST_FILE};

/// Where the files are until they are whole.
const PARTIAL: &str = ".partial";
/// The settings in the manifest that two fits are told apart by.
pub const IDENTITY: &str = "fit_exit";

/// The name of the file of a head.
pub fn head_file(layer: usize) -> String {
    format!("exit_{layer}.safetensors")
}

/// Everything that goes into the folder.
pub struct Output<'a> {
    /// The heads: their layers and bytes.
    pub heads: Vec<(usize, Vec<u8>)>,
    /// The figures.
    pub metrics: &'a [ExitMetricsRow],
    /// The manifest but for its list of files.
    pub manifest: Value,
}

/// The files of the finished fit of this identity in `folder`, if it is there.
///
/// # Errors
/// [`ExitFitError::Exists`] if there is another fit, or one that isn't whole.
pub fn finished(folder: &Path, layers: &[usize], identity: &Value) -> Result<Option<Vec<FileSeal>>, ExitFitError> {
    let fixed = [ExitMetricsRow::FILE.to_owned(), MANIFEST_FILE.to_owned()];
    let known = fixed.into_iter().chain(layers.iter().map(|&layer| head_file(layer)));
    let Some(there) = known.into_iter().find(|name| folder.join(name).exists()) else { return Ok(None) };
    let exists = |differences: String| ExitFitError::Exists { path: folder.to_owned(), differences };
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
        return "its manifest.json is none of such a fit".to_owned();
    };
    let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(*value));
    let told: Vec<String> = changed
        .map(|(key, value)| match key.strip_suffix("_hash") {
            // Hashes say nothing to a reader.
            Some(what) => format!("another {what}"),
            None => format!("{key} was {}, is {value}", before.get(key).unwrap_or(&Value::Null)),
        })
        .collect();
    if told.is_empty() { "its settings".to_owned() } else { told.join("; ") }
}

impl Output<'_> {
    /// Writes everything and moves it to its place, the manifest last.
    ///
    /// # Errors
    /// [`RecordError`] if a file can't be written.
    pub fn write(mut self, folder: &Path) -> Result<Vec<FileSeal>, RecordError> {
        let partial = folder.join(PARTIAL);
        let failed = |source: io::Error| RecordError { path: partial.clone(), source };
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(failed)?;
        }
        fs::create_dir_all(&partial).map_err(failed)?;
        let mut files = Vec::with_capacity(self.heads.len() + 1);
        for (layer, bytes) in &self.heads {
            let name = head_file(*layer);
            fs::write(partial.join(&name), bytes).map_err(failed)?;
            let blake3 = blake3::hash(bytes).to_hex().to_string();
            files.push(FileSeal { name, rows: 1, bytes: bytes.len() as u64, blake3 });
        }
        files.push(table(&partial, self.metrics)?);
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

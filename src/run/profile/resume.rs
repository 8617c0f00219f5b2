//! Where a profile is while it is made, and how one that came to an early end goes on.
//!
//! ```text
//!  DIR/.partial/          the profile, under way or interrupted
//!        ├ fingerprint.json   everything that determines its numbers
//!        ├ lock               held by the process that makes it
//!        └ records.csv        whole rows, in their final order
//!  DIR/records.csv …      the profile, when all of it is there; the fingerprint is in manifest.json
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::network::ports::RecordError;
use crate::record::{CsvFile, FileSeal};
use crate::run::checks::word;
use crate::run::identity::RESULTS_VERSION;
use crate::run::manifest::{Manifest, instruction_set};
use crate::run::profile::plan::ProfilePlan;
use crate::run::profile::rows::ProfileRecord;
use crate::run::profile::spec::ProfileSpec;
use crate::run::profile::table::Kept;
use crate::run::profile::{ProfileError, Setting};
use crate::run::results::{self, MANIFEST_FILE};

/// Where the files are until they are whole.
const PARTIAL: &str = ".partial";
const FINGERPRINT_FILE: &str = "fingerprint.json";
/// The fingerprint in the manifest.
pub(super) const FINGERPRINT: &str = "fingerprint";
/// The record file of every profile.
pub(super) const RECORDS_FILE: &str = "records.csv";
/// What a fingerprint says of the program. A finished profile counts whatever build made
/// it, as a finished run does: `results_version` stands for the numbers.
const BUILD: [&str; 3] = ["version", "commit", "dirty"];
const LOCK: &str = "lock";
/// Differences that an error tells.
const MOST_TOLD: usize = 4;

/// A profile under way.
pub(super) struct Workplace {
    /// Its folder.
    pub partial: PathBuf,
    /// Its records, behind those that were kept.
    pub records: CsvFile,
    /// Records that an earlier process left.
    pub kept: u64,
    /// Held as long as it is open.
    pub lock: File,
}

impl Workplace {
    /// Begins the profile in `folder`, or goes on with one of the same `fingerprint`.
    /// `replace` sets an unfinished one of another fingerprint aside for good.
    ///
    /// # Errors
    /// [`ProfileError::Differs`] if another profile is unfinished there,
    /// [`ProfileError::Busy`] if another process makes it, [`ProfileError::Damaged`] if its
    /// rows aren't its own, [`ProfileError::Record`] if a file can't be used.
    pub fn open(
        folder: &Path,
        fingerprint: &Value,
        plan: &ProfilePlan<'_>,
        spec: &ProfileSpec,
        replace: bool,
    ) -> Result<Self, ProfileError> {
        let partial = folder.join(PARTIAL);
        let failed = |source: io::Error| RecordError { path: partial.clone(), source };
        fs::create_dir_all(&partial).map_err(failed)?;
        let lock = File::create(partial.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(ProfileError::Busy { path: partial }),
            // A file system without locks: as if there were no other process.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let found = read_fingerprint(&partial);
        let records = partial.join(RECORDS_FILE);
        let begun = fs::metadata(&records).is_ok_and(|file| file.len() > 0);
        if begun && found.as_ref() != Some(fingerprint) {
            if !replace {
                let differences = differences(&found.unwrap_or(Value::Null), fingerprint);
                return Err(ProfileError::Differs { path: partial, differences });
            }
            fs::remove_file(&records).map_err(failed)?;
        }
        // In one step: half a fingerprint is none.
        let fresh = partial.join("fingerprint.new");
        let text = serde_json::to_string_pretty(fingerprint).unwrap_or_default() + "\n";
        fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, partial.join(FINGERPRINT_FILE))).map_err(failed)?;
        let (mut file, content) = CsvFile::reopen::<ProfileRecord>(&partial)?;
        match check_rows(&content, plan, spec) {
            Ok(kept) => Ok(Self { partial, records: file, kept, lock }),
            Err(_) if replace => {
                drop(file);
                fs::remove_file(&records).map_err(failed)?;
                file = CsvFile::create::<ProfileRecord>(&partial)?;
                Ok(Self { partial, records: file, kept: 0, lock })
            }
            Err(line) => Err(ProfileError::Damaged { path: records, line }),
        }
    }

    /// Moves the finished `files` to their place; a table that this profile doesn't have
    /// must not outlive the records that it summed up. The manifest goes first and comes last.
    ///
    /// # Errors
    /// [`RecordError`] if a file can't be moved.
    pub fn publish(partial: &Path, lock: File, folder: &Path, files: &[&str]) -> Result<(), RecordError> {
        let failed = |source: io::Error| RecordError { path: partial.to_owned(), source };
        for old in files.iter().rev().chain(&["table.csv"]) {
            match fs::remove_file(folder.join(old)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        for name in files {
            fs::rename(partial.join(name), folder.join(name)).map_err(failed)?;
        }
        drop(lock);
        fs::remove_dir_all(partial).map_err(failed)
    }
}

/// The files of the finished profile of this `fingerprint` in `folder`, if one is there.
///
/// # Errors
/// [`ProfileError::Exists`] if there is one of another fingerprint, or it isn't whole.
pub(super) fn finished(folder: &Path, fingerprint: &Value) -> Result<Option<Vec<FileSeal>>, ProfileError> {
    let path = folder.join(RECORDS_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let files = match results::verify(folder) {
        Ok(files) => files,
        Err(error) => return Err(ProfileError::Exists { path, differences: error.to_string() }),
    };
    let manifest = fs::read(folder.join(MANIFEST_FILE)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let then = manifest.map_or(Value::Null, |mut manifest: Value| manifest[FINGERPRINT].take());
    let [then, now] = [then, fingerprint.clone()].map(|mut print| {
        if let Some(keys) = print.as_object_mut() {
            keys.retain(|key, _| !BUILD.contains(&key.as_str()));
        }
        print
    });
    if then == now {
        Ok(Some(files))
    } else {
        Err(ProfileError::Exists { path, differences: differences(&then, &now) })
    }
}

/// The rows of a records.csv.
pub(super) fn kept_rows(content: &[u8]) -> impl Iterator<Item = Result<Kept, csv::Error>> {
    csv::Reader::from_reader(content).into_deserialize()
}

/// The number of rows, if all are the plan's; the first line that isn't otherwise.
fn check_rows(content: &[u8], plan: &ProfilePlan<'_>, spec: &ProfileSpec) -> Result<u64, u64> {
    let mut kept = 0;
    for row in kept_rows(content) {
        let line = kept + 2;
        let row = row.map_err(|_| line)?;
        if kept == plan.len() {
            return Err(line);
        }
        let expected = plan.evaluation(kept);
        let Setting { reception, loss_unit, tx_normalisation, codec } = spec.settings[expected.setting];
        let same_point = (row.window, row.split, row.draw) == (expected.window, expected.split, expected.draw)
            && row.loss_probability == expected.loss
            && row.snr_target_db == expected.noise.target_db();
        let words = [word(reception), word(loss_unit), word(tx_normalisation)];
        // Without one of its own the fingerprint has the channel's.
        let same_codec = codec.is_none_or(|codec| row.encoding == Some(codec.to_string()));
        if !same_point || !same_codec || words != [row.reception, row.loss_unit, row.tx_normalisation] {
            return Err(line);
        }
        kept += 1;
    }
    Ok(kept)
}

/// Everything that the numbers of a profile depend on.
pub(super) fn fingerprint(
    scenario: &Value,
    hashes: &std::collections::BTreeMap<String, String>,
    spec: &ProfileSpec,
    seed: u64,
) -> Value {
    /// Keys that the profile sets itself, or that the contents stand for.
    const LEFT_OUT: [&str; 8] =
        ["source", "corpus", "name", "noise_std", "loss_probability", "reception", "loss_unit", "tx_normalisation"];
    let table = |key: &str| {
        let table = scenario.get(key).cloned().unwrap_or_default();
        // Of several channels the first is the one that is profiled.
        let mut table = table.get(0).cloned().unwrap_or(table);
        if let Some(keys) = table.as_object_mut() {
            keys.retain(|key, _| !LEFT_OUT.contains(&key.as_str()));
        }
        table
    };
    let build = Manifest::start(Value::Null, String::new(), seed, 0, String::new());
    let inputs: serde_json::Map<String, Value> = ["model.source", "tokenizer", "model.corpus", "geometry"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), Value::from(hashes.get(key)?.as_str()))))
        .collect();
    let fingerprint = serde_json::json!({
        "version": build.version,
        "commit": build.commit,
        "dirty": build.dirty,
        "results_version": RESULTS_VERSION,
        "instruction_set": instruction_set(),
        "seed": seed,
        "profile": spec,
        "inputs": inputs,
        "model": table("model"),
        "channel": table("channel"),
        "radio": table("radio"),
    });
    // As it is read again: the JSON parser's last digit isn't exact.
    serde_json::from_str(&fingerprint.to_string()).unwrap_or(fingerprint)
}

fn read_fingerprint(partial: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(partial.join(FINGERPRINT_FILE)).ok()?).ok()
}

/// What differs between two fingerprints, in words.
fn differences(then: &Value, now: &Value) -> String {
    if then.is_null() {
        return "it doesn't say what it was made with".to_owned();
    }
    let mut told = Vec::new();
    compare("", then, now, &mut told);
    let more = told.len().saturating_sub(MOST_TOLD);
    told.truncate(MOST_TOLD);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told.join("; ")
}

fn compare(path: &str, then: &Value, now: &Value, told: &mut Vec<String>) {
    if let (Value::Object(before), Value::Object(after)) = (then, now) {
        let new = after.keys().filter(|key| !before.contains_key(*key));
        for key in before.keys().chain(new) {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            compare(&path, &then[key.as_str()], &now[key.as_str()], told);
        }
    } else if then != now {
        told.push(format!("{path} was {then}, is {now}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_by_their_path() {
        let then = serde_json::json!({ "seed": 1, "profile": { "splits": [1, 2], "tokens": 16 }, "gone": true });
        let now = serde_json::json!({ "seed": 1, "profile": { "splits": [1], "tokens": 16 }, "new": "x" });
        let told = "profile.splits was [1,2], is [1]; gone was true, is null; new was null, is \"x\"";
        assert_eq!(differences(&then, &now), told);
        assert_eq!(differences(&Value::Null, &now), "it doesn't say what it was made with");
    }
}

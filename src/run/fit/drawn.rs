//! The ranges that random records were drawn from, as the manifest of their profile says.

use std::path::Path;

use serde_json::Value;

use crate::control::{DrawnFrom, Input};
use crate::run::profile::{NoiseScale, Points, ProfileSpec};
use crate::run::results::MANIFEST_FILE;

/// The ranges that were asked for where the records of `path`, of this BLAKE3 hash, were made; nothing if no manifest
/// of a profile stands beside them that vouches for these very bytes. Where noise was asked for as an SNR, σ followed
/// from the activations, and its range isn't known.
pub fn drawn_from(path: &Path, blake3: &str) -> DrawnFrom {
    found(path, blake3).unwrap_or_default()
}

fn found(path: &Path, blake3: &str) -> Option<DrawnFrom> {
    let text = std::fs::read(path.with_file_name(MANIFEST_FILE)).ok()?;
    let manifest: Value = serde_json::from_slice(&text).ok()?;
    let name = path.file_name()?.to_str()?;
    let vouched = manifest["files"].as_array()?.iter().any(|file| file["name"] == name && file["blake3"] == blake3);
    let spec: ProfileSpec = serde_json::from_value(manifest["fingerprint"]["profile"].clone()).ok()?;
    let Points::Random { losses, noises, .. } = spec.points else { return None };
    if !vouched {
        return None;
    }
    let (first, last) = spec.splits.iter().min().zip(spec.splits.iter().max())?;
    let mut ranges = DrawnFrom::from([
        (Input::Split, (f64::from(*first), f64::from(*last))),
        (Input::LossProbability, (losses[0], losses[1])),
    ]);
    if spec.noise == NoiseScale::Std {
        ranges.insert(Input::NoiseStd, (noises[0], noises[1]));
    }
    Some(ranges)
}

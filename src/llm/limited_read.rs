//! The small files of a model, read whole, but never more than they can sensibly hold.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Most bytes of a config.json or tokenizer_config.json; published ones have at most 2 MB.
pub(super) const CONFIG_BYTES: u64 = 16 << 20;
/// Most bytes of a tokenizer.json; the longest of the supported families have 20 MB.
pub(super) const TOKENIZER_BYTES: u64 = 128 << 20;

/// The bytes of a regular file of at most `limit` bytes.
///
/// # Errors
/// The system's, or that the file is longer, or none: a device or a pipe may never end.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed tells the two apart, whatever length the system reports.
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let reason = format!("it has more than {} MiB, too much for such a file", limit >> 20);
        return Err(io::Error::other(reason));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_up_to_the_limit_are_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/builtin/config.json");
        let whole = fs::read(&path).unwrap();
        let len = whole.len() as u64;
        assert_eq!(read(&path, len).unwrap(), whole);
        let error = read(&path, len - 1).unwrap_err().to_string();
        assert_eq!(error, "it has more than 0 MiB, too much for such a file");
        let error = read(path.parent().unwrap(), len).unwrap_err().to_string();
        assert_eq!(error, "it is not a regular file");
        assert_eq!(read(&path.join("none"), len).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_without_end_is_refused() {
        let error = read(Path::new("/dev/zero"), 10).unwrap_err().to_string();
        assert_eq!(error, "it is not a regular file");
    }
}

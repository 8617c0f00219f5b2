//! One CSV file: rows in, a seal out.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::network::ports::RecordError;
use crate::network::rows::{CellVisitor, Record};
use crate::units::SimTime;

/// Bytes gathered before they are written.
const FLUSH_AT: usize = 64 * 1024;
/// Room beyond [`FLUSH_AT`], so that the last row gathered rarely makes the buffer grow.
const SLACK: usize = 4 * 1024;

/// Where the bytes of a record file go: a file, or what stands for one in a test.
pub trait Sink: Write {
    /// Cuts the file to its first `length` bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    fn cut(&mut self, length: u64) -> io::Result<()>;

    /// Returns when the bytes are on the disk.
    ///
    /// # Errors
    /// Whatever the system says.
    fn sync(&mut self) -> io::Result<()>;
}

impl Sink for File {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// What a finished record file is: enough to see later whether it is still the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSeal {
    /// File name without folder.
    pub name: String,
    /// Rows, the header not counted.
    pub rows: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// BLAKE3 hash of the content, 64 hex digits.
    pub blake3: String,
}

/// Streams rows to a CSV file (RFC 4180 with `\n`): a header, then one line per row.
///
/// Only whole rows are gathered and written, 64 KiB at a time. If a write fails
/// (the disk is full, say), the file is cut behind its last whole row and takes
/// no further ones. A file dropped without [`CsvFile::finish`] writes what it
/// has gathered, so that an interrupted run ends at a row boundary, too.
///
/// Numbers are as short as reads back exactly; numbers that are not finite are
/// empty; times are exact decimals of nanoseconds.
pub struct CsvFile {
    path: PathBuf,
    name: &'static str,
    sink: Box<dyn Sink + Send>,
    buffer: Vec<u8>,
    hasher: blake3::Hasher,
    rows: u64,
    /// Bytes on their way to the disk; all of them whole rows.
    written: u64,
    failed: bool,
}

impl CsvFile {
    /// Creates the file of `R` in `folder`, with its header. A file of that name is replaced.
    ///
    /// # Errors
    /// [`RecordError`] with the file's path.
    pub fn create<R: Record>(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(R::FILE);
        match File::create(&path) {
            Ok(file) => Ok(Self::into_sink::<R>(path, Box::new(file))),
            Err(source) => Err(RecordError { path, source }),
        }
    }

    /// Opens the file of `R` in `folder` to go on behind its last whole row, where a
    /// process that came to an early end left it; gives its content up to there, too. What
    /// stands behind that row is cut off. A file without a whole header begins anew.
    ///
    /// # Errors
    /// [`RecordError`] if the file can't be read or cut, or has another header.
    pub fn reopen<R: Record>(folder: &Path) -> Result<(Self, Vec<u8>), RecordError> {
        let path = folder.join(R::FILE);
        let open = || -> io::Result<(File, Vec<u8>)> {
            let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
            let mut content = Vec::new();
            file.read_to_end(&mut content)?;
            content.truncate(content.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1));
            if !content.is_empty() && !content.starts_with(&header::<R>()) {
                let message = "its header is not the one that this program writes";
                return Err(io::Error::new(ErrorKind::InvalidData, message));
            }
            file.set_len(content.len() as u64)?;
            file.seek(SeekFrom::End(0))?;
            Ok((file, content))
        };
        let (file, content) = open().map_err(|source| RecordError { path: path.clone(), source })?;
        let mut reopened = Self::into_sink::<R>(path, Box::new(file));
        if !content.is_empty() {
            reopened.buffer.clear();
            reopened.hasher.update(&content);
            reopened.written = content.len() as u64;
            // Neither the header nor what stands behind the last line end is a row.
            reopened.rows = content.split(|&byte| byte == b'\n').count() as u64 - 2;
        }
        Ok((reopened, content))
    }

    /// Writes the rows of `R` into `sink`; `path` is what errors call it.
    pub fn into_sink<R: Record>(path: PathBuf, sink: Box<dyn Sink + Send>) -> Self {
        let mut buffer = Vec::with_capacity(FLUSH_AT + SLACK);
        buffer.extend_from_slice(&header::<R>());
        let hasher = blake3::Hasher::new();
        Self { path, name: R::FILE, sink, buffer, hasher, rows: 0, written: 0, failed: false }
    }

    /// Appends a row; `R` is the record that the file was created for.
    ///
    /// # Errors
    /// [`RecordError`] if a write fails; the file then ends behind its last whole
    /// row, and every further call fails, too.
    pub fn push<R: Record>(&mut self, row: &R) -> Result<(), RecordError> {
        debug_assert_eq!(R::FILE, self.name, "a row of another file");
        row.cells(&mut Line { buffer: &mut self.buffer });
        end_line(&mut self.buffer);
        self.rows += 1;
        if self.buffer.len() >= FLUSH_AT { self.flush() } else { Ok(()) }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes what is gathered, waits until it is on the disk, and seals the file.
    ///
    /// # Errors
    /// [`RecordError`] if this or an earlier write failed.
    pub fn finish(mut self) -> Result<FileSeal, RecordError> {
        self.flush()?;
        self.sink.sync().map_err(|source| RecordError { path: self.path.clone(), source })?;
        Ok(FileSeal {
            name: self.name.to_owned(),
            rows: self.rows,
            bytes: self.written,
            blake3: self.hasher.finalize().to_hex().to_string(),
        })
    }

    /// Writes what is gathered, so that a process that is killed loses none of it.
    ///
    /// # Errors
    /// [`RecordError`] as [`push`](Self::push).
    pub fn flush(&mut self) -> Result<(), RecordError> {
        let result = if self.failed {
            Err(io::Error::other("an earlier write to this file failed; it ends at its last whole row"))
        } else {
            self.write_out()
        };
        self.buffer.clear();
        result.map_err(|source| {
            self.failed = true;
            RecordError { path: self.path.clone(), source }
        })
    }

    fn write_out(&mut self) -> io::Result<()> {
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            let error = match self.sink.write(rest) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(count) => {
                    rest = &rest[count.min(rest.len())..];
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let out = &self.buffer[..self.buffer.len() - rest.len()];
            let whole = out.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            // The error of the write is the one to report; cutting is a best effort.
            let _ = self.sink.cut(self.written + whole as u64);
            return Err(error);
        }
        self.hasher.update(&self.buffer);
        self.written += self.buffer.len() as u64;
        Ok(())
    }
}

impl Drop for CsvFile {
    fn drop(&mut self) {
        if !self.failed && !self.buffer.is_empty() {
            // Nobody is left to tell.
            let _ = self.flush();
        }
    }
}

/// The names of the columns of `R`, and the end of their line.
fn header<R: Record>() -> Vec<u8> {
    let mut line = Vec::new();
    for column in R::COLUMNS {
        line.extend_from_slice(column.name.as_bytes());
        line.push(b',');
    }
    end_line(&mut line);
    line
}

/// The cells of a row, each with the text that it has in a record file.
pub(super) fn cells<R: Record>(row: &R) -> Vec<String> {
    let mut cells = Cells { buffer: Vec::new(), cells: Vec::with_capacity(R::COLUMNS.len()) };
    row.cells(&mut cells);
    cells.cells
}

/// Turns the comma behind the last cell into the end of the line.
fn end_line(buffer: &mut [u8]) {
    if let Some(last) = buffer.last_mut() {
        *last = b'\n';
    }
}

/// Writes cells, each with a comma behind it.
struct Line<'b> {
    buffer: &'b mut Vec<u8>,
}

impl Line<'_> {
    #[inline]
    fn put(&mut self, text: &str) {
        self.buffer.extend_from_slice(text.as_bytes());
        self.buffer.push(b',');
    }
}

impl CellVisitor for Line<'_> {
    #[inline]
    fn integer(&mut self, value: u64) {
        self.put(itoa::Buffer::new().format(value));
    }

    #[inline]
    fn signed(&mut self, value: i64) {
        self.put(itoa::Buffer::new().format(value));
    }

    #[inline]
    fn real(&mut self, value: f64) {
        if value.is_finite() {
            self.put(zmij::Buffer::new().format_finite(value));
        } else {
            self.empty();
        }
    }

    #[inline]
    fn seconds(&mut self, value: SimTime) {
        self.put(value.write_decimal(&mut [0; SimTime::DECIMAL_LEN]));
    }

    #[inline]
    fn word(&mut self, value: &str) {
        if value.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
            self.quoted(value);
        } else {
            self.put(value);
        }
    }

    #[inline]
    fn empty(&mut self) {
        self.buffer.push(b',');
    }
}

impl Line<'_> {
    /// A word that isn't one. A line break becomes a space, so that a line stays a row.
    #[cold]
    fn quoted(&mut self, value: &str) {
        self.buffer.push(b'"');
        for byte in value.bytes() {
            match byte {
                b'"' => self.buffer.extend_from_slice(b"\"\""),
                b'\n' | b'\r' => self.buffer.push(b' '),
                other => self.buffer.push(other),
            }
        }
        self.buffer.extend_from_slice(b"\",");
    }
}

/// Takes cells apart, as [`Line`] writes them.
struct Cells {
    buffer: Vec<u8>,
    cells: Vec<String>,
}

impl Cells {
    fn take(&mut self, write: impl FnOnce(&mut Line<'_>)) {
        self.buffer.clear();
        write(&mut Line { buffer: &mut self.buffer });
        let text = self.buffer.strip_suffix(b",").unwrap_or(&self.buffer);
        self.cells.push(String::from_utf8_lossy(text).into_owned());
    }
}

impl CellVisitor for Cells {
    fn integer(&mut self, value: u64) {
        self.take(|line| line.integer(value));
    }

    fn signed(&mut self, value: i64) {
        self.take(|line| line.signed(value));
    }

    fn real(&mut self, value: f64) {
        self.take(|line| line.real(value));
    }

    fn seconds(&mut self, value: SimTime) {
        self.take(|line| line.seconds(value));
    }

    fn word(&mut self, value: &str) {
        self.take(|line| line.word(value));
    }

    fn empty(&mut self) {
        self.take(|line| line.empty());
    }
}

//! A checkpoint: named tensors that lie in one or several files, read by rows.
//!
//! Nothing is taken on trust: each tensor is asked for by its Hugging Face name
//! and shape, its numbers must be finite, and a tensor that nobody asked for is an
//! error, because a bias or a layer that is silently left out gives a model that
//! runs and is wrong. A file on disk is never held in memory: what is read are the
//! rows that are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

pub(super) use super::stored_type::StoredType;
use super::weights::{WeightsError, WeightsProblem};

/// What is read of safetensors files.
const READ_TYPES: &str = "F32, F16, BF16";

/// Where one tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorEntry {
    /// Index of its file.
    pub file: usize,
    /// How its values are stored.
    pub stored: StoredType,
    /// Outermost dimension first, as Hugging Face has it: \[out × in\].
    pub shape: Vec<usize>,
    /// First byte, from the start of the file.
    pub offset: u64,
    /// Number of bytes; the source holds them all.
    pub bytes: u64,
}

/// A tensor of a type that isn't read: an obstacle only if it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForeignTensor {
    /// Index of its file.
    pub file: usize,
    /// Its type, as the file calls it.
    pub dtype: String,
}

/// The bytes of a checkpoint file.
#[derive(Debug)]
pub(super) enum Source<'a> {
    /// The model inside the program, and tests.
    Memory(&'a [u8]),
    /// On disk.
    File(File),
}

impl Source<'_> {
    /// Number of bytes.
    pub(super) fn len(&self) -> io::Result<u64> {
        match self {
            Self::Memory(bytes) => Ok(bytes.len() as u64),
            Self::File(file) => Ok(file.metadata()?.len()),
        }
    }

    /// Reads `count` bytes from `offset` on into `bytes`, which is cleared first.
    ///
    /// # Errors
    /// The system's, or that the source ends before; then nothing more was allocated than it holds.
    pub(super) fn read_at(&self, offset: u64, count: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clear();
        let end = offset.checked_add(count).filter(|&end| self.len().is_ok_and(|len| end <= len));
        let Some(end) = end else {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than when it was opened"));
        };
        match self {
            Self::Memory(all) => bytes.extend_from_slice(&all[offset as usize..end as usize]),
            Self::File(file) => {
                let mut file = file;
                bytes.reserve_exact(count as usize);
                file.seek(SeekFrom::Start(offset))?;
                file.take(count).read_to_end(bytes)?;
                if bytes.len() as u64 != count {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        Ok(())
    }

    fn hash(&self, hasher: &mut blake3::Hasher) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => hasher.update(bytes),
            Self::File(file) => {
                let mut file = file;
                file.seek(SeekFrom::Start(0))?;
                hasher.update_reader(file)?
            }
        };
        Ok(())
    }
}

/// The tensors of a model, handed out one by one.
#[derive(Debug)]
pub(super) struct Checkpoint<'a> {
    /// What stands for the whole in errors: the file, or the index of the shards.
    name: String,
    /// Where the configuration stands, for errors.
    config: &'static str,
    files: Vec<(String, Source<'a>)>,
    tensors: BTreeMap<String, TensorEntry>,
    foreign: BTreeMap<String, ForeignTensor>,
    taken: BTreeSet<String>,
}

impl<'a> Checkpoint<'a> {
    /// The name beside each source stands for it in errors. Entries must lie inside their source.
    pub(super) fn new(files: Vec<(String, Source<'a>)>, tensors: BTreeMap<String, TensorEntry>) -> Self {
        let name = files.first().map(|(name, _)| name.clone()).unwrap_or_default();
        Self { name, config: "config.json", files, tensors, foreign: BTreeMap::new(), taken: BTreeSet::new() }
    }

    /// Says what stands for the whole in errors; otherwise it is the first file.
    pub(super) fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// Says where the configuration stands; otherwise it is config.json.
    pub(super) fn described_by(self, config: &'static str) -> Self {
        Self { config, ..self }
    }

    /// Adds the tensors that cannot be read; a name of theirs must not be among the others.
    pub(super) fn with_foreign(self, foreign: BTreeMap<String, ForeignTensor>) -> Self {
        Self { foreign, ..self }
    }

    /// Name, shape and element type of each tensor that can be read, in the order of names.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &[usize], StoredType)> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice(), entry.stored))
    }

    /// Whether there is a tensor of that name, of whatever type.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name) || self.foreign.contains_key(name)
    }

    /// How tensor `name` is stored.
    ///
    /// # Errors
    /// If there is none, or its type isn't read.
    pub(super) fn stored_type(&self, name: &str) -> Result<StoredType, WeightsError> {
        self.entry(name).map(|entry| entry.stored)
    }

    /// The values of tensor `name`, which must be a vector of `len`.
    ///
    /// # Errors
    /// [`WeightsError`] if there is no such vector of finite numbers.
    pub(super) fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, WeightsError> {
        self.floats(name, &[len])
    }

    /// The values of tensor `name`, which must have `shape`, row-major.
    ///
    /// # Errors
    /// [`WeightsError`] if there is no such tensor of finite numbers.
    pub(super) fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let bytes = self.whole(name, shape)?;
        let entry = self.entry(name)?;
        entry.stored.to_f32(&bytes).ok_or_else(|| {
            let (dtype, supported) = (entry.stored.to_string(), "F32, F16, BF16 and Q8_0 for vectors");
            self.error(entry.file, WeightsProblem::Dtype { name: name.to_owned(), dtype, supported })
        })
    }

    /// The little-endian bytes of tensor `name`, which must have `shape`.
    ///
    /// # Errors
    /// As [`Checkpoint::read_rows`].
    pub(super) fn whole(&mut self, name: &str, shape: &[usize]) -> Result<Vec<u8>, WeightsError> {
        let mut bytes = Vec::new();
        let (columns, rows) = shape.split_last().map_or((1, &[][..]), |(columns, rows)| (*columns, rows));
        self.read(name, shape, columns, 0..rows.iter().product(), &mut bytes)?;
        Ok(bytes)
    }

    /// The little-endian bytes of rows `rows` of matrix `name`, which must have `shape`
    /// \[out × in\], into `bytes`, which is cleared first. Rows beyond the matrix are left out.
    ///
    /// # Errors
    /// [`WeightsError`] if there is no such matrix, it cannot be read, or a value (of a
    /// quantised type: a scale) isn't finite.
    pub(super) fn read_rows(
        &mut self,
        name: &str,
        shape: [usize; 2],
        rows: Range<usize>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), WeightsError> {
        let end = rows.end.min(shape[0]);
        self.read(name, &shape, shape[1], rows.start.min(end)..end, bytes)
    }

    /// Whether two tensors have the same shape, type and bytes. Neither counts as asked for.
    ///
    /// # Errors
    /// [`WeightsError`] if one isn't there or cannot be read.
    pub(super) fn equal(&self, one: &str, other: &str) -> Result<bool, WeightsError> {
        const AT_ONCE: u64 = 1 << 20;
        let (one, other) = (self.entry(one)?, self.entry(other)?);
        if (&one.shape, one.stored) != (&other.shape, other.stored) {
            return Ok(false);
        }
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let mut from = 0;
        while from < one.bytes {
            let count = AT_ONCE.min(one.bytes - from);
            self.read_at(one, from, count, &mut a)?;
            self.read_at(other, from, count, &mut b)?;
            if a != b {
                return Ok(false);
            }
            from += count;
        }
        Ok(true)
    }

    /// Ends the reading: everything in the files must have been asked for.
    /// `ignored` says which names a complete model may leave alone.
    ///
    /// # Errors
    /// [`WeightsProblem::Unexpected`] if there are other tensors.
    pub(super) fn finish(&self, ignored: impl Fn(&str) -> bool) -> Result<(), WeightsError> {
        let names: BTreeSet<&String> = self.tensors.keys().chain(self.foreign.keys()).collect();
        let mut rest = names.into_iter().filter(|name| !self.taken.contains(*name) && !ignored(name));
        match rest.next() {
            None => Ok(()),
            Some(first) => {
                let problem =
                    WeightsProblem::Unexpected { first: first.clone(), count: 1 + rest.count(), config: self.config };
                Err(WeightsError { file: self.name.clone(), problem })
            }
        }
    }

    /// Feeds all bytes of all files, headers included, into `hasher`, in the order of the
    /// files. Of several, the length goes in front of each.
    ///
    /// # Errors
    /// [`WeightsProblem::Unreadable`].
    pub(super) fn hash(&self, hasher: &mut blake3::Hasher) -> Result<(), WeightsError> {
        for (index, (_, source)) in self.files.iter().enumerate() {
            if self.files.len() > 1 {
                let len = source.len().map_err(|error| self.unreadable(index, &error))?;
                hasher.update(&len.to_le_bytes());
            }
            source.hash(hasher).map_err(|error| self.unreadable(index, &error))?;
        }
        Ok(())
    }

    /// Rows of `columns` values each of a tensor of `shape`.
    fn read(
        &mut self,
        name: &str,
        shape: &[usize],
        columns: usize,
        rows: Range<usize>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), WeightsError> {
        let entry = self.entry(name)?;
        let error = |problem| self.error(entry.file, problem);
        if entry.shape != shape {
            let (found, expected) = (entry.shape.clone(), shape.to_vec());
            return Err(error(WeightsProblem::Shape { name: name.to_owned(), found, expected, config: self.config }));
        }
        let Some(row_bytes) = entry.stored.bytes_of(columns) else {
            let (stored, block) = (entry.stored.name(), entry.stored.block().0);
            return Err(error(WeightsProblem::Blocks { name: name.to_owned(), columns, stored, block }));
        };
        let (from, count) = ((rows.start * row_bytes) as u64, (rows.len() * row_bytes) as u64);
        self.read_at(entry, from, count, bytes)?;
        if let Some((index, value)) = entry.stored.first_not_finite(bytes) {
            let index = rows.start * columns + index;
            return Err(error(WeightsProblem::NotFinite { name: name.to_owned(), index, value }));
        }
        self.taken.insert(name.to_owned());
        Ok(())
    }

    fn read_at(&self, entry: &TensorEntry, from: u64, count: u64, bytes: &mut Vec<u8>) -> Result<(), WeightsError> {
        let result = match self.files.get(entry.file) {
            Some((_, source)) => source.read_at(entry.offset.saturating_add(from), count, bytes),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        result.map_err(|error| self.unreadable(entry.file, &error))
    }

    fn entry(&self, name: &str) -> Result<&TensorEntry, WeightsError> {
        match (self.tensors.get(name), self.foreign.get(name)) {
            (Some(entry), _) => Ok(entry),
            (None, Some(ForeignTensor { file, dtype })) => {
                let (name, dtype) = (name.to_owned(), dtype.clone());
                Err(self.error(*file, WeightsProblem::Dtype { name, dtype, supported: READ_TYPES }))
            }
            (None, None) => {
                let problem = WeightsProblem::Missing { name: name.to_owned(), config: self.config };
                Err(WeightsError { file: self.name.clone(), problem })
            }
        }
    }

    fn unreadable(&self, file: usize, error: &io::Error) -> WeightsError {
        self.error(file, WeightsProblem::Unreadable(error.to_string()))
    }

    fn error(&self, file: usize, problem: WeightsProblem) -> WeightsError {
        let name = self.files.get(file).map_or(&self.name, |(name, _)| name);
        WeightsError { file: name.clone(), problem }
    }
}

//! The headers of safetensors files, and the index of a checkpoint in shards.
//!
//! A file is the length N of a header (8 bytes, little-endian), N bytes of JSON
//! (`"name": { "dtype", "shape", "data_offsets": [begin, end] }`), and the tensors'
//! bytes without gaps (<https://huggingface.co/docs/safetensors>). Only the header is
//! read into memory. The crate of that name wants the whole file in memory, takes the
//! last of two equal names, and rejects files for types of tensors that nobody needs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::checkpoint::{Checkpoint, ForeignTensor, Source, TensorEntry};
use super::stored_type::StoredType;
use super::weights::{WeightsError, WeightsProblem};

/// Longest header, and longest index: the format's own limit.
const MAX_HEADER: u64 = 100_000_000;
/// Most dimensions of a tensor; models have one or two.
const MAX_RANK: usize = 8;
/// Longest name of a tensor.
const MAX_NAME: usize = 1000;

/// The checkpoint in one file; `name` stands for it in errors.
///
/// # Errors
/// [`WeightsError`] if it isn't a complete safetensors file.
pub(super) fn single<'a>(name: &str, source: Source<'a>) -> Result<Checkpoint<'a>, WeightsError> {
    let mut tensors = Tensors::default();
    tensors.add_file(name, &source)?;
    Ok(Checkpoint::new(vec![(name.to_owned(), source)], tensors.entries).with_foreign(tensors.foreign))
}

/// The checkpoint whose shards stand beside the index file (`model.safetensors.index.json`).
///
/// # Errors
/// [`WeightsError`] if the index or a shard is damaged or missing, or two shards hold one name.
pub(super) fn sharded(index: &Path) -> Result<Checkpoint<'static>, WeightsError> {
    let index_name = index.display().to_string();
    let in_index = |problem| WeightsError { file: index_name.clone(), problem };
    let text = read_index(index).map_err(|error| in_index(WeightsProblem::Unreadable(error.to_string())))?;
    let parsed: Result<Index, _> = serde_json::from_slice(&text);
    let weight_map = parsed.map_err(|error| in_index(WeightsProblem::Index(error.to_string())))?.weight_map.0;

    let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, shard) in &weight_map {
        // A name and no path: an index from elsewhere must not open other files.
        if shard.is_empty() || shard.starts_with('.') || shard.contains(['/', '\\', ':', '\0']) {
            let reason = format!("`{tensor}` is said to be in {shard:?}, which is not the name of a file beside it");
            return Err(in_index(WeightsProblem::Index(reason)));
        }
        shards.entry(shard).or_default().push(tensor);
    }
    let directory = index.parent().unwrap_or(Path::new(""));
    let (mut tensors, mut files) = (Tensors::default(), Vec::new());
    for (shard, promised) in shards {
        let path = directory.join(shard);
        let name = path.display().to_string();
        let in_shard = |problem| WeightsError { file: name.clone(), problem };
        let source = match File::open(&path) {
            Ok(file) => Source::File(file),
            Err(error) => {
                let (reason, index) = (error.to_string(), index_name.clone());
                return Err(in_shard(WeightsProblem::Shard { reason, index }));
            }
        };
        let file = tensors.add_file(&name, &source)?;
        if let Some(tensor) = promised.into_iter().find(|tensor| tensors.file_of(tensor) != Some(file)) {
            return Err(in_shard(WeightsProblem::NotInShard(tensor.to_owned())));
        }
        files.push((name, source));
    }
    Ok(Checkpoint::new(files, tensors.entries).with_foreign(tensors.foreign).named(index_name))
}

fn read_index(path: &Path) -> io::Result<Vec<u8>> {
    let source = Source::File(File::open(path)?);
    let len = source.len()?;
    if len > MAX_HEADER {
        return Err(io::Error::other(format!("it has {len} bytes, more than the {MAX_HEADER} of the longest index")));
    }
    let mut text = Vec::new();
    source.read_at(0, len, &mut text)?;
    Ok(text)
}

/// The tensors of the files so far.
#[derive(Default)]
struct Tensors {
    files: Vec<String>,
    entries: BTreeMap<String, TensorEntry>,
    foreign: BTreeMap<String, ForeignTensor>,
}

impl Tensors {
    fn file_of(&self, tensor: &str) -> Option<usize> {
        let entry = self.entries.get(tensor).map(|entry| entry.file);
        entry.or_else(|| self.foreign.get(tensor).map(|foreign| foreign.file))
    }

    /// Takes over the tensors of one more file, and gives its index.
    fn add_file(&mut self, file_name: &str, source: &Source) -> Result<usize, WeightsError> {
        let error = |problem| WeightsError { file: file_name.to_owned(), problem };
        let unreadable = |e: io::Error| error(WeightsProblem::Unreadable(e.to_string()));
        let len = source.len().map_err(unreadable)?;
        let malformed = |reason| error(WeightsProblem::Malformed { bytes: len as usize, reason });
        let Some(behind_length) = len.checked_sub(8) else {
            return Err(malformed("it ends inside the length of its header".to_owned()));
        };
        let mut bytes = Vec::new();
        source.read_at(0, 8, &mut bytes).map_err(unreadable)?;
        let header_bytes = bytes.first_chunk().copied().map_or(0, u64::from_le_bytes);
        if header_bytes > MAX_HEADER.min(behind_length) {
            let reason = format!(
                "its header claims {header_bytes} bytes, but {behind_length} follow, and {MAX_HEADER} are the most"
            );
            return Err(malformed(reason));
        }
        source.read_at(8, header_bytes, &mut bytes).map_err(unreadable)?;
        let header: Result<Unique<Info>, _> = serde_json::from_slice(&bytes);
        let header = header.map_err(|e| malformed(format!("its header is damaged: {e}")))?.0;
        check_places(&header, 8 + header_bytes, len).map_err(malformed)?;

        let file = self.files.len();
        for (name, info) in header {
            if let Some(other) = self.file_of(&name).and_then(|other| self.files.get(other)) {
                return Err(error(WeightsProblem::Twice { name, other: other.clone() }));
            }
            let Some(stored) = stored_type(&info.dtype) else {
                self.foreign.insert(name, ForeignTensor { file, dtype: info.dtype });
                continue;
            };
            let (begin, end) = info.data_offsets;
            let entry =
                TensorEntry { file, stored, shape: info.shape.0, offset: 8 + header_bytes + begin, bytes: end - begin };
            let taken = elements(&entry.shape).and_then(|elements| stored.bytes_of(elements));
            if taken.map(|bytes| bytes as u64) != Some(entry.bytes) {
                let TensorEntry { shape, bytes, .. } = entry;
                return Err(malformed(format!(
                    "tensor `{name}` of shape {shape:?} in {stored} cannot have {bytes} bytes"
                )));
            }
            self.entries.insert(name, entry);
        }
        self.files.push(file_name.to_owned());
        Ok(file)
    }
}

/// Tensors must fill the file from `start`, behind the header, to its end `len` without
/// gap or overlap. Offsets in messages count from the start of the file, as `len` does.
fn check_places(header: &BTreeMap<String, Info>, start: u64, len: u64) -> Result<(), String> {
    let in_file = |offset: u64| start.saturating_add(offset);
    let mut places: Vec<(u64, u64, &str)> = header
        .iter()
        .map(|(name, info)| (in_file(info.data_offsets.0), in_file(info.data_offsets.1), name.as_str()))
        .collect();
    places.sort_unstable();
    let (mut filled, mut last) = (start, "");
    for (begin, end, name) in places {
        if end < begin || end > len {
            return Err(format!("tensor `{name}` lies at bytes {begin}..{end} of the file"));
        }
        if begin < filled {
            return Err(format!("tensors `{last}` and `{name}` overlap"));
        }
        if begin > filled {
            return Err(format!("bytes {filled}..{begin} of the file, in front of tensor `{name}`, belong to none"));
        }
        (filled, last) = (end, name);
    }
    if filled < len {
        return Err(format!("bytes {filled}..{len} of the file, behind the last tensor, belong to none"));
    }
    Ok(())
}

fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &dimension| product.checked_mul(dimension))
}

fn stored_type(dtype: &str) -> Option<StoredType> {
    match dtype {
        "F32" => Some(StoredType::F32),
        "F16" => Some(StoredType::F16),
        "BF16" => Some(StoredType::BF16),
        _ => None,
    }
}

/// What a header says of a tensor; offsets count from the end of the header.
#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Dimensions,
    data_offsets: (u64, u64),
}

#[derive(Deserialize)]
struct Index {
    weight_map: Unique<String>,
}

/// A JSON object without equal keys; its entry `__metadata__` is free text and left out.
struct Unique<V>(BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = Unique<V>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with the names of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<V>, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if name.len() > MAX_NAME {
                        return Err(A::Error::custom(format_args!("a name has {} bytes", name.len())));
                    }
                    if entries.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("tensor `{name}` appears twice")));
                    }
                    entries.insert(name, map.next_value()?);
                }
                Ok(Unique(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// A shape of few dimensions: a list of zeros must not take eight times its length.
struct Dimensions(Vec<usize>);

impl<'de> Deserialize<'de> for Dimensions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Dimensions;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "a shape of at most {MAX_RANK} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Dimensions, A::Error> {
                let mut shape = Vec::new();
                while let Some(dimension) = list.next_element()? {
                    if shape.len() == MAX_RANK {
                        return Err(A::Error::invalid_length(MAX_RANK + 1, &self));
                    }
                    shape.push(dimension);
                }
                Ok(Dimensions(shape))
            }
        }

        deserializer.deserialize_seq(List)
    }
}

//! A GGUF file: configuration, tensors and tokenizer in one.
//!
//! The header is read as a stream and checked against the file's length before
//! anything is believed: every tensor must lie inside the file, be aligned, have a
//! shape that fills it, and share no byte with another. Tensors keep the names of
//! their Hugging Face counterparts from here on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::checkpoint::{Checkpoint, Source, TensorEntry};
use super::config::{DecoderConfig, RopeScaling};
use super::error::LoadError;
use super::gguf_error::{GgufError, GgufProblem};
use super::gguf_metadata::Metadata;
use super::gguf_names::{ROPE_FACTORS, hugging_face_name, type_name};
use super::gguf_reader::{HeaderReader, damaged};
use super::gguf_tokenizer;
use super::stored_type::StoredType;
use super::tokenizer::Tokenizer;

/// Bytes of the shortest metadata pair (key of one letter, a flag) and of the shortest
/// tensor record (name of one letter, one dimension).
const SHORTEST_PAIR: u64 = 8 + 1 + 4 + 1;
const SHORTEST_TENSOR: u64 = 8 + 1 + 4 + 8 + 4 + 8;
/// `GGML_MAX_DIMS`.
const MOST_DIMENSIONS: u32 = 4;
/// Coarsest alignment of data; 32 is usual.
const COARSEST_ALIGNMENT: u64 = 1 << 16;

/// An opened GGUF file.
#[derive(Debug)]
pub(super) struct GgufFile<'a> {
    pub config: DecoderConfig,
    pub checkpoint: Checkpoint<'a>,
    metadata: Metadata,
    place: String,
}

/// Opens the file at `path`; its tensors stay on disk.
pub(super) fn open(path: &Path) -> Result<GgufFile<'static>, LoadError> {
    let place = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        let problem = GgufProblem::Unreadable(error.to_string());
        GgufError { file: path.display().to_string(), problem }
    };
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let header =
        Header::read(BufReader::new(&file), length).map_err(|problem| GgufError { file: place.clone(), problem })?;
    GgufFile::new(place, header, Source::File(file))
}

/// Reads a file whose bytes are in memory; `place` names it in errors.
pub(super) fn from_bytes<'a>(place: &str, bytes: &'a [u8]) -> Result<GgufFile<'a>, LoadError> {
    let place = place.to_owned();
    let header =
        Header::read(bytes, bytes.len() as u64).map_err(|problem| GgufError { file: place.clone(), problem })?;
    GgufFile::new(place, header, Source::Memory(bytes))
}

impl<'a> GgufFile<'a> {
    fn new(place: String, header: Header, source: Source<'a>) -> Result<Self, LoadError> {
        let Header { metadata, tensors } = header;
        let refused = |problem| GgufError { file: place.clone(), problem };
        let mut config = metadata.config(&tensors).map_err(refused)?;
        let checkpoint = Checkpoint::new(vec![(place.clone(), source)], tensors);
        let mut checkpoint = checkpoint.described_by("the file's metadata");
        if checkpoint.has(ROPE_FACTORS) {
            if config.rope_scaling != RopeScaling::None {
                let key = format!("{}.rope.scaling.factor", metadata.architecture());
                let supported = format!("1 when there is a tensor `{ROPE_FACTORS}`");
                let value = format!("{:?}", config.rope_scaling);
                return Err(refused(GgufProblem::Unsupported { key, value, supported }).into());
            }
            let factors = checkpoint.vector(ROPE_FACTORS, config.head_dim / 2)?;
            if let Some(factor) = factors.iter().find(|factor| **factor <= 0.0) {
                let (value, allowed) = (factor.to_string(), "numbers above 0".to_owned());
                return Err(refused(GgufProblem::OutOfRange { key: ROPE_FACTORS.to_owned(), value, allowed }).into());
            }
            config.rope_scaling = RopeScaling::Factors(factors.into_iter().map(f64::from).collect());
        }
        Ok(Self { config, checkpoint, metadata, place })
    }

    /// BLAKE3 of the whole file, in hexadecimal.
    pub(super) fn content_hash(&self) -> Result<String, LoadError> {
        let mut hasher = blake3::Hasher::new();
        self.checkpoint.hash(&mut hasher)?;
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// The tokenizer in the file; `content_hash` is the file's.
    pub(super) fn tokenizer(&self, content_hash: &str) -> Result<Tokenizer, LoadError> {
        let place = self.place.clone();
        let built = gguf_tokenizer::build(&self.metadata, self.config.vocab).map_err(|problem| match problem {
            GgufProblem::Missing(key) => LoadError::NoTokenizer { place, missing: format!("metadata key `{key}`") },
            problem => GgufError { file: place, problem }.into(),
        })?;
        Ok(Tokenizer::from_parts(self.place.clone(), built, content_hash.to_owned()))
    }
}

/// All that is in front of the data.
struct Header {
    metadata: Metadata,
    /// By Hugging Face names.
    tensors: BTreeMap<String, TensorEntry>,
}

impl Header {
    fn read(input: impl Read, length: u64) -> Result<Self, GgufProblem> {
        let mut reader = HeaderReader::new(input, length);
        let magic = reader.bytes()?;
        if magic != *b"GGUF" {
            return Err(GgufProblem::Magic(magic));
        }
        let version = reader.u32()?;
        if !matches!(version, 2 | 3) {
            return Err(GgufProblem::Version(version));
        }
        let tensor_count = reader.count("the number of tensors", SHORTEST_TENSOR)?;
        let pair_count = reader.count("the number of metadata pairs", SHORTEST_PAIR)?;
        let mut pairs = BTreeMap::new();
        for index in 0..pair_count {
            reader.enter(format!("metadata pair {index} of {pair_count}"));
            let key = reader.name("a metadata key")?;
            let value = reader.value(&key)?;
            if pairs.insert(key.clone(), value).is_some() {
                return Err(GgufProblem::Twice(format!("metadata key `{key}`")));
            }
        }
        let metadata = Metadata::new(pairs)?;
        let mut records = Vec::new();
        for index in 0..tensor_count {
            reader.enter(format!("the record of tensor {index} of {tensor_count}"));
            records.push(Record::read(&mut reader)?);
        }
        let tensors = place(records, &metadata, reader.position(), length)?;
        Ok(Self { metadata, tensors })
    }
}

/// What the header says of a tensor.
struct Record {
    name: String,
    stored: StoredType,
    shape: Vec<usize>,
    /// From the start of the data.
    offset: u64,
    bytes: u64,
}

impl Record {
    fn read(reader: &mut HeaderReader<impl Read>) -> Result<Self, GgufProblem> {
        let name = reader.name("a tensor's name")?;
        let dimensions = reader.u32()?;
        if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
            let what = format!("the number of dimensions of `{name}`");
            return Err(damaged(&what, dimensions, format!("from 1 to {MOST_DIMENSIONS}")));
        }
        // Innermost first in the file.
        let mut sizes = Vec::new();
        for _ in 0..dimensions {
            sizes.push(reader.u64()?);
        }
        let kind = reader.u32()?;
        let Some(stored) = stored_type(kind) else {
            return Err(GgufProblem::TensorType { name, stored: type_name(kind) });
        };
        let offset = reader.u64()?;
        let (elements_per_block, bytes_per_block) = stored.block();
        let (per_block, block_bytes) = (elements_per_block as u64, bytes_per_block as u64);
        let row = sizes.first().copied().unwrap_or(0);
        if row == 0 || row % per_block != 0 {
            let what = format!("the length of a row of `{name}`");
            return Err(damaged(&what, row, format!("a multiple of {per_block}, and not 0")));
        }
        let bytes = sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(size));
        let bytes = bytes.and_then(|elements| (elements / per_block).checked_mul(block_bytes));
        let Some(bytes) = bytes.filter(|&bytes| bytes > 0) else {
            let allowed = "sizes above 0 of fewer than 2^64 bytes in all";
            return Err(damaged(&format!("the shape of `{name}`"), format!("{sizes:?}"), allowed));
        };
        let shape = sizes.iter().rev().map(|&size| size as usize).collect();
        Ok(Self { name, stored, shape, offset, bytes })
    }
}

/// Finds each record's place in the file: inside, aligned, and nowhere on another's.
fn place(
    records: Vec<Record>,
    metadata: &Metadata,
    header_end: u64,
    length: u64,
) -> Result<BTreeMap<String, TensorEntry>, GgufProblem> {
    let key = "general.alignment";
    let alignment = match metadata.get(key) {
        None => 32,
        Some(value) => match value.unsigned() {
            Some(n) if n.is_power_of_two() && n <= COARSEST_ALIGNMENT => n,
            _ => return Err(damaged(key, value.shown(), format!("a power of 2 up to {COARSEST_ALIGNMENT}"))),
        },
    };
    let start = header_end.next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    let mut places = Vec::new();
    for record in records {
        let Record { name, stored, shape, offset, bytes } = record;
        if offset % alignment != 0 {
            let allowed = format!("a multiple of `{key}` = {alignment}");
            return Err(damaged(&format!("the offset of `{name}`"), offset, allowed));
        }
        let absolute = start.checked_add(offset);
        let Some(offset) = absolute.filter(|at| at.checked_add(bytes).is_some_and(|end| end <= length)) else {
            return Err(GgufProblem::Truncated { part: format!("tensor `{name}`"), length });
        };
        let Some(known_as) = hugging_face_name(&name) else {
            return Err(GgufProblem::Foreign { name, architecture: metadata.architecture().to_owned() });
        };
        if tensors.insert(known_as, TensorEntry { file: 0, stored, shape, offset, bytes }).is_some() {
            return Err(GgufProblem::Twice(format!("tensor `{name}`")));
        }
        places.push((offset, bytes, name));
    }
    places.sort();
    for pair in places.windows(2) {
        if let [(offset, bytes, first), (next, _, second)] = pair
            && offset + bytes > *next
        {
            return Err(GgufProblem::Overlap { first: first.clone(), second: second.clone() });
        }
    }
    Ok(tensors)
}

/// Numbers as in `enum ggml_type`.
fn stored_type(kind: u32) -> Option<StoredType> {
    Some(match kind {
        0 => StoredType::F32,
        1 => StoredType::F16,
        8 => StoredType::Q8_0,
        12 => StoredType::Q4K,
        13 => StoredType::Q5K,
        14 => StoredType::Q6K,
        30 => StoredType::BF16,
        _ => return None,
    })
}

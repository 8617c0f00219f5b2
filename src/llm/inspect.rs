//! What a checkpoint holds, without building the model.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::bos::{self, Bos, BosRule};
use super::builtin;
use super::checkpoint::{Checkpoint, Source};
use super::config::DecoderConfig;
use super::directory;
use super::error::LoadError;
use super::gemm::PANEL;
use super::gguf::{self, GgufFile};
use super::gguf_names::ROPE_FACTORS;
use super::loaded;
use super::model;
use super::quantised::{self, ByteRow};
use super::safetensors_file;
use super::stored_type::StoredType;
use super::tokenizer::Tokenizer;
use super::weights::{WeightsError, WeightsProblem};

/// A model of which only descriptions have been read: configuration, headers, tokenizer.
#[derive(Debug)]
pub struct Inspection {
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    Files {
        config: DecoderConfig,
        config_text: Vec<u8>,
        checkpoint: Checkpoint<'static>,
        tokenizer: Box<Result<Tokenizer, LoadError>>,
        bos: Bos,
        /// `bos`, if config.json says otherwise.
        other_bos: Option<Bos>,
    },
    Gguf(GgufFile<'static>),
}

impl Origin {
    fn files(
        mut config: DecoderConfig,
        config_text: Vec<u8>,
        checkpoint: Checkpoint<'static>,
        tokenizer: Result<(Tokenizer, Bos), LoadError>,
    ) -> Self {
        let (tokenizer, bos) = match tokenizer {
            Ok((tokenizer, bos)) => (Ok(tokenizer), bos),
            Err(error) => (Err(error), bos::without_tokenizer(&config)),
        };
        let other_bos = bos.other_than(&config);
        config.bos_token = bos.token;
        Self::Files { config, config_text, checkpoint, tokenizer: Box::new(tokenizer), bos, other_bos }
    }
}

/// One tensor, as its file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name in Hugging Face's scheme.
    pub name: String,
    /// Outermost dimension first: \[out × in\].
    pub shape: Vec<usize>,
    /// Element type.
    pub stored: StoredType,
}

impl TensorInfo {
    /// Number of values.
    pub fn values(&self) -> u64 {
        self.shape.iter().fold(1, |product, &dimension| product.saturating_mul(dimension as u64))
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> u64 {
        let (elements, bytes) = self.stored.block();
        self.values() / elements as u64 * bytes as u64
    }
}

/// Extremes and root mean square of a tensor's values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueStatistics {
    /// The smallest.
    pub min: f32,
    /// The largest.
    pub max: f32,
    /// `√(mean(w²))`.
    pub rms: f64,
}

impl Inspection {
    /// Opens what [`super::LoadedModel::open`] opens, with or without a tokenizer.
    ///
    /// # Errors
    /// [`LoadError`] if a file is missing, its description damaged, or of a kind that isn't supported.
    pub fn open(source: &str) -> Result<Self, LoadError> {
        let path = Path::new(source);
        let origin = if let Some((config_text, weights)) = builtin::files(source) {
            let place = |file: &str| format!("{source}/{file}");
            let checkpoint = safetensors_file::single(&place("model.safetensors"), Source::Memory(weights))?;
            let config = DecoderConfig::from_json(&place("config.json"), config_text)?;
            let tokenizer = loaded::fitting_tokenizer(&place("tokenizer.json"), builtin::TOKENIZER, None, &config);
            Origin::files(config, config_text.to_vec(), checkpoint, tokenizer)
        } else if loaded::is_gguf(path) {
            Origin::Gguf(gguf::open(path)?)
        } else {
            let directory::Directory { config, config_text, checkpoint } = loaded::open_directory(path)?;
            let tokenizer = loaded::tokenizer_of(path, &config);
            Origin::files(config, config_text, checkpoint, tokenizer)
        };
        Ok(Self { origin })
    }

    /// What settled [`DecoderConfig::bos_token`]. Without a usable tokenizer it is config.json.
    pub fn bos_rule(&self) -> BosRule {
        match &self.origin {
            Origin::Files { bos, .. } => bos.rule,
            Origin::Gguf(_) => BosRule::Metadata,
        }
    }

    /// The model's configuration.
    pub fn config(&self) -> &DecoderConfig {
        match &self.origin {
            Origin::Files { config, .. } | Origin::Gguf(GgufFile { config, .. }) => config,
        }
    }

    fn checkpoint(&self) -> &Checkpoint<'static> {
        match &self.origin {
            Origin::Files { checkpoint, .. } | Origin::Gguf(GgufFile { checkpoint, .. }) => checkpoint,
        }
    }

    /// As [`super::LoadedModel::content_hash`]: reads all bytes, a few in memory at a time.
    ///
    /// # Errors
    /// [`LoadError::Weights`] if a file cannot be read.
    pub fn content_hash(&self) -> Result<String, LoadError> {
        match &self.origin {
            Origin::Files { config_text, checkpoint, other_bos, .. } => {
                loaded::content_hash(config_text, checkpoint, *other_bos)
            }
            Origin::Gguf(file) => file.content_hash(),
        }
    }

    /// The tokenizer; `content_hash` is that of the model, for a tokenizer in the same file.
    ///
    /// # Errors
    /// [`LoadError`] if there is none, it is damaged, or it isn't of this vocabulary.
    pub fn tokenizer(&self, content_hash: &str) -> Result<Tokenizer, LoadError> {
        match &self.origin {
            Origin::Files { tokenizer, .. } => tokenizer.as_ref().clone(),
            Origin::Gguf(file) => file.tokenizer(content_hash),
        }
    }

    /// Whether the head is the embedding: the configuration says so, and the checkpoint
    /// has no other.
    ///
    /// # Errors
    /// [`LoadError::Weights`] if a file cannot be read.
    pub fn tied_head(&self) -> Result<bool, LoadError> {
        let checkpoint = self.checkpoint();
        Ok(self.config().tied_head
            && (!checkpoint.has(model::HEAD) || checkpoint.equal(model::HEAD, model::EMBEDDING)?))
    }

    /// Number of weights, as [`super::Decoder::parameters`]: a head that is the embedding,
    /// and tables of rotary frequencies, are none.
    ///
    /// # Errors
    /// [`LoadError::Weights`] if a file cannot be read.
    pub fn parameters(&self) -> Result<u64, LoadError> {
        let tied = self.tied_head()?;
        let counts = |tensor: &&TensorInfo| {
            let is_frequencies = tensor.name.ends_with("rotary_emb.inv_freq") || tensor.name == ROPE_FACTORS;
            let is_embedding = tied && tensor.name == model::HEAD;
            !is_frequencies && !is_embedding
        };
        Ok(self.tensors().iter().filter(counts).map(TensorInfo::values).sum())
    }

    /// The tensors of supported types, in the order of their names, numbers by value.
    pub fn tensors(&self) -> Vec<TensorInfo> {
        let info = |(name, shape, stored): (&str, &[usize], StoredType)| {
            let (name, shape) = (name.to_owned(), shape.to_vec());
            TensorInfo { name, shape, stored }
        };
        let mut tensors: Vec<TensorInfo> = self.checkpoint().tensors().map(info).collect();
        let place = |part: &str| part.parse::<u64>().map_or((1, 0, part.to_owned()), |n| (0, n, String::new()));
        tensors.sort_by_cached_key(|tensor| tensor.name.split('.').map(place).collect::<Vec<_>>());
        tensors
    }

    /// Tensors, values and bytes of each element type, by its name.
    pub fn storage(&self) -> BTreeMap<&'static str, [u64; 3]> {
        let mut storage = BTreeMap::new();
        for tensor in self.tensors() {
            let [tensors, values, bytes] = storage.entry(tensor.stored.name()).or_insert([0; 3]);
            (*tensors, *values, *bytes) = (*tensors + 1, *values + tensor.values(), *bytes + tensor.bytes());
        }
        storage
    }

    /// Reads a tensor, a few rows in memory at a time. `None` for one without values.
    ///
    /// # Errors
    /// [`WeightsError`] if it cannot be read, a value isn't finite, or a dimension is
    /// missing: the tensors of these models are vectors and matrices.
    pub fn statistics(&mut self, tensor: &TensorInfo) -> Result<Option<ValueStatistics>, WeightsError> {
        let checkpoint = match &mut self.origin {
            Origin::Files { checkpoint, .. } | Origin::Gguf(GgufFile { checkpoint, .. }) => checkpoint,
        };
        if tensor.values() == 0 {
            // Any number of rows of width 0 takes no bytes.
            return Ok(None);
        }
        let mut sums = Sums::default();
        match *tensor.shape.as_slice() {
            [len] => sums.add(&checkpoint.vector(&tensor.name, len)?),
            [rows, columns] => {
                let mut bytes = Vec::new();
                for first in (0..rows).step_by(PANEL) {
                    let part = first..rows.min(first + PANEL);
                    checkpoint.read_rows(&tensor.name, [rows, columns], part.clone(), &mut bytes)?;
                    match tensor.stored.to_f32(&bytes) {
                        Some(values) => sums.add(&values),
                        None => add_k_quants(tensor.stored, &bytes, part.len(), &mut sums),
                    }
                }
            }
            _ => {
                let (name, found) = (tensor.name.clone(), tensor.shape.clone());
                let config = "a model of these families";
                let problem = WeightsProblem::Shape { name, found, expected: Vec::new(), config };
                return Err(WeightsError { file: String::new(), problem });
            }
        }
        Ok(sums.statistics())
    }
}

/// Adds the values of up to 32 rows of a K-quant, by the code that the model runs.
fn add_k_quants(stored: StoredType, bytes: &[u8], rows: usize, sums: &mut Sums) {
    let (elements, per_block) = stored.block();
    let dequantise = match stored {
        StoredType::Q4K => quantised::q4_k,
        StoredType::Q5K => quantised::q5_k,
        StoredType::Q6K => quantised::q6_k,
        StoredType::F32 | StoredType::F16 | StoredType::BF16 | StoredType::Q8_0 => return,
    };
    let row_bytes = bytes.len() / rows.max(1);
    let (mut block, mut wide) = (vec![ByteRow::default(); per_block], vec![[0.0; PANEL]; elements]);
    for start in (0..row_bytes).step_by(per_block) {
        for (lane, row) in bytes.chunks_exact(row_bytes).enumerate() {
            for (place, &byte) in block.iter_mut().zip(&row[start..]) {
                place[lane] = byte;
            }
        }
        dequantise(&block, &mut wide);
        for columns in &wide {
            sums.add(&columns[..rows]);
        }
    }
}

#[derive(Default)]
struct Sums {
    count: u64,
    range: Option<Range<f32>>,
    squares: f64,
}

impl Sums {
    fn add(&mut self, values: &[f32]) {
        let Some(&first) = values.first() else { return };
        let Range { start, end } = self.range.clone().unwrap_or(first..first);
        let extremes = values.iter().fold((start, end), |(min, max), &x| (min.min(x), max.max(x)));
        self.range = Some(extremes.0..extremes.1);
        self.squares += values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        self.count += values.len() as u64;
    }

    fn statistics(self) -> Option<ValueStatistics> {
        let Range { start, end } = self.range?;
        Some(ValueStatistics { min: start, max: end, rms: (self.squares / self.count as f64).sqrt() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_checkpoint_is_f16() {
        let mut inspection = Inspection::open(builtin::NAME).unwrap();
        assert_eq!((inspection.config().layers, inspection.config().vocab), (16, 2048));
        assert_eq!(inspection.storage(), BTreeMap::from([("F16", [146, 3_215_488, 6_430_976])]));
        let tensors = inspection.tensors();
        let embedding = &tensors[0];
        assert_eq!(
            (embedding.name.as_str(), &embedding.shape[..], embedding.bytes()),
            ("model.embed_tokens.weight", &[2048, 128][..], 2048 * 128 * 2)
        );
        for tensor in &tensors {
            let ValueStatistics { min, max, rms } = inspection.statistics(tensor).unwrap().unwrap();
            let largest = f64::from(max.max(-min));
            assert!(min < max && 0.0 < rms && rms < largest, "{}: {min} {max} {rms}", tensor.name);
        }
    }

    #[test]
    fn what_is_read_of_headers_is_what_the_loaded_model_has() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
        let mut seen = 0;
        for folder in ["families", "gguf"] {
            let entries = std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
            for path in entries.filter(|path| path.is_dir() || loaded::is_gguf(path)) {
                let inspection = Inspection::open(path.to_str().unwrap()).unwrap();
                let decoder = model::Decoder::open(&path).unwrap();
                assert_eq!(inspection.parameters().unwrap(), decoder.parameters(), "{}", path.display());
                assert_eq!(inspection.config(), decoder.config());
                seen += 1;
            }
        }
        assert!(seen >= 8, "{seen} models");
        let (builtin, model) = (Inspection::open(builtin::NAME).unwrap(), loaded::LoadedModel::builtin().unwrap());
        assert_eq!(builtin.content_hash().unwrap(), model.content_hash());
        assert_eq!(builtin.parameters().unwrap(), 3_215_488);
        let gguf = root.join("gguf/spm.gguf").display().to_string();
        let model = loaded::LoadedModel::open(&gguf).unwrap();
        let inspection = Inspection::open(&gguf).unwrap();
        let hash = inspection.content_hash().unwrap();
        assert_eq!(hash, model.content_hash());
        let tokenizer = inspection.tokenizer(&hash).unwrap();
        assert_eq!((tokenizer.vocab(), tokenizer.content_hash()), (model.tokenizer.vocab(), hash.as_str()));
    }

    #[test]
    fn sums_over_portions_are_those_of_all() {
        let mut sums = Sums::default();
        sums.add(&[3.0]);
        sums.add(&[]);
        sums.add(&[-1.0, 1.0, 5.0]);
        assert_eq!(sums.statistics(), Some(ValueStatistics { min: -1.0, max: 5.0, rms: 3.0 }));
        assert_eq!(Sums::default().statistics(), None);
    }

    #[test]
    fn k_quants_are_counted_row_by_row() {
        // Two rows of one Q6_K block each: all quants 0 stand for -32, scales 1, d = 0.5 and 0.25.
        let block = |d: f32| {
            let mut block = vec![0_u8; 192];
            block.extend([1; 16]);
            block.extend(half::f16::from_f32(d).to_le_bytes());
            block
        };
        let mut sums = Sums::default();
        add_k_quants(StoredType::Q6K, &[block(0.5), block(0.25)].concat(), 2, &mut sums);
        assert_eq!(sums.count, 512);
        let rms = 160.0_f64.sqrt(); // of (16² + 8²)/2
        assert_eq!(sums.statistics(), Some(ValueStatistics { min: -16.0, max: -8.0, rms }));
    }
}

//! A safetensors checkpoint: named tensors in, checked `f32` values out.
//!
//! Nothing is taken on trust: each tensor is asked for by its Hugging Face name
//! and shape, its numbers must be finite, and a tensor that nobody asked for is an
//! error, because a bias or a layer that is silently left out gives a model that
//! runs and is wrong.

use std::collections::BTreeSet;

use safetensors::{Dtype, SafeTensors};

/// A checkpoint that cannot be used: which file, and what about it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct WeightsError {
    /// The file, as the user named it.
    pub file: String,
    /// What is wrong.
    pub problem: WeightsProblem,
}

/// What is wrong with a checkpoint.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WeightsProblem {
    /// The bytes are no complete safetensors file.
    #[error("is not a complete safetensors file ({bytes} bytes): {reason}; fetch or copy it again")]
    Malformed {
        /// Length of what was read.
        bytes: usize,
        /// The parser's finding.
        reason: String,
    },
    /// A tensor that the configuration calls for isn't there.
    #[error("tensor `{0}` is missing; config.json and checkpoint must be of the same model")]
    Missing(String),
    /// A tensor has another shape than the configuration implies.
    #[error("tensor `{name}` has shape {found:?}, but config.json implies {expected:?}")]
    Shape {
        /// The tensor's name.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape from the configuration.
        expected: Vec<usize>,
    },
    /// A tensor is stored in a type that isn't read.
    #[error("tensor `{name}` is stored as {dtype}; supported: F32, F16, BF16")]
    Dtype {
        /// The tensor's name.
        name: String,
        /// Its element type in the file.
        dtype: String,
    },
    /// A weight is infinite or not a number.
    #[error("tensor `{name}` holds {value} at element {index}; weights must be finite, so the file is damaged")]
    NotFinite {
        /// The tensor's name.
        name: String,
        /// Row-major index of the first such element.
        index: usize,
        /// The value there.
        value: f32,
    },
    /// The file holds tensors that the configuration has no place for.
    #[error("tensor `{first}` has no place in a LLaMA of this config.json ({count} such in all)")]
    Unexpected {
        /// The first such name in alphabetical order.
        first: String,
        /// How many there are.
        count: usize,
    },
}

/// A safetensors file whose tensors are handed out one by one.
pub(super) struct Checkpoint<'a> {
    file: &'a str,
    tensors: SafeTensors<'a>,
    taken: BTreeSet<String>,
}

impl<'a> Checkpoint<'a> {
    /// Parses the header; `file` names the checkpoint in errors.
    pub(super) fn parse(file: &'a str, bytes: &'a [u8]) -> Result<Self, WeightsError> {
        match SafeTensors::deserialize(bytes) {
            Ok(tensors) => Ok(Self { file, tensors, taken: BTreeSet::new() }),
            Err(error) => Err(WeightsError {
                file: file.to_owned(),
                problem: WeightsProblem::Malformed { bytes: bytes.len(), reason: error.to_string() },
            }),
        }
    }

    /// The values of tensor `name`, row-major, which must have `shape`.
    pub(super) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let values = self.read(name, shape).map_err(|problem| self.error(problem))?;
        self.taken.insert(name.to_owned());
        Ok(values)
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsProblem> {
        let tensor = self.tensors.tensor(name).map_err(|_| WeightsProblem::Missing(name.to_owned()))?;
        if tensor.shape() != shape {
            return Err(WeightsProblem::Shape {
                name: name.to_owned(),
                found: tensor.shape().to_vec(),
                expected: shape.to_vec(),
            });
        }
        let values: Vec<f32> = match tensor.dtype() {
            Dtype::F32 => tensor.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Dtype::F16 => tensor.data().as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::BF16 => tensor.data().as_chunks().0.iter().map(|&b| half::bf16::from_le_bytes(b).to_f32()).collect(),
            other => return Err(WeightsProblem::Dtype { name: name.to_owned(), dtype: format!("{other:?}") }),
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(WeightsProblem::NotFinite { name: name.to_owned(), index, value: values[index] }),
            None => Ok(values),
        }
    }

    /// Ends the reading: everything in the file must have been asked for.
    /// `ignored` says which names a complete model may leave alone.
    pub(super) fn finish(self, ignored: impl Fn(&str) -> bool) -> Result<(), WeightsError> {
        let mut rest: Vec<&str> = self.tensors.names().into_iter().collect();
        rest.retain(|name| !self.taken.contains(*name) && !ignored(name));
        rest.sort_unstable();
        match rest.first() {
            None => Ok(()),
            Some(first) => {
                Err(self.error(WeightsProblem::Unexpected { first: (*first).to_owned(), count: rest.len() }))
            }
        }
    }

    fn error(&self, problem: WeightsProblem) -> WeightsError {
        WeightsError { file: self.file.to_owned(), problem }
    }
}

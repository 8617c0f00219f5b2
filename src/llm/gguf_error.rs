//! What can be wrong with a GGUF file.

/// A GGUF file that cannot be used: which file, and what about it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct GgufError {
    /// The file, as the user named it.
    pub file: String,
    /// What is wrong.
    pub problem: GgufProblem,
}

/// What is wrong with a GGUF file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GgufProblem {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The first four bytes are other ones.
    #[error("is not a GGUF file (it starts with {0:02x?}, not \"GGUF\")")]
    Magic([u8; 4]),
    /// A version of the format that isn't read.
    #[error("has version {0} of the GGUF format; supported: 2 and 3, little-endian; convert the model again")]
    Version(u32),
    /// The file ends inside its header.
    #[error("is not complete: its {length} bytes end inside {part}; fetch or copy it again")]
    Truncated {
        /// What was being read.
        part: String,
        /// The file's length.
        length: u64,
    },
    /// A number in the header that no file of this length can mean.
    #[error("is damaged: {what} is {value}, but must be {allowed}; fetch or copy it again")]
    Damaged {
        /// What the number counts or says.
        what: String,
        /// Its value.
        value: String,
        /// The allowed values, in words.
        allowed: String,
    },
    /// A metadata key or a tensor is there twice.
    #[error("is damaged: {0} is there twice; fetch or copy it again")]
    Twice(String),
    /// A metadata key that the model needs is absent.
    #[error("metadata key `{0}` is missing; a converted model has it")]
    Missing(String),
    /// A metadata value outside its range or of the wrong type.
    #[error("`{key}` = {value} is not allowed; it must be {allowed}")]
    OutOfRange {
        /// The metadata key.
        key: String,
        /// Its value.
        value: String,
        /// The allowed values, in words.
        allowed: String,
    },
    /// A metadata value that asks for what isn't implemented.
    #[error("`{key}` = {value} is not supported; supported: {supported}")]
    Unsupported {
        /// The metadata key.
        key: String,
        /// Its value.
        value: String,
        /// What this release can run.
        supported: String,
    },
    /// A tensor is stored in a type that isn't read.
    #[error("tensor `{name}` is stored as {stored}; supported: F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q4_K")]
    TensorType {
        /// The tensor's name in the file.
        name: String,
        /// Its element type.
        stored: String,
    },
    /// A tensor that a model of this architecture doesn't have.
    #[error("tensor `{name}` has no place in a model of architecture {architecture}")]
    Foreign {
        /// The tensor's name in the file.
        name: String,
        /// `general.architecture`.
        architecture: String,
    },
    /// Two tensors claim the same bytes.
    #[error("is damaged: tensors `{first}` and `{second}` overlap; fetch or copy it again")]
    Overlap {
        /// The one that starts first.
        first: String,
        /// The one that starts before that ends.
        second: String,
    },
    /// The lists of tokens don't make a tokenizer.
    #[error("its tokenizer cannot be built: {0}")]
    Tokenizer(String),
}

//! What can be wrong with a checkpoint's weights.

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
        /// The finding.
        reason: String,
    },
    /// The file was opened, but its bytes don't come.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The text of model.safetensors.index.json doesn't say where tensors are.
    #[error("is not an index of shards: {0}; fetch it again, it belongs to the checkpoint")]
    Index(String),
    /// A shard that the index calls for cannot be opened.
    #[error("cannot be read: {reason}; {index} calls for this shard, so it must be in the same directory")]
    Shard {
        /// The system's reason.
        reason: String,
        /// The index file.
        index: String,
    },
    /// The index promises a tensor that its shard doesn't hold.
    #[error("tensor `{0}` is not in this shard, though the index says so; all files must be of the same model")]
    NotInShard(String),
    /// Two shards hold tensors of one name.
    #[error("tensor `{name}` is in {other} too; one of the two shards is of another model")]
    Twice {
        /// The tensor's name.
        name: String,
        /// The other file.
        other: String,
    },
    /// A tensor that the configuration calls for isn't there.
    #[error("tensor `{name}` is missing, but {config} calls for it; fetch the model again")]
    Missing {
        /// The tensor's name.
        name: String,
        /// Where the configuration stands.
        config: &'static str,
    },
    /// A tensor has another shape than the configuration implies.
    #[error("tensor `{name}` has shape {found:?}, but {config} implies {expected:?}")]
    Shape {
        /// The tensor's name.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape from the configuration.
        expected: Vec<usize>,
        /// Where the configuration stands.
        config: &'static str,
    },
    /// A tensor is stored in a type that isn't read.
    #[error("tensor `{name}` is stored as {dtype}; supported: {supported}")]
    Dtype {
        /// The tensor's name.
        name: String,
        /// Its element type in the file.
        dtype: String,
        /// The types that are read.
        supported: &'static str,
    },
    /// The rows of a matrix don't consist of whole blocks of its type.
    #[error("tensor `{name}` has rows of {columns} values, but {stored} comes in blocks of {block}")]
    Blocks {
        /// The tensor's name.
        name: String,
        /// Width of a row.
        columns: usize,
        /// Its element type in the file.
        stored: &'static str,
        /// Elements of a block.
        block: usize,
    },
    /// A weight is infinite or not a number.
    #[error("tensor `{name}` holds {value} at element {index}; weights must be finite, so the file is damaged")]
    NotFinite {
        /// The tensor's name.
        name: String,
        /// Row-major index of the first such element; of a quantised block, its first element.
        index: usize,
        /// The value there; of a quantised block, its scale.
        value: f32,
    },
    /// The file holds tensors that the configuration has no place for.
    #[error("tensor `{first}` has no place in the model that {config} describes ({count} such in all)")]
    Unexpected {
        /// The first such name in alphabetical order.
        first: String,
        /// How many there are.
        count: usize,
        /// Where the configuration stands.
        config: &'static str,
    },
}

//! The language model: a LLaMA decoder that runs in any range of layers, so that
//! whatever a channel does to the tensor between two layers is felt by the rest of
//! the real model.
//!
//! # A guided tour
//!
//! ```text
//!  text ─ tokenizer ─ corpus ─ window of S tokens
//!                                   │ embed                 decoder (model.rs)
//!                                   ▼
//!                             hidden [S × d] ── layers 0..p   block.rs
//!                                   │                            ├ projection.rs   x·Wᵀ + b
//!                             the channel changes rows           │   └ packed.rs   weights as stored ─ gemm.rs
//!                                   │                            ├ attention.rs    over kv_cache.rs ─ gemm.rs
//!                                   ▼                            ├ rotary.rs       positions
//!                             hidden [S × d] ── layers p..L      └ elementwise.rs  norms, softmax, SwiGLU
//!                                   │ final norm, head
//!                                   ▼
//!                             logits [S × V] ── perplexity.rs: Σ -ln P, PPL = exp(Σ/N)
//! ```
//!
//! - **Loading** ([`LoadedModel`], [`Decoder::open`]): `directory.rs` (Hugging Face's layout,
//!   `safetensors_file.rs`, `config.rs`), `gguf.rs`, or the model compiled into the
//!   program ([`BUILTIN`]). Either gives a [`DecoderConfig`] and a `checkpoint.rs`, whose
//!   tensors are read by rows. Everything is checked; what isn't supported is refused by name.
//! - **Running** ([`Decoder`], [`Hidden`], [`KvCache`]): `run(run(h, 0..p), p..L)` has the
//!   bits of `run(h, 0..L)`, and so has `run_cached` in any portions. A decoder is immutable and
//!   shared between threads; its results don't depend on the thread or pool that asks. It
//!   starts no threads of its own.
//! - **Scoring** ([`Nll`], [`TeacherForced`]): eq. (6) in double precision.
//! - **Looking** ([`Inspection`], [`split_difference`], [`cache_difference`]): what a
//!   checkpoint holds, and whether the model in parts is the model at once.
//! - **Pruning** ([`Prunable`], [`DoubleDecoder`]): the gradient of the likelihood, and a smaller model by it.
//! - **Writing** ([`Sampling`], [`TextStream`]): the next token, and text as tokens come.
//! - **Leaving early** ([`ExitHead`], [`HeadLoss`]): an affine map behind a layer, so that the head can be asked without
//!   the layers after it; and how far its distributions are from the whole model's.
//! - **Prompts** ([`Corpus`]): any UTF-8 text, by windows of tokens or by sentences.
//! - **Costs** ([`CostModel`], [`Geometry`]): FLOP, bytes and payload of a split, for
//!   the model that runs or for a larger one that it stands for.
//!
//! Layers are counted from 0 in ranges; a split `p` is the number of layers in
//! front of the channel, 1 ≤ p ≤ L (0 sends the embedding).
//!
//! ```
//! use splitwave::llm::{BUILTIN, Corpus, LoadedModel, Segmentation};
//!
//! let model = LoadedModel::builtin()?;
//! let decoder = &model.decoder;
//! let corpus = Corpus::open(BUILTIN, &model.tokenizer, decoder.config().vocab, Segmentation::Tokens)?;
//! let window = corpus.window(0, 64)?;
//!
//! let clean = decoder.window_nll(window)?;
//! // Split behind layer 4; the channel loses row 10.
//! let width = decoder.config().d_model;
//! let lossy = decoder.split_nll(window, 4, |hidden| hidden.values_mut()[10 * width..11 * width].fill(0.0))?;
//! assert!(lossy.perplexity() > clean.perplexity());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attention;
mod block;
mod bos;
mod builtin;
mod checkpoint;
mod config;
mod config_fields;
mod consistency;
mod corpus;
mod cost;
mod directory;
mod distribution;
mod elementwise;
mod error;
mod exit_head;
mod exit_head_file;
mod exponential;
mod gemm;
mod geometry;
mod gguf;
mod gguf_error;
mod gguf_metadata;
mod gguf_names;
mod gguf_reader;
mod gguf_tokenizer;
mod gradient;
mod head_loss;
mod hidden;
mod inspect;
mod kv_cache;
mod limited_read;
mod loaded;
mod model;
mod packed;
mod parquet_text;
mod perplexity;
mod projection;
mod pruning;
mod quantised;
mod rotary;
mod safetensors_file;
mod sampling;
mod stored_type;
mod text_stream;
mod tokenizer;
mod weights;

pub use bos::BosRule;
pub use builtin::{NAME as BUILTIN, SMALL_NAME as BUILTIN_SMALL};
pub use config::{ConfigError, ConfigProblem, DecoderConfig, Family, NormKind, RopePairing, RopeScaling};
pub use consistency::{Difference, cache_difference, probe_window, split_difference};
pub use corpus::{Corpus, CorpusError, SHORTEST_SENTENCE, Segmentation};
pub use cost::{
    CostModel, FlopCount, chen25_first_layer_flop, chen25_further_layer_flop, decode_layer_flop, head_flop,
    head_weight_bytes, layer_kv_bytes, layer_weight_bytes, prefill_layer_flop,
};
pub use distribution::{SoftmaxSums, tempered_total};
pub use error::{DecoderError, LoadError};
pub use exit_head::{ExitHead, ExitHeadParts, LARGEST_WEIGHT};
pub use exit_head_file::ExitHeadError;
pub use geometry::{Geometry, scale_split};
pub use gguf_error::{GgufError, GgufProblem};
pub use gradient::{DoubleDecoder, GradientError, LayerGradient, LayerMatrices};
pub use head_loss::{HeadLoss, RowScore, Teacher};
pub use hidden::{Hidden, HiddenShapeError};
pub use inspect::{Inspection, TensorInfo, ValueStatistics};
pub use kv_cache::KvCache;
pub use loaded::LoadedModel;
pub use model::Decoder;
pub use perplexity::{Nll, TeacherForced, negative_log_likelihood};
pub use pruning::{GroupCounts, GroupScores, Importance, KeptGroups, Prunable, PruneWriteError, WindowSplit};
pub use sampling::Sampling;
pub use stored_type::StoredType;
pub use text_stream::TextStream;
pub use tokenizer::{Tokenizer, TokenizerError};
pub use weights::{WeightsError, WeightsProblem};

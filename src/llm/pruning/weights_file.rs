//! The pruned checkpoint: rows and columns of the original's bytes, in one safetensors file.

use std::io::Write;

use serde_json::{Map, Value, json};

use crate::llm::checkpoint::{Checkpoint, StoredType};
use crate::llm::config::DecoderConfig;
use crate::llm::gradient::DoubleDecoder;
use crate::llm::model::{EMBEDDING, HEAD};
use crate::llm::weights::WeightsError;

use super::error::PruneWriteError;
use super::groups::{KeptGroups, part};

/// What of a tensor stays.
enum Selection {
    All,
    Rows(Vec<usize>),
    Columns(Vec<usize>),
}

/// One tensor on its way from the original to the pruned checkpoint.
struct Transfer {
    name: String,
    /// In the original.
    shape: Vec<usize>,
    selection: Selection,
    stored: StoredType,
}

impl Transfer {
    fn pruned_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        match (&self.selection, shape.as_mut_slice()) {
            (Selection::Rows(kept), [rows, ..]) => *rows = kept.len(),
            (Selection::Columns(kept), [.., columns]) => *columns = kept.len(),
            _ => {}
        }
        shape
    }

    /// Bytes in the pruned checkpoint.
    fn bytes(&self) -> usize {
        // Floats are blocks of one.
        self.pruned_shape().iter().product::<usize>() * self.stored.block().1
    }

    fn read(&self, checkpoint: &mut Checkpoint) -> Result<Vec<u8>, WeightsError> {
        let bytes = checkpoint.whole(&self.name, &self.shape)?;
        let value = self.stored.block().1;
        let row = self.shape.last().copied().unwrap_or(1) * value;
        let mut kept_bytes = Vec::new();
        match &self.selection {
            Selection::All => return Ok(bytes),
            Selection::Rows(kept) => {
                for &at in kept {
                    kept_bytes.extend_from_slice(&bytes[part(at, row)]);
                }
            }
            Selection::Columns(kept) => {
                for row in bytes.chunks_exact(row) {
                    for &at in kept {
                        kept_bytes.extend_from_slice(&row[part(at, value)]);
                    }
                }
            }
        }
        Ok(kept_bytes)
    }
}

/// The tensors of the model, in the order in which they are written.
fn transfers(decoder: &mut DoubleDecoder, kept: &KeptGroups) -> Result<Vec<Transfer>, WeightsError> {
    let &DecoderConfig { vocab, d_model: d, heads, kv_heads, head_dim, d_ff, .. } = decoder.config();
    let (own_head, checkpoint) = (decoder.has_own_head(), decoder.checkpoint());
    let mut list = Vec::new();
    let mut add = |name: String, shape: &[usize], selection: Selection| {
        let stored = checkpoint.stored_type(&name)?;
        list.push(Transfer { name, shape: shape.to_vec(), selection, stored });
        Ok(())
    };
    add(EMBEDDING.to_owned(), &[vocab, d], Selection::All)?;
    let wide = heads / kv_heads * head_dim;
    for (layer, (kept_heads, channels)) in kept.heads.iter().zip(&kept.channels).enumerate() {
        let of_heads = |width: usize| kept_heads.iter().flat_map(|&group| part(group, width)).collect::<Vec<usize>>();
        let mut add = |name: &str, shape: &[usize], selection: Selection| {
            add(format!("model.layers.{layer}.{name}.weight"), shape, selection)
        };
        add("input_layernorm", &[d], Selection::All)?;
        add("self_attn.q_proj", &[heads * head_dim, d], Selection::Rows(of_heads(wide)))?;
        add("self_attn.k_proj", &[kv_heads * head_dim, d], Selection::Rows(of_heads(head_dim)))?;
        add("self_attn.v_proj", &[kv_heads * head_dim, d], Selection::Rows(of_heads(head_dim)))?;
        add("self_attn.o_proj", &[d, heads * head_dim], Selection::Columns(of_heads(wide)))?;
        add("post_attention_layernorm", &[d], Selection::All)?;
        add("mlp.gate_proj", &[d_ff, d], Selection::Rows(channels.clone()))?;
        add("mlp.up_proj", &[d_ff, d], Selection::Rows(channels.clone()))?;
        add("mlp.down_proj", &[d, d_ff], Selection::Columns(channels.clone()))?;
    }
    add("model.norm.weight".to_owned(), &[d], Selection::All)?;
    if own_head {
        add(HEAD.to_owned(), &[vocab, d], Selection::All)?;
    }
    Ok(list)
}

/// Bytes of all tensors with the groups `kept`.
///
/// # Errors
/// [`WeightsError`] if a tensor is missing.
pub(super) fn stored_bytes(decoder: &mut DoubleDecoder, kept: &KeptGroups) -> Result<u64, WeightsError> {
    Ok(transfers(decoder, kept)?.iter().map(|tensor| tensor.bytes() as u64).sum())
}

/// Writes model.safetensors of the pruned model: each tensor in its original type, one in memory at a time. Gives the
/// bytes of all tensors.
///
/// # Errors
/// [`PruneWriteError`] if a tensor can't be read, or the file not be written.
pub(super) fn write(
    decoder: &mut DoubleDecoder,
    kept: &KeptGroups,
    out: &mut dyn Write,
) -> Result<u64, PruneWriteError> {
    let transfers = transfers(decoder, kept)?;
    // transformers doesn't load a file that doesn't say which framework it is for.
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
    let mut end = 0;
    for tensor in &transfers {
        let begin = end;
        end += tensor.bytes();
        let (dtype, shape) = (tensor.stored.name(), tensor.pruned_shape());
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] });
        header.insert(tensor.name.clone(), entry);
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    // Tensors begin at a multiple of 8 bytes.
    text.resize(text.len().next_multiple_of(8), b' ');
    out.write_all(&(text.len() as u64).to_le_bytes())?;
    out.write_all(&text)?;
    for tensor in &transfers {
        out.write_all(&tensor.read(decoder.checkpoint())?)?;
    }
    decoder.check_complete()?;
    Ok(end as u64)
}

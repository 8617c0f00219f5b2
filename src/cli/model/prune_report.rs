//! What pruning did to a model, as a table and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::cli::model::{bytes, grouped};
use crate::llm::{CostModel, FlopCount, Geometry, GroupScores, KeptGroups, Nll, layer_kv_bytes};

/// Bytes of a value in half precision.
const F16_BYTES: u64 = 2;

/// One side of the comparison.
pub struct Figures {
    pub geometry: Geometry,
    pub parameters: u64,
    /// Bytes of all tensors in the types that they are stored in.
    pub stored_bytes: u64,
    /// On the held-out windows.
    pub nll: Nll,
}

impl Figures {
    /// FLOP of one decoded token that attends to `tokens` positions: all layers and the head.
    fn decode_flop(&self, tokens: usize) -> f64 {
        CostModel::new(self.geometry.clone(), FlopCount::Exact).edge_decode_flop(0, tokens)
    }

    /// FLOP of the layers per token of a prompt of `tokens`.
    fn prompt_flop(&self, tokens: usize) -> f64 {
        let costs = CostModel::new(self.geometry.clone(), FlopCount::Exact);
        costs.layers_flop(0..self.geometry.layers, tokens) / tokens as f64
    }

    fn f16_bytes(&self) -> u64 {
        F16_BYTES * self.parameters
    }

    /// Bytes of keys and values of all layers for one position, in half precision.
    fn kv_bytes(&self) -> f64 {
        self.geometry.layers as f64 * layer_kv_bytes(&self.geometry, 1, F16_BYTES as f64)
    }

    /// The figures by name, for pruning.json.
    pub fn as_json(&self, tokens: usize) -> Value {
        json!({
            "parameters": self.parameters,
            "stored_bytes": self.stored_bytes,
            "f16_bytes": self.f16_bytes(),
            "kv_bytes_per_position_f16": self.kv_bytes(),
            "decode_flop": self.decode_flop(tokens),
            "prompt_flop_per_token": self.prompt_flop(tokens),
            "ppl": self.nll.perplexity(),
            "scored_tokens": self.nll.tokens,
        })
    }
}

/// A model before and after.
pub struct Report<'a> {
    pub before: Figures,
    pub after: Figures,
    pub kept: &'a KeptGroups,
    pub scores: &'a GroupScores,
    /// Tokens of a window.
    pub tokens: usize,
    /// Number of held-out windows.
    pub held_out: usize,
}

impl Report<'_> {
    /// Two tables: figures before and after, and what each layer kept.
    pub fn table(&self) -> String {
        let Self { before, after, tokens, .. } = self;
        let whole = |number: f64| grouped(number.round() as u64);
        let count = |number: usize| grouped(number as u64);
        let row = |what: String, of: &dyn Fn(&Figures) -> f64, shown: &dyn Fn(f64) -> String| {
            let (old, new) = (of(before), of(after));
            [what, shown(old), shown(new), format!("{:+.1} %", 100.0 * (new / old - 1.0))]
        };
        let rows = [
            row("parameters".into(), &|f| f.parameters as f64, &whole),
            row("weights as stored".into(), &|f| f.stored_bytes as f64, &|size| bytes(size as u64)),
            row("weights in f16".into(), &|f| f.f16_bytes() as f64, &|size| bytes(size as u64)),
            row("keys and values per position in f16".into(), &|f| f.kv_bytes(), &|size| bytes(size as u64)),
            row(format!("FLOP per decoded token, context {tokens}"), &|f| f.decode_flop(*tokens), &whole),
            row(format!("FLOP per token of a prompt of {tokens}"), &|f| f.prompt_flop(*tokens), &whole),
            row(format!("PPL on {} held-out windows", self.held_out), &|f| f.nll.perplexity(), &|ppl| {
                format!("{ppl:.3}")
            }),
            row("query heads of a layer".into(), &|f| f.geometry.heads as f64, &|n| count(n as usize)),
            row("key/value heads of a layer".into(), &|f| f.geometry.kv_heads as f64, &|n| count(n as usize)),
            row("feed-forward channels of a layer".into(), &|f| f.geometry.d_ff as f64, &|n| count(n as usize)),
        ];
        let header = ["", "before", "after", ""].map(str::to_owned);
        let mut text = aligned(&std::iter::once(header).chain(rows).collect::<Vec<_>>());
        text.push('\n');
        let header = ["layer", "heads kept, from 0", "their importance", "channels kept", "their importance"];
        let mut lines = vec![header.map(str::to_owned)];
        for (layer, (heads, channels)) in self.kept.heads.iter().zip(&self.kept.channels).enumerate() {
            let [of_heads, of_channels] =
                self.scores.kept_shares(self.kept, layer).map(|share| format!("{:.1} %", 100.0 * share));
            let heads = heads.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
            lines.push([(layer + 1).to_string(), heads, of_heads, count(channels.len()), of_channels]);
        }
        text + &aligned(&lines)
    }
}

/// Columns as wide as their widest cell; the first to the left, the others to the right.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(widths).skip(1) {
            let _ = write!(line, "  {cell:>width$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

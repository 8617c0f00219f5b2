//! Keys and values of the positions so far, as attention reads them.

use std::ops::Range;

use super::config::DecoderConfig;
use super::gemm::{Columns, PANEL};

/// Keys and values of a range of layers, for [`super::Decoder::run_cached`]: the part
/// of the model on one side of a split has its own.
#[derive(Clone, Debug)]
pub struct KvCache {
    pub(super) range: Range<usize>,
    pub(super) layers: Vec<KvLayer>,
}

impl KvCache {
    pub(super) fn new(config: &DecoderConfig, range: Range<usize>) -> Self {
        let layers = range.clone().map(|_| KvLayer::new(config)).collect();
        Self { range, layers }
    }

    /// The layers that it belongs to.
    pub fn layers(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Positions that it holds; 0 for no layers.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, KvLayer::len)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Keys and values of one layer.
#[derive(Clone, Debug)]
pub(super) struct KvLayer {
    positions: usize,
    head_dim: usize,
    /// By head: panels of 32 positions, `head_dim` elements each.
    keys: Vec<Vec<Columns>>,
    /// By head and panel of 32 elements: positions.
    values: Vec<Vec<Columns>>,
}

impl KvLayer {
    pub(super) fn new(config: &DecoderConfig) -> Self {
        let &DecoderConfig { kv_heads, head_dim, .. } = config;
        let panels = kv_heads * head_dim.div_ceil(PANEL);
        Self { positions: 0, head_dim, keys: vec![Vec::new(); kv_heads], values: vec![Vec::new(); panels] }
    }

    /// Forgets all positions; the memory is kept.
    pub(super) fn clear(&mut self) {
        self.positions = 0;
        self.keys.iter_mut().chain(&mut self.values).for_each(Vec::clear);
    }

    /// Positions so far.
    pub(super) fn len(&self) -> usize {
        self.positions
    }

    /// Appends rows \[S × kv_heads·head_dim\] of keys (turned already) and values.
    pub(super) fn push(&mut self, keys: &[f32], values: &[f32]) {
        let width = self.keys.len() * self.head_dim;
        let first = self.positions;
        self.positions += keys.len() / width;
        for (head, panels) in self.keys.iter_mut().enumerate() {
            panels.resize(self.positions.div_ceil(PANEL) * self.head_dim, [0.0; PANEL]);
            let mut position = first;
            while position < self.positions {
                let end = self.positions.min(position / PANEL * PANEL + PANEL);
                let rows = &keys[(position - first) * width + head * self.head_dim..];
                let panel = &mut panels[position / PANEL * self.head_dim..][..self.head_dim];
                for (element, columns) in panel.iter_mut().enumerate() {
                    for (row, x) in columns[position % PANEL..].iter_mut().take(end - position).enumerate() {
                        *x = rows[row * width + element];
                    }
                }
                position = end;
            }
        }
        let parts = self.head_dim.div_ceil(PANEL);
        for (index, panel) in self.values.iter_mut().enumerate() {
            let from = index / parts * self.head_dim + index % parts * PANEL;
            let count = PANEL.min(self.head_dim - index % parts * PANEL);
            panel.extend(values.chunks_exact(width).map(|row| match row[from..from + count].first_chunk() {
                Some(columns) => *columns,
                None => std::array::from_fn(|i| if i < count { row[from + i] } else { 0.0 }),
            }));
        }
    }

    /// Keys of a head for positions `32·panel..32·(panel + 1)`; beyond the last they are zero.
    pub(super) fn keys(&self, head: usize, panel: usize) -> &[Columns] {
        &self.keys[head][panel * self.head_dim..(panel + 1) * self.head_dim]
    }

    /// Elements `32·part..` of a head's values, for `positions`.
    pub(super) fn values(&self, head: usize, part: usize, positions: Range<usize>) -> &[Columns] {
        &self.values[head * self.head_dim.div_ceil(PANEL) + part][positions]
    }
}

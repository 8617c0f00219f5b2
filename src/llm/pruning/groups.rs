//! The groups that stand and fall together, their scores, and which of them stay.

use std::ops::Range;

use crate::kernel::{Purpose, Streams};
use crate::llm::config::DecoderConfig;
use crate::llm::gradient::LayerMatrices;

/// Numbers of groups of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupCounts {
    /// Key/value heads, each with the query heads that share it.
    pub heads: usize,
    /// Channels of the feed-forward network.
    pub channels: usize,
}

impl GroupCounts {
    /// Those of a model.
    pub fn of(config: &DecoderConfig) -> Self {
        Self { heads: config.kv_heads, channels: config.d_ff }
    }

    /// How many of them go: of either kind the largest number that isn't above its ratio, and never the last.
    pub fn removed(&self, heads_ratio: f64, channels_ratio: f64) -> Self {
        // A ratio such as 0.29 times 100 is a little less than 29.
        let removed = |ratio: f64, groups: usize| {
            ((ratio * groups as f64 + 1e-9).floor().max(0.0) as usize).min(groups.saturating_sub(1))
        };
        Self { heads: removed(heads_ratio, self.heads), channels: removed(channels_ratio, self.channels) }
    }
}

/// A score for each group of each layer; the lowest go first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupScores {
    /// Of each layer, its key/value heads.
    pub heads: Vec<Vec<f64>>,
    /// Of each layer, its feed-forward channels.
    pub channels: Vec<Vec<f64>>,
}

impl GroupScores {
    /// The sums of what belongs to the weights of each group of one layer: rows of q, k, v and columns of o; rows of
    /// gate and up, and a column of down.
    pub(super) fn push_layer(&mut self, config: &DecoderConfig, terms: &LayerMatrices) {
        let &DecoderConfig { d_model: d, heads, kv_heads, head_dim, d_ff, .. } = config;
        let shared = heads / kv_heads * head_dim;
        let head = |group: usize| {
            let (wide, narrow) = (part(group, shared), part(group, head_dim));
            rows(&terms.query, d, wide.clone())
                + rows(&terms.key, d, narrow.clone())
                + rows(&terms.value, d, narrow)
                + columns(&terms.output, heads * head_dim, wide)
        };
        let channel = |group: usize| {
            let one = part(group, 1);
            rows(&terms.gate, d, one.clone()) + rows(&terms.up, d, one.clone()) + columns(&terms.down, d_ff, one)
        };
        self.heads.push((0..kv_heads).map(head).collect());
        self.channels.push((0..d_ff).map(channel).collect());
    }

    /// Scores that know nothing: uniform numbers of the seed.
    pub fn random(config: &DecoderConfig, seed: u64) -> Self {
        let streams = Streams::new(seed, 0);
        let draw = |kind: u64, groups: usize| {
            (0..config.layers)
                .map(|layer| {
                    let stream = streams.stream(layer as u32, Purpose::PruneOrder).starting_at(kind << 32);
                    (0..groups as u64).map(|group| stream.uniform(group)).collect()
                })
                .collect()
        };
        Self { heads: draw(0, config.kv_heads), channels: draw(1, config.d_ff) }
    }

    /// The groups of each layer without the `removed` of lowest score; of equal ones the first go.
    pub fn keep(&self, removed: GroupCounts) -> KeptGroups {
        let keep = |layers: &[Vec<f64>], removed: usize| {
            layers
                .iter()
                .map(|scores| {
                    let mut order: Vec<usize> = (0..scores.len()).collect();
                    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
                    let mut kept = order.split_off(removed.min(order.len()));
                    kept.sort_unstable();
                    kept
                })
                .collect()
        };
        KeptGroups { heads: keep(&self.heads, removed.heads), channels: keep(&self.channels, removed.channels) }
    }

    /// The shares of the scores of layer `layer` that `kept` keeps: heads, channels.
    pub fn kept_shares(&self, kept: &KeptGroups, layer: usize) -> [f64; 2] {
        let share = |scores: &[f64], kept: &[usize]| {
            kept.iter().map(|&group| scores[group]).sum::<f64>() / scores.iter().sum::<f64>()
        };
        [share(&self.heads[layer], &kept.heads[layer]), share(&self.channels[layer], &kept.channels[layer])]
    }
}

/// The groups that stay, by their index in ascending order; of each layer as many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptGroups {
    /// Of each layer, its key/value heads.
    pub heads: Vec<Vec<usize>>,
    /// Of each layer, its feed-forward channels.
    pub channels: Vec<Vec<usize>>,
}

impl KeptGroups {
    /// All groups of a model.
    pub fn all(config: &DecoderConfig) -> Self {
        let all = |groups: usize| vec![(0..groups).collect(); config.layers];
        Self { heads: all(config.kv_heads), channels: all(config.d_ff) }
    }

    /// How many groups each layer has left.
    pub fn counts(&self) -> GroupCounts {
        GroupCounts {
            heads: self.heads.first().map_or(0, Vec::len),
            channels: self.channels.first().map_or(0, Vec::len),
        }
    }
}

/// The rows or columns of group `group`, `width` each.
pub(super) fn part(group: usize, width: usize) -> Range<usize> {
    group * width..(group + 1) * width
}

/// The sum of rows of a matrix.
fn rows(matrix: &[f64], width: usize, rows: Range<usize>) -> f64 {
    matrix[rows.start * width..rows.end * width].iter().sum()
}

/// The sum of columns of a matrix.
fn columns(matrix: &[f64], width: usize, columns: Range<usize>) -> f64 {
    matrix.chunks_exact(width).map(|row| row[columns.clone()].iter().sum::<f64>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_remove_at_most_their_share_and_never_all() {
        let counts = GroupCounts { heads: 2, channels: 352 };
        let removed = |heads, channels| {
            let GroupCounts { heads, channels } = counts.removed(heads, channels);
            [heads, channels]
        };
        assert_eq!(removed(0.25, 0.25), [0, 88]);
        assert_eq!(removed(0.5, 0.1), [1, 35]);
        assert_eq!(removed(0.0, 0.999_999_999_999), [0, 351]);
        assert_eq!(GroupCounts { heads: 1, channels: 100 }.removed(0.99, 0.29), GroupCounts { heads: 0, channels: 29 });
    }

    #[test]
    fn the_lowest_go_and_of_equals_the_first() {
        let scores =
            GroupScores { heads: vec![vec![2.0, 1.0, 1.0]], channels: vec![vec![0.5, -0.0, 0.0, f64::INFINITY]] };
        let kept = scores.keep(GroupCounts { heads: 1, channels: 2 });
        assert_eq!(kept, KeptGroups { heads: vec![vec![0, 2]], channels: vec![vec![0, 3]] });
        assert_eq!(kept.counts(), GroupCounts { heads: 2, channels: 2 });
        assert_eq!(scores.kept_shares(&kept, 0)[0], 0.75);
    }
}

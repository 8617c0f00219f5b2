//! Sizes of decoders, for costs: published models by name, any config.json, or the
//! model that runs.

use std::path::Path;

use super::config::{ConfigError, DecoderConfig, Sizes};

/// The sizes of a decoder with gated feed-forward layers and grouped-query attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// How the user named it.
    pub name: String,
    /// Number of layers L.
    pub layers: usize,
    /// Width of the residual stream d.
    pub d_model: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head d_h.
    pub head_dim: usize,
    /// Width of the feed-forward network.
    pub d_ff: usize,
    /// Vocabulary V.
    pub vocab: usize,
    /// Whether head and embedding share their weights.
    pub tied_head: bool,
}

/// One published geometry: name, L, d, heads, KV heads, d_h, d_ff, V, tied head.
type Published = (&'static str, [usize; 7], bool);

/// From the models' config.json on Hugging Face; parameter counts are tested
/// against the published ones.
const PUBLISHED: [Published; 6] = [
    ("llama-2-7b", [32, 4096, 32, 32, 128, 11008, 32000], false),
    ("llama-2-13b", [40, 5120, 40, 40, 128, 13824, 32000], false),
    ("llama-3-8b", [32, 4096, 32, 8, 128, 14336, 128_256], false),
    ("mistral-7b", [32, 4096, 32, 8, 128, 14336, 32000], false),
    ("tinyllama-1.1b", [22, 2048, 32, 4, 64, 5632, 32000], false),
    ("aya-23-8b", [32, 4096, 32, 8, 128, 14336, 256_000], true),
];

impl Geometry {
    /// The names that [`Geometry::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PUBLISHED.iter().map(|(name, ..)| *name)
    }

    /// A published geometry.
    pub fn named(name: &str) -> Option<Self> {
        let (name, [layers, d_model, heads, kv_heads, head_dim, d_ff, vocab], tied_head) =
            *PUBLISHED.iter().find(|(known, ..)| *known == name)?;
        Some(Self { name: name.to_owned(), layers, d_model, heads, kv_heads, head_dim, d_ff, vocab, tied_head })
    }

    /// The geometry in a Hugging Face config.json, whatever its `model_type`: sizes
    /// suffice for costs.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read, or a size is missing or out of range.
    pub fn from_config_file(path: &Path) -> Result<Self, ConfigError> {
        let sizes = Sizes::read(path)?;
        Ok(Self {
            name: path.display().to_string(),
            layers: sizes.layers,
            d_model: sizes.d_model,
            heads: sizes.heads,
            kv_heads: sizes.kv_heads,
            head_dim: sizes.head_dim,
            d_ff: sizes.d_ff,
            vocab: sizes.vocab,
            tied_head: sizes.tied_head,
        })
    }

    /// The geometry of a model that runs here.
    pub fn of_model(name: &str, config: &DecoderConfig) -> Self {
        Self {
            name: name.to_owned(),
            layers: config.layers,
            d_model: config.d_model,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            d_ff: config.d_ff,
            vocab: config.vocab,
            tied_head: config.tied_head,
        }
    }

    /// Weights of the matrices of one layer: `2·d·h·d_h + 2·d·h_kv·d_h + 3·d·d_ff`
    /// (norms, a few parts in 10⁵, are left out). LLaMA-2-7B: 202.4 million.
    pub fn layer_parameters(&self) -> f64 {
        let attention = 2.0 * self.attention_width() + 2.0 * (self.kv_heads * self.head_dim) as f64;
        self.d_model as f64 * (attention + 3.0 * self.d_ff as f64)
    }

    /// Weights of the head, `d·V`.
    pub fn head_parameters(&self) -> f64 {
        (self.d_model * self.vocab) as f64
    }

    /// Weights of all matrices: layers, embedding, and the head unless it is tied.
    pub fn total_parameters(&self) -> f64 {
        let tables = if self.tied_head { 1.0 } else { 2.0 };
        self.layers as f64 * self.layer_parameters() + tables * self.head_parameters()
    }

    /// Width of all query heads together, `h·d_h`.
    pub fn attention_width(&self) -> f64 {
        (self.heads * self.head_dim) as f64
    }

    /// Values of the tensor that crosses the air at a split: `S·d`.
    pub fn payload_values(&self, tokens: usize) -> usize {
        tokens * self.d_model
    }
}

/// The split of a cost geometry that stands for split `split` of a running model of
/// `of_layers` layers: scaled by depth, to the nearest layer (halves go up). Split 0
/// stays 0 and the last stays the last; every other is at least 1.
pub fn scale_split(split: usize, of_layers: usize, to_layers: usize) -> usize {
    if split == 0 || of_layers == 0 {
        return 0;
    }
    let nearest = (2 * split * to_layers + of_layers) / (2 * of_layers);
    nearest.clamp(1, to_layers.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Total parameters of the models' own checkpoints, without norms
    /// (2·L·d + d in LLaMA's block, L·d + d in Cohere's parallel one).
    #[test]
    fn parameter_counts_are_the_published_ones() {
        for (name, published, norms) in [
            ("llama-2-7b", 6_738_415_616_u64, 65 * 4096),
            ("llama-2-13b", 13_015_864_320, 81 * 5120),
            ("llama-3-8b", 8_030_261_248, 65 * 4096),
            ("mistral-7b", 7_241_732_096, 65 * 4096),
            ("tinyllama-1.1b", 1_100_048_384, 45 * 2048),
            ("aya-23-8b", 8_028_033_024, 33 * 4096),
        ] {
            let geometry = Geometry::named(name).unwrap();
            assert_eq!(geometry.total_parameters(), (published - norms) as f64, "{name}");
        }
        assert_eq!(Geometry::names().count(), 6);
        assert_eq!(Geometry::named("gpt-2"), None);
    }

    #[test]
    fn splits_scale_by_depth() {
        // 16 layers stand for 32: every split doubles.
        assert!((0..=16).all(|p| scale_split(p, 16, 32) == 2 * p));
        // 16 for 40: 2.5 goes up to 3.
        assert_eq!([1, 2, 3, 15, 16].map(|p| scale_split(p, 16, 40)), [3, 5, 8, 38, 40]);
        // 32 for 4: early splits stay at least 1.
        assert_eq!([0, 1, 3, 4, 12, 31, 32].map(|p| scale_split(p, 32, 4)), [0, 1, 1, 1, 2, 4, 4]);
        assert_eq!(scale_split(7, 7, 7), 7);
    }
}

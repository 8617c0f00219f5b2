//! An early exit: what the last layer would make of the states behind an earlier one, guessed by one affine map, so
//! that a device that has run e layers can propose a token by itself.
//!
//! ```text
//!  hidden behind layer e [S × d] ── ĥ_L = A h_e + b ── final norm, head ── logits of the exit [S × V]
//!           │                        (exit_head.rs)     (the model's own)
//!           └ layers e+1..L on the edge, if the device isn't sure
//! ```
//!
//! The map is the translator of a tuned lens (Belrose et al., arXiv 2303.08112); with A = I and b = 0 it is the logit
//! lens. An exit beside the layers of a device is what CE-CoLLM (arXiv 2411.02829) makes its confident tokens with.

use std::collections::BTreeMap;

use pulp::Arch;

use super::error::DecoderError;
use super::exit_head_file::ExitHeadError;
use super::hidden::Hidden;
use super::loaded::LoadedModel;
use super::projection::Projection;
use super::stored_type::StoredType;

/// The largest weight that a head may hold: that of half precision, in which it may be stored.
pub const LARGEST_WEIGHT: f32 = 65_504.0;

/// What a head consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct ExitHeadParts {
    /// Layers e in front of the exit, 1 to `layers`.
    pub layer: usize,
    /// Layers L of the model.
    pub layers: usize,
    /// Width d of its residual stream.
    pub width: usize,
    /// A \[d × d\], row after row: element (i, j) is what `h_e[j]` adds to `ĥ_L[i]`.
    pub weight: Vec<f32>,
    /// b \[d\].
    pub bias: Vec<f32>,
    /// [`LoadedModel::content_hash`] of the model.
    pub model_hash: String,
    /// What it was made with, by name.
    pub made_with: BTreeMap<String, String>,
    /// Figures of the fit, by name.
    pub metrics: BTreeMap<String, f64>,
}

/// An affine map `ĥ_L = A h_e + b` from the residual stream behind layer e to that behind the last one.
#[derive(Debug)]
pub struct ExitHead {
    layer: usize,
    layers: usize,
    width: usize,
    map: Projection,
    bias: Vec<f32>,
    model_hash: String,
    made_with: BTreeMap<String, String>,
    metrics: BTreeMap<String, f64>,
    /// How files hold it.
    stored: StoredType,
    content_hash: String,
    arch: Arch,
}

impl ExitHead {
    /// A head of these parts, stored in single precision.
    ///
    /// # Errors
    /// [`ExitHeadError`] if they don't fit together, or a weight is not finite or beyond [`LARGEST_WEIGHT`].
    pub fn new(parts: ExitHeadParts) -> Result<Self, ExitHeadError> {
        Self::stored_as(parts, StoredType::F32)
    }

    /// A head of these parts rounded to half precision, in which it is stored.
    ///
    /// # Errors
    /// As [`ExitHead::new`].
    pub fn in_half_precision(mut parts: ExitHeadParts) -> Result<Self, ExitHeadError> {
        for value in parts.weight.iter_mut().chain(&mut parts.bias) {
            *value = half::f16::from_f32(*value).to_f32();
        }
        Self::stored_as(parts, StoredType::F16)
    }

    fn stored_as(parts: ExitHeadParts, stored: StoredType) -> Result<Self, ExitHeadError> {
        let mut head = Self::build("the exit head", parts, stored, String::new())?;
        head.content_hash = blake3::hash(&head.to_bytes()?).to_hex().to_string();
        Ok(head)
    }

    /// The head of a file of that hash; `file` names it in errors.
    pub(super) fn build(
        file: &str,
        parts: ExitHeadParts,
        stored: StoredType,
        content_hash: String,
    ) -> Result<Self, ExitHeadError> {
        let ExitHeadParts { layer, layers, width, weight, bias, model_hash, made_with, metrics } = parts;
        let setting = |what, value: String, allowed: String| {
            Err(ExitHeadError::Setting { file: file.to_owned(), what, value, allowed })
        };
        if !(1..=layers).contains(&layer) {
            return setting("`layer`", layer.to_string(), format!("1 to the model's {layers} layers"));
        }
        if width == 0 || bias.len() != width {
            return setting("the length of `bias`", bias.len().to_string(), format!("the width, {}", width.max(1)));
        }
        if Some(weight.len()) != width.checked_mul(width) {
            return setting("the length of `weight`", weight.len().to_string(), format!("{width} × {width}"));
        }
        for (tensor, values) in [("weight", &weight), ("bias", &bias)] {
            // Not a number is in no range.
            if let Some(bad) = values.iter().find(|value| !(-LARGEST_WEIGHT..=LARGEST_WEIGHT).contains(*value)) {
                let problem = format!("holds {bad}; allowed: -{LARGEST_WEIGHT} to {LARGEST_WEIGHT}");
                return Err(ExitHeadError::Tensor { file: file.to_owned(), tensor: tensor.to_owned(), problem });
            }
        }
        let map = Projection::from_rows(&weight, width, Some(bias.clone()));
        let arch = Arch::new();
        Ok(Self { layer, layers, width, map, bias, model_hash, made_with, metrics, stored, content_hash, arch })
    }

    /// Layers e in front of the exit: it takes what `Decoder::run(_, 0..e)` gives.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// Layers L of the model that it was fitted for.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Width d of the model's residual stream.
    pub fn width(&self) -> usize {
        self.width
    }

    /// [`LoadedModel::content_hash`] of the model that it was fitted for.
    pub fn model_hash(&self) -> &str {
        &self.model_hash
    }

    /// Number of weights, d² + d. A row takes twice as many FLOP.
    pub fn parameters(&self) -> u64 {
        self.map.parameters()
    }

    /// What it was made with, by name.
    pub fn made_with(&self) -> &BTreeMap<String, String> {
        &self.made_with
    }

    /// Figures of the fit, by name.
    pub fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.metrics
    }

    /// BLAKE3 hash of the bytes of its file, in hexadecimal.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }

    /// How files hold its weights: F16 or F32.
    pub fn stored_type(&self) -> StoredType {
        self.stored
    }

    /// A \[d × d\], row after row.
    pub fn weight(&self) -> Vec<f32> {
        (0..self.width).flat_map(|output| self.map.row(self.arch, output)).collect()
    }

    /// b \[d\].
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// `ĥ_L = A h_e + b` of each row \[S × d\] behind layer e: what [`super::Decoder::logits`] and
    /// [`super::Decoder::normed`] take. A row alone has the bits that it has among others.
    ///
    /// # Errors
    /// [`DecoderError::Width`] if the rows are of another model.
    pub fn translate(&self, hidden: &Hidden) -> Result<Hidden, DecoderError> {
        let wrong = DecoderError::Width { found: hidden.width(), expected: self.width };
        if hidden.width() != self.width {
            return Err(wrong);
        }
        let mut values = Vec::new();
        self.map.forward(self.arch, hidden.values(), &mut values, &mut Vec::new());
        Hidden::from_vec(values, self.width).map_err(|_| wrong)
    }

    /// Whether it was fitted for this very model.
    ///
    /// # Errors
    /// [`ExitHeadError::Model`] with what differs: width, layers or, where both are the same, the content.
    pub fn check_model(&self, model: &LoadedModel) -> Result<(), ExitHeadError> {
        let config = model.decoder.config();
        let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_owned();
        let differs = [
            ("width", self.width.to_string(), config.d_model.to_string()),
            ("number of layers", self.layers.to_string(), config.layers.to_string()),
            ("hash", short(&self.model_hash), short(model.content_hash())),
        ];
        let differs = differs.into_iter().find(|(_, of_head, of_model)| of_head != of_model);
        match differs {
            Some((what, fitted, found)) => Err(ExitHeadError::Model { layer: self.layer, what, fitted, found }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head of width 3: A = [[1, 2, 0], [0, 1, 0], [-1, 0, 0.5]], b = [0.25, 0, 8].
    fn parts() -> ExitHeadParts {
        ExitHeadParts {
            layer: 2,
            layers: 4,
            width: 3,
            weight: vec![1.0, 2.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.5],
            bias: vec![0.25, 0.0, 8.0],
            model_hash: "00".repeat(32),
            made_with: BTreeMap::new(),
            metrics: BTreeMap::new(),
        }
    }

    #[test]
    fn rows_are_mapped_as_by_hand() {
        let head = ExitHead::new(parts()).unwrap();
        let hidden = Hidden::from_vec(vec![1.0, 2.0, 4.0, 0.0, -1.0, 2.0], 3).unwrap();
        let found = head.translate(&hidden).unwrap();
        assert_eq!(found.values(), [1.0 + 4.0 + 0.25, 2.0, -1.0 + 2.0 + 8.0, -2.0 + 0.25, -1.0, 1.0 + 8.0]);
        assert_eq!((head.weight(), head.parameters()), (parts().weight, 12));
        let narrow = Hidden::from_vec(vec![1.0; 4], 2).unwrap();
        assert_eq!(head.translate(&narrow), Err(DecoderError::Width { found: 2, expected: 3 }));
    }

    #[test]
    fn half_precision_rounds_to_nearest() {
        let mut fine = parts();
        fine.weight[0] = 1.0 + 0.6 / 1024.0;
        let head = ExitHead::in_half_precision(fine).unwrap();
        assert_eq!(head.weight()[0], 1.0 + 1.0 / 1024.0);
        assert_eq!(head.stored_type(), StoredType::F16);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let refused = |change: &dyn Fn(&mut ExitHeadParts)| {
            let mut parts = parts();
            change(&mut parts);
            ExitHead::new(parts).unwrap_err().to_string()
        };
        assert!(refused(&|parts| parts.layer = 0).contains("`layer` is 0; allowed: 1 to the model's 4 layers"));
        assert!(refused(&|parts| parts.layer = 5).contains("`layer` is 5"));
        assert!(refused(&|parts| parts.bias = vec![]).contains("the length of `bias` is 0; allowed: the width, 3"));
        assert!(refused(&|parts| parts.weight = vec![0.0; 8]).contains("`weight` is 8; allowed: 3 × 3"));
        assert!(refused(&|parts| parts.weight[4] = f32::NAN).contains("tensor `weight` holds NaN"));
        assert!(refused(&|parts| parts.bias[1] = f32::INFINITY).contains("tensor `bias` holds inf"));
        assert!(refused(&|parts| parts.weight[0] = -7e4).contains("holds -70000; allowed: -65504 to 65504"));
        assert!(refused(&|parts| parts.width = 0).contains("`bias`"));
    }
}

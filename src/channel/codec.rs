//! What of a row travels, and how: all of it, its largest values only, or its
//! outliers in more bits than the rest. Bits and error from one place.

use std::fmt;
use std::str::FromStr;

use super::encoding::Encoding;

/// Bits of an outlier: half precision.
const OUTLIER_BITS: u64 = 16;
/// Products of a share and a width this close above a whole number are that number: 0.07 · 100 is 7.000000000000001.
const ROUNDING: f64 = 1e-9;

/// How a digital link writes rows of activations: an [`Encoding`], of all values or of the
/// largest, with outliers in half precision or not.
///
/// - `outlier_share` (with `int8` and `int4`): the ⌈share·d⌉ largest magnitudes of each row travel in `f16`, with
///   their positions, and the scale is that of the rest. One outlier then no longer takes the
///   resolution of its whole row: the mixed-precision decomposition of LLM.int8() (Dettmers et al.,
///   NeurIPS 2022, arXiv 2208.07339), by rank within the row instead of by a fixed threshold
///   per feature, so that the bits of a row are known before it is.
/// - `top_k_share`: only the ⌈share·d⌉ largest magnitudes of each row travel, with their
///   positions; the others are 0 at the receiver. Outliers are among them.
///
/// Of equal magnitudes the one of lower index counts as larger.
///
/// As text, and so in serialised form: `int8`, `int4+outliers=0.01`, `f16+top-k=0.25`,
/// `int8+outliers=0.01+top-k=0.5`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Codec {
    encoding: Encoding,
    outlier_share: f64,
    /// 1: all values.
    top_k_share: f64,
}

/// A [`Codec`] that doesn't exist.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CodecError {
    /// Not of the form `ENCODING+outliers=SHARE+top-k=SHARE`.
    #[error(
        "`{0}` is no encoding; allowed: f32, f16, bf16, int8 or int4, behind it +outliers=SHARE (int8 and int4) or \
         +top-k=SHARE, such as int4+outliers=0.01"
    )]
    Text(String),
    /// The share of outliers is out of range.
    #[error("a share of outliers of {0} is not allowed; allowed: 0 to below 1")]
    OutlierShare(f64),
    /// Values that have no scale have no outliers.
    #[error("{} has no scale that outliers could spoil; allowed with outliers: int8, int4", .0.name())]
    OutliersWithoutScale(Encoding),
    /// The share of values that are sent is out of range.
    #[error("a top-k share of {0} is not allowed; allowed: above 0, up to 1")]
    TopKShare(f64),
    /// Outliers are among the values that are sent.
    #[error(
        "a share of outliers of {outlier_share} with a top-k share of {top_k_share}: allowed: outliers below top-k"
    )]
    OutliersBeyondTopK {
        /// The share of outliers.
        outlier_share: f64,
        /// The share of values that are sent.
        top_k_share: f64,
    },
}

impl Default for Codec {
    fn default() -> Self {
        Self::plain(Encoding::default())
    }
}

impl From<Encoding> for Codec {
    fn from(encoding: Encoding) -> Self {
        Self::plain(encoding)
    }
}

impl Codec {
    /// All values alike in `encoding`.
    pub const fn plain(encoding: Encoding) -> Self {
        Self { encoding, outlier_share: 0.0, top_k_share: 1.0 }
    }

    /// With this share of outliers (0: none) and of values that are sent (`None` or 1: all).
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn new(encoding: Encoding, outlier_share: f64, top_k_share: Option<f64>) -> Result<Self, CodecError> {
        let top_k_share = top_k_share.unwrap_or(1.0);
        if !(0.0..1.0).contains(&outlier_share) {
            return Err(CodecError::OutlierShare(outlier_share));
        }
        if !(top_k_share > 0.0 && top_k_share <= 1.0) {
            return Err(CodecError::TopKShare(top_k_share));
        }
        if outlier_share > 0.0 && !encoding.has_scale() {
            return Err(CodecError::OutliersWithoutScale(encoding));
        }
        if outlier_share >= top_k_share {
            return Err(CodecError::OutliersBeyondTopK { outlier_share, top_k_share });
        }
        // -0 is 0.
        Ok(Self { encoding, outlier_share: outlier_share.abs(), top_k_share })
    }

    /// The format of the values that are no outliers.
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Share of the values of a row that travel in half precision; 0: none.
    pub const fn outlier_share(&self) -> f64 {
        self.outlier_share
    }

    /// Share of the values of a row that travel; `None`: all.
    pub fn top_k_share(&self) -> Option<f64> {
        (self.top_k_share < 1.0).then_some(self.top_k_share)
    }

    /// Of a row of `d` values: (outliers o, values sent k), o ≤ k ≤ d.
    fn counts(&self, d: u64) -> (u64, u64) {
        let count = |share: f64| (((share * d as f64 - ROUNDING).ceil() as u64).max(1)).min(d);
        let sent = if self.top_k_share < 1.0 { count(self.top_k_share) } else { d };
        let outliers = if self.outlier_share > 0.0 { count(self.outlier_share).min(sent) } else { 0 };
        (outliers, sent)
    }

    /// Bits on the air of a tensor of `rows` × `d` values, with what stands in front of its rows
    /// and without the headers of packets: for each row, with b the
    /// bits of a value, o outliers and k values sent,
    ///
    /// `(k - o)·b + 16·o + scale + pos(k of d) + pos(o of k)`, `pos(m of n) = min(m·⌈log2 n⌉, n)`:
    ///
    /// positions are a list of indices, or a mask of a bit for each value if that is
    /// shorter; none if all or none of the n are meant.
    ///
    /// `d` is the width of the cost geometry; the running model's tensor, which
    /// [`quantise`](Self::quantise) sees, may be narrower, but has as many rows, and the same shares.
    pub fn payload_bits(&self, rows: u64, d: u64) -> u64 {
        let (outliers, sent) = self.counts(d);
        let values = (sent - outliers).saturating_mul(self.encoding.bits_per_value());
        let row = values.saturating_add(outliers.saturating_mul(OUTLIER_BITS)).saturating_add(self.front_bits(d));
        rows.saturating_mul(row)
    }

    /// Bits in front of the values of a row: its scale and positions.
    fn front_bits(&self, d: u64) -> u64 {
        let (outliers, sent) = self.counts(d);
        let positions = position_bits(sent, d).saturating_add(position_bits(outliers, sent));
        positions.saturating_add(self.encoding.row_header_bits())
    }

    /// Bits of packet `k` < `packets` of a row of `d` values: the first has the scale and the positions, and
    /// values and outliers are spread evenly. Their sum is [`payload_bits`](Self::payload_bits) of the row.
    pub fn packet_bits(&self, k: u64, packets: u64, d: u64) -> u64 {
        let (outliers, sent) = self.counts(d);
        let part = |count: u64| (k + 1) * count / packets - k * count / packets;
        let front = if k == 0 { self.front_bits(d) } else { 0 };
        let bits = self.encoding.bits_per_value();
        part(sent) * bits + part(outliers) * OUTLIER_BITS.saturating_sub(bits) + front
    }

    /// What the receiver decodes of `rows`, rows of `d` values, in place: those that are not sent are 0, the others are
    /// as [`Encoding::quantise`] has them, outliers as it has them in `f16`. A NaN is larger than
    /// anything, and so is seen: alone, or with `int8` and `int4` in all that its row sends.
    pub fn quantise(&self, rows: &mut [f32], d: usize) {
        if self.outlier_share == 0.0 && self.top_k_share == 1.0 {
            self.encoding.quantise(rows, d);
            return;
        }
        let (mut order, mut rest) = (Vec::new(), Vec::new());
        for row in rows.chunks_mut(d.max(1)) {
            let (outliers, sent) = self.counts(row.len() as u64);
            order.clear();
            order.extend(0..row.len());
            take_largest(&mut order, row, sent as usize);
            let (sent, dropped) = order.split_at_mut(sent as usize);
            for &mut e in dropped {
                row[e] = 0.0;
            }
            if self.encoding.has_scale() && sent.iter().any(|&e| row[e].is_nan()) {
                for &mut e in sent {
                    row[e] = f32::NAN;
                }
                continue;
            }
            take_largest(sent, row, outliers as usize);
            let (outliers, scaled) = sent.split_at(outliers as usize);
            for (some, encoding) in [(outliers, Encoding::F16), (scaled, self.encoding)] {
                rest.clear();
                rest.extend(some.iter().map(|&e| row[e]));
                encoding.quantise(&mut rest, some.len());
                for (&e, &value) in some.iter().zip(&rest) {
                    row[e] = value;
                }
            }
        }
    }
}

/// Brings the `count` elements of the largest magnitudes to the front of `order`; of equal ones the lower index first.
fn take_largest(order: &mut [usize], row: &[f32], count: usize) {
    if (1..order.len()).contains(&count) {
        order.select_nth_unstable_by(count - 1, |&a, &b| row[b].abs().total_cmp(&row[a].abs()).then_with(|| a.cmp(&b)));
    }
}

/// Bits that say which `count` of `of` values are meant.
fn position_bits(count: u64, of: u64) -> u64 {
    if count == 0 || count >= of {
        return 0;
    }
    // ⌈log2 n⌉ for n ≥ 2.
    let index = u64::from(u64::BITS - (of - 1).leading_zeros());
    count.saturating_mul(index).min(of)
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encoding.name())?;
        if self.outlier_share > 0.0 {
            write!(f, "+outliers={}", self.outlier_share)?;
        }
        if self.top_k_share < 1.0 {
            write!(f, "+top-k={}", self.top_k_share)?;
        }
        Ok(())
    }
}

impl FromStr for Codec {
    type Err = CodecError;

    fn from_str(text: &str) -> Result<Self, CodecError> {
        let wrong = || CodecError::Text(text.to_owned());
        let mut parts = text.split('+');
        let name = parts.next().unwrap_or_default();
        let encoding = Encoding::ALL.into_iter().find(|encoding| encoding.name() == name).ok_or_else(wrong)?;
        let [mut outliers, mut top_k] = [None; 2];
        for part in parts {
            let (key, share) = part.split_once('=').ok_or_else(wrong)?;
            let place = match key {
                "outliers" => &mut outliers,
                "top-k" => &mut top_k,
                _ => return Err(wrong()),
            };
            if place.replace(share.parse::<f64>().map_err(|_| wrong())?).is_some() {
                return Err(wrong());
            }
        }
        Self::new(encoding, outliers.unwrap_or(0.0), top_k)
    }
}

impl TryFrom<String> for Codec {
    type Error = CodecError;

    fn try_from(text: String) -> Result<Self, CodecError> {
        text.parse()
    }
}

impl From<Codec> for String {
    fn from(codec: Codec) -> Self {
        codec.to_string()
    }
}

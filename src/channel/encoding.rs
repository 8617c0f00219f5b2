//! How a digital link writes a tensor: bits on the air and error in the tensor,
//! from one place.

use half::{bf16, f16};

/// The format of a transmitted value.
///
/// `int8` and `int4` are symmetric absolute-maximum ("absmax") quantisation per
/// token, as in LLM.int8() (Dettmers et al., NeurIPS 2022, arXiv 2208.07339:
/// one scale per row of the activations) and SmoothQuant (Xiao et al., ICML
/// 2023, arXiv 2211.10438: per-token, `Δ = max|y|/(2^(N-1) - 1)`). The scale
/// travels in front of its row, in half precision. Each packet that arrives is
/// decoded: that the scale be known to it is taken for granted, as with transmit normalisation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// IEEE 754 single precision: 32 bits, no error.
    F32,
    /// IEEE 754 half precision: 16 bits, relative error up to 2⁻¹¹; values beyond
    /// ±65504 become ±65504, not infinities, so that one outlier in the
    /// activations does not turn the model's output into NaN.
    #[default]
    F16,
    /// bfloat16, the upper half of single precision: 16 bits, relative error up
    /// to 2⁻⁸, and its range (values beyond ±3.39e38 become that).
    Bf16,
    /// Integers from -127 to 127 times a scale for each token: 8 bits a value
    /// and 16 a row; error up to half the scale, which is the row's largest
    /// magnitude / 127.
    Int8,
    /// Integers from -7 to 7 times a scale for each token: 4 bits a value and 16
    /// a row; error up to half the scale, which is the row's largest magnitude / 7.
    Int4,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Int8, Self::Int4];

    /// Its name in scenario files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }

    /// Whether values are multiples of a scale of their row, which its largest magnitude sets.
    pub const fn has_scale(self) -> bool {
        matches!(self, Self::Int8 | Self::Int4)
    }

    /// Bits of one value, without its row's header.
    pub const fn bits_per_value(self) -> u64 {
        match self {
            Self::F32 => 32,
            Self::F16 | Self::Bf16 => 16,
            Self::Int8 => 8,
            Self::Int4 => 4,
        }
    }

    /// Bits in front of each row (token): the scale of `int8` and `int4`.
    pub const fn row_header_bits(self) -> u64 {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 0,
            Self::Int8 | Self::Int4 => 16,
        }
    }

    /// Bits on the air of a tensor of `rows` × `d` values, with the headers of its
    /// rows and without those of packets: `rows · (d · bits per value + row header)`.
    ///
    /// `d` is the width of the cost geometry; the running model's tensor, which
    /// [`quantise`](Self::quantise) sees, may be narrower, but has as many rows.
    pub const fn payload_bits(self, rows: u64, d: u64) -> u64 {
        rows.saturating_mul(d.saturating_mul(self.bits_per_value()).saturating_add(self.row_header_bits()))
    }

    /// What the receiver decodes of `rows`, rows of `d` values, in place: each value
    /// rounded to the nearest of the format, ties to even. A NaN stays one: with
    /// `int8` and `int4` in the scale, and so in the whole row.
    pub fn quantise(self, rows: &mut [f32], d: usize) {
        match self {
            Self::F32 => {}
            Self::F16 => {
                let limit = f16::MAX.to_f32();
                for value in rows {
                    *value = f16::from_f32(value.clamp(-limit, limit)).to_f32();
                }
            }
            Self::Bf16 => {
                let limit = bf16::MAX.to_f32();
                for value in rows {
                    *value = bf16::from_f32(value.clamp(-limit, limit)).to_f32();
                }
            }
            Self::Int8 => rows.chunks_mut(d.max(1)).for_each(|row| quantise_row(row, 127)),
            Self::Int4 => rows.chunks_mut(d.max(1)).for_each(|row| quantise_row(row, 7)),
        }
    }
}

/// One row in integers from `-largest` to `largest` times [`row_scale`]: `ŷ = s·round(y/s)`.
fn quantise_row(row: &mut [f32], largest: i32) {
    let scale = row_scale(row, largest);
    for value in row {
        // In double precision: a quotient that single precision would round onto a tie stays off it.
        // A cast takes NaN (0/0, or a NaN in the row) to 0, and 0·NaN is NaN again.
        let code = ((f64::from(*value) / scale.to_f64()).round_ties_even() as i32).clamp(-largest, largest);
        *value = code as f32 * scale.to_f32();
    }
}

/// The scale of a row, as it is sent: the smallest half-precision number s for
/// which `largest · s ≥ max|y|`. Rounded up, not to nearest, so that no value of the row clips.
///
/// Only rows beyond `largest` · 65504 (8.3e6 for `int8`, 4.6e5 for `int4`) clip,
/// for there half precision ends. A row of zeros has scale 0, a row with a NaN
/// has scale NaN: what is wrong with a model must be seen.
fn row_scale(row: &[f32], largest: i32) -> f16 {
    if row.iter().any(|value| value.is_nan()) {
        return f16::NAN;
    }
    let peak = f64::from(row.iter().fold(0.0f32, |peak, value| peak.max(value.abs())));
    let nearest = f16::from_f64((peak / f64::from(largest)).min(f16::MAX.to_f64()));
    // The product is exact: 11 bits by 7 bits.
    let is_short = nearest.to_f64() * f64::from(largest) < peak && nearest < f16::MAX;
    // The bits of positive floats are in their order.
    if is_short { f16::from_bits(nearest.to_bits() + 1) } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded<const N: usize>(encoding: Encoding, mut values: [f32; N]) -> [f32; N] {
        encoding.quantise(&mut values, N);
        values
    }

    #[test]
    fn half_precision_rounds_to_nearest_even_and_saturates() {
        // 2049 lies half-way between 2048 and 2050, and 2051 between 2050 and 2052; 1e-8 is below half the smallest subnormal, 2⁻²⁴.
        let values = [0.1, -1.0, 2049.0, 2051.0, 65504.0, 65520.0, -1e30, f32::INFINITY, 1e-8, 6e-8];
        assert_eq!(
            decoded(Encoding::F16, values),
            [0.099_975_586, -1.0, 2048.0, 2052.0, 65504.0, 65504.0, -65504.0, 65504.0, 0.0, 2f32.powi(-24)]
        );
    }

    #[test]
    fn bfloat16_rounds_to_nearest_even_and_saturates() {
        // Eight significant bits: 257 lies half-way between 256 and 258, 259 between 258 and 260.
        let largest = (2.0 - 2f32.powi(-7)) * 2f32.powi(127);
        assert_eq!(
            decoded(Encoding::Bf16, [0.1, 257.0, -259.0, 65520.0, f32::MAX, f32::NEG_INFINITY]),
            [0.100_097_656, 256.0, -260.0, 65536.0, largest, -largest]
        );
        assert!(decoded(Encoding::Bf16, [f32::NAN])[0].is_nan());
    }

    #[test]
    fn floats_err_by_at_most_half_a_unit_in_the_last_place() {
        for (encoding, bound) in [(Encoding::F16, 2f32.powi(-11)), (Encoding::Bf16, 2f32.powi(-8))] {
            let mut worst = 0.0f32;
            for i in 0..100_000 {
                let x = (f64::from(i) * 1e-4).exp() as f32;
                worst = worst.max(((decoded(encoding, [x])[0] - x) / x).abs());
            }
            assert!(worst <= bound && worst > 0.95 * bound, "{encoding:?}: {worst}");
        }
    }

    #[test]
    fn single_precision_changes_nothing() {
        let values = [f32::MIN_POSITIVE, -0.0, f32::MAX];
        assert_eq!(decoded(Encoding::F32, values).map(f32::to_bits), values.map(f32::to_bits));
    }

    #[test]
    fn integers_times_a_scale_by_hand() {
        // Scale 1/4 exactly: 31.75/127. 0.125 and 0.375 are half-way: to even codes 0 and 2.
        assert_eq!(
            decoded(Encoding::Int8, [31.75, 0.125, 0.375, -0.375, 0.13, -31.7, 5.1]),
            [31.75, 0.0, 0.5, -0.5, 0.25, -31.75, 5.0]
        );
        // Scale 2 exactly: 14/7.
        assert_eq!(decoded(Encoding::Int4, [-14.0, 1.0, 3.0, 2.9, -1.1, 9.5]), [-14.0, 0.0, 4.0, 2.0, -2.0, 10.0]);
        // 1/127 = 2⁻⁷·1.007874, between 1032/1024 and 1033/1024: sent as 2⁻⁷·1033/1024, the upper one.
        let scale = 1033.0 / 1024.0 / 128.0;
        assert_eq!(decoded(Encoding::Int8, [1.0, -1.0, 0.5]), [127.0 * scale, -127.0 * scale, 63.0 * scale]);
        // No code is a negative zero.
        assert_eq!(decoded(Encoding::Int8, [-1e-9, 1.0])[0].to_bits(), 0);
    }

    #[test]
    fn each_row_has_its_own_scale() {
        let mut rows = [127.0, 0.4, 0.6, 12.7, 0.04, 0.06];
        Encoding::Int8.quantise(&mut rows, 3);
        let mut second = [12.7, 0.04, 0.06];
        Encoding::Int8.quantise(&mut second, 3);
        assert_eq!((&rows[..3], &rows[3..]), (&[127.0, 0.0, 1.0][..], &second[..]));
        assert!(second[1] == 0.0 && (second[2] - 0.1).abs() < 1e-4);
    }

    #[test]
    fn rows_of_zeros_and_rows_that_are_not_finite() {
        for (encoding, largest) in [(Encoding::Int8, 127.0), (Encoding::Int4, 7.0)] {
            assert_eq!(decoded(encoding, [0.0, -0.0, 0.0]).map(f32::to_bits), [0; 3]);
            encoding.quantise(&mut [], 4);
            // The smallest scale is 2⁻²⁴, half of which is the smallest value that survives.
            let least = 2f32.powi(-24);
            assert_eq!(decoded(encoding, [1e-45, 0.51 * least, 0.49 * least]), [0.0, least, 0.0]);
            // The largest is 65504; what it does not reach clips.
            let most = largest * 65504.0;
            assert_eq!(decoded(encoding, [most, -1.0]), [most, 0.0]);
            assert_eq!(decoded(encoding, [f32::MAX, -1e9, 7e4]), [most, -most, 65504.0]);
            assert_eq!(decoded(encoding, [f32::NEG_INFINITY, 1.0]), [-most, 0.0]);
            assert!(decoded(encoding, [1.0, f32::NAN, 0.0]).iter().all(|y| y.is_nan()));
        }
    }

    #[test]
    fn bits_on_the_air_of_llama_2_7b() {
        assert_eq!(Encoding::F16.payload_bits(1, 4096), 8 * 8192);
        assert_eq!(Encoding::Bf16.payload_bits(1, 4096), 8 * 8192);
        assert_eq!(Encoding::F32.payload_bits(20, 4096), 20 * 4096 * 32);
        assert_eq!(Encoding::Int8.payload_bits(1, 4096), 32_784); // 4096·8 + 16
        assert_eq!(Encoding::Int4.payload_bits(1, 4096), 16_400); // 4096·4 + 16
        assert_eq!(Encoding::Int8.payload_bits(64, 4096), 64 * 32_784);
        assert_eq!(Encoding::Int8.payload_bits(u64::MAX, u64::MAX), u64::MAX);
    }
}

//! How a digital link writes a tensor: bits on the air and error in the tensor,
//! from one place.

use half::f16;

/// The format of a transmitted value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-planned" = ["int8", "int4", "bf16"]))]
pub enum Encoding {
    /// IEEE 754 single precision: 32 bits, no error.
    F32,
    /// IEEE 754 half precision: 16 bits, relative error up to 2⁻¹¹; values beyond
    /// ±65504 become ±65504, not infinities, so that one outlier in the
    /// activations does not turn the model's output into NaN.
    #[default]
    F16,
}

impl Encoding {
    /// Bits of one value.
    pub const fn bits_per_value(self) -> u64 {
        match self {
            Self::F32 => 32,
            Self::F16 => 16,
        }
    }

    /// Bits of a tensor of `rows` × `d` values, without headers.
    pub const fn payload_bits(self, rows: u64, d: u64) -> u64 {
        rows.saturating_mul(d).saturating_mul(self.bits_per_value())
    }

    /// What the receiver decodes of `values`, in place: each rounded to the
    /// nearest value of the format, ties to even.
    pub fn quantise(self, values: &mut [f32]) {
        match self {
            Self::F32 => {}
            Self::F16 => {
                let limit = f16::MAX.to_f32();
                for value in values {
                    *value = f16::from_f32(value.clamp(-limit, limit)).to_f32();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_rounds_to_nearest_even_and_saturates() {
        // 2049 lies half-way between 2048 and 2050, and 2051 between 2050 and 2052; 1e-8 is below half the smallest subnormal, 2⁻²⁴.
        let mut values = [0.1, -1.0, 2049.0, 2051.0, 65504.0, 65520.0, -1e30, f32::INFINITY, 1e-8, 6e-8];
        Encoding::F16.quantise(&mut values);
        assert_eq!(
            values,
            [0.099_975_586, -1.0, 2048.0, 2052.0, 65504.0, 65504.0, -65504.0, 65504.0, 0.0, 2f32.powi(-24)]
        );
    }

    #[test]
    fn half_precision_errs_by_at_most_two_to_the_minus_eleven() {
        for i in 0..100_000 {
            let x = (f64::from(i) * 1e-4).exp() as f32;
            let mut y = [x];
            Encoding::F16.quantise(&mut y);
            assert!(((y[0] - x) / x).abs() <= 2f32.powi(-11), "{x} became {}", y[0]);
        }
    }

    #[test]
    fn single_precision_changes_nothing() {
        let mut values = [f32::MIN_POSITIVE, -0.0, f32::MAX];
        Encoding::F32.quantise(&mut values);
        assert_eq!(values.map(f32::to_bits), [f32::MIN_POSITIVE, -0.0, f32::MAX].map(f32::to_bits));
    }

    #[test]
    fn a_row_of_llama_2_7b_takes_8192_bytes_in_half_precision() {
        assert_eq!(Encoding::F16.payload_bits(1, 4096), 8 * 8192);
        assert_eq!(Encoding::F32.payload_bits(20, 4096), 20 * 4096 * 32);
    }
}

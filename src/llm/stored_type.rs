//! How a checkpoint stores numbers: floats, or GGUF's blocks of small integers with scales.

use std::fmt;

/// Element type of a tensor as stored.
///
/// The quantised types come in blocks (layouts: `ggml-common.h` of llama.cpp): Q8_0
/// has one f16 scale and 32 bytes; the K-quants have 256 elements under one or two
/// f16 scales with small scales of their own inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single-precision number.
    BF16,
    /// 8 bits, `x = d·q`.
    Q8_0,
    /// 4 bits.
    Q4K,
    /// 5 bits.
    Q5K,
    /// 6 bits.
    Q6K,
}

impl fmt::Display for StoredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl StoredType {
    /// Its name, as safetensors and GGUF tools write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Elements and bytes of a block; a float is a block of one.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// Bytes of `elements` values in a row; `None` if they don't fill whole blocks, or
    /// the number overflows.
    pub fn bytes_of(self, elements: usize) -> Option<usize> {
        let (per_block, bytes) = self.block();
        if elements.is_multiple_of(per_block) { (elements / per_block).checked_mul(bytes) } else { None }
    }

    /// The first value in `bytes` that is infinite or not a number, and its index. Of a
    /// quantised block: its scale, and the index of its first element.
    pub(super) fn first_not_finite(self, bytes: &[u8]) -> Option<(usize, f32)> {
        match self {
            Self::F32 => {
                let all_ones = |b| u32::from_le_bytes(b) & 0x7f80_0000 == 0x7f80_0000;
                first(bytes.as_chunks().0, all_ones).map(|(index, b)| (index, f32::from_le_bytes(b)))
            }
            Self::F16 => {
                let all_ones = |b| u16::from_le_bytes(b) & 0x7c00 == 0x7c00;
                first(bytes.as_chunks().0, all_ones).map(|(index, b)| (index, half::f16::from_le_bytes(b).to_f32()))
            }
            Self::BF16 => {
                let all_ones = |b| u16::from_le_bytes(b) & 0x7f80 == 0x7f80;
                first(bytes.as_chunks().0, all_ones).map(|(index, b)| (index, half::bf16::from_le_bytes(b).to_f32()))
            }
            Self::Q8_0 => self.first_bad_scale(bytes, 0..2),
            Self::Q4K | Self::Q5K => self.first_bad_scale(bytes, 0..4), // d and dmin
            Self::Q6K => self.first_bad_scale(bytes, 208..210),
        }
    }

    /// `scales`: where in a block its f16 scales lie.
    fn first_bad_scale(self, bytes: &[u8], scales: std::ops::Range<usize>) -> Option<(usize, f32)> {
        let (elements, block) = self.block();
        bytes.chunks_exact(block).enumerate().find_map(|(index, block)| {
            let scales = block[scales.clone()].as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32());
            scales.into_iter().find(|scale| !scale.is_finite()).map(|scale| (index * elements, scale))
        })
    }

    /// The values in `bytes`; `None` for K-quants, which only matrices have.
    pub(super) fn to_f32(self, bytes: &[u8]) -> Option<Vec<f32>> {
        Some(match self {
            Self::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Self::F16 => bytes.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect(),
            Self::BF16 => bytes.as_chunks().0.iter().map(|&b| half::bf16::from_le_bytes(b).to_f32()).collect(),
            Self::Q8_0 => {
                let value = |&[low, high, ref quants @ ..]: &[u8; 34]| {
                    let scale = half::f16::from_le_bytes([low, high]).to_f32();
                    quants.map(|q| scale * f32::from(q.cast_signed()))
                };
                bytes.as_chunks().0.iter().flat_map(value).collect()
            }
            Self::Q4K | Self::Q5K | Self::Q6K => return None,
        })
    }
}

/// The first of `values` that is `bad`. Whole pieces are judged without a branch, as
/// checkpoints have billions of values.
fn first<const N: usize>(values: &[[u8; N]], bad: impl Fn([u8; N]) -> bool) -> Option<(usize, [u8; N])> {
    const PIECE: usize = 1024;
    let any = |piece: &[[u8; N]]| piece.iter().fold(false, |any, &value| any | bad(value));
    let piece = values.chunks(PIECE).position(any)?;
    let from = piece * PIECE;
    let index = from + values[from..].iter().position(|&value| bad(value))?;
    Some((index, values[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_the_sizes_of_the_format() {
        use StoredType::*;
        for (stored, elements, bytes) in [
            (F32, 7, 28),
            (F16, 7, 14),
            (BF16, 7, 14),
            (Q8_0, 64, 68),
            (Q4K, 512, 288),
            (Q5K, 256, 176),
            (Q6K, 256, 210),
        ] {
            assert_eq!(stored.bytes_of(elements), Some(bytes), "{stored}");
        }
        assert_eq!([Q8_0.bytes_of(33), Q6K.bytes_of(128), F32.bytes_of(usize::MAX)], [None; 3]);
    }

    #[test]
    fn bad_values_and_scales_are_found_where_they_are() {
        let mut bytes: Vec<u8> = (0..3000).flat_map(|i| (i as f32).to_le_bytes()).collect();
        assert_eq!(StoredType::F32.first_not_finite(&bytes), None);
        bytes[4 * 2050..4 * 2051].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
        assert_eq!(StoredType::F32.first_not_finite(&bytes), Some((2050, f32::NEG_INFINITY)));
        // Largest finite numbers, then infinity.
        assert_eq!(StoredType::F16.first_not_finite(&[0xff, 0x7b, 0x00, 0x7c]), Some((1, f32::INFINITY)));
        assert_eq!(StoredType::BF16.first_not_finite(&[0x7f, 0xff, 0x80, 0xff]), Some((1, f32::NEG_INFINITY)));
        // Quants of all ones are numbers like others; scales aren't.
        for (stored, scale) in [
            (StoredType::Q8_0, 0),
            (StoredType::Q4K, 0),
            (StoredType::Q4K, 2),
            (StoredType::Q5K, 2),
            (StoredType::Q6K, 208),
        ] {
            let (elements, block) = stored.block();
            let mut bytes = vec![0x3b; 3 * block];
            assert_eq!(stored.first_not_finite(&bytes), None);
            bytes[2 * block + scale..][..2].copy_from_slice(&[0x00, 0x7c]);
            assert_eq!(stored.first_not_finite(&bytes), Some((2 * elements, f32::INFINITY)), "{stored}");
        }
    }

    #[test]
    fn stored_values_are_read() {
        assert_eq!(StoredType::F16.to_f32(&[0x00, 0x3c, 0x00, 0xc1]), Some(vec![1.0, -2.5]));
        assert_eq!(StoredType::BF16.to_f32(&[0x80, 0x3f, 0x20, 0xc0]), Some(vec![1.0, -2.5]));
        // d = 0.5, q = 0, 1, …, with the sign in the last.
        let mut block = vec![0x00, 0x38];
        block.extend((0..31).chain([0xfe]));
        let values = StoredType::Q8_0.to_f32(&block).unwrap();
        assert_eq!((values.len(), values[3], values[30], values[31]), (32, 1.5, 15.0, -1.0));
        assert_eq!(StoredType::Q4K.to_f32(&[0; 144]), None);
    }
}

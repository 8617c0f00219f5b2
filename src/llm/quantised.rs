//! The block formats of GGUF files: 4 to 8 bits a weight, with scales per block.
//!
//! Layouts as in ggml (<https://github.com/ggml-org/ggml>, `ggml-common.h`). Blocks of
//! 32 rows are kept with their bytes side by side (byte b of all rows, then byte
//! b + 1), so that a block becomes numbers in all rows at once. The numbers are
//! those of ggml's own dequantisation, in single precision: products are taken with
//! the weights as they are and with activations that nothing rounds.

use half::f16;

use super::gemm::{Columns, PANEL};

/// Byte b of the blocks of all rows of a panel.
pub(super) type ByteRow = [u8; PANEL];

/// Half-precision numbers whose two bytes are `low` and `high`, one per row.
#[inline(always)]
fn halves(bytes: &[ByteRow], at: usize) -> Columns {
    let mut out = [0.0; PANEL];
    for lane in 0..PANEL {
        out[lane] = f16::from_le_bytes([bytes[at][lane], bytes[at + 1][lane]]).to_f32();
    }
    out
}

/// Q8_0: 32 weights in 34 bytes, `d` (f16) and 32 signed bytes: `w = d·q`.
#[inline(always)]
pub(super) fn q8_0(block: &[ByteRow], out: &mut [Columns]) {
    let scale = halves(block, 0);
    for (quants, out) in block[2..34].iter().zip(out) {
        for lane in 0..PANEL {
            out[lane] = scale[lane] * f32::from(quants[lane].cast_signed());
        }
    }
}

/// Scale and minimum of sub-block `j` < 8 of a K-quant, times `d` and `dmin`: six bits each,
/// packed in 12 bytes from byte 4 on.
#[inline(always)]
fn scale_and_minimum(block: &[ByteRow], d: &Columns, dmin: &Columns, j: usize) -> (Columns, Columns) {
    let packed = &block[4..16];
    let (mut scale, mut minimum) = ([0.0; PANEL], [0.0; PANEL]);
    for lane in 0..PANEL {
        let (s, m) = if j < 4 {
            (packed[j][lane] & 63, packed[j + 4][lane] & 63)
        } else {
            (
                (packed[j + 4][lane] & 0xf) | ((packed[j - 4][lane] >> 6) << 4),
                (packed[j + 4][lane] >> 4) | ((packed[j][lane] >> 6) << 4),
            )
        };
        scale[lane] = d[lane] * f32::from(s);
        minimum[lane] = dmin[lane] * f32::from(m);
    }
    (scale, minimum)
}

/// Q4_K: 256 weights in 144 bytes: `d`, `dmin` (f16), 12 bytes of scales, 128 of nibbles.
/// Eight sub-blocks of 32: `w = d·s_j·q - dmin·m_j`.
#[inline(always)]
pub(super) fn q4_k(block: &[ByteRow], out: &mut [Columns]) {
    let (d, dmin) = (halves(block, 0), halves(block, 2));
    for pair in 0..4 {
        let quants = &block[16 + 32 * pair..16 + 32 * (pair + 1)];
        for half in 0..2 {
            let (scale, minimum) = scale_and_minimum(block, &d, &dmin, 2 * pair + half);
            let out = &mut out[64 * pair + 32 * half..][..32];
            for (quants, out) in quants.iter().zip(out) {
                for lane in 0..PANEL {
                    let q = (quants[lane] >> (4 * half)) & 0xf;
                    out[lane] = scale[lane] * f32::from(q) - minimum[lane];
                }
            }
        }
    }
}

/// Q5_K: Q4_K with a fifth bit per weight: 176 bytes, the 32 bytes of fifth bits before the nibbles.
#[inline(always)]
pub(super) fn q5_k(block: &[ByteRow], out: &mut [Columns]) {
    let (d, dmin) = (halves(block, 0), halves(block, 2));
    let fifth = &block[16..48];
    for pair in 0..4 {
        let quants = &block[48 + 32 * pair..48 + 32 * (pair + 1)];
        for half in 0..2 {
            let sub = 2 * pair + half;
            let (scale, minimum) = scale_and_minimum(block, &d, &dmin, sub);
            let out = &mut out[32 * sub..][..32];
            for ((quants, fifth), out) in quants.iter().zip(fifth).zip(out) {
                for lane in 0..PANEL {
                    let q = ((quants[lane] >> (4 * half)) & 0xf) + (((fifth[lane] >> sub) & 1) << 4);
                    out[lane] = scale[lane] * f32::from(q) - minimum[lane];
                }
            }
        }
    }
}

/// Q6_K: 256 weights in 210 bytes: 128 of low nibbles, 64 of high pairs of bits, 16
/// signed scales, `d` (f16). Sixteen sub-blocks of 16: `w = d·s_j·(q - 32)`.
#[inline(always)]
pub(super) fn q6_k(block: &[ByteRow], out: &mut [Columns]) {
    let d = halves(block, 208);
    for half in 0..2 {
        let low = &block[64 * half..64 * (half + 1)];
        let high = &block[128 + 32 * half..128 + 32 * (half + 1)];
        for quarter in 0..4 {
            for sub in 0..2 {
                let scales = &block[192 + 8 * half + 2 * quarter + sub];
                let mut scale = [0.0; PANEL];
                for lane in 0..PANEL {
                    scale[lane] = d[lane] * f32::from(scales[lane].cast_signed());
                }
                for l in 16 * sub..16 * (sub + 1) {
                    let out = &mut out[128 * half + 32 * quarter + l];
                    let low = &low[32 * (quarter % 2) + l];
                    for lane in 0..PANEL {
                        let q =
                            ((low[lane] >> (4 * (quarter / 2))) & 0xf) | (((high[l][lane] >> (2 * quarter)) & 3) << 4);
                        out[lane] = scale[lane] * (f32::from(q) - 32.0);
                    }
                }
            }
        }
    }
}

//! A matrix of weights in panels, in the number format that it is stored in.
//!
//! \[out × in\] as Hugging Face has it becomes ⌈out/32⌉ panels of 32 outputs. Numbers
//! narrower than single precision are widened 256 inputs of a panel at a time,
//! just in front of the product: a checkpoint takes no more memory than its file.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::checkpoint::StoredType;
use super::elementwise::vectorised;
use super::gemm::{Columns, PANEL, Product};
use super::quantised::{self, ByteRow};

/// Inputs that are widened together for a few rows: 32 KiB of single precision, which the
/// first cache holds. A multiple of every format's block.
const BLOCK: usize = 256;
/// Inputs that are widened together for many rows: the second cache holds them, and sums
/// leave the registers less often.
const LONG_BLOCK: usize = 2048;
/// Most rows that are few.
const FEW_ROWS: usize = 8;
/// Rows that go through all panels together: they stay in the second cache.
const ROWS: usize = 192;

/// Weights \[out × in\] in panels.
#[derive(Debug)]
pub(super) struct Packed {
    inputs: usize,
    outputs: usize,
    storage: Storage,
}

/// Panel after panel; within one, input after input of 32 outputs.
#[derive(Debug)]
enum Storage {
    F32(Vec<Columns>),
    F16(Vec<[u16; PANEL]>),
    Bf16(Vec<[u16; PANEL]>),
    /// Bytes of the blocks of 32 rows side by side; `in` is a whole number of blocks.
    Blocks(StoredType, Vec<ByteRow>),
}

impl Packed {
    /// Packs a matrix whose rows `read` gives as they are stored (little-endian), a
    /// panel at a time: into the buffer, which holds other rows before.
    pub(super) fn pack<E>(
        outputs: usize,
        inputs: usize,
        stored: StoredType,
        mut read: impl FnMut(Range<usize>, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut storage =
            Storage::with_capacity(stored, outputs.div_ceil(PANEL) * stored.bytes_of(inputs).unwrap_or(0));
        let mut bytes = Vec::new();
        for first in (0..outputs).step_by(PANEL) {
            let rows = first..outputs.min(first + PANEL);
            read(rows.clone(), &mut bytes)?;
            storage.push_panel(&bytes, rows.len());
        }
        Ok(Self { inputs, outputs, storage })
    }

    /// Width of a row that it multiplies.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Width of a result.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// `out[s][o] = Σ_i a[s][i] · w[o][i]`, rows \[S × in\] to \[S × out\]. Numbers are
    /// widened in `wide`, which is kept from call to call to be set up once.
    pub(super) fn multiply(&self, arch: Arch, a: &[f32], out: &mut [f32], wide: &mut Vec<Columns>) {
        let block = match self.storage {
            Storage::F32(_) => self.inputs,
            _ if a.len() > FEW_ROWS * self.inputs => LONG_BLOCK,
            _ => BLOCK,
        };
        if !matches!(self.storage, Storage::F32(_)) {
            wide.resize(wide.len().max(block.min(self.inputs)), [0.0; PANEL]);
        }
        for (a, out) in a.chunks(ROWS * self.inputs).zip(out.chunks_mut(ROWS * self.outputs)) {
            let rows = a.len() / self.inputs;
            for (panel, output) in (0..self.outputs).step_by(PANEL).enumerate() {
                for first in (0..self.inputs).step_by(block) {
                    let depth = block.min(self.inputs - first);
                    let product = Product {
                        a: &a[first..],
                        stride: self.inputs,
                        rows,
                        panel: self.columns(arch, panel, first, depth, wide),
                        out: &mut out[output..],
                        out_stride: self.outputs,
                        columns: PANEL.min(self.outputs - output),
                        next: if rows > FEW_ROWS { self.storage.panel(panel + 1, self.inputs) } else { &[] },
                        add: first > 0,
                    };
                    product.run(arch);
                }
            }
        }
    }

    /// Weights of row `output`, widened.
    pub(super) fn row(&self, arch: Arch, output: usize) -> Vec<f32> {
        let mut wide = vec![[0.0; PANEL]; BLOCK];
        let mut row = Vec::with_capacity(self.inputs);
        for first in (0..self.inputs).step_by(BLOCK) {
            let depth = BLOCK.min(self.inputs - first);
            let columns = self.columns(arch, output / PANEL, first, depth, &mut wide);
            row.extend(columns.iter().map(|columns| columns[output % PANEL]));
        }
        row
    }

    /// Inputs `first..first + depth` of a panel in single precision, in `wide` if they aren't stored so.
    fn columns<'a>(
        &'a self,
        arch: Arch,
        panel: usize,
        first: usize,
        depth: usize,
        wide: &'a mut [Columns],
    ) -> &'a [Columns] {
        let start = panel * self.inputs + first;
        let (wide, _) = wide.split_at_mut(depth.min(wide.len())); // none for single precision
        match &self.storage {
            Storage::F32(columns) => return &columns[start..start + depth],
            Storage::F16(columns) => {
                arch.dispatch(WidenF16 {
                    narrow: columns[start..start + depth].as_flattened(),
                    wide: wide.as_flattened_mut(),
                });
            }
            Storage::Bf16(columns) => {
                arch.dispatch(WidenBf16 {
                    narrow: columns[start..start + depth].as_flattened(),
                    wide: wide.as_flattened_mut(),
                });
            }
            Storage::Blocks(stored, bytes) => {
                let (elements, per_block) = stored.block();
                let blocks = &bytes[start / elements * per_block..][..depth / elements * per_block];
                for (block, wide) in blocks.chunks_exact(per_block).zip(wide.chunks_exact_mut(elements)) {
                    arch.dispatch(Dequantise { stored: *stored, block, wide });
                }
            }
        }
        wide
    }
}

vectorised! {
    /// Half precision, finite: sign, exponent and fraction move to their places, and the exponent's
    /// offset by 127 - 15 in a product with 2¹¹², which is exact, subnormal numbers included.
    WidenF16<'a> { narrow: &'a [u16], wide: &'a mut [f32] } {
        const SHIFT: f32 = f32::from_bits((112 + 127) << 23);
        const SIGN_EXPONENT_FRACTION: u32 = 0x8fff_e000;
        let count = wide.len().min(narrow.len());
        let (wide, narrow) = (&mut wide[..count], &narrow[..count]);
        for i in 0..count {
            let spread = (i32::from(narrow[i].cast_signed()) << 13).cast_unsigned();
            wide[i] = f32::from_bits(spread & SIGN_EXPONENT_FRACTION) * SHIFT;
        }
    }
}

vectorised! {
    /// The upper half of single precision.
    WidenBf16<'a> { narrow: &'a [u16], wide: &'a mut [f32] } {
        let count = wide.len().min(narrow.len());
        let (wide, narrow) = (&mut wide[..count], &narrow[..count]);
        for i in 0..count {
            wide[i] = f32::from_bits(u32::from(narrow[i]) << 16);
        }
    }
}

vectorised! {
    /// One block of all rows of a panel.
    Dequantise<'a> { stored: StoredType, block: &'a [ByteRow], wide: &'a mut [Columns] } {
        match stored {
            StoredType::Q8_0 => quantised::q8_0(block, wide),
            StoredType::Q4K => quantised::q4_k(block, wide),
            StoredType::Q5K => quantised::q5_k(block, wide),
            StoredType::Q6K => quantised::q6_k(block, wide),
            StoredType::F32 | StoredType::F16 | StoredType::BF16 => {}
        }
    }
}

impl Storage {
    /// A panel of single precision, if there is one.
    fn panel(&self, index: usize, inputs: usize) -> &[Columns] {
        match self {
            Self::F32(columns) => columns.get(index * inputs..(index + 1) * inputs).unwrap_or_default(),
            Self::F16(_) | Self::Bf16(_) | Self::Blocks(..) => &[],
        }
    }

    /// Room for so many rows of 32 bytes.
    fn with_capacity(stored: StoredType, byte_rows: usize) -> Self {
        match stored {
            StoredType::F32 => Self::F32(Vec::with_capacity(byte_rows / 4)),
            StoredType::F16 => Self::F16(Vec::with_capacity(byte_rows / 2)),
            StoredType::BF16 => Self::Bf16(Vec::with_capacity(byte_rows / 2)),
            blocks => Self::Blocks(blocks, Vec::with_capacity(byte_rows)),
        }
    }

    /// Appends a panel of `rows` ≤ 32 rows, one after the other in `bytes`; the others are zero.
    fn push_panel(&mut self, bytes: &[u8], rows: usize) {
        match self {
            Self::F32(panels) => interleave(panels, bytes, rows, f32::from_le_bytes),
            Self::F16(panels) | Self::Bf16(panels) => interleave(panels, bytes, rows, u16::from_le_bytes),
            Self::Blocks(_, panels) => interleave(panels, bytes, rows, |[byte]: [u8; 1]| byte),
        }
    }
}

/// Appends the elements of `rows` rows, side by side.
fn interleave<const N: usize, T: Copy + Default>(
    panels: &mut Vec<[T; PANEL]>,
    bytes: &[u8],
    rows: usize,
    element: impl Fn([u8; N]) -> T,
) {
    let (elements, _) = bytes.as_chunks::<N>();
    let inputs = elements.len() / rows;
    let start = panels.len();
    panels.resize(start + inputs, [T::default(); PANEL]);
    for (lane, row) in elements.chunks_exact(inputs).enumerate() {
        for (columns, &bytes) in panels[start..].iter_mut().zip(row) {
            columns[lane] = element(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_numbers_are_widened_exactly() {
        // Every finite number of either format, in all lanes.
        let finite = |bits: &u16| half::f16::from_bits(*bits).is_finite();
        let halves: Vec<u16> = (0..=u16::MAX).filter(finite).collect();
        let mut wide = vec![f32::NAN; halves.len()];
        Arch::new().dispatch(WidenF16 { narrow: &halves, wide: &mut wide });
        for (wide, bits) in wide.iter().zip(&halves) {
            assert_eq!(wide.to_bits(), half::f16::from_bits(*bits).to_f32().to_bits(), "{bits:#06x}");
        }
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let mut wide = vec![0.0; all.len()];
        Arch::new().dispatch(WidenBf16 { narrow: &all, wide: &mut wide });
        for (wide, bits) in wide.iter().zip(&all) {
            assert_eq!(wide.to_bits(), u32::from(*bits) << 16, "{bits:#06x}");
        }
    }

    #[test]
    fn packed_products_are_those_of_plain_loops_whatever_the_blocks() {
        let number = |i: usize| ((i * 7919 + 13) % 101) as f32 / 50.0 - 1.0;
        // More inputs than a long block, outputs that don't fill a panel, few and many rows.
        let (inputs, outputs) = (LONG_BLOCK + 40, PANEL + 3);
        let weight: Vec<f32> = (0..outputs * inputs).map(number).collect();
        for stored in [StoredType::F32, StoredType::BF16] {
            let bytes_of = |x: f32| -> Vec<u8> {
                if stored == StoredType::F32 {
                    x.to_le_bytes().into()
                } else {
                    half::bf16::from_f32(x).to_le_bytes().into()
                }
            };
            let kept = |x: f32| if stored == StoredType::F32 { x } else { half::bf16::from_f32(x).to_f32() };
            let packed = Packed::pack(outputs, inputs, stored, |rows, bytes| {
                bytes.clear();
                weight[rows.start * inputs..rows.end * inputs].iter().for_each(|&x| bytes.extend(bytes_of(x)));
                Ok::<(), ()>(())
            })
            .unwrap();
            let row: Vec<f32> = weight[inputs..2 * inputs].iter().map(|&x| kept(x)).collect();
            assert_eq!(packed.row(Arch::new(), 1), row);
            let mut alone = Vec::new();
            for rows in [1, FEW_ROWS, FEW_ROWS + 1, 30] {
                let a: Vec<f32> = (0..rows * inputs).map(|i| number(i % (3 * inputs) + 5)).collect();
                let mut out = vec![f32::NAN; rows * outputs];
                packed.multiply(Arch::new(), &a, &mut out, &mut Vec::new());
                for (index, found) in out.iter().enumerate() {
                    let (r, o) = (index / outputs, index % outputs);
                    let terms =
                        (0..inputs).map(|i| f64::from(a[r * inputs + i]) * f64::from(kept(weight[o * inputs + i])));
                    let (exact, size): (f64, f64) = terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                    // A chain of n roundings to 24 bits errs by at most n·2⁻²⁴ of the terms' sizes.
                    let bound = inputs as f64 * 2f64.powi(-24) * size;
                    assert!((f64::from(*found) - exact).abs() < bound, "{stored} {rows} rows at {r}, {o}");
                }
                if alone.is_empty() {
                    alone = out[..outputs].to_vec();
                }
                assert_eq!(out[..outputs], alone, "a row alone has the bits of a row among others");
            }
        }
    }
}

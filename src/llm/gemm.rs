//! The matrix product of rows with packed columns: the inner loop of everything
//! that the decoder computes.
//!
//! Columns stand in *panels* of [`PANEL`]: element k of all columns of a panel is
//! contiguous. The kernel keeps a tile of up to 12 rows × 32 columns in registers
//! and runs once along k (the register tiling of Goto & van de Geijn, ACM TOMS
//! 34(3), 2008; without their packing of the left side, whose rows are short here).
//!
//! Each result is one chain of multiply-adds over k in rising order, whatever the
//! number of rows and the width of the machine's vectors: one row alone has the bits
//! that it has among a thousand, so that a token decoded later has the bits of the
//! same token in a prompt.

use pulp::{Arch, Simd, WithSimd};

/// Columns of a panel; a multiple of twice every vector width in use.
pub(super) const PANEL: usize = 32;

/// Element k of a panel's columns.
pub(super) type Columns = [f32; PANEL];

/// `out[r][c] (+)= Σ_k a[r][k] · panel[k][c]` for one panel.
pub(super) struct Product<'a> {
    /// The rows: row r starts at `r · stride` and has `panel.len()` elements.
    pub a: &'a [f32],
    /// Distance of rows in `a`.
    pub stride: usize,
    /// Number of rows.
    pub rows: usize,
    /// The columns, by k.
    pub panel: &'a [Columns],
    /// The results: row r starts at `r · out_stride`.
    pub out: &'a mut [f32],
    /// Distance of rows in `out`.
    pub out_stride: usize,
    /// Columns wanted, 1 to [`PANEL`].
    pub columns: usize,
    /// What the next product will read of its panel, or nothing: fetched from memory meanwhile.
    pub next: &'a [Columns],
    /// Whether to go on with the sums in `out` rather than to begin with zero.
    pub add: bool,
}

impl Product<'_> {
    /// Computes it with the widest vectors of the machine.
    pub(super) fn run(self, arch: Arch) {
        arch.dispatch(self);
    }
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let width = 2 * S::F32_LANES;
        let mut column = 0;
        while column < self.columns {
            if self.columns - column <= S::F32_LANES {
                self.tiles::<S, 1>(simd, column);
            } else {
                self.tiles::<S, 2>(simd, column);
            }
            column += width;
        }
    }
}

impl Product<'_> {
    /// All rows of V vectors of columns from `column` on.
    #[inline(always)]
    fn tiles<S: Simd, const V: usize>(&mut self, simd: S, column: usize) {
        let mut row = 0;
        // 24 sums, 2 vectors of columns and 1 of a row fill 32 registers; half as many, 16.
        if S::F32_LANES == 8 {
            while self.rows - row >= 6 {
                self.tile::<S, 6, V>(simd, row, column);
                row += 6;
            }
        } else {
            while self.rows - row >= 12 {
                self.tile::<S, 12, V>(simd, row, column);
                row += 12;
            }
            if self.rows - row >= 8 {
                self.tile::<S, 8, V>(simd, row, column);
                row += 8;
            }
        }
        if self.rows - row >= 4 {
            self.tile::<S, 4, V>(simd, row, column);
            row += 4;
        }
        if self.rows - row >= 2 {
            self.tile::<S, 2, V>(simd, row, column);
            row += 2;
        }
        if self.rows > row {
            self.tile::<S, 1, V>(simd, row, column);
        }
    }

    /// R rows of V vectors of columns, in registers.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, row: usize, column: usize) {
        let panel = self.panel;
        let mut rows = [&self.a[..0]; R];
        for (r, slice) in rows.iter_mut().enumerate() {
            *slice = &self.a[(row + r) * self.stride..][..panel.len()];
        }
        let first = column / S::F32_LANES;
        // Sums are only ever indexed by constants, once the loops over R and V are
        // unrolled, and so stay in registers; `edge` is their copy in memory.
        let zero = simd.splat_f32s(0.0);
        let mut edge = [[zero; V]; R];
        if self.add {
            for (r, edge) in edge.iter_mut().enumerate() {
                for (v, vector) in edge.iter_mut().enumerate() {
                    *vector = simd.partial_load_f32s(&self.out[self.place::<S>(row + r, column, v)]);
                }
            }
        }
        let mut sums = [[zero; V]; R];
        for r in 0..R {
            for v in 0..V {
                sums[r][v] = edge[r][v];
            }
        }
        // Every tile reads one piece of `next`, two cache lines at every eighth step: so seldom that
        // nothing waits for them.
        let ahead = self.next.get(row / R * (panel.len() / 8)..).unwrap_or_default();
        let mut touched = 0;
        for k in 0..panel.len() {
            if k % 8 == 0
                && let Some(columns) = ahead.get(k / 8)
            {
                touched ^= columns[0].to_bits() ^ columns[PANEL / 2].to_bits();
            }
            let (vectors, _) = S::as_simd_f32s(&panel[k]);
            let mut columns = [zero; V];
            #[expect(clippy::manual_memcpy, reason = "a call in this loop would put the sums into memory")]
            for v in 0..V {
                columns[v] = vectors[first + v];
            }
            for r in 0..R {
                let x = simd.splat_f32s(rows[r][k]);
                for v in 0..V {
                    sums[r][v] = simd.mul_add_e_f32s(x, columns[v], sums[r][v]);
                }
            }
        }
        std::hint::black_box(touched);
        for r in 0..R {
            for v in 0..V {
                edge[r][v] = sums[r][v];
            }
        }
        for (r, edge) in edge.into_iter().enumerate() {
            for (v, sum) in edge.into_iter().enumerate() {
                let place = self.place::<S>(row + r, column, v);
                let out = &mut self.out[place];
                match S::as_mut_simd_f32s(out) {
                    ([out], []) => *out = sum,
                    (_, out) => simd.partial_store_f32s(out, sum),
                }
            }
        }
    }

    /// Where vector `v` of a tile's row stands in `out`: shorter at the last column wanted.
    #[inline(always)]
    fn place<S: Simd>(&self, row: usize, column: usize, v: usize) -> std::ops::Range<usize> {
        let start = (column + v * S::F32_LANES).min(self.columns);
        let end = (start + S::F32_LANES).min(self.columns);
        row * self.out_stride + start..row * self.out_stride + end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(i: usize) -> f32 {
        ((i * 7919 + 13) % 101) as f32 / 25.0 - 2.0
    }

    #[test]
    fn products_are_chains_of_multiply_adds_for_any_number_of_rows_and_columns() {
        let arch = Arch::new();
        let fused = matches!(arch, Arch::Scalar) || cfg!(not(target_arch = "x86_64"));
        for depth in [0, 1, 7, 64] {
            let panel: Vec<Columns> = (0..depth).map(|k| std::array::from_fn(|c| number(k * 31 + c * 17))).collect();
            for columns in [1, 5, 8, 15, 16, 17, 31, 32] {
                for rows in 1..=27 {
                    let (stride, out_stride) = (depth + 3, columns + 2);
                    let a: Vec<f32> = (0..rows * stride).map(|i| number(i * 3)).collect();
                    let mut out = vec![9.0; rows * out_stride];
                    Product {
                        a: &a,
                        stride,
                        rows,
                        panel: &panel,
                        out: &mut out,
                        out_stride,
                        columns,
                        next: &[],
                        add: false,
                    }
                    .run(arch);
                    for r in 0..rows {
                        for c in 0..out_stride {
                            let mut sum = 0.0_f32;
                            for k in 0..depth {
                                if c < columns {
                                    sum = a[r * stride + k].mul_add(panel[k][c], sum);
                                }
                            }
                            let found = out[r * out_stride + c];
                            if c >= columns {
                                assert_eq!(found, 9.0, "beyond the columns wanted");
                            } else if fused {
                                assert!((found - sum).abs() <= 1e-4);
                            } else {
                                assert_eq!(found.to_bits(), sum.to_bits(), "{rows}×{depth}×{columns} at {r}, {c}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_sum_in_two_parts_has_the_bits_of_one() {
        let panel: Vec<Columns> = (0..40).map(|k| std::array::from_fn(|c| number(k * 5 + c))).collect();
        let a: Vec<f32> = (0..3 * 40).map(number).collect();
        let mut whole = vec![0.0; 3 * 32];
        let mut parts = whole.clone();
        let add = |a: &[f32], panel: &[Columns], out: &mut [f32], add| {
            Product { a, stride: 40, rows: 3, panel, out, out_stride: 32, columns: 32, next: &[], add }
                .run(Arch::new());
        };
        add(&a, &panel, &mut whole, false);
        add(&a, &panel[..16], &mut parts, false);
        add(&a[16..], &panel[16..], &mut parts, true);
        assert_eq!(whole, parts);
    }
}

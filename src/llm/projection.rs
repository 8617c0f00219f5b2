//! A projection of rows: weights, and a bias where the family has one.

use std::convert::Infallible;

use pulp::Arch;

use super::checkpoint::Checkpoint;
use super::elementwise::AddToRows;
use super::gemm::Columns;
use super::packed::Packed;
use super::stored_type::StoredType;
use super::weights::WeightsError;

/// `y = x·Wᵀ + b`, rows \[S × in\] to \[S × out\].
#[derive(Debug)]
pub(super) struct Projection {
    weight: Packed,
    bias: Option<Vec<f32>>,
}

impl Projection {
    /// Reads `name.weight` \[out × in\], and `name.bias` \[out\] if there is to be one.
    pub(super) fn load(
        checkpoint: &mut Checkpoint,
        name: &str,
        [outputs, inputs]: [usize; 2],
        bias: bool,
    ) -> Result<Self, WeightsError> {
        let weight = format!("{name}.weight");
        let stored = checkpoint.stored_type(&weight)?;
        let shape = [outputs, inputs];
        // Before any memory is set aside for a shape that the file doesn't have.
        checkpoint.read_rows(&weight, shape, 0..0, &mut Vec::new())?;
        let weight =
            Packed::pack(outputs, inputs, stored, |rows, bytes| checkpoint.read_rows(&weight, shape, rows, bytes))?;
        let bias = if bias { Some(checkpoint.vector(&format!("{name}.bias"), outputs)?) } else { None };
        Ok(Self { weight, bias })
    }

    /// Packs `weight` \[out × in\], row after row, with a bias \[out\] or none. Incomplete rows are left out.
    pub(super) fn from_rows(weight: &[f32], inputs: usize, bias: Option<Vec<f32>>) -> Self {
        let outputs = weight.len().checked_div(inputs).unwrap_or(0);
        let Ok(weight) = Packed::pack(outputs, inputs, StoredType::F32, |rows, bytes| {
            bytes.clear();
            bytes.extend(weight[rows.start * inputs..rows.end * inputs].iter().flat_map(|w| w.to_le_bytes()));
            Ok::<(), Infallible>(())
        });
        Self { weight, bias }
    }

    /// Number of weights, the bias included.
    pub(super) fn parameters(&self) -> u64 {
        (self.weight.inputs() * self.weight.outputs() + self.bias.as_ref().map_or(0, Vec::len)) as u64
    }

    /// Projects `rows` into `out`, which becomes \[S × out\]. `wide` is room for widened weights.
    pub(super) fn forward(&self, arch: Arch, rows: &[f32], out: &mut Vec<f32>, wide: &mut Vec<Columns>) {
        // What it held is overwritten, not cleared: zeroing costs a tenth of the product.
        out.resize(rows.len() / self.weight.inputs() * self.weight.outputs(), 0.0);
        self.weight.multiply(arch, rows, out, wide);
        if let Some(bias) = &self.bias {
            arch.dispatch(AddToRows { x: out, bias });
        }
    }

    /// Weights of one output: an embedding's row.
    pub(super) fn row(&self, arch: Arch, output: usize) -> Vec<f32> {
        self.weight.row(arch, output)
    }
}

//! Matrix products, the one thing that is left to candle.

use candle_core::{CpuStorage, Device, Storage, Tensor};

/// A projection without bias, kept as \[in × out\]: both operands of the product are
/// then read along their rows, which is up to a fifth faster at these sizes than
/// the stored \[out × in\].
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
}

impl Linear {
    /// A projection from `parts`, matrices \[out_i × in\] as Hugging Face stores them,
    /// whose outputs stand side by side.
    pub(super) fn new(parts: &[Vec<f32>], inputs: usize) -> candle_core::Result<Self> {
        let outputs = parts.iter().map(Vec::len).sum::<usize>() / inputs;
        let mut weight: Vec<f32> = Vec::with_capacity(inputs * outputs);
        for input in 0..inputs {
            for part in parts {
                weight.extend(part.iter().skip(input).step_by(inputs));
            }
        }
        Ok(Self { weight: Tensor::from_vec(weight, (inputs, outputs), &Device::Cpu)? })
    }

    /// A projection whose weight is `stored` \[out × in\] itself, not a copy.
    pub(super) fn transposed_view(stored: &Tensor) -> candle_core::Result<Self> {
        Ok(Self { weight: stored.t()? })
    }

    /// Rows \[S × in\] → \[S × out\].
    pub(super) fn forward(&self, rows: Vec<f32>) -> candle_core::Result<Tensor> {
        let inputs = self.weight.dims()[0];
        let shape = (rows.len() / inputs, inputs);
        Tensor::from_vec(rows, shape, &Device::Cpu)?.matmul(&self.weight)
    }
}

/// Calls `read` with the values of a contiguous CPU tensor of `f32`, without a copy.
pub(super) fn with_values<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> candle_core::Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => Ok(read(&values[start..end])),
        _ => candle_core::bail!("expected a contiguous f32 tensor in main memory"),
    }
}

//! The intermediate tensor: what crosses the air at a split.

/// Hidden states of one window: `rows` positions of `width` values, row-major.
/// Plain numbers, so that a channel may change them between two layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Hidden {
    values: Vec<f32>,
    width: usize,
}

/// Values that don't fill whole rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{values} values are no whole number of rows of {width}; a hidden state is rows × width, neither 0")]
pub struct HiddenShapeError {
    /// How many values came.
    pub values: usize,
    /// The row width asked for.
    pub width: usize,
}

impl Hidden {
    /// Hidden states from `values`, row after row of `width` values.
    ///
    /// # Errors
    /// [`HiddenShapeError`] if there is no row, or an incomplete one.
    pub fn from_vec(values: Vec<f32>, width: usize) -> Result<Self, HiddenShapeError> {
        if values.is_empty() || width == 0 || !values.len().is_multiple_of(width) {
            return Err(HiddenShapeError { values: values.len(), width });
        }
        Ok(Self { values, width })
    }

    /// Number of positions S.
    pub fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// Values per position, d.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, row-major, to be changed in place.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// The values of one position after the other.
    pub fn iter_rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.width)
    }

    /// The values, row-major, without a copy.
    pub fn into_vec(self) -> Vec<f32> {
        self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_whole() {
        let hidden = Hidden::from_vec(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3).unwrap();
        assert_eq!((hidden.rows(), hidden.width()), (2, 3));
        assert_eq!(hidden.iter_rows().nth(1), Some([4.0, 5.0, 6.0].as_slice()));
        for (values, width) in [(vec![], 3), (vec![1.0; 4], 3), (vec![1.0], 0)] {
            assert!(Hidden::from_vec(values, width).is_err());
        }
    }
}

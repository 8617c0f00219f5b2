//! Which windows of a corpus importance is measured on, and which the result is judged on.

/// Windows by their index, no index in both lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSplit {
    /// For the gradient.
    pub calibration: Vec<usize>,
    /// For the perplexity before and after.
    pub held_out: Vec<usize>,
}

impl WindowSplit {
    /// Of `count` windows, `calibration` evenly spread; of the others as many as `held_out` asks for, evenly spread.
    /// `None` if there aren't enough for one held-out window.
    pub fn new(count: usize, calibration: usize, held_out: usize) -> Option<Self> {
        if calibration >= count {
            return None;
        }
        let chosen = spread(count, calibration);
        let others: Vec<usize> = (0..count).filter(|index| chosen.binary_search(index).is_err()).collect();
        let held_out =
            spread(others.len(), held_out.min(others.len())).into_iter().map(|index| others[index]).collect();
        Some(Self { calibration: chosen, held_out })
    }
}

/// `n` of `count` indices, at even distances, in ascending order.
fn spread(count: usize, n: usize) -> Vec<usize> {
    (0..n).map(|i| (i as u128 * count as u128 / n as u128) as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_spread_and_never_in_both_lists() {
        let split = WindowSplit::new(10, 4, 3).unwrap();
        // Others: 1, 3, 4, 6, 8, 9.
        assert_eq!(split, WindowSplit { calibration: vec![0, 2, 5, 7], held_out: vec![1, 4, 8] });
        let all = WindowSplit::new(10, 4, 100).unwrap();
        assert_eq!(all.held_out, [1, 3, 4, 6, 8, 9]);
        assert_eq!(WindowSplit::new(10, 9, 1).unwrap().held_out.len(), 1);
        assert_eq!(WindowSplit::new(10, 10, 1), None);
        assert_eq!(WindowSplit::new(0, 0, 1), None);
    }
}

//! How good exits are, on windows that they were not fitted to.

use crate::llm::RowScore;
use crate::network::rows::{Cell, CellVisitor, Column, Record, record};

/// Largest softmax from which on an exit counts as sure (CE-CoLLM's thresholds).
pub const THRESHOLDS: [f64; 2] = [0.8, 0.9];

/// Sums over rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Rows.
    pub rows: u64,
    kl: f64,
    nll: f64,
    full_nll: f64,
    agree: u64,
    sure: [u64; THRESHOLDS.len()],
    sure_agree: [u64; THRESHOLDS.len()],
}

impl Figures {
    /// Those of some rows, added in their order.
    pub fn of(scores: &[RowScore]) -> Self {
        let mut figures = Self::default();
        for score in scores {
            let agrees = u64::from(score.agrees);
            figures.rows += 1;
            figures.kl += score.kl;
            figures.nll += score.nll;
            figures.full_nll += score.teacher_nll;
            figures.agree += agrees;
            for (index, threshold) in THRESHOLDS.into_iter().enumerate() {
                let sure = u64::from(score.confidence >= threshold);
                figures.sure[index] += sure;
                figures.sure_agree[index] += sure * agrees;
            }
        }
        figures
    }

    /// With those of later rows.
    pub fn and(mut self, later: &Self) -> Self {
        self.rows += later.rows;
        self.kl += later.kl;
        self.nll += later.nll;
        self.full_nll += later.full_nll;
        self.agree += later.agree;
        for index in 0..THRESHOLDS.len() {
            self.sure[index] += later.sure[index];
            self.sure_agree[index] += later.sure_agree[index];
        }
        self
    }

    /// Mean KL(full model ‖ exit) \[nat per row\]; not a number of no rows.
    pub fn kl(&self) -> f64 {
        self.kl / self.rows as f64
    }

    /// The row of a head; `None` of no rows.
    pub fn row(&self, text: &str, layer: usize, head: &str, windows: usize) -> Option<ExitMetricsRow> {
        if self.rows == 0 {
            return None;
        }
        let n = self.rows as f64;
        let of_sure = |index: usize| {
            let sure = self.sure[index];
            (sure > 0).then(|| self.sure_agree[index] as f64 / sure as f64)
        };
        Some(ExitMetricsRow {
            text: text.to_owned(),
            layer: layer as u64,
            head: head.to_owned(),
            windows: windows as u64,
            rows: self.rows,
            ppl: (self.nll / n).exp(),
            ppl_full: (self.full_nll / n).exp(),
            kl_nats: self.kl(),
            agreement: self.agree as f64 / n,
            sure_80: self.sure[0] as f64 / n,
            sure_80_agreement: of_sure(0),
            sure_90: self.sure[1] as f64 / n,
            sure_90_agreement: of_sure(1),
        })
    }
}

record! {
    /// How good exits are: one row per text, layer and map in front of the head.
    "metrics.csv" => pub struct ExitMetricsRow {
        /// `held-out`: windows of the fitted text that neither map nor settings saw; `check`: windows of the text of `--check`.
        text: String,
        /// Layers in front of the exit.
        layer: u64,
        /// `logit-lens`: none, the head on the states as they are; `ridge`: ridge regression alone; `exit`: the head that is written.
        head: String,
        /// Windows.
        windows: u64,
        /// Tokens predicted.
        rows: u64,
        /// Perplexity of the exit, eq. (6), over all rows.
        ppl: f64,
        /// Perplexity of the whole model on the same rows.
        ppl_full: f64,
        /// Mean KL divergence of the exit's distribution from the whole model's \[nat\].
        kl_nats: f64,
        /// Share of rows in which the exit's first choice is the whole model's.
        agreement: f64,
        /// Share of rows in which the exit gives its first choice a probability of at least 0.8.
        sure_80: f64,
        /// Share of these whose first choice is the whole model's. Empty without any.
        sure_80_agreement: Option<f64>,
        /// Share of rows in which the exit gives its first choice a probability of at least 0.9.
        sure_90: f64,
        /// Share of these whose first choice is the whole model's. Empty without any.
        sure_90_agreement: Option<f64>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_by_hand() {
        let row = |kl, nll, confidence, agrees| RowScore { kl, nll, teacher_nll: 1.0, confidence, agrees };
        let scores = [
            row(0.5, 2.0, 0.95, true),
            row(0.125, 1.0, 0.85, false),
            row(0.25, 3.0, 0.8, true),
            row(0.75, 2.0, 0.2, true),
        ];
        let (first, rest) = scores.split_at(1);
        let figures = Figures::of(first).and(&Figures::of(rest));
        assert_eq!(figures, Figures::of(&scores));
        let found = figures.row("held-out", 4, "exit", 2).unwrap();
        assert!((found.ppl - 2f64.exp()).abs() < 1e-12 && (found.ppl_full - 1f64.exp()).abs() < 1e-12);
        assert!((found.kl_nats - 0.406_25).abs() < 1e-12);
        assert_eq!((found.agreement, found.sure_80, found.sure_90), (0.75, 0.75, 0.25));
        assert_eq!((found.sure_80_agreement, found.sure_90_agreement), (Some(2.0 / 3.0), Some(1.0)));
        assert!(Figures::default().row("check", 4, "exit", 0).is_none());
        assert_eq!(Figures::of(&scores[3..]).row("check", 4, "exit", 1).unwrap().sure_90_agreement, None);
    }
}

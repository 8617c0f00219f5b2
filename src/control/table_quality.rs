//! Quality from a table, and no quality.

use std::sync::Arc;

use crate::control::table::{QualityTable, TableValue};
use crate::network::ports::{Delivery, Quality, QualityError, QualityRequest, QualitySource, QualityTicket};

/// The table's expectation under the request's long-term conditions. Its own
/// gains and losses play no part, but for an outage, which scores chance.
pub struct TableQuality {
    table: Arc<QualityTable>,
    /// Vocabulary of the model that was profiled.
    vocab: usize,
    /// Results by ticket, from `first` on.
    results: std::collections::VecDeque<Quality>,
    first: u64,
}

impl TableQuality {
    /// A source for one run.
    pub fn new(table: Arc<QualityTable>, vocab: usize) -> Self {
        Self { table, vocab, results: std::collections::VecDeque::new(), first: 0 }
    }

    fn value(&self, request: &QualityRequest) -> Quality {
        let conditions = request.conditions;
        let (lowest, _) = self.table.splits();
        let at = |split: u32| self.table.value(split, conditions.loss_probability, conditions.noise_std);
        // The clean PPL doesn't depend on the split.
        expected_quality(request, self.vocab, at(lowest).ppl_clean, at)
    }
}

/// The quality of a request by an expectation: `clean` without a channel, `at` a split behind one;
/// an outage scores chance among `vocab` tokens.
pub(super) fn expected_quality(
    request: &QualityRequest,
    vocab: usize,
    clean: Option<f64>,
    at: impl FnOnce(u32) -> TableValue,
) -> Quality {
    let tokens = request.prompt_tokens;
    let (ppl, relative_gain) = match &request.delivery {
        Delivery::Direct => (clean, Some(0.0)),
        Delivery::Tensor(crossing) => {
            let value = at(crossing.split);
            (value.ppl, value.relative_gain)
        }
        Delivery::Nothing => {
            let chance = clean.map(|_| vocab as f64);
            (chance, chance.zip(clean).map(|(chance, clean)| (clean - chance) / clean))
        }
        Delivery::Late => (None, None),
    };
    Quality {
        nll_sum: ppl.map(|ppl| f64::from(tokens) * ppl.ln()),
        tokens_scored: ppl.map(|_| tokens),
        ppl_clean: clean,
        ppl,
        relative_gain,
        ..Quality::default()
    }
}

impl QualitySource for TableQuality {
    fn name(&self) -> Option<&'static str> {
        Some("table")
    }

    fn submit(&mut self, request: QualityRequest) -> QualityTicket {
        self.results.push_back(self.value(&request));
        QualityTicket(self.first + self.results.len() as u64 - 1)
    }

    fn join(&mut self, ticket: QualityTicket) -> Result<Quality, QualityError> {
        // The network joins in the order in which it submitted.
        if ticket.0 == self.first
            && let Some(result) = self.results.pop_front()
        {
            self.first += 1;
            return Ok(result);
        }
        let reason = format!("ticket {} is joined out of order, after {}", ticket.0, self.first);
        Err(QualityError::failed(None, None, reason))
    }
}

/// No quality: latency and energy only.
pub struct NoQuality;

impl QualitySource for NoQuality {
    fn name(&self) -> Option<&'static str> {
        None
    }

    fn submit(&mut self, _request: QualityRequest) -> QualityTicket {
        QualityTicket(0)
    }

    fn join(&mut self, _ticket: QualityTicket) -> Result<Quality, QualityError> {
        Ok(Quality::default())
    }
}

//! Quality from a surrogate.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::control::surrogate::{Surrogate, SurrogatePoint, SurrogateScratch};
use crate::control::table_quality::expected_quality;
use crate::network::ports::{Quality, QualityError, QualityRequest, QualitySource, QualityTicket};

/// The surrogate's expectation under the request's long-term conditions. Its own gains
/// and losses play no part, but for an outage, which scores chance.
pub struct SurrogateQuality {
    surrogate: Arc<Surrogate>,
    /// Vocabulary of the model that the records are of.
    vocab: usize,
    scratch: SurrogateScratch,
    /// Results by ticket, from `first` on.
    results: VecDeque<Quality>,
    first: u64,
}

impl SurrogateQuality {
    /// A source for one run.
    pub fn new(surrogate: Arc<Surrogate>, vocab: usize) -> Self {
        Self { surrogate, vocab, scratch: SurrogateScratch::default(), results: VecDeque::new(), first: 0 }
    }

    fn value(&mut self, request: &QualityRequest) -> Quality {
        surrogate_quality(&self.surrogate, self.vocab, request, &mut self.scratch)
    }
}

/// What a surrogate says of one request.
pub fn surrogate_quality(
    surrogate: &Surrogate,
    vocab: usize,
    request: &QualityRequest,
    scratch: &mut SurrogateScratch,
) -> Quality {
    expected_quality(request, vocab, surrogate.table_ppl_clean(), |split| {
        surrogate.value(&SurrogatePoint::of(split, &request.conditions), scratch)
    })
}

impl QualitySource for SurrogateQuality {
    fn name(&self) -> Option<&'static str> {
        Some("surrogate")
    }

    fn submit(&mut self, request: QualityRequest) -> QualityTicket {
        let result = self.value(&request);
        self.results.push_back(result);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Impairment, NoiseKey, Packets, ReceptionRecord};
    use crate::control::surrogate::{Input, InputColumn, Target, TargetColumn};
    use crate::network::ports::{Conditions, Crossing, Delivery};
    use crate::rl::{Activation, Mlp};

    /// `mean + scale · (split - 8)/2`, whatever the rest.
    fn line(target: Target, mean: f64, scale: f64) -> Arc<Surrogate> {
        let network = Mlp::from_parameters(&[1, 1], Activation::Relu, vec![1.0, 0.0]).unwrap();
        let inputs = vec![InputColumn { input: Input::Split, mean: 8.0, scale: 2.0, range: (1.0, 16.0) }];
        Arc::new(Surrogate::new(network, inputs, TargetColumn { target, mean, scale }, Some(20.0)).unwrap())
    }

    fn request(delivery: Delivery) -> QualityRequest {
        let conditions = Conditions { noise_std: 0.0, rayleigh_scale: 0.7, gain_threshold: 0.1, loss_probability: 0.2 };
        QualityRequest { window: None, prompt_tokens: 10, output_tokens: 1, delivery, conditions }
    }

    fn tensor(split: u32) -> Delivery {
        let reception = ReceptionRecord {
            impairment: Impairment::default(),
            noise_std: 0.0,
            loss_probability: 0.0,
            noise_key: NoiseKey::default(),
            packets: Packets::default(),
            rounds: Vec::new(),
        };
        Delivery::Tensor(Box::new(Crossing { split, reception }))
    }

    fn answers(surrogate: Arc<Surrogate>, deliveries: Vec<Delivery>) -> Vec<Quality> {
        let mut source = SurrogateQuality::new(surrogate, 512);
        assert_eq!(source.name(), Some("surrogate"));
        let tickets: Vec<QualityTicket> =
            deliveries.into_iter().map(|delivery| source.submit(request(delivery))).collect();
        assert!(source.join(QualityTicket(1)).is_err());
        tickets.into_iter().map(|ticket| source.join(ticket).unwrap()).collect()
    }

    #[test]
    fn a_gain_leaves_ppl_empty() {
        let surrogate = line(Target::RelativeGain, -0.25, 0.5);
        let found = answers(surrogate, vec![tensor(9), tensor(1), Delivery::Direct, Delivery::Nothing, Delivery::Late]);
        // -0.25 + 0.5·(9 - 8)/2 = 0; at split 1 -2, which no gain is below -1.
        assert_eq!(
            found.iter().map(|q| q.relative_gain).collect::<Vec<_>>(),
            [Some(0.0), Some(-1.0), Some(0.0), None, None]
        );
        for quality in found {
            assert_eq!(
                (quality.ppl, quality.ppl_clean, quality.nll_sum, quality.tokens_scored),
                (None, None, None, None)
            );
        }
    }

    #[test]
    fn a_ppl_gives_the_rest() {
        let of = |target, mean, scale| {
            answers(line(target, mean, scale), vec![tensor(10), Delivery::Direct, Delivery::Nothing, Delivery::Late])
        };
        let logarithmic = of(Target::LnPpl, 3.0, 0.5);
        let ppl = 3.5_f64.exp();
        assert_eq!(logarithmic[0].ppl, Some(ppl));
        assert_eq!(logarithmic[0].nll_sum, Some(10.0 * ppl.ln()));
        let capped = of(Target::Ppl { cap: None }, 24.0, 1.0);
        assert_eq!(
            (capped[0].ppl, capped[0].ppl_clean, capped[0].relative_gain),
            (Some(25.0), Some(20.0), Some(-0.25))
        );
        for found in [logarithmic, capped] {
            assert_eq!((found[1].ppl, found[1].relative_gain), (Some(20.0), Some(0.0)));
            assert_eq!((found[2].ppl, found[2].relative_gain), (Some(512.0), Some(-24.6)));
            assert_eq!((found[3].ppl, found[3].ppl_clean, found[3].tokens_scored), (None, Some(20.0), None));
        }
    }
}

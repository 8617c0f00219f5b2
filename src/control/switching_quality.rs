//! Algorithm 1 of \[Chen25\] as a quality source: true rewards first, then a surrogate
//! trained on them in the run itself.
//!
//! ```text
//! evaluation 0 … T·n_steps - 1   truth ─▶ rewards, and a buffer of records
//!                 T·n_steps      the surrogate is fitted to the buffer
//!                 … on           surrogate ─▶ rewards; now and then truth ─▶ a probe
//!                                probes too far off: fitted anew, to all records
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::control::surrogate::{Surrogate, SurrogatePoint, SurrogateRow, SurrogateScratch};
use crate::control::surrogate_quality::SurrogateQuality;
use crate::network::ports::{Delivery, Quality, QualityError, QualityRequest, QualitySource, QualityTicket};

/// Probes that run at a time: enough to keep the cores busy.
const PROBES_AT_ONCE: usize = 16;

/// When a source switches, and how the surrogate is watched then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Switching {
    /// Evaluations by the true source, of all UEs together: T epochs of n_steps.
    pub after: u64,
    /// Then one evaluation in so many is a probe; 0 for none.
    pub probe_every: u32,
    /// Latest probes that the surrogate is judged by.
    pub probes: u32,
    /// It is fitted anew when its mean squared error on them exceeds so many times that on held-out records.
    pub refit_above: f64,
}

/// A surrogate and how far off it was.
pub struct Fit {
    /// The surrogate.
    pub surrogate: Arc<Surrogate>,
    /// Its mean squared error on records that were held out.
    pub held_out_mse: f64,
}

/// Fits a surrogate to records; the number counts the fits of a run.
pub type Fitting = Box<dyn FnMut(&[SurrogateRow], u32) -> Result<Fit, String>>;

/// An evaluation that was handed in.
enum Open {
    /// To the true source; where its tensor crossed the channel, if it did.
    Truth(QualityTicket, Option<SurrogatePoint>),
    /// To the surrogate of that number.
    Surrogate(QualityTicket),
    /// And has its result.
    Done(Result<Quality, QualityError>),
}

/// A probe under way.
struct Probe {
    ticket: QualityTicket,
    point: SurrogatePoint,
}

/// The source.
pub struct SwitchingQuality {
    truth: Box<dyn QualitySource>,
    switching: Switching,
    fitting: Fitting,
    vocabulary: usize,
    /// Evaluations so far.
    next: u64,
    open: BTreeMap<u64, Open>,
    records: Vec<SurrogateRow>,
    /// Once switched.
    present: Option<Present>,
    fits: u32,
    failed: Option<Failure>,
    remarks: Vec<String>,
}

/// Why there are no more answers.
#[derive(Clone, Debug)]
enum Failure {
    /// The true source was told to stop.
    Interrupted,
    /// No surrogate, or no true answer.
    Failed(String),
}

impl From<QualityError> for Failure {
    fn from(error: QualityError) -> Self {
        match error {
            QualityError::Interrupted => Self::Interrupted,
            error @ QualityError::Failed { .. } => Self::Failed(error.to_string()),
        }
    }
}

/// The surrogate in use.
struct Present {
    fit: Fit,
    quality: SurrogateQuality,
    scratch: SurrogateScratch,
    probing: Vec<Probe>,
    /// The latest probes.
    recent: VecDeque<SurrogateRow>,
    /// Mean squared error that the next fit is called for beyond, if `refit_above` times as large.
    expected_mse: f64,
}

impl Present {
    /// Mean squared error on the latest probes; `None` without any.
    fn mse(&mut self) -> Option<f64> {
        let surrogate = &self.fit.surrogate;
        let (mut sum, mut count) = (0.0, 0.0);
        for row in &self.recent {
            let Some(target) = surrogate.target().of(row) else { continue };
            sum += (surrogate.predict(&row.point, &mut self.scratch) - target).powi(2);
            count += 1.0;
        }
        (count > 0.0).then(|| sum / count)
    }
}

impl SwitchingQuality {
    /// A source for one run. `vocabulary` is what an outage scores.
    pub fn new(truth: Box<dyn QualitySource>, switching: Switching, fitting: Fitting, vocabulary: usize) -> Self {
        Self {
            truth,
            switching,
            fitting,
            vocabulary,
            next: 0,
            open: BTreeMap::new(),
            records: Vec::new(),
            present: None,
            fits: 0,
            failed: None,
            remarks: Vec::new(),
        }
    }

    /// Evaluations before the one that is being handed in.
    fn made(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// The result of an evaluation by the true source, which is a record.
    fn join_truth(&mut self, ticket: QualityTicket, point: Option<SurrogatePoint>) -> Result<Quality, QualityError> {
        let quality = self.truth.join(ticket)?;
        self.records.extend(point.and_then(|point| record(point, &quality)));
        Ok(Quality { source: quality.source.or(self.truth.name()), ..quality })
    }

    /// Fits a surrogate to all records so far, and goes on with it. A surrogate that is in use stays if that fails.
    fn fit(&mut self) {
        let entity = self.fits;
        self.fits += 1;
        let what =
            if entity == 0 { "surrogate fitted".to_owned() } else { format!("surrogate fitted anew ({entity})") };
        let after = format!("{what} after {} evaluations, to {} records", self.made(), self.records.len());
        match (self.fitting)(&self.records, entity) {
            Ok(fit) => {
                self.remarks.push(format!("{after}: mean squared error {:.4e} on those held out", fit.held_out_mse));
                let recent = self.present.as_mut().map(|present| std::mem::take(&mut present.recent));
                self.finish_present();
                let quality = SurrogateQuality::new(fit.surrogate.clone(), self.vocabulary);
                let (expected_mse, scratch) = (fit.held_out_mse, SurrogateScratch::default());
                let recent = recent.unwrap_or_default();
                let mut present = Present { fit, quality, scratch, probing: Vec::new(), recent, expected_mse };
                // What is left on the probes that called for it is noise, where the policy now goes.
                present.expected_mse = present.mse().unwrap_or(0.0).max(expected_mse);
                present.recent.clear();
                self.present = Some(present);
            }
            Err(reason) if self.present.is_some() => {
                self.remarks.push(format!("{after}: failed, the old one stays: {reason}"));
                if let Some(present) = &mut self.present {
                    present.recent.clear();
                }
            }
            Err(reason) => self.failed = Some(Failure::Failed(reason)),
        }
    }

    /// Joins what the surrogate in use was asked.
    fn finish_present(&mut self) {
        let Some(mut present) = self.present.take() else { return };
        for open in self.open.values_mut() {
            if let Open::Surrogate(ticket) = open {
                *open = Open::Done(present.quality.join(*ticket));
            }
        }
    }

    /// The first surrogate: all true evaluations are in.
    fn switch(&mut self) {
        let waiting: Vec<u64> = self.open.keys().copied().collect();
        for ticket in waiting {
            if let Some(Open::Truth(inner, point)) = self.open.remove(&ticket) {
                let result = self.join_truth(inner, point);
                if matches!(result, Err(QualityError::Interrupted)) {
                    self.failed = Some(Failure::Interrupted);
                    return;
                }
                self.open.insert(ticket, Open::Done(result));
            }
        }
        self.fit();
    }

    /// Asks the true source as well, and judges the surrogate by its latest answers.
    fn probe(&mut self, request: &QualityRequest) {
        let (Some(point), Some(present)) = (point_of(request), self.present.as_mut()) else { return };
        let ticket = self.truth.submit(request.clone());
        present.probing.push(Probe { ticket, point });
        if present.probing.len() < PROBES_AT_ONCE.min(self.switching.probes as usize) {
            return;
        }
        for probe in std::mem::take(&mut present.probing) {
            match self.truth.join(probe.ticket) {
                Ok(quality) => {
                    let Some(row) = record(probe.point, &quality) else { continue };
                    self.records.push(row);
                    present.recent.push_back(row);
                    if present.recent.len() > self.switching.probes as usize {
                        present.recent.pop_front();
                    }
                }
                Err(error) => {
                    self.failed = Some(error.into());
                    return;
                }
            }
        }
        if present.recent.len() < self.switching.probes as usize {
            return;
        }
        let limit = self.switching.refit_above * present.expected_mse;
        if let Some(mse) = present.mse()
            && mse > limit
        {
            self.remarks.push(format!(
                "after {} evaluations the latest {} probes had a mean squared error of {mse:.4e}, above {limit:.4e}",
                self.next.saturating_sub(1),
                self.switching.probes
            ));
            self.fit();
        }
    }
}

/// Where a request's tensor crossed the channel.
fn point_of(request: &QualityRequest) -> Option<SurrogatePoint> {
    match &request.delivery {
        Delivery::Tensor(crossing) => Some(SurrogatePoint::of(crossing.split, &request.conditions)),
        Delivery::Direct | Delivery::Nothing | Delivery::Late => None,
    }
}

fn record(point: SurrogatePoint, quality: &Quality) -> Option<SurrogateRow> {
    let &Quality { ppl, ppl_clean, relative_gain, .. } = quality;
    (ppl.is_some() || relative_gain.is_some()).then_some(SurrogateRow { point, ppl, ppl_clean, relative_gain })
}

impl QualitySource for SwitchingQuality {
    fn name(&self) -> Option<&'static str> {
        self.truth.name()
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = self.remarks.clone();
        if self.fits == 0 {
            let (made, asked) = (self.next.min(self.switching.after), self.switching.after);
            remarks
                .push(format!("no surrogate was fitted: {made} of {asked} true evaluations were made before the end"));
        }
        remarks
    }

    fn submit(&mut self, request: QualityRequest) -> QualityTicket {
        let ticket = self.next;
        self.next += 1;
        if ticket >= self.switching.after && self.fits == 0 {
            self.switch();
        }
        let since = ticket.saturating_sub(self.switching.after);
        let every = u64::from(self.switching.probe_every);
        if self.present.is_some() && every > 0 && (since + 1).is_multiple_of(every) {
            self.probe(&request);
        }
        let open = match &mut self.present {
            Some(present) => Open::Surrogate(present.quality.submit(request)),
            None if self.failed.is_some() => Open::Done(Ok(Quality::default())),
            None => {
                let point = point_of(&request);
                Open::Truth(self.truth.submit(request), point)
            }
        };
        self.open.insert(ticket, open);
        QualityTicket(ticket)
    }

    fn join(&mut self, ticket: QualityTicket) -> Result<Quality, QualityError> {
        match &self.failed {
            None => {}
            Some(Failure::Interrupted) => return Err(QualityError::Interrupted),
            Some(Failure::Failed(reason)) => {
                let what = "the surrogate of Algorithm 1 (quality.switch_after_epochs)".to_owned();
                return Err(QualityError::Failed { what, reason: reason.clone() });
            }
        }
        match self.open.remove(&ticket.0) {
            Some(Open::Truth(inner, point)) => self.join_truth(inner, point),
            Some(Open::Surrogate(inner)) => match &mut self.present {
                Some(present) => {
                    let quality = present.quality.join(inner)?;
                    Ok(Quality { source: Some("surrogate"), ..quality })
                }
                None => Err(QualityError::failed(None, None, "there is no surrogate")),
            },
            Some(Open::Done(result)) => {
                result.map(|quality| Quality { source: quality.source.or(Some("surrogate")), ..quality })
            }
            None => Err(QualityError::failed(None, None, format!("ticket {} is unknown", ticket.0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{
        Codec, Concealment, Impairment, LossUnit, NoiseKey, Packets, Reception, ReceptionRecord, TxNormalisation,
    };
    use crate::control::surrogate::{Input, Target};
    use crate::control::surrogate_training::train;
    use crate::kernel::Streams;
    use crate::network::ports::{Conditions, Crossing};
    use crate::rl::RegressionSettings;

    /// A gain of -P, and of -P - `shift` from evaluation `from` on; stops at `end`.
    struct Truth {
        answers: Vec<f64>,
        from: usize,
        shift: f64,
        end: usize,
    }

    impl QualitySource for Truth {
        fn name(&self) -> Option<&'static str> {
            Some("llm")
        }

        fn submit(&mut self, request: QualityRequest) -> QualityTicket {
            let shift = if self.answers.len() < self.from { 0.0 } else { self.shift };
            self.answers.push(-request.conditions.loss_probability - shift);
            QualityTicket(self.answers.len() as u64 - 1)
        }

        fn join(&mut self, ticket: QualityTicket) -> Result<Quality, QualityError> {
            if ticket.0 as usize >= self.end {
                return Err(QualityError::Interrupted);
            }
            Ok(Quality { relative_gain: Some(self.answers[ticket.0 as usize]), ..Quality::default() })
        }
    }

    fn request(index: u64) -> QualityRequest {
        let impairment = Impairment {
            reception: Reception::Equalised,
            loss_unit: LossUnit::ElementIid,
            tx_normalisation: TxNormalisation::None,
            codec: Codec::default(),
            concealment: Concealment::Zero,
            round_concealment: Concealment::Zero,
        };
        let loss_probability = 0.3 * (index % 101) as f64 / 101.0;
        let conditions = Conditions { noise_std: 0.0, rayleigh_scale: 0.7, gain_threshold: 0.0, loss_probability };
        let reception = ReceptionRecord {
            impairment,
            noise_std: 0.0,
            loss_probability,
            noise_key: NoiseKey::default(),
            packets: Packets::default(),
            rounds: Vec::new(),
        };
        let delivery = Delivery::Tensor(Box::new(Crossing { split: 1 + (index % 3) as u32, reception }));
        QualityRequest { window: None, prompt_tokens: 20, output_tokens: 1, delivery, conditions }
    }

    fn source(truth: Truth, switching: Switching) -> SwitchingQuality {
        let fitting = |rows: &[SurrogateRow], entity: u32| {
            let settings = RegressionSettings { hidden: vec![8], epochs: 60, ..RegressionSettings::default() };
            let inputs = [Input::Split, Input::LossProbability];
            let surrogate = train(rows, &inputs, Target::RelativeGain, &settings, Streams::new(1, 0), entity)
                .map_err(|error| error.to_string())?;
            let held_out_mse = surrogate.metrics()["validation_mse"];
            Ok(Fit { surrogate: Arc::new(surrogate), held_out_mse })
        };
        SwitchingQuality::new(Box::new(truth), switching, Box::new(fitting), 2048)
    }

    const SWITCHING: Switching = Switching { after: 400, probe_every: 5, probes: 40, refit_above: 2.0 };

    #[test]
    fn a_surrogate_that_is_off_is_fitted_anew_and_not_for_ever() {
        // The truth moves by 0.4 once the surrogate is there.
        let truth = Truth { answers: Vec::new(), from: 420, shift: 0.4, end: usize::MAX };
        let mut source = source(truth, SWITCHING);
        let mut sources = Vec::new();
        for index in 0..2_400 {
            let ticket = source.submit(request(index));
            sources.push(source.join(ticket).unwrap().source.unwrap());
        }
        assert!(sources[..400].iter().all(|source| *source == "llm"));
        assert!(sources[400..].iter().all(|source| *source == "surrogate"));
        let remarks = source.remarks();
        assert!(remarks[0].starts_with("surrogate fitted after 400 evaluations, to 400 records"), "{remarks:?}");
        let refits = remarks.iter().filter(|remark| remark.contains("fitted anew")).count();
        // Old and new records contradict each other: what a fit can't repair calls for no second one.
        assert!((1..=3).contains(&refits), "{remarks:#?}");
    }

    #[test]
    fn a_faithful_surrogate_stays() {
        let truth = Truth { answers: Vec::new(), from: usize::MAX, shift: 0.0, end: usize::MAX };
        let mut source = source(truth, Switching { refit_above: 1e6, ..SWITCHING });
        for index in 0..1_500 {
            let ticket = source.submit(request(index));
            let gain = source.join(ticket).unwrap().relative_gain.unwrap();
            let truth = -0.3 * (index % 101) as f64 / 101.0;
            assert!((gain - truth).abs() < 0.05, "evaluation {index}: {gain}, not {truth}");
        }
        assert_eq!(source.remarks().len(), 1, "{:?}", source.remarks());
    }

    #[test]
    fn an_interrupt_stays_one() {
        let truth = Truth { answers: Vec::new(), from: usize::MAX, shift: 0.0, end: 300 };
        let mut source = source(truth, SWITCHING);
        let tickets: Vec<QualityTicket> = (0..401).map(|index| source.submit(request(index))).collect();
        assert!(matches!(source.join(tickets[400]), Err(QualityError::Interrupted)));
        assert!(source.remarks()[0].starts_with("no surrogate was fitted"), "{:?}", source.remarks());
    }
}

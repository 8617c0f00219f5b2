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
    failed: Option<String>,
}

/// The surrogate in use.
struct Present {
    fit: Fit,
    quality: SurrogateQuality,
    scratch: SurrogateScratch,
    probing: Vec<Probe>,
    /// Squared errors of the latest probes.
    errors: VecDeque<f64>,
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
        }
    }

    /// The result of an evaluation by the true source, which is a record.
    fn join_truth(&mut self, ticket: QualityTicket, point: Option<SurrogatePoint>) -> Result<Quality, QualityError> {
        let quality = self.truth.join(ticket)?;
        self.records.extend(point.and_then(|point| record(point, &quality)));
        Ok(Quality { source: quality.source.or(self.truth.name()), ..quality })
    }

    /// Fits a surrogate to all records so far, and goes on with it.
    fn fit(&mut self) {
        let entity = self.fits;
        self.fits += 1;
        match (self.fitting)(&self.records, entity) {
            Ok(fit) => {
                self.finish_present();
                let quality = SurrogateQuality::new(fit.surrogate.clone(), self.vocabulary);
                self.present = Some(Present {
                    fit,
                    quality,
                    scratch: SurrogateScratch::default(),
                    probing: Vec::new(),
                    errors: VecDeque::new(),
                });
            }
            Err(reason) => self.failed = Some(reason),
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
                    let surrogate = &present.fit.surrogate;
                    let Some(target) = surrogate.target().of(&row) else { continue };
                    let error = surrogate.predict(&probe.point, &mut present.scratch) - target;
                    present.errors.push_back(error * error);
                    if present.errors.len() > self.switching.probes as usize {
                        present.errors.pop_front();
                    }
                }
                Err(error) => self.failed = Some(error.to_string()),
            }
        }
        let errors = &present.errors;
        let mse = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
        let judged = errors.len() == self.switching.probes as usize;
        if judged && mse > self.switching.refit_above * present.fit.held_out_mse {
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
        if let Some(reason) = &self.failed {
            return Err(QualityError::Failed { what: "the surrogate of Algorithm 1".into(), reason: reason.clone() });
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

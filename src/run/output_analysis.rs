//! What the output of a run says about its own means: whether the warm-up was long enough, and
//! whether an interval can be trusted.

use crate::record::{Figures, Recorded};
use crate::units::SimTime;

/// Completed requests below which nothing is said: among few batches the minimum moves about by
/// chance, and a batch of a few requests is always like the next one.
const ENOUGH: u64 = 1000;

/// Advice on a run's end-to-end times, in sentences; `warmup` is the scenario's.
pub fn remarks(recorded: &Recorded, warmup: SimTime) -> Vec<String> {
    let Recorded { figures, summary, .. } = recorded;
    let mut remarks = Vec::new();
    if summary.e2e_observed() < ENOUGH {
        return remarks;
    }
    if let Some(found) = summary.e2e_truncation() {
        let position = SimTime::from_nanos(found.position);
        if position > warmup {
            remarks.push(format!(
                "MSER-5 suggests leaving out the first {} requests (arrivals before about {:.1} s); warmup_s is {}; \
                 the mean end-to-end time of the rest is {:.4} s, e2e_mean_s is {}",
                found.observations,
                position.as_secs_f64(),
                warmup.as_secs_f64(),
                found.mean,
                e2e_mean_s(figures).map_or_else(|| "empty".to_owned(), |mean| format!("{mean:.4}")),
            ));
        }
    }
    let batches = summary.e2e_batches();
    if let (Some(correlation), true) = (batches.correlation(), batches.is_correlated()) {
        remarks.push(format!(
            "the mean end-to-end times of {} consecutive batches of {} requests are correlated ({correlation:.2}, where \
             independent ones stay below {:.2} in 95 of 100 runs): e2e_mean_half_width_s is too small; a longer run, or \
             replications, tell more",
            batches.batches(),
            batches.batch_size(),
            batches.critical_correlation()
        ));
    }
    remarks
}

/// The mean that the summary has.
fn e2e_mean_s(figures: &Figures) -> Option<f64> {
    let place = Figures::columns().iter().position(|column| column.name == "e2e_mean_s")?;
    figures.all.get(place)?.parse().ok()
}

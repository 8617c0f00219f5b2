//! Output analysis: how often intervals cover.

use splitwave::kernel::{Purpose, Stream, Streams};
use splitwave::stats::{BatchMeans, mean_interval};

use crate::page::{Check, Page};
use crate::queueing_support::{Load, ServiceLaw, fifo};

const REPLICATIONS: u32 = 300;

fn normal(stream: &Stream, index: u64) -> f64 {
    stream.normal_pair(index / 2)[(index % 2) as usize]
}

fn autoregression() -> Check {
    let covers = |&replication: &u32| {
        let stream = Streams::new(115, replication).stream(0, Purpose::Test);
        let mut batches = BatchMeans::new();
        // From the stationary law.
        let mut x = normal(&stream, 0) / (1.0 - 0.81f64).sqrt();
        for t in 1..=8192 {
            x = 0.9 * x + normal(&stream, t);
            batches.push(x);
        }
        batches.interval(0.95).expect("20 batches").covers(0.0)
    };
    let covered = (0..REPLICATIONS).filter(covers).count() as u64;
    let what = "AR(1), 0.9, 8192 values: of 300 intervals of 95 %";
    Check::coverage(what, 0.95, covered, u64::from(REPLICATIONS))
}

/// How many of 300 intervals for the mean wait of M/M/1 at ρ = 0.5 cover it.
fn waits_covered(customers: u64) -> u64 {
    let covers = |&replication: &u32| {
        let (mut batches, mut seen) = (BatchMeans::new(), 0);
        let load = Load { rate: 0.5, law: ServiceLaw::Exponential, customers: customers + 1000 };
        fifo(&load, 1, u32::MAX, Streams::new(116, replication), |visit| {
            seen += 1;
            if seen > 1000 {
                batches.push(visit.wait());
            }
        });
        batches.interval(0.95).expect("20 batches").covers(1.0)
    };
    (0..REPLICATIONS).filter(covers).count() as u64
}

fn student() -> Vec<Check> {
    let mut rows = Vec::new();
    for (sample, level) in [(2u64, 0.95), (5, 0.95), (5, 0.99), (20, 0.95)] {
        let trials = 20_000u32;
        let covers = |&trial: &u32| {
            let stream = Streams::new(117, sample as u32).stream(trial, Purpose::Test);
            let values: Vec<f64> = (0..sample).map(|index| normal(&stream, index)).collect();
            mean_interval(&values, level).expect("several values").covers(0.0)
        };
        let covered = (0..trials).filter(covers).count() as u64;
        let what = format!("{sample} normal values: of 20,000 intervals of {} %", 100.0 * level);
        rows.push(Check::coverage(what, level, covered, u64::from(trials)));
    }
    rows
}

/// Adds the topic.
pub fn check(page: &mut Page) {
    page.topic("Output analysis");
    page.table(
        "Coverage of batch means",
        "intervals of a confidence cover the mean that often; the interval is the central 99 % of the binomial law.",
        "`tests/it/output_analysis.rs`",
        vec![
            autoregression(),
            Check::coverage(
                "waits of M/M/1, ρ = 0.5, 20,000 customers: of 300 of 95 %",
                0.95,
                waits_covered(20_000),
                u64::from(REPLICATIONS),
            ),
        ],
    );
    page.note(&format!(
        "Batches have to be long: of 5000 customers, in batches of 128 or 22 relaxation times, {} of the 300 intervals cover.",
        waits_covered(5000)
    ));
    page.table(
        "Coverage of Student's interval",
        "exactly the confidence, for normal values; the interval is the central 99 % of the binomial law.",
        "`src/stats/interval.rs`, `tests/it/network_theory.rs`",
        student(),
    );
}

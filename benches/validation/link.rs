//! The link: hybrid ARQ, block errors, multi-user diversity.

use nalgebra::{Matrix4, SymmetricEigen};
use splitwave::channel::{Link, SumOfSinusoids};
use splitwave::kernel::{Purpose, Streams};
use splitwave::radio::{
    Combining, Cqi, DEFAULT_BLER_SLOPE_DB, Harq, Rate, SlotCell, SlotScheduler, block_error_draw, shannon_efficiency,
};
use splitwave::units::{SimTime, ratio_from_db};
use statrs::distribution::{ContinuousCDF, Gamma, Normal};

use crate::estimates::{ratio, share};
use crate::page::{Check, Page};

/// 64 sinusoids fade slightly less than Rayleigh fading.
const BIAS: f64 = 0.02;

const HARQ: Harq =
    Harq { max_transmissions: 4, round_trip: SimTime::from_nanos(4_000_000), combining: Combining::None };

/// ρ² = -ln(1 - P).
fn squared_threshold(loss: f64) -> f64 {
    -(-loss).ln_1p()
}

/// Packets lost without combining, and with; `quality(packet, attempt)` in units of ρ².
fn lost(packets: u32, mut quality: impl FnMut(u32, u32) -> f64) -> [u32; 2] {
    let mut lost = [0; 2];
    for packet in 0..packets {
        for (lost, combining) in lost.iter_mut().zip([Combining::None, Combining::Chase]) {
            let harq = Harq { combining, ..HARQ };
            let outcome = harq.transmit(|attempt| quality(packet, attempt), |_, combined| combined >= 1.0);
            *lost += u32::from(!outcome.delivered);
        }
    }
    lost
}

/// `P(Σ |z_j|² < ρ²)` of four complex Gaussians with the covariance J₀(2π f_d |i - j| 4 ms): Σ λ_k E_k with the
/// eigenvalues λ and independent exponentials, whose law is `1 - Σ_k e^{-ρ²/λ_k} Π_{j≠k} λ_k/(λ_k - λ_j)`.
fn combined_loss(doppler_hz: f64, needed: f64) -> f64 {
    let j0 =
        |x: f64| (0..64).map(|i| (x * (std::f64::consts::PI * f64::from(i) / 64.0).sin()).cos()).sum::<f64>() / 64.0;
    let turns = doppler_hz * HARQ.round_trip.as_secs_f64();
    let covariance = Matrix4::from_fn(|i, j| j0(std::f64::consts::TAU * turns * (i.abs_diff(j)) as f64));
    let eigenvalues = SymmetricEigen::new(covariance).eigenvalues;
    let tail = |k: usize| {
        let others = (0..4).filter(|&j| j != k);
        let weight: f64 = others.map(|j| eigenvalues[k] / (eigenvalues[k] - eigenvalues[j])).product();
        weight * (-needed / eigenvalues[k]).exp()
    };
    1.0 - (0..4).map(tail).sum::<f64>()
}

fn residual_losses() -> Vec<Check> {
    const PACKETS: u32 = 60_000;
    let mut rows = Vec::new();
    for (seed, name, doppler_hz, loss, none) in
        [(0, "3 km/h", 9.73, 0.1, 0.0309), (1, "3 km/h", 9.73, 0.3, 0.1825), (2, "30 km/h", 97.3, 0.3, 0.0092)]
    {
        let (streams, needed) = (Streams::new(104, seed), squared_threshold(loss));
        let mut gains: (u32, Vec<f64>) = (u32::MAX, Vec::new());
        let [without, with] = lost(PACKETS, |packet, attempt| {
            if gains.0 != packet {
                let link = SumOfSinusoids::new(&streams, Link::of_ue(packet), 64).expect("64 sinusoids");
                let gain = |attempt| {
                    let at = HARQ.instant(SimTime::ZERO, attempt);
                    link.envelope(doppler_hz * at.as_secs_f64()).powi(2) / needed
                };
                gains = (packet, (0..4).map(gain).collect());
            }
            gains.1[attempt as usize]
        });
        let name = format!("{name} (f_d = {doppler_hz} Hz), P = {loss}");
        rows.push(Check::biased(format!("{name}, no combining"), none, share(without, PACKETS), BIAS));
        let theory = combined_loss(doppler_hz, needed);
        rows.push(Check::biased(format!("{name}, chase"), theory, share(with, PACKETS), BIAS));
    }
    rows
}

fn independent_losses() -> Vec<Check> {
    const PACKETS: u32 = 400_000;
    let draws = Streams::new(105, 0).stream(0, Purpose::Test);
    let mut rows = Vec::new();
    for loss in [0.1, 0.3] {
        let needed = squared_threshold(loss);
        let [without, with] =
            lost(PACKETS, |packet, attempt| draws.exponential(u64::from(packet) * 4 + u64::from(attempt)) / needed);
        let gamma = Gamma::new(4.0, 1.0).expect("a shape").cdf(needed);
        rows.push(Check::mean(format!("P = {loss}, no combining"), loss.powi(4), share(without, PACKETS)));
        rows.push(Check::mean(format!("P = {loss}, chase"), gamma, share(with, PACKETS)));
    }
    rows
}

fn block_errors() -> Vec<Check> {
    const PACKETS: u32 = 100_000;
    let normal = Normal::standard();
    let mut rows = Vec::new();
    let worst = Cqi::all()
        .map(|cqi| (cqi.block_error_rate(cqi.threshold_db(), DEFAULT_BLER_SLOPE_DB) - 0.1).abs())
        .fold(0.0, f64::max);
    rows.push(Check::exact("BLER at the threshold, farthest of 15 CQI from 0.1", 0.0, worst, 1e-12));
    let cqi = Cqi::new(7).expect("a row");
    for offset_db in [-0.3, 0.0, 0.3] {
        let sinr = ratio_from_db(cqi.threshold_db() + offset_db);
        let rate = Rate {
            efficiency: cqi.efficiency(),
            needed: ratio_from_db(cqi.threshold_db()),
            cqi: Some((cqi, DEFAULT_BLER_SLOPE_DB)),
        };
        let stream = Streams::new(106, 0).stream(0, Purpose::HarqBlockError);
        let failed = (0..PACKETS).filter(|&packet| !rate.received(sinr, || block_error_draw(&stream, packet, 0)));
        let theory = normal.sf(normal.inverse_cdf(0.9) + offset_db / DEFAULT_BLER_SLOPE_DB);
        let what = format!("CQI 7, {offset_db:+.1} dB from the threshold: packets lost");
        rows.push(Check::mean(what, theory, share(failed.count() as u32, PACKETS)));
    }
    rows
}

/// `E log2(1 + γ max(x_1 … x_n)) / E log2(1 + γ x)`: with the maximum at its quantile u, x = -ln(1 - u^{1/n}),
/// by the midpoint rule.
fn multi_user_gain(mean_snr: f64, flows: u32) -> f64 {
    let mean_rate = |n: u32| {
        let points = 400_000;
        let at = |i| {
            let u: f64 = (f64::from(i) + 0.5) / f64::from(points);
            let x = -(-(u.ln() / f64::from(n)).exp_m1()).ln();
            (mean_snr * x).ln_1p()
        };
        (0..points).map(at).sum::<f64>() / f64::from(points)
    };
    mean_rate(flows) / mean_rate(1)
}

/// Bits of backlogged flows in each of 20 batches of 2000 slots, after one to settle.
fn batches(mean_snr: f64, flows: usize) -> Vec<f64> {
    let slot = SimTime::from_nanos(1_000_000);
    let draws = Streams::new(107, 0).stream(0, Purpose::Test);
    let scheduler = SlotScheduler::ProportionalFair { beta: 0.999 };
    let mut cell = SlotCell::new(scheduler, slot, SimTime::ZERO).expect("a cell");
    for job in 0..flows {
        cell.arrive(SimTime::ZERO, job, 1 << 50);
    }
    let mut batches = vec![0.0; 21];
    for index in 0..42_000u64 {
        let rate = |&job: &usize, _| {
            let gain = draws.exponential(index * 64 + job as u64);
            (1e5 * shannon_efficiency(mean_snr * gain, 1.0)) as u64
        };
        let bits: u64 = cell.step(SimTime::from_nanos(index * slot.as_nanos()), rate).iter().map(|s| s.bits).sum();
        batches[index as usize / 2000] += bits as f64;
    }
    batches.split_off(1)
}

fn diversity() -> Vec<Check> {
    let mut rows = Vec::new();
    for mean_db in [10.0, 20.0] {
        let mean_snr = ratio_from_db(mean_db);
        let alone = batches(mean_snr, 1);
        for flows in [2, 4, 8, 16, 32] {
            let gain = ratio(&batches(mean_snr, flows), &alone);
            let theory = multi_user_gain(mean_snr, flows as u32);
            rows.push(Check::biased(format!("G({flows}) at {mean_db} dB"), theory, gain, 0.015));
        }
    }
    rows
}

/// Adds the topic.
pub fn check(page: &mut Page) {
    page.topic("Link");
    page.table(
        "Residual loss after four attempts, 4 ms apart",
        "threshold rule, Rayleigh fading. Chase: the law of Σ|z_j|², exactly, from the eigenvalues of the covariance J₀. No combining: \
         5 million draws of four correlated complex Gaussians. Measured with 64 sinusoids, which fade slightly less.",
        "`tests/it/radio_harq.rs`",
        residual_losses(),
    );
    page.table(
        "Residual loss where attempts meet independent gains",
        "P⁴; with combining γ(4, ρ²)/Γ(4).",
        "`tests/it/radio_harq.rs`",
        independent_losses(),
    );
    page.table(
        "Block errors",
        "BLER = Q((SINR - μ)/s) with 0.1 at the threshold, s = 0.3 dB.",
        "`src/radio/adaptation.rs`, `src/radio/rate.rs`",
        block_errors(),
    );
    page.table(
        "Multi-user gain of proportional fairness",
        "E log2(1 + γ max(x₁ … xₙ))/E log2(1 + γ x) under Rayleigh fading, by quadrature: an ideal choice of the best. The scheduler, \
         with a memory of 1000 slots, comes within 1.5 % of it.",
        "`src/radio/slots/tests.rs`",
        diversity(),
    );
}

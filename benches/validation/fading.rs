//! Fading: laws of the gain, correlation, and how often and how long it fades.

use std::f64::consts::TAU;

use splitwave::channel::{
    Fading, FadingModel, Link, Moment, NakagamiModel, SumOfSinusoids, average_fade_duration, level_crossing_rate,
};
use splitwave::kernel::Streams;
use splitwave::stats::{ks_critical_value, ks_statistic};

use crate::estimates::{mean, ratio, share};
use crate::page::{Check, Page};

const SEED: u64 = 101;

/// Off theory that the level crossings of N = 64 sinusoids, and of samples every 0.005 wavelengths, may be.
const BIAS: f64 = 0.015;

fn rayleigh(sinusoids: usize) -> FadingModel {
    FadingModel::Rayleigh { sinusoids }
}

fn rician(k_db: f64) -> FadingModel {
    FadingModel::Rician { k_db, sinusoids: 64 }
}

fn nakagami(m: f64) -> FadingModel {
    FadingModel::Nakagami { model: NakagamiModel::new(m).expect("a legal shape"), sinusoids: 64 }
}

fn link(model: &FadingModel, ue: u32) -> Fading {
    Fading::new(model, &Streams::new(SEED, 0), Link::of_ue(ue)).expect("legal parameters")
}

fn at(turns: f64) -> Moment {
    Moment { turns, time_s: 0.0 }
}

fn name(model: &FadingModel) -> String {
    match model {
        FadingModel::Rayleigh { sinusoids } => format!("Rayleigh, N = {sinusoids}"),
        FadingModel::Rician { k_db, .. } => format!("Rice, K = {k_db} dB"),
        FadingModel::Nakagami { model, .. } => format!("Nakagami, m = {}", model.m()),
        other => other.to_string(),
    }
}

/// J_n by its integral, `1/π ∫₀^π cos(nθ - x sin θ) dθ`, and the trapezoid rule.
fn bessel_j(n: f64, x: f64) -> f64 {
    let points = 128;
    let angle = |i| TAU * f64::from(i) / f64::from(points);
    (0..points).map(|i| (n * angle(i) - x * angle(i).sin()).cos()).sum::<f64>() / f64::from(points)
}

/// `P(|z| < ρ)` of N sinusoids of equal power and random phases, a walk of N steps in the plane (Kluyver
/// 1905): `R ∫₀^∞ J₁(Rt) J₀(t)^N dt`, R = ρ√N; beyond the first zero of J₀ the integrand is below 0.41^N.
fn walk_outage(rho: f64, sinusoids: i32) -> f64 {
    let (reach, end, points) = (rho * f64::from(sinusoids).sqrt(), 2.404_825_557_695_773, 2000);
    let step = end / f64::from(points);
    let integrand = |i| {
        let t = step * f64::from(i);
        bessel_j(1.0, reach * t) * bessel_j(0.0, t).powi(sinusoids)
    };
    let weight = |i| if i == 0 || i == points { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
    reach * (0..=points).map(|i| weight(i) * integrand(i)).sum::<f64>() * step / 3.0
}

fn laws() -> Vec<Check> {
    let n = 20_000;
    let models = [rayleigh(32), rayleigh(64), rician(0.0), rician(9.0), nakagami(0.8), nakagami(2.0), nakagami(4.0)];
    let distance = |model: FadingModel| {
        let mut envelopes: Vec<f64> = (0..n).map(|ue| link(&model, ue).envelope(at(12.34))).collect();
        envelopes.sort_by(f64::total_cmp);
        let distance = ks_statistic(&envelopes, |z| model.laws()[0].outage(z * z));
        Check::distance(name(&model), distance, ks_critical_value(n as usize, 0.01))
    };
    models.into_iter().map(distance).collect()
}

/// Of each link the mean over instants 10 wavelengths apart.
fn fourth_moments() -> Vec<Check> {
    let of = |sinusoids: usize| {
        let moment = |ue| {
            let link = link(&rayleigh(sinusoids), ue);
            (0..8).map(|i| link.envelope(at(0.7 + 10.0 * f64::from(i))).powi(4)).sum::<f64>() / 8.0
        };
        let moments: Vec<f64> = (0..100_000).map(moment).collect();
        Check::mean(format!("E\\|z\\|⁴, N = {sinusoids}"), 2.0 - 1.0 / sinusoids as f64, mean(&moments))
    };
    [4, 8, 32, 64].into_iter().map(of).collect()
}

fn correlation() -> Vec<Check> {
    let of = |lag: f64| {
        let products: Vec<f64> = (0..20_000)
            .map(|ue| {
                let link = SumOfSinusoids::new(&Streams::new(SEED, 1), Link::of_ue(ue), 32).expect("32 sinusoids");
                let ([a, b], [c, d]) = (link.complex_gain(3.0), link.complex_gain(3.0 + lag));
                a * c + b * d
            })
            .collect();
        Check::mean(format!("Re E z\\*(0) z(τ), f_d τ = {lag}"), bessel_j(0.0, TAU * lag), mean(&products))
    };
    [0.1, 0.25, 0.5, 1.0, 2.0].into_iter().map(of).collect()
}

/// Level crossings and the length of fades below ρ of each of `links` links over 40 wavelengths.
fn fades(model: &FadingModel, rho: f64, links: u32) -> (Vec<f64>, Vec<f64>) {
    let (step, wavelengths) = (0.005, 40);
    let of = |ue| {
        let link = link(model, ue);
        let (mut crossings, mut faded) = (0u32, 0u32);
        let mut before = link.envelope(at(0.0)) < rho;
        for i in 1..=wavelengths * 200 {
            let now = link.envelope(at(f64::from(i) * step)) < rho;
            crossings += u32::from(now && !before);
            faded += u32::from(now);
            before = now;
        }
        let length = f64::from(wavelengths);
        (f64::from(crossings) / length, f64::from(faded) * step / length)
    };
    (0..links).map(of).unzip()
}

fn fade_rows() -> Vec<Check> {
    let mut rows = Vec::new();
    let cases = [
        (rayleigh(64), 0.1, 300),
        (rayleigh(64), 0.3, 300),
        (rician(3.0), 0.1, 150),
        (nakagami(2.0), 0.1, 100),
        (nakagami(0.6), 0.1, 150),
    ];
    for (model, probability, links) in cases {
        let rho = model.laws()[0].quantile(probability).sqrt();
        let (rates, shares) = fades(&model, rho, links);
        let name = format!("{}, P = {probability}", name(&model));
        let rate = model.level_crossing_rate(1.0, rho).expect("a law");
        let duration = model.average_fade_duration(1.0, rho).expect("a law");
        rows.push(Check::biased(format!("{name}: LCR / f_d"), rate, mean(&rates), BIAS));
        rows.push(Check::biased(format!("{name}: AFD · f_d"), duration, ratio(&shares, &rates), BIAS));
        rows.push(Check::biased(format!("{name}: outage"), probability, mean(&shares), BIAS));
    }
    rows
}

fn identities() -> Vec<Check> {
    let of = |probability: f64| {
        let rho = (-(-probability).ln_1p()).sqrt();
        let product = level_crossing_rate(9.73, rho) * average_fade_duration(9.73, rho);
        Check::exact(format!("LCR · AFD, P = {probability}"), probability, product, 1e-12)
    };
    [0.1, 0.3].into_iter().map(of).collect()
}

fn outages() -> Vec<Check> {
    let links = 100_000;
    let mut rows = Vec::new();
    for probability in [0.1f64, 0.3] {
        let rho = (-(-probability).ln_1p()).sqrt();
        for sinusoids in [8u8, 32, 64] {
            let model = rayleigh(usize::from(sinusoids));
            let faded = (0..links).filter(|&ue| link(&model, ue).envelope(at(5.0)) < rho).count();
            let theory = walk_outage(rho, i32::from(sinusoids));
            let name = format!("{}, ρ of P = {probability}", name(&model));
            rows.push(Check::mean(name, theory, share(faded as u32, links)));
        }
    }
    for model in [rician(3.0), rician(9.0), nakagami(2.0), nakagami(0.8)] {
        for probability in [0.1, 0.3] {
            let rho = model.laws()[0].quantile(probability).sqrt();
            let faded = (0..links / 2).filter(|&ue| link(&model, ue).envelope(at(5.0)) < rho).count();
            let estimate = share(faded as u32, links / 2);
            rows.push(Check::biased(format!("{}, P = {probability}", name(&model)), probability, estimate, BIAS));
        }
    }
    rows
}

/// Q₁ by its density: `∫₀^{ρ²} (K + 1) e^{-K - (K + 1) g} I₀(2√(K (K + 1) g)) dg`.
fn rician_outage(k: f64, rho2: f64) -> f64 {
    let scaled_bessel_i0 = |x: f64| {
        let angle = |i| TAU * f64::from(i) / 256.0;
        (0..256).map(|i| (x * (angle(i).cos() - 1.0)).exp()).sum::<f64>() / 256.0
    };
    let density = |g: f64| {
        let x = 2.0 * (k * (k + 1.0) * g).sqrt();
        (k + 1.0) * (x - k - (k + 1.0) * g).exp() * scaled_bessel_i0(x)
    };
    let points = 2000;
    let step = rho2 / f64::from(points);
    let weight = |i| if i == 0 || i == points { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
    (0..=points).map(|i| weight(i) * density(f64::from(i) * step)).sum::<f64>() * step / 3.0
}

fn closed_forms() -> Vec<Check> {
    let mut rows = Vec::new();
    for k_db in [3.0, 9.0] {
        let k = 10f64.powf(0.1 * k_db);
        let model = rician(k_db);
        let found = model.laws()[0].outage(0.3);
        rows.push(Check::exact(format!("Rician K = {k_db} dB, P(g < 0.3)"), rician_outage(k, 0.3), found, 1e-9));
    }
    // Erlang's law: 1 - e^{-mρ²} Σ_{k<m} (mρ²)^k/k!.
    let x: f64 = 3.0 * 0.3;
    let erlang = 1.0 - (-x).exp() * (1.0 + x + 0.5 * x * x);
    rows.push(Check::exact("Nakagami m = 3, P(g < 0.3)", erlang, nakagami(3.0).laws()[0].outage(0.3), 1e-9));
    let hand = TAU.sqrt() * 3f64.powf(2.5) / 2.0 * 0.8f64.powi(5) * (-3.0 * 0.64f64).exp();
    let found = nakagami(3.0).level_crossing_rate(1.0, 0.8).expect("a law");
    rows.push(Check::exact("Nakagami m = 3, LCR / f_d at ρ = 0.8", hand, found, 1e-9));
    rows
}

/// Adds the topic.
pub fn check(page: &mut Page) {
    page.topic("Fading");
    page.table(
        "Envelope at one instant, over links",
        "distance of the empirical law of |z| over 20,000 independent links from Rayleigh's, Rice's, Nakagami's.",
        "`tests/it/channel_fading.rs`, `tests/it/channel_fading_laws.rs`",
        laws(),
    );
    page.table(
        "Fourth moment of N sinusoids",
        "E|z|⁴ = 2 - 1/N, of N waves of equal power with independent phases; 100,000 links at 8 instants each.",
        "`tests/it/channel_fading.rs`",
        fourth_moments(),
    );
    page.table(
        "Correlation over links, N = 32",
        "Clarke: J₀(2π f_d τ).",
        "`tests/it/channel_fading.rs`",
        correlation(),
    );
    page.table(
        "Fades along the way",
        "Rice: LCR = √(2π) f_d ρ e^{-ρ²}, AFD = P / LCR; Stüber's forms for Rice's and Nakagami's laws. N = 64, 40 wavelengths \
         of each link, sampled every 0.005. A finite sum of sinusoids crosses levels a little more often and fades a little less.",
        "`tests/it/channel_fading.rs`, `tests/it/channel_fading_laws.rs`",
        fade_rows(),
    );
    page.table("Fade rate times fade length", "LCR · AFD = P.", "`tests/it/channel_fading.rs`", identities());
    page.table(
        "Outage over links",
        "Rayleigh: of N sinusoids exactly, by Kluyver's integral for a walk of N steps in the plane, which tends to P as N grows. \
         Rice: 1 - Q₁(√(2K), √(2(K + 1)) ρ); Nakagami: γ(m, m ρ²)/Γ(m); both with the bias of N = 64.",
        "`tests/it/channel_fading_laws.rs`",
        outages(),
    );
    page.table(
        "Closed forms",
        "Rice's density integrated; Erlang's law; √(2π) m^{m - ½}/Γ(m) ρ^{2m-1} e^{-mρ²} f_d by hand.",
        "`tests/it/channel_fading_laws.rs`",
        closed_forms(),
    );
}

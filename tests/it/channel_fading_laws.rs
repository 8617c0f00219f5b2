//! Rician, Nakagami-m and block fading against theory: law, correlation, fades, and purity.
//!
//! Seeds are fixed, so each test passes or fails for good.

use std::f64::consts::{FRAC_1_SQRT_2, PI, TAU};

use splitwave::channel::{
    Fading, FadingError, FadingLaw, FadingModel, Link, Moment, NakagamiModel, outage_probability,
};
use splitwave::kernel::Streams;
use splitwave::stats::{ks_statistic, mean_interval};
use statrs::distribution::{ContinuousCDF, Gamma};

use crate::network_support::run;

fn rician(k_db: f64) -> FadingModel {
    FadingModel::Rician { k_db, sinusoids: 32 }
}

fn nakagami(m: f64) -> FadingModel {
    FadingModel::Nakagami { model: NakagamiModel::new(m).expect("a legal shape"), sinusoids: 32 }
}

const BLOCK: FadingModel = FadingModel::Block { coherence_s: None };
const RAYLEIGH: FadingModel = FadingModel::Rayleigh { sinusoids: 32 };

fn link(model: &FadingModel, ue: u32) -> Fading {
    Fading::new(model, &Streams::new(20, 0), Link::of_ue(ue)).expect("legal parameters")
}

fn at(turns: f64) -> Moment {
    Moment { turns, time_s: 0.0 }
}

/// The only law of a model without traces.
fn law(model: &FadingModel) -> FadingLaw<'_> {
    model.laws()[0]
}

/// J₀ and e^{-x}·I₀ by their integrals; the trapezoid rule converges geometrically.
fn bessel_j0(x: f64) -> f64 {
    (0..64).map(|i| (x * (PI * f64::from(i) / 64.0).sin()).cos()).sum::<f64>() / 64.0
}

fn scaled_bessel_i0(x: f64) -> f64 {
    let points = 64 + 20 * x.sqrt() as u32;
    (0..points).map(|i| (x * ((TAU * f64::from(i) / f64::from(points)).cos() - 1.0)).exp()).sum::<f64>()
        / f64::from(points)
}

#[test]
fn marcums_q_where_it_is_known() {
    // Abramowitz and Stegun, table 9.8: e^{-1} I₀(1) = 0.4657596076, e^{-10} I₀(10) = 0.1278333372.
    assert!((scaled_bessel_i0(1.0) - 0.465_759_607_6).abs() < 1e-10);
    assert!((scaled_bessel_i0(10.0) - 0.127_833_337_2).abs() < 1e-10);
    // Q₁(a, a) = (1 + e^{-a²} I₀(a²))/2 with a² = 2K: P = (1 - e^{-2K} I₀(2K))/2 at ρ² = K/(K + 1).
    for k_db in [-30.0, -5.0, 0.0, 9.0, 20.0, 30.0] {
        let k = 10f64.powf(k_db / 10.0);
        let expected = 0.5 * (1.0 - scaled_bessel_i0(2.0 * k));
        let model = rician(k_db);
        let found = law(&model).outage(k / (k + 1.0));
        assert!((found - expected).abs() < 1e-11, "K = {k_db} dB: {found} for {expected}");
    }
}

/// Simpson's rule over the density of a power law.
fn integral(to: f64, density: impl Fn(f64) -> f64) -> f64 {
    let n = 4000;
    let step = to / f64::from(n);
    let weight = |i| if i == 0 || i == n { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
    (0..=n).map(|i| weight(i) * density(f64::from(i) * step)).sum::<f64>() * step / 3.0
}

#[test]
fn laws_are_the_integrals_of_their_densities() {
    for k_db in [-10.0, 3.0, 9.0, 15.0, 25.0] {
        let k = 10f64.powf(k_db / 10.0);
        let model = rician(k_db);
        for rho2 in [1e-4, 0.05, 0.3, 0.8, 1.0, 1.5, 4.0] {
            // (K + 1)·e^{-K-(K+1)g}·I₀(2√(K(K+1)g)), with I₀ scaled by e^{-x}.
            let density = |g: f64| {
                let x = 2.0 * (k * (k + 1.0) * g).sqrt();
                (k + 1.0) * (x - k - (k + 1.0) * g).exp() * scaled_bessel_i0(x)
            };
            let (found, expected) = (law(&model).outage(rho2), integral(rho2, density));
            assert!((found - expected).abs() < 1e-9, "K = {k_db} dB, {rho2}: {found} for {expected}");
        }
    }
    for m in [0.5, 1.0, 2.3, 8.0, 50.0] {
        let (model, gamma) = (nakagami(m), Gamma::new(m, m).unwrap());
        for rho2 in [1e-4, 0.05, 0.3, 0.8, 1.0, 1.5, 4.0] {
            let (found, expected) = (law(&model).outage(rho2), gamma.cdf(rho2));
            assert!((found - expected).abs() < 1e-10, "m = {m}, {rho2}: {found} for {expected}");
        }
    }
}

#[test]
fn loss_threshold_and_scale_give_each_other_under_every_law() {
    for model in
        [RAYLEIGH, BLOCK, rician(-20.0), rician(9.0), rician(30.0), nakagami(0.5), nakagami(3.0), nakagami(90.0)]
    {
        let law = law(&model);
        for probability in [1e-9, 0.01, 0.1, 0.3, 0.9, 0.999] {
            for scale in [0.01, FRAC_1_SQRT_2, 30.0] {
                let threshold = law.gain_threshold_for(probability, scale).unwrap();
                let back = law.outage_probability(threshold, scale);
                assert!((back / probability - 1.0).abs() < 1e-9, "{model}: {back} for {probability}");
                assert!((law.rayleigh_scale_for(probability, threshold).unwrap() / scale - 1.0).abs() < 1e-9);
            }
        }
        assert_eq!((law.outage(0.0), law.quantile(0.0)), (0.0, 0.0));
        assert_eq!(law.gain_threshold_for(0.0, 1.0), Ok(0.0));
        for (probability, scale) in [(1.0, 1.0), (-0.1, 1.0), (f64::NAN, 1.0), (0.1, 0.0), (0.1, f64::NAN)] {
            assert!(law.gain_threshold_for(probability, scale).is_err(), "{model}: {probability} {scale}");
        }
        for (probability, threshold) in [(0.0, 0.0), (0.0, 1.0), (0.1, 0.0), (0.1, -1.0), (1.0, 1.0)] {
            assert!(law.rayleigh_scale_for(probability, threshold).is_err(), "{model}: {probability} {threshold}");
        }
    }
    // Rayleigh's is eq. (4), bit for bit, and Nakagami's at m = 1 and Rician's at K = 0 the same law.
    assert_eq!(law(&RAYLEIGH).outage_probability(0.3, 0.7), outage_probability(0.3, 0.7));
    for rho2 in [1e-6, 0.1, 1.0, 3.0] {
        assert!((law(&nakagami(1.0)).outage(rho2) + (-rho2).exp_m1()).abs() < 1e-13);
        assert!((law(&rician(-30.0)).outage(rho2) + (-rho2).exp_m1()).abs() < 1e-6);
    }
}

#[test]
fn envelope_over_links_has_the_law() {
    let n = 20_000;
    // 0.1 % critical value of Kolmogorov and Smirnov for each of eight; the bias of N = 32, .0052 for one sum,
    // is within it.
    let critical = 1.949 / f64::from(n).sqrt();
    for model in
        [rician(0.0), rician(9.0), nakagami(0.5), nakagami(0.8), nakagami(2.0), nakagami(4.0), nakagami(10.5), BLOCK]
    {
        let mut envelopes: Vec<f64> = (0..n).map(|ue| link(&model, ue).envelope(at(12.34))).collect();
        envelopes.sort_by(f64::total_cmp);
        let distance = ks_statistic(&envelopes, |z| law(&model).outage(z * z));
        assert!(distance < critical, "{model}: distance {distance:.4}, critical {critical:.4}");
        let mean_square = envelopes.iter().map(|z| z * z).sum::<f64>() / f64::from(n);
        // Four standard errors of the widest law, of variance 2.
        assert!((mean_square - 1.0).abs() < 4.0 * (2.0 / f64::from(n)).sqrt(), "{model}: E|z|^2 = {mean_square:.4}");
    }
}

/// Autocovariance of the power |z|² over links, at each lag in wavelengths.
fn power_covariance(model: &FadingModel, links: u32, lags: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; lags.len()];
    for ue in 0..links {
        let link = link(model, ue);
        let first = link.envelope(at(3.0)).powi(2) - 1.0;
        for (sum, lag) in sums.iter_mut().zip(lags) {
            *sum += first * (link.envelope(at(3.0 + lag)).powi(2) - 1.0) / f64::from(links);
        }
    }
    sums
}

#[test]
fn power_over_links_is_correlated_as_theory_says() {
    // With J = J₀(2πΔu): J²/m of m branches; of a line of sight (2K + 1)·J²/(K + 1)² in the mean over
    // its direction, 2K·J² from the beat with the scattered waves and J² from these. Four standard errors of
    // 10,000 links are .04 at most, 1/(N·m) the bias of N = 32.
    let lags: Vec<f64> = (0..=20).map(|i| f64::from(i) * 0.1).collect();
    let k = 10f64.powf(0.6);
    for (model, share) in
        [(nakagami(2.0), 0.5), (nakagami(4.0), 0.25), (rician(6.0), (2.0 * k + 1.0) / (k + 1.0).powi(2))]
    {
        for (&lag, found) in lags.iter().zip(power_covariance(&model, 10_000, &lags)) {
            let theory = share * bessel_j0(TAU * lag).powi(2);
            assert!((found - theory).abs() < 0.06, "{model}, lag {lag}: {found:.4} for {theory:.4}");
        }
    }
    // A block's power is itself throughout the block, and that of the next is another.
    let [within, next] = power_covariance(&BLOCK, 10_000, &[0.1, 0.423])[..] else { panic!("two lags") };
    assert!((within - 1.0).abs() < 4.0 * (8f64 / 10_000.0).sqrt(), "{within}");
    assert!(next.abs() < 4.0 / 100.0, "{next}");
}

#[test]
fn complex_gain_with_a_line_of_sight_is_correlated_as_clarkes() {
    // K/(K + 1)·⟨exp j2πΔu·cos θ₀⟩ + J₀/(K + 1), and the mean over θ₀ is J₀ again.
    use splitwave::channel::Rician;
    let links = 5_000;
    for lag in [0.0, 0.2, 0.5, 1.0, 2.0] {
        let (mut re, mut im) = (0.0, 0.0);
        for ue in 0..links {
            let link = Rician::new(&Streams::new(20, 0), Link::of_ue(ue), 6.0, 16).unwrap();
            let ([a, b], [c, d]) = (link.complex_gain(3.0), link.complex_gain(3.0 + lag));
            re += (a * c + b * d) / f64::from(links);
            im += (a * d - b * c) / f64::from(links);
        }
        assert!((re - bessel_j0(TAU * lag)).abs() < 0.05 && im.abs() < 0.05, "lag {lag}: {re:.4} + {im:.4}j");
    }
}

/// Fades of `links` links over `wavelengths` each, sampled every 0.005: (level crossings per
/// wavelength, share of time in fades).
fn fades(model: &FadingModel, rho: f64, links: u32, wavelengths: u32) -> (f64, f64) {
    let step = 0.005;
    let (mut crossings, mut faded) = (0u32, 0u32);
    for ue in 0..links {
        let link = link(model, ue);
        let mut before = link.envelope(at(0.0)) < rho;
        for i in 1..=wavelengths * 200 {
            let now = link.envelope(at(f64::from(i) * step)) < rho;
            crossings += u32::from(now && !before);
            faded += u32::from(now);
            before = now;
        }
    }
    let length = f64::from(links) * f64::from(wavelengths);
    (f64::from(crossings) / length, f64::from(faded) * step / length)
}

#[test]
fn fades_are_as_many_and_as_long_as_the_law_says() {
    // Per wavelength is per second at f_d = 1 Hz. Some 4,000 fades each: three standard errors are about
    // 5 %, and the bias of step and N another 2 %.
    for (model, links) in
        [(rician(3.0), 300), (nakagami(2.0), 200), (nakagami(1.5), 300), (nakagami(0.6), 300), (BLOCK, 300)]
    {
        let probability = 0.2;
        let rho = law(&model).quantile(probability).sqrt();
        let (rate, outage) = fades(&model, rho, links, 20);
        let rate_ratio = rate / model.level_crossing_rate(1.0, rho).unwrap();
        let duration_ratio = outage / rate / model.average_fade_duration(1.0, rho).unwrap();
        assert!((0.94..1.07).contains(&rate_ratio), "{model}: level crossing rate {rate_ratio:.4} of theory");
        assert!((0.94..1.06).contains(&duration_ratio), "{model}: fade duration {duration_ratio:.4} of theory");
        assert!((0.93..1.07).contains(&(outage / probability)), "{model}: outage {outage:.4}");
    }
}

#[test]
fn crossing_rates_agree_where_theories_meet() {
    for rho in [0.05, 0.3, 0.9, 2.0] {
        let rayleigh = RAYLEIGH.level_crossing_rate(10.0, rho).unwrap();
        let of = |model: FadingModel| model.level_crossing_rate(10.0, rho).unwrap();
        assert!((of(nakagami(1.0)) / rayleigh - 1.0).abs() < 1e-12);
        assert!((of(rician(-30.0)) / rayleigh - 1.0).abs() < 0.01, "rho = {rho}");
        for model in [RAYLEIGH, BLOCK, rician(9.0), rician(25.0), nakagami(0.7), nakagami(3.0), nakagami(20.0)] {
            // Doppler only sets the unit of time, and LCR·AFD = P.
            let (rate, duration) =
                (model.level_crossing_rate(10.0, rho).unwrap(), model.average_fade_duration(10.0, rho).unwrap());
            let outage = law(&model).outage(rho * rho);
            assert!(outage < 1e-30 || (rate * duration / outage - 1.0).abs() < 1e-9, "{model}: {rate} x {duration}");
        }
    }
    // Nakagami at m = 3, ρ = 0.8: √(2π)·3^2.5/Γ(3)·0.8⁵·e^{-1.92} = 2.50663 · 7.79423 · 0.32768 · 0.146607.
    let hand = 2.506_628_274_6 * 7.794_228_634_1 * 0.327_68 * 0.146_606_962_1;
    assert!((nakagami(3.0).level_crossing_rate(1.0, 0.8).unwrap() - hand).abs() < 1e-8);
    // Without fading, and of a channel that stands still.
    assert_eq!(FadingModel::None.level_crossing_rate(10.0, 0.5), None);
    assert_eq!(rician(9.0).average_fade_duration(0.0, 0.5), Some(f64::INFINITY));
    assert_eq!(rician(9.0).average_fade_duration(10.0, 0.0), Some(0.0));
    // A block of 4 ms that is lost with P = .2 is followed by 1/(1 - P) in the mean.
    let block = FadingModel::Block { coherence_s: Some(4e-3) };
    let rho = law(&block).quantile(0.2).sqrt();
    assert!((block.average_fade_duration(123.0, rho).unwrap() - 5e-3).abs() < 1e-12);
}

#[test]
fn inserted_moments_leave_every_gain_as_it_was() {
    for model in [rician(9.0), nakagami(2.0), nakagami(0.7), BLOCK, FadingModel::Block { coherence_s: Some(0.5) }] {
        let first = link(&model, 7);
        let moments: Vec<Moment> = (0..300).map(|i| Moment::at(f64::from(i) * 0.37, 2.0)).collect();
        let alone: Vec<u64> = moments.iter().map(|&moment| first.envelope(moment).to_bits()).collect();
        // The same moments backwards, with others in between, on a link made anew.
        let again = link(&model, 7);
        for (i, &moment) in moments.iter().enumerate().rev() {
            for k in 0..5 {
                again.envelope(Moment::at(moment.time_s + f64::from(k) * 0.01, 2.0));
            }
            assert_eq!(again.envelope(moment).to_bits(), alone[i], "{model}");
        }
    }
}

#[test]
fn a_block_holds_for_its_time() {
    let fixed = link(&FadingModel::Block { coherence_s: Some(0.02) }, 3);
    let gain = |time_s| fixed.envelope(Moment::at(time_s, 500.0));
    assert_eq!(gain(0.0), gain(0.0199));
    assert_ne!(gain(0.0199), gain(0.0201));
    let still = link(&BLOCK, 3);
    assert_eq!(still.envelope(Moment::at(0.0, 0.0)), still.envelope(Moment::at(1e6, 0.0)));
    assert_ne!(still.envelope(at(0.42)), still.envelope(at(0.43)));
}

/// Same draws on every target; a change here changes published numbers.
#[test]
fn envelopes_are_pinned() {
    let found = [rician(9.0), nakagami(2.0), nakagami(1.5), BLOCK].map(|model| link(&model, 0).envelope(at(1.0)));
    let close = found.iter().zip(PINNED).all(|(found, pinned)| (found / pinned - 1.0).abs() < 1e-12);
    assert!(close, "{found:?}");
}

const PINNED: [f64; 4] =
    [0.952_951_282_253_939_3, 0.823_672_199_455_624_6, 0.668_101_084_695_590_3, 0.499_445_659_248_291_93];

#[test]
fn links_to_other_cells_are_independent_and_the_first_is_as_before() {
    let streams = Streams::new(20, 0);
    for model in [RAYLEIGH, rician(9.0), nakagami(2.0), nakagami(1.5), BLOCK] {
        let gain = |ue, cell| Fading::new(&model, &streams, Link { ue, cell }).unwrap().envelope(at(1.0));
        let gains = [gain(0, 0), gain(0, 1), gain(0, 2), gain(1, 0), gain(1, 1)];
        for (i, a) in gains.iter().enumerate() {
            assert!(gains[..i].iter().all(|b| a != b), "{model}: {gains:?}");
        }
        assert_eq!(gains[0], link(&model, 0).envelope(at(1.0)));
    }
    // 528 bytes of waves at N = 32, and few beside them.
    assert!(size_of::<Fading>() <= 24);
}

#[test]
fn impossible_parameters_are_refused_with_the_value() {
    let streams = Streams::new(1, 0);
    let refused = |model: FadingModel| Fading::new(&model, &streams, Link::default()).unwrap_err();
    assert_eq!(refused(rician(31.0)), FadingError::RicianK(31.0));
    assert!(refused(rician(f64::NAN)).to_string().contains("Rician K of NaN dB: not between -30 and 30"));
    assert_eq!(refused(FadingModel::Block { coherence_s: Some(0.0) }), FadingError::Coherence(0.0));
    assert_eq!(refused(FadingModel::Rician { k_db: 9.0, sinusoids: 0 }), FadingError::Sinusoids(0));
    for m in [0.49, 100.1, f64::NAN] {
        assert!(NakagamiModel::new(m).unwrap_err().to_string().starts_with(&format!("Nakagami m = {m}: not between")));
    }
}

/// 400 phones, 10 requests each: loss rates of each.
fn loss_rates(fading: &str) -> Vec<f64> {
    let finished = run(&format!(
        "name = \"losses\"
duration_s = 10.0
drain_limit_s = 100.0
[quality]
source = \"none\"
[channel]
loss_probability = 0.1
doppler_hz = 30.0
sinusoids = 64
{fading}
[radio]
bandwidth_mhz = 400.0
[[ue]]
name = \"phone\"
count = 400
workload = {{ kind = \"deterministic\", rate_per_s = 1.0, prompt_tokens = 20 }}
[edge]
service_time = {{ law = \"deterministic\", mean_ms = 0.01 }}
"
    ));
    let mut counts = vec![(0u32, 0u32); 400];
    for row in &finished.rows {
        let (lost, sent) = &mut counts[row.ue_id as usize];
        *lost += row.packets_lost.unwrap_or(0);
        *sent += row.packets_sent.unwrap_or(0);
    }
    counts.into_iter().map(|(lost, sent)| f64::from(lost) / f64::from(sent)).collect()
}

#[test]
fn packets_are_lost_at_the_stated_rate_whatever_the_fading() {
    for fading in [
        "fading = \"rician\"\nrician_k_db = 3",
        "fading = \"nakagami\"\nnakagami_m = 2",
        "fading = \"nakagami\"\nnakagami_m = 0.7",
        "fading = \"rician\"\nreception = \"digital\"\nsnr_db = 20",
        "fading = \"block\"",
        "fading = \"block\"\ncoherence_ms = 4",
    ] {
        // In the digital case threshold and probability are given, and σ_h follows from them by the law.
        let rates = loss_rates(fading);
        let interval = mean_interval(&rates, 0.999).expect("many phones");
        assert!(interval.covers(0.1), "{fading}: {} to {}", interval.low(), interval.high());
        assert!(interval.high() - interval.low() < 0.05, "{fading}: {} to {}", interval.low(), interval.high());
    }
}

//! Rayleigh fading against theory: law, correlation, fades, and purity.
//!
//! Seeds are fixed, so each test passes or fails for good; tolerances are
//! standard errors or the known bias of N = 32 sinusoids.

use std::f64::consts::{PI, TAU};

use splitwave::channel::{
    Fading, FadingError, FadingModel, Link, Moment, SumOfSinusoids, average_fade_duration, digital_gain_threshold,
    gain_threshold_for, level_crossing_rate, outage_probability, rayleigh_gain, rayleigh_scale_for, relative_threshold,
};
use splitwave::kernel::{Purpose, Streams};

fn link(number: u32, sinusoids: usize) -> SumOfSinusoids {
    SumOfSinusoids::new(&Streams::new(20, 0), Link::of_ue(number), sinusoids).expect("a legal number of sinusoids")
}

/// J₀ by its integral, `1/π ∫₀^π cos(x sin θ) dθ`; the trapezoid rule converges
/// geometrically on a periodic integrand.
fn bessel_j0(x: f64) -> f64 {
    let points = 64;
    (0..points).map(|i| (x * (PI * f64::from(i) / f64::from(points)).sin()).cos()).sum::<f64>() / f64::from(points)
}

#[test]
fn reference_bessel_function_is_right() {
    // Abramowitz and Stegun, table 9.1; the first zero.
    assert!((bessel_j0(1.0) - 0.765_197_686_557_966_6).abs() < 1e-14);
    assert!((bessel_j0(10.0) + 0.245_935_764_451_348_3).abs() < 1e-14);
    assert!(bessel_j0(2.404_825_557_695_773).abs() < 1e-14);
}

#[test]
fn envelope_over_links_is_rayleigh() {
    let n = 20_000;
    let mut envelopes: Vec<f64> = (0..n).map(|number| link(number, 32).envelope(12.34)).collect();
    envelopes.sort_by(f64::total_cmp);
    let distance = envelopes.iter().enumerate().fold(0f64, |worst, (i, z)| {
        let law = -(-z * z).exp_m1();
        let (below, above) = (i as f64 / f64::from(n), (i + 1) as f64 / f64::from(n));
        worst.max(law - below).max(above - law)
    });
    // 1 % critical value of Kolmogorov and Smirnov; the bias of N = 32, .0052, is within it.
    let critical = 1.628 / f64::from(n).sqrt();
    assert!(distance < critical, "distance {distance:.4}, critical {critical:.4}");
}

#[test]
fn moments_over_links_are_those_of_n_sinusoids() {
    // E|z|⁴ = 2 - 1/N exactly; N = 4 and 8 tell it from Rayleigh's 2, N = 5 exercises a ragged sum.
    for (sinusoids, links) in [(1, 1_000), (4, 100_000), (5, 100_000), (8, 100_000), (32, 20_000)] {
        let (mut second, mut fourth, mut eighth) = (0.0, 0.0, 0.0);
        for number in 0..links {
            let power = link(number, sinusoids).envelope(0.7).powi(2);
            second += power / f64::from(links);
            fourth += power.powi(2) / f64::from(links);
            eighth += power.powi(4) / f64::from(links);
        }
        let expected = 2.0 - 1.0 / sinusoids as f64;
        let second_error = ((fourth - second * second).max(0.0) / f64::from(links)).sqrt();
        let fourth_error = ((eighth - fourth * fourth).max(0.0) / f64::from(links)).sqrt();
        assert!((second - 1.0).abs() <= 4.0 * second_error + 1e-8, "N = {sinusoids}: E|z|^2 = {second}");
        assert!((fourth - expected).abs() <= 4.0 * fourth_error + 1e-7, "N = {sinusoids}: E|z|^4 = {fourth}");
    }
}

#[test]
fn autocorrelation_over_links_is_clarkes() {
    let links = 5_000;
    let lags: Vec<f64> = (0..=40).map(|i| f64::from(i) * 0.05).collect();
    for sinusoids in [16, 32] {
        let mut correlation = vec![[0.0; 2]; lags.len()];
        for number in 0..links {
            let link = link(number, sinusoids);
            let [a, b] = link.complex_gain(3.0);
            for (sum, lag) in correlation.iter_mut().zip(&lags) {
                let [c, d] = link.complex_gain(3.0 + lag);
                sum[0] += (a * c + b * d) / f64::from(links);
                sum[1] += (a * d - b * c) / f64::from(links);
            }
        }
        for (&[re, im], &lag) in correlation.iter().zip(&lags) {
            let theory = bessel_j0(TAU * lag);
            assert!((re - theory).abs() < 0.05, "N = {sinusoids}, lag {lag}: {re:.4}, J0 = {theory:.4}");
            assert!(im.abs() < 0.05, "N = {sinusoids}, lag {lag}: imaginary part {im:.4}");
        }
    }
}

/// Fades of `links` links over `wavelengths` each, sampled every 0.005:
/// (level crossings per wavelength, mean fade in wavelengths, share of time in fades).
fn fades(rho: f64, links: u32, wavelengths: u32) -> (f64, f64, f64) {
    let step = 0.005;
    let samples = wavelengths * 200;
    let (mut crossings, mut faded) = (0u32, 0u32);
    for number in 0..links {
        let link = link(number, 32);
        let mut before = link.envelope(-step) < rho;
        for i in 0..samples {
            let now = link.envelope(f64::from(i) * step) < rho;
            crossings += u32::from(now && !before);
            faded += u32::from(now);
            before = now;
        }
    }
    let length = f64::from(links) * f64::from(wavelengths);
    let faded = f64::from(faded) * step;
    (f64::from(crossings) / length, faded / f64::from(crossings), faded / length)
}

#[test]
fn fades_are_as_many_and_as_long_as_rice_says() {
    // Per wavelength travelled is per second at f_d = 1 Hz. With N = 32 and this step, expect the rate
    // +0.3 to +1.3 % and the duration -1.2 to -2.3 % off theory, and the outage at .97 to .98 of P; the
    // rest of each tolerance is four standard errors of some 10,000 fades.
    for probability in [0.1, 0.3] {
        let rho = relative_threshold(gain_threshold_for(probability, 0.4).unwrap(), 0.4);
        let (rate, duration, outage) = fades(rho, 300, 40);
        let rate_ratio = rate / level_crossing_rate(1.0, rho);
        let duration_ratio = duration / average_fade_duration(1.0, rho);
        let outage_ratio = outage / probability;
        assert!((0.98..1.04).contains(&rate_ratio), "P = {probability}: level crossing rate {rate_ratio:.4} of theory");
        assert!((0.955..1.01).contains(&duration_ratio), "P = {probability}: fade duration {duration_ratio:.4}");
        assert!((0.95..1.02).contains(&outage_ratio), "P = {probability}: outage {outage_ratio:.4} of P");
        assert!((rate * duration / outage - 1.0).abs() < 1e-9);
    }
}

#[test]
fn fade_lengths_of_a_pedestrian() {
    // At 3 km/h and 3.5 GHz (f_d = 9.73 Hz) a loss of .1 means fades of 14 ms, of .3 of 29 ms.
    let doppler_hz = 9.73;
    for (probability, milliseconds) in [(0.1f64, 14.0), (0.3, 29.0)] {
        let rho = (-(-probability).ln_1p()).sqrt();
        let (rate, duration) = (level_crossing_rate(doppler_hz, rho), average_fade_duration(doppler_hz, rho));
        assert!((duration * 1e3 - milliseconds).abs() < 0.6, "{} ms", duration * 1e3);
        assert!((rate * duration - probability).abs() < 1e-12, "LCR x AFD = {}", rate * duration);
    }
    assert_eq!(average_fade_duration(10.0, 0.0), 0.0);
    assert_eq!(average_fade_duration(0.0, 0.5), f64::INFINITY);
}

#[test]
fn inserted_instants_leave_every_gain_as_it_was() {
    let link = link(7, 32);
    let instants: Vec<f64> = (0..500).map(|i| f64::from(i) * 0.37).collect();
    let alone: Vec<u64> = instants.iter().map(|&u| link.envelope(u).to_bits()).collect();
    // The same instants backwards, with others in between, on a link made anew.
    let again = self::link(7, 32);
    for (i, &u) in instants.iter().enumerate().rev() {
        for k in 0..5 {
            again.envelope(u + f64::from(k) * 0.01);
        }
        assert_eq!(again.envelope(u).to_bits(), alone[i]);
    }
}

#[test]
fn sum_agrees_with_libm() {
    let streams = Streams::new(20, 0);
    for sinusoids in [1usize, 7, 8, 32, 100] {
        let stream = streams.stream(3, Purpose::Fading);
        let link = link(3, sinusoids);
        let n = sinusoids as f64;
        for u in [0.0, 0.123, 4.56, 78.9, 1234.5] {
            let (mut re, mut im) = (0.0, 0.0);
            for i in 0..sinusoids {
                let [theta, phi] = stream.uniform_pair(i as u64).map(|x| TAU * (x - 0.5));
                let angle = TAU * u * ((TAU * i as f64 + theta) / n).cos() + phi;
                re += angle.cos() / n.sqrt();
                im += angle.sin() / n.sqrt();
            }
            let [x, y] = link.complex_gain(u);
            // 3e-9 per wave; each angle of arrival errs as much, and distance multiplies that.
            let allowed = 3e-9 * n.sqrt() * (1.0 + TAU * u);
            assert!((x - re).abs() < allowed && (y - im).abs() < allowed, "N = {sinusoids}, u = {u}");
        }
    }
}

/// Same bits on every target; a change here changes every published number.
#[test]
fn envelope_is_pinned() {
    assert_eq!(link(0, 32).envelope(1.0).to_bits(), PINNED_ENVELOPE, "{}", link(0, 32).envelope(1.0));
}

const PINNED_ENVELOPE: u64 = 0x3fe2_5881_0b4a_7cfb;

#[test]
fn links_differ_and_no_fading_is_one() {
    assert_ne!(link(0, 32).envelope(1.0), link(1, 32).envelope(1.0));
    let streams = Streams::new(20, 0);
    let at = Moment { turns: 123.4, time_s: 0.0 };
    let none = Fading::new(&FadingModel::None, &streams, Link::of_ue(0)).unwrap();
    assert_eq!(none.envelope(at), 1.0);
    let rayleigh = Fading::new(&FadingModel::Rayleigh { sinusoids: 32 }, &streams, Link::of_ue(5)).unwrap();
    assert_eq!(rayleigh.envelope(at), link(5, 32).envelope(123.4));
    for sinusoids in [0, 1025] {
        assert_eq!(
            SumOfSinusoids::new(&streams, Link::of_ue(0), sinusoids).unwrap_err(),
            FadingError::Sinusoids(sinusoids)
        );
    }
    assert_eq!(rayleigh_gain(2.0, 1.5), 2f64.sqrt() * 3.0);
}

#[test]
fn loss_threshold_and_scale_give_each_other() {
    for probability in [1e-12, 0.01, 0.1, 0.3, 0.999] {
        for scale in [0.01, std::f64::consts::FRAC_1_SQRT_2, 30.0] {
            let threshold = gain_threshold_for(probability, scale).unwrap();
            assert!((outage_probability(threshold, scale) / probability - 1.0).abs() < 1e-12);
            assert!((rayleigh_scale_for(probability, threshold).unwrap() / scale - 1.0).abs() < 1e-12);
        }
    }
    // 1 - exp(-1/2) at one scale; P = .1 at sigma = 1/sqrt 2 is h_th = sqrt(-ln .9).
    assert!((outage_probability(0.7, 0.7) - 0.393_469_340_287_366_6).abs() < 1e-15);
    assert!((gain_threshold_for(0.1, 0.5f64.sqrt()).unwrap() - 0.324_592_845_974_501).abs() < 1e-12);
    assert_eq!(gain_threshold_for(0.0, 1.0), Ok(0.0));
    assert_eq!(outage_probability(0.0, 1.0), 0.0);
}

#[test]
fn impossible_losses_are_refused_with_the_value() {
    assert_eq!(gain_threshold_for(1.0, 1.0).unwrap_err().to_string(), "loss probability 1 is not in [0, 1)");
    for (probability, scale) in [(-0.1, 1.0), (f64::NAN, 1.0), (0.1, 0.0), (0.1, f64::INFINITY)] {
        assert!(gain_threshold_for(probability, scale).is_err(), "{probability} {scale}");
    }
    for (probability, threshold) in [(0.0, 0.0), (0.0, 1.0), (0.1, 0.0), (0.1, -1.0), (1.0, 1.0)] {
        assert!(rayleigh_scale_for(probability, threshold).is_err(), "{probability} {threshold}");
    }
}

#[test]
fn digital_threshold_is_where_the_rate_meets_capacity() {
    // 40 Mbit/s in 20 MHz needs an SNR of 3; with a gap of 2 and 24 at unit gain, h² = 1/4.
    assert!((digital_gain_threshold(40e6, 20e6, 2.0, 24.0) - 0.5).abs() < 1e-15);
    let threshold = digital_gain_threshold(7e6, 5e6, 1.4, 31.0);
    assert!((5e6 * (1.0 + threshold * threshold * 31.0 / 1.4).log2() / 7e6 - 1.0).abs() < 1e-14);
}

//! HARQ over the project's own fading: what is still lost after four transmissions
//! when a fade outlasts a round trip, and when it does not.

use splitwave::channel::{Link, SumOfSinusoids, gain_threshold_for};
use splitwave::kernel::{Purpose, Streams};
use splitwave::radio::{Combining, Harq, HarqOutcome};
use splitwave::units::SimTime;
use statrs::distribution::{ContinuousCDF, Gamma};

const HARQ: Harq =
    Harq { max_transmissions: 4, round_trip: SimTime::from_nanos(4_000_000), combining: Combining::None };

/// One packet under the threshold rule: transmission j meets `|z|²/ρ²` at its instant.
fn send(combining: Combining, quality: impl FnMut(u32) -> f64) -> HarqOutcome {
    Harq { combining, ..HARQ }.transmit(quality, |_, combined| combined >= 1.0)
}

/// ρ² = -ln(1 - P), for a channel with E|z|² = 1.
fn squared_threshold(loss_probability: f64) -> f64 {
    gain_threshold_for(loss_probability, std::f64::consts::FRAC_1_SQRT_2).unwrap().powi(2)
}

/// The residual loss of `packets` packets, without combining and with.
///
/// Each packet has a link of its own with 64 sinusoids, so that packets are independent.
fn residual_loss(seed: u64, doppler_hz: f64, loss_probability: f64, packets: u32) -> [f64; 2] {
    let streams = Streams::new(seed, 0);
    let needed = squared_threshold(loss_probability);
    let mut lost = [0u32; 2];
    for packet in 0..packets {
        let link = SumOfSinusoids::new(&streams, Link::of_ue(packet), 64).unwrap();
        let mut met = Vec::new();
        let mut quality = |attempt: u32| {
            while met.len() <= attempt as usize {
                let at = HARQ.instant(SimTime::ZERO, met.len() as u32);
                met.push(link.envelope(doppler_hz * at.as_secs_f64()).powi(2) / needed);
            }
            met[attempt as usize]
        };
        for (lost, combining) in lost.iter_mut().zip([Combining::None, Combining::Chase]) {
            *lost += u32::from(!send(combining, &mut quality).delivered);
        }
    }
    lost.map(|lost| f64::from(lost) / f64::from(packets))
}

/// Four standard errors of a binomial share, and a relative `bias`.
fn assert_share(share: f64, expected: f64, bias: f64, packets: u32, what: &str) {
    let margin = 4.0 * (expected * (1.0 - expected) / f64::from(packets)).sqrt() + bias * expected;
    assert!((share - expected).abs() < margin, "{what}: {share}, expected {expected} within {margin}");
}

/// At 3.5 GHz 3 km/h are f_d = 9.73 Hz, where a fade (14 ms at P = 0.1) outlasts a round trip, and 30 km/h
/// 97.3 Hz.
///
/// Expected: four complex Gaussians with the covariance J₀(2πf_d·|i - j|·4 ms), by Cholesky's factor, 5 million draws
/// each: exact Rayleigh fading by other means. 64 sinusoids fade slightly less, E|z|⁴ = 2 - 1/64: 2 % are allowed for it.
#[test]
fn fades_outlast_the_repeats_at_walking_speed() {
    const PACKETS: u32 = 60_000;
    for (seed, doppler_hz, loss, none, chase) in
        [(17, 9.73, 0.1, 0.0309, 0.0078), (18, 9.73, 0.3, 0.1825, 0.0559), (19, 97.3, 0.3, 0.0092, 0.0006)]
    {
        let [without, with] = residual_loss(seed, doppler_hz, loss, PACKETS);
        let what = format!("f_d = {doppler_hz} Hz, P = {loss}");
        assert_share(without, none, 0.02, PACKETS, &format!("{what}, no combining"));
        assert_share(with, chase, 0.02, PACKETS, &format!("{what}, chase"));
    }
}

/// Transmissions that meet independent gains: P⁴ (0.0081 at P = 0.3), and with combining the chance that four
/// exponentials add up to less than ρ², a gamma law of shape 4.
#[test]
fn independent_transmissions_are_lost_as_theory_says() {
    const PACKETS: u32 = 400_000;
    let draws = Streams::new(18, 0).stream(0, Purpose::Test);
    for loss in [0.1, 0.3, 0.6] {
        let needed = squared_threshold(loss);
        let mut lost = [0u32; 2];
        for packet in 0..PACKETS {
            let quality = |attempt| draws.exponential(u64::from(packet) * 4 + u64::from(attempt)) / needed;
            for (lost, combining) in lost.iter_mut().zip([Combining::None, Combining::Chase]) {
                *lost += u32::from(!send(combining, quality).delivered);
            }
        }
        let expected = [loss.powi(4), Gamma::new(4.0, 1.0).unwrap().cdf(needed)];
        for ((lost, expected), what) in lost.into_iter().zip(expected).zip(["no combining", "chase"]) {
            assert_share(f64::from(lost) / f64::from(PACKETS), expected, 0.0, PACKETS, &format!("P = {loss}, {what}"));
        }
    }
}

/// A link that stands still: without combining repeats are in vain; with combining k copies are
/// enough for a gain of 1/k of what is needed, so that after four P(|z|² < ρ²/4) is lost.
#[test]
fn on_a_still_link_only_combining_helps() {
    const PACKETS: u32 = 20_000;
    let [without, with] = residual_loss(20, 0.0, 0.3, PACKETS);
    assert_share(without, 0.3, 0.01, PACKETS, "no combining");
    assert_share(with, -(-squared_threshold(0.3) / 4.0f64).exp_m1(), 0.01, PACKETS, "chase");
}

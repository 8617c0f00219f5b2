//! Time per fading sample, per place of a large-scale channel, and per noisy tensor: `cargo bench --bench fading`.

#![allow(clippy::disallowed_methods, reason = "a bench reads the wall clock")]

use std::hint::black_box;
use std::time::Instant;

use splitwave::channel::{
    Environment, Fading, FadingModel, GaussianField, Impairment, LargeScale, LargeScaleSpec, LineOfSightMode, Link,
    Moment, NakagamiModel, NoiseKey, Packets, ReceptionRecord, SumOfSinusoids, TxNormalisation, apply,
};
use splitwave::kernel::{Purpose, Streams};

/// The best of five rounds of `repeats` calls, in microseconds per call.
fn microseconds(repeats: u32, mut call: impl FnMut(u32)) -> f64 {
    (0..5)
        .map(|_| {
            let start = Instant::now();
            (0..repeats).for_each(&mut call);
            start.elapsed().as_secs_f64() * 1e6 / f64::from(repeats)
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() {
    let streams = Streams::new(1, 0);
    for sinusoids in [8, 16, 32, 64] {
        let link = SumOfSinusoids::new(&streams, Link::of_ue(0), sinusoids).expect("a legal number of sinusoids");
        let sample = microseconds(1_000_000, |i| {
            black_box(link.envelope(black_box(f64::from(i) * 0.005)));
        });
        println!("fading, N = {sinusoids:2}: {sample:.3} us per sample");
    }
    let shape = NakagamiModel::new(1.5).expect("a legal shape");
    for model in [
        FadingModel::Rician { k_db: 9.0, sinusoids: 32 },
        FadingModel::Nakagami { model: NakagamiModel::new(2.0).expect("a legal shape"), sinusoids: 32 },
        FadingModel::Nakagami { model: shape, sinusoids: 32 },
        FadingModel::Block { coherence_s: None },
    ] {
        let link = Fading::new(&model, &streams, Link::of_ue(0)).expect("legal parameters");
        let sample = microseconds(1_000_000, |i| {
            black_box(link.envelope(black_box(Moment { turns: f64::from(i) * 0.005, time_s: 0.0 })));
        });
        println!("fading, {model}: {sample:.3} us per sample");
    }
    let construction = microseconds(10_000, |link| {
        let _ = black_box(SumOfSinusoids::new(&streams, Link::of_ue(link), 32));
    });
    println!("fading, N = 32: {construction:.2} us per link");

    for waves in [16, 32, 64, 128] {
        let field = GaussianField::new(&streams.stream(0, Purpose::Shadowing), 50.0, waves);
        let value = microseconds(1_000_000, |i| {
            black_box(field.value(black_box(f64::from(i) * 0.1), black_box(70.0)));
        });
        println!("field, M = {waves:3}: {value:.3} us per value");
    }
    for line_of_sight in [LineOfSightMode::Always, LineOfSightMode::Drawn] {
        let environment = Environment::Uma;
        let spec = LargeScaleSpec {
            environment,
            carrier_ghz: 3.5,
            bs_height_m: environment.bs_height_m(),
            ut_height_m: environment.ut_height_m(),
            line_of_sight,
            shadowing: true,
        };
        let cell = LargeScale::new(spec, &streams, 0, 0.0, 0.0);
        let loss = microseconds(1_000_000, |i| {
            black_box(cell.link_loss(black_box(f64::from(i % 10_000) * 0.1), black_box(70.0)));
        });
        println!("large scale, line of sight {line_of_sight:?}: {loss:.3} us per link");
    }

    let mut packets = Packets::with_capacity(384);
    for k in 0..384 {
        packets.push(0.5 + f64::from(k % 7) * 0.2, k % 11 == 0);
    }
    for tx_normalisation in [TxNormalisation::None, TxNormalisation::PerRow] {
        let impairment = Impairment { tx_normalisation, ..Impairment::default() };
        let record = ReceptionRecord {
            impairment,
            noise_std: 0.5,
            loss_probability: 0.0,
            noise_key: NoiseKey { ue: 1, request: 0 },
            packets: packets.clone(),
            rounds: Vec::new(),
        };
        let mut tensor = vec![1.0f32; 64 * 128];
        let time = microseconds(1_000, |_| {
            black_box(apply(&record, &streams, &mut tensor, 128));
        });
        println!("reception, 64 x 128 values, {tx_normalisation:?}: {time:.1} us");
    }
}

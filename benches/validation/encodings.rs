//! Encodings: bits on the air by hand, error by theory.

use splitwave::channel::{Codec, Encoding, fill_normals};
use splitwave::kernel::{Purpose, Streams};
use splitwave::stats::normal_cdf;

use crate::estimates::ratio;
use crate::page::{Check, Page};

/// Width of LLaMA-2-7B.
const WIDTH: usize = 4096;

fn bits() -> Vec<Check> {
    let cases: [(&str, u64); 9] = [
        ("f32", 4096 * 32),
        ("f16", 4096 * 16),
        ("bf16", 4096 * 16),
        ("int8", 4096 * 8 + 16),
        ("int4", 4096 * 4 + 16),
        // ⌈0.01 · 4096⌉ = 41 outliers in f16, with indices of 12 bits.
        ("int4+outliers=0.01", 41 * 16 + 4055 * 4 + 41 * 12 + 16),
        // 410 indices of 12 bits are more than a mask.
        ("int8+outliers=0.1", 410 * 16 + 3686 * 8 + 4096 + 16),
        ("f16+top-k=0.25", 1024 * 16 + 4096),
        ("f32+top-k=0.05", 205 * 32 + 205 * 12),
    ];
    let row = |(text, theory): (&str, u64)| {
        let codec: Codec = text.parse().expect("a codec");
        Check::equal(format!("`{text}`"), theory, codec.payload_bits(1, WIDTH as u64))
    };
    cases.into_iter().map(row).collect()
}

/// `E max|y|²` of d standard normal values: `∫₀^∞ 2x (1 - (2Φ(x) - 1)^d) dx`.
fn peak_power(d: usize) -> f64 {
    let step = 1e-3;
    let above = |x: f64| 1.0 - (2.0 * normal_cdf(x) - 1.0).powf(d as f64);
    (0..12_000).map(|i| (f64::from(i) + 0.5) * step).map(|x| 2.0 * x * above(x)).sum::<f64>() * step
}

fn errors() -> Vec<Check> {
    let rows = 400;
    let mut checks = Vec::new();
    for (encoding, levels) in [(Encoding::Int8, 127.0f64), (Encoding::Int4, 7.0)] {
        let (mut powers, mut errors) = (Vec::new(), Vec::new());
        for row in 0..rows {
            let mut normals = vec![0.0; WIDTH];
            fill_normals(&Streams::new(112, 0).stream(row, Purpose::Test), 0, &mut normals);
            let sent: Vec<f32> = normals.iter().map(|n| *n as f32).collect();
            let mut out = sent.clone();
            encoding.quantise(&mut out, WIDTH);
            let sum = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
                sent.iter().zip(&out).map(|(a, b)| term(f64::from(*a), f64::from(*b))).sum()
            };
            powers.push(sum(&|sent, _| sent * sent));
            errors.push(sum(&|sent, out| (sent - out).powi(2)));
        }
        // A step s = max|y|/levels and an error of s²/12.
        let theory = 12.0 * levels * levels / peak_power(WIDTH);
        let decibel = |ratio: f64| 10.0 * ratio.log10();
        let mut found = ratio(&powers, &errors);
        found.half_width *= decibel(std::f64::consts::E) / found.mean;
        found.mean = decibel(found.mean);
        let what = format!("`{}`: SNR of normal values, dB", encoding.name());
        checks.push(Check::biased(what, decibel(theory), found, 5e-4));
    }
    checks
}

/// Adds the topic.
pub fn check(page: &mut Page) {
    page.topic("Encodings");
    page.table(
        "Bits per token, d = 4096",
        "by hand: values, scale of 16 bits, outliers and top-k in 16 or 32 bits with indices of 12 bits or a mask of 4096.",
        "`tests/it/channel_encoding.rs`",
        bits(),
    );
    page.table(
        "Quantisation noise, d = 4096",
        "a uniform quantiser with the step s = max|y|/127 or /7 has the error s²/12: SNR = 12 · 127²/E max² and 12 · 7²/E max², E max² of \
         4096 normal values by integration. The scale is rounded up to half precision, less than 0.05 % of these decibels.",
        "`src/channel/encoding.rs`, `tests/it/channel_encoding.rs`",
        errors(),
    );
}

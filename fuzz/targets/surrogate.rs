//! A surrogate's file: whatever is accepted gives finite predictions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use splitwave::control::{Surrogate, SurrogatePoint, SurrogateScratch};

fuzz_target!(|bytes: &[u8]| {
    let Ok(surrogate) = Surrogate::from_bytes("fuzz.safetensors", bytes) else { return };
    let mut scratch = SurrogateScratch::default();
    for split in [1, 7, u32::MAX] {
        let point = SurrogatePoint { split, noise_std: 0.5, rayleigh_scale: 0.7, loss_probability: 0.1 };
        assert!(!surrogate.predict(&point, &mut scratch).is_nan());
    }
});

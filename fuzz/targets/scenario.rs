//! A scenario file: parsed, checked against the schema, and validated.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use splitwave::scenario::LoadedScenario;

fuzz_target!(|data: &[u8]| {
    let _ = LoadedScenario::from_bytes(Path::new("fuzz.toml"), data, &[]);
});

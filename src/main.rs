//! The command line; see [`splitwave::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    // candle reads both once, at its first operation. Unset, every matrix product
    // re-reads the list of processors, and elementwise operations go to a spinning
    // pool; we run whole requests in parallel instead.
    for variable in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        // SAFETY: no other thread exists yet that could read the environment.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var(variable, "1");
        }
    }
    splitwave::cli::main()
}

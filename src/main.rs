//! The command line; see [`splitwave::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    splitwave::cli::main()
}

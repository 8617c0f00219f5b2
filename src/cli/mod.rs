//! The command line: one file per command. The only floor that prints.

mod failure;
mod fit;
mod fit_exit;
mod fit_reward;
mod model;
mod profile;
mod progress;
pub mod render;
mod run;
mod schema;
mod study;
mod table;
mod validate;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cli::failure::Failure;
use crate::run::assembly::{self, Assembly};
use crate::run::inputs::Library;
use crate::scenario::{LoadedScenario, SetArg};
use crate::study::submit::quoted;

/// Simulates split LLM inference at the wireless edge.
///
/// Phones run the first layers of a language model, send the intermediate tensor
/// over a fading channel, and an edge server finishes: scenario files in, CSV out.
#[derive(Parser, Debug)]
#[command(name = "splitwave", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run scenario files and write their results.
    Run(run::RunArgs),
    /// Check scenario files and the files they name; every problem at once.
    Validate(validate::ValidateArgs),
    /// Print the JSON Schema of the scenario file, for editors.
    Schema(schema::SchemaArgs),
    Profile(Box<profile::ProfileArgs>),
    Fit(Box<fit::FitArgs>),
    FitExit(Box<fit_exit::FitExitArgs>),
    FitReward(Box<fit_reward::FitRewardArgs>),
    /// Run a scenario over a grid of parameters, here or in shards on a cluster.
    Study(study::StudyArgs),
    /// Look at a model, check it, print its logits, generate text over a channel, or prune it.
    Model(model::ModelArgs),
}

/// Runs the command line and gives the exit code: 0 done, 1 the run failed, 2 the
/// input is wrong, 3 incomplete, 75 interrupted with work left.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Validate(args) => validate::validate(&args),
        Command::Schema(args) => schema::schema(&args),
        Command::Profile(args) => profile::profile(&args),
        Command::Fit(args) => fit::fit(&args),
        Command::FitExit(args) => fit_exit::fit_exit(&args),
        Command::FitReward(args) => fit_reward::fit_reward(&args),
        Command::Study(args) => study::study(&args),
        Command::Model(args) => model::model(&args.command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// `--set key=value`, as several commands take it.
#[derive(clap::Args, Debug, Clone, Default)]
struct Sets {
    /// Replace a value of the scenario: `--set duration_s=10`, `--set ue.phone.count=40`. May be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<SetArg>,
}

impl Sets {
    /// Appends the options to a command line.
    fn append_to(&self, command: &mut String) {
        for set in &self.sets {
            command.push_str(" --set ");
            command.push_str(&quoted(set.text()));
        }
    }
}

/// Writes results to standard output.
///
/// # Errors
/// If they can't be written; a reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(&format!("writing to standard output: {error}"), "is the disk full?"))
        }
        _ => Ok(()),
    }
}

/// Writes a message to standard error. A run goes on where nobody can be told.
fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Whether messages on standard error may carry colours.
fn in_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Threads to use: as asked for, else all that the machine gives.
fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// The value of `--threads`.
fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=4096) => Ok(threads),
        _ => Err("allowed: 1 to 4096".into()),
    }
}

/// Opens and assembles a scenario; prints warnings unless `quiet`.
fn assemble(path: &Path, sets: &Sets, library: &mut Library, quiet: bool) -> Result<Assembly, Failure> {
    let assembly = LoadedScenario::salvage(path, &sets.sets)
        .and_then(|loaded| assembly::assemble(loaded, library))
        .map_err(|bad| Failure::scenario(&bad))?;
    if !quiet {
        tell(&render::render_problems(&assembly.warnings, &assembly.sources, in_colour()));
    }
    Ok(assembly)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_survive_a_shell() {
        assert_eq!(quoted("scenarios/quickstart.toml"), "scenarios/quickstart.toml");
        assert_eq!(quoted("channel.noise_std={ min = 0 }"), "'channel.noise_std={ min = 0 }'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}

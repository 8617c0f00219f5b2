//! `splitwave study`: one file per subcommand.

mod collect;
mod plan;
mod run;
mod run_progress;
mod status;
mod submit;

use std::path::Path;

use clap::Subcommand;

use crate::cli::failure::Failure;
use crate::cli::tell;
use crate::run::inputs::Library;
use crate::study::Plan;

#[derive(clap::Args, Debug)]
pub struct StudyArgs {
    #[command(subcommand)]
    command: StudyCommand,
}

#[derive(Subcommand, Debug)]
enum StudyCommand {
    /// Check a study file and list its runs, in order, with an estimate of the time they take.
    Plan(plan::PlanArgs),
    Run(run::RunArgs),
    Status(status::StatusArgs),
    Collect(collect::CollectArgs),
    Submit(Box<submit::SubmitArgs>),
}

/// Points from which on the check takes a while.
const MANY_POINTS: usize = 20_000;

/// The plan of a study file; says so if that takes a while.
fn open_plan(study: &Path, library: &mut Library, quiet: bool) -> Result<Plan, Failure> {
    let mut say = |points: usize| {
        if points >= MANY_POINTS && !quiet {
            tell(&format!("checking {points} points\n"));
        }
    };
    Plan::open_and_tell(study, library, &mut say).map_err(|error| Failure::study(&error))
}

/// Runs a subcommand.
pub fn study(args: &StudyArgs) -> Result<(), Failure> {
    match &args.command {
        StudyCommand::Plan(args) => plan::plan(args),
        StudyCommand::Run(args) => run::run(args),
        StudyCommand::Status(args) => status::status(args),
        StudyCommand::Collect(args) => collect::collect(args),
        StudyCommand::Submit(args) => submit::submit(args),
    }
}

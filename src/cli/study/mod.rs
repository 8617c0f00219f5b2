//! `splitwave study`: one file per subcommand.

mod collect;
mod plan;
mod run;
mod run_progress;
mod status;
mod submit;

use clap::Subcommand;

use crate::cli::failure::Failure;

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

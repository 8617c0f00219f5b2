//! `splitwave study submit`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::cli::failure::Failure;
use crate::cli::study::open_plan;
use crate::cli::{print, tell};
use crate::run::inputs::Library;
use crate::study::Plan;
use crate::study::folder::{FolderError, StudyFolder};
use crate::study::submit::{Engine, Memory, Resources, Script, SiteName, Submission, SubmitError, WallTime, quoted};

/// Hand a study to a batch system: write scripts, then submit them.
///
/// The scripts go to OUT/submit, for you to read and to edit; `bash OUT/submit/submit.sh`
/// submits them again, as they are then. A script that was edited is kept under another
/// name when this command writes it anew.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  splitwave study submit STUDY.toml --engine slurm --shards 16 --cpus 4 --time 2:00:00 --mem 4G --dry-run
  splitwave study submit STUDY.toml --engine hq --shards 100 --cpus 2
  splitwave study submit STUDY.toml --engine local")]
pub struct SubmitArgs {
    /// Study file.
    #[arg(value_name = "STUDY.toml")]
    study: PathBuf,
    /// slurm: an array job and a collector; hq: an array job of HyperQueue; local: one process here, then the tables.
    #[arg(long, value_parser = parse::<Engine>)]
    engine: Engine,
    /// Folder of the study's results. Default: results/studies/<name>.
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Tasks to share the runs among. Default: 8, or one per run if there are fewer.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    shards: Option<u32>,
    /// Cores of a task, and its threads. Default: 1, or locally all cores.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=4096))]
    cpus: Option<u32>,
    /// Limit on a task's wall time, as Slurm writes it: minutes, HH:MM:SS, D-HH …; from 5 minutes. A task that reaches
    /// it under Slurm goes on in a new one. Default: the cluster's.
    #[arg(long, allow_hyphen_values = true, value_parser = parse::<WallTime>)]
    time: Option<WallTime>,
    /// Memory of a task, such as 4G. Default: the cluster's.
    #[arg(long, allow_hyphen_values = true, value_parser = parse::<Memory>)]
    mem: Option<Memory>,
    /// Partition of the Slurm cluster. Default: the cluster's.
    #[arg(long, allow_hyphen_values = true, value_parser = parse::<SiteName>)]
    partition: Option<SiteName>,
    /// Account that Slurm charges. Default: yours.
    #[arg(long, allow_hyphen_values = true, value_parser = parse::<SiteName>)]
    account: Option<SiteName>,
    /// Print the scripts and the command; write and submit nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write the scripts, and leave it to you to submit them.
    #[arg(long, conflicts_with = "dry_run")]
    no_submit: bool,
}

pub fn submit(args: &SubmitArgs) -> Result<(), Failure> {
    let plan = open_plan(&args.study, &mut Library::default(), false)?;
    let submission = submission(args, &plan)?;
    let scripts = submission.scripts().map_err(|error| refused(&error))?;
    let start = submission.folder().join("submit.sh");
    let command = format!("bash {}", quoted(&start.display().to_string()));
    if args.dry_run {
        return print(&shown(&submission.folder(), &scripts, &command));
    }
    // Another study's folder is refused here, before every task refuses it.
    StudyFolder::open(&submission.out, &submission.name).map_err(|error| another_folder(&error))?;
    let kept = submission.write(&scripts).map_err(|error| refused(&error))?;
    for old in kept {
        tell(&format!("note: a script there differed; it is kept as {}\n", old.display()));
    }
    let names: Vec<&str> = scripts.iter().map(|script| script.name).collect();
    print(&format!("wrote {} to {}\n", names.join(", "), submission.folder().display()))?;
    if args.no_submit {
        return print(&format!("submit them with: {command}\n"));
    }
    if let Some(program) = args.engine.command().filter(|program| !is_on_path(program)) {
        return Err(Failure::failed(
            &format!("`{program}` was not found: nothing is submitted"),
            &format!("the scripts are there; on a machine that has {program}: {command}"),
        ));
    }
    start_script(args.engine, &start, &command)
}

fn another_folder(error: &FolderError) -> Failure {
    if error.is_wrong_input() {
        Failure::input(&error.to_string(), error.hint())
    } else {
        Failure::failed(&error.to_string(), error.hint())
    }
}

fn refused(error: &SubmitError) -> Failure {
    match error {
        SubmitError::Write { .. } => Failure::failed(&error.to_string(), error.hint()),
        _ => Failure::input(&error.to_string(), error.hint()),
    }
}

/// What is to be submitted, with absolute paths: tasks start in other places.
fn submission(args: &SubmitArgs, plan: &Plan) -> Result<Submission, Failure> {
    let here = |error: std::io::Error| {
        Failure::failed(&format!("the working directory or the program can't be found: {error}"), "was either deleted?")
    };
    let out = args.out.clone().unwrap_or_else(|| Path::new("results/studies").join(plan.name()));
    // Whether it only showed or wrote them is nothing that a script is about.
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let words = words.filter(|word| word != "--dry-run" && word != "--no-submit").map(|word| quoted(&word));
    Ok(Submission {
        engine: args.engine,
        name: plan.name().to_owned(),
        runs: plan.runs(),
        program: std::env::current_exe().map_err(here)?,
        study: std::path::absolute(&args.study).map_err(here)?,
        out: std::path::absolute(out).map_err(here)?,
        directory: std::env::current_dir().map_err(here)?,
        resources: Resources {
            shards: args.shards,
            cpus: args.cpus,
            time: args.time,
            mem: args.mem,
            partition: args.partition.clone(),
            account: args.account.clone(),
        },
        command: std::iter::once("splitwave".to_owned()).chain(words).collect::<Vec<_>>().join(" "),
    })
}

/// The scripts one after the other, and the command that starts them.
fn shown(folder: &Path, scripts: &[Script], command: &str) -> String {
    let mut text = String::new();
    for script in scripts {
        let _ = writeln!(text, "==> {} <==\n{}", folder.join(script.name).display(), script.text);
    }
    let _ = writeln!(text, "$ {command}");
    text
}

/// Whether a program can be started by its name.
fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Runs `submit.sh`.
fn start_script(engine: Engine, start: &Path, command: &str) -> Result<(), Failure> {
    let mut bash = Command::new("bash");
    bash.arg(start);
    let not_started = |error: &std::io::Error| {
        Failure::failed(&format!("`{command}` could not be started: {error}"), "is bash on the path?")
    };
    // The script of a local study becomes this process: its exit status is ours, and Ctrl-C reaches it and splitwave.
    #[cfg(unix)]
    if engine == Engine::Local {
        return Err(not_started(&std::os::unix::process::CommandExt::exec(&mut bash)));
    }
    match bash.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::failed(
            &format!("`{command}` failed ({status})"),
            &match engine {
                Engine::Local => "its messages are above; the same command does what is left".to_owned(),
                _ => format!("{engine} says why above; change the scripts, or the options, and submit again"),
            },
        )),
        Err(error) => Err(not_started(&error)),
    }
}

/// An option's value, with what is allowed where it is wrong.
fn parse<T: FromStr<Err = &'static str>>(text: &str) -> Result<T, String> {
    text.parse().map_err(str::to_owned)
}

//! `splitwave study collect`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::cli::render::render_problems;
use crate::cli::study::open_plan;
use crate::cli::{in_colour, print, quoted, tell};
use crate::run::inputs::Library;
use crate::run::wording::{counted, with_causes};
use crate::study::Plan;
use crate::study::collect::{CollectError, Collected, collect as collect_study};
use crate::study::folder::{FolderError, StudyFolder};
use crate::study::means::Pairing;

/// Most runs or lines that are named one by one.
const NAMED: usize = 10;

/// Collect what is done of a study into tables.
///
/// Writes runs.csv (a row per run: axes, replication, every figure of summary.csv), the same with types as
/// runs.parquet, means.csv (mean, 95 % interval and n over replications by design point and figure), and
/// groups.csv where scenarios have several groups of UEs.
///
/// Exit code: 0 all runs are done, 3 some are missing or failed (the tables hold the others).
#[derive(clap::Args, Debug)]
pub struct CollectArgs {
    /// Study file.
    #[arg(value_name = "STUDY.toml")]
    study: PathBuf,
    /// Folder of the study. Default: `results/studies/<name of the study>`.
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Exit with 0 even if runs are missing or failed.
    #[arg(long)]
    allow_missing: bool,
    /// Also compare two levels of an axis, replication by replication: the mean of A less B in differences.csv.
    /// May be given several times.
    #[arg(long, value_name = "AXIS=A,B")]
    paired: Vec<Pairing>,
    /// Errors only.
    #[arg(long, short)]
    quiet: bool,
}

pub fn collect(args: &CollectArgs) -> Result<(), Failure> {
    let (plan, folder) = find(&args.study, args.out.as_deref(), args.quiet)?;
    let collected = collect_study(&plan, &folder, &args.paired).map_err(|error| refused(&error))?;
    if !args.quiet {
        tell(&remarks(&collected));
        print(&report(&plan, &collected))?;
    }
    if collected.done == collected.planned || args.allow_missing {
        return Ok(());
    }
    let (failed, missing) = (collected.failed.len(), collected.missing.len());
    let message = format!(
        "incomplete: of {}, {failed} failed and {missing} {} missing",
        counted(collected.planned, "run"),
        if missing == 1 { "is" } else { "are" }
    );
    let out = args.out.as_ref().map(|out| format!(" --out {}", quoted(&out.display().to_string())));
    let command =
        format!("splitwave study run {}{}", quoted(&args.study.display().to_string()), out.unwrap_or_default());
    Err(Failure::incomplete(&message, &format!("`{command}` runs them; --allow-missing takes the tables as they are")))
}

/// The plan of a study file and its folder, which must be there.
pub(super) fn find(study: &Path, out: Option<&Path>, quiet: bool) -> Result<(Plan, StudyFolder), Failure> {
    let plan = open_plan(study, &mut Library::default(), quiet)?;
    if !quiet {
        tell(&render_problems(plan.warnings(), plan.sources(), in_colour()));
    }
    let out = out.map_or_else(|| Path::new("results/studies").join(plan.name()), Path::to_path_buf);
    let folder = StudyFolder::find(&out, plan.name()).map_err(|error: FolderError| {
        let text = with_causes(&error);
        if error.is_wrong_input() { Failure::input(&text, error.hint()) } else { Failure::failed(&text, error.hint()) }
    })?;
    Ok((plan, folder))
}

fn refused(error: &CollectError) -> Failure {
    let text = with_causes(error);
    if error.is_wrong_input() { Failure::input(&text, error.hint()) } else { Failure::failed(&text, error.hint()) }
}

/// What deserves a look.
fn remarks(collected: &Collected) -> String {
    let mut text = String::new();
    for defect in collected.defects.iter().take(NAMED) {
        let _ = writeln!(text, "warning: {defect}; it counts for nothing");
    }
    if collected.defects.len() > NAMED {
        let _ = writeln!(text, "warning: {} more damaged lines", collected.defects.len() - NAMED);
    }
    if collected.unpaired > 0 {
        let points = counted(collected.unpaired, "point");
        let _ = writeln!(
            text,
            "warning: --paired: {points} at one level had no partner at the other, and no row in differences.csv"
        );
    }
    if let [first, rest @ ..] = collected.instruction_sets.as_slice()
        && !rest.is_empty()
    {
        let _ = writeln!(
            text,
            "warning: runs were done on machines of different instruction sets ({first}, {}): numbers of a model may \
             differ in their last digits between them",
            rest.join(", ")
        );
    }
    text
}

/// The counts, what is wrong, and the tables.
fn report(plan: &Plan, collected: &Collected) -> String {
    let Collected { planned, done, failed, missing, extra, duplicates, .. } = collected;
    let mut text = format!(
        "{}: {planned} planned, {done} done, {} missing, {} failed, {duplicates} done twice, {extra} extra\n",
        plan.name(),
        missing.len(),
        failed.len()
    );
    for failed in failed.iter().take(NAMED) {
        let (id, error) = (failed.run.id, &failed.error);
        let (point, tries) = (plan.describe(failed.run.point), counted(failed.attempts, "attempt"));
        let _ = writeln!(text, "  failed: {id} ({point}; replication {}), {tries}: {error}", failed.run.replication);
    }
    if failed.len() > NAMED {
        let _ = writeln!(text, "  and {} more", failed.len() - NAMED);
    }
    for file in &collected.removed {
        let _ = writeln!(text, "removed {}, of an earlier collect: it would not go with these", file.display());
    }
    for file in &collected.files {
        let _ = writeln!(text, "{}", file.display());
    }
    text
}

//! `splitwave fit`

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::str::FromStr;

use crate::cli::failure::Failure;
use crate::cli::{parse_threads, print, quoted, tell, threads};
use crate::control::Target;
use crate::rl::{Activation, RegressionSettings};
use crate::run::fit::{Clipped, Fit, FitError, FitJob, FitProgress, FitSpec, MetricsRow, SourceFile, allowed};
use crate::run::runner::evaluation_pool;
use crate::run::wording::{counted, with_causes};

/// Train a surrogate of the model's perplexity, cross-validated.
///
/// A small network learns the quality of a split under channel conditions from the
/// records of `splitwave profile --records N`, or from the cells of a table. Rows with
/// equal inputs are repeats of one point: they stay in one fold, and their spread is the
/// noise floor that no surrogate can beat. Rows in which nothing arrived are left out, as
/// they are of a table: a simulation scores outages as chance anyway.
///
/// The surrogate covers the ranges that the profile drew its records from, as the
/// manifest.json beside unchanged records says. Without it, ends that aren't round are
/// rounded outwards, in random draws to 1, 2 or 5 times a power of ten that is at least
/// three mean distances of neighbours, 3 (max - min)/(points + 1). Beyond its ranges
/// a surrogate predicts what it does at their border, and scenarios that go there are
/// refused.
///
/// The folder gets surrogate.safetensors, which `quality.surrogate` reads; metrics.csv
/// (errors per fold beside a constant's and the noise floor); predictions.csv (each row
/// as predicted by the fold that held it out); calibration.csv; and manifest.json.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  splitwave profile scenarios/quickstart.toml -o data --records 9718 --repeats 2
  splitwave fit data/records.csv -o surrogate
  splitwave fit models/llama-2-7b/relative_ppl_gain.csv -o surrogate --epochs 3000 --patience 100")]
pub struct FitArgs {
    /// records.csv of one or more profiles, or a table (columns split, loss_probability, relative_ppl_gain …).
    #[arg(value_name = "RECORDS.csv", required = true)]
    records: Vec<PathBuf>,
    /// Folder for the surrogate and its figures.
    #[arg(long, short, default_value = "surrogate")]
    out: PathBuf,
    /// Inputs, comma-separated: split, noise_std, rayleigh_scale, loss_probability. Default: those that vary.
    #[arg(long, value_delimiter = ',')]
    inputs: Option<Vec<String>>,
    /// What is predicted: the relative gain (PPL_0 - PPL)/PPL_0, clipped at -1; PPL, capped; or ln PPL.
    #[arg(long, default_value = "relative-gain", value_parser = Target::NAMES)]
    target: String,
    /// With --target ppl: the largest PPL that counts. Default: 10 times the clean PPL of the row's window.
    #[arg(long, allow_negative_numbers = true, value_parser = |text: &str| number::<f64>(text, "ppl-cap"))]
    ppl_cap: Option<f64>,
    /// Folds of the cross-validation.
    #[arg(long, default_value_t = 5, allow_negative_numbers = true, value_parser = |text: &str| number::<u32>(text, "folds"))]
    folds: u32,
    /// Seed of first weights, folds and orders.
    #[arg(long, default_value_t = 1, allow_negative_numbers = true, value_parser = |text: &str| number::<u64>(text, "seed"))]
    seed: u64,
    /// Records that the final fit is checked on; rows that it was fitted to are left out.
    #[arg(long, value_name = "HELD_OUT.csv")]
    check: Option<PathBuf>,
    /// Neurons of the hidden layers, comma-separated.
    #[arg(long, value_name = "N,…", default_value_t = Widths(RegressionSettings::default().hidden), value_parser = parse_widths, allow_hyphen_values = true)]
    hidden: Widths,
    /// tanh or relu.
    #[arg(long, default_value = activation_name(RegressionSettings::default().activation), value_parser = parse_activation)]
    activation: Activation,
    /// Learning rate of Adam.
    #[arg(long, default_value_t = RegressionSettings::default().learning_rate, allow_negative_numbers = true, value_parser = |text: &str| number::<f64>(text, "learning-rate"))]
    learning_rate: f64,
    /// Rows of a batch.
    #[arg(long, default_value_t = RegressionSettings::default().batch_size, allow_negative_numbers = true, value_parser = |text: &str| number::<u32>(text, "batch-size"))]
    batch_size: u32,
    /// Most passes over the rows.
    #[arg(long, default_value_t = RegressionSettings::default().epochs, allow_negative_numbers = true, value_parser = |text: &str| number::<u32>(text, "epochs"))]
    epochs: u32,
    /// Epochs without a better held-out error before the learning rate falls to a tenth; the third time, training
    /// ends.
    #[arg(long, default_value_t = RegressionSettings::default().patience, allow_negative_numbers = true, value_parser = |text: &str| number::<u32>(text, "patience"))]
    patience: u32,
    /// Share of the training rows held out to stop early.
    #[arg(long, default_value_t = RegressionSettings::default().validation_share, allow_negative_numbers = true, value_parser = |text: &str| number::<f64>(text, "validation-share"))]
    validation_share: f64,
    /// Decoupled weight decay (AdamW).
    #[arg(long, default_value_t = RegressionSettings::default().weight_decay, allow_negative_numbers = true, value_parser = |text: &str| number::<f64>(text, "weight-decay"))]
    weight_decay: f64,
    /// Threads; folds run in parallel. Default: all cores. Does not change any result.
    #[arg(long, value_parser = parse_threads, allow_negative_numbers = true)]
    threads: Option<usize>,
    /// Replace a fit that is there.
    #[arg(long)]
    force: bool,
    /// No progress.
    #[arg(long, short)]
    quiet: bool,
}

pub fn fit(args: &FitArgs) -> Result<(), Failure> {
    let spec = spec(args)?;
    std::fs::create_dir_all(&args.out).map_err(|error| {
        Failure::failed(&format!("{}: {error}", args.out.display()), "choose a folder that can be written with --out")
    })?;
    let pool = evaluation_pool(threads(args.threads)).map_err(|error| Failure::from(&error))?;
    let job = FitJob {
        records: &args.records,
        check: args.check.as_deref(),
        spec: &spec,
        folder: &args.out,
        command: &command(args, &spec),
        replace: args.force,
        pool: &pool,
    };
    let made = job.make(&|progress| {
        if !args.quiet {
            tell(&shown(&progress));
        }
    });
    let made = made.map_err(|error| failure(&error))?;
    if args.quiet {
        return Ok(());
    }
    if made.was_there {
        tell(&format!("{}: already there, skipped (--force makes it again)\n", args.out.display()));
        return Ok(());
    }
    for source in &made.sources {
        tell(&left_out(source));
    }
    if let Some(clipped) = &made.clipped {
        tell(&share_clipped(clipped));
    }
    for warning in &made.warnings {
        tell(&format!("warning: {warning}\n"));
    }
    let mut text = results(&made);
    let _ = writeln!(text, "The surrogate covers {}.", made.covers);
    for file in &made.files {
        let _ = writeln!(text, "{}: {}", args.out.join(&file.name).display(), counted(file.rows, "row"));
    }
    print(&text)
}

fn failure(error: &FitError) -> Failure {
    let chain = with_causes(error);
    if error.is_input() { Failure::input(&chain, &error.hint()) } else { Failure::failed(&chain, &error.hint()) }
}

/// What is asked for, all defaults filled in.
fn spec(args: &FitArgs) -> Result<FitSpec, Failure> {
    let target = Target::named(&args.target, args.ppl_cap).unwrap_or_default();
    if args.ppl_cap.is_some() && !matches!(target, Target::Ppl { .. }) {
        let message = format!("--ppl-cap plays no part with --target {}", target.name());
        return Err(Failure::input(&message, "leave it out, or ask for --target ppl"));
    }
    Ok(FitSpec {
        inputs: args.inputs.clone(),
        target,
        folds: args.folds,
        seed: args.seed,
        regression: RegressionSettings {
            hidden: args.hidden.0.clone(),
            activation: args.activation,
            learning_rate: args.learning_rate,
            batch_size: args.batch_size,
            epochs: args.epochs,
            patience: args.patience,
            validation_share: args.validation_share,
            weight_decay: args.weight_decay,
        },
    })
}

/// The command that makes a fit again, all defaults but the inputs spelled out.
fn command(args: &FitArgs, spec: &FitSpec) -> String {
    let mut command = "splitwave fit".to_owned();
    // Writing to a String cannot fail.
    for path in &args.records {
        let _ = write!(command, " {}", quoted(&path.display().to_string()));
    }
    let mut option = |name: &str, value: &str| {
        let _ = write!(command, " --{name} {value}");
    };
    option("out", "DIR");
    if let Some(inputs) = &spec.inputs {
        option("inputs", &quoted(&inputs.join(",")));
    }
    option("target", spec.target.name());
    if let Target::Ppl { cap: Some(cap) } = spec.target {
        option("ppl-cap", &cap.to_string());
    }
    option("folds", &spec.folds.to_string());
    option("seed", &spec.seed.to_string());
    if let Some(check) = &args.check {
        option("check", &quoted(&check.display().to_string()));
    }
    let regression = &spec.regression;
    option("hidden", &args.hidden.to_string());
    option("activation", activation_name(regression.activation));
    option("learning-rate", &regression.learning_rate.to_string());
    option("batch-size", &regression.batch_size.to_string());
    option("epochs", &regression.epochs.to_string());
    option("patience", &regression.patience.to_string());
    option("validation-share", &regression.validation_share.to_string());
    option("weight-decay", &regression.weight_decay.to_string());
    command
}

/// Widths of hidden layers, as `128,128`.
#[derive(Clone, Debug)]
pub struct Widths(pub Vec<u32>);

impl fmt::Display for Widths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
    }
}

fn parse_widths(text: &str) -> Result<Widths, String> {
    text.split(',').map(|width| number(width.trim(), "hidden")).collect::<Result<Vec<u32>, _>>().map(Widths)
}

/// The value of an option; what it may be is told of one that is no such number, and checked by the fit.
fn number<T: FromStr>(text: &str, option: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("allowed: {}", allowed(option)))
}

pub fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::Tanh => "tanh",
        Activation::Relu => "relu",
    }
}

pub fn parse_activation(text: &str) -> Result<Activation, String> {
    match text {
        "tanh" => Ok(Activation::Tanh),
        "relu" => Ok(Activation::Relu),
        _ => Err("allowed: tanh, relu".into()),
    }
}

/// A line of progress.
fn shown(progress: &FitProgress<'_>) -> String {
    match progress {
        FitProgress::Read(rows, points, inputs) => {
            let names: Vec<&str> = inputs.iter().map(|input| input.name()).collect();
            let (rows, points) = (counted(*rows as u64, "row"), counted(*points as u64, "point"));
            format!("{rows}, {points}, inputs: {}\n", names.join(", "))
        }
        FitProgress::Fold(fit) => {
            let (figures, epochs) = (&fit.figures, counted(fit.epochs as u64, "epoch"));
            let floor = figures.noise_floor_mse.map_or_else(String::new, |floor| format!(", noise floor {floor:.4e}"));
            let (fold, mse, constant) = (fit.fold, figures.mse, figures.constant_mse);
            format!("fold {fold}: {epochs}, MSE {mse:.4e} (a constant's {constant:.4e}{floor})\n")
        }
    }
}

/// What was left out of a file; nothing if nothing was.
fn left_out(source: &SourceFile) -> String {
    let mut text = String::new();
    if source.outages > 0 {
        let rows = counted(source.outages, "row");
        let _ = writeln!(
            text,
            "{}: {rows} left out because nothing arrived; a simulation scores an outage as chance",
            source.path
        );
    }
    if source.duplicates > 0 {
        let rows = counted(source.duplicates, "row");
        let _ =
            writeln!(text, "warning: {}: {rows} left out because the same row stands above to the letter", source.path);
    }
    text
}

/// How many targets are clipped, and what to do about it.
fn share_clipped(clipped: &Clipped) -> String {
    let (share, rows) = (100.0 * clipped.share(), counted(clipped.of, "row"));
    let bound =
        if clipped.target == "ppl" { "a PPL above its cap counts as the cap" } else { "a gain below -1 counts as -1" };
    let mut text = format!("{share:.1} % of {rows} have a clipped target: {bound}\n");
    if let Some(hint) = clipped.hint() {
        let _ = writeln!(text, "hint: {hint}");
    }
    text
}

/// The table at the end.
fn results(made: &Fit) -> String {
    let header = ["fold", "rows", "epochs", "MSE", "constant", "floor", "MSE/floor", "MAE", "R²", "cell R²"];
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.5}"));
    let line = |row: &MetricsRow| {
        let ratio = row.noise_floor_mse.filter(|floor| *floor > 0.0).map(|floor| row.mse / floor);
        [
            row.fold.clone(),
            row.rows.to_string(),
            format!("{:.0}", row.epochs),
            format!("{:.4e}", row.mse),
            format!("{:.4e}", row.constant_mse),
            row.noise_floor_mse.map_or_else(|| "-".to_owned(), |floor| format!("{floor:.4e}")),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
            format!("{:.4e}", row.mae),
            number(row.r2),
            number(row.cell_r2),
        ]
    };
    let lines: Vec<[String; 10]> =
        std::iter::once(header.map(str::to_owned)).chain(made.metrics.iter().map(line)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let (gap, width) = (if column == 0 { "" } else { "  " }, width(column));
            let _ = if column == 0 { write!(text, "{cell:<width$}") } else { write!(text, "{gap}{cell:>width$}") };
        }
        text.push('\n');
    }
    text + "Errors in units of the target; each fold on the rows that it held out.\n"
}

//! `splitwave fit-exit`

use std::fmt::Write as _;
use std::path::PathBuf;
use std::str::FromStr;

use crate::cli::failure::Failure;
use crate::cli::{parse_threads, print, quoted, tell, threads};
use crate::llm::BUILTIN;
use crate::run::fit_exit::{ExitFit, ExitFitError, ExitFitJob, ExitFitProgress, ExitFitSpec, ExitMetricsRow, allowed};
use crate::run::runner::evaluation_pool;
use crate::run::wording::{counted, with_causes};

/// Fit heads that leave a model early: a device that has run e layers proposes a token by itself.
///
/// An exit is an affine map behind layer e, A h + b, after which the model's own final norm and head give logits
/// (a tuned lens). It is fitted to a text in two steps: ridge regression of the states behind the last layer, then
/// Adam on the KL divergence from the whole model's distributions. A tenth of the windows chooses the penalty and the
/// epoch, another tenth is held out for the figures.
///
/// Fit to another text than the prompts of a simulation are cut from: --corpus takes a file, --check builtin adds
/// figures on the built-in text.
///
/// The folder gets exit_<layer>.safetensors for each layer; metrics.csv (perplexity, agreement with the whole model,
/// and how often and how rightly an exit is sure, beside those of the logit lens and of regression alone); and
/// manifest.json.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  splitwave fit-exit --layer 8
  splitwave fit-exit --layer 4,8,12 --corpus text.txt --check builtin --out exits
  splitwave fit-exit --model models/my-llama --layer 8 --corpus text.txt --epochs 0")]
pub struct FitExitArgs {
    /// "builtin", a directory in Hugging Face's layout, or a .gguf file.
    #[arg(long, default_value = BUILTIN)]
    model: String,
    /// Layers in front of the exits, comma-separated.
    #[arg(long, value_name = "E,…", required = true, value_delimiter = ',', allow_negative_numbers = true, value_parser = |text: &str| number::<usize>(text, "layer"))]
    layer: Vec<usize>,
    /// The text: "builtin", a text file in UTF-8, or a .parquet file.
    #[arg(long, value_name = "TEXT", default_value = BUILTIN)]
    corpus: String,
    /// Another text that the heads are judged on.
    #[arg(long, value_name = "TEXT")]
    check: Option<String>,
    /// Folder for the heads and their figures.
    #[arg(long, short, default_value = "exit")]
    out: PathBuf,
    /// Most windows of the text, drawn at random; and most of the text of --check, its first.
    #[arg(long, default_value_t = 2000, allow_negative_numbers = true, value_parser = |text: &str| number::<u32>(text, "windows"))]
    windows: u32,
    /// Tokens of a window.
    #[arg(long, default_value_t = 128, allow_negative_numbers = true, value_parser = |text: &str| number::<u32>(text, "tokens"))]
    tokens: u32,
    /// Passes of Adam over the windows; 0 leaves it at ridge regression.
    #[arg(long, default_value_t = 3, allow_negative_numbers = true, value_parser = |text: &str| number::<u32>(text, "epochs"))]
    epochs: u32,
    /// Learning rate of Adam at the start; it falls to 0 in a straight line.
    #[arg(long, default_value_t = 3e-3, allow_negative_numbers = true, value_parser = |text: &str| number::<f64>(text, "learning-rate"))]
    learning_rate: f64,
    /// Windows of a minibatch.
    #[arg(long, default_value_t = 8, allow_negative_numbers = true, value_parser = |text: &str| number::<u32>(text, "batch-windows"))]
    batch_windows: u32,
    /// Seed of which windows are taken and held out, and of the order of minibatches.
    #[arg(long, default_value_t = 1, allow_negative_numbers = true, value_parser = |text: &str| number::<u64>(text, "seed"))]
    seed: u64,
    /// Threads. Default: all cores. Does not change any result.
    #[arg(long, value_parser = parse_threads, allow_negative_numbers = true)]
    threads: Option<usize>,
    /// Replace a fit that is there.
    #[arg(long)]
    force: bool,
    /// No progress.
    #[arg(long, short)]
    quiet: bool,
}

pub fn fit_exit(args: &FitExitArgs) -> Result<(), Failure> {
    let spec = ExitFitSpec {
        model: args.model.clone(),
        layers: args.layer.clone(),
        corpus: args.corpus.clone(),
        check: args.check.clone(),
        windows: args.windows,
        tokens: args.tokens,
        epochs: args.epochs,
        learning_rate: args.learning_rate,
        batch_windows: args.batch_windows,
        seed: args.seed,
    };
    std::fs::create_dir_all(&args.out).map_err(|error| {
        Failure::failed(&format!("{}: {error}", args.out.display()), "choose a folder that can be written with --out")
    })?;
    let pool = evaluation_pool(threads(args.threads)).map_err(|error| Failure::from(&error))?;
    let command = command(&spec);
    let job = ExitFitJob { spec: &spec, folder: &args.out, command: &command, replace: args.force, pool: &pool };
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
    let mut text = results(&made);
    for file in &made.files {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", args.out.join(&file.name).display());
    }
    print(&text)
}

fn failure(error: &ExitFitError) -> Failure {
    if let ExitFitError::Model(error) = error {
        return Failure::from(error);
    }
    let chain = with_causes(error);
    if error.is_input() { Failure::input(&chain, error.hint()) } else { Failure::failed(&chain, error.hint()) }
}

/// The command that makes a fit again, all defaults spelled out.
fn command(spec: &ExitFitSpec) -> String {
    let mut command = "splitwave fit-exit".to_owned();
    let mut option = |name: &str, value: &str| {
        let _ = write!(command, " --{name} {value}");
    };
    option("model", &quoted(&spec.model));
    option("layer", &spec.layers.iter().map(usize::to_string).collect::<Vec<_>>().join(","));
    option("corpus", &quoted(&spec.corpus));
    if let Some(check) = &spec.check {
        option("check", &quoted(check));
    }
    option("out", "DIR");
    option("windows", &spec.windows.to_string());
    option("tokens", &spec.tokens.to_string());
    option("epochs", &spec.epochs.to_string());
    option("learning-rate", &spec.learning_rate.to_string());
    option("batch-windows", &spec.batch_windows.to_string());
    option("seed", &spec.seed.to_string());
    command
}

/// The value of an option; what it may be is told of one that is no such number, and checked by the fit.
fn number<T: FromStr>(text: &str, option: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("allowed: {}", allowed(option)))
}

/// A line of progress.
fn shown(progress: &ExitFitProgress<'_>) -> String {
    let list = |values: &[f64]| values.iter().map(|kl| format!("{kl:.4}")).collect::<Vec<_>>().join(", ");
    match progress {
        ExitFitProgress::Read([fitted, validation, held_out]) => {
            let fitted = counted(*fitted as u64, "window");
            format!("{fitted} fitted, {validation} for validation, {held_out} held out\n")
        }
        ExitFitProgress::Ridge(exits) => {
            let lambdas = exits.iter().map(|(lambda, _)| lambda.to_string()).collect::<Vec<_>>().join(", ");
            let kl: Vec<f64> = exits.iter().map(|(_, kl)| *kl).collect();
            format!("ridge regression: λ {lambdas}; KL of validation {} nat\n", list(&kl))
        }
        ExitFitProgress::Epoch(epoch, kl) => format!("epoch {epoch}: KL of validation {} nat\n", list(kl)),
    }
}

/// The table at the end.
fn results(made: &ExitFit) -> String {
    const HEADER: [&str; 11] =
        ["text", "layer", "head", "PPL", "full", "KL", "agree", "p≥0.8", "agree", "p≥0.9", "agree"];
    let share = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{:.1} %", 100.0 * value));
    let line = |row: &ExitMetricsRow| {
        [
            row.text.clone(),
            row.layer.to_string(),
            row.head.clone(),
            format!("{:.2}", row.ppl),
            format!("{:.2}", row.ppl_full),
            format!("{:.4}", row.kl_nats),
            share(Some(row.agreement)),
            share(Some(row.sure_80)),
            share(row.sure_80_agreement),
            share(Some(row.sure_90)),
            share(row.sure_90_agreement),
        ]
    };
    let lines: Vec<[String; 11]> =
        std::iter::once(HEADER.map(str::to_owned)).chain(made.metrics.iter().map(line)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let (gap, width) = (if column == 0 { "" } else { "  " }, width(column));
            // Words to the left, numbers to the right.
            let is_word = matches!(column, 0 | 2);
            let _ = if is_word { write!(text, "{gap}{cell:<width$}") } else { write!(text, "{gap}{cell:>width$}") };
        }
        text.push('\n');
    }
    text + "KL in nat per token; agreement with the whole model's first choice.\n"
}

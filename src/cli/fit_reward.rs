//! `splitwave fit-reward`

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::str::FromStr;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::failure::Failure;
use crate::cli::fit::{Widths, activation_name, parse_activation};
use crate::cli::{parse_threads, print, quoted, tell, threads};
use crate::control::collaboration::HeadLevel;
use crate::rl::{Activation, RegressionSettings};
use crate::run::fit_reward::{
    FitReward, FitRewardError, FitRewardJob, FitRewardProgress, FitRewardSpec, allowed, default_regression,
};
use crate::run::runner::evaluation_pool;
use crate::run::wording::{counted, with_causes};

/// Train the reward model of a pair of models, cross-validated.
///
/// A small model on the UE proposes tokens; the reward of one is what the large model
/// thinks of it, r = ln p_L(x) - max_v ln p_L(v): 0 for its own first choice. The small
/// model writes a rollout behind each prompt of a text, the large one scores it in one
/// pass, and a small network learns to foresee r from what the UE has at hand. With
/// --level query it foresees the mean r of a whole rollout from the prompt alone.
///
/// Beside it stand scores that need no training: largest probability, margin, entropy,
/// the token's probability, and U-HLM's perturbed temperatures. Tokens of one prompt stay
/// in one fold; intervals resample prompts.
///
/// The folder gets reward.safetensors; metrics.csv (errors, rank correlations, areas under
/// the curve); share_ratio.csv (the edge's share for the quality that random choice
/// reaches); tradeoff.csv; thresholds.csv; calibration.csv; predictions.csv (each token as
/// predicted by the fold that held its prompt out); and manifest.json.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  splitwave fit-reward -o reward
  splitwave fit-reward --temperature 0 --features hidden,embedding -o greedy
  splitwave fit-reward --device small-llama --edge large-llama --corpus text.txt --prompts 2000 -o reward
  splitwave fit-reward --level query --corpus text.txt -o router")]
pub struct FitRewardArgs {
    /// The small model: builtin-small, a directory in Hugging Face's layout, or a .gguf file.
    #[arg(long, default_value = "builtin-small")]
    device: String,
    /// The large model, with the same tokens: builtin, a directory, or a .gguf file.
    #[arg(long, default_value = "builtin")]
    edge: String,
    /// The text that prompts are cut from: builtin, a text file, or a .parquet file.
    #[arg(long, default_value = "builtin")]
    corpus: String,
    /// Another text that the final head is checked on.
    #[arg(long, value_name = "CORPUS")]
    check: Option<String>,
    /// Folder for the head and its figures.
    #[arg(long, short, default_value = "reward")]
    out: PathBuf,
    /// What is foreseen: the reward of a token, or the mean reward behind a prompt (query).
    #[arg(long, default_value = "token", value_parser = parse_level)]
    level: HeadLevel,
    /// Prompts, spread evenly over the text. Default: all that it has, at most 1000.
    #[arg(long, value_parser = |text: &str| number::<u32>(text, "prompts"), allow_negative_numbers = true)]
    prompts: Option<u32>,
    /// Rows of a prompt; a BOS token is one of them.
    #[arg(long, default_value_t = 64, value_parser = |text: &str| number::<u32>(text, "prompt-tokens"), allow_negative_numbers = true)]
    prompt_tokens: u32,
    /// Most tokens of a rollout.
    #[arg(long, default_value_t = 32, value_parser = |text: &str| number::<u32>(text, "output-tokens"), allow_negative_numbers = true)]
    output_tokens: u32,
    /// Sampling temperature of the small model; 0 takes the likeliest token.
    #[arg(long, default_value_t = 1.0, value_parser = |text: &str| number::<f64>(text, "temperature"), allow_negative_numbers = true)]
    temperature: f64,
    /// Folds of the cross-validation.
    #[arg(long, default_value_t = 5, value_parser = |text: &str| number::<u32>(text, "folds"), allow_negative_numbers = true)]
    folds: u32,
    /// Inputs, comma-separated: hidden, embedding, product, confidence; of queries hidden, mean, confidence.
    /// Default: all.
    #[arg(long, value_delimiter = ',')]
    features: Option<Vec<String>>,
    /// Seed of rollouts, first weights, folds and orders.
    #[arg(long, default_value_t = 1, value_parser = |text: &str| number::<u64>(text, "seed"), allow_negative_numbers = true)]
    seed: u64,
    /// Neurons of the hidden layers, comma-separated.
    #[arg(long, value_name = "N,…", default_value_t = Widths(default_regression().hidden), value_parser = parse_widths, allow_hyphen_values = true)]
    hidden: Widths,
    /// tanh or relu.
    #[arg(long, default_value = activation_name(default_regression().activation), value_parser = parse_activation)]
    activation: Activation,
    /// Learning rate of Adam.
    #[arg(long, default_value_t = default_regression().learning_rate, value_parser = |text: &str| number::<f64>(text, "learning-rate"), allow_negative_numbers = true)]
    learning_rate: f64,
    /// Rows of a batch.
    #[arg(long, default_value_t = default_regression().batch_size, value_parser = |text: &str| number::<u32>(text, "batch-size"), allow_negative_numbers = true)]
    batch_size: u32,
    /// Most passes over the rows.
    #[arg(long, default_value_t = default_regression().epochs, value_parser = |text: &str| number::<u32>(text, "epochs"), allow_negative_numbers = true)]
    epochs: u32,
    /// Epochs without a better held-out error before the learning rate falls to a tenth; the third time, training
    /// ends.
    #[arg(long, default_value_t = default_regression().patience, value_parser = |text: &str| number::<u32>(text, "patience"), allow_negative_numbers = true)]
    patience: u32,
    /// Share of the training prompts held out to stop early.
    #[arg(long, default_value_t = default_regression().validation_share, value_parser = |text: &str| number::<f64>(text, "validation-share"), allow_negative_numbers = true)]
    validation_share: f64,
    /// Decoupled weight decay (AdamW).
    #[arg(long, default_value_t = default_regression().weight_decay, value_parser = |text: &str| number::<f64>(text, "weight-decay"), allow_negative_numbers = true)]
    weight_decay: f64,
    /// Threads for rollouts, folds and resamples. Default: all cores. Does not change any result.
    #[arg(long, value_parser = parse_threads, allow_negative_numbers = true)]
    threads: Option<usize>,
    /// Replace a fit that is there.
    #[arg(long)]
    force: bool,
    /// No progress.
    #[arg(long, short)]
    quiet: bool,
}

pub fn fit_reward(args: &FitRewardArgs) -> Result<(), Failure> {
    let spec = spec(args);
    std::fs::create_dir_all(&args.out).map_err(|error| {
        Failure::failed(&format!("{}: {error}", args.out.display()), "choose a folder that can be written with --out")
    })?;
    let pool = evaluation_pool(threads(args.threads)).map_err(|error| Failure::from(&error))?;
    let job = FitRewardJob {
        spec: &spec,
        folder: &args.out,
        command: &command(args, &spec),
        replace: args.force,
        pool: &pool,
    };
    let bar = (!args.quiet && std::io::stderr().is_terminal()).then(bar);
    let made = job.make(&|progress| {
        if !args.quiet {
            show(&progress, bar.as_ref());
        }
    });
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
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
        let _ = writeln!(text, "{}: {}", args.out.join(&file.name).display(), counted(file.rows, "row"));
    }
    print(&text)
}

fn failure(error: &FitRewardError) -> Failure {
    let chain = with_causes(error);
    if error.is_input() { Failure::input(&chain, &error.hint()) } else { Failure::failed(&chain, &error.hint()) }
}

/// What is asked for, all defaults filled in.
fn spec(args: &FitRewardArgs) -> FitRewardSpec {
    FitRewardSpec {
        device: args.device.clone(),
        edge: args.edge.clone(),
        corpus: args.corpus.clone(),
        check: args.check.clone(),
        level: args.level,
        features: args.features.clone(),
        prompts: args.prompts,
        prompt_tokens: args.prompt_tokens,
        output_tokens: args.output_tokens,
        temperature: args.temperature,
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
    }
}

/// The command that makes a head again, all defaults but the inputs spelled out.
fn command(args: &FitRewardArgs, spec: &FitRewardSpec) -> String {
    let mut command = "splitwave fit-reward".to_owned();
    // Writing to a String cannot fail.
    let mut option = |name: &str, value: &str| {
        let _ = write!(command, " --{name} {value}");
    };
    option("device", &quoted(&spec.device));
    option("edge", &quoted(&spec.edge));
    option("corpus", &quoted(&spec.corpus));
    if let Some(check) = &spec.check {
        option("check", &quoted(check));
    }
    option("out", "DIR");
    option("level", spec.level.name());
    if let Some(prompts) = spec.prompts {
        option("prompts", &prompts.to_string());
    }
    option("prompt-tokens", &spec.prompt_tokens.to_string());
    option("output-tokens", &spec.output_tokens.to_string());
    option("temperature", &spec.temperature.to_string());
    option("folds", &spec.folds.to_string());
    if let Some(features) = &spec.features {
        option("features", &quoted(&features.join(",")));
    }
    option("seed", &spec.seed.to_string());
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

fn parse_widths(text: &str) -> Result<Widths, String> {
    text.split(',').map(|width| number(width.trim(), "hidden")).collect::<Result<Vec<u32>, _>>().map(Widths)
}

fn parse_level(text: &str) -> Result<HeadLevel, String> {
    match text {
        "token" => Ok(HeadLevel::Token),
        "query" => Ok(HeadLevel::Query),
        _ => Err("allowed: token, query".into()),
    }
}

/// The value of an option; what it may be is told of one that is no such number, and checked by the fit.
fn number<T: FromStr>(text: &str, option: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("allowed: {}", allowed(option)))
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("rollouts [{bar:24}] {pos}/{len}, ETA {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}

/// Shows how far a fit is: a bar for rollouts on a terminal, and lines.
fn show(progress: &FitRewardProgress<'_>, bar: Option<&ProgressBar>) {
    let line = match *progress {
        FitRewardProgress::Rollouts(done, all) => {
            if let Some(bar) = bar {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
            }
            return;
        }
        FitRewardProgress::Rows(prompts, tokens, inputs) => {
            let [prompts, tokens, inputs] = [(prompts, "prompt"), (tokens, "token"), (inputs, "input")]
                .map(|(count, noun)| counted(count as u64, noun));
            format!("{prompts}, {tokens}, {inputs} per row\n")
        }
        FitRewardProgress::Fold(fit) => {
            let (rows, epochs) = (counted(fit.rows.len() as u64, "row"), counted(fit.epochs as u64, "epoch"));
            format!("fold {}: {rows} held out, {epochs}\n", fit.fold)
        }
    };
    match bar {
        Some(bar) => bar.suspend(|| tell(&line)),
        None => tell(&line),
    }
}

/// The table at the end.
fn results(made: &FitReward) -> String {
    let header = ["fold", "scorer", "rank correlation", "95 %", "AUC", "share at 20 %", "40 %", "60 %"];
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    let mut lines = vec![header.map(str::to_owned)];
    for row in made.metrics.iter().filter(|row| row.rank_correlation_low.is_some() || row.scorer == "reward") {
        let ratio = |share: f64| {
            let mut found = made.share_ratios.iter();
            let found = found.find(|r| r.fold == row.fold && r.scorer == row.scorer && r.random_share == share);
            number(found.and_then(|row| row.share_ratio))
        };
        let interval = match (row.rank_correlation_low, row.rank_correlation_high) {
            (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
            _ => "-".to_owned(),
        };
        let [at_20, at_40, at_60] = [0.2, 0.4, 0.6].map(ratio);
        let (fold, scorer) = (row.fold.clone(), row.scorer.to_owned());
        lines.push([fold, scorer, number(row.rank_correlation), interval, number(row.auc), at_20, at_40, at_60]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            let _ = if column < 2 { write!(text, "{cell:<width$}  ") } else { write!(text, "{cell:>width$}  ") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    if let (Some(first), Some(mean)) = (made.first_choices, made.mean_reward) {
        let share = 100.0 * first;
        let _ = writeln!(text, "{share:.1} % of the tokens are the large model's first choice; mean r {mean:.3}.");
    }
    text + "Shares: of tokens (queries) that a scorer hands over, over those of random choice for the same quality.\n"
}

//! `splitwave model prune`

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::model::prune_report::{Figures, Report};
use crate::cli::{print, tell};
use crate::llm::{
    BUILTIN, Corpus, Geometry, GradientError, GroupCounts, GroupScores, Importance, KeptGroups, LoadError, LoadedModel,
    Nll, Prunable, PruneWriteError, Segmentation, TeacherForced, WindowSplit,
};
use crate::run::model_folder::{ModelFolder, ModelFolderError};
use crate::run::signals::Interrupt;
use crate::run::wording::counted;

/// Share of the groups that goes without an option.
const RATIO: f64 = 0.25;
/// Most windows of either kind.
const MOST_WINDOWS: i64 = 1 << 20;

/// Write a smaller variant of a model: fewer heads, narrower feed-forward networks.
///
/// What goes are groups of weights that only make sense together: a key/value head with its query heads, or a channel
/// of the feed-forward network. In each layer those of lowest importance go, everywhere as many, so that the result is
/// an ordinary directory that every command opens; first and last layers can't be left alone. The width d stays, so a
/// split sends as much as before.
///
/// first-order importance (LLM-Pruner, arXiv 2305.11627) is Σ |w · gradient| over the weights of a group, the gradient
/// that of the summed negative log-likelihood of --windows windows, evenly spread over the corpus. magnitude is Σ |w|,
/// random the yardstick. Perplexity before and after is that of other windows. Nothing is trained again.
///
/// The directory gets config.json, model.safetensors (each tensor in the type that it had), the tokenizer's files
/// unchanged, and pruning.json: the options, the groups that were kept, and the figures.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  splitwave model prune builtin -o pruned
  splitwave model prune builtin -o narrow --heads-ratio 0 --channels-ratio 0.4
  splitwave model prune builtin-small -o yardstick --ratio 0.5 --importance random --seed 2")]
pub struct PruneArgs {
    /// "builtin", "builtin-small", or a directory in Hugging Face's layout.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Directory for the pruned model.
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
    /// Share of the groups of each layer that goes, rounded down to whole groups; heads and channels alike. Default: 0.25.
    #[arg(long, value_name = "R", value_parser = parse_ratio, allow_negative_numbers = true)]
    ratio: Option<f64>,
    /// Share of the key/value heads, each with its query heads. Default: --ratio.
    #[arg(long, value_name = "R", value_parser = parse_ratio, allow_negative_numbers = true)]
    heads_ratio: Option<f64>,
    /// Share of the feed-forward channels. Default: --ratio.
    #[arg(long, value_name = "R", value_parser = parse_ratio, allow_negative_numbers = true)]
    channels_ratio: Option<f64>,
    /// Text for calibration and perplexity: "builtin", a UTF-8 file, or a .parquet file of texts.
    #[arg(long, default_value = BUILTIN, value_name = "FILE")]
    corpus: String,
    /// Windows of the corpus that importance is measured on. They are held out from perplexity whatever the importance.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=MOST_WINDOWS), allow_negative_numbers = true)]
    windows: i64,
    /// Tokens of a window, of either kind.
    #[arg(long, default_value_t = 128, value_name = "N", allow_negative_numbers = true)]
    tokens: i64,
    /// Most other windows that perplexity is taken over, evenly spread.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=MOST_WINDOWS), allow_negative_numbers = true)]
    held_out: i64,
    /// What the groups are ranked by: first-order, magnitude or random.
    #[arg(long, default_value = "first-order", value_name = "HOW", value_parser = ["first-order", "magnitude", "random"])]
    importance: String,
    /// Seed of --importance random. Default: 1.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Replace a pruned model that is there.
    #[arg(long)]
    force: bool,
    /// No progress.
    #[arg(long, short)]
    quiet: bool,
}

/// A share of groups, of which at least one must be left.
fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..1.0).contains(ratio));
    ratio.ok_or_else(|| "allowed: 0 up to, but not including, 1: a layer keeps at least one group".to_owned())
}

pub fn prune(args: &PruneArgs) -> Result<(), Failure> {
    let interrupt = Interrupt::install()
        .map_err(|error| Failure::failed(&format!("installing signal handlers: {error}"), "please report this"))?;
    check_idle(args)?;
    let mut prunable = Prunable::open(&args.source).map_err(|error| gradient_failure(&error))?;
    let removed = removed(args, GroupCounts::of(prunable.config()))?;
    let is_source = |out: PathBuf| std::fs::canonicalize(&args.source).is_ok_and(|source| source == out);
    if std::fs::canonicalize(&args.out).is_ok_and(is_source) {
        let message = format!("--out {}: is the model that is pruned", args.out.display());
        return Err(Failure::input(&message, "choose another directory with --out"));
    }
    // Before anything takes time.
    let folder = ModelFolder::begin(&args.out, args.force).map_err(|error| Failure::from(&error))?;
    let model = LoadedModel::open(&args.source).map_err(|error| load_failure(&error))?;
    let corpus = Corpus::open(&args.corpus, &model.tokenizer, model.decoder.config().vocab, Segmentation::Tokens)
        .map_err(|error| Failure::input(&error.to_string(), "choose a text with --corpus"))?;
    let windows = Windows::new(args, &model, &corpus)?;

    let scores = score(args, &mut prunable, &windows, &interrupt)?;
    let kept = scores.keep(removed);
    let whole = KeptGroups::all(prunable.config());
    let write = |error: PruneWriteError| write_failure(args, &error);
    let before = Figures {
        geometry: Geometry::of_model(&args.source, model.decoder.config()),
        parameters: model.decoder.parameters(),
        stored_bytes: prunable.stored_bytes(&whole).map_err(|error| write(error.into()))?,
        nll: windows.held_out_nll(&model, &interrupt)?,
    };
    for (name, bytes) in prunable.tokenizer_files() {
        folder.write::<(), PruneWriteError>(name, |out| Ok(out.write_all(bytes)?)).map_err(write)?;
    }
    let text = prunable.pruned_config(&kept);
    folder.write::<(), PruneWriteError>("config.json", |out| Ok(out.write_all(text.as_bytes())?)).map_err(write)?;
    let stored_bytes = folder.write("model.safetensors", |out| prunable.write_weights(&kept, out)).map_err(write)?;
    // What is judged is what was written.
    let pruned = LoadedModel::from_dir(folder.path()).map_err(|error| load_failure(&error))?;
    let after = Figures {
        geometry: Geometry::of_model(&args.out.display().to_string(), pruned.decoder.config()),
        parameters: pruned.decoder.parameters(),
        stored_bytes,
        nll: windows.held_out_nll(&pruned, &interrupt)?,
    };
    let report = Report {
        before,
        after,
        kept: &kept,
        scores: &scores,
        tokens: windows.tokens,
        held_out: windows.split.held_out.len(),
    };
    let text = provenance(args, &model, &corpus, &windows, &report);
    folder.write::<(), PruneWriteError>("pruning.json", |out| Ok(out.write_all(text.as_bytes())?)).map_err(write)?;
    folder.publish().map_err(|error| Failure::from(&error))?;
    if !args.quiet {
        notes(args, &report);
    }
    print(&report.table())
}

/// Refuses options that play no part.
fn check_idle(args: &PruneArgs) -> Result<(), Failure> {
    let idle = [
        (
            args.ratio.is_some() && args.heads_ratio.is_some() && args.channels_ratio.is_some(),
            "--ratio plays no part: --heads-ratio and --channels-ratio say all",
        ),
        (args.seed.is_some() && args.importance != "random", "--seed plays no part: only --importance random draws"),
    ];
    match idle.into_iter().find(|(is_idle, _)| *is_idle) {
        Some((_, message)) => Err(Failure::input(message, "leave it out")),
        None => Ok(()),
    }
}

/// How many groups of each layer go; none at all is refused.
fn removed(args: &PruneArgs, groups: GroupCounts) -> Result<GroupCounts, Failure> {
    let ratio = args.ratio.unwrap_or(RATIO);
    let (heads, channels) = (args.heads_ratio.unwrap_or(ratio), args.channels_ratio.unwrap_or(ratio));
    let removed = groups.removed(heads, channels);
    if removed.heads + removed.channels > 0 {
        return Ok(removed);
    }
    let message = format!(
        "nothing would go: {heads} of {} and {channels} of {} are less than one",
        counted(groups.heads, "key/value head"),
        counted(groups.channels, "channel"),
    );
    let least = |groups: usize| 1.0 / groups as f64;
    let hint = match (groups.heads, groups.channels) {
        (1, 1) => "each layer has one group of either kind, and it must stay".to_owned(),
        (1, channels) => format!("give --channels-ratio {} or more", least(channels)),
        (heads, channels) => {
            format!("give --heads-ratio {} or more, or --channels-ratio {} or more", least(heads), least(channels))
        }
    };
    Err(Failure::input(&message, &hint))
}

/// The windows of the corpus, and which are used for what.
struct Windows<'a> {
    corpus: &'a Corpus,
    /// In front of each window.
    bos: Option<u32>,
    tokens: usize,
    split: WindowSplit,
}

impl<'a> Windows<'a> {
    fn new(args: &PruneArgs, model: &LoadedModel, corpus: &'a Corpus) -> Result<Self, Failure> {
        let config = model.decoder.config();
        let least = if config.bos_token.is_some() { 1 } else { 2 };
        let tokens = usize::try_from(args.tokens).ok().filter(|n| (least..=config.max_positions).contains(n));
        let Some(tokens) = tokens else {
            let message = format!(
                "--tokens: windows of {} don't fit the model; allowed: {least} to {}",
                args.tokens, config.max_positions
            );
            return Err(Failure::input(&message, super::SIZES));
        };
        let count = corpus.window_count(tokens);
        let Some(split) = WindowSplit::new(count, args.windows as usize, args.held_out as usize) else {
            let message = format!(
                "--windows {}: {} has {} of {tokens} tokens, and at least one must be held out; allowed: 1 to {}",
                args.windows,
                args.corpus,
                counted(count, "window"),
                count.saturating_sub(1)
            );
            return Err(Failure::input(&message, "take fewer windows, shorter --tokens, or a longer --corpus"));
        };
        Ok(Self { corpus, bos: config.bos_token, tokens, split })
    }

    fn window(&self, index: usize) -> Result<&'a [u32], Failure> {
        let found = self.corpus.window(index, self.tokens);
        found.map_err(|error| Failure::input(&error.to_string(), "choose a text with --corpus"))
    }

    fn held_out_nll(&self, model: &LoadedModel, interrupt: &Interrupt) -> Result<Nll, Failure> {
        let mut nll = Nll::default();
        for &index in &self.split.held_out {
            if interrupt.is_set() {
                return Err(interrupted());
            }
            nll += model.decoder.window_nll(self.window(index)?).map_err(|error| Failure::from(&error))?;
        }
        Ok(nll)
    }

    /// The windows that importance is measured on, as the model reads them.
    fn calibration(&self) -> Result<Vec<TeacherForced>, Failure> {
        self.split.calibration.iter().map(|&index| Ok(TeacherForced::new(self.window(index)?, self.bos))).collect()
    }
}

fn score(
    args: &PruneArgs,
    prunable: &mut Prunable,
    windows: &Windows,
    interrupt: &Interrupt,
) -> Result<GroupScores, Failure> {
    let calibration;
    let importance = match args.importance.as_str() {
        "first-order" => {
            calibration = windows.calibration()?;
            Importance::FirstOrder(&calibration)
        }
        "magnitude" => Importance::Magnitude,
        _ => Importance::Random(args.seed.unwrap_or(1)),
    };
    let mut watch = |done: usize, all: usize| {
        if !args.quiet {
            tell(&format!("importance: pass {done} of {all} through a layer\n"));
        }
        if interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    prunable.score(importance, &mut watch).map_err(|error| gradient_failure(&error))
}

/// pruning.json: the options and what came of them, an entry per line.
fn provenance(args: &PruneArgs, model: &LoadedModel, corpus: &Corpus, windows: &Windows, report: &Report) -> String {
    let ratio = args.ratio.unwrap_or(RATIO);
    let seed = (args.importance == "random").then_some(args.seed.unwrap_or(1));
    let entries = [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("source", json!(args.source)),
        ("source_hash", json!(model.content_hash())),
        ("importance", json!(args.importance)),
        ("seed", json!(seed)),
        ("heads_ratio", json!(args.heads_ratio.unwrap_or(ratio))),
        ("channels_ratio", json!(args.channels_ratio.unwrap_or(ratio))),
        ("corpus", json!(args.corpus)),
        ("corpus_hash", json!(corpus.content_hash())),
        ("tokens", json!(windows.tokens)),
        ("calibration_windows", json!(windows.split.calibration)),
        ("held_out_windows", json!(windows.split.held_out)),
        ("before", report.before.as_json(windows.tokens)),
        ("after", report.after.as_json(windows.tokens)),
        ("kept_heads", json!(report.kept.heads)),
        ("kept_channels", json!(report.kept.channels)),
    ];
    let lines: Vec<String> = entries.iter().map(|(name, value)| format!("  \"{name}\": {value}")).collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

/// What a reader of the table may miss.
fn notes(args: &PruneArgs, report: &Report) {
    let (before, after) = (&report.before.geometry, &report.after.geometry);
    let ratio = args.ratio.unwrap_or(RATIO);
    let asked = args.heads_ratio.unwrap_or(ratio);
    if asked > 0.0 && before.kv_heads == after.kv_heads {
        let heads = counted(before.kv_heads, "key/value head");
        tell(&format!("note: no heads went: {asked} of {heads} is less than one\n"));
    }
    if !after.d_model.is_multiple_of(after.heads) {
        tell(&format!(
            "note: LlamaConfig of transformers 5 refuses {} heads at a width of {}, which they don't divide, whatever \
             `head_dim` says; this program doesn't\n",
            after.heads, after.d_model
        ));
    }
}

fn interrupted() -> Failure {
    Failure::interrupted("interrupted", "nothing was left behind; the command can be repeated")
}

fn load_failure(error: &LoadError) -> Failure {
    let hint = match error {
        LoadError::Form { .. } => "prune the checkpoint that it was made from",
        LoadError::NoTokenizer { .. } => "add the tokenizer of the same model: importance and perplexity need a text",
        _ => return Failure::from(error),
    };
    Failure::input(&error.to_string(), hint)
}

fn gradient_failure(error: &GradientError) -> Failure {
    match error {
        GradientError::Load(error) => load_failure(error),
        GradientError::Window(error) => Failure::from(error),
        GradientError::Interrupted => interrupted(),
        GradientError::Unsupported { .. } => {
            Failure::input(&error.to_string(), "choose a model without, such as those of the llama family")
        }
        GradientError::Windows { .. } => Failure::input(&error.to_string(), "choose other --windows and --tokens"),
    }
}

fn write_failure(args: &PruneArgs, error: &PruneWriteError) -> Failure {
    match error {
        PruneWriteError::Weights(error) => Failure::from(&LoadError::Weights(error.clone())),
        PruneWriteError::Io(error) => {
            Failure::failed(&format!("{}: {error}", args.out.display()), disk_hint(error.kind()))
        }
    }
}

fn disk_hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "make room or choose another disk with --out; nothing was left behind"
        }
        _ => "choose a directory that can be written with --out",
    }
}

impl From<&ModelFolderError> for Failure {
    fn from(error: &ModelFolderError) -> Self {
        match error {
            ModelFolderError::Exists { .. } => {
                Self::input(&error.to_string(), "choose another directory with --out, or replace it with --force")
            }
            ModelFolderError::Io { source, .. } => Self::failed(&error.to_string(), disk_hint(source.kind())),
            ModelFolderError::Foreign { .. } | ModelFolderError::NoDirectory { .. } | ModelFolderError::Name { .. } => {
                Self::input(&error.to_string(), "choose another directory with --out")
            }
        }
    }
}

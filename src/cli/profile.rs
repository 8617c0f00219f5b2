//! `splitwave profile`

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::{Codec, FadingKind, LossUnit, Reception, TxNormalisation};
use crate::cli::failure::Failure;
use crate::cli::{Sets, assemble, parse_threads, print, quoted, tell, threads};
use crate::run::assembly::Assembly;
use crate::run::inputs::Library;
use crate::run::profile::{
    NoiseScale, Points, ProfileJob, ProfileProgress, ProfileSpec, Setting, SnrAt, channel_ranges,
};
use crate::run::runner::evaluation_pool;
use crate::run::signals::Interrupt;
use crate::run::wording::counted;
use crate::scenario::SetArg;

/// Loss probabilities of a grid over a channel that loses.
const LOSSES: [f64; 5] = [0.0, 0.05, 0.1, 0.2, 0.3];
/// σ of a grid: the built-in model feels it from about 0.5.
const NOISES: [f64; 5] = [0.0, 0.5, 1.0, 1.5, 2.0];
/// Windows of a grid.
const WINDOWS: u32 = 32;
/// Distance of plain lines of progress, so that a log stays short.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Measure the model's perplexity over splits and channel conditions.
///
/// A grid by default: every split with every loss, noise level and way of sending, on
/// the same windows, fading and noise (common random numbers). records.csv has a row
/// per evaluation, ordered by window, split, reception, loss unit, normalisation,
/// encoding, loss, noise and draw; table.csv a row per point with standard errors, and is what
/// `quality.table`, `greedy` and `oracle` read if it holds one way of sending.
///
/// With --records N: that many rows at points drawn uniformly over ranges, one window
/// each. Row i is the same for any N. With --repeats K: K rows per point, one after the
/// other, on other windows with other fading and noise; their spread is what no
/// surrogate can know (`splitwave fit` calls it the noise floor).
///
/// An interrupted profile goes on where it stopped when the same command is given again;
/// a finished one is not made again.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  splitwave profile scenarios/quickstart.toml -o out
  splitwave profile scenarios/chen25/fig3-awgn.toml -o out --snrs-db 20,5 --snr-at 8 \\
    --tx-normalisations none,per-row
  splitwave profile scenarios/quantised_transfer.toml -o out --splits 8 --encodings f16,int8,int4,int4+outliers=0.01
  splitwave profile scenarios/quickstart.toml -o out --records 9718 --repeats 2 --loss-range 0,0.3")]
pub struct ProfileArgs {
    /// Scenario file whose model, corpus, channel and radio are profiled (the first channel, if it has several).
    #[arg(value_name = "SCENARIO.toml")]
    scenario: PathBuf,
    /// Folder for records.csv, table.csv and manifest.json.
    #[arg(long, short)]
    out: PathBuf,
    #[command(flatten)]
    sets: Sets,
    /// Splits, comma-separated. Default: all of the model.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    splits: Option<Vec<u32>>,
    /// Loss probabilities, comma-separated. Default: 0,0.05,0.1,0.2,0.3, or 0 where nothing can be lost.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, conflicts_with = "records")]
    losses: Option<Vec<f64>>,
    /// Noise as standard deviations σ, comma-separated. Digital reception has no noise: one point per loss.
    /// Default: 0,0.5,1,1.5,2.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, conflicts_with = "records")]
    noises: Option<Vec<f64>>,
    /// Noise as activation SNRs, 10 lg(median power of a transmitted row / σ²) [dB], comma-separated.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "DB",
        allow_negative_numbers = true,
        group = "snr_targets",
        conflicts_with_all = ["noises", "records"]
    )]
    snrs_db: Option<Vec<f64>>,
    /// Where SNRs are met: at `each` window and split, or at one split, by one absolute σ for all:
    /// met in the median of the windows, of up to 16 of them.
    /// Rows of `per-row` have unit power, so for them both are the same.
    #[arg(long, value_name = "each|SPLIT", default_value = "each", value_parser = parse_snr_at, requires = "snr_targets")]
    snr_at: SnrAt,
    /// raw, equalised or digital; several, comma-separated. Default: the channel's.
    #[arg(long, value_delimiter = ',', value_parser = parse_word::<Reception>)]
    receptions: Option<Vec<Reception>>,
    /// token-row, chunk, element-iid …; several, comma-separated. Default: the channel's.
    #[arg(long, value_delimiter = ',', value_parser = parse_word::<LossUnit>)]
    loss_units: Option<Vec<LossUnit>>,
    /// none, per-row or per-request; several, comma-separated. Default: the channel's. Plays no part if digital.
    #[arg(long, value_delimiter = ',', value_parser = parse_word::<TxNormalisation>)]
    tx_normalisations: Option<Vec<TxNormalisation>>,
    /// f32, f16, bf16, int8 or int4, also with +outliers=SHARE (int8, int4) or +top-k=SHARE behind it, as
    /// int4+outliers=0.01; several, comma-separated. Default: the channel's. Digital only.
    #[arg(long, value_delimiter = ',', value_parser = <Codec as std::str::FromStr>::from_str)]
    encodings: Option<Vec<Codec>>,
    /// Windows of the corpus, spread evenly over it. Default: 32, or all with --records.
    #[arg(long, allow_negative_numbers = true, value_parser = parse_count)]
    windows: Option<u32>,
    /// Repetitions of each window with other fading and noise.
    #[arg(long, default_value_t = 1, conflicts_with = "records", allow_negative_numbers = true, value_parser = parse_count)]
    draws: u32,
    /// Tokens of a window. Default: the first group's `prompt_tokens`.
    #[arg(long, allow_negative_numbers = true, value_parser = parse_count)]
    tokens: Option<u32>,
    /// Draw this many records at random instead of a grid; there is no table.csv then.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_count)]
    records: Option<u32>,
    /// With --records: rows per point, on other windows with other fading and noise.
    #[arg(
        long,
        value_name = "K",
        default_value_t = 1,
        requires = "records",
        allow_negative_numbers = true,
        value_parser = parse_count
    )]
    repeats: u32,
    /// With --records: loss probabilities. Default: the channel's.
    #[arg(long, value_name = "MIN,MAX", requires = "records", value_parser = parse_range, allow_hyphen_values = true)]
    loss_range: Option<[f64; 2]>,
    /// With --records: σ. Default: the channel's.
    #[arg(long, value_name = "MIN,MAX", requires = "records", value_parser = parse_range, allow_hyphen_values = true)]
    noise_range: Option<[f64; 2]>,
    /// With --records: activation SNRs [dB], instead of σ.
    #[arg(
        group = "snr_targets",
        long,
        value_name = "MIN,MAX",
        requires = "records",
        conflicts_with = "noise_range",
        value_parser = parse_range,
        allow_hyphen_values = true
    )]
    snr_range_db: Option<[f64; 2]>,
    /// Seed, instead of the scenario's.
    #[arg(long, allow_negative_numbers = true, value_parser = parse_seed)]
    seed: Option<u64>,
    /// Threads. Default: all cores. Does not change any result.
    #[arg(long, value_parser = parse_threads, allow_negative_numbers = true)]
    threads: Option<usize>,
    /// Make it again where there is one, finished or not; the old files are replaced. An unfinished one of the same
    /// settings is finished all the same. Without this, a finished one of the same settings is left as it is.
    #[arg(long)]
    force: bool,
    /// No progress.
    #[arg(long, short)]
    quiet: bool,
}

pub fn profile(args: &ProfileArgs) -> Result<(), Failure> {
    // A profile runs the model, whatever the scenario takes its perplexity from.
    let mut sets = args.sets.clone();
    sets.sets.extend(SetArg::parse("quality.source=\"llm\"").map(|set| set.with_origin("splitwave profile")).ok());
    let assembly = assemble(&args.scenario, &sets, &mut Library::default(), args.quiet)?;
    let spec = spec(args, &assembly);
    if args.encodings.is_some() && spec.settings.iter().all(Setting::is_analog) {
        let message = "--encodings plays no part: analog reception sends values, not bits";
        return Err(Failure::input(message, "add --receptions digital"));
    }
    std::fs::create_dir_all(&args.out).map_err(|error| {
        Failure::failed(&format!("{}: {error}", args.out.display()), "choose a folder that can be written with --out")
    })?;
    if !args.quiet {
        warn_of_constants(args, &spec);
    }
    let interrupt = Interrupt::install()
        .map_err(|error| Failure::failed(&format!("installing signal handlers: {error}"), "please report this"))?;
    let pool = evaluation_pool(threads(args.threads)).map_err(|error| Failure::from(&error))?;
    let seed = args.seed.unwrap_or(assembly.scenario.seed);
    let job = ProfileJob {
        assembly: &assembly,
        spec: &spec,
        seed,
        pool: &pool,
        folder: &args.out,
        command: &command(args, &spec, seed),
        replace: args.force,
        interrupt: &interrupt,
    };
    let mut meter = Meter::new(args.quiet);
    let made = job.make(&mut |progress| meter.show(progress));
    meter.close();
    let made = made.map_err(|error| Failure::from(&error))?;
    if args.quiet {
        return Ok(());
    }
    if made.was_there {
        let (records, rows) = (args.out.join("records.csv"), counted(made.kept, "record"));
        tell(&format!("{}: already there with {rows}, skipped (--force makes it again)\n", records.display()));
        return Ok(());
    }
    for file in &made.files {
        print(&format!("{}: {}\n", args.out.join(&file.name).display(), counted(file.rows, "row")))?;
    }
    if made.silent > 0 {
        tell(&format!(
            "warning: table.csv has no PPL for {}, of which no evaluation received anything\n\
             hint: ask for more --windows or --draws, or a smaller loss\n",
            counted(made.silent, "point")
        ));
    }
    Ok(())
}

/// Random records of a channel that doesn't vary differ in split and window alone.
fn warn_of_constants(args: &ProfileArgs, spec: &ProfileSpec) {
    let Points::Random { losses: [least, most], noises: [quiet, loud], .. } = spec.points else { return };
    let is_asked = args.loss_range.is_some() || args.noise_range.is_some() || args.snr_range_db.is_some();
    if least < most || quiet < loud || is_asked {
        return;
    }
    tell(&format!(
        "warning: the columns loss_probability and noise_std won't vary: the channel has P = {least} and σ = {quiet} \
         throughout\n\
         hint: give --loss-range MIN,MAX and --noise-range MIN,MAX, or the channel a range: \
         --set 'channel.noise_std={{ min = 0, max = 2, draw = \"per-request\" }}'\n"
    ));
}

/// What is asked for, all defaults filled in.
fn spec(args: &ProfileArgs, assembly: &Assembly) -> ProfileSpec {
    let scenario = &assembly.scenario;
    let channel = &scenario.channel.tables()[0];
    let own = Setting::of(channel);
    let settings = Setting::combinations(
        args.receptions.as_deref().unwrap_or(&[own.reception]),
        args.loss_units.as_deref().unwrap_or(&[own.loss_unit]),
        args.tx_normalisations.as_deref().unwrap_or(&[own.tx_normalisation]),
        args.encodings.as_deref().unwrap_or_default(),
    );
    let analog = settings.iter().any(Setting::is_analog);
    let snrs = args.snrs_db.is_some() || args.snr_range_db.is_some();
    let points = if let Some(records) = args.records {
        let (loss_range, noise_range) = channel_ranges(assembly);
        Points::Random {
            losses: args.loss_range.unwrap_or(loss_range),
            noises: args.snr_range_db.or(args.noise_range).unwrap_or(noise_range),
            records,
            repeats: args.repeats,
        }
    } else {
        let can_lose =
            |setting: &Setting| channel.fading != FadingKind::None || setting.loss_unit == LossUnit::ElementIid;
        let losses: &[f64] = if settings.iter().all(can_lose) { &LOSSES } else { &LOSSES[..1] };
        let noises = args.snrs_db.as_ref().or(args.noises.as_ref()).cloned();
        Points::Grid {
            losses: args.losses.clone().unwrap_or_else(|| losses.to_vec()),
            noises: noises.unwrap_or_else(|| if analog { NOISES.to_vec() } else { vec![0.0] }),
            draws: args.draws,
        }
    };
    let tokens = scenario.ue.first().map_or(64, |ue| ue.workload.prompt_tokens.bounds().1);
    ProfileSpec {
        splits: args.splits.clone().unwrap_or_else(|| (1..=assembly.network.model_layers).collect()),
        settings,
        noise: if snrs { NoiseScale::SnrDb(args.snr_at) } else { NoiseScale::Std },
        points,
        windows: args.windows.or_else(|| args.records.is_none().then_some(WINDOWS)),
        tokens: args.tokens.unwrap_or(tokens),
    }
}

/// The command that makes a profile again, all defaults spelled out.
fn command(args: &ProfileArgs, spec: &ProfileSpec, seed: u64) -> String {
    let scenario = quoted(&args.scenario.display().to_string());
    let mut command = format!("splitwave profile {scenario} --out DIR --splits {}", list(&spec.splits, u32::to_string));
    let mut option = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = write!(command, " --{name} {value}");
    };
    option("receptions", words(spec, |setting| setting.reception));
    option("loss-units", words(spec, |setting| setting.loss_unit));
    option("tx-normalisations", words(spec, |setting| setting.tx_normalisation));
    let codecs = words(spec, |setting| setting.codec);
    if !codecs.is_empty() {
        option("encodings", codecs);
    }
    let (losses, noises) = match &spec.points {
        Points::Grid { losses, noises, draws } => {
            option("draws", draws.to_string());
            (losses.as_slice(), noises.as_slice())
        }
        Points::Random { losses, noises, records, repeats } => {
            option("records", records.to_string());
            if *repeats > 1 {
                option("repeats", repeats.to_string());
            }
            (losses.as_slice(), noises.as_slice())
        }
    };
    let random = args.records.is_some();
    option(if random { "loss-range" } else { "losses" }, list(losses, f64::to_string));
    match spec.noise {
        NoiseScale::Std => option(if random { "noise-range" } else { "noises" }, list(noises, f64::to_string)),
        NoiseScale::SnrDb(at) => {
            option(if random { "snr-range-db" } else { "snrs-db" }, list(noises, f64::to_string));
            let at = match at {
                SnrAt::Each => "each".to_owned(),
                SnrAt::Split(split) => split.to_string(),
            };
            option("snr-at", at);
        }
    }
    if let Some(windows) = spec.windows {
        option("windows", windows.to_string());
    }
    option("tokens", spec.tokens.to_string());
    option("seed", seed.to_string());
    args.sets.append_to(&mut command);
    command
}

fn list<T>(values: &[T], text: fn(&T) -> String) -> String {
    values.iter().map(text).collect::<Vec<_>>().join(",")
}

/// The values that the settings have, each once, in order.
fn words<T: Serialize>(spec: &ProfileSpec, of: fn(&Setting) -> T) -> String {
    let mut found: Vec<String> = Vec::new();
    for setting in &spec.settings {
        let word = serde_json::to_value(of(setting)).ok().and_then(|word| word.as_str().map(str::to_owned));
        found.extend(word.filter(|word| !found.contains(word)));
    }
    found.join(",")
}

/// A name as scenario files have it.
fn parse_word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|error| error.to_string())
}

/// The value of `--snr-at`.
fn parse_snr_at(text: &str) -> Result<SnrAt, String> {
    match (text, text.parse()) {
        ("each", _) => Ok(SnrAt::Each),
        (_, Ok(split)) => Ok(SnrAt::Split(split)),
        _ => Err("allowed: each, or a split".into()),
    }
}

/// A number of things, of which there is at least one.
fn parse_count(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|&count| count > 0).ok_or_else(|| format!("allowed: 1 to {}", u32::MAX))
}

fn parse_seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("allowed: 0 to {}", u64::MAX))
}

/// `MIN,MAX`
fn parse_range(text: &str) -> Result<[f64; 2], String> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|value| value.is_finite());
    let both = text.split_once(',').and_then(|(min, max)| Some([number(min)?, number(max)?]));
    both.ok_or_else(|| "allowed: two numbers, MIN,MAX".into())
}

/// Progress: a bar on a terminal, plain lines elsewhere.
struct Meter {
    bar: Option<ProgressBar>,
    quiet: bool,
    /// When the first evaluation began, and how many were there before.
    begun: Option<(Instant, u64)>,
    last_line: Option<Instant>,
}

impl Meter {
    fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| ProgressBar::new(0));
        if let Some(bar) = &bar {
            let style = ProgressStyle::with_template("profile [{bar:24}] {pos}/{len} evaluations, {msg}ETA {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        }
        Self { bar, quiet, begun: None, last_line: None }
    }

    fn show(&mut self, ProfileProgress { done, all }: ProfileProgress) {
        let now = now();
        let first = self.begun.is_none();
        let (begun, before) = *self.begun.get_or_insert((now, done));
        if first && before > 0 && !self.quiet {
            tell(&format!("going on after {before} of {}, done before\n", counted(all, "evaluation")));
        }
        let elapsed_s = now.duration_since(begun).as_secs_f64();
        let per_s = (done - before) as f64 / elapsed_s.max(1e-3);
        if let Some(bar) = &self.bar {
            bar.set_length(all);
            bar.set_position(done);
            if first {
                // What was done before says nothing about the speed.
                bar.reset_eta();
            } else {
                bar.set_message(format!("{per_s:.0}/s, "));
            }
            return;
        }
        if self.quiet || now.duration_since(self.last_line.unwrap_or(begun)) < LINE_EVERY {
            return;
        }
        self.last_line = Some(now);
        let left_s = (all - done) as f64 / per_s.max(1e-9);
        let all = counted(all, "evaluation");
        tell(&format!("{done} of {all}, {per_s:.1}/s, about {left_s:.0} s left\n"));
    }

    fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[allow(clippy::disallowed_methods)] // the wall clock is for the person who waits; no result reads it
fn now() -> Instant {
    Instant::now()
}

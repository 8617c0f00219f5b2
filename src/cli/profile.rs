//! `splitwave profile`

use std::ops::ControlFlow;
use std::path::PathBuf;

use indicatif::ProgressBar;

use crate::channel::{FadingKind, LossUnit, Reception};
use crate::cli::failure::Failure;
use crate::cli::{Sets, assemble, parse_threads, print, quoted, threads};
use crate::run::inputs::Library;
use crate::run::profile::{ProfileGrid, profile as make};
use crate::run::runner::evaluation_pool;
use crate::run::signals::Interrupt;
use crate::scenario::SetArg;

#[derive(clap::Args, Debug)]
pub struct ProfileArgs {
    /// Scenario file whose model, corpus, channel and radio are profiled (the first channel, if it has several).
    #[arg(value_name = "SCENARIO.toml")]
    scenario: PathBuf,
    /// Folder for records.csv (a row per evaluation) and table.csv (a row per point, for `quality.table`).
    #[arg(long, short)]
    out: PathBuf,
    #[command(flatten)]
    sets: Sets,
    /// Splits, comma-separated. Default: all of the model.
    #[arg(long, value_delimiter = ',')]
    splits: Option<Vec<u32>>,
    /// Loss probabilities, comma-separated. Default: 0,0.05,0.1,0.2,0.3, or 0 without fading.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    losses: Option<Vec<f64>>,
    /// Standard deviations of the noise, comma-separated. Plays no part if digital.
    #[arg(long, value_delimiter = ',', default_value = "0,0.5,1,1.5,2", allow_negative_numbers = true)]
    noises: Vec<f64>,
    /// Windows of the corpus per point.
    #[arg(long, default_value_t = 32)]
    windows: u32,
    /// Repetitions of each window with other fading and noise.
    #[arg(long, default_value_t = 1)]
    draws: u32,
    /// Tokens of a window. Default: the first group's `prompt_tokens`.
    #[arg(long)]
    tokens: Option<u32>,
    /// Seed, instead of the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// Threads. Default: all cores. Does not change any result.
    #[arg(long, value_parser = parse_threads)]
    threads: Option<usize>,
    /// Make it again where there is one; the old files are replaced.
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
    let tokens = args.tokens.or_else(|| assembly.scenario.ue.first().map(|ue| ue.workload.prompt_tokens.bounds().1));
    let channel = &assembly.scenario.channel.tables()[0];
    let can_lose = channel.fading != FadingKind::None || channel.loss_unit == LossUnit::ElementIid;
    let losses: &[f64] = if can_lose { &[0.0, 0.05, 0.1, 0.2, 0.3] } else { &[0.0] };
    let grid = ProfileGrid {
        splits: args.splits.clone().unwrap_or_else(|| (1..=assembly.network.model_layers).collect()),
        losses: args.losses.clone().unwrap_or_else(|| losses.to_vec()),
        noises: if channel.reception == Reception::Digital { vec![0.0] } else { args.noises.clone() },
        windows: args.windows,
        draws: args.draws,
        tokens: tokens.unwrap_or(64),
    };
    let table = args.out.join("table.csv");
    if table.exists() && !args.force {
        let message = format!("{}: there is a profile already", table.display());
        return Err(Failure::input(&message, "choose another folder with --out, or replace it with --force"));
    }
    std::fs::create_dir_all(&args.out).map_err(|error| {
        Failure::failed(&format!("{}: {error}", args.out.display()), "choose a folder that can be written with --out")
    })?;
    let interrupt = Interrupt::install()
        .map_err(|error| Failure::failed(&format!("installing signal handlers: {error}"), "please report this"))?;
    let pool = evaluation_pool(threads(args.threads)).map_err(|error| Failure::from(&error))?;
    let bar = if args.quiet { ProgressBar::hidden() } else { ProgressBar::new(grid.evaluations()) };
    let seed = args.seed.unwrap_or(assembly.scenario.seed);
    let made = make(&assembly, &grid, seed, &pool, &args.out, &command(args, &grid, seed), &mut |done| {
        bar.set_position(done);
        if interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let seals = made.map_err(|error| Failure::from(&error))?;
    if !args.quiet {
        for seal in seals {
            print(&format!("{}: {} rows\n", args.out.join(&seal.name).display(), seal.rows))?;
        }
    }
    Ok(())
}

/// The command that makes a profile again, all defaults spelled out.
fn command(args: &ProfileArgs, grid: &ProfileGrid, seed: u64) -> String {
    let list = |values: Vec<String>| values.join(",");
    let mut command = format!(
        "splitwave profile {} --out DIR --splits {} --losses {} --noises {} --windows {} --draws {} --tokens {} --seed {seed}",
        quoted(&args.scenario.display().to_string()),
        list(grid.splits.iter().map(u32::to_string).collect()),
        list(grid.losses.iter().map(f64::to_string).collect()),
        list(grid.noises.iter().map(f64::to_string).collect()),
        grid.windows,
        grid.draws,
        grid.tokens,
    );
    args.sets.append_to(&mut command);
    command
}

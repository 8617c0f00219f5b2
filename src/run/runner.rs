//! Runs: one simulation into one result folder, and many of them in parallel.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use crate::control::PolicyFile;
use crate::kernel::Streams;
use crate::network::ports::RecordError;
use crate::network::simulation::{Ports, Progress, Simulation, SimulationError, Totals};
use crate::network::text::TextSource;
use crate::record::{Figures, FileSeal, Overall, Recorded, RunRecorder, Summary, Wanted};
use crate::run::assembly::Assembly;
use crate::run::controllers::{Learned, learning_counts, learning_remarks};
use crate::run::evaluation::{Evaluated, Evaluation, EvaluationError};
use crate::run::identity::RunIdentity;
use crate::run::manifest::Manifest;
use crate::run::output_analysis;
use crate::run::results::{Opened, ResultFolder, ResultsError};
use crate::run::signals::Interrupt;
use crate::run::wording::counted;
use crate::scenario::schema::ControllerTable;
use crate::units::SimTime;

/// One run to do.
#[derive(Clone)]
pub struct Job {
    /// What to run.
    pub assembly: Arc<Assembly>,
    /// Seed.
    pub seed: u64,
    /// Number of the replication, from 0.
    pub replication: u32,
    /// The command that runs it again.
    pub command: String,
}

/// How a run is done.
#[derive(Clone)]
pub struct RunOptions {
    /// Folder of results.
    pub out: PathBuf,
    /// Run even if the results are there.
    pub force: bool,
    /// Threads for runs and model evaluations.
    pub threads: usize,
    /// Raised to stop.
    pub interrupt: Interrupt,
}

/// What became of a run.
pub enum RunOutcome {
    /// It has run.
    Finished {
        /// Its folder.
        path: PathBuf,
        /// What it says of itself.
        totals: Totals,
        /// Wall time \[s\].
        wall_s: f64,
        /// What it came to.
        figures: Figures,
        /// What its user should know of it, in sentences.
        remarks: Vec<String>,
    },
    /// Its results were there already.
    Skipped {
        /// Their folder.
        path: PathBuf,
    },
}

/// A run that left no file.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What it came to.
    pub figures: Figures,
    /// What it says of itself.
    pub totals: Totals,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its folder can't be used.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// A row can't be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The simulation failed.
    #[error(transparent)]
    Simulation(SimulationError),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted at {at} s of simulated time")]
    Interrupted {
        /// Simulated time reached.
        at: SimTime,
        /// What was written so far; `None` if nothing was begun.
        partial: Option<PathBuf>,
    },
    /// The threads for the model can't be started.
    #[error("starting {}: {reason}", counted(*threads, "thread"))]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// Why not.
        reason: String,
    },
}

/// Tells a watcher how the runs are doing.
pub enum RunNews {
    /// A run goes on.
    Progress {
        /// Index of the job.
        job: usize,
        /// How far it is.
        progress: Progress,
    },
    /// A run has ended.
    Ended {
        /// Index of the job.
        job: usize,
        /// How.
        result: Result<RunOutcome, RunError>,
    },
}

impl Job {
    /// The run's id: a hash of everything that its results depend on.
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method itself is of one lifetime only")]
    pub fn run_id(&self) -> String {
        self.identify(|identity| identity.run_id())
    }

    /// The ids of the first so many replications, whatever this one's number is.
    pub fn run_ids(&self, replications: u32) -> Vec<String> {
        self.identify(|identity| identity.run_ids(replications))
    }

    fn identify<T>(&self, read: impl FnOnce(&RunIdentity<'_>) -> T) -> T {
        let mut scenario = self.resolved();
        // A text that nobody reads has no content hash that could stand for its path.
        if self.assembly.inputs.corpus.is_none()
            && let Some(model) = scenario.get_mut("model").and_then(serde_json::Value::as_object_mut)
        {
            model.shift_remove("corpus");
        }
        if self.assembly.inputs.table.is_none()
            && let Some(quality) = scenario.get_mut("quality").and_then(serde_json::Value::as_object_mut)
        {
            quality.shift_remove("table");
        }
        if self.assembly.inputs.surrogate.is_none()
            && let Some(quality) = scenario.get_mut("quality").and_then(serde_json::Value::as_object_mut)
        {
            quality.shift_remove("surrogate");
        }
        // Where nobody is judged, how plays no part.
        if !self.assembly.scenario.evaluates()
            && let Some(keys) = scenario.as_object_mut()
        {
            keys.shift_remove("evaluation");
        }
        // Names of files in the run's folder change none of its numbers.
        for controller in match scenario.get_mut("controller") {
            Some(serde_json::Value::Array(tables)) => tables.iter_mut().collect(),
            Some(table) => vec![table],
            None => Vec::new(),
        } {
            if let Some(table) = controller.as_object_mut() {
                table.shift_remove("policy_out");
            }
        }
        read(&RunIdentity {
            scenario: &scenario,
            defaults: crate::scenario::defaults(),
            inputs: &self.assembly.inputs.hashes,
            seed: self.seed,
            replication: self.replication,
        })
    }

    fn resolved(&self) -> serde_json::Value {
        let mut scenario = self.assembly.scenario.clone();
        scenario.seed = self.seed;
        serde_json::to_value(&scenario).unwrap_or_default()
    }

    /// Runs it, or finds its results.
    ///
    /// # Errors
    /// [`RunError`]; what was written stays in a partial folder that says so.
    pub fn run(
        &self,
        options: &RunOptions,
        pool: &Arc<rayon::ThreadPool>,
        watch: &mut dyn FnMut(&Progress),
    ) -> Result<RunOutcome, RunError> {
        let assembly = &self.assembly;
        let network = &assembly.network;
        let split_mode = network.mode == crate::network::ports::ServiceMode::Split;
        let tables = assembly.scenario.controller.tables();
        let wanted = Wanted {
            requests: assembly.scenario.output.requests,
            decisions: assembly.scenario.output.decisions && split_mode,
            series: network.sample_interval.is_some(),
            tokens: assembly.scenario.output.tokens && assembly.scenario.generates_text(),
            updates: assembly.scenario.output.updates && split_mode && tables.iter().any(ControllerTable::learns),
        };
        let mut required = vec!["summary.csv"];
        required.extend(wanted.requests.then_some("requests.csv"));
        required.extend(wanted.decisions.then_some("decisions.csv"));
        required.extend(wanted.series.then_some("series.csv"));
        required.extend(wanted.updates.then_some("updates.csv"));
        required.extend(wanted.tokens.then_some("tokens.csv"));
        required.extend(assembly.scenario.evaluates().then_some("evaluations.csv"));
        required.extend(assembly.saved_policies());
        let run_id = self.run_id();
        let name = &assembly.scenario.name;
        let attempt = match ResultFolder::open(&options.out, name, &run_id, &required, options.force)? {
            Opened::Finished { path } => return Ok(RunOutcome::Skipped { path }),
            Opened::Fresh(attempt) => attempt,
        };
        let mut manifest = Manifest::start(self.resolved(), run_id, self.seed, self.replication, self.command.clone());
        manifest.threads = options.threads;
        manifest.inputs.clone_from(&assembly.inputs.hashes);
        manifest.resolved = assembly.resolved_names();

        let recorder = RunRecorder::create(attempt.path(), wanted, self.summary())?;
        let (totals, recorded) = match self.simulate(recorder, Some(attempt.path()), pool, &options.interrupt, watch)? {
            Simulated::Whole(whole) => {
                let Whole { totals, recorded, remarks } = *whole;
                manifest.remarks = remarks;
                (totals, recorded)
            }
            Simulated::Interrupted { at, written } => {
                // Rows so far stay, whole; the folder says that it is no finished run.
                let partial =
                    attempt.interrupt("interrupted by a signal, or by the time limit of a run", at, &self.command)?;
                written?;
                return Err(RunError::Interrupted { at, partial: Some(partial) });
            }
        };
        for (key, count) in [
            ("events", totals.progress.events),
            ("requests", totals.progress.arrived),
            ("decisions", totals.progress.steps),
        ] {
            manifest.counts.insert(key.to_owned(), count);
        }
        let manifest = manifest.complete(recorded.seals);
        let (wall_s, remarks) = (manifest.wall_s, manifest.remarks.clone());
        let path = attempt.finish(&manifest)?.path;
        Ok(RunOutcome::Finished { path, totals, wall_s, figures: recorded.figures, remarks })
    }

    /// Runs it and leaves no file: the figures have the text that `summary.csv` would have.
    /// Stops when `interrupt` is raised.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn run_in_memory(
        &self,
        pool: &Arc<rayon::ThreadPool>,
        interrupt: &Interrupt,
        watch: &mut dyn FnMut(&Progress),
    ) -> Result<Measured, RunError> {
        match self.simulate(RunRecorder::in_memory(self.summary()), None, pool, interrupt, watch)? {
            Simulated::Whole(whole) => Ok(Measured { figures: whole.recorded.figures, totals: whole.totals }),
            Simulated::Interrupted { at, .. } => Err(RunError::Interrupted { at, partial: None }),
        }
    }

    /// The summary of a run that has not begun.
    fn summary(&self) -> Summary {
        let network = &self.assembly.network;
        let groups: Vec<(String, u32)> = network.groups.iter().map(|group| (group.name.clone(), group.count)).collect();
        Summary::new(&groups, network.warmup, network.duration.saturating_sub(network.warmup))
    }

    /// The one way from a job to its rows, wherever they go: `folder` is the recorder's.
    fn simulate(
        &self,
        mut recorder: RunRecorder,
        folder: Option<&Path>,
        pool: &Arc<rayon::ThreadPool>,
        interrupt: &Interrupt,
        watch: &mut dyn FnMut(&Progress),
    ) -> Result<Simulated, RunError> {
        let assembly = &self.assembly;
        let network = &assembly.network;
        let streams = Streams::new(self.seed, self.replication);
        let mut quality = assembly.quality(streams, pool, interrupt.flag());
        let mut texts = assembly.texts(streams, pool, interrupt.flag());
        let prompts = assembly.prompts();
        let mut controllers = assembly.controllers(streams);
        let ports = Ports {
            prompts: prompts.as_ref(),
            reward: &assembly.reward,
            quality: quality.as_mut(),
            text: texts.as_mut().map(|texts| texts.as_mut() as &mut dyn TextSource),
            recorder: &mut recorder,
            controllers: &mut controllers,
        };
        let simulation = Simulation::new(network, streams, ports).map_err(RunError::Simulation)?;
        let totals = simulation.run(&mut |progress| {
            watch(progress);
            if interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match totals {
            Ok(totals) => {
                let learned = assembly.learned(&controllers);
                let mut remarks = quality.remarks();
                remarks.extend(learning_remarks(&assembly.scenario, &learned));
                // What was learned is kept even if its evaluation is not.
                let policies = folder.map(|folder| save_policies(assembly, &learned, folder)).transpose()?;
                let evaluated = if assembly.scenario.evaluates() {
                    let mut told = |number| watch(&Progress { evaluation: Some(number), ..totals.progress });
                    match (Evaluation { assembly, pool, interrupt }).run(&learned, folder, &mut told) {
                        Ok(evaluated) => evaluated,
                        Err(EvaluationError::Simulation(SimulationError::Interrupted { .. })) => {
                            let at = totals.progress.now;
                            return Ok(Simulated::Interrupted {
                                at,
                                written: recorder.finish(&Overall::default()).map(drop),
                            });
                        }
                        Err(EvaluationError::Simulation(error)) => return Err(RunError::Simulation(error)),
                        Err(EvaluationError::Record(error)) => return Err(RunError::Record(error)),
                    }
                } else {
                    Evaluated::default()
                };
                let (uplink, edge) = (totals.uplink_utilisation, totals.edge_utilisation);
                if let (lacking @ 1.., all) = evaluated.missing {
                    remarks.push(format!(
                        "{lacking} of {} evaluated are missing: a trace ended, or the network is too busy",
                        counted(all, "episode")
                    ));
                }
                let learning = learning_counts(&assembly.scenario, &learned);
                let edge_energy_j = totals.edge_energy_j;
                let overall = Overall { uplink, edge, edge_energy_j, learning, evaluation: evaluated.means };
                let mut recorded = recorder.finish(&overall)?;
                // What changes while somebody learns has no steady state to find.
                if !assembly.scenario.learns() {
                    remarks.extend(output_analysis::remarks(&recorded, network.warmup));
                }
                recorded.seals.extend(evaluated.seal);
                recorded.seals.extend(policies.into_iter().flatten());
                Ok(Simulated::Whole(Box::new(Whole { totals, recorded, remarks })))
            }
            Err(SimulationError::Interrupted { now }) => {
                recorder.summary_mut().set_window(now.saturating_sub(network.warmup));
                let written = recorder.finish(&Overall::default()).map(drop);
                Ok(Simulated::Interrupted { at: now, written })
            }
            Err(SimulationError::Record(error)) => Err(RunError::Record(error)),
            Err(error) => Err(RunError::Simulation(error)),
        }
    }
}

/// Saves the policies that the scenario asks for.
fn save_policies(
    assembly: &Assembly,
    learned: &[Option<Learned>],
    folder: &Path,
) -> Result<Vec<FileSeal>, RecordError> {
    let failed = |path: &Path, source| RecordError { path: path.to_owned(), source };
    let files = assembly.policy_files(learned).map_err(|error| failed(folder, std::io::Error::other(error)))?;
    let save = |(name, file): (String, PolicyFile)| {
        let path = folder.join(&name);
        let bytes = file.to_bytes().map_err(|error| failed(&path, std::io::Error::other(error)))?;
        std::fs::write(&path, &bytes).map_err(|source| failed(&path, source))?;
        let blake3 = blake3::hash(&bytes).to_hex().to_string();
        Ok(FileSeal { name, rows: file.policies.len() as u64, bytes: bytes.len() as u64, blake3 })
    };
    files.into_iter().map(save).collect()
}

/// A simulation that came to its end.
struct Whole {
    totals: Totals,
    recorded: Recorded,
    remarks: Vec<String>,
}

/// How a simulation ended.
enum Simulated {
    /// At its end.
    Whole(Box<Whole>),
    /// Earlier, for somebody asked; `written` says whether the rows so far could be kept.
    Interrupted { at: SimTime, written: Result<(), RecordError> },
}

/// Starts the pool that model evaluations run on.
///
/// # Errors
/// [`RunError::Threads`] if the system refuses.
pub fn evaluation_pool(threads: usize) -> Result<Arc<rayon::ThreadPool>, RunError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("evaluation-{index}"))
        .build()
        .map(Arc::new)
        .map_err(|error| RunError::Threads { threads, reason: error.to_string() })
}

/// Runs the jobs, up to `options.threads` at a time, and tells `news` what
/// happens, on the calling thread. A failed run does not stop the others; an
/// interrupt stops all.
///
/// Runs have threads of their own and are no jobs of the pool: a worker that
/// waits inside another pool would take up the next run meanwhile.
///
/// # Errors
/// [`RunError::Threads`] if no threads can be started; everything else is news.
pub fn run_all(jobs: &[Job], options: &RunOptions, news: &mut dyn FnMut(RunNews)) -> Result<(), RunError> {
    let pool = evaluation_pool(options.threads)?;
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..options.threads.min(jobs.len()) {
            let (sender, next, pool) = (sender.clone(), &next, &pool);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { return };
                    let result = if options.interrupt.is_set() {
                        Err(RunError::Interrupted { at: SimTime::ZERO, partial: None })
                    } else {
                        job.run(options, pool, &mut |progress| {
                            let _ = sender.send(RunNews::Progress { job: index, progress: *progress });
                        })
                    };
                    // The receiver outlives the scope; a send can't fail.
                    let _ = sender.send(RunNews::Ended { job: index, result });
                }
            });
        }
        drop(sender);
        for item in receiver {
            news(item);
        }
    });
    Ok(())
}

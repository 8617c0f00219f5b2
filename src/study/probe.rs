//! How long a study takes, from a few runs that are begun and not written.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::kernel::Streams;
use crate::network::ports::{RecordError, Recorder};
use crate::network::rows::{DecisionRow, RequestRow, SeriesRow};
use crate::network::simulation::{Ports, Simulation, SimulationError};
use crate::run::inputs::Library;
use crate::run::runner::evaluation_pool;
use crate::run::signals::Interrupt;
use crate::study::error::StudyError;
use crate::study::plan::Plan;

/// Runs that are begun.
const PROBES: usize = 5;

/// What a study takes, extrapolated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Runs that were begun.
    pub probed: usize,
    /// Of these, runs that ended within their time.
    pub ended: usize,
    /// Mean time of a run on one core \[s\].
    pub run_s: f64,
    /// Time of all runs on one core \[s\].
    pub total_s: f64,
}

/// Keeps nothing.
struct Nothing;

impl Recorder for Nothing {
    fn request(&mut self, _: &RequestRow<'_>) -> Result<(), RecordError> {
        Ok(())
    }

    fn decision(&mut self, _: &DecisionRow<'_>) -> Result<(), RecordError> {
        Ok(())
    }

    fn sample(&mut self, _: &SeriesRow) -> Result<(), RecordError> {
        Ok(())
    }
}

/// Begins a few runs spread over the plan, for `budget` in all, and takes it that each goes on at its speed: a run that
/// has simulated a part of its duration takes that much longer for the rest. `None` if no run got anywhere.
///
/// # Errors
/// [`StudyError::Bad`] if a run can't be assembled any more.
pub fn estimate(
    plan: &Plan,
    library: &mut Library,
    budget: Duration,
    interrupt: &Interrupt,
) -> Result<Option<Estimate>, StudyError> {
    let runs = plan.runs();
    let probes = PROBES.min(runs);
    // One core: the evaluations of a run take turns with its events when all cores are busy with runs.
    let Ok(pool) = evaluation_pool(1) else { return Ok(None) };
    let (mut times, mut ended) = (Vec::new(), 0);
    for probe in 0..probes {
        // In the middle of each part of the plan.
        let job = plan.job((2 * probe + 1) * runs / (2 * probes), library)?;
        let (assembly, streams) = (&job.assembly, Streams::new(job.seed, job.replication));
        #[expect(clippy::disallowed_methods, reason = "wall time of a probe; no result depends on it")]
        let start = Instant::now();
        let share = budget / probes as u32;
        let mut quality = assembly.quality(streams, &pool, interrupt.flag());
        let prompts = assembly.prompts();
        let mut controllers = assembly.controllers(streams);
        let ports = Ports {
            prompts: prompts.as_ref(),
            reward: &assembly.reward,
            quality: quality.as_mut(),
            text: None,
            recorder: &mut Nothing,
            controllers: &mut controllers,
        };
        let Ok(simulation) = Simulation::new(&assembly.network, streams, ports) else { continue };
        let mut reached = 0.0;
        let done = simulation.run(&mut |progress| {
            reached = progress.share(&assembly.network);
            if start.elapsed() >= share || interrupt.is_set() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let wall_s = start.elapsed().as_secs_f64();
        match done {
            Ok(_) => {
                ended += 1;
                times.push(wall_s);
            }
            Err(SimulationError::Interrupted { .. }) => {
                if reached > 0.0 {
                    times.push(wall_s / reached);
                }
            }
            // What makes a run fail is said when it runs.
            Err(_) => {}
        }
    }
    if times.is_empty() {
        return Ok(None);
    }
    let run_s = times.iter().sum::<f64>() / times.len() as f64;
    Ok(Some(Estimate { probed: times.len(), ended, run_s, total_s: run_s * runs as f64 }))
}

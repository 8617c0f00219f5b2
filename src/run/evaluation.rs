//! Evaluations: what the policies of a run are worth, by the simulator itself.
//!
//! After a run, its network runs again with policies that don't learn, on starts of a seed of
//! their own: the policies that were kept while learning, then the yardsticks. Arrivals,
//! prompts, conditions and fading are the same for all.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::control::Snapshot;
use crate::kernel::Streams;
use crate::network::ports::{RecordError, Recorder};
use crate::network::rows::{DecisionRow, RequestRow, SeriesRow};
use crate::network::simulation::{Ports, Simulation, SimulationError};
use crate::network::spec::NetworkSpec;
use crate::network::world::World;
use crate::record::{CsvFile, EvaluationMeans, EvaluationRow, FileSeal};
use crate::run::assembly::Assembly;
use crate::run::controllers::{Cast, Learned};
use crate::run::signals::Interrupt;
use crate::scenario::schema::ControllerKind;
use crate::stats::Moments;
use crate::units::SimTime;

/// Streams of evaluations: a replication that no run has.
const REPLICATION: u32 = u32::MAX - 1;
/// Arrivals go on until all episodes are there, or so long \[s\].
const LONGEST_S: f64 = 1e9;
/// Decisions of all UEs at most, for one of a judged UE's.
const MOST_OTHERS: u64 = 1_000;

/// What evaluations came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluated {
    /// Means of the last one.
    pub means: EvaluationMeans,
    /// `evaluations.csv`, if there is a folder.
    pub seal: Option<FileSeal>,
    /// Episodes that are missing, of so many: their UEs' traces ended, or the network was too busy.
    pub missing: (usize, usize),
}

/// Why an evaluation ended early.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// The simulation failed, or was interrupted.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// A row can't be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// How runs are evaluated.
pub struct Evaluation<'a> {
    /// The scenario.
    pub assembly: &'a Assembly,
    /// Threads for the model.
    pub pool: &'a Arc<rayon::ThreadPool>,
    /// Raised to stop.
    pub interrupt: &'a Interrupt,
}

impl Evaluation<'_> {
    /// Evaluates all that was learned, and the yardsticks; rows go to `folder`, if there is one. `told`
    /// hears before each evaluation which of how many it is.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn run(
        &self,
        learned: &[Option<Learned>],
        folder: Option<&Path>,
        told: &mut dyn FnMut((u32, u32)),
    ) -> Result<Evaluated, EvaluationError> {
        let mut file = folder.map(CsvFile::create::<EvaluationRow>).transpose()?;
        let mut keep = |rows: &[EvaluationRow]| {
            rows.iter().try_for_each(|row| file.as_mut().map_or(Ok(()), |file| file.push(row)))
        };
        let controllers: Vec<u32> =
            World::new(&self.assembly.network, &self.streams())?.ues.iter().map(|ue| ue.controller).collect();
        let judged: Vec<bool> = controllers.iter().map(|&controller| learned[controller as usize].is_some()).collect();
        let each = self.episodes_of_each(judged.iter().filter(|&&judged| judged).count());
        let network = self.network(&judged, each);
        let wanted = each as usize * judged.iter().filter(|&&judged| judged).count();
        let mut missing = (0, 0);
        let mut count = |rows: &[EvaluationRow]| {
            missing = (missing.0 + wanted.saturating_sub(rows.len()), missing.1 + wanted);
        };
        let mut means = EvaluationMeans::default();
        let rounds = learned.iter().flatten().map(|learned| learned.snapshots.len()).max().unwrap_or(0);
        let mut yardsticks = vec![ControllerKind::Random];
        if self.assembly.has_outlook() {
            yardsticks.extend([ControllerKind::Greedy, ControllerKind::Optimal]);
        }
        let mut numbers = 1..;
        let all = (rounds + yardsticks.len()) as u32;
        let mut tell = || told((numbers.next().unwrap_or(all), all));
        for round in 0..rounds {
            tell();
            // Controllers that kept fewer policies are there with their last.
            let of = |learned: &Option<Learned>| {
                let kept = &learned.as_ref()?.snapshots;
                kept.get(round).or(kept.last()).cloned()
            };
            let snapshots: Vec<Option<Snapshot>> = learned.iter().map(of).collect();
            let mut rows = self.episodes(&network, Cast::Learned(&snapshots), each)?;
            means.learned = mean(&rows);
            count(&rows);
            for row in &mut rows {
                let snapshot = snapshots[controllers[row.ue_id as usize] as usize].as_ref();
                row.env_steps = snapshot.map(|snapshot| snapshot.env_steps);
                row.round = Some(round as u32);
            }
            keep(&rows)?;
        }
        for kind in yardsticks {
            tell();
            let mut rows = self.episodes(&network, Cast::Yardstick(kind), each)?;
            count(&rows);
            match kind {
                ControllerKind::Random => means.random = mean(&rows),
                ControllerKind::Optimal => means.optimal = mean(&rows),
                _ => {}
            }
            for row in &mut rows {
                row.policy = kind.name();
            }
            keep(&rows)?;
        }
        let seal = file.map(CsvFile::finish).transpose()?;
        Ok(Evaluated { means, seal, missing })
    }

    fn streams(&self) -> Streams {
        Streams::new(self.assembly.scenario.evaluation.seed, REPLICATION)
    }

    /// Episodes of each UE that is judged: together at least what the scenario asks for.
    fn episodes_of_each(&self, judged: usize) -> u32 {
        self.assembly.scenario.evaluation.episodes.div_ceil(judged.max(1) as u32)
    }

    /// The network of the run, stopped when each judged UE has had its episodes.
    fn network(&self, judged: &[bool], each: u32) -> NetworkSpec {
        let network = &self.assembly.network;
        let steps = steps_by_ue(network);
        let of = |(&judged, &steps): (&bool, &u32)| if judged { u64::from(each) * u64::from(steps) } else { 0 };
        let steps_of_each: Vec<u64> = judged.iter().zip(&steps).map(of).collect();
        // A trace may end before its UE has had its episodes; others then go on in vain.
        let most = steps_of_each.iter().sum::<u64>().saturating_mul(MOST_OTHERS);
        NetworkSpec {
            duration: SimTime::from_secs_saturating(LONGEST_S),
            warmup: SimTime::ZERO,
            max_requests: None,
            max_steps: Some(most),
            steps_of_each,
            sample_interval: None,
            ..network.clone()
        }
    }

    /// The first so many whole episodes of each UE that is judged, in the order of their ends.
    fn episodes(
        &self,
        network: &NetworkSpec,
        cast: Cast<'_>,
        each: u32,
    ) -> Result<Vec<EvaluationRow>, EvaluationError> {
        let (assembly, streams) = (self.assembly, self.streams());
        let mut quality =
            assembly.quality_of(assembly.scenario.evaluation_source(), streams, self.pool, self.interrupt.flag());
        let prompts = assembly.prompts();
        let mut controllers = assembly.cast(streams, cast);
        let mut recorder = Episodes {
            network,
            each,
            steps_per_episode: steps_by_ue(network),
            under_way: BTreeMap::new(),
            whole: Vec::new(),
        };
        let ports = Ports {
            prompts: prompts.as_ref(),
            reward: &assembly.reward,
            quality: quality.as_mut(),
            text: None,
            recorder: &mut recorder,
            controllers: &mut controllers,
        };
        Simulation::new(network, streams, ports)?.run(&mut |_| {
            if self.interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(recorder.whole)
    }
}

fn mean(rows: &[EvaluationRow]) -> Option<f64> {
    let mut moments = Moments::default();
    for row in rows {
        moments.push(row.reward);
    }
    moments.mean()
}

/// Steps of an episode, by UE.
fn steps_by_ue(network: &NetworkSpec) -> Vec<u32> {
    let of = |group: &crate::network::spec::GroupSpec| {
        let steps = network.controllers[group.controller].steps_per_episode;
        std::iter::repeat_n(steps, group.count as usize)
    };
    network.groups.iter().flat_map(of).collect()
}

/// Adds up the rewards of episodes.
struct Episodes<'a> {
    network: &'a NetworkSpec,
    /// Episodes that count, of each UE.
    each: u32,
    steps_per_episode: Vec<u32>,
    /// By UE.
    under_way: BTreeMap<u32, EvaluationRow>,
    whole: Vec<EvaluationRow>,
}

impl Recorder for Episodes<'_> {
    fn request(&mut self, _row: &RequestRow<'_>) -> Result<(), RecordError> {
        Ok(())
    }

    fn decision(&mut self, row: &DecisionRow<'_>) -> Result<(), RecordError> {
        let judged = self.network.steps_of_each.get(row.ue_id as usize).is_some_and(|&steps| steps > 0);
        let (Some(reward), true) = (row.reward, judged && row.episode < self.each) else { return Ok(()) };
        if row.step_in_episode == 0 {
            let first = EvaluationRow {
                env_steps: None,
                policy: "learned",
                ue_id: row.ue_id,
                episode: row.episode,
                noise_std: row.noise_std,
                rayleigh_scale: row.rayleigh_scale,
                loss_probability: row.loss_probability,
                first_split: row.split,
                last_split: row.split,
                reward: 0.0,
                steps: 0,
                round: None,
            };
            self.under_way.insert(row.ue_id, first);
        }
        // An episode of which a step is missing is none.
        let Some(episode) = self.under_way.get_mut(&row.ue_id) else { return Ok(()) };
        if episode.episode != row.episode || episode.steps != row.step_in_episode {
            self.under_way.remove(&row.ue_id);
            return Ok(());
        }
        episode.reward += reward;
        episode.steps += 1;
        episode.last_split = row.next_split;
        if Some(&episode.steps) == self.steps_per_episode.get(row.ue_id as usize) {
            self.whole.extend(self.under_way.remove(&row.ue_id));
        }
        Ok(())
    }

    fn sample(&mut self, _row: &SeriesRow) -> Result<(), RecordError> {
        Ok(())
    }
}

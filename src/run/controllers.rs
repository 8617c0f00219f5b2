//! The controllers of a run, and of its evaluations.

use crate::channel::Parameter;
use crate::control::{
    ActionSpace, Choosing, Expectation, FixedPolicy, FrozenPolicy, GreedyPolicy, Learner, LearnerPlace,
    ObservationBounds, ObservationSpace, OptimalPolicy, OraclePolicy, Outlook, PolicyFile, RandomPolicy, SavedActions,
    SavedPolicy, Snapshot,
};
use crate::kernel::Streams;
use crate::network::ports::Controller;
use crate::network::spec::{ChannelSpec, NetworkSpec, OutageSpec};
use crate::network::world::World;
use crate::record::LearningCounts;
use crate::rl::{A2c, Agent, Dqn, Policy, PolicyScratch, Ppo};
use crate::run::assembly::Assembly;
use crate::run::checks::loss_bounds;
use crate::run::wording::counted;
use crate::scenario::schema::{ActionKind, ControllerKind, ControllerTable, QualitySourceName, Scenario};

/// Who decides in place of the controllers that can learn.
#[derive(Clone, Copy)]
pub enum Cast<'a> {
    /// They themselves.
    Own,
    /// A yardstick.
    Yardstick(ControllerKind),
    /// Policies that were learned: by controller, its snapshot of this round, if it has one.
    Learned(&'a [Option<Snapshot>]),
}

/// What a controller knows after a run.
#[derive(Clone, Debug)]
pub struct Learned {
    /// Number of its table.
    pub table: usize,
    /// The UE; `None` of a shared one.
    pub ue: Option<u32>,
    /// Its policies, in the order of their steps; the last is the present one.
    pub snapshots: Vec<Snapshot>,
    /// Steps that it had learned from before the run.
    pub before: u64,
    /// Updates of its policy.
    pub updates: u64,
    /// Whether it diverged.
    pub diverged: bool,
}

impl Assembly {
    /// The controllers of one run, in the order that the network expects.
    pub fn controllers(&self, streams: Streams) -> Vec<Box<dyn Controller>> {
        self.cast(streams, Cast::Own)
    }

    /// The controllers of one run or evaluation, in the order that the network expects.
    pub fn cast(&self, streams: Streams, cast: Cast<'_>) -> Vec<Box<dyn Controller>> {
        let tables = self.scenario.controller.tables();
        let mut of_table = vec![0usize; tables.len()];
        let one = |(index, (number, ue)): (usize, (usize, Option<u32>))| {
            let table = &tables[number];
            let place = of_table[number];
            of_table[number] += 1;
            match cast {
                Cast::Yardstick(kind) if table.kind.is_learner() => self.plain(kind, table, streams),
                Cast::Learned(snapshots) if table.kind.is_learner() => {
                    let choosing = if table.learn { self.scenario.evaluation.choose } else { table.choose };
                    match snapshots.get(index).and_then(Option::as_ref) {
                        Some(snapshot) => self.frozen(number, snapshot.clone(), choosing, streams),
                        None => self.plain(ControllerKind::Fixed, table, streams),
                    }
                }
                _ if table.kind.is_learner() => self.learner((number, place), ue, streams),
                _ => self.plain(table.kind, table, streams),
            }
        };
        World::controllers(&self.network).into_iter().enumerate().map(one).collect()
    }

    /// What the yardsticks know; `None` without a table or surrogate.
    fn outlook(&self) -> Option<Outlook> {
        let table = self.inputs.table.clone().map(Expectation::Table);
        let surrogate = self.inputs.surrogate.clone().map(Expectation::Surrogate);
        // Of two, the one that rewards come from.
        let by_surrogate = self.scenario.evaluation_source() == QualitySourceName::Surrogate;
        let expectation = if by_surrogate { surrogate.or(table) } else { table.or(surrogate) }?;
        let cost = self.network.cost.clone();
        let (reward, lambda) = (self.reward, self.scenario.reward.lambda);
        Some(Outlook { expectation, reward, lambda, cost, model_layers: self.network.model_layers })
    }

    /// A controller that doesn't learn.
    fn plain(&self, kind: ControllerKind, table: &ControllerTable, streams: Streams) -> Box<dyn Controller> {
        let space = actions(table, &self.network);
        match (kind, self.outlook()) {
            (ControllerKind::Random, _) => Box::new(RandomPolicy { space, streams }),
            (ControllerKind::Greedy, Some(outlook)) => Box::new(GreedyPolicy { space, outlook }),
            (ControllerKind::Oracle, Some(outlook)) => Box::new(OraclePolicy { space, outlook }),
            (ControllerKind::Optimal, Some(outlook)) => {
                Box::new(OptimalPolicy { space, outlook, horizon: table.steps_per_episode })
            }
            // Without expectations there is no yardstick: `validate` has refused that.
            _ => Box::new(FixedPolicy { space }),
        }
    }

    /// Whether the yardsticks know what to expect.
    pub fn has_outlook(&self) -> bool {
        (self.inputs.table.is_some() || self.inputs.surrogate.is_some()) && self.reward.is_known_beforehand()
    }

    /// What a table's learners see.
    fn observations(&self, number: usize) -> ObservationSpace {
        let table = &self.scenario.controller.tables()[number];
        match &self.inputs.policies[number] {
            // What was seen as 1 in training is seen as 1 again.
            Some(file) => file.observations.clone(),
            None => ObservationSpace::new(&table.observe, &self.bounds(number)),
        }
    }

    /// Bounds of what the UEs of a table meet.
    fn bounds(&self, number: usize) -> ObservationBounds {
        let join = |(a, b): (f64, f64), (c, d): (f64, f64)| (f64::min(a, c), f64::max(b, d));
        let nothing = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut noise_std, mut rayleigh_scale, mut loss_probability) = (nothing, nothing, nothing);
        for group in self.network.groups.iter().filter(|group| group.controller == number) {
            let channel = &self.network.channels[group.channel];
            noise_std = join(noise_std, channel.noise_std.bounds());
            rayleigh_scale = join(rayleigh_scale, scale_bounds(channel));
            loss_probability = join(loss_probability, loss_bounds(channel));
        }
        // What follows from places has no bounds in the scenario: a loss is a share, and σ rarely above that of -10 dB.
        if self.network.cellular.is_some() {
            (noise_std, loss_probability) = ((0.0, 3.0), (0.0, 1.0));
        }
        let split = (self.network.split.min, self.network.split.max);
        let steps_per_episode = self.scenario.controller.tables()[number].steps_per_episode;
        ObservationBounds { noise_std, rayleigh_scale, loss_probability, split, steps_per_episode }
    }

    /// A controller that can learn: `place` is its table and its number among that table's.
    fn learner(&self, (number, index): (usize, usize), ue: Option<u32>, streams: Streams) -> Box<dyn Controller> {
        let tables = self.scenario.controller.tables();
        let table = &tables[number];
        let observations = self.observations(number);
        let actions = actions(table, &self.network);
        // Shared controllers are no UE's: their draws are those of numbers that no UE has.
        let entity = ue.unwrap_or(u32::MAX - number as u32);
        let (inputs, outputs) = (observations.len(), actions.len() as usize);
        let before = self.inputs.policies[number].as_ref().and_then(|file| file.policy(index)).cloned();
        let env_steps = self.inputs.policies[number].as_ref().map_or(0, |file| file.env_steps(index));
        if !table.learn {
            let policy =
                before.unwrap_or_else(|| agent(table, inputs, outputs, streams, entity, None).policy().clone());
            return self.frozen(number, Snapshot { env_steps, policy }, table.choose, streams);
        }
        let agent = agent(table, inputs, outputs, streams, entity, before);
        let every = self.scenario.evaluation.every_steps;
        let place = LearnerPlace {
            ue,
            table: if tables.len() > 1 { table.name.clone() } else { None },
            steps_per_episode: table.steps_per_episode,
            snapshot_every: (self.scenario.evaluates() && every > 0).then_some(every),
            learned_before: env_steps,
        };
        Box::new(Learner::new(agent, observations, actions, streams, place))
    }

    fn frozen(&self, number: usize, snapshot: Snapshot, choosing: Choosing, streams: Streams) -> Box<dyn Controller> {
        let table = &self.scenario.controller.tables()[number];
        let (observations, actions) = (self.observations(number), actions(table, &self.network));
        let (Snapshot { env_steps, policy }, scratch) = (snapshot, PolicyScratch::default());
        Box::new(FrozenPolicy { policy, observations, actions, streams, choosing, env_steps, scratch })
    }

    /// What the controllers that can learn know after a run; `None` for the others.
    pub fn learned(&self, controllers: &[Box<dyn Controller>]) -> Vec<Option<Learned>> {
        let owners = World::controllers(&self.network);
        let of = |controller: &dyn Controller, table: usize, ue: Option<u32>| {
            let known = controller.as_any()?;
            let mut learned = Learned { table, ue, snapshots: Vec::new(), before: 0, updates: 0, diverged: false };
            if let Some(learner) = known.downcast_ref::<Learner>() {
                learned.snapshots = learner.snapshots();
                learned.before = learner.learned_before();
                (learned.updates, learned.diverged) = (learner.updates(), learner.has_diverged());
            } else {
                let frozen = known.downcast_ref::<FrozenPolicy>()?;
                learned.snapshots = vec![Snapshot { env_steps: frozen.env_steps, policy: frozen.policy.clone() }];
            }
            Some(learned)
        };
        controllers.iter().zip(owners).map(|(controller, (table, ue))| of(controller.as_ref(), table, ue)).collect()
    }

    /// Names of the files that policies are saved to.
    pub fn saved_policies(&self) -> impl Iterator<Item = &str> {
        let owners = World::controllers(&self.network);
        let tables = self.scenario.controller.tables().iter().enumerate();
        let used = tables
            .filter(move |(number, table)| table.kind.is_learner() && owners.iter().any(|(owner, _)| owner == number));
        used.filter_map(|(_, table)| table.policy_out.as_deref())
    }

    /// The policy files that a scenario asks for: name and content.
    ///
    /// # Errors
    /// What the format refuses, in words.
    pub fn policy_files(&self, learned: &[Option<Learned>]) -> Result<Vec<(String, PolicyFile)>, String> {
        let mut files = Vec::new();
        for (number, table) in self.scenario.controller.tables().iter().enumerate() {
            let Some(name) = table.policy_out.as_ref().filter(|_| table.kind.is_learner()) else { continue };
            let settings = match table.kind {
                ControllerKind::A2c => serde_json::to_value(&table.a2c),
                ControllerKind::Dqn => serde_json::to_value(&table.dqn),
                _ => serde_json::to_value(&table.ppo),
            };
            let own = learned.iter().flatten().filter(|learned| learned.table == number);
            let policies = own
                .filter_map(|learned| {
                    let Snapshot { env_steps, policy } = learned.snapshots.last()?.clone();
                    Some(SavedPolicy { ue: learned.ue, env_steps: env_steps + learned.before, policy })
                })
                .collect();
            let file = PolicyFile {
                kind: table.kind.name().to_owned(),
                observations: self.observations(number),
                actions: saved_actions(table, &self.network),
                steps_per_episode: table.steps_per_episode,
                settings: settings.map_err(|error| error.to_string())?,
                policies,
            };
            // A table that no UE names has no policies.
            if !file.policies.is_empty() {
                files.push((name.clone(), file));
            }
        }
        Ok(files)
    }
}

/// What a table's controllers can do.
fn actions(table: &ControllerTable, network: &NetworkSpec) -> ActionSpace {
    let (min, max) = (network.split.min, network.split.max);
    let moves = (table.action == ActionKind::Relative).then(|| table.moves.clone());
    ActionSpace { min, max, moves }
}

/// The same, as policy files have it.
pub fn saved_actions(table: &ControllerTable, network: &NetworkSpec) -> SavedActions {
    SavedActions::of(&actions(table, network))
}

/// What a run's user should know of what was learned.
pub fn learning_remarks(scenario: &Scenario, learned: &[Option<Learned>]) -> Vec<String> {
    let mut remarks = Vec::new();
    for (number, table) in scenario.controller.tables().iter().enumerate().filter(|(_, table)| table.learns()) {
        let own = || learned.iter().flatten().filter(move |learned| learned.table == number);
        let (all, diverged) = (own().count(), own().filter(|learned| learned.diverged).count());
        let idle = own().filter(|learned| learned.updates == 0).count();
        let name = table.name.as_ref().map_or_else(String::new, |name| format!(" of {name:?}"));
        let learners = counted(all, "learner");
        if diverged > 0 {
            remarks.push(format!("{diverged} of {learners}{name} diverged and learned no more; updates.csv says when"));
        }
        if idle > 0 {
            let steps = own().filter_map(|learned| Some(learned.snapshots.last()?.env_steps)).max().unwrap_or(0);
            let kind = table.kind.name();
            let key = if table.kind == ControllerKind::Dqn { "learning_starts and updates_every" } else { "n_steps" };
            remarks.push(format!(
                "{idle} of {learners}{name} never updated the policy, in up to {}: see {key} of controller.{kind}",
                counted(steps, "step")
            ));
        }
    }
    remarks
}

/// What summary.csv says of it.
pub fn learning_counts(scenario: &Scenario, learned: &[Option<Learned>]) -> LearningCounts {
    let learns = scenario.controller.tables().iter().any(ControllerTable::learns);
    let learners = || learned.iter().flatten();
    LearningCounts {
        updates: learns.then(|| learners().map(|learned| learned.updates).sum()),
        diverged: learns.then(|| learners().filter(|learned| learned.diverged).count() as u64),
    }
}

/// An agent that has seen nothing, or goes on with a policy.
fn agent(
    table: &ControllerTable,
    inputs: usize,
    outputs: usize,
    streams: Streams,
    entity: u32,
    before: Option<Policy>,
) -> Box<dyn Agent> {
    // `validate` has checked the policy's shape: one that doesn't fit is left out.
    macro_rules! begin {
        ($agent:ident, $settings:expr) => {{
            let fresh = || $agent::new(inputs, outputs, $settings.clone(), streams, entity);
            let continued = before.and_then(|policy| fresh().with_policy(policy));
            Box::new(continued.unwrap_or_else(fresh))
        }};
    }
    match table.kind {
        ControllerKind::A2c => begin!(A2c, table.a2c),
        ControllerKind::Dqn => begin!(Dqn, table.dqn),
        _ => begin!(Ppo, table.ppo),
    }
}

/// Least and largest σ_h that a channel can have, eq. (4).
fn scale_bounds(channel: &ChannelSpec) -> (f64, f64) {
    match &channel.outage {
        OutageSpec::ScaleAndLoss { rayleigh_scale, .. } | OutageSpec::ScaleAndThreshold { rayleigh_scale, .. } => {
            rayleigh_scale.bounds()
        }
        OutageSpec::ThresholdAndLoss { gain_threshold, loss_probability } => {
            let laws = channel.fading.laws();
            let at = |loss: f64, threshold: f64, join: fn(f64, f64) -> f64| {
                let scales = laws.iter().filter_map(|law| law.rayleigh_scale_for(loss, threshold).ok());
                scales.reduce(join).unwrap_or(crate::channel::DEFAULT_RAYLEIGH_SCALE)
            };
            let bounds = |parameter: &Parameter| parameter.bounds();
            let ((low, high), (least, most)) = (bounds(gain_threshold), bounds(loss_probability));
            (at(most, low, f64::min), at(least, high, f64::max))
        }
    }
}

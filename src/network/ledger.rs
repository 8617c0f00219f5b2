//! Rows that wait: requests for their quality, decisions for their rewards.
//!
//! Evaluations are submitted when a request ends and joined when the reorder
//! buffer is full, when a learner needs the reward, or at the end: always in the
//! order of ending, so neither their grouping nor their threads can show in a row.

use std::collections::VecDeque;

use crate::network::collaboration::Told;
use crate::network::ports::{Decision, Observation, QualityTicket, RewardInput};
use crate::network::rows::{DecisionRow, Outcome, RequestRow, UpdateRow};
use crate::network::simulation::{Simulation, SimulationError};

/// Rows that may wait for their quality; enough to keep every core busy.
const REORDER_LIMIT: usize = 256;

/// A request that has ended.
pub struct Ended<'p> {
    /// Its row without quality and reward.
    pub row: RequestRow<'p>,
    /// Its evaluation.
    pub ticket: Option<QualityTicket>,
    /// Its text, if one was generated.
    pub told: Option<Box<Told>>,
    /// The decision that served it.
    pub step: Option<u64>,
    /// Work done on the UE over the work of all layers.
    pub ue_cost_share: f64,
    /// Time from arrival to the end \[s\].
    pub elapsed_s: f64,
}

/// A decision and what it was based on.
#[derive(Clone, Copy, Debug)]
pub struct DecisionFacts {
    /// Step of the run.
    pub step: u64,
    /// Controller that decided.
    pub controller: u32,
    /// Request served.
    pub request: u64,
    /// Episode of the UE.
    pub episode: u32,
    /// Whether σ plays no part.
    pub digital: bool,
    /// What it saw.
    pub observation: Observation,
    /// What it chose.
    pub decision: Decision,
    /// Split after the action, within the scenario's bounds.
    pub split: u32,
}

impl DecisionFacts {
    /// Its row, once the reward is in.
    fn row(&self, reward: Option<f64>, source: Option<&'static str>) -> DecisionRow<'static> {
        let Observation { conditions, .. } = self.observation;
        DecisionRow {
            step: self.step,
            ue_id: self.observation.ue,
            request_id: self.request,
            time_s: self.observation.now,
            episode: self.episode,
            step_in_episode: self.observation.step_in_episode,
            noise_std: (!self.digital).then_some(conditions.noise_std),
            rayleigh_scale: Some(conditions.rayleigh_scale),
            loss_probability: Some(conditions.loss_probability),
            split: self.observation.split,
            action: self.decision.action,
            next_split: self.split,
            log_prob: self.decision.log_prob,
            value: self.decision.value,
            reward,
            reward_source: reward.and(source),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Settled {
    /// Its request is under way.
    UnderWay,
    /// Its request has ended, and its quality is waited for.
    Ended,
    /// Its reward (`None` where the quality gives none), and where that comes from.
    Reward(Option<f64>, Option<&'static str>),
    /// No step: its request did not finish.
    Void,
}

/// A decision that waits.
struct Kept {
    facts: DecisionFacts,
    settled: Settled,
    /// Whether its controller has had it as a lesson.
    taught: bool,
}

/// The steps that a controller has not yet learned from, in the order of its decisions.
#[derive(Default)]
struct Lessons {
    steps: VecDeque<u64>,
    /// How many of the first ones have ended without a gap.
    ended: usize,
}

/// What waits.
#[derive(Default)]
pub struct Ledger<'p> {
    rows: VecDeque<Ended<'p>>,
    decisions: VecDeque<Kept>,
    /// How many of the first decisions have their row.
    written: usize,
    /// By controller.
    lessons: Vec<Lessons>,
    /// Updates that no row was written for yet.
    updates: Vec<UpdateRow>,
    completed: u64,
    flushes: u64,
}

impl Ledger<'_> {
    /// Times that waiting rows were joined.
    pub fn flushes(&self) -> u64 {
        self.flushes
    }

    /// Requests completed so far.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Takes in a decision; its step follows the last one's.
    pub fn decided(&mut self, facts: DecisionFacts) {
        let controller = facts.controller as usize;
        if self.lessons.len() <= controller {
            self.lessons.resize_with(controller + 1, Lessons::default);
        }
        self.lessons[controller].steps.push_back(facts.step);
        self.decisions.push_back(Kept { facts, settled: Settled::UnderWay, taught: false });
    }

    /// Takes in what came of an update.
    pub fn updated(&mut self, update: Option<UpdateRow>) {
        self.updates.extend(update);
    }

    /// Place of a step among the decisions that are kept.
    fn place(&self, step: u64) -> Option<usize> {
        let first = self.decisions.front()?;
        Some(step.checked_sub(first.facts.step)? as usize)
    }

    /// A step's request has ended; gives how many lessons its controller could have next.
    fn step_ended(&mut self, step: u64, controller: u32) -> usize {
        if let Some(entry) = self.place(step).and_then(|place| self.decisions.get_mut(place)) {
            entry.settled = Settled::Ended;
        }
        let Some(mut ended) = self.lessons.get(controller as usize).map(|lessons| lessons.ended) else { return 0 };
        let lessons = &self.lessons[controller as usize].steps;
        while let Some(kept) =
            lessons.get(ended).and_then(|&step| self.place(step)).and_then(|place| self.decisions.get(place))
            && !matches!(kept.settled, Settled::UnderWay)
        {
            ended += 1;
        }
        self.lessons[controller as usize].ended = ended;
        ended
    }

    /// Settles a step; gives the controller that took it.
    fn settle(&mut self, step: u64, settled: Settled) -> Option<u32> {
        let place = self.place(step)?;
        let entry = self.decisions.get_mut(place)?;
        entry.settled = settled;
        Some(entry.facts.controller)
    }

    /// The controller's next step in the order of its decisions, if it is settled.
    fn next_lesson(&mut self, controller: u32) -> Option<(DecisionFacts, Settled)> {
        let &step = self.lessons.get(controller as usize)?.steps.front()?;
        let place = self.place(step)?;
        let kept = self.decisions.get_mut(place)?;
        if matches!(kept.settled, Settled::UnderWay | Settled::Ended) {
            return None;
        }
        kept.taught = true;
        let (facts, settled) = (kept.facts, kept.settled);
        let lessons = self.lessons.get_mut(controller as usize)?;
        lessons.steps.pop_front();
        lessons.ended = lessons.ended.saturating_sub(1);
        Some((facts, settled))
    }
}

impl<'p> Simulation<'p> {
    /// Takes in a request that has ended.
    pub(super) fn keep(&mut self, ended: Ended<'p>) -> Result<(), SimulationError> {
        self.ledger.completed += u64::from(ended.row.outcome == Outcome::Completed);
        let learns = ended.step.is_some_and(|step| {
            let controller = self.world.ues[ended.row.ue_id as usize].controller;
            let ready = self.ledger.step_ended(step, controller);
            self.ports.controllers[controller as usize].lessons_wanted().is_some_and(|wanted| ready >= wanted)
        });
        let waits = ended.ticket.is_some() || ended.told.as_ref().is_some_and(|told| told.text.is_some());
        if !waits && self.ledger.rows.is_empty() && !learns {
            return self.write(ended);
        }
        let controller = self.world.ues[ended.row.ue_id as usize].controller;
        self.ledger.rows.push_back(ended);
        if learns || self.ledger.rows.len() >= REORDER_LIMIT {
            self.flush()?;
        }
        if learns {
            self.teach(controller);
        }
        Ok(())
    }

    /// Joins what waits and writes it.
    pub(super) fn flush(&mut self) -> Result<(), SimulationError> {
        self.ledger.flushes += 1;
        while let Some(ended) = self.ledger.rows.pop_front() {
            self.write(ended)?;
        }
        Ok(())
    }

    fn write(&mut self, mut ended: Ended<'p>) -> Result<(), SimulationError> {
        let row = &mut ended.row;
        let quality = ended.ticket.map(|ticket| self.ports.quality.join(ticket)).transpose()?;
        let source = quality.and_then(|quality| quality.source.or(self.ports.quality.name()));
        if let Some(quality) = quality {
            row.nll_sum = quality.nll_sum;
            row.tokens_scored = quality.tokens_scored;
            row.ppl_clean = quality.ppl_clean;
            row.ppl = quality.ppl;
            row.activation_snr_db = quality.activation_snr_db;
            row.rows_lost = row.rows_lost.or(quality.rows_lost);
            row.quality_source = source;
            // Generated text has no window that it would be without a channel.
            row.ppl_clean = row.ppl_clean.filter(|_| self.spec.collaboration.is_none());
        }
        if let Some(told) = ended.told.take() {
            self.write_told(&mut ended.row, &told)?;
        }
        let row = &mut ended.row;
        if let (Some(step), Some(split)) = (ended.step, row.split) {
            let failed = row.outcome != Outcome::Completed;
            let energy_j = row.ue_energy_j.unwrap_or(0.0) + row.tx_energy_j.unwrap_or(0.0);
            let (ue_cost_share, elapsed_s) = (ended.ue_cost_share, ended.elapsed_s);
            let input = RewardInput { quality, failed, split, ue_cost_share, elapsed_s, energy_j };
            let settled = match row.outcome {
                Outcome::Unfinished | Outcome::Dropped => Settled::Void,
                Outcome::Completed | Outcome::Outage | Outcome::Timeout => {
                    row.reward = self.ports.reward.reward(&input);
                    Settled::Reward(row.reward, source)
                }
            };
            // A learner is taught when it wants to be, which no reorder buffer may decide.
            if let Some(controller) = self.ledger.settle(step, settled)
                && self.ports.controllers[controller as usize].lessons_wanted().is_none()
            {
                self.teach(controller);
            }
        }
        self.ports.recorder.request(&ended.row)?;
        self.write_decisions()
    }

    /// Hands a controller the rewards that are in, in the order of its own decisions:
    /// a slow request of one UE keeps back no other UE's.
    fn teach(&mut self, controller: u32) {
        while let Some((facts, settled)) = self.ledger.next_lesson(controller) {
            if let Settled::Reward(reward, source) = settled {
                let learner = &mut self.ports.controllers[controller as usize];
                learner.learn(&facts.row(reward, source));
                self.ledger.updated(learner.take_update());
            }
        }
    }

    /// Hands all controllers what is left, at the end of a run.
    pub(super) fn teach_the_rest(&mut self) -> Result<(), SimulationError> {
        for controller in 0..self.ledger.lessons.len() as u32 {
            self.teach(controller);
        }
        self.write_updates()
    }

    /// Writes the decisions whose rewards are in, in the order of the run.
    fn write_decisions(&mut self) -> Result<(), SimulationError> {
        while let Some(kept) = self.ledger.decisions.get(self.ledger.written) {
            let facts = kept.facts;
            match kept.settled {
                Settled::UnderWay | Settled::Ended => break,
                Settled::Reward(reward, source) => self.ports.recorder.decision(&facts.row(reward, source))?,
                Settled::Void => {}
            }
            self.ledger.written += 1;
        }
        while self.ledger.written > 0 && self.ledger.decisions.front().is_some_and(|kept| kept.taught) {
            self.ledger.decisions.pop_front();
            self.ledger.written -= 1;
        }
        self.write_updates()
    }

    /// Writes what came of updates, in the order of the run.
    pub(super) fn write_updates(&mut self) -> Result<(), SimulationError> {
        for row in self.ledger.updates.drain(..) {
            self.ports.recorder.update(&row)?;
        }
        Ok(())
    }
}

//! Rows that wait: requests for their quality, decisions for their rewards.
//!
//! Evaluations are submitted when a request ends and joined when the reorder
//! buffer is full, when a learner needs the reward, or at the end: always in the
//! order of ending, so neither their grouping nor their threads can show in a row.

use std::collections::VecDeque;

use crate::network::ports::{Decision, Observation, QualityTicket, RewardInput};
use crate::network::rows::{DecisionRow, Outcome, RequestRow};
use crate::network::simulation::{Simulation, SimulationError};

/// Rows that may wait for their quality; enough to keep every core busy.
const REORDER_LIMIT: usize = 256;

/// A request that has ended.
pub struct Ended<'p> {
    /// Its row without quality and reward.
    pub row: RequestRow<'p>,
    /// Its evaluation.
    pub ticket: Option<QualityTicket>,
    /// The decision that served it.
    pub step: Option<u64>,
    /// Work done on the UE over the work of all layers.
    pub ue_cost_share: f64,
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
    /// Its request is under way, or its quality is.
    Waiting,
    /// Its reward (`None` where the quality gives none).
    Reward(Option<f64>),
    /// No step: its request did not finish.
    Void,
}

/// What waits.
#[derive(Default)]
pub struct Ledger<'p> {
    rows: VecDeque<Ended<'p>>,
    decisions: VecDeque<(DecisionFacts, Settled)>,
    /// By controller, the steps that it has not yet learned from.
    lessons: Vec<VecDeque<u64>>,
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
            self.lessons.resize_with(controller + 1, VecDeque::new);
        }
        self.lessons[controller].push_back(facts.step);
        self.decisions.push_back((facts, Settled::Waiting));
    }

    /// Settles a step; gives the controller that took it.
    fn settle(&mut self, step: u64, settled: Settled) -> Option<u32> {
        let (first, _) = self.decisions.front()?;
        let entry = self.decisions.get_mut(step.checked_sub(first.step)? as usize)?;
        entry.1 = settled;
        Some(entry.0.controller)
    }

    /// The controller's next step in the order of its decisions, if it is settled.
    fn next_lesson(&mut self, controller: u32) -> Option<(DecisionFacts, Settled)> {
        let steps = self.lessons.get_mut(controller as usize)?;
        let (first, _) = self.decisions.front()?;
        let &(facts, settled) = self.decisions.get(steps.front()?.checked_sub(first.step)? as usize)?;
        if matches!(settled, Settled::Waiting) {
            return None;
        }
        steps.pop_front();
        Some((facts, settled))
    }
}

impl<'p> Simulation<'p> {
    /// Takes in a request that has ended.
    pub(super) fn keep(&mut self, ended: Ended<'p>) -> Result<(), SimulationError> {
        self.ledger.completed += u64::from(ended.row.outcome == Outcome::Completed);
        let learns = ended.step.is_some() && {
            let controller = self.world.ues[ended.row.ue_id as usize].controller;
            self.ports.controllers[controller as usize].learns()
        };
        if ended.ticket.is_none() && self.ledger.rows.is_empty() {
            return self.write(ended);
        }
        self.ledger.rows.push_back(ended);
        if learns || self.ledger.rows.len() >= REORDER_LIMIT {
            self.flush()?;
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
        if let Some(quality) = quality {
            row.nll_sum = quality.nll_sum;
            row.tokens_scored = quality.tokens_scored;
            row.ppl_clean = quality.ppl_clean;
            row.ppl = quality.ppl;
            row.activation_snr_db = quality.activation_snr_db;
            row.rows_lost = row.rows_lost.or(quality.rows_lost);
            row.quality_source = self.ports.quality.name();
        }
        if let (Some(step), Some(split)) = (ended.step, row.split) {
            let failed = row.outcome != Outcome::Completed;
            let input = RewardInput { quality, failed, split, ue_cost_share: ended.ue_cost_share };
            let settled = match row.outcome {
                Outcome::Unfinished | Outcome::Dropped => Settled::Void,
                Outcome::Completed | Outcome::Outage | Outcome::Timeout => {
                    row.reward = self.ports.reward.reward(&input);
                    Settled::Reward(row.reward)
                }
            };
            if let Some(controller) = self.ledger.settle(step, settled) {
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
            if let Settled::Reward(reward) = settled {
                let row = facts.row(reward, self.ports.quality.name());
                self.ports.controllers[controller as usize].learn(&row);
            }
        }
    }

    /// Writes the decisions whose rewards are in, in the order of the run.
    fn write_decisions(&mut self) -> Result<(), SimulationError> {
        while let Some(&(facts, settled)) = self.ledger.decisions.front() {
            match settled {
                Settled::Waiting => break,
                Settled::Reward(reward) => {
                    self.ports.recorder.decision(&facts.row(reward, self.ports.quality.name()))?;
                }
                Settled::Void => {}
            }
            self.ledger.decisions.pop_front();
        }
        Ok(())
    }
}

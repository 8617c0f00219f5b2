//! What one key says about another where controllers learn and are judged.

use std::collections::BTreeSet;

use crate::scenario::problem::Problem;
use crate::scenario::schema::{
    ActionKind, ControllerKind, ControllerScope, ControllerTable, QualitySourceName, RewardKind, Scenario,
};
use crate::scenario::values::SplitMax;

/// Parameters of one network at most: 16 MB.
const MOST_PARAMETERS: u64 = 1 << 22;
/// Parameters of all learners' networks at most; each takes 12 bytes or more.
const MOST_PARAMETERS_OF_ALL: u64 = 1 << 31;
/// Evaluations of a run at most: each keeps a copy of the policies.
const MOST_EVALUATIONS: u64 = 10_000;
/// Decisions in evaluations beyond which they are worth a warning.
const MANY_DECISIONS: u64 = 100_000_000;
/// Records below which a surrogate is a guess.
const FEW_RECORDS: u64 = 500;

/// A controller that can learn: table `index`, at `path`.
pub(super) fn check_learner(problems: &mut Vec<Problem>, path: &str, index: usize, scenario: &Scenario) {
    let table = &scenario.controller.tables()[index];
    let mut seen = BTreeSet::new();
    if let Some(twice) = table.observe.iter().find(|observed| !seen.insert(**observed)) {
        problems.push(
            Problem::error(format!("{path}.observe"), "this is observed twice")
                .with_value(format!("\"{}\"", twice.name()))
                .with_hint("name each quantity once"),
        );
    }
    check_actions(problems, path, table, scenario);
    if scenario.quality.source == QualitySourceName::None && table.learn {
        problems.push(
            Problem::error("quality.source", "without a quality there is no reward to learn from")
                .with_value("\"none\"")
                .with_hint("take another source (\"weighted\" needs one as well), or a controller that doesn't learn"),
        );
    }
    let learners = learners(scenario, index);
    check_size(problems, path, table, learners);
    if table.learns() {
        check_rollout(problems, path, table, learners, scenario);
    }
}

/// There is something to choose.
fn check_actions(problems: &mut Vec<Problem>, path: &str, table: &ControllerTable, scenario: &Scenario) {
    let moves: BTreeSet<i32> = table.moves.iter().copied().collect();
    let relative = table.action == ActionKind::Relative;
    let one_split = scenario.split.max == SplitMax::Layer(scenario.split.min);
    if one_split || (relative && moves.len() < 2) {
        let at = if one_split { "split.max".to_owned() } else { format!("{path}.moves") };
        problems.push(
            Problem::error(at, "a learner with one action has nothing to choose")
                .with_hint("give it several moves, and several splits"),
        );
    } else if relative && moves.len() < table.moves.len() {
        problems.push(
            Problem::warning(format!("{path}.moves"), "a move stands here twice: two actions are the same")
                .with_hint("name each move once"),
        );
    }
}

/// UEs with a learner of this table, or 1 if they share it; 0 if none names it.
fn learners(scenario: &Scenario, index: usize) -> u64 {
    let tables = scenario.controller.tables();
    let name = tables[index].name.as_deref();
    let own = scenario
        .ue
        .iter()
        .filter(|ue| tables.len() == 1 || (ue.controller.is_some() && ue.controller.as_deref() == name));
    let ues: u64 = own.map(|ue| u64::from(ue.count)).sum();
    if tables[index].scope == ControllerScope::Shared { ues.min(1) } else { ues }
}

/// Its networks fit into memory.
fn check_size(problems: &mut Vec<Problem>, path: &str, table: &ControllerTable, learners: u64) {
    let (hidden, _) = table.hidden();
    let outputs = match table.action {
        ActionKind::Relative => table.moves.len(),
        // Splits are bounded by the model, which has far fewer layers than a hidden layer has neurons.
        ActionKind::Direct => 1,
    };
    let sizes = [
        &[table.observe.len() as u64],
        hidden.iter().map(|&size| u64::from(size)).collect::<Vec<_>>().as_slice(),
        &[outputs as u64],
    ]
    .concat();
    let parameters = sizes.windows(2).fold(0u64, |sum, pair| sum.saturating_add((pair[0] + 1).saturating_mul(pair[1])));
    let at = format!("{path}.{}.hidden", table.kind.name());
    if parameters > MOST_PARAMETERS {
        problems.push(
            Problem::error(at, "these layers make a network too large to train for each UE")
                .with_value(format!("{parameters} parameters"))
                .with_allowed(format!("at most {MOST_PARAMETERS} parameters"))
                .with_hint("take narrower layers: 64 and 64 are the default"),
        );
    } else if parameters.saturating_mul(2 * learners) > MOST_PARAMETERS_OF_ALL {
        problems.push(
            Problem::error(at, format!("{learners} learners with such networks don't fit into memory"))
                .with_value(format!("{} parameters", parameters.saturating_mul(2 * learners)))
                .with_allowed(format!("at most {MOST_PARAMETERS_OF_ALL} parameters in all"))
                .with_hint("take narrower layers, or scope = \"shared\""),
        );
    }
}

/// It will learn something in the time that it has.
fn check_rollout(problems: &mut Vec<Problem>, path: &str, table: &ControllerTable, learners: u64, scenario: &Scenario) {
    let kind = table.kind.name();
    if learners == 0 {
        problems.push(
            Problem::warning(path, "no [[ue]] names this controller").with_hint("name it in a [[ue]], or leave it out"),
        );
        return;
    }
    if let Some(steps) = scenario.stop.env_steps
        && let Some(wanted) = (table.rollout() * learners).checked_sub(steps).filter(|&short| short > 0)
    {
        let key = if table.kind == ControllerKind::Dqn { "updates_every" } else { "n_steps" };
        let of = if learners == 1 { "the learner".to_owned() } else { format!("each of {learners} learners") };
        problems.push(
            Problem::warning(
                format!("{path}.{kind}.{key}"),
                format!("{of} takes {} steps per update, and all controllers together have {steps}", table.rollout()),
            )
            .with_hint(format!("raise stop.env_steps by {wanted}, lower {key}, or set scope = \"shared\"")),
        );
    }
    let batch = match table.kind {
        ControllerKind::Ppo => Some((u64::from(table.ppo.batch_size), u64::from(table.ppo.n_steps), "n_steps")),
        ControllerKind::Dqn => Some((u64::from(table.dqn.batch_size), u64::from(table.dqn.buffer_size), "buffer_size")),
        _ => None,
    };
    if let Some((batch, most, key)) = batch.filter(|(batch, most, _)| batch > most) {
        problems.push(
            Problem::warning(
                format!("{path}.{kind}.batch_size"),
                format!("a batch of {batch} is more than {key} = {most}: it counts transitions it doesn't have"),
            )
            .with_allowed(format!("1 to {most}")),
        );
    }
}

/// The name of a policy file in the run's folder.
pub(super) fn check_file_name(problems: &mut Vec<Problem>, path: &str, name: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let stem = name.strip_suffix(".safetensors").unwrap_or_default();
    if stem.is_empty() || name.len() > 100 || name.starts_with('.') || !name.bytes().all(plain) {
        problems.push(
            Problem::error(path, "this can't be the name of a policy file: it lies in the run's folder")
                .with_value(format!("{name:?}"))
                .with_allowed("letters, digits, `-`, `_` and `.`, ending in `.safetensors`, up to 100"),
        );
    }
}

/// Evaluations, and surrogates that are trained in a run.
pub(super) fn check_evaluation(problems: &mut Vec<Problem>, scenario: &Scenario) {
    let (evaluation, quality) = (&scenario.evaluation, &scenario.quality);
    let tables = scenario.controller.tables();
    if scenario.evaluates() {
        if evaluation.source == Some(QualitySourceName::None) {
            problems.push(
                Problem::error("evaluation.source", "without a quality there is no reward to judge by")
                    .with_value("\"none\"")
                    .with_hint("set evaluation.episodes = 0 for no evaluations"),
            );
        }
        let rounds = match (scenario.stop.env_steps, evaluation.every_steps) {
            (Some(steps), every @ 1..) => steps / every + 2,
            _ => 1,
        };
        if rounds > MOST_EVALUATIONS {
            problems.push(
                Problem::error("evaluation.every_steps", format!("this asks for {rounds} evaluations"))
                    .with_value(evaluation.every_steps)
                    .with_allowed(format!("at most {MOST_EVALUATIONS} evaluations"))
                    .with_hint("evaluate less often"),
            );
        }
        if let Some(steps) = scenario.stop.env_steps.filter(|&steps| evaluation.every_steps > steps) {
            problems.push(
                Problem::warning("evaluation.every_steps", format!("the run ends after {steps} steps, before that"))
                    .with_value(evaluation.every_steps),
            );
        }
        let steps = tables.iter().filter(|table| table.kind.is_learner()).map(|table| table.steps_per_episode).max();
        let decisions = rounds
            .saturating_add(3)
            .saturating_mul(u64::from(evaluation.episodes))
            .saturating_mul(u64::from(steps.unwrap_or(1)));
        if decisions > MANY_DECISIONS {
            problems.push(
                Problem::warning("evaluation.episodes", format!("evaluations take {decisions} decisions or more"))
                    .with_value(evaluation.episodes)
                    .with_hint("take fewer or shorter episodes: controller.steps_per_episode"),
            );
        }
    }
    let switches =
        matches!(quality.source, QualitySourceName::LlmThenSurrogate | QualitySourceName::TableThenSurrogate);
    if switches {
        let epoch = tables.iter().find(|table| table.learns()).map_or(400, ControllerTable::rollout);
        let records = epoch * u64::from(quality.switch_after_epochs);
        let path = "quality.switch_after_epochs";
        if records < 10 {
            problems.push(
                Problem::error(path, format!("the surrogate would be fitted to {records} records: epochs of {epoch}"))
                    .with_value(quality.switch_after_epochs)
                    .with_allowed(format!("at least {}", 10u64.div_ceil(epoch)))
                    .with_hint("chen25 has 25 epochs of 400 records"),
            );
        } else if records < FEW_RECORDS {
            problems.push(
                Problem::warning(path, format!("the surrogate is fitted to {records} records: epochs of {epoch}"))
                    .with_value(quality.switch_after_epochs)
                    .with_hint("raise it; chen25 has 25 epochs of 400 records"),
            );
        }
        if scenario.reward.ppl_cap.is_some() && scenario.reward.kind != RewardKind::Chen25Eq8 {
            problems.push(
                Problem::error("reward.ppl_cap", "a surrogate of relative gains knows no PPL that could be capped")
                    .with_hint("leave it out: the gain is clipped at -1; or take reward.kind = \"chen25-eq8\""),
            );
        }
    }
}

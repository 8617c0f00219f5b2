use super::*;
use crate::rl::Init;
use crate::rl::categorical::Categorical;
use crate::rl::testing::{Bandit, Chain, learn};

/// A network with orthogonal weights, and its copies with one parameter moved.
fn network(sizes: &[usize], entity: u32, activation: Activation) -> Mlp<f64> {
    let init = Init::Orthogonal { hidden_gain: 1.4, output_gain: 1.0 };
    Mlp::new(sizes, activation, init, &Streams::new(3, 0).stream(entity, Purpose::Test))
}

fn outputs(network: &Mlp<f64>, inputs: &[f64]) -> Vec<f64> {
    network.forward(inputs, &mut Passes::default()).to_vec()
}

/// The whole loss by the paper's equations 7 and 9, sample by sample.
fn loss(actor: &Mlp<f64>, critic: &Mlp<f64>, batch: Batch<f64>, weights: Weights, clip: f64) -> f64 {
    let n = batch.actions.len();
    let (logits, values) = (outputs(actor, batch.observations), outputs(critic, batch.observations));
    let mut loss = 0.0;
    for i in 0..n {
        let distribution = Categorical::of(&logits[3 * i..][..3]);
        let ratio = (distribution.log_probs()[batch.actions[i] as usize] - batch.log_probs[i]).exp();
        let a = batch.advantages[i];
        let policy = -(ratio * a).min(ratio.clamp(1.0 - clip, 1.0 + clip) * a);
        let value = (values[i] - batch.returns[i]).powi(2);
        loss += (policy - weights.entropy * distribution.entropy() + weights.value * value) / n as f64;
    }
    loss
}

#[test]
fn the_whole_loss_has_the_gradient_of_finite_differences() {
    for activation in [Activation::Tanh, Activation::Relu] {
        for n in [1, 5, 40] {
            let (mut actor, mut critic) =
                (network(&[2, 9, 8, 3], 0, activation), network(&[2, 9, 8, 1], 1, activation));
            let stream = Streams::new(3, 0).stream(2, Purpose::Test);
            let normal = |i: usize| stream.normal_pair(i as u64);
            let observations: Vec<f64> = (0..n).flat_map(normal).collect();
            let actions: Vec<u32> = (0..n).map(|i| stream.below(1000 + i as u64, 3) as u32).collect();
            // Old probabilities far enough from the new ones that some ratios are clipped on either side.
            let logits = outputs(&actor, &observations);
            let log_probs: Vec<f64> = (0..n)
                .map(|i| {
                    Categorical::of(&logits[3 * i..][..3]).log_probs()[actions[i] as usize] + 0.3 * normal(2000 + i)[0]
                })
                .collect();
            let advantages: Vec<f64> = (0..n).map(|i| normal(3000 + i)[0]).collect();
            let returns: Vec<f64> = (0..n).map(|i| normal(4000 + i)[0]).collect();
            let batch = Batch {
                observations: &observations,
                actions: &actions,
                log_probs: &log_probs,
                advantages: &advantages,
                returns: &returns,
            };
            let weights = Weights { entropy: 0.3, value: 0.7 };
            let mut gradient = LossGradient::new(&actor, &critic);
            let mut terms = Terms::default();
            // Twice: nothing of the first may be left in the second.
            for _ in 0..2 {
                terms = gradient.compute(&actor, &critic, batch, weights, |i, log_prob| {
                    clipped_surrogate(log_prob, log_probs[i], advantages[i], 0.2)
                });
            }
            assert!((terms.total(weights) - loss(&actor, &critic, batch, weights, 0.2)).abs() < 1e-12);
            if n == 40 {
                assert!(terms.clipped > 0.3 && terms.clipped < 0.7, "{terms:?}");
            }
            let h = 1e-6;
            for i in 0..actor.parameters().len() {
                let at = actor.parameters()[i];
                let mut moved = |by: f64| {
                    actor.parameters_mut()[i] = at + by;
                    let loss = loss(&actor, &critic, batch, weights, 0.2);
                    actor.parameters_mut()[i] = at;
                    loss
                };
                let difference = (moved(h) - moved(-h)) / (2.0 * h);
                assert!((gradient.actor[i] - difference).abs() < 1e-8, "{i}: {} {difference}", gradient.actor[i]);
            }
            for i in 0..critic.parameters().len() {
                let at = critic.parameters()[i];
                let mut moved = |by: f64| {
                    critic.parameters_mut()[i] = at + by;
                    let loss = loss(&actor, &critic, batch, weights, 0.2);
                    critic.parameters_mut()[i] = at;
                    loss
                };
                let difference = (moved(h) - moved(-h)) / (2.0 * h);
                assert!((gradient.critic[i] - difference).abs() < 1e-8, "{i}: {} {difference}", gradient.critic[i]);
            }
        }
    }
}

#[test]
fn the_surrogate_is_clipped_where_it_would_gain_too_much() {
    let at = |ratio: f64, advantage: f64| clipped_surrogate(ratio.ln(), 0.0, advantage, 0.2);
    let near =
        |got: Surrogate, loss: f64, slope: f64| (got.loss - loss).abs() + (got.by_log_prob - slope).abs() < 1e-12;
    assert!(near(at(1.0, 2.0), -2.0, -2.0) && !at(1.0, 2.0).is_clipped);
    assert!(near(at(1.5, 2.0), -2.4, 0.0), "a gain beyond 1.2 counts no more");
    assert!(near(at(0.5, 2.0), -1.0, -1.0) && at(0.5, 2.0).is_clipped, "a loss counts in full");
    assert!(near(at(0.5, -2.0), 1.6, 0.0));
    assert!(near(at(1.5, -2.0), 3.0, 3.0));
    assert!((at(1.5, 1.0).kl - (0.5 - 1.5_f64.ln())).abs() < 1e-12);
}

#[test]
fn a_shuffle_is_a_permutation_and_its_draws_are_its_own() {
    let stream = Streams::new(3, 0).stream(0, Purpose::Test);
    let (mut order, mut drawn) = ((0..50).collect::<Vec<u32>>(), 0);
    shuffle(&mut order, &stream, &mut drawn);
    assert_eq!(drawn, 49);
    let first = order.clone();
    order.sort_unstable();
    assert_eq!(order, (0..50).collect::<Vec<u32>>());
    shuffle(&mut order, &stream, &mut drawn);
    assert_ne!(order, first);
    // Every element is as often first as any other: χ² of 4 degrees of freedom, 99.9 % point 18.47.
    let mut counts = [0.0; 5];
    for _ in 0..10_000 {
        let mut order = [0, 1, 2, 3, 4];
        shuffle(&mut order, &stream, &mut drawn);
        counts[order[0] as usize] += 1.0;
    }
    let chi2: f64 = counts.iter().map(|c: &f64| (c - 2000.0).powi(2) / 2000.0).sum();
    assert!(chi2 < 18.47, "{chi2}");
}

fn ppo(observations: usize, actions: usize, settings: PpoSettings) -> Ppo {
    Ppo::new(observations, actions, settings, Streams::new(1, 0), 0)
}

fn small() -> PpoSettings {
    PpoSettings {
        n_steps: 70,
        batch_size: 32,
        epochs: 3,
        hidden: vec![16],
        learning_rate: 3e-3,
        ..PpoSettings::default()
    }
}

#[test]
fn the_best_arm_of_a_bandit_is_found() {
    let mut agent = ppo(1, 4, PpoSettings { learning_rate: 3e-3, ..PpoSettings::default() });
    let updates = learn(&mut agent, &mut Bandit { arms: vec![0.1, 0.5, 1.0, 0.9] }, 8000, 5);
    assert_eq!(updates.len(), 20);
    let Policy::ActorCritic { actor, critic } = agent.policy() else { panic!("PPO has an actor") };
    let probs = Categorical::of(actor.forward(&[1.0], &mut Passes::default()));
    assert!(probs.probs()[2] > 0.95, "{probs:?}");
    assert!((critic.forward(&[1.0], &mut Passes::default())[0] - 1.0).abs() < 0.05);
    // Four actions nearly alike at first, then hardly any but one.
    let entropies: Vec<f64> = updates.iter().map(|update| update.entropy.unwrap()).collect();
    assert!(entropies[0] > 1.0 && entropies[0] < 4.0_f64.ln() && entropies[19] < 0.01, "{entropies:?}");
}

/// Within 1 % of the optimum that value iteration gives, from every state.
#[test]
fn the_chain_is_solved() {
    let settings = PpoSettings { learning_rate: 3e-3, n_steps: 256, batch_size: 64, ..PpoSettings::default() };
    let mut agent = ppo(Chain::STATES - 1, 2, settings);
    learn(&mut agent, &mut Chain::new(2), 256 * 40, 6);
    let policy = agent.policy();
    let mut scratch = crate::rl::PolicyScratch::default();
    let best: Vec<usize> =
        (0..9).map(|state| policy.best(&Chain::observation(state), &mut scratch).action as usize).collect();
    let (got, optimum) = (Chain::policy_values(0.99, |state| best[state]), Chain::optimal_values(0.99));
    for (state, (got, optimum)) in got.iter().zip(&optimum).enumerate() {
        assert!(got > &(0.99 * optimum), "state {state}: {got} of {optimum}");
    }
    for (state, optimum) in optimum.iter().enumerate() {
        let value = policy.best(&Chain::observation(state), &mut scratch).value.unwrap();
        assert!((value - optimum).abs() < 0.1, "state {state}: {value}, {optimum}");
    }
}

#[test]
fn updates_come_when_wanted_and_say_what_was_seen() {
    let mut agent = ppo(1, 2, PpoSettings { n_steps: 3, batch_size: 10, ..small() });
    let mut scratch = crate::rl::PolicyScratch::default();
    for step in 0..6 {
        assert_eq!(agent.wanted(), 3 - step % 3);
        let choice = agent.choose(&[1.0], [0.4, 0.9]);
        assert_eq!(choice, agent.policy().sample(&[1.0], 0.4, &mut scratch));
        let transition = Transition { trajectory: 0, observation: vec![1.0], choice, reward: 1.0, next: None };
        assert_eq!(agent.observe(transition).is_some(), step % 3 == 2);
    }
}

#[test]
fn a_minibatch_may_be_smaller_than_the_others() {
    // 70 = 32 + 32 + 6; and a rollout smaller than a batch is one batch.
    for settings in [small(), PpoSettings { n_steps: 7, ..small() }, PpoSettings { batch_size: 69, ..small() }] {
        let mut agent = ppo(1, 4, settings);
        let updates = learn(&mut agent, &mut Bandit { arms: vec![0.0, 0.0, 1.0, 0.0] }, 2100, 5);
        assert!(updates.iter().all(|update| !update.diverged));
        let value = agent.policy().best(&[1.0], &mut crate::rl::PolicyScratch::default());
        assert_eq!(value.action, 2);
    }
}

#[test]
fn one_seed_gives_one_policy_and_each_entity_another() {
    let run = |entity| {
        let mut agent = Ppo::new(9, 2, small(), Streams::new(1, 0), entity);
        let updates = learn(&mut agent, &mut Chain::new(2), 210, 6);
        (agent.policy().clone(), updates)
    };
    let (policy, updates) = run(0);
    assert_eq!(run(0), (policy.clone(), updates));
    let other = run(1).0;
    for ((_, a), (_, b)) in policy.networks().iter().zip(other.networks()) {
        let (a, b) = (a.parameters(), b.parameters());
        assert!(a.iter().zip(b).filter(|(a, b)| a == b).count() < a.len() / 20, "but for biases that are still 0");
    }
}

#[test]
fn a_diverging_learner_keeps_its_last_finite_policy_and_stops() {
    let spoil = |reward: f64, settings: PpoSettings| {
        let mut agent = ppo(1, 2, settings);
        learn(&mut agent, &mut Bandit { arms: vec![0.0, 1.0] }, 70, 5);
        let before = agent.policy().clone();
        let updates = learn(&mut agent, &mut Bandit { arms: vec![0.0, reward] }, 500, 7);
        (agent, before, updates)
    };
    for reward in [f64::NAN, f64::INFINITY, 1e300] {
        let (mut agent, before, updates) = spoil(reward, small());
        assert_eq!(updates, [Update { diverged: true, ..Update::default() }]);
        assert_eq!(agent.policy(), &before);
        assert_eq!(agent.wanted(), usize::MAX);
        let choice = agent.choose(&[1.0], [0.5, 0.5]);
        assert!(choice.log_prob.unwrap().is_finite() && choice.value.unwrap().is_finite());
    }
    let mut agent = ppo(1, 2, PpoSettings { learning_rate: 1e30, ..small() });
    let updates = learn(&mut agent, &mut Bandit { arms: vec![0.0, 1.0] }, 1000, 5);
    assert_eq!(updates.iter().filter(|update| update.diverged).count(), 1);
    assert!(agent.policy().is_finite() && updates.last().unwrap().diverged);
}

#[test]
fn a_policy_is_taken_over_if_it_fits() {
    let trained = {
        let mut agent = ppo(9, 2, small());
        learn(&mut agent, &mut Chain::new(2), 210, 6);
        agent.policy().clone()
    };
    let agent = ppo(9, 2, small()).with_policy(trained.clone()).unwrap();
    assert_eq!(agent.policy(), &trained);
    assert!(ppo(9, 3, small()).with_policy(trained.clone()).is_none());
    assert!(ppo(9, 2, PpoSettings { hidden: vec![17], ..small() }).with_policy(trained.clone()).is_none());
    let relu = PpoSettings { activation: Activation::Relu, ..small() };
    assert!(ppo(9, 2, relu).with_policy(trained).is_none());
}

#[test]
fn what_others_chose_is_judged_by_the_present_policy() {
    let run = |hides: bool| {
        let mut agent = ppo(1, 2, PpoSettings { n_steps: 8, ..small() });
        for step in 0..8 {
            let mut choice = agent.choose(&[1.0], [0.1 * f64::from(step), 0.5]);
            if hides {
                (choice.log_prob, choice.value) = (None, None);
            }
            let reward = f64::from(choice.action);
            let next = Some(vec![1.0]);
            agent.observe(Transition { trajectory: step % 2, observation: vec![1.0], choice, reward, next });
        }
        agent.policy().clone()
    };
    assert_eq!(run(false), run(true));
}

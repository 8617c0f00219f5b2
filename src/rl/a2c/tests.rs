use super::*;
use crate::kernel::Purpose;
use crate::rl::categorical::Categorical;
use crate::rl::testing::{Bandit, Chain, learn};
use crate::rl::{Init, PolicyScratch};

/// `-A ln π - c_H H + c_V (V - R)²`, averaged.
fn loss(actor: &Mlp<f64>, critic: &Mlp<f64>, batch: Batch<f64>, weights: Weights) -> f64 {
    let logits = actor.forward(batch.observations, &mut Passes::default()).to_vec();
    let values = critic.forward(batch.observations, &mut Passes::default()).to_vec();
    let n = batch.actions.len();
    let one = |i: usize| {
        let distribution = Categorical::of(&logits[4 * i..][..4]);
        let policy = -batch.advantages[i] * distribution.log_probs()[batch.actions[i] as usize];
        policy - weights.entropy * distribution.entropy() + weights.value * (values[i] - batch.returns[i]).powi(2)
    };
    (0..n).map(one).sum::<f64>() / n as f64
}

#[test]
fn the_whole_loss_has_the_gradient_of_finite_differences() {
    for activation in [Activation::Tanh, Activation::Relu] {
        let init = Init::Orthogonal { hidden_gain: 1.4, output_gain: 1.0 };
        let stream = |entity| Streams::new(3, 1).stream(entity, Purpose::Test);
        let mut networks = [
            Mlp::<f64>::new(&[3, 8, 4], activation, init, &stream(0)),
            Mlp::new(&[3, 8, 1], activation, init, &stream(1)),
        ];
        let n = 12;
        let draws: Vec<f64> = (0..100).flat_map(|i| stream(2).normal_pair(i)).collect();
        let batch = Batch {
            observations: &draws[..3 * n],
            actions: &[0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 3, 2],
            log_probs: &[],
            advantages: &draws[50..50 + n],
            returns: &draws[80..80 + n],
        };
        let weights = Weights { entropy: 0.2, value: 0.4 };
        let mut gradient = LossGradient::new(&networks[0], &networks[1]);
        let terms = gradient.compute(&networks[0], &networks[1], batch, weights, |i, log_prob| {
            surrogate(log_prob, batch.advantages[i])
        });
        assert!((terms.total(weights) - loss(&networks[0], &networks[1], batch, weights)).abs() < 1e-12);
        let h = 1e-6;
        for (which, gradient) in [gradient.actor, gradient.critic].iter().enumerate() {
            for (i, gradient) in gradient.iter().enumerate() {
                let at = networks[which].parameters()[i];
                let mut moved = |by: f64| {
                    networks[which].parameters_mut()[i] = at + by;
                    let loss = loss(&networks[0], &networks[1], batch, weights);
                    networks[which].parameters_mut()[i] = at;
                    loss
                };
                let difference = (moved(h) - moved(-h)) / (2.0 * h);
                assert!((gradient - difference).abs() < 1e-8, "{which} {i}: {gradient} {difference}");
            }
        }
    }
}

fn a2c(observations: usize, actions: usize, settings: A2cSettings) -> A2c {
    A2c::new(observations, actions, settings, Streams::new(1, 0), 0)
}

#[test]
fn the_best_arm_of_a_bandit_is_found() {
    let mut agent = a2c(1, 4, A2cSettings::default());
    let updates = learn(&mut agent, &mut Bandit { arms: vec![0.1, 0.5, 1.0, 0.7] }, 10_000, 5);
    assert_eq!(updates.len(), 2000);
    let Policy::ActorCritic { actor, critic } = agent.policy() else { panic!("A2C has an actor") };
    let probs = Categorical::of(actor.forward(&[1.0], &mut Passes::default()));
    assert!(probs.probs()[2] > 0.95, "{probs:?}");
    assert!((critic.forward(&[1.0], &mut Passes::default())[0] - 1.0).abs() < 0.05);
}

/// Within 1 % of the optimum that value iteration gives, from every state.
#[test]
fn the_chain_is_solved() {
    for normalise_advantage in [false, true] {
        let settings = A2cSettings { n_steps: 16, entropy_coef: 0.01, normalise_advantage, ..A2cSettings::default() };
        let mut agent = a2c(Chain::STATES - 1, 2, settings);
        let updates = learn(&mut agent, &mut Chain::new(2), 16 * 2000, 6);
        assert!(updates.iter().all(|update| update.approx_kl.is_none() && update.clip_fraction.is_none()));
        let mut scratch = PolicyScratch::default();
        let mut best = |state| agent.policy().best(&Chain::observation(state), &mut scratch).action as usize;
        let best: Vec<usize> = (0..9).map(&mut best).collect();
        let (got, optimum) = (Chain::policy_values(0.99, |state| best[state]), Chain::optimal_values(0.99));
        for (state, (got, optimum)) in got.iter().zip(&optimum).enumerate() {
            assert!(got > &(0.99 * optimum), "state {state}: {got} of {optimum}");
        }
    }
}

#[test]
fn one_seed_gives_one_policy_and_each_entity_another() {
    let run = |entity| {
        let mut agent = A2c::new(9, 2, A2cSettings::default(), Streams::new(1, 0), entity);
        let updates = learn(&mut agent, &mut Chain::new(2), 100, 6);
        (agent.policy().clone(), updates)
    };
    assert_eq!(run(0), run(0));
    assert_ne!(run(0).0, run(1).0);
}

#[test]
fn a_diverging_learner_keeps_its_last_finite_policy_and_stops() {
    for reward in [f64::NAN, f64::NEG_INFINITY] {
        let mut agent = a2c(1, 2, A2cSettings::default());
        learn(&mut agent, &mut Bandit { arms: vec![0.0, 1.0] }, 50, 5);
        let before = agent.policy().clone();
        let updates = learn(&mut agent, &mut Bandit { arms: vec![reward, reward] }, 100, 7);
        assert_eq!(updates, [Update { diverged: true, ..Update::default() }]);
        assert_eq!((agent.policy(), agent.wanted()), (&before, usize::MAX));
    }
    let mut agent = a2c(1, 2, A2cSettings { learning_rate: 1e30, ..A2cSettings::default() });
    let updates = learn(&mut agent, &mut Bandit { arms: vec![0.0, 1.0] }, 500, 5);
    assert_eq!(updates.iter().filter(|update| update.diverged).count(), 1);
    assert!(agent.policy().is_finite() && updates.last().unwrap().diverged);
    let choice = agent.choose(&[1.0], [0.5, 0.5]);
    assert!(choice.value.unwrap().is_finite());
}

#[test]
fn a_policy_is_taken_over_if_it_fits() {
    let policy = a2c(3, 2, A2cSettings::default()).policy().clone();
    assert!(a2c(3, 2, A2cSettings::default()).with_policy(policy.clone()).is_some());
    assert!(a2c(2, 2, A2cSettings::default()).with_policy(policy).is_none());
}

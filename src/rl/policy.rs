//! What an agent acts by: networks that turn an observation into an action.

use super::categorical::{Categorical, arg_max};
use super::mlp::{Mlp, Passes};

/// The networks of an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// An actor with one logit for each action, and a critic with one output, the value of the state.
    ActorCritic {
        /// Logits of the actions.
        actor: Mlp<f32>,
        /// Value of the state.
        critic: Mlp<f32>,
    },
    /// One network with the value of each action.
    Q {
        /// Values of the actions.
        network: Mlp<f32>,
    },
}

/// An action, and what the policy thought of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Number of the action, from 0.
    pub action: u32,
    /// ln π(action | observation); None for a policy without probabilities.
    pub log_prob: Option<f64>,
    /// The critic's value of the observation, or the chosen action's value of a Q network; None where unknown.
    pub value: Option<f64>,
}

/// Buffers of a pass through the networks.
#[derive(Clone, Debug, Default)]
pub struct PolicyScratch {
    passes: Passes<f32>,
    actions: Categorical,
}

impl Policy {
    /// Length of an observation.
    pub fn inputs(&self) -> usize {
        self.main().sizes()[0]
    }

    /// Number of actions.
    pub fn actions(&self) -> usize {
        self.main().sizes().last().copied().unwrap_or(0)
    }

    /// The networks by name: `actor` and `critic`, or `q`.
    pub fn networks(&self) -> Vec<(&'static str, &Mlp<f32>)> {
        match self {
            Self::ActorCritic { actor, critic } => vec![("actor", actor), ("critic", critic)],
            Self::Q { network } => vec![("q", network)],
        }
    }

    /// Whether every parameter is a finite number.
    pub fn is_finite(&self) -> bool {
        self.networks().iter().all(|(_, network)| network.parameters().iter().all(|x| x.is_finite()))
    }

    /// An action drawn by its probability: the one whose share of (0, 1) holds `uniform`. A Q network's is its best.
    pub fn sample(&self, observation: &[f32], uniform: f64, scratch: &mut PolicyScratch) -> Choice {
        self.choose(observation, scratch, |actions| actions.sample(uniform))
    }

    /// The action of the largest logit or value, the first among equals.
    pub fn best(&self, observation: &[f32], scratch: &mut PolicyScratch) -> Choice {
        self.choose(observation, scratch, |actions| arg_max(actions.log_probs()))
    }

    /// Whether another policy could stand in for this one: networks of the same kind, widths and activation.
    pub fn has_shape_of(&self, other: &Self) -> bool {
        let (mine, others) = (self.networks(), other.networks());
        mine.len() == others.len()
            && mine.iter().zip(&others).all(|((name, a), (other, b))| {
                name == other && a.sizes() == b.sizes() && a.activation() == b.activation()
            })
    }

    fn main(&self) -> &Mlp<f32> {
        match self {
            Self::ActorCritic { actor, .. } => actor,
            Self::Q { network } => network,
        }
    }

    fn choose(&self, observation: &[f32], scratch: &mut PolicyScratch, pick: impl Fn(&Categorical) -> usize) -> Choice {
        let PolicyScratch { passes, actions } = scratch;
        match self {
            Self::ActorCritic { actor, critic } => {
                actions.set(actor.forward(observation, passes));
                let action = pick(actions);
                let value = critic.forward(observation, passes).first().map(|&value| f64::from(value));
                Choice { action: action as u32, log_prob: actions.log_probs().get(action).copied(), value }
            }
            Self::Q { network } => {
                let values = network.forward(observation, passes);
                let action = arg_max(values);
                Choice {
                    action: action as u32,
                    log_prob: None,
                    value: values.get(action).map(|&value| f64::from(value)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rl::Activation;

    /// A network without hidden layers.
    fn linear(weights: &[f32], inputs: usize) -> Mlp<f32> {
        let outputs = weights.len() / (inputs + 1);
        Mlp::from_parameters(&[inputs, outputs], Activation::Tanh, weights.to_vec()).unwrap()
    }

    /// Logits (ln 2, 0, 0) + 0·x, value 3 x + 1.
    fn actor_critic() -> Policy {
        let ln2 = std::f32::consts::LN_2;
        Policy::ActorCritic { actor: linear(&[0.0, 0.0, 0.0, ln2, 0.0, 0.0], 1), critic: linear(&[3.0, 1.0], 1) }
    }

    #[test]
    fn an_actor_draws_by_its_probabilities_and_its_critic_says_the_value() {
        let (policy, mut scratch) = (actor_critic(), PolicyScratch::default());
        assert_eq!((policy.inputs(), policy.actions()), (1, 3));
        // Shares of (0, 1): 1/2, 1/4, 1/4.
        for (uniform, action, prob) in [(0.49, 0, 0.5_f64), (0.51, 1, 0.25), (0.74, 1, 0.25), (0.76, 2, 0.25)] {
            let choice = policy.sample(&[2.0], uniform, &mut scratch);
            assert_eq!((choice.action, choice.value), (action, Some(7.0)));
            assert!((choice.log_prob.unwrap() - prob.ln()).abs() < 1e-7);
        }
        assert_eq!(policy.best(&[2.0], &mut scratch).action, 0);
        assert_eq!(policy.best(&[], &mut scratch), Choice { action: 0, log_prob: None, value: None });
    }

    #[test]
    fn a_q_network_takes_its_best_whatever_the_draw() {
        // Values x, -x, x: the first among equals.
        let policy = Policy::Q { network: linear(&[1.0, -1.0, 1.0, 0.0, 0.0, 0.0], 1) };
        let mut scratch = PolicyScratch::default();
        assert_eq!(policy.best(&[2.0], &mut scratch), Choice { action: 0, log_prob: None, value: Some(2.0) });
        assert_eq!(policy.sample(&[-2.0], 0.99, &mut scratch), Choice { action: 1, log_prob: None, value: Some(2.0) });
    }

    #[test]
    fn shapes_and_finiteness_are_told() {
        let policy = actor_critic();
        assert!(policy.is_finite() && policy.has_shape_of(&policy));
        assert!(!policy.has_shape_of(&Policy::Q { network: linear(&[0.0; 6], 1) }));
        let Policy::ActorCritic { actor, mut critic } = policy.clone() else { panic!() };
        critic.parameters_mut()[1] = f32::INFINITY;
        assert!(!Policy::ActorCritic { actor: actor.clone(), critic }.is_finite());
        assert!(!policy.has_shape_of(&Policy::ActorCritic { actor, critic: linear(&[0.0; 3], 2) }));
        let names: Vec<&str> = policy.networks().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["actor", "critic"]);
    }
}

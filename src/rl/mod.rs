//! Reinforcement learning for small problems: multilayer perceptrons, PPO, A2C and DQN,
//! and least squares. Knows neither networks of radios nor language models: an agent sees
//! vectors, chooses numbers, and is told what they earned.

mod a2c;
mod actor_critic;
mod agent;
mod categorical;
mod dense;
mod dqn;
mod init;
mod mlp;
mod optimiser;
mod policy;
mod ppo;
mod real;
mod regression;
mod replay;
mod rollout;
#[cfg(test)]
mod testing;

pub use a2c::{A2c, A2cSettings};
pub use agent::{Agent, Transition, Update};
pub use categorical::{Categorical, arg_max};
pub use dqn::{Dqn, DqnSettings};
pub use init::Init;
pub use mlp::{Activation, Mlp, Passes};
pub use optimiser::{Adam, RmsProp, clip_norm};
pub use policy::{Choice, Policy, PolicyScratch};
pub use ppo::{Ppo, PpoSettings};
pub use real::{Real, exp};
pub use regression::{Fitted, RegressionError, RegressionSettings, fit};

use super::super::testing::{Bandit, Chain, World, learn};
use super::*;

fn streams() -> Streams {
    Streams::new(8, 0)
}

fn transition(observation: &[f32], action: u32, reward: f64, next: Option<&[f32]>) -> Transition {
    let choice = Choice { action, log_prob: None, value: None };
    Transition { trajectory: 0, observation: observation.to_vec(), choice, reward, next: next.map(<[f32]>::to_vec) }
}

fn network(agent: &Dqn) -> &Mlp<f32> {
    let Policy::Q { network } = agent.policy() else { panic!("a DQN has Q values") };
    network
}

/// Q(s, ·) of the learner.
fn values(agent: &Dqn, observation: &[f32]) -> Vec<f64> {
    let mut passes = Passes::default();
    network(agent).forward(observation, &mut passes).iter().map(|&value| f64::from(value)).collect()
}

/// Two actions, two transitions, γ = 0.9: the first goes on to values 2 and 5, so y = 1 + 0.9·5 = 5.5; the second is
/// terminal, y = -2. With Q(s, a) = 5 and 1 the errors are -0.5 (0.125 in the quadratic part) and 3 (2.5 in the linear
/// one): L = 2.625/2, with slopes -0.5/2 and 1/2.
#[test]
fn two_transitions_by_hand() {
    let (mut targets, mut gradient) = (Vec::new(), Vec::new());
    td_targets(&[1.0, -2.0], &[2.0, 5.0, 7.0, 9.0], &[false, true], 0.9, &mut targets);
    assert_eq!(targets, [5.5, -2.0]);
    let loss = td_loss(&[5.0, 8.0, 3.0, 1.0], &[0, 1], &targets, &mut gradient);
    assert_eq!(loss, 1.3125);
    assert_eq!(gradient, [-0.25, 0.0, 0.0, 0.5]);
}

/// Central differences with h = 1e-5; errors on both sides of the Huber loss's corner.
#[test]
fn the_gradient_agrees_with_finite_differences() {
    let draws = streams().stream(1, Purpose::Test);
    let mut network = Mlp::<f64>::new(&[3, 6, 5, 4], Activation::Tanh, Init::FanIn, &draws);
    let inputs: Vec<f64> = (0..36).map(|i| 2.0 * draws.uniform(1000 + i) - 1.0).collect();
    let actions: Vec<u32> = (0..12).map(|i| draws.below(2000 + i, 4) as u32).collect();
    let targets: Vec<f64> = (0..12).map(|i| 6.0 * draws.uniform(3000 + i) - 3.0).collect();
    let (mut passes, mut output_gradient) = (Passes::default(), Vec::new());
    let loss = |network: &Mlp<f64>, output_gradient: &mut Vec<f64>, passes: &mut Passes<f64>| {
        td_loss(network.forward(&inputs, passes), &actions, &targets, output_gradient)
    };
    loss(&network, &mut output_gradient, &mut passes);
    let cut = output_gradient.iter().filter(|slope| slope.abs() == 1.0 / 12.0).count();
    assert!((2..=10).contains(&cut), "{cut} of 12 errors beyond the corner");
    let mut gradient = vec![0.0; network.parameters().len()];
    network.backward(&mut passes, &output_gradient, &mut gradient);
    for (k, &backward) in gradient.iter().enumerate() {
        let at = network.parameters()[k];
        let mut beside = |offset: f64| {
            network.parameters_mut()[k] = at + offset;
            loss(&network, &mut output_gradient, &mut passes)
        };
        let slope = (beside(1e-5) - beside(-1e-5)) / 2e-5;
        network.parameters_mut()[k] = at;
        assert!((slope - backward).abs() < 1e-8, "parameter {k}: {slope} against {backward}");
    }
}

/// Four gradient steps on one transition, as torch 2 computes them in double precision (`smooth_l1_loss`,
/// `clip_grad_norm_`, `Adam`): gradient norms 1.36, 1.21, 0.77 and 0.15 clipped at 0.4, the target network moved by a
/// quarter before the second and fourth step.
#[test]
fn four_steps_are_those_of_torch() {
    let settings = DqnSettings {
        learning_rate: 0.1,
        gamma: 0.9,
        learning_starts: 0,
        batch_size: 4,
        train_freq: 1,
        target_update_interval: 2,
        tau: 0.25,
        max_grad_norm: 0.4,
        hidden: vec![3],
        buffer_size: 1,
        updates_every: 1,
        ..DqnSettings::default()
    };
    let first = [-0.1, 0.6, 0.2, -0.2, 0.5, 0.1, -0.3, 0.4, 0.0, -0.4, 0.3, -0.1, 0.6, 0.2, -0.2, 0.5, 0.1];
    let network_before = Mlp::from_parameters(&[2, 3, 2], Activation::Relu, first.to_vec()).unwrap();
    let mut agent = Dqn::new(2, 2, settings, streams(), 0).with_policy(Policy::Q { network: network_before }).unwrap();
    for expected in [0.585, 0.316_509_588_2, 0.102_775_183_5, 0.003_111_317_7] {
        let update = agent.observe(transition(&[0.5, -1.0], 1, 0.9, Some(&[-1.5, 2.0]))).unwrap();
        let loss = update.value_loss.unwrap();
        assert!((loss - expected).abs() < 1e-6, "{loss} against {expected}");
        assert_eq!(update, Update { value_loss: Some(loss), ..Update::default() });
    }
    let last = [
        -0.1,
        0.992_980_9,
        0.2,
        -0.2,
        0.107_019_1,
        0.1,
        -0.3,
        0.792_980_9,
        0.0,
        -0.4,
        0.3,
        -0.1,
        0.986_936_8,
        0.2,
        -0.2,
        0.5,
        0.487_954_7,
    ];
    for (k, (&ours, torch)) in network(&agent).parameters().iter().zip(last).enumerate() {
        assert!((f64::from(ours) - torch).abs() < 2e-6, "parameter {k}: {ours} against {torch}");
    }
}

#[test]
fn exploration_falls_on_a_straight_line() {
    let settings = DqnSettings::default();
    // Random before learning_starts = 100, then 1 - 0.95·t/2400, from 2,400 on 0.05.
    for (decisions, epsilon) in [(0, 1.0), (99, 1.0), (120, 0.9525), (1200, 0.525), (2399, 0.05 + 0.95 / 2400.0)] {
        assert!((settings.exploration(decisions) - epsilon).abs() < 1e-12, "{decisions}");
    }
    assert_eq!((settings.exploration(2400), settings.exploration(1 << 40)), (0.05, 0.05));
    let at_once = DqnSettings { exploration_steps: 0, learning_starts: 0, ..settings };
    assert_eq!(at_once.exploration(0), 0.05);
}

/// Decisions, not transitions, move ε; the first uniform decides whether, the second what.
#[test]
fn it_explores_by_the_first_uniform_and_picks_by_the_second() {
    let settings =
        DqnSettings { learning_starts: 0, exploration_initial: 0.5, exploration_steps: 10, ..DqnSettings::default() };
    let mut agent = Dqn::new(2, 5, settings, streams(), 0);
    let seen = [0.3, -0.4];
    let q = values(&agent, &seen);
    let best = (0..5).fold(0, |best, a| if q[a] > q[best] { a } else { best });
    for decision in 0..20 {
        let epsilon = 0.05 + 0.045 * f64::from(10 - decision.min(10));
        // Beside the threshold, alternately on either side.
        let explores = decision % 2 == 0;
        let wanted = decision as u32 % 5;
        let first = if explores { epsilon - 1e-9 } else { epsilon + 1e-9 };
        let choice = agent.choose(&seen, [first, (f64::from(wanted) + 0.5) / 5.0]);
        let action = if explores { wanted } else { best as u32 };
        assert_eq!(choice, Choice { action, log_prob: None, value: Some(q[best]) }, "decision {decision}");
    }
}

/// Random decisions take every action alike: χ² of 10,000 over 7, 99.9 % point of 6 degrees of freedom 22.46.
#[test]
fn exploring_takes_all_actions_alike() {
    let settings = DqnSettings { learning_starts: 20_000, ..DqnSettings::default() };
    let mut agent = Dqn::new(1, 7, settings, streams(), 0);
    let draws = streams().stream(2, Purpose::Test);
    let mut counts = [0u32; 7];
    for k in 0..10_000 {
        counts[agent.choose(&[0.1], draws.uniform_pair(k)).action as usize] += 1;
    }
    let mean = 10_000.0 / 7.0;
    let chi2: f64 = counts.iter().map(|&count| (f64::from(count) - mean).powi(2) / mean).sum();
    assert!(chi2 < 22.46, "chi2 = {chi2}");
}

/// It trains at multiples of `train_freq` beyond `learning_starts`, and says so beforehand; rows come at multiples of
/// `updates_every` if there was a training.
#[test]
fn it_trains_when_it_said_it_would() {
    for (train_freq, learning_starts, first) in [(4, 100, 104), (3, 7, 9), (1, 0, 1), (5, 5, 10), (10, 3, 10)] {
        let settings =
            DqnSettings { train_freq, learning_starts, updates_every: 6, hidden: vec![4], ..DqnSettings::default() };
        let mut agent = Dqn::new(1, 2, settings, streams(), 0);
        let (mut trained, mut trained_since) = (Vec::new(), false);
        for step in 1..=120_usize {
            let wanted = agent.wanted();
            let before = network(&agent).clone();
            let update = agent.observe(transition(&[1.0], 0, step as f64, None));
            let changed = *network(&agent) != before;
            assert_eq!(changed, wanted == 1, "step {step}");
            if changed {
                trained.push(step);
            } else {
                assert_eq!(agent.wanted(), wanted - 1);
            }
            trained_since |= changed;
            assert_eq!(update.is_some(), step % 6 == 0 && trained_since, "step {step}");
            trained_since &= update.is_none();
        }
        let expected: Vec<usize> = (first..=120).step_by(train_freq as usize).collect();
        assert_eq!(trained, expected);
    }
}

/// One state, one action, reward 1, never terminal: with the target network fixed at Q⁻ the value goes to 1 + γ·Q⁻;
/// after a copy to 1 + γ·(1 + γ·Q⁻), and so on, to 1/(1 - γ) = 2. A terminal transition is worth its reward.
#[test]
fn values_bootstrap_from_the_target_network_and_end_with_the_episode() {
    let settings = DqnSettings {
        learning_rate: 1e-2,
        gamma: 0.5,
        learning_starts: 0,
        train_freq: 1,
        target_update_interval: 300,
        hidden: vec![8],
        ..DqnSettings::default()
    };
    let mut agent = Dqn::new(1, 1, settings, streams(), 0);
    let mut target = values(&agent, &[1.0])[0];
    for period in 0..4 {
        for _ in 0..if period == 0 { 299 } else { 300 } {
            agent.observe(transition(&[1.0], 0, 1.0, Some(&[1.0])));
        }
        let value = values(&agent, &[1.0])[0];
        assert!((value - (1.0 + 0.5 * target)).abs() < 2e-3, "{value} in period {period} against a target of {target}");
        target = value;
    }
    let settings = DqnSettings { target_update_interval: 1, ..agent.settings.clone() };
    let mut agent = Dqn::new(1, 1, settings, streams(), 0);
    for _ in 0..600 {
        agent.observe(transition(&[1.0], 0, 1.0, None));
    }
    assert!((values(&agent, &[1.0])[0] - 1.0).abs() < 2e-3);
}

fn quick() -> DqnSettings {
    DqnSettings {
        learning_rate: 1e-3,
        target_update_interval: 250,
        exploration_steps: 3000,
        exploration_final: 0.1,
        train_freq: 2,
        ..DqnSettings::default()
    }
}

#[test]
fn a_bandit_is_solved() {
    let arms = vec![0.1, -0.5, 0.8, 0.7];
    let mut agent = Dqn::new(1, 4, quick(), streams(), 0);
    learn(&mut agent, &mut Bandit { arms: arms.clone() }, 5000, 1);
    for (value, reward) in values(&agent, &[1.0]).into_iter().zip(&arms) {
        assert!((value - reward).abs() < 0.02, "{value} against {reward}");
    }
    assert_eq!(agent.policy().best(&[1.0], &mut PolicyScratch::default()).action, 2);
}

/// The best action in every state, and values within 0.01 of those of value iteration.
#[test]
fn a_chain_with_a_bait_is_solved() {
    let mut agent = Dqn::new(Chain::STATES - 1, 2, DqnSettings { gamma: 0.9, ..quick() }, streams(), 0);
    let mut world = Chain::new(3);
    world.reset();
    let updates = learn(&mut agent, &mut world, 20_000, 2);
    assert_eq!(updates.len(), 50);
    let best = |state: usize| {
        let q = values(&agent, &Chain::observation(state));
        if q[1] > q[0] { (1, q[1]) } else { (0, q[0]) }
    };
    let optimal = Chain::optimal_values(0.9);
    let earned = Chain::policy_values(0.9, |state| best(state).0);
    for state in 0..Chain::STATES - 1 {
        assert!((earned[state] - optimal[state]).abs() < 1e-9, "state {state} earns {}", earned[state]);
        let value = best(state).1;
        assert!((value - optimal[state]).abs() < 0.01, "state {state}: {value} against {}", optimal[state]);
    }
}

#[test]
fn the_same_experience_gives_the_same_bits() {
    let run = |entity: u32| {
        let mut agent = Dqn::new(Chain::STATES - 1, 2, quick(), streams(), entity);
        let updates = learn(&mut agent, &mut Chain::new(3), 2000, 2);
        (updates, agent.policy().clone())
    };
    assert_eq!(run(0), run(0));
    assert_ne!(run(0), run(1));
}

/// A reward, an observation or a step that blows up ends the learning, not the deciding.
#[test]
fn divergence_leaves_the_last_finite_parameters_and_ends_the_learning() {
    let settings = DqnSettings { learning_starts: 10, train_freq: 1, buffer_size: 20, ..DqnSettings::default() };
    let wild = DqnSettings { learning_rate: 1e38, max_grad_norm: 1e30, ..settings.clone() };
    for (settings, observation, reward) in [
        (settings.clone(), [1.0], f64::INFINITY),
        (settings.clone(), [1.0], f64::NAN),
        (settings, [f32::NAN], 1.0),
        (wild, [1.0], 1.0),
    ] {
        let mut agent = Dqn::new(1, 3, settings, streams(), 0);
        let mut last = None;
        let mut before = agent.policy().clone();
        for _ in 0..200 {
            before = agent.policy().clone();
            last = agent.observe(transition(&observation, 0, reward, None));
            if last.is_some() {
                break;
            }
        }
        assert_eq!(last, Some(Update { diverged: true, ..Update::default() }));
        assert_eq!(*agent.policy(), before);
        assert!(agent.policy().is_finite());
        assert_eq!(agent.wanted(), usize::MAX);
        assert_eq!(agent.observe(transition(&[1.0], 0, 1.0, None)), None);
        assert_eq!(*agent.policy(), before);
        let choice = agent.choose(&[0.5], [0.99, 0.5]);
        assert!(choice.action < 3 && choice.value.is_some_and(f64::is_finite));
    }
}

#[test]
fn only_a_policy_of_its_shape_is_taken() {
    let agent = || Dqn::new(2, 3, DqnSettings { hidden: vec![4], ..DqnSettings::default() }, streams(), 0);
    let weights = streams().stream(5, Purpose::Test);
    let q = |sizes: &[usize], activation| Policy::Q { network: Mlp::new(sizes, activation, Init::FanIn, &weights) };
    let right = q(&[2, 4, 3], Activation::Relu);
    let taken = agent().with_policy(right.clone()).unwrap();
    assert_eq!((*taken.policy() == right, taken.target == *network(&taken)), (true, true));
    for wrong in [
        q(&[1, 4, 3], Activation::Relu),
        q(&[2, 4, 2], Activation::Relu),
        q(&[2, 5, 3], Activation::Relu),
        q(&[2, 4, 4, 3], Activation::Relu),
        q(&[2, 4, 3], Activation::Tanh),
    ] {
        assert!(agent().with_policy(wrong).is_none());
    }
    let actor = Mlp::new(&[2, 4, 3], Activation::Relu, Init::FanIn, &weights);
    assert!(agent().with_policy(Policy::ActorCritic { critic: actor.clone(), actor }).is_none());
}

#[test]
fn settings_read_as_they_write() {
    let settings: DqnSettings = toml::from_str("tau = 0.5\nactivation = \"tanh\"").unwrap();
    assert_eq!(settings, DqnSettings { tau: 0.5, activation: Activation::Tanh, ..DqnSettings::default() });
    assert!(toml::from_str::<DqnSettings>("tua = 0.5").is_err());
}

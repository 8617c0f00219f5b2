use super::*;

/// Noisy rows of a smooth surface on [-√3, √3]^columns (inputs of variance 1): inputs, targets, and what the targets
/// would be without noise.
struct Sample {
    inputs: Vec<f32>,
    targets: Vec<f32>,
    truth: Vec<f32>,
}

fn sample(count: u64, columns: usize, noise: f64, entity: u32, surface: fn(&[f64]) -> f64) -> Sample {
    let stream = Streams::new(11, 0).stream(entity, Purpose::Test);
    let mut made = Sample { inputs: Vec::new(), targets: Vec::new(), truth: Vec::new() };
    for row in 0..count {
        let draws = stream.starting_at(row * 8);
        let x: Vec<f64> = (0..columns as u64).map(|k| (2.0 * draws.uniform(k) - 1.0) * 3f64.sqrt()).collect();
        let y = surface(&x);
        made.inputs.extend(x.iter().map(|&x| x as f32));
        made.truth.push(y as f32);
        made.targets.push((y + noise * draws.normal_pair(7)[0]) as f32);
    }
    made
}

/// A ridge, a saddle and a saturating slope, of variance about 1.
fn surface(x: &[f64]) -> f64 {
    (1.5 * x[0]).sin() * 0.8 + 0.4 * x[0] * x[1] + (x[2] - x[1]).tanh() * 0.7
}

fn every(nth: usize, rows: usize) -> Vec<bool> {
    (0..rows).map(|row| row % nth == 0).collect()
}

fn run(data: &Sample, columns: usize, settings: &RegressionSettings, entity: u32) -> (Fitted, Vec<f64>) {
    let mut seen = Vec::new();
    let held_out = every(10, data.targets.len());
    let fitted = fit(
        &data.inputs,
        columns,
        &data.targets,
        &held_out,
        settings,
        Streams::new(5, 0),
        entity,
        &mut |epoch, mse| {
            seen.push(mse);
            assert_eq!(epoch as usize, seen.len());
            ControlFlow::Continue(())
        },
    );
    (fitted.unwrap(), seen)
}

fn mse(network: &Mlp<f32>, inputs: &[f32], targets: &[f32]) -> f64 {
    let mut passes = Passes::default();
    let outputs = network.forward(inputs, &mut passes);
    outputs.iter().zip(targets).map(|(&a, &b)| f64::from(a - b).powi(2)).sum::<f64>() / targets.len() as f64
}

fn small() -> RegressionSettings {
    RegressionSettings { hidden: vec![32, 32], epochs: 40, patience: 4, ..RegressionSettings::default() }
}

#[test]
fn a_noisy_surface_is_recovered_to_a_few_percent_of_the_noise() {
    let noise = 0.5;
    let data = sample(8000, 3, noise, 0, surface);
    let settings = RegressionSettings { hidden: vec![64, 64], ..RegressionSettings::default() };
    let (fitted, _) = run(&data, 3, &settings, 0);
    let fresh = sample(20_000, 3, noise, 1, surface);
    let floor = noise * noise;
    let excess = mse(&fitted.network, &fresh.inputs, &fresh.truth) / floor;
    let noisy = mse(&fitted.network, &fresh.inputs, &fresh.targets) / floor;
    assert!(excess < 0.05, "excess = {excess} of the noise variance");
    assert!((noisy - 1.0).abs() < 0.1, "noisy = {noisy} of the noise variance");
    assert!((fitted.validation_mse / floor - 1.0).abs() < 0.15, "800 held-out rows: {}", fitted.validation_mse / floor);
}

#[test]
fn a_plane_without_noise_is_fitted_closely() {
    let data = sample(1000, 2, 0.0, 2, |x| 0.7 * x[0] - 0.5 * x[1] + 0.25);
    let (fitted, _) = run(&data, 2, &RegressionSettings { hidden: vec![32, 32], ..RegressionSettings::default() }, 0);
    let fresh = sample(5000, 2, 0.0, 3, |x| 0.7 * x[0] - 0.5 * x[1] + 0.25);
    let error = mse(&fitted.network, &fresh.inputs, &fresh.truth);
    assert!(error < 1e-4, "mse = {error}");
}

#[test]
fn loss_and_gradient_are_those_of_the_mean_square() {
    let mut gradient = Vec::new();
    assert_eq!(squared_error(&[1.0, 3.0], &[0.0, 1.0], &mut gradient), 2.5);
    assert_eq!(gradient, [1.0, 2.0]);
}

/// Central differences with h = 1e-5: the error is of order h² and 1e-16/h.
#[test]
fn the_gradient_agrees_with_finite_differences() {
    let data = sample(9, 2, 0.3, 4, |x| x[0] * x[1]);
    let inputs: Vec<f64> = data.inputs.iter().map(|&x| f64::from(x)).collect();
    let targets: Vec<f64> = data.targets.iter().map(|&y| f64::from(y)).collect();
    let weights = Streams::new(5, 0).stream(0, Purpose::Test);
    let mut network = Mlp::<f64>::new(&[2, 5, 4, 1], Activation::Tanh, Init::FanIn, &weights);
    let (mut passes, mut output_gradient) = (Passes::default(), Vec::new());
    let loss = |network: &Mlp<f64>, output_gradient: &mut Vec<f64>, passes: &mut Passes<f64>| {
        squared_error(network.forward(&inputs, passes), &targets, output_gradient)
    };
    loss(&network, &mut output_gradient, &mut passes);
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

#[test]
fn the_same_fit_has_the_same_bits() {
    let data = sample(300, 3, 0.3, 5, surface);
    let (first, again, other) = (run(&data, 3, &small(), 0), run(&data, 3, &small(), 0), run(&data, 3, &small(), 1));
    assert_eq!(first, again);
    assert_ne!(first.0.network, other.0.network);
}

/// Replays the rule on the held-out errors that were seen.
#[test]
fn training_ends_by_its_rule_and_keeps_the_best_epoch() {
    // Little but noise: what comes after the first few epochs fits noise.
    let data = sample(300, 3, 1.0, 6, |x| 0.5 * x[0]);
    let settings = RegressionSettings { epochs: 5000, ..small() };
    let (fitted, seen) = run(&data, 3, &settings, 0);
    let (mut best, mut stalled, mut falls, mut end) = (f64::INFINITY, 0, 0, 0);
    for (index, &mse) in seen.iter().enumerate() {
        assert_eq!(end, 0, "training went on");
        stalled = if mse < best { 0 } else { stalled + 1 };
        best = best.min(mse);
        if stalled == settings.patience {
            (stalled, falls) = (0, falls + 1);
            if falls == 3 {
                end = index + 1;
            }
        }
    }
    assert_eq!((end, fitted.epochs as usize), (seen.len(), seen.len()));
    assert!(seen.len() < 200, "{} epochs", seen.len());
    assert_eq!(fitted.validation_mse, best);
    assert_eq!(seen[fitted.best_epoch as usize - 1], best);
    let rows = |held_out: bool| (0..300).filter(move |row| (row % 10 == 0) == held_out);
    let of = |held_out: bool| {
        let inputs: Vec<f32> = rows(held_out).flat_map(|row| data.inputs[3 * row..3 * row + 3].to_vec()).collect();
        let targets: Vec<f32> = rows(held_out).map(|row| data.targets[row]).collect();
        mse(&fitted.network, &inputs, &targets)
    };
    assert!((of(true) - fitted.validation_mse).abs() < 1e-6);
    assert!((of(false) - fitted.training_mse).abs() < 1e-6);
}

#[test]
fn held_out_rows_move_no_parameter() {
    let data = sample(300, 3, 0.3, 7, surface);
    let settings = RegressionSettings { epochs: 1, ..small() };
    let mut changed = Sample { inputs: data.inputs.clone(), targets: data.targets.clone(), truth: Vec::new() };
    for row in (0..300).step_by(10) {
        changed.targets[row] += 0.01;
    }
    let (one, other) = (run(&data, 3, &settings, 0).0, run(&changed, 3, &settings, 0).0);
    assert_eq!((one.best_epoch, other.best_epoch), (1, 1));
    assert_eq!(one.network, other.network);
    assert_ne!(one.validation_mse, other.validation_mse);
}

#[test]
fn the_watcher_can_end_it() {
    let data = sample(300, 3, 0.3, 8, surface);
    let held_out = every(10, 300);
    let mut stop = |epoch: u32, _: f64| if epoch == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let fitted = fit(&data.inputs, 3, &data.targets, &held_out, &small(), Streams::new(5, 0), 0, &mut stop).unwrap();
    let (full, _) = run(&data, 3, &RegressionSettings { epochs: 3, ..small() }, 0);
    assert_eq!(fitted.epochs, 3);
    assert_eq!(fitted, full);
}

/// Without hidden structure there is an exact answer: weight decay pulls the weights below those of the plain fit.
#[test]
fn weight_decay_shrinks_the_weights() {
    let data = sample(300, 3, 0.3, 9, surface);
    let norm = |weight_decay: f64| {
        let settings = RegressionSettings { weight_decay, ..small() };
        let (fitted, _) = run(&data, 3, &settings, 0);
        fitted.network.parameters().iter().map(|&p| f64::from(p).powi(2)).sum::<f64>()
    };
    assert!(norm(1.0) < 0.95 * norm(0.0));
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let refuse = |inputs: &[f32], columns: usize, targets: &[f32], marks: &[bool], learning_rate: f64| {
        let settings = RegressionSettings { learning_rate, ..small() };
        let mut on = |_: u32, _: f64| ControlFlow::Continue(());
        fit(inputs, columns, targets, marks, &settings, Streams::new(5, 0), 0, &mut on).unwrap_err()
    };
    let (nan, marks) = (f32::NAN, [false, true]);
    let lengths = RegressionError::Lengths { inputs: 4, columns: 3, targets: 2, validation: 2 };
    assert_eq!(refuse(&[0.0; 4], 3, &[0.0; 2], &marks, 1e-3), lengths);
    let lengths = RegressionError::Lengths { inputs: 0, columns: 0, targets: 2, validation: 2 };
    assert_eq!(refuse(&[], 0, &[0.0; 2], &marks, 1e-3), lengths);
    let lengths = RegressionError::Lengths { inputs: 4, columns: 2, targets: 2, validation: 1 };
    assert_eq!(refuse(&[0.0; 4], 2, &[0.0; 2], &[true], 1e-3), lengths);
    let rows = |training, held_out| RegressionError::TooFewRows { training, held_out };
    assert_eq!(refuse(&[], 2, &[], &[], 1e-3), rows(0, 0));
    assert_eq!(refuse(&[0.0; 2], 2, &[0.0], &[true], 1e-3), rows(0, 1));
    assert_eq!(refuse(&[0.0; 4], 2, &[0.0; 2], &[false, false], 1e-3), rows(2, 0));
    let found = refuse(&[0.0, 0.0, 0.0, nan], 2, &[0.0; 2], &marks, 1e-3);
    assert!(matches!(found, RegressionError::Input { row: 1, column: 1, value } if value.is_nan()), "{found:?}");
    let infinite = RegressionError::Target { row: 0, value: f32::INFINITY };
    assert_eq!(refuse(&[0.0; 4], 2, &[f32::INFINITY, 0.0], &marks, 1e-3), infinite);
    let found = refuse(&[1e30; 4], 2, &[1e30; 2], &marks, 1e-3);
    assert!(matches!(found, RegressionError::Diverged { epoch: 1, .. }), "{found:?}");
    let found = refuse(&[1.0, 2.0, 3.0, 4.0], 2, &[1.0, 2.0], &marks, 1e30);
    assert!(matches!(found, RegressionError::Diverged { epoch: 1 | 2, .. }), "{found:?}");
    assert!(found.to_string().contains("learning_rate"), "{found}");
}

use super::*;
use crate::kernel::{Purpose, Streams};

fn stream(entity: u32) -> Stream {
    Streams::new(9, 0).stream(entity, Purpose::Test)
}

/// Standard normals.
fn normals(entity: u32, count: usize) -> Vec<f64> {
    (0..count as u64).flat_map(|i| stream(entity).normal_pair(i)).take(count).collect()
}

/// Outputs by the definition, one multiplication after the other.
fn slow_forward(network: &Mlp<f64>, inputs: &[f64]) -> Vec<f64> {
    let mut outputs = Vec::new();
    for sample in inputs.chunks_exact(network.sizes()[0]) {
        let mut x = sample.to_vec();
        let layers = network.layers();
        for (l, (w, b)) in layers.iter().enumerate() {
            let z: Vec<f64> =
                (0..b.len()).map(|o| b[o] + (0..x.len()).map(|i| w[o + i * b.len()] * x[i]).sum::<f64>()).collect();
            x = if l + 1 == layers.len() {
                z
            } else {
                z.into_iter()
                    .map(|z| if network.activation() == Activation::Tanh { z.tanh() } else { z.max(0.0) })
                    .collect()
            };
        }
        outputs.extend(x);
    }
    outputs
}

/// Networks whose layers take every way through a product: wide and narrow inputs, outputs and batches.
const SHAPES: [&[usize]; 8] =
    [&[2, 7, 3], &[3, 16, 16, 3], &[1, 1], &[12, 9], &[9, 4, 9, 1], &[2, 40, 24, 1], &[8, 3, 3, 8], &[4, 70, 6]];

/// Random weights and biases, none of them 0.
fn network(sizes: &[usize], activation: Activation) -> Mlp<f64> {
    let mut network = Mlp::new(sizes, activation, Init::FanIn, &stream(1));
    for (x, more) in network.parameters_mut().iter_mut().zip(normals(2, 100_000)) {
        *x += 0.1 * more;
    }
    network
}

#[test]
fn outputs_follow_the_definition() {
    for sizes in SHAPES {
        for activation in [Activation::Tanh, Activation::Relu] {
            let network = network(sizes, activation);
            let mut passes = Passes::default();
            for samples in [1, 4, 17, 0] {
                let inputs = normals(3, samples * sizes[0]);
                let got = network.forward(&inputs, &mut passes);
                let expected = slow_forward(&network, &inputs);
                assert_eq!(got.len(), expected.len());
                for (got, expected) in got.iter().zip(&expected) {
                    assert!((got - expected).abs() < 1e-12, "{sizes:?}, {samples}: {got} {expected}");
                }
            }
        }
    }
}

/// Loss Σ c·y with random c, against central differences.
#[test]
fn gradients_agree_with_finite_differences() {
    for sizes in SHAPES {
        for activation in [Activation::Tanh, Activation::Relu] {
            for samples in [1, 4, 17] {
                let mut network = network(sizes, activation);
                let inputs = normals(3, samples * sizes[0]);
                let c = normals(4, samples * sizes[sizes.len() - 1]);
                let loss = |network: &Mlp<f64>| {
                    let y = slow_forward(network, &inputs);
                    y.iter().zip(&c).map(|(y, c)| y * c).sum::<f64>()
                };
                let mut passes = Passes::default();
                network.forward(&inputs, &mut passes);
                // Gradients are added to what is there.
                let mut gradient = vec![1.0; network.parameters().len()];
                network.backward(&mut passes, &c, &mut gradient);
                let scale = gradient.iter().fold(0.0_f64, |most, g| most.max((g - 1.0).abs()));
                for (i, gradient) in gradient.into_iter().enumerate() {
                    let at = network.parameters()[i];
                    let h = 1e-6;
                    let mut moved = |by: f64| {
                        network.parameters_mut()[i] = at + by;
                        let loss = loss(&network);
                        network.parameters_mut()[i] = at;
                        loss
                    };
                    let difference = (moved(h) - moved(-h)) / (2.0 * h);
                    let error = (gradient - 1.0 - difference).abs();
                    assert!(error < 1e-6 * scale.max(1e-3), "{sizes:?} {activation:?} {samples} {i}: {error:e}");
                }
            }
        }
    }
}

#[test]
fn single_precision_follows_the_double() {
    let sizes = [3, 64, 64, 3];
    let double = network(&sizes, Activation::Tanh);
    let parameters = double.parameters().iter().map(|&x| x as f32).collect();
    let single = Mlp::from_parameters(&sizes, Activation::Tanh, parameters).unwrap();
    for samples in [1, 100] {
        let inputs = normals(5, 3 * samples);
        let c = normals(6, 3 * samples);
        let (inputs32, c32): (Vec<f32>, Vec<f32>) =
            (inputs.iter().map(|&x| x as f32).collect(), c.iter().map(|&x| x as f32).collect());
        let (mut passes, mut passes32) = (Passes::default(), Passes::default());
        let y = double.forward(&inputs, &mut passes).to_vec();
        let y32 = single.forward(&inputs32, &mut passes32).to_vec();
        assert!(y.iter().zip(&y32).all(|(a, &b)| (a - f64::from(b)).abs() < 2e-6));
        let (mut g, mut g32) = (vec![0.0; double.parameters().len()], vec![0.0; double.parameters().len()]);
        double.backward(&mut passes, &c, &mut g);
        single.backward(&mut passes32, &c32, &mut g32);
        assert!(g.iter().zip(&g32).all(|(a, &b)| (a - f64::from(b)).abs() < 2e-5));
    }
}

#[test]
fn parameters_are_checked_and_laid_out_by_layer() {
    let sizes = [2, 3, 1];
    assert!(Mlp::from_parameters(&sizes, Activation::Relu, vec![0.0; 12]).is_none());
    assert!(Mlp::from_parameters(&[2], Activation::Relu, Vec::<f32>::new()).is_none());
    assert!(Mlp::from_parameters(&[2, 0, 1], Activation::Relu, vec![0.0_f32]).is_none());
    let network = Mlp::from_parameters(&sizes, Activation::Relu, (0..13).map(|i| i as f32).collect()).unwrap();
    let layers = network.layers();
    assert_eq!(layers[0], (&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0][..], &[6.0, 7.0, 8.0][..]));
    assert_eq!(layers[1], (&[9.0, 10.0, 11.0][..], &[12.0][..]));
    // Hidden: 6 + 1·0 + 2·3, 7 + 1 + 2·4, 8 + 2 + 2·5; the samples apart.
    let mut passes = Passes::default();
    assert_eq!(
        network.forward(&[1.0, 2.0, 0.0, 0.0], &mut passes),
        [9.0 * 12.0 + 10.0 * 16.0 + 11.0 * 20.0 + 12.0, 9.0 * 6.0 + 10.0 * 7.0 + 11.0 * 8.0 + 12.0]
    );
}

#[test]
fn layers_and_entities_draw_apart() {
    let a: Mlp<f32> = Mlp::new(&[4, 4, 4], Activation::Tanh, Init::FanIn, &stream(1));
    let b: Mlp<f32> = Mlp::new(&[4, 4, 4], Activation::Tanh, Init::FanIn, &stream(1));
    let c: Mlp<f32> = Mlp::new(&[4, 4, 4], Activation::Tanh, Init::FanIn, &stream(2));
    assert_eq!(a, b);
    let layers = a.layers();
    assert!(layers[0].0.iter().all(|w| !layers[1].0.contains(w)));
    assert!(a.parameters().iter().zip(c.parameters()).all(|(a, c)| a != c));
}

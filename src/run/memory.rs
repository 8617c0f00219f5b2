//! Memory: the layers of a split, and the keys and values of the longest request, fit into the UE.

use crate::llm::{Geometry, layer_kv_bytes, scale_split};
use crate::network::costs::KV_BYTES_PER_VALUE;
use crate::network::ports::ServiceMode;
use crate::network::spec::{InitialSplit, NetworkSpec};
use crate::run::checks::lengths;
use crate::run::inputs::Inputs;
use crate::run::wording::counted;
use crate::scenario::Problem;
use crate::scenario::schema::Scenario;
use crate::scenario::values::SplitMax;

/// Geometry and layers of the model that generates tokens on the UE, if one does.
fn model_on_ue(network: &NetworkSpec) -> Option<(Geometry, usize)> {
    let collaboration = network.collaboration.as_ref()?;
    let small = &collaboration.device.geometry;
    match network.mode {
        ServiceMode::Split | ServiceMode::EdgeOnly => None,
        ServiceMode::EarlyExit => {
            let large = &network.cost.geometry;
            let exit = scale_split(collaboration.exit_layer as usize, network.model_layers as usize, large.layers);
            Some((large.clone(), exit))
        }
        _ => Some((small.clone(), small.layers)),
    }
}

/// Why a model on the UE, with its head and the keys and values of the longest request, doesn't fit into its memory.
fn collaborative(
    on_ue: Option<&(Geometry, usize)>,
    memory: f64,
    per_parameter: f64,
    longest: u64,
    about: &dyn Fn(usize, f64) -> String,
) -> Option<String> {
    let (geometry, layers) = on_ue?;
    let layer =
        geometry.layer_parameters() * per_parameter + layer_kv_bytes(geometry, longest as usize, KV_BYTES_PER_VALUE);
    let all = *layers as f64 * layer + geometry.head_parameters() * per_parameter;
    (all > memory).then(|| format!("the UE's model doesn't fit: with its head {}", about(*layers, all)))
}

/// Bounds each group's split by its memory: `layers · (parameters · bytes_per_parameter + keys and
/// values of one request)` of the layers that are paid for is at most `memory_gb`.
///
/// A largest split of "all" is cut, with a warning; one that is given, the least and the initial
/// split are errors if they don't fit, and so is a model that runs on the device alone.
pub fn fit_memory(scenario: &Scenario, inputs: &Inputs, network: &mut NetworkSpec, problems: &mut Vec<Problem>) {
    let geometry = network.cost.geometry.clone();
    let sentence = inputs.corpus.as_ref().map_or(0, |corpus| corpus.longest_window(0) as u64);
    let (min, max, mode) = (network.split.min, network.split.max, network.mode);
    let largest_initial = match network.split.initial {
        InitialSplit::Constant(split) => split,
        InitialSplit::Drawn { max, .. } => max,
    };
    let model_layers = network.model_layers;
    let network_of_ue = model_on_ue(network);
    for (index, group) in network.groups.iter_mut().enumerate() {
        group.max_split = max;
        let Some(memory) = group.processor.memory_bytes.filter(|_| mode != ServiceMode::EdgeOnly) else { continue };
        let context = |(prompt, output): (u32, u32)| {
            let prompt = if sentence > 0 { sentence } else { u64::from(prompt) };
            prompt + u64::from(output.saturating_sub(1))
        };
        let longest = lengths(&group.workload).into_iter().map(context).max().unwrap_or(0);
        let per_parameter = group.processor.bytes_per_parameter;
        let layer = geometry.layer_parameters() * per_parameter
            + layer_kv_bytes(&geometry, longest as usize, KV_BYTES_PER_VALUE);
        let device = &scenario.ue[index].device;
        let gb = |bytes: f64| format!("{:.3} GB", bytes / 1e9);
        let about = |layers: usize, bytes: f64| {
            format!(
                "{} take {}, and {device:?} of group {:?} has {}",
                counted(layers, "layer"),
                gb(bytes),
                group.name,
                gb(memory)
            )
        };
        let hint =
            "set memory_gb, or bytes_per_parameter, of a [[device]] of your own, or take a smaller model.cost_as";
        if let Some(message) = collaborative(network_of_ue.as_ref(), memory, per_parameter, longest, &about) {
            let hint = hint.replace("model.cost_as", "collaboration.device_cost_as");
            problems.push(Problem::error(format!("ue[{index}].device"), message).with_hint(hint));
        }
        if network_of_ue.is_some() {
            continue;
        }
        if mode == ServiceMode::DeviceOnly {
            let all = geometry.layers as f64 * layer + geometry.head_parameters() * per_parameter;
            if all > memory {
                let message = format!("the model doesn't fit: with its head {}", about(geometry.layers, all));
                problems.push(Problem::error(format!("ue[{index}].device"), message).with_hint(hint));
            }
            continue;
        }
        let layers_of = |split: u32| scale_split(split as usize, model_layers as usize, geometry.layers);
        let bytes_of = |split: u32| layers_of(split) as f64 * layer;
        // None: not even the least split.
        let fits = (min..=max).rev().find(|&split| bytes_of(split) <= memory);
        let allowed = || fits.map_or_else(|| "nothing".to_owned(), |fits| format!("{min} to {fits}"));
        let refuse = |key: &str, split: u32| {
            let message = format!("this split doesn't fit: {}", about(layers_of(split), bytes_of(split)));
            Problem::error(key, message).with_value(split).with_allowed(allowed()).with_hint(hint)
        };
        let Some(fits) = fits else {
            problems.push(refuse("split.min", min));
            continue;
        };
        if fits < max {
            match scenario.split.max {
                SplitMax::Layer(given) => problems.push(refuse("split.max", given.min(max))),
                SplitMax::All => problems.push(
                    Problem::warning(
                        "split.max",
                        format!(
                            "\"all\" is {fits} for group {:?}: {}",
                            group.name,
                            about(layers_of(max), bytes_of(max))
                        ),
                    )
                    .with_hint(format!("set split.max = {fits} to say so, or memory_gb of a [[device]] of your own")),
                ),
            }
        }
        if fits < largest_initial && largest_initial <= max {
            problems.push(refuse("split.initial", largest_initial));
        }
        group.max_split = fits;
    }
    if mode == ServiceMode::Split {
        // What no UE can reach is no choice.
        network.split.max = network.groups.iter().map(|group| group.max_split).max().unwrap_or(max);
    }
}

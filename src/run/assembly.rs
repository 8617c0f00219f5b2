//! From a scenario and its inputs to a network: SI units, references resolved,
//! and what only the inputs can tell about the scenario.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::channel::{
    Codec, DEFAULT_RAYLEIGH_SCALE, FadingModel, Parameter, Reception, digital_gain_threshold, digital_snr_needed,
};
use crate::control::{
    CorpusPrompts, Fit, Input, LengthPrompts, LlmQuality, NoQuality, RewardFunction, SurrogateQuality, SurrogateRow,
    Switching, SwitchingQuality, TableQuality, Target, train,
};
use crate::kernel::Streams;
use crate::network::compute::Processor;
use crate::network::ports::{Prompts, QualitySource, ServiceMode};
use crate::network::spec::{
    ChannelSpec, ControllerSpec, DecodeSpec, Delivery, Discipline, DownlinkSpec, EdgeSpec, GroupSpec, InitialSplit,
    NetworkSpec, OutageSpec, ServiceLaw, SplitSpec,
};
use crate::radio::{Harq, LinkMode, UplinkSpec, sleep_power_w, transmit_power_w};
use crate::rl::RegressionSettings;
use crate::run::cellular;
use crate::run::checks::check_inputs;
use crate::run::collaboration;
use crate::run::fading::fading;
use crate::run::inputs::{Inputs, Library};
use crate::run::memory::fit_memory;
use crate::run::wording::counted;
use crate::run::workloads::workload;
use crate::scenario::air::{ChannelTable, DeliveryName, HarqTable, SharingKind};
use crate::scenario::device_table::DeviceTable;
use crate::scenario::nodes::{DisciplineName, ServiceLawName, UeTable};
use crate::scenario::schema::{
    ControllerScope, ControllerTable, QualitySourceName, RewardKind, Scenario, ServiceModeName,
};
use crate::scenario::values::{Count, NumberOr, SplitMax, Varying};
use crate::scenario::{BadScenario, LoadedScenario, Problem, Source, devices};
use crate::units::{SimTime, ratio_from_db};

/// Rewards of an epoch where nobody learns: \[Chen25\]'s rollout.
const DEFAULT_EPOCH: u64 = 400;

/// A scenario, ready to run any number of times.
#[derive(Clone)]
pub struct Assembly {
    /// The scenario.
    pub scenario: Scenario,
    /// Its inputs.
    pub inputs: Inputs,
    /// Its network.
    pub network: NetworkSpec,
    /// Its reward.
    pub reward: RewardFunction,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Problem>,
    /// The texts that warnings point into.
    pub sources: Vec<Source>,
}

impl Assembly {
    /// Builds the network of a checked scenario.
    ///
    /// # Errors
    /// Every conflict between the scenario and its inputs.
    pub fn new(scenario: &Scenario, inputs: Inputs) -> Result<Self, Vec<Problem>> {
        let reward = reward(scenario);
        let mut problems = Vec::new();
        let network = network(scenario, &inputs, &mut problems);
        check_inputs(scenario, &inputs, &network, &mut problems);
        if problems.iter().any(Problem::is_error) {
            return Err(problems);
        }
        Ok(Self { scenario: scenario.clone(), inputs, network, reward, warnings: problems, sources: Vec::new() })
    }

    /// The quality source of one run; raise `stop` to end it early.
    pub fn quality(
        &self,
        streams: Streams,
        pool: &Arc<rayon::ThreadPool>,
        stop: &Arc<AtomicBool>,
    ) -> Box<dyn QualitySource> {
        self.quality_of(self.scenario.quality.source, streams, pool, stop)
    }

    /// A quality source of the scenario's inputs.
    pub fn quality_of(
        &self,
        source: QualitySourceName,
        streams: Streams,
        pool: &Arc<rayon::ThreadPool>,
        stop: &Arc<AtomicBool>,
    ) -> Box<dyn QualitySource> {
        let model = &self.inputs.model;
        let true_source = |source| self.quality_of(source, streams, pool, stop);
        match (source, &self.inputs.corpus, &self.inputs.table, &self.inputs.surrogate) {
            (QualitySourceName::Llm, Some(corpus), ..) => {
                Box::new(LlmQuality::new(model.clone(), corpus.clone(), pool.clone(), streams, stop.clone()))
            }
            (QualitySourceName::Table, _, Some(table), _) => {
                let vocabulary = table.vocabulary().unwrap_or_else(|| self.inputs.vocabulary(&self.scenario));
                Box::new(TableQuality::new(table.clone(), vocabulary))
            }
            (QualitySourceName::Surrogate, .., Some(surrogate)) => {
                Box::new(SurrogateQuality::new(surrogate.clone(), self.inputs.vocabulary(&self.scenario)))
            }
            (QualitySourceName::LlmThenSurrogate, Some(_), ..) => {
                self.switching(true_source(QualitySourceName::Llm), streams)
            }
            (QualitySourceName::TableThenSurrogate, _, Some(_), _) => {
                self.switching(true_source(QualitySourceName::Table), streams)
            }
            _ => Box::new(NoQuality),
        }
    }

    /// A source that trains a surrogate on the true one's answers.
    fn switching(&self, truth: Box<dyn QualitySource>, streams: Streams) -> Box<dyn QualitySource> {
        let quality = &self.scenario.quality;
        let learner = self.scenario.controller.tables().iter().find(|table| table.learns());
        let epoch = learner.map_or(DEFAULT_EPOCH, ControllerTable::rollout);
        let switching = Switching {
            after: u64::from(quality.switch_after_epochs).saturating_mul(epoch),
            probe_every: quality.probe_every,
            probes: quality.probes,
            refit_above: quality.refit_above,
        };
        let target = match self.reward {
            RewardFunction::Chen25Eq8 { ppl_cap, .. } => Target::Ppl { cap: ppl_cap },
            RewardFunction::RelativeGain { .. } | RewardFunction::Weighted { .. } => Target::RelativeGain,
        };
        let fitting = move |rows: &[SurrogateRow], entity: u32| {
            let first = rows.first().ok_or("no tensor crossed the channel in all these epochs")?;
            let varies = |&input: &Input| rows.iter().any(|row| row.point.get(input) != first.point.get(input));
            let inputs: Vec<Input> = Input::ALL.into_iter().filter(varies).collect();
            let surrogate = train(rows, &inputs, target, &RegressionSettings::default(), streams, entity)
                .map_err(|error| error.to_string())?;
            let held_out_mse = surrogate.metrics().get("validation_mse").copied().unwrap_or(f64::INFINITY);
            Ok(Fit { surrogate: Arc::new(surrogate), held_out_mse })
        };
        let vocabulary = self.inputs.vocabulary(&self.scenario);
        Box::new(SwitchingQuality::new(truth, switching, Box::new(fitting), vocabulary))
    }

    /// The numbers behind the names of devices and of the cost geometry, for the manifest.
    pub fn resolved_names(&self) -> serde_json::Value {
        let scenario = &self.scenario;
        let groups = scenario.ue.iter().map(|ue| &ue.device);
        let devices: serde_json::Map<String, serde_json::Value> = groups
            .chain([&scenario.edge.device])
            .filter_map(|name| Some((name.clone(), serde_json::to_value(devices::table(name, scenario)?).ok()?)))
            .collect();
        let geometry = &self.network.cost.geometry;
        serde_json::json!({
            "devices": devices,
            "geometry": {
                "name": geometry.name, "layers": geometry.layers, "d_model": geometry.d_model,
                "heads": geometry.heads, "kv_heads": geometry.kv_heads, "head_dim": geometry.head_dim,
                "d_ff": geometry.d_ff, "vocab": geometry.vocab, "tied_head": geometry.tied_head,
            },
        })
    }

    /// The prompts of one run.
    pub fn prompts(&self) -> Box<dyn Prompts> {
        match &self.inputs.corpus {
            Some(corpus) => {
                let bos_token = self.inputs.model.decoder.config().bos_token;
                Box::new(CorpusPrompts::new(corpus.clone(), bos_token))
            }
            None => Box::new(LengthPrompts),
        }
    }
}

/// Loads what a scenario names and builds its network; warnings are in
/// [`Assembly::warnings`].
///
/// # Errors
/// Every problem of the scenario and of its inputs, located in its text.
pub fn assemble(loaded: LoadedScenario, library: &mut Library) -> Result<Assembly, Box<BadScenario>> {
    let inputs = library.load(&loaded);
    assemble_with(loaded, inputs)
}

/// [`assemble`] with what [`Library::load`] gave.
///
/// # Errors
/// Every problem of the scenario and of its inputs, located in its text.
pub fn assemble_with(
    mut loaded: LoadedScenario,
    (inputs, problems): (Option<Inputs>, Vec<Problem>),
) -> Result<Assembly, Box<BadScenario>> {
    loaded.add(problems);
    let built = inputs.map(|inputs| Assembly::new(&loaded.scenario, inputs));
    match built {
        Some(Ok(mut assembly)) => {
            loaded.add(std::mem::take(&mut assembly.warnings));
            let loaded = loaded.strict()?;
            assembly.sources = loaded.document.sources().to_vec();
            assembly.warnings = loaded.problems;
            return Ok(assembly);
        }
        Some(Err(problems)) => loaded.add(problems),
        None => {}
    }
    let sources = loaded.document.sources().to_vec();
    Err(Box::new(BadScenario { path: loaded.path, sources, problems: loaded.problems }))
}

fn reward(scenario: &Scenario) -> RewardFunction {
    let table = &scenario.reward;
    match table.kind {
        RewardKind::Chen25Eq8 => RewardFunction::Chen25Eq8 { lambda: table.lambda, ppl_cap: table.ppl_cap },
        RewardKind::RelativeGain => {
            RewardFunction::RelativeGain { a: table.a, b: table.b, p_max: table.p_max, ppl_cap: table.ppl_cap }
        }
        RewardKind::Weighted => RewardFunction::Weighted {
            a: table.a,
            latency_weight: table.latency_weight,
            energy_weight: table.energy_weight,
            ppl_cap: table.ppl_cap,
        },
    }
}

fn network(scenario: &Scenario, inputs: &Inputs, problems: &mut Vec<Problem>) -> NetworkSpec {
    let radio = &scenario.radio;
    let layers = inputs.layers(scenario);
    let channels = scenario.channel.tables();
    let controllers = scenario.controller.tables();
    let power = transmit_power_w(radio.tx_power_dbm, radio.power_unit_mw);
    let by_name = |names: Vec<Option<&str>>, given: Option<&str>| {
        names.iter().position(|name| given.is_some() && *name == given).unwrap_or(0)
    };
    let group = |(index, ue): (usize, &UeTable)| GroupSpec {
        name: ue.name.clone(),
        count: ue.count,
        processor: device(&ue.device, scenario),
        queue_capacity: ue.queue_capacity,
        deadline: ue.deadline_ms.map(|ms| SimTime::from_secs_saturating(ms * 1e-3)),
        workload: workload(ue, inputs.traces[index].clone(), inputs.drawn_tokens[index].clone()),
        channel: by_name(channels.iter().map(|table| table.name.as_deref()).collect(), ue.channel.as_deref()),
        controller: by_name(controllers.iter().map(|table| table.name.as_deref()).collect(), ue.controller.as_deref()),
        tx_power_w: power,
        weight: ue.weight,
        placement: scenario.is_cellular().then(|| cellular::placement(ue, scenario, inputs.paths[index].clone())),
        sleep_power_w: sleep_power_w(radio.sleep_power_units, radio.power_unit_mw),
        battery_j: ue.battery_j,
        max_split: layers,
    };
    let mut network = NetworkSpec {
        mode: match scenario.service.mode {
            ServiceModeName::Split => ServiceMode::Split,
            ServiceModeName::DeviceOnly => ServiceMode::DeviceOnly,
            ServiceModeName::EdgeOnly => ServiceMode::EdgeOnly,
            ServiceModeName::HybridReward => ServiceMode::HybridReward,
            ServiceModeName::HybridUncertainty => ServiceMode::HybridUncertainty,
            ServiceModeName::EarlyExit => ServiceMode::EarlyExit,
            ServiceModeName::QueryRouter => ServiceMode::QueryRouter,
        },
        cost: inputs.cost.clone(),
        collaboration: collaboration::collaboration(scenario, inputs),
        model_layers: layers,
        split: split(scenario, layers, problems),
        channels: channels
            .iter()
            .enumerate()
            .map(|(index, table)| channel(table, scenario, fading(table, inputs.fading_traces[index].as_ref())))
            .collect(),
        controllers: controllers
            .iter()
            .map(|table| ControllerSpec {
                shared: table.scope == ControllerScope::Shared,
                steps_per_episode: table.steps_per_episode,
            })
            .collect(),
        groups: scenario.ue.iter().enumerate().map(group).collect(),
        uplinks: channels.iter().map(|table| uplink(table, scenario, inputs)).collect(),
        cellular: cellular::cellular(scenario),
        sharing: cellular::sharing(scenario),
        downlink: DownlinkSpec { latency_s: radio.downlink_latency_ms * 1e-3, rate_bps: radio.downlink_mbps * 1e6 },
        retransmission_delay: SimTime::from_secs_saturating(radio.retransmission_delay_ms * 1e-3),
        max_transmissions: radio.max_transmissions,
        edge: edge(scenario),
        duration: SimTime::from_secs_saturating(scenario.duration_s),
        warmup: SimTime::from_secs_saturating(scenario.warmup_s),
        drain_limit: SimTime::from_secs_saturating(scenario.drain_limit_s),
        max_requests: scenario.stop.requests,
        max_steps: scenario.stop.env_steps,
        steps_of_each: Vec::new(),
        sample_interval: (scenario.output.sample_interval_s > 0.0)
            .then(|| SimTime::from_secs_saturating(scenario.output.sample_interval_s)),
    };
    fit_memory(scenario, inputs, &mut network, problems);
    network
}

fn device(name: &str, scenario: &Scenario) -> Processor {
    // `validate` has refused unknown names.
    devices::find(name, scenario).unwrap_or_else(|| devices::processor(&DeviceTable::default()))
}

fn split(scenario: &Scenario, layers: u32, problems: &mut Vec<Problem>) -> SplitSpec {
    let table = &scenario.split;
    let max = match table.max {
        SplitMax::All => layers,
        SplitMax::Layer(max) => max,
    };
    if max > layers {
        problems.push(
            Problem::error("split.max", format!("split.max is above the model's {}", counted(layers, "layer")))
                .with_value(max)
                .with_allowed(format!("{} to {layers}, or \"all\"", table.min)),
        );
    } else if table.min > max {
        problems.push(
            Problem::error("split.min", format!("split.min is above the largest split, {max}"))
                .with_value(table.min)
                .with_allowed(format!("1 to {max}")),
        );
    }
    let initial = match &table.initial {
        None => InitialSplit::Constant(table.min),
        Some(Count::Number(split)) => InitialSplit::Constant(*split),
        Some(NumberOr::Table(range)) => InitialSplit::Drawn {
            min: range.min,
            max: range.max,
            draw: range.draw.unwrap_or(crate::channel::Draw::PerEpisode),
        },
    };
    let (least, largest) = table.initial.as_ref().map_or((table.min, table.min), Count::bounds);
    if largest > max && max <= layers {
        problems.push(
            Problem::error("split.initial", "the initial split is outside split.min and split.max")
                .with_value(if least == largest { least.to_string() } else { format!("{least} to {largest}") })
                .with_allowed(format!("{} to {max}", table.min)),
        );
    }
    SplitSpec { min: table.min, max: max.min(layers), initial }
}

fn parameter(varying: &Varying) -> Parameter {
    // `validate` has refused ranges without a draw.
    varying.parameter().unwrap_or(Parameter::Constant(varying.bounds().0))
}

/// The table's `encoding`, `outlier_share` and `top_k_share`.
fn codec(table: &ChannelTable) -> Codec {
    let encoding = table.encoding.unwrap_or_default();
    // `validate` has refused what doesn't go together.
    Codec::new(encoding, table.outlier_share, table.top_k_share).unwrap_or(Codec::plain(encoding))
}

fn channel(table: &ChannelTable, scenario: &Scenario, fading: FadingModel) -> ChannelSpec {
    let digital = table.reception == Reception::Digital;
    let given = |varying: &Option<Varying>| varying.as_ref().map(parameter);
    let threshold = given(&table.gain_threshold).or_else(|| {
        let snr = ratio_from_db(table.snr_db?);
        let bandwidth_hz = scenario.radio.bandwidth_mhz * 1e6;
        let rate_bps = scenario.radio.spectral_efficiency_bps_hz * bandwidth_hz;
        Some(Parameter::Constant(digital_gain_threshold(rate_bps, bandwidth_hz, ratio_from_db(table.snr_gap_db), snr)))
    });
    let unit_power = Parameter::Constant(DEFAULT_RAYLEIGH_SCALE);
    let outage = match (given(&table.rayleigh_scale), threshold, given(&table.loss_probability)) {
        (None, Some(gain_threshold), Some(loss_probability)) => {
            OutageSpec::ThresholdAndLoss { gain_threshold, loss_probability }
        }
        (scale, Some(gain_threshold), _) => {
            OutageSpec::ScaleAndThreshold { rayleigh_scale: scale.unwrap_or(unit_power), gain_threshold }
        }
        (scale, None, loss) => OutageSpec::ScaleAndLoss {
            rayleigh_scale: scale.unwrap_or(unit_power),
            loss_probability: loss.unwrap_or(Parameter::Constant(0.0)),
        },
    };
    ChannelSpec {
        noise_std: if digital { Parameter::Constant(0.0) } else { parameter(&table.noise_std) },
        outage,
        reception: table.reception,
        tx_normalisation: table.tx_normalisation,
        loss_unit: table.loss_unit,
        concealment: table.concealment,
        delivery: delivery(table.prompt_delivery(), table.delivery_deadline_ms),
        harq: table.hybrid_arq().as_ref().map(harq),
        decode: DecodeSpec {
            delivery: delivery(table.decode.delivery, Some(table.decode.deadline_ms)),
            concealment: table.decode.concealment,
        },
        codec: codec(table),
        doppler_hz: table.doppler_hz,
        large_scale: cellular::large_scale(table, scenario),
        fading,
        snr_needed: digital_snr_needed(scenario.radio.spectral_efficiency_bps_hz, ratio_from_db(table.snr_gap_db)),
    }
}

/// A way of delivery, with its deadline \[ms\] where one is given.
fn delivery(name: DeliveryName, deadline_ms: Option<f64>) -> Delivery {
    let deadline = deadline_ms.map(|ms| SimTime::from_secs_saturating(ms * 1e-3));
    match name {
        DeliveryName::None => Delivery::None,
        DeliveryName::Um => Delivery::Um,
        DeliveryName::Am => Delivery::Am { deadline },
        // `validate` has refused one without a deadline.
        DeliveryName::Deadline => Delivery::Deadline { after: deadline.unwrap_or(SimTime::ZERO) },
    }
}

fn harq(table: &HarqTable) -> Harq {
    Harq {
        max_transmissions: table.max_transmissions,
        round_trip: SimTime::from_secs_saturating(table.round_trip_ms * 1e-3),
        combining: table.combining,
    }
}

fn uplink(table: &ChannelTable, scenario: &Scenario, inputs: &Inputs) -> UplinkSpec {
    let radio = &scenario.radio;
    UplinkSpec {
        bandwidth_hz: radio.bandwidth_mhz * 1e6,
        mode: if table.reception == Reception::Digital {
            LinkMode::Digital {
                spectral_efficiency_bps_hz: radio.spectral_efficiency_bps_hz,
                packet_bits: 8 * u64::from(radio.packet_bytes),
            }
        } else {
            let row = inputs.cost.geometry.payload_values(1) as u64;
            LinkMode::Analog { packet_values: radio.packet_values.unwrap_or(row) }
        },
        ideal: radio.sharing == SharingKind::Ideal,
    }
}

fn edge(scenario: &Scenario) -> EdgeSpec {
    let table = &scenario.edge;
    EdgeSpec {
        processor: device(&table.device, scenario),
        discipline: match table.discipline {
            DisciplineName::Fifo => Discipline::Fifo { servers: table.servers },
            DisciplineName::Ps => Discipline::ProcessorSharing,
            DisciplineName::Batch => Discipline::Batch {
                max_batch: table.max_batch,
                max_wait: SimTime::from_secs_saturating(table.max_wait_ms * 1e-3),
            },
        },
        service: table.service_time.as_ref().map(|service| {
            let mean_s = service.mean_ms * 1e-3;
            match service.law {
                ServiceLawName::Deterministic => ServiceLaw::Deterministic { mean_s },
                ServiceLawName::Exponential => ServiceLaw::Exponential { mean_s },
            }
        }),
    }
}

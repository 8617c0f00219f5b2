//! Whole networks for tests: scenario text in, owned rows out.
//!
//! ```text
//! TOML ─▶ LoadedScenario ─▶ Assembly ─▶ Simulation ─▶ rows in memory
//! ```

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use splitwave::kernel::Streams;
use splitwave::network::compute::Power;
use splitwave::network::costs::{all_layers_flop, costs};
use splitwave::network::energy::UeEnergy;
use splitwave::network::ports::{Controller, RecordError, Recorder};
use splitwave::network::rows::{DecisionRow, Outcome, RequestRow, SeriesRow, TokenRow};
use splitwave::network::simulation::{Ports, Simulation, Totals};
use splitwave::network::spec::{Discipline, GroupSpec};
use splitwave::network::text::TextSource;
use splitwave::run::assembly::Assembly;
use splitwave::run::assembly::assemble;
use splitwave::run::inputs::Library;
use splitwave::run::runner::evaluation_pool;
use splitwave::scenario::LoadedScenario;
use splitwave::units::SimTime;

/// A row that outlives its simulation.
macro_rules! owned {
    ($(#[$about:meta])* $name:ident of $row:ident { $($field:ident : $type:ty,)+ } words { $($word:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(pub $field: $type,)+
            $(pub $word: Option<String>,)*
        }

        impl From<&$row<'_>> for $name {
            fn from(row: &$row<'_>) -> Self {
                Self {
                    $($field: row.$field,)+
                    $($word: row.$word.map(str::to_owned),)*
                }
            }
        }
    };
}

owned! {
    /// A row of requests.csv.
    Row of RequestRow {
        request_id: u64, ue_id: u32, episode: Option<u32>, window: Option<u32>, arrival_s: SimTime,
        split: Option<u32>, prompt_tokens: u32, output_tokens: u32, noise_std: Option<f64>,
        rayleigh_scale: Option<f64>, loss_probability: Option<f64>, mean_gain: Option<f64>,
        packets_sent: Option<u32>, packets_lost: Option<u32>, rows_lost: Option<u32>,
        loss_bursts: Option<u32>, uplink_bits: Option<u64>, ue_wait_s: Option<SimTime>,
        ue_compute_s: Option<SimTime>, uplink_wait_s: Option<SimTime>, uplink_air_s: Option<SimTime>,
        edge_wait_s: Option<SimTime>, edge_compute_s: Option<SimTime>, downlink_s: Option<SimTime>,
        ttft_s: Option<SimTime>, tpot_s: Option<f64>, e2e_s: Option<SimTime>, deadline_met: Option<bool>, ue_flop: Option<f64>,
        edge_flop: Option<f64>, ue_energy_j: Option<f64>, tx_energy_j: Option<f64>, nll_sum: Option<f64>,
        tokens_scored: Option<u32>, ppl_clean: Option<f64>, ppl: Option<f64>, reward: Option<f64>,
        outcome: Outcome, conversation: Option<u32>, turn: Option<u32>, layer_load_s: Option<SimTime>, battery_j: Option<f64>,
        packets_missing: Option<u32>, sinr_db: Option<f64>, spectral_efficiency_bps_hz: Option<f64>, x_m: Option<f64>,
        y_m: Option<f64>, distance_m: Option<f64>, handovers: Option<u32>, ue_tokens: Option<u32>, edge_tokens: Option<u32>,
        fallback_tokens: Option<u32>, llm_agreements: Option<u32>, edge_asks: Option<u32>, downlink_bits: Option<u64>,
    } words { quality_source, }
}

owned! {
    /// A row of decisions.csv: a step.
    DecisionCopy of DecisionRow {
        step: u64, ue_id: u32, request_id: u64, time_s: SimTime, episode: u32, step_in_episode: u32,
        noise_std: Option<f64>, rayleigh_scale: Option<f64>, loss_probability: Option<f64>, split: u32,
        action: u32, next_split: u32, log_prob: Option<f64>, reward: Option<f64>,
    } words { reward_source, }
}

impl Row {
    /// The seven phases in order.
    pub fn phases(&self) -> [Option<SimTime>; 7] {
        [
            self.ue_wait_s,
            self.ue_compute_s,
            self.uplink_wait_s,
            self.uplink_air_s,
            self.edge_wait_s,
            self.edge_compute_s,
            self.downlink_s,
        ]
    }

    /// All time spent.
    pub fn spent(&self) -> SimTime {
        self.phases().into_iter().flatten().sum()
    }

    /// The phase that it was in when it ended, by its place in [`Row::phases`]; on
    /// the uplink and at the edge, waiting and service count as one: 3 and 5.
    pub fn last_phase(&self) -> Option<usize> {
        self.phases().iter().rposition(Option::is_some)
    }
}

/// Keeps owned copies of all rows.
#[derive(Default)]
struct Memory {
    rows: Vec<Row>,
    steps: Vec<DecisionCopy>,
    series: Vec<SeriesRow>,
    energies: BTreeMap<u32, UeEnergy>,
    tokens: Vec<TokenRow>,
}

impl Recorder for Memory {
    fn ue_energy(&mut self, ue: u32, energy: &UeEnergy) {
        self.energies.insert(ue, *energy);
    }

    fn request(&mut self, row: &RequestRow<'_>) -> Result<(), RecordError> {
        self.rows.push(row.into());
        Ok(())
    }

    fn token(&mut self, row: &TokenRow) -> Result<(), RecordError> {
        self.tokens.push(row.clone());
        Ok(())
    }

    fn decision(&mut self, row: &DecisionRow<'_>) -> Result<(), RecordError> {
        self.steps.push(row.into());
        Ok(())
    }

    fn sample(&mut self, row: &SeriesRow) -> Result<(), RecordError> {
        self.series.push(row.clone());
        Ok(())
    }
}

/// What a run gave.
pub struct Finished {
    /// In the order of ending.
    pub rows: Vec<Row>,
    /// In the order of decisions.
    pub steps: Vec<DecisionCopy>,
    pub series: Vec<SeriesRow>,
    /// Of UEs that have idle power, or a battery.
    pub energies: BTreeMap<u32, UeEnergy>,
    /// Of generated texts, in the order of the requests' ends.
    pub tokens: Vec<TokenRow>,
    pub totals: Totals,
}

impl Finished {
    pub fn count(&self, outcome: Outcome) -> usize {
        self.rows.iter().filter(|row| row.outcome == outcome).count()
    }

    /// Rows by number of the request.
    pub fn by_arrival(&self) -> Vec<Row> {
        let mut rows = self.rows.clone();
        rows.sort_by_key(|row| row.request_id);
        rows
    }
}

/// The model is loaded once for all tests.
static LIBRARY: LazyLock<Mutex<Library>> = LazyLock::new(Mutex::default);

/// Assembles the text of a scenario.
pub fn assembly(text: &str) -> Assembly {
    let loaded = LoadedScenario::from_bytes(Path::new("test.toml"), text.as_bytes(), &[])
        .unwrap_or_else(|bad| panic!("{:#?}\n{text}", bad.problems));
    let mut library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    assemble(loaded, &mut library).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"))
}

/// Runs a scenario with the controllers of its own.
pub fn simulate(assembly: &Assembly, seed: u64, replication: u32) -> Finished {
    simulate_with(assembly, seed, replication, assembly.controllers(Streams::new(seed, replication)))
}

/// Runs a scenario with other controllers.
pub fn simulate_with(
    assembly: &Assembly,
    seed: u64,
    replication: u32,
    mut controllers: Vec<Box<dyn Controller>>,
) -> Finished {
    static POOL: LazyLock<Arc<rayon::ThreadPool>> = LazyLock::new(|| evaluation_pool(1).expect("a thread"));
    let streams = Streams::new(seed, replication);
    let prompts = assembly.prompts();
    let mut quality = assembly.quality(streams, &POOL, &std::sync::Arc::default());
    let mut texts = assembly.texts(streams, &POOL, &std::sync::Arc::default());
    let mut memory = Memory::default();
    let ports = Ports {
        prompts: prompts.as_ref(),
        reward: &assembly.reward,
        quality: quality.as_mut(),
        text: texts.as_mut().map(|texts| texts.as_mut() as &mut dyn TextSource),
        recorder: &mut memory,
        controllers: &mut controllers,
    };
    let simulation = Simulation::new(&assembly.network, streams, ports).expect("a network");
    let totals = simulation.run(&mut |_| ControlFlow::Continue(())).expect("a run");
    let Memory { rows, steps, series, energies, tokens } = memory;
    Finished { rows, steps, series, energies, tokens, totals }
}

/// Assembles and runs seed 1, and checks what always holds.
pub fn run(text: &str) -> Finished {
    let assembly = assembly(text);
    let finished = simulate(&assembly, 1, 0);
    check(&assembly, &finished);
    finished
}

/// What holds for every run of every scenario.
pub fn check(assembly: &Assembly, finished: &Finished) {
    let network = &assembly.network;
    let Finished { rows, steps, totals, .. } = finished;
    assert_eq!(totals.progress.arrived, rows.len() as u64, "arrivals and rows");
    assert_eq!(totals.progress.ended, rows.len() as u64, "arrivals and ends");
    let by_outcome: usize = Outcome::ALL.iter().map(|&outcome| finished.count(outcome)).sum();
    assert_eq!(by_outcome, rows.len());
    let by_arrival = finished.by_arrival();
    assert!((0u64..).zip(&by_arrival).all(|(number, row)| row.request_id == number), "request numbers");
    assert!(by_arrival.is_sorted_by_key(|row| row.arrival_s), "numbers follow arrivals");
    for utilisation in [totals.uplink_utilisation, totals.edge_utilisation].into_iter().flatten() {
        assert!((0.0..=1.0).contains(&utilisation), "{utilisation}");
    }

    let group_of = |ue: u32| {
        let mut next = 0;
        let group = network.groups.iter().find(|group| {
            next += group.count;
            ue < next
        });
        group.expect("a group")
    };
    let horizon = totals.arrivals_end + network.drain_limit;
    for row in rows {
        let deadline = group_of(row.ue_id).deadline;
        let spent = row.spent();
        match row.outcome {
            Outcome::Completed => {
                assert_eq!(row.e2e_s, Some(spent), "phases of a completed request: {row:#?}");
                if row.output_tokens == 1 {
                    assert_eq!((row.ttft_s, row.tpot_s), (row.e2e_s, None));
                } else {
                    let further = (spent - row.ttft_s.expect("a first token")).as_secs_f64();
                    assert_eq!(row.tpot_s, Some(further / f64::from(row.output_tokens - 1)));
                }
                assert!(deadline.is_none_or(|deadline| spent <= deadline), "late: {row:#?}");
                assert_eq!(row.deadline_met, deadline.map(|_| true));
            }
            Outcome::Timeout => {
                assert_eq!(Some(spent), deadline, "phases of a timed-out request: {row:#?}");
                assert_eq!(row.deadline_met, Some(false));
            }
            Outcome::Unfinished => {
                assert_eq!(spent, horizon - row.arrival_s, "phases of an unfinished request: {row:#?}");
                assert_eq!(row.deadline_met, None);
            }
            Outcome::Dropped => assert_eq!(row.last_phase(), None, "a dropped request: {row:#?}"),
            Outcome::Outage if row.battery_j == Some(0.0) => {
                assert!(row.last_phase().is_some(), "an empty battery: {row:#?}");
            }
            Outcome::Outage => {
                assert_eq!(row.last_phase(), Some(3), "an outage: {row:#?}");
                // A deadline may cut the first transmission off.
                let cut_off = network.channels.iter().any(|channel| channel.delivery.deadline().is_some());
                assert!(row.packets_lost > Some(0) || cut_off, "{row:#?}");
            }
        }
        if row.outcome != Outcome::Completed {
            assert_eq!((row.e2e_s, row.tpot_s), (None, None));
            assert!(row.ttft_s.is_none() || row.output_tokens > 1 && row.ttft_s <= Some(spent), "{row:#?}");
        }
        // Phases are passed in order; a wait and its service come together.
        let crosses = network.mode != splitwave::network::ports::ServiceMode::DeviceOnly;
        if let Some(last) = row.last_phase() {
            let skipped = row.phases()[..last].iter().any(Option::is_none);
            assert!(!skipped || !crosses, "a phase is missing: {row:#?}");
        }
        assert!(row.packets_lost <= row.packets_sent);
        assert!(row.loss_bursts <= row.packets_lost, "{row:#?}");
        if row.uplink_bits.is_some() {
            assert!(row.packets_sent.is_some(), "bits without packets: {row:#?}");
        }
        if row.output_tokens == 1 {
            check_work(assembly, group_of(row.ue_id), row);
        }
        let all_flop = all_layers_flop(network, row.prompt_tokens, row.output_tokens)
            + splitwave::llm::head_flop(&network.cost.geometry, row.output_tokens as usize);
        let done = row.ue_flop.unwrap_or(0.0) + row.edge_flop.unwrap_or(0.0);
        assert!(done <= all_flop * (1.0 + 1e-12), "more work than there is: {row:#?}");
        if row.outcome == Outcome::Completed {
            assert!((done / all_flop - 1.0).abs() < 1e-12, "{done} FLOP of {all_flop}: {row:#?}");
        }
    }

    // Rounds of sessions overlap with other requests.
    let alone = rows.iter().all(|row| row.output_tokens == 1);
    for ue in 0..network.groups.iter().map(|group| group.count).sum() {
        let own = rows.iter().filter(|row| row.ue_id == ue);
        let own = own.filter(|_| alone);
        check_first_come(1, own.filter_map(|row| visit(row.arrival_s, row.ue_wait_s, row.ue_compute_s)).collect());
    }
    if let Discipline::Fifo { servers } = network.edge.discipline {
        let at_edge = |row: &Row| row.arrival_s + row.phases()[..4].iter().flatten().copied().sum();
        let visits =
            rows.iter().filter(|_| alone).filter_map(|row| visit(at_edge(row), row.edge_wait_s, row.edge_compute_s));
        check_first_come(servers as usize, visits.collect());
    }

    // Steps: one per request that was decided for and didn't stay unfinished.
    let decided = rows.iter().filter(|row| row.split.is_some() && row.outcome != Outcome::Unfinished);
    assert_eq!(decided.count(), steps.len(), "steps");
    assert!(steps.is_sorted_by(|a, b| a.step < b.step && a.time_s <= b.time_s), "steps in order");
    for step in steps {
        let row = &by_arrival[step.request_id as usize];
        assert_eq!((row.ue_id, row.split, row.reward), (step.ue_id, Some(step.next_split), step.reward));
        // A session waits for its UE again, later.
        let wait = step.time_s - row.arrival_s;
        assert!(row.ue_wait_s == Some(wait) || row.output_tokens > 1 && row.ue_wait_s > Some(wait), "{row:#?}");
        assert!((network.split.min..=network.split.max).contains(&step.next_split));
    }
}

/// (arrival, start, end) of a service that began.
fn visit(arrival: SimTime, wait: Option<SimTime>, service: Option<SimTime>) -> Option<[SimTime; 3]> {
    let start = arrival + wait?;
    Some([arrival, start, start + service?])
}

/// First come, first served by servers that are never idle while someone waits.
fn check_first_come(servers: usize, mut visits: Vec<[SimTime; 3]>) {
    visits.sort_unstable();
    let mut free = vec![SimTime::ZERO; servers];
    for [arrival, start, end] in visits {
        free.sort_unstable();
        assert_eq!(start, arrival.max(free[0]), "service begins when a server is free");
        free[0] = end;
    }
}

/// Work and energy go with the time spent.
fn check_work(assembly: &Assembly, group: &GroupSpec, row: &Row) {
    let network = &assembly.network;
    let costs = costs(network, row.split, row.prompt_tokens);
    let same = |found: f64, expected: f64| (found - expected).abs() <= 1e-9 * expected.abs();
    let share = |part: SimTime, whole: SimTime| part.as_secs_f64() / whole.as_secs_f64();
    if let (Some(flop), Some(time)) = (row.ue_flop, row.ue_compute_s)
        && costs.ue.flop > 0.0
    {
        let computing = time - row.layer_load_s.unwrap_or_default();
        assert!(same(flop, costs.ue.flop * share(computing, group.processor.time(costs.ue))), "{row:#?}");
        if let Power::Constant { power_w } = group.processor.power {
            assert!(same(row.ue_energy_j.expect("computed"), power_w * time.as_secs_f64()), "{row:#?}");
        }
    }
    let by_roofline = network.edge.service.is_none() && !matches!(network.edge.discipline, Discipline::Batch { .. });
    if let (Some(flop), Some(time), true) = (row.edge_flop, row.edge_compute_s, by_roofline) {
        let expected = costs.edge.flop * share(time, network.edge.processor.time(costs.edge));
        assert!(same(flop, expected), "{row:#?} for {expected}");
    }
    if row.edge_compute_s.is_none() {
        assert!(row.edge_flop.is_none_or(|flop| flop == 0.0), "{row:#?}");
    }
    // Under power control each transmission has a power of its own.
    if let Some(time) = row.uplink_air_s.filter(|_| network.cellular.is_none()) {
        assert!(same(row.tx_energy_j.expect("sent"), group.tx_power_w * time.as_secs_f64()), "{row:#?}");
    }
}

/// Seconds in nanoseconds.
pub fn seconds(seconds: f64) -> SimTime {
    SimTime::from_secs_f64(seconds).expect("a time")
}

/// Two devices with round numbers: 10 TFLOP/s and 100 GB/s on the UE, 100 TFLOP/s
/// and 1 TB/s at the edge, f16 weights, 1 ms and 2 ms per pass.
pub const DEVICES: &str = "
[[device]]
name = \"phone\"
peak_tflops = 20.0
compute_efficiency = 0.5
memory_gb_s = 125.0
memory_efficiency = 0.8
overhead_ms = 1.0
power_w = 4.0

[[device]]
name = \"server\"
peak_tflops = 100.0
memory_gb_s = 1000.0
overhead_ms = 2.0
power_w = 300.0
";

/// Arrivals of a file, in seconds, all of one length.
pub fn trace(arrivals: &[f64], tokens: u32) -> tempfile::NamedTempFile {
    use std::io::Write as _;
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "arrival_s,prompt_tokens").expect("a row");
    for at in arrivals {
        writeln!(file, "{at},{tokens}").expect("a row");
    }
    file.flush().expect("a file");
    file
}

/// LLaMA-2-7B: weights of a layer, `4·4096² + 3·4096·11008`, and of the head.
pub const LAYER: f64 = 202_375_168.0;
pub const HEAD: f64 = 4096.0 * 32_000.0;

/// FLOP of a layer for S tokens, `2·S·(weights) + 2·S²·4096`.
pub fn layer_flop(tokens: f64) -> f64 {
    2.0 * tokens * LAYER + 2.0 * tokens * tokens * 4096.0
}

/// `count` phones whose requests arrive at the given instants, one each.
pub fn together(arrivals: &[f64], tokens: u32, bandwidth_mhz: f64, extra: &str, edge: &str) -> Finished {
    let file = trace(arrivals, tokens);
    let (path, count) = (file.path().display(), arrivals.len());
    run(&format!(
        "name = \"together\"
duration_s = 2.0
[quality]
source = \"none\"
[split]
initial = 2
[channel]
{extra}
[radio]
bandwidth_mhz = {bandwidth_mhz}
[[ue]]
name = \"phone\"
device = \"phone\"
count = {count}
workload = {{ kind = \"trace\", path = \"{path}\" }}
[edge]
device = \"server\"
{edge}
{DEVICES}"
    ))
}

/// Everything is drawn: arrivals, prompts, conditions, splits, service times.
pub fn lottery(controller: &str, more: &str) -> String {
    format!(
        "name = \"lottery\"
duration_s = 8.0
[split]
max = 8
initial = {{ min = 1, max = 8, draw = \"per-episode\" }}
[controller]
kind = \"{controller}\"
[channel]
noise_std = {{ min = 0.1, max = 1.0, draw = \"per-request\" }}
loss_probability = {{ min = 0.0, max = 0.2, draw = \"per-request\" }}
[radio]
sharing = \"ideal\"
[[ue]]
name = \"phone\"
device = \"phone\"
count = 3
workload = {{ rate_per_s = 1.0, prompt_tokens = {{ min = 8, max = 16, draw = \"per-request\" }} }}
[edge]
device = \"server\"
service_time = {{ law = \"exponential\", mean_ms = 300.0 }}
{more}
{DEVICES}"
    )
}

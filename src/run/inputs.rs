//! The files that a scenario names: models, corpora, tables, traces. Each is
//! loaded once per process and shared by all runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::channel::{FadingKind, GainTraces, MobilityTrace};
use crate::control::collaboration::RewardHead;
use crate::control::{PolicyFile, QualityTable, Surrogate};
use crate::llm::{BUILTIN, BUILTIN_SMALL, Corpus, CostModel, ExitHead, FlopCount, Geometry, LoadedModel, Segmentation};
use crate::network::workload::TraceArrival;
use crate::run::collaboration::{CollaborationInputs, head_key, named_device_cost, open_exit, open_head};
use crate::run::fading_trace::FadingTraceFile;
use crate::run::mobility_trace::read_mobility_trace;
use crate::run::traces::TraceFile;
use crate::scenario::cells::MobilityName;
use crate::scenario::collaboration::CollaborationTable;
use crate::scenario::nodes::WorkloadKind;
use crate::scenario::schema::{FlopCountName, NO_MODEL, Scenario, ServiceModeName, WindowKind};
use crate::scenario::values::OneOrMany;
use crate::scenario::{LoadedScenario, Problem, devices};

/// What a scenario names, loaded.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The running model.
    pub model: Arc<LoadedModel>,
    /// Its prompts; only where the model runs.
    pub corpus: Option<Arc<Corpus>>,
    /// The quality table.
    pub table: Option<Arc<QualityTable>>,
    /// The surrogate.
    pub surrogate: Option<Arc<Surrogate>>,
    /// The policies that each controller table begins with, if it names a file.
    pub policies: Vec<Option<Arc<PolicyFile>>>,
    /// The trace of each group that has one: the part that is replayed.
    pub traces: Vec<Option<Arc<[TraceArrival]>>>,
    /// The gains of each channel that takes them from a file.
    pub fading_traces: Vec<Option<Arc<GainTraces>>>,
    /// The paths of each group of UEs, if they are read from a file.
    pub paths: Vec<Option<Arc<MobilityTrace>>>,
    /// The rows whose tokens each group draws, if it does.
    pub drawn_tokens: Vec<Option<Arc<[TraceArrival]>>>,
    /// What is paid for FLOP, bytes and payload.
    pub cost: CostModel,
    /// What generated text needs; `None` where none is generated.
    pub collaboration: Option<CollaborationInputs>,
    /// Content hash of each file, by the key that names it.
    pub hashes: BTreeMap<String, String>,
}

impl Inputs {
    /// Layers that splits count: the model's, or without one those of the geometry that is paid for.
    pub fn layers(&self, scenario: &Scenario) -> u32 {
        if scenario.model.source == NO_MODEL {
            self.cost.geometry.layers as u32
        } else {
            self.model.decoder.layers() as u32
        }
    }

    /// Size of the vocabulary: what an outage scores.
    pub fn vocabulary(&self, scenario: &Scenario) -> usize {
        if scenario.model.source == NO_MODEL { self.cost.geometry.vocab } else { self.model.decoder.config().vocab }
    }
}

type CorpusKey = (String, String, bool);

/// Files loaded so far. A clone shares them, and costs no more than their names.
#[derive(Clone, Default)]
pub struct Library {
    models: BTreeMap<String, Arc<LoadedModel>>,
    corpora: BTreeMap<CorpusKey, Arc<Corpus>>,
    tables: BTreeMap<PathBuf, Arc<QualityTable>>,
    surrogates: BTreeMap<PathBuf, Arc<Surrogate>>,
    policies: BTreeMap<PathBuf, (Arc<PolicyFile>, String)>,
    traces: BTreeMap<PathBuf, TraceFile>,
    fading_traces: BTreeMap<(PathBuf, bool), Arc<FadingTraceFile>>,
    geometries: BTreeMap<PathBuf, Geometry>,
    heads: BTreeMap<PathBuf, Arc<RewardHead>>,
    exits: BTreeMap<(PathBuf, u32), Arc<ExitHead>>,
}

impl Library {
    /// Loads what a scenario names. Every file that can't be used is a problem at the
    /// key that names it; with a model and its costs the inputs are good enough to look
    /// for further problems, and without any problem to run.
    pub fn load(&mut self, loaded: &LoadedScenario) -> (Option<Inputs>, Vec<Problem>) {
        let scenario = &loaded.scenario;
        let mut problems = Vec::new();
        let mut hashes = BTreeMap::new();

        let model = keep(
            &mut problems,
            loaded,
            ("model.source", &scenario.model.source),
            self.model(loaded, &scenario.model.source),
        );
        if let Some(model) = model.as_ref().filter(|_| scenario.model.source != NO_MODEL) {
            hashes.insert("model.source".to_owned(), model.content_hash().to_owned());
        }
        let mut corpus = None;
        if let (Some(model), true) = (&model, scenario.runs_model()) {
            hashes.insert("tokenizer".to_owned(), model.tokenizer.content_hash().to_owned());
            corpus = keep(&mut problems, loaded, ("model.corpus", &scenario.model.corpus), self.corpus(loaded, model));
        } else if let (None, true) = (&model, scenario.runs_model()) {
            // Without a tokenizer the text can't be read in full; whether it can be opened is worth saying already.
            let file = &scenario.model.corpus;
            if file != BUILTIN
                && let Err(error) = std::fs::File::open(loaded.resolve(file))
            {
                let message = format!("{file}: cannot be read: {error}");
                keep::<()>(&mut problems, loaded, ("model.corpus", file), Err(message));
            }
        }
        if let Some(corpus) = &corpus {
            hashes.insert("model.corpus".to_owned(), corpus.content_hash().to_owned());
        }
        let table = scenario
            .quality
            .table
            .as_deref()
            .filter(|_| scenario.reads_table())
            .and_then(|source| keep(&mut problems, loaded, ("quality.table", source), self.table(loaded, source)));
        if let Some(table) = &table {
            hashes.insert("quality.table".to_owned(), table.content_hash().to_owned());
        }
        let surrogate =
            scenario.quality.surrogate.as_deref().filter(|_| scenario.reads_surrogate()).and_then(|source| {
                keep(&mut problems, loaded, ("quality.surrogate", source), self.surrogate(loaded, source))
            });
        if let Some(surrogate) = &surrogate {
            hashes.insert("quality.surrogate".to_owned(), surrogate.content_hash().to_owned());
        }
        let mut policies = Vec::new();
        for (index, table) in scenario.controller.tables().iter().enumerate() {
            let path = format!("{}.policy_in", scenario.controller.path("controller", index));
            let file = table.policy_in.as_deref().filter(|_| table.kind.is_learner());
            let found =
                file.and_then(|file| keep(&mut problems, loaded, (&path, file), self.policy(&loaded.resolve(file))));
            if let Some((_, hash)) = &found {
                let path = match &scenario.controller {
                    OneOrMany::One(_) => path,
                    OneOrMany::Many(_) => format!("controller.{index}.policy_in"),
                };
                hashes.insert(path, hash.clone());
            }
            policies.push(found.map(|(policy, _)| policy));
        }
        let (mut traces, mut drawn_tokens) = (Vec::new(), Vec::new());
        for (index, group) in scenario.ue.iter().enumerate() {
            let (workload, table) = (&group.workload, format!("ue[{index}].workload"));
            let mut file = |key: &str, file: Option<&String>| {
                let path = format!("ue.{index}.workload.{key}");
                let trace = file
                    .and_then(|file| keep(&mut problems, loaded, (&path, file), self.trace(&loaded.resolve(file))))?;
                hashes.insert(path, trace.hash.clone());
                Some(trace)
            };
            let replayed = file("path", workload.path.as_ref().filter(|_| workload.kind == WorkloadKind::Trace));
            let drawn = file("tokens_from", workload.tokens_from.as_ref());
            let replayed = replayed.map(|trace| trace.replayed(&table, workload, &mut problems));
            traces.push(replayed.and_then(|rows| rows.map_err(|problem| problems.push(*problem)).ok()));
            drawn_tokens.push(drawn.map(|trace| trace.drawn_from(&table, workload, &mut problems)));
        }
        let fading_traces = self.fading_traces(loaded, &mut problems, &mut hashes);
        let paths = mobility_traces(loaded, &mut problems, &mut hashes);
        let cost = model.as_ref().and_then(|model| {
            keep(&mut problems, loaded, ("model.cost_as", &scenario.model.cost_as), self.cost(loaded, model))
        });
        if let Some(cost) = &cost
            && !is_name(&scenario.model.cost_as)
        {
            // Of the sizes alone: the name is the file's path.
            let sizes = Geometry { name: String::new(), ..cost.geometry.clone() };
            hashes.insert("model.cost_as".to_owned(), blake3_of(&format!("{sizes:?}")));
        }
        let collaboration = model
            .as_ref()
            .filter(|_| scenario.generates_text())
            .and_then(|model| self.collaboration(loaded, model, &mut problems, &mut hashes));
        // Presets and named geometries may change from version to version.
        let processors: Vec<_> = scenario
            .ue
            .iter()
            .map(|ue| ue.device.as_str())
            .chain([scenario.edge.device.as_str()])
            .map(|name| devices::find(name, scenario))
            .collect();
        hashes.insert("processors".to_owned(), blake3_of(&format!("{processors:?}")));
        let inputs = model.zip(cost).map(|(model, cost)| {
            let sizes = Geometry { name: String::new(), ..cost.geometry.clone() };
            hashes.insert("geometry".to_owned(), blake3_of(&format!("{sizes:?}")));
            Inputs {
                model,
                corpus,
                table,
                surrogate,
                policies,
                traces,
                fading_traces,
                paths,
                drawn_tokens,
                cost,
                collaboration,
                hashes,
            }
        });
        (inputs, problems)
    }

    fn model(&mut self, loaded: &LoadedScenario, source: &str) -> Result<Arc<LoadedModel>, String> {
        // Without a model, the built-in one stands for what nobody asks it.
        let source = if source == NO_MODEL { BUILTIN } else { source };
        let is_name = [BUILTIN, BUILTIN_SMALL].contains(&source);
        let name = if is_name { source.to_owned() } else { loaded.resolve(source).display().to_string() };
        if let Some(model) = self.models.get(&name) {
            return Ok(model.clone());
        }
        let model = Arc::new(LoadedModel::open(&name).map_err(|error| error.to_string())?);
        self.models.insert(name, model.clone());
        Ok(model)
    }

    /// What generated text needs; `None` if some of it can't be used.
    fn collaboration(
        &mut self,
        loaded: &LoadedScenario,
        model: &LoadedModel,
        problems: &mut Vec<Problem>,
        hashes: &mut BTreeMap<String, String>,
    ) -> Option<CollaborationInputs> {
        let scenario = &loaded.scenario;
        let table = &scenario.collaboration;
        let needs_model = scenario.has_device_model() && scenario.runs_model();
        let found = problems.len();
        let device = (needs_model || table.device_cost_as == "self").then(|| {
            let opened = self.model(loaded, &table.device_model);
            keep(problems, loaded, ("collaboration.device_model", &table.device_model), opened)
        });
        let device = device.flatten();
        if let Some(device) = &device {
            hashes.insert("collaboration.device_model".to_owned(), device.content_hash().to_owned());
        }
        if problems.len() > found {
            return None;
        }
        let geometry = match named_device_cost(scenario, device.as_deref()) {
            Some(geometry) => Ok(geometry),
            None => self.geometry(loaded.resolve(&table.device_cost_as), &table.device_cost_as),
        };
        let geometry = keep(problems, loaded, ("collaboration.device_cost_as", &table.device_cost_as), geometry);
        if let Some(geometry) = &geometry {
            let sizes = Geometry { name: String::new(), ..geometry.clone() };
            hashes.insert("collaboration.device_cost_as".to_owned(), blake3_of(&format!("{sizes:?}")));
        }
        let reward_head = head_key(scenario).and_then(|key| {
            let name = if key.ends_with("router_head") { &table.router_head } else { &table.reward_head };
            let path = if name == BUILTIN { PathBuf::from(key) } else { loaded.resolve(name) };
            let opened = match self.heads.get(&path) {
                Some(head) => Ok(head.clone()),
                None => open_head(scenario, |file| loaded.resolve(file)).map(Arc::new),
            };
            let head = keep(problems, loaded, (key, name), opened)?;
            hashes.insert(key.to_owned(), head.content_hash().to_owned());
            self.heads.insert(path, head.clone());
            Some(head)
        });
        let exits = scenario.service.mode == ServiceModeName::EarlyExit && scenario.runs_model();
        let exit_head = exits.then_some(&table.exit_head).filter(|_| table.exit_layer < model.decoder.layers() as u32);
        let exit_head = exit_head.and_then(|name| {
            let path = if name == BUILTIN { PathBuf::from(name) } else { loaded.resolve(name) };
            let key = (path, table.exit_layer);
            let opened = match self.exits.get(&key) {
                Some(head) => Ok(head.clone()),
                None => open_exit(name, table.exit_layer, &key.0).map(Arc::new),
            };
            let by_layer = name == BUILTIN && table.exit_layer != CollaborationTable::default().exit_layer;
            let key_path = if by_layer { "collaboration.exit_layer" } else { "collaboration.exit_head" };
            let head = keep(problems, loaded, (key_path, name), opened)?;
            hashes.insert("collaboration.exit_head".to_owned(), head.content_hash().to_owned());
            self.exits.insert(key, head.clone());
            Some(head)
        });
        if problems.len() > found {
            return None;
        }
        let device_cost = CostModel::new(geometry?, FlopCount::Exact);
        let device_model = device.filter(|_| needs_model);
        Some(CollaborationInputs { device_model, device_cost, reward_head, exit_head })
    }

    fn corpus(&mut self, loaded: &LoadedScenario, model: &LoadedModel) -> Result<Arc<Corpus>, String> {
        let table = &loaded.scenario.model;
        let by_sentence = table.window == WindowKind::Sentence;
        let cut = if by_sentence { Segmentation::Sentence } else { Segmentation::Tokens };
        let file = if table.corpus == BUILTIN {
            table.corpus.clone()
        } else {
            loaded.resolve(&table.corpus).display().to_string()
        };
        // Token ids are those of one tokenizer.
        let key = (model.tokenizer.content_hash().to_owned(), file.clone(), by_sentence);
        if let Some(corpus) = self.corpora.get(&key) {
            return Ok(corpus.clone());
        }
        let corpus = Corpus::open(&file, &model.tokenizer, model.decoder.config().vocab, cut);
        let corpus = Arc::new(corpus.map_err(|error| error.to_string())?);
        self.corpora.insert(key, corpus.clone());
        Ok(corpus)
    }

    fn table(&mut self, loaded: &LoadedScenario, source: &str) -> Result<Arc<QualityTable>, String> {
        let path = if QualityTable::is_name(source) { PathBuf::from(source) } else { loaded.resolve(source) };
        if let Some(table) = self.tables.get(&path) {
            return Ok(table.clone());
        }
        let table = Arc::new(QualityTable::open(source, &path).map_err(|error| error.to_string())?);
        self.tables.insert(path, table.clone());
        Ok(table)
    }

    fn surrogate(&mut self, loaded: &LoadedScenario, source: &str) -> Result<Arc<Surrogate>, String> {
        let path = if Surrogate::is_name(source) { PathBuf::from(source) } else { loaded.resolve(source) };
        if let Some(surrogate) = self.surrogates.get(&path) {
            return Ok(surrogate.clone());
        }
        let surrogate = Arc::new(Surrogate::open(source, &path).map_err(|error| error.to_string())?);
        self.surrogates.insert(path, surrogate.clone());
        Ok(surrogate)
    }

    fn policy(&mut self, path: &Path) -> Result<(Arc<PolicyFile>, String), String> {
        if let Some(known) = self.policies.get(path) {
            return Ok(known.clone());
        }
        let (file, hash) = PolicyFile::open(path).map_err(|error| error.to_string())?;
        let known = (Arc::new(file), hash);
        self.policies.insert(path.to_owned(), known.clone());
        Ok(known)
    }

    fn cost(&mut self, loaded: &LoadedScenario, model: &LoadedModel) -> Result<CostModel, String> {
        let table = &loaded.scenario.model;
        let count = match table.flop_count {
            FlopCountName::Exact => FlopCount::Exact,
            FlopCountName::Chen25Eq2 => FlopCount::Chen25Eq2,
        };
        let geometry = if table.cost_as == "self" {
            Geometry::of_model(&table.source, model.decoder.config())
        } else if let Some(named) = Geometry::named(&table.cost_as) {
            named
        } else {
            self.geometry(loaded.resolve(&table.cost_as), &table.cost_as)?
        };
        Ok(CostModel::new(geometry, count))
    }

    /// The geometry in a file, read once: what changes under a study doesn't change its runs.
    fn geometry(&mut self, path: PathBuf, cost_as: &str) -> Result<Geometry, String> {
        if let Some(geometry) = self.geometries.get(&path) {
            return Ok(geometry.clone());
        }
        if !path.exists() {
            let known: Vec<&str> = Geometry::names().collect();
            return Err(format!(
                "{cost_as:?} is neither \"self\", nor a named geometry ({}), nor a file",
                known.join(", ")
            ));
        }
        let file = if path.is_dir() { path.join("config.json") } else { path.clone() };
        let geometry = Geometry::from_config_file(&file).map_err(|error| error.to_string())?;
        self.geometries.insert(path, geometry.clone());
        Ok(geometry)
    }

    /// The gains of each channel that takes them from a file.
    fn fading_traces(
        &mut self,
        loaded: &LoadedScenario,
        problems: &mut Vec<Problem>,
        hashes: &mut BTreeMap<String, String>,
    ) -> Vec<Option<Arc<GainTraces>>> {
        let channel = &loaded.scenario.channel;
        let mut found = Vec::new();
        for (index, table) in channel.tables().iter().enumerate() {
            let file = table.fading_trace.as_deref().filter(|_| table.fading == FadingKind::Trace);
            let traces = file.and_then(|file| {
                let path = format!("{}.fading_trace", channel.path("channel", index));
                let read = self.fading_trace(&loaded.resolve(file), table.fading_trace_repeat);
                let read = keep(problems, loaded, (&path, file), read)?;
                problems.extend(read.warnings.iter().map(|message| Problem::warning(&path, message)));
                let place = match channel {
                    OneOrMany::One(_) => path.clone(),
                    OneOrMany::Many(_) => format!("channel.{index}.fading_trace"),
                };
                hashes.insert(place, read.hash.clone());
                keep(problems, loaded, (&path, file), read.of_channel(&loaded.scenario, index))
            });
            found.push(traces.map(Arc::new));
        }
        found
    }

    fn fading_trace(&mut self, path: &Path, repeats: bool) -> Result<Arc<FadingTraceFile>, String> {
        let key = (path.to_owned(), repeats);
        if let Some(file) = self.fading_traces.get(&key) {
            return Ok(file.clone());
        }
        let file = Arc::new(FadingTraceFile::read(path, repeats)?);
        self.fading_traces.insert(key, file.clone());
        Ok(file)
    }

    fn trace(&mut self, path: &Path) -> Result<TraceFile, String> {
        if let Some(trace) = self.traces.get(path) {
            return Ok(trace.clone());
        }
        let trace = TraceFile::open(path)?;
        self.traces.insert(path.to_owned(), trace.clone());
        Ok(trace)
    }
}

/// The paths that groups of UEs follow.
fn mobility_traces(
    loaded: &LoadedScenario,
    problems: &mut Vec<Problem>,
    hashes: &mut BTreeMap<String, String>,
) -> Vec<Option<Arc<MobilityTrace>>> {
    let mut found = Vec::new();
    for (index, group) in loaded.scenario.ue.iter().enumerate() {
        let path = format!("ue.{index}.mobility.path");
        let cellular = loaded.scenario.is_cellular() && group.mobility.kind == MobilityName::Trace;
        let file = group.mobility.path.as_deref().filter(|_| cellular);
        let read = file.and_then(|file| {
            let read = read_mobility_trace(&loaded.resolve(file)).and_then(|read| {
                let ues = read.trace.ues();
                if ues < group.count as usize {
                    let message = format!("{file}: paths of {ues} UEs, and group {} has {}", group.name, group.count);
                    return Err(format!("{message}; allowed: at least as many paths as UEs"));
                }
                Ok(read)
            });
            keep(problems, loaded, (&path, file), read)
        });
        if let Some(read) = &read {
            problems.extend(read.warnings.iter().map(|message| Problem::warning(&path, message)));
            hashes.insert(path, read.hash.clone());
        }
        found.push(read.map(|read| read.trace));
    }
    found
}

/// The value, or a problem at the key that names its file.
fn keep<T>(
    problems: &mut Vec<Problem>,
    loaded: &LoadedScenario,
    (path, file): (&str, &str),
    result: Result<T, String>,
) -> Option<T> {
    let refuse = |message: String| {
        let problem = Problem::error(path, message);
        let missing = file != BUILTIN && !loaded.resolve(file).exists();
        let hint = if strsim::osa_distance(&file.to_lowercase(), BUILTIN) <= 2 {
            "did you mean \"builtin\"?"
        } else {
            "a path counts from the working directory, or else from the scenario file's folder"
        };
        problems.push(if missing { problem.with_hint(hint) } else { problem });
    };
    result.map_err(refuse).ok()
}

fn blake3_of(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

fn is_name(cost_as: &str) -> bool {
    cost_as == "self" || Geometry::named(cost_as).is_some()
}

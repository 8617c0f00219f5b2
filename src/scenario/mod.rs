//! The scenario file: TOML in, one struct per table out, all problems at once.
//!
//! A file passes through `document` (parsed by a recovering parser, overlaid
//! with `--set`, walked against the schema of [`schema`] and `nodes`), then through
//! `validate` for what one key says about another. What needs files (models,
//! corpora, tables) is checked when a run is assembled, one floor up.

pub mod air;
mod cell_checks;
pub mod cells;
mod codec_checks;
pub mod collaboration;
pub mod control;
mod device_files;
pub mod device_table;
pub mod devices;
mod document;
mod learning;
mod node_energy;
pub mod nodes;
mod outline;
mod overlay;
pub mod problem;
mod reader;
mod reference;
pub mod replications;
pub mod schema;
mod unused;
mod validate;
pub mod values;
mod walk;
mod workload_checks;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use outline::Outline;

pub use document::{Document, Entry, Node, Value};
pub use overlay::{SetArg, SetArgError, lay, resolve};
pub use problem::{KeyPath, Origin, Place, Problem, Severity, Source, Step};
pub use reference::scenario_reference_markdown;
pub use schema::Scenario;
pub use validate::check_name;
pub use walk::nearest;

/// A scenario that was read and checked, with the text that it came from.
#[derive(Debug)]
pub struct LoadedScenario {
    /// The file.
    pub path: PathBuf,
    /// Its text and the overlays, for places in messages.
    pub document: Document,
    /// Its tables.
    pub scenario: Scenario,
    /// What is allowed but probably not meant; errors only after [`LoadedScenario::salvage`].
    pub problems: Vec<Problem>,
}

/// A scenario that can't be used: all problems, with their texts.
#[derive(Debug)]
pub struct BadScenario {
    /// The file.
    pub path: PathBuf,
    /// Texts of the file and the overlays.
    pub sources: Vec<Source>,
    /// The problems, at least one of them an error.
    pub problems: Vec<Problem>,
}

impl LoadedScenario {
    /// Reads a scenario file and lays `sets` over it.
    ///
    /// # Errors
    /// [`BadScenario`] with every problem of the file.
    pub fn open(path: &Path, sets: &[SetArg]) -> Result<Self, Box<BadScenario>> {
        Self::salvage(path, sets)?.strict()
    }

    /// Reads a scenario file as [`LoadedScenario::open`] does, but gives what can be
    /// read of a file with errors, so that its inputs can be looked at as well.
    ///
    /// # Errors
    /// [`BadScenario`] if the file can't be read, or too little of it.
    pub fn salvage(path: &Path, sets: &[SetArg]) -> Result<Self, Box<BadScenario>> {
        let bytes = std::fs::read(path).map_err(|error| {
            let problem = Problem::error("", format!("{}: {error}", path.display()))
                .with_hint("give the path of a scenario file; scenarios/quickstart.toml is one to start from");
            Box::new(BadScenario { path: path.to_owned(), sources: Vec::new(), problems: vec![problem] })
        })?;
        Self::salvage_bytes(path, &bytes, sets)
    }

    /// Reads the bytes of a scenario file; `path` names it in messages.
    ///
    /// # Errors
    /// [`BadScenario`] with every problem of the file.
    pub fn from_bytes(path: &Path, bytes: &[u8], sets: &[SetArg]) -> Result<Self, Box<BadScenario>> {
        Self::salvage_bytes(path, bytes, sets)?.strict()
    }

    fn salvage_bytes(path: &Path, bytes: &[u8], sets: &[SetArg]) -> Result<Self, Box<BadScenario>> {
        Self::from_document(path, Document::parse_bytes(path.display().to_string(), bytes, sets))
    }

    /// Checks a document as [`LoadedScenario::salvage`] does a file; paths that it names count from `path`.
    ///
    /// # Errors
    /// [`BadScenario`] if too little of it can be read.
    pub fn from_document(path: &Path, document: Document) -> Result<Self, Box<BadScenario>> {
        let (scenario, problems): (Scenario, _) = match document.read_by(scenario_outline()) {
            Ok(scenario) => (scenario, Vec::new()),
            Err(problems) => {
                let Some(scenario) = document.salvage(&problems, scenario_outline()) else {
                    let sources = document.sources().to_vec();
                    return Err(Box::new(BadScenario { path: path.to_owned(), sources, problems }));
                };
                (scenario, problems)
            }
        };
        let mut loaded = Self { path: path.to_owned(), document, scenario, problems };
        let of_files = loaded.read_device_files();
        loaded.add(of_files);
        let mut found = validate::validate(&loaded.scenario);
        found.extend(unused::unused(&loaded.scenario));
        loaded.add(found);
        Ok(loaded)
    }

    /// Adds problems, located in the text, unless one is known at the same place or around it.
    pub fn add(&mut self, found: Vec<Problem>) {
        for mut problem in found {
            let known = |other: &Problem| {
                let below = problem.path.strip_prefix(other.path.as_str());
                other.is_error()
                    && !other.path.is_empty()
                    && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            if !self.problems.iter().any(known) {
                self.document.locate(&mut problem);
                self.problems.push(problem);
            }
        }
        // In the order of the texts: the file, then the overlays.
        let place = |problem: &Problem| {
            let source =
                self.document.sources().iter().position(|source| Some(&source.origin) == problem.origin.as_ref());
            (source, problem.span.as_ref().map(|span| span.start))
        };
        let mut problems = std::mem::take(&mut self.problems);
        problems.sort_by_key(place);
        self.problems = problems;
    }

    /// Itself, if it has no errors.
    ///
    /// # Errors
    /// [`BadScenario`] with all problems.
    pub fn strict(self) -> Result<Self, Box<BadScenario>> {
        if self.problems.iter().any(Problem::is_error) {
            let sources = self.document.sources().to_vec();
            return Err(Box::new(BadScenario { path: self.path, sources, problems: self.problems }));
        }
        Ok(self)
    }

    /// A path that the scenario names: as it is if that exists, else beside the scenario file.
    pub fn resolve(&self, path: &str) -> PathBuf {
        let plain = PathBuf::from(path);
        if plain.is_absolute() || plain.exists() {
            return plain;
        }
        let beside = self.path.parent().map_or_else(|| plain.clone(), |folder| folder.join(path));
        if beside.exists() { beside } else { plain }
    }
}

/// The JSON Schema of the scenario file.
pub fn json_schema() -> &'static serde_json::Value {
    static SCHEMA: OnceLock<serde_json::Value> = OnceLock::new();
    SCHEMA.get_or_init(|| schemars::schema_for!(Scenario).to_value())
}

/// The schema with its references followed.
fn scenario_outline() -> &'static Outline<'static> {
    static OUTLINE: OnceLock<Outline<'static>> = OnceLock::new();
    OUTLINE.get_or_init(|| Outline::new(json_schema()))
}

/// The scenario with every key at its default, as JSON.
pub fn defaults() -> &'static serde_json::Value {
    static DEFAULTS: OnceLock<serde_json::Value> = OnceLock::new();
    DEFAULTS.get_or_init(|| {
        let document = Document::parse("defaults", "name = \"defaults\"", &[]);
        let scenario: Option<Scenario> = document.read_by(scenario_outline()).ok();
        serde_json::to_value(scenario).unwrap_or_default()
    })
}

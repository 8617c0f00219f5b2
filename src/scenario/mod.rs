//! The scenario file: TOML in, one struct per table out, all problems at once.
//!
//! A file passes through `document` (parsed by a recovering parser, overlaid
//! with `--set`, walked against the schema of [`schema`] and `nodes`), then through
//! `validate` for what one key says about another. What needs files (models,
//! corpora, tables) is checked when a run is assembled, one floor up.

pub mod devices;
mod document;
pub mod nodes;
mod overlay;
pub mod problem;
mod reference;
pub mod schema;
mod validate;
pub mod values;
mod walk;

use std::path::{Path, PathBuf};

pub use document::{Document, Node};
pub use overlay::{SetArg, SetArgError};
pub use problem::{Origin, Problem, Severity, Source};
pub use reference::scenario_reference_markdown;
pub use schema::Scenario;

/// A scenario that was read and checked, with the text that it came from.
#[derive(Debug)]
pub struct LoadedScenario {
    /// The file.
    pub path: PathBuf,
    /// Its text and the overlays, for places in messages.
    pub document: Document,
    /// Its tables.
    pub scenario: Scenario,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Problem>,
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
        let bytes = std::fs::read(path).map_err(|error| {
            let problem = Problem::error("", format!("{}: {error}", path.display()))
                .with_hint("give the path of a scenario file; scenarios/quickstart.toml is one to start from");
            Box::new(BadScenario { path: path.to_owned(), sources: Vec::new(), problems: vec![problem] })
        })?;
        Self::from_bytes(path, &bytes, sets)
    }

    /// Reads the bytes of a scenario file; `path` names it in messages.
    ///
    /// # Errors
    /// [`BadScenario`] with every problem of the file.
    pub fn from_bytes(path: &Path, bytes: &[u8], sets: &[SetArg]) -> Result<Self, Box<BadScenario>> {
        let document = Document::parse_bytes(path.display().to_string(), bytes, sets);
        let bad = |document: &Document, problems| {
            Box::new(BadScenario { path: path.to_owned(), sources: document.sources().to_vec(), problems })
        };
        let scenario: Scenario = document.read().map_err(|problems| bad(&document, problems))?;
        let mut problems = validate::validate(&scenario);
        for problem in &mut problems {
            document.locate(problem);
        }
        if problems.iter().any(Problem::is_error) {
            return Err(bad(&document, problems));
        }
        Ok(Self { path: path.to_owned(), document, scenario, warnings: problems })
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
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Scenario).to_value()
}

/// The scenario with every key at its default, as JSON.
pub fn defaults() -> serde_json::Value {
    let document = Document::parse("defaults", "name = \"defaults\"", &[]);
    let scenario: Option<Scenario> = document.read().ok();
    serde_json::to_value(scenario).unwrap_or_default()
}

//! One run: from a checked scenario to a sealed folder of results.
//!
//! [`inputs`] loads what the scenario names ([`traces`] the requests that somebody recorded, [`mobility_trace`] paths of UEs), [`assembly`] turns both into a
//! network, [`identity`] names the run by everything that its results depend on,
//! [`results`] gives it a folder that never passes for finished before it is,
//! [`runner`] runs one or many, [`sequential`] says how often, [`output_analysis`] what a run's means are worth,
//! [`evaluation`] judges what was learned, [`profile`] measures the model's perplexity over
//! channel conditions, and [`fit`] trains a surrogate on them; [`fit_exit`] fits heads that
//! leave the model early, [`fit_reward`] a reward model for a pair of models; [`wording`] puts numbers into sentences.

pub mod assembly;
mod cellular;
mod checks;
pub mod clock;
mod collaboration;
pub mod controllers;
pub mod evaluation;
mod fading;
mod fading_trace;
pub mod fit;
pub mod fit_exit;
mod fit_folder;
pub mod fit_reward;
pub mod identity;
pub mod inputs;
pub mod manifest;
mod memory;
pub mod mobility_trace;
pub mod model_folder;
pub mod output_analysis;
pub mod profile;
mod quality_checks;
pub mod results;
pub mod runner;
pub mod sequential;
pub mod signals;
pub mod theory;
mod timestamp;
pub mod traces;
pub mod wording;
mod workloads;

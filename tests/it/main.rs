//! All integration tests in one binary: one link, one load of the model.

mod channel_fading;
mod channel_reception;
mod floors;
mod kernel_theory;
mod llm;
mod llm_hostile;
mod llm_tiny;
mod profile;
mod queueing_support;
mod record;
mod results;
mod scenario_document;

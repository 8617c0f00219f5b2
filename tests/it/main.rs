//! All integration tests in one binary: one link, one load of the model.

mod bad_input;
mod battery;
mod bos;
mod channel_fading;
mod channel_reception;
mod checkpoint;
mod cli;
mod cli_model;
mod cli_support;
mod corpus_parquet;
mod corruption;
mod determinism;
mod devices;
mod docs;
mod energy;
mod families;
mod fit;
mod fit_input;
mod floors;
mod fuzz_corpus;
mod gguf;
mod gguf_hostile;
mod gguf_tiny;
mod interruption;
mod kernel_theory;
mod learning;
mod llm;
mod llm_hostile;
mod llm_tiny;
mod model_config;
mod network;
mod network_decisions;
mod network_sessions;
mod network_support;
mod network_theory;
mod network_uplink;
mod network_workload;
mod profile;
mod profile_resume;
mod quality;
mod queueing_support;
mod record;
mod results;
mod scenario_document;
mod scenarios;
mod session_quality;
mod session_rows;
mod studies;
mod study_collect;
mod study_kill;
mod study_plan;
mod study_run;
mod study_submit;
mod study_support;

/// Cases of a property test: as many as usual, or as `PROPTEST_CASES` says.
pub fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

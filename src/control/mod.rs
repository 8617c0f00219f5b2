//! What sits on the network's ports: rewards, quality sources, policies.

mod llm_quality;
mod policies;
mod prompts;
mod rewards;
mod table;
mod table_quality;

pub use llm_quality::{LlmQuality, clean_nll, evaluate};
pub use policies::{ActionSpace, FixedPolicy, GreedyPolicy, OraclePolicy, Outlook, RandomPolicy};
pub use prompts::{CorpusPrompts, LengthPrompts};
pub use rewards::RewardFunction;
pub use table::{BUILTIN_TABLE, QualityTable, TableError};
pub use table_quality::{NoQuality, TableQuality};

//! What sits on the network's ports: rewards, quality sources, policies.

mod clean_states;
mod generation;
mod llm_quality;
mod policies;
mod prompts;
mod rewards;
mod row_channel;
mod table;
mod table_quality;
mod windows;

pub use clean_states::{CAPACITY_BYTES, CleanPass, CleanStates, Passed};
pub use generation::{Generated, Generation, GenerationEnd, GenerationError, generate};
pub use llm_quality::{LlmQuality, clean_nll, evaluate};
pub use policies::{ActionSpace, FixedPolicy, GreedyPolicy, OraclePolicy, Outlook, RandomPolicy};
pub use prompts::{CorpusPrompts, LengthPrompts};
pub use rewards::RewardFunction;
pub use row_channel::{DecodeDelivery, RowChannel, RowChannelError, Traffic};
pub use table::{BUILTIN_TABLE, QualityTable, TableError};
pub use table_quality::{NoQuality, TableQuality};
pub use windows::{Window, WindowText, further_tokens};

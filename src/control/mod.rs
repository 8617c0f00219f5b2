//! What sits on the network's ports: rewards, quality sources, policies.

mod clean_states;
pub mod collaboration;
mod generation;
mod learner;
mod llm_quality;
mod observation;
mod optimal;
mod policies;
mod policy_file;
mod prompts;
mod rewards;
mod row_channel;
mod surrogate;
mod surrogate_file;
mod surrogate_quality;
mod surrogate_training;
mod switching_quality;
mod table;
mod table_quality;
mod windows;

pub use clean_states::{CAPACITY_BYTES, CleanPass, CleanStates, Passed};
pub use generation::{Generated, Generation, GenerationEnd, GenerationError, generate};
pub use learner::{Choosing, FrozenPolicy, Learner, LearnerPlace, Snapshot};
pub use llm_quality::{LlmQuality, clean_nll, evaluate};
pub use observation::{Entry, ObservationBounds, ObservationSpace, Observed, Scaling};
pub use optimal::OptimalPolicy;
pub use policies::{ActionSpace, Expectation, FixedPolicy, GreedyPolicy, OraclePolicy, Outlook, RandomPolicy};
pub use policy_file::{PolicyFile, PolicyFileError, SavedActions, SavedPolicy};
pub use prompts::{CorpusPrompts, LengthPrompts};
pub use rewards::RewardFunction;
pub use row_channel::{DecodeDelivery, RowChannel, RowChannelError, Traffic};
pub use surrogate::{
    Input, InputColumn, Surrogate, SurrogatePoint, SurrogateRow, SurrogateScratch, Target, TargetColumn,
};
pub use surrogate_file::SurrogateError;
pub use surrogate_quality::{SurrogateQuality, surrogate_quality};
pub use surrogate_training::{DrawnFrom, TrainingError, points_of, shuffled, train, train_over};
pub use switching_quality::{Fit, Fitting, Switching, SwitchingQuality};
pub use table::{BUILTIN_TABLE, QualityTable, TableError};
pub use table_quality::{NoQuality, TableQuality};
pub use windows::{Window, WindowText, further_tokens};

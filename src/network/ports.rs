//! What the network asks of the floors above it: a controller, a quality
//! source, a reward, a recorder. Traits and plain data only.

use crate::channel::ReceptionRecord;
use crate::network::energy::UeEnergy;
use crate::network::rows::{DecisionRow, RequestRow, SeriesRow, TokenRow, UpdateRow};
use crate::units::SimTime;

/// Long-term channel parameters, frozen at the decision of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// Standard deviation σ of the noise per element, eq. (3); 0 if digital.
    pub noise_std: f64,
    /// Scale σ_h of the Rayleigh gain.
    pub rayleigh_scale: f64,
    /// Gain threshold h_th below which a packet is lost.
    pub gain_threshold: f64,
    /// Loss probability, eq. (4).
    pub loss_probability: f64,
}

/// What a controller sees: long-term conditions and the UE's own state, never
/// the gains and losses of the request that it decides for.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    /// The UE that decides.
    pub ue: u32,
    /// Time of the decision.
    pub now: SimTime,
    /// Number of the UE's decisions so far: the index of the controller's draws.
    pub decision: u64,
    /// Step in the episode, from 0.
    pub step_in_episode: u32,
    /// Conditions of this step.
    pub conditions: Conditions,
    /// Split before the action.
    pub split: u32,
    /// Tokens of the request.
    pub prompt_tokens: u32,
    /// What the UE knows of the network at that time.
    pub state: NetworkState,
}

/// What a UE can know of its link and of the queues, beside the long-term conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NetworkState {
    /// Mean SNR of the link \[dB\]: analog `10 lg(2σ_h²/σ²)`, per unit of activation power;
    /// digital `10 lg(SNR₁·2σ_h²)`, with the SNR₁ that h_th and the rate stand for. Infinite
    /// without noise or threshold.
    pub snr_db: f64,
    /// Mean gain over the packets of the UE's last transmission. `None` before the first.
    pub gain_estimate: Option<f64>,
    /// Time since the last of these packets arrived. `None` before the first.
    pub gain_age: Option<SimTime>,
    /// Requests that wait at the UE, without the one that is decided about.
    pub ue_queue: u32,
    /// Jobs that wait at the edge.
    pub edge_queue: u32,
    /// Jobs in service at the edge.
    pub edge_busy: u32,
    /// Share of the battery that is left, 0 to 1. `None` without one.
    pub battery: Option<f64>,
}

/// What a controller chose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Index of the action.
    pub action: u32,
    /// Split after the action.
    pub split: u32,
    /// Log-probability of the action, if the policy has one.
    pub log_prob: Option<f64>,
    /// The critic's value, if there is one.
    pub value: Option<f64>,
}

/// Chooses where to split.
pub trait Controller: Send {
    /// Chooses an action for the request that is about to run.
    fn decide(&mut self, observation: &Observation) -> Decision;

    /// Learns the reward of a decision. Called once per step in the order of this
    /// controller's decisions, for completed, outage and timeout requests; policies
    /// that don't learn ignore it.
    fn learn(&mut self, _step: &DecisionRow<'_>) {}

    /// How many further rewards, in the order of its decisions, the controller waits for
    /// before it learns from them; once so many requests have ended, they are joined and
    /// handed to [`Controller::learn`]. `None`: it can wait until their rows are due.
    fn lessons_wanted(&self) -> Option<usize> {
        None
    }

    /// What came of an update of the policy since this was asked last.
    fn take_update(&mut self) -> Option<UpdateRow> {
        None
    }

    /// The controller itself, for whoever made it and wants to see what it has learned.
    fn as_any(&self) -> Option<&dyn std::any::Any> {
        None
    }
}

/// Which part of the model ran where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceMode {
    /// Layers 1..p on the UE, the rest on the edge.
    Split,
    /// All on the UE; nothing crosses the channel.
    DeviceOnly,
    /// All on the edge; token ids cross the channel, retransmitted until they arrive.
    EdgeOnly,
    /// The UE's own model proposes tokens; those of a low score are asked of the edge.
    HybridReward,
    /// The UE's own model proposes tokens; the edge judges those that it is unsure of.
    HybridUncertainty,
    /// The UE has the first layers and a head; the edge goes on where that one is unsure.
    EarlyExit,
    /// Each request as a whole, on the UE by its own model or on the edge.
    QueryRouter,
}

/// A quality evaluation: a pure function of this data and the run's streams.
#[derive(Clone, Debug)]
pub struct QualityRequest {
    /// Window of the corpus.
    pub window: Option<u32>,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens asked for.
    pub output_tokens: u32,
    /// What came of it.
    pub delivery: Delivery,
    /// Conditions frozen at the decision.
    pub conditions: Conditions,
}

/// What the second part of the model had to work with.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// Everything: no tensor crossed the channel.
    Direct,
    /// A tensor that crossed the channel.
    Tensor(Box<Crossing>),
    /// Nothing arrived: the quality is chance.
    Nothing,
    /// The result came too late; only the clean perplexity is asked for.
    Late,
}

/// A tensor that crossed the channel.
#[derive(Clone, Debug)]
pub struct Crossing {
    /// Layers that ran before it.
    pub split: u32,
    /// What the channel did to it.
    pub reception: ReceptionRecord,
}

/// What a quality source says of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// Negative log-likelihood of the scored tokens \[nat\].
    pub nll_sum: Option<f64>,
    /// Tokens scored.
    pub tokens_scored: Option<u32>,
    /// Perplexity without a channel.
    pub ppl_clean: Option<f64>,
    /// Perplexity, eq. (6).
    pub ppl: Option<f64>,
    /// Relative gain `(PPL_0 - PPL) / PPL_0`; sources without a PPL may know only this.
    pub relative_gain: Option<f64>,
    /// Activation SNR \[dB\].
    pub activation_snr_db: Option<f64>,
    /// Rows lost, as the model saw them.
    pub rows_lost: Option<u32>,
    /// Where this comes from, of a source that has several; otherwise [`QualitySource::name`] says it.
    pub source: Option<&'static str>,
}

/// Names a submitted evaluation; numbers count up from 0 in order of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QualityTicket(pub u64);

/// An evaluation without a result; the run ends with it.
#[derive(Debug, thiserror::Error)]
pub enum QualityError {
    /// It failed.
    #[error("quality of {what}: {reason}")]
    Failed {
        /// What was evaluated.
        what: String,
        /// Why it failed.
        reason: String,
    },
    /// The run is to stop.
    #[error("interrupted while the model was running")]
    Interrupted,
}

impl QualityError {
    /// An evaluation of a window of the corpus, split or not, that failed.
    pub fn failed(window: Option<u32>, split: Option<u32>, reason: impl std::fmt::Display) -> Self {
        let window = window.map_or_else(|| "a prompt without text".to_owned(), |window| format!("window {window}"));
        let what = split.map_or_else(|| window.clone(), |split| format!("{window} at split {split}"));
        Self::Failed { what, reason: reason.to_string() }
    }
}

/// Turns reception records into perplexity, some time between submission and
/// joining; neither the time nor the grouping may change the result.
pub trait QualitySource {
    /// Name in the column `quality_source`; `None` for no quality at all.
    fn name(&self) -> Option<&'static str>;

    /// What its user should hear of it after a run, in sentences.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    /// Hands in an evaluation.
    fn submit(&mut self, request: QualityRequest) -> QualityTicket;

    /// The result of `ticket`; each ticket is joined once.
    ///
    /// # Errors
    /// [`QualityError`] if the model gave no finite result.
    fn join(&mut self, ticket: QualityTicket) -> Result<Quality, QualityError>;
}

/// A prompt of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Window of the corpus; `None` without a corpus.
    pub window: Option<u32>,
    /// Tokens S.
    pub tokens: u32,
}

/// Where prompts come from.
pub trait Prompts: Sync {
    /// The prompt for a uniform draw on (0, 1), the length that the workload asks for, and
    /// the tokens that are to follow it.
    fn pick(&self, uniform: f64, tokens: u32, output_tokens: u32) -> Prompt;
}

/// What a reward is computed from.
#[derive(Clone, Copy, Debug)]
pub struct RewardInput {
    /// Quality; without a PPL for a request that came too late.
    pub quality: Option<Quality>,
    /// Whether the request failed: it came too late, or nothing of it arrived.
    pub failed: bool,
    /// Split that ran.
    pub split: u32,
    /// Work really done on the UE over the work of all layers, C_UE(p)/C_UE(L).
    pub ue_cost_share: f64,
    /// Time from arrival to the end, whatever it was \[s\].
    pub elapsed_s: f64,
    /// Energy of the UE's processor and transmitter \[J\].
    pub energy_j: f64,
}

/// The reward of a step of the decision process.
pub trait Reward: Sync {
    /// The reward, or `None` where the quality source doesn't give what it needs.
    fn reward(&self, input: &RewardInput) -> Option<f64>;
}

/// A row could not be kept: the disk is full, say.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct RecordError {
    /// File that could not be written.
    pub path: std::path::PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// Keeps the rows.
pub trait Recorder {
    /// A request has ended.
    ///
    /// # Errors
    /// [`RecordError`] if the row can't be kept.
    fn request(&mut self, row: &RequestRow<'_>) -> Result<(), RecordError>;

    /// A step of the decision process is complete.
    ///
    /// # Errors
    /// [`RecordError`] if the row can't be kept.
    fn decision(&mut self, row: &DecisionRow<'_>) -> Result<(), RecordError>;

    /// A token of a text; those of a request come in front of its row, in the order of the text.
    ///
    /// # Errors
    /// [`RecordError`] if the row can't be kept.
    fn token(&mut self, _row: &TokenRow) -> Result<(), RecordError> {
        Ok(())
    }

    /// A policy has been updated.
    ///
    /// # Errors
    /// [`RecordError`] if the row can't be kept.
    fn update(&mut self, _row: &UpdateRow) -> Result<(), RecordError> {
        Ok(())
    }

    /// A UE has computed from `from` to `to` for a session, whose passes needn't follow
    /// each other; what it computes for a request for one token is in the request's row.
    fn ue_computed(&mut self, _ue: u32, _from: SimTime, _to: SimTime) {}

    /// What a UE drew between its requests, and what it has left: at the end of a run, and only
    /// of UEs that have something to say.
    fn ue_energy(&mut self, _ue: u32, _energy: &UeEnergy) {}

    /// A stop rule has ended arrivals at `at`. Rows of requests that end later come later.
    fn arrivals_ended(&mut self, _at: SimTime) {}

    /// A sample of the network's state.
    ///
    /// # Errors
    /// [`RecordError`] if the row can't be kept.
    fn sample(&mut self, row: &SeriesRow) -> Result<(), RecordError>;
}

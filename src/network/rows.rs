//! The rows that a simulation gives: plain data, one struct per CSV file.
//!
//! A struct, its columns and their documentation are one definition (the macro
//! `record!`); `docs/columns.md` is printed from it. Writers (floor 5) visit the
//! cells and never name a column.

use crate::units::SimTime;

/// A column of a record file.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Name in the header; equal to the struct's field.
    pub name: &'static str,
    /// What stands in it, with its unit.
    pub doc: &'static str,
}

/// Receives the cells of a row in the order of its columns.
pub trait CellVisitor {
    /// An integer.
    fn integer(&mut self, value: u64);
    /// A signed integer.
    fn signed(&mut self, value: i64);
    /// A real number.
    fn real(&mut self, value: f64);
    /// Seconds, exact to the nanosecond.
    fn seconds(&mut self, value: SimTime);
    /// A word without commas, quotes or line breaks.
    fn word(&mut self, value: &str);
    /// Does not apply.
    fn empty(&mut self);
}

/// A value that can stand in a cell.
pub trait Cell {
    /// Hands itself to the visitor.
    fn visit<V: CellVisitor>(&self, visitor: &mut V);
}

impl Cell for u64 {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) {
        visitor.integer(*self);
    }
}

impl Cell for u32 {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) {
        visitor.integer(u64::from(*self));
    }
}

impl Cell for i32 {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) {
        visitor.signed(i64::from(*self));
    }
}

impl Cell for f64 {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) {
        visitor.real(*self);
    }
}

impl Cell for bool {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) {
        visitor.word(if *self { "true" } else { "false" });
    }
}

impl Cell for SimTime {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) {
        visitor.seconds(*self);
    }
}

impl Cell for &str {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) {
        visitor.word(self);
    }
}

impl Cell for String {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) {
        visitor.word(self);
    }
}

impl Cell for Outcome {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) {
        visitor.word(self.name());
    }
}

impl<T: Cell> Cell for Option<T> {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) {
        match self {
            Some(value) => value.visit(visitor),
            None => visitor.empty(),
        }
    }
}

/// A row of a record file: its columns, and itself as cells.
pub trait Record {
    /// File name without folder.
    const FILE: &'static str;
    /// What one row of the file is.
    const ABOUT: &'static str;
    /// Columns in order.
    const COLUMNS: &'static [Column];
    /// Visits the cells in the order of [`Record::COLUMNS`].
    fn cells<V: CellVisitor>(&self, visitor: &mut V);
}

/// Defines a row struct, its columns and its cells from one list.
macro_rules! record {
    (
        $(#[doc = $about:literal])+
        $file:literal => pub struct $name:ident $(<$life:lifetime>)? {
            $( $(#[doc = $doc:literal])+ $field:ident : $type:ty, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub struct $name $(<$life>)? {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl $(<$life>)? Record for $name $(<$life>)? {
            const FILE: &'static str = $file;
            const ABOUT: &'static str = concat!($($about,)+);
            const COLUMNS: &'static [Column] = &[
                $( Column { name: stringify!($field), doc: concat!($($doc,)+) }, )+
            ];
            fn cells<V: CellVisitor>(&self, visitor: &mut V) {
                $( self.$field.visit(visitor); )+
            }
        }
    };
}
pub(crate) use record;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The client has the result.
    Completed,
    /// No part of the tensor (or of the prompt) arrived at the edge; or the UE's battery was empty before the result came.
    Outage,
    /// Its deadline passed; the remaining work was cancelled.
    Timeout,
    /// The UE's queue was full at its arrival, or its battery empty.
    Dropped,
    /// The drain limit came first.
    Unfinished,
}

impl Outcome {
    /// All outcomes, in the order of the summary's columns.
    pub const ALL: [Self; 5] = [Self::Completed, Self::Outage, Self::Timeout, Self::Dropped, Self::Unfinished];

    /// The word in the column `outcome`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Outage => "outage",
            Self::Timeout => "timeout",
            Self::Dropped => "dropped",
            Self::Unfinished => "unfinished",
        }
    }
}

record! {
    /// One row per request, in the order in which requests end.
    "requests.csv" => pub struct RequestRow<'a> {
        /// Number of the request in order of arrival, from 0.
        request_id: u64,
        /// Number of the UE, from 0, through all groups.
        ue_id: u32,
        /// Name of the `[[ue]]` group.
        group: &'a str,
        /// Cell that the last transmission went to; without one the serving cell. 0 without cells.
        cell_id: u32,
        /// Episode of the UE's decision process, from 0. Empty if service never began.
        episode: Option<u32>,
        /// Window of the corpus that is the prompt, from 0. Empty without a corpus.
        window: Option<u32>,
        /// Time of arrival at the UE \[s\].
        arrival_s: SimTime,
        /// Layers run on the UE. Empty outside `mode = "split"` and without a decision.
        split: Option<u32>,
        /// Tokens S of the prompt.
        prompt_tokens: u32,
        /// Tokens asked for. With more than one the request is a session of as many rounds, whose phases, counts, work and energy are sums over its rounds.
        output_tokens: u32,
        /// Standard deviation σ of the noise per element, eq. (3). Empty if digital.
        noise_std: Option<f64>,
        /// Scale σ_h of the gain: E h² = 2σ_h²; without fading h = √2·σ_h throughout.
        rayleigh_scale: Option<f64>,
        /// Probability that a packet (an element, if `element-iid`) is lost, eq. (4); in cells that of a first attempt at the rate of the last transmission, and empty where the rate follows reports, or slot by slot.
        loss_probability: Option<f64>,
        /// 10 lg(median power of a transmitted row / σ²) \[dB\].
        activation_snr_db: Option<f64>,
        /// Mean of the gain h at the midpoints in time of all packets sent.
        mean_gain: Option<f64>,
        /// Packets sent over the uplink, retransmissions included; those of a transmission that was cut off are not.
        packets_sent: Option<u32>,
        /// Packets of these that were lost.
        packets_lost: Option<u32>,
        /// Rows (tokens) that are lost, of the prompt's tensor and of decode rounds: under `token-row` those that a packet is missing of when the edge goes on, under `chunk` and `interleaved` those of which nothing arrived. Empty for `element-iid` without a model, and where no tensor crosses.
        rows_lost: Option<u32>,
        /// Runs of consecutive lost packets.
        loss_bursts: Option<u32>,
        /// Payload sent over the uplink \[bit\], retransmissions included. A transmission that was cut off (by the deadline of the request, of a decode round's row or of an answer, by the end of its request or of the run) counts no bits, though its time counts. Empty if analog.
        uplink_bits: Option<u64>,
        /// Waiting for the UE's processor \[s\].
        ue_wait_s: Option<SimTime>,
        /// Computing on the UE \[s\].
        ue_compute_s: Option<SimTime>,
        /// Sojourn on the uplink less `uplink_air_s` \[s\]: sharing, and waiting for retransmissions. Under `early-exit` only what a question waits for its rows.
        uplink_wait_s: Option<SimTime>,
        /// Airtime that the payload takes alone on the uplink \[s\]. Under `early-exit` that of uploads that end while a question waits for them, at most the wait.
        uplink_air_s: Option<SimTime>,
        /// Waiting for the edge's processor \[s\]; under `ps` the sojourn less `edge_compute_s`.
        edge_wait_s: Option<SimTime>,
        /// Computing on the edge \[s\]; under `batch` the time of the whole batch, of each round.
        edge_compute_s: Option<SimTime>,
        /// Returning the result \[s\]; of an edge-only session (and of a request routed to the edge) the last token, the others return while the edge goes on.
        downlink_s: Option<SimTime>,
        /// Time from arrival to the first token at the client \[s\]. Of a session that failed, if the first token had come.
        ttft_s: Option<SimTime>,
        /// Mean time per further token, (e2e_s - ttft_s)/(output_tokens - 1) \[s\]. Only of completed sessions.
        tpot_s: Option<f64>,
        /// Time from arrival to the last token at the client \[s\]. Only of completed requests.
        e2e_s: Option<SimTime>,
        /// Whether the result came within the deadline. Empty without a deadline.
        deadline_met: Option<bool>,
        /// Work done on the UE \[FLOP\].
        ue_flop: Option<f64>,
        /// Work done on the edge \[FLOP\].
        edge_flop: Option<f64>,
        /// Energy of the UE's processor while it computed, or loaded layers, for the request \[J\].
        ue_energy_j: Option<f64>,
        /// Energy of the UE's transmitter \[J\].
        tx_energy_j: Option<f64>,
        /// Negative log-likelihood of the scored tokens, summed \[nat\].
        nll_sum: Option<f64>,
        /// Tokens scored, N of eq. (6): those of the prompt, or of a session's continuation.
        tokens_scored: Option<u32>,
        /// Perplexity of the same window without a channel.
        ppl_clean: Option<f64>,
        /// Perplexity, eq. (6); the vocabulary's size for an outage.
        ppl: Option<f64>,
        /// Where the quality comes from: `llm`, `table` or `surrogate`.
        quality_source: Option<&'a str>,
        /// Reward of the decision that chose the split.
        reward: Option<f64>,
        /// `completed`, `outage`, `timeout`, `dropped` or `unfinished`.
        outcome: Outcome,
        /// Part of `ue_compute_s` in which the UE loaded layers that it had not used before \[s\]. Empty where loading takes no time (no `load_gb_s`), and without a decision.
        layer_load_s: Option<SimTime>,
        /// Charge of the UE's battery when the request ended \[J\]; 0 of an outage for an empty battery and of what arrives behind it. Empty without a battery.
        battery_j: Option<f64>,
        /// Number of the UE's conversation, from 0. Empty where requests don't form conversations.
        conversation: Option<u32>,
        /// Turn of the conversation, from 0. Its prompt holds all earlier prompts and answers.
        turn: Option<u32>,
        /// Packets of its payloads that had not arrived when the edge went on: what is lost after hybrid ARQ and retransmissions.
        packets_missing: Option<u32>,
        /// Mean SINR of the last transmission's link, without fading \[dB\]: signal over noise and interference at its start. Empty without cells, as are `spectral_efficiency_bps_hz` to `handovers`.
        sinr_db: Option<f64>,
        /// Rate of the last transmission over the bandwidth; slot by slot bits over airtime and bandwidth of all \[bit/s/Hz\]. Empty if analog.
        spectral_efficiency_bps_hz: Option<f64>,
        /// Place of the UE at the last measurement before the last transmission began, east \[m\].
        x_m: Option<f64>,
        /// The same, north \[m\].
        y_m: Option<f64>,
        /// Distance to the base station \[m\].
        distance_m: Option<f64>,
        /// Handovers while the request was on the air.
        handovers: Option<u32>,
        /// Generated tokens that are the UE's own. Empty without a generated text, as are `edge_tokens` to `downlink_bits`.
        ue_tokens: Option<u32>,
        /// Generated tokens that come from the edge.
        edge_tokens: Option<u32>,
        /// Generated tokens that are the UE's own because the edge's answer was lost or late.
        fallback_tokens: Option<u32>,
        /// Generated tokens that are the large model's own first choice, argmax p_L. Empty without a model.
        llm_agreements: Option<u32>,
        /// Questions that the UE put to the edge, answered or not. Empty outside the collaborative modes.
        edge_asks: Option<u32>,
        /// Ids of tokens sent back by the edge, late ones included \[bit\]. Empty outside the collaborative modes.
        downlink_bits: Option<u64>,
    }
}

record! {
    /// One row per token of a generated text, those of a request together in the order in which requests end; of requests that failed the tokens that had come.
    "tokens.csv" => pub struct TokenRow {
        /// Request that the token belongs to.
        request_id: u64,
        /// Place in the text behind the prompt, from 0.
        position: u32,
        /// `ue`: the UE's own token; `edge`: from the edge, or accepted by it; `fallback`: the UE's own because the edge's answer was lost or late.
        source: &'static str,
        /// Score of the UE's token, in the unit of the scorer. Empty where nobody asked for one.
        score: Option<f64>,
        /// Threshold that it was held against. Empty if infinite.
        threshold: Option<f64>,
        /// Bits sent since the token before it stood, retransmissions included; those of a transmission count once it has ended. Empty outside the collaborative modes, and until anything is sent.
        uplink_bits: Option<u64>,
        /// Time from the question to the answer, or to the end of waiting for it \[s\]. Empty if the edge wasn't asked for this token, as for the further ones of a request that was routed to it.
        wait_s: Option<SimTime>,
        /// Time that the edge computed for the token \[s\]. Empty if it didn't.
        edge_s: Option<SimTime>,
        /// Natural logarithm of the large model's probability of the token, given the text before it. Empty without a model.
        logprob_llm: Option<f64>,
        /// The token's id.
        token: Option<u32>,
        /// The large model's own first choice at this place.
        llm_token: Option<u32>,
        /// Time at which the token was at the UE \[s\]. Empty outside the collaborative modes.
        time_s: Option<SimTime>,
    }
}

record! {
    /// One row per decision of a controller, in the order of decisions.
    "decisions.csv" => pub struct DecisionRow<'a> {
        /// Number of the decision in the run, from 0.
        step: u64,
        /// UE that decided.
        ue_id: u32,
        /// Request that the decision serves.
        request_id: u64,
        /// Time of the decision: start of the request's service at the UE \[s\].
        time_s: SimTime,
        /// Episode of the UE, from 0.
        episode: u32,
        /// Step in the episode, from 0.
        step_in_episode: u32,
        /// σ that the controller observed. Empty if digital.
        noise_std: Option<f64>,
        /// σ_h that the controller observed.
        rayleigh_scale: Option<f64>,
        /// Loss probability that the controller observed.
        loss_probability: Option<f64>,
        /// Split before the action.
        split: u32,
        /// Index of the action: of the move, or `split - min` if the choice is direct.
        action: u32,
        /// Split after the action; the request runs with it.
        next_split: u32,
        /// Log-probability of the action under the policy that chose it. Empty for policies without one.
        log_prob: Option<f64>,
        /// The critic's value of the observation. Empty without a critic.
        value: Option<f64>,
        /// Reward.
        reward: Option<f64>,
        /// Where the quality in the reward comes from: `llm`, `table` or `surrogate`.
        reward_source: Option<&'a str>,
    }
}

record! {
    /// One row per update of a policy, in the order of the run.
    "updates.csv" => pub struct UpdateRow {
        /// UE whose controller it is. Empty for a shared controller.
        ue_id: Option<u32>,
        /// Number of the controller's update, from 1.
        update: u64,
        /// Steps that the controller has learned from so far.
        env_steps: u64,
        /// Mean undiscounted reward of the episodes that ended in the rollout. Empty if none did.
        episode_reward_mean: Option<f64>,
        /// Loss of the policy, eq. (10) with its sign turned; mean over the update's minibatches, as all columns from here on but the last four.
        policy_loss: Option<f64>,
        /// Mean squared error of the critic; of "dqn" the Huber loss of the temporal difference.
        value_loss: Option<f64>,
        /// Entropy of the policy \[nat\].
        entropy: Option<f64>,
        /// Estimate of the KL divergence from the policy before the update, mean of (π/π_old - 1) - ln(π/π_old).
        approx_kl: Option<f64>,
        /// Share of samples whose ratio π/π_old the objective clipped.
        clip_fraction: Option<f64>,
        /// 1 - Var(return - value)/Var(return) of the rollout, with the values of the decisions. Empty if all returns are equal.
        explained_variance: Option<f64>,
        /// Name of the controller's table. Empty where there is one only.
        controller: Option<String>,
        /// `learning`; or `diverged`: a loss, gradient or weight was not finite, the weights went back to those before this update, and the controller learns no more.
        state: &'static str,
    }
}

record! {
    /// One row every `sample_interval_s`.
    "series.csv" => pub struct SeriesRow {
        /// Time of the sample \[s\].
        time_s: SimTime,
        /// Requests that wait at the edge.
        edge_queue: u32,
        /// Requests in service at the edge.
        edge_busy: u32,
        /// Flows on the uplink.
        uplink_active: u32,
        /// Mean over UEs of the requests that wait.
        ue_queue_mean: f64,
        /// Requests completed so far.
        requests_completed: u64,
    }
}

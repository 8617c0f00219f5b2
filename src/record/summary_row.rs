//! A row of `summary.csv`.

use crate::network::rows::{Cell, CellVisitor, Column, Record, record};
use crate::units::SimTime;

record! {
    /// One row per UE, one per group, and one for all. Only requests that arrived after the warm-up count. Means are over the requests that have the value; those of times over completed requests.
    "summary.csv" => pub struct SummaryRow<'a> {
        /// `ue`, `group` or `all`: what the row is about.
        scope: &'static str,
        /// Number of the UE (`ue_id` of the other files), name of the group, or `all`.
        name: String,
        /// Name of the `[[ue]]` group. Empty for `all`.
        group: Option<&'a str>,
        /// Requests that arrived: the sum of the five outcomes.
        arrivals: u64,
        /// Requests whose result the client has.
        completed: u64,
        /// Requests of which nothing arrived at the edge, or whose UE's battery was empty before the result came.
        outage: u64,
        /// Requests whose deadline passed.
        timeout: u64,
        /// Requests refused by a full queue, or by a UE with an empty battery.
        dropped: u64,
        /// Requests that the drain limit cut off.
        unfinished: u64,
        /// Mean end-to-end time of completed requests \[s\].
        e2e_mean_s: Option<f64>,
        /// Median of the same, within 0.1 % \[s\]: the least value that half of the requests don't exceed, as all quantiles here (no interpolation). Empty for UEs, as are all quantiles.
        e2e_median_s: Option<SimTime>,
        /// 95th percentile of the same \[s\].
        e2e_p95_s: Option<SimTime>,
        /// 99th percentile of the same \[s\].
        e2e_p99_s: Option<SimTime>,
        /// Maximum of the same, exact \[s\].
        e2e_max_s: Option<SimTime>,
        /// Mean time to the first token of completed requests \[s\].
        ttft_mean_s: Option<f64>,
        /// Median of the same, within 0.1 % \[s\].
        ttft_median_s: Option<SimTime>,
        /// 95th percentile of the same \[s\].
        ttft_p95_s: Option<SimTime>,
        /// 99th percentile of the same \[s\].
        ttft_p99_s: Option<SimTime>,
        /// Mean wait for the UE's processor \[s\].
        ue_wait_mean_s: Option<f64>,
        /// Mean computing time on the UE \[s\].
        ue_compute_mean_s: Option<f64>,
        /// Mean of `uplink_wait_s`: sharing, and waiting for retransmissions \[s\].
        uplink_wait_mean_s: Option<f64>,
        /// Mean airtime alone on the uplink \[s\].
        uplink_air_mean_s: Option<f64>,
        /// Mean wait for the edge's processor \[s\].
        edge_wait_mean_s: Option<f64>,
        /// Mean computing time on the edge \[s\].
        edge_compute_mean_s: Option<f64>,
        /// Mean time of the result's return \[s\].
        downlink_mean_s: Option<f64>,
        /// Corpus perplexity exp(Σ NLL / Σ N), over requests with a likelihood: outages with chance, not those that ended otherwise.
        corpus_ppl: Option<f64>,
        /// Mean of the requests' perplexities.
        ppl_mean: Option<f64>,
        /// Corpus perplexity of the same windows without a channel: exp(Σ N ln PPL_0 / Σ N).
        corpus_ppl_clean: Option<f64>,
        /// Mean number of layers run on the UE.
        split_mean: Option<f64>,
        /// Mean reward.
        reward_mean: Option<f64>,
        /// Packets lost over packets sent.
        packet_loss_rate: Option<f64>,
        /// Rows of the tensor lost over rows sent, of requests that have both; a session that was cut off doesn't count.
        row_loss_rate: Option<f64>,
        /// Share of the time after the warm-up, until arrivals stop, in which the UE (a UE, in the mean) computes.
        ue_utilisation: Option<f64>,
        /// Share of time in which the uplink is busy. Only for `all`.
        uplink_utilisation: Option<f64>,
        /// Share of time in which the edge's processor is busy. Only for `all`.
        edge_utilisation: Option<f64>,
        /// Energy of the UEs' processors, summed \[J\].
        ue_energy_j: Option<f64>,
        /// Energy of the UEs' transmitters, summed \[J\].
        tx_energy_j: Option<f64>,
        /// Requests completed within their deadline, if they have one, per second: those whose result came between the warm-up and the end of arrivals.
        goodput_rps: Option<f64>,
        /// Requests completed per second, between the warm-up and the end of arrivals.
        throughput_rps: Option<f64>,
        /// Mean over completed sessions of the mean time per further token \[s\].
        tpot_mean_s: Option<f64>,
        /// Median of the same, to the nanosecond and within 0.1 % \[s\].
        tpot_median_s: Option<SimTime>,
        /// 95th percentile of the same \[s\].
        tpot_p95_s: Option<SimTime>,
        /// 99th percentile of the same \[s\].
        tpot_p99_s: Option<SimTime>,
        /// J: mean undiscounted reward of an episode in the last evaluation of the policies that were learned. Only for `all`, and where a controller could learn, as the three below.
        eval_reward_mean: Option<f64>,
        /// J*: the same of the optimum by dynamic programming over the quality table (or surrogate), on the same starts. No bound where rewards aren't the table's (a warning says why). Empty without a table, or where the reward doesn't follow from it.
        eval_optimal_mean: Option<f64>,
        /// The same of uniformly random actions, on the same starts.
        eval_random_mean: Option<f64>,
        /// Normalised regret (J* - J)/(J* - J_random): 0 at the optimum, 1 at chance.
        normalised_regret: Option<f64>,
        /// Updates of all policies together. Only for `all`, and where a controller learns, as the next.
        policy_updates: Option<u64>,
        /// Learners that diverged: a loss or weight was not finite, and they learned no more.
        diverged_learners: Option<u64>,
        /// Half width of the 95 % interval around `e2e_mean_s` by batch means: requests in the order of their ends, in 20 to 39 batches of equal size, Student's t \[s\]. Too narrow where a batch isn't much longer than the queues' memory (a note then says so). Empty for UEs and below 20 completed requests.
        e2e_mean_half_width_s: Option<f64>,
        /// Arrival of the first completed request, in the order of their ends, that MSER-5 would not leave out as transient; the warm-up is not left out beforehand. 0 where none need be left out; empty below 50 requests and where the first half shows no steady state. Only for `all` \[s\].
        mser5_truncation_s: Option<SimTime>,
        /// Energy of the UEs' processors while they didn't compute, from the warm-up until arrivals have ended and the last request with them, or the battery was empty, summed \[J\]. Empty if no device says `idle_power_w`.
        idle_energy_j: Option<f64>,
        /// Energy of the UEs' radios while they didn't send, in the same time \[J\]. Empty if `radio.sleep_power_units` is 0.
        sleep_energy_j: Option<f64>,
        /// Energy of the edge in the same time, its idle power included \[J\]. Only for `all`; empty if nothing runs there.
        edge_energy_j: Option<f64>,
        /// Energy of the UEs of all four kinds per completed request \[J\]; the edge's is not in it.
        energy_per_request_j: Option<f64>,
        /// The same per token that was asked for and came \[J\].
        energy_per_token_j: Option<f64>,
        /// Charge that the batteries have left at the end of the run, summed \[J\]. Empty without batteries, as the next two.
        battery_left_j: Option<f64>,
        /// When the battery was empty, of several the first \[s\]. Empty if it never was.
        battery_empty_at_s: Option<SimTime>,
        /// Batteries that were empty before the end.
        batteries_empty: Option<u64>,
        /// Share of the generated tokens of completed requests that come from the edge. Empty without generated text, as are the columns from here on.
        edge_token_share: Option<f64>,
        /// Share of them that are the UE's own because the edge's answer was lost or late.
        fallback_token_share: Option<f64>,
        /// Mean of ln p_L, the large model's log-likelihood of a generated token given the text before it \[nat\]: -ln `corpus_ppl`. Empty without a model, as the next.
        llm_logprob_mean: Option<f64>,
        /// Share of them that are the large model's own first choice.
        llm_agreement: Option<f64>,
        /// Bits sent over the uplink per generated token.
        uplink_bits_per_token: Option<f64>,
        /// Questions to the edge per generated token.
        edge_asks_per_token: Option<f64>,
    }
}

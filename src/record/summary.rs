//! What a run's requests come to, per UE, per group and for all.

use crate::network::energy::UeEnergy;
use crate::network::rows::{Outcome, RequestRow};
use crate::record::accumulator::{
    Accumulator, DOWNLINK, E2E, EDGE_COMPUTE, EDGE_WAIT, TTFT, UE_COMPUTE, UE_WAIT, UPLINK_AIR, UPLINK_WAIT,
};
use crate::record::summary_row::SummaryRow;
use crate::record::ue_energy::EnergySums;
use crate::stats::{BatchMeans, Mser5, Quantiles, Truncation};
use crate::units::SimTime;

/// What is known of a whole run only: the cells that stand in the row `all` alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overall {
    /// Share of time in which the uplink was busy. Empty without one.
    pub uplink: Option<f64>,
    /// Share of time in which the edge's processor was busy.
    pub edge: Option<f64>,
    /// Energy of the edge \[J\].
    pub edge_energy_j: Option<f64>,
    /// What was learned.
    pub learning: LearningCounts,
    /// Mean rewards of an episode in the last evaluation.
    pub evaluation: EvaluationMeans,
}

/// How often policies were updated. Empty where nobody learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearningCounts {
    /// Updates of all policies together.
    pub updates: Option<u64>,
    /// Learners that diverged.
    pub diverged: Option<u64>,
}

/// Mean undiscounted rewards of an episode in the last evaluation of a run that learns, all
/// on the same starts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EvaluationMeans {
    /// J: what was learned.
    pub learned: Option<f64>,
    /// J*: the optimum of dynamic programming.
    pub optimal: Option<f64>,
    /// Of random choices.
    pub random: Option<f64>,
}

impl EvaluationMeans {
    /// `(J* - J)/(J* - J_random)`: 0 at the optimum, 1 at chance. `None` where chance is as good.
    pub fn normalised_regret(&self) -> Option<f64> {
        let (learned, optimal, random) = (self.learned?, self.optimal?, self.random?);
        (optimal > random).then(|| (optimal - learned) / (optimal - random))
    }
}

/// Confidence of `e2e_mean_half_width_s`.
const LEVEL: f64 = 0.95;

/// Takes in every request and gives the rows of `summary.csv`. Its memory grows
/// with the number of UEs (about 470 bytes each) and groups, not of requests.
pub struct Summary {
    groups: Vec<Group>,
    ues: Vec<Ue>,
    /// What UEs drew between their requests, by UE; none at all if nobody drew anything.
    energies: Vec<UeEnergy>,
    warmup: SimTime,
    window: SimTime,
    /// End-to-end times \[s\] behind the warm-up, in the order of ending, as those of each group.
    e2e: BatchMeans,
    /// The same from the run's first request on, at the arrivals \[ns\].
    transient: Mser5,
}

struct Group {
    name: String,
    /// Its UEs, by the number of the first and their count.
    first: u32,
    count: u32,
    e2e: Quantiles,
    ttft: Quantiles,
    tpot: Quantiles,
    e2e_batches: BatchMeans,
}

struct Ue {
    group: u32,
    sums: Accumulator,
}

impl Summary {
    /// Of no requests yet. `groups` are the `[[ue]]` groups in order, by name and
    /// number of UEs; `warmup` is the time before which arrivals don't count;
    /// `window` is the time from there until arrivals stop, which rates and
    /// overalls are per.
    pub fn new(groups: &[(String, u32)], warmup: SimTime, window: SimTime) -> Self {
        let mut ues = Vec::new();
        let groups = groups
            .iter()
            .enumerate()
            .map(|(number, (name, count))| {
                let first = ues.len() as u32;
                ues.extend((0..*count).map(|_| Ue { group: number as u32, sums: Accumulator::default() }));
                let (e2e, ttft, tpot) = (Quantiles::new(), Quantiles::new(), Quantiles::new());
                Group { name: name.clone(), first, count: *count, e2e, ttft, tpot, e2e_batches: BatchMeans::new() }
            })
            .collect();
        Self { groups, ues, energies: Vec::new(), warmup, window, e2e: BatchMeans::new(), transient: Mser5::new() }
    }

    /// A stop rule ended arrivals: rates and overalls are per the time until then.
    /// To be told before the rows of requests that end later.
    pub fn arrivals_ended(&mut self, at: SimTime) {
        self.window = at.saturating_sub(self.warmup);
    }

    /// Says how long the run really was, after the warm-up: an interrupted one. The time in which
    /// nothing arrives any more doesn't count.
    pub fn set_window(&mut self, window: SimTime) {
        self.window = self.window.min(window);
    }

    /// Batch means of the end-to-end times \[s\] of completed requests that arrived after the
    /// warm-up, in the order in which they ended.
    pub fn e2e_batches(&self) -> &BatchMeans {
        &self.e2e
    }

    /// How many of the first completed requests MSER-5 would leave out, in the order in which they
    /// ended and with no regard to the warm-up; positions are arrivals \[ns\]. `None` without advice.
    pub fn e2e_truncation(&self) -> Option<Truncation> {
        self.transient.truncation()
    }

    /// Completed requests that [`e2e_truncation`](Self::e2e_truncation) has seen.
    pub fn e2e_observed(&self) -> u64 {
        self.transient.observations()
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// A UE has computed from `from` to `to` for a session.
    pub fn computed(&mut self, ue: u32, from: SimTime, to: SimTime) {
        let inside = busy_within(self.warmup, self.window, from, to);
        if let Some(ue) = self.ues.get_mut(ue as usize) {
            ue.sums.busy += inside;
        }
    }

    /// Takes in what a UE drew between its requests.
    pub fn ue_energy(&mut self, ue: u32, energy: &UeEnergy) {
        self.energies.resize(self.ues.len(), UeEnergy::default());
        if let Some(place) = self.energies.get_mut(ue as usize) {
            *place = *energy;
        }
    }

    /// The same, of so many UEs from `first` on.
    fn energy(&self, first: usize, count: usize) -> EnergySums {
        let mut sums = EnergySums::default();
        for energy in self.energies.iter().skip(first).take(count) {
            sums.add(energy);
        }
        sums
    }

    /// Takes in a request.
    pub fn add(&mut self, row: &RequestRow<'_>) {
        let Some(ue) = self.ues.get_mut(row.ue_id as usize) else {
            debug_assert!(false, "there is no UE {}", row.ue_id);
            return;
        };
        // A session's passes come one by one, by `computed`.
        if let Some(compute) = row.ue_compute_s.filter(|_| row.output_tokens <= 1) {
            let from = row.arrival_s + row.ue_wait_s.unwrap_or_default();
            ue.sums.busy += busy_within(self.warmup, self.window, from, from + compute);
        }
        if let Some(time) = row.e2e_s {
            let done = row.arrival_s + time;
            if (self.warmup..=self.warmup + self.window).contains(&done) {
                ue.sums.served += 1;
                ue.sums.in_time += u64::from(row.deadline_met != Some(false));
            }
        }
        let e2e_s = row.e2e_s.filter(|_| row.outcome == Outcome::Completed).map(SimTime::as_secs_f64);
        if let Some(time) = e2e_s {
            self.transient.push(time, row.arrival_s.as_nanos());
        }
        if row.arrival_s < self.warmup {
            return;
        }
        ue.sums.add(row);
        let group = &mut self.groups[ue.group as usize];
        if let Some(time) = e2e_s {
            self.e2e.push(time);
            group.e2e_batches.push(time);
        }
        if let Some(time) = row.e2e_s {
            group.e2e.push(time.as_nanos());
        }
        // A session that failed may have had its first token.
        if let Some(time) = row.ttft_s.filter(|_| row.outcome == Outcome::Completed) {
            group.ttft.push(time.as_nanos());
        }
        if let Some(time) = row.tpot_s {
            group.tpot.push((time * 1e9).round() as u64);
        }
    }

    /// The rows of `summary.csv`: all UEs by number, the groups in order, all.
    pub fn rows<'s>(&'s self, overall: &Overall) -> impl Iterator<Item = SummaryRow<'s>> + use<'s> {
        let overall = *overall;
        let ues = self.ues.iter().enumerate().map(|(number, ue)| {
            let group = self.groups[ue.group as usize].name.as_str();
            self.row("ue", number.to_string(), Some(group), &ue.sums, (number, 1))
        });
        ues.chain(std::iter::once_with(move || self.aggregates(&overall)).flatten())
    }

    /// The rows of the groups in order, then the one of all: the last rows of [`Summary::rows`].
    pub fn aggregates<'s>(&'s self, overall: &Overall) -> Vec<SummaryRow<'s>> {
        let mut all = Accumulator::default();
        let (mut e2e, mut ttft, mut tpot) = (Quantiles::new(), Quantiles::new(), Quantiles::new());
        let mut rows = Vec::with_capacity(self.groups.len() + 1);
        for group in &self.groups {
            let mut sums = Accumulator::default();
            for ue in &self.ues[group.first as usize..][..group.count as usize] {
                sums.merge(&ue.sums);
            }
            all.merge(&sums);
            e2e.merge(&group.e2e);
            ttft.merge(&group.ttft);
            tpot.merge(&group.tpot);
            let row = self.row(
                "group",
                group.name.clone(),
                Some(&group.name),
                &sums,
                (group.first as usize, group.count as usize),
            );
            rows.push(SummaryRow {
                e2e_mean_half_width_s: half_width(&group.e2e_batches),
                ..with_quantiles(row, &group.e2e, &group.ttft, &group.tpot)
            });
        }
        let row = self.row("all", "all".to_owned(), None, &all, (0, self.ues.len()));
        rows.push(SummaryRow {
            uplink_utilisation: overall.uplink,
            edge_utilisation: overall.edge,
            edge_energy_j: overall.edge_energy_j,
            eval_reward_mean: overall.evaluation.learned,
            eval_optimal_mean: overall.evaluation.optimal,
            eval_random_mean: overall.evaluation.random,
            normalised_regret: overall.evaluation.normalised_regret(),
            policy_updates: overall.learning.updates,
            diverged_learners: overall.learning.diverged,
            e2e_mean_half_width_s: half_width(&self.e2e),
            mser5_truncation_s: self.e2e_truncation().map(|found| SimTime::from_nanos(found.position)),
            ..with_quantiles(row, &e2e, &ttft, &tpot)
        });
        rows
    }

    fn row<'s>(
        &self,
        scope: &'static str,
        name: String,
        group: Option<&'s str>,
        sums: &Accumulator,
        (first, ues): (usize, usize),
    ) -> SummaryRow<'s> {
        let energy = self.energy(first, ues);
        let kinds = [sums.ue_energy.sum(), sums.tx_energy.sum(), energy.idle_j, energy.sleep_j];
        let known = kinds.iter().any(Option::is_some);
        let per = |count: u64| (known && count > 0).then(|| kinds.into_iter().flatten().sum::<f64>() / count as f64);
        let window = Some(self.window.as_secs_f64()).filter(|&window| window > 0.0);
        let completed = sums.ended(Outcome::Completed);
        let mean = |time: usize| sums.mean_s(time);
        let text = sums.text.as_deref();
        SummaryRow {
            scope,
            name,
            group,
            arrivals: sums.arrivals(),
            completed,
            outage: sums.ended(Outcome::Outage),
            timeout: sums.ended(Outcome::Timeout),
            dropped: sums.ended(Outcome::Dropped),
            unfinished: sums.ended(Outcome::Unfinished),
            e2e_mean_s: mean(E2E),
            e2e_median_s: None,
            e2e_p95_s: None,
            e2e_p99_s: None,
            e2e_max_s: mean(E2E).map(|_| sums.e2e_max),
            ttft_mean_s: mean(TTFT),
            ttft_median_s: None,
            ttft_p95_s: None,
            ttft_p99_s: None,
            ue_wait_mean_s: mean(UE_WAIT),
            ue_compute_mean_s: mean(UE_COMPUTE),
            uplink_wait_mean_s: mean(UPLINK_WAIT),
            uplink_air_mean_s: mean(UPLINK_AIR),
            edge_wait_mean_s: mean(EDGE_WAIT),
            edge_compute_mean_s: mean(EDGE_COMPUTE),
            downlink_mean_s: mean(DOWNLINK),
            corpus_ppl: sums.nll.mean().map(f64::exp),
            ppl_mean: sums.ppl.mean(),
            corpus_ppl_clean: sums.nll_clean.mean().map(f64::exp),
            split_mean: sums.split.ratio(),
            reward_mean: sums.reward.mean(),
            packet_loss_rate: sums.packets.ratio(),
            row_loss_rate: sums.rows.ratio(),
            ue_utilisation: window.filter(|_| ues > 0).map(|window| sums.busy as f64 / 1e9 / (ues as f64 * window)),
            uplink_utilisation: None,
            edge_utilisation: None,
            ue_energy_j: sums.ue_energy.sum(),
            tx_energy_j: sums.tx_energy.sum(),
            goodput_rps: window.map(|window| sums.in_time as f64 / window),
            throughput_rps: window.map(|window| sums.served as f64 / window),
            tpot_mean_s: sums.tpot.mean(),
            tpot_median_s: None,
            tpot_p95_s: None,
            tpot_p99_s: None,
            eval_reward_mean: None,
            eval_optimal_mean: None,
            eval_random_mean: None,
            normalised_regret: None,
            policy_updates: None,
            diverged_learners: None,
            e2e_mean_half_width_s: None,
            mser5_truncation_s: None,
            idle_energy_j: energy.idle_j,
            sleep_energy_j: energy.sleep_j,
            edge_energy_j: None,
            energy_per_request_j: per(completed),
            energy_per_token_j: per(sums.tokens),
            battery_left_j: energy.left_j,
            battery_empty_at_s: energy.empty_at,
            batteries_empty: energy.empty,
            edge_token_share: text.and_then(|text| text.per_token(text.from_edge)),
            fallback_token_share: text.and_then(|text| text.per_token(text.fallbacks)),
            llm_logprob_mean: text.and_then(|text| text.logprob.mean()),
            llm_agreement: text.and_then(|text| text.agreements.ratio()),
            uplink_bits_per_token: text.and_then(|text| text.per_token(text.uplink_bits)),
            edge_asks_per_token: text.and_then(|text| text.per_token(text.asks)),
        }
    }
}

/// Time of a span within the window of `length` from `open` on \[ns\]: what runs before or
/// behind it keeps the UE busy outside of it.
fn busy_within(open: SimTime, length: SimTime, from: SimTime, to: SimTime) -> u128 {
    u128::from(to.min(open + length).saturating_sub(from.max(open)).as_nanos())
}

fn half_width(batches: &BatchMeans) -> Option<f64> {
    Some(batches.interval(LEVEL)?.half_width)
}

fn with_quantiles<'s>(row: SummaryRow<'s>, e2e: &Quantiles, ttft: &Quantiles, tpot: &Quantiles) -> SummaryRow<'s> {
    let at = |quantiles: &Quantiles, p: f64| quantiles.quantile(p).map(SimTime::from_nanos);
    SummaryRow {
        e2e_median_s: at(e2e, 0.5),
        e2e_p95_s: at(e2e, 0.95),
        e2e_p99_s: at(e2e, 0.99),
        ttft_median_s: at(ttft, 0.5),
        ttft_p95_s: at(ttft, 0.95),
        ttft_p99_s: at(ttft, 0.99),
        tpot_median_s: at(tpot, 0.5),
        tpot_p95_s: at(tpot, 0.95),
        tpot_p99_s: at(tpot, 0.99),
        ..row
    }
}

//! What the keys of a workload say about each other.

use crate::channel::Draw;
use crate::scenario::nodes::{WorkloadKind, WorkloadTable};
use crate::scenario::problem::Problem;
use crate::scenario::validate::check_count;

/// A modulated source may change its state so many times between two requests, in the
/// mean: each change is a step of the program.
const MOST_CHANGES_PER_ARRIVAL: f64 = 1e6;

/// Adds what is wrong with a workload whose keys, types and ranges are right.
pub(super) fn check_workload(problems: &mut Vec<Problem>, path: &str, workload: &WorkloadTable) {
    use WorkloadKind::{ClosedLoop, Deterministic, Gamma, Mmpp, OnOff, Poisson, Trace, Weibull};
    let kind = workload.kind;
    let mut only = |name: &str, given: bool, kinds: &[WorkloadKind], names: &str| {
        if given && !kinds.contains(&kind) {
            problems.push(
                Problem::error(format!("{path}.{name}"), format!("{name} belongs to kind = {names}"))
                    .with_hint("leave it out, or change the kind"),
            );
        }
    };
    let rates = [Poisson, Deterministic, OnOff, Gamma, Weibull];
    let names = "\"poisson\", \"deterministic\", \"on-off\", \"gamma\" or \"weibull\"";
    only("rate_per_s", workload.rate_per_s.is_some(), &rates, names);
    only("rates_per_s", workload.rates_per_s.is_some(), &[Mmpp], "\"mmpp\"");
    only("sojourns_s", workload.sojourns_s.is_some(), &[Mmpp], "\"mmpp\"");
    only("on_s", workload.on_s.is_some(), &[OnOff], "\"on-off\"");
    only("off_s", workload.off_s.is_some(), &[OnOff], "\"on-off\"");
    only("shape", workload.shape.is_some(), &[Gamma, Weibull], "\"gamma\" or \"weibull\"");
    only("cv", workload.cv.is_some(), &[Gamma, Weibull], "\"gamma\" or \"weibull\"");
    let alone = workload.turns.is_none();
    let think = "\"closed-loop\", or to conversations, of several turns";
    only("think_time_s", workload.think_time_s.is_some() && alone, &[ClosedLoop], think);
    only("path", workload.path.is_some(), &[Trace], "\"trace\"");
    only("trace_from_s", workload.trace_from_s.is_some(), &[Trace], "\"trace\"");
    only("trace_to_s", workload.trace_to_s.is_some(), &[Trace], "\"trace\"");
    only("trace_scale", workload.trace_scale.is_some(), &[Trace], "\"trace\"");
    let (fixed, trace) = (workload.tokens_from.is_none(), "\"trace\", or beside tokens_from");
    only("max_prompt_tokens", workload.max_prompt_tokens.is_some() && fixed, &[Trace], trace);
    only("max_output_tokens", workload.max_output_tokens.is_some() && fixed, &[Trace], trace);
    let mut needs = |given: bool, message: &str, hint: &str| {
        if !given {
            problems.push(Problem::error(format!("{path}.kind"), message).with_hint(hint));
        }
    };
    match kind {
        Trace => needs(
            workload.path.is_some(),
            "a trace needs its file",
            "add path = \"….csv\" with the columns arrival_s, prompt_tokens and maybe output_tokens, or those of the \
             Azure LLM inference traces, of BurstGPT or of Vidur",
        ),
        Mmpp => {
            let given = workload.rates_per_s.is_some() && workload.sojourns_s.is_some();
            needs(
                given,
                "\"mmpp\" needs the rates of its two states and how long they last",
                "add rates_per_s = [2.0, 0.1] and sojourns_s = [10.0, 60.0], for example",
            );
        }
        OnOff => {
            let given = workload.on_s.is_some() && workload.off_s.is_some();
            needs(given, "\"on-off\" needs how long it is on and off", "add on_s = 10.0 and off_s = 50.0, for example");
        }
        Gamma | Weibull => {
            let given = workload.shape.is_some() || workload.cv.is_some();
            needs(given, "the law of gaps needs a shape", "add cv = 2.0, for example, or shape");
        }
        Poisson | Deterministic | ClosedLoop => {}
    }
    check_arrivals(problems, path, workload);
    let per_request = Some(Draw::PerRequest);
    let most = WorkloadTable::MOST_PROMPT_TOKENS;
    check_count(problems, &format!("{path}.prompt_tokens"), &workload.prompt_tokens, (1, most), per_request);
    check_tokens(problems, path, workload);
}

/// Numbers of the arrival process.
fn check_arrivals(problems: &mut Vec<Problem>, path: &str, workload: &WorkloadTable) {
    let key = |name: &str| format!("{path}.{name}");
    let shown = |pair: [f64; 2]| format!("[{}, {}]", pair[0], pair[1]);
    let before = problems.len();
    if let Some(rates) = workload.rates_per_s {
        let fits = rates.iter().all(|rate| (0.0..=1e9).contains(rate)) && rates.iter().any(|&rate| rate > 0.0);
        if !fits {
            problems.push(
                Problem::error(key("rates_per_s"), "these are no rates of arrivals")
                    .with_value(shown(rates))
                    .with_allowed("two numbers of 0 to 1e9, of which one at least is above 0"),
            );
        }
    }
    if let Some(sojourns) = workload.sojourns_s
        && !sojourns.iter().all(|mean| (1e-6..=1e9).contains(mean))
    {
        problems.push(
            Problem::error(key("sojourns_s"), "these are no mean times of stay")
                .with_value(shown(sojourns))
                .with_allowed("two numbers of 1e-6 to 1e9"),
        );
    }
    if workload.shape.is_some() && workload.cv.is_some() {
        problems
            .push(Problem::error(key("cv"), "both shape and cv say how gaps vary").with_hint("leave one of them out"));
    }
    if let Some(shape) = workload.shape.filter(|&shape| workload.kind == WorkloadKind::Weibull && shape < 0.1) {
        problems.push(
            Problem::error(key("shape"), "gaps of this Weibull law vary beyond all measure")
                .with_value(shape)
                .with_allowed("0.1 to 10000"),
        );
    }
    if let (Some(from), Some(to)) = (workload.trace_from_s.or(Some(0.0)), workload.trace_to_s)
        && from >= to
    {
        problems.push(
            Problem::error(key("trace_to_s"), "this part of the trace is empty")
                .with_value(to)
                .with_allowed(format!("above trace_from_s = {from}")),
        );
    }
    let process = match workload.kind {
        WorkloadKind::Mmpp => workload.rates_per_s.zip(workload.sojourns_s),
        WorkloadKind::OnOff => {
            let rate = workload.rate_per_s.unwrap_or(WorkloadTable::RATE_PER_S);
            workload.on_s.zip(workload.off_s).map(|(on, off)| ([rate, 0.0], [on, off]))
        }
        _ => None,
    };
    if let Some((rates, sojourns)) = process.filter(|_| problems.len() == before) {
        let arrivals = rates[0] * sojourns[0] + rates[1] * sojourns[1];
        if 2.0 / arrivals > MOST_CHANGES_PER_ARRIVAL {
            problems.push(
                Problem::error(
                    key("kind"),
                    "the source changes its state too often for the few requests that it makes",
                )
                .with_value(format!("{:.3e} changes per request in the mean", 2.0 / arrivals))
                .with_allowed(format!("at most {MOST_CHANGES_PER_ARRIVAL:e}"))
                .with_hint("take kind = \"poisson\" at the mean rate, which this looks like"),
            );
        }
    }
}

/// Where tokens come from, and how conversations go on.
fn check_tokens(problems: &mut Vec<Problem>, path: &str, workload: &WorkloadTable) {
    let key = |name: &str| format!("{path}.{name}");
    let is_trace = workload.kind == WorkloadKind::Trace;
    if is_trace && workload.tokens_from.is_some() {
        problems.push(
            Problem::error(key("tokens_from"), "a trace brings its own tokens")
                .with_hint("leave tokens_from out, or take another kind of arrivals"),
        );
    }
    let Some(turns) = &workload.turns else {
        if workload.max_context_tokens.is_some() {
            problems.push(
                Problem::error(key("max_context_tokens"), "only conversations, of several turns, have a context")
                    .with_hint("add turns, or leave it out"),
            );
        }
        return;
    };
    check_count(problems, &key("turns"), turns, (1, WorkloadTable::MOST_TURNS), Some(Draw::PerRequest));
    if is_trace {
        problems.push(
            Problem::error(key("turns"), "a trace has all its requests; conversations would add some")
                .with_hint("leave turns out, or take another kind with tokens_from"),
        );
    }
}

//! From a workload's table to the workload of the network.

use std::sync::Arc;

use crate::network::conversation::ConversationSpec;
use crate::network::modulated::Modulated;
use crate::network::renewal::{GapLaw, Renewal};
use crate::network::workload::{Arrivals, PromptTokens, TraceArrival, Workload};
use crate::scenario::nodes::{UeTable, WorkloadKind, WorkloadTable};
use crate::scenario::values::{Count, NumberOr};
use crate::units::SimTime;

/// The workload of a group, with the trace that it replays or draws tokens from. The
/// scenario's checks have refused kinds without their numbers; the fallbacks are for
/// the type only.
pub(super) fn workload(
    ue: &UeTable,
    replayed: Option<Arc<[TraceArrival]>>,
    drawn: Option<Arc<[TraceArrival]>>,
) -> Workload {
    let table = &ue.workload;
    let rate_per_s = table.rate_per_s.unwrap_or(WorkloadTable::RATE_PER_S);
    let think_time_s = table.think_time_s.unwrap_or(WorkloadTable::THINK_TIME_S);
    let renewal = |law: GapLaw| {
        let shape = table.shape.or_else(|| table.cv.map(|cv| law.shape_of_cv(cv))).unwrap_or(1.0);
        Arrivals::Renewal(Renewal::new(law, shape, rate_per_s))
    };
    let arrivals = match (table.kind, replayed) {
        (WorkloadKind::Trace, Some(trace)) => Arrivals::Trace(trace),
        (WorkloadKind::Poisson | WorkloadKind::Trace, _) => Arrivals::Poisson { rate_per_s },
        (WorkloadKind::Mmpp, _) => Arrivals::Modulated(Modulated {
            rates_per_s: table.rates_per_s.unwrap_or([rate_per_s; 2]),
            sojourns_s: table.sojourns_s.unwrap_or([1.0; 2]),
        }),
        (WorkloadKind::OnOff, _) => Arrivals::Modulated(Modulated {
            rates_per_s: [rate_per_s, 0.0],
            sojourns_s: [table.on_s.unwrap_or(1.0), table.off_s.unwrap_or(1.0)],
        }),
        (WorkloadKind::Gamma, _) => renewal(GapLaw::Gamma),
        (WorkloadKind::Weibull, _) => renewal(GapLaw::Weibull),
        (WorkloadKind::Deterministic, _) => {
            // A gap of 0 ns would stop simulated time.
            let interval = SimTime::from_secs_saturating(1.0 / rate_per_s).max(SimTime::from_nanos(1));
            Arrivals::Deterministic { interval }
        }
        (WorkloadKind::ClosedLoop, _) => Arrivals::ClosedLoop { think_time_s },
    };
    let conversation =
        table.turns.as_ref().map(Count::bounds).filter(|&(_, most)| most > 1).map(|(least, most)| ConversationSpec {
            least_turns: least,
            most_turns: most,
            think_time_s,
            max_context_tokens: table.max_context_tokens.unwrap_or(WorkloadTable::MOST_PROMPT_TOKENS),
        });
    Workload {
        arrivals,
        prompt_tokens: match (drawn, &table.prompt_tokens) {
            (Some(rows), _) => PromptTokens::Bootstrap(rows),
            (None, Count::Number(tokens)) => PromptTokens::Constant(*tokens),
            (None, NumberOr::Table(range)) => PromptTokens::Drawn { min: range.min, max: range.max },
        },
        output_tokens: table.output_tokens,
        conversation,
    }
}

//! From the keys of a channel table to its fading model.

use std::sync::Arc;

use crate::channel::{DEFAULT_RICIAN_K_DB, FadingKind, FadingModel, GainTraces, NakagamiModel};
use crate::scenario::air::ChannelTable;

/// The fading of a channel; `traces` are those that its `fading_trace` names.
pub(super) fn fading(table: &ChannelTable, traces: Option<&Arc<GainTraces>>) -> FadingModel {
    let sinusoids = table.sinusoids as usize;
    let rayleigh = FadingModel::Rayleigh { sinusoids };
    // `validate` has refused kinds without their parameters, and parameters out of range.
    match table.fading {
        FadingKind::None => FadingModel::None,
        FadingKind::Rayleigh => rayleigh,
        FadingKind::Rician => FadingModel::Rician { k_db: table.rician_k_db.unwrap_or(DEFAULT_RICIAN_K_DB), sinusoids },
        FadingKind::Nakagami => NakagamiModel::new(table.nakagami_m.unwrap_or(1.0))
            .map_or(rayleigh, |model| FadingModel::Nakagami { model, sinusoids }),
        FadingKind::Block => FadingModel::Block { coherence_s: table.coherence_ms.map(|ms| ms * 1e-3) },
        FadingKind::Trace => traces.cloned().map_or(FadingModel::None, FadingModel::Trace),
    }
}

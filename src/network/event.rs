//! The events of the network and the order of those that fall on one instant.

use crate::network::request::RequestId;

/// What happens. At most 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request arrives at a UE.
    Arrival {
        /// The UE.
        ue: u32,
    },
    /// A conversation goes on with its next turn.
    NextTurn {
        /// Its slot among the awaited turns.
        slot: u32,
    },
    /// A UE has computed its part.
    UeDone {
        /// The request.
        request: RequestId,
    },
    /// A flow leaves a cell's shared uplink.
    UplinkDeparture {
        /// The cell.
        cell: u32,
    },
    /// A slot of a cell begins.
    Slot {
        /// The cell.
        cell: u32,
    },
    /// A flow's last bit is sent in a slot.
    SlotDeparture {
        /// The request.
        request: RequestId,
    },
    /// The last attempt of a transmission's hybrid ARQ is over.
    AttemptsOver {
        /// The request.
        request: RequestId,
    },
    /// Lost packets are sent again: token ids, or the row of a decode round.
    Retransmit {
        /// The request.
        request: RequestId,
    },
    /// A server of the edge has finished.
    EdgeDone {
        /// The request.
        request: RequestId,
    },
    /// A job leaves the processor-sharing edge.
    EdgeDeparture,
    /// The edge's batch has finished.
    BatchDone,
    /// The first request of the queue has waited long enough for a batch.
    BatchTimer,
    /// The result is at the client.
    DownlinkDone {
        /// The request.
        request: RequestId,
    },
    /// A request's deadline passes.
    Deadline {
        /// The request.
        request: RequestId,
    },
    /// A payload has been on its way to the edge for too long.
    DeliveryDeadline {
        /// The request.
        request: RequestId,
    },
    /// An answer of the edge has been waited for long enough.
    AnswerDeadline {
        /// The request.
        request: RequestId,
    },
    /// A UE on the air measures its cells.
    Measure {
        /// The UE.
        ue: u32,
    },
    /// A UE's battery may be empty.
    BatteryCheck {
        /// The UE.
        ue: u32,
    },
    /// The state is sampled.
    Sample,
}

impl Event {
    /// The class that orders events of one instant: what ends comes before what
    /// begins, so a result (or a row) on the deadline is in time, a departing request makes
    /// room for an arriving one, and a sample sees the state after both.
    pub fn class(&self) -> u8 {
        match self {
            Self::DownlinkDone { .. } => 0,
            Self::EdgeDone { .. } | Self::EdgeDeparture | Self::BatchDone => 1,
            Self::UplinkDeparture { .. } | Self::SlotDeparture { .. } | Self::AttemptsOver { .. } => 2,
            Self::UeDone { .. } => 3,
            Self::Deadline { .. }
            | Self::DeliveryDeadline { .. }
            | Self::AnswerDeadline { .. }
            | Self::BatteryCheck { .. } => 4,
            Self::Measure { .. } | Self::Retransmit { .. } => 5,
            Self::Arrival { .. } | Self::NextTurn { .. } => 6,
            Self::BatchTimer => 7,
            // What arrives at its beginning takes part in a slot.
            Self::Slot { .. } => 8,
            Self::Sample => 9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_small() {
        assert!(size_of::<Event>() <= 16);
    }
}

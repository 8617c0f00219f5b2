//! The row of a decode round on the air: sent once, or again until it arrives or its
//! deadline passes.

use crate::channel::RoundReception;
use crate::network::event::Event;
use crate::network::request::{Phase, RequestId};
use crate::network::simulation::{Simulation, SimulationError};
use crate::network::spec::RowDelivery;
use crate::units::SimTime;

impl Simulation<'_> {
    /// Puts the row of the present round on the uplink.
    pub(super) fn send_row(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get(id) else { return Ok(()) };
        let channel = self.spec.groups[self.world.ues[request.ue as usize].group as usize].channel;
        let payload = self.spec.tensor_payload(channel, 1);
        let deadline = match self.spec.channels[channel].decode.delivery {
            RowDelivery::None => None,
            RowDelivery::Am { deadline } => {
                let (at, event) = (now + deadline, Event::RowDeadline { request: id });
                Some((at, self.calendar.schedule_cancellable(at, event.class(), event)))
            }
        };
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        if let (Some(log), Some(session)) = (request.uplink.as_mut(), request.session.as_mut()) {
            log.begin(&payload);
            session.row.clear();
            session.row_deadline = deadline;
        }
        self.transmit(now, id)
    }

    /// What became of a transmission of the row: `self.packets` are the packets that were pending.
    pub(super) fn row_transmitted(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let channel = &self.spec.channels[self.spec.groups[self.world.ues[request.ue as usize].group as usize].channel];
        let (Some(log), Some(session)) = (request.uplink.as_mut(), request.session.as_mut()) else { return Ok(()) };
        if log.transmissions == 1 {
            std::mem::swap(&mut session.row, &mut self.packets);
        } else {
            // What was lost was sent again, in order.
            let before = std::mem::take(&mut session.row);
            let mut again = self.packets.iter();
            for (gain, lost) in before.iter() {
                let (gain, lost) = if lost { again.next().unwrap_or((gain, lost)) } else { (gain, lost) };
                session.row.push(f64::from(gain), lost);
            }
        }
        let lost = session.row.lost() as u32;
        if lost == 0 {
            return self.end_row(now, id);
        }
        let again = now + self.spec.retransmission_delay;
        match channel.decode.delivery {
            RowDelivery::Am { .. } if log.transmissions < self.spec.max_transmissions => {
                log.pending_packets = lost;
                request.phase = Phase::Backoff;
                request.since = now;
                // A row whose deadline comes first only waits for that.
                if session.row_deadline.is_none_or(|(deadline, _)| again < deadline) {
                    self.schedule_phase_end(again, Event::Retransmit { request: id }, id);
                }
                Ok(())
            }
            RowDelivery::Am { .. } | RowDelivery::None => self.end_row(now, id),
        }
    }

    /// The row's time is up: whatever of it is on the air is cut off, and doesn't count as sent. The
    /// edge keeps what had arrived by then.
    pub(super) fn on_row_deadline(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(session) = self.world.requests.get_mut(id).and_then(|request| request.session.as_mut()) else {
            return Ok(());
        };
        session.row_deadline = None;
        self.abandon(now, id);
        self.end_row(now, id)
    }

    /// The edge goes on with what there is of the row, and with what stands in place of the rest.
    fn end_row(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let channel = &self.spec.channels[self.spec.groups[self.world.ues[request.ue as usize].group as usize].channel];
        let mut arrived = false;
        if let Some(session) = request.session.as_mut() {
            arrived = channel.row_arrived(&session.row);
            if let Some((_, ticket)) = session.row_deadline.take() {
                self.calendar.cancel(ticket);
            }
            if let Some(crossing) = request.crossing.as_mut() {
                let packets = std::mem::take(&mut session.row);
                crossing.reception.rounds.push(RoundReception { packets, arrived });
            }
        }
        if let Some(rows) = request.uplink.as_mut().and_then(|log| log.rows_lost.as_mut()) {
            *rows += u32::from(!arrived);
        }
        self.queue_at_edge(now, id)
    }
}

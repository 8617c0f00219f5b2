//! What a UE sends to the edge unasked: a transmission beside its request, which computes on meanwhile.
//!
//! Its packets are sent until they have arrived: a question that waits for them has its deadline.
//!
//! It is a request of its own in the slab, with the log of the request that it belongs to, so the uplink,
//! hybrid ARQ, handovers and batteries treat it as any other. It has no row.

use super::flow::awaited;
use crate::network::ports::Prompt;
use crate::network::request::{Phase, Request, RequestId, UPLINK_AIR};
use crate::network::simulation::{Simulation, SimulationError};
use crate::units::SimTime;

impl Simulation<'_> {
    /// Sends the rows that are ready, unless earlier ones are still on their way.
    pub(super) fn upload_rows(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let Some(talk) = request.talk.as_mut() else { return Ok(()) };
        let rows = talk.rows_ready.saturating_sub(talk.at_edge);
        if talk.upload.is_some() || rows == 0 {
            return Ok(());
        }
        let prompt = Prompt { window: None, tokens: rows };
        let mut upload = Request::new(request.number, request.ue, request.ue_request, prompt, 1, now);
        upload.conditions = request.conditions;
        upload.uplink = request.uplink.take();
        upload.carries = Some(id);
        let upload = self.world.requests.insert(upload);
        if let Some(talk) = self.world.requests.get_mut(id).and_then(|request| request.talk.as_mut()) {
            talk.upload = Some(upload);
        }
        self.send(now, upload)
    }

    /// An upload is over: its rows are at the edge.
    pub(in crate::network) fn upload_over(&mut self, now: SimTime, upload: RequestId) -> Result<(), SimulationError> {
        let Some((id, rows)) = self.take_back(upload) else { return Ok(()) };
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let waits = request.phase == Phase::AwaitRows;
        if let Some(talk) = request.talk.as_mut() {
            talk.at_edge += rows;
        }
        if waits { self.rows_awaited(now, id) } else { self.upload_rows(now, id) }
    }

    /// A request waits for its rows: the edge begins once it has all of them.
    pub(super) fn rows_awaited(&mut self, now: SimTime, id: RequestId) -> Result<(), SimulationError> {
        let Some(request) = self.world.requests.get_mut(id) else { return Ok(()) };
        let standing = request.standing();
        // The uplink may have been so quick that the answer is on its way already.
        if request.phase != Phase::AwaitRows {
            return Ok(());
        }
        if standing.at_edge < standing.inputs() {
            return self.upload_rows(now, id);
        }
        awaited(request, now);
        self.question_at_edge(now, id)
    }

    /// Ends whatever a request that has ended still sends unasked.
    pub(in crate::network) fn recall_upload(&mut self, now: SimTime, id: RequestId) {
        let upload = self.world.requests.get(id).and_then(|request| request.talk.as_ref()?.upload);
        let Some(upload) = upload else { return };
        self.abandon(now, upload);
        self.take_back(upload);
    }

    /// Takes an upload out of the network, and gives its log back to the request that it belongs to.
    fn take_back(&mut self, upload: RequestId) -> Option<(RequestId, u32)> {
        let upload = self.world.requests.remove(upload)?;
        let id = upload.carries?;
        let request = self.world.requests.get_mut(id)?;
        request.uplink = upload.uplink;
        request.conditions = upload.conditions;
        let talk = request.talk.as_mut()?;
        let air = upload.spent[UPLINK_AIR].unwrap_or(SimTime::ZERO);
        talk.upload = None;
        talk.upload_air += air;
        talk.awaited_air += air;
        Some((id, upload.prompt_tokens))
    }
}

//! The air: one uplink per cell, whose flows share its airtime.

use crate::kernel::{Departed, FlowId, ProcessorSharing, Ticket};
use crate::network::request::RequestId;
use crate::units::SimTime;

/// The uplink of one cell.
#[derive(Debug, Default)]
pub struct CellAir {
    /// Its flows: a server of airtime.
    pub flows: ProcessorSharing<RequestId>,
    /// Event of the next departure.
    pub departure: Option<Ticket>,
}

/// The uplinks of all cells.
#[derive(Debug, Default)]
pub struct Air {
    /// By number of the cell.
    pub cells: Vec<CellAir>,
    /// Flows of all cells together.
    active: u32,
    /// Cells that have a flow.
    busy: u32,
}

impl Air {
    /// The idle air of so many cells.
    pub fn new(cells: usize) -> Self {
        Self { cells: (0..cells).map(|_| CellAir::default()).collect(), active: 0, busy: 0 }
    }

    /// Flows of all cells together.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// Cells that have a flow.
    pub fn busy_cells(&self) -> u32 {
        self.busy
    }

    /// A flow of so much airtime joins a cell.
    pub fn join(&mut self, cell: u32, now: SimTime, airtime: SimTime, job: RequestId) -> FlowId {
        let flows = &mut self.cells[cell as usize].flows;
        self.busy += u32::from(flows.active() == 0);
        self.active += 1;
        flows.arrive(now, airtime, job)
    }

    /// Takes out the next flow of a cell that has had its airtime, if there is one.
    pub fn depart(&mut self, cell: u32, now: SimTime) -> Option<Departed<RequestId>> {
        let departed = self.cells[cell as usize].flows.depart(now)?;
        self.left(cell);
        Some(departed)
    }

    /// Takes a flow out before its time; returns the airtime that it has had.
    pub fn cancel(&mut self, cell: u32, now: SimTime, flow: FlowId) -> Option<SimTime> {
        let served = self.cells[cell as usize].flows.cancel(now, flow)?;
        self.left(cell);
        Some(served)
    }

    fn left(&mut self, cell: u32) {
        self.active -= 1;
        self.busy -= u32::from(self.cells[cell as usize].flows.active() == 0);
    }
}

//! The air: one uplink per cell, whose flows share its airtime.

use crate::kernel::{Departed, FlowId, ProcessorSharing, Ticket};
use crate::network::cells::EMISSION_UNIT_W;
use crate::network::request::RequestId;
use crate::network::spec::Sharing;
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
    /// Entry `c·n + s`, of n cells: what the flows of cell c together put into cell s, in units of
    /// [`EMISSION_UNIT_W`]. Sums of unsigned integers, exact whatever comes and goes.
    emissions: Vec<u64>,
}

impl Air {
    /// The idle air of so many cells.
    pub fn new(cells: usize, sharing: &Sharing) -> Self {
        let cell = |_| CellAir {
            flows: match sharing {
                Sharing::Flows => ProcessorSharing::new(),
                Sharing::FlowsWithGain(gain) => ProcessorSharing::with_gain(gain.clone()),
            },
            departure: None,
        };
        Self { cells: (0..cells).map(cell).collect(), active: 0, busy: 0, emissions: vec![0; cells * cells] }
    }

    /// Interference at a cell \[W\]: of every other cell that is busy the mean over its flows, one of
    /// which is on the air at a time.
    pub fn interference_w(&self, cell: u32) -> f64 {
        let cells = self.cells.len();
        let from = |(other, air): (usize, &CellAir)| {
            let heard = self.emissions[other * cells + cell as usize];
            if other == cell as usize || heard == 0 { 0.0 } else { heard as f64 / air.flows.active().max(1) as f64 }
        };
        EMISSION_UNIT_W * self.cells.iter().enumerate().map(from).sum::<f64>()
    }

    /// A flow of a cell begins to put so much into each cell.
    pub fn emit(&mut self, cell: u32, emission: &[u64]) {
        let first = cell as usize * self.cells.len();
        for (sum, part) in self.emissions[first..].iter_mut().zip(emission) {
            *sum = sum.wrapping_add(*part);
        }
    }

    /// A flow of a cell stops doing so.
    pub fn fall_silent(&mut self, cell: u32, emission: &[u64]) {
        let first = cell as usize * self.cells.len();
        for (sum, part) in self.emissions[first..].iter_mut().zip(emission) {
            *sum = sum.wrapping_sub(*part);
        }
    }

    /// Flows of all cells together.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// Cells that have a flow.
    pub fn busy_cells(&self) -> u32 {
        self.busy
    }

    /// A flow of so much airtime joins a cell, with a weight.
    pub fn join(&mut self, cell: u32, now: SimTime, airtime: SimTime, weight: u32, job: RequestId) -> FlowId {
        let flows = &mut self.cells[cell as usize].flows;
        self.busy += u32::from(flows.active() == 0);
        self.active += 1;
        flows.arrive_weighted(now, airtime, weight, job)
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

    /// Airtime that a flow of a cell has had by now.
    pub fn received(&self, cell: u32, now: SimTime, flow: FlowId) -> Option<SimTime> {
        self.cells[cell as usize].flows.received(now, flow)
    }

    fn left(&mut self, cell: u32) {
        self.active -= 1;
        self.busy -= u32::from(self.cells[cell as usize].flows.active() == 0);
    }
}

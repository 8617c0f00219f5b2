//! The air: one uplink per cell. Its flows share the airtime, or a scheduler gives it to them slot
//! by slot.

use crate::kernel::{Departed, FlowId, ProcessorSharing, Ticket};
use crate::network::cells::EMISSION_UNIT_W;
use crate::network::request::RequestId;
use crate::network::spec::Sharing;
use crate::radio::{SlotCell, SlotCellError, SlotFlowId};
use crate::units::SimTime;

/// A flow's place on the uplink of its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AirFlow {
    /// Sharing the airtime.
    Shared(FlowId),
    /// Served slot by slot.
    Slotted(SlotFlowId),
}

/// The uplink of one cell.
#[derive(Debug, Default)]
pub struct CellAir {
    /// Flows that share its airtime.
    pub flows: ProcessorSharing<RequestId>,
    /// Event of the next departure of these.
    pub departure: Option<Ticket>,
    /// The scheduler and its flows, where there is one.
    pub slots: Option<Box<SlotCell<RequestId>>>,
    /// Whether a slot is among the events.
    pub slot_scheduled: bool,
    /// Flows on the air.
    active: u32,
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
    ///
    /// # Errors
    /// [`SlotCellError`] for slots or a memory that can't be.
    pub fn new(cells: usize, sharing: &Sharing) -> Result<Self, SlotCellError> {
        let cell = |_| {
            let mut air = CellAir::default();
            match sharing {
                Sharing::Flows => {}
                Sharing::FlowsWithGain(gain) => air.flows = ProcessorSharing::with_gain(gain.clone()),
                Sharing::Slots(slots) => {
                    air.slots = Some(Box::new(SlotCell::new(slots.scheduler, slots.slot, slots.csi_period)?));
                }
            }
            Ok(air)
        };
        let cells = (0..cells).map(cell).collect::<Result<Vec<_>, _>>()?;
        let emissions = vec![0; cells.len() * cells.len()];
        Ok(Self { cells, active: 0, busy: 0, emissions })
    }

    /// Interference at a cell \[W\]: of every other cell that is busy the mean over its flows, one of
    /// which is on the air at a time.
    pub fn interference_w(&self, cell: u32) -> f64 {
        let cells = self.cells.len();
        let from = |(other, air): (usize, &CellAir)| {
            let heard = self.emissions[other * cells + cell as usize];
            if other == cell as usize || heard == 0 { 0.0 } else { heard as f64 / f64::from(air.active.max(1)) }
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

    /// Flows of a cell.
    pub fn active_in(&self, cell: u32) -> u32 {
        self.cells[cell as usize].active
    }

    /// Cells that have a flow.
    pub fn busy_cells(&self) -> u32 {
        self.busy
    }

    /// A flow joins a cell: of so much airtime with a weight, or slot by slot of so many bits.
    pub fn join(
        &mut self,
        cell: u32,
        now: SimTime,
        (airtime, bits): (SimTime, u64),
        weight: u32,
        job: RequestId,
    ) -> AirFlow {
        let air = &mut self.cells[cell as usize];
        self.busy += u32::from(air.active == 0);
        self.active += 1;
        air.active += 1;
        match air.slots.as_mut() {
            Some(slots) => AirFlow::Slotted(slots.arrive(now, job, bits.max(1))),
            None => AirFlow::Shared(air.flows.arrive_weighted(now, airtime, weight, job)),
        }
    }

    /// Takes out the next flow that shares a cell and has had its airtime, if there is one.
    pub fn depart(&mut self, cell: u32, now: SimTime) -> Option<Departed<RequestId>> {
        let departed = self.cells[cell as usize].flows.depart(now)?;
        self.left(cell);
        Some(departed)
    }

    /// Takes a flow out before its time; returns the airtime that it has had if it shares it.
    pub fn cancel(&mut self, cell: u32, now: SimTime, flow: AirFlow) -> Option<SimTime> {
        let air = &mut self.cells[cell as usize];
        let served = match flow {
            AirFlow::Shared(flow) => Some(air.flows.cancel(now, flow)?),
            AirFlow::Slotted(flow) => {
                // One whose last bits are in the slot that runs is gone already.
                air.slots.as_mut().and_then(|slots| slots.cancel(flow));
                None
            }
        };
        self.left(cell);
        served
    }

    /// Airtime that a flow that shares a cell has had by now.
    pub fn received(&self, cell: u32, now: SimTime, flow: AirFlow) -> Option<SimTime> {
        match flow {
            AirFlow::Shared(flow) => self.cells[cell as usize].flows.received(now, flow),
            AirFlow::Slotted(_) => None,
        }
    }

    /// A flow of a cell has left.
    pub fn left(&mut self, cell: u32) {
        let air = &mut self.cells[cell as usize];
        self.active -= 1;
        air.active -= 1;
        self.busy -= u32::from(air.active == 0);
    }
}

//! The state of a network: UEs, the shared uplink, the edge.

use std::collections::VecDeque;

use crate::channel::{Fading, Link, ParameterState};
use crate::kernel::{ProcessorSharing, Streams, Ticket};
use crate::network::air::Air;
use crate::network::battery::Battery;
use crate::network::cells::{Cellular, Ground, UeRadio};
use crate::network::conversation::AwaitedTurns;
use crate::network::energy::UeBusy;
use crate::network::modulated::ChainCursor;
use crate::network::request::{RequestId, Requests};
use crate::network::simulation::SimulationError;
use crate::network::spec::NetworkSpec;
use crate::network::workload::Member;
use crate::units::SimTime;

/// A user equipment.
#[derive(Debug)]
pub struct Ue {
    /// Group.
    pub group: u32,
    /// Place in the group.
    pub member: Member,
    /// Controller.
    pub controller: u32,
    /// Requests (of a workload with turns: conversations) that have arrived.
    pub arrived: u64,
    /// The hidden state of modulated arrivals.
    pub chain: ChainCursor,
    /// Requests served so far, ended or not: steps of its decision process.
    pub steps: u64,
    /// Present split.
    pub split: u32,
    /// Waiting requests; names of those whose deadline passed are stale.
    pub queue: VecDeque<RequestId>,
    /// Live names in `queue`.
    pub waiting: u32,
    /// Sessions whose next round waits here, to be served before the queue; some names may be stale.
    pub returned: VecDeque<RequestId>,
    /// In service.
    pub serving: Option<RequestId>,
    /// Serving cell.
    pub cell: u32,
    /// Its radio, in a network of cells.
    pub radio: Option<Box<UeRadio>>,
    /// Gain in time.
    pub fading: Fading,
    /// Mean gain of the packets last sent, and when the last of them had arrived.
    pub last_gain: Option<(f64, SimTime)>,
    /// Cursors of σ, σ_h, h_th, P.
    pub walks: [ParameterState; 4],
    /// The largest split whose layers are in its memory.
    pub resident: u32,
    /// Time in which it was busy.
    pub busy: UeBusy,
    /// Its battery, if it has one.
    pub battery: Option<Box<Battery>>,
}

/// The edge's queue and servers.
#[derive(Debug, Default)]
pub struct Edge {
    /// Waiting requests; names of those whose deadline passed are stale.
    pub queue: VecDeque<RequestId>,
    /// Live names in `queue`.
    pub waiting: u32,
    /// Requests in service.
    pub in_service: u32,
    /// The batch in service.
    pub batch: Vec<RequestId>,
    /// Whether a batch is in service: its requests may all have timed out.
    pub batch_running: bool,
    /// Jobs under processor sharing.
    pub shared: ProcessorSharing<RequestId>,
    /// Event of the next departure under processor sharing.
    pub departure: Option<Ticket>,
    /// Event of the batch timer.
    pub timer: Option<Ticket>,
}

/// The network's state.
#[derive(Debug)]
pub struct World {
    /// UEs by number.
    pub ues: Vec<Ue>,
    /// Requests under way.
    pub requests: Requests,
    /// The uplinks of the cells.
    pub air: Air,
    /// Places and large-scale channels of the cells.
    pub cellular: Option<Cellular>,
    /// Turns of conversations that are still thought about.
    pub awaited_turns: AwaitedTurns,
    /// The edge.
    pub edge: Edge,
    /// Live waiting requests over all UEs, sessions between two rounds included.
    pub ue_waiting: u64,
}

impl World {
    /// An empty network with its UEs in place.
    ///
    /// # Errors
    /// [`SimulationError`] for fading or slots that can't be.
    pub fn new(spec: &NetworkSpec, streams: &Streams) -> Result<Self, SimulationError> {
        let mut ues = Vec::with_capacity(spec.groups.iter().map(|group| group.count as usize).sum());
        let mut next_controller = spec.controllers.iter().filter(|controller| controller.shared).count() as u32;
        // Shared controllers come first, by their order in the scenario.
        let shared: Vec<Option<u32>> = spec
            .controllers
            .iter()
            .scan(0, |next, controller| {
                Some(controller.shared.then(|| {
                    *next += 1;
                    *next - 1
                }))
            })
            .collect();
        let cellular = spec.cellular.as_ref().map(|cells| {
            let channels: Vec<_> = spec.channels.iter().filter_map(|channel| channel.large_scale).collect();
            Cellular::new(cells, &channels, streams)
        });
        for (group, members) in (0u32..).zip(&spec.groups) {
            for index in 0..members.count {
                let ue = ues.len() as u32;
                let channel = &spec.channels[members.channel];
                let controller = shared[members.controller].unwrap_or_else(|| {
                    next_controller += 1;
                    next_controller - 1
                });
                let ground = Ground::of(spec, group as usize, streams);
                let placed = cellular.as_ref().zip(ground).map(|(cellular, ground)| cellular.radio(ground, ue, index));
                let (radio, cell) = placed.map_or((None, 0), |(radio, cell)| (Some(Box::new(radio)), cell));
                ues.push(Ue {
                    group,
                    member: Member { ue, index, of: members.count },
                    controller,
                    arrived: 0,
                    chain: ChainCursor::default(),
                    steps: 0,
                    split: spec.split.min,
                    queue: VecDeque::new(),
                    waiting: 0,
                    returned: VecDeque::new(),
                    serving: None,
                    cell,
                    radio,
                    fading: Fading::new(&channel.fading, streams, Link { ue, cell })?,
                    last_gain: None,
                    walks: Default::default(),
                    resident: 0,
                    busy: UeBusy::default(),
                    battery: members.battery_j.map(|capacity_j| Box::new(Battery::new(capacity_j))),
                });
            }
        }
        let cells = spec.cellular.as_ref().map_or(1, |cellular| cellular.sites.len());
        Ok(Self {
            ues,
            requests: Requests::default(),
            air: Air::new(cells, &spec.sharing)?,
            cellular,
            awaited_turns: AwaitedTurns::default(),
            edge: Edge::default(),
            ue_waiting: 0,
        })
    }

    /// The controllers that [`World::new`] counts on: which table each one follows,
    /// and the UE that owns it (`None` for a shared one), in order of their numbers.
    pub fn controllers(spec: &NetworkSpec) -> Vec<(usize, Option<u32>)> {
        let shared = spec.controllers.iter().enumerate().filter(|(_, table)| table.shared).map(|(i, _)| (i, None));
        let mut ue = 0;
        let mut own = Vec::new();
        for group in &spec.groups {
            for _ in 0..group.count {
                if !spec.controllers[group.controller].shared {
                    own.push((group.controller, Some(ue)));
                }
                ue += 1;
            }
        }
        shared.chain(own).collect()
    }
}

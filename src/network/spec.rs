//! Everything that defines a network, checked and in SI units: what the scenario
//! floor builds and the simulation reads.

use crate::channel::{
    Codec, Concealment, Fading, FadingModel, Impairment, LargeScaleSpec, LossUnit, Moment, NoiseKey, Packets,
    Parameter, Reception, ReceptionRecord, TxNormalisation, rayleigh_gain,
};
use crate::kernel::CapacityGain;
use crate::llm::CostModel;
use crate::network::cells::{CellularSpec, Placement};
use crate::network::collaboration::CollaborationSpec;
use crate::network::compute::Processor;
use crate::network::costs::tensor_values;
use crate::network::ports::{Conditions, ServiceMode};
use crate::network::workload::Workload;
use crate::radio::{Harq, Payload, PayloadKind, SlotScheduler, UplinkSpec};
use crate::units::SimTime;

/// Parameters of a statistical channel.
#[derive(Clone, Debug)]
pub struct ChannelSpec {
    /// σ; constant 0 if digital.
    pub noise_std: Parameter,
    /// Two of σ_h, h_th and P; the third follows by eq. (4).
    pub outage: OutageSpec,
    /// How a tensor is received.
    pub reception: Reception,
    /// Transmit normalisation.
    pub tx_normalisation: TxNormalisation,
    /// What a lost packet takes with it.
    pub loss_unit: LossUnit,
    /// What stands in place of what a prompt's tensor lost.
    pub concealment: Concealment,
    /// How a prompt's tensor is delivered.
    pub delivery: Delivery,
    /// Hybrid ARQ of every delivery but [`Delivery::None`]; `None` for one attempt.
    pub harq: Option<Harq>,
    /// How the rows of decode rounds are delivered.
    pub decode: DecodeSpec,
    /// What of the tensor a digital link sends, and in what format.
    pub codec: Codec,
    /// Maximum Doppler shift f_d \[Hz\].
    pub doppler_hz: f64,
    /// How the gain varies in time.
    pub fading: FadingModel,
    /// Path loss and shadowing, in a network of cells; σ, σ_h and P then follow from the SINR.
    pub large_scale: Option<LargeScaleSpec>,
    /// SNR that a digital packet needs, `(2^{R/B} - 1)·Γ`.
    pub snr_needed: f64,
}

impl ChannelSpec {
    /// Mean SNR of the link \[dB\]: analog `10 lg(2σ_h²/σ²)`, of values of unit power; digital
    /// `10 lg((2^{R/B} - 1)·Γ·2σ_h²/h_th²)`, which is SNR₁·E h² as h_th = √((2^{R/B} - 1)·Γ/SNR₁).
    pub fn mean_snr_db(&self, conditions: &Conditions) -> f64 {
        let power = 2.0 * conditions.rayleigh_scale * conditions.rayleigh_scale;
        let ratio = match self.reception {
            Reception::Digital => self.snr_needed * power / (conditions.gain_threshold * conditions.gain_threshold),
            Reception::Raw | Reception::Equalised => power / (conditions.noise_std * conditions.noise_std),
        };
        10.0 * ratio.log10()
    }

    /// The moment of a link at simulated time `time_s` \[s\], at f_d since time 0.
    #[inline]
    pub fn moment(&self, time_s: f64) -> Moment {
        Moment::at(time_s, self.doppler_hz)
    }

    /// Sends packets whose midpoints fall on `moments`: each meets the link's gain at its
    /// own and is lost below the threshold. With `element-iid` no packet is lost.
    pub fn transmit(
        &self,
        fading: &Fading,
        conditions: &Conditions,
        by_element: bool,
        moments: impl Iterator<Item = Moment>,
        packets: &mut Packets,
    ) {
        for moment in moments {
            let gain = rayleigh_gain(conditions.rayleigh_scale, fading.envelope(moment));
            packets.push(gain, !by_element && gain < conditions.gain_threshold);
        }
    }

    /// The reception record of a tensor that was sent in `packets`.
    pub fn record(&self, conditions: &Conditions, noise_key: NoiseKey, packets: Packets) -> ReceptionRecord {
        ReceptionRecord {
            impairment: Impairment {
                reception: self.reception,
                loss_unit: self.loss_unit,
                tx_normalisation: self.tx_normalisation,
                codec: self.codec,
                concealment: self.concealment,
                round_concealment: self.decode.concealment,
            },
            noise_std: if self.reception == Reception::Digital { 0.0 } else { conditions.noise_std },
            loss_probability: conditions.loss_probability,
            noise_key,
            packets,
            rounds: Vec::new(),
        }
    }

    /// Whether nothing of a tensor of `rows` rows arrived: no packet, or under
    /// `token-row` no whole row.
    pub fn is_outage(&self, record: &ReceptionRecord, rows: usize) -> bool {
        self.loss_unit != LossUnit::ElementIid
            && (record.packets.lost() == record.packets.len() || record.rows_lost(rows) == Some(rows))
    }

    /// Whether the edge can use a decode round's row of which `packets` came or were lost:
    /// under `token-row` if none is missing, otherwise if any came. Without packets the
    /// row's first transmission was cut off.
    pub fn row_arrived(&self, packets: &Packets) -> bool {
        let allowed = match self.loss_unit {
            LossUnit::TokenRow => 0,
            LossUnit::Chunk | LossUnit::Interleaved | LossUnit::ElementIid => packets.len().saturating_sub(1),
        };
        !packets.is_empty() && packets.lost() <= allowed
    }
}

/// How the row of a decode round comes to the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeSpec {
    /// What is done about lost packets.
    pub delivery: Delivery,
    /// What the edge puts in place of what is missing of a row.
    pub concealment: Concealment,
}

/// What is done about packets that the channel lost; the names are those of the modes of
/// 3GPP's radio link control (TS 38.322).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// One transmission of one attempt.
    None,
    /// Unacknowledged: one transmission, whose packets have the attempts of hybrid ARQ.
    Um,
    /// Acknowledged: packets that are still lost then are sent again. With a deadline, only until so
    /// long after the payload was first put on the air; what is on the air then brings nothing.
    Am {
        /// Time allowed.
        deadline: Option<SimTime>,
    },
    /// As acknowledged, but of what is on the air at the deadline the packets that are through by
    /// then count.
    Deadline {
        /// Time allowed, from the first transmission's start.
        after: SimTime,
    },
}

impl Delivery {
    /// Whether packets that a transmission lost are sent again.
    pub fn repeats(self) -> bool {
        matches!(self, Self::Am { .. } | Self::Deadline { .. })
    }

    /// Time from the first transmission's start until the edge goes on with what it has.
    pub fn deadline(self) -> Option<SimTime> {
        match self {
            Self::None | Self::Um => None,
            Self::Am { deadline } => deadline,
            Self::Deadline { after } => Some(after),
        }
    }
}

/// The two given quantities of eq. (4), `P = 1 - exp(-h_th² / (2σ_h²))`.
#[derive(Clone, Debug)]
pub enum OutageSpec {
    /// h_th follows.
    ScaleAndLoss {
        /// σ_h.
        rayleigh_scale: Parameter,
        /// P.
        loss_probability: Parameter,
    },
    /// P follows.
    ScaleAndThreshold {
        /// σ_h.
        rayleigh_scale: Parameter,
        /// h_th.
        gain_threshold: Parameter,
    },
    /// σ_h follows.
    ThresholdAndLoss {
        /// h_th.
        gain_threshold: Parameter,
        /// P.
        loss_probability: Parameter,
    },
}

/// A layer that is given, or drawn uniformly from `min..=max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialSplit {
    /// Always this one.
    Constant(u32),
    /// Drawn.
    Drawn {
        /// First layer.
        min: u32,
        /// Last layer.
        max: u32,
        /// When.
        draw: crate::channel::Draw,
    },
}

/// How the split may move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitSpec {
    /// Least split.
    pub min: u32,
    /// Largest split.
    pub max: u32,
    /// Split at the start of an episode.
    pub initial: InitialSplit,
}

/// A group of alike UEs.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// Name in the rows.
    pub name: String,
    /// UEs in it.
    pub count: u32,
    /// Their processor.
    pub processor: Processor,
    /// Requests that may wait, not counting the one in service; `None` for any number.
    pub queue_capacity: Option<u32>,
    /// Time allowed from arrival to result.
    pub deadline: Option<SimTime>,
    /// What they ask for.
    pub workload: Workload,
    /// Index into [`NetworkSpec::channels`].
    pub channel: usize,
    /// Index into [`NetworkSpec::controllers`].
    pub controller: usize,
    /// Power drawn while transmitting \[W\], where there is no power control.
    pub tx_power_w: f64,
    /// Share of the airtime that a flow gets, relative to others.
    pub weight: u32,
    /// Where its UEs are, in a network of cells.
    pub placement: Option<Placement>,
    /// Power that the radio draws while it doesn't transmit \[W\].
    pub sleep_power_w: f64,
    /// Charge of the battery at the start \[J\]; `None` without one.
    pub battery_j: Option<f64>,
    /// Largest split that the memory has room for; at most [`SplitSpec::max`].
    pub max_split: u32,
}

/// A controller table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerSpec {
    /// One controller for all UEs that name it, rather than one for each.
    pub shared: bool,
    /// Decisions per episode.
    pub steps_per_episode: u32,
}

/// How the edge serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Discipline {
    /// First come, first served by so many servers.
    Fifo {
        /// Servers c.
        servers: u32,
    },
    /// Egalitarian processor sharing.
    ProcessorSharing,
    /// Batches, formed when the server is idle and the batch is full or its first request has waited enough.
    Batch {
        /// Most requests in a batch.
        max_batch: u32,
        /// Longest wait for company.
        max_wait: SimTime,
    },
}

/// A service time that replaces the roofline, for studies of the queues alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ServiceLaw {
    /// Always the same.
    Deterministic {
        /// The time \[s\].
        mean_s: f64,
    },
    /// Exponential.
    Exponential {
        /// Mean \[s\].
        mean_s: f64,
    },
}

/// The edge.
#[derive(Clone, Copy, Debug)]
pub struct EdgeSpec {
    /// Its processor (of each server).
    pub processor: Processor,
    /// Queueing discipline.
    pub discipline: Discipline,
    /// Replaces the roofline.
    pub service: Option<ServiceLaw>,
}

/// Who gets the airtime of a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Sharing {
    /// All flows at once, by weight.
    Flows,
    /// The same, and the more flows there are the more the cell carries: the scheduler picks
    /// good moments of each.
    FlowsWithGain(CapacityGain),
    /// One at a time, slot by slot.
    Slots(SlotSpec),
}

/// A scheduler that gives out slots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlotSpec {
    /// Who gets one.
    pub scheduler: SlotScheduler,
    /// Length of a slot.
    pub slot: SimTime,
    /// A UE reports what its link carries so often.
    pub csi_period: SimTime,
}

/// The way back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DownlinkSpec {
    /// Fixed delay \[s\].
    pub latency_s: f64,
    /// Rate of a UE's result \[bit/s\].
    pub rate_bps: f64,
}

impl NetworkSpec {
    /// The tensor of a prompt of `tokens` tokens on a channel's uplink.
    pub fn tensor_payload(&self, channel: usize, tokens: u32) -> Payload {
        self.uplinks[channel].payload(PayloadKind::Tensor {
            values: tensor_values(self, tokens),
            bits: self.channels[channel].codec.payload_bits(u64::from(tokens), tensor_values(self, 1)),
        })
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct NetworkSpec {
    /// What runs where.
    pub mode: ServiceMode,
    /// What is paid for FLOP, bytes and payload.
    pub cost: CostModel,
    /// The UE's own model, and when the edge is asked; `None` where no text is generated.
    pub collaboration: Option<CollaborationSpec>,
    /// Layers of the model that runs; splits count these.
    pub model_layers: u32,
    /// Splits.
    pub split: SplitSpec,
    /// Channels, referenced by groups.
    pub channels: Vec<ChannelSpec>,
    /// Controllers, referenced by groups.
    pub controllers: Vec<ControllerSpec>,
    /// Groups of UEs, in order of their numbers.
    pub groups: Vec<GroupSpec>,
    /// The uplink that all share, one entry per channel (analog or digital).
    pub uplinks: Vec<UplinkSpec>,
    /// Cells with places; `None` for one cell without.
    pub cellular: Option<CellularSpec>,
    /// Who gets the airtime of a cell.
    pub sharing: Sharing,
    /// The downlink.
    pub downlink: DownlinkSpec,
    /// Wait before lost packets of token ids, or of a decode round's row, are sent again.
    pub retransmission_delay: SimTime,
    /// Transmissions of token ids, or of a decode round's row, before giving up.
    pub max_transmissions: u32,
    /// The edge.
    pub edge: EdgeSpec,
    /// Arrivals stop here.
    pub duration: SimTime,
    /// Utilisations are measured from here to `duration`.
    pub warmup: SimTime,
    /// Once arrivals have ended, requests under way have so long to finish.
    pub drain_limit: SimTime,
    /// Arrivals stop after so many requests.
    pub max_requests: Option<u64>,
    /// Arrivals stop after so many decisions.
    pub max_steps: Option<u64>,
    /// Arrivals stop when each UE has taken as many decisions as stands here for it; none for no such rule.
    pub steps_of_each: Vec<u64>,
    /// Distance of samples.
    pub sample_interval: Option<SimTime>,
}

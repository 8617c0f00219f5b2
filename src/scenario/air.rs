//! Tables of what is between UE and edge: channels and the radio.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::channel::{
    Concealment, DEFAULT_SINUSOIDS, Encoding, Environment, FadingKind, LineOfSightMode, LossUnit, Reception,
    TxNormalisation,
};
use crate::radio::{Combining, DEFAULT_BLER_SLOPE_DB};
use crate::scenario::cells::{AdaptsToName, LinkName, PacketsName};
use crate::scenario::values::Varying;

/// The kind of channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelKind {
    /// Given by its statistics: σ, σ_h and the loss probability.
    #[default]
    Statistical,
    /// Follows from places: path loss, shadowing, interference and power give the SINR of each transmission. All channels of a scenario are of one kind.
    Cellular,
}

/// What is done about lost packets; the names are those of the modes of 3GPP's radio link control (TS 38.322).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryName {
    /// Acknowledged: packets that are lost, after the attempts of `harq`, are sent again after `radio.retransmission_delay_ms`, at most `radio.max_transmissions` times in all, until the deadline has passed, if there is one; a transmission that is then under way is cut off and brings nothing. What is missing then is concealed as under "none".
    #[default]
    Am,
    /// One transmission of one attempt: what is lost is concealed as `loss_unit` says: under "token-row" every row that a lost packet has a part in, under "chunk" the packets' slices, under "interleaved" their elements.
    None,
    /// Unacknowledged: one transmission, whose packets have the attempts of `harq`.
    Um,
    /// As "am" with its deadline, but of the transmission that is then under way the packets count that are through.
    Deadline,
}

/// `[channel.harq]`: hybrid ARQ of all deliveries but "none". A packet that fails is sent again one round trip later, and meets the gain of that instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HarqTable {
    /// Attempts of a packet, the first one included.
    #[schemars(range(min = 1, max = 16))]
    pub max_transmissions: u32,
    /// From one attempt of a packet to the next \[ms\].
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e6))]
    pub round_trip_ms: f64,
    /// What the receiver does with attempts that failed.
    pub combining: Combining,
}

impl Default for HarqTable {
    fn default() -> Self {
        Self { max_transmissions: 4, round_trip_ms: 4.0, combining: Combining::Chase }
    }
}

/// `[channel.decode]`: the rows of decode rounds, of which a session for more than one token has one for each further token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DecodeTable {
    /// How a row is delivered. With `loss_unit = "element-iid"` a row loses elements and is never sent again.
    pub delivery: DeliveryName,
    /// "am", "deadline": time from the start of a row's first transmission until the edge goes on without what is missing of it \[ms\]. The default is the delay budget that 3GPP TS 23.501 gives a conversation (5QI 1): a token that waits longer is felt.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e12))]
    pub deadline_ms: f64,
    /// What the edge puts in place of a row, slice or element that did not arrive; it stays in the edge's keys and values for the rest of the session.
    pub concealment: Concealment,
}

impl Default for DecodeTable {
    fn default() -> Self {
        Self { delivery: DeliveryName::Am, deadline_ms: 100.0, concealment: Concealment::PreviousRow }
    }
}

/// `[channel]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelTable {
    /// Name, where there are several.
    pub name: Option<String>,
    /// The kind of channel.
    pub kind: ChannelKind,
    /// σ of eq. (3): standard deviation of the noise on each element. Plays no part if digital.
    pub noise_std: Varying,
    /// Probability that a packet is lost, eq. (4). Give exactly two of this, `rayleigh_scale` and `gain_threshold`; with fewer, `rayleigh_scale` is 1/√2 (so that E h² = 1) and this is 0.
    pub loss_probability: Option<Varying>,
    /// σ_h: scale of the Rayleigh gain.
    pub rayleigh_scale: Option<Varying>,
    /// h_th: a packet that meets a smaller gain is lost.
    pub gain_threshold: Option<Varying>,
    /// Digital only: SNR at gain 1 \[dB\]; gives `gain_threshold` by the rate, √((2^(R/B) - 1)·Γ/SNR).
    #[schemars(range(min = -100.0, max = 200.0))]
    pub snr_db: Option<f64>,
    /// Γ: what the code loses against Shannon \[dB\].
    #[schemars(range(min = 0.0, max = 60.0))]
    pub snr_gap_db: f64,
    /// How a tensor is received.
    pub reception: Reception,
    /// How the transmitter scales the tensor.
    pub tx_normalisation: TxNormalisation,
    /// What is lost with a packet.
    pub loss_unit: LossUnit,
    /// What stands in place of what a prompt's tensor lost.
    pub concealment: Concealment,
    /// How a prompt's tensor is delivered. Default: "none", in cellular channels "um".
    pub delivery: Option<DeliveryName>,
    /// "am", "deadline": time from the start of a prompt's first transmission until the edge goes on without what is missing of it \[ms\]. Default: none for "am"; "deadline" needs it.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e12))]
    pub delivery_deadline_ms: Option<f64>,
    /// Hybrid ARQ, of prompts, token ids and rows of decode rounds. Default: none, each packet has one attempt; in cellular channels the one of an empty table.
    pub harq: Option<HarqTable>,
    /// How the rows of decode rounds are delivered.
    pub decode: DecodeTable,
    /// Digital only: how values are encoded. Default: "f16".
    pub encoding: Option<Encoding>,
    /// Digital, "int8" and "int4": share of each row's values, the largest magnitudes, that travel in "f16" with their positions (⌈log2 d⌉ bits each, or a mask of d bits if that is shorter), so that the scale is that of the rest, as in LLM.int8() (arXiv 2208.07339).
    #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
    pub outlier_share: f64,
    /// Digital: only this share of each row's values, the largest magnitudes, travels, with its positions; the others are 0 at the edge. Default: all travel, and no positions. Outliers are among them.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub top_k_share: Option<f64>,
    /// Maximum Doppler shift \[Hz\]: how fast the gain varies. At 0 each UE keeps one gain for the whole run. "cellular": that of the surroundings; a UE's own speed comes on top, v·f/c.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub doppler_hz: f64,
    /// How the gain varies.
    pub fading: FadingKind,
    /// "rician": power of the line of sight over that of the scattered waves, K \[dB\]. Default: 9, the mean of urban macro cells with a line of sight in 3GPP TR 38.901 (table 7.5-6).
    #[schemars(range(min = -30.0, max = 30.0))]
    pub rician_k_db: Option<f64>,
    /// "nakagami": the shape m. 1 has the law of Rayleigh fading, 0.5 is the harshest; whole values up to 8 are the mean power of that many Rayleigh links, any other is Rayleigh fading transformed to the same quantile.
    #[schemars(range(min = 0.5, max = 100.0))]
    pub nakagami_m: Option<f64>,
    /// "block": how long a gain holds \[ms\], whatever `doppler_hz`. Default: the coherence time 0.423/`doppler_hz` (Rappaport, "Wireless Communications", eq. 5.40.c); at 0 Hz one gain for the whole run.
    #[schemars(range(min = 0.001, max = 1e12))]
    pub coherence_ms: Option<f64>,
    /// "trace": a CSV file with the columns `time_s` and `gain` (the envelope, linear, of mean square 1 over the file; `rayleigh_scale` multiplies it), and maybe `ue` (a UE's number in the network, from 0) or `group` (the name of a `[[ue]]`), for a series each. Between its instants the gain is linear in time.
    pub fading_trace: Option<String>,
    /// "trace": whether the file begins again where it ends. Otherwise it must begin at 0 and last for `duration_s`; after its end, in the drain, its last gain holds.
    pub fading_trace_repeat: bool,
    /// "cellular": propagation model of 3GPP TR 38.901.
    pub environment: Environment,
    /// "cellular": carrier frequency \[GHz\].
    #[schemars(range(min = 0.5, max = 100.0))]
    pub carrier_ghz: f64,
    /// "cellular": whether there is a line of sight.
    pub line_of_sight: LineOfSightMode,
    /// "cellular": whether there is shadowing, log-normal and correlated in place.
    pub shadowing: bool,
    /// "cellular": height of the UEs' antennas \[m\]. Default: the environment's, 1.5 (1 in "inh").
    #[schemars(range(min = 0.5, max = 12.9))]
    pub ut_height_m: Option<f64>,
    /// Sinusoids N of the fading. A sum of few is not quite Gaussian: at N = 32 about 1.5 % fewer packets are lost than `loss_probability` says, at 64 and more below 1 %, at the price of time.
    #[schemars(range(min = 8, max = 1024))]
    pub sinusoids: u32,
}

impl Default for ChannelTable {
    fn default() -> Self {
        Self {
            name: None,
            kind: ChannelKind::Statistical,
            noise_std: Varying::Number(0.0),
            loss_probability: None,
            rayleigh_scale: None,
            gain_threshold: None,
            snr_db: None,
            snr_gap_db: 1.5,
            reception: Reception::Equalised,
            tx_normalisation: TxNormalisation::None,
            loss_unit: LossUnit::TokenRow,
            concealment: Concealment::Zero,
            delivery: None,
            delivery_deadline_ms: None,
            harq: None,
            decode: DecodeTable::default(),
            encoding: None,
            outlier_share: 0.0,
            top_k_share: None,
            doppler_hz: 10.0,
            fading: FadingKind::Rayleigh,
            rician_k_db: None,
            nakagami_m: None,
            coherence_ms: None,
            fading_trace: None,
            fading_trace_repeat: false,
            environment: Environment::Uma,
            carrier_ghz: 3.5,
            line_of_sight: LineOfSightMode::Drawn,
            shadowing: true,
            ut_height_m: None,
            sinusoids: DEFAULT_SINUSOIDS as u32,
        }
    }
}

impl ChannelTable {
    /// How a prompt's tensor is delivered.
    pub fn prompt_delivery(&self) -> DeliveryName {
        self.delivery.unwrap_or(match self.kind {
            ChannelKind::Statistical => DeliveryName::None,
            ChannelKind::Cellular => DeliveryName::Um,
        })
    }

    /// Hybrid ARQ, if there is one.
    pub fn hybrid_arq(&self) -> Option<HarqTable> {
        match (&self.harq, self.kind) {
            (None, ChannelKind::Statistical) => None,
            (given, _) => Some(given.clone().unwrap_or_default()),
        }
    }
}

/// Who gets the uplink's airtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SharingKind {
    /// All flows of a cell share its airtime, by `ue.weight`.
    #[default]
    FlowPs,
    /// The same, and the more flows there are the more the cell carries, by the multi-user gain G(n) of a proportional-fair scheduler: it sends to each UE in its good moments. Packets still meet the gains of their midpoints.
    FlowPf,
    /// Slot by slot: each slot to one flow after another, by turns. Digital channels only, as for the next two.
    SlotRoundRobin,
    /// Slot by slot: each slot to the flow whose link last reported the highest rate. Cellular channels only.
    SlotMaxCi,
    /// Slot by slot: each slot to the flow whose last reported rate is highest relative to its own past mean, over about 50 slots. Cellular channels only.
    SlotPf,
    /// No airtime is used: for studies of the other queues.
    Ideal,
}

/// `[radio]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RadioTable {
    /// Bandwidth of the uplink \[MHz\].
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e6))]
    pub bandwidth_mhz: f64,
    /// Who gets the airtime.
    pub sharing: SharingKind,
    /// Digital: rate per bandwidth \[bit/s/Hz\].
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 100))]
    pub spectral_efficiency_bps_hz: f64,
    /// Digital: payload of a packet \[byte\].
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub packet_bytes: u32,
    /// Analog: values of a packet. Default: one token's row.
    #[schemars(range(min = 1))]
    pub packet_values: Option<u64>,
    /// Wait before lost packets are sent again \[ms\]: those of a prompt's token ids, and of the rows of decode rounds. A prompt's tensor is sent again under `channel.delivery = "am"` and "deadline" only.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub retransmission_delay_ms: f64,
    /// Transmissions of token ids before the request is an outage, and of a decode round's row before what is missing of it is concealed.
    #[schemars(range(min = 1))]
    pub max_transmissions: u32,
    /// Fixed delay of the downlink \[ms\].
    #[schemars(range(min = 0.0, max = 1e9))]
    pub downlink_latency_ms: f64,
    /// Rate of the downlink \[Mbit/s\].
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e9))]
    pub downlink_mbps: f64,
    /// How a transmission chooses its rate. Default: "fixed", of cellular channels "cqi".
    pub link: Option<LinkName>,
    /// "cellular": what the rate is chosen for.
    pub link_adapts_to: AdaptsToName,
    /// "cellular": the SINR is taken to be so much less when a rate is chosen \[dB\]: against fading and interference that change meanwhile.
    #[schemars(range(min = 0.0, max = 60.0))]
    pub link_margin_db: f64,
    /// "cqi": spread s of the block error rate, BLER = Q((SINR - μ)/s) \[dB\].
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 20))]
    pub bler_slope_db: f64,
    /// How payloads are cut into packets.
    pub packets: PacketsName,
    /// Subcarrier spacing \[kHz\]: 15, 30, 60 or 120. With the bandwidth it gives the resource blocks, and the length of a slot.
    pub subcarrier_spacing_khz: u32,
    /// "cellular": noise figure of the base stations \[dB\].
    #[schemars(range(min = 0.0, max = 60.0))]
    pub noise_figure_db: f64,
    /// "cellular": P0 of uplink power control, min(tx_power_dbm, P0 + α·PL + 10 lg n_PRB) \[dBm\].
    #[schemars(range(min = -202.0, max = 24.0))]
    pub p0_dbm: f64,
    /// "cellular": α of uplink power control; 0 and a large P0 for full power always.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub path_loss_compensation: f64,
    /// "cellular": whether cells hear the transmissions in other cells: of each busy cell the mean over its flows.
    pub interference: bool,
    /// "slot-…", and `link_adapts_to = "reports"`: a UE reports what its link carries so often \[ms\]; the rate holds until the next report. 0 for each slot, or packet.
    #[schemars(range(min = 0.0, max = 60_000.0))]
    pub csi_period_ms: f64,
    /// "flow-pf": mean SNR for which the multi-user gain is computed, under Rayleigh fading and Shannon's formula \[dB\].
    #[schemars(range(min = -40.0, max = 60.0))]
    pub multi_user_snr_db: f64,
    /// "cellular": time over which a UE forgets what past packets said of its SINR and losses \[s\]: what a controller observes.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e9))]
    pub estimate_memory_s: f64,
    /// Radiated power of a UE \[dBm\]; of a cellular one the most that power control may ask for.
    #[schemars(range(min = -40.0, max = 40.0))]
    pub tx_power_dbm: f64,
    /// Milliwatts of one unit of 3GPP TR 38.840's relative power model, which leaves it open (2 to 4 are in use).
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1000))]
    pub power_unit_mw: f64,
    /// Power of a UE's radio while it doesn't transmit \[units of `power_unit_mw`\]: 45 in TR 38.840's micro sleep, 20 in light sleep, 1 in deep sleep. 0 counts none.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub sleep_power_units: f64,
}

impl Default for RadioTable {
    fn default() -> Self {
        Self {
            bandwidth_mhz: 20.0,
            sharing: SharingKind::FlowPs,
            spectral_efficiency_bps_hz: 4.0,
            packet_bytes: 1400,
            packet_values: None,
            retransmission_delay_ms: 8.0,
            max_transmissions: 100,
            downlink_latency_ms: 5.0,
            downlink_mbps: 50.0,
            link: None,
            link_adapts_to: AdaptsToName::Reports,
            link_margin_db: 3.0,
            bler_slope_db: DEFAULT_BLER_SLOPE_DB,
            packets: PacketsName::Mtu,
            subcarrier_spacing_khz: 30,
            noise_figure_db: 5.0,
            p0_dbm: -90.0,
            path_loss_compensation: 1.0,
            interference: true,
            csi_period_ms: 5.0,
            multi_user_snr_db: 10.0,
            estimate_memory_s: 1.0,
            tx_power_dbm: 23.0,
            power_unit_mw: 3.0,
            sleep_power_units: 0.0,
        }
    }
}

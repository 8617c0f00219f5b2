//! Tables of what is between UE and edge: channels and the radio.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::channel::{Concealment, DEFAULT_SINUSOIDS, Encoding, FadingKind, LossUnit, Reception, TxNormalisation};
use crate::scenario::values::Varying;

/// The kind of channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-planned" = ["cellular"]))]
pub enum ChannelKind {
    /// Given by its statistics: σ, σ_h and the loss probability.
    #[default]
    Statistical,
}

/// How the row of a decode round is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-planned" = ["um", "deadline"]))]
pub enum DeliveryName {
    /// Acknowledged: packets that were lost are sent again after `radio.retransmission_delay_ms`, at most `radio.max_transmissions` times in all, until `deadline_ms` has passed. What is missing then is concealed as under "none".
    #[default]
    Am,
    /// One transmission: of a row that loses packets, what `loss_unit` says is concealed: "token-row" all of it, "chunk" the packets' slices.
    None,
}

/// `[channel.decode]`: the rows of decode rounds, of which a session for more than one token has one for each further token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DecodeTable {
    /// How a row is delivered. With `loss_unit = "element-iid"` a row loses elements and is never sent again.
    pub delivery: DeliveryName,
    /// "am": time from the start of a row's first transmission until the edge goes on without what is missing of it \[ms\]; a transmission under way is cut off and brings nothing. The default is the delay budget that 3GPP TS 23.501 gives a conversation (5QI 1): a token that waits longer is felt.
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
    /// How the rows of decode rounds are delivered.
    pub decode: DecodeTable,
    /// Digital only: how values are encoded. Default: "f16".
    pub encoding: Option<Encoding>,
    /// Maximum Doppler shift \[Hz\]: how fast the gain varies. At 0 each UE keeps one gain for the whole run.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub doppler_hz: f64,
    /// How the gain varies.
    pub fading: FadingKind,
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
            decode: DecodeTable::default(),
            encoding: None,
            doppler_hz: 10.0,
            fading: FadingKind::Rayleigh,
            sinusoids: DEFAULT_SINUSOIDS as u32,
        }
    }
}

/// Who gets the uplink's airtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SharingKind {
    /// All flows share the airtime equally.
    #[default]
    FlowPs,
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
    /// Wait before lost packets are sent again \[ms\]: those of a prompt's token ids, and of the rows of decode rounds. A prompt's tensor is never sent again.
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
    /// Radiated power of a UE \[dBm\].
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
            tx_power_dbm: 23.0,
            power_unit_mw: 3.0,
            sleep_power_units: 0.0,
        }
    }
}

//! Airtime of a payload on the uplink.

use crate::units::SimTime;

/// How values travel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LinkMode {
    /// Uncoded analog: two values per hertz and second, `airtime = values / (2·bandwidth)`.
    Analog {
        /// Values per packet.
        packet_values: u64,
    },
    /// Digital at a fixed rate: `airtime = bits / (spectral efficiency · bandwidth)`.
    Digital {
        /// Rate per bandwidth \[bit/s/Hz\].
        spectral_efficiency_bps_hz: f64,
        /// Payload of a packet \[bit\].
        packet_bits: u64,
    },
}

/// The uplink as a whole; the UEs share its airtime.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UplinkSpec {
    /// Bandwidth \[Hz\].
    pub bandwidth_hz: f64,
    /// Analog or digital.
    pub mode: LinkMode,
    /// An ideal radio: no airtime, nothing waits. For studies of the queues alone.
    pub ideal: bool,
}

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PayloadKind {
    /// A tensor: an analog link sends its values, a digital one their encoding.
    Tensor {
        /// Values, S · d.
        values: u64,
        /// Bits of their encoding, row headers included.
        bits: u64,
    },
    /// Data that only a digital link carries: token ids.
    Data {
        /// Bits.
        bits: u64,
    },
}

/// A payload cut into packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Payload {
    /// Packets K, of equal size; at least 1.
    pub packets: u32,
    /// Bits on the air; `None` for analog.
    pub bits: Option<u64>,
    /// Airtime alone on the uplink.
    pub airtime: SimTime,
}

impl UplinkSpec {
    /// Data on an analog radio is sent at this rate \[bit/s/Hz\]: the values'
    /// two per hertz, one bit each.
    const DATA_EFFICIENCY_ON_ANALOG: f64 = 2.0;

    /// Cuts a payload into packets of equal size, none above the packet size,
    /// and gives its airtime.
    pub fn payload(&self, kind: PayloadKind) -> Payload {
        let (amount, per_packet, per_second, bits) = match (kind, self.mode) {
            (PayloadKind::Tensor { values, .. }, LinkMode::Analog { packet_values }) => {
                (values, packet_values, 2.0 * self.bandwidth_hz, None)
            }
            (PayloadKind::Data { bits }, LinkMode::Analog { .. }) => {
                (bits, bits, Self::DATA_EFFICIENCY_ON_ANALOG * self.bandwidth_hz, Some(bits))
            }
            (
                PayloadKind::Tensor { bits, .. } | PayloadKind::Data { bits },
                LinkMode::Digital { spectral_efficiency_bps_hz, packet_bits },
            ) => (bits, packet_bits, spectral_efficiency_bps_hz * self.bandwidth_hz, Some(bits)),
        };
        let packets = amount.div_ceil(per_packet.max(1)).clamp(1, u64::from(u32::MAX)) as u32;
        let airtime =
            if self.ideal { SimTime::ZERO } else { SimTime::from_secs_saturating(amount as f64 / per_second) };
        Payload { packets, bits, airtime }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITAL: UplinkSpec = UplinkSpec {
        bandwidth_hz: 20e6,
        mode: LinkMode::Digital { spectral_efficiency_bps_hz: 4.0, packet_bits: 11_200 },
        ideal: false,
    };

    #[test]
    fn a_llama_7b_token_takes_six_packets() {
        // 4096 values in f16 are 8192 bytes; packets carry 1400.
        let payload = DIGITAL.payload(PayloadKind::Tensor { values: 4096, bits: 4096 * 16 });
        assert_eq!((payload.packets, payload.bits), (6, Some(65_536)));
        assert_eq!(payload.airtime, SimTime::from_nanos(819_200)); // 65536 bit at 80 Mbit/s
    }

    #[test]
    fn analog_sends_two_values_per_hertz_and_second() {
        let analog = UplinkSpec { mode: LinkMode::Analog { packet_values: 4096 }, ..DIGITAL };
        let payload = analog.payload(PayloadKind::Tensor { values: 64 * 4096, bits: 64 * 4096 * 32 });
        assert_eq!((payload.packets, payload.bits), (64, None));
        assert_eq!(payload.airtime, SimTime::from_nanos(6_553_600)); // 262144 / 40e6
    }

    #[test]
    fn an_ideal_radio_takes_no_time() {
        let ideal = UplinkSpec { ideal: true, ..DIGITAL };
        assert_eq!(ideal.payload(PayloadKind::Data { bits: 704 }).airtime, SimTime::ZERO);
    }
}

//! Cells with a place: where UEs are, how each cell hears them, and which one serves them.
//!
//! Large-scale gains and association advance on a fixed grid of time (the *measurements*), so
//! that no event moves them; a UE is followed to the present only when somebody asks.

use crate::channel::{Area, Fading, LargeScale, LargeScaleSpec, Mobility, Moment, Mover, Whereabouts};
use crate::kernel::Streams;
use crate::network::request::RequestId;
use crate::network::spec::NetworkSpec;
use crate::radio::{PowerControl, Rate, RateRule};
use crate::units::{Db, SimTime, ratio_from_db};

/// Speed of light \[m/s\].
const LIGHT_M_S: f64 = 299_792_458.0;

/// Unit of received interference \[W\]: far below thermal noise (10⁻¹³ W in 20 MHz), and an
/// integer, so that what a flow adds it takes away again to the last bit.
pub const EMISSION_UNIT_W: f64 = 1e-22;

/// Reports that a transmission is followed over; a longer one goes on at the mean rate so far.
const MOST_REPORTS: u32 = 64;

/// Where every packet has a report of its own, a transmission is followed in steps of so much.
const LEAST_STEP: SimTime = SimTime::from_nanos(1_000_000);

/// What makes a cell a UE's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Association {
    /// It is the nearest.
    Nearest,
    /// It is received best, shadowing included.
    Strongest,
}

/// What a rate is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdaptsTo {
    /// The mean SINR of the link.
    Mean,
    /// The SINR at the instant at which the transmission begins, fading included.
    Instant,
    /// The fading as it goes on: each packet has the rate of the last report, which come so far apart.
    Reports(SimTime),
}

/// What becomes of a request that is on the air when its UE changes the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// Packets that are through count; the others go to the new cell.
    Carried,
    /// The transmission begins anew in the new cell.
    Restarted,
}

/// When a UE changes its cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HandoverSpec {
    /// What makes a cell its own.
    pub association: Association,
    /// A neighbour takes over when it is better by so much …
    pub hysteresis_db: Db,
    /// … for so long.
    pub time_to_trigger: SimTime,
    /// Distance of measurements.
    pub interval: SimTime,
    /// What becomes of requests on the air.
    pub in_flight: InFlight,
    /// Time without a link after a handover.
    pub interruption: SimTime,
}

/// A base station.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Name.
    pub name: String,
    /// East \[m\].
    pub x_m: f64,
    /// North \[m\].
    pub y_m: f64,
    /// Height of the antenna \[m\].
    pub height_m: f64,
    /// Gain of the antenna, the same in all directions \[dB\].
    pub antenna_gain_db: Db,
}

/// A network of cells.
#[derive(Clone, Debug)]
pub struct CellularSpec {
    /// Base stations, by number of the cell.
    pub sites: Vec<Site>,
    /// How a rate is chosen.
    pub rate: RateRule,
    /// What for.
    pub adapts_to: AdaptsTo,
    /// The SINR is taken to be so many times less when a rate is chosen.
    pub margin: f64,
    /// Bandwidth of each cell \[Hz\]; all use the same band.
    pub bandwidth_hz: f64,
    /// Noise power at a base station \[W\].
    pub noise_w: f64,
    /// Power of the UEs.
    pub power: PowerControl,
    /// Milliwatts of a unit of TR 38.840's power model.
    pub power_unit_mw: f64,
    /// Whether transmissions in other cells are heard.
    pub interference: bool,
    /// Changes of the cell.
    pub handover: HandoverSpec,
    /// A packet is what a slot carries, on so many resource blocks; `None`: packets are of the
    /// uplink's fixed size.
    pub slot_blocks: Option<u32>,
    /// Time over which what past packets say is forgotten \[s\].
    pub memory_s: f64,
}

/// Where the UEs of a group are.
#[derive(Clone, Debug)]
pub struct Placement {
    /// How they move.
    pub mobility: Mobility,
    /// Where they are placed, and stay.
    pub area: Area,
}

/// How much of a transmission is sent after how much of its airtime: shares of both at the reports at which
/// its rate changes, the last (1, 1). Empty for a constant rate.
#[derive(Clone, Debug, Default)]
pub struct RateProfile(Vec<(f64, f64)>);

impl RateProfile {
    /// Whether the rate never changes.
    pub fn is_constant(&self) -> bool {
        self.0.len() < 2
    }

    /// The share of the airtime after which a share of the bits is sent.
    pub fn airtime(&self, sent: f64) -> f64 {
        let next = self.0.partition_point(|&(_, share)| share < sent);
        let (t1, s1) = self.0.get(next).copied().unwrap_or((1.0, 1.0));
        let (t0, s0) = next.checked_sub(1).map_or((0.0, 0.0), |before| self.0[before]);
        if s1 > s0 { t0 + (t1 - t0) * ((sent - s0) / (s1 - s0)).clamp(0.0, 1.0) } else { t1 }
    }
}

/// The link that a transmission uses, frozen at its start.
#[derive(Clone, Copy, Debug)]
pub struct CellLink {
    /// The cell.
    pub cell: u32,
    /// Mean SINR, a ratio; fading multiplies it by |z|².
    pub sinr: f64,
    /// The rate.
    pub rate: Rate,
    /// That of packets before the first report after its start.
    pub first_rate: Rate,
    /// Power that the UE radiates \[W\].
    pub radiated_w: f64,
    /// Power that its transmitter draws \[W\].
    pub power_w: f64,
    /// Where the UE is.
    pub here: Whereabouts,
    /// Distance to the base station \[m\].
    pub distance_m: f64,
    /// When the transmission began, or the link was last reported.
    pub since: SimTime,
    /// Distance of reports that packets have their rates by; `None`: all have `rate`.
    pub reports: Option<SimTime>,
    /// The UE's path from here on.
    mover: Mover,
}

/// What a UE has learned of its link from packets.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    /// SINR, fading included \[dB\].
    pub sinr_db: Db,
    /// Share of packets that were missing after all attempts.
    pub loss: f64,
    /// Of when.
    pub at: SimTime,
}

/// The radio of a UE in a network of cells.
#[derive(Debug)]
pub struct UeRadio {
    mover: Mover,
    /// Place at the last measurement.
    pub here: Whereabouts,
    /// Power gain to each cell, shadowing and antenna included, a ratio.
    gains: Box<[f32]>,
    /// Number of the last measurement.
    measured: Option<u64>,
    /// A better cell, and since which measurement.
    candidate: Option<(u32, u64)>,
    /// What past packets say.
    pub estimate: Option<Estimate>,
    /// Requests on the air.
    pub flights: Vec<RequestId>,
    /// Whether a measurement is among the events.
    pub measuring: bool,
}

/// The network of cells.
#[derive(Debug)]
pub struct Cellular {
    /// By channel, then by cell.
    large_scale: Vec<Vec<LargeScale>>,
    /// Wavelength of each channel \[m\].
    wavelength_m: Vec<f64>,
}

/// What a UE's place is derived from.
#[derive(Clone, Copy)]
pub struct Ground<'g> {
    /// The cells.
    pub spec: &'g CellularSpec,
    /// The UE's group.
    pub placement: &'g Placement,
    /// Index of its channel.
    pub channel: usize,
    /// Randomness.
    pub streams: &'g Streams,
}

impl<'g> Ground<'g> {
    /// That of the UEs of a group; `None` where cells have no places.
    pub fn of(spec: &'g NetworkSpec, group: usize, streams: &'g Streams) -> Option<Self> {
        let group = &spec.groups[group];
        let (cells, placement) = spec.cellular.as_ref().zip(group.placement.as_ref())?;
        Some(Self { spec: cells, placement, channel: group.channel, streams })
    }
}

impl Cellular {
    /// The large-scale channels of all cells.
    pub fn new(spec: &CellularSpec, channels: &[LargeScaleSpec], streams: &Streams) -> Self {
        let of_channel = |channel: &LargeScaleSpec| {
            let of_site = |(cell, site): (u32, &Site)| {
                let channel = LargeScaleSpec { bs_height_m: site.height_m, ..*channel };
                LargeScale::new(channel, streams, cell, site.x_m, site.y_m)
            };
            (0u32..).zip(&spec.sites).map(of_site).collect()
        };
        Self {
            large_scale: channels.iter().map(of_channel).collect(),
            wavelength_m: channels.iter().map(|channel| LIGHT_M_S / (channel.carrier_ghz * 1e9)).collect(),
        }
    }

    /// The radio of UE `ue`, number `member` of its group, and the cell that serves it at time 0.
    pub fn radio(&self, ground: Ground<'_>, ue: u32, member: u32) -> (UeRadio, u32) {
        let mut radio = UeRadio {
            mover: Mover::new(ue, member),
            here: Whereabouts::default(),
            gains: vec![0.0; ground.spec.sites.len()].into(),
            measured: None,
            candidate: None,
            estimate: None,
            flights: Vec::new(),
            measuring: false,
        };
        let cell = self.follow(ground, &mut radio, 0, SimTime::ZERO);
        (radio, cell)
    }

    /// Makes all measurements up to `now` that a UE, served by `cell`, has not made yet, and gives
    /// the cell that serves it then.
    pub fn follow(&self, ground: Ground<'_>, radio: &mut UeRadio, mut cell: u32, now: SimTime) -> u32 {
        let interval = ground.spec.handover.interval.as_nanos().max(1);
        let last = now.as_nanos() / interval;
        // Who stands still has one measurement.
        if radio.measured.is_some() && matches!(ground.placement.mobility, Mobility::Static) {
            return cell;
        }
        let first = radio.measured.map_or(0, |measured| measured + 1);
        for number in first..=last {
            let at = SimTime::from_nanos(number * interval);
            let here = radio.mover.at(&ground.placement.mobility, &ground.placement.area, ground.streams, at);
            let moved = radio.measured.is_none() || here.travelled_m != radio.here.travelled_m;
            radio.here = here;
            if moved {
                let sites = ground.spec.sites.iter().zip(&self.large_scale[ground.channel]);
                for (gain, (site, large_scale)) in radio.gains.iter_mut().zip(sites) {
                    let loss = large_scale.link_loss(here.x_m, here.y_m);
                    *gain = ratio_from_db(loss.gain_db() + site.antenna_gain_db) as f32;
                }
            }
            cell = Self::associate(ground.spec, radio, cell, number);
            radio.measured = Some(number);
        }
        cell
    }

    /// The serving cell after measurement `number`.
    fn associate(spec: &CellularSpec, radio: &mut UeRadio, cell: u32, number: u64) -> u32 {
        let HandoverSpec { association, hysteresis_db, time_to_trigger, interval, .. } = spec.handover;
        let here = radio.here;
        // Of two that are equal the first.
        let worth = |cell: usize| match association {
            Association::Strongest => f64::from(radio.gains[cell]),
            Association::Nearest => {
                let (dx, dy) = (here.x_m - spec.sites[cell].x_m, here.y_m - spec.sites[cell].y_m);
                1.0 / (dx * dx + dy * dy).max(1e-6)
            }
        };
        let mut best = 0;
        for other in 1..spec.sites.len() {
            if worth(other) > worth(best) {
                best = other;
            }
        }
        let best = best as u32;
        if radio.measured.is_none() {
            return best;
        }
        if best == cell || worth(best as usize) <= worth(cell as usize) * ratio_from_db(hysteresis_db) {
            radio.candidate = None;
            return cell;
        }
        let since = match radio.candidate {
            Some((candidate, since)) if candidate == best => since,
            _ => number,
        };
        if (number - since) * interval.as_nanos() >= time_to_trigger.as_nanos() {
            radio.candidate = None;
            return best;
        }
        radio.candidate = Some((best, since));
        cell
    }

    /// The link of a UE to the cell that serves it, for a transmission that begins now under so
    /// much interference \[W\].
    pub fn link(
        &self,
        ground: Ground<'_>,
        radio: &UeRadio,
        (cell, fading): (u32, &Fading),
        now: SimTime,
        (interference_w, doppler_hz): (f64, f64),
        adapts_to: AdaptsTo,
    ) -> CellLink {
        let spec = ground.spec;
        let gain = f64::from(radio.gains[cell as usize]);
        let dbm = spec.power.power_dbm(-10.0 * gain.log10());
        let radiated_w = 1e-3 * ratio_from_db(dbm);
        let sinr = radiated_w * gain / (spec.noise_w + interference_w);
        let site = &spec.sites[cell as usize];
        let (dx, dy) = (radio.here.x_m - site.x_m, radio.here.y_m - site.y_m);
        let mut link = CellLink {
            cell,
            sinr,
            rate: spec.rate.choose(sinr / spec.margin),
            first_rate: spec.rate.choose(sinr / spec.margin),
            radiated_w,
            power_w: crate::radio::transmit_power_w(dbm, spec.power_unit_mw),
            here: radio.here,
            distance_m: (dx * dx + dy * dy).sqrt(),
            since: now,
            reports: None,
            mover: radio.mover,
        };
        match adapts_to {
            AdaptsTo::Instant => {
                let envelope = fading.envelope(self.moment(ground, &link, now, doppler_hz));
                link.rate = spec.rate.choose(sinr * envelope * envelope / spec.margin);
            }
            AdaptsTo::Reports(period) if !fading.is_none() => {
                link.reports = Some(period);
                link.first_rate = self.rate_at(ground, &link, (fading, doppler_hz), now);
            }
            AdaptsTo::Mean | AdaptsTo::Reports(_) => {}
        }
        link
    }

    /// The rate of a packet that is first sent at `at`: that of the last report before.
    pub fn packet_rate(
        &self,
        ground: Ground<'_>,
        link: &CellLink,
        (fading, doppler_hz): (&Fading, f64),
        at: SimTime,
    ) -> Rate {
        let Some(reported) = link.reported(at) else { return link.rate };
        if reported == link.since {
            return link.first_rate;
        }
        self.rate_at(ground, link, (fading, doppler_hz), reported)
    }

    /// The rate for the fading of an instant.
    fn rate_at(&self, ground: Ground<'_>, link: &CellLink, (fading, doppler_hz): (&Fading, f64), at: SimTime) -> Rate {
        let envelope = fading.envelope(self.moment(ground, link, at, doppler_hz));
        ground.spec.rate.choose(link.sinr * envelope * envelope / ground.spec.margin)
    }

    /// How a transmission of `bits` bits goes on that begins now and shares the air with others, `sharers` in
    /// all, its rate following reports: the mean efficiency \[bit/s/Hz\], and into `profile` where its rate changes.
    pub fn follow_reports(
        &self,
        ground: Ground<'_>,
        link: &CellLink,
        (fading, doppler_hz): (&Fading, f64),
        (bits, sharers): (u64, u32),
        profile: &mut RateProfile,
    ) -> f64 {
        profile.0.clear();
        let Some(period) = link.reports else { return link.rate.efficiency };
        let period = if period == SimTime::ZERO { LEAST_STEP } else { period }.as_nanos();
        let start = link.since.as_nanos();
        // It has every so many-th part of the time, and takes so much longer.
        let needed = bits as f64 / ground.spec.bandwidth_hz * f64::from(sharers.max(1));
        let (mut sent, mut at) = (0.0, start);
        for _ in 0..MOST_REPORTS {
            let next = (at / period + 1) * period;
            let rate = self.packet_rate(ground, link, (fading, doppler_hz), SimTime::from_nanos(at)).efficiency;
            let seconds = (next - at) as f64 * 1e-9;
            let missing_s = (needed - sent) / rate;
            if missing_s <= seconds {
                at += (missing_s * 1e9) as u64;
                sent = needed;
                break;
            }
            sent += rate * seconds;
            at = next;
            profile.0.push(((at - start) as f64, sent));
        }
        let seconds = (at - start) as f64 * 1e-9;
        if seconds == 0.0 {
            return link.rate.efficiency;
        }
        // Whoever is followed no longer goes on at the mean rate so far.
        let mean = sent / seconds;
        let whole_ns = needed / mean * 1e9;
        profile.0.push((whole_ns, needed));
        profile.0.iter_mut().for_each(|(offset, sent)| (*offset, *sent) = (*offset / whole_ns, *sent / needed));
        mean
    }

    /// The moment of a link at an instant not before its transmission: by the motion of its surroundings,
    /// and the distance that the UE has travelled.
    pub fn moment(&self, ground: Ground<'_>, link: &CellLink, at: SimTime, doppler_hz: f64) -> Moment {
        let time_s = at.as_secs_f64();
        if matches!(ground.placement.mobility, Mobility::Static) {
            return Moment { turns: doppler_hz * time_s, time_s };
        }
        let mut mover = link.mover;
        let here = mover.at(&ground.placement.mobility, &ground.placement.area, ground.streams, at);
        Moment { turns: doppler_hz * time_s + here.travelled_m / self.wavelength_m[ground.channel], time_s }
    }
}

impl CellLink {
    /// The instant of the report that a packet at `at` has its rate by; `None` if all have the link's.
    pub fn reported(&self, at: SimTime) -> Option<SimTime> {
        Some(match self.reports?.as_nanos() {
            0 => at,
            period => SimTime::from_nanos(at.as_nanos() / period * period).max(self.since),
        })
    }
}

impl UeRadio {
    /// What each cell receives of a transmission of this UE at a radiated power \[W\], in units of
    /// [`EMISSION_UNIT_W`].
    pub fn emission(&self, radiated_w: f64) -> Box<[u64]> {
        self.gains.iter().map(|&gain| (radiated_w * f64::from(gain) / EMISSION_UNIT_W) as u64).collect()
    }

    /// Takes in what became of packets.
    pub fn learn(&mut self, memory_s: f64, seen: Estimate) {
        self.estimate = Some(match self.estimate {
            None => seen,
            Some(before) => {
                let kept = (-(seen.at.saturating_sub(before.at)).as_secs_f64() / memory_s).exp();
                let mix = |before: f64, now: f64| kept * before + (1.0 - kept) * now;
                // Packets of one instant count alike.
                let kept_half =
                    |before: f64, now: f64| if kept >= 1.0 { 0.5 * (before + now) } else { mix(before, now) };
                Estimate {
                    sinr_db: kept_half(before.sinr_db, seen.sinr_db),
                    loss: kept_half(before.loss, seen.loss),
                    at: seen.at,
                }
            }
        });
    }
}

//! Randomness by key and index: Philox4x32-10 (Salmon et al., "Parallel random
//! numbers: as easy as 1, 2, 3", SC 2011) as a pure function.
//!
//! A draw is addressed by (seed, replication, entity, purpose, index), never by
//! the order of drawing: a new draw in one place disturbs no other, and two
//! controllers on one seed meet the same arrivals, prompts and fading.
//!
//! Key = 64 bits mixed from (seed, replication); counter (128 bits) =
//! index (64) | entity (32) | purpose (32). Within a run no two addresses share
//! a block. Each block gives four words, that is at most four draws of 32 bits
//! or two of 52 bits; every variate takes a fixed number of them.

use rand_philox::{philox4x32_10, splitmix64};

/// What a stream is drawn for. The numbers are part of the results: changing
/// one changes every number drawn for that purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Times between arrivals (entity: UE, index: arrival).
    Arrival = 1,
    /// Which corpus window a request reads (entity: UE, index: request of the UE).
    Prompt = 2,
    /// Phases and angles of a link's sinusoids (entity: UE, index: cell · 2³² + sinusoid).
    Fading = 3,
    /// Additive noise on tensor elements (entity: UE, index: request · 2³² + pair of elements).
    Noise = 4,
    /// Loss of single elements (entity: UE, index: request · 2³² + group of elements).
    ElementLoss = 5,
    /// σ of the channel (entity: UE, index: episode, request or walk step).
    NoiseStd = 6,
    /// σ_h of the channel (indexed as [`Purpose::NoiseStd`]).
    RayleighScale = 7,
    /// Packet loss probability (indexed as [`Purpose::NoiseStd`]).
    LossProbability = 8,
    /// Gain threshold h_th (indexed as [`Purpose::NoiseStd`]).
    GainThreshold = 9,
    /// The split at the start of an episode (entity: UE, index: episode).
    InitialSplit = 10,
    /// A controller's choices (entity: UE, index: decision).
    Action = 11,
    /// Synthetic service times (entity: UE, index: request of the UE + round · 2⁴⁰).
    Service = 12,
    /// Prompt lengths (entity: UE, index: request of the UE).
    PromptLength = 13,
    /// Think times of a closed loop (entity: UE, index: request of the UE).
    Think = 15,
    /// When a profile's window is sent (entity: window and draw, index: 0).
    ProfileStart = 16,
    /// Loss and gain of packets where there is no time axis (entity: transmission of the packet, from 0; index: packet).
    PacketLoss = 17,
    /// The choice of a generated token (entity: 0, index: position · 2³² + pair of tokens).
    TokenChoice = 18,
    /// Values of a study's random points (seed: the sample's; replication and entity: two halves of the axis' hash; index: point).
    StudySample = 19,
    /// Values of a Latin hypercube, addressed as [`Purpose::StudySample`].
    StudyHypercube = 20,
    /// First weights of a learner's networks (entity: learner; index: network · 2³² + draw).
    LearnerWeights = 21,
    /// Orders of minibatches, and samples of a replay buffer (entity: learner; index: draw).
    LearnerOrder = 22,
    /// First weights of a surrogate (entity: number of the fit; index: draw).
    SurrogateWeights = 23,
    /// Folds, held-out rows and orders of minibatches of a surrogate (entity: number of the fit; index: draw).
    SurrogateOrder = 24,
    /// Where a UE goes (entity: UE; index: draws of leg or step, and from 2⁴⁸ those of the leg at time 0).
    Mobility = 25,
    /// Shadowing of a cell (entity: cell; index: state · 2³² + wave).
    Shadowing = 26,
    /// The line-of-sight field of a cell (entity: cell; index: wave).
    LineOfSight = 27,
    /// Where a UE starts (entity: UE; index: 0).
    Placement = 28,
    /// Direction and phase of a link's line of sight (entity: UE; index: cell · 2³²).
    FadingLineOfSight = 31,
    /// Phases and angles of the sinusoids of a link's branches (entity: UE; index: cell · 2³² + branch · 2¹⁶ + sinusoid).
    FadingBranch = 32,
    /// A link's gain in a block (entity: UE; index: cell · 2³² + block).
    FadingBlock = 33,
    /// Block errors of transmissions (entity: UE, index: request · 2³² + packet · 2⁴ + transmission of the packet, from 0).
    HarqBlockError = 34,
    /// The hidden state of modulated arrivals (entity: UE, index 0: the first state, n: length of stay n).
    TrafficState = 29,
    /// Conversations (entity: UE, index: conversation · 2³² + turn; turn 0: number of turns, others: time to think before).
    SessionTurn = 30,
    /// The choice of a session's tokens, by whatever model (entity: UE; child: request; index: position · 2³² + pair of tokens).
    SessionToken = 35,
    /// Whether a proposed token is accepted (entity: UE; child: request; index: position).
    TokenAcceptance = 36,
    /// What stands in place of a token that wasn't (entity: UE; child: request; index: position).
    TokenResample = 37,
    /// Temperatures and tokens of a perturbed proposal (entity: UE; child: request; index: position · 2³² + sample).
    Perturbation = 38,
    /// A score that knows nothing (entity: UE; child: request; index: position).
    RandomScore = 39,
    /// Folds, first weights and orders of minibatches of a head (entity: number of the fit; index: draw).
    HeadFit = 40,
    /// Scores of groups that are pruned at random (entity: layer; index: kind of group · 2³² + group).
    PruneOrder = 42,
    /// The choice of a rollout's tokens (entity: 0; child: prompt; index: position · 2³² + pair of tokens).
    Rollout = 43,
    /// Windows and orders of minibatches of an exit head's fit (entity: 0 for which window is what, epoch from 1 for orders; index: draw).
    ExitOrder = 44,
    /// Draws of tests and benches.
    Test = 99,
}

/// All streams of one replication of one scenario.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    key: [u32; 2],
}

impl Streams {
    /// Streams of `(seed, replication)`.
    pub fn new(seed: u64, replication: u32) -> Self {
        // Weyl step keeps (0, 0) from mapping to the all-zero key.
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = splitmix64(splitmix64(seed.wrapping_add(GOLDEN)) ^ u64::from(replication).wrapping_mul(GOLDEN));
        Self { key: [mixed as u32, (mixed >> 32) as u32] }
    }

    /// The stream of one entity and purpose.
    #[inline]
    pub fn stream(&self, entity: u32, purpose: Purpose) -> Stream {
        Stream { key: self.key, entity, purpose: purpose as u32, first: 0 }
    }
}

/// One stream: an infinite sequence of blocks, each a pure function of its index.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u32; 2],
    entity: u32,
    purpose: u32,
    /// Index 0 of this view.
    first: u64,
}

impl Stream {
    /// The same stream, counted from block `first` on: a domain within a domain, such
    /// as the elements of one of a UE's requests.
    #[inline]
    pub fn starting_at(&self, first: u64) -> Self {
        Self { first: self.first.wrapping_add(first), ..*self }
    }

    /// A stream of its own behind each index, for domains whose indices don't fit into one word together: its key,
    /// entity and purpose are the block at `index` (the splitting of counter-based generators; Salmon et al.,
    /// section 4).
    #[inline]
    pub fn child(&self, index: u64) -> Self {
        let [low, high, entity, purpose] = self.block(index);
        Self { key: [low, high], entity, purpose, first: 0 }
    }

    /// Four independent words.
    #[inline]
    pub fn block(&self, index: u64) -> [u32; 4] {
        let index = self.first.wrapping_add(index);
        philox4x32_10([index as u32, (index >> 32) as u32, self.entity, self.purpose], self.key)
    }

    /// Two independent uniforms on the open interval (0, 1), 52 bits each.
    #[inline]
    pub fn uniform_pair(&self, index: u64) -> [f64; 2] {
        let [a, b, c, d] = self.block(index);
        [open_unit(a, b), open_unit(c, d)]
    }

    /// A uniform on the open interval (0, 1), 52 bits.
    #[inline]
    pub fn uniform(&self, index: u64) -> f64 {
        self.uniform_pair(index)[0]
    }

    /// An exponential of mean 1, by inversion: `-ln(1 - u)`.
    #[inline]
    pub fn exponential(&self, index: u64) -> f64 {
        -(-self.uniform(index)).ln_1p()
    }

    /// Two independent standard normals, by Box and Muller's transform.
    #[inline]
    pub fn normal_pair(&self, index: u64) -> [f64; 2] {
        let [u, v] = self.uniform_pair(index);
        let radius = (-2.0 * u.ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * v).sin_cos();
        [radius * cos, radius * sin]
    }

    /// An integer on `0..n`, by multiplication of a 64-bit word (bias below n·2⁻⁶⁴); 0 when `n` is 0.
    #[inline]
    pub fn below(&self, index: u64, n: u64) -> u64 {
        let [a, b, ..] = self.block(index);
        let word = u64::from(a) | (u64::from(b) << 32);
        ((u128::from(word) * u128::from(n)) >> 64) as u64
    }
}

/// 52 bits of two words, centred: `(k + 1/2) / 2⁵²`. With 52 bits `k + 1/2` is
/// exact, so the value is never 0 and never rounds to 1.
#[inline]
fn open_unit(low: u32, high: u32) -> f64 {
    let k = (u64::from(high) << 20) | u64::from(low >> 12);
    (k as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of Random123 (Salmon et al.), file `kat_vectors`, philox4x32 10.
    #[test]
    fn philox_gives_the_published_words() {
        assert_eq!(philox4x32_10([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32_10([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32_10([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    /// Pins the addressing: a change here changes every published number.
    #[test]
    fn streams_are_pinned() {
        let stream = Streams::new(1, 0).stream(7, Purpose::Arrival);
        assert_eq!(stream.block(0), PINNED_BLOCK);
        assert_eq!(stream.uniform(3).to_bits(), PINNED_UNIFORM.to_bits());
    }

    const PINNED_BLOCK: [u32; 4] = [4_227_082_428, 413_409_685, 1_973_239_857, 2_234_757_058];
    const PINNED_UNIFORM: f64 = 0.649_265_373_312_137_1;

    #[test]
    fn addresses_do_not_collide() {
        let mut seen = std::collections::BTreeSet::new();
        for replication in 0..4 {
            let streams = Streams::new(0, replication);
            for entity in 0..8 {
                for purpose in [Purpose::Arrival, Purpose::Prompt, Purpose::Noise] {
                    for index in [0, 1, 2, 1 << 32, 1 << 40] {
                        assert!(seen.insert(streams.stream(entity, purpose).block(index)));
                    }
                }
            }
        }
    }

    #[test]
    fn a_stream_can_be_counted_from_any_block() {
        let stream = Streams::new(1, 0).stream(7, Purpose::Noise);
        assert_eq!(stream.starting_at(5 << 32).starting_at(2).block(3), stream.block((5 << 32) + 5));
    }

    #[test]
    fn uniforms_stay_inside_the_open_interval() {
        assert!(open_unit(0, 0) > 0.0);
        assert!(open_unit(u32::MAX, u32::MAX) < 1.0);
    }

    #[test]
    fn variates_have_their_moments() {
        let stream = Streams::new(5, 0).stream(0, Purpose::Test);
        let n = 200_000;
        let (mut exp, mut normal, mut square) = (0.0, 0.0, 0.0);
        for i in 0..n {
            exp += stream.exponential(i);
            let [a, b] = stream.normal_pair(i);
            normal += a + b;
            square += a * a + b * b;
        }
        let n = n as f64;
        // Five standard errors each.
        assert!((exp / n - 1.0).abs() < 5.0 / n.sqrt());
        assert!((normal / (2.0 * n)).abs() < 5.0 / (2.0 * n).sqrt());
        assert!((square / (2.0 * n) - 1.0).abs() < 5.0 * (2.0 / (2.0 * n)).sqrt());
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let stream = Streams::new(5, 1).stream(0, Purpose::Test);
        let mut counts = [0u32; 7];
        for i in 0..70_000 {
            counts[stream.below(i, 7) as usize] += 1;
        }
        let chi2: f64 = counts.iter().map(|&c| (f64::from(c) - 1e4).powi(2) / 1e4).sum();
        assert!(chi2 < 22.5, "chi2 = {chi2}, 99.9 % point of 6 degrees of freedom is 22.46");
        assert_eq!(stream.below(0, 0), 0);
    }
}

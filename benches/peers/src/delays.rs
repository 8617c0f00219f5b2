//! The delays that every engine of the HOLD comparison waits.

/// A fixed list of exponential delays of mean 1 s \[ns\], drawn beforehand so that
/// no engine is charged for random numbers, read round and round.
#[derive(Clone)]
pub struct Delays {
    nanos: Vec<u64>,
    next: usize,
}

impl Delays {
    const LEN: usize = 1 << 16;

    /// The same list for everyone.
    pub fn new() -> Self {
        let nanos = (0..Self::LEN as u64).map(|index| {
            // SplitMix64 (Steele, Lea, Flood 2014), then inversion.
            let mut z = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let uniform = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
            (-(-uniform).ln_1p() * 1e9) as u64 + 1
        });
        Self { nanos: nanos.collect(), next: 0 }
    }

    /// The next delay \[ns\].
    #[inline]
    pub fn draw(&mut self) -> u64 {
        self.next = (self.next + 1) % Self::LEN;
        self.nanos[self.next]
    }
}

//! What is missing when packets, or single elements, are lost.
//!
//! What stands in its place is another matter: [`conceal`](super::conceal).

use std::ops::Range;

use super::packets::Packets;
use crate::kernel::Stream;

/// What is missing when a packet is lost. `concealment` says what stands in its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LossUnit {
    /// Every row (token) that the packet has a part in.
    #[default]
    TokenRow,
    /// The packet's own slice.
    Chunk,
    /// Packet k of K carries the elements e of the tensor, in row-major order, with e mod K = k: a lost packet thins out
    /// all rows evenly and takes none whole. On the air this costs nothing: the edge begins when the last packet is
    /// there, as it does anyway. Where K divides the width of a row, a packet carries whole columns.
    Interleaved,
    /// Every element on its own, with the loss probability P; packets are not
    /// lost. No channel does this; Chen25's published code does.
    ElementIid,
}

/// `token-row`: the rows of a tensor of `rows` rows that a dead packet has a part
/// in, as disjoint spans in ascending order, none empty. `is_dead` tells from a
/// packet's gain and whether it was lost.
pub fn lost_rows(
    packets: &Packets,
    rows: usize,
    is_dead: impl Fn(f32, bool) -> bool,
) -> impl Iterator<Item = Range<usize>> {
    let mut covered = 0;
    let dead = packets.iter().enumerate().filter(move |&(_, (gain, lost))| is_dead(gain, lost));
    let spans = dead.map(move |(k, _)| {
        let span = packets.rows(k, rows);
        let fresh = span.start.max(covered)..span.end.max(covered);
        covered = fresh.end;
        fresh
    });
    spans.filter(|span| !span.is_empty())
}

/// `chunk`: the slices of a tensor of `values` values that dead packets carried, in ascending order.
pub fn lost_chunks(
    packets: &Packets,
    values: usize,
    is_dead: impl Fn(f32, bool) -> bool,
) -> impl Iterator<Item = Range<usize>> {
    let dead = packets.iter().enumerate().filter(move |&(_, (gain, lost))| is_dead(gain, lost));
    dead.map(move |(k, _)| packets.values(k, values))
}

/// `chunk`: how many of `rows` rows lost all of their slices: those that no living
/// packet has a part in. None without packets.
pub fn rows_without_chunks(packets: &Packets, rows: usize, is_dead: impl Fn(f32, bool) -> bool) -> usize {
    if packets.is_empty() {
        return 0;
    }
    // The rows in which a packet that is not dead has a part.
    let touched: usize = lost_rows(packets, rows, |gain, lost| !is_dead(gain, lost)).map(|span| span.len()).sum();
    rows - touched
}

/// `interleaved`: the elements of a tensor of `values` values that dead packets carried, in ascending
/// order: those with e mod K = k for a dead packet k of K. None without packets.
pub fn lost_strides(
    packets: &Packets,
    values: usize,
    is_dead: impl Fn(f32, bool) -> bool,
) -> impl Iterator<Item = usize> {
    let dead: Vec<bool> = packets.iter().map(|(gain, lost)| is_dead(gain, lost)).collect();
    let values = if dead.contains(&true) { values } else { 0 };
    (0..values).filter(move |e| dead[e % dead.len()])
}

/// `element-iid`: those of `elements` that are lost, each with `probability` P, in
/// ascending order. Element e is if word e % 4 of block e / 4 of `draws` is
/// below P·2³², so that what is lost at one P is lost at any larger one.
pub fn lost_elements(draws: &Stream, elements: Range<usize>, probability: f64) -> impl Iterator<Item = usize> {
    let threshold = (probability * (1u64 << 32) as f64).round() as u64;
    let mut block = (u64::MAX, [0; 4]);
    elements.filter(move |&e| {
        let index = e as u64 / 4;
        if block.0 != index {
            block = (index, draws.block(index));
        }
        u64::from(block.1[e % 4]) < threshold
    })
}

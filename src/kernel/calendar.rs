//! The calendar: pending events in the order (time, class, sequence).
//!
//! An implicit heap of typed entries with integer keys. Events of one instant
//! leave by class, and within a class in the order in which they were
//! scheduled, so a run never depends on the heap's inner order.
//!
//! Two properties matter for speed and memory:
//!
//! * [`Calendar::pop`] leaves a hole at the root. The next
//!   [`Calendar::schedule`], which usually comes from the handler of the event
//!   just popped, fills it and sifts down once (replace-top) instead of
//!   restoring the heap twice.
//! * A cancelled event stays in the heap, marked, until it surfaces or until the
//!   marked entries outnumber the live ones; then one sweep removes them all.
//!   So the heap holds at most twice the live events plus a constant, however
//!   many timeouts are set and cancelled, at O(1) amortised per cancellation.

use crate::units::SimTime;

/// Children per node. Four halve the depth of a binary heap, and the four
/// siblings lie side by side in memory.
const ARITY: usize = 4;

/// Cancelled entries tolerated beyond the number of live ones: below it a sweep
/// would cost more than it frees.
const SWEEP_SLACK: usize = 64;

/// `Entry::slot` of an event that cannot be cancelled.
const NO_SLOT: u32 = u32::MAX;

/// Bits of the sequence number; the class occupies the 8 bits above.
const SEQUENCE_BITS: u32 = 56;

/// Names one cancellable event. A ticket outlives its event harmlessly: once
/// the event was delivered or cancelled, the ticket means nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    slot: u32,
    generation: u32,
}

/// One pending event. `order` is class (8 bits) above sequence (56 bits).
#[derive(Clone, Copy, Debug)]
struct Entry<E> {
    time: u64,
    order: u64,
    slot: u32,
    event: E,
}

impl<E> Entry<E> {
    #[inline]
    fn precedes(&self, other: &Self) -> bool {
        self.key() < other.key()
    }

    /// (time, class, sequence) as one integer, which compares without a branch.
    #[inline]
    fn key(&self) -> u128 {
        (u128::from(self.time) << 64) | u128::from(self.order)
    }
}

/// The state of one ticket slot. A slot is reused only after its entry has left
/// the heap; the generation tells its successive events apart.
#[derive(Clone, Copy, Debug)]
struct Slot {
    generation: u32,
    pending: bool,
}

/// The event list of a discrete-event simulation.
///
/// ```
/// use splitwave::{kernel::Calendar, units::SimTime};
///
/// let mut calendar = Calendar::new();
/// calendar.schedule(SimTime::from_nanos(20), 0, 'b');
/// calendar.schedule(SimTime::from_nanos(10), 0, 'a');
/// let timeout = calendar.schedule_cancellable(SimTime::from_nanos(15), 0, 'x');
/// assert!(calendar.cancel(timeout));
/// assert_eq!(calendar.pop(), Some((SimTime::from_nanos(10), 'a')));
/// assert_eq!(calendar.pop(), Some((SimTime::from_nanos(20), 'b')));
/// assert_eq!(calendar.pop(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Calendar<E> {
    /// Heap by (time, order). While `hole` is set, the root holds the event popped last and counts for nothing.
    heap: Vec<Entry<E>>,
    hole: bool,
    slots: Vec<Slot>,
    free_slots: Vec<u32>,
    /// Cancelled entries still in the heap.
    cancelled: usize,
    now: SimTime,
    next_sequence: u64,
    popped: u64,
}

impl<E: Copy> Default for Calendar<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Copy> Calendar<E> {
    /// An empty calendar at time 0.
    pub fn new() -> Self {
        Self {
            heap: Vec::new(),
            hole: false,
            slots: Vec::new(),
            free_slots: Vec::new(),
            cancelled: 0,
            now: SimTime::ZERO,
            next_sequence: 0,
            popped: 0,
        }
    }

    /// The time of the event popped last; 0 before the first.
    #[inline]
    pub fn now(&self) -> SimTime {
        self.now
    }

    /// Events delivered so far by [`Calendar::pop`].
    #[inline]
    pub fn popped(&self) -> u64 {
        self.popped
    }

    /// Pending events, without the cancelled ones.
    #[inline]
    pub fn len(&self) -> usize {
        self.heap.len() - usize::from(self.hole) - self.cancelled
    }

    /// Whether no event is pending.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Schedules `event` at the instant `at`. Among the events of one instant,
    /// lower classes come first, and within a class those scheduled earlier.
    ///
    /// `at` must not lie before [`Calendar::now`]: debug builds panic, others deliver the event now.
    #[inline]
    pub fn schedule(&mut self, at: SimTime, class: u8, event: E) {
        self.insert(at, class, NO_SLOT, event);
    }

    /// As [`Calendar::schedule`], for an event that may be cancelled before its time.
    pub fn schedule_cancellable(&mut self, at: SimTime, class: u8, event: E) -> Ticket {
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, pending: false });
            (self.slots.len() - 1) as u32
        });
        let state = &mut self.slots[slot as usize];
        state.pending = true;
        let ticket = Ticket { slot, generation: state.generation };
        self.insert(at, class, slot, event);
        ticket
    }

    /// Cancels the event of `ticket`. True if it was pending; false if it was
    /// delivered or cancelled before.
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        match self.slots.get_mut(ticket.slot as usize) {
            Some(slot) if slot.pending && slot.generation == ticket.generation => slot.pending = false,
            _ => return false,
        }
        self.cancelled += 1;
        if self.cancelled > self.len() + SWEEP_SLACK {
            self.sweep();
        }
        true
    }

    /// The time of the next event, without delivering it.
    ///
    /// Needs `&mut self` because it settles the heap; [`Calendar::pop`] then has
    /// that work behind it, so a loop of peek and pop costs no more than pop alone.
    #[inline]
    pub fn peek_time(&mut self) -> Option<SimTime> {
        self.settle();
        self.heap.first().map(|entry| SimTime::from_nanos(entry.time))
    }

    /// Delivers the next event and moves [`Calendar::now`] to its time.
    #[inline]
    pub fn pop(&mut self) -> Option<(SimTime, E)> {
        self.settle();
        let &Entry { time, slot, event, .. } = self.heap.first()?;
        self.hole = true;
        if slot != NO_SLOT {
            self.release(slot);
        }
        self.now = SimTime::from_nanos(time);
        self.popped += 1;
        Some((self.now, event))
    }

    #[inline]
    fn insert(&mut self, at: SimTime, class: u8, slot: u32, event: E) {
        debug_assert!(at >= self.now, "an event at {at} s is scheduled in the past of {} s", self.now);
        let order = (u64::from(class) << SEQUENCE_BITS) | self.next_sequence;
        self.next_sequence += 1;
        let entry = Entry { time: at.max(self.now).as_nanos(), order, slot, event };
        if self.hole {
            self.hole = false;
            self.sift_down(0, entry);
        } else {
            self.sift_up(entry);
        }
    }

    /// Restores the invariant that the root is the next live event: fills the
    /// hole with the last entry and drops cancelled events from the top.
    #[inline]
    fn settle(&mut self) {
        if self.hole {
            self.hole = false;
            self.drop_root();
        }
        if self.cancelled > 0 {
            self.drop_cancelled_roots();
        }
    }

    fn drop_cancelled_roots(&mut self) {
        while let Some(&Entry { slot, .. }) = self.heap.first() {
            if !self.is_cancelled(slot) {
                break;
            }
            self.release(slot);
            self.cancelled -= 1;
            self.drop_root();
        }
    }

    #[inline]
    fn drop_root(&mut self) {
        if let Some(last) = self.heap.pop()
            && !self.heap.is_empty()
        {
            self.sift_down(0, last);
        }
    }

    #[inline]
    fn is_cancelled(&self, slot: u32) -> bool {
        slot != NO_SLOT && !self.slots[slot as usize].pending
    }

    /// Ends the present use of `slot`, whose entry has left the heap.
    fn release(&mut self, slot: u32) {
        let state = &mut self.slots[slot as usize];
        state.pending = false;
        // A slot whose generations are used up is retired: no ticket is ever ambiguous.
        if state.generation < u32::MAX {
            state.generation += 1;
            self.free_slots.push(slot);
        }
    }

    /// Removes every cancelled entry and rebuilds the heap, in O(n).
    #[cold]
    fn sweep(&mut self) {
        if self.hole {
            self.hole = false;
            self.heap.swap_remove(0);
        }
        let mut entries = std::mem::take(&mut self.heap);
        entries.retain(|entry| {
            let live = !self.is_cancelled(entry.slot);
            if !live {
                self.release(entry.slot);
            }
            live
        });
        self.heap = entries;
        self.cancelled = 0;
        for node in (0..self.heap.len().div_ceil(ARITY)).rev() {
            self.sift_down(node, self.heap[node]);
        }
    }

    /// Places `entry` in the subtree of `node`, whose root is free.
    #[inline]
    fn sift_down(&mut self, mut node: usize, entry: Entry<E>) {
        let heap = self.heap.as_mut_slice();
        loop {
            let first = ARITY * node + 1;
            let Some((child, least)) = least_child(heap, first) else { break };
            if entry.precedes(&least) {
                break;
            }
            heap[node] = least;
            node = child;
        }
        heap[node] = entry;
    }

    /// Appends `entry` and lifts it to its place.
    #[inline]
    fn sift_up(&mut self, entry: Entry<E>) {
        let mut node = self.heap.len();
        self.heap.push(entry);
        let heap = self.heap.as_mut_slice();
        while node > 0 {
            let parent = (node - 1) / ARITY;
            if !entry.precedes(&heap[parent]) {
                break;
            }
            heap[node] = heap[parent];
            node = parent;
        }
        heap[node] = entry;
    }
}

/// The next event among the siblings that start at `first`, with its index.
#[inline]
fn least_child<E: Copy>(heap: &[Entry<E>], first: usize) -> Option<(usize, Entry<E>)> {
    let siblings = heap.get(first..)?;
    if let Some(four) = siblings.first_chunk::<ARITY>() {
        let left = usize::from(four[1].precedes(&four[0]));
        let right = 2 + usize::from(four[3].precedes(&four[2]));
        let least = if four[right].precedes(&four[left]) { right } else { left };
        return Some((first + least, four[least]));
    }
    let mut least = 0;
    for (index, sibling) in siblings.iter().enumerate().skip(1) {
        if sibling.precedes(&siblings[least]) {
            least = index;
        }
    }
    siblings.get(least).map(|entry| (first + least, *entry))
}

#[cfg(test)]
mod tests;

//! Workers: many items of work in parallel, each with a time limit and tries of its own.
//!
//! ```text
//!  worker 1 ─ item ─ keep ─ item ─ keep ─ …   ┐
//!  worker 2 ─ item ─ keep ─ item ─ keep ─ …   ├─▶ news, on the calling thread
//!  monitor: time limits, stop, sync            ┘
//! ```
//!
//! A worker keeps what came of an item before it takes the next one: a process that is killed
//! loses the items under way and nothing else. Workers are threads of their own and no jobs of
//! the pool of evaluations: see [`run_all`](crate::run::runner::run_all).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::run::clock::Stopwatch;
use crate::run::signals::Interrupt;
use crate::units::SimTime;

/// Distance of the monitor's looks: what a time limit or a signal may come late by.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// An item that takes longer is noted: whatever ends the process may be its doing.
const NOTED_AFTER: Duration = Duration::from_secs(1);
/// Distance at which what was kept is put on the disk.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How items are done.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Items at the same time.
    pub threads: usize,
    /// Wall time of a try.
    pub timeout: Option<Duration>,
    /// Further tries at an item that failed.
    pub retries: u32,
    /// Items that may fail for good before all stops.
    pub max_failures: Option<u64>,
}

/// What came of a try.
pub enum Tried<D, E> {
    /// It is done.
    Done(D),
    /// It failed, for this reason.
    Failed(String),
    /// It was asked to stop, and did so at this simulated time.
    Stopped(SimTime),
    /// Nothing further can be done, neither this item nor another.
    Fatal(E),
}

/// Something with items to do.
pub trait Work: Sync {
    /// What a finished item gives.
    type Done: Send;
    /// What ends all work.
    type Error: Send;

    /// Tries an item, until `interrupt` is raised; `tell` takes a remark for the user.
    fn attempt(&self, item: usize, interrupt: &Interrupt, tell: &dyn Fn(String)) -> Tried<Self::Done, Self::Error>;

    /// Keeps what came of a try, the how many-th in this process, and its wall time \[s\].
    ///
    /// # Errors
    /// If it can't be kept, which ends all work.
    fn keep(&self, item: usize, tries: u32, wall_s: f64, ended: &Result<Self::Done, String>)
    -> Result<(), Self::Error>;

    /// Notes that an item is under way: it has taken a second.
    ///
    /// # Errors
    /// If it can't be kept, which ends all work.
    fn note(&self, item: usize) -> Result<(), Self::Error>;

    /// Puts on the disk what was kept.
    ///
    /// # Errors
    /// If the system can't, which ends all work.
    fn sync(&self) -> Result<(), Self::Error>;
}

/// What happens.
pub enum News<D> {
    /// A remark on an item.
    Remark(String),
    /// The interrupt was raised; items under way are asked to stop, and may take a while.
    Stopping,
    /// A try has ended and was kept.
    Ended {
        /// The item.
        item: usize,
        /// Its wall time \[s\].
        wall_s: f64,
        /// What it gave, or why it failed.
        result: Result<D, String>,
        /// Whether it is tried again.
        again: bool,
    },
}

/// How the work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every item was tried.
    Whole,
    /// The interrupt was raised.
    Interrupted,
    /// More items failed than may.
    TooManyFailures,
}

/// Why work ended with an error.
#[derive(Debug)]
pub enum WorkError<E> {
    /// No thread can be started.
    Threads(String),
    /// The work's own.
    Fatal(E),
}

/// What a worker is at.
struct Seat {
    item: usize,
    noted: bool,
    interrupt: Interrupt,
    watch: Stopwatch,
    timed_out: bool,
}

struct Crew<'w, W: Work> {
    work: &'w W,
    items: usize,
    limits: &'w Limits,
    interrupt: &'w Interrupt,
    seats: Vec<Mutex<Option<Seat>>>,
    next: AtomicUsize,
    /// Items that were done or failed for good.
    ended: AtomicUsize,
    failures: AtomicU64,
    too_many: AtomicBool,
    fatal: AtomicBool,
    error: Mutex<Option<W::Error>>,
}

/// Does `items` items and tells `news`, on the calling thread, what happens.
///
/// # Errors
/// [`WorkError`] if no thread can be started, or the work says that nothing further can be done.
pub fn drive<W: Work>(
    work: &W,
    items: usize,
    limits: &Limits,
    interrupt: &Interrupt,
    news: &mut dyn FnMut(News<W::Done>),
) -> Result<End, WorkError<W::Error>> {
    let threads = limits.threads.min(items);
    let crew = Crew {
        work,
        items,
        limits,
        interrupt,
        seats: (0..threads).map(|_| Mutex::new(None)).collect(),
        next: AtomicUsize::new(0),
        ended: AtomicUsize::new(0),
        failures: AtomicU64::new(0),
        too_many: AtomicBool::new(false),
        fatal: AtomicBool::new(false),
        error: Mutex::new(None),
    };
    let (sender, receiver) = mpsc::channel();
    let (working, over) = mpsc::channel::<()>();
    let refused = thread::scope(|scope| {
        let crew = &crew;
        let start = |name: String| thread::Builder::new().name(name);
        let mut refused = None;
        if items > 0 {
            refused = start("monitor".to_owned()).spawn_scoped(scope, move || crew.monitor(&over)).err();
        }
        for seat in 0..if refused.is_none() { threads } else { 0 } {
            let sender = sender.clone();
            let started = start(format!("run-{seat}")).spawn_scoped(scope, move || crew.sit(seat, &sender));
            if let Err(error) = started {
                // With fewer workers it takes longer, that is all.
                refused = refused.or((seat == 0).then_some(error));
                break;
            }
        }
        drop(sender);
        let mut told = false;
        let mut tell_stop = |news: &mut dyn FnMut(News<W::Done>)| {
            if !told && crew.interrupt.is_set() {
                told = true;
                news(News::Stopping);
            }
        };
        loop {
            match receiver.recv_timeout(LOOK_EVERY) {
                Ok(item) => news(item),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            tell_stop(news);
        }
        tell_stop(news);
        drop(working);
        refused
    });
    if let Some(error) = refused {
        return Err(WorkError::Threads(error.to_string()));
    }
    let synced = work.sync();
    if let Some(error) = lock(&crew.error).take() {
        return Err(WorkError::Fatal(error));
    }
    synced.map_err(WorkError::Fatal)?;
    Ok(match crew.too_many.load(Ordering::Acquire) {
        true => End::TooManyFailures,
        false if crew.ended.load(Ordering::Acquire) == items => End::Whole,
        false => End::Interrupted,
    })
}

impl<W: Work> Crew<'_, W> {
    fn stopping(&self) -> bool {
        self.interrupt.is_set() || self.too_many.load(Ordering::Acquire) || self.fatal.load(Ordering::Acquire)
    }

    fn fail(&self, error: W::Error) {
        lock(&self.error).get_or_insert(error);
        self.fatal.store(true, Ordering::Release);
    }

    /// Raises the interrupts of items that take too long, or of all; notes slow items; syncs.
    fn monitor(&self, over: &Receiver<()>) {
        let mut synced = Stopwatch::start();
        while let Err(RecvTimeoutError::Timeout) = over.recv_timeout(LOOK_EVERY) {
            let stopping = self.stopping();
            for seat in &self.seats {
                let mut seat = lock(seat);
                let Some(seat) = seat.as_mut() else { continue };
                let too_long = self.limits.timeout.is_some_and(|timeout| seat.watch.elapsed() >= timeout);
                if stopping || too_long {
                    seat.timed_out |= too_long;
                    seat.interrupt.set();
                }
                if !seat.noted && seat.watch.elapsed() >= NOTED_AFTER {
                    seat.noted = true;
                    if let Err(error) = self.work.note(seat.item) {
                        self.fail(error);
                    }
                }
            }
            if synced.elapsed() >= SYNC_EVERY {
                if let Err(error) = self.work.sync() {
                    self.fail(error);
                }
                synced = Stopwatch::start();
            }
        }
    }

    /// A worker's day.
    fn sit(&self, seat: usize, news: &Sender<News<W::Done>>) {
        while !self.stopping() {
            let item = self.next.fetch_add(1, Ordering::AcqRel);
            if item >= self.items || !self.serve(seat, item, news) {
                return;
            }
        }
    }

    /// Tries an item until it is done or has failed for good; `false` if the work is over.
    fn serve(&self, seat: usize, item: usize, news: &Sender<News<W::Done>>) -> bool {
        let tell = |remark: String| _ = news.send(News::Remark(remark));
        let mut tries = 0;
        loop {
            tries += 1;
            let interrupt = Interrupt::new();
            let watch = Stopwatch::start();
            *lock(&self.seats[seat]) =
                Some(Seat { item, noted: false, interrupt: interrupt.clone(), watch, timed_out: false });
            // A panic is the run's own failure: what the others share isn't changed by a run.
            let tried = catch_unwind(AssertUnwindSafe(|| self.work.attempt(item, &interrupt, &tell)));
            let wall_s = watch.seconds();
            let timed_out = lock(&self.seats[seat]).take().is_some_and(|seat| seat.timed_out);
            let result = match tried {
                Ok(Tried::Done(done)) => Ok(done),
                Ok(Tried::Failed(reason)) => Err(reason),
                Ok(Tried::Stopped(at)) if timed_out && !self.interrupt.is_set() => Err(self.too_long(at)),
                Ok(Tried::Stopped(_)) => return false,
                Ok(Tried::Fatal(error)) => {
                    self.fail(error);
                    return false;
                }
                Err(panic) => Err(format!("panicked: {}", message(panic.as_ref()))),
            };
            if let Err(error) = self.work.keep(item, tries, wall_s, &result) {
                self.fail(error);
                return false;
            }
            let failed = result.is_err();
            let again = failed && tries <= self.limits.retries && !self.stopping();
            // The receiver outlives the workers; a send can't fail.
            let _ = news.send(News::Ended { item, wall_s, result, again });
            if again {
                continue;
            }
            if !failed || tries > self.limits.retries {
                self.ended.fetch_add(1, Ordering::AcqRel);
            }
            let failures = self.failures.fetch_add(u64::from(failed), Ordering::AcqRel) + u64::from(failed);
            if self.limits.max_failures.is_some_and(|most| failures > most) {
                self.too_many.store(true, Ordering::Release);
            }
            return true;
        }
    }

    fn too_long(&self, at: SimTime) -> String {
        let limit = self.limits.timeout.unwrap_or_default().as_secs_f64();
        format!("took longer than {limit} s (--timeout-per-run); interrupted at {at} s of simulated time")
    }
}

/// What is behind a lock; a panic elsewhere can't leave it half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a panic says.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests;

//! Ctrl-C and SIGTERM as a flag, and what a batch system means by its signals.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Exit status of a process that a signal ends: 128 and the signal's number.
const SIGNAL_STATUS: i32 = 128;

/// Whether the user (SIGINT) or the system (SIGTERM: a batch system's time limit,
/// say) asked the program to stop. Clones share one flag.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
}

impl Interrupt {
    /// A flag that no signal sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that SIGINT and SIGTERM set, for the rest of the process. The first
    /// signal asks; a further one ends the process at once with status 130 or 143.
    ///
    /// # Errors
    /// If the system refuses the handlers.
    pub fn install() -> io::Result<Self> {
        let interrupt = Self::new();
        for signal in [SIGINT, SIGTERM] {
            interrupt.asks_then_ends(signal)?;
        }
        survive_file_limits()?;
        Ok(interrupt)
    }

    /// The first signal asks; a further one ends the process at once.
    fn asks_then_ends(&self, signal: i32) -> io::Result<()> {
        // In this order: the first signal finds the flag down, then raises it.
        flag::register_conditional_shutdown(signal, SIGNAL_STATUS + signal, Arc::clone(&self.flag))?;
        flag::register(signal, Arc::clone(&self.flag))?;
        Ok(())
    }

    /// Asks to stop, as a signal would.
    pub fn set(&self) {
        self.flag.store(true, Ordering::SeqCst);
    }

    /// The flag itself, for who watches it elsewhere.
    pub fn flag(&self) -> &Arc<AtomicBool> {
        &self.flag
    }

    /// Whether somebody asked to stop.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}

/// Signals as a batch system sends them: SIGTERM before it kills, several times maybe, and
/// SIGUSR1 ahead of a time limit, where it was told to. Neither ends the process by itself.
/// A person's SIGINT works as in [`Interrupt::install`].
#[derive(Clone, Debug, Default)]
pub struct BatchSignals {
    interrupt: Interrupt,
    by_person: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    early_warning: Arc<AtomicBool>,
}

impl BatchSignals {
    /// Listens for the rest of the process.
    ///
    /// # Errors
    /// If the system refuses the handlers.
    pub fn install() -> io::Result<Self> {
        let signals = Self::default();
        // The reason stands before the flag is up.
        flag::register(SIGINT, Arc::clone(&signals.by_person))?;
        signals.interrupt.asks_then_ends(SIGINT)?;
        flag::register(SIGTERM, Arc::clone(&signals.terminate))?;
        flag::register(SIGTERM, Arc::clone(&signals.interrupt.flag))?;
        #[cfg(unix)]
        {
            use signal_hook::consts::SIGUSR1;
            flag::register(SIGUSR1, Arc::clone(&signals.early_warning))?;
            flag::register(SIGUSR1, Arc::clone(&signals.interrupt.flag))?;
        }
        survive_file_limits()?;
        Ok(signals)
    }

    /// The flag that all of them raise.
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Whether a person pressed Ctrl-C.
    pub fn by_person(&self) -> bool {
        self.by_person.load(Ordering::SeqCst)
    }

    /// Whether SIGUSR1 came: the time limit is near.
    pub fn early_warning(&self) -> bool {
        self.early_warning.load(Ordering::SeqCst)
    }

    /// Whether SIGTERM came, since the start or since this was asked last.
    pub fn take_terminate(&self) -> bool {
        self.terminate.swap(false, Ordering::SeqCst)
    }
}

/// By default a file above the system's limit (`ulimit -f`) ends the process without a word. With any handler
/// the write fails instead, and is reported like a full disk.
fn survive_file_limits() -> io::Result<()> {
    #[cfg(unix)]
    flag::register(signal_hook::consts::SIGXFSZ, Arc::default())?;
    Ok(())
}

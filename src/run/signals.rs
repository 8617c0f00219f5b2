//! Ctrl-C and SIGTERM as a flag.

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
            // In this order: the first signal finds the flag down, then raises it.
            flag::register_conditional_shutdown(signal, SIGNAL_STATUS + signal, Arc::clone(&interrupt.flag))?;
            flag::register(signal, Arc::clone(&interrupt.flag))?;
        }
        // By default a file above the system's limit (`ulimit -f`) ends the process without a word. With any handler
        // the write fails instead, and is reported like a full disk.
        #[cfg(unix)]
        flag::register(signal_hook::consts::SIGXFSZ, Arc::default())?;
        Ok(interrupt)
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

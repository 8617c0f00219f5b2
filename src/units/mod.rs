//! Quantities with their units: simulated time as integer nanoseconds, radio
//! levels in decibels.

mod decibel;
mod time;

pub use decibel::{Db, Dbm, db_from_ratio, ratio_from_db};
pub use time::{SimTime, TimeError};

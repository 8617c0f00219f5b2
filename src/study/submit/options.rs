//! What `study submit` is told, checked before anything is written.

use std::fmt;
use std::str::FromStr;

/// What runs the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// An array job of Slurm, and a collector that follows it.
    Slurm,
    /// An array job of HyperQueue.
    HyperQueue,
    /// One process on this machine.
    Local,
}

impl Engine {
    /// The program that submits; `None` where nothing is submitted.
    pub fn command(self) -> Option<&'static str> {
        match self {
            Self::Slurm => Some("sbatch"),
            Self::HyperQueue => Some("hq"),
            Self::Local => None,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slurm => "slurm",
            Self::HyperQueue => "hq",
            Self::Local => "local",
        })
    }
}

impl FromStr for Engine {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "slurm" => Ok(Self::Slurm),
            "hq" => Ok(Self::HyperQueue),
            "local" => Ok(Self::Local),
            _ => Err("allowed: slurm, hq, local"),
        }
    }
}

/// A limit on wall time, as Slurm writes it: minutes, `MM:SS`, `HH:MM:SS`, `D-HH`,
/// `D-HH:MM` or `D-HH:MM:SS`. From 5 minutes, because a task is told a minute before
/// its end and Slurm may do so another minute early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallTime {
    seconds: u32,
}

impl WallTime {
    const LEAST_S: u32 = 5 * 60;
    const MOST_S: u32 = 365 * 86_400;
    pub(super) const ALLOWED: &str =
        "allowed: 5 minutes to 365 days, as minutes, HH:MM:SS, D-HH or D-HH:MM:SS (90, 01:30:00, 2-12)";

    /// The same in seconds.
    pub fn seconds(self) -> u32 {
        self.seconds
    }
}

impl FromStr for WallTime {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| -> Result<u32, Self::Err> {
            let is_number = (1..=6).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { part.parse().map_err(|_| Self::ALLOWED) } else { Err(Self::ALLOWED) }
        };
        // A part below a larger one is less than one of that.
        let below =
            |part: &str, limit: u32| number(part).and_then(|n| if n < limit { Ok(n) } else { Err(Self::ALLOWED) });
        let clock = |hours: u32, minutes: u32, seconds: u32| {
            u64::from(hours) * 3600 + u64::from(minutes) * 60 + u64::from(seconds)
        };
        let seconds = if let Some((days, rest)) = text.split_once('-') {
            let parts: Vec<&str> = rest.split(':').collect();
            let time = match parts[..] {
                [hours] => clock(below(hours, 24)?, 0, 0),
                [hours, minutes] => clock(below(hours, 24)?, below(minutes, 60)?, 0),
                [hours, minutes, seconds] => clock(below(hours, 24)?, below(minutes, 60)?, below(seconds, 60)?),
                _ => return Err(Self::ALLOWED),
            };
            u64::from(number(days)?) * 86_400 + time
        } else {
            let parts: Vec<&str> = text.split(':').collect();
            match parts[..] {
                [minutes] => clock(0, number(minutes)?, 0),
                [minutes, seconds] => clock(0, number(minutes)?, below(seconds, 60)?),
                [hours, minutes, seconds] => clock(number(hours)?, below(minutes, 60)?, below(seconds, 60)?),
                _ => return Err(Self::ALLOWED),
            }
        };
        match u32::try_from(seconds) {
            Ok(seconds @ Self::LEAST_S..=Self::MOST_S) => Ok(Self { seconds }),
            _ => Err(Self::ALLOWED),
        }
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, seconds) = (self.seconds / 60, self.seconds % 60);
        let (hours, minutes) = (minutes / 60, minutes % 60);
        if hours >= 24 {
            write!(f, "{}-", hours / 24)?;
        }
        write!(f, "{:02}:{minutes:02}:{seconds:02}", hours % 24)
    }
}

/// Memory of a task, as Slurm writes it: a whole number and K, M, G or T (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    amount: u32,
    unit: char,
}

impl Memory {
    pub(super) const ALLOWED: &str = "allowed: a whole number from 1 on and K, M, G or T, such as 4G";

    /// The same in MiB, rounded up.
    pub fn mebibytes(self) -> u64 {
        let amount = u64::from(self.amount);
        match self.unit {
            'K' => amount.div_ceil(1024),
            'M' => amount,
            'G' => amount << 10,
            _ => amount << 20,
        }
    }
}

impl FromStr for Memory {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unit = text.chars().last().map_or(' ', |unit| unit.to_ascii_uppercase());
        let digits = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
        let is_number = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        match digits.parse() {
            Ok(amount) if is_number && amount > 0 && "KMGT".contains(unit) => Ok(Self { amount, unit }),
            _ => Err(Self::ALLOWED),
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.amount, self.unit)
    }
}

/// A name that the cluster gives: a partition, an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteName(String);

impl FromStr for SiteName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.,@+".contains(c);
        if (1..=200).contains(&text.len()) && !text.starts_with('-') && text.chars().all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err("allowed: letters, digits and _ - . , @ +, not beginning with -")
        }
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

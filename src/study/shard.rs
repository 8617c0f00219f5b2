//! One process' part of a study.

use std::fmt;
use std::str::FromStr;

/// Variables in which batch systems number the tasks of an array, the innermost system first: a
/// HyperQueue worker may itself be a task of Slurm.
pub const TASK_VARIABLES: [&str; 2] = ["HQ_TASK_ID", "SLURM_ARRAY_TASK_ID"];

/// Part i of n: the runs whose index is i - 1 modulo n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    number: u64,
    of: u64,
}

/// Why there is no such part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// Not of the form i/n.
    #[error("`{text}` is no part of a study; allowed: i/n with i from 1 to n, such as 3/8")]
    Form {
        /// The text.
        text: String,
    },
    /// The number is not one of the parts'.
    #[error("{source_name} is `{text}`; allowed: 1 to {of}")]
    Number {
        /// Where the number comes from.
        source_name: String,
        /// What it says.
        text: String,
        /// Number of parts.
        of: u64,
    },
    /// No batch system says which part it is.
    #[error(
        "--shards {of} says how many parts there are, but neither HQ_TASK_ID nor SLURM_ARRAY_TASK_ID which one this is"
    )]
    Unset {
        /// Number of parts.
        of: u64,
    },
}

impl Shard {
    /// All of the study.
    pub const WHOLE: Self = Self { number: 1, of: 1 };

    /// The part that the batch system's variable says, of `of`; and the name of the variable.
    ///
    /// # Errors
    /// [`ShardError`] if there is none, or it says no number from 1 to `of`.
    pub fn from_environment(
        of: u64,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(Self, &'static str), ShardError> {
        let found = TASK_VARIABLES.into_iter().find_map(|name| variable(name).map(|text| (name, text)));
        let (name, text) = found.ok_or(ShardError::Unset { of })?;
        match text.parse() {
            Ok(number) if (1..=of).contains(&number) => Ok((Self { number, of }, name)),
            _ => Err(ShardError::Number { source_name: name.to_owned(), text, of }),
        }
    }

    /// Number of parts.
    pub fn of(self) -> u64 {
        self.of
    }

    /// Whether it has the run of that index.
    pub fn has(self, index: usize) -> bool {
        index as u64 % self.of == self.number - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || ShardError::Form { text: text.to_owned() };
        let (number, of) = text.split_once('/').ok_or_else(form)?;
        let (Ok(number), Ok(of)) = (number.parse(), of.parse()) else { return Err(form()) };
        if (1..=of).contains(&number) { Ok(Self { number, of }) } else { Err(form()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_part_the_runs() {
        let shards: Vec<Shard> = (1..=3).map(|i| format!("{i}/3").parse().unwrap()).collect();
        for index in 0..10 {
            let having: Vec<usize> = (0..3).filter(|&i| shards[i].has(index)).collect();
            assert_eq!(having, [index % 3]);
        }
        assert!((0..10).all(|index| Shard::WHOLE.has(index)));
        for bad in ["", "3", "0/3", "4/3", "1/0", "-1/3", "1/3/3", "a/b", "1 / 3"] {
            assert_eq!(bad.parse::<Shard>(), Err(ShardError::Form { text: bad.to_owned() }));
        }
    }

    #[test]
    fn the_environment_says_which() {
        let of = |variables: &[(&str, &str)], n| {
            let variables: Vec<(String, String)> =
                variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            Shard::from_environment(n, move |name| {
                variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            })
        };
        assert_eq!(of(&[("SLURM_ARRAY_TASK_ID", "8")], 8), Ok((Shard { number: 8, of: 8 }, "SLURM_ARRAY_TASK_ID")));
        let both = [("SLURM_ARRAY_TASK_ID", "7"), ("HQ_TASK_ID", "2")];
        assert_eq!(of(&both, 8), Ok((Shard { number: 2, of: 8 }, "HQ_TASK_ID")));
        assert_eq!(of(&[], 8), Err(ShardError::Unset { of: 8 }));
        for bad in ["0", "9", "", "-1", "one"] {
            let error = of(&[("SLURM_ARRAY_TASK_ID", bad)], 8).unwrap_err();
            assert_eq!(error.to_string(), format!("SLURM_ARRAY_TASK_ID is `{bad}`; allowed: 1 to 8"));
        }
    }
}

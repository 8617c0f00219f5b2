//! Numbers in sentences.

use std::fmt::Display;

/// The noun behind a number: "1 row", "2 rows".
pub fn plural<N: Copy + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    if count == N::from(1) { noun.to_owned() } else { format!("{noun}s") }
}

/// A number and what it counts.
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    format!("{count} {}", plural(count, noun))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!([0_u64, 1, 2].map(|count| counted(count, "token")), ["0 tokens", "1 token", "2 tokens"]);
    }
}

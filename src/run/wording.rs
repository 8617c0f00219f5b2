//! Numbers in sentences.

use std::error::Error;
use std::fmt::Display;

/// The noun behind a number: "1 row", "2 rows".
pub fn plural<N: Copy + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    if count == N::from(1) { noun.to_owned() } else { format!("{noun}s") }
}

/// A number and what it counts.
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    format!("{count} {}", plural(count, noun))
}

/// A number with three significant digits, without an exponent where it can be read so.
pub fn three_digits(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let place = value.abs().log10().floor();
    if !(-6.0..9.0).contains(&place) {
        return format!("{value:.2e}");
    }
    let text = format!("{value:.*}", (2.0 - place).max(0.0) as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// An error and its causes, without saying anything twice.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!([0_u64, 1, 2].map(|count| counted(count, "token")), ["0 tokens", "1 token", "2 tokens"]);
    }

    #[test]
    fn three_digits_are_enough() {
        let numbers = [0.061, 6.1049, -61.04, 6104.9, 5.0, 0.0, 1.2e-9].map(three_digits);
        assert_eq!(numbers, ["0.061", "6.1", "-61", "6105", "5", "0", "1.20e-9"]);
    }
}

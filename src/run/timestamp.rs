//! Dates and times of day as traces write them.

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Nanoseconds since 1970-01-01 00:00 UTC of `2023-11-16 18:17:03.9799600`: a date of the
/// Gregorian calendar, a blank or `T`, a time of day with up to nine digits of a second's
/// fraction or none, and maybe `Z` or an offset such as `+00:00` (without one: UTC).
/// `None` for anything else, such as a 30th of February or a second 60.
pub fn parse_timestamp(text: &str) -> Option<i128> {
    let (date, rest) = text.split_at_checked(10)?;
    let time = rest.strip_prefix([' ', 'T', 't'])?;
    let (time, offset_minutes) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => (&time[..at], offset(&time[at..])?),
        None => (time, 0),
    };
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let (time, fraction) = time.split_once('.').map_or((time, None), |(time, fraction)| (time, Some(fraction)));
    let [hour, minute, second] = fields(time, ':', [2, 2, 2])?;
    let nanos = match fraction {
        Some(digits) if digits.len() <= 9 => number(digits)? * 10i64.pow(9 - digits.len() as u32),
        Some(_) => return None,
        None => 0,
    };
    if year < 1 || !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + (minute - offset_minutes) * 60 + second;
    Some(i128::from(seconds) * NANOS_PER_SECOND + i128::from(nanos))
}

/// `Z`, `+hh:mm`, `-hh:mm`, in minutes.
fn offset(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let [hours, minutes] = fields(text.get(1..)?, ':', [2, 2])?;
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

/// Numbers of exactly so many digits between separators.
fn fields<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut found = [0; N];
    for (field, digits) in found.iter_mut().zip(digits) {
        *field = parts.next().filter(|part| part.len() == digits).and_then(number)?;
    }
    parts.next().is_none().then_some(found)
}

/// Digits only: no sign, no blank.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of the month before each month of a year that isn't a leap year.
const DAYS_BEFORE: [i64; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];

fn days_of_month(year: i64, month: i64) -> i64 {
    let month = month as usize;
    DAYS_BEFORE[month] - DAYS_BEFORE[month - 1] + i64::from(month == 2 && is_leap(year))
}

/// Days from 1970-01-01 to a date from year 1 on.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Whole years since the year 1, each fourth, less each hundredth, plus each four hundredth a day longer.
    let before = |year: i64| (year - 1) * 365 + (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let leap_day = i64::from(month > 2 && is_leap(year));
    before(year) - before(1970) + DAYS_BEFORE[month as usize - 1] + leap_day + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> i128 {
        let nanos = parse_timestamp(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(nanos % NANOS_PER_SECOND, 0, "{text}");
        nanos / NANOS_PER_SECOND
    }

    /// Against `date -u -d … +%s`.
    #[test]
    fn dates_meet_the_system_clock() {
        for (text, expected) in [
            ("1970-01-01 00:00:00", 0),
            ("1969-12-31 23:59:59", -1),
            ("2023-11-16 18:17:03", 1_700_158_623),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2000-03-01 00:00:00", 951_868_800),
            ("1900-03-01 00:00:00", -2_203_891_200),
            ("2024-12-31 23:59:59", 1_735_689_599),
            ("2100-03-01 00:00:00", 4_107_542_400),
            ("0001-01-01 00:00:00", -62_135_596_800),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn fractions_and_offsets() {
        let at = |text| parse_timestamp(text).unwrap();
        assert_eq!(at("2023-11-16 18:17:03.9799600"), 1_700_158_623_979_960_000);
        assert_eq!(at("2023-11-16 18:17:03.5"), at("2023-11-16T18:17:03.500000000Z"));
        assert_eq!(at("2024-05-10 00:00:00.009930+00:00"), at("2024-05-10 00:00:00.00993"));
        assert_eq!(at("2024-05-10 01:30:00+01:30"), at("2024-05-10T00:00:00"));
        assert_eq!(at("2024-05-09 22:00:00-02:00"), at("2024-05-10T00:00:00z"));
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "1700158623",
            "2023-11-16",
            "2023-11-16 18:17",
            "2023-02-29 00:00:00",
            "1900-02-29 00:00:00",
            "2023-13-01 00:00:00",
            "2023-00-01 00:00:00",
            "2023-01-00 00:00:00",
            "2023-04-31 00:00:00",
            "2023-01-01 24:00:00",
            "2023-01-01 00:60:00",
            "2023-01-01 00:00:60",
            "0000-01-01 00:00:00",
            "2023-01-01 00:00:00.",
            "2023-01-01 00:00:00.1234567890",
            "2023-01-01 00:00:00+1",
            "2023-1-1 00:00:00",
            "2023-01-01 00:00:00+24:00",
            "+023-01-01 00:00:00",
            "2023-01-01x00:00:00",
            "2023-01-01 00:00:00.5.5",
            "2023-01-0é 00:00:00",
            "2023-01-01 -1:00:00",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }
}

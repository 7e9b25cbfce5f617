//! Durations and sizes as people write them: `1h30m`, `4GiB`.

/// The longest deadline, in seconds.
pub(super) const TIMEOUT_SECS_MAX: u64 = 24 * 60 * 60;

/// With less memory, not even an init starts.
const GUEST_BYTES_MIN: u64 = 1 << 20;

/// Why a text is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QuantityError {
    #[error("a timeout is written with its units, such as \"30m\", \"90s\" or \"1h30m\"")]
    Duration,
    #[error("a timeout takes a unit; write \"{number}s\" for seconds or \"{number}m\" for minutes")]
    DurationWithoutUnit { number: u64 },
    #[error("a timeout of 0 would stop every command; write how long it may take, such as \"30m\"")]
    DurationZero,
    #[error("a timeout is at most 24h")]
    DurationTooLong,
    #[error("a size is written with its unit: KiB, MiB, GiB or TiB, such as \"4GiB\"")]
    Size,
    #[error("the unit of a size is binary; write \"{0}iB\"")]
    SizeDecimal(String),
    #[error("a size of 0 is too small for any guest; write one such as \"4GiB\"")]
    SizeZero,
    #[error("less than 1MiB is too small for any guest; write a size such as \"512MiB\" or \"4GiB\"")]
    SizeTooSmall,
    #[error("the size is too large")]
    SizeTooLarge,
}

/// Reads a deadline: hours, minutes and seconds, in this order, each at most once.
pub(super) fn parse_timeout_secs(text: &str) -> Result<u64, QuantityError> {
    if let Ok(number) = text.parse() {
        return Err(QuantityError::DurationWithoutUnit { number });
    }
    let (mut rest, mut total_s) = (text, 0_u64);
    for (unit, unit_s) in [('h', 3600), ('m', 60), ('s', 1)] {
        let Some((digits, after)) = rest.split_once(unit) else { continue };
        let number = parse_digits(digits).ok_or(QuantityError::Duration)?;
        total_s = total_s.saturating_add(number.saturating_mul(unit_s));
        rest = after;
    }
    match total_s {
        _ if !rest.is_empty() || text.is_empty() => Err(QuantityError::Duration),
        0 => Err(QuantityError::DurationZero),
        1..=TIMEOUT_SECS_MAX => Ok(total_s),
        _ => Err(QuantityError::DurationTooLong),
    }
}

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SizeError {
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// Reads a size as a manifest writes it, such as `4GiB`, in bytes. For options that take one.
pub fn parse_size_bytes(text: &str) -> Result<u64, SizeError> {
    parse_memory_bytes(text).map_err(|error| SizeError { reason: error.to_string() })
}

/// Reads a size in bytes.
pub(super) fn parse_memory_bytes(text: &str) -> Result<u64, QuantityError> {
    let unit_at = text.find(|it: char| !it.is_ascii_digit()).ok_or(QuantityError::Size)?;
    let (digits, unit) = text.split_at(unit_at);
    let shift = match unit {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        "K" | "M" | "G" | "T" | "KB" | "MB" | "GB" | "TB" if !digits.is_empty() => {
            return Err(QuantityError::SizeDecimal(format!("{digits}{}", &unit[..1])));
        }
        _ => return Err(QuantityError::Size),
    };
    if digits.is_empty() {
        return Err(QuantityError::Size);
    }
    let number: u64 = digits.parse().map_err(|_| QuantityError::SizeTooLarge)?;
    match number.checked_mul(1 << shift) {
        None => Err(QuantityError::SizeTooLarge),
        Some(0) => Err(QuantityError::SizeZero),
        Some(bytes) => Ok(bytes),
    }
}

/// Reads the size of something that a guest has, in bytes.
pub(super) fn parse_guest_bytes(text: &str) -> Result<u64, QuantityError> {
    let bytes = parse_memory_bytes(text)?;
    if bytes < GUEST_BYTES_MIN { Err(QuantityError::SizeTooSmall) } else { Ok(bytes) }
}

/// Reads decimal digits; a number beyond all bounds is the largest one.
fn parse_digits(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_hours_minutes_and_seconds_in_that_order() {
        assert_eq!(parse_timeout_secs("30m"), Ok(1800));
        assert_eq!(parse_timeout_secs("90s"), Ok(90));
        assert_eq!(parse_timeout_secs("1h30m"), Ok(5400));
        assert_eq!(parse_timeout_secs("24h"), Ok(TIMEOUT_SECS_MAX));
        assert_eq!(parse_timeout_secs("23h59m60s"), Ok(TIMEOUT_SECS_MAX));
        assert_eq!(parse_timeout_secs("24h1s"), Err(QuantityError::DurationTooLong));
        assert_eq!(parse_timeout_secs("99999999999999999999h"), Err(QuantityError::DurationTooLong));
        assert_eq!(parse_timeout_secs("0h0m"), Err(QuantityError::DurationZero));
        assert_eq!(parse_timeout_secs("30"), Err(QuantityError::DurationWithoutUnit { number: 30 }));
        for text in ["", "m", "1m1h", "1h 30m", "-1s", "1.5h", "1d", "30m30m", "1h30", "٣s"] {
            assert_eq!(parse_timeout_secs(text), Err(QuantityError::Duration), "{text:?}");
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_memory_bytes("4GiB"), Ok(4 << 30));
        assert_eq!(parse_memory_bytes("512MiB"), Ok(512 << 20));
        assert_eq!(parse_memory_bytes("4GB"), Err(QuantityError::SizeDecimal("4G".to_owned())));
        assert_eq!(parse_memory_bytes("0GiB"), Err(QuantityError::SizeZero));
        assert_eq!(parse_memory_bytes("99999999TiB"), Err(QuantityError::SizeTooLarge));
        for text in ["", "4", "GiB", "GB", "4 GiB", "-4GiB", "4gib", "4.5GiB"] {
            assert_eq!(parse_memory_bytes(text), Err(QuantityError::Size), "{text:?}");
        }
    }

    #[test]
    fn what_no_guest_starts_with_is_refused_and_smaller_sizes_are_for_other_things() {
        assert_eq!(parse_guest_bytes("1023KiB"), Err(QuantityError::SizeTooSmall));
        assert_eq!(parse_guest_bytes("1MiB"), Ok(1 << 20));
        assert_eq!(parse_guest_bytes("0MiB"), Err(QuantityError::SizeZero));
        assert_eq!(parse_size_bytes("1KiB"), Ok(1024));
    }

    proptest! {
        #[test]
        fn what_is_written_in_whole_units_is_read_back(hours in 0_u64..24, minutes in 0_u64..60, seconds in 1_u64..60) {
            let text = format!("{hours}h{minutes}m{seconds}s");
            prop_assert_eq!(parse_timeout_secs(&text), Ok(hours * 3600 + minutes * 60 + seconds));
        }

        #[test]
        fn no_text_is_too_strange_to_be_refused(text in "\\PC{0,12}") {
            let _ = parse_timeout_secs(&text);
            let _ = parse_memory_bytes(&text);
        }
    }
}

//! Moments, ages and durations as people read them.

use std::borrow::Borrow;

use jiff::Timestamp;

/// Milliseconds since the Unix epoch, now.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// A `<time>` with the moment for machines and on hover, and its age as text.
pub(crate) fn age(at_ms: impl Borrow<i64>) -> String {
    let at_ms = *at_ms.borrow();
    let Ok(at) = Timestamp::from_millisecond(at_ms) else { return "at an unknown time".to_owned() };
    let text = relative((now_ms() - at_ms) / 1000);
    let title = at.strftime("%Y-%m-%d %H:%M:%S UTC");
    format!(
        "<time datetime=\"{}\" title=\"{title}\" data-age>{text}</time>",
        at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
    )
}

fn relative(seconds: i64) -> String {
    match seconds {
        ..5 => "just now".to_owned(),
        5..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        86_400..2_592_000 => format!("{} d ago", seconds / 86_400),
        2_592_000..31_536_000 => format!("{} mo ago", seconds / 2_592_000),
        _ => format!("{} y ago", seconds / 31_536_000),
    }
}

/// A duration, as exact as it matters.
pub(crate) fn duration(millis: impl Borrow<u64>) -> String {
    let millis = *millis.borrow();
    let seconds = millis / 1000;
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{seconds}.{} s", millis % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The time between two moments; without the second, until now.
pub(crate) fn span(start: Timestamp, end: Option<Timestamp>) -> String {
    between(start.as_millisecond(), end.map(Timestamp::as_millisecond))
}

/// The time between two moments in milliseconds; without the second, until now.
pub(crate) fn between(start_ms: i64, end_ms: Option<i64>) -> String {
    duration(u64::try_from(end_ms.unwrap_or_else(now_ms) - start_ms).unwrap_or(0))
}

/// A number of bytes, as exact as it matters.
pub(crate) fn bytes(bytes: impl Borrow<u64>) -> String {
    let bytes = *bytes.borrow();
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(5);
    let whole = bytes >> (10 * power);
    let tenth = (bytes >> (10 * (power - 1))) % 1024 * 10 / 1024;
    format!("{whole}.{tenth} {}", UNITS[power as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_durations_and_sizes_are_short() {
        assert_eq!(
            [relative(-3), relative(59), relative(7300), relative(90_000)],
            ["just now", "59 s ago", "2 h ago", "1 d ago"]
        );
        assert_eq!(
            [duration(72), duration(1234), duration(61_000), duration(3_720_000)],
            ["72 ms", "1.2 s", "1 min 1 s", "1 h 2 min"]
        );
        assert_eq!(
            [bytes(10), bytes(1536), bytes(100 << 20), bytes(u64::MAX)],
            ["10 B", "1.5 KiB", "100.0 MiB", "16383.9 PiB"]
        );
    }
}

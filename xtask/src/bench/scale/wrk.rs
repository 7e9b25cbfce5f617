//! Load by `wrk` (<https://github.com/wg/wrk>), bounded in time and connections.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::bench::tools;

const SECONDS: u32 = 3;

/// The 99th percentile of the times of requests that follow each other on `connections` connections.
pub(super) fn latency_99(url: &str, token: &str, connections: u32) -> Result<Duration> {
    let report = run(url, token, connections)?;
    let line = report.lines().find_map(|line| line.trim().strip_prefix("99%"));
    parse_time(line.context("wrk's 99th percentile")?.trim())
}

/// How many requests were answered in a second.
pub(super) fn per_second(url: &str, token: &str, connections: u32) -> Result<f64> {
    let report = run(url, token, connections)?;
    let line = report.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    Ok(line.context("wrk's rate")?.trim().parse()?)
}

fn run(url: &str, token: &str, connections: u32) -> Result<String> {
    let mut command = Command::new(tools::find("wrk")?);
    command.args(["-t1", "--latency", &format!("-c{connections}"), &format!("-d{SECONDS}s")]);
    if !token.is_empty() {
        command.args(["-H", &format!("Authorization: Bearer {token}")]);
    }
    let output = command.arg(url).output()?;
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || report.contains("Non-2xx") || report.contains("Socket errors") {
        bail!("wrk {url}: {report}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(report)
}

fn parse_time(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let value: f64 = digits.parse().with_context(|| format!("wrk's time {text:?}"))?;
    let seconds = match &text[digits.len()..] {
        "us" => value / 1e6,
        "ms" => value / 1e3,
        "s" => value,
        unit => bail!("wrk's time {text:?} has the unit {unit:?}"),
    };
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_every_unit_are_read() {
        assert_eq!(parse_time("412.00us").unwrap(), Duration::from_micros(412));
        assert_eq!(parse_time("1.50ms").unwrap(), Duration::from_micros(1500));
        assert_eq!(parse_time("2.00s").unwrap(), Duration::from_secs(2));
        assert!(parse_time("1.00m").is_err());
    }
}
